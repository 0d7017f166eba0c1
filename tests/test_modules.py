"""Layers: parameters, repr, pickling, state dicts, Sequential, padding modes, errors that name the layer."""

from __future__ import annotations

import copy
import pickle
from math import sqrt

import numpy as np
import pytest
from helpers import USABLE, assert_close, normal

import pyconv
import pyconv.functional as F
from pyconv import Conv2d, MaxPool2d, ReLU, Sequential, Sigmoid, Tanh
from pyconv.errors import ArgumentError, DTypeError, OutputError, ShapeError, StateDictError, TooLargeError

REPRS = [
    (Conv2d(3, 8, 3), "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))"),
    (Conv2d(3, 8, (3, 5), 2, 1), "Conv2d(3, 8, kernel_size=(3, 5), stride=(2, 2), padding=(1, 1))"),
    (Conv2d(3, 8, 3, padding="same"), "Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=same)"),
    (
        Conv2d(4, 8, 3, dilation=2, groups=4, bias=False, padding=1, padding_mode="reflect"),
        "Conv2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(2, 2), groups=4, bias=False, "
        "padding_mode=reflect)",
    ),
    (
        Conv2d(1, 1, 1, padding=((0, 1), (2, 3)), dtype="float64"),
        "Conv2d(1, 1, kernel_size=(1, 1), stride=(1, 1), padding=((0, 1), (2, 3)), dtype=float64)",
    ),
    (MaxPool2d(2), "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"),
    (
        MaxPool2d((3, 2), 1, (1, 0), 2, ceil_mode=True),
        "MaxPool2d(kernel_size=(3, 2), stride=1, padding=(1, 0), dilation=2, ceil_mode=True)",
    ),
    (ReLU(), "ReLU()"),
    (ReLU(inplace=True), "ReLU(inplace=True)"),
    (Sigmoid(), "Sigmoid()"),
    (Tanh(), "Tanh()"),
    (Sequential(), "Sequential()"),
    (
        Sequential(ReLU(), Sequential({"inner": Tanh()})),
        "Sequential(\n  (0): ReLU()\n  (1): Sequential(\n    (inner): Tanh()\n  )\n)",
    ),
]


@pytest.mark.parametrize(("layer", "text"), REPRS)
def test_repr(layer, text):
    assert repr(layer) == text


@pytest.mark.parametrize(
    ("layer", "fan_in"), [(Conv2d(3, 400, 5, rng=0), 75), (Conv2d(16, 400, (1, 3), groups=4, rng=0), 12)]
)
def test_initial_parameters(layer, fan_in):
    bound = 1 / sqrt(fan_in)
    for array in (layer.weight, layer.bias):
        assert np.abs(array).max() <= bound
        assert np.abs(array).max() > 0.97 * bound
        assert abs(array.mean()) < 0.15 * bound
        assert array.dtype == np.float32


def test_seeds():
    first, second = Conv2d(3, 4, 3, rng=7), Conv2d(3, 4, 3, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(first.weight, second.weight)
    np.testing.assert_array_equal(first.bias, second.bias)
    assert not np.array_equal(first.weight, Conv2d(3, 4, 3, rng=8).weight)
    assert not np.array_equal(Conv2d(3, 4, 3).weight, Conv2d(3, 4, 3).weight)
    shared = np.random.default_rng(7)
    assert not np.array_equal(Conv2d(3, 4, 3, rng=shared).weight, Conv2d(3, 4, 3, rng=shared).weight)
    np.testing.assert_allclose(Conv2d(3, 4, 3, rng=7, dtype="float64").weight, first.weight, rtol=1e-6)
    np.testing.assert_array_equal(Conv2d(3, 4, 3, bias=False, rng=7).weight, first.weight)


def test_parameters_are_read_only():
    layer = Conv2d(2, 3, 3, rng=0)
    x = normal(1, 2, 5, 5)
    before = layer(x)
    for array in (layer.weight, layer.bias, layer.parameters()["weight"]):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="read-only"):
            array *= 2
    np.testing.assert_array_equal(layer(x), before)


