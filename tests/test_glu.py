"""glu on the cpu backend: however its rows are shared out, the bits of one half times the sigmoid of the other."""

from __future__ import annotations

import numpy as np
import pytest

import pyconv
import pyconv.functional as F
from pyconv.backends.cpu import isa


@pytest.fixture(params=isa.names())
def level(request):
    """An instruction set, in use during the test."""
    isa.use(request.param)
    yield request.param
    isa.use(None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_rows_of_every_length(level, threads, dtype):
    """Rows that are parts of a thread's share, and such as have several; at calls that are known and not."""
    pyconv.set_num_threads(threads)
    rng = np.random.default_rng(0)
    for shape, dim in (
        ((5, 2), 1),
        ((1, 6, 3, 5), 1),
        ((997, 2 * 33), -1),
        ((3, 2 * 5003), 1),
        ((1, 2 * 40_009), 1),
        ((2 * 17, 1201), 0),
        ((2, 2 * 3, 41, 83), 1),
    ):
        x = rng.standard_normal(shape).astype(dtype) * 3
        first, second = np.split(x, 2, dim)
        wanted = first * F.sigmoid(second, backend="cpu")
        for _ in range(3):
            np.testing.assert_array_equal(F.glu(x, dim, backend="cpu"), wanted)
            out = np.empty_like(wanted)
            assert F.glu(x, dim, out=out, backend="cpu") is out
            np.testing.assert_array_equal(out, wanted)


def test_channels_last(level):
    """The result lies as the input does, at each call; an ``out`` that lies otherwise is written all the same."""
    x = np.random.default_rng(1).standard_normal((2, 9, 11, 2 * 7)).astype(np.float32).transpose(0, 3, 1, 2)
    wanted = x[:, :7] * F.sigmoid(x[:, 7:], backend="cpu")
    for _ in range(4):
        got = F.glu(x, 1, backend="cpu")
        np.testing.assert_array_equal(got, wanted)
        assert got.transpose(0, 2, 3, 1).flags.c_contiguous
        for out in (np.empty_like(got), np.empty(got.shape, np.float32)):
            assert F.glu(x, 1, out=out, backend="cpu") is out
            np.testing.assert_array_equal(out, wanted)
