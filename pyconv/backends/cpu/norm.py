"""Batch normalisation: a multiply-add with numbers of its own for each channel, over dense memory."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from ..._core import elementwise
from ...plan import ElementwisePlan
from . import isa, wake
from .arrays import empty_like, in_memory_order

__all__ = ["Affine", "implementations", "prepare", "run", "work"]

BRIEF_ELEMENTS = 4_096
"""Below this, one thread takes it all, and other Python threads are not let run meanwhile."""

CHUNK = 16_384
"""Elements a thread takes at a time, at most."""

ROW = 512
"""Where channels are neighbours in memory, their numbers are written out again and again for about so many elements."""


class Affine(NamedTuple):
    """Scale and shift of every channel; and the same, repeated, for rows of several pixels."""

    scale: np.ndarray
    shift: np.ndarray
    row_scale: np.ndarray
    row_shift: np.ndarray


def implementations(plan: ElementwisePlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    return [(f"vector_{isa.name()}", None)]


def prepare(plan: ElementwisePlan, scale: np.ndarray, shift: np.ndarray) -> Affine:
    """Round the float64 numbers to the plan's dtype, once."""
    with np.errstate(over="ignore"):
        one = np.ascontiguousarray(scale, plan.dtype), np.ascontiguousarray(shift, plan.dtype)
    times = max(ROW // max(plan.weights, 1), 1)
    return Affine(*one, *((np.tile(part, times) for part in one) if times > 1 else one))


def _work(plan: ElementwisePlan, prepared: Affine, inner: int, threads: int, chunk: int) -> elementwise.DenseWork:
    """``inner``: elements from one channel to the next in memory."""
    arrays = prepared[:2] if inner > 1 else prepared[2:]
    size = prod(plan.out_shape)
    tasks = elementwise.AffineTasks(isa.current(), plan.dtype == "float64", *arrays, inner, size, threads, chunk)
    return elementwise.DenseWork(tasks, size < BRIEF_ELEMENTS)


@lru_cache(maxsize=8)
def _seconds_per_element(dtype: str, level: int) -> float:
    plan = ElementwisePlan("batch_norm", dtype, (1, 4, CHUNK // 4), weights=4)
    x, ones = np.ones(CHUNK, dtype), np.ones(4)
    out, own = np.empty_like(x), _work(plan, prepare(plan, ones, ones), CHUNK // 4, 1, CHUNK)
    return wake.seconds_of(lambda: elementwise.run(own, x, out)) / CHUNK


def _shared(plan: ElementwisePlan) -> tuple[int, int]:
    """(threads, elements that each takes at a time)."""
    size = prod(plan.out_shape)
    if size < BRIEF_ELEMENTS:
        return 1, CHUNK
    count = wake.threads_for(size * _seconds_per_element(plan.dtype, isa.current()))
    return count, min(CHUNK, -(-size // count // 1024) * 1024)


def _inner(x: np.ndarray, order: tuple[int, ...]) -> int:
    """Elements from one channel to the next, in memory where the axes lie in this order."""
    return prod(x.shape[axis] for axis in order[order.index(1) + 1 :])


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays lie alike in memory; the second may lack an axis of length one in front."""
    lengths, strides = a.shape[a.ndim - b.ndim :], a.strides[a.ndim - b.ndim :]
    return all(n == 1 or one == other for n, one, other in zip(lengths, strides, b.strides, strict=True))


def run(plan: ElementwisePlan, x: np.ndarray, prepared: Affine, out: np.ndarray | None) -> np.ndarray:
    """Run the plan; the kernel works on dense memory, so other inputs are copied first."""
    if out is not None and in_memory_order(out) is not None and out.flags.aligned:
        result = out
    else:
        result = empty_like(x, plan.dtype)
    if not (x.dtype.isnative and x.flags.aligned and _alike(x, result)):
        np.copyto(result, x)
        x = result
    order = in_memory_order(result)
    assert order is not None
    if x.size:
        own = _work(plan, prepared, _inner(x, order), *_shared(plan))
        elementwise.run(own, x.transpose(order), result.transpose(order))
    if out is None or result is out:
        return result
    np.copyto(out, result)
    return out


def work(plan: ElementwisePlan, prepared: Affine, x: np.ndarray, result: np.ndarray) -> elementwise.DenseWork | None:
    """What runs the plan, for calls that come again; only on memory that the kernel can take as it lies."""
    order = in_memory_order(x)
    if order is None or not x.flags.aligned or not _alike(x, result):
        return None
    return _work(plan, prepared, _inner(x, order), *_shared(plan))
