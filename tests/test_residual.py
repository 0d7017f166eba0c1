"""Residual blocks: the body plus the shortcut, run as one where it can be; nothing but the time may show it."""

from __future__ import annotations

import copy
import pickle
import threading
import tracemalloc

import numpy as np
import pytest
from helpers import USABLE, assert_close, bits, check_each_call, known_by, normal, pretend, refused, warm
from loopback_backend import Loopback
from test_sequential import trained

import pyconv
from pyconv import BatchNorm2d, Conv1d, Conv2d, MaxPool2d, PReLU, ReLU, Residual, Sequential, Sigmoid, Softmax, Tanh
from pyconv.errors import ArgumentError, OutputError, ShapeError
from pyconv.report import explain

SHAPE = (2, 8, 14, 15)


def conv(channels, out_channels, kernel=3, seed=0, **more):
    return Conv2d(channels, out_channels, kernel, padding=kernel // 2, rng=seed, **more)


def basic(**more):
    return Residual(conv(8, 16), ReLU(), conv(16, 8, seed=1), activation=ReLU(), **more)


BLOCKS = {
    "basic": basic,
    "bottleneck": lambda **more: Residual(
        {"conv1": conv(8, 4, 1), "act1": Tanh(), "conv2": conv(4, 4), "act2": ReLU(), "conv3": conv(4, 24, 1)},
        downsample=conv(8, 24, 1, seed=2), activation=ReLU(inplace=True), **more,
    ),
    "halving": lambda **more: Residual(
        Conv2d(8, 40, 3, 2, 1, rng=0), ReLU(), conv(40, 40, seed=1),
        downsample=Sequential(MaxPool2d(2, ceil_mode=True), conv(8, 40, 1, seed=2)), activation=Sigmoid(), **more,
    ),
    "one convolution": lambda **more: Residual(conv(8, 8), **more),
    "one with its shortcut": lambda **more: Residual(conv(8, 8), downsample=conv(8, 8, 1), activation=Tanh(), **more),
    "depthwise": lambda **more: Residual(conv(8, 8, 7, groups=8), Tanh(), conv(8, 8, groups=8, seed=1), **more),
    "before its activation": lambda **more: Residual(ReLU(), conv(8, 8), ReLU(), conv(8, 8, seed=1), **more),
    "layers in a layer": lambda **more: Residual(
        {"conv": Sequential(Sequential(conv(8, 48, 1), ReLU()), conv(48, 8, 1, seed=1))}, **more
    ),
    "block in a block": lambda **more: Residual(basic(), conv(8, 8), downsample=basic(), activation=ReLU(), **more),
    "activation of its own": lambda **more: Residual(conv(8, 8), activation=PReLU(), **more),
    "along channels": lambda **more: Residual(conv(8, 8), activation=Softmax(-3), **more),
    "ends in an activation": lambda **more: Residual(conv(8, 8), ReLU(), activation=Tanh(), **more),
    "ends in a pooling": lambda **more: Residual(conv(8, 8), MaxPool2d(3, 1, 1), **more),
}  # fmt: skip
ADDED_AFTERWARDS = ("ends in an activation", "ends in a pooling")
ACTIVE_AFTERWARDS = ("activation of its own", "along channels")


def wanted(block, x):
    """Its layers by themselves, in torch's order: the body first."""
    result, added = x, x
    for layer in block.body:
        result = wanted(layer, result) if isinstance(layer, Residual) else layer(result)
    if block.downsample is not None:
        added = wanted(block.downsample, x) if isinstance(block.downsample, Residual) else block.downsample(x)
    result = result + added
    return result if block.activation is None else block.activation(result)


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("shape", [SHAPE, SHAPE[1:]], ids=["batch", "image"])
@pytest.mark.parametrize("name", BLOCKS)
def test_the_result_is_that_of_the_layers(name, shape, backend):
    block, x = BLOCKS[name](), normal(*shape)
    given = x.copy()
    with pyconv.use_backend(backend):
        check_each_call(block, x, wanted(block, x))
    assert bits(x) == bits(given)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["reversed", "channels-last", "big-endian"])
