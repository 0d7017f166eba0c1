"""What every way of cutting a convolution into tasks has in common."""

from __future__ import annotations

from math import gcd

from ...plan import ConvPlan
from . import threads

__all__ = ["BRIEF_FLOPS", "ceil_div", "shares", "threads_for"]

SERIAL_FLOPS = 3_000_000
"""Below this, starting threads takes about as long as it saves: some 10 microseconds, measured, and cold caches."""

BRIEF_FLOPS = 200_000
"""Below this, a few microseconds, other Python threads are not let run meanwhile: the switch would cost as much."""


def ceil_div(a: int, b: int) -> int:
    """``a / b``, rounded up."""
    return -(-a // b)


def threads_for(plan: ConvPlan) -> int:
    """The threads that are worth starting for a plan."""
    return threads.count() if plan.flops >= SERIAL_FLOPS else 1


def shares(bands: int, most: int, count: int) -> int:
    """How many tasks divide a band's output channels, so that ``count`` threads end together; ``most`` at most.

    One where there are bands enough to even out by themselves.
    """
    return min(most, count // gcd(bands, count)) if bands < 4 * count else 1
