"""The same call gives the same answer in torch, where torch is installed."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
from helpers import USABLE, normal

import pyconv
import pyconv.functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional
pytestmark = pytest.mark.parametrize("backend", USABLE)


@pytest.fixture(autouse=True)
def _without_warnings():
    """Torch warns of even kernels with 'same'."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def tensors(*arrays):
    return [None if array is None else torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def close(got, wanted, terms=1):
    """As near as rounding in another order allows."""
    wanted = wanted.detach().numpy()
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    error = (8 + terms) * float(np.finfo(got.dtype).eps)
    np.testing.assert_allclose(got, wanted, rtol=error, atol=error)


CONVS = {
    "plain": ((2, 3, 9, 10), (4, 3, 3, 3), {}),
    "stride": ((2, 3, 9, 10), (4, 3, 3, 3), {"stride": (2, 3)}),
    "padding": ((2, 3, 9, 10), (4, 3, 3, 3), {"padding": (1, 2)}),
    "padding_above_kernel": ((1, 3, 5, 6), (4, 3, 3, 3), {"padding": 5}),
    "dilation": ((1, 3, 11, 12), (4, 3, 3, 2), {"dilation": (2, 3)}),
    "groups": ((1, 6, 9, 10), (4, 3, 3, 3), {"groups": 2}),
    "depthwise": ((1, 6, 9, 10), (12, 1, 3, 3), {"groups": 6, "padding": 1}),
    "all": ((2, 4, 13, 14), (6, 2, 3, 2), {"stride": 2, "padding": (3, 1), "dilation": (1, 2), "groups": 2}),
    "valid": ((1, 3, 9, 10), (4, 3, 3, 3), {"padding": "valid"}),
    "same": ((1, 3, 9, 10), (4, 3, 3, 5), {"padding": "same"}),
    "same_even": ((1, 3, 9, 10), (4, 3, 2, 4), {"padding": "same"}),
    "same_even_dilated": ((1, 3, 9, 10), (4, 3, 4, 2), {"padding": "same", "dilation": (3, 1)}),
    "unbatched": ((3, 9, 10), (4, 3, 3, 3), {"padding": 1}),
    "no_batch": ((0, 3, 9, 10), (4, 3, 3, 3), {}),
    "1x1": ((1, 65, 7, 9), (33, 65, 1, 1), {}),
    "stem": ((1, 3, 45, 47), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
    "lists": ((1, 3, 9, 10), (4, 3, 3, 3), {"stride": [2, 1], "padding": [1, 0], "dilation": [1, 2]}),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("name", CONVS)
def test_conv2d(backend, name, has_bias, dtype):
    shape, weight_shape, parameters = CONVS[name]
    x, weight = normal(*shape, dtype=dtype), normal(*weight_shape, dtype=dtype, seed=1)
    bias = normal(weight_shape[0], dtype=dtype, seed=2) if has_bias else None
    got = F.conv2d(x, weight, bias, **parameters, backend=backend)
    close(got, TF.conv2d(*tensors(x, weight, bias), **parameters), weight[0].size)


@pytest.mark.parametrize("name", CONVS)
def test_conv2d_with_something_added(backend, name):
    shape, weight_shape, parameters = CONVS[name]
    x, weight, bias = normal(*shape), normal(*weight_shape, seed=1), normal(weight_shape[0], seed=2)
    wanted = TF.conv2d(*tensors(x, weight, bias), **parameters)
    added = normal(*wanted.shape, seed=3)
    wanted = wanted + torch.from_numpy(added)
    call = partial(F.conv2d, x, weight, bias, **parameters, residual=added)
    close(call(backend=backend), wanted, weight[0].size)
    assert call(out=added, backend=backend) is added
    close(added, wanted, weight[0].size)


def test_conv2d_takes_the_same_places(backend):
    x, weight, bias = normal(1, 4, 9, 10), normal(6, 2, 3, 3), normal(6)
    places = (2, 1, 2, 2)
    with pyconv.use_backend(backend):
        close(F.conv2d(x, weight, bias, *places), TF.conv2d(*tensors(x, weight, bias), *places), 18)


def test_conv2d_of_what_is_no_number(backend):
    x = normal(1, 2, 8, 9)
    x[0, 0, 2, 3], x[0, 1, 6, 7], x[0, 1, 0, 8] = np.nan, np.inf, -np.inf
    weight = normal(3, 2, 3, 3)
    close(F.conv2d(x, weight, padding=1, backend=backend), TF.conv2d(*tensors(x, weight), padding=1), 18)


POOLS = {
    "2": {"kernel_size": 2},
    "3_stride2": {"kernel_size": 3, "stride": 2},
    "3_stride2_padding": {"kernel_size": 3, "stride": 2, "padding": 1},
    "stride1": {"kernel_size": (3, 2), "stride": 1, "padding": (1, 0)},
    "stride_above": {"kernel_size": 2, "stride": (3, 4)},
    "empty_stride": {"kernel_size": 2, "stride": []},
    "dilation": {"kernel_size": 3, "stride": 2, "dilation": (2, 1)},
    "dilation_padding": {"kernel_size": 3, "stride": 1, "dilation": 2, "padding": 1},
    "ceil": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    "ceil_padding": {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    "ceil_stride_above": {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    "ceil_dilation": {"kernel_size": 2, "stride": 3, "dilation": 3, "padding": 1, "ceil_mode": True},
    "5": {"kernel_size": 5, "stride": 1, "padding": 2},
}


@pytest.mark.parametrize("values", ["normal", "ties", "nan", "minus_inf"])
@pytest.mark.parametrize("shape", [(2, 3, 8, 9), (3, 11, 7), (1, 1, 16, 67)], ids=str)
@pytest.mark.parametrize("name", POOLS)
def test_max_pool2d(backend, name, shape, values):
    parameters = POOLS[name]
    x = normal(*shape)
    if values == "ties":
        x = np.round(x)
    elif values != "normal":
        x[normal(*shape, seed=1) > 0] = np.nan if values == "nan" else -np.inf
    wanted, places = TF.max_pool2d(*tensors(x), **parameters, return_indices=True)
    got, indices = F.max_pool2d(x, **parameters, return_indices=True, backend=backend)
    np.testing.assert_array_equal(got, wanted.numpy())
    np.testing.assert_array_equal(indices, places.numpy())
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(F.max_pool2d(x, **parameters, backend=backend), wanted.numpy())


def test_max_pool2d_takes_the_same_places(backend):
    x = normal(1, 2, 9, 10)
    places = (3, 2, 1, 1, True, True)
    with pyconv.use_backend(backend):
        for got, wanted in zip(F.max_pool2d(x, *places), TF.max_pool2d(*tensors(x), *places), strict=True):
            np.testing.assert_array_equal(got, wanted.numpy())


@pytest.mark.parametrize("size", range(1, 14))
def test_the_number_of_windows(backend, size):
    x = normal(1, 1, size, size)
    for kernel in range(1, 5):
        for stride in range(1, 5):
            for padding in range(kernel // 2 + 1):
                for ceil_mode in (False, True):
                    call = (kernel, stride, padding, 1, ceil_mode)
                    try:
                        wanted = TF.max_pool2d(*tensors(x), *call).numpy()
                    except RuntimeError:
                        with pytest.raises(pyconv.errors.ShapeError):
                            F.max_pool2d(x, *call, backend=backend)
                        continue
                    got = F.max_pool2d(x, *call, backend=backend)
                    np.testing.assert_array_equal(got, wanted, err_msg=str(call))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["relu", "sigmoid", "tanh"])
def test_activations(backend, op, dtype):
    ends = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 100, -100, 1e30, -1e30], dtype)
    x = np.concatenate([ends, np.linspace(-20, 20, 1001, dtype=dtype), normal(500, dtype=dtype)])
    got = getattr(F, op)(x, backend=backend)
    wanted = getattr(torch, op)(*tensors(x)).numpy()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_allclose(got, wanted, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)
    assert getattr(F, op)(np.array(0.5, dtype), backend=backend).shape == ()


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, (2, 1), "same", "valid"])
@pytest.mark.parametrize("kernel", [3, (2, 4)])
def test_layers(backend, kernel, padding, mode):
    same = {"padding": padding, "padding_mode": mode, "dilation": (1, 2), "groups": 2}
    theirs = torch.nn.Conv2d(4, 6, kernel, **same)
    ours = pyconv.Conv2d(4, 6, kernel, **same, backend=backend)
    ours.load_state_dict(theirs.state_dict())
    x = normal(2, 4, 8, 9)
    close(ours(x), theirs(*tensors(x)), 32)
    close(ours(x[0]), theirs(*tensors(x[0])), 32)


def networks(package, **more):
    return package.Sequential(
        package.Conv2d(3, 8, 3, padding=1, **more),
        package.ReLU(),
        package.Sequential(package.Conv2d(8, 4, 3, stride=2, bias=False, **more), package.Tanh()),
        package.MaxPool2d(2, ceil_mode=True),
        package.Sigmoid(),
    )


def test_state_dicts_are_exchanged(backend):
    theirs, ours = networks(torch.nn), networks(pyconv.nn, backend=backend)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = normal(2, 3, 17, 18)
    close(ours(x), theirs(*tensors(x)), 200)
    other = networks(torch.nn)
    other.load_state_dict({name: torch.from_numpy(array) for name, array in ours.state_dict().items()})
    np.testing.assert_array_equal(other(*tensors(x)).detach().numpy(), theirs(*tensors(x)).detach().numpy())
    assert list(ours[2:].state_dict()) == list(theirs[2:].state_dict())


def test_repr(backend):
    assert repr(networks(pyconv.nn)) == repr(networks(torch.nn))
    for arguments in (
        {"kernel_size": (1, 2), "stride": (2, 1), "padding": 1, "dilation": 2, "groups": 2, "bias": False},
        {"kernel_size": 3, "padding": "same", "padding_mode": "circular"},
    ):
        assert repr(pyconv.Conv2d(2, 4, **arguments)) == repr(torch.nn.Conv2d(2, 4, **arguments))
    for arguments in ((3,), (3, 2), ((3, 2), (2, 1), (1, 1), 1, True, True)):
        assert repr(pyconv.MaxPool2d(*arguments)) == repr(torch.nn.MaxPool2d(*arguments))
    assert repr(pyconv.ReLU(True)) == repr(torch.nn.ReLU(True))


def test_initial_parameters_are_spread_alike(backend):
    ours, theirs = pyconv.Conv2d(16, 128, 3, rng=0), torch.nn.Conv2d(16, 128, 3)
    for mine, other in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
        other = other.detach().numpy()
        assert mine.std() == pytest.approx(other.std(), rel=0.2)
        assert np.abs(mine).max() == pytest.approx(np.abs(other).max(), rel=0.05)


X, WEIGHT = (1, 4, 8, 9), (6, 4, 3, 3)
REFUSED = [
    ("conv2d", X, WEIGHT, {"stride": 0}),
    ("conv2d", X, WEIGHT, {"stride": (1, -1)}),
    ("conv2d", X, WEIGHT, {"stride": (1, 1, 1)}),
    ("conv2d", X, WEIGHT, {"stride": 1.5}),
    ("conv2d", X, WEIGHT, {"stride": "1"}),
    ("conv2d", X, WEIGHT, {"padding": -1}),
    ("conv2d", X, WEIGHT, {"padding": "full"}),
    ("conv2d", X, WEIGHT, {"padding": "same", "stride": 2}),
    ("conv2d", X, WEIGHT, {"dilation": 0}),
    ("conv2d", X, WEIGHT, {"dilation": 5}),
    ("conv2d", X, WEIGHT, {"groups": 0}),
    ("conv2d", X, WEIGHT, {"groups": -1}),
    ("conv2d", X, WEIGHT, {"groups": 2}),
    ("conv2d", X, (6, 3, 3, 3), {}),
    ("conv2d", X, (6, 4, 9, 3), {}),
    ("conv2d", X, (6, 4, 3, 3, 1), {}),
    ("conv2d", X, (6, 4, 3), {}),
    ("conv2d", (8, 9), WEIGHT, {}),
    ("conv2d", (1, 1, 4, 8, 9), WEIGHT, {}),
    ("max_pool2d", X, 0, {}),
    ("max_pool2d", X, -1, {}),
    ("max_pool2d", X, (1, 2, 3), {}),
    ("max_pool2d", X, 2.5, {}),
    ("max_pool2d", X, 10, {}),
    ("max_pool2d", X, 3, {"stride": 0}),
    ("max_pool2d", X, 3, {"stride": -1}),
    ("max_pool2d", X, 3, {"padding": 2}),
    ("max_pool2d", X, 3, {"padding": -1}),
    ("max_pool2d", X, 3, {"dilation": 0}),
    ("max_pool2d", (8, 9), 2, {}),
    ("max_pool2d", (1, 0, 8, 9), 2, {}),
    ("max_pool2d", (1, 4, 0, 9), 2, {}),
]


@pytest.mark.parametrize(("op", "shape", "second", "parameters"), REFUSED, ids=str)
def test_both_refuse(backend, op, shape, second, parameters):
    x = np.zeros(shape, np.float32)
    other = np.zeros(second, np.float32) if op == "conv2d" else second
    with pytest.raises(pyconv.errors.PyconvError):
        getattr(F, op)(x, other, **parameters, backend=backend)
    theirs = tensors(other)[0] if op == "conv2d" else other
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        getattr(TF, op)(*tensors(x), theirs, **parameters)


def test_both_refuse_mixed_dtypes_and_integers(backend):
    x, weight = np.zeros(X, np.float32), np.zeros(WEIGHT, np.float64)
    with pytest.raises(pyconv.errors.DTypeError):
        F.conv2d(x, weight, backend=backend)
    with pytest.raises(RuntimeError):
        TF.conv2d(*tensors(x, weight))


def test_tensors_are_told_how_to_become_arrays(backend):
    tensor = torch.zeros(1, 3, 4, 4)
    with pytest.raises(pyconv.errors.ArgumentError, match=r"is a Tensor, .* pass np.asarray\(input\)"):
        F.relu(tensor, backend=backend)
    assert F.relu(np.asarray(tensor), backend=backend).shape == (1, 3, 4, 4)
