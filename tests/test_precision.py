"""precision=: which one a plan gets, by argument, context, environment; and that the backends of the CPU take both."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from helpers import GENERAL, bits, known_by, normal, refused, warm

import pyconv
import pyconv.functional as F
from pyconv.errors import ArgumentError, ConfigurationError
from pyconv.report import explain

X, WEIGHT = normal(1, 4, 7, 8), normal(6, 4, 3, 3)


def of_function(dtype="float32", **arguments):
    [step] = explain(F.conv2d, X.astype(dtype), WEIGHT.astype(dtype), **arguments).steps
    return step.plan.precision


def of_layer(**arguments):
    [step] = explain(pyconv.Conv2d(4, 6, 3, rng=0, **arguments), X).steps
    return step.plan.precision


@pytest.mark.parametrize("of", [of_function, of_layer])
def test_the_first_that_asks_is_heard(of, monkeypatch):
    """Argument, then context, then environment, then float32's own."""
    assert of() == "fp32"
    assert of(precision="tf32") == "tf32"
    with pyconv.precision("tf32"):
        assert (of(), of(precision="fp32")) == ("tf32", "fp32")
        with pyconv.precision(None):
            assert of() == "fp32"
        with pyconv.precision("fp32"), pyconv.use_backend("reference"):
            assert of() == "fp32"
        assert of() == "tf32"
    assert of() == "fp32"
    monkeypatch.setenv("PYCONV_PRECISION", " TF32 ")
    assert (of(), of(precision="fp32")) == ("tf32", "fp32")
    with pyconv.precision("fp32"):
        assert of() == "fp32"
    monkeypatch.setenv("PYCONV_PRECISION", "")
    monkeypatch.setenv("CUPY_TF32", "1")  # is about the libraries that CuPy calls
    assert of() == "fp32"


def test_it_is_for_float32():
    assert of_function("float64", precision="tf32") == "fp32"


def test_it_is_shown():
    assert "tf32" in str(explain(F.conv2d, X, WEIGHT, precision="tf32"))
    assert "tf32" not in str(explain(F.conv2d, X, WEIGHT))


def test_one_thread_does_not_ask_for_another():
    found = []
    with pyconv.precision("tf32"):
        worker = threading.Thread(target=lambda: found.append(of_function()))
        worker.start()
        worker.join()
    assert found == ["fp32"]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_the_cpu_computes_in_float32(backend):
    wanted = F.conv2d(X, WEIGHT, padding=1, backend=backend)
    assert bits(F.conv2d(X, WEIGHT, padding=1, precision="tf32", backend=backend)) == bits(wanted)


def test_known_calls_are_known_under_one_precision(monkeypatch):
    layer = pyconv.Conv2d(4, 6, 3, rng=0)
    named = pyconv.Conv2d(4, 6, 3, rng=0, backend=GENERAL)
    wanted = named(X)
    for each in (layer, pyconv.Conv2d(4, 6, 3, rng=0, backend="cpu")):
        warm(each, X)
        assert known_by(each, X) is not None
        with pyconv.precision("tf32"):
            assert known_by(each, X) is None
            assert bits(warm(each, X)) == bits(wanted)
            assert known_by(each, X) is not None
        monkeypatch.setenv("PYCONV_PRECISION", "tf32")
        assert known_by(each, X) is None
        monkeypatch.setenv("PYCONV_PRECISION", "nonsense")
        refused(ConfigurationError, ["PYCONV_PRECISION='nonsense'", "fp32, tf32"], each, X)
        monkeypatch.delenv("PYCONV_PRECISION")
        each.precision = "tf32"
        assert bits(warm(each, X)) == bits(wanted)


@pytest.mark.parametrize("value", ["fp16", "TF32", ""])
def test_another_name(value):
    words = ["conv2d: precision must be one of fp32, tf32", repr(value)]
    refused(ArgumentError, words, F.conv2d, X, WEIGHT, precision=value)
    refused(ArgumentError, ["Conv2d: precision"], pyconv.Conv2d, 4, 6, 3, precision=value)
    refused(ConfigurationError, ["precision", repr(value)], pyconv.precision, value)


@pytest.mark.parametrize("value", [1, ["tf32"], np.float32])
def test_what_is_no_name(value):
    refused(ArgumentError, ["conv2d: precision must be a str or None"], F.conv2d, X, WEIGHT, precision=value)
    refused(ArgumentError, ["Conv2d: precision must be a str or None"], pyconv.Conv2d, 4, 6, 3, precision=value)
