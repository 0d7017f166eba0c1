"""The kernels of pooling at the edges of vectors, of large windows and of blocks, on every instruction set."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import DTYPES, assert_close, bits, normal

import pyconv
import pyconv.functional as F
from pyconv._core import runtime
from pyconv.backends.cpu import isa, pool


def laid_out(data, layout):
    """(N, H, W, C) numbers as an (N, C, H, W) array."""
    x = np.moveaxis(data, -1, 1)
    if layout == "nhwc":
        return x
    return np.ascontiguousarray(x) if layout == "nchw" else np.ascontiguousarray(x[..., ::-1])[..., ::-1]


def strange(shape, dtype, share):
    """Ties and -inf, and this share of NaN."""
    rng = np.random.default_rng(0)
    data = rng.integers(-3, 4, shape).astype(dtype)
    data[rng.random(shape) < 0.1] = -np.inf
    data[rng.random(shape) < share] = np.nan
    return data


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided"])
def test_pooling_at_vector_edges(level, dtype, layout):
    """Rows of every length around a vector's, with NaN, -inf and ties; stride 1, 2 and 3."""
    rng = np.random.default_rng(0)
    lanes = runtime.lanes(level, dtype == "float64")
    for width, channels in itertools.product((1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1, 37), (1, 3, lanes + 1)):
        data = rng.integers(-3, 4, (1, 7, width, channels)).astype(dtype)
        data[rng.random(data.shape) < 0.03] = np.nan
        data[rng.random(data.shape) < 0.1] = -np.inf
        x = np.moveaxis(data, -1, 1)
        if layout == "nchw":
            x = np.ascontiguousarray(x)
        elif layout == "strided":
            x = np.ascontiguousarray(x)[..., ::-1]
        for kernel, stride, padding, dilation in itertools.product((1, 2, 3), (1, 2, 3), (0, 1), (1, 2)):
            for ceil_mode, indices in ((False, False), (True, False), (False, True)):
                arguments = (x, kernel, stride, padding, dilation, ceil_mode, indices)
                try:
                    wanted = F.max_pool2d(*arguments, backend="reference")
                except pyconv.errors.ShapeError:
                    continue
                got = F.max_pool2d(*arguments, backend="cpu")
                np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided"])
@pytest.mark.parametrize("nan", [0, 0.01])
def test_windows_at_vector_edges(level, dtype, layout, nan):
    """Rows in registers, running maxima, merged pairs, and their places, around a vector's length."""
    lanes = runtime.lanes(level, dtype == "float64")
    calls = [
        (5, 1, 2), (7, 1, 3), (4, 1, 2), (5, 2, 2), (6, 3, 0), (9, 1, 4), (15, 1, 7), ((12, 3), 1, (6, 1)),
        ((9, 4), (1, 2)), (3, 1, 2, 2), (3, 2, 2, 2), (5, 1, 3, 3), ((31, 1), 1, (15, 0)),
        ((9, 2), 1, ((8, 0), (1, 0))), (2,), (2, 1), (3, 1, 1), (3, 2, 1), ((1, 2), 2), ((4, 3), (1, 2), (0, 1)),
        ((2, 2), (1, 2), 0, (3, 1)), ((3, 2), 2, ((0, 2), (1, 1))),
    ]  # fmt: skip
    for width in (1, lanes - 1, lanes, lanes + 1, 2 * lanes - 1, 2 * lanes + 3, 37):
        x = laid_out(strange((1, 23, width, 3), dtype, nan), layout)
        for call, indices in itertools.product(calls, (False, True)):
            try:
                wanted = F.max_pool2d(x, *call, return_indices=indices, backend="reference")
            except pyconv.errors.ShapeError:
                continue
            got = F.max_pool2d(x, *call, return_indices=indices, backend="cpu")
            np.testing.assert_array_equal(got, wanted, err_msg=f"{call} {width}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided"])
