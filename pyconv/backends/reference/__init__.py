"""The reference backend: every operation in plain NumPy, written to be read.

It is the specification. Every other backend is tested against it; its own tests compare it with sums written out
by hand and, where torch is installed, with torch. Sums run in float64 and are rounded once, at the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import PyconvError
from ...plan import (
    DTYPES,
    AxisPlan,
    ConvPlan,
    FoldPlan,
    FusedPlan,
    Plan,
    PoolPlan,
    TransposedPlan,
    UnpoolPlan,
    check_bytes,
)
from .activation import elementwise
from .axis import along_axis
from .conv import conv2d
from .fold import fold, unfold
from .pool import max_unpool2d, pool2d
from .transposed import conv_transpose2d

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
        if isinstance(plan, ConvPlan | TransposedPlan) and plan.algorithm not in ("auto", "direct", "measure"):
            return f"it has no algorithm {plan.algorithm!r}"
        if isinstance(plan, ConvPlan | PoolPlan | TransposedPlan):
            channels, size, what = plan.out_shape[1], plan.out_size, "the output with what is cut off of it"
            if not isinstance(plan, TransposedPlan):
                channels = plan.in_channels if isinstance(plan, ConvPlan) else plan.channels
                size, what = plan.in_size, "the padded input"
            rows, columns = (length + sum(pad) for length, pad in zip(size, plan.padding, strict=True))
            try:
                check_bytes(plan.op, (plan.batch, channels, rows, columns), 8, f"{what} in float64")
            except PyconvError as error:
                return str(error)
        return None

    def fuses(self, plan: FusedPlan) -> str | None:
        """None for a convolution with what is added to it and no more; what follows is run by itself."""
        if not plan.has_residual or len(plan.parts) > 1:
            return "it runs the parts one after the other"
        return self.supports(plan.conv)

    def implementations(self, plan: Plan) -> list[tuple[str, str | None]]:
        """One implementation an operation."""
        return [("numpy", None)]

    def prepare(self, plan: Plan, weight: Any = None, bias: Any = None) -> Any:
        """Weights are used as they are."""
        return self.prepare(plan.conv, weight, bias) if isinstance(plan, FusedPlan) else (weight, bias)

    def run(self, plan: Plan, x: np.ndarray, prepared: Any = None, out: Any = None) -> Any:
        """Run the plan on ``x``."""
        if isinstance(plan, FusedPlan):
            x, residual = x
            with np.errstate(all="ignore"):
                return np.add(self.run(plan.conv, x, prepared), residual, out=out, dtype=plan.dtype)
        if isinstance(plan, ConvPlan):
            weight, bias = prepared
            return conv2d(plan, x, weight, bias, out)
        if isinstance(plan, TransposedPlan):
            return conv_transpose2d(plan, x, prepared, out)
        if isinstance(plan, FoldPlan):
            return unfold(plan, x, out) if plan.op == "unfold" else fold(plan, x, out)
        if isinstance(plan, PoolPlan):
            return pool2d(plan, x, out)
        if isinstance(plan, UnpoolPlan):
            return max_unpool2d(plan, x, prepared[0], out)
        if out is None:
            out = np.empty(plan.out_shape, plan.dtype)
        with np.errstate(all="ignore"):  # what is too large for float32 is inf, as on every backend
            wide = x.astype(np.float64)
            out[...] = along_axis(plan, wide) if isinstance(plan, AxisPlan) else elementwise(plan, wide, prepared)
        return out
