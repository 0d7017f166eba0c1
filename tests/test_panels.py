"""Direct sums whose tiles share pixels that one has copied, and whose threads share bands, on every instruction set."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from helpers import DTYPES, assert_close, normal
from test_kernels import on_tiling, plan_of, tilings_of

import pyconv.functional as F
from pyconv.backends.cpu import bands as module
from pyconv.backends.cpu.bands import bands, copies_panels
from pyconv.backends.cpu.tiles import choose


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kernel", "stride", "size"), [(1, 1, (32, 33)), (1, 1, (1, 9)), (3, 1, (6, 67)), (3, 2, (9, 40)), (2, 2, (8, 64))]
)
def test_panels(level, dtype, kernel, stride, size, monkeypatch):
    """Pixels that one tile copies for the others, of the image or of a band: the same bits, in any order of tiles."""
    x, weight = normal(2, 5, *size, dtype=dtype), normal(21, 5, kernel, kernel, dtype=dtype, seed=1)
    plan, is_double = plan_of(x, weight, stride), dtype == "float64"
    tilings = list(tilings_of(level, is_double, 21))
    wanted = on_tiling(plan, tilings[0], level, x, weight)
    assert_close(wanted, F.conv2d(x, weight, None, stride, backend="reference"), terms=5 * kernel**2)
    forms = set()
    monkeypatch.setattr(module.estimate, "asks_much", lambda level: False)  # then few taps pass as many do
    for near, planes in itertools.product((64, 2**20), (0, 21)):  # taps in chunks; blocks of channels by turns
        monkeypatch.setattr(module, "_near", lambda level, panels, near=near: near)
        monkeypatch.setattr(module, "_MANY_PLANES", planes)
        for tiling in tilings:
            own = tiling._replace(panels=True)
            cut = bands(plan, own, x.itemsize, 1, level)
            if cut.in_place and len(cut.panel_offsets) and not cut.band_stays:  # each tap of the next panel is fetched
                fetched = cut.panel_offsets[cut.chunk :]
                assert len(fetched) == 8 * cut.chunk
                assert {*fetched} == {*cut.offsets[: cut.chunk]}
            forms.add((cut.chunk < len(cut.offsets), cut.band_stays, len(cut.panel_offsets) > 0))
            for threads in (1, 3):
                np.testing.assert_array_equal(on_tiling(plan, own, level, x, weight, threads), wanted)
    assert {(True, False, True), (False, False, True)} <= forms
    if size == (32, 33):
        assert (False, True, True) in forms


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [4, 5, 8, 16, 37])
def test_channels_last_pixels_turned_into_panels(level, dtype, channels, monkeypatch):
    """A tile's squares of pixels and channels, whole or not, before the first tile reads them: the bits of NCHW."""
    for (height, width), groups in itertools.product(((1, 1), (5, 7), (32, 33)), (1, 2)):
        x = normal(2, channels * groups, height, width, dtype=dtype)
        last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
        weight = normal(21 * groups, channels, 1, 1, dtype=dtype, seed=1)
        plan = plan_of(x, weight, groups=groups)
        wanted = on_tiling(plan, next(tilings_of(level, dtype == "float64", 21)), level, x, weight)
        assert_close(wanted, F.conv2d(x, weight, groups=groups, backend="reference"), terms=channels)
        for near, planes in itertools.product((64, 2**20), (0, 21)):
            monkeypatch.setattr(module, "_near", lambda level, panels, near=near: near)
            monkeypatch.setattr(module, "_MANY_PLANES", planes)
            for tiling in tilings_of(level, dtype == "float64", 21):
                own, given = tiling._replace(panels=True), replace(plan, layout="nhwc")
                cut = bands(given, own, x.itemsize, 1, level)
                assert not cut.in_place
                assert cut.panels == 0
                for threads in (1, 3):
                    np.testing.assert_array_equal(on_tiling(given, own, level, last, weight, threads), wanted)


def test_where_wide_vectors_share_panels(level, monkeypatch):
    """Two multiply-adds of 64 bytes a cycle and a second level that keeps up: flat images of many taps and readers."""
    runtime = module.runtime
    if runtime.lanes(level, False) < 16:
        return
    plans = [
        plan_of(normal(1, channels, 8, 9), normal(readers, channels, kernel, kernel))
        for channels, readers, kernel in ((65, 49, 1), (64, 49, 1), (65, 48, 1), (65, 49, 3))
    ]
    for multiply_adds, second_level in itertools.product((1, 2), (32, 64)):
        monkeypatch.setattr(runtime, "multiply_adds", lambda level, count=multiply_adds: count)
        monkeypatch.setattr(runtime, "second_level", lambda count=second_level: count)
        expected = multiply_adds == 2 and second_level == 64
        assert [copies_panels(plan, level) for plan in plans] == [expected, False, False, False]
    choose.cache_clear()
    try:
        for out_channels in (64, 96, 128, 256, 768):  # 12 x 16 would ask for as many loads as it has multiply-adds
            tiling = choose(out_channels, 3136, level, False, 256, panels=True)
            assert (tiling.channels, tiling.pixels) == (12, 32)
    finally:
        choose.cache_clear()


def test_threads_are_done_together(level, monkeypatch):
    """Weights that do not stay in the cache pass bands as even as can be, not one that fills it and a rest."""
    monkeypatch.setattr(module, "WORKING_SET", 2**19)
    plan = plan_of(normal(1, 192, 28, 28), normal(384, 192, 2, 2), 2)
    tiling = choose(384, 14 * 14, level, False, 768)
    alone, both, four = (bands(plan, tiling, 4, threads, level) for threads in (1, 2, 4))
    assert alone.rows > 7
    assert (both.rows, both.bands_h, both.shares) == (7, 2, 1)
    assert (four.rows, four.bands_h, four.shares) == (7, 2, 2)
