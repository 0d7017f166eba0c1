"""Memory: layouts of inputs, what comes back, and out=. (Values in every layout are the conformance kit's.)"""

from __future__ import annotations

import numpy as np
import pytest
from helpers import USABLE, assert_close, normal

import pyconv
import pyconv.functional as F
from pyconv import testing
from pyconv.plan import layout_of

WEIGHT, BIAS = normal(5, 3, 3, 3, seed=1), normal(5, seed=2)

OPERATIONS = {
    "conv2d": lambda x, **more: F.conv2d(x, WEIGHT.astype(x.dtype.newbyteorder("=")), padding=1, **more),
    "max_pool2d": lambda x, **more: F.max_pool2d(x, 3, 2, 1, **more),
    "relu": F.relu,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
}


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_results_are_new_plain_native_arrays(backend, op, layout):
    x = testing.LAYOUTS[layout](normal(2, 3, 7, 8))
    before = x.copy()
    got = OPERATIONS[op](x, backend=backend)
    assert type(got) is np.ndarray
    assert got.dtype == np.float32
    assert got.dtype.isnative
    assert got.flags.writeable
    assert got.flags.aligned
    assert got.size * got.itemsize == got.nbytes == (got.base if got.base is not None else got).nbytes  # no gaps
    assert not np.shares_memory(got, x)
    np.testing.assert_array_equal(x, before)
    if op == "max_pool2d" and "channels_last" in layout:  # a pooling's result lies as its input does
        assert np.moveaxis(got, 1, -1).flags.c_contiguous
    elif op in ("conv2d", "max_pool2d"):
        assert got.flags.c_contiguous


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("op", OPERATIONS)
def test_subclasses(backend, op, tmp_path):
    x = normal(1, 3, 7, 8)
    wanted = OPERATIONS[op](x, backend=backend)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    mapped[...] = x
    for other in (mapped, x.view(np.recarray), x.view(type("Own", (np.ndarray,), {}))):
        got = OPERATIONS[op](other, backend=backend)
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, wanted)
    out = np.memmap(tmp_path / "out", np.float32, "w+", shape=wanted.shape)
    assert OPERATIONS[op](mapped, out=out, backend=backend) is out
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("function", [F.relu, F.sigmoid, F.tanh])
def test_zero_dimensions(backend, function):
    for x in (np.float32(0.5), np.array(0.5, np.float32)):
        got = function(x, backend=backend)
        assert isinstance(got, np.ndarray)
        assert got.shape == ()
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, function(np.float32([0.5]), backend=backend)[0])
    out = np.zeros((), np.float64)
    assert function(np.float64(0.5), out=out, backend=backend) is out
    assert out == function(np.array([0.5]), backend=backend)[0]


@pytest.mark.parametrize("backend", USABLE)
@pytest.mark.parametrize("function", [F.relu, F.sigmoid, F.tanh])
def test_activations_in_place(backend, function):
    x = normal(4, 50)
    wanted = function(x, backend=backend)
    for y in (x.copy(), x.copy().T, x.copy()[::-1], np.asfortranarray(x), testing.LAYOUTS["gaps"](x)):
        expected = wanted if y.shape == wanted.shape else wanted.T
        expected = function(y.copy(), backend=backend) if y.strides[0] < 0 else expected
        assert function(y, out=y, backend=backend) is y
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("backend", USABLE)
def test_out_of_another_order_than_the_input(backend):
    x = normal(3, 4, 5)
    for out in (np.zeros((5, 4, 3), np.float32).T, np.zeros((3, 5, 4), np.float32).swapaxes(1, 2)):
        assert F.tanh(x, out=out, backend=backend) is out
        np.testing.assert_array_equal(out, F.tanh(x, backend=backend))
    # the same memory read in another order is no in-place call
    square = normal(6, 6)
    with pytest.raises(pyconv.errors.OutputError, match="relu: out overlaps an input"):
        F.relu(square, out=square.T, backend=backend)


@pytest.mark.parametrize("backend", USABLE)
def test_convolution_is_never_in_place(backend):
    x = normal(1, 1, 5, 5)
    with pytest.raises(pyconv.errors.OutputError, match="conv2d: out overlaps an input"):
        F.conv2d(x, normal(1, 1, 1, 1), out=x, backend=backend)
    with pytest.raises(pyconv.errors.OutputError, match="max_pool2d: out overlaps an input"):
        F.max_pool2d(x, 1, out=x, backend=backend)


