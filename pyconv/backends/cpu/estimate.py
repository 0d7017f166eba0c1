"""Cycles that a cost model counts, as time on this machine.

A cost model's cycle is the time of two multiply-adds of vectors on one core. Whatever else a core does is counted in
cycles of its own, of which one is half as long where it begins one multiply-add in each.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost, traffic
from . import isa

__all__ = ["asks_much", "cost", "multiply_adds", "pace"]

_MEASURING = 0.005


@lru_cache
def multiply_adds(level: int) -> int:
    """Multiply-adds of vectors that a core begins in a cycle: two, or one of 64 bytes that is as much as two of 32.

    Which it is, the peaks of both widths say: one is about twice the other, or hardly more. They are taken by turns, in
    many bursts of microseconds, so that what disturbs some of them does not matter.
    """
    if runtime.lanes(level, False) < 16:
        return 2
    peaks = [[runtime.measure_peak(each, False, 1, 2e-4, 1_000) for each in (level - 1, level)] for _ in range(6)]
    narrow, wide = np.max(peaks, axis=0)
    return 2 if wide > 1.4 * narrow else 1


def asks_much(level: int) -> bool:
    """Whether multiply-adds ask for more than the second level of the cache gives: two vectors of 64 bytes a cycle."""
    return multiply_adds(level) * runtime.lanes(level, False) >= 32


def pace(level: int) -> float:
    """The cycles of the cost models that a cycle is: theirs is the time of two multiply-adds."""
    return multiply_adds(level) / 2


@lru_cache
def _cycles_per_second(level: int, is_double: bool) -> float:
    """Cycles of the cost models: measured, for a few milliseconds."""
    return runtime.measure_peak(level, is_double, 1, _MEASURING) / (4 * runtime.lanes(level, is_double))


def cost(plan: ConvPlan, tasks: conv.ConvTasks, cycles: float | None, weights: int | None = None) -> Cost:
    """What an implementation needs that takes ``cycles`` for an image on one core, shared out evenly over its threads.

    ``weights``: numbers of its weights, where they are not those given.
    """
    arrays, is_double = traffic(plan), plan.dtype == "float64"
    moved = arrays.total if weights is None else arrays.input + weights * (8 if is_double else 4) + arrays.output
    seconds = None
    if cycles is not None:
        seconds = plan.batch * cycles / _cycles_per_second(isa.current(), is_double) / tasks.threads
    return Cost(seconds, plan.flops, moved, tasks.scratch_bytes * tasks.threads)
