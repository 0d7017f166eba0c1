"""Poolings of lines: those of images of height 1, with one number for each parameter; and padding written out."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import DTYPES, GENERAL, USABLE, bits, known_by, normal, refused, warm

import pyconv
import pyconv.functional as F
from pyconv.errors import ArgumentError, DTypeError, OutputError, ShapeError

BACKENDS = [name for name in USABLE if name != "cuda"]
X = normal(2, 5, 23)
CALLS = {
    "max": (
        F.max_pool1d,
        F.max_pool2d,
        {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True},
    ),
    "max explicit": (F.max_pool1d, F.max_pool2d, {"kernel_size": 4, "stride": 3, "padding": ((3, 1),)}),
    "places": (F.max_pool1d, F.max_pool2d, {"kernel_size": 3, "stride": 1, "padding": 1, "return_indices": True}),
    "avg": (F.avg_pool1d, F.avg_pool2d, {"kernel_size": 4, "stride": 3, "padding": 2, "count_include_pad": False}),
    "avg explicit": (F.avg_pool1d, F.avg_pool2d, {"kernel_size": 4, "padding": ((0, 3),), "ceil_mode": True}),
    "lp": (F.lp_pool1d, F.lp_pool2d, {"norm_type": 2, "kernel_size": 5, "stride": 2, "padding": ((4, 0),)}),
    "adaptive avg": (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, {"output_size": 7}),
    "adaptive max": (F.adaptive_max_pool1d, F.adaptive_max_pool2d, {"output_size": 5, "return_indices": True}),
}


def of_images(parameters):
    """The parameters of images of height 1."""
    pairs = {"kernel_size": 1, "stride": 1, "dilation": 1, "output_size": 1}
    found = {name: (pairs[name], value) if name in pairs else value for name, value in parameters.items()}
    if isinstance(found.get("padding"), tuple):
        found["padding"] = ((0, 0), *found["padding"])
    elif "padding" in found:
        found["padding"] = (0, found["padding"])
    return found


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_as_images_of_height_one(backend, name, dtype):
    function, on_images, parameters = CALLS[name]
    for x in (X.astype(dtype), channels_last(X.astype(dtype)), X.astype(dtype)[0], X.astype(dtype)[..., ::-1]):
        image = x[..., None, :]
        wanted = on_images(image, **of_images(parameters), backend=backend)
        got = function(x, **parameters, backend=backend)
        both = (wanted, got) if isinstance(got, tuple) else ((wanted,), (got,))
        for image_result, line_result in zip(*both, strict=True):
            assert image_result.shape[-2] == 1
            assert bits(line_result) == bits(image_result[..., 0, :])
        first = both[1][0]
        out = np.full_like(first, 7)
        result = function(x, **parameters, out=out, backend=backend)
        assert (result[0] if isinstance(result, tuple) else result) is out
        assert bits(out) == bits(first)


def test_in_numbers():
    x = np.array([[[1, 5, 2, 4, 3]]], np.float32)
    assert F.max_pool1d(x, 2, ceil_mode=True).tolist() == [[[5, 4, 3]]]
    assert F.max_pool1d(x, 3, 1, 1, return_indices=True)[1].tolist() == [[[1, 1, 1, 3, 3]]]
    assert F.avg_pool1d(x, 2, 1).tolist() == [[[3, 3.5, 3, 3.5]]]
    assert F.avg_pool1d(x, 2, padding=((0, 1),)).tolist() == [[[3, 3, 1.5]]]
    assert F.lp_pool1d(x, 1, 2, padding=1).tolist() == [[[1, 7, 7]]]
    assert F.adaptive_avg_pool1d(x, 1).tolist() == [[[3]]]
    assert F.adaptive_max_pool1d(x, [2]).tolist() == [[[5, 4]]]
    values, places = F.max_pool1d(x, 2, return_indices=True)
    assert F.max_unpool1d(values, places, 2, output_size=5).tolist() == [[[0, 5, 0, 4, 0]]]
    assert F.max_unpool1d(values[0], places[0], 2).tolist() == [[0, 5, 0, 4]]


def test_nothing_is_copied():
    for function, _, parameters in CALLS.values():
        plan_call = function.plan_call
        given = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "count_include_pad": True}
        names = {
            F.max_pool1d: ("stride", "padding", "dilation", "ceil_mode"),
            F.avg_pool1d: ("stride", "padding", "ceil_mode", "count_include_pad"),
            F.lp_pool1d: ("stride", "padding", "ceil_mode"),
        }.get(function, ())
        rest = {name: given[name] for name in names}
        if "max" in function.__name__:
            rest["return_indices"] = False
        call = plan_call(input=X, out=None, **{**rest, **parameters})
        assert np.shares_memory(call.x, X)
        assert call.plan.op.endswith("pool2d")


LAYERS = [
    (pyconv.MaxPool1d(3, 2, 1), lambda x: F.max_pool1d(x, 3, 2, 1)),
    (pyconv.MaxPool1d(2, padding=((1, 0),), ceil_mode=True), lambda x: F.max_pool1d(x, 2, None, ((1, 0),), 1, True)),
    (pyconv.AvgPool1d(3, 2, 1, True, False), lambda x: F.avg_pool1d(x, 3, 2, 1, True, False)),
    (pyconv.LPPool1d(2, 3, 2, padding=1), lambda x: F.lp_pool1d(x, 2, 3, 2, padding=1)),
    (pyconv.AdaptiveAvgPool1d(4), lambda x: F.adaptive_avg_pool1d(x, 4)),
    (pyconv.AdaptiveMaxPool1d(4), lambda x: F.adaptive_max_pool1d(x, 4)),
]


@pytest.mark.parametrize(("layer", "function"), LAYERS, ids=lambda each: repr(each) if repr(each)[0].isupper() else "")
def test_layers(layer, function):
    for x in (X, X[0], channels_last(X)):
        wanted = function(x)
        for _ in range(4):  # known calls too
            assert bits(layer(x)) == bits(wanted)
            assert layer(x).strides == wanted.strides
        out = np.full_like(wanted, 7)
        assert layer(x, out=out) is out
        assert bits(out) == bits(wanted)
    found = pyconv.report.explain(pyconv.Sequential(layer, pyconv.ReLU()), channels_last(X))
    assert found.steps[0].plan.layout == "nhwc"
    assert len(found.steps) == 2


def test_calls_are_known():
    images = X[..., None, :]
    warm(F.max_pool1d, X, 2)
    assert F.pool1d._known.run(images, None, None, None, (2, None, 0, 1, False, False, None)) is not None
    layer = pyconv.AvgPool1d(2)
    warm(layer, X)
    assert known_by(layer, images) is not None


def test_unpooling_layer():
    values, places = pyconv.MaxPool1d(2, return_indices=True)(X)
    layer = pyconv.MaxUnpool1d(2)
    assert repr(layer) == "MaxUnpool1d(kernel_size=(2,), stride=(2,), padding=(0,))"
    assert bits(layer(values, places, [23])) == bits(F.max_unpool1d(values, places, 2, output_size=X.shape))
    out = np.full((2, 5, 22), 7, np.float32)
    assert layer(values, places, out=out) is out
    assert bits(out) == bits(layer(values, places))
    refused(ArgumentError, ["MaxUnpool1d", "functional.max_unpool1d"], pyconv.explain, layer, X)
    few, beyond = values[..., :5], places[..., :5] + 20
    refused(ShapeError, ["max_unpool1d", "length - 1 = 10 - 1"], F.max_unpool1d, few, beyond, 2)
    refused(ShapeError, ["MaxUnpool1d(", "differ by less than the stride"], layer, values, places, 40)
    refused(ShapeError, ["max_unpool1d", "a length, or a shape"], layer, values, places, (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((0,), ShapeError, ["kernel_size must be at least 1"]),
        (((2, 2),), ShapeError, ["kernel_size must be an int or a sequence of one", "2 values"]),
        (("2",), ArgumentError, ["kernel_size", "'2'"]),
        ((2, 0), ShapeError, ["stride must be at least 1"]),
        ((2, 1.5), ArgumentError, ["stride", "1.5"]),
        ((3, 1, 2), ShapeError, ["at most half of the window along the length", "got 2", "((left, right),)"]),
        ((3, 1, ((0, 3),)), ShapeError, ["smaller than the window along the length", "(0, 3)"]),
        ((3, 1, ((0, 1), (0, 1))), ShapeError, ["padding"]),
        ((3, 1, (1, 1)), ShapeError, ["padding must be an int or a sequence of one"]),
        ((3, 1, "same"), ArgumentError, ["padding='same' is for convolutions"]),
    ],
)
def test_bad_parameters(arguments, kind, words):
    refused(kind, ["max_pool1d: ", *words], F.max_pool1d, X, *arguments)
    refused(kind, ["avg_pool1d: ", *words], F.avg_pool1d, X, *arguments)
    refused(kind, ["MaxPool1d: ", *words], pyconv.MaxPool1d, *arguments)
    refused(kind, ["AvgPool1d: ", *words], pyconv.AvgPool1d, *arguments)
    first, padding = arguments[:2], arguments[2] if len(arguments) > 2 else 0
    refused(kind, ["lp_pool1d: ", *words], F.lp_pool1d, X, 2, *first, padding=padding)
    refused(kind, ["LPPool1d: ", *words], pyconv.LPPool1d, 2, *first, padding=padding)


def test_other_bad_arguments():
    refused(ShapeError, ["max_pool1d", "along the length", "input 23"], F.max_pool1d, X, 24)
    refused(ShapeError, ["MaxPool1d(kernel_size=24", "max_pool1d"], pyconv.MaxPool1d(24), X)
    refused(ArgumentError, ["lp_pool1d: norm_type", "inf for the largest"], F.lp_pool1d, X, 0, 2)
    refused(ShapeError, ["adaptive_avg_pool1d: output_size", "2 values"], F.adaptive_avg_pool1d, X, (1, 2))
    refused(ShapeError, ["AdaptiveMaxPool1d: output_size"], pyconv.AdaptiveMaxPool1d, 0)
    refused(ArgumentError, ["adaptive_max_pool1d: return_indices"], F.adaptive_max_pool1d, X, 2, 1)
    for function in (F.max_pool1d, F.avg_pool1d, F.adaptive_avg_pool1d, F.adaptive_max_pool1d):
        name = function.__name__
        refused(ShapeError, [name, "(N, C, L)", "4 dimensions"], function, X[None], 2)
        refused(ShapeError, [name, "size zero: shape (2, 0, 23)"], function, X[:, :0], 2)
        refused(DTypeError, [name, "int64"], function, X.astype(np.int64), 2)
        refused(ArgumentError, [name, "masked"], function, np.ma.masked_array(X), 2)
        refused(OutputError, [name, "4 dimensions"], function, X, 2, out=np.zeros((2, 5, 1, 11), np.float32))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_written_out_padding_is_padding(backend, dtype, ceil_mode):
    """ONNX's meaning: what is added is -inf to maxima and nothing to sums, and counts where averages count it."""
    x = normal(2, 3, 9, 14, dtype=dtype)
    pads = ((2, 1), (0, 3))
    window = {"kernel_size": (3, 4), "stride": (2, 3), "ceil_mode": ceil_mode}
    more = {"padding": pads, "backend": backend}
    padded, lowest = (np.pad(x, ((0, 0), (0, 0), *pads), constant_values=value) for value in (0, -np.inf))
    got = F.max_pool2d(x, **window, **more)
    wanted = F.max_pool2d(lowest, **window, backend="reference")
    # in ceil mode a window must not begin in the padding at the end, which the padded array has none of
    wanted = wanted[:, :, : got.shape[2], : got.shape[3]]
    np.testing.assert_array_equal(got, wanted)
    for function, first in ((F.avg_pool2d, ()), (F.lp_pool2d, (2,)), (F.lp_pool2d, (3,))):
        with np.errstate(all="ignore"):
            got = function(x, *first, **window, **more)
            wanted = function(padded, *first, **window, backend="reference")[:, :, : got.shape[2], : got.shape[3]]
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    ones = F.avg_pool2d(np.ones_like(x), **window, **more, count_include_pad=False)
    np.testing.assert_allclose(ones, 1, rtol=1e-6)
    np.testing.assert_allclose(  # whatever p is, the padding adds nothing
        F.lp_pool2d(np.full_like(x, 2), -1, **window, **more),
        F.lp_pool2d(np.full_like(x, 2), 1, **window, **more) ** -1 * 4,
        rtol=1e-5,
    )


