"""The same activation gives the same answer in torch, where torch is installed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from helpers import USABLE, normal

import pyconv
import pyconv.functional as F
from pyconv.plan import ACTIVATIONS

torch = pytest.importorskip("torch")
TF = torch.nn.functional
pytestmark = pytest.mark.parametrize("backend", USABLE)

# What torch is called with, beside the defaults; it has to be a good call for pyconv too.
CALLS = [(op, {}) for op, entry in ACTIVATIONS.items() if entry.layer and op != "threshold"] + [
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("leaky_relu", {"negative_slope": -0.3}),
    ("elu", {"alpha": 0.3}),
    ("elu", {"alpha": -1.5}),
    ("elu", {"alpha": 0.0}),
    ("celu", {"alpha": 2.5}),
    ("hardtanh", {"min_val": -0.5, "max_val": 3.0}),
    ("hardshrink", {"lambd": 1.5}),
    ("softshrink", {"lambd": 0.0}),
    ("softplus", {"beta": 0.3, "threshold": 1.0}),
    ("softplus", {"beta": -0.7}),
    ("softplus", {"beta": -3.0, "threshold": -1.0}),
    ("threshold", {"threshold": 0.1, "value": 20.0}),
]
ids = [f"{op}{''.join(f'-{key}={value}' for key, value in parameters.items())}" for op, parameters in CALLS]


def values(dtype, op):
    """Everything an activation may meet; but torch's gelu of infinity is NaN in float32, on some processors."""
    ends = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 100, -100, 1e30, -1e30, 0.5, -0.5, 3.0, -3.0], dtype)
    if op == "gelu":
        ends = ends[~np.isinf(ends)]
    return np.concatenate([ends, np.linspace(-20, 20, 1001, dtype=dtype), normal(500, dtype=dtype)])


def close(got, wanted):
    """Near: torch's own errors are larger than pyconv's, so that the size of the argument counts too."""
    wanted = wanted.detach().numpy()
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    eps = float(np.finfo(got.dtype).eps)
    np.testing.assert_allclose(got, wanted, rtol=16 * eps, atol=16 * eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("op", "parameters"), CALLS, ids=ids)
def test_function(backend, op, parameters, dtype):
    x = values(dtype, op)
    close(getattr(F, op)(x, **parameters, backend=backend), getattr(TF, op)(torch.from_numpy(x), **parameters))


@pytest.mark.parametrize(("op", "parameters"), CALLS, ids=ids)
def test_places_of_parameters(backend, op, parameters):
    if op == "gelu":
        return  # torch takes its parameter by name only
    x = values("float32", op)
    got = getattr(F, op)(x, *parameters.values(), backend=backend)
    close(got, getattr(TF, op)(torch.from_numpy(x), *parameters.values()))


@pytest.mark.parametrize(("op", "parameters"), CALLS, ids=ids)
def test_layer(backend, op, parameters):
    name = ACTIVATIONS[op].layer or "GELU"
    ours = getattr(pyconv, name)(**parameters, backend=backend)
    theirs = getattr(torch.nn, name)(**parameters)
    assert repr(ours) == repr(theirs)
    x = values("float32", op)
    close(ours(x), theirs(torch.from_numpy(x)))
    close(pickle.loads(pickle.dumps(ours))(x), theirs(torch.from_numpy(x)))
    if ACTIVATIONS[op].inplace:
        ours, theirs = (getattr(package, name)(**parameters, inplace=True) for package in (pyconv, torch.nn))
        if op not in ("hardsigmoid", "hardswish"):  # torch does not show it there
            assert repr(ours) == repr(theirs)
        work = x.copy()
        assert ours(work) is work
        close(work, theirs(torch.from_numpy(x.copy())))


@pytest.mark.parametrize("op", [op for op, entry in ACTIVATIONS.items() if entry.inplace])
def test_in_place(backend, op):
    parameters = {"threshold": 0.1, "value": 20.0} if op == "threshold" else {}
    x = normal(33)
    wanted = getattr(F, op)(x, **parameters, backend=backend)
    assert getattr(F, op)(x, **parameters, inplace=True, backend=backend) is x
    np.testing.assert_array_equal(x, wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "weights"), [((2, 3, 4, 5), 3), ((2, 3, 4, 5), 1), ((4, 7), 7), ((9,), 1), ((), 1)])
def test_prelu(backend, shape, weights, dtype):
    x, weight = np.asarray(normal(*shape, dtype=dtype)), normal(weights, dtype=dtype, seed=1)
    close(F.prelu(x, weight, backend=backend), TF.prelu(torch.from_numpy(x), torch.from_numpy(weight)))