def test_any_layout(layout, dtype):
    block = Residual(conv(8, 16, dtype=dtype), ReLU(), conv(16, 8, dtype=dtype), activation=ReLU())
    x = normal(*SHAPE, dtype=dtype)
    right = wanted(block, x)
    x = {
        "reversed": lambda: x[..., ::-1].copy()[..., ::-1],
        "channels-last": lambda: np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1),
        "big-endian": lambda: x.astype(x.dtype.newbyteorder(">")),
    }[layout]()
    for _ in range(4):
        got = block(x)
        assert got.dtype == dtype
        assert_close(got, right)
        assert bits(got) == bits(wanted(block, x).astype(dtype))


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("name", sorted({*BLOCKS} - {*ADDED_AFTERWARDS, *ACTIVE_AFTERWARDS}))
def test_it_is_one_known_call(name, fuse):
    """Also within others, and of other images; not of another shape."""
    block, x = BLOCKS[name](fuse=fuse), normal(*SHAPE)
    warm(block, x)
    if not fuse:  # NumPy's addition is no known call
        assert known_by(block, x) is None
        return
    other = normal(*SHAPE, seed=1)
    right = wanted(block, other)
    assert bits(known_by(block, other)) == bits(right)
    assert known_by(block, normal(2, 8, 14, 16)) is None
    out = np.empty_like(right)
    assert known_by(block, other, out=out) is out
    assert bits(out) == bits(right)
    net = Sequential(block, Sequential(ReLU(), Residual(Conv2d(right.shape[1], right.shape[1], 1, rng=5))))
    warm(net, x)
    assert bits(known_by(net, other)) == bits(wanted(net[1][1], np.maximum(right, 0)))


def test_results_are_never_written_again_and_the_input_never():
    for block in (basic(), Sequential(conv(8, 8), basic(), basic()), Sequential(Sigmoid(), basic(), MaxPool2d(2))):
        inputs = [normal(*SHAPE, seed=seed) for seed in range(6)]
        copies = [x.copy() for x in inputs]
        results = [block(x) for x in inputs]
        kept = [result.copy() for result in results]
        for x in inputs:
            block(x)
        assert [bits(x) for x in inputs] == [bits(x) for x in copies]
        assert [bits(result) for result in results] == [bits(result) for result in kept]


def test_out_may_be_the_input():
    for name in ("basic", "one convolution", "before its activation", "one with its shortcut"):
        block = BLOCKS[name]()
        for seed in range(4):
            x = normal(*SHAPE, seed=seed)
            right = wanted(block, x)
            assert block(x, out=x) is x
            assert bits(x) == bits(right)


@pytest.mark.parametrize("fuse", [True, False])
def test_an_activation_in_place_is_where_torch_has_it(fuse):
    """The body comes first, so what it writes over its input is added; and no memory is anybody else's."""
    made = [
        lambda: Residual(ReLU(inplace=True), conv(8, 8), fuse=fuse),
        lambda: Residual(ReLU(inplace=True), fuse=fuse),
        lambda: Residual(ReLU(inplace=True), ReLU(inplace=True), activation=ReLU(inplace=True), fuse=fuse),
        lambda: Residual(ReLU(inplace=True), conv(8, 8), downsample=conv(8, 8, 1), fuse=fuse),
        lambda: Residual(conv(8, 8), downsample=ReLU(inplace=True), fuse=fuse),
        lambda: Residual(conv(8, 8), ReLU(inplace=True), downsample=ReLU(inplace=True), fuse=fuse),
        lambda: Residual(conv(8, 8), activation=ReLU(inplace=True), fuse=fuse),
    ]
    for make in made:
        block, results = make(), []
        for seed in range(5):
            x, other = normal(*SHAPE, seed=seed), normal(*SHAPE, seed=seed)
            results.append((block(x), wanted(block, other)))
            assert bits(x) == bits(other)
        assert all(bits(result) == bits(right) for result, right in results)
        assert all(bits(block(normal(*SHAPE, seed=seed))) == bits(right) for seed, (_, right) in enumerate(results))


