"""What is refused of activations' parameters: by which exception, and in which words."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import normal, refused

import pyconv
import pyconv.functional as F
from pyconv.errors import ArgumentError, DTypeError, OutputError, ShapeError

X = normal(2, 3, 4)

NO_NUMBER = [
    ("1", ArgumentError, "str '1'"),
    (b"1", ArgumentError, "bytes"),
    (True, ArgumentError, "bool True"),
    (np.True_, ArgumentError, "True"),
    (1j, ArgumentError, "complex"),
    ((1.0,), ArgumentError, "tuple"),
    (np.ones(2), ArgumentError, "ndarray"),
    (float("nan"), ArgumentError, "nan"),
]


@pytest.mark.parametrize(("value", "kind", "words"), NO_NUMBER)
@pytest.mark.parametrize(
    ("op", "layer", "name"),
    [("leaky_relu", "LeakyReLU", "negative_slope"), ("hardtanh", "Hardtanh", "max_val"), ("celu", "CELU", "alpha")],
)
def test_numbers(op, layer, name, value, kind, words):
    refused(kind, [f"{op}: {name} must be a number", words], getattr(F, op), X, **{name: value})
    refused(kind, [f"{layer}: {name} must be a number", words], getattr(pyconv, layer), **{name: value})


def test_ranges():
    for value in (0.0, -1, np.inf):
        refused(ArgumentError, ["celu: alpha must be positive and finite", repr(value)], F.celu, X, value)
        refused(ArgumentError, ["CELU: alpha must be positive"], pyconv.CELU, value)
    for value in (0.0, -0.0, -np.inf):
        refused(ArgumentError, ["softplus: beta must be finite and not zero"], F.softplus, X, beta=value)
    refused(ArgumentError, ["ELU: alpha must be finite, got inf"], pyconv.ELU, np.inf)
    refused(ArgumentError, ["softshrink: lambd must not be negative", "-0.5"], F.softshrink, X, -0.5)
    refused(ArgumentError, ["hardtanh: min_val must be at most max_val", "2.0 and 1.0"], F.hardtanh, X, 2, 1)
    refused(ArgumentError, ["Hardtanh: min_val must be at most"], pyconv.Hardtanh, 2, 1)


def test_names_and_places():
    refused(ArgumentError, ["relu: takes at most 1 parameters (inplace), got 2"], F.relu, X, False, 1)
    refused(ArgumentError, ["tanh: takes at most 0 parameters"], F.tanh, X, 1)
    refused(ArgumentError, ["elu: there is no parameter 'aplha'; it has alpha, inplace"], F.elu, X, aplha=1)
    refused(ArgumentError, ["elu: alpha is given twice"], F.elu, X, 1.0, alpha=1.0)
    refused(ArgumentError, ["threshold: threshold must be given as a number"], F.threshold, X)
    refused(ArgumentError, ["Threshold: value must be given"], pyconv.Threshold, 0.5)
    refused(ArgumentError, ["relu: inplace must be True or False, got int 1"], F.relu, X, 1)
    refused(ArgumentError, ["ELU: inplace must be True or False"], pyconv.ELU, inplace="yes")


@pytest.mark.parametrize("layer", [pyconv.LeakyReLU(), pyconv.GELU(), pyconv.PReLU(), pyconv.Softmax(1)], ids=repr)
def test_layers_stay_as_they_were_made(layer):
    name = next(iter(layer._fixed))
    with pytest.raises(AttributeError, match="cannot be changed; make a new layer"):
        setattr(layer, name, 3)


def test_gelu():
    refused(ArgumentError, ["gelu: approximate must be 'none' or 'tanh', got 'erf'"], F.gelu, X, "erf")
    refused(ArgumentError, ["GELU: approximate must be"], pyconv.GELU, None)


def test_prelu():
    one = np.ones(1, np.float32)
    refused(
        ShapeError, ["prelu: weight must hold one slope or one for each channel", "(3,)", "(2,)"], F.prelu, X, normal(2)
    )
    refused(ShapeError, ["prelu: weight", "(1, 3)"], F.prelu, X, normal(1, 3))
    refused(ShapeError, ["prelu: weight"], F.prelu, X[0, 0], normal(4))
    refused(DTypeError, ["prelu: input is float32 but weight is float64"], F.prelu, X, one.astype(np.float64))
    refused(ArgumentError, ["prelu: weight must be a NumPy or CuPy array, got float"], F.prelu, X, 0.25)
    refused(OutputError, ["prelu: out overlaps an input"], F.prelu, one, one, out=one)
    refused(ShapeError, ["PReLU: num_parameters must be at least 1"], pyconv.PReLU, 0)
    refused(ArgumentError, ["PReLU: init must be a number"], pyconv.PReLU, 1, "a")
    refused(DTypeError, ["PReLU: dtype must be one of"], pyconv.PReLU, dtype="int32")
    with pytest.raises(ShapeError, match=r"weight must have shape \(3,\)"):
        pyconv.PReLU(3).weight = normal(2)


@pytest.mark.parametrize("op", ["softmax", "softmin", "log_softmax", "glu"])
def test_dim(op):
    function = getattr(F, op)
    refused(ShapeError, [f"{op}: dim must be between -3 and 2 for 3 dimensions, got 3"], function, X, 3)
    refused(ShapeError, [f"{op}: dim must be between", "got -4"], function, X, -4)
    refused(ArgumentError, [f"{op}: dim must be an integer, got float 1.0"], function, X, 1.0)
    refused(ArgumentError, [f"{op}: dim must be an integer"], function, X, True)


@pytest.mark.parametrize("op", ["softmax", "softmin", "log_softmax"])
def test_dtype(op):
    function = getattr(F, op)
    refused(DTypeError, [f"{op}: dtype must be one of float32, float64, got float16"], function, X, 1, dtype="float16")
    refused(DTypeError, [f"{op}: dtype must be one of", "'single precision'"], function, X, 1, dtype="single precision")
    refused(DTypeError, ["complex128", "real and the imaginary part"], function, X.astype(complex), 1, dtype="float32")
    refused(DTypeError, [f"{op}: input has dtype <U"], function, X.astype(str), 1, dtype="float32")
    refused(OutputError, ["out has dtype float32, the result is float64"], function, X, 1, dtype="float64", out=X)
    for kind in ("int64", "bool", "float16"):  # which dtype= would take
        words = [f"{op}: input has dtype {kind}", "pass input.astype(np.float32), or dtype=np.float32 to the function"]
        refused(DTypeError, words, function, X.astype(kind), 1)
    with pytest.raises(DTypeError, match=r"pass input.astype\(np.float32\)$"):
        F.glu(X.astype("int64"), 1)


def test_glu():
    refused(ShapeError, ["glu: dimension 1 is halved", "(2, 3, 4)", "3 % 2 = 1"], F.glu, X, 1)
    refused(ShapeError, ["no dimension to halve"], F.glu, np.float32(1))
    refused(ArgumentError, ["glu: dim must be an integer, got None"], F.glu, X, None)
    refused(ArgumentError, ["GLU: dim must be an integer, got None"], pyconv.GLU, None)
    refused(OutputError, ["glu: out has shape (2, 3, 4), the result has (2, 3, 2)"], F.glu, X, out=X.copy())
    refused(OutputError, ["glu: out overlaps"], F.glu, X, out=X[..., :2])


def test_out():
    refused(OutputError, ["silu: out has shape"], F.silu, X, out=X[0].copy())
    refused(OutputError, ["softmax: out overlaps"], F.softmax, X[:1], 1, out=X.reshape(-1)[6:18].reshape(1, 3, 4))
    locked = X.copy()
    locked.setflags(write=False)
    refused(OutputError, ["elu: out is read-only"], F.elu, locked, inplace=True)
    refused(OutputError, ["ELU(alpha=1.0, inplace=True): elu: out is read-only"], pyconv.ELU(inplace=True), locked)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_in_place_and_out(backend):
    """One of the two, or both the same array; and no call in place is taken for one that was known."""
    layer, words = pyconv.ReLU(inplace=True, backend=backend), ["inplace=True", "give out alone", "or inplace=True"]
    wanted = np.maximum(X, 0)
    for _ in range(4):
        x, out = X.copy(), np.zeros_like(X)
        refused(ArgumentError, ["relu: ", *words], F.relu, x, True, out=out, backend=backend)
        refused(ArgumentError, ["relu: ", *words], F.relu, x, inplace=True, out=out, backend=backend)
        refused(ArgumentError, ["ReLU(inplace=True): relu: ", *words], layer, x, out=out)
        np.testing.assert_array_equal(x, X)
        assert not out.any()
        for call in (lambda x, **out: F.relu(x, inplace=True, backend=backend, **out), layer):
            for more in ({}, {"out": x}):
                x[...] = X
                assert call(x, **more) is x
                np.testing.assert_array_equal(x, wanted)


@pytest.mark.parametrize("body", [pyconv.Residual, pyconv.Sequential])
def test_the_last_layer_in_place_and_out_of_the_whole(body):
    last = pyconv.ReLU(inplace=True)
    first = pyconv.Sigmoid()
    net = pyconv.Residual(first, activation=last) if body is pyconv.Residual else pyconv.Sequential(first, last)
    x, wanted = X.copy(), net(X)
    for _ in range(4):
        out = np.zeros_like(X)
        assert net(x, out=out) is out
        np.testing.assert_array_equal(out, wanted)
    np.testing.assert_array_equal(x, X)
    refused(OutputError, ["out has shape"], net, X, out=X[0].copy())
