"""Calls that come again: they give what the general way gives, and other calls are not taken for them."""

from __future__ import annotations

import copy
import resource
from functools import partial

import numpy as np
import pytest
from helpers import GENERAL, USABLE, bits, known_by, normal, refused, warm

import pyconv
import pyconv.functional as F
from pyconv.errors import ArgumentError, ConfigurationError, DTypeError, OutputError, ShapeError
from pyconv.plan import ACTIVATIONS
from pyconv.testing import cases

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conformance_cases_come_again(case):
    function, arguments = getattr(F, case.op), case.arguments()
    with np.errstate(all="ignore"):
        wanted = function(**arguments, backend=GENERAL)
        for _ in range(4):
            assert bits(function(**arguments, backend="cpu")) == bits(wanted)
        target = np.empty_like(wanted[0] if isinstance(wanted, tuple) else wanted)
        for _ in range(4):
            target[...] = 7
            result = function(**arguments, out=target, backend="cpu")
            assert bits(result) == bits(wanted)
            assert (result[0] if isinstance(result, tuple) else result) is target


@pytest.mark.parametrize("case", [case for case in CASES if case.layout == "contiguous"][::3], ids=str)
def test_results_in_another_order_of_axes(case):
    """``out=`` that fills its memory, channels last: its strides are heeded, whether or not the call is known."""
    function, arguments = getattr(F, case.op), case.arguments()
    with np.errstate(all="ignore"):
        first = function(**arguments, backend=GENERAL)
        shape = (first[0] if isinstance(first, tuple) else first).shape
        if len(shape) < 3:
            return

        def channels_last():
            return np.moveaxis(np.full((*shape[:-3], *shape[-2:], shape[-3]), 7, case.dtype), -1, -3)

        wanted = function(**arguments, out=channels_last(), backend=GENERAL)
        for _ in range(4):
            assert bits(function(**arguments, out=channels_last(), backend="cpu")) == bits(wanted)


def test_a_sequential_writes_channels_last():
    net, x = pyconv.Sequential(pyconv.Conv2d(3, 8, 3, rng=0), pyconv.ReLU(), pyconv.MaxPool2d(2)), normal(2, 3, 14, 14)
    wanted = net(x)
    for _ in range(5):
        out = np.moveaxis(np.full((2, 6, 6, 8), 7, np.float32), -1, 1)
        assert net(x, out=out) is out
        assert bits(out) == bits(wanted)


LAYERS = [
    pyconv.Conv2d(3, 5, 3, padding=1, rng=0),
    pyconv.Conv2d(3, 5, 2, stride=2, bias=False, rng=0),
    pyconv.Conv2d(3, 40, 3, algorithm="winograd", rng=0),
    pyconv.MaxPool2d(2),
    pyconv.MaxPool2d(3, 2, 1, 1),
    pyconv.ReLU(),
    pyconv.Tanh(),
    pyconv.Softplus(2.0),
    pyconv.PReLU(),
    pyconv.Softmax(1),
    pyconv.GLU(),
]
IN_ANY_ORDER = pyconv.ReLU | pyconv.Tanh | pyconv.Softplus | pyconv.PReLU | pyconv.Softmax | pyconv.GLU
INPUTS = {
    "dense": normal(2, 3, 9, 10),
    "no batch": normal(3, 9, 10),
    "channels last": np.moveaxis(normal(2, 9, 10, 3), -1, 1),
    "backwards": normal(2, 3, 9, 10)[:, :, ::-1, ::-1],
    "every other": normal(2, 3, 18, 20)[:, :, ::2, ::2],
}


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("layout", INPUTS)
def test_layers_know_calls_by_layout_alone(layer, layout):
    """Other numbers at other places in the same layout: the call is known, and the result is of these numbers."""
    layer, x = copy.deepcopy(layer), INPUTS[layout]
    general = copy.deepcopy(layer)
    general.backend = GENERAL
    warm(layer, x)
    other = np.empty_like(x) if layout in ("dense", "no batch", "channels last") else x
    other[...] = normal(*x.shape, seed=1)
    assert other.strides == x.strides
    wanted = general(other)
    out = np.full_like(wanted, 7)
    if not (isinstance(layer, IN_ANY_ORDER) and layout not in ("dense", "no batch")):
        assert bits(known_by(layer, other)) == bits(wanted)
        assert known_by(layer, other).strides == wanted.strides
        assert known_by(layer, other, out) is out
        assert bits(out) == bits(wanted)
    assert bits(layer(other)) == bits(wanted)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_what_differs_is_not_known(layer):
    layer, x = copy.deepcopy(layer), normal(2, 3, 9, 10)
    warm(layer, x)
    assert known_by(layer, x) is not None
    unaligned = np.frombuffer(b"0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    others = [
        x.astype(np.float64),
        x.astype(x.dtype.newbyteorder()),
        unaligned,
        x[:1],
        x[0],
        x[:, :, :8],
        np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1),
        x.view(type("Sub", (np.ndarray,), {})),
        np.ma.masked_array(x),
        x.tolist(),
        None,
    ]
    assert [known_by(layer, other) for other in others] == [None] * len(others)


