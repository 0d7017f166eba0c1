"""Layers that hold layers: classes of the user's own, children and modules, append, eval and train."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers import normal

import pyconv
from pyconv import (
    BatchNorm2d,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    MaxPool2d,
    MaxUnpool2d,
    Module,
    PReLU,
    ReLU,
    Sequential,
    Tanh,
)
from pyconv.errors import ArgumentError, OutputError, ShapeError


class Block(Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = Conv2d(channels, channels, 3, padding=1, rng=0)
        self.act = PReLU()
        self.rest = Sequential(Conv2d(channels, channels, 1, rng=1), Tanh())

    def forward(self, x):
        return self.rest(self.act(self.conv1(x))) + x


class Called(Block):
    def __call__(self, x):
        return self.forward(x)


def by_hand(block, x):
    return block.rest[1](block.rest[0](block.act(block.conv1(x)))) + x


KEYS = ["conv1.weight", "conv1.bias", "act.weight", "rest.0.weight", "rest.0.bias"]


@pytest.mark.parametrize("kind", [Block, Called])
def test_a_class_of_the_users_own(kind):
    block, other, x = kind(3), kind(3), normal(2, 3, 7, 8)
    assert list(block.state_dict()) == KEYS
    np.testing.assert_array_equal(block(x), by_hand(block, x))
    other.conv1.weight = np.zeros((3, 3, 3, 3), np.float32)
    assert not np.array_equal(other(x), block(x))
    other.load_state_dict(block.state_dict())
    for one in (other, copy.deepcopy(block), copy.copy(block)):
        np.testing.assert_array_equal(one(x), block(x))


def test_it_may_be_pickled():
    block, x = Block(3), normal(1, 3, 5, 5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(block))(x), block(x))


@pytest.mark.parametrize("kind", [Block, Called])
def test_it_may_stand_in_a_sequential(kind):
    net, x = Sequential(Conv2d(3, 4, 3, rng=0), kind(4), MaxPool2d(2)), normal(1, 3, 9, 9)
    for _ in range(4):
        np.testing.assert_array_equal(net(x), net[2](by_hand(net[1], net[0](x))))
    assert [name for name in net.state_dict() if name.startswith("1.")] == [f"1.{key}" for key in KEYS]
    last = Sequential(net[0], Block(4))
    out = np.empty_like(last(x))
    assert last(x, out=out) is out
    np.testing.assert_array_equal(out, last(x))


def test_its_result_goes_to_out():
    class Takes(ReLU):
        def forward(self, input, *, out=None):
            return super().forward(input, out=out)

    class Two(Module):
        def forward(self, x):
            return x, x

    x = normal(1, 3, 5, 5)
    for layer in (Block(3), Takes()):
        out = np.empty_like(x)
        assert layer(x, out=out) is out
        np.testing.assert_array_equal(out, layer(x))
    with pytest.raises(OutputError, match="Block: out has shape"):
        Block(3)(x, out=np.empty((1, 3, 5, 4), np.float32))
    with pytest.raises(ArgumentError, match="Two: what forward returns must be a NumPy or CuPy array, got tuple"):
        Two()(x, out=x)


def test_an_array_of_its_own_is_a_parameter():
    class Scaled(Block):
        def __init__(self):
            super().__init__(2)
            self.scale = np.ones(1, np.float32)

        def parameters(self):
            return {"scale": self.scale, **super().parameters()}

    layer = Scaled()
    assert list(layer.state_dict()) == ["scale", *KEYS]
    layer.load_state_dict({**layer.state_dict(), "scale": [3]})
    assert layer.scale == 3


@pytest.mark.parametrize(
    ("base", "arguments", "shapes"),
    [
        (Conv2d, (3, 4, 3), [(1, 3, 6, 6)]),
        (Conv1d, (3, 4, 3), [(1, 3, 6)]),
        (ConvTranspose2d, (3, 4, 3), [(1, 3, 6, 6)]),
        (BatchNorm2d, (3,), [(1, 3, 6, 6)]),
        (PReLU, (3,), [(1, 3, 6, 6)]),
        (MaxUnpool2d, (2,), [(1, 3, 1, 1), (1, 3, 1, 1)]),
        (Sequential, (ReLU(),), [(1, 3, 6, 6)]),
    ],
)
def test_forward_of_a_layer_is_its_call(base, arguments, shapes):
    class Derived(base):
        def forward(self, *inputs):
            return -super().forward(*inputs)

    arrays = [normal(*shapes[0]), *(np.zeros(shape, np.int64) for shape in shapes[1:])]
    layer, plain = Derived(*arguments), base(*arguments)
    plain.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(plain.forward(*arrays), plain(*arrays))
    np.testing.assert_array_equal(layer(*arrays), -plain(*arrays))


def test_layers_of_a_derived_layer_are_in_its_state_dict():
    for layer, own in ((Conv2d(3, 4, 1), ["weight", "bias"]), (PReLU(), ["weight"]), (BatchNorm2d(4), None)):
        own = list(layer.state_dict()) if own is None else own
        layer.after = Conv2d(4, 2, 1)
        assert list(layer.state_dict()) == [*own, "after.weight", "after.bias"]
        state = {name: np.zeros_like(array) for name, array in layer.state_dict().items()}
        layer.load_state_dict(state)
        assert not layer.after.weight.any()
        assert not layer.weight.any()


def test_a_class_without_forward():
    class Empty(Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty plans no operation: it needs a forward"):
        Empty()(normal(1, 3, 5, 5))


def test_children_and_modules():
    net = Sequential(Conv2d(3, 4, 1), Block(4))
    assert list(net.children()) == [net[0], net[1]]
    assert [name for name, _ in net[1].named_children()] == ["conv1", "act", "rest"]
    names = ["", "0", "1", "1.conv1", "1.act", "1.rest", "1.rest.0", "1.rest.1"]
    assert [name for name, _ in net.named_modules()] == names
    assert [type(layer).__name__ for layer in net.modules()][:3] == ["Sequential", "Conv2d", "Block"]
    relu = ReLU()
    assert list(Sequential(relu, relu).children()) == [relu, relu]
    assert len(list(Sequential(relu, relu).modules())) == 2
    assert list(ReLU().children()) == []


def test_children_and_modules_are_torchs():
    torch = pytest.importorskip("torch")

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(4, 4, 3)
            self.act = torch.nn.PReLU()
            self.rest = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), torch.nn.Tanh())

    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), Theirs())
    ours = Sequential(Conv2d(3, 4, 1), Block(4))
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for mine, other in ((ours, theirs), (ours[1], theirs[1])):
        assert [name for name, _ in mine.named_children()] == [name for name, _ in other.named_children()]
        kinds = [type(layer).__name__ for layer in other.children()]
        assert [type(layer).__name__.replace("Block", "Theirs") for layer in mine.children()] == kinds


def test_repr_of_a_class_of_the_users_own():
    class Pair(Module):
        def __init__(self):
            self.first, self.second = ReLU(), Sequential(Tanh())

    assert repr(Pair()) == "Pair(\n  (first): ReLU()\n  (second): Sequential(\n    (0): Tanh()\n  )\n)"


def test_eval_and_train():
    for layer in (ReLU(), Sequential(Conv2d(1, 1, 1)), Block(2)):
        assert layer.eval() is layer
        assert layer.train(False) is layer
        assert layer.training is False
        with pytest.raises(ArgumentError, match=r"is for inference and only runs networks that are trained.*torch"):
            layer.train()
    with pytest.raises(ArgumentError, match="mode must be True or False"):
        ReLU().train(2)


@pytest.mark.parametrize("outer", [False, True])
def test_append(outer):
    x = normal(1, 3, 9, 9)
    net = Sequential(Conv2d(3, 4, 3, rng=0), ReLU())
    whole = Sequential(net, Tanh()) if outer else net
    for _ in range(4):  # until the call is known
        before = whole(x)
    assert net.append(MaxPool2d(2)) is net
    assert [name for name, _ in net.named_children()] == ["0", "1", "2"]
    wanted = net[2](net[1](net[0](x)))
    wanted = whole[1](wanted) if outer else wanted
    for _ in range(4):
        np.testing.assert_array_equal(whole(x), wanted)
    assert before.shape == (1, 4, 7, 7)
    assert list(net.parts()) == ["0"]  # the pooling is part of the group
    net.append(Conv2d(4, 2, 1))
    assert list(net.state_dict())[-2:] == ["3.weight", "3.bias"]


def test_append_refuses():
    net = Sequential(ReLU())
    with pytest.raises(ArgumentError, match="a pyconv layer is needed, got ufunc"):
        net.append(np.tanh)
    for layer in (net, Sequential(Sequential(net))):
        with pytest.raises(ArgumentError, match="holds the Sequential"):
            net.append(layer)
    with pytest.raises(ArgumentError, match="there is a layer '1' already"):
        Sequential({"1": ReLU()}).append(ReLU())
    assert len(net) == 1


def test_an_appended_layer_is_not_in_slices_and_copies():
    net = Sequential(ReLU(), Tanh())
    others = (net[:], copy.copy(net), copy.deepcopy(net))
    net.append(ReLU())
    assert [len(other) for other in others] == [2, 2, 2]


def test_errors_within_name_the_way():
    with pytest.raises(ShapeError, match=r"^layer '0': Conv2d.*has 2 channels"):
        Sequential(Block(3))(normal(1, 2, 5, 5))


def test_explain_says_that_it_needs_the_layers():
    with pytest.raises(ArgumentError, match=r"Block is run by a forward of its own.*one by one"):
        pyconv.explain(Block(3), normal(1, 3, 5, 5))
    with pytest.raises(ArgumentError, match="layer '1', Block"):
        pyconv.explain(pyconv.Sequential(pyconv.ReLU(), Block(3)), normal(1, 3, 5, 5))


def test_forward_may_come_from_any_base():
    class Doubles:
        def forward(self, x):
            return 2 * x

    class Mixed(Doubles, pyconv.Module):
        pass

    class Own(pyconv.ReLU):
        def forward(self, x):
            return super().forward(x) + 1

    class Inherits(Own):
        pass

    x = normal(1, 2, 3, 3)
    for layer, wanted in ((Mixed(), 2 * x), (Own(), np.maximum(x, 0) + 1), (Inherits(), np.maximum(x, 0) + 1)):
        np.testing.assert_array_equal(layer(x), wanted)
        np.testing.assert_array_equal(Sequential(layer)(x), wanted)


def test_attributes_of_a_class_derived_from_sequential_are_its_children():
    class Net(Sequential):
        def __init__(self):
            super().__init__(pyconv.Conv2d(2, 2, 1, rng=0))
            self.fc = pyconv.Linear(2, 3, rng=0)

    net = Net()
    assert list(net.state_dict()) == ["0.weight", "0.bias", "fc.weight", "fc.bias"]
    assert [name for name, _ in net.named_modules()] == ["", "0", "fc"]
    net.load_state_dict({name: array + 1 for name, array in net.state_dict().items()})
    np.testing.assert_array_equal(net.fc.weight, pyconv.Linear(2, 3, rng=0).weight + 1)
