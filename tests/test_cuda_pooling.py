"""Pooling kernels on the host: vectors of columns and of channels, read and written, and the same bits either way."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import normal

import pyconv
import pyconv.functional as F
from pyconv.backends.cuda import CudaBackend, channel_pool, max_pool, pool, row_pool, sum_pool

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import stand_in_for_cuda
from stand_in import StandIn, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ROOM = StandIn(seed=8) if missing() is None else None


@pytest.fixture
def room(monkeypatch):
    stand_in_for_cuda(monkeypatch, ROOM)
    ROOM.launched.clear()
    return ROOM


def last(array: np.ndarray) -> np.ndarray:
    """The same numbers, channels-last."""
    return np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1)


def shifted(array: np.ndarray) -> object:
    """The same numbers on the device, an element beyond a multiple of 16 bytes."""
    moved = ROOM.array(np.zeros(array.size + 1, array.dtype))
    view = moved.host[1:].reshape(array.shape)
    view[...] = array
    return type(moved)(view)


def plan_of(function, x, *parameters, **more):
    names = {"input": x, "out": None, "kernel_size": parameters[0], "stride": None, "padding": 0, "ceil_mode": False}
    if function is F.max_pool2d:
        names |= {"dilation": 1, "return_indices": False}
    else:
        names |= {"count_include_pad": True, "divisor_override": None}
    return function.plan_call(**{**names, **more}).plan


@pytest.mark.parametrize("function", [F.max_pool2d, F.avg_pool2d], ids=lambda each: each.__name__)
@pytest.mark.parametrize("size", row_pool.SIZES)
@pytest.mark.parametrize("stride", row_pool.ROWS)
def test_the_same_bits_however_it_lies(room, function, size, stride):
    """Rows in vectors, in elements, of columns that are neighbours or not, and channels-last."""
    for padding in range(size // 2 + 1):
        for width in (16, 20, 13):
            x = normal(2, 8, 9, width) * np.float32(3)
            given = [room.array(x), shifted(x), room.array(np.repeat(x, 2, -1))[..., ::2], room.array(last(x))]
            results = [function(each, size, stride, padding).host for each in given]
            assert len({result.tobytes() for result in results}) == 1
            wanted = function(x, size, stride, padding, backend="reference")
            np.testing.assert_allclose(results[0], wanted, rtol=1e-6, atol=1e-6)
    assert set(room.launched) == {"window_pool", "channel_pool", "max_pool" if function is F.max_pool2d else "sum_pool"}


@pytest.mark.parametrize("indices", [False, True])
def test_channels_last_out(room, indices):
    """Written as it lies, or into a slice of channels or columns, without a copy."""
    x = normal(2, 12, 9, 16)
    wanted = F.max_pool2d(x, 3, 2, 1, return_indices=indices, backend="reference")
    wanted = wanted[0] if indices else wanted
    for shape, take, around in (
        ((2, 5, 8, 12), lambda host: host.transpose(0, 3, 1, 2), lambda host: host[:0]),
        ((2, 5, 8, 24), lambda host: host[..., 4:16].transpose(0, 3, 1, 2), lambda host: host[..., 16:]),
        ((2, 5, 8, 13), lambda host: host[..., 1:].transpose(0, 3, 1, 2), lambda host: host[..., :1]),
        ((2, 12, 5, 16), lambda host: host[..., 8:], lambda host: host[..., :8]),
        ((2, 12, 5, 16), lambda host: host[..., ::2], lambda host: host[..., 1::2]),
    ):
        memory = room.empty(shape, np.dtype("f4"))
        out = type(memory)(take(memory.host))
        room.assign = None  # a copy would need it
        try:
            got = F.max_pool2d(room.array(last(x)), 3, 2, 1, return_indices=indices, out=out)
        finally:
            del room.assign
        assert (got[0] if indices else got) is out
        np.testing.assert_array_equal(out.host, wanted)
        assert np.isnan(around(memory.host)).all()


def test_what_is_read_and_written_in_vectors(room, monkeypatch):
    seen = []
    for module in (row_pool, channel_pool):
        monkeypatch.setattr(
            module, "arguments", lambda *given, real=module.arguments: seen.append(real(*given)) or seen[-1]
        )
    for x, wanted in (
        (room.array(normal(1, 3, 8, 16)), (1, 1)),
        (room.array(normal(1, 3, 8, 12)), (1, 0)),
        (shifted(normal(1, 3, 8, 16)), (0, 1)),
    ):
        F.max_pool2d(x, 2)
        assert tuple(seen[-1]["whole"][0]) == wanted
    for x, wanted in (
        (room.array(last(normal(1, 8, 6, 16))), (1, 1, 0, 1)),
        (room.array(last(normal(1, 8, 6, 14))), (1, 1, 0, 0)),
        (room.array(last(normal(1, 9, 6, 16))), (0, 0, 0, 1)),
    ):
        F.max_pool2d(x, 2)  # channels-last too
        assert tuple(seen[-1][name][0] for name in ("whole_in", "whole_channels", "whole_columns")) == (*wanted[:2], 0)
        first = len(seen)  # what comes after it is written down, with a result that lies as the input does
        F.max_pool2d(x, 2, out=room.empty((1, x.shape[1], 3, x.shape[3] // 2), x.dtype))
        found = tuple(seen[first][name][0] for name in ("whole_in", "whole_channels", "whole_columns"))
        assert found == (wanted[0], *wanted[2:])


@pytest.mark.parametrize("call", [
    lambda x: F.max_pool2d(x, 2),
    lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True),
    lambda x: F.max_pool2d(x, 3, 1, 2, 2, return_indices=True),
    lambda x: F.avg_pool2d(x, (8, 9)),
    lambda x: F.lp_pool2d(x, 2, 3, padding=((2, 0), (1, 1))),
    lambda x: F.adaptive_max_pool2d(x, (4, 3), True),
    lambda x: F.max_pool1d(x[:1, :, 0], 3, 2, ((2, 0),)),
])  # fmt: skip
def test_results_lie_as_the_input(room, call):
    """Channels-last where it is, known calls too; a NumPy array's result as well."""
    x = normal(2, 8, 9, 10)
    wanted = call(x)
    for given in (room.array(last(x)), last(x)):
        for _ in range(4):
            with pyconv.use_backend("cuda"):
                results = call(given)
            for got, plain in zip(*((r if isinstance(r, tuple) else (r,)) for r in (results, wanted)), strict=True):
                host = getattr(got, "host", got)
                assert np.moveaxis(host, 1, -1).flags.c_contiguous
                np.testing.assert_allclose(host, plain, rtol=1e-6)


