"""Sequential runs groups of layers as one, and itself as one known call: nothing but the time may show it."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
from helpers import USABLE, bits, check_each_call, known_by, normal, pretend, refused, warm
from loopback_backend import Loopback

import pyconv
from pyconv import BatchNorm2d, Conv2d, MaxPool2d, ReLU, Sequential, Sigmoid, Softmax, Tanh
from pyconv.errors import OutputError, ShapeError
from pyconv.nn.group import Group


def network(algorithm="auto", **more):
    return Sequential(
        Conv2d(3, 8, 3, padding=1, rng=0),
        ReLU(),
        MaxPool2d(2),
        Conv2d(8, 40, 3, padding=1, rng=1),
        Tanh(),
        MaxPool2d(3, 2, 1),
        Conv2d(40, 40, 3, algorithm=algorithm, rng=2),
        **more,
    )


def separate(net):
    """The same layers, one after the other."""
    return Sequential(*net, fuse=False)


def wanted(net, x):
    for layer in net:
        x = layer(x)
    return x


def kinds(net):
    return [[type(layer).__name__ for layer in part.layers.values()] if isinstance(part, Group) else type(part).__name__
            for part in net.parts().values()]  # fmt: skip


def test_what_is_grouped():
    class Own(ReLU):
        """Might do anything."""

    net = Sequential(
        ReLU(), Conv2d(3, 3, 1), BatchNorm2d(3), pyconv.GELU(), MaxPool2d(2), MaxPool2d(2), Conv2d(3, 3, 1),
        MaxPool2d(1), ReLU(), Conv2d(3, 3, 1), Own(), Conv2d(3, 3, 1), Softmax(1), Conv2d(3, 3, 1), Conv2d(3, 3, 1),
        BatchNorm2d(3), Conv2d(3, 3, 1), ReLU(), pyconv.AvgPool2d(2), Conv2d(3, 3, 1), pyconv.AdaptiveAvgPool2d(1),
    )  # fmt: skip
    assert kinds(net) == [
        "ReLU", ["Conv2d", "BatchNorm2d", "GELU", "MaxPool2d"], "MaxPool2d", ["Conv2d", "MaxPool2d"], "ReLU", "Conv2d",
        "Own", "Conv2d", "Softmax", "Conv2d", ["Conv2d", "BatchNorm2d"], ["Conv2d", "ReLU", "AvgPool2d"], "Conv2d",
        "AdaptiveAvgPool2d",
    ]  # fmt: skip
    net.fuse = False
    assert kinds(net) == [type(layer).__name__ for layer in net]
    assert not net[1:4].fuse
    refused(pyconv.errors.ArgumentError, ["fuse must be True or False"], Sequential, ReLU(), fuse=1)


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("shape", [(2, 3, 24, 26), (3, 24, 26)])
def test_the_result_is_that_of_the_layers(backend, shape):
    net, x = network(), normal(*shape)
    with pyconv.use_backend(backend):
        check_each_call(net, x, wanted(net, x))


@pytest.mark.parametrize("fuse", [True, False])
def test_it_is_one_known_call(fuse):
    net, x = network(fuse=fuse), normal(1, 3, 24, 26)
    right = wanted(net, x)
    warm(net, x)
    assert bits(known_by(net, x)) == bits(right)
    other = normal(1, 3, 24, 26, seed=1)
    assert bits(known_by(net, other)) == bits(wanted(net, other))
    assert known_by(net, normal(1, 3, 24, 28)) is None
    nested = Sequential(Sequential(net, ReLU()), Tanh())
    right = np.tanh(np.maximum(right, 0))
    for _ in range(2):
        warm(nested, x)
    np.testing.assert_allclose(known_by(nested, x), right, rtol=1e-6)


def test_results_are_never_written_again():
    net = network()
    inputs = [normal(1, 3, 24, 26, seed=seed) for seed in range(6)]
    results = [net(x) for x in inputs]
    kept = [result.copy() for result in results]
    for x in inputs:
        net(x)
    for result, copied, x in zip(results, kept, inputs, strict=True):
        assert bits(result) == bits(copied) == bits(wanted(net, x))


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net[0], "weight", normal(8, 3, 3, 3, seed=5)),
        lambda net: setattr(net[3], "bias", None),
        lambda net: setattr(net[6], "algorithm", "direct"),
        lambda net: net.load_state_dict({name: array + 1 for name, array in net.state_dict().items()}),
        lambda net: setattr(net[1], "backend", "reference"),
        lambda net: setattr(net, "fuse", False),
    ],
    ids=["weight", "bias", "algorithm", "state dict", "backend", "fuse"],
)
def test_changes_are_seen(change):
    net, x = network(), normal(1, 3, 24, 26)
    warm(net, x)
    assert known_by(net, x) is not None
    change(net)
    right = wanted(net, x)
    for _ in range(4):
        assert bits(net(x)) == bits(right)


def test_settings_are_seen(monkeypatch):
    net, x = network(), normal(1, 3, 24, 26)
    warm(net, x)
    with pyconv.use_backend("reference"):
        assert known_by(net, x) is None
        assert bits(net(x)) == bits(wanted(net, x))
    assert known_by(net, x) is not None
    monkeypatch.setenv("PYCONV_BACKEND", "reference")
    assert known_by(net, x) is None


def test_a_layer_that_does_more_is_called():
    class Counting(ReLU):
        seen = 0

        def __call__(self, input, *, out=None):
            Counting.seen += 1
            return super().__call__(input, out=out)

    net, x = Sequential(Conv2d(3, 4, 3, rng=0), Counting(), MaxPool2d(2)), normal(1, 3, 9, 9)
    for _ in range(6):
        net(x)
    assert Counting.seen == 6


def test_numbers_that_are_not_finite():
    net, x = network("winograd"), normal(2, 3, 24, 26)
    warm(net, x)
    x[1, 0, 3, 3] = np.inf
    with np.errstate(all="ignore"):
        assert bits(net(x)) == bits(wanted(net, x))


def test_threads_may_share_it():
    net = network()
    inputs = [normal(1, 3, 24, 26, seed=seed) for seed in range(4)]
    right = [bits(wanted(net, x)) for x in inputs]
    wrong = []

    def work(place):
        wrong.extend(place for _ in range(50) if bits(net(inputs[place])) != right[place])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def trained(channels, seed=0):
    norm = BatchNorm2d(channels)
    rng = np.random.default_rng(seed)
    norm.running_mean = rng.standard_normal(channels).astype(np.float32)
    norm.running_var = rng.uniform(0.2, 3, channels).astype(np.float32)
    norm.weight = rng.uniform(0.5, 2, channels).astype(np.float32)
    norm.bias = rng.standard_normal(channels).astype(np.float32)
    return norm


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_normalisation_is_folded(backend, has_bias):
    """Within the bound of a direct sum of the folded weights, against the layers in float64.

    Weights are rounded once more, by eps / 2 each, which the bound of the sum's roundings, of (4 + 4 sqrt(n)) eps,
    leaves room for; the normalisation has an error of 2 eps (|x scale| + |shift|).
    """
    net, x = Sequential(Conv2d(5, 12, 3, bias=has_bias, rng=0), trained(12), ReLU(), MaxPool2d(2)), normal(2, 5, 14, 15)
    conv, norm = net[0], net[1]
    scale, shift = norm.scale_and_shift()
    wide = pyconv.functional.conv2d(x.astype(float), conv.weight.astype(float))
    terms = pyconv.functional.conv2d(abs(x).astype(float), abs(conv.weight).astype(float)) * abs(scale)[:, None, None]
    offset = shift if conv.bias is None else conv.bias * scale + shift
    exact = wide * scale[:, None, None] + offset[:, None, None]
    magnitude = terms + abs(shift)[:, None, None] + (0 if conv.bias is None else abs(conv.bias * scale)[:, None, None])
    allowed = (4 + 4 * np.sqrt(45)) * np.finfo(np.float32).eps * pyconv.functional.max_pool2d(magnitude, 2)
    right = pyconv.functional.max_pool2d(np.maximum(exact, 0), 2)
    with pyconv.use_backend(backend):
        for _ in range(4):
            got = net(x)
            assert (abs(got - right) <= allowed).all()
    net.fuse = False
    assert (abs(net(x) - right) <= allowed).all()


def test_a_changed_normalisation_is_folded_again():
    net, x = Sequential(Conv2d(3, 4, 3, rng=0), trained(4)), normal(1, 3, 8, 8)
    warm(net, x)
    assert known_by(net, x) is not None
    before = net(x)
    net[1].bias = net[1].bias + np.float32(1)
    for _ in range(4):
        np.testing.assert_allclose(net(x), before + 1, rtol=1e-5, atol=1e-5)
    net[0].weight = np.zeros_like(net[0].weight)
    assert np.ptp(net(x)[0, 0]) == 0
    assert len(net.parts()) == 1


def test_a_normalisation_that_cannot_be_folded_runs_by_itself():
    norm = trained(4)
    norm.running_var, norm.weight = np.zeros(4, np.float32), np.full(4, 3e38, np.float32)
    net, x = Sequential(Conv2d(3, 4, 3, rng=0), norm, ReLU()), normal(1, 3, 8, 8)
    with np.errstate(all="ignore"):
        for _ in range(4):
            assert bits(net(x)) == bits(wanted(net, x))
    assert "cannot be folded" in pyconv.report.explain(net, x).steps[0].note
    refused(ShapeError, ["layer '1'"], Sequential(Conv2d(3, 4, 3), BatchNorm2d(5)), x)


def test_errors_name_the_layer():
    net = network()
    refused(ShapeError, ["layer '0'", "has 2 channels"], net, normal(1, 2, 24, 24))
    refused(ShapeError, ["layer '2'", "larger than the padded input"], net, normal(1, 3, 1, 1))
    x = normal(1, 3, 24, 24)
    warm(net, x)
    refused(OutputError, ["layer '6'", "out has shape"], net, x, out=np.empty((1, 2, 3, 4), np.float32))


def test_a_backend_that_does_not_fuse_gets_the_parts(monkeypatch):
    backend = Loopback()
    pretend(monkeypatch, backend)
    net, x = network(), normal(1, 3, 24, 26)
    with pyconv.use_backend(backend.name):
        assert bits(net(x)) == bits(wanted(net, x))
        step, *others = pyconv.report.explain(net, x).steps
    assert [other.plan.op for other in others[:3]] == ["relu", "max_pool2d", "conv2d"]
    assert step.note == "it runs the parts one after the other"
    assert step.plan.op == "conv2d"


def test_explain_tells_what_is_run_as_one():
    net, x = network(), normal(1, 3, 24, 26)
    found = pyconv.report.explain(net, x)
    assert [step.name for step in found.steps] == [
        "(0) Conv2d + (1) ReLU + (2) MaxPool2d", "(3) Conv2d + (4) Tanh + (5) MaxPool2d", "(6) Conv2d",
    ]  # fmt: skip
    assert found.steps[0].plan.op == "conv2d+relu+max_pool2d"
    assert found.steps[0].implementation.endswith(("+bands", "+registers"))
    assert "79.9 kB between the parts not moved" in str(found)
    assert found.steps[-1].plan.in_size == (6, 7)
    net.fuse = False
    assert [step.plan.op for step in pyconv.report.explain(net, x).steps] == [
        "conv2d", "relu", "max_pool2d", "conv2d", "tanh", "max_pool2d", "conv2d",
    ]  # fmt: skip
    named = Sequential(Conv2d(3, 4, 3, backend="cpu"), Sigmoid())
    assert pyconv.report.explain(named, x).steps[0].note == "the layers name different backends"


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        (MaxPool2d(5, 1, 2), "larger than 3x3"),
        (MaxPool2d(2, 2, 0, 2), "have gaps"),
        (MaxPool2d(2, backend="cpu"), "different backends"),
    ],
    ids=["window", "dilation", "backend"],
)
def test_convolution_and_activation_are_one_where_the_pooling_cannot_be(pool, reason, norm):
    pool, norms = copy.copy(pool), [trained(4)] if norm else []
    net, x = Sequential(Conv2d(3, 4, 3, padding=1, rng=0), *norms, ReLU(), pool), normal(2, 3, 12, 14)
    first, second = pyconv.report.explain(net, x).steps
    assert first.plan.op == "conv2d+relu"
    assert first.name.startswith("(0) Conv2d + ")
    assert reason in first.note
    assert second.plan.op == "max_pool2d"
    assert second.note == ""
    warm(net, x)
    changes = [
        lambda: None,
        lambda: setattr(net[0], "bias", normal(4, seed=3)),
        lambda: setattr(pool, "backend", "cpu"),
        lambda: norm and setattr(net[1], "bias", normal(4, seed=4)),
    ]
    for change in changes:
        change()
        right = pool(net[:-1](x))
        for _ in range(4):
            assert bits(net(x)) == bits(right)
        assert bits(known_by(net, x)) == bits(right)
        out = np.empty_like(right)
        assert net(x, out=out) is out
        assert bits(out) == bits(right)


def test_a_pooling_with_places_is_no_part_of_a_known_call():
    net, x = Sequential(Conv2d(3, 4, 3, rng=0), ReLU(), MaxPool2d(2, return_indices=True)), normal(2, 3, 12, 14)
    assert [step.plan.op for step in pyconv.report.explain(net, x).steps] == ["conv2d+relu", "max_pool2d"]
    right = wanted(net, x)
    for _ in range(4):
        for one, other in zip(net(x), right, strict=True):
            assert bits(one) == bits(other)


def test_copies_and_pickles():
    net, x = network(), normal(1, 3, 24, 26)
    right = warm(net, x)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.fuse
        assert bits(warm(other, x)) == bits(right)
        other[0].weight = normal(8, 3, 3, 3, seed=5)
        assert bits(other(x)) != bits(net(x)) == bits(right)
