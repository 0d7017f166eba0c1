"""The softmax family and glu, in float64."""

from __future__ import annotations

import numpy as np

from ...plan import AxisPlan
from .activation import sigmoid

__all__ = ["along_axis"]


def along_axis(plan: AxisPlan, x: np.ndarray) -> np.ndarray:
    """The operation along the plan's axis; the largest element is subtracted first, so that exp is at most 1."""
    if plan.op == "glu":
        first, second = np.split(x, 2, axis=plan.axis)
        return first * sigmoid(second)
    if not x.size:
        return x
    x = -x if plan.op == "softmin" else x
    if not x.ndim:
        return x - x if plan.op == "log_softmax" else np.exp(x - x)
    x = x - x.max(axis=plan.axis, keepdims=True)
    # along neighbours in memory NumPy adds in pairs, along others one after the other, which errs by as many roundings
    lines = np.ascontiguousarray(np.moveaxis(np.exp(x), plan.axis, -1))
    if plan.op == "log_softmax":
        lines[(*np.indices(lines.shape[:-1]), lines.argmax(axis=-1))] -= 1.0  # log(1 + the rest), which may be tiny
        return x - np.expand_dims(np.log1p(lines.sum(axis=-1)), plan.axis)
    return np.exp(x) / np.expand_dims(lines.sum(axis=-1), plan.axis)
