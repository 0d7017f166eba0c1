"""How long calls take, where that decides something or is shown to somebody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

__all__ = ["best_seconds"]

FEWEST = 5
"""Runs of each call, at least."""

ENOUGH, MOST = 0.05, 0.5
"""Seconds for each of the calls, on average, after which no more are made: if the shortest time of each was met twice,
and if it was not, because something disturbs them all the time."""

ALIKE = 1.1
"""Times that differ by no more than this factor are the same one met twice."""

HOPELESS, MARGIN = 4, 0.01
"""What takes so many times as long as the quickest, and so many seconds more than a disturbance would explain, is run
no more."""


def best_seconds(calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """The shortest of several runs of each of ``calls``, by name.

    The shortest, since whatever disturbs a run makes it longer; in turns, so that a disturbance meets all; after one
    that does not count, which wakes threads and touches memory first.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    running, passed, rounds = list(calls), 0.0, 0
    while running and not _settled([times[name] for name in running], rounds, passed / len(running)):
        for name in running:
            start = perf_counter()
            calls[name]()
            taken = perf_counter() - start
            times[name] = sorted([*times[name], taken])[:2]
            passed += taken
        rounds += 1
        least = min(times[name][0] for name in running)
        running = [name for name in running if times[name][0] <= max(HOPELESS * least, least + MARGIN)]
    return {name: shortest[0] for name, shortest in times.items()}


def _settled(times: list[list[float]], rounds: int, passed: float) -> bool:
    """Whether ``times``, the two shortest of each call, after ``passed`` seconds for each are good enough."""
    if rounds < FEWEST or passed < ENOUGH:
        return False
    return passed >= MOST or all(second <= ALIKE * first for first, second in times)
