"""Tasks over threads: a helper that another process keeps from running is not waited for again and again."""

from __future__ import annotations

import pytest
from helpers import bits, normal, output_of

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
    assert tasks.helpers_rest() is rest


def test_helpers_work_again_after_a_while():
    tasks.note_wait(0.0, 1e-3)
    while tasks.helpers_rest():  # four times as long
        pass
    assert not tasks.helpers_rest()


def test_results_are_the_same_bits_while_helpers_rest():
    x, weight = normal(2, 5, 40, 41), normal(33, 5, 3, 3)
    up = normal(5, 8, 3, 3)
    both = F.conv2d(x, weight), F.conv_transpose2d(x, up, stride=2)
    tasks.note_wait(0.0, 1000.0)
    alone = F.conv2d(x, weight), F.conv_transpose2d(x, up, stride=2)
    assert tasks.helpers_rest()
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
from pyconv.backends.cpu import cut, fused, transposed, winograd, direct
for module in (fused, transposed, winograd, direct):
    module.threads_for = lambda *_: 2
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
tasks.note_wait(0.0, 1000.0)
F.conv2d(x, weight), group(x), F.conv_transpose2d(x, weight.transpose(1, 0, 2, 3).copy(), stride=2)
assert threads() == before, threads()
tasks.forget_waits()
F.conv2d(x, weight)
assert threads() == before + 1, threads()
""")
