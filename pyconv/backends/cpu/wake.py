"""Whether work is worth waking the other threads for: what waking them costs is measured when it first matters.

It is measured again later where another process disturbed it. Only time depends on it: results are the same bits for
any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import NamedTuple

from ..._core import runtime
from . import threads

__all__ = ["seconds_of", "threads_for"]

SHORTEST = 4e-6
"""Seconds of work for which no thread is woken anywhere, nor anything measured."""

LONGEST = 20e-6
"""Seconds that waking is taken to cost at most."""

MARGIN = 4
"""The wakings that sharing has to save: what a thread works on lies in another one's cache, besides. With a waking of
1.1 microseconds, two threads break even on convolutions of 10 microseconds and on activations of 3 (NOTES.md)."""

QUIET = 5e-6
"""Seconds of waking above which another process may have had a core meanwhile, and it is measured again. So many are
taken for granted while nothing shorter was measured: several times what waking takes on small machines."""

DISTURBED = 1e-3
"""Seconds of one region above which another process has a core for a while: trying again at once would be in vain."""

BUDGET = 5e-3
"""Seconds after which no further measurement is begun. One takes half a millisecond, or as long as one thread waits."""

SPACING = 100
"""So many times as long as measuring took, it is not tried again where it was disturbed: a hundredth of the time."""

LATER = 16
"""How often it is tried again at most."""


class _Waking(NamedTuple):
    """What is known of waking so many threads."""

    seconds: float
    tried: int
    again: float
    """When it may be measured again, by ``perf_counter``; never, if infinite."""


_known: dict[int, _Waking] = {}


def _measured(count: int, tried: int) -> _Waking:
    start = perf_counter()
    least = inf
    while True:
        found = runtime.measure_wake(count, DISTURBED)
        least, end = min(least, found), perf_counter()
        if least <= QUIET:
            return _Waking(least, tried, inf)
        again = end + SPACING * (end - start) if tried < LATER else inf
        if found > DISTURBED:
            return _Waking(QUIET, tried, again)
        if end - start > BUDGET:  # a slow machine, or a busy one
            return _Waking(min(least, LONGEST), tried, again)


def _waking(count: int) -> float:
    """Seconds that a parallel region without work takes on so many threads, when nothing disturbs it."""
    known = _known.get(count)
    if known is None or perf_counter() > known.again:
        known = _measured(count, 1 if known is None else known.tried + 1)
        _known[count] = known
    return known.seconds


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