def test_averages_at_vector_edges(level, dtype, layout):
    lanes = runtime.lanes(level, dtype == "float64")
    calls = [
        (2,), (2, 1), (3, 1, 1), (3, 2, 1, True, False), (3, 2, 1, True), (5, 1, 2, False, False), (7, 1, 3), (4, 3, 2),
        (3, 1, 1, False, True, 7), (9, 1, 4), ((2, 3), (3, 2), ((1, 0), (0, 2)), True, False),
    ]  # fmt: skip
    for width, channels in itertools.product((1, lanes - 1, lanes, lanes + 1, 2 * lanes + 3, 37), (3, lanes + 1)):
        x = laid_out(normal(1, 11, width, channels, dtype=dtype), layout)
        for call in calls:
            try:
                wanted = F.avg_pool2d(x, *call, backend="reference")
            except pyconv.errors.ShapeError:
                continue
            assert_close(F.avg_pool2d(x, *call, backend="cpu"), wanted)
            if len(call) < 3:
                assert_close(F.lp_pool2d(x, 2, *call, backend="cpu"), F.lp_pool2d(x, 2, *call, backend="reference"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_rows_taken_at_once(level, dtype, name):
    """Square windows in steps of 1: the bits of each row by itself, also of zeros of both signs."""
    function, lanes = getattr(F, name), runtime.lanes(level, dtype == "float64")
    for kernel, width in itertools.product((2, 3, 5, 7), (lanes - 1, lanes + 7, 2 * lanes + 3)):
        for rows in range(1, 14):
            x = normal(1, 3, rows + kernel - 1, max(width, kernel), dtype=dtype, seed=rows)
            x *= np.random.default_rng(rows).integers(0, 2, x.shape)
            got = function(x, kernel, 1, backend="cpu")
            alone = [function(x[:, :, row : row + kernel], kernel, 1, backend="cpu") for row in range(rows)]
            assert bits(got) == bits(np.concatenate(alone, 2)), (kernel, width, rows)
            if rows > 4:
                x[0, 1, 4, 0] = np.nan
                got = function(x, kernel, 1, backend="cpu")
                np.testing.assert_array_equal(np.isnan(got), np.isnan(function(x, kernel, 1, backend="reference")))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_images_larger_than_the_cache(level, monkeypatch, dtype, name):
    """Rows fetched ahead are rows of an instance of its own: the same bits."""
    function, lanes = getattr(F, name), runtime.lanes(level, dtype == "float64")
    calls = list(itertools.product((2, 3), (0, 1), (1, lanes, 2 * lanes + 1, 4 * lanes + 5), (5, 8)))
    images = [normal(1, 2, height, width + 2, dtype=dtype) for _, _, width, height in calls]
    images[-1][0, 1, 3, 2] = np.nan
    plans = [
        pyconv.report.explain(function, x, kernel, 2, padding, backend="cpu").steps[0].plan
        for x, (kernel, padding, _, _) in zip(images, calls, strict=True)
    ]
    found = []
    monkeypatch.setattr(pool.runtime, "second_level", lambda: 64)
    for large, level_2 in ((2**40, 2**40), (0, 2**40), (2**40, 0)):
        monkeypatch.setattr(pool, "LARGE", large)
        monkeypatch.setattr(pool, "LEVEL_2", level_2)
        pool._tasks.cache_clear()
        found.append([bits(pool.run(plan, x, None, None)) for plan, x in zip(plans, images, strict=True)])
    pool._tasks.cache_clear()
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided"])
def test_unpooling_takes_indices_as_they_lie(level, dtype, layout):
    """Places of a channels-last pooling lie channels last; others may have gaps."""
    x = laid_out(normal(2, 10, 12, 5, dtype=dtype), layout)
    values, indices = F.max_pool2d(x, 2, return_indices=True, backend="cpu")
    assert layout != "nhwc" or indices.strides[1] == indices.itemsize
    for places in (indices, np.repeat(indices, 2, axis=3)[..., ::2]):
        wanted = F.max_unpool2d(np.ascontiguousarray(values), np.ascontiguousarray(indices), 2, backend="reference")
        np.testing.assert_array_equal(F.max_unpool2d(values, places, 2, backend="cpu"), wanted)
        np.testing.assert_array_equal(F.max_unpool2d(values, places, 2, backend="reference"), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_planes(level, dtype):
    """A vector of planes at a time, of which the last may have fewer; infinities stay."""
    lanes = runtime.lanes(level, dtype == "float64")
    for batch, channels, height in itertools.product(
        (1, 2), (1, lanes - 1, lanes, lanes + 1, 2 * lanes + 1), (1, 5, 40)
    ):
        x = normal(batch, channels, height, 7, dtype=dtype)
        x[0, 0, 0, 3], x[-1, -1, -1, -1] = np.inf, np.nan
        for function in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
            wanted = function(x, 1, backend="reference")
            assert_close(function(x, 1, backend="cpu"), wanted)
            around = np.full((batch, channels, 2, 1), 7, dtype)
            assert_close(function(x, 1, out=around[:, :, :1], backend="cpu"), wanted)
            assert (around[:, :, 1:] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(3, 5), (11, 30), (1, 7)], ids=str)
def test_adaptive_windows(level, dtype, size):
    for layout in ("nchw", "nhwc", "strided"):
        x = laid_out(strange((2, 11, 47, 3), dtype, 0.01), layout)
        for indices in (False, True):
            wanted = F.adaptive_max_pool2d(x, size, indices, backend="reference")
            np.testing.assert_array_equal(F.adaptive_max_pool2d(x, size, indices, backend="cpu"), wanted)
        x = laid_out(normal(2, 11, 47, 3, dtype=dtype), layout)
        assert_close(F.adaptive_avg_pool2d(x, size, backend="cpu"), F.adaptive_avg_pool2d(x, size, backend="reference"))


CALLS = {
    "registers": lambda x, **more: F.max_pool2d(x, 3, 2, 1, **more),
    "running": lambda x, **more: F.max_pool2d(x, 31, 1, 15, **more),
    "separable": lambda x, **more: F.max_pool2d(x, 4, 3, **more),
    "places": lambda x, **more: F.max_pool2d(x, 3, 2, 1, return_indices=True, **more),
    "averages": lambda x, **more: F.avg_pool2d(x, 3, 1, 1, **more),
    "whole": lambda x, **more: F.adaptive_avg_pool2d(x, 1, **more),
    "adaptive": lambda x, **more: F.adaptive_avg_pool2d(x, 7, **more),
}


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("name", CALLS)
def test_the_same_bits_for_any_number_of_threads(name, layout):
    x = laid_out(normal(2, 97, 111, 19), layout)
    before = pyconv.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            pyconv.set_num_threads(threads)
            found.append(np.array(CALLS[name](x, backend="cpu")))
    finally:
        pyconv.set_num_threads(before)
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


def test_a_running_maximum_has_an_end_of_memory():
    """Windows so high that its lines would be too many are gone through by columns."""
    x = np.broadcast_to(np.float32(1), (1, 1, 5000, 100))
    found = pyconv.report.explain(F.max_pool2d, x, (4001, 3), 1, backend="cpu")
    assert found.steps[0].implementation == f"registers_{isa.name()}"
    found = pyconv.report.explain(F.max_pool2d, x, (4001, 4), 1, backend="cpu")
    assert found.steps[0].implementation == f"separable_{isa.name()}"
    assert "elements of scratch" in str(found)


def test_pooling_of_mostly_padding_takes_no_line():
    """A window a thousand times wider than the image is gone through tap by tap inside of the image."""
    x = normal(1, 1, 3, 10)
    kernel, padding = (1, 200_001), ((0, 0), (200_000, 200_000))
    found = pyconv.report.explain(F.max_pool2d, x, kernel, 100_000, padding, backend="cpu")
    assert found.steps[0].implementation == f"windows_{isa.name()}"
    got = F.max_pool2d(x, kernel, 100_000, padding, backend="cpu")
    np.testing.assert_array_equal(got, F.max_pool2d(x, kernel, 100_000, padding, backend="reference"))
    assert pool.implementations(found.steps[0].plan)[4][1] is not None


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_pooling_of_windows_far_apart_takes_no_line(name):
    """Lines of scratch would hold every place of a row of 12 GB, for three windows."""
    x = np.broadcast_to(np.float32(1), (1, 1, 3, 3 * 10**9))
    function = getattr(F, name)
    found = pyconv.report.explain(function, x, 2, 2**30, backend="cpu")
    assert found.steps[0].implementation == f"windows_{isa.name()}"
    assert "hold 6 of its" in str(found)
    np.testing.assert_array_equal(function(x, 2, stride=2**30, backend="cpu"), np.ones((1, 1, 1, 3), np.float32))
    x = normal(2, 3, 9, 90_000)
    for stride in (2, 70_000):
        got, wanted = (function(x, 2, stride, backend=backend) for backend in ("cpu", "reference"))
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_numbers(level, dtype):
    """They round the same way at every step, so long sums show it: within the bound of random ones all the same."""
    eps = float(np.finfo(dtype).eps)

    def error(got, wanted):
        return float(np.abs(got / wanted - 1).max()) / eps

    for height, width in ((9, 9), (70, 70), (400, 300), (3000, 1), (1, 3000), (65, 1000)):
        data = np.full((2, height, width, 5), 0.1, dtype)
        wanted, allowed = float(data[0, 0, 0, 0]), 4 + 4 * (height * width) ** 0.5
        for layout in ("nchw", "nhwc", "strided"):
            x = laid_out(data, layout)
            assert error(F.adaptive_avg_pool2d(x, 1, backend="cpu"), wanted) < allowed / 2, (height, width, layout)
            root = wanted * (height * width) ** 0.5
            assert error(F.lp_pool2d(x, 2, (height, width), backend="cpu"), root) < allowed, (height, width, layout)
    for kernel, stride in itertools.product((70, 500, 2000), (1, 2, 3)):
        got = F.avg_pool1d(np.full((1, 3, 4000), 0.1, dtype), kernel, stride, backend="cpu")
        assert error(got, float(np.asarray(0.1, dtype))) < (4 + 4 * kernel**0.5) / 2, (kernel, stride)
    for height, width in ((3000, 3), (20000, 2)):  # windows of which a part lies beside the image
        x = np.full((1, 1, height, 20), 0.1, dtype)
        got = F.avg_pool2d(x, (height, width), 1, (0, 1), count_include_pad=False, backend="cpu")
        assert error(got, float(x[0, 0, 0, 0])) < (4 + 4 * height**0.5) / 2, (height, width)
