"""Average, adaptive average and L-p pooling: a thread an output, or many where windows are large."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...plan import PoolPlan
from .kernel import DTYPES, INDEX_TYPES, Kernel, Launch, struct
from .plans import INT_LIMIT, fitting_index, strides_of

__all__ = ["LARGE", "OPERATIONS", "arguments", "kernels", "label", "launch", "refusal"]

_ARGUMENTS = struct(
    x="u8", out="u8", x_strides=("i8", 4), out_strides=("i8", 4), work="i8", norm="f8", area="f8",
    channels="i4", in_size=("i4", 2), out_size=("i4", 2), kernel=("i4", 2), stride=("i4", 2), padding=("i4", (2, 2)),
    adaptive="i4", count_include_pad="i4", divisor="i4",
)  # fmt: skip
_THREADS = 256

OPERATIONS = ("avg_pool2d", "lp_pool2d", "adaptive_avg_pool2d")

LARGE = 64
"""Elements of a window from which on THREADS_OF_LARGE threads share it: their reads are then neighbours in memory."""

THREADS_OF_LARGE = 32


def _along(plan: PoolPlan) -> int:
    return THREADS_OF_LARGE if prod(plan.kernel) >= LARGE else 1


def label(plan: PoolPlan) -> str:
    """The implementation's name, with the threads that share a window."""
    return f"sums_by_{_along(plan)}"


def refusal(plan: PoolPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.op not in OPERATIONS:
        return "it is for sums"
    reach = max(*plan.in_size, *plan.out_size)
    if reach >= INT_LIMIT:
        return f"a side of {reach:,} is above the {INT_LIMIT:,} that its counters hold"
    return launch(plan).refusal


@lru_cache(maxsize=1024)
def launch(plan: PoolPlan) -> Launch:
    """Kernel, grid and block."""
    kernel = _kernel(plan.dtype, _along(plan), bool(plan.norm), fitting_index(plan))
    return Launch(kernel, -(-prod(plan.out_shape) * _along(plan) // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for dtype, along, norm, index in product(DTYPES[:2], (1, THREADS_OF_LARGE), (False, True), INDEX_TYPES):
        yield _kernel(dtype, along, norm, index)


def _kernel(dtype: str, along: int, norm: bool, index: str) -> Kernel:
    return Kernel.of("sum_pool", dtype, _ARGUMENTS, INDEX=index, ALONG=along, NORM=int(norm))


def arguments(plan: PoolPlan, x: Any, out: Any, indices: Any, at: tuple[int, int, int]) -> np.ndarray:
    """The kernel's struct."""
    packed = np.zeros(1, _ARGUMENTS)
    packed["x"], packed["out"], _ = at
    packed["out_strides"] = strides_of(out)
    packed["x_strides"], packed["work"], packed["channels"] = strides_of(x), prod(plan.out_shape), plan.channels
    packed["norm"], packed["area"] = plan.norm, plan.area
    packed["in_size"], packed["out_size"] = plan.in_size, plan.out_size
    packed["kernel"], packed["stride"], packed["padding"] = plan.kernel, plan.stride, plan.padding
    packed["adaptive"], packed["divisor"] = plan.adaptive, plan.divisor
    packed["count_include_pad"] = plan.count_include_pad
    return packed