def test_assigning_parameters():
    layer = Conv2d(2, 3, 3, rng=0)
    x = normal(1, 2, 5, 5)
    layer(x)  # so that weights are packed already
    weight, bias = normal(3, 2, 3, 3), normal(3)
    layer.weight, layer.bias = weight, bias
    assert_close(layer(x), F.conv2d(x, weight, bias, backend="reference"))
    kept = layer(x)
    weight[...] = 0  # the layer has a copy
    np.testing.assert_array_equal(layer(x), kept)
    layer.bias = None
    assert_close(layer(x), F.conv2d(x, layer.weight, backend="reference"))
    assert list(layer.parameters()) == ["weight"]
    assert "bias=False" in repr(layer)


def test_no_bias():
    layer = Conv2d(2, 3, 3, bias=False)
    assert layer.bias is None
    assert list(layer.state_dict()) == ["weight"]
    layer.bias = np.ones(3, np.float32)
    assert list(layer.state_dict()) == ["weight", "bias"]


def net():
    first = Conv2d(3, 4, 3, padding=1, padding_mode="circular", rng=0)
    return Sequential(first, Tanh(), MaxPool2d(2), Conv2d(4, 2, 1, rng=1))


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, *(lambda layer, n=n: pickle.loads(pickle.dumps(layer, n)) for n in range(2, 6))],
    ids=["deepcopy", "pickle2", "pickle3", "pickle4", "pickle5"],
)
def test_copies(duplicate):
    original, x = net(), normal(2, 3, 8, 8)
    wanted = original(x)  # before copying: packed weights are nothing to copy
    other = duplicate(original)
    np.testing.assert_array_equal(other(x), wanted)
    assert repr(other) == repr(original)
    with pytest.raises(ValueError, match="read-only"):
        other[0].weight[...] = 0
    other[0].weight = np.zeros((4, 3, 3, 3), np.float32)
    np.testing.assert_array_equal(original(x), wanted)


def test_a_pickle_holds_parameters_once():
    layer = Conv2d(64, 64, 3)
    fresh = len(pickle.dumps(layer))
    layer(normal(1, 64, 8, 8))
    assert len(pickle.dumps(layer)) == fresh
    assert fresh < layer.weight.nbytes + layer.bias.nbytes + 2000


def test_state_dict():
    model = net()
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    state["0.weight"][...] = 0  # a copy
    assert model[0].weight.any()
    other = Sequential(*(type(layer)() if isinstance(layer, Tanh) else copy.deepcopy(layer) for layer in model))
    other[0].weight = np.zeros((4, 3, 3, 3), np.float32)
    x = normal(2, 3, 8, 8)
    assert not np.array_equal(other(x), model(x))
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other(x), model(x))
    assert ReLU().state_dict() == {}
    ReLU().load_state_dict({})


def test_state_dict_is_converted():
    layer = Conv2d(1, 2, 1)
    layer.load_state_dict({"weight": [[[[1]]], [[[2]]]], "bias": np.array([3.0, 4.0])})
    np.testing.assert_array_equal(layer.weight.ravel(), [1, 2])
    assert layer.weight.dtype == layer.bias.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"3.bias": None}, "missing key '3.bias'"),
        ({"4.bias": np.zeros(2)}, "unexpected key '4.bias'"),
        ({"3.weight": np.zeros((2, 4, 1, 2))}, r"'3.weight' has shape \(2, 4, 1, 2\), the layer's is \(2, 4, 1, 1\)"),
        ({"3.bias": np.zeros(2, "complex64")}, "'3.bias' has dtype complex64"),
        ({"3.bias": np.array(["a", "b"])}, "'3.bias' has dtype <U1"),
        ({"3.bias": [1.0, [2.0]]}, "'3.bias' is no array"),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(change, words):
    model = net()
    before = model.state_dict()
    state = {name: np.zeros_like(array) for name, array in before.items()}
    state = {name: value for name, value in {**state, **change}.items() if value is not None}
    with pytest.raises(StateDictError, match=words):
        model.load_state_dict(state)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_every_problem_of_a_state_dict_is_told():
    with pytest.raises(StateDictError) as caught:
        Conv2d(1, 1, 1).load_state_dict({"wait": 1, "bias": np.zeros(2)})
    assert str(caught.value).startswith("Conv2d: the state dict does not fit: ")
    for words in ("missing key 'weight'", "unexpected key 'wait'", "'bias' has shape (2,)"):
        assert words in str(caught.value)


