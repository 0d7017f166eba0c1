"""Calls that come again are known only while nothing has changed: attributes, settings, threads."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import threading

import numpy as np
import pytest
from helpers import GENERAL, bits, known_by, normal, refused, warm

import pyconv
import pyconv.functional as F
from pyconv.errors import BackendError, ConfigurationError


@pytest.fixture
def spy(monkeypatch):
    """Names of the operations that the reference backend runs."""
    found = []
    backend = pyconv.registry.load("reference")
    run = backend.run
    monkeypatch.setattr(backend, "run", lambda plan, *rest: found.append(plan.op) or run(plan, *rest))
    return found


def test_what_is_set_on_a_layer_counts(spy):
    x, layer = normal(1, 3, 8, 8), pyconv.Conv2d(3, 4, 3, rng=0)
    for seed in range(3):
        warm(layer, x)
        layer.weight = normal(4, 3, 3, 3, seed=seed)
        assert bits(layer(x)) == bits(F.conv2d(x, layer.weight, layer.bias, backend=GENERAL, algorithm="auto"))
    warm(layer, x)
    layer.load_state_dict({"weight": np.ones((4, 3, 3, 3)), "bias": np.ones(4)})
    np.testing.assert_allclose(layer(x), F.conv2d(x, np.ones((4, 3, 3, 3), "f"), np.ones(4, "f")), rtol=1e-5)
    warm(layer, x)
    assert spy == []
    layer.backend = "reference"
    layer(x)
    assert spy == ["conv2d"]
    relu = pyconv.ReLU()
    warm(relu, x)
    relu.inplace = True
    assert relu(x) is x


@pytest.mark.parametrize("kind", [F.relu, pyconv.ReLU()], ids=["function", "layer"])
def test_the_choice_of_a_backend_counts(kind, spy, monkeypatch):
    x = normal(2, 3)

    def runs_on_reference():
        warm(kind, x)
        found = bool(spy)
        spy.clear()
        return found

    assert not runs_on_reference()
    with pyconv.use_backend("reference"):
        assert runs_on_reference()
        with pyconv.use_backend("cpu"):
            assert not runs_on_reference()
        with pyconv.use_backend(None):
            assert not runs_on_reference()
    assert not runs_on_reference()
    pyconv.set_backend("reference")
    assert runs_on_reference()
    pyconv.set_backend(None)
    assert not runs_on_reference()
    for value, expected in (("reference", True), ("cpu", False), ("", False), ("cuda,reference", None)):
        monkeypatch.setenv("PYCONV_BACKEND", value)
        assert runs_on_reference() == expected or expected is None
    monkeypatch.delenv("PYCONV_BACKEND")
    assert not runs_on_reference()
    monkeypatch.setenv("PYCONV_BACKEND", "nonsense")
    with pytest.raises(ConfigurationError, match="nonsense"):
        kind(x)
    monkeypatch.delenv("PYCONV_BACKEND")
    assert not runs_on_reference()
    monkeypatch.setattr(os, "environ", {**os.environ, "PYCONV_BACKEND": "reference"})
    assert runs_on_reference()


def test_the_same_block_again_is_known():
    layer, x = pyconv.ReLU(), normal(2, 3)
    for _ in range(2):
        with pyconv.use_backend("cpu"):
            layer(x)
    with pyconv.use_backend("cpu"):
        assert known_by(layer, x) is not None
    assert known_by(layer, x) is None


def test_another_thread_chooses_for_itself(spy):
    layer, x = pyconv.ReLU(), normal(2, 3)
    warm(layer, x)

    def other():
        with pyconv.use_backend("reference"):
            layer(x)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert spy == ["relu"]
    assert known_by(layer, x) is not None


def test_refused_backends_are_refused_again():
    x = normal(2, 3)
    warm(F.relu, x)
    for _ in range(3):
        with pyconv.use_backend("cuda"):
            if not next(status for status in pyconv.backends() if status.name == "cuda").usable:
                refused(BackendError, ["cuda was asked for"], F.relu, x)


def test_the_number_of_threads_counts():
    layer, x = pyconv.Conv2d(16, 64, 3, padding=1, rng=0), normal(4, 16, 64, 64)
    before = pyconv.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            pyconv.set_num_threads(count)
            assert count == 1 or known_by(layer, x) is None
            results.append(bits(warm(layer, x)))
            assert bits(known_by(layer, x)) == results[0]
        assert len(set(results)) == 1
    finally:
        pyconv.set_num_threads(before)


def test_a_limit_of_threads_counts():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    layer, x = pyconv.Conv2d(16, 64, 3, padding=1, rng=0), normal(4, 16, 64, 64)
    before = pyconv.get_num_threads()
    try:
        pyconv.set_num_threads(2)
        wanted = bits(warm(layer, x))
        assert bits(known_by(layer, x)) == wanted
        with threadpoolctl.threadpool_limits(1):
            assert known_by(layer, x) is None
            assert bits(layer(x)) == wanted
    finally:
        pyconv.set_num_threads(before)


def test_not_finite_after_a_good_call():
    layer = pyconv.Conv2d(16, 64, 3, padding=1, algorithm="winograd", rng=0)
    general = copy.deepcopy(layer)
    general.backend = GENERAL
    x = normal(2, 16, 20, 20)
    warm(layer, x)
    assert known_by(layer, x) is not None
    x[1, 3, 7, 7] = np.inf
    with np.errstate(all="ignore"):
        assert known_by(layer, x) is None
        assert bits(layer(x)) == bits(general(x))
    assert np.isfinite(layer(x)).sum() == 2 * 64 * 400 - 64 * 9


class Turns(pyconv.ReLU):
    """Its plan goes by more than its attributes and the input's layout."""

    def __init__(self):
        super().__init__()
        self.turn = [0]

    def plan_call(self, input, out=None):
        self.turn[0] += 1
        return F.activation.plan_call_activation(("relu", "tanh")[self.turn[0] % 2], input, out)


