"""The convolution by wgmma on the host: the bits of mma.sync, tiles, layouts, errors."""

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
from pyconv import testing
from pyconv.backends.cuda import CudaBackend, conv, tensor, wgmma
from pyconv.backends.cuda.tensor_tile import TILES, wgmma_tiles
from pyconv.report import explain

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
pytest.importorskip("ml_dtypes")
import tensor_cases
from places import stand_in_for_cuda
from stand_in import StandIn, missing
from tensor_cases import ATTEMPTS, Cuts, channels_last, check_edges, numbers, plan_of

needs_compiler = pytest.mark.skipif(missing() is not None, reason=str(missing()))
ROOM = StandIn(seed=8, tensor_cores=9) if missing() is None else None


def tiles(precision) -> tuple:
    return wgmma_tiles(3 if precision == "fp32" else 1)


EVERY_TILE = [(*attempt, tile) for attempt in ATTEMPTS for tile in tiles(attempt[1])]


def named(value) -> str | None:
    return f"{value.channels}x{value.pixels}" if hasattr(value, "channels") else None


@pytest.fixture
def room(monkeypatch):
    stand_in_for_cuda(monkeypatch, ROOM)
    ROOM.launched.clear()
    return ROOM


@pytest.fixture
def cut(monkeypatch):
    """Has every plan take a tile, with its sum in so many parts, also of mma.sync."""
    cuts = Cuts(monkeypatch)
    yield lambda tile, parts=1, module=wgmma: cuts(module, tile, parts)
    cuts.clear()


check = partial(tensor_cases.check, ROOM, "conv_wgmma")


@needs_compiler
@pytest.mark.parametrize(("dtype", "precision", "tile"), EVERY_TILE, ids=named)
def test_edges_of_tiles(room, cut, dtype, precision, tile):
    cut(tile)
    check_edges(ROOM, "conv_wgmma", tile, dtype, precision)


CASES = [case for case in (*testing.cases(), *testing.half_cases()) if case.op == "conv2d" and case.dtype != "float64"]


@needs_compiler
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(room, case):
    """The conformance list, where wgmma takes what mma.sync would."""
    assert testing.check(case, "cuda") is None
    assert "conv_tensor" not in room.launched


def results(room, x, weight, parameters, **more):
    """By wgmma and by mma.sync."""
    found = []
    for cores, name in ((9, "conv_wgmma"), (8, "conv_tensor")):
        room._tensor_cores = cores
        try:
            found.append(F.conv2d(x, weight, **parameters, **more, backend="cuda"))
        finally:
            room._tensor_cores = 9
        assert name in room.launched[-2:]
    return found


