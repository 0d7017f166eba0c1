"""How long calls take, where that decides something or is shown to somebody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

__all__ = ["best_seconds"]

FEWEST = 5
ENOUGH = 0.05
"""Seconds for each of the calls, on average, after which no more are made."""


def best_seconds(calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """The shortest of several runs of each of ``calls``, by name.

    The shortest, since whatever disturbs a run makes it longer; in turns, so that a disturbance meets all; after one
    that does not count, which wakes threads and touches memory first.
    """
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    passed, rounds = 0.0, 0
    while best and (rounds < FEWEST or passed < ENOUGH * len(best)):
        for name, call in calls.items():
            start = perf_counter()
            call()
            taken = perf_counter() - start
            best[name] = min(best[name], taken)
            passed += taken
        rounds += 1
    return best
