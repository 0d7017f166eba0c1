"""Convolution as the sum it is defined as."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...plan import ConvPlan
from .windows import windows

__all__ = ["conv2d"]


def conv2d(plan: ConvPlan, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, out: Any) -> np.ndarray:
    """out[n, k, y, x] = bias[k] + sum over c, i, j of window[n, c, y, x, i, j] * weight[k, c, i, j], group by group."""
    view = windows(plan, x.astype(np.float64), 0.0)
    if out is None:
        out = np.empty(plan.out_shape, plan.dtype)
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    for group in range(plan.groups):
        ins = slice(group * per_in, (group + 1) * per_in)
        outs = slice(group * per_out, (group + 1) * per_out)
        sums = np.einsum("ncyxij,kcij->nkyx", view[:, ins], weight[outs].astype(np.float64), optimize=True)
        if bias is not None:
            sums += bias[outs].astype(np.float64)[:, None, None]
        with np.errstate(over="ignore"):  # a sum too large for float32 is inf, as on every backend
            out[:, outs] = sums
    return out
