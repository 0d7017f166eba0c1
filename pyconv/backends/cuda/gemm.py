"""Implicit matrix product: dense convolution of any kernel size, stride, padding, dilation, groups and strides."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ...plan import ConvPlan
from . import dense
from .activation import EXAMPLES, NONE, POOLED, Epilogue
from .kernel import DTYPES, INDEX_TYPES, Kernel, Launch, struct
from .plans import fitting_index, strides_of, too_wide
from .tile import TILES, Tile
from .weights import Packing

__all__ = ["arguments", "divisor", "kernels", "label", "launch", "packing", "pooling_refusal", "refusal"]

_DIVISOR = struct(multiplier="u4", shift="u4")
_ARGUMENTS = struct(
    x="u8", weights="u8", output=dense.OUTPUT, x_strides=("i8", 4),
    in_channels="i4", in_size=("i4", 2), out_width="i4", kernel=("i4", 2), stride=("i4", 2), dilation=("i4", 2),
    start=("i4", 2), steps="i4", padded_channels="i4", by_taps=_DIVISOR, by_kernel_width=_DIVISOR,
)  # fmt: skip


def label(plan: ConvPlan) -> str:
    """The implementation's name, with its tile."""
    tile = dense.tile(plan)
    return f"gemm_{tile.channels}x{tile.pixels}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    return too_wide(plan) or dense.refusal(plan) or launch(plan).refusal


def pooling_refusal(plan: ConvPlan) -> str | None:
    """None if it can write the maxima of 2x2 windows, else the reason why not."""
    return None if dense.vector(plan) == 4 else f"in {plan.dtype} a thread has half a window"


def packing(plan: ConvPlan) -> Packing:
    """The order of its weights."""
    return dense.packing(plan)


@lru_cache(maxsize=1024)
def launch(plan: ConvPlan, epilogue: Epilogue = NONE) -> Launch:
    """Kernel, grid and block."""
    tile = dense.launched(plan, epilogue)
    kernel = _kernel(plan.dtype, tile, dense.packing(plan).taps_outside, fitting_index(plan), epilogue)
    return Launch(kernel, dense.grid(plan, epilogue), tile.threads)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for; with an epilogue, examples."""
    for dtype, index, taps_outside in product(DTYPES, INDEX_TYPES, (False, True)):
        for tile in TILES[dtype][dtype != "float64" and index != "int" :]:  # as dense.launched has it
            yield _kernel(dtype, tile, taps_outside, index)
    for epilogue in (*EXAMPLES, *POOLED):
        yield _kernel("float32", TILES["float32"][epilogue.residual], True, "int", epilogue)


def _kernel(dtype: str, tile: Tile, taps_outside: bool, index: str, epilogue: Epilogue = NONE) -> Kernel:
    return Kernel.of(
        "conv_gemm", dtype, _ARGUMENTS, INDEX=index, **epilogue.macros, TAPS_OUTSIDE=int(taps_outside),
        POOLED=int(epilogue.pooled), **tile.macros,
    )  # fmt: skip


def arguments(plan: ConvPlan, x: Any, at: dense.Addresses, epilogue: Epilogue = NONE) -> np.ndarray:
    """The kernel's struct."""
    packed = np.zeros(1, _ARGUMENTS)
    dense.fill(plan, packed, at, epilogue)
    packed["x_strides"] = strides_of(x)
    packed["in_size"], packed["out_width"] = plan.in_size, plan.out_size[1]
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["start"] = plan.padding[0][0], plan.padding[1][0]
    packed["by_taps"] = divisor(plan.kernel[0] * plan.kernel[1])
    packed["by_kernel_width"] = divisor(plan.kernel[1])
    return packed


def divisor(by: int) -> tuple[int, int]:
    """Multiplier and shift that divide numbers below 2**31 (Granlund and Montgomery 1994, figure 4.1)."""
    shift = (by - 1).bit_length()
    return (1 << 32) * ((1 << shift) - by) // by + 1, shift
