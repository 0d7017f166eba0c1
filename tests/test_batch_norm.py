"""Batch normalisation at inference: the kernel, the layer, its parameters, and folding it into a convolution."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from helpers import bits, known_by, normal, refused, warm

import pyconv
import pyconv.functional as F
from pyconv import BatchNorm2d
from pyconv.backends.cpu import isa, wake
from pyconv.errors import ArgumentError, DTypeError, OutputError, ShapeError, StateDictError
from pyconv.nn.norm import folded


@pytest.fixture(params=isa.names())
def level(request):
    """An instruction set, in use during the test."""
    isa.use(request.param)
    yield request.param
    isa.use(None)


def statistics(channels, dtype="float32", seed=0):
    mean, variance, weight, bias = (normal(channels, dtype=dtype, seed=seed + i) for i in range(4))
    return mean, variance**2, weight, bias


def filled(channels, **more):
    layer = BatchNorm2d(channels, **more)
    named = zip(
        ("running_mean", "running_var", "weight", "bias"), statistics(channels, layer.weight.dtype), strict=True
    )
    for name, value in named:
        setattr(layer, name, value)
    return layer


def written_out(x, mean, variance, weight, bias, eps=1e-5):
    shape = (-1, *[1] * (x.ndim - 2))
    mean, variance, weight, bias = (part.astype(np.float64).reshape(shape) for part in (mean, variance, weight, bias))
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_every_length(level, layout, dtype):
    """Planes and rows that end anywhere in a vector, one pixel included."""
    for channels, (height, width) in itertools.product((1, 3, 16, 37, 700), ((1, 1), (1, 2), (3, 5), (4, 8), (7, 19))):
        x = normal(2, channels, height, width, dtype=dtype)
        if layout == "nhwc":
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
        numbers = statistics(channels, dtype)
        got, wanted = F.batch_norm(x, *numbers, backend="cpu"), written_out(x, *numbers)
        assert got.strides == x.strides or 1 in x.shape
        scale = np.abs(wanted).max() + 1 / np.sqrt(numbers[1].min() + 1e-5)
        np.testing.assert_allclose(got, wanted, rtol=1e-6 if dtype == "float32" else 1e-14, atol=4e-7 * scale)


def test_the_bits_do_not_depend_on_threads(monkeypatch):
    for x in (normal(2, 5, 91, 101), np.moveaxis(normal(2, 91, 101, 5), -1, 1), normal(90_001, 3)):
        results = set()
        for count in (1, 2, 3, 7):
            monkeypatch.setattr(wake, "threads_for", lambda seconds, count=count: count)
            results.add(F.batch_norm(x, *statistics(x.shape[1]), backend="cpu").tobytes())
        assert len(results) == 1


def test_layer_is_its_function():
    layer, x = filled(3, eps=0.25), normal(2, 3, 5, 7)
    numbers = layer.running_mean, layer.running_var, layer.weight, layer.bias
    wanted = F.batch_norm(x, *numbers, eps=0.25)
    assert bits(layer(x)) == bits(wanted)
    assert bits(layer(x[0])) == bits(wanted[0])
    assert layer(x[0]).shape == (3, 5, 7)
    out = np.empty_like(x[0])
    assert layer(x[0], out=out) is out
    assert bits(out) == bits(wanted[0])
    assert list(BatchNorm2d(3, bias=False).state_dict())[:2] == ["weight", "running_mean"]
    plain = BatchNorm2d(3, affine=False)
    assert plain.weight is None
    assert plain.bias is None
    np.testing.assert_allclose(plain(x), x / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_layer_knows_its_calls():
    layer = filled(3)
    for x in (normal(2, 3, 5, 7), normal(3, 5, 7), np.moveaxis(normal(2, 5, 7, 3), -1, 1)):
        wanted = warm(layer, x)
        assert bits(known_by(layer, x)) == bits(wanted)
        work = x.copy(order="K")
        assert known_by(layer, work, work) is work
        assert bits(work) == bits(wanted)
    layer.running_mean = np.ones(3, np.float32)
    changed = warm(layer, x)
    assert bits(changed) != bits(wanted)
    assert bits(known_by(layer, x)) == bits(changed)


def test_parameters_are_read_only_and_checked():
    layer = filled(3)
    for array in layer.parameters().values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    refused(
        ShapeError,
        ["BatchNorm2d: running_var must have shape (3,), got (4,)"],
        setattr,
        layer,
        "running_var",
        normal(4),
    )
    refused(DTypeError, ["weight must be float32, got float64"], setattr, layer, "weight", np.ones(3))
    with pytest.raises(AttributeError, match="eps cannot be changed"):
        layer.eps = 1.0


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies(duplicate):
    layer, x = filled(3), normal(2, 3, 5, 7)
    other = duplicate(layer)
    assert bits(other(x)) == bits(layer(x))
    assert repr(other) == repr(layer)
    with pytest.raises(ValueError, match="read-only"):
        other.running_mean[...] = 0


def test_state_dict():
    layer = filled(3)
    held = layer.state_dict()
    assert list(held) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    other = BatchNorm2d(3)
    other.load_state_dict({**held, "num_batches_tracked": np.array(17)})
    assert other.num_batches_tracked == 17
    x = normal(1, 3, 4, 4)
    assert bits(other(x)) == bits(layer(x))
    refused(StateDictError, ["missing key 'running_var'"], other.load_state_dict, {"weight": held["weight"]})


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_folded(dtype, bias):
    conv = pyconv.Conv2d(4, 6, 3, padding=1, groups=2, padding_mode="reflect", bias=bias, dtype=dtype, rng=0)
    norm, x = filled(6, dtype=dtype, eps=1e-3), normal(2, 4, 9, 10, dtype=dtype)
    weight, shift = folded(conv, norm)
    assert weight.dtype == shift.dtype == np.dtype(dtype)
    one = pyconv.Conv2d(4, 6, 3, padding=1, groups=2, padding_mode="reflect", dtype=dtype)
    one.weight, one.bias = weight, shift
    close = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(one(x), norm(conv(x)), rtol=close, atol=close)


def test_folding_is_done_in_float64():
    """In float32 the sum of the two large numbers would keep nothing of the small one."""
    conv, norm = pyconv.Conv2d(1, 1, 1, rng=0), BatchNorm2d(1)
    conv.bias, norm.running_mean = np.full(1, 2**24, np.float32), np.full(1, 2**24 - 1, np.float32)
    norm.running_var = np.full(1, 3, np.float32)
    _, bias = folded(conv, norm)
    assert bias[0] == np.float32(1 / np.sqrt(3 + 1e-5))


def test_folding_what_does_not_fit():
    refused(
        ShapeError, ["folded: the normalisation has 3 features", "4 output"], folded, pyconv.Conv2d(2, 4, 1), filled(3)
    )


X = normal(2, 3, 4, 5)
GOOD = dict(zip(("running_mean", "running_var", "weight", "bias"), statistics(3), strict=True))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"running_mean": normal(4)}, ShapeError, ["running_mean must have shape (C,) = (3,)", "got (4,)"]),
        ({"bias": normal(3, 1)}, ShapeError, ["bias must have shape", "(3, 1)"]),
        ({"running_var": None}, ArgumentError, ["running_var must be a NumPy or CuPy array, got NoneType"]),
        ({"weight": np.ones(3)}, DTypeError, ["input is float32 but weight is float64"]),
        ({"training": True}, ArgumentError, ["training=True", "trained"]),
        ({"training": 1}, ArgumentError, ["training must be True or False"]),
        ({"eps": -1e-5}, ArgumentError, ["eps must not be negative"]),
        ({"eps": "1"}, ArgumentError, ["eps must be a number"]),
        ({"momentum": "1"}, ArgumentError, ["momentum must be a number"]),
        ({"input": normal(3)}, ShapeError, ["input must be (N, C, ...)", "(3,)"]),
        ({"input": np.arange(6).reshape(2, 3)}, DTypeError, ["int64"]),
        (
            {"out": np.empty((2, 3, 4), np.float32)},
            OutputError,
            ["out has shape (2, 3, 4), the result has (2, 3, 4, 5)"],
        ),
        ({"out": X[::-1]}, OutputError, ["overlaps an input"]),
    ],
)
def test_bad_arguments(change, kind, words):
    before = X.copy()
    refused(kind, ["batch_norm: ", *words], F.batch_norm, **{"input": X, **GOOD, **change})
    np.testing.assert_array_equal(X, before)


def test_out_over_the_statistics_is_refused():
    memory = normal(64)
    mean = memory[10:13]
    refused(OutputError, ["overlaps"], F.batch_norm, X[:, :, :2, :2], mean, mean, out=memory[:24].reshape(2, 3, 2, 2))


def test_bad_layers():
    refused(ShapeError, ["num_features must be at least 1"], BatchNorm2d, 0)
    refused(ArgumentError, ["track_running_stats=False", "trained"], BatchNorm2d, 3, track_running_stats=False)
    refused(ArgumentError, ["eps must not be negative"], BatchNorm2d, 3, -1.0)
    layer = filled(3)
    refused(ShapeError, ["BatchNorm2d(3", "must have shape (C,) = (4,)"], layer, normal(1, 4, 2, 2))
    refused(ShapeError, ["must be (N, C, H, W) or (C, H, W), got 2"], layer, normal(1, 3))
    refused(
        OutputError,
        ["out has shape (1, 3, 2, 2), the result has (3, 2, 2)"],
        layer,
        normal(3, 2, 2),
        out=normal(1, 3, 2, 2),
    )


def test_explain():
    found = pyconv.report.explain(filled(3), X, measure=True)
    assert found.steps[0].backend == "cpu"
    assert f"vector_{isa.name()}" in str(found)