@pytest.mark.parametrize("backend", USABLE)
def test_normalisations_are_folded(backend):
    block = Residual(
        {"conv1": conv(8, 16), "bn1": trained(16), "act": ReLU(), "conv2": conv(16, 24, seed=1), "bn2": trained(24, 1)},
        downsample=Sequential(conv(8, 24, 1, seed=2), trained(24, 2)), activation=ReLU(),
    )  # fmt: skip
    x = normal(*SHAPE)
    with pyconv.use_backend(backend):
        right = wanted(block, x)
        for _ in range(4):
            assert_close(block(x), right)
    norm = block.body[-1]
    norm.bias = norm.bias + np.float32(1)
    for _ in range(4):
        assert_close(block(x), wanted(block, x))
    norm.running_var, norm.weight = np.zeros(24, np.float32), np.full(24, 3e38, np.float32)  # it cannot be folded
    with np.errstate(all="ignore"):
        for _ in range(4):
            np.testing.assert_allclose(block(x), wanted(block, x), rtol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        lambda block: setattr(block.body[0], "weight", normal(16, 8, 3, 3, seed=5)),
        lambda block: setattr(block.body[2][1], "bias", None),
        lambda block: setattr(block.downsample, "bias", normal(8, seed=6)),
        lambda block: setattr(block.body[2], "fuse", False),
        lambda block: setattr(block.body[1], "backend", "reference"),
        lambda block: setattr(block.activation, "backend", "reference"),
        lambda block: setattr(block, "fuse", False),
        lambda block: block.load_state_dict({name: array + 1 for name, array in block.state_dict().items()}),
    ],
    ids=["weight", "bias", "shortcut", "fuse within", "backend", "activation", "fuse", "state dict"],
)
def test_changes_are_seen(change):
    block = Residual(
        conv(8, 16), ReLU(), Sequential(conv(16, 16), conv(16, 8, seed=1)), downsample=conv(8, 8, 1), activation=Tanh()
    )
    net, x = Sequential(block, ReLU()), normal(*SHAPE)
    warm(net, x)
    assert known_by(net, x) is not None
    change(block)
    right = np.maximum(wanted(block, x), 0)
    for _ in range(4):
        assert bits(net(x)) == bits(right)


@pytest.mark.parametrize("shortcut", [ReLU, lambda: Sequential(ReLU())], ids=["layer", "within"])
def test_a_shortcut_that_comes_to_write_over_its_input_comes_last(shortcut):
    block, x = Residual(conv(8, 8), downsample=shortcut()), normal(*SHAPE)
    warm(block, x)
    inner = block.downsample if type(block.downsample) is ReLU else block.downsample[0]
    for inplace in (True, False, True):
        inner.inplace = inplace
        right = wanted(block, x.copy())
        for _ in range(3):
            assert bits(block(x.copy())) == bits(right)


def test_memory_is_kept_from_the_first_call_on():
    block = Residual(conv(8, 32), ReLU(), conv(32, 8), downsample=conv(8, 8, 1), activation=ReLU())
    net, x = Sequential(block, block), normal(4, 8, 96, 96)
    net(x)
    tracemalloc.start()
    try:
        for _ in range(3):
            tracemalloc.reset_peak()
            size = net(x).nbytes
            assert tracemalloc.get_traced_memory()[1] < size + 100_000
    finally:
        tracemalloc.stop()


def test_threads_may_share_it():
    block = BLOCKS["halving"]()
    inputs = [normal(1, 8, 24, 26, seed=seed) for seed in range(4)]
    right, wrong = [bits(wanted(block, x)) for x in inputs], []

    def work(place):
        wrong.extend(place for _ in range(50) if bits(block(inputs[place])) != right[place])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_numbers_that_are_not_finite():
    block, x = BLOCKS["halving"](), normal(*SHAPE)
    block.body[-1].algorithm = "winograd"
    warm(block, x)
    x[1, 0, 3, 3], x[1, 2, 5, 5] = np.inf, np.nan
    with np.errstate(all="ignore"):
        assert bits(block(x)) == bits(wanted(block, x))
        assert bits(block(x[:, :, ::-1])) == bits(wanted(block, x[:, :, ::-1]))