@pytest.mark.parametrize("backend", [*BACKENDS, GENERAL])
def test_known_and_general_results_lie_alike(backend):
    """Channels-last where the input is; indices too; and into an out= of either order."""
    x = normal(2, 20, 9, 10)
    last = channels_last(x)
    calls = [
        lambda x, **more: F.max_pool2d(x, 2, backend=backend, **more),
        lambda x, **more: F.max_pool2d(x, 3, 2, 1, return_indices=True, backend=backend, **more),
        lambda x, **more: F.max_pool2d(x, 7, 1, 3, return_indices=True, backend=backend, **more),
        lambda x, **more: F.avg_pool2d(x, 3, 1, 1, backend=backend, **more),
        lambda x, **more: F.lp_pool2d(x, 2, 2, backend=backend, **more),
        lambda x, **more: F.lp_pool2d(np.abs(x), 3, 2, backend=backend, **more),
        lambda x, **more: F.adaptive_avg_pool2d(x, 1, backend=backend, **more),
        lambda x, **more: F.adaptive_max_pool2d(x, (4, 3), True, backend=backend, **more),
    ]
    for call in calls:
        plain = call(x)
        for _ in range(4):
            got = call(last)
            for one, other in zip(*((r if isinstance(r, tuple) else (r,)) for r in (got, plain)), strict=True):
                assert one.transpose(0, 2, 3, 1).flags.c_contiguous
                assert other.flags.c_contiguous
                np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
            for given in (x, last):
                shape = (plain[0] if isinstance(plain, tuple) else plain).shape
                for out in (np.full(shape, 7, x.dtype), channels_last(np.full(shape, 7, x.dtype))):
                    strides = out.strides
                    result = call(given, out=out)
                    assert (result[0] if isinstance(result, tuple) else result) is out
                    assert out.strides == strides
                    first = plain[0] if isinstance(plain, tuple) else plain
                    np.testing.assert_allclose(out, first, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", [(2,), (3, 2, 1), (3, 1, 1), (5, 1, 2), (5, 2, 2), (7, 3, 3), (31, 1, 15)], ids=str)
def test_values_are_the_elements_that_indices_point_at(level, dtype, window):
    """To the sign of a zero and the bits of a NaN; with many ties."""
    rng = np.random.default_rng(3)
    for nan in (0, 0.05):
        x = rng.choice(np.array([-1, -0.0, 0.0, 1], dtype), (2, 18, 33, 35))
        x[rng.random(x.shape) < nan] = np.nan
        for given in (x, channels_last(x)):
            values, places = F.max_pool2d(given, *window, return_indices=True, backend="cpu")
            planes, size = x.reshape(2, 18, -1), values.shape[2] * values.shape[3]
            pointed = np.take_along_axis(planes, places.reshape(2, 18, size), 2).reshape(values.shape)
            assert np.ascontiguousarray(pointed).tobytes() == np.ascontiguousarray(values).tobytes()
            wanted = F.max_pool2d(x, *window, return_indices=True, backend="reference")
            np.testing.assert_array_equal(places, wanted[1])


def test_planes_with_more_places_than_vectors_hold(monkeypatch):
    """They are pooled window by window, into what lies as the input does."""
    from pyconv.backends.cpu import pool

    x = channels_last(normal(2, 20, 9, 10))
    wanted = F.max_pool2d(x, 3, 2, 1, return_indices=True, backend=GENERAL)
    monkeypatch.setattr(pool, "_too_many_places", lambda plan: "too many")
    pool._tasks.cache_clear()
    try:
        got = F.max_pool2d(x, 3, 2, 1, return_indices=True, backend=GENERAL)
    finally:
        pool._tasks.cache_clear()
    for one, other in zip(got, wanted, strict=True):
        assert bits(one) == bits(other)
        assert one.strides == other.strides
