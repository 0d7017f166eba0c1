"""Whether work is worth waking the other threads for: what waking them costs is measured, once, when it first matters.

Only time depends on it: results are the same bits for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from time import perf_counter

from ..._core import runtime
from . import threads

__all__ = ["seconds_of", "threads_for"]

SHORTEST = 4e-6
"""Seconds of work for which no thread is woken anywhere, nor anything measured."""

LONGEST = 20e-6
"""Seconds that waking is taken to cost at most: a longer measurement was disturbed."""

MARGIN = 4
"""The wakings that sharing has to save: what a thread works on lies in another one's cache, besides. With a waking of
1.1 microseconds, two threads break even on convolutions of 10 microseconds and on activations of 3 (NOTES.md)."""


QUIET = 5e-6
"""Seconds of waking above which another process may have had a core meanwhile, and it is measured again."""

TRIES = 8
"""How often at most: four milliseconds, which is longer than another process has a core at a stretch."""


@lru_cache(maxsize=64)
def _waking(count: int) -> float:
    """Seconds that a parallel region without work takes on so many threads, when nothing disturbs it."""
    least = LONGEST
    for _ in range(TRIES):
        least = min(least, runtime.measure_wake(count))
        if least <= QUIET:
            break
    return least


def threads_for(seconds: float) -> int:
    """The threads that end work soonest which takes one of them ``seconds``: all or one."""
    if seconds < SHORTEST:
        return 1
    count = threads.count()
    return count if count > 1 and seconds * (1 - 1 / count) > MARGIN * _waking(count) else 1


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes, a few microseconds: the best of several runs."""
    best = 1.0
    for _ in range(5):
        start = perf_counter()
        work()
        best = min(best, perf_counter() - start)
    return best
