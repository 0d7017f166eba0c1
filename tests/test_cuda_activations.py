"""Kernels that go once over memory, on the host: one vector a thread or two, aligned or not, give the same bits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import normal

import pyconv.functional as F
from pyconv.backends.cuda import CudaBackend, channels, elementwise, memory
from pyconv.plan import plan_elementwise, plan_fused

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


def test_what_the_kernels_do_not_take_is_refused_behind_a_convolution_too():
    backend = CudaBackend(ROOM)
    shape = (1, 4, 5, 6)
    for beta, taken in ((0.5, True), (-0.5, False)):
        plan = plan_elementwise("softplus", shape, "float32", (beta, 20.0))
        conv = F.conv2d.plan_call(
            input=normal(1, 3, 5, 6), weight=normal(4, 3, 1, 1), bias=None, stride=1, padding=0, dilation=1, groups=1,
            residual=None, out=None, algorithm="auto", precision=None,
        ).plan  # fmt: skip
        for reason in (backend.supports(plan), backend.fuses(plan_fused(conv, None, plan, None))):
            assert reason is None if taken else "softplus with beta=-0.5" in reason
