"""The reference backend against sums written out by hand: the proof of the specification itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from helpers import normal

import pyconv.functional as F

CONVS = {
    "plain": ((1, 2, 4, 5), (3, 2, 2, 3), {}),
    "stride": ((2, 1, 5, 6), (2, 1, 2, 2), {"stride": (2, 3)}),
    "padding": ((1, 2, 3, 4), (2, 2, 3, 3), {"padding": (1, 2)}),
    "asymmetric": ((1, 1, 3, 4), (1, 1, 3, 2), {"padding": ((2, 0), (1, 3))}),
    "dilation": ((1, 1, 6, 7), (1, 1, 2, 3), {"dilation": (3, 2)}),
    "groups": ((1, 4, 3, 4), (6, 2, 2, 2), {"groups": 2}),
    "depthwise": ((1, 3, 4, 4), (3, 1, 3, 3), {"groups": 3, "padding": 1, "stride": 2}),
    "all": (
        (2, 4, 6, 5),
        (4, 2, 2, 3),
        {"groups": 2, "stride": (1, 2), "padding": ((1, 0), (0, 2)), "dilation": (2, 1)},
    ),
}


def pads_of(padding):
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    return tuple(side if isinstance(side, tuple) else (side, side) for side in padding)


def conv_by_hand(x, weight, bias, stride=1, padding=0, dilation=1, groups=1):
    sh, sw = stride if isinstance(stride, tuple) else (stride, stride)
    dh, dw = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    (top, bottom), (left, right) = pads_of(padding)
    batch, _, height, width = x.shape
    out_channels, per_group, kh, kw = weight.shape
    out_h = (height + top + bottom - dh * (kh - 1) - 1) // sh + 1
    out_w = (width + left + right - dw * (kw - 1) - 1) // sw + 1
    result = np.zeros((batch, out_channels, out_h, out_w))
    for n, k, y, z in np.ndindex(*result.shape):
        group = k // (out_channels // groups)
        total = float(bias[k])
        for c, i, j in itertools.product(range(per_group), range(kh), range(kw)):
            row, column = y * sh - top + i * dh, z * sw - left + j * dw
            if 0 <= row < height and 0 <= column < width:
                total += float(x[n, group * per_group + c, row, column]) * float(weight[k, c, i, j])
        result[n, k, y, z] = total
    return result


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conv2d(name, dtype):
    shape, weight_shape, parameters = CONVS[name]
    x, weight = normal(*shape, dtype=dtype), normal(*weight_shape, dtype=dtype, seed=1)
    bias = normal(weight_shape[0], dtype=dtype, seed=2)
    wanted = conv_by_hand(x, weight, bias, **parameters)
    got = F.conv2d(x, weight, bias, backend="reference", **parameters)
    np.testing.assert_allclose(got, wanted, rtol=1e-6 if dtype == "float32" else 1e-13, atol=1e-13)
    assert got.dtype == dtype


def test_conv2d_in_numbers():
    x = np.array([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]], np.float32)
    weight = np.array([[[[1, 0], [0, -1]]]], np.float32)
    wanted = np.array([[[[-4, -4], [-4, -4]]]], np.float32)
    np.testing.assert_array_equal(F.conv2d(x, weight, backend="reference"), wanted)
    np.testing.assert_array_equal(F.conv2d(x, weight, np.float32([10]), backend="reference"), wanted + 10)


def test_same_puts_the_odd_one_at_the_end():
    x = np.array([[[[1, 2, 3]]]], np.float32)
    weight = np.array([[[[1, 10]]]], np.float32)
    np.testing.assert_array_equal(
        F.conv2d(x, weight, padding="same", backend="reference"), np.array([[[[21, 32, 3]]]], np.float32)
    )
    weight = np.array([[[[1, 10, 100, 1000]]]], np.float32)
    np.testing.assert_array_equal(
        F.conv2d(x, weight, padding="same", backend="reference"), np.array([[[[3210, 321, 32]]]], np.float32)
    )


def test_sums_are_rounded_once():
    # in float32 the ones would be lost beside 2**25, one after the other
    x = np.ones((1, 1, 1, 9), np.float32)
    weight = np.ones((1, 1, 1, 9), np.float32)
    weight[..., 0] = 2**25
    assert F.conv2d(x, weight, backend="reference").item() == 2**25 + 8


POOLS = {
    "2x2": ((2, 2, 4, 6), {"kernel_size": 2}),
    "stride": ((1, 1, 5, 7), {"kernel_size": (3, 2), "stride": (1, 2)}),
    "padding": ((1, 2, 5, 4), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "asymmetric": ((1, 1, 4, 5), {"kernel_size": 3, "stride": 2, "padding": ((2, 0), (0, 1))}),
    "dilation": ((1, 1, 6, 6), {"kernel_size": 2, "stride": 1, "dilation": (2, 3)}),
    "ceil": ((1, 1, 6, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "ceil_padding": ((1, 1, 4, 5), {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}),
}


def extent(size, kernel, stride, pads, dilation, ceil_mode):
    """The number of windows, by placing them one after the other."""
    window = dilation * (kernel - 1) + 1
    count = 0
    while True:
        start = count * stride - pads[0]
        fits = start + window <= size + pads[1]
        reaches_past = ceil_mode and start < size and count and start - stride + window < size + pads[1]
        if not fits and not reaches_past:
            return count
        count += 1


def pool_by_hand(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    kh, kw = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    sh, sw = (kh, kw) if stride is None else stride if isinstance(stride, tuple) else (stride, stride)
    dh, dw = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    rows, columns = pads_of(padding)
    batch, channels, height, width = x.shape
    shape = (extent(height, kh, sh, rows, dh, ceil_mode), extent(width, kw, sw, columns, dw, ceil_mode))
    values = np.zeros((batch, channels, *shape), x.dtype)
    indices = np.zeros(values.shape, np.int64)
    for n, c, y, z in np.ndindex(*values.shape):
        best, place = -math.inf, None
        for i, j in itertools.product(range(kh), range(kw)):
            row, column = y * sh - rows[0] + i * dh, z * sw - columns[0] + j * dw
            if not (0 <= row < height and 0 <= column < width):
                continue
            value = x[n, c, row, column]
            if place is None or value > best or math.isnan(value):
                best, place = value, row * width + column
        values[n, c, y, z], indices[n, c, y, z] = best, place
    return values, indices


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("kind", ["normal", "ties", "nan", "minus_inf"])
def test_max_pool2d(name, kind):
    shape, parameters = POOLS[name]
    x = normal(*shape)
    if kind == "ties":
        x = np.round(x)
    elif kind == "nan":
        x[normal(*shape, seed=1) > 0.6] = np.nan
    elif kind == "minus_inf":
        x[normal(*shape, seed=1) > -0.7] = -np.inf
    wanted, places = pool_by_hand(x, **parameters)
    got, indices = F.max_pool2d(x, **parameters, return_indices=True, backend="reference")
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(indices, places)
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(F.max_pool2d(x, **parameters, backend="reference"), wanted)


def test_max_pool2d_in_numbers():
    x = np.array([[[[1, 9, 2], [3, 4, 8], [7, 5, 6]]]], np.float32)
    values, indices = F.max_pool2d(x, 2, 1, return_indices=True, backend="reference")
    np.testing.assert_array_equal(values, np.array([[[[9, 9], [7, 8]]]], np.float32))
    np.testing.assert_array_equal(indices, np.array([[[[1, 1], [6, 5]]]]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations(dtype):
    x = np.array([-800, -100, -20, -1, -1e-3, -1e-30, 0, 1e-30, 1e-3, 0.5, 1, 20, 100, 800], dtype)
    limit = {"rtol": 1e-7 if dtype == "float32" else 1e-15}
    relu = [max(float(v), 0.0) for v in x]
    sigmoid = [1 / (1 + math.exp(-v)) if v > -700 else math.exp(v) for v in map(float, x)]
    tanh = [math.tanh(v) for v in x]
    np.testing.assert_array_equal(F.relu(x, backend="reference"), np.array(relu, dtype))
    np.testing.assert_allclose(F.sigmoid(x, backend="reference"), np.array(sigmoid, dtype), **limit, atol=1e-45)
    np.testing.assert_allclose(F.tanh(x, backend="reference"), np.array(tanh, dtype), **limit)


def test_activations_of_what_is_no_number():
    x = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    np.testing.assert_array_equal(F.relu(x, backend="reference"), np.float32([np.nan, np.inf, 0, 0]))
    np.testing.assert_array_equal(F.sigmoid(x, backend="reference"), np.float32([np.nan, 1, 0, 0.5]))
    np.testing.assert_array_equal(F.tanh(x, backend="reference"), np.float32([np.nan, 1, -1, 0]))
    assert np.signbit(F.tanh(x, backend="reference")[3])
