"""Max pooling and its indices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...plan import PoolPlan
from .windows import windows

__all__ = ["max_pool2d"]


def max_pool2d(plan: PoolPlan, x: np.ndarray, out: Any) -> Any:
    """The largest element of every window; NaN if the window has one."""
    view = windows(plan, x.astype(plan.dtype), -np.inf)
    if out is None:
        out = np.empty(plan.out_shape, plan.dtype)
    out[...] = view.max(axis=(4, 5))  # np.max hands NaN on
    return (out, _indices(plan, view)) if plan.return_indices else out


def _indices(plan: PoolPlan, view: np.ndarray) -> np.ndarray:
    """Where each maximum lies, as y * width + x in the unpadded plane.

    torch's choice: the first of equal elements, but the last NaN. A window of -inf alone points at its first tap
    inside the plane.
    """
    (top, _), (left, _), (height, width) = *plan.padding, plan.in_size
    (sh, sw), (dh, dw), (kh, kw), (oh, ow) = plan.stride, plan.dilation, plan.kernel, plan.out_size
    rows = (np.arange(oh) * sh - top)[:, None, None, None] + (np.arange(kh) * dh)[:, None]
    columns = (np.arange(ow) * sw - left)[:, None, None] + np.arange(kw) * dw
    taps = kh * kw
    inside = ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)).reshape(oh, ow, taps)
    flat = (np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)).reshape(oh, ow, taps)
    values = view.reshape(*view.shape[:4], taps)
    isnan = np.isnan(values)
    best = values.max(axis=-1, keepdims=True)
    first = np.argmax((values == best) & inside, axis=-1)
    last_nan = taps - 1 - np.argmax(isnan[..., ::-1], axis=-1)
    tap = np.where(isnan.any(axis=-1), last_nan, first)
    return np.take_along_axis(np.broadcast_to(flat, values.shape), tap[..., None], axis=-1)[..., 0]