def test_lines_are_added_too():
    block, x = Residual(Conv1d(4, 4, 3, padding=1, rng=0), activation=ReLU()), normal(2, 4, 30)
    for _ in range(4):
        assert bits(block(x)) == bits(np.maximum(block.body[0](x) + x, 0))


def test_a_backend_that_does_not_fuse_gets_the_layers(monkeypatch):
    class Plain(Loopback):
        def fuses(self, plan):
            return "it adds nothing"

    backend = Plain()
    pretend(monkeypatch, backend)
    x = normal(*SHAPE)
    for name in ("basic", "halving", "one convolution"):
        block = BLOCKS[name]()
        with pyconv.use_backend(backend.name):
            for _ in range(3):
                assert bits(block(x)) == bits(wanted(block, x))
            step = next(step for step in explain(block, x).steps if step.note == "it adds nothing")
            assert step.plan.op == "conv2d"


def test_shapes_that_do_not_add_up_are_refused_before_anything_is_computed():
    x = normal(*SHAPE)
    given = x.copy()
    for block, words in (
        (Residual(ReLU(inplace=True), conv(8, 16)), ["(2, 16, 14, 15)", "(2, 8, 14, 15)", "downsample="]),
        (Residual(ReLU(inplace=True), Conv2d(8, 8, 3)), ["(2, 8, 12, 13)", "nothing is broadcast"]),
        (Residual(ReLU(inplace=True), conv(8, 1)), ["(2, 1, 14, 15)"]),
        (Residual(ReLU(inplace=True), conv(8, 16), downsample=conv(8, 24)), ["(2, 24, 14, 15)", "downsample gives"]),
    ):
        for fuse in (True, False):
            block.fuse = fuse
            refused(ShapeError, ["Residual", *words], block, x)
            refused(ShapeError, ["layer '1'", "Residual", *words], Sequential(MaxPool2d(1), block), x)
    assert bits(x) == bits(given)
    refused(ShapeError, ["(2, 16, 14, 15)"], Residual(Softmax(1), conv(8, 16)), x)  # known when it has been computed
    refused(ShapeError, ["layer '2'", "8 channels"], Residual(conv(8, 8), ReLU(), conv(16, 8)), x)
    for name in BLOCKS:
        block = BLOCKS[name]()
        refused(OutputError, ["out has shape"], block, x, out=np.empty((1, 2, 3, 4), np.float32))
    refused(pyconv.errors.DTypeError, ["float64"], basic(), x.astype(float))
    refused(ArgumentError, ["input"], basic(), x.tolist())


def test_what_is_refused_is_not_explained():
    with pytest.raises(ShapeError, match="their shapes must be equal"):
        pyconv.explain(Residual(Conv2d(8, 8, 3)), normal(*SHAPE))


def test_how_it_is_made():
    refused(ArgumentError, ["there is no layer in the body"], Residual)
    refused(ArgumentError, ["'downsample'", "pass it as downsample="], Residual, {"downsample": ReLU()})
    refused(ArgumentError, ["'1'", "function"], Residual, ReLU(), pyconv.functional.relu)
    refused(ArgumentError, ["'activation'", "function"], Residual, ReLU(), activation=pyconv.functional.relu)
    refused(ArgumentError, ["without dots"], Residual, {"a.b": ReLU()})
    refused(ArgumentError, ["'downsample'", "bool"], Residual, ReLU(), downsample=False)
    refused(ArgumentError, ["'activation'", "ndarray"], Residual, ReLU(), activation=normal(2, 2))
    refused(ArgumentError, ["fuse must be True or False"], Residual, ReLU(), fuse=1)
    nothing = Sequential()
    assert Residual(ReLU(), downsample=nothing).downsample is nothing
    block = BLOCKS["bottleneck"]()
    assert repr(block) == (
        "Residual(\n  (conv1): Conv2d(8, 4, kernel_size=(1, 1), stride=(1, 1))\n  (act1): Tanh()\n"
        "  (conv2): Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))\n  (act2): ReLU()\n"
        "  (conv3): Conv2d(4, 24, kernel_size=(1, 1), stride=(1, 1))\n"
        "  (downsample): Conv2d(8, 24, kernel_size=(1, 1), stride=(1, 1))\n  (activation): ReLU(inplace=True)\n)"
    )
    assert list(dict(block.named_children())) == ["conv1", "act1", "conv2", "act2", "conv3", "downsample", "activation"]
    assert [name for name in block.state_dict() if "bias" in name] == [
        "conv1.bias", "conv2.bias", "conv3.bias", "downsample.bias",
    ]  # fmt: skip
    assert isinstance(block.body, Sequential)
    assert len(block.body) == 5
    assert basic().downsample is None