class Doubled(pyconv.ReLU):
    plans_alike = True  # and yet it is never known, as it plans for an array of its own

    def plan_call(self, input, out=None):
        return super().plan_call(2 * input, out)


class Switched(pyconv.ReLU):
    """While its attribute is being set, it is called, as another thread may do."""

    @property
    def function(self):
        return self._op

    @function.setter
    def function(self, name):
        warm(self, np.ones((2, 3), np.float32))
        self.__dict__["_op"] = name


def test_what_others_plan_while_an_attribute_is_set_is_dropped():
    layer, x = Switched(), normal(2, 3)
    layer.function = "tanh"
    np.testing.assert_array_equal(layer(x), F.tanh(x))
    layer.function = "relu"
    np.testing.assert_array_equal(layer(x), F.relu(x))


def test_layers_of_others():
    x, turns = normal(2, 3), Turns()
    for turn in range(6):
        np.testing.assert_array_equal(turns(x), F.relu(x) if turn % 2 else F.tanh(x))
    doubled = Doubled()
    for _ in range(5):
        np.testing.assert_array_equal(doubled(x), F.relu(2 * x))


def test_copies_begin_with_nothing():
    layer, x = pyconv.Conv2d(2, 3, 3, rng=0), normal(1, 2, 5, 5)
    fresh = len(pickle.dumps(layer))
    wanted = warm(layer, x)
    assert len(pickle.dumps(layer)) == fresh
    for other in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert "_known" not in other.__dict__
        assert bits(warm(other, x)) == bits(wanted)
    assert copy.deepcopy(layer.__dict__["_known"]).run(x, None, None, None, ()) is None


def test_many_shapes_come_and_go():
    layer, inputs = pyconv.Conv2d(2, 3, 3, padding=1, rng=0), [normal(1, 2, size, 9) for size in range(3, 40)]
    general = copy.deepcopy(layer)
    general.backend = GENERAL
    wanted = [bits(general(x)) for x in inputs]
    for _ in range(4):
        assert [bits(layer(x)) for x in inputs] == wanted
    for x in inputs[:16]:
        warm(layer, x)
    assert [bits(known_by(layer, x)) for x in inputs[:16]] == wanted[:16]
    assert known_by(layer, inputs[16]) is None


def test_no_weights_of_the_past_are_left_in_a_layer():
    """Others call the layer all the time; once an assignment is done, what this thread gets is of the new weights."""
    layer, x = pyconv.Conv2d(1, 1, 1, bias=False, rng=0), np.ones((1, 1, 2, 2), np.float32)
    done = threading.Event()

    def call():
        while not done.is_set():
            layer(x)

    others = [threading.Thread(target=call) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in others:
            thread.start()
        for value in range(1500):
            layer.weight = np.full((1, 1, 1, 1), value, np.float32)
            for _ in range(3):
                assert (layer(x) == value).all()
    finally:
        done.set()
        sys.setswitchinterval(interval)
        for thread in others:
            thread.join()


@pytest.mark.parametrize("shape", [(0, 4, 3, 5), (0,), (2, 4, 0)])
def test_prelu_of_nothing_again(shape):
    for slopes in (1, *shape[1:2]):
        for _ in range(3):
            assert F.prelu(np.zeros(shape, np.float32), np.ones(slopes, np.float32)).shape == shape
