"""Every kernel of every instruction set this machine has, at the edges of its tiles and vectors."""

from __future__ import annotations

import itertools
import platform
from pathlib import Path

import numpy as np
import pytest
from helpers import DTYPES, ISAS, assert_close, normal, output_of

import pyconv
import pyconv.functional as F
import pyconv.testing
from pyconv._core import runtime
from pyconv._core.conv import DirectTasks
from pyconv._core.conv import run as run_tasks
from pyconv.backends.cpu import direct, isa
from pyconv.backends.cpu.bands import bands
from pyconv.backends.cpu.tiles import Tiling, choose
from pyconv.plan import ACTIVATIONS, plan_conv2d


def plan_of(x, weight, stride=1, padding=0, groups=1, dilation=1):
    pads = ((padding, padding), (padding, padding))
    return plan_conv2d(
        x.shape,
        weight.shape,
        None,
        x.dtype.name,
        x.itemsize,
        "nchw",
        (stride, stride),
        pads,
        (dilation, dilation),
        groups,
        "auto",
        True,
    )


def on_tiling(plan, tiling, level, x, weight, threads=1):
    """The convolution on a tiling of the test's choice."""
    is_double = plan.dtype == "float64"
    prepared = direct.pack(plan, weight, None, level, tiling)
    out = np.full(plan.out_shape, np.nan, plan.dtype)
    tasks = DirectTasks(level, is_double, threads, bands(plan, tiling, x.itemsize, threads, level))
    run_tasks(tasks, x, prepared.weights, prepared.bias, out)
    return out


def tilings_of(level, is_double, out_channels):
    """Every tile of the table as the full tile, and as the last one behind a full tile."""
    tiles = runtime.tiles(level, is_double)
    lanes = runtime.lanes(level, is_double)
    for (full, (channels, vectors)), (last, (rest, width)) in itertools.product(enumerate(tiles), repeat=2):
        if width != vectors:
            continue
        count = out_channels // channels
        real = out_channels - count * channels
        if real <= rest:
            yield Tiling(full, channels, vectors * lanes, lanes, 0.0, count, last, rest, real)


def test_names_of_instruction_sets():
    assert ISAS[0] == "baseline"
    assert len(ISAS) == len(set(ISAS))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("out_channels", [1, 2, 3, 5, 8, 13, 24])
