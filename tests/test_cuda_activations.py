"""Kernels that go once over memory, on the host: one vector a thread or two, aligned or not, give the same bits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import normal

import pyconv.functional as F
from pyconv.backends.cuda import channels, elementwise, memory

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import stand_in_for_cuda
from stand_in import StandIn, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ROOM = StandIn(seed=9) if missing() is None else None


@pytest.fixture
def two_vectors(monkeypatch):
    """A function that has every thread take two vectors from now on."""
    stand_in_for_cuda(monkeypatch, ROOM)

    def clear():
        elementwise.launch.cache_clear()
        channels.launch.cache_clear()

    def take():
        monkeypatch.setattr(memory, "_SEVERAL", 0)
        clear()

    clear()
    yield take
    clear()


SIZES = (1, 3, 4, 5, 1023, 1024, 1025, 2043, 2048, 2049, 4 * 512 + 1, 4 * 768 + 3)


def results(dtype: str) -> list[bytes]:
    found = []
    flat = ROOM.array(normal(4000, dtype=dtype))
    target = ROOM.array(np.zeros(4000, dtype))
    for size in SIZES:
        for start, shift in ((0, 0), (1, 0), (0, 1), (3, 4)):
            x = flat[start : start + size]
            out = target[start + shift : start + shift + size]
            found.append(F.tanh(x, out=out).host.tobytes())
            assert np.isfinite(out.host).all()
    x = ROOM.array(normal(2, 5, 7, 61, dtype=dtype))
    return [*found, F.prelu(x, np.linspace(-1, 1, 5).astype(dtype)).host.tobytes()]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_vector_a_thread_or_two(two_vectors, dtype):
    one = results(dtype)
    two_vectors()
    assert memory.launch_over(None, dtype, 4096).grid < 4096 // memory.VECTOR[dtype] // 256 + 1
    assert results(dtype) == one
    wanted = F.tanh(normal(4000, dtype=dtype)[: SIZES[-1]], backend="reference")
    np.testing.assert_allclose(np.frombuffer(one[-5], dtype), wanted, rtol=1e-6)
