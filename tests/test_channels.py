"""Direct sums with vectors along output channels: blocks, bands and squares, on every instruction set."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from guarded import guarded
from helpers import assert_close, normal
from test_implementations import checked, plan_of, run_by

import pyconv
import pyconv.functional as F
from pyconv._core import conv, runtime
from pyconv.backends.cpu import blocks, channels, direct, isa, tiles
from pyconv.backends.cpu.cut import ceil_div


@pytest.mark.parametrize("channels_in", [127, 128, 129, 300])
@pytest.mark.parametrize("chunk", [128, None])
def test_channels_in_parts(level, channels_in, chunk, monkeypatch):
    """Weights that pass in several parts, groups, several bands; the bits do not depend on the threads."""
    if chunk:
        monkeypatch.setattr(blocks, "chunk_of", lambda plan, level: chunk)
    channels._tasks.cache_clear()
    x, weight = normal(1, 2 * channels_in, 15, 16), normal(40, channels_in, 3, 3, seed=1)
    wanted = F.conv2d(x, weight, padding=1, groups=2, backend="reference")
    results = []
    for count in (1, 2, 3, 8):
        pyconv.set_num_threads(count)
        results.append(run_by(channels, x, weight, padding=1, groups=2))
        assert_close(results[-1], wanted, terms=9 * channels_in)
        np.testing.assert_array_equal(results[-1], results[0])
    channels._tasks.cache_clear()
    pyconv.set_num_threads(2)


@pytest.mark.parametrize("kernel", [(3, 3), (5, 4), (1, 7), (7, 1)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_channels_taps_in_parts(level, kernel, dilation, monkeypatch):
    """Parts that end within a row of the kernel, and tiles whose pixels see few of its places: the same bits, whatever
    places pass together; chunks of channels of any size.
    """
    x, weight, bias = normal(1, 20, 9, 11), normal(36, 20, *kernel, seed=1), normal(36, seed=2)
    padding = tuple((size - 1) * dilation for size in kernel)  # so that a corner sees one place
    parameters = {"padding": padding, "dilation": dilation}
    wanted = F.conv2d(x, weight, bias, **parameters, backend="reference")
    for chunk in (1, 7, 20):
        monkeypatch.setattr(blocks, "chunk_of", lambda plan, level, chunk=chunk: chunk)
        results = []
        for places in (1, 2, 4, prod(kernel)):
            monkeypatch.setattr(blocks, "places_of", lambda plan, level, chunk, places=places: places)
            channels._tasks.cache_clear()
            results.append(run_by(channels, x, weight, bias, **parameters))
            np.testing.assert_array_equal(results[-1], results[0])
        assert_close(results[0], wanted, terms=20 * prod(kernel))
    channels._tasks.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("groups", [1, 2])
def test_channels_in_squares(level, dtype, groups, monkeypatch):
    """Channels-last images at the edges of squares: the bits of the other tiles, on any number of threads."""
    monkeypatch.setattr(blocks, "in_pairs", lambda plan, level: False)
    channels._tasks.cache_clear()
    lanes, tried = runtime.lanes(level, dtype == "float64"), 0
    counts = (1, 3, lanes // 2, lanes // 2 + 1, lanes - 1, lanes, lanes + 1, 3 * lanes // 2, 2 * lanes, 4 * lanes)
    for channels_out, width, channels_in in itertools.product(counts, (lanes // 2, lanes, lanes + 3), (1, 6, 33)):
        x = np.moveaxis(normal(2, 3, width, channels_in * groups, dtype=dtype), -1, 1)
        weight = normal(channels_out * groups, channels_in, 1, 1, dtype=dtype, seed=1)
        bias = normal(channels_out * groups, dtype=dtype, seed=2)
        plan = plan_of(x, weight, groups=groups, bias=bias)
        assert blocks.cut(plan, level, 1).squares == (lanes >= 8 and channels_in * groups > 1)
        other = channels.run(plan, np.ascontiguousarray(x), channels.prepare(plan, weight, bias), None)
        for count in (1, 3):
            pyconv.set_num_threads(count)
            np.testing.assert_array_equal(run_by(channels, x, weight, bias, groups=groups), other)
        tried += checked(channels, x, weight, bias, {"groups": groups})
    channels._tasks.cache_clear()
    pyconv.set_num_threads(2)
    assert tried == len(counts) * 9


@pytest.fixture
def pairs(level, monkeypatch):
    """A processor for which channels are paired, where vectors are of 64 bytes; whether they are."""
    monkeypatch.setattr(runtime, "multiply_adds", lambda level: 2)
    monkeypatch.setattr(runtime, "second_level", lambda: 64)
    channels._tasks.cache_clear()
    yield runtime.lanes(level, False) == 16
    channels._tasks.cache_clear()
    pyconv.set_num_threads(2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("groups", [1, 2])
def test_channels_in_pairs(level, pairs, dtype, groups):
    """Squares that leave half of a vector empty, at their edges, and whole vectors before: the same bits on any number
    of threads, and where rows of the image, of the output or of both have gaps.
    """
    lanes = runtime.lanes(level, dtype == "float64")
    counts = (1, lanes // 2, lanes + 1, 3 * lanes // 2, 2 * lanes + 1, 7 * lanes // 2)
    sizes = ((1, 1), (1, 3), (1, 7), (3, 5), (2, lanes), (7, lanes + 1))
    for channels_out, (height, width), channels_in in itertools.product(counts, sizes, (2, 6, 34)):
        x = np.moveaxis(normal(2, height, width, channels_in * groups, dtype=dtype), -1, 1)
        weight = normal(channels_out * groups, channels_in, 1, 1, dtype=dtype, seed=1)
        bias = normal(channels_out * groups, dtype=dtype, seed=2)
        plan = plan_of(x, weight, groups=groups, bias=bias)
        assert (blocks.cut(plan, level, 1).squares == 3) == (pairs and height * width > 1)
        prepared, results = channels.prepare(plan, weight, bias), []
        wider = np.moveaxis(np.full((2, height, width + 1, channels_in * groups), np.nan, dtype), -1, 1)
        wider[..., :width] = x
        for count, image, gap in itertools.product((1, 2, 5), (x, wider[..., :width]), (0, 3)):
            out = np.full((*plan.out_shape[:-1], width + gap), np.nan, dtype)
            tasks = conv.ChannelsTasks(level, dtype == "float64", count, plan, blocks.cut(plan, level, count))
            conv.run(tasks, image, prepared.weights, prepared.bias, out[..., :width])
            assert np.isnan(out[..., width:]).all()
            results.append(out[..., :width])
            np.testing.assert_array_equal(results[-1], results[0])
        wanted = F.conv2d(x, weight, bias, groups=groups, backend="reference")
        assert_close(results[0], wanted, terms=max(channels_in, 16))


@pytest.mark.parametrize("at_end", [False, True])
def test_channels_in_pairs_stay_within_the_arrays(level, pairs, at_end):
    """A pair's two numbers are read at once, and half a vector is written: not beyond the arrays."""
    for channels_out, size in itertools.product((8, 24, 40), ((1, 1), (1, 7), (3, 11), (4, 8))):
        x = np.moveaxis(guarded(normal(1, *size, 6), at_end), -1, 1)
        weight = normal(channels_out, 6, 1, 1, seed=1)
        plan = plan_of(x, weight)
        out = guarded(np.full(plan.out_shape, np.nan, np.float32), at_end)
        channels.run(plan, x, channels.prepare(plan, weight, None), out)
        assert_close(out, F.conv2d(x, weight, backend="reference"), terms=16)