def test_a_state_dict_that_is_not_strict():
    model = net()
    before = model.state_dict()
    state = {"0.bias": np.ones(4), "4.weight": np.ones(3), "3": 1}
    found = model.load_state_dict(state, strict=False)
    assert found.missing_keys == ["0.weight", "3.weight", "3.bias"]
    assert found.unexpected_keys == ["4.weight", "3"]
    assert (model[0].bias == 1).all()
    np.testing.assert_array_equal(model[0].weight, before["0.weight"])
    assert model.load_state_dict(before) == ([], [])
    with pytest.raises(StateDictError, match=r"'0.bias' has shape \(5,\), the layer's is \(4,\)$"):
        model.load_state_dict({**state, "0.bias": np.ones(5)}, strict=False)
    with pytest.raises(StateDictError, match="unexpected key '3'; strict=False would leave out the keys"):
        model.load_state_dict(state)
    with pytest.raises(ArgumentError, match="strict must be True or False"):
        model.load_state_dict(state, strict=0)


def test_tensors_that_are_no_arrays():
    torch = pytest.importorskip("torch")
    layer, bias = Conv2d(1, 1, 1), np.ones(1)
    tensor = torch.zeros(1, 1, 1, 1, requires_grad=True)
    half = torch.nn.Parameter(tensor.bfloat16())
    for value, words in (
        (tensor, r"pass np.asarray\(state_dict\['weight'\].detach\(\)\)"),
        (tensor.detach().bfloat16(), r"pass np.asarray\(state_dict\['weight'\].float\(\)\)"),
        (half, r"pass np.asarray\(state_dict\['weight'\].detach\(\).float\(\)\)"),
        (torch.zeros(1, device="meta"), r"\['weight'\].cpu\(\)\)"),
    ):
        with pytest.raises(StateDictError, match=words):
            layer.load_state_dict({"weight": value, "bias": bias})
    with pytest.raises(ArgumentError, match=r"pass np.asarray\(weight.detach\(\).float\(\)\)"):
        layer.weight = half
    with pytest.raises(ArgumentError, match=r"input is a Parameter, .*; pass np.asarray\(input.detach\(\).float\(\)\)"):
        layer(half)
    with pytest.raises(ArgumentError, match=r"is a Tensor, not a NumPy or CuPy array; pass np.asarray\(input\)$"):
        layer(tensor.detach())


def test_bfloat16_is_loaded():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    layer = Conv2d(1, 1, 1)
    layer.load_state_dict({"weight": np.full((1, 1, 1, 1), 1.5, bfloat16), "bias": np.zeros(1, np.float16)})
    assert layer.weight == 1.5


def test_sequential_places():
    model = net()
    assert len(model) == 4
    assert [type(layer).__name__ for layer in model] == ["Conv2d", "Tanh", "MaxPool2d", "Conv2d"]
    assert model[0] is next(iter(model))
    assert model[-1] is model[3]
    assert model[np.int64(1)] is model[1]
    for place in (4, -5):
        with pytest.raises(IndexError):
            model[place]
    with pytest.raises(TypeError):
        model["0"]
    with pytest.raises(TypeError):
        model[1.0]


