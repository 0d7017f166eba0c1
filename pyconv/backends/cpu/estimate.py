"""Cycles that a cost model counts, as time on this machine.

A cost model's cycle is the time of two multiply-adds of vectors on one core. Whatever else a core does is counted in
cycles of its own, of which one is half as long where it begins one multiply-add in each. How many it begins is told by
the processor's name and not measured: the choice between algorithms, and so the last bits, must not depend on the hour.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from ..._core import runtime
from ...plan import ConvPlan, Cost, traffic
from . import isa

__all__ = ["Sized", "asks_much", "cost", "keeps_up", "pace"]

_MEASURING = 0.005


def asks_much(level: int) -> bool:
    """Whether multiply-adds ask for more than the second level of the cache gives: two vectors of 64 bytes a cycle."""
    return runtime.multiply_adds(level) * runtime.lanes(level, False) >= 32


def keeps_up(level: int) -> bool:
    """Whether multiply-adds ask for so much, and the second level of the cache gives it (Zen 5 with AVX-512)."""
    return asks_much(level) and runtime.second_level() >= 64


def pace(level: int) -> float:
    """The cycles of the cost models that a cycle is: theirs is the time of two multiply-adds."""
    return runtime.multiply_adds(level) / 2


@lru_cache
def _cycles_per_second(level: int, is_double: bool) -> float:
    """Cycles of the cost models: measured, for a few milliseconds."""
    return runtime.measure_peak(level, is_double, 1, _MEASURING) / (4 * runtime.lanes(level, is_double))


class Sized(Protocol):
    """Tasks, as far as their cost goes."""

    @property
    def threads(self) -> int: ...
    @property
    def scratch_bytes(self) -> int: ...


def cost(plan: ConvPlan, tasks: Sized, cycles: float | None, weights: int | None = None) -> Cost:
    """What an implementation needs that takes ``cycles`` for an image on one core, shared out evenly over its threads.

    ``weights``: numbers of its weights, where they are not those given.
    """
    arrays, is_double = traffic(plan), plan.dtype == "float64"
    moved = arrays.total if weights is None else arrays.input + weights * (8 if is_double else 4) + arrays.output
    seconds = None
    if cycles is not None:
        seconds = plan.batch * cycles / _cycles_per_second(isa.current(), is_double) / tasks.threads
    return Cost(seconds, plan.flops, moved, tasks.scratch_bytes * tasks.threads)