def test_every_convolution_tile(level, dtype, out_channels):
    """All tiles agree to the last bit: each output is one chain of sums in one order, whatever the tile."""
    x = normal(1, 3, 9, 11, dtype=dtype)
    weight = normal(out_channels, 3, 3, 2, dtype=dtype, seed=1)
    plan = plan_of(x, weight, padding=1)
    wanted = F.conv2d(x, weight, padding=1, backend="reference")
    tilings = list(tilings_of(level, dtype == "float64", out_channels))
    forms = ({"by_rows": True}, {"spread": True}, {"panels": True}, {"panels": True, "by_rows": True})
    tilings += [tiling._replace(**form) for tiling in tilings for form in forms]
    results = [on_tiling(plan, tiling, level, x, weight) for tiling in tilings]
    assert len(results) >= 10
    assert_close(results[0], wanted)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(1, 1, (5, 67)), (3, 1, (6, 67)), (3, 2, (9, 40)), (2, 2, (8, 64))]
)
def test_blocks_of_channels_one_after_the_other(level, dtype, kernel, stride, size):
    """All tiles of one block of output channels before the next, or all blocks for a tile's pixels: the same bits."""
    x, weight = normal(2, 3, *size, dtype=dtype), normal(21, 3, kernel, kernel, dtype=dtype, seed=1)
    plan = plan_of(x, weight, stride)
    wanted = F.conv2d(x, weight, None, stride, backend="reference")
    results = []
    for tiling in tilings_of(level, dtype == "float64", 21):
        for by_rows, stays in itertools.product((False, True), repeat=2):
            own = tiling._replace(by_rows=by_rows)
            cut = bands(plan, own, x.itemsize, 1, level)
            assert cut.chunk == len(cut.offsets)
            prepared, out = direct.pack(plan, weight, None, level, own), np.full(plan.out_shape, np.nan, dtype)
            tasks = DirectTasks(level, dtype == "float64", 1, cut._replace(band_stays=stays))
            run_tasks(tasks, x, prepared.weights, prepared.bias, out)
            results.append(out)
    assert_close(results[0], wanted)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_which_order_of_tiles(monkeypatch):
    """Many planes of few taps are written some at a time; not lines with gaps, and not planes that are small."""
    from pyconv.backends.cpu import bands as module

    tile = next(i for i, (channels, vectors) in enumerate(runtime.tiles(0, False)) if (channels, vectors) == (4, 2))
    tiling = Tiling(tile, 4, 8, 4, 0.0, 16, tile, 4, 0)

    def stays(channels, size, out_channels, kernel, by_rows=False, threads=1):
        x, weight = normal(1, channels, size, size), normal(out_channels, channels, kernel, kernel)
        own = tiling._replace(tiles=out_channels // 4, by_rows=by_rows)
        return bands(plan_of(x, weight, 1, kernel // 2), own, 4, threads, 0).band_stays

    assert stays(16, 56, 96, 1)
    assert stays(8, 56, 64, 3, by_rows=True)
    assert not stays(8, 56, 64, 3)
    assert not stays(40, 16, 96, 1)
    assert not stays(40, 56, 32, 1)
    assert not stays(200, 56, 64, 1)
    assert not stays(8, 56, 64, 3, by_rows=True, threads=2)
    monkeypatch.setattr(module, "LEVEL_3", 64 * 56 * 56 * 4 - 1)  # less than is written
    assert stays(8, 56, 64, 3, by_rows=True, threads=2)


def _widths(level, is_double):
    """Line lengths around every tile's width, and primes."""
    lanes = runtime.lanes(level, is_double)
    widths = {v * lanes for _, v in runtime.tiles(level, is_double)}
    return sorted({1, 2, 7, 31, 61} | {w + d for w in widths for d in (-1, 0, 1)})


@pytest.mark.parametrize("dtype", DTYPES)
def test_line_lengths_at_tile_edges(level, dtype):
    """Outputs of one row, as long as a tile, one less and one more."""
    for width in _widths(level, dtype == "float64"):
        x = normal(2, 2, 1, width, dtype=dtype, seed=width)
        for out_channels in (1, 3, 9):
            weight = normal(out_channels, 2, 1, 1, dtype=dtype)
            got = F.conv2d(x, weight, backend="cpu")
            assert_close(got, F.conv2d(x, weight, backend="reference"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_packing(level, dtype, kernel, stride):
    """Every phase of every stride and dilation, padding on each side, images smaller than the padding."""
    for size, padding, dilation, groups in itertools.product((1, 8, 13), (0, 1, 4), (1, 2, 3), (1, 2)):
        x = normal(1, 4, size, size + 3, dtype=dtype)
        weight = normal(6, 4 // groups, kernel, kernel, dtype=dtype, seed=1)
        arguments = (x, weight, None, stride, padding, dilation, groups)
        try:
            wanted = F.conv2d(*arguments, backend="reference")
        except pyconv.errors.ShapeError:
            continue
        assert_close(F.conv2d(*arguments, backend="cpu"), wanted, terms=4 * kernel * kernel)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stride", [2, 3, 4])
def test_packing_of_wide_rows(level, dtype, stride):
    """Rows of several packed vectors, with and without padding, whose last vector is whole or not."""
    for width, padding in itertools.product((16 * stride, 32 * stride + 1, 33 * stride + 2, 131), (0, 2)):
        x, weight = normal(1, 2, 9, width, dtype=dtype, seed=width), normal(3, 2, 4, 4, dtype=dtype, seed=1)
        got = F.conv2d(x, weight, None, stride, padding, backend="cpu", algorithm="direct")
        assert_close(got, F.conv2d(x, weight, None, stride, padding, backend="reference"), terms=32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "every other"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5])
def test_packing_of_each_column_of_a_kernel(level, dtype, layout, channels):
    """The bits of the usual packing, for rows shorter and longer than a vector, with gaps between those of a band."""
    for width, kernel, padding, dilation in itertools.product((7, 17, 34), (2, 3, 5), (0, 2), (1, 2)):
        if (kernel - 1) * dilation >= width + 2 * padding:
            continue
        x = normal(2, channels, 19, width, dtype=dtype, seed=width)
        if layout == "nhwc":
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
        elif layout == "every other":
            x = np.repeat(np.repeat(x, 2, axis=3), 2, axis=1)[:, ::2, :, ::2]
        weight = normal(6, channels, 3, kernel, dtype=dtype, seed=1)
        plan = plan_of(x, weight, 1, padding, dilation=dilation)
        tiling = next(tilings_of(level, dtype == "float64", 6))
        wanted = on_tiling(plan, tiling, level, x, weight)
        for threads in (1, 3):
            got = on_tiling(plan, tiling._replace(spread=True), level, x, weight, threads)
            np.testing.assert_array_equal(got, wanted)
        assert_close(wanted, F.conv2d(x, weight, None, 1, padding, dilation, backend="reference"), terms=15 * channels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [2, 3, 4, 5, 15, 16, 17, 33])
def test_packing_of_channels_that_are_neighbours(level, dtype, channels):
    """Squares of pixels and channels, whole or not, in rows with and without padding; groups take some channels."""
    for width, stride, padding, groups in itertools.product((1, 15, 16, 37), (1, 2, 5), (0, 3), (1, 2)):
        x = np.moveaxis(normal(1, 7, width, channels * groups, dtype=dtype, seed=width), -1, 1)
        weight = normal(2 * groups, channels, 3, min(width, 3), dtype=dtype, seed=1)
        plan = plan_of(x, weight, stride, padding, groups=groups)
        out = np.empty(plan.out_shape, dtype)
        got = direct.run(plan, x, direct.prepare(plan, weight, None), out)
        wanted = F.conv2d(x, weight, None, stride, padding, groups=groups, backend="reference")
        assert_close(got, wanted, terms=9 * channels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pixels", [(32, 48), (1, 3000), (45, 64)])
def test_output_that_begins_anywhere_in_a_cache_line(level, dtype, pixels):
    """Tiles after the first store whole lines where they can: the same bits, nothing before and after the output."""
    x, weight = normal(1, 5, *pixels, dtype=dtype), normal(13, 5, 1, 1, dtype=dtype, seed=1)
    plan, size = plan_of(x, weight), 13 * pixels[0] * pixels[1]
    weights = direct.prepare(plan, weight, None)
    memory = np.empty(size + 64, dtype)
    first = -memory.ctypes.data % 64 // memory.itemsize
    results = []
    for offset in (0, 1, 3, 4, 7, 15):
        memory.fill(np.nan)
        begin = first + offset
        results.append(memory[begin : begin + size].reshape(plan.out_shape))
        direct.run(plan, x, weights, results[-1])
        assert np.isnan(memory[:begin]).all()
        assert np.isnan(memory[begin + size :]).all()
        results[-1] = results[-1].copy()
        np.testing.assert_array_equal(results[-1], results[0])
    assert_close(results[0], F.conv2d(x, weight, backend="reference"), terms=5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_bands(level, dtype, monkeypatch):
    """A cache so small that images are cut into bands of few rows and columns."""
    from pyconv.backends.cpu import bands as module

    monkeypatch.setattr(module, "WORKING_SET", 4096)
    x = normal(2, 5, 23, 301, dtype=dtype)
    weight = normal(7, 5, 3, 3, dtype=dtype, seed=1)
    for stride in (1, 2):
        plan = plan_of(x, weight, stride, 1)
        tiling = choose(7, 1000, level, dtype == "float64")
        cut = bands(plan, tiling, x.itemsize, 1, level)
        assert cut.bands_h > 1
        assert cut.bands_w > 1
        wanted = F.conv2d(x, weight, stride=stride, padding=1, backend="reference")
        single = on_tiling(plan, tiling, level, x, weight)
        if stride == 1:
            np.testing.assert_array_equal(on_tiling(plan, tiling._replace(spread=True), level, x, weight), single)
        assert_close(single, wanted)
        for threads in (2, 3):
            np.testing.assert_array_equal(on_tiling(plan, tiling, level, x, weight, threads), single)


def test_packed_numbers_of_another_kind_are_refused(level):
    """A driver given something that was not packed for the plan says so, and reads nothing."""
    x, weight = normal(1, 2, 5, 5), normal(3, 2, 3, 3)
    plan = plan_of(x, weight)
    tiling = choose(3, 13, level, False)
    packed = direct.pack(plan, weight, None, level, tiling)
    tasks = DirectTasks(level, False, 1, bands(plan, tiling, 4, 1, level))
    out = np.empty(plan.out_shape, np.float32)
    for wrong in (packed.weights.astype(np.float64), np.repeat(packed.weights, 2, axis=1)[:, ::2]):
        with pytest.raises(TypeError, match="packed weights and biases"):
            run_tasks(tasks, x, wrong, packed.bias, out)
    with pytest.raises(TypeError, match="packed weights and biases"):
        run_tasks(tasks, x, packed.weights, packed.bias.astype(np.float64), out)


def test_tile_is_chosen_by_its_work():
    """One output channel takes a tile of one; few pixels take a narrow tile, not half of a wide one; rows that end
    within a vector become one line without gaps, if that is soon packed and stays near."""
    for level in range(len(ISAS)):
        lanes = runtime.lanes(level, False)
        for taps, spreading in ((25, 100.0), (25, 1e6), (425, 100.0)):  # rows of two vectors and a half
            line = (24 - 1) * (5 * lanes // 2 + 4) + 5 * lanes // 2
            cheap_and_near = (taps, spreading) == (25, 100.0)
            assert choose(16, line, level, False, taps, (24, 5 * lanes // 2), spreading).spread == cheap_and_near
        assert choose(1, 10_000, level, False).channels == 1
        assert choose(512, 10_000, level, False).channels >= 4
        narrow = choose(512, 3 * lanes + 1, level, False)
        assert -(-(3 * lanes + 1) // narrow.pixels) * narrow.pixels <= 4 * lanes


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="tiles have other sizes there")
def test_order_of_implementations():
    """What is tried, in which order; changing it is a decision."""
    isa.use("baseline")
    try:
        x, channels_last = normal(1, 64, 56, 56), np.moveaxis(normal(1, 56, 56, 64), -1, 1)
        found = pyconv.report.explain(F.conv2d, x, normal(64, 64, 3, 3), backend="cpu")
        names = ["separable", "depthwise_channels", "depthwise", "winograd_row_f4x5", "winograd_few_f4x3"]
        names += ["winograd_f4x3", "few_12x4", "channels_6x8", "direct_4x12"]
        names = [f"cpu:{name}_baseline" for name in names]
        names.insert(1, "cpu:fft_20x32")  # NumPy's, whatever the instruction set
        assert [name for name, _ in found.steps[0].candidates] == names
        assert found.steps[0].implementation == "winograd_f4x3_baseline"
        for wanted, images, weight, more in (
            ("direct_4x12_baseline", x, normal(64, 64, 1, 1), {}),
            ("channels_6x8_baseline", normal(1, 512, 7, 7), normal(64, 512, 1, 1), {}),
            ("depthwise_baseline", normal(1, 64, 112, 112), normal(64, 1, 3, 3), {"groups": 64}),
            ("separable_baseline", x, np.ones((64, 1, 5, 5), np.float32), {"groups": 64}),
            ("depthwise_channels_baseline", x, normal(64, 1, 5, 5), {"groups": 64, "stride": 2}),
            ("depthwise_channels_baseline", channels_last, normal(64, 1, 3, 3), {"groups": 64}),
            ("direct_1x32_baseline", channels_last[:, :2], normal(2, 1, 3, 3), {"groups": 2}),
        ):
            found = pyconv.report.explain(F.conv2d, images, weight, backend="cpu", **more)
            assert found.steps[0].implementation == wanted
        found = pyconv.report.explain(F.max_pool2d, x, 2, backend="cpu")
        names = ["whole", "channels", "registers", "running", "separable", "windows"]
        assert [name for name, _ in found.steps[0].candidates] == [f"cpu:{name}_baseline" for name in names]
        assert found.steps[0].implementation == "registers_baseline"
        for wanted, call in (
            ("whole", (F.adaptive_avg_pool2d, x, 1)),
            ("registers", (F.avg_pool2d, x, 3, 2, 1)),
            ("running", (F.max_pool2d, x, 31, 1, 15)),
            ("separable", (F.max_pool2d, x, 4, 3)),
            ("separable", (F.adaptive_max_pool2d, x, 5)),
            ("separable", (F.max_pool2d, x, 4, 3, 0, 1, False, True)),
        ):
            found = pyconv.report.explain(*call, backend="cpu")
            assert found.steps[0].implementation == f"{wanted}_baseline"
        found = pyconv.report.explain(F.max_pool2d, x, 2, return_indices=True, backend="cpu")
        assert found.steps[0].implementation == "registers_baseline"
        last = np.moveaxis(normal(1, 8, 8, 64), -1, 1)
        found = pyconv.report.explain(F.max_pool2d, last, 2, backend="cpu")
        assert found.steps[0].implementation == "channels_baseline"
        found = pyconv.report.explain(F.tanh, x, backend="cpu")
        assert [name for name, _ in found.steps[0].candidates] == ["cpu:vector_baseline"]
    finally:
        isa.use(None)


def test_bands_that_would_not_fit_are_refused(level):
    """A plan whose packed input is beyond all reason is refused in words, before any memory is taken."""
    x = np.broadcast_to(np.float32(1), (1, 2, 2**20, 2**20))
    weight = np.ones((1, 2, 2, 2), np.float32)
    with pytest.raises(pyconv.errors.BackendError, match="packed elements"):
        F.conv2d(x, weight, dilation=2**20 - 400, backend="cpu")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [op for op, entry in ACTIVATIONS.items() if entry.layer and op != "threshold"])
def test_activations_of_every_length(level, dtype, op):
    """The tail of an array goes through the same function as the rest, and nothing behind it is written."""
    function = getattr(F, op)
    lanes = runtime.lanes(level, dtype == "float64")
    x = normal(4 * lanes, dtype=dtype) * 4
    whole = function(x, backend="cpu")
    assert_close(whole, function(x, backend="reference"))
    for length in (*range(lanes + 2), 2 * lanes - 1, 2 * lanes, 3 * lanes + 1):
        out = np.full(4 * lanes, 7, dtype)
        function(x[:length], out=out[:length], backend="cpu")
        np.testing.assert_array_equal(out[:length], whole[:length])
        assert (out[length:] == 7).all()


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_denormals_count_as_zero_in_sums_and_only_there(level, algorithm):
    """They would cost a hundred times the time; no time is asserted, but that they are not summed can be seen."""
    tiny = np.float32(1e-42)
    x = np.full((1, 16, 8, 8), tiny)
    got = F.conv2d(x, np.ones((16, 16, 3, 3), np.float32), algorithm=algorithm, backend="cpu")
    assert (got == 0).all()
    assert tiny * np.float32(2) > 0  # the mode of this thread is as it was
    values = np.float32([1e-42, -1e-42, 1e-45])
    np.testing.assert_array_equal(F.tanh(values, backend="cpu"), values)
    np.testing.assert_array_equal(F.relu(values, backend="cpu"), np.float32([1e-42, 0, 1e-45]))
    assert (F.sigmoid(np.float32([-100, -103]), backend="cpu") > 0).all()


def test_conformance_on_every_instruction_set(level):
    report = pyconv.testing.check_backend("cpu")
    assert not report.refused, report
    assert report.passed


GUARDED = """
import itertools
import numpy as np
import pyconv, pyconv.functional as F
from guarded import guarded as copy
from pyconv.backends.cpu import channels as along_channels, depthwise, depthwise_channels, direct, isa
from pyconv.plan import conv_parameters, layout_of, plan_conv2d

def guarded(shape, dtype, at_end):
    return copy(np.zeros(shape, dtype), at_end)

rng = np.random.default_rng(0)
checked = 0
for name in isa.names():
    isa.use(name)
    for at_end in (False, True):
        for dtype in ("float32", "float64"):
            for channels, height, width in ((1, 1, 1), (3, 5, 17), (5, 9, 33), (18, 4, 4), (18, 3, 21)):
                x = copy(rng.standard_normal((1, channels, height, width)).astype(dtype), at_end)
                last = copy(rng.standard_normal((1, height, width, channels)).astype(dtype), at_end)
                for array in (x, np.moveaxis(last, -1, 1)):
                    for outs in (1, 3, 13):
                        w = copy(rng.standard_normal((outs, channels, 1, 1)).astype(dtype), at_end)
                        b = copy(rng.standard_normal(outs).astype(dtype), at_end)
                        F.conv2d(array, w, b, out=guarded((1, outs, height, width), dtype, at_end), backend="cpu")
                        F.conv2d(array, w, b, 2, 1, backend="cpu")
                        w = copy(rng.standard_normal((outs, channels, 3, 3)).astype(dtype), at_end)
                        out = guarded((1, outs, height, width), dtype, at_end)
                        F.conv2d(array, w, b, 1, 1, out=out, backend="cpu", algorithm="winograd")
                        for stride in (2, 3, 4):
                            shapes = array.shape, w.shape, b.shape, dtype, w.itemsize, layout_of(array)
                            plan = plan_conv2d(*shapes, *conv_parameters("conv2d", stride, 1, 1, 1), "direct", True)
                            for each in (direct, along_channels):
                                out = guarded(plan.out_shape, dtype, at_end)
                                each.run(plan, array, each.prepare(plan, w, b), out)
                        checked += 1
                    for stride, each, group in itertools.product((1, 2, 3), (depthwise, depthwise_channels), (1, 2)):
                        if channels % group or (group > 1 and each is depthwise):
                            continue
                        w = copy(rng.standard_normal((channels, group, 3, 3)).astype(dtype), at_end)
                        parameters = conv_parameters("conv2d", stride, 1, 1, channels // group)
                        shapes = array.shape, w.shape, None, dtype, w.itemsize, layout_of(array)
                        plan = plan_conv2d(*shapes, *parameters, "direct", True)
                        if each is depthwise_channels or each.refusal(plan) is None:
                            out = guarded(plan.out_shape, dtype, at_end)
                            each.run(plan, array, each.prepare(plan, w, None), out)
                    for kernel, stride in ((2, 2), (3, 2), (3, 1)):
                        shape = F.max_pool2d(array, kernel, stride, 1, backend="reference").shape
                        F.max_pool2d(array, kernel, stride, 1, out=guarded(shape, dtype, at_end), backend="cpu")
                        F.max_pool2d(array, kernel, stride, 1, return_indices=True, backend="cpu")
                for function in (F.relu, F.sigmoid, F.tanh):
                    function(x, out=guarded(x.shape, dtype, at_end), backend="cpu")
print(checked)
"""


def test_nothing_is_touched_beside_the_arrays():
    """Arrays between pages that may not be touched: a vector too far would end the process."""
    assert int(output_of(GUARDED, Path(__file__).parent)) == len(ISAS) * 2 * 2 * 5 * 2 * 3


def test_instruction_set_by_environment():
    code = "from pyconv.backends.cpu import isa; print(isa.name())"
    assert output_of(code, PYCONV_CPU_ISA="baseline") == "baseline"
    assert output_of(code, PYCONV_CPU_ISA="") == ISAS[-1]
