"""How results come into ``out``, and what kernels have in common that go once over memory without gaps (memory.cuh)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .kernel import Kernel, Launch

__all__ = ["VECTOR", "given_back", "in_memory_order", "launch_over", "over_memory"]

_THREADS = 256
VECTOR = {"float64": 2, "float32": 4}
"""Elements of 16 bytes, by dtype."""

_SEVERAL = 2 * 132 * 2048
"""Vectors from which on a thread takes two: an H100's threads have all as many then."""


def given_back(room: Any, result: Any, out: Any) -> Any:
    """What the caller gets: ``result``, or ``out``, if there is one, with its numbers; they may be the same array."""
    if out is None or result is out:
        return result
    room.assign(out, result)
    return out


def launch_over(kernel: Kernel, dtype: str, size: int) -> Launch:
    """Grid and block for ``size`` elements: a thread a vector or two, and one more for what is left at both ends."""
    threads = -(-(size // VECTOR[dtype] + 1) // _each(dtype, size)) if size else 0
    return Launch(kernel, -(-threads // _THREADS), _THREADS)


def _each(dtype: str, size: int) -> int:
    """Vectors of a thread."""
    return 2 if size // VECTOR[dtype] >= _SEVERAL else 1


def over_memory(
    room: Any, launch: Launch, fields: np.dtype, x: Any, out: Any, fill: Callable[[np.ndarray, Any], None]
) -> Any:
    """Run a kernel whose struct begins with x, out, size and each; memory with gaps is copied first.

    ``fill`` sets what else the struct holds, for an array that lies in memory as the kernel sees it.
    """
    x = room.readable(x)
    if in_memory_order(x) is None:
        x = result = room.copy(x)
    elif out is not None and out.strides == x.strides and room.readable(out) is out:
        result = out
    else:
        result = room.empty_like(x)
    packed = np.zeros(1, fields)
    packed["x"], packed["out"], packed["size"] = room.address(x), room.address(result), x.size
    packed["each"] = _each(x.dtype.name, x.size)
    fill(packed, x)
    room.launch(launch, packed)
    return given_back(room, result, out)


def in_memory_order(x: Any) -> tuple[int, ...] | None:
    """The axes as they lie in memory, the slowest first, if the elements fill one run of memory; else None."""
    if 0 in x.shape:
        return tuple(range(len(x.shape)))
    order = sorted(range(len(x.shape)), key=lambda axis: (-x.strides[axis], -x.shape[axis], axis))
    expected = x.dtype.itemsize
    for axis in reversed(order):
        if x.shape[axis] > 1 and x.strides[axis] != expected:
            return None
        expected *= x.shape[axis]
    return tuple(order)