def test_prelu_layer(backend):
    ours, theirs = pyconv.PReLU(3, backend=backend), torch.nn.PReLU(3)
    assert repr(ours) == repr(theirs)
    np.testing.assert_array_equal(ours.weight, theirs.weight.detach().numpy())
    theirs.load_state_dict({"weight": torch.tensor([0.1, -0.2, 3.0])})
    ours.load_state_dict(theirs.state_dict())
    x = normal(2, 3, 5, 6)
    close(ours(x), theirs(torch.from_numpy(x)))
    close(pickle.loads(pickle.dumps(ours))(x), theirs(torch.from_numpy(x)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["softmax", "softmin", "log_softmax"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 1000), (2, 3, 4), (2, 3, 17, 5)], ids=str)
def test_along_an_axis(backend, op, shape, dtype):
    x = np.asarray(normal(*shape, dtype=dtype) * 10, dtype)
    for dim in range(-max(len(shape), 1), max(len(shape), 1)):
        close(getattr(F, op)(x, dim, backend=backend), getattr(TF, op)(torch.from_numpy(x), dim))
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        wanted = getattr(TF, op)(torch.from_numpy(x))
    close(getattr(F, op)(x, backend=backend), wanted)
    name = {"softmax": "Softmax", "softmin": "Softmin", "log_softmax": "LogSoftmax"}[op]
    ours, theirs = getattr(pyconv, name)(dim=-1, backend=backend), getattr(torch.nn, name)(dim=-1)
    assert repr(ours) == repr(theirs)
    close(ours(x), theirs(torch.from_numpy(x)))


@pytest.mark.parametrize("op", ["softmax", "softmin", "log_softmax"])
@pytest.mark.parametrize("given", ["float16", "float32", "float64", "int32", "bool"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_in_a_dtype(backend, op, given, dtype):
    if (op, given) == ("softmin", "bool"):
        return  # torch negates before it converts
    x = (normal(3, 17) * 3).astype(given)
    wanted = getattr(TF, op)(torch.from_numpy(x), 1, dtype=getattr(torch, dtype))
    for _ in range(3):
        got = getattr(F, op)(x, 1, dtype=dtype, backend=backend)
        close(got, wanted)
        out = np.empty_like(got)
        assert getattr(F, op)(x, dim=1, dtype=np.dtype(dtype), out=out, backend=backend) is out
        np.testing.assert_array_equal(out, got)
    if given == dtype:
        np.testing.assert_array_equal(got, getattr(F, op)(x, 1, backend=backend))


def test_signs_of_zeros(backend):
    x = np.array([0.0, -0.0, -95.0, -200.0, -1e4, -1e30], np.float32)
    for op, more in (("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {}), ("mish", {})):
        got, wanted = getattr(F, op)(x, **more, backend=backend), getattr(TF, op)(torch.from_numpy(x), **more).numpy()
        zero = (got == 0) & (wanted == 0)  # torch's silu and mish of -95 are below the normal numbers
        assert zero.sum() >= 5
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(wanted[zero]))


def test_softmax_of_masked_scores(backend):
    x = normal(4, 6)
    x[0, 2:], x[1], x[2, 3], x[3, 1] = -np.inf, -np.inf, np.nan, np.inf
    for op in ("softmax", "log_softmax"):
        close(getattr(F, op)(x, 1, backend=backend), getattr(TF, op)(torch.from_numpy(x), 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "dim"), [((6,), 0), ((3, 8), -1), ((4, 3), 0), ((2, 6, 5, 7), 1)])
def test_glu(backend, shape, dim, dtype):
    x = normal(*shape, dtype=dtype)
    close(F.glu(x, dim, backend=backend), TF.glu(torch.from_numpy(x), dim))
    assert repr(pyconv.GLU(dim)) == repr(torch.nn.GLU(dim))
    close(pyconv.GLU(dim, backend=backend)(x), torch.nn.GLU(dim)(torch.from_numpy(x)))


@pytest.mark.parametrize(
    ("op", "arguments", "shape"),
    [
        ("celu", {"alpha": 0.0}, (3,)),
        ("softshrink", {"lambd": -1.0}, (3,)),
        ("hardtanh", {"min_val": 1.0, "max_val": 0.0}, (3,)),
        ("elu", {"alpha": "1"}, (3,)),
        ("gelu", {"approximate": "erf"}, (3,)),
        ("softmax", {"dim": 2}, (3, 4)),
        ("log_softmax", {"dim": -3}, (3, 4)),
        ("glu", {"dim": 0}, (3, 4)),
        ("glu", {}, ()),
    ],
)
def test_both_refuse(backend, op, arguments, shape):
    x = np.zeros(shape, np.float32)
    with pytest.raises(pyconv.errors.PyconvError):
        getattr(F, op)(x, **arguments, backend=backend)
    with pytest.raises((RuntimeError, TypeError, ValueError, IndexError, ZeroDivisionError)):
        getattr(TF, op)(torch.from_numpy(x), **arguments)