def test_functions_know_their_calls():
    x, weight = normal(1, 3, 8, 8), normal(4, 3, 3, 3)
    warm(F.conv2d, x, weight, None, 2)
    known = F.conv._known
    assert known.run(x, weight, None, None, (2, 0, 1, 1, "auto", None, None)) is not None
    assert known.run(x, weight.copy(), None, None, (2, 0, 1, 1, "auto", None, None)) is not None
    assert known.run(x, weight + 1, None, None, (2, 0, 1, 1, "auto", None, None)) is None
    assert known.run(x, weight, normal(4), None, (2, 0, 1, 1, "auto", None, None)) is None
    assert known.run(x, weight, None, None, (1, 0, 1, 1, "auto", None, None)) is None
    warm(F.max_pool2d, x, 2)
    assert F.pool._known.run(x, None, None, None, (2, None, 0, 1, False, False, None)) is not None
    warm(F.tanh, x)
    assert F.activation._known["tanh"].run(x, None, None, None, (None,)) is not None


def test_calls_with_a_residual_are_known():
    x, weight, added = normal(1, 3, 8, 8), normal(4, 3, 3, 3), normal(1, 4, 6, 6)
    wanted = F.conv2d(x, weight) + added
    assert bits(warm(F.conv2d, x, weight, residual=added)) == bits(wanted)
    run, given = F.conv._known_with_residual.run, (1, 0, 1, 1, "auto", None, None)
    other = normal(*added.shape, seed=1)
    assert bits(run((x, other), weight, None, None, given)) == bits(F.conv2d(x, weight) + other)
    assert run((x, other), weight, None, other, given) is other
    assert run((x, added), weight, None, other, given) is other
    assert bits(other) == bits(wanted)
    around = np.empty(2 * added.size, np.float32)
    beside = around[1 : 1 + added.size].reshape(added.shape)  # it overlaps the residual, and is not it
    for residual, out in (
        (added.astype(np.float64), None),
        (added[:, :, ::-1], None),
        (added[0], None),
        (added.tolist(), None),
        (added.view(type("Sub", (np.ndarray,), {})), None),
        (around[: added.size].reshape(added.shape), beside),
    ):
        assert run((x, residual), weight, None, out, given) is None
    assert run(x, weight, None, None, given) is None
    refused(
        OutputError, ["overlaps"], F.conv2d, x, weight, residual=around[: added.size].reshape(added.shape), out=beside
    )
    refused(ShapeError, ["residual must have"], F.conv2d, x, weight, residual=added[:, :3])


def test_winograd_adds_in_place_also_what_is_not_finite():
    x, weight, added = normal(2, 32, 30, 30), normal(32, 32, 3, 3), normal(2, 32, 28, 28)
    general, known = ({"algorithm": "winograd", "backend": name} for name in (GENERAL, "cpu"))
    for value in (0.0, np.inf):
        x[1, 3, 20, 20] = value
        with np.errstate(invalid="ignore"):
            wanted = F.conv2d(x, weight, **general) + added
        for _ in range(4):
            assert bits(F.conv2d(x, weight, residual=added, **known)) == bits(wanted)
        for _ in range(4):
            target = added.copy()
            assert F.conv2d(x, weight, residual=target, out=target, **known) is target
            assert bits(target) == bits(wanted)


