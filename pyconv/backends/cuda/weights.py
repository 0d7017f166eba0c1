"""Packed weights: their order, and the kernel that puts them in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ...plan import HALF_DTYPES
from .kernel import DTYPES, Kernel, Launch, accumulator, struct
from .plans import strides_of

__all__ = ["Packing", "kernels", "pack"]

_ARGUMENTS = struct(
    weights="u8", out="u8", strides=("i8", 4), work="i8", rows="i8",
    channels="i4", padded_channels="i4", in_channels="i4", in_padded="i4", taps="i4", kernel_width="i4",
)  # fmt: skip
_THREADS = 256


@dataclass(frozen=True)
class Packing:
    """[group][row of the sum][channel], filled up with zeros; or [group][channel][row of the sum].

    Parameters
    ----------
    groups, channels, in_channels : int
        Groups, and the output and input channels of each.
    kernel : (int, int)
        Height and width.
    padded_channels, in_padded, rows : int
        Channels and rows of the sum, filled up to whole tiles and steps.
    taps_outside : bool
        Rows run over (tap, input channel), with ``in_padded`` channels, in place of (input channel, tap).
    by_channel : bool
        The second order, in the weights' dtype in place of the sums'.
    rounded : bool
        To TF32.
    panels : int
        1: rows of 128 bytes, [group][step][channel], in which wgmma finds them. 2: the same of the two parts of a
        split weight, [group][step][part][channel]. 0: as above.
    """

    groups: int
    channels: int
    in_channels: int
    kernel: tuple[int, int]
    padded_channels: int
    in_padded: int
    rows: int
    taps_outside: bool
    by_channel: bool = False
    rounded: bool = False
    panels: int = 0

    @property
    def size(self) -> int:
        """Packed weights."""
        return self.groups * self.rows * self.padded_channels * max(1, self.panels)


@lru_cache(maxsize=256)
def _launch(packing: Packing, dtype: str) -> Launch:
    kernel = _kernel(dtype, packing.taps_outside, packing.by_channel, packing.rounded, packing.panels)
    return Launch(kernel, -(-packing.size // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a packing may ask for."""
    for dtype, taps_outside in product(DTYPES, (False, True)):
        yield _kernel(dtype, taps_outside)
    for dtype in ("float32", *HALF_DTYPES):
        yield _kernel(dtype, True, by_channel=True)
        yield _kernel(dtype, True, by_channel=True, panels=1)
    for panels in (0, 1):
        yield _kernel("float32", True, by_channel=True, rounded=True, panels=panels)
    yield _kernel("float32", True, by_channel=True, panels=2)


def _kernel(dtype: str, taps_outside: bool, by_channel: bool = False, rounded: bool = False, panels: int = 0) -> Kernel:
    order: dict[str, Any] = {
        "TAPS_OUTSIDE": int(taps_outside),
        "BY_CHANNEL": int(by_channel),
        "ROUNDED": int(rounded),
        "PANELS": panels,
    }
    return Kernel.of("pack", dtype, _ARGUMENTS, **order)


def pack(room: Any, packing: Packing, dtype: str, weight: Any) -> Any:
    """The weights in the packing's order, in new memory on the current device, where ``weight`` lies."""
    kind = weight.dtype if packing.by_channel else np.dtype(accumulator(dtype))
    packed = room.empty((packing.size,), kind)
    arguments = np.zeros(1, _ARGUMENTS)
    arguments["weights"], arguments["out"] = room.address(weight), room.address(packed)
    arguments["strides"] = strides_of(weight)
    arguments["work"], arguments["rows"] = packing.size, packing.rows
    arguments["channels"], arguments["padded_channels"] = packing.channels, packing.padded_channels
    arguments["in_channels"], arguments["in_padded"] = packing.in_channels, packing.in_padded
    arguments["taps"], arguments["kernel_width"] = packing.kernel[0] * packing.kernel[1], packing.kernel[1]
    room.launch(_launch(packing, dtype), arguments)
    return packed