def test_order_and_refusals():
    assert [each.__name__.rpartition(".")[2] for each in pool.IMPLEMENTATIONS] == [
        "row_pool", "channel_pool", "max_pool", "sum_pool",
    ]  # fmt: skip
    plan = plan_of(F.max_pool2d, np.zeros((1, 8, 12, 16), "f4"), 3, stride=2, padding=1)
    assert row_pool.label(plan) == "rows_3x3_stride2_by4"
    assert row_pool.label(replace(plan, dtype="float64")) == "rows_3x3_stride2"
    assert row_pool.label(replace(plan, return_indices=True)) == "rows_3x3_stride2"
    assert row_pool.label(replace(plan, in_size=(12, 17))) == "rows_3x3_stride2"
    for module, changed, words in (
        (row_pool, {"kernel": (2, 3)}, "not 2x3"),
        (row_pool, {"stride": (3, 3)}, "not 3x3 and 3x3"),
        (row_pool, {"dilation": (2, 1)}, "its windows are"),
        (row_pool, {"layout": "nhwc"}, "not next to each other"),
        (row_pool, {"op": "lp_pool2d"}, "not lp_pool2d"),
        (row_pool, {"in_size": (2**31, 1)}, "32 bits"),
        (channel_pool, {}, "the channels of a pixel"),
        (channel_pool, {"layout": "nhwc", "channels": 3}, "3 channels"),
        (channel_pool, {"layout": "nhwc", "op": "avg_pool2d", "kernel": (8, 8)}, "windows of 64"),
        (channel_pool, {"layout": "nhwc", "op": "adaptive_max_pool2d"}, "not adaptive_max_pool2d"),
        (max_pool, {"op": "avg_pool2d"}, "for maxima"),
        (sum_pool, {}, "for sums"),
    ):
        assert words in module.refusal(replace(plan, **changed))
    assert channel_pool.refusal(replace(plan, layout="nhwc")) is None
    listed = CudaBackend(ROOM).implementations(plan)
    assert [reason is None for _, reason in listed] == [True, False, True, False]
