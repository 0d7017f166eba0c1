"""Depthwise convolution: each group has one input channel. Bound by memory, with nothing to share between channels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ...plan import ConvPlan
from .activation import EXAMPLES, NONE, PARAMETERS, Epilogue, parameters
from .dense import Addresses
from .kernel import DTYPES, INDEX_TYPES, Kernel, Launch, struct
from .plans import INT_LIMIT, fitting_index, strides_of, too_wide
from .weights import Packing

__all__ = ["arguments", "kernels", "label", "launch", "packing", "refusal"]

_ARGUMENTS = struct(
    x="u8", weights="u8", bias="u8", out="u8", x_strides=("i8", 4), work="i8",
    out_channels="i4", multiplier="i4", in_size=("i4", 2), out_size=("i4", 2), kernel=("i4", 2), stride=("i4", 2),
    dilation=("i4", 2), start=("i4", 2), parameters=PARAMETERS,
)  # fmt: skip
_THREADS = 128
_OUTPUTS = 4  # of a thread, along a row

SIZES, STRIDES = (3, 5, 7), (1, 2)
"""Of kernels, as high as wide, whose window is held in registers; strides along a row."""


def _window(plan: ConvPlan) -> tuple[int, int]:
    """The KERNEL and STRIDE that it is compiled with; 0 for any."""
    (height, width), (_, across) = plan.kernel, plan.stride
    if height == width and height in SIZES and plan.dilation == (1, 1) and across in STRIDES:
        return height, across
    return 0, 0


def _work(plan: ConvPlan) -> int:
    return plan.batch * plan.out_channels * plan.out_size[0] * -(-plan.out_size[1] // _OUTPUTS)


def label(plan: ConvPlan) -> str:
    """The implementation's name, with its kernel."""
    size, stride = _window(plan)
    return f"depthwise_{size}x{size}_stride{stride}" if size else "depthwise_any"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.groups != plan.in_channels:
        return f"each group has {plan.in_channels // plan.groups} input channels, not one"
    taps = plan.kernel[0] * plan.kernel[1]
    if taps > INT_LIMIT:
        return f"the kernel has {taps:,} taps, more than the {INT_LIMIT:,} that its counters hold"
    return too_wide(plan) or launch(plan).refusal


@lru_cache(maxsize=1024)
def packing(plan: ConvPlan) -> Packing:
    """The order of its weights: nothing is filled up."""
    multiplier = plan.out_channels // plan.groups
    return Packing(
        groups=plan.groups,
        channels=multiplier,
        in_channels=1,
        kernel=plan.kernel,
        padded_channels=multiplier,
        in_padded=1,
        rows=plan.kernel[0] * plan.kernel[1],
        taps_outside=True,
    )


@lru_cache(maxsize=1024)
def launch(plan: ConvPlan, epilogue: Epilogue = NONE) -> Launch:
    """Kernel, grid and block."""
    kernel = _kernel(plan.dtype, *_window(plan), fitting_index(plan), epilogue)
    return Launch(kernel, -(-_work(plan) // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for; with an epilogue, examples."""
    for dtype, index in product(DTYPES, INDEX_TYPES):
        yield _kernel(dtype, 0, 0, index)
        for size, stride in product(SIZES, STRIDES):
            yield _kernel(dtype, size, stride, index)
    for epilogue in EXAMPLES:
        yield _kernel("float32", 3, 1, "int", epilogue)


def _kernel(dtype: str, size: int, stride: int, index: str, epilogue: Epilogue = NONE) -> Kernel:
    return Kernel.of(
        "conv_depthwise", dtype, _ARGUMENTS, INDEX=index, ACTIVATION=epilogue.macro, KERNEL=size, STRIDE=stride
    )


def arguments(plan: ConvPlan, x: Any, at: Addresses, epilogue: Epilogue = NONE) -> np.ndarray:
    """The kernel's struct."""
    packed = np.zeros(1, _ARGUMENTS)
    packed["x"], packed["weights"], packed["bias"], packed["out"] = at
    packed["x_strides"], packed["work"] = strides_of(x), _work(plan)
    packed["out_channels"], packed["multiplier"] = plan.out_channels, plan.out_channels // plan.groups
    packed["in_size"], packed["out_size"] = plan.in_size, plan.out_size
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["start"] = plan.padding[0][0], plan.padding[1][0]
    packed["parameters"] = parameters(epilogue.parameters, plan.dtype)
    return packed
