"""Tasks over threads: a helper that another process keeps from running is not waited for again and again."""

from __future__ import annotations

import os
import time

import pytest
from helpers import bits, normal, output_of

import pyconv
import pyconv.functional as F
from pyconv._core import tasks


@pytest.fixture(autouse=True)
def _nothing_noted():
    tasks.forget_waits()
    yield
    tasks.forget_waits()


@pytest.mark.parametrize(
    ("worked", "waited", "rest"),
    [(1e-5, 5e-3, True), (1e-3, 5e-3, True), (2e-3, 5e-3, False), (1e-5, 4e-4, False), (0.0, 0.0, False)],
)
def test_helpers_rest_where_waiting_for_them_took_far_longer_than_the_work(worked, waited, rest):
    tasks.note_wait(worked, waited)
    assert (tasks.resting() > 0) is rest


def test_what_helpers_saved_may_be_spent_in_waiting():
    for _ in range(8):
        tasks.note_wait(1e-3, 1e-5, saved=1e-3)
    tasks.note_wait(1e-5, 5e-3)
    assert tasks.resting() == 0
    tasks.note_wait(1e-5, 5e-3)
    assert tasks.resting() > 0


def test_no_more_than_ten_milliseconds_are_spent_in_waiting():
    for _ in range(100):
        tasks.note_wait(1e-3, 1e-5, saved=1e-3)
    tasks.note_wait(1e-5, 11e-3)
    assert tasks.resting() > 0


def test_waits_too_short_to_be_noticed_are_spent_too():
    tasks.note_wait(1e-3, 0.0, saved=3e-3)
    for _ in range(10):
        tasks.note_wait(1e-5, 4e-4)
    tasks.note_wait(1e-5, 1e-3)
    assert tasks.resting() > 0


def test_helpers_work_again_after_some_work():
    """Of some milliseconds, however long that takes: pauses between calls are not counted."""
    x, before = (
        normal(1, 16, 500, 500),
        pyconv.get_num_threads(),
    )  # enough for two threads however slow they are to wake
    pyconv.set_num_threads(2)
    try:
        tasks.note_wait(0.0, 0.025)
        assert tasks.resting() == 0.1
        time.sleep(0.01)
        assert tasks.resting() == 0.1
        F.tanh(x)
        assert tasks.resting() < 0.1
        end = time.monotonic() + 60
        while tasks.resting() and time.monotonic() < end:
            F.tanh(x)
        assert tasks.resting() == 0
    finally:
        pyconv.set_num_threads(before)


@pytest.mark.parametrize("threads", [2, 3])
def test_helpers_come_back_in_the_middle_of_a_long_call(threads):
    """Each task is done once, wherever the rest ends."""
    done, rest = [], tasks.resting

    def work(i):
        time.sleep(1e-3)
        done.append((i, rest() > 0))

    tasks.note_wait(0.0, 1.25e-3)
    tasks.run_function(work, 40, threads)
    assert sorted(i for i, _ in done) == list(range(40))
    assert done[0] == (0, True)
    assert not any(resting for _, resting in done[6:])


def test_helpers_rest_longer_where_trying_anew_was_in_vain():
    for times in (4, 8, 8):
        tasks.note_wait(0.0, 0.01)
        assert tasks.resting() == 0.01 * times
    for _ in range(2):
        tasks.note_wait(1e-3, 1e-5)  # as it should be
    tasks.note_wait(0.0, 0.01)
    assert tasks.resting() == 0.04


def test_a_process_that_was_stopped_meanwhile_does_not_rest_for_long():
    tasks.note_wait(0.0, 1000.0)
    assert tasks.resting() == 0.4


def test_it_is_said_while_helpers_rest():
    assert "waiting" not in pyconv.show_config("dicts")["cpu"]["threads"]
    tasks.note_wait(0.0, 1000.0)
    assert "(1 for " in pyconv.show_config("dicts")["cpu"]["threads"]


def test_results_are_the_same_bits_while_helpers_rest():
    x, weight = normal(2, 5, 40, 41), normal(33, 5, 3, 3)
    up = normal(5, 8, 3, 3)

    def results():
        return F.conv2d(x, weight), F.conv_transpose2d(x, up, stride=2), F.tanh(x), F.softmax(x, 1), F.glu(x[:, :4], 1)

    both = results()
    tasks.note_wait(0.0, 1000.0)
    alone = results()
    assert tasks.resting()
    for one, other in zip(both, alone, strict=True):
        assert bits(one) == bits(other)


def test_no_thread_is_started_while_helpers_rest():
    output_of("""
import os
import numpy as np, pyconv, pyconv.functional as F
from pyconv._core import tasks
from pyconv.backends.cpu import wake
pyconv.set_num_threads(2)
wake.threads_for = lambda seconds: 2
x, weight = np.ones((1, 8, 60, 60), np.float32), np.ones((16, 8, 3, 3), np.float32)
group = pyconv.Sequential(pyconv.Conv2d(8, 16, 3, rng=0), pyconv.ReLU(), pyconv.MaxPool2d(2))
from pyconv.backends.cpu import cut, fused, transposed, winograd, direct, elementwise, norm
elementwise._threads = lambda *_: 2
norm._shared = lambda *_: (2, 1024)
scale, slopes = np.ones(8, np.float32), np.ones(8, np.float32)
for module in (fused, transposed, winograd, direct):
    module.threads_for = lambda *_: 2
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
tasks.note_wait(0.0, 1000.0)
F.conv2d(x, weight), group(x), F.conv_transpose2d(x, weight.transpose(1, 0, 2, 3).copy(), stride=2)
F.tanh(x), F.prelu(x, slopes), F.glu(x, 1), F.softmax(x, 1), F.batch_norm(x, scale, scale, scale, scale)
assert threads() == before, threads()
tasks.forget_waits()
F.conv2d(x, weight)
assert threads() == before + 1, threads()
""")


SHARED = """
import os, subprocess, sys, time
cores = sorted(os.sched_getaffinity(0))[:2]
os.sched_setaffinity(0, cores)  # for all threads and processes that are started here
import numpy as np
import pyconv, pyconv.functional as F
from pyconv._core import tasks
from pyconv.backends.cpu import wake
wake.threads_for = lambda seconds: 2
pyconv.set_num_threads(2)
x = np.linspace(-4, 4, 200_000, dtype=np.float32)
wanted = F.tanh(x).tobytes()
busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in cores]
try:
    end, rested = time.monotonic() + 60, False
    while not rested and time.monotonic() < end:
        assert F.tanh(x).tobytes() == wanted
        rested = tasks.resting() > 0
finally:
    for each in busy:
        each.kill()
print(rested)
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the cores cannot be counted")
def test_helpers_come_to_rest_where_other_processes_have_the_cores():
    """Within a minute: it takes some hundredths of a second. An activation is cut into one task for each thread."""
    assert output_of(SHARED) == "True"
