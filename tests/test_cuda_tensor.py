"""The tensor-core convolution on the host: tiles, parts of the sum, layouts, errors of each precision, refusals."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pyconv
import pyconv.functional as F
from pyconv.backends.cuda import CudaBackend, conv, tensor
from pyconv.backends.cuda.tensor_tile import TILES
from pyconv.report import explain

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
pytest.importorskip("ml_dtypes")
import tensor_cases
from places import stand_in_for_cuda
from stand_in import StandIn, missing
from tensor_cases import ATTEMPTS, Cuts, channels_last, check_edges, numbers, plan_of

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ROOM = StandIn(seed=5) if missing() is None else None


@pytest.fixture
def room(monkeypatch):
    stand_in_for_cuda(monkeypatch, ROOM)
    ROOM.launched.clear()
    return ROOM


@pytest.fixture
def cut(monkeypatch):
    """Has every plan take a tile, with its sum in so many parts."""
    cuts = Cuts(monkeypatch)
    yield partial(cuts, tensor)
    cuts.clear()


check = partial(tensor_cases.check, ROOM, "conv_tensor")


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: f"{tile.channels}x{tile.pixels}")
@pytest.mark.parametrize(("dtype", "precision"), ATTEMPTS)
def test_edges_of_tiles(room, cut, tile, dtype, precision):
    cut(tile)
    check_edges(ROOM, "conv_tensor", tile, dtype, precision)


@pytest.mark.parametrize(("dtype", "precision"), ATTEMPTS)
def test_the_sum_in_parts(room, cut, dtype, precision):
    """Two passes; the last part has fewer steps, and what is not finite stays in its place."""
    cut(TILES[2], parts=3)
    for shape, layout in (((1, 40, 4, 5), "contiguous"), ((2, 40, 3, 3), "channels_last")):
        check(shape, (20, 40, 3, 3), dtype, precision, layout=layout, parameters={"padding": 1})
        assert room.launched[-2:] == ["conv_tensor", "sum_parts"]
    check((1, 64, 4, 4), (20, 64, 2, 2), dtype, precision, values="few_inf", parameters={"groups": 1})


@pytest.mark.parametrize(("dtype", "precision"), ATTEMPTS)
def test_groups(room, dtype, precision):
    for layout in ("contiguous", "channels_last"):
        check((2, 48, 5, 6), (40, 24, 3, 3), dtype, precision, layout=layout, parameters={"groups": 2, "padding": 1})


@pytest.mark.parametrize("values", ["few_nan", "few_inf", "infinities", "denormal", "one_nan", "one_inf"])
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_numbers_that_cannot_be_split(room, precision, values):
    """Infinity, NaN and what is near the largest number: the sums of float32, from the exact pass."""
    check((1, 18, 6, 7), (20, 18, 3, 3), precision=precision, values=values, parameters={"padding": 1})
    check((1, 18, 5, 5), (20, 18, 3, 3), precision=precision, weight_values=values)


def test_large_numbers_whose_sum_is_not(room):
    """Above 2**114 the split overflows, where the sum does not."""
    x, weight = np.full((1, 16, 3, 3), 2.0**120, "f4"), np.full((16, 16, 1, 1), 0.5, "f4")
    for precision in ("fp32", "tf32"):
        np.testing.assert_array_equal(F.conv2d(x, weight, precision=precision, backend="cuda"), np.float32(2.0**123))
    x[...], weight[...] = np.finfo("f4").max, 2.0**-5  # TF32 would round it to infinity
    for precision in ("fp32", "tf32"):
        got = F.conv2d(x, weight, precision=precision, backend="cuda")
        np.testing.assert_allclose(got, np.finfo("f4").max / 2, rtol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "precision", "bound"),
    [("float32", "fp32", 1.5e-7), ("float32", "tf32", 2.5e-4), ("float16", None, 3e-7), ("bfloat16", None, 3e-7)],
)
def test_error(room, dtype, precision, bound):
    """max |error| over sum |x| |w|, before the result is rounded to 16 bits.

    Bounds are for these numbers, whose errors partly cancel, not what may come at worst. A product split in three errs
    by less than 8 2**-24: twice 2 for a lower part's last bit, which is cut off, and 4 for both lower parts' product.
    TF32 rounds each factor by up to 2**-11; products of 16-bit numbers are exact. Sums of 576 terms are truncated 72
    (16 bits: 36) times.
    """
    x, weight = numbers(1, 64, 9, 9, dtype=dtype), numbers(32, 64, 3, 3, dtype=dtype, seed=1)
    wide = [array.astype("f8") for array in (x, weight)]
    exact, scale = (F.conv2d(*pair, backend="reference") for pair in (wide, [np.abs(array) for array in wide]))
    got = F.conv2d(x, weight, precision=precision, backend="cuda").astype("f8")
    assert "conv_tensor" in ROOM.launched
    error = np.abs(got - exact)
    if dtype != "float32":
        error -= np.abs(exact) * (2**-11 if dtype == "float16" else 2**-8)
    assert (error / scale).max() < bound
    if precision == "tf32":
        assert (error / scale).max() > 1e-5  # it is not float32


def test_split_beats_tf32_by_far(room):
    """Three products: the factors' 24 bits count. One that is a sum of two of TF32's keeps both."""
    x, weight = np.full((1, 16, 1, 1), np.float32(1 + 2**-12)), np.full((16, 16, 1, 1), np.float32(1 + 2**-20))
    got = F.conv2d(x, weight, precision="fp32", backend="cuda")
    np.testing.assert_allclose(got, 16 * float(x[0, 0, 0, 0]) * float(weight[0, 0, 0, 0]), rtol=2**-23)


@pytest.mark.parametrize(("dtype", "precision"), [("float32", "fp32"), ("float32", "tf32"), ("float16", None)])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_odd_alignment(room, dtype, precision, layout):
    """An image that begins at no multiple of 16 bytes gives the bits of one that does."""
    shape = (1, 32, 4, 8) if layout == "nchw" else (1, 4, 8, 32)
    memory = room.array(numbers(1 + 4 * 8 * 32, dtype=dtype))
    weight, results = numbers(20, 32, 1, 1, dtype=dtype, seed=1), []
    backend = CudaBackend(room)
    for start in (0, 1):
        values = memory.host[1:].copy().reshape(shape)
        view = memory[1:].host.reshape(shape) if start else room.array(values).host
        view = view if layout == "nchw" else view.transpose(0, 3, 1, 2)
        x = type(memory)(view)
        assert (room.address(x) % 16 != 0) == bool(start)
        plan = plan_of(x, weight, precision=precision)
        results.append(backend.run(plan, x, backend.prepare(plan, weight)).host)
        assert plan.layout == layout
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_channels_last_out(room, dtype):
    """Written as it lies, or into a slice of channels, without a copy."""
    x, weight = numbers(2, 16, 5, 7, dtype=dtype), numbers(24, 16, 3, 3, dtype=dtype, seed=1)
    backend, plan = CudaBackend(room), plan_of(x, weight, padding=1)
    prepared = backend.prepare(plan, weight)
    wanted = backend.run(plan, x, prepared)
    for memory, take in (
        (room.empty((2, 5, 7, 24), np.dtype(dtype)), lambda host: host.transpose(0, 3, 1, 2)),
        (room.empty((2, 31, 5, 7), np.dtype(dtype)), lambda host: host[:, 3:27]),
    ):
        out = type(memory)(take(memory.host))
        room.assign = None  # a copy would need it
        try:
            assert backend.run(plan, room.array(x), prepared, out) is out
        finally:
            del room.assign
        np.testing.assert_array_equal(out.host, wanted)
    assert np.isnan(memory.host[:, :3]).all()
    assert np.isnan(memory.host[:, 27:]).all()


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: f"{tile.channels}x{tile.pixels}")
@pytest.mark.parametrize(
    ("shape", "weight", "layout", "dtype"),
    [
        ((1, 32, 9, 16), (16, 32, 3, 3), "nchw", "float32"),
        ((1, 3, 9, 16), (16, 3, 3, 3), "nchw", "float32"),
        ((1, 32, 8, 16), (16, 32, 1, 1), "nchw", "float32"),
        ((1, 32, 9, 16), (16, 32, 3, 3), "nhwc", "float32"),
        ((1, 32, 9, 16), (16, 32, 3, 3), "nhwc", "float16"),
        ((1, 32, 9, 16), (16, 32, 3, 3), "nchw", "float16"),
    ],
    ids=["taps", "mixed", "planes", "last", "last16", "gathered"],
)
def test_shared_memory_without_bank_conflicts(room, cut, tile, shape, weight, layout, dtype):
    cut(tile)
    x, weights = numbers(*shape, dtype=dtype), numbers(*weight, dtype=dtype, seed=1)
    if layout == "nhwc":
        x = channels_last(x)
    backend = CudaBackend(room)
    plan = plan_of(x, weights)
    assert plan.layout == layout
    library = room._library(tensor.launch(plan).kernel)
    library.pyconv_count_conflicts.restype = ctypes.c_ulonglong
    library.pyconv_count_conflicts(1)
    backend.run(plan, x, backend.prepare(plan, weights))
    assert library.pyconv_count_conflicts(0) == 0


def test_one_result_whatever_the_order_of_threads():
    x, weight = numbers(1, 70, 6, 7), numbers(40, 70, 3, 3, seed=1)
    results = []
    for seed in (2, 3):
        backend, plan = CudaBackend(StandIn(seed)), plan_of(x, weight, padding=1)
        results.append(backend.run(plan, x, backend.prepare(plan, weight)))
    np.testing.assert_array_equal(*results)


def listed(plan, tensor_cores=8):
    return dict(conv.implementations(plan, tensor_cores))


def test_order_and_refusals():
    """Behind depthwise, and wgmma where it is asked for, and in front of the others; every refusal in words."""
    plan = plan_of(numbers(1, 64, 28, 28), numbers(64, 64, 3, 3), padding=1)
    assert [each.__name__.rpartition(".")[2] for each in conv.IMPLEMENTATIONS] == [
        "depthwise", "wgmma", "tensor", "pointwise", "gemm",
    ]  # fmt: skip
    assert tensor.refusal(plan) is None
    assert tensor.label(plan).startswith("tensor_3xtf32_64x64")
    assert tensor.label(replace(plan, precision="tf32")).startswith("tensor_tf32_")
    assert "no tensor cores of compute capability 8.0" in listed(plan, 0)[tensor.label(plan)]
    for changed, words in (
        ({"dtype": "float64"}, "not float64"),
        ({"layout": "strided"}, "neither as NCHW nor as NHWC"),
        ({"out_channels": 15}, "15 output channels"),
        ({"in_channels": 1}, "sums of 9 terms"),
        ({"in_size": (80_000, 80_000)}, "32-bit offsets"),
        ({"padding": ((25_000, 25_000), (25_000, 25_000)), "out_size": (50_026, 50_026)}, "above 32-bit counters"),
    ):
        reason = tensor.refusal(replace(plan, **changed))
        assert words in reason


def test_a_device_without_tensor_cores(monkeypatch):
    """The SIMT kernels compute in its place, also where TF32 was asked for."""
    room = StandIn(seed=1, tensor_cores=0)
    stand_in_for_cuda(monkeypatch, room)
    x, weight = numbers(1, 16, 6, 6), numbers(16, 16, 3, 3, seed=1)
    got = [F.conv2d(x, weight, precision=precision, backend="cuda") for precision in ("fp32", "tf32")]
    np.testing.assert_array_equal(*got)
    assert set(room.launched) == {"pack", "conv_gemm"}
    assert "8.0" in str(explain(F.conv2d, x, weight, backend="cuda"))


@pytest.mark.parametrize(
    ("shape", "weight", "wanted"),
    [
        ((32, 64, 56, 56), (256, 64, 1, 1), (128, 128, 1)),
        ((32, 64, 56, 56), (64, 64, 3, 3), (64, 128, 1)),
        ((1, 512, 7, 7), (512, 512, 3, 3), (64, 64, 16)),
        ((1, 64, 28, 28), (64, 64, 3, 3), (64, 64, 2)),
    ],
)
def test_cuts(shape, weight, wanted):
    """From the plan alone: large tiles for many outputs, parts of the sum for a few deep ones."""
    plan = plan_of(np.broadcast_to(np.float32(0), shape), np.broadcast_to(np.float32(0), weight))
    tile, parts, part_steps = tensor.cut(replace(plan, layout="nchw"))
    assert (tile.channels, tile.pixels, parts) == wanted
    assert part_steps * parts >= -(-weight[1] * weight[2] * weight[3] // 32)


def test_a_layer_keeps_weights_for_each_precision(room):
    layer, x = pyconv.Conv2d(16, 16, 3, backend="cuda", rng=0), numbers(1, 16, 6, 6)
    exact = layer(x)
    with pyconv.precision("tf32"):
        rounded = layer(x)
    assert not np.array_equal(exact, rounded)
    np.testing.assert_array_equal(layer(x), exact)
    assert len(layer._prepared_weights) == 2