def test_what_is_not_finite_stays_in_its_pixel_and_pair(level, pairs):
    """Infinity of an even channel and of an odd one, and their difference, which is no number."""
    x, weight = np.moveaxis(normal(1, 3, 8, 4), -1, 1), np.abs(normal(24, 4, 1, 1, seed=1)) + 1
    x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    x[0, 0, 0, 1], x[0, 1, 1, 2], x[0, 2, 2, 3], x[0, 3, 2, 3] = np.inf, -np.inf, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        wanted = F.conv2d(x, weight, backend="reference")
    got = run_by(channels, x, weight)
    for same in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(same(got), same(wanted))
    finite = np.isfinite(wanted)
    assert finite.sum() == 24 * 21
    assert_close(got[finite], wanted[finite], terms=16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, (1, 2), (3, 2)])
def test_channels_of_turned_pixels(level, dtype, groups, stride, monkeypatch):
    """Small images whose pixels are turned before, at the edges of squares: the bits of those read where they lie."""
    lanes = runtime.lanes(level, dtype == "float64")
    for per_in, size in itertools.product(
        (1, lanes - 1, lanes, 2 * lanes + 1, 130), ((1, 1), (1, lanes + 1), (3, 4 * lanes), (17, 15))
    ):
        x = normal(2, per_in * groups, *size, dtype=dtype)
        weight, bias = normal(33 * groups, per_in, 1, 1, dtype=dtype, seed=1), normal(33 * groups, dtype=dtype, seed=2)
        plan, results = plan_of(x, weight, bias=bias, stride=stride, groups=groups), []
        for turned, count in itertools.product((False, True), (1, 3)):
            monkeypatch.setattr(blocks, "turns_pixels", lambda plan, level, turned=turned: turned)
            channels._tasks.cache_clear()
            pyconv.set_num_threads(count)
            assert (blocks.cut(plan, level, count).squares == 2) == turned
            results.append(run_by(channels, x, weight, bias, stride=stride, groups=groups))
            np.testing.assert_array_equal(results[-1], results[0])
        wanted = F.conv2d(x, weight, bias, stride=stride, groups=groups, backend="reference")
        assert_close(results[0], wanted, terms=max(per_in, 16))
    channels._tasks.cache_clear()
    pyconv.set_num_threads(2)


