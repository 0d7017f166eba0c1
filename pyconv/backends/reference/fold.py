"""Windows as columns, and columns added up, by their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...plan import FoldPlan
from .windows import windows

__all__ = ["fold", "unfold"]


def unfold(plan: FoldPlan, x: np.ndarray, out: Any) -> np.ndarray:
    """Every window of the padded image, the kernel's axes before the windows'."""
    if out is None:
        out = np.empty(plan.out_shape, plan.dtype)
    out[...] = windows(plan, x, 0.0).transpose(0, 1, 4, 5, 2, 3).reshape(plan.columns)
    return out


def fold(plan: FoldPlan, x: np.ndarray, out: Any) -> np.ndarray:
    """Tap by tap, every window's element is added to its pixel of the padded image."""
    (height, width), ((top, bottom), (left, right)) = plan.in_size, plan.padding
    (sh, sw), (dh, dw), (oh, ow) = plan.stride, plan.dilation, plan.out_size
    taken = x.astype(np.float64).reshape(plan.windows)
    image = np.zeros((*plan.image[:2], top + height + bottom, left + width + right))
    with np.errstate(invalid="ignore"):
        for i, j in np.ndindex(*plan.kernel):
            rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh)
            columns = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw)
            image[:, :, rows, columns] += taken[:, :, i, j]
    if out is None:
        out = np.empty(plan.out_shape, plan.dtype)
    with np.errstate(over="ignore"):
        out[...] = image[:, :, top : top + height, left : left + width]
    return out