def test_copies_and_pickles():
    block, x = Residual(Sequential(conv(8, 16), ReLU(), conv(16, 8))), normal(*SHAPE)
    right = warm(block, x)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert bits(warm(other, x)) == bits(right)
        other.body[0][0].weight = normal(16, 8, 3, 3, seed=5)
        assert bits(other(x)) != bits(block(x)) == bits(right)
    other = Residual(Sequential(conv(8, 16, seed=7), ReLU(), conv(16, 8, seed=8)))
    other.load_state_dict(block.state_dict())
    assert bits(other(x)) == bits(right)


def test_explain_tells_what_is_run_as_one():
    x = normal(*SHAPE)
    block = BLOCKS["halving"]()
    found = explain(Sequential(block), x)
    assert [step.name for step in found.steps] == [
        "(0) Conv2d + (1) ReLU", "(downsample) (0) MaxPool2d", "(downsample) (1) Conv2d",
        "(2) Conv2d + residual + (activation) Sigmoid",
    ]  # fmt: skip
    assert found.steps[-1].plan.op == "conv2d+residual+sigmoid"
    assert found.steps[-1].implementation.endswith("+bands")
    assert "71.7 kB between the parts not moved" in str(found)
    block.fuse = False
    found = explain(block, x)
    assert [step.name for step in found.steps][-2:] == ["(downsample) (1) Conv2d", "(activation) Sigmoid"]
    assert found.steps[2].note == "the residual is added by itself: it was asked for"
    for name in BLOCKS:
        steps = explain(BLOCKS[name](), x).steps
        notes = " ".join(step.note for step in steps)
        assert ("the body does not end in a convolution" in notes) == (name in ADDED_AFTERWARDS)
        assert any("residual" in step.plan.op for step in steps) == (name not in ADDED_AFTERWARDS)
    measured = explain(BLOCKS["one convolution"](), x, measure=True).steps
    assert all(time > 0 for time in measured[0].measured.values())


def test_a_shortcut_of_the_users_own_is_called():
    class Counting(ReLU):
        seen = 0

        def __call__(self, input, *, out=None):
            Counting.seen += 1
            return super().__call__(input, out=out)

    block, x = Residual(conv(8, 8), downsample=Counting()), normal(*SHAPE)
    right = conv(8, 8)(x) + np.maximum(x, 0)
    for _ in range(5):
        assert bits(block(x)) == bits(right)
    assert Counting.seen == 5
    assert "may write over the input" in explain(block, x).steps[0].note


def test_a_layer_derived_from_it_is_no_part_of_what_is_kept():
    class Own(Residual):
        def __call__(self, input, *, out=None):
            return super().__call__(input, out=out) + 1

    net, x = Sequential(conv(8, 8), Own(conv(8, 8)), BatchNorm2d(8)), normal(*SHAPE)
    inner = net[0](x)
    for _ in range(4):
        assert_close(net(x), net[2](conv(8, 8)(inner) + inner + 1))


def test_a_sequential_deep_in_the_body_may_be_told_not_to_fuse():
    inner = Sequential(conv(8, 8), conv(8, 8, seed=1))
    block, x = Residual(Sequential(ReLU(), inner)), normal(*SHAPE)
    right = warm(block, x)
    assert known_by(block, x) is not None
    inner.fuse = False
    assert known_by(block, x) is None
    assert bits(block(x)) == bits(right)
    assert "does not end in a convolution" in explain(block, x).steps[-1].note
