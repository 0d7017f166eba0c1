"""Maxima and averages of small windows along rows of pixels, at the speed of memory: several outputs a thread."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ...plan import PoolPlan
from .kernel import Kernel, Launch, struct
from .memory import VECTOR
from .plans import fitting_index, itemsize, strides_of

__all__ = ["arguments", "kernels", "kind", "label", "launch", "refusal"]

_ARGUMENTS = struct(
    x="u8", out="u8", indices="u8", x_strides=("i8", 4), work="i4", channels="i4", in_size=("i4", 2),
    out_size=("i4", 2), padding=("i4", (2, 2)), count_include_pad="i4", divisor="i4", whole=("i4", 2),
)  # fmt: skip
_THREADS = 256

SIZES = (2, 3)
"""Of windows, as high as wide."""

ROWS = {1: 4, 2: 2}
"""Strides, the same along both axes, and the rows of a thread, which share what they read."""

_LONGEST = 2**30  # of a side, so that rows beyond it can be counted


class Shape(NamedTuple):
    """KERNEL, STRIDE, ROWS and COLUMNS, which it is compiled with."""

    size: int
    stride: int
    rows: int
    columns: int


def kind(plan: PoolPlan) -> str | None:
    """The value of POOL in pool.cuh; None if there is none."""
    if plan.op == "max_pool2d":
        return "PLACES" if plan.return_indices else "MAXIMA"
    return "SUMS" if plan.op == "avg_pool2d" else None


def _shape(plan: PoolPlan) -> Shape:
    size, stride = plan.kernel[0], plan.stride[0]
    wide = VECTOR[plan.dtype]
    vectors = plan.dtype == "float32" and kind(plan) != "PLACES" and plan.in_size[1] % wide == 0
    # without vectors, neighbouring threads take neighbouring columns
    return Shape(size, stride, ROWS[stride] if vectors else 4, wide if vectors else 1)


def label(plan: PoolPlan) -> str:
    """The implementation's name, with its kernel."""
    if _unfit(plan):
        return "rows"
    size, stride, _, columns = _shape(plan)
    return f"rows_{size}x{size}_stride{stride}" + f"_by{columns}" * (columns > 1)


def _unfit(plan: PoolPlan) -> str | None:
    if kind(plan) is None:
        return f"it is for maxima and averages of windows of one size, not {plan.op}"
    (height, width), (down, across) = plan.kernel, plan.stride
    if height != width or height not in SIZES or plan.dilation != (1, 1) or down != across or across not in ROWS:
        return f"its windows are 2x2 and 3x3, 1 or 2 apart, not {height}x{width} and {down}x{across}"
    return None


@lru_cache(maxsize=1024)
def refusal(plan: PoolPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if reason := _unfit(plan):
        return reason
    if plan.layout != "nchw":
        return "the pixels of a row are not next to each other"
    if fitting_index(plan) != "int" or max(plan.in_size) > _LONGEST:
        return "its counters hold 32 bits"
    return launch(plan).refusal


def _work(plan: PoolPlan) -> int:
    """Threads that have something to do."""
    _, _, rows, columns = _shape(plan)
    return plan.batch * plan.channels * -(-plan.out_size[0] // rows) * -(-plan.out_size[1] // columns)


@lru_cache(maxsize=1024)
def launch(plan: PoolPlan) -> Launch:
    """Kernel, grid and block."""
    return Launch(_kernel(plan.dtype, kind(plan), _shape(plan)), -(-_work(plan) // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for size, (stride, rows), pool in product(SIZES, ROWS.items(), ("MAXIMA", "PLACES", "SUMS")):
        yield _kernel("float64", pool, Shape(size, stride, 4, 1))
        yield _kernel("float32", pool, Shape(size, stride, 4, 1))
        if pool != "PLACES":
            yield _kernel("float32", pool, Shape(size, stride, rows, VECTOR["float32"]))


def _kernel(dtype: str, pool: str | None, shape: Shape) -> Kernel:
    return Kernel.of(
        "window_pool", dtype, _ARGUMENTS, POOL=pool, KERNEL=shape.size, STRIDE=shape.stride, ROWS=shape.rows,
        COLUMNS=shape.columns,
    )  # fmt: skip


def arguments(plan: PoolPlan, x: Any, out: Any, indices: Any, at: tuple[int, int, int]) -> np.ndarray:
    """The kernel's struct."""
    packed = np.zeros(1, _ARGUMENTS)
    packed["x"], packed["out"], packed["indices"] = at
    packed["x_strides"], packed["work"], packed["channels"] = strides_of(x), _work(plan), plan.channels
    packed["in_size"], packed["out_size"], packed["padding"] = plan.in_size, plan.out_size, plan.padding
    packed["count_include_pad"], packed["divisor"] = plan.count_include_pad, plan.divisor
    packed["whole"] = _whole(plan, x, at)
    return packed


def _whole(plan: PoolPlan, x: Any, at: tuple[int, int, int]) -> tuple[bool, bool]:
    """Whether whole vectors can be read, where each row begins with one, and written."""
    columns = _shape(plan).columns
    size, strides = columns * itemsize(plan), strides_of(x)
    # along an axis of length 1 nothing is skipped
    outer = [stride for stride, length in zip(strides[:3], x.shape, strict=False) if length > 1]
    reads = strides[3] == 1 and not any(stride % columns for stride in outer) and at[0] % size == 0
    return reads, plan.out_size[1] % columns == 0 and at[1] % size == 0