@needs_compiler
@pytest.mark.parametrize(("dtype", "precision", "tile"), EVERY_TILE, ids=named)
@pytest.mark.parametrize("parts", [1, 3])
def test_the_bits_of_mma_sync(room, cut, dtype, precision, tile, parts):
    """Whatever the tile: both add the same eight words at a time. The ring goes round more than once."""
    cut(tile, parts)
    cut(TILES[2], parts, tensor)
    more = {"precision": precision} if precision else {}
    bias = numbers(40, dtype=dtype, seed=2)
    for groups, layout in ((1, "nchw"), (2, "nhwc")):
        x, weight = numbers(2, 80, 5, 6, dtype=dtype), numbers(40, 80 // groups, 3, 3, dtype=dtype, seed=1)
        if layout == "nhwc":
            x = channels_last(x)
        parameters = {"bias": bias, "padding": 1, "groups": groups}
        np.testing.assert_array_equal(*(each.view("u1") for each in results(room, x, weight, parameters, **more)))


@needs_compiler
@pytest.mark.parametrize("values", ["few_nan", "few_inf", "infinities", "denormal", "one_nan", "one_inf"])
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_numbers_that_cannot_be_split(room, precision, values):
    """Infinity, NaN and what is near the largest number: the sums of float32, from the exact pass."""
    check((1, 18, 6, 7), (20, 18, 3, 3), precision=precision, values=values, parameters={"padding": 1})
    check((1, 18, 5, 5), (20, 18, 3, 3), precision=precision, weight_values=values)


@needs_compiler
def test_large_numbers_whose_sum_is_not(room):
    """Above 2**114 the split overflows, of pixels and of packed weights, where the sum does not."""
    for scales in ((2.0**120, 0.5), (0.5, 2.0**120)):
        x, weight = np.full((1, 16, 3, 3), scales[0], "f4"), np.full((16, 16, 1, 1), scales[1], "f4")
        for precision in ("fp32", "tf32"):
            got = F.conv2d(x, weight, precision=precision, backend="cuda")
            np.testing.assert_array_equal(got, np.float32(2.0**123))
            assert room.launched[-1] == "conv_wgmma"


@needs_compiler
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_residual_and_pooling(room, layout, precision):
    """In the epilogue, to the bits of the parts one after another."""
    x = numbers(2, 32, 6, 10)
    x = x if layout == "contiguous" else channels_last(x)
    residual, layer = numbers(2, 70, 6, 10, seed=3), pyconv.Conv2d(32, 70, 3, padding=1, rng=0, precision=precision)
    with pyconv.use_backend("cuda"):
        apart = layer(x)
        weight, more = layer.weight, {"padding": 1, "precision": precision}
        np.testing.assert_allclose(F.conv2d(x, weight, layer.bias, residual=residual, **more), apart + residual, 1e-6)
        room.launched.clear()
        pooled = pyconv.Sequential(layer, pyconv.GELU(), pyconv.MaxPool2d(2))(x)
        assert room.launched == ["conv_wgmma"]
        np.testing.assert_array_equal(pooled, F.max_pool2d(F.gelu(apart), 2))


@needs_compiler
@pytest.mark.parametrize(("dtype", "precision"), ATTEMPTS)
def test_odd_alignment(room, dtype, precision):
    """An image that begins at no multiple of 16 bytes gives the bits of one that does, in both layouts."""
    backend, weight = CudaBackend(room), numbers(20, 32, 1, 1, dtype=dtype, seed=1)
    memory = room.array(numbers(1 + 4 * 8 * 32, dtype=dtype))
    for shape in ((1, 32, 4, 8), (1, 4, 8, 32)):
        found = []
        for start in (0, 1):
            view = memory[1:].host.reshape(shape) if start else room.array(memory.host[1:].copy().reshape(shape)).host
            x = type(memory)(view if shape[1] == 32 else view.transpose(0, 3, 1, 2))
            plan = plan_of(x, weight, precision=precision)
            found.append(backend.run(plan, x, backend.prepare(plan, weight)).host)
            assert room.launched[-1] == "conv_wgmma"
        np.testing.assert_array_equal(*(each.view("u1") for each in found))


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_channels_last_out(room, dtype):
    """Written as it lies, two channels at once or, where there is an odd number, one."""
    for channels in (24, 23):
        x, weight = numbers(2, 16, 5, 7, dtype=dtype), numbers(channels, 16, 3, 3, dtype=dtype, seed=1)
        out = room.array(np.zeros((2, 5, 7, channels), dtype))
        view = type(out)(out.host.transpose(0, 3, 1, 2))
        wanted = F.conv2d(x, weight, padding=1, backend="cuda")
        assert F.conv2d(room.array(x), weight, padding=1, out=view) is view
        assert room.launched[-1] == "conv_wgmma"
        np.testing.assert_array_equal(view.host, wanted)


@needs_compiler
@pytest.mark.parametrize(
    ("shape", "weight", "layout", "dtype"),
    [
        ((1, 32, 9, 16), (16, 32, 3, 3), "nchw", "float32"),
        ((1, 32, 8, 16), (16, 32, 1, 1), "nchw", "float32"),
        ((1, 32, 9, 16), (16, 32, 3, 3), "nhwc", "float32"),
        ((1, 64, 9, 16), (16, 64, 3, 3), "nhwc", "float16"),
    ],
    ids=["taps", "planes", "last", "last16"],
)
def test_shared_memory_without_bank_conflicts(room, cut, shape, weight, layout, dtype):
    """What threads copy to it and read from it; panels of weights are wgmma's."""
    x, weights = numbers(*shape, dtype=dtype), numbers(*weight, dtype=dtype, seed=1)
    if layout == "nhwc":
        x = channels_last(x)
    for tile in wgmma_tiles(1):
        cut(tile)
        backend = CudaBackend(room)
        plan = plan_of(x, weights)
        plan = replace(plan, precision="tf32") if dtype == "float32" else plan
        library = room._library(wgmma.launch(plan).kernel)
        library.pyconv_count_conflicts.restype = ctypes.c_ulonglong
        library.pyconv_count_conflicts(1)
        backend.run(plan, x, backend.prepare(plan, weights))
        assert library.pyconv_count_conflicts(0) == 0


@needs_compiler
def test_asked_for():
    """Off, and first where it is on; without it the convolution of mma.sync runs, with a reason in words."""
    x, weight = numbers(1, 64, 8, 8), numbers(64, 64, 3, 3)
    plan = plan_of(x, weight)
    off, on = (dict(conv.implementations(plan, cores)) for cores in (8, 9))
    assert "PYCONV_CUDA_WGMMA=on" in off[wgmma.label(plan)]
    assert off[tensor.label(plan)] is on[wgmma.label(plan)] is None
    assert wgmma.label(plan).startswith("wgmma_3xtf32_")
    assert all(tile.stages >= 4 for products in (1, 3) for tile in wgmma_tiles(products))
    assert "not float64" in wgmma.refusal(replace(plan, dtype="float64"))


@needs_compiler
def test_explain_says_it(room):
    said = str(explain(F.conv2d, numbers(1, 16, 6, 6), numbers(16, 16, 3, 3), precision="tf32", backend="cuda"))
    assert "wgmma_tf32_" in said