def test_sequential_slices_share_layers():
    model, x = net(), normal(1, 3, 8, 8)
    head, tail = model[:2], model[2:]
    assert isinstance(head, Sequential)
    assert head[0] is model[0]
    np.testing.assert_array_equal(tail(head(x)), model(x))
    assert list(tail.state_dict()) == ["3.weight", "3.bias"]  # names stay, as in torch
    assert len(model[::2]) == 2
    assert len(model[4:]) == 0


def test_sequential_of_nothing():
    x = normal(2, 3)
    assert Sequential()(x) is x
    out = np.empty_like(x)
    assert Sequential()(x, out=out) is out
    np.testing.assert_array_equal(out, x)
    assert Sequential()(x, out=x) is x
    with pytest.raises(OutputError, match="out has shape"):
        Sequential()(x, out=x[0])


@pytest.mark.parametrize("places", [(0,), (1,), (2,), (0, 1, 2, 3)])
def test_sequential_of_nothing_in_another(places):
    """With out= it is as without: wherever there is one that holds no layers, also the last."""
    layers = [ReLU(), Conv2d(3, 4, 3, rng=0), ReLU()]
    wanted = Sequential(*layers)(normal(1, 3, 6, 7))
    for place in places:
        layers.insert(place, Sequential())
    model = Sequential(*layers, Sequential())
    for seed in (0, 0, 0, 0):
        x, out = normal(1, 3, 6, 7, seed=seed), np.empty_like(wanted)
        np.testing.assert_array_equal(model(x), wanted)
        assert model(x, out=out) is out
        np.testing.assert_array_equal(out, wanted)


def test_sequential_of_names():
    model = Sequential({"first": Conv2d(3, 4, 3, rng=0), "act": ReLU()})
    assert list(model.state_dict()) == ["first.weight", "first.bias"]
    assert [name for name, _ in model.named_children()] == ["first", "act"]
    with pytest.raises(ShapeError, match=r"^layer 'first': Conv2d\(3, 4.*\): conv2d: .*has 2 channels"):
        model(normal(1, 2, 8, 8))


def test_errors_name_the_layer():
    inner = Sequential(Conv2d(3, 4, 3), ReLU())
    with pytest.raises(ShapeError, match=r"^layer '1': layer '0': Conv2d\(3, 4, kernel_size=\(3, 3\), .*\): "):
        Sequential(Tanh(), inner)(normal(1, 2, 8, 8))
    with pytest.raises(ShapeError, match=r"^MaxPool2d\(kernel_size=9, .*\): max_pool2d: the window is larger"):
        MaxPool2d(9)(normal(1, 3, 8, 8))
    with pytest.raises(DTypeError, match=r"^Sigmoid\(\): sigmoid: input has dtype int64"):
        Sigmoid()(np.arange(3))


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, (2, 0), ((0, 3), (1, 2)), "same"])
def test_padding_modes(backend, dtype, mode, padding):
    layer = Conv2d(2, 3, (3, 2), padding=padding, padding_mode=mode, dtype=dtype, backend=backend, rng=0)
    x = normal(2, 2, 5, 6, dtype=dtype)
    sides = {1: ((1, 1), (1, 1)), (2, 0): ((2, 2), (0, 0)), "same": ((1, 1), (0, 1))}.get(padding, padding)

    def source(place, size):  # the pixel that stands in for one outside, by each mode's definition
        if mode == "replicate":
            return min(max(place, 0), size - 1)
        if mode == "circular":
            return place % size
        return -place if place < 0 else 2 * (size - 1) - place if place >= size else place

    rows = [source(place, 5) for place in range(-sides[0][0], 5 + sides[0][1])]
    columns = [source(place, 6) for place in range(-sides[1][0], 6 + sides[1][1])]
    bordered = x[:, :, rows][:, :, :, columns]
    assert_close(layer(x), F.conv2d(bordered, layer.weight, layer.bias, backend="reference"))
    assert_close(layer(x[0]), layer(x)[0])


