"""The reference backend: every operation in plain NumPy, written to be read.

It is the specification. Every other backend is tested against it; its own tests compare it with sums written out
by hand and, where torch is installed, with torch. Sums run in float64 and are rounded once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import PyconvError
from ..plan import DTYPES, ConvPlan, Plan, PoolPlan, check_bytes, span

__all__ = ["ReferenceBackend"]


class ReferenceBackend:
    """NumPy only; slow, exact, short."""

    name = "reference"
    api_version = 1
    array_types = ("numpy",)

    def supports(self, plan: Plan) -> str | None:
        """None, unless an algorithm was named: it has none but the plain sum."""
        if plan.dtype not in DTYPES:
            return f"it computes in {' and '.join(DTYPES)}, not {plan.dtype}; pass input.astype(np.float32)"
        if isinstance(plan, ConvPlan) and plan.algorithm not in ("auto", "direct", "measure"):
            return f"it has no algorithm {plan.algorithm!r}"
        if isinstance(plan, ConvPlan | PoolPlan):
            channels = plan.in_channels if isinstance(plan, ConvPlan) else plan.channels
            rows, columns = (size + sum(pad) for size, pad in zip(plan.in_size, plan.padding, strict=True))
            try:
                check_bytes(plan.op, (plan.batch, channels, rows, columns), 8, "the padded input in float64")
            except PyconvError as error:
                return str(error)
        return None

    def implementations(self, plan: Plan) -> list[tuple[str, str | None]]:
        """One implementation an operation."""
        return [("numpy", None)]

    def prepare(self, plan: Plan, weight: Any = None, bias: Any = None) -> Any:
        """Weights are used as they are."""
        return weight, bias

    def run(self, plan: Plan, x: np.ndarray, prepared: Any = None, out: Any = None) -> Any:
        """Run the plan on ``x``."""
        if isinstance(plan, ConvPlan):
            weight, bias = prepared
            return _conv2d(plan, x, weight, bias, out)
        if isinstance(plan, PoolPlan):
            return _max_pool2d(plan, x, out)
        if out is None:
            out = np.empty(plan.out_shape, plan.dtype)
        out[...] = _FUNCTIONS[plan.op](x.astype(np.float64))
        return out


def _windows(plan: ConvPlan | PoolPlan, x: np.ndarray, fill: float) -> np.ndarray:
    """Every window of the padded input, as a view: (N, C, out height, out width, kernel height, kernel width)."""
    # in ceil mode the last window reaches past the padding; room for it is filled the same way
    (top, bottom), (left, right) = plan.padding
    spans = [span(k, d) for k, d in zip(plan.kernel, plan.dilation, strict=True)]
    reach = [(n - 1) * s + w for n, s, w in zip(plan.out_size, plan.stride, spans, strict=True)]
    bottom = max(bottom, reach[0] - top - plan.in_size[0])
    right = max(right, reach[1] - left - plan.in_size[1])
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(2, 3))
    (sh, sw), (dh, dw), (oh, ow) = plan.stride, plan.dilation, plan.out_size
    return windows[:, :, ::sh, ::sw, ::dh, ::dw][:, :, :oh, :ow]


def _conv2d(plan: ConvPlan, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, out: Any) -> np.ndarray:
    """out[n, k, y, x] = bias[k] + sum over c, i, j of window[n, c, y, x, i, j] * weight[k, c, i, j], group by group."""
    windows = _windows(plan, x.astype(np.float64), 0.0)
    if out is None:
        out = np.empty(plan.out_shape, plan.dtype)
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    for group in range(plan.groups):
        ins = slice(group * per_in, (group + 1) * per_in)
        outs = slice(group * per_out, (group + 1) * per_out)
        sums = np.einsum("ncyxij,kcij->nkyx", windows[:, ins], weight[outs].astype(np.float64), optimize=True)
        if bias is not None:
            sums += bias[outs].astype(np.float64)[:, None, None]
        with np.errstate(over="ignore"):  # a sum too large for float32 is inf, as on every backend
            out[:, outs] = sums
    return out


def _max_pool2d(plan: PoolPlan, x: np.ndarray, out: Any) -> Any:
    """The largest element of every window; NaN if the window has one."""
    windows = _windows(plan, x.astype(plan.dtype), -np.inf)
    if out is None:
        out = np.empty(plan.out_shape, plan.dtype)
    out[...] = windows.max(axis=(4, 5))  # np.max hands NaN on
    return (out, _indices(plan, windows)) if plan.return_indices else out


def _indices(plan: PoolPlan, windows: np.ndarray) -> np.ndarray:
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
    values = windows.reshape(*windows.shape[:4], taps)
    isnan = np.isnan(values)
    best = values.max(axis=-1, keepdims=True)
    first = np.argmax((values == best) & inside, axis=-1)
    last_nan = taps - 1 - np.argmax(isnan[..., ::-1], axis=-1)
    tap = np.where(isnan.any(axis=-1), last_nan, first)
    return np.take_along_axis(np.broadcast_to(flat, values.shape), tap[..., None], axis=-1)[..., 0]


def _relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0), NaN kept."""
    return np.where(x < 0, 0.0, x)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), written so that exp never overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"relu": _relu, "sigmoid": _sigmoid, "tanh": np.tanh}
