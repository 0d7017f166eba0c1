"""Packed weights: their order, and copies of them on the devices that use them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ...errors import DeviceError
from ...plan import ConvPlan
from .kernel import DTYPES, Kernel, Launch, struct

__all__ = ["Packing", "Prepared", "accumulator", "kernels"]

_ARGUMENTS = struct(
    weights="u8", out="u8", strides=("i8", 4), work="i8", rows="i8",
    channels="i4", padded_channels="i4", in_channels="i4", in_padded="i4", taps="i4", kernel_width="i4",
)  # fmt: skip
_THREADS = 256


def accumulator(dtype: str) -> str:
    """The type that sums of ``dtype`` are kept in."""
    return "float64" if dtype == "float64" else "float32"


@dataclass(frozen=True)
class Packing:
    """[group][row of the sum][channel], filled up with zeros.

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
    """

    groups: int
    channels: int
    in_channels: int
    kernel: tuple[int, int]
    padded_channels: int
    in_padded: int
    rows: int
    taps_outside: bool

    @property
    def size(self) -> int:
        """Packed weights."""
        return self.groups * self.rows * self.padded_channels


@lru_cache(maxsize=256)
def _launch(packing: Packing, dtype: str) -> Launch:
    return Launch(_kernel(dtype, packing.taps_outside), -(-packing.size // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a packing may ask for."""
    for dtype, taps_outside in product(DTYPES, (False, True)):
        yield _kernel(dtype, taps_outside)


def _kernel(dtype: str, taps_outside: bool) -> Kernel:
    return Kernel.of("pack", dtype, _ARGUMENTS, TAPS_OUTSIDE=int(taps_outside))


class Copy(NamedTuple):
    """Weights on one device."""

    weights: Any
    bias: Any
    mark: Any
    """What other streams have to wait for; None if it is used once, on the stream that packs it."""


class Prepared:
    """A convolution's weights, packed on one device; copied to another when they came from NumPy."""

    def __init__(self, room: Any, plan: ConvPlan, packing: Packing, weight: Any, bias: Any) -> None:
        self._room = room
        self._movable = isinstance(weight, np.ndarray)
        device = room.current_device() if self._movable else room.device_of(weight)
        if bias is not None and not isinstance(bias, np.ndarray) and room.device_of(bias) != device:
            raise DeviceError(
                f"conv2d: bias is on device {room.device_of(bias)}, weight on device {device}; move one of them"
            )
        with room.on(device):
            source = room.upload(weight) if self._movable else room.readable(weight)
            launch = _launch(packing, plan.dtype)
            packed = room.empty((packing.size,), np.dtype(accumulator(plan.dtype)))
            arguments = np.zeros(1, _ARGUMENTS)
            arguments["weights"], arguments["out"] = room.address(source), room.address(packed)
            arguments["strides"] = [stride // source.dtype.itemsize for stride in source.strides]
            arguments["work"], arguments["rows"] = packing.size, packing.rows
            arguments["channels"], arguments["padded_channels"] = packing.channels, packing.padded_channels
            arguments["in_channels"], arguments["in_padded"] = packing.in_channels, packing.in_padded
            arguments["taps"] = packing.kernel[0] * packing.kernel[1]
            arguments["kernel_width"] = packing.kernel[1]
            room.launch(launch, arguments)
            if bias is not None:  # a copy: the caller may change the bias afterwards
                bias = room.upload(bias) if isinstance(bias, np.ndarray) else room.copy(bias)
            mark = room.mark() if plan.keeps_weights or self._movable else None
        self._copies = {device: Copy(packed, bias, mark)}

    def on(self, device: int) -> Copy:
        """The weights on ``device``, which is the current one, in order with its current stream."""
        copy = self._copies.get(device)
        if copy is None:
            (home, first), *_ = self._copies.items()
            if not self._movable:
                raise DeviceError(
                    f"conv2d: the input is on device {device}, the weights are on device {home}; move one of them"
                )
            self._room.wait(first.mark)
            bias = None if first.bias is None else self._room.move(first.bias)
            copy = self._copies[device] = Copy(self._room.move(first.weights), bias, self._room.mark())
        if copy.mark is not None:
            self._room.wait(copy.mark)
        return copy