@pytest.mark.parametrize("backend", USABLE)
def test_layers_are_their_functions(backend):
    x = normal(2, 4, 9, 10)
    conv = Conv2d(4, 6, 3, (2, 1), ((1, 0), (2, 1)), (1, 2), 2, backend=backend, rng=0)
    wanted = F.conv2d(x, conv.weight, conv.bias, (2, 1), ((1, 0), (2, 1)), (1, 2), 2, backend=backend)
    np.testing.assert_array_equal(conv(x), wanted)
    pool = MaxPool2d(3, 2, 1, 1, True, True, backend=backend)
    for got, right in zip(pool(x), F.max_pool2d(x, 3, 2, 1, 1, True, True, backend=backend), strict=True):
        np.testing.assert_array_equal(got, right)
    for layer, function in ((ReLU, F.relu), (Sigmoid, F.sigmoid), (Tanh, F.tanh)):
        np.testing.assert_array_equal(layer(backend=backend)(x), function(x, backend=backend))


def test_one_layer_on_two_backends():
    # weights prepared for one backend are not handed to the other
    layer, x = Conv2d(3, 4, 3, rng=0), normal(1, 3, 8, 8)
    results = []
    for name in [*USABLE, *USABLE]:
        with pyconv.use_backend(name):
            results.append(layer(x))
    for got in results[1:]:
        assert_close(got, results[0])


def test_one_layer_on_many_shapes():
    layer = Conv2d(2, 3, 3, padding=1, rng=0)
    for size in (*range(3, 25), *range(24, 2, -1)):
        x = normal(1, 2, size, size, seed=size)
        assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1, backend="reference"))


def test_attributes_are_torchs():
    layer = Conv2d(4, 6, 3, 2, 1, 1, 2, padding_mode="reflect")
    assert (layer.in_channels, layer.out_channels, layer.groups) == (4, 6, 2)
    assert (layer.kernel_size, layer.stride, layer.dilation) == ((3, 3), (2, 2), (1, 1))
    assert layer.padding_mode == "reflect"
    assert MaxPool2d(3).stride == 3
    assert MaxPool2d(3, return_indices=True).return_indices


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        *((Conv2d(4, 4, 3), name) for name in ("in_channels", "kernel_size", "stride", "padding", "groups")),
        *((MaxPool2d(2), name) for name in ("kernel_size", "stride", "padding", "return_indices", "ceil_mode")),
    ],
)
def test_what_a_layer_is_made_of_stays(layer, name):
    """It would otherwise show in repr and nowhere else."""
    before = repr(layer)
    with pytest.raises(AttributeError, match=f"{name} cannot be changed"):
        setattr(layer, name, 3)
    assert repr(layer) == before


def test_a_list_given_to_a_layer_is_its_own():
    sizes = [2, 2]
    pool = MaxPool2d(sizes)
    sizes[0] = 5
    assert repr(pool) == repr(MaxPool2d((2, 2)))


def test_parameters_cannot_be_unlocked():
    layer = pickle.loads(pickle.dumps(Conv2d(2, 3, 3, rng=0)))
    for array in (layer.weight, layer.bias, Conv2d(2, 3, 3).weight):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)


@pytest.mark.parametrize("sizes", [(2**31 - 1, 2**31 - 1, 1), (2, 4, 2**31 - 1), (2, 4, 100_000_000)])
def test_a_layer_larger_than_memory(sizes):
    with pytest.raises((TooLargeError, ShapeError), match="Conv2d: the weight"):
        Conv2d(*sizes)


def test_masked_parameters_and_no_mapping():
    layer = Conv2d(1, 1, 1)
    with pytest.raises(ArgumentError, match="masked"):
        layer.weight = np.ma.masked_array(np.ones((1, 1, 1, 1), np.float32), mask=True)
    with pytest.raises(ArgumentError, match="mapping"):
        layer.load_state_dict(3)


def test_attributes_as_in_torch():
    assert Conv2d(1, 1, 3, padding=1).padding == (1, 1)
    assert Conv2d(1, 1, 3, padding="valid").padding == "valid"
    assert "padding=valid" in repr(Conv2d(1, 1, 3, padding="valid"))
