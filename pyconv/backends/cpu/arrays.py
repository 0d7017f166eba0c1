"""Arrays as the compiled core takes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..._core import memory

__all__ = ["empty_like", "in_memory_order", "into", "into_order", "into_rows", "native"]


def native(x: np.ndarray, dtype: str) -> np.ndarray:
    """``x`` itself if it is aligned and in native byte order, whatever its strides; else a copy that is."""
    if x.flags.aligned and x.dtype.isnative:
        return x
    return np.array(x, dtype=dtype, order="K")  # channels-last stays channels-last


def in_memory_order(array: np.ndarray) -> tuple[int, ...] | None:
    """The axes from the slowest to the fastest in memory, if the elements fill one run of it; else None."""
    if array.flags.c_contiguous:
        return tuple(range(array.ndim))
    order = tuple(sorted(range(array.ndim), key=lambda axis: (-array.strides[axis], axis)))
    return order if array.transpose(order).flags.c_contiguous else None


def empty_like(array: np.ndarray, dtype: str) -> np.ndarray:
    """A new array whose elements lie in memory in the order of those of ``array``."""
    order = in_memory_order(array)
    if order is None:
        return np.empty_like(array, dtype=dtype, subok=False)
    return memory.empty(array.shape, dtype, order)


def into(out: np.ndarray | None, shape: tuple[int, ...], dtype: str, fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """Have ``fill`` write a contiguous array: ``out`` if that is one, else a new one, copied to ``out`` if given."""
    if out is not None and out.flags.c_contiguous and out.flags.aligned:
        fill(out)
        return out
    result = memory.empty(shape, dtype)
    fill(result)
    if out is None:
        return result
    np.copyto(out, result)
    return out


def into_rows(
    out: np.ndarray | None,
    shape: tuple[int, ...],
    dtype: str,
    fill: Callable[[np.ndarray], None],
    or_channels: bool = False,
) -> np.ndarray:
    """As ``into``, for a ``fill`` that only needs the last axis to be contiguous: the rows may lie anywhere.

    ``or_channels``: it may be the second axis instead.
    """
    contiguous = () if out is None else (out.strides[-1], out.strides[1]) if or_channels else (out.strides[-1],)
    if out is not None and out.flags.aligned and out.itemsize in contiguous:
        fill(out)
        return out
    return into(out, shape, dtype, fill)


def into_order(
    out: np.ndarray | None,
    shape: tuple[int, ...],
    dtype: str,
    order: tuple[int, ...],
    fill: Callable[[np.ndarray], None],
) -> np.ndarray:
    """As ``into_rows``, for new arrays with this ``order`` of axes; its last one may be contiguous in ``out`` too."""
    if out is not None and out.flags.aligned and out.itemsize in (out.strides[-1], out.strides[order[-1]]):
        fill(out)
        return out
    result = memory.empty(shape, dtype, order)
    fill(result)
    if out is None:
        return result
    np.copyto(out, result)
    return out
