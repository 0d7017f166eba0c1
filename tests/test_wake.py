"""When threads are woken: only where it pays, by what was measured, and without a trace in the results."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import normal, output_of

import pyconv
import pyconv.functional as F
from pyconv._core import runtime
from pyconv.backends.cpu import wake


@pytest.fixture
def four_threads(monkeypatch):
    monkeypatch.setattr(wake.threads, "count", lambda: 4)


def test_waking_is_measured():
    assert runtime.measure_wake(2) > 0
    assert 0 < wake._waking(2) <= wake.LONGEST


@pytest.mark.usefixtures("four_threads")
def test_threads_are_woken_where_it_pays(monkeypatch):
    monkeypatch.setattr(wake, "_waking", lambda count: 2e-6)
    even = wake.MARGIN * 2e-6 / (1 - 1 / 4)  # here three quarters of the work are saved, and as much is spent
    assert wake.threads_for(0.99 * even) == 1
    assert wake.threads_for(1.01 * even) == 4
    monkeypatch.setattr(wake.threads, "count", lambda: 1)
    assert wake.threads_for(1.0) == 1


@pytest.mark.usefixtures("four_threads")
def test_nothing_is_measured_for_short_work(monkeypatch):
    monkeypatch.setattr(wake, "_waking", lambda count: pytest.fail("it measured"))
    assert wake.threads_for(0.99 * wake.SHORTEST) == 1


class Machine:
    """Regions that take so long, one after the other, by a clock that only they move."""

    def __init__(self, monkeypatch, *seconds):
        self.seconds, self.clock, self.measured = list(seconds), 0.0, 0
        monkeypatch.setattr(wake, "perf_counter", lambda: self.clock)
        monkeypatch.setattr(runtime, "measure_wake", self.measure)
        monkeypatch.setattr(wake, "_known", {})
        monkeypatch.setattr(wake.threads, "count", lambda: 2)

    def measure(self, count, slow):
        seconds = self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        self.clock += max(seconds, 5e-4)
        self.measured += 1
        return seconds


def test_a_region_that_another_process_disturbs_is_the_last_one_for_a_while(monkeypatch):
    machine = Machine(monkeypatch, 0.03, 1e-6)
    assert wake.threads_for(100e-6) == 2
    assert (machine.measured, wake._waking(2)) == (1, wake.QUIET)
    machine.clock += 0.9 * wake.SPACING * 0.03
    assert (wake._waking(2), machine.measured) == (wake.QUIET, 1)
    machine.clock += 0.2 * wake.SPACING * 0.03
    assert (wake._waking(2), machine.measured) == (1e-6, 2)
    machine.clock += 1e6
    assert (wake._waking(2), machine.measured) == (1e-6, 2)


def test_a_machine_that_is_always_busy_is_measured_so_often_and_no_more(monkeypatch):
    machine = Machine(monkeypatch, 0.03)
    for _ in range(100):
        assert wake._waking(2) == wake.QUIET
        machine.clock += 1e6
    assert machine.measured == wake.LATER


def test_a_machine_that_was_busy_for_a_budget_is_measured_again(monkeypatch):
    machine = Machine(monkeypatch, 9e-6)
    assert wake._waking(2) == 9e-6
    tried, machine.seconds = machine.measured, [1e-6]
    assert (wake._waking(2), machine.measured) == (9e-6, tried)
    machine.clock += 1.1 * wake.SPACING * wake.BUDGET
    assert (wake._waking(2), machine.measured) == (1e-6, tried + 1)


@pytest.mark.parametrize(("seconds", "known"), [([8e-6, 3e-6], 3e-6), ([9e-6], 9e-6), ([5e-5], 20e-6)])
def test_measuring_takes_a_budget_where_waking_is_slow(seconds, known, monkeypatch):
    machine = Machine(monkeypatch, *seconds)
    assert wake._waking(2) == known
    assert machine.clock <= wake.BUDGET + 1e-3


def test_measuring_ends_with_the_first_slow_region():
    found = runtime.measure_wake(2, 0.0)  # any is
    assert found > 0


CALLS = {
    "conv2d": lambda: F.conv2d(normal(2, 5, 19, 23), normal(37, 5, 3, 3), normal(37), padding=1, backend=["cpu"]),
    "winograd": lambda: F.conv2d(normal(1, 16, 30, 30), normal(70, 16, 3, 3), algorithm="winograd", backend=["cpu"]),
    "max_pool2d": lambda: F.max_pool2d(normal(2, 5, 61, 67), 3, 2, 1, backend=["cpu"]),
    "tanh": lambda: F.tanh(normal(100_003), backend=["cpu"]),
    "relu": lambda: F.relu(normal(5_001), backend=["cpu"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_choice_does_not_show(name, monkeypatch):
    results = set()
    for count in (1, 2, 3, 5):
        monkeypatch.setattr(wake, "threads_for", lambda seconds, count=count: count)
        results.add(CALLS[name]().tobytes())
    assert len(results) == 1


def test_an_import_and_short_calls_measure_nothing():
    output_of("""
import numpy as np, pyconv, pyconv.functional as F
F.relu(np.ones(1000, np.float32)), pyconv.Conv2d(1, 4, 3)(np.ones((1, 1, 8, 8), np.float32))
F.max_pool2d(np.ones((1, 1, 8, 8), np.float32), 2)
from pyconv.backends.cpu import cut, elementwise, pool, wake
measured = (cut._rate, elementwise._seconds_per_element, pool._seconds_per_element)
assert [each.cache_info().currsize for each in measured] == [0, 0, 0] and not wake._known
pyconv.set_num_threads(2)
F.tanh(np.ones(1_000_000, np.float32))
assert list(wake._known) == [2]
""")


def test_an_array_of_one_more_than_a_chunk():
    for size in (2_047, 2_048, 2_049, 16_383, 16_384, 16_385, 32_769):
        x = normal(size)
        np.testing.assert_array_equal(pyconv.ReLU()(x), np.maximum(x, 0))
