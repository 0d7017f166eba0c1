"""Depthwise kernels on the host: rows of a thread, vectors read and written, and the same bits either way."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import normal

import pyconv.functional as F
from pyconv.backends.cuda import conv, depthwise

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import stand_in_for_cuda
from stand_in import StandIn, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ROOM = StandIn(seed=7) if missing() is None else None


@pytest.fixture
def room(monkeypatch):
    stand_in_for_cuda(monkeypatch, ROOM)
    clear()
    yield ROOM
    clear()


def clear() -> None:
    depthwise.launch.cache_clear()
    conv._chosen.cache_clear()


WHOLE = [((2, 3, height, 12), {"padding": "half"}) for height in (1, 3, 4, 9)] + [((1, 8, 6, 16), {"padding": "half"})]
ODD = [
    ((1, 3, 9, 13), {"padding": "half"}),
    ((2, 2, 8, 8), {"padding": 0}),
    ((1, 2, 11, 12), {"padding": ((1, 2), (2, 1))}),
]


@pytest.mark.parametrize("size", depthwise.SIZES)
@pytest.mark.parametrize("stride", depthwise.ROWS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_of_a_thread(room, monkeypatch, size, stride, dtype):
    """Several rows of a thread, or one; an image in vectors, or the same one in pieces: the same bits, and right."""
    for shape, parameters in WHOLE + ODD:
        padding = size // 2 if parameters["padding"] == "half" else parameters["padding"]
        if isinstance(padding, int) and min(shape[2:]) + 2 * padding < size:
            continue
        x, weight, bias = normal(*shape), normal(2 * shape[1], 1, size, size), normal(2 * shape[1])
        x, weight, bias = (array.astype(dtype) for array in (x, weight, bias))
        arguments = {"stride": stride, "padding": padding, "groups": shape[1]}
        results = []
        for full in (0, 2**40):
            monkeypatch.setattr(depthwise, "_FULL", full)
            clear()
            orders = (x, np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1))
            got = (F.conv2d(room.array(each), room.array(weight), room.array(bias), **arguments) for each in orders)
            results += [each.host.tobytes() for each in got]
        assert len(set(results)) == 1
        wide = (array.astype("f8") for array in (x, weight, bias))
        wanted = F.conv2d(*wide, **arguments, backend="reference")
        got = np.frombuffer(results[0], dtype).reshape(wanted.shape)
        unit = 2.0**-10 if dtype == "float16" else 2.0**-23
        scale = F.conv2d(*(abs(array.astype("f8")) for array in (x, weight, bias)), **arguments, backend="reference")
        assert (np.abs(got - wanted) <= (1 if dtype == "float16" else size * size) * unit * scale).all()


def test_what_is_read_in_vectors(room, monkeypatch):
    """Images whose rows begin at vectors, with the padding that puts a window's middle there."""
    calls = []
    whole = depthwise._whole
    monkeypatch.setattr(depthwise, "_whole", lambda *given: calls.append(whole(*given)) or calls[-1])
    weight = room.array(normal(3, 1, 3, 3))
    flat = room.array(normal(3 * 8 * 12 + 1))
    inside = type(flat)(flat.host[1:].reshape(1, 3, 8, 12))
    for x, padding, wanted in [
        (room.array(normal(1, 3, 8, 12)), 1, (True, True)),
        (room.array(normal(1, 3, 8, 12)), 0, (False, False)),
        (room.array(normal(1, 3, 8, 14)), 0, (False, True)),
        (room.array(normal(1, 3, 8, 13)), 1, (False, False)),
        (room.array(normal(1, 3, 8, 24))[..., ::2], 1, (False, True)),
        (inside, 1, (False, True)),
    ]:
        F.conv2d(x, weight, padding=padding, groups=3)
        assert calls[-1] == wanted


def test_names_of_implementations():
    """Small layers take a row a thread, so that there are enough threads; large ones several."""

    def label(channels: int, size: int, **more: int) -> str:
        arguments = {"kernel": 3, "stride": 1, **more}
        x, kernel = np.zeros((1, channels, size, size), "f4"), arguments.pop("kernel")
        weight = np.zeros((channels, 1, kernel, kernel), "f4")
        call = F.conv2d.plan_call(
            input=x, weight=weight, bias=None, out=None, algorithm="auto", precision=None, residual=None,
            padding=kernel // 2, dilation=1, groups=channels, **arguments,
        )  # fmt: skip
        return depthwise.label(call.plan)

    assert label(144, 56) == "depthwise_3x3_stride1"
    assert label(512, 112) == "depthwise_3x3_stride1_rows4"
    assert label(512, 224, stride=2) == "depthwise_3x3_stride2_rows2"
    assert label(8, 56, kernel=9) == "depthwise_any"
