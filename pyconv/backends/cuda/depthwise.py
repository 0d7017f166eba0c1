"""Depthwise convolution: each group has one input channel. Bound by memory, with nothing to share between channels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ...plan import ConvPlan
from .activation import EXAMPLES, NONE, PARAMETERS, Epilogue, parameters
from .dense import Addresses
from .kernel import DTYPES, INDEX_TYPES, Kernel, Launch, struct
from .plans import INT_LIMIT, fitting_index, itemsize, strides_of, too_wide
from .weights import Packing

__all__ = ["arguments", "kernels", "label", "launch", "packing", "refusal"]

_ARGUMENTS = struct(
    x="u8", weights="u8", bias="u8", out="u8", residual="u8", x_strides=("i8", 4), work="i8",
    out_channels="i4", multiplier="i4", in_size=("i4", 2), out_size=("i4", 2), kernel=("i4", 2), stride=("i4", 2),
    dilation=("i4", 2), start=("i4", 2), whole=("i4", 2),
    parameters=PARAMETERS,
)  # fmt: skip
_THREADS = 128
_OUTPUTS = 4  # of a thread, along a row

_FULL = 65_536  # threads that keep a large GPU busy: with fewer, threads take one row each

SIZES = (3, 5, 7)
"""Of kernels, as high as wide, whose window is held in registers."""

ROWS = {1: 4, 2: 2}
"""Strides, the same along both axes, of these kernels, and the rows of a thread; in float64 it takes one."""


class Window(NamedTuple):
    """KERNEL, STRIDE and ROWS, which it is compiled with; a KERNEL of 0 is for any."""

    size: int = 0
    stride: int = 0
    rows: int = 1


def _window(plan: ConvPlan) -> Window:
    (height, width), (down, across) = plan.kernel, plan.stride
    if height != width or height not in SIZES or plan.dilation != (1, 1) or down != across or across not in ROWS:
        return Window()
    most = ROWS[across]
    rows = most if plan.dtype != "float64" and _work(plan, most) >= _FULL else 1
    return Window(height, across, rows)


def _work(plan: ConvPlan, rows: int) -> int:
    """Threads that have something to do."""
    down, across = -(-plan.out_size[0] // rows), -(-plan.out_size[1] // _OUTPUTS)
    return plan.batch * plan.out_channels * down * across


def label(plan: ConvPlan) -> str:
    """The implementation's name, with its kernel."""
    size, stride, rows = _window(plan)
    return f"depthwise_{size}x{size}_stride{stride}" + f"_rows{rows}" * (rows > 1) if size else "depthwise_any"


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
    window = _window(plan)
    kernel = _kernel(plan.dtype, window, fitting_index(plan), epilogue)
    return Launch(kernel, -(-_work(plan, window.rows) // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for; with an epilogue, examples."""
    for dtype, index in product(DTYPES, INDEX_TYPES):
        yield _kernel(dtype, Window(), index)
        for size, (stride, most) in product(SIZES, ROWS.items()):
            for rows in (1,) if dtype == "float64" else (1, most):
                yield _kernel(dtype, Window(size, stride, rows), index)
    for epilogue in EXAMPLES:
        yield _kernel("float32", Window(3, 1, 1), "int", epilogue)


def _kernel(dtype: str, window: Window, index: str, epilogue: Epilogue = NONE) -> Kernel:
    return Kernel.of(
        "conv_depthwise", dtype, _ARGUMENTS, INDEX=index, **epilogue.macros, KERNEL=window.size,
        STRIDE=window.stride, ROWS=window.rows,
    )  # fmt: skip


def _whole(plan: ConvPlan, x: Any, at: Addresses) -> tuple[bool, bool]:
    """Whether vectors of outputs can be read, a window's middle at the beginning of one, and written."""
    bytes_of_vector = min(16, _OUTPUTS * itemsize(plan))
    *outer, column = strides_of(x)
    middle = plan.kernel[1] // 2
    reads = (
        column == 1
        and all(stride % _OUTPUTS == 0 for stride in (*outer, plan.in_size[1]))
        and plan.padding[1][0] == middle
        and at.x % bytes_of_vector == 0
    )
    return reads, plan.out_size[1] % _OUTPUTS == 0 and (at.out | at.residual) % bytes_of_vector == 0


def arguments(plan: ConvPlan, x: Any, at: Addresses, epilogue: Epilogue = NONE) -> np.ndarray:
    """The kernel's struct."""
    packed = np.zeros(1, _ARGUMENTS)
    packed["x"], packed["weights"], packed["bias"], packed["out"], packed["residual"] = at
    packed["x_strides"], packed["work"] = strides_of(x), _work(plan, _window(plan).rows)
    packed["out_channels"], packed["multiplier"] = plan.out_channels, plan.out_channels // plan.groups
    packed["in_size"], packed["out_size"] = plan.in_size, plan.out_size
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["start"] = plan.padding[0][0], plan.padding[1][0]
    packed["whole"] = _whole(plan, x, at)
    packed["parameters"] = parameters(epilogue.parameters, plan.dtype)
    return packed
