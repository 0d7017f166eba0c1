"""Windows of an image as columns, and back: what they are to each other, layers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close, bits, normal, refused

import pyconv
import pyconv.functional as F
from pyconv import Fold, Unfold
from pyconv.errors import ArgumentError, DTypeError, OutputError, ShapeError

PARAMETERS = [
    {"kernel_size": 3},
    {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2)},
    {"kernel_size": 3, "dilation": (1, 2), "padding": ((0, 2), (3, 0)), "stride": 2},
]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_a_convolution_is_a_product_of_columns(parameters):
    x, kernel = normal(2, 3, 8, 9), parameters["kernel_size"]
    weight = normal(5, 3, *(kernel if isinstance(kernel, tuple) else (kernel, kernel)), seed=1)
    more = {name: value for name, value in parameters.items() if name != "kernel_size"}
    wanted = F.conv2d(x, weight, **more)
    columns = F.unfold(x, **parameters)
    assert_close((weight.reshape(5, -1) @ columns).reshape(wanted.shape), wanted)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_fold_is_unfold_turned_around(parameters):
    """<unfold(x), y> == <x, fold(y)>, for any x and y."""
    x = normal(2, 3, 8, 9, dtype="float64")
    columns = F.unfold(x, **parameters)
    y = normal(*columns.shape, dtype="float64", seed=1)
    assert np.vdot(columns, y) == pytest.approx(np.vdot(x, F.fold(y, (8, 9), **parameters)))


def test_layers():
    x, unfold, fold = normal(2, 3, 8, 9), Unfold(3, padding=1), Fold((8, 9), 3, padding=1)
    columns = unfold(x)
    assert bits(columns) == bits(F.unfold(x, 3, padding=1))
    for _ in range(4):
        assert bits(unfold(x[0])) == bits(columns[0])
        assert bits(fold(columns)) == bits(F.fold(columns, (8, 9), 3, padding=1))
    assert bits(fold(columns[1])) == bits(fold(columns)[1])
    out = np.empty_like(columns)
    assert unfold(x, out=out) is out
    assert bits(out) == bits(columns)
    both = pyconv.Sequential(unfold, pyconv.ReLU(), fold)
    found = pyconv.report.explain(both, x)
    assert [step.plan.out_shape for step in found.steps] == [columns.shape, columns.shape, x.shape]
    assert both(x).shape == x.shape
    with pytest.raises(AttributeError, match="cannot be changed"):
        fold.output_size = 3


X = normal(1, 3, 5, 6)


@pytest.mark.parametrize(
    ("function", "given", "named", "kind", "words"),
    [
        (F.unfold, (X, 0), {}, ShapeError, ["kernel_size must be at least 1"]),
        (F.unfold, (X, 6), {}, ShapeError, ["window is larger than the padded image along the height: image 5"]),
        (F.unfold, (X, 2), {"padding": "same"}, ArgumentError, ["padding='same' is for convolutions"]),
        (F.unfold, (X, 2), {"stride": 1.5}, ArgumentError, ["stride must be an integer"]),
        (F.unfold, (X[0, 0], 2), {}, ShapeError, ["input must be (N, C, H, W)"]),
        (F.unfold, (X[:, :0], 2), {}, ShapeError, ["dimension of size zero"]),
        (F.unfold, (X.astype(int), 2), {}, DTypeError, ["int64"]),
        (F.unfold, (X, 2), {"out": normal(1, 12, 19)}, OutputError, ["the result has (1, 12, 20)"]),
        (F.fold, (X, 4, 2), {}, ShapeError, ["got 4 dimensions"]),
        (F.fold, (normal(1, 10, 9), 4, 2), {}, ShapeError, ["multiple of the kernel's taps, 2 * 2 = 4", "10 % 4 = 2"]),
        (F.fold, (normal(1, 8, 10), 4, 2), {}, ShapeError, ["image of 4x4 has 3 * 3 = 9 such windows", "has 10"]),
        (F.fold, (normal(1, 8, 9), 0, 2), {}, ShapeError, ["output_size must be at least 1"]),
    ],
)
def test_bad_arguments(function, given, named, kind, words):
    refused(kind, [f"{function.__name__}: ", *words], function, *given, **named)
