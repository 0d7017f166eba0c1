"""Average, L-p and adaptive pooling and max unpooling: in numbers, what is refused, and how they are planned."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import DTYPES, USABLE, normal, refused

import pyconv
import pyconv.functional as F
from pyconv.errors import ArgumentError, DTypeError, OutputError, ShapeError, TooLargeError

X = normal(1, 4, 8, 9)
BACKENDS = [name for name in USABLE if name != "cuda"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def same(got, wanted):
    np.testing.assert_allclose(got, np.array(wanted, got.dtype)[None, None], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_in_numbers(backend, dtype):
    x = np.array([[[[1, 2, 3], [4, 5, 6]]]], dtype)
    with pyconv.use_backend(backend):
        same(F.avg_pool2d(x, 2, 1), [[3, 4]])
        same(F.avg_pool2d(x, 2, 1, 1)[..., :1, :], [[0.25, 0.75, 1.25, 0.75]])
        same(F.avg_pool2d(x, 2, 1, 1, count_include_pad=False)[..., :1, :], [[1, 1.5, 2.5, 3]])
        same(F.avg_pool2d(x, 2, ceil_mode=True), [[3, 4.5]])  # what ceil mode adds is not counted
        same(F.avg_pool2d(x, 2, 1, divisor_override=-2), [[-6, -8]])
        same(F.avg_pool2d(x, 2, 2, ((1, 0), (0, 1))), [[0.75, 0.75]])
        same(F.lp_pool2d(x, 2, (1, 2), 1), np.sqrt([[5, 13], [41, 61]]))
        same(F.lp_pool2d(x, 1, 2, ceil_mode=True), [[12, 18]])  # 9 counts as a whole window's
        same(F.adaptive_avg_pool2d(x, 1), [[3.5]])
        same(F.adaptive_avg_pool2d(x, (1, 2)), [[3, 4]])
        same(F.adaptive_max_pool2d(x, (2, 2)), [[2, 3], [5, 6]])
        assert F.adaptive_max_pool2d(x, (2, 2), True)[1].tolist() == [[[[1, 2], [4, 5]]]]
        values, indices = F.max_pool2d(x, 2, 1, return_indices=True)
        same(F.max_unpool2d(values, indices, 2, 1), [[0, 0, 0], [0, 5, 6]])


def test_windows_of_one_size_are_plain_pooling():
    """Every backend that has the plain one has these too."""
    for function, plain in ((F.adaptive_avg_pool2d, "avg_pool2d"), (F.adaptive_max_pool2d, "max_pool2d")):
        plans = [pyconv.report.explain(function, X, size).steps[0].plan for size in (1, (2, 3), (3, 3))]
        assert [plan.op for plan in plans] == [plain, plain, function.__name__]
        assert plans[1].kernel == plans[1].stride == (4, 3)
        assert (plans[2].out_size, plans[2].adaptive) == ((3, 3), True)


def test_what_is_told(backend):
    """A plan in one line has what its windows are."""
    told = [
        (F.avg_pool2d, (3, 2, 1, False, False), "k3x3 s2x2 p1/1/1/1 padding not counted"),
        (F.avg_pool2d, (2, None, 0, False, True, 3), "k2x2 s2x2 divisor 3"),
        (F.lp_pool2d, (1.5, 2), "k2x2 s2x2 norm 1.5"),
        (F.adaptive_avg_pool2d, (5,), "1x4x8x9 -> 1x4x5x5"),
    ]
    for function, arguments, words in told:
        found = pyconv.report.explain(function, X, *arguments, backend=backend)
        assert f"{words} -> {backend}:" in str(found)
    values, indices = F.max_pool2d(X, 2, return_indices=True)
    found = pyconv.report.explain(F.max_unpool2d, values, indices, 2, output_size=(8, 9), backend=backend)
    assert "1x4x4x4 -> 1x4x8x9" in str(found)
    assert f"weights {indices.nbytes / 1000:g} B" in str(found) or f"weights {indices.nbytes} B" in str(found)


WINDOWS = {
    "avg_pool2d": (lambda *a, **k: F.avg_pool2d(X, *a, **k), pyconv.AvgPool2d, "AvgPool2d"),
    "lp_pool2d": (lambda *a, **k: F.lp_pool2d(X, 2, *a, **k), lambda *a, **k: pyconv.LPPool2d(2, *a, **k), "LPPool2d"),
}


@pytest.mark.parametrize("op", WINDOWS)
@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((0,), ShapeError, ["kernel_size must be at least 1"]),
        (((2, 2, 2),), ShapeError, ["kernel_size", "3 values"]),
        (("2",), ArgumentError, ["kernel_size", "'2'"]),
        ((2, 0), ShapeError, ["stride must be at least 1"]),
        ((2, 1.5), ArgumentError, ["stride", "1.5"]),
    ],
)
def test_window_parameters(op, arguments, kind, words):
    function, layer, name = WINDOWS[op]
    refused(kind, [f"{op}: ", *words], function, *arguments)
    refused(kind, [f"{name}: ", *words], layer, *arguments)


def test_avg_pool2d_refuses():
    refused(ShapeError, ["avg_pool2d", "at most half", "got 2"], F.avg_pool2d, X, 3, 1, 2)
    refused(ShapeError, ["smaller than the window", "(0, 3)"], F.avg_pool2d, X, 3, 1, ((0, 3), (0, 0)))
    refused(ArgumentError, ["padding='same' is for convolutions"], F.avg_pool2d, X, 3, 1, "same")
    refused(ArgumentError, ["divisor_override must not be 0"], F.avg_pool2d, X, 2, divisor_override=0)
    refused(ArgumentError, ["divisor_override", "2.5"], F.avg_pool2d, X, 2, divisor_override=2.5)
    refused(ArgumentError, ["AvgPool2d: count_include_pad"], pyconv.AvgPool2d, 2, count_include_pad=1)
    refused(ArgumentError, ["avg_pool2d: ceil_mode"], F.avg_pool2d, X, 2, ceil_mode=0)
    refused(ShapeError, ["avg_pool2d", "along the height", "use a smaller kernel"], F.avg_pool2d, X, 9)


@pytest.mark.parametrize(
    ("norm", "kind"), [(0, ArgumentError), (-np.inf, ArgumentError), ("2", ArgumentError), (np.nan, ArgumentError)]
)
def test_lp_pool2d_refuses(norm, kind):
    refused(kind, ["lp_pool2d: norm_type"], F.lp_pool2d, X, norm, 2)
    refused(kind, ["LPPool2d: norm_type"], pyconv.LPPool2d, norm, 2)


@pytest.mark.parametrize(
    ("size", "kind", "words"),
    [
        (0, ShapeError, "at least 1"),
        (-1, ShapeError, "at least 1"),
        (2.0, ArgumentError, "2.0"),
        ((1, 2, 3), ShapeError, "3 values"),
        ((2, True), ArgumentError, "True"),
        ("2", ArgumentError, "'2'"),
    ],
)
def test_output_sizes(size, kind, words):
    for function in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        refused(kind, [f"{function.__name__}: output_size", words], function, X, size)
    for layer in (pyconv.AdaptiveAvgPool2d, pyconv.AdaptiveMaxPool2d):
        refused(kind, [f"{layer.__name__}: output_size", words], layer, size)


def test_too_large_an_output():
    huge = 2**22
    refused(TooLargeError, ["adaptive_avg_pool2d: the output", "smaller output_size"], F.adaptive_avg_pool2d, X, huge)
    one = np.zeros((1, 1, 2, 2), np.int64)
    refused(TooLargeError, ["max_unpool2d: the output"], F.max_unpool2d, X[:, :1, :2, :2], one, huge)


def unpool(input=X, indices=None, kernel_size=2, **parameters):
    indices = np.zeros(np.shape(input), np.int64) if indices is None else indices
    return F.max_unpool2d(input, indices, kernel_size, **parameters)


def test_max_unpool2d_refuses():
    places = np.zeros(X.shape, np.int64)
    refused(ShapeError, ["indices must have the input's shape"], unpool, X, places[:, :3])
    refused(ShapeError, ["indices must have the input's shape"], unpool, X, places[0])
    refused(DTypeError, ["indices have dtype int32"], unpool, X, places.astype(np.int32))
    refused(DTypeError, ["indices have dtype float64"], unpool, X, places.astype(float))
    refused(ArgumentError, ["indices must be a NumPy"], unpool, X, places.tolist())
    for wrong in (-1, 16 * 18, 2**40):
        places[0, 3, 7, 8] = wrong
        refused(ShapeError, ["between 0 and", "16 * 18 - 1 = 287", str(wrong)], unpool, X, places)
    refused(ShapeError, ["less than the stride", "(8 - 1) * 2 - 0 + 2 = 16", "got 18"], unpool, output_size=(18, 18))
    refused(ShapeError, ["output_size"], unpool, output_size=5)
    refused(ShapeError, ["output_size"], unpool, output_size=(16,))
    refused(ShapeError, ["output_size must be at least 1"], unpool, output_size=(0, 18))
    refused(ShapeError, ["nothing is left of the height"], unpool, padding=8)
    refused(ArgumentError, ["for convolutions"], unpool, padding="same")
    out = np.zeros((1, 4, 16, 18), np.float32)
    shared = out.view(np.int64).reshape(-1)[: X.size].reshape(X.shape)
    refused(OutputError, ["overlaps an input"], unpool, X, shared, out=out)


def test_bad_arguments_change_nothing():
    """An index outside of its plane is found before ``out`` is written."""
    places = np.arange(X.size).reshape(X.shape)
    out = np.full((1, 4, 16, 18), 7, np.float32)
    refused(ShapeError, ["indices must lie"], unpool, X, places + 287 - 100, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize(
    "op", ["avg_pool2d", "lp_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "max_unpool2d"]
)
def test_bad_arrays(op):
    def call(x, **more):
        if op == "max_unpool2d":
            return unpool(x, **more)
        return getattr(F, op)(x, *((2, 2) if op == "lp_pool2d" else (2,)), **more)

    refused(ShapeError, [op, "(N, C, H, W)"], call, X[0, 0])
    refused(ShapeError, [op, "size zero"], call, X[:, :0])
    refused(DTypeError, [op, "int64", "astype"], call, np.zeros((1, 1, 4, 4), np.int64))
    refused(ArgumentError, [op, "masked"], call, np.ma.masked_array(X, X > 0))
    shape = call(X).shape
    refused(OutputError, [op, "shape"], call, X, out=np.zeros((*shape[:3], 99), np.float32))
    refused(OutputError, [op, "dtype"], call, X, out=np.zeros(shape, np.float64))
    assert call(X[:0]).shape == (0, *shape[1:])


def test_layers_and_their_functions(backend):
    calls = [
        (pyconv.AvgPool2d(3, 2, 1, True, False, 5), lambda x: F.avg_pool2d(x, 3, 2, 1, True, False, 5)),
        (pyconv.LPPool2d(2, (3, 2), 1, True), lambda x: F.lp_pool2d(x, 2, (3, 2), 1, True)),
        (pyconv.AdaptiveAvgPool2d((3, None)), lambda x: F.adaptive_avg_pool2d(x, (3, None))),
        (pyconv.AdaptiveMaxPool2d(3), lambda x: F.adaptive_max_pool2d(x, 3)),
    ]
    with pyconv.use_backend(backend):
        for layer, function in calls:
            for x in (X, X[0], X, np.moveaxis(np.ascontiguousarray(np.moveaxis(X, 1, -1)), -1, 1)):
                for _ in range(3):  # known calls too
                    np.testing.assert_array_equal(layer(x), function(x))
        values, indices = pyconv.AdaptiveMaxPool2d(3, True)(X)
        np.testing.assert_array_equal(
            values, np.take_along_axis(X.reshape(1, 4, 72), indices.reshape(1, 4, 9), 2).reshape(1, 4, 3, 3)
        )
        layer = pyconv.MaxUnpool2d(2)
        values, indices = F.max_pool2d(X, 2, return_indices=True)
        np.testing.assert_array_equal(
            layer(values, indices, X.shape), F.max_unpool2d(values, indices, 2, None, 0, (8, 9))
        )
        refused(ShapeError, ["MaxUnpool2d(kernel_size=(2, 2)", "output_size"], layer, values, indices, (20, 20))
    refused(ArgumentError, ["indices beside the input"], pyconv.explain, layer, X)
    for layer, _ in calls:
        with pytest.raises(AttributeError, match="cannot be changed"):
            setattr(layer, next(iter(layer._fixed)), 3)


def test_powers_out_of_range(backend):
    """Nothing is warned of, and what has no finite root is NaN or inf."""
    x = np.array([[[[0, 0, -1, -1, 3, 4]]]], np.float32)
    np.testing.assert_allclose(F.lp_pool2d(x, -1, (1, 2), backend=backend), [[[[0, -0.5, 12 / 7]]]], rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(F.lp_pool2d(x, 0.5, (1, 2), backend=backend)), [[[[False, True, False]]]])


@pytest.mark.parametrize("channels", [1, 40])
def test_windows_in_the_padding_alone(backend, channels):
    """They are -inf, and point at the pixel nearest to their first element."""
    x = normal(1, channels, 5, 6)
    for planes in (x, np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)):
        for kernel, padding, dilation, wanted in (
            ((2, 1), ((4, 4), (0, 0)), (9, 1), [list(range(6))] * 4),
            ((1, 2), ((0, 0), (4, 4)), (1, 11), [[6 * row] * 3 for row in range(5)]),
            ((2, 2), ((4, 4), (4, 4)), (9, 11), [[0] * 3] * 4),
        ):
            found = F.max_pool2d(planes, kernel, 1, padding, dilation, return_indices=True, backend=backend)
            assert np.all(found[0] == -np.inf)
            np.testing.assert_array_equal(found[1], np.broadcast_to(wanted, found[1].shape))