def test_pixels_are_turned_for_many_output_channels(level):
    """Of images that stay in the cache, where tiles have few sums."""
    few = runtime.block_vectors(level, False) < 4
    assert blocks.turns_pixels(plan_of(normal(1, 512, 7, 7), normal(512, 512, 1, 1)), level) == few
    assert blocks.turns_pixels(plan_of(normal(1, 512, 14, 14), normal(512, 512, 1, 1), stride=2), level) == few
    assert not blocks.turns_pixels(plan_of(normal(1, 512, 14, 14), normal(512, 512, 1, 1), stride=3), level)
    assert not blocks.turns_pixels(plan_of(normal(1, 512, 14, 14), normal(512, 512, 1, 1), stride=2, padding=1), level)
    assert not blocks.turns_pixels(plan_of(normal(1, 512, 7, 7), normal(32, 512, 1, 1)), level)
    assert not blocks.turns_pixels(plan_of(normal(1, 512, 64, 64), normal(512, 512, 1, 1)), level)
    assert not blocks.turns_pixels(plan_of(normal(1, 512, 7, 7), normal(512, 512, 3, 3)), level)


@pytest.mark.parametrize(("channels_in", "channels_out", "size"), [(32, 16, 112), (96, 24, 56)])
def test_squares_are_chosen_for_few_output_channels(level, channels_in, channels_out, size):
    """Of a channels-last image alone, and where vectors are of 8 channels at least."""
    x, weight = normal(1, channels_in, size, size), normal(channels_out, channels_in, 1, 1)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    assert "along channels" in channels.refusal(replace(plan_of(x, weight), algorithm="auto"))
    if runtime.lanes(level, False) >= 8:
        assert channels.refusal(replace(plan_of(last, weight), algorithm="auto")) is None


def test_squares_leave_rows_with_gaps_to_others(level):
    """An ``out`` that is a part of wider rows: nothing is written between them."""
    x, weight = np.moveaxis(normal(1, 9, 16, 24), -1, 1), normal(20, 24, 1, 1, seed=1)
    plan = plan_of(x, weight)
    out = np.full((1, 20, 9, 19), np.nan, np.float32)
    channels.run(plan, x, channels.prepare(plan, weight, None), out[..., :16])
    assert_close(out[..., :16], F.conv2d(x, weight, backend="reference"), terms=24)
    assert np.isnan(out[..., 16:]).all()


