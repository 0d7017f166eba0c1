"""What every way of cutting a convolution into tasks has in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from math import gcd
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, TransposedPlan, span
from . import isa, wake
from .arrays import into_rows

__all__ = [
    "BRIEF_FLOPS",
    "Pieces",
    "ceil_div",
    "even",
    "is_double_plan",
    "pieces_of",
    "rows_of",
    "run_tasks",
    "sees_padding_alone",
    "shares",
    "slowness_of",
    "threads_for",
]

BRIEF_FLOPS = 200_000
"""Below this, a few microseconds, other Python threads are not let run meanwhile: the switch would cost as much."""


class Pieces(NamedTuple):
    """How an implementation computes a convolution band of rows by band of rows, with the same bits as the whole.

    An implementation that can has ``pieces(plan, level)``; the one that packs weights for a tiling, that besides.
    """

    tasks: Callable[[ConvPlan, int], conv.ConvTasks]
    """The tasks of a plan of some rows of one image, for one thread; each ``shares``-th of them from number s on has
    share s of the output channels."""
    blocks: Sequence[int]
    """The first output channel of each block; shares are made of blocks, as even as they can be."""
    rows: int
    """Output rows that suit a band."""
    step: int = 1
    """Bands begin at multiples of so many rows."""
    weights_stay: bool = True
    """In the cache, so that a band more costs nothing."""
    least: int = 1
    """Rows of which a band should have no less, even so: lanes would be idle."""
    shares: Callable[[int], int] | None = None
    """Of the output channels, that suit so many threads where the weights do not stay; None if that goes by the number
    of images alone."""
    relu_tasks: Callable[[ConvPlan, int], conv.ConvTasks] | None = None
    """Those that write the relu of the results; None if there are none."""
    may_break: bool = False
    """An image with a result that is not finite is computed once more by other sums: so all rows are looked at."""


def pieces_of(implementation: ModuleType, plan: ConvPlan, level: int, tiling: Any) -> Pieces:
    """How an implementation computes ``plan``; ``tiling`` is what its weights were packed for, or None."""
    return implementation.pieces(plan, level, *([tiling] if tiling else []))


def sees_padding_alone(plan: ConvPlan) -> bool:
    """Whether some rows of the output see nothing of the input: there is no plan of such rows by themselves."""
    return max(plan.padding[0]) >= span(plan.kernel[0], plan.dilation[0])


def rows_of(plan: ConvPlan, first: int, end: int) -> tuple[ConvPlan, int]:
    """The plan of output rows ``first`` to ``end`` of one image, and the first row of input that it reads."""
    height = plan.in_size[0]
    top = first * plan.stride[0] - plan.padding[0][0]
    bottom = (end - 1) * plan.stride[0] - plan.padding[0][0] + span(plan.kernel[0], plan.dilation[0])
    row, last = max(top, 0), min(bottom, height)
    padding = ((row - top, bottom - last), plan.padding[1])
    in_size, out_size = (last - row, plan.in_size[1]), (end - first, plan.out_size[1])
    return replace(plan, batch=1, in_size=in_size, out_size=out_size, padding=padding), row


def ceil_div(a: int, b: int) -> int:
    """``a / b``, rounded up."""
    return -(-a // b)


def even(count: int, most: int, step: int = 1) -> int:
    """``most`` or fewer, so that pieces of ``count`` are equally long; a multiple of ``step``, if several."""
    if most >= count:
        return count
    most = max(most // step, 1) * step
    return ceil_div(ceil_div(count, ceil_div(count, most)), step) * step


def is_double_plan(plan: ConvPlan | TransposedPlan) -> bool:
    """Whether the kernels for float64 run it."""
    return plan.dtype == "float64"


@lru_cache(maxsize=8)
def _rate(level: int, is_double: bool) -> float:
    """Flops per second of one thread on short convolutions: two thirds of what it can do, measured (NOTES.md)."""
    return runtime.measure_peak(level, is_double, 1, 2e-5, 1_000) * 2 / 3


def threads_for(plan: ConvPlan | TransposedPlan, slowness: float = 1) -> int:
    """The threads that are worth waking for a plan, whose flops take ``slowness`` times as long as dense ones."""
    flops = plan.flops * slowness
    if flops < BRIEF_FLOPS:
        return 1
    return wake.threads_for(flops / _rate(isa.current(), plan.dtype == "float64"))


def slowness_of(implementation: ModuleType, plan: ConvPlan) -> float:
    """How many times as long as those of dense sums the flops of a plan take in an implementation."""
    return implementation.slowness(plan) if hasattr(implementation, "slowness") else 1


def run_tasks(
    plan: ConvPlan,
    tasks: conv.ConvTasks,
    x: np.ndarray,
    prepared: Any,
    out: np.ndarray | None,
    or_channels: bool = False,
) -> np.ndarray:
    """Run tasks that never have to be computed otherwise, on ``prepared.weights`` and ``prepared.bias``.

    ``or_channels``: they can write along channels as well as along rows.
    """

    def fill(result: np.ndarray) -> None:
        conv.run(tasks, x, prepared.weights, prepared.bias, result)

    return into_rows(out, plan.out_shape, plan.dtype, fill, or_channels)


def shares(bands: int, most: int, count: int) -> int:
    """How many tasks divide a band's output channels, so that ``count`` threads end together; ``most`` at most.

    One where there are bands enough to even out by themselves.
    """
    return min(most, count // gcd(bands, count)) if bands < 4 * count else 1
