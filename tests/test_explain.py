"""What explain tells beside the names: arithmetic, traffic, costs, times; and what plug-ins can add."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers import normal, pretend, refused

import pyconv
import pyconv.functional as F
from pyconv.backends.reference import ReferenceBackend
from pyconv.errors import ArgumentError
from pyconv.plan import Cost, Traffic, traffic
from pyconv.report import explain

X, WEIGHT = normal(2, 3, 10, 12), normal(4, 3, 3, 3, seed=1)


def _step(op, *args, **kwargs):
    [step] = explain(op, *args, **kwargs).steps
    return step


def test_traffic_counts_every_array_once():
    assert traffic(_step(F.conv2d, X, WEIGHT).plan) == Traffic(2 * 3 * 120 * 4, 4 * 27 * 4, 2 * 4 * 8 * 10 * 4)
    wide = [array.astype(np.float64) for array in (X, WEIGHT, np.ones(4))]
    assert traffic(_step(F.conv2d, *wide).plan) == Traffic(2 * 3 * 120 * 8, (4 * 27 + 4) * 8, 2 * 4 * 8 * 10 * 8)
    assert traffic(_step(F.max_pool2d, X, 2).plan) == Traffic(X.nbytes, 0, X.nbytes // 4)
    assert traffic(_step(F.tanh, X[:, 1:]).plan).total == 2 * X[:, 1:].nbytes


class Telling(ReferenceBackend):
    """Two implementations of convolution, of which the first can do no more than 3x3 kernels."""

    name = "telling"
    costs_asked, ran = 0, None

    def implementations(self, plan):
        return [("quick", None if getattr(plan, "kernel", 0) == (3, 3) else "3x3 only"), ("plain", None)]

    def costs(self, plan):
        Telling.costs_asked += 1
        return {"plain": Cost(seconds=0.0123, flops=4_000_000, bytes=1_234_000, workspace=56)}

    def prepare_with(self, implementation, plan, weight=None, bias=None):
        return implementation, (weight, bias)

    def prepare(self, plan, weight=None, bias=None):
        return self.prepare_with("quick", plan, weight, bias)

    def run(self, plan, x, prepared=None, out=None):
        if weights := prepared[1]:
            self.ran.append(prepared[0])
        return super().run(plan, x, weights, out)


@pytest.fixture
def telling(monkeypatch):
    found = Telling()
    found.ran = []
    pretend(monkeypatch, found)
    return found


def test_a_plug_in_tells_what_it_needs(telling):
    found = explain(F.conv2d, X, WEIGHT, backend="telling")
    [step] = found.steps
    assert step.costs == {"telling:plain": Cost(0.0123, 4_000_000, 1_234_000, 56)}
    assert not step.measured
    assert str(found).splitlines()[1:] == [
        "    34.6 kFLOP by the plain sum; input 2.88 kB, weights 432 B, output 2.56 kB",
        "    telling:quick: runs",
        "    telling:plain: comes later in the order; estimated 12.3 ms, 4.00 MFLOP, 1.23 MB moved, 56 B workspace",
    ]
    assert telling.ran == []


def test_measuring_runs_each_implementation_by_name(telling):
    found = explain(F.conv2d, X, WEIGHT, backend="telling", measure=True)
    [step] = found.steps
    assert set(step.measured) == {"telling:quick", "telling:plain"}
    assert all(0 < value < 10 for value in step.measured.values())
    assert set(telling.ran) == {"quick", "plain"}
    assert str(found).count("measured") == 2
    step = _step(F.conv2d, X, normal(4, 3, 5, 5), backend="telling", measure=True)
    assert set(step.measured) == {"telling:plain"}  # the other refuses it


def test_measuring_a_backend_that_has_no_names():
    step = _step(F.conv2d, X, WEIGHT, backend="reference", measure=True)
    assert set(step.measured) == {"reference:numpy"}
    assert set(_step(F.relu, X, backend="reference,cpu", measure=True).measured) == {"reference:numpy"}


def test_measuring_a_network_runs_it_on_real_numbers(monkeypatch):
    """Each layer is timed on what the one before put out."""
    seen, plain = [], ReferenceBackend.run
    monkeypatch.setattr(ReferenceBackend, "run", lambda *args: seen.append(args[2].copy()) or plain(*args))
    net = pyconv.Sequential(pyconv.ReLU(), pyconv.Conv2d(3, 2, 3, rng=0), pyconv.MaxPool2d(2))
    with pyconv.use_backend("reference"):
        found = explain(net, X, measure=True)
    assert [len(step.measured) for step in found.steps] == [1, 1, 1]
    assert {array.shape for array in seen} == {X.shape, (2, 2, 8, 10)}
    assert any(np.array_equal(array, np.maximum(X, 0)) for array in seen)


def test_costs_of_the_cpu_backend_are_plausible():
    """Those that take the plan tell; four times the pixels cost about four times as much on as many threads."""
    pyconv.set_num_threads(1)
    for groups, names in ((1, {"cpu:winograd", "cpu:direct"}), (64, {"cpu:depthwise", "cpu:depthwise_channels"})):
        layer = pyconv.Conv2d(64, 64, 3, padding=1, groups=groups, backend="cpu", algorithm="measure")
        small, large = (_step(layer, normal(1, 64, size, size)) for size in (32, 64))
        assert names <= {_family(name) for name in small.costs}
        _check_growth(small, large)


def _family(name):
    """An implementation's name without tile and instruction set."""
    return re.match(r"(cpu:[a-z]+(_channels)?)_", name)[1]


def _check_growth(small, large):
    found = {_family(name): cost for name, cost in small.costs.items()}
    for name, cost in large.costs.items():
        twin = found[_family(name)]
        if cost.seconds is not None:
            assert 2 * twin.seconds < cost.seconds < 8 * twin.seconds
        assert 3 * twin.flops < cost.flops <= large.plan.flops
        assert cost.bytes > traffic(small.plan).total
        assert cost.workspace > 0


def test_measure_is_a_flag():
    refused(ArgumentError, ["explain: measure must be True or False"], pyconv.explain, F.relu, X, measure="yes")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_400, "999 kB"),
        (999_600, "1.00 MB"),
        (2**50, "1126 TB"),
        (0.00123, "1.23 mB"),
        (1.5e-9, "1.50 nB"),
    ],
)
def test_three_digits(value, words):
    assert pyconv.report._short(value, "B") == words


def test_functions_on_lines_are_named_as_they_are_called():
    x = normal(1, 4, 10)
    step = _step(F.conv1d, x, normal(2, 4, 3))
    assert (step.name, step.plan.op) == ("conv1d", "conv2d")
    assert str(pyconv.explain(F.max_pool1d, x, 2)).startswith("max_pool1d: max_pool2d float32 1x4x1x10 ")
