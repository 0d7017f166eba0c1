"""Implementations of direct sums, each called by itself at the edges of its tiles, on every instruction set."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from guarded import guarded
from helpers import assert_close, normal

import pyconv
import pyconv.functional as F
from pyconv.backends.cpu import bands, channels, depthwise, depthwise_channels, direct, few, isa
from pyconv.errors import ShapeError
from pyconv.plan import conv_parameters, layout_of, plan_conv2d


def plan_of(x, weight, stride=1, padding=0, dilation=1, groups=1, bias=None):
    shapes = (x.shape, weight.shape, None if bias is None else bias.shape)
    parameters = conv_parameters("conv2d", stride, padding, dilation, groups)
    return plan_conv2d(*shapes, x.dtype.name, x.itemsize, layout_of(x), *parameters, "direct", True)


def run_by(implementation, x, weight, bias=None, **parameters):
    plan = plan_of(x, weight, bias=bias, **parameters)
    out = np.full(plan.out_shape, np.nan, plan.dtype)
    return implementation.run(plan, x, implementation.prepare(plan, weight, bias), out)


def parameters_of(**values):
    names = list(values)
    for combination in itertools.product(*values.values()):
        yield dict(zip(names, combination, strict=True))


def checked(implementation, x, weight, bias, parameters):
    try:
        wanted = F.conv2d(x, weight, bias, **parameters, backend="reference")
    except ShapeError:
        return 0
    if implementation is channels and "padding" in str(channels.refusal(plan_of(x, weight, **parameters))):
        return 0
    got = run_by(implementation, x, weight, bias, **parameters)
    assert_close(got, wanted, terms=max(int(np.prod(weight.shape[1:])), 16))
    return 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided"])
def test_channels(level, dtype, layout):
    """Every number of vectors and of pixels in a tile, taps in the padding left out, any layout."""
    tried = 0
    for out_channels, size, kernel in itertools.product(
        (1, 17, 33, 50, 70), ((1, 1), (3, 5), (7, 7), (9, 13)), (1, 2, 3)
    ):
        data = normal(2, *size, 5, dtype=dtype, seed=out_channels)
        x = np.moveaxis(data, -1, 1)
        if layout != "nhwc":
            x = np.ascontiguousarray(x)
        if layout == "strided":
            x = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
        weight, bias = normal(out_channels, 5, kernel, kernel, dtype=dtype, seed=1), normal(out_channels, dtype=dtype)
        for parameters in parameters_of(stride=(1, 2), padding=(0, 1, ((0, 1), (2, 0))), dilation=(1, 2)):
            tried += checked(channels, x, weight, bias, parameters)
    assert tried > 200


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided"])
def test_few(level, dtype, layout):
    """Columns few and many, rows even and odd, lanes that are empty, any layout: the bits of direct sums."""
    for out_channels, kernel, (height, width) in itertools.product(
        (1, 7, 16, 37), ((1, 3), (3, 1), (3, 3), (3, 4)), ((1, 5), (4, 7), (9, 16), (7, 33), (20, 71))
    ):
        data = normal(2, height, width, 3, dtype=dtype, seed=out_channels)
        x = np.moveaxis(data, -1, 1)
        if layout != "nhwc":
            x = np.ascontiguousarray(x)
        if layout == "strided":
            x = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
        weight, bias = normal(out_channels, 3, *kernel, dtype=dtype, seed=1), normal(out_channels, dtype=dtype)
        for parameters in ({"padding": 2}, {"padding": ((3, 2), (2, 4)), "stride": 2, "dilation": 2}):
            both = [run_by(each, x, weight, bias, **parameters) for each in (few, direct)]
            np.testing.assert_array_equal(*both)


def test_few_on_every_width(level):
    x, weight = normal(1, 2, 3, 45), normal(5, 2, 2, 2)
    for width in range(2, 46):
        both = [run_by(each, x[..., :width], weight) for each in (few, direct)]
        np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_few_in_tasks(level, monkeypatch, threads):
    """Groups, bands of rows and of columns, output that lies in rows; the bits do not depend on the threads."""
    monkeypatch.setattr(few, "threads_for", lambda plan: threads)
    monkeypatch.setattr(bands, "WORKING_SET", 2**14)
    few.tasks.cache_clear()
    try:
        for groups, (height, width) in itertools.product((1, 2), ((23, 41), (3, 3000))):
            x, weight = normal(2, 4, height, width), normal(38, 4 // groups, 3, 3, seed=1)
            plan = plan_of(x, weight, padding=1, groups=groups)
            wide = np.full((2, 38, height, width + 5), np.nan, np.float32)
            few.run(plan, x, few.prepare(plan, weight, None), wide[..., :width])
            np.testing.assert_array_equal(wide[..., :width], run_by(direct, x, weight, padding=1, groups=groups))
            assert np.isnan(wide[..., width:]).all()
    finally:
        few.tasks.cache_clear()


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2)])
def test_direct_in_chunks(level, kernel, stride, monkeypatch):
    """Taps that pass in chunks of any size give the same bits; so do threads, and narrow tiles at the end of a line."""
    x, weight, bias = normal(1, 130, 9, 15), normal(21, 130, kernel, kernel, seed=1), normal(21, seed=2)
    wanted = F.conv2d(x, weight, bias, stride, kernel // 2, backend="reference")
    plan, results, chunks = plan_of(x, weight, stride, kernel // 2, bias=bias), [], set()
    for near, count in ((1, 1), (5_000, 3), (24_576, 2), (10**7, 1)):
        monkeypatch.setattr(bands, "_near", lambda level, panels, near=near: near)
        direct._cut.cache_clear()
        direct._tasks.cache_clear()
        pyconv.set_num_threads(count)
        results.append(run_by(direct, x, weight, bias, stride=stride, padding=kernel // 2))
        chunks.add(direct._cut(plan, direct._tiling(plan, level), count, level).chunk)
    direct._cut.cache_clear()
    direct._tasks.cache_clear()
    pyconv.set_num_threads(2)
    assert len(chunks) > 2
    assert_close(results[0], wanted, terms=130 * kernel**2)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_planes_of_whole_pages_are_packed():
    """Their channels would meet in few sets of the cache; all others are read in place."""
    for size, in_place in (((32, 32), False), ((64, 48), False), ((33, 32), True), ((56, 56), True)):
        x, weight = normal(1, 40, *size), normal(9, 40, 1, 1, seed=1)
        plan = plan_of(x, weight)
        assert bands.reads_in_place(plan, isa.current()) == in_place
        assert_close(run_by(direct, x, weight), F.conv2d(x, weight, backend="reference"), terms=40)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (7, 7), (1, 1), (2, 4), (9, 3), (3, 9), (6, 1)])
def test_depthwise(level, dtype, kernel):
    """Kernels of fixed size and any other, blocks of rows and the rest, rows that end anywhere in a vector."""
    tried = 0
    for size, multiplier in itertools.product(((1, 1), (5, 7), (6, 33), (9, 70), (13, 16)), (1, 2)):
        x = normal(2, 3, *size, dtype=dtype)
        weight, bias = normal(3 * multiplier, 1, *kernel, dtype=dtype, seed=1), normal(3 * multiplier, dtype=dtype)
        every = parameters_of(stride=(1, 2, (3, 1)), padding=(0, 1, ((3, 0), (1, 8))), dilation=(1, (2, 1), (1, 3)))
        for parameters in every:
            tried += checked(depthwise, x, weight, bias, {**parameters, "groups": 3})
    assert tried > 60


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (2, 4)])
@pytest.mark.parametrize("channels_in", [1, 2, 3, 4, 5, 17, 36])
def test_depthwise_of_channels_last(level, dtype, kernel, channels_in):
    """Rows that pass in a ring, dealt out or turned: the bits of planes that are filtered where they lie.
    Nothing is read beyond the image."""
    tried = 0
    for size, multiplier in itertools.product(((1, 1), (5, 7), (6, 33), (19, 70)), (1, 2)):
        x = normal(2, channels_in, *size, dtype=dtype)
        last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
        weight = normal(channels_in * multiplier, 1, *kernel, dtype=dtype, seed=1)
        for given in parameters_of(stride=(1, 2, (3, 1)), padding=(0, ((3, 0), (1, 8))), dilation=(1, (2, 3))):
            parameters = {**given, "groups": channels_in}
            if checked(depthwise, last, weight, None, parameters):
                wanted = run_by(depthwise, x, weight, **parameters)
                for at_end in (False, True):
                    beside = guarded(last, at_end)
                    np.testing.assert_array_equal(run_by(depthwise, beside, weight, **parameters), wanted)
                tried += 1
    assert tried > 20


def test_depthwise_of_wide_channels_last(monkeypatch):
    """No more channels at a time than their rows stay near, whatever the lanes; in bands, and several images."""
    monkeypatch.setattr(depthwise, "_NEAR", 2**14)
    depthwise._tasks.cache_clear()
    x, weight = normal(2, 70, 41, 90), normal(70, 1, 3, 3)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    wanted = run_by(depthwise, x, weight, padding=1, groups=70)
    for count in (1, 2, 7):
        pyconv.set_num_threads(count)
        np.testing.assert_array_equal(run_by(depthwise, last, weight, padding=1, groups=70), wanted)
    pyconv.set_num_threads(2)
    depthwise._tasks.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided", "rows with gaps"])
def test_depthwise_channels(level, dtype, layout):
    """Every number of pixels in a tile, rows at hand that pass, lanes without a channel, any layout and stride."""
    tried = 0
    sizes = ((1, 1), (7, 7), (3, 17), (30, 3), (12, 29))
    kernels = ((1, 1), (3, 3), (2, 5), (1, 7), (2, 9))
    for size, channels_in, multiplier, kernel in itertools.product(sizes, (3, 18), (1, 3), kernels):
        data = normal(2, channels_in, *size, dtype=dtype)
        if layout == "nhwc":
            data = np.moveaxis(np.ascontiguousarray(np.moveaxis(data, 1, -1)), -1, 1)
        elif layout == "strided":
            data = np.ascontiguousarray(data[..., ::-1])[..., ::-1]
        elif layout == "rows with gaps":
            data = np.repeat(data, 2, axis=2)[:, :, ::2]
        out_channels = channels_in * multiplier
        weight, bias = normal(out_channels, 1, *kernel, dtype=dtype, seed=1), normal(out_channels, dtype=dtype)
        for parameters in parameters_of(stride=(1, 2, (1, 3)), padding=(0, ((3, 0), (1, 8))), dilation=(1, (2, 3))):
            tried += checked(depthwise_channels, data, weight, bias, {**parameters, "groups": channels_in})
    assert tried > 200


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_depthwise_channels_along_channels(level, dtype, layout):
    """An output whose channels are neighbours is written where it lies: the same bits, and nothing beside it."""
    for size, channels_in, multiplier in itertools.product(((1, 1), (5, 1), (7, 7), (4, 31)), (1, 3, 16, 35), (1, 2)):
        x = normal(2, channels_in, *size, dtype=dtype)
        if layout == "nhwc":
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
        weight = normal(channels_in * multiplier, 1, 3, 3, dtype=dtype, seed=1)
        wanted = run_by(depthwise_channels, x, weight, padding=1, groups=channels_in)
        memory = np.full((2, *size, channels_in * multiplier + 5), np.nan, dtype)
        out = np.moveaxis(memory[..., 2:-3], -1, 1)
        assert F.conv2d(x, weight, padding=1, groups=channels_in, out=out, backend="cpu") is out
        out.fill(np.nan)
        plan = plan_of(x, weight, padding=1, groups=channels_in)
        depthwise_channels.run(plan, x, depthwise_channels.prepare(plan, weight, None), out)
        np.testing.assert_array_equal(out, wanted)
        assert np.isnan(memory[..., :2]).all()
        assert np.isnan(memory[..., -3:]).all()


@pytest.mark.parametrize("width", range(13, 17))
def test_depthwise_channels_of_a_large_kernel(level, width):
    """Most of what the kernel covers is padding, which is left out by rows and, for a tile of outputs, by columns."""
    x, weight = normal(1, 5, width, 2 * width), normal(5, 1, 31, 29, seed=1)
    parameters = {"padding": ((15, 16), (40, 41)), "dilation": (1, 3), "groups": 5}
    assert checked(depthwise_channels, x, weight, None, parameters)


@pytest.mark.parametrize(
    ("implementation", "shape"),
    [(depthwise, (1, 1, 200, 90)), (depthwise_channels, (1, 20, 60, 31)), (depthwise_channels, (3, 70, 7, 7))],
)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_depthwise_in_bands(implementation, shape, layout):
    """Planes are cut into bands of rows, and blocks are read together: the same bits for any number of threads."""
    channels_in = shape[1]
    x, weight = normal(*shape), normal(channels_in, 1, 5, 5)
    if layout == "nhwc":
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    results = []
    for count in (1, 2, 7):
        pyconv.set_num_threads(count)
        results.append(run_by(implementation, x, weight, padding=2, groups=channels_in))
    pyconv.set_num_threads(2)
    wanted = F.conv2d(x, weight, padding=2, groups=channels_in, backend="reference")
    assert_close(results[0], wanted, terms=25)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("implementation", [depthwise, depthwise_channels])
def test_depthwise_keeps_to_its_neighbours(implementation):
    """An inf outside of a window is no business of its result, though masked loads and blocks of rows come near."""
    x, weight = normal(1, 2, 9, 40), normal(2, 1, 3, 3)
    x[0, 0, 4, 20] = np.inf
    got = run_by(implementation, x, weight, padding=1, groups=2)
    away = np.ones((9, 40), bool)
    away[3:6, 19:22] = False
    assert np.isfinite(got[0, 0][away]).all()
    assert np.isfinite(got[0, 1]).all()
    assert not np.isfinite(got[0, 0][~away]).any()


def test_depthwise_weights_that_are_not_finite():
    """0 * inf from the padding is NaN: those that leave it out leave such weights to others."""
    x, weight = normal(1, 20, 7, 7), normal(20, 1, 5, 5)
    weight[3, 0, 0, 0] = np.inf
    plan = plan_of(x, weight, padding=2, groups=20)
    assert depthwise_channels.refusal(plan) is None
    assert depthwise_channels.prepare(plan, weight, None) is None
    got = F.conv2d(x, weight, padding=2, groups=20, backend="cpu")
    assert np.isnan(got[0, 3, 0]).all()
    with np.errstate(invalid="ignore"):
        wanted = F.conv2d(x, weight, padding=2, groups=20, backend="reference")
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))


def test_depthwise_rows_or_sides_that_would_not_fit_are_refused():
    """Before a number is listed for each row or column."""
    x, weight = np.broadcast_to(np.float32(1), (1, 20, 4000, 4000)), normal(20, 1, 3, 3)
    assert "bytes" in depthwise_channels.refusal(plan_of(x, weight, dilation=1900, groups=20))
    for shape, stride in (((0, 20, 2**40, 3), 1), ((0, 20, 3, 2**31), (1, 2**30))):
        plan = plan_of(np.empty(shape, np.float32), weight, stride, groups=20)
        assert "longer than 65,536" in depthwise_channels.refusal(plan)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_flat_images(level, dtype):
    """1x1 kernels read the image as one row, in place where the channels are few: every length around a tile's."""
    for channels_in, (height, width) in itertools.product((3, 130), ((1, 7), (7, 7), (5, 13), (11, 31), (20, 33))):
        x, weight = (
            normal(2, channels_in, height, width, dtype=dtype),
            normal(10, channels_in, 1, 1, dtype=dtype, seed=1),
        )
        wanted = F.conv2d(x, weight, backend="reference")
        assert_close(run_by(direct, x, weight), wanted, terms=channels_in)
        last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        assert_close(run_by(direct, np.moveaxis(last, -1, 1), weight), wanted, terms=channels_in)


