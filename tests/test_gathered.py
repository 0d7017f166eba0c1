"""Activations of elements that lie apart: gathered piece by piece, with the bits of the same elements packed."""

from __future__ import annotations

import numpy as np
import pytest
from guarded import guarded

import pyconv
import pyconv.functional as F
from pyconv._core import elementwise
from pyconv.backends.cpu import isa
from pyconv.errors import PyconvError

OPS = {
    **{op: getattr(F, op) for op in ("relu", "leaky_relu", "gelu", "tanh")},
    "prelu of one": lambda x, **more: F.prelu(x, np.full(1, 0.3, x.dtype), **more),
    "prelu": lambda x, **more: F.prelu(x, np.linspace(-1, 1, x.shape[1], dtype=x.dtype), **more),
    "softmax": lambda x, **more: F.softmax(x, -1, **more),
    "log_softmax": lambda x, **more: F.log_softmax(x, -1, **more),
    "softmin of channels": lambda x, **more: F.softmin(x, 1, **more),
}

VIEWS = {
    "every second": lambda x: x[..., ::2],
    "every third": lambda x: x[..., 1::3],
    "every fourth": lambda x: x[..., ::4],
    "every fifth": lambda x: x[..., ::5],
    "some columns": lambda x: x[..., 1:-1],
    "some channels": lambda x: x[:, 1::2],
    "backwards": lambda x: x[..., ::-1],
    "all backwards": lambda x: x[::-1, ::-1, ::-1, ::-1],
    "rows and columns": lambda x: x[:, :, ::2, ::2],
    "columns first": lambda x: x[:, :, ::2].transpose(0, 1, 3, 2),
    "channels last": lambda x: x[:, ::2].transpose(0, 3, 1, 2)[..., 1:],
    "the same channel": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "the same column": lambda x: np.broadcast_to(x[..., :1], x.shape),
}


@pytest.fixture(params=isa.names())
def level(request):
    """An instruction set, in use during the test."""
    isa.use(request.param)
    yield request.param
    isa.use(None)


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype) * 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("view", VIEWS)
def test_the_bits_of_packed_elements(level, view, threads, dtype):
    """At calls that are known and not; nothing outside of the elements' bytes is touched."""
    pyconv.set_num_threads(threads)
    for shape in ((1, 3, 1, 5), (2, 5, 7, 33), (1, 4, 3, 129), (2, 3, 61, 97)):
        for at_end in (False, True):
            x = guarded(VIEWS[view](numbers(shape, dtype)), at_end)
            for op in OPS.values():
                wanted = op(np.ascontiguousarray(x), backend="cpu")
                for _ in range(3):
                    np.testing.assert_array_equal(op(x, backend="cpu"), wanted)
                    out = np.empty_like(wanted)
                    assert op(x, out=out, backend="cpu") is out
                    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", [-2, -1, 2, 3])
def test_every_length(level, step, dtype):
    """Around the ends of vectors and of the pieces that are computed at once."""
    for length in (*range(1, 70), 2047, 2048, 2049, 4095, 4097, 6145):
        x = guarded(numbers(length * abs(step), dtype)[::step], at_end=True)
        np.testing.assert_array_equal(F.relu(x, backend="cpu"), np.maximum(x, 0))
        x = guarded(numbers((5, length * abs(step)), dtype)[:, ::step], at_end=True)
        np.testing.assert_array_equal(F.relu(x, backend="cpu"), np.maximum(x, 0))


def test_calls_are_known(level):
    """The general way is not taken from the third call on; and never with others' elements."""
    layer = pyconv.ReLU(backend="cpu")
    for seed in range(5):
        x = numbers((1, 4, 9, 22), np.float32, seed)[..., ::2]
        np.testing.assert_array_equal(layer(x), np.maximum(x, 0))
    other = numbers((1, 4, 9, 33), np.float32)[..., ::3]
    np.testing.assert_array_equal(layer(other), np.maximum(other, 0))


def test_out_among_the_elements_is_refused_each_time():
    """Its elements would be written before they are read; the known call may not take it either."""
    memory = numbers(2000, np.float32)
    x = memory[::2]
    for _ in range(3):
        F.relu(x, out=np.empty(1000, np.float32), backend="cpu")
        with pytest.raises(PyconvError, match="overlaps"):
            F.relu(x, out=memory[:1000], backend="cpu")
    wanted = np.maximum(x, 0)
    F.relu(x, out=x, backend="cpu")
    np.testing.assert_array_equal(x, wanted)


def test_a_new_result_lies_as_the_input_whatever_out_was():
    x = numbers((2, 8, 8, 4), np.float32).transpose(0, 3, 1, 2)
    layer = pyconv.Tanh(backend="cpu")
    wanted = layer(x)
    for _ in range(4):
        out = layer(x, out=np.empty(x.shape, np.float32))
        np.testing.assert_array_equal(out, wanted)
    assert layer(x).strides == wanted.strides == x.strides


def test_the_core_checks_how_they_lie():
    x, out = numbers((4, 20), np.float32), np.empty((4, 10), np.float32)
    relu = elementwise.ElementwiseTasks(0, False, elementwise.KERNELS["relu"], 40, 1, 64)
    work = elementwise.DenseWork(elementwise.GatheredTasks(0, relu, x[:, ::2], 64), True)
    elementwise.run(work, x[:, ::2], out)
    np.testing.assert_array_equal(out, np.maximum(x[:, ::2], 0))
    for other in (x[:, :10], x[:2], x[:, ::2].astype(np.float64)):
        with pytest.raises((TypeError, ValueError)):
            elementwise.run(work, other, out)
    with pytest.raises(ValueError, match="axes"):
        elementwise.GatheredTasks(0, relu, np.zeros((40, *(1,) * 6), np.float32), 64)
    with pytest.raises(ValueError, match="as many elements"):
        elementwise.GatheredTasks(0, relu, x, 64)
