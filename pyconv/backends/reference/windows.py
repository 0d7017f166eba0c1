"""Every window of a padded input, as a view."""

from __future__ import annotations

import numpy as np

from ...plan import ConvPlan, FoldPlan, PoolPlan, span

__all__ = ["windows"]


def windows(plan: ConvPlan | PoolPlan | FoldPlan, x: np.ndarray, fill: float) -> np.ndarray:
    """Every window of the padded input, as a view: (N, C, out height, out width, kernel height, kernel width)."""
    # in ceil mode the last window reaches past the padding; room for it is filled the same way
    (top, bottom), (left, right) = plan.padding
    spans = [span(k, d) for k, d in zip(plan.kernel, plan.dilation, strict=True)]
    reach = [(n - 1) * s + w for n, s, w in zip(plan.out_size, plan.stride, spans, strict=True)]
    bottom = max(bottom, reach[0] - top - plan.in_size[0])
    right = max(right, reach[1] - left - plan.in_size[1])
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    found = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(2, 3))
    (sh, sw), (dh, dw), (oh, ow) = plan.stride, plan.dilation, plan.out_size
    return found[:, :, ::sh, ::sw, ::dh, ::dw][:, :, :oh, :ow]
