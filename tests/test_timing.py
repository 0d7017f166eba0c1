"""Taking times: the shortest, met twice, and no time lost with what is hopeless."""

from __future__ import annotations

from collections import Counter

import pytest

from pyconv import timing


class Clock:
    """Time that passes only as calls say."""

    def __init__(self):
        self.now, self.made = 0.0, Counter()

    def call(self, name, *seconds):
        """A call that takes these seconds one after the other, and then the last of them."""

        def run():
            self.now += seconds[min(self.made[name], len(seconds) - 1)]
            self.made[name] += 1

        return run


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(timing, "perf_counter", lambda: found.now)
    return found


def test_the_shortest_of_several(clock):
    """The first run does not count, long ones do not matter."""
    found = timing.best_seconds({"a": clock.call("a", 0.001, 0.03, 0.02, 0.025, 0.02), "b": clock.call("b", 0.04)})
    assert found == pytest.approx({"a": 0.02, "b": 0.04})
    assert clock.made == {"a": 1 + timing.FEWEST, "b": 1 + timing.FEWEST}


def test_short_calls_are_made_often(clock):
    timing.best_seconds({"a": clock.call("a", 0.001)})
    assert clock.made["a"] == 1 + timing.ENOUGH / 0.001


def test_a_time_counts_when_it_was_met_twice(clock):
    """Disturbed runs go on; but not for ever."""
    slow = [0.5, *[0.01 * 1.2**n for n in range(10, 0, -1)], 0.01]
    assert timing.best_seconds({"a": clock.call("a", *slow)})["a"] == pytest.approx(0.01)
    falling = [0.9**n for n in range(500)]
    clock.made.clear()
    timing.best_seconds({"a": clock.call("a", 1, *(0.1 * each**2 for each in falling))})
    assert clock.made["a"] < 50


def test_what_is_hopeless_is_run_no_more(clock):
    """But a short call that is disturbed may be the quickest yet."""
    calls = {
        "quick": clock.call("quick", 0.02),
        "hopeless": clock.call("hopeless", 1.0),
        "disturbed": clock.call("disturbed", 0.02, 0.025, 0.001),
    }
    assert timing.best_seconds(calls) == pytest.approx({"quick": 0.02, "hopeless": 1.0, "disturbed": 0.001})
    assert clock.made["hopeless"] == 2


def test_nothing():
    assert timing.best_seconds({}) == {}