@pytest.mark.parametrize("out_channels", [64, 65, 96, 130, 192, 330])
def test_channels_in_blocks(level, out_channels):
    """Blocks of any number of vectors, even and odd; the bits do not depend on the threads that share them."""
    x, weight, bias = normal(1, 20, 7, 9), normal(out_channels, 20, 1, 3, seed=1), normal(out_channels, seed=2)
    wanted = F.conv2d(x, weight, bias, padding=(0, 1), backend="reference")
    results = []
    for count in (1, 2, 3, 5):
        pyconv.set_num_threads(count)
        results.append(run_by(channels, x, weight, bias, padding=(0, 1)))
        np.testing.assert_array_equal(results[-1], results[0])
    pyconv.set_num_threads(2)
    assert_close(results[0], wanted, terms=60)


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 2)])
def test_channels_of_several_blocks_and_bands(level, kernel, stride, stays, monkeypatch):
    """One block's weights pass all bands, or all weights one band, on any number of threads: always the same bits."""
    monkeypatch.setattr(blocks, "WORKING_SET", 2**30 if stays else 0)
    x, weight, bias = normal(2, 20, 37, 43), normal(150, 20, kernel, kernel, seed=1), normal(150, seed=2)
    parameters, results = {"stride": stride, "padding": kernel // 2}, []
    for count in (1, 2, 3, 8):
        pyconv.set_num_threads(count)
        channels._tasks.cache_clear()
        cut = blocks.cut(plan_of(x, weight, bias=bias, **parameters), level, count)
        assert cut.band_stays == stays
        assert cut.bands > 1
        results.append(run_by(channels, x, weight, bias, **parameters))
        np.testing.assert_array_equal(results[-1], results[0])
    channels._tasks.cache_clear()
    pyconv.set_num_threads(2)
    assert_close(results[0], F.conv2d(x, weight, bias, **parameters, backend="reference"), terms=20 * kernel**2)


def test_channels_are_shared_out_by_what_is_read_again():
    """Threads share the pixels of a large image, and the weights of many channels; each then reads all of the other."""
    level = isa.current()
    large = blocks.cut(plan_of(normal(1, 64, 56, 56), normal(128, 64, 1, 1)), level, 2)
    small = blocks.cut(plan_of(normal(1, 640, 7, 7), normal(128, 640, 1, 1)), level, 2)
    assert (large.shares, small.shares, small.parts) == (1, 2, 1)
    assert large.parts > 2  # so that one thread may take what another leaves


@pytest.mark.parametrize(
    ("out_channels", "size"), [(64, 14), (96, 14), (112, 14), (160, 7), (192, 7), (192, 17), (48, 35)]
)
def test_channels_are_shared_out_evenly(level, out_channels, size):
    """Of two threads none has more than 54 in a hundred of the work: pixels times vectors of output channels."""
    plan = plan_of(normal(1, 3, size, size), normal(out_channels, 3, 1, 1))
    firsts, cut = blocks.first_vectors(plan, level), blocks.cut(plan, level, 2)
    loads = []
    for part in range(cut.parts):
        first, end = (min(cut.bands * p // cut.parts * cut.pixels, size**2) for p in (part, part + 1))
        for share in range(cut.shares):
            begin, stop = (firsts[cut.blocks * s // cut.shares] for s in (share, share + 1))
            loads.append((end - first) * (stop - begin))
    assert sum(loads) == size**2 * firsts[-1]
    half = ceil_div(len(loads), 2)
    assert max(sum(loads[:half]), sum(loads[half:])) <= 0.54 * sum(loads)


def test_channels_leave_weights_that_are_not_finite_to_others():
    """0 * inf from the padding is NaN, and taps in the padding are what they leave out."""
    x, weight = normal(1, 64, 7, 7), normal(64, 64, 3, 3)
    weight[3, 2, 0, 0] = np.inf
    assert channels.refusal(plan_of(x, weight, padding=1)) is None
    assert channels.prepare(plan_of(x, weight, padding=1), weight, None) is None
    got = F.conv2d(x, weight, padding=1, backend="cpu")
    assert np.isnan(got[0, 3, 0]).all()
    with np.errstate(invalid="ignore"):
        wanted = F.conv2d(x, weight, padding=1, backend="reference")
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))


@pytest.mark.parametrize(("multiply_adds", "second_level"), [(1, 32), (1, 64), (2, 32), (2, 64)])
def test_parts_of_weights_by_the_processor(level, multiply_adds, second_level, monkeypatch):
    """Long parts, fetched little by little, where two multiply-adds of 64 bytes a cycle find the second level near."""
    if blocks.has_few_sums(level):
        return
    monkeypatch.setattr(runtime, "multiply_adds", lambda level: multiply_adds)
    monkeypatch.setattr(runtime, "second_level", lambda: second_level)
    asks_much = multiply_adds * runtime.lanes(level, False) >= 32
    near = asks_much and second_level >= 64
    for size, much in ((8, 64), (9, 128)):
        plan = plan_of(normal(1, 2048, size, size), normal(33, 2048, 1, 1))
        assert blocks.chunk_of(plan, level) == ((512 if size == 8 else 1024) if near else much if asks_much else 1024)
        assert blocks.cut(plan, level, 2).spreads == near


@pytest.mark.parametrize("size", [1, 3, 9])
@pytest.mark.parametrize("kernel", [1, 3])
def test_weights_fetched_little_by_little(level, size, kernel):
    """The same bits, whatever tiles fetch for the next: one tile and several, many vectors of channels and few."""
    x, weight = normal(1, 70, size, size), normal(150, 70, kernel, kernel, seed=1)
    plan = plan_of(x, weight, padding=kernel // 2)
    wanted = F.conv2d(x, weight, padding=kernel // 2, backend="reference")
    prepared, cut, results = channels.prepare(plan, weight, None), blocks.cut(plan, level, 1), []
    for spreads in (False, True):
        tasks = conv.ChannelsTasks(level, False, 1, plan, cut._replace(spreads=spreads))
        out = np.full(plan.out_shape, np.nan, plan.dtype)
        conv.run(tasks, x, prepared.weights, prepared.bias, out)
        results.append(out)
    assert_close(results[0], wanted, terms=70 * kernel**2)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_packed_weights_begin_a_cache_line(level, dtype):
    """Else each vector of 64 bytes would lie in two: NumPy's arrays begin 16 bytes into one."""
    x, weight = normal(1, 300, 7, 7).astype(dtype), normal(71, 300, 1, 1, seed=1).astype(dtype)
    kept = [channels.prepare(plan_of(x, weight), weight, None).weights for _ in range(3)]
    assert [weights.ctypes.data % 64 for weights in kept] == [0, 0, 0]
    assert not kept[0][:, -1].any()  # the last block's channels are filled up with zeros


def test_which_processor_they_are_quicker_on(level, monkeypatch):
    """Large strided images: with two multiply-adds of 64 bytes a cycle where the second level of the cache keeps up."""
    if runtime.lanes(level, False) < 16:
        return
    plan = plan_of(normal(1, 192, 28, 28), normal(384, 192, 2, 2), 2)
    reasons = []
    for multiply_adds, second_level in ((1, 32), (2, 32), (2, 64)):
        monkeypatch.setattr(runtime, "multiply_adds", lambda level, count=multiply_adds: count)
        monkeypatch.setattr(runtime, "second_level", lambda count=second_level: count)
        for known in (tiles.choose, direct._cut):
            known.cache_clear()
        reasons.append(channels.refusal(plan))
    for known in (tiles.choose, direct._cut):
        known.cache_clear()
    assert reasons[0] is reasons[2] is None
    assert "vectors along rows take fewer cycles" in reasons[1]


def test_groups_of_pairs(level, pairs):
    """What runs band by band has the bits of the layers one by one."""
    for channels_in, channels_out, size in ((24, 24, (57, 40)), (34, 8, (12, 90)), (16, 40, (33, 31))):
        x = np.moveaxis(normal(3, *size, channels_in), -1, 1)
        conv2d = pyconv.Conv2d(channels_in, channels_out, 1, rng=0, backend="cpu")
        group = pyconv.Sequential(conv2d, pyconv.ReLU(), pyconv.MaxPool2d(2))
        wanted = F.max_pool2d(F.relu(conv2d(x), backend="cpu"), 2, backend="cpu")
        for threads in (1, 2, 3):
            pyconv.set_num_threads(threads)
            np.testing.assert_array_equal(group(x), wanted)
            np.testing.assert_array_equal(group(x[1:2]), wanted[1:2])
