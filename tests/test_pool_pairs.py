"""Poolings of 2x2 in steps of 2, whose rows are read and written in whole vectors, over their end where they may be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from guarded import guarded
from helpers import DTYPES, assert_close, bits, normal

import pyconv
import pyconv.functional as F
from pyconv._core import runtime
from pyconv.backends.cpu import pool

OPERATIONS = ("max_pool2d", "avg_pool2d")
HEIGHTS = (2, 3, 5, 8)


def widths(level, dtype):
    lanes = runtime.lanes(level, dtype == "float64")
    around = {2, 3, lanes - 1, lanes, lanes + 1, lanes + 2, 2 * lanes - 2, 2 * lanes, 2 * lanes + 3, 4 * lanes + 6}
    return sorted(around - {1})


def shapes(level, dtype):
    """Of a batch, but for those whose planes are pooled whole."""
    found = itertools.product((1, 2), (3,), HEIGHTS, widths(level, dtype))
    return [shape for shape in found if shape[2:] != (2, 2)]


def cases(level, dtype, name):
    """Inputs of these shapes, and what the operation makes of them."""
    for shape in shapes(level, dtype):
        x = zeros_and_numbers(*shape, dtype=dtype)
        yield x, in_order(name, x)


def zeros_and_numbers(*shape, dtype):
    """With zeros of both signs."""
    x = normal(*shape, dtype=dtype, seed=shape[-1])
    return x * np.random.default_rng(shape[-2]).integers(0, 2, shape).astype(dtype)


def in_order(name, x):
    """Down the columns first, then along; of equal zeros the last one."""
    height, width = (size // 2 * 2 for size in x.shape[2:])
    rows = x[:, :, :height, :width]
    if name == "avg_pool2d":
        down = rows[:, :, ::2] + rows[:, :, 1::2]
        return (down[..., ::2] + down[..., 1::2]) / 4
    down = np.where(rows[:, :, ::2] > rows[:, :, 1::2], rows[:, :, ::2], rows[:, :, 1::2])
    return np.where(down[..., ::2] > down[..., 1::2], down[..., ::2], down[..., 1::2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_bits_and_memory(level, dtype, name):
    """The same bits wherever planes and rows of the input lie; nothing outside of it or of ``out`` is touched."""
    function = getattr(F, name)
    for x, wanted in cases(level, dtype, name):
        batch, channels, height, width = x.shape
        gapped = np.full((batch, channels + 1, height + 1, width + 1), np.nan, dtype)
        gapped[:, :-1, :-1, :-1] = x
        rows_up, channels_up = x[:, :, ::-1].copy()[:, :, ::-1], x[:, ::-1].copy()[:, ::-1]
        one_apart = x.repeat(2, 1)[:, ::2]
        for same in (x, gapped[:, :-1, :-1, :-1], rows_up, channels_up, one_apart):
            for at_end in (False, True):
                out = guarded(np.empty_like(wanted), at_end)
                function(guarded(same, at_end), 2, out=out, backend="cpu")
                assert bits(out) == bits(wanted), (x.shape, same.strides)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_out_between_other_numbers(level, dtype, name):
    """What lies between the images, planes or rows of ``out`` stays."""
    function = getattr(F, name)
    for x, wanted in cases(level, dtype, name):
        for axis, step in itertools.product((0, 1, 2, 3), (1, -1)):
            sizes = list(wanted.shape)
            sizes[axis] += 2
            around = np.full(sizes, 7, dtype)
            place = [slice(None)] * 4
            place[axis] = slice(1, -1)
            out = around[tuple(place)]
            out = out[:, :, ::step] if axis > 1 else out[:, ::step]
            function(x, 2, out=out, backend="cpu")
            assert bits(np.ascontiguousarray(out)) == bits(wanted), (x.shape, axis, step)
            rest = np.moveaxis(around, axis, 0)[[0, -1]]
            assert (rest == 7).all(), (x.shape, axis, step)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_one_plane(level, dtype):
    for batch, channels, height, width in shapes(level, dtype):
        for channel, row, column in ((0, 0, 0), (2, height - 1, width - 1), (1, 1, width // 2)):
            x = zeros_and_numbers(batch, channels, height, width, dtype=dtype)
            x[-1, channel, row, column] = np.nan
            x[0, 2, 0, 1], x[0, 2, 1, 1] = np.inf, -np.inf
            np.testing.assert_array_equal(F.max_pool2d(x, 2, backend="cpu"), F.max_pool2d(x, 2, backend="reference"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_steps_down_and_gaps(level, dtype, name):
    """Other steps and gaps between a window's rows, padding above, and rows cut among tasks and threads."""
    function = getattr(F, name)
    calls = [((1, 2), 0, False), ((3, 2), 0, False), (2, ((1, 1), (0, 0)), False), (2, 0, True)]
    for width, (stride, padding, ceil_mode) in itertools.product(widths(level, dtype), calls):
        for height in (9, 4 * pool.TASK_ELEMENTS // (width * 3)):
            x = zeros_and_numbers(1, 2, height, width, dtype=dtype)
            found = []
            for threads in (1, 3):
                pyconv.set_num_threads(threads)
                found.append(function(x, 2, stride, padding, ceil_mode=ceil_mode, backend="cpu"))
            assert bits(found[0]) == bits(found[1])
            wanted = function(x, 2, stride, padding, ceil_mode=ceil_mode, backend="reference")
            assert_close(found[0], wanted)
    if name == "max_pool2d":
        for width, dilation in itertools.product(widths(level, dtype), (2, 3)):
            x = zeros_and_numbers(2, 3, 11, width, dtype=dtype)
            call = (x, 2, 2, 0, (dilation, 1))
            np.testing.assert_array_equal(F.max_pool2d(*call, backend="cpu"), F.max_pool2d(*call, backend="reference"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_averages_of_bands(level, dtype, monkeypatch):
    """Rows that tasks share out: windows that lie half in the padding are those of the first and the last row alone."""
    monkeypatch.setattr(pool, "TASK_ELEMENTS", 300)
    pool._tasks.cache_clear()
    for padding, counts, size in itertools.product((0, (1, 0), (0, 1), 1), (True, False), ((81, 64), (80, 14))):
        x = normal(2, 1, *size, dtype=dtype)
        wanted = F.avg_pool2d(x, 2, padding=padding, count_include_pad=counts, backend="reference")
        for threads in (1, 2, 3):
            pyconv.set_num_threads(threads)
            assert_close(F.avg_pool2d(x, 2, padding=padding, count_include_pad=counts, backend="cpu"), wanted)
    pool._tasks.cache_clear()
