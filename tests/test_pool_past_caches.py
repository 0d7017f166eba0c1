"""Poolings whose results are written past the caches, in whole cache lines, wherever rows and arrays begin and end."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from guarded import guarded
from helpers import DTYPES, bits, normal

import pyconv
import pyconv.functional as F
from pyconv.backends.cpu import pool
from pyconv.plan import plan_max_pool2d, pool_parameters

OPERATIONS = ("max_pool2d", "avg_pool2d")
WINDOWS = {"2x2": (2, 2, 0), "2x2 with padding": (2, 2, 1), "3x3": (3, 2, 0), "3x3 with padding": (3, 2, 1)}
WIDTHS = (31, 63, 64, 65, 66, 79, 80, 97, 130)
"""Of inputs: results of a row of less than two lines, which are not written so, of whole ones and of others."""


@pytest.fixture
def past(monkeypatch):
    """Every result goes past the caches, of which a task has some rows, or some planes."""
    monkeypatch.setattr(pool.runtime, "second_level", lambda: pool.FETCHING)
    for name in ("LARGE", "LEVEL_2", "STREAMED"):
        monkeypatch.setattr(pool, name, 0)
    monkeypatch.setattr(pool, "TASK_ELEMENTS", 700)
    pool._tasks.cache_clear()
    yield
    pool._tasks.cache_clear()


@pytest.fixture
def sizes_of_a_zen5(monkeypatch):
    """Its caches: results of 8 MiB and more go past them."""
    monkeypatch.setattr(pool.runtime, "second_level", lambda: pool.FETCHING)
    for name, size in (("LEVEL_2", 2**20), ("LARGE", 2**23), ("STREAMED", 2**23)):
        monkeypatch.setattr(pool, name, size)
    pool._tasks.cache_clear()
    yield
    pool._tasks.cache_clear()


def images(dtype):
    for height, width in itertools.product((3, 4, 9), WIDTHS):
        yield normal(2, 3, height, width, dtype=dtype, seed=width)


def wanted_of(monkeypatch, dtype, call):
    """What the operation makes of them, its results written as always."""
    monkeypatch.setattr(pool, "STREAMED", 2**40)
    pool._tasks.cache_clear()
    found = [call(x) for x in images(dtype)]
    monkeypatch.setattr(pool, "STREAMED", 0)
    pool._tasks.cache_clear()
    return zip(images(dtype), found, strict=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("window", WINDOWS)
def test_bits_and_memory(level, monkeypatch, past, dtype, name, window):
    """The same bits wherever ``out`` begins; nothing outside of it or of the input is touched."""
    function, lines = getattr(F, name), 128 // np.dtype(dtype).itemsize
    for x, wanted in wanted_of(monkeypatch, dtype, lambda x: function(x, *WINDOWS[window], backend="cpu")):
        for at_end in (False, True):
            out = guarded(np.full_like(wanted, 7), at_end)
            function(guarded(x, at_end), *WINDOWS[window], out=out, backend="cpu")
            assert bits(out) == bits(wanted), x.shape
        for begin in (1, lines // 4, lines // 2 - 1, lines // 2 + 3):
            around = np.full(wanted.size + 2 * lines, 7, dtype)
            out = around[begin : begin + wanted.size].reshape(wanted.shape)
            function(x, *WINDOWS[window], out=out, backend="cpu")
            assert bits(out) == bits(wanted), (x.shape, begin)
            rest = np.delete(around, slice(begin, begin + wanted.size))
            assert (rest == 7).all(), (x.shape, begin)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("window", WINDOWS)
def test_out_between_other_numbers(level, monkeypatch, past, dtype, name, window):
    """What lies between the images, planes or rows of ``out`` stays."""
    function = getattr(F, name)
    for x, wanted in wanted_of(monkeypatch, dtype, lambda x: function(x, *WINDOWS[window], backend="cpu")):
        for axis in range(4):
            sizes = list(wanted.shape)
            sizes[axis] += 2
            around = np.full(sizes, 7, dtype)
            out = np.moveaxis(np.moveaxis(around, axis, 0)[1:-1], 0, axis)
            function(x, *WINDOWS[window], out=out, backend="cpu")
            assert bits(np.ascontiguousarray(out)) == bits(wanted), (x.shape, axis)
            assert (np.moveaxis(around, axis, 0)[[0, -1]] == 7).all(), (x.shape, axis)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("window", WINDOWS)
def test_tasks_and_threads(level, monkeypatch, past, dtype, name, window):
    """Lines that two tasks share, of one plane and of several."""
    function = getattr(F, name)
    for elements in (1, 700, 2**20):
        monkeypatch.setattr(pool, "TASK_ELEMENTS", elements)
        for x, wanted in wanted_of(monkeypatch, dtype, lambda x: function(x, *WINDOWS[window], backend="cpu")):
            for threads in (1, 2, 3):
                pyconv.set_num_threads(threads)
                assert bits(function(x, *WINDOWS[window], backend="cpu")) == bits(wanted), (x.shape, elements, threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", WINDOWS)
def test_nan(level, past, dtype, window):
    """Rows that are taken again are written over those that went past the caches."""
    for x in images(dtype):
        x[1, 1, -1, x.shape[3] // 3] = x[0, 0, 0, 0] = np.nan
        call = (x, *WINDOWS[window])
        np.testing.assert_array_equal(F.max_pool2d(*call, backend="cpu"), F.max_pool2d(*call, backend="reference"))


def test_results_of_places_and_of_channels(past):
    """Results that are not written so although they are large."""
    x = normal(1, 40, 9, 80)
    for same in (x, np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)):
        values, places = F.max_pool2d(same, 2, return_indices=True, backend="cpu")
        wanted, where = F.max_pool2d(x, 2, return_indices=True, backend="reference")
        np.testing.assert_array_equal(values, wanted)
        np.testing.assert_array_equal(places, where)
        np.testing.assert_array_equal(F.max_pool2d(same, 2, backend="cpu"), wanted)


def plan_of(*shape, return_indices=False):
    """Of 2x2 windows in steps of 2."""
    window = pool_parameters("pool", 2, None, 0, 1, False, return_indices)
    return plan_max_pool2d(shape, "float32", 4, "nchw", *window)


def test_what_goes_past_the_caches(level, monkeypatch, sizes_of_a_zen5):
    """Large results, of values alone, on a processor that gains by it; and a row of them fits into the scratch."""
    large = plan_of(1, 128, 280, 280)
    assert pool._tasks(large, level, 1).streams
    assert pool._line(large, 1) >= large.out_size[1] + 2 * 64 // 4, "no room for the stage: see is_streaming"
    assert not pool._tasks(plan_of(1, 8, 28, 28), level, 1).streams
    assert not pool._tasks(plan_of(1, 128, 200, 200), level, 1).streams
    assert not pool._tasks(plan_of(1, 128, 280, 280, return_indices=True), level, 1).streams
    monkeypatch.setattr(pool.runtime, "second_level", lambda: pool.FETCHING // 2)
    pool._tasks.cache_clear()
    assert not pool._tasks(large, level, 1).streams
