"""Calls that come again on device arrays: they launch what the general way launches, and others are not known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import known_by, normal, refused, warm

import pyconv
import pyconv.functional as F
from pyconv.backends.cuda import elementwise
from pyconv.errors import OutputError
from pyconv.testing import cases

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import OnDevice, OnStandIn, stand_in_for_cuda, why_not
from stand_in import Array


@pytest.fixture(params=["stand-in", "device"])
def place(request, monkeypatch):
    if reason := why_not(request.param):
        pytest.skip(reason)
    if request.param == "device":
        return OnDevice()
    made = OnStandIn()
    stand_in_for_cuda(monkeypatch, made.room)
    return made


LAYERS = {
    "dense": lambda: pyconv.Conv2d(3, 5, 3, padding=1, rng=0),
    "pointwise": lambda: pyconv.Conv2d(3, 5, 1, bias=False, rng=0),
    "strided": lambda: pyconv.Conv2d(3, 5, 2, stride=2, rng=0),
    "depthwise": lambda: pyconv.Conv2d(3, 3, 3, padding=1, groups=3, rng=0),
    "pool": lambda: pyconv.MaxPool2d(3, 2, 1),
    "relu": pyconv.ReLU,
    "tanh": pyconv.Tanh,
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layout", ["dense", "channels last", "no batch"])
def test_layers_know_calls_by_layout_alone(place, name, layout):
    """Other numbers in other memory: the same launches, the result of these numbers, in new memory or in ``out``."""
    x = normal(2, 3, 8, 12)
    x = {"dense": x, "no batch": x[0], "channels last": np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)}[layout]
    layer, general = LAYERS[name](), LAYERS[name]()
    general.plans_alike = False  # then no call is known
    first = warm(layer, place.array(x))
    other = place.array(x[..., ::-1, ::-1] * 2)
    if place.name == "stand-in":
        place.room.launched.clear()
    wanted = general(other)
    launched = place.room.launched[-1:] if place.name == "stand-in" else None
    got = known_by(layer, other)
    assert (got.shape, got.strides, got.dtype) == (wanted.shape, wanted.strides, wanted.dtype)
    np.testing.assert_array_equal(place.host(got), place.host(wanted))
    if launched is not None:
        assert place.room.launched[-1:] == launched
        assert got.data.ptr not in (first.data.ptr, wanted.data.ptr, other.data.ptr)
    out = place.array(np.full_like(place.host(wanted), 7)) if layout != "channels last" else wanted
    if out.strides == wanted.strides:
        assert known_by(layer, other, out) is out
        np.testing.assert_array_equal(place.host(out), place.host(got))


def test_a_sum_in_parts_comes_again(place):
    """Both launches, with memory between them that is another each time."""
    layer, general = (pyconv.Conv2d(64, 16, 3, padding=1, rng=0) for _ in range(2))
    x = normal(1, 64, 4, 4)
    general.plans_alike = False  # then no call is known
    warm(layer, place.array(x))
    other = place.array(x[..., ::-1] * 2)
    wanted = place.host(general(other))
    if place.name == "stand-in":
        place.room.launched.clear()
    between = place.array(np.zeros_like(x))  # so that memory is given out in another order
    got = known_by(layer, other)
    np.testing.assert_array_equal(place.host(got), wanted)
    if place.name == "stand-in":
        assert place.room.launched == ["conv_tensor", "sum_parts"]
    out = place.array(np.full_like(wanted, 7))
    assert known_by(layer, other, out) is out
    np.testing.assert_array_equal(place.host(out), wanted)
    np.testing.assert_array_equal(place.host(between), 0)


@pytest.mark.parametrize("name", LAYERS)
def test_what_differs_is_not_known(place, name):
    layer, x = LAYERS[name](), normal(2, 3, 8, 12)
    warm(layer, place.array(x))
    assert known_by(layer, place.array(x)) is not None
    odd = place.array(np.zeros(x.size + 1, "f4"))[1:]
    odd = odd.reshape(x.shape) if place.name == "device" else Array(odd.host.reshape(x.shape))
    others = [
        place.array(x.astype("f8")), place.array(x[:1]), place.array(x[0]), place.array(x[..., :8]), odd,
        place.array(np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)), place.array(x)[..., ::2], x, x.tolist(), None,
    ]  # fmt: skip
    assert [known_by(layer, other) for other in others] == [None] * len(others)
    wanted = layer(place.array(np.zeros_like(x)))
    np.testing.assert_array_equal(place.host(layer(odd)), place.host(wanted))  # in the general way


def test_settings_are_looked_at(place, monkeypatch):
    layer, x = pyconv.Conv2d(3, 5, 3, rng=0), place.array(normal(2, 3, 8, 12))
    warm(layer, x)
    assert known_by(layer, x) is not None
    with pyconv.use_backend("cpu"):
        assert known_by(layer, x) is None
    with pyconv.precision("tf32"):
        assert known_by(layer, x) is None
    monkeypatch.setenv("PYCONV_BACKEND", "cuda")
    assert known_by(layer, x) is None
    monkeypatch.delenv("PYCONV_BACKEND")
    assert known_by(layer, x) is not None
    wanted = place.host(layer(x)) * 2
    layer.weight, layer.bias = layer.weight * 2, layer.bias * 2
    np.testing.assert_array_equal(place.host(layer(x)), wanted)
    np.testing.assert_array_equal(place.host(warm(layer, x)), wanted)


def test_a_functions_weights_may_change(place):
    """The numbers of an array on the device are not looked at: such a call is never known."""
    x, weight = place.array(normal(1, 3, 6, 8)), normal(4, 3, 3, 3)
    for seed in range(4):
        weight[...] = normal(*weight.shape, seed=seed)
        on_device = place.array(weight)
        wanted = F.conv2d(place.host(x), weight, backend="cuda")
        for given in (weight, on_device):
            np.testing.assert_array_equal(place.host(F.conv2d(x, given)), wanted)
    for _ in range(3):
        F.max_pool2d(x, 2)
    known = F.pool._known
    assert known.run(x, None, None, None, (2, None, 0, 1, False, False, None)) is not None
    for parameters in ((2, None, 0, 1, 0, False, None), (3, None, 0, 1, False, False, None), ([2], None)):
        assert known.run(x, None, None, None, parameters) is None


def test_threads_do_not_share_arguments(place, monkeypatch):
    """Each call has bytes of its own: CuPy reads them when it launches, and another thread may be there by then."""
    if place.name == "device":
        pytest.skip("on the stand-in")
    got = []
    monkeypatch.setattr(place.room, "launcher", lambda launch: got.append)
    layer, x = pyconv.MaxPool2d(2), place.array(normal(1, 3, 6, 8))
    warm(layer, x)
    got.clear()
    known_by(layer, x)
    known_by(layer, x)
    first, second = got
    assert not np.shares_memory(first, second)


def test_out_is_checked(place):
    """What may not be written is refused as it is by a call that is new."""
    x = place.array(normal(1, 3, 8, 8))
    conv, relu = pyconv.Conv2d(3, 3, 1, rng=0), pyconv.ReLU()
    warm(conv, x)
    warm(relu, x)
    assert known_by(conv, x, x) is None
    refused(OutputError, ["overlaps an input"], conv, x, out=x)
    refused(OutputError, ["has shape"], conv, x, out=place.array(normal(1, 3, 8, 4)))
    wanted = np.maximum(place.host(x), 0)
    assert known_by(relu, x, x) is x
    np.testing.assert_array_equal(place.host(x), wanted)
    around = place.array(np.zeros((1, 3, 8, 16), "f4"))
    assert known_by(relu, x, around[..., ::2]) is None


def test_several_devices(place):
    if place.devices < 2:
        pytest.skip("one device")
    layer, values = pyconv.Conv2d(3, 5, 3, rng=0), normal(2, 3, 8, 12)
    warm(layer, place.array(values))
    assert known_by(layer, place.array(values)) is not None
    assert known_by(layer, place.array(values, 1)) is None
    assert layer(place.array(values, 1)).device.id == 1


OPERATIONS = {"max_pool2d", *elementwise.ACTIVATIONS}  # a function's weights keep its calls from being known


@pytest.mark.parametrize("case", [case for case in cases() if case.op in OPERATIONS and not case.out][::17], ids=str)
def test_conformance_cases_come_again(place, case):
    """A function that knows a call gives the same bits as before."""
    arguments = {
        name: place.array(value) if isinstance(value, np.ndarray) else value for name, value in case.arguments().items()
    }
    results = []
    for _ in range(4):
        result = getattr(F, case.op)(**arguments)
        results.append([place.host(part).tobytes() for part in (result if isinstance(result, tuple) else (result,))])
    assert results == results[:1] * 4
