"""Flatten, Identity, Dropout and Linear: what stands behind the convolutions of a network, and one loaded whole."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers import USABLE, assert_close, normal

import pyconv
from pyconv import Dropout, Dropout1d, Dropout2d, Flatten, Identity, Linear
from pyconv.errors import ArgumentError, DTypeError, OutputError, PyconvError, ShapeError


def lenet(kinds):
    """LeNet-5 with pooling by maxima, of the layers of a package."""
    return kinds.Sequential(
        kinds.Conv2d(1, 6, 5, padding=2),
        kinds.ReLU(),
        kinds.MaxPool2d(2),
        kinds.Dropout2d(0.2),
        kinds.Conv2d(6, 16, 5),
        kinds.ReLU(),
        kinds.MaxPool2d(2),
        kinds.Flatten(),
        kinds.Linear(400, 120),
        kinds.Tanh(),
        kinds.Dropout(),
        kinds.Identity(400, bias=False),
        kinds.Linear(120, 84, bias=False),
        kinds.ReLU(),
        kinds.Linear(84, 10),
        kinds.LogSoftmax(1),
    )


def test_a_lenet_of_torch_is_loaded_whole():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs, ours = lenet(torch.nn).eval(), lenet(pyconv)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    x = normal(3, 1, 28, 28)
    for _ in range(4):
        np.testing.assert_allclose(ours(x), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    for mine, other in zip(ours, theirs, strict=True):
        if not isinstance(mine, pyconv.Conv2d):
            assert repr(mine) == repr(other)


@pytest.mark.parametrize("measure", [False, True])
def test_it_is_explained(measure):
    net, x = lenet(pyconv), normal(3, 1, 28, 28)
    steps = pyconv.explain(net, x, measure=measure).steps
    assert [step.name for step in steps if "Linear" in step.name] == ["(8) Linear", "(12) Linear", "(14) Linear"]
    assert steps[-1].plan.in_shape == (3, 10)
    assert pyconv.explain(Flatten(), x).steps == ()


def test_a_nested_one_is_explained():
    inner = pyconv.Sequential(pyconv.Conv2d(1, 2, 3), Flatten())
    steps = pyconv.explain(pyconv.Sequential(inner, Linear(2 * 4 * 4, 3)), normal(5, 1, 6, 6)).steps
    assert [step.name for step in steps] == ["(0) Conv2d", "(1) Linear"]


@pytest.mark.parametrize("dims", [(), (0,), (2,), (-2,), (0, 1), (1, 1), (0, -2), (-3, -2)])
def test_flatten(dims):
    x = normal(2, 3, 4, 5)
    torch = pytest.importorskip("torch")
    wanted = torch.nn.Flatten(*dims)(torch.from_numpy(x)).numpy()
    result = Flatten(*dims)(x)
    np.testing.assert_array_equal(result, wanted)
    assert np.shares_memory(result, x)
    np.testing.assert_array_equal(Flatten(*dims)(np.moveaxis(x, 1, 3).copy().swapaxes(1, 2)).size, x.size)
    out = np.empty_like(wanted)
    assert Flatten(*dims)(x, out=out) is out
    np.testing.assert_array_equal(out, wanted)


def test_flatten_of_few_dimensions():
    assert Flatten(0)(np.float32(3)).shape == (1,)
    assert Flatten()(np.zeros((0, 3, 4), np.uint8)).shape == (0, 12)
    with pytest.raises(ShapeError, match="Flatten: dim must be between -1 and 0 for 1 dimensions, got 1"):
        Flatten()(np.zeros(3))
    with pytest.raises(ShapeError, match="start_dim must not come after end_dim: got 2 and 1"):
        Flatten(2, 1)(np.zeros((1, 2, 3)))
    with pytest.raises(ArgumentError, match="start_dim must be an integer"):
        Flatten(1.0)


@pytest.mark.parametrize("layer", [Identity(), Identity(3, a=2), Dropout(), Dropout1d(0), Dropout2d(1, True)])
def test_layers_that_give_their_input(layer):
    x = normal(2, 3)
    assert layer(x) is x
    out = np.empty_like(x)
    assert layer(x, out=out) is out
    np.testing.assert_array_equal(out, x)
    assert layer.state_dict() == {}
    with pytest.raises(ArgumentError, match="input must be a NumPy or CuPy array, got list"):
        layer([1.0])
    with pytest.raises(OutputError, match="out has shape"):
        layer(x, out=np.empty((2, 4), np.float32))


def test_what_dropout_refuses():
    for p in (-0.1, 1.5, float("nan"), "0.5"):
        with pytest.raises(ArgumentError, match="Dropout2d: p must be"):
            Dropout2d(p)


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (7, 5), (2, 3, 5), (1, 5, 4, 5), (1, 5, 1, 5), (0, 5), (2, 0, 5)])
def test_linear(backend, dtype, shape):
    x, layer = normal(*shape, dtype=dtype), Linear(5, 13, dtype=dtype, rng=0, backend=backend)
    assert layer.weight.shape == (13, 5)
    wanted = np.einsum("...i,oi->...o", x.astype(float), layer.weight.astype(float)) + layer.bias
    for _ in range(3):
        result = layer(x)
        assert result.dtype == dtype
        assert_close(result, wanted.astype(dtype))
    out = np.empty((*shape[:-1], 13), dtype)
    assert layer(x, out=out) is out
    np.testing.assert_array_equal(out, result)
    np.testing.assert_array_equal(layer(np.flip(np.flip(x, -1).copy(), -1)), result)
    np.testing.assert_array_equal(layer.forward(x), result)


def test_linear_of_one_feature():
    layer = Linear(1, 2, bias=False, rng=0)
    for shape in ((1, 1, 4, 1), (4, 1, 3, 1), (1, 1, 1, 1)):
        x = normal(*shape)
        np.testing.assert_allclose(layer(x), x * layer.weight[:, 0], rtol=1e-6)
        plan = pyconv.explain(layer, x).steps[0].plan
        assert (plan.op, plan.groups, plan.batch, plan.in_size) == ("conv2d", 1, 1, (x.size, 1))


def test_linear_rows_do_not_know_each_other():
    layer, x = Linear(700, 37, rng=0), normal(70, 700)
    whole = layer(x)
    for rows in (1, 2, 5, 16, 33):
        np.testing.assert_array_equal(layer(x[:rows]), whole[:rows])


def test_linear_parameters():
    layer, other = Linear(3, 2, rng=0), Linear(3, 2, rng=1)
    assert list(layer.state_dict()) == ["weight", "bias"]
    x = normal(4, 3)
    before = other(x)
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other(x), layer(x))
    assert not np.array_equal(before, other(x))
    for one in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(one(x), layer(x))
        with pytest.raises(ValueError, match="read-only"):
            one.weight[0] = 1
    assert np.abs(Linear(400, 200, rng=0).weight).max() <= 1 / 20


def test_what_linear_refuses():
    layer = Linear(3, 2)
    for shape in ((), (4,), (3, 4), (0, 4)):
        with pytest.raises(ShapeError, match=r"^Linear\(in_features=3.*\): input must be \(..., in_features\)"):
            layer(normal(*shape))
        with pytest.raises(ShapeError, match="in_features"):
            pyconv.explain(layer, normal(*shape))
    with pytest.raises(ShapeError, match="in_features"):
        pyconv.explain(layer, normal(2, 3, 5, 1))
    with pytest.raises(PyconvError, match="Linear"):
        pyconv.explain(layer, None)
    with pytest.raises(DTypeError, match="input is float64 but weight is float32"):
        layer(np.zeros((1, 3)))
    with pytest.raises(OutputError, match="out has shape"):
        layer(normal(4, 3), out=np.empty((4, 3), np.float32))
    x = normal(4, 2, 3)
    with pytest.raises(OutputError, match="overlaps an input"):
        layer(x, out=x[:, :, :2])
    with pytest.raises(ShapeError, match=r"weight must have shape \(2, 3\)"):
        layer.weight = np.zeros((3, 2), np.float32)
    with pytest.raises(PyconvError, match="Linear: out_features must be at least 1"):
        Linear(3, 0)
    with pytest.raises(AttributeError):
        layer.in_features = 4
