"""Pooling: the windows of a plane, and what is taken of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...plan import PoolPlan, UnpoolPlan, empty_in_order
from .windows import windows

__all__ = ["max_unpool2d", "pool2d"]


def pool2d(plan: PoolPlan, x: np.ndarray, out: Any) -> Any:
    """Maxima, with their places if the plan asks for them, averages, or L-p norms."""
    if out is None:
        out = empty_in_order(plan.out_shape, plan.dtype, plan.out_order)
    if plan.adaptive:
        return _adaptive(plan, x.astype(plan.dtype), out)
    if plan.op == "max_pool2d":
        view = windows(plan, x.astype(plan.dtype), -np.inf)
        out[...] = view.max(axis=(4, 5))  # np.max hands NaN on
        if not plan.return_indices:
            return out
        indices = empty_in_order(plan.out_shape, np.int64, plan.out_order)
        indices[...] = _indices(plan, view)
        return out, indices
    with np.errstate(all="ignore"):  # what is too large for float32 is inf, as on every backend
        terms = x.astype(np.float64) ** plan.norm if plan.norm else x.astype(np.float64)
        averages = windows(plan, terms, 0.0).sum(axis=(4, 5)) / _divisors(plan)
        out[...] = (averages * plan.area) ** (1.0 / plan.norm) if plan.norm else averages
    return out


def _divisors(plan: PoolPlan) -> Any:
    """What each window's sum is divided by: an array of shape (out height, out width), or one number."""
    if plan.divisor:
        return float(plan.divisor)
    counts = []
    for axis in (0, 1):
        start = np.arange(plan.out_size[axis]) * plan.stride[axis] - plan.padding[axis][0]
        end = np.minimum(start + plan.kernel[axis], plan.in_size[axis] + plan.padding[axis][1])
        if not plan.count_include_pad:
            start, end = np.maximum(start, 0), np.minimum(end, plan.in_size[axis])
        counts.append((end - start).astype(np.float64))
    return counts[0][:, None] * counts[1]


def _adaptive(plan: PoolPlan, x: np.ndarray, out: np.ndarray) -> Any:
    """Window by window, since they differ in size."""
    indices = empty_in_order(plan.out_shape, np.int64, plan.out_order)
    rows, columns = (_edges(size, count) for size, count in zip(plan.in_size, plan.out_size, strict=True))
    for i, (top, bottom) in enumerate(rows):
        for k, (left, right) in enumerate(columns):
            window = x[:, :, top:bottom, left:right]
            if plan.op == "adaptive_avg_pool2d":
                out[:, :, i, k] = window.mean(axis=(2, 3), dtype=np.float64)
                continue
            out[:, :, i, k] = window.max(axis=(2, 3))
            row, column = np.divmod(
                _chosen(window.reshape(*window.shape[:2], (bottom - top) * (right - left))), right - left
            )
            indices[:, :, i, k] = (top + row) * plan.in_size[1] + left + column
    return (out, indices) if plan.return_indices else out


def _edges(size: int, count: int) -> list[tuple[int, int]]:
    """The begin and the end of each of ``count`` windows that share ``size`` elements."""
    return [(i * size // count, -((i + 1) * size // -count)) for i in range(count)]


def _chosen(values: np.ndarray, inside: Any = True) -> np.ndarray:
    """The place along the last axis of the first of equal maxima ``inside``, but of the last NaN: torch's choice."""
    isnan = np.isnan(values)
    first = np.argmax((values == values.max(axis=-1, keepdims=True)) & inside, axis=-1)
    last_nan = values.shape[-1] - 1 - np.argmax(isnan[..., ::-1], axis=-1)
    return np.where(isnan.any(axis=-1), last_nan, first)


def _indices(plan: PoolPlan, view: np.ndarray) -> np.ndarray:
    """Where each maximum lies, as y * width + x in the unpadded plane.

    A window of -inf alone points at its first tap inside the plane.
    """
    (top, _), (left, _), (height, width) = *plan.padding, plan.in_size
    (sh, sw), (dh, dw), (kh, kw), (oh, ow) = plan.stride, plan.dilation, plan.kernel, plan.out_size
    rows = (np.arange(oh) * sh - top)[:, None, None, None] + (np.arange(kh) * dh)[:, None]
    columns = (np.arange(ow) * sw - left)[:, None, None] + np.arange(kw) * dw
    taps = kh * kw
    inside = ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)).reshape(oh, ow, taps)
    flat = (np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)).reshape(oh, ow, taps)
    values = view.reshape(*view.shape[:4], taps)
    tap = _chosen(values, inside)
    return np.take_along_axis(np.broadcast_to(flat, values.shape), tap[..., None], axis=-1)[..., 0]


def max_unpool2d(plan: UnpoolPlan, x: np.ndarray, indices: np.ndarray, out: Any) -> np.ndarray:
    """Planes of zeros, with every element where its index says; of several at one place the last stays."""
    if out is None:
        out = np.empty(plan.out_shape, plan.dtype)
    planes = np.zeros((plan.batch * plan.channels, plan.out_size[0] * plan.out_size[1]), plan.dtype)
    size = plan.in_size[0] * plan.in_size[1]
    for plane, values, places in zip(planes, x.reshape(-1, size), indices.reshape(-1, size), strict=True):
        plane[places] = values  # in order, as NumPy's documentation of assigning to indices says
    out[...] = planes.reshape(plan.out_shape)
    return out
