"""Transposed convolution: every input pixel spreads the kernel over the output."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...plan import TransposedPlan

__all__ = ["conv_transpose2d"]


def conv_transpose2d(
    plan: TransposedPlan, x: np.ndarray, prepared: tuple[np.ndarray, np.ndarray | None], out: Any
) -> np.ndarray:
    """Add x[n, c, y, x] * weight[c, k, i, j] to out[n, k, y * stride + i * dilation - top, ...], group by group."""
    weight, bias = prepared
    (height, width), (sh, sw), (dh, dw) = plan.in_size, plan.stride, plan.dilation
    ((top, bottom), (left, right)), (out_h, out_w) = plan.padding, plan.out_size
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    grouped = x.astype(np.float64).reshape(plan.batch, plan.groups, per_in, height, width)
    taps = weight.astype(np.float64).reshape(plan.groups, per_in, per_out, *plan.kernel)
    spread = np.zeros((plan.batch, plan.groups, per_out, top + out_h + bottom, left + out_w + right))
    with np.errstate(invalid="ignore"):
        for i, j in np.ndindex(*plan.kernel):
            rows, columns = (
                slice(first, first + (size - 1) * step + 1, step)
                for first, size, step in ((i * dh, height, sh), (j * dw, width, sw))
            )
            spread[..., rows, columns] += np.einsum("ngcyx,gck->ngkyx", grouped, taps[..., i, j], optimize=True)
    sums = spread.reshape(plan.batch, plan.out_channels, *spread.shape[3:])[
        :, :, top : top + out_h, left : left + out_w
    ]
    if bias is not None:
        sums = sums + bias.astype(np.float64)[:, None, None]
    if out is None:
        out = np.empty(plan.out_shape, plan.dtype)
    with np.errstate(over="ignore"):  # a sum too large for float32 is inf, as on every backend
        out[...] = sums
    return out