@pytest.mark.parametrize("backend", USABLE)
def test_out_unbatched_and_with_indices(backend):
    x = normal(3, 6, 8)
    out = np.empty((5, 4, 6), np.float32)
    assert F.conv2d(x, WEIGHT, BIAS, out=out, backend=backend) is out
    np.testing.assert_array_equal(out, F.conv2d(x[None], WEIGHT, BIAS, backend=backend)[0])
    values = np.empty((3, 3, 4), np.float32)
    got, indices = F.max_pool2d(x, 2, return_indices=True, out=values, backend=backend)
    assert got is values
    wanted, places = F.max_pool2d(x[None], 2, return_indices=True, backend=backend)
    np.testing.assert_array_equal(values, wanted[0])
    np.testing.assert_array_equal(indices, places[0])


def test_layers_take_out():
    x = normal(2, 3, 8, 8)
    net = pyconv.Sequential(pyconv.Conv2d(3, 5, 3, rng=0), pyconv.ReLU(), pyconv.MaxPool2d(2))
    wanted = net(x)
    out = np.full(wanted.shape, np.nan, np.float32)
    assert net(x, out=out) is out
    np.testing.assert_array_equal(out, wanted)
    hidden = net[0](x)
    assert net[1](hidden, out=hidden) is hidden
    inplace = pyconv.ReLU(inplace=True)
    before = normal(3, 4)
    array = before.copy()
    assert inplace(array) is array
    np.testing.assert_array_equal(array, np.maximum(before, 0))
    array.setflags(write=False)
    with pytest.raises(pyconv.errors.OutputError, match="out is read-only"):
        inplace(array)


def test_channels_last_is_seen_as_such():
    image = normal(1, 6, 7, 3)
    assert layout_of(np.moveaxis(image, -1, -3)) == "nhwc"
    assert layout_of(np.moveaxis(image[0], -1, -3)[None]) == "nhwc"
    assert layout_of(image) == "nchw"
    assert layout_of(image[:, ::2]) == "strided"
    assert layout_of(np.moveaxis(image[:, :, :5], -1, -3)) == "strided"
    assert layout_of(np.moveaxis(normal(1, 6, 7, 1), -1, -3)) == "nchw"  # one channel is both
    explanation = pyconv.explain(F.conv2d, np.moveaxis(image, -1, -3), WEIGHT)
    assert explanation.steps[0].plan.layout == "nhwc"


def test_channels_last_needs_no_copy_to_be_right():
    images = normal(2, 20, 30, 3)
    x = np.moveaxis(images, -1, -3)
    assert_close(F.conv2d(x, WEIGHT, BIAS, 2, 1), F.conv2d(np.ascontiguousarray(x), WEIGHT, BIAS, 2, 1))
    np.testing.assert_array_equal(F.max_pool2d(x, 3, 2), F.max_pool2d(np.ascontiguousarray(x), 3, 2))


@pytest.mark.parametrize("backend", USABLE)
def test_weights_in_any_layout(backend):
    x = normal(1, 3, 7, 8)
    wanted = F.conv2d(x, WEIGHT, BIAS, backend=backend)
    for layout in ("fortran", "reversed", "gaps", "unaligned", "byte_swapped", "read_only", "channels_last"):
        arrange = testing.LAYOUTS[layout]
        np.testing.assert_array_equal(F.conv2d(x, arrange(WEIGHT), arrange(BIAS), backend=backend), wanted)
        layer = pyconv.Conv2d(3, 5, 3, backend=backend)
        layer.weight, layer.bias = arrange(WEIGHT), arrange(BIAS)
        np.testing.assert_array_equal(layer(x), wanted)


@pytest.mark.parametrize("backend", USABLE)
def test_a_result_is_not_written_again(backend):
    layer = pyconv.Conv2d(3, 5, 3, rng=0, backend=backend)
    first = layer(normal(1, 3, 7, 8))
    kept = first.copy()
    layer(normal(1, 3, 7, 8, seed=9))
    np.testing.assert_array_equal(first, kept)