def test_errors_are_the_same_after_a_good_call():
    x, weight = normal(1, 3, 8, 8), normal(4, 3, 3, 3)
    warm(F.conv2d, x, weight, stride=1, groups=1)
    refused(ArgumentError, ["stride must be an integer, got the bool"], F.conv2d, x, weight, stride=True, groups=1)
    refused(ArgumentError, ["groups"], F.conv2d, x, weight, stride=1, groups=True)
    refused(ArgumentError, ["stride must be an integer, got float"], F.conv2d, x, weight, stride=1.0, groups=1)
    refused(DTypeError, ["weight is float64"], F.conv2d, x, weight.astype(np.float64), stride=1, groups=1)
    refused(ShapeError, ["has 2 channels"], F.conv2d, x[:, :2], weight, stride=1, groups=1)
    warm(F.max_pool2d, x, (2, 2), ceil_mode=False)
    refused(ArgumentError, ["got the bool"], F.max_pool2d, x, (2, True))
    refused(ArgumentError, ["ceil_mode must be True or False"], F.max_pool2d, x, (2, 2), ceil_mode=0)
    warm(F.relu, x)
    refused(ConfigurationError, ["no backend 'nonsense'"], F.relu, x, backend="nonsense")
    refused(ArgumentError, ["got list"], F.relu, x.tolist())


def test_parameters_in_a_list_are_read_each_time():
    x, size = normal(1, 1, 8, 8), [2, 2]
    warm(F.max_pool2d, x, size)
    size[0] = 4
    assert F.max_pool2d(x, size).shape == (1, 1, 2, 4)


@pytest.mark.parametrize("make", [F.conv2d, pyconv.Conv2d(3, 4, 3, rng=0), F.relu, pyconv.ReLU(), F.max_pool2d])
def test_bad_out_is_refused_after_a_good_call(make):
    x = normal(1, 3, 8, 8)
    more = {F.conv2d: (normal(4, 3, 3, 3),), F.max_pool2d: (2,)}.get(make, ())
    good = make(x, *more)
    warm(make, x, *more, out=np.empty_like(good))
    locked = np.empty_like(good)
    locked.setflags(write=False)
    large = np.empty(2 * x.size + good.size, np.float32)
    inside = large[: x.size].reshape(x.shape)
    inside[...] = x
    overlapping = large[x.size - 1 : x.size - 1 + good.size].reshape(good.shape)
    for out, words in (
        (locked, "read-only"),
        (np.empty_like(good, np.float64), "dtype"),
        (np.empty_like(good[:, :1]), "shape"),
        (np.broadcast_to(np.empty_like(good[:1, :1, :1, :1]), good.shape), "read-only"),
    ):
        refused(OutputError, [words], make, x, *more, out=out)
    refused(OutputError, ["overlaps"], make, inside, *more, out=overlapping)
    refused(ArgumentError, ["masked"], make, x, *more, out=np.ma.masked_array(good))
    strided = np.empty((*good.shape[:3], 2 * good.shape[3]), np.float32)[..., ::2]
    assert make(x, *more, out=strided) is strided
    np.testing.assert_array_equal(strided, good)


def test_out_over_the_weights_is_refused_after_a_good_call():
    x, weight, bias = normal(1, 4, 3, 3), normal(4, 4, 1, 1), normal(4)
    memory = np.empty(100, np.float32)
    own_weight, own_bias = memory[:16].reshape(weight.shape), memory[60:64]
    own_weight[...], own_bias[...] = weight, bias
    out = np.empty((1, 4, 3, 3), np.float32)
    warm(F.conv2d, x, own_weight, own_bias, out=out)
    for place in (15, 30):
        over = memory[place : place + 36].reshape(out.shape)
        refused(OutputError, ["overlaps"], F.conv2d, x, own_weight, own_bias, out=over)


def test_out_with_gaps_teaches_nothing():
    x = normal(1, 3, 8, 8)
    for layer in (pyconv.ReLU(), pyconv.MaxPool2d(3, 1, 1), pyconv.Conv2d(3, 3, 1, rng=0)):
        wanted = layer(x)
        warm(layer, x, out=np.empty((1, 3, 8, 16), np.float32)[..., ::2])
        assert known_by(layer, x) is None
        assert bits(warm(layer, x)) == bits(wanted)


