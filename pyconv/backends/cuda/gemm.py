"""Implicit matrix product: dense convolution of any kernel size, stride, padding, dilation, groups and strides."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ...plan import ConvPlan
from . import dense
from .kernel import Kernel, Launch, struct
from .plans import fitting_index, strides_of, too_wide
from .weights import Packing

__all__ = ["arguments", "label", "launch", "packing", "refusal"]

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


def packing(plan: ConvPlan) -> Packing:
    """The order of its weights."""
    return dense.packing(plan)


@lru_cache(maxsize=1024)
def launch(plan: ConvPlan, activation: str = "identity") -> Launch:
    """Kernel, grid and block."""
    tile = dense.tile(plan)
    kernel = Kernel.of(
        "conv_gemm", plan.dtype, _ARGUMENTS, INDEX=fitting_index(plan), ACTIVATION=f"{activation}_of",
        TAPS_OUTSIDE=int(dense.packing(plan).taps_outside), **tile.macros,
    )  # fmt: skip
    return Launch(kernel, dense.grid(plan), tile.threads)


def arguments(plan: ConvPlan, x: Any, at: dense.Addresses) -> np.ndarray:
    """The kernel's struct."""
    packed = np.zeros(1, _ARGUMENTS)
    dense.fill(plan, packed, at)
    packed["x_strides"] = strides_of(x)
    packed["in_size"], packed["out_width"] = plan.in_size, plan.out_size[1]
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["start"] = plan.padding[0][0], plan.padding[1][0]
    packed["by_taps"] = _divisor(plan.kernel[0] * plan.kernel[1])
    packed["by_kernel_width"] = _divisor(plan.kernel[1])
    return packed


def _divisor(by: int) -> tuple[int, int]:
    """Multiplier and shift that divide numbers below 2**31 (Granlund and Montgomery 1994, figure 4.1)."""
    shift = (by - 1).bit_length()
    return (1 << 32) * ((1 << shift) - by) // by + 1, shift