def test_flat_images_into_rows_with_gaps():
    """out= whose rows have gaps: the first calls and the ones that come again."""
    layer = pyconv.Conv2d(64, 96, 1, bias=False, backend="cpu")
    x = normal(1, 64, 40, 40)
    wanted = layer(x)
    wide = np.full((1, 96, 40, 50), np.float32(7))
    for _ in range(5):
        wide[:] = 7
        layer(x, out=wide[..., 3:43])
        np.testing.assert_array_equal(wide[..., 3:43], wanted)
        assert (wide[..., :3] == 7).all()
        assert (wide[..., 43:] == 7).all()


def test_large_kernels_with_strides_or_several_results_are_packed_first():
    """Not small ones, those of fixed size, or what is measured."""
    packed = [((9, 9), 1, {"stride": 2}), ((5, 5), 4, {}), ((11, 11), 2, {"stride": 2})]
    in_place = [
        ((3, 3), 1, {"stride": 2}),
        ((5, 5), 1, {"stride": 2}),
        ((5, 5), 1, {}),
        ((3, 3), 4, {}),
        ((15, 15), 1, {}),
    ]
    x = np.zeros((1, 1, 480, 640), np.float32)
    for cases, refused in ((packed, True), (in_place, False)):
        for kernel, outs, given in cases:
            plan = plan_of(x, normal(outs, 1, *kernel), **given)
            reason = depthwise.refusal(plan)
            assert (reason is not None) == refused, (kernel, outs, given)
            assert not refused or "packed rows" in reason
            assert depthwise.refusal(replace(plan, algorithm="measure")) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("implementation", [channels, direct])
def test_equal_numbers(level, dtype, implementation):
    """Sums that round the same way at every step: n products stay within (n / 2 + 1) eps of theirs (README)."""
    for channels_in, kernel in ((40, 1), (142, 3), (512, 3), (5000, 1)):
        x, weight = (
            np.full((1, channels_in, 6, 7), 0.569, dtype),
            np.full((9, channels_in, kernel, kernel), 1 / 3, dtype),
        )
        terms = channels_in * kernel**2
        wanted = float(x[0, 0, 0, 0]) * float(weight[0, 0, 0, 0]) * terms
        got = run_by(implementation, x, weight)
        assert np.abs(got / wanted - 1).max() < (terms / 2 + 1) * np.finfo(dtype).eps, (channels_in, kernel)