def test_only_activations_work_in_place():
    x = normal(1, 3, 8, 8)
    pool, conv = pyconv.MaxPool2d(3, 1, 1), pyconv.Conv2d(3, 3, 1, rng=0)
    for layer in (pool, conv):
        warm(layer, x, out=np.empty_like(x))
        refused(OutputError, ["overlaps an input"], layer, x, out=x)


def test_in_place():
    x = normal(1, 3, 8, 8)
    layer = pyconv.ReLU()
    warm(layer, x)
    wanted = np.maximum(x, 0)
    work = x.copy()
    assert known_by(layer, work, work) is work
    np.testing.assert_array_equal(work, wanted)
    inplace = pyconv.ReLU(inplace=True)
    for _ in range(4):
        work = x.copy()
        assert inplace(work) is work
        np.testing.assert_array_equal(work, wanted)


def test_a_functions_weights_may_change_in_place():
    x, weight, bias = normal(1, 3, 6, 7), normal(4, 3, 3, 3), normal(4)
    for seed in range(12):
        for array in (weight, bias):
            array[...] = normal(*array.shape, seed=seed)
            wanted = F.conv2d(x, weight, bias, backend=GENERAL)
            for _ in range(1 + seed % 3):
                assert bits(F.conv2d(x, weight, bias)) == bits(wanted)
    assert bits(F.conv2d(x, weight)) == bits(F.conv2d(x, weight, backend=GENERAL))
    weight[...] = 0
    zero = F.conv2d(x, weight, backend=GENERAL)
    warm(F.conv2d, x, weight)
    weight[...] = -0.0  # equal, but not the same bits
    assert bits(F.conv2d(x, weight)) == bits(F.conv2d(x, weight, backend=GENERAL)) == bits(zero)


@pytest.mark.parametrize("backend", USABLE)
def test_the_sign_of_a_zero_parameter(backend):
    """-0.0 equals 0.0, but a plan of one is not that of the other; nor is a group's."""
    x = np.zeros((1, 1, 2, 2), np.float32)
    with pyconv.use_backend(backend):
        for value in [-0.0, 0.0] * 4:
            assert np.signbit(F.threshold(x, 0.5, value)).all() == np.signbit(value)
            layer = pyconv.Threshold(0.5, value)
            stack = pyconv.Sequential(pyconv.Conv2d(1, 1, 1, bias=False, rng=0), layer)
            for _ in range(3):
                assert np.signbit(layer(x)).all() == np.signbit(stack(x)).all() == np.signbit(value)
            assert layer.value == 0.0


def test_parameters_are_told_apart_by_their_bits():
    """Numbers that are equal, or nearly, and slopes that have changed meanwhile."""
    x = np.float32([[-2, 0.25, 3]])
    for _ in range(4):
        assert not np.signbit(F.threshold(x, 0.5, 0.0, backend="cpu")[0, :2]).any()
    for _ in range(4):
        assert np.signbit(F.threshold(x, 0.5, -0.0, backend="cpu")[0, :2]).all()
    for value in (1.0, 1.0 + 1e-6, 2.0):
        for _ in range(4):
            assert F.threshold(x, 0.5, value, backend="cpu")[0, 0] == np.float32(value)
    slope = np.float32([0.5])
    for _ in range(4):
        assert F.prelu(x, slope, backend="cpu")[0, 0] == -2 * slope[0]
    slope[0] = 0.75
    assert F.prelu(x, slope, backend="cpu")[0, 0] == -1.5


ARGUMENTS = {
    **{name: {} for name in ACTIVATIONS if name not in ("gelu_tanh", "threshold")},
    "threshold": {"threshold": 0.5, "value": 0.0},
    "prelu": {"weight": np.float32([0.5])},
    "softmax": {"dim": 1},
    "softmin": {"dim": -1},
    "log_softmax": {"dim": -1},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_result_that_is_used_again_meets_no_new_memory(name):
    """With ``out=`` no page is asked of the system, however large the result; without, its pages are."""
    function = partial(getattr(F, name), backend="cpu", **ARGUMENTS[name])
    x = np.full((1, 16, 1024, 1024), 0.5, np.float32)  # 64 MiB: more than the C library keeps for itself
    out = np.empty_like(x)

    def new_pages(**arguments):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(3):
            function(x, **arguments)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    for _ in range(4):
        function(x, out=out)
    assert new_pages(out=out) < 64  # the interpreter's own
    assert new_pages() > 3
