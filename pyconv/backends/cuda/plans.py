"""What the kernels need to know of a plan and an array, beyond what the plan says."""

from __future__ import annotations

import math
from typing import Any

from ...plan import ConvPlan, FoldPlan, PoolPlan

__all__ = ["INT_LIMIT", "fitting_index", "itemsize", "strides_of", "too_wide"]

INT_LIMIT = 2**31 - 1
"""What the kernels' counters hold."""

_ROOM = 4096  # threads of the last block that have nothing to do are numbered too
_ITEMSIZE = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


def itemsize(plan: ConvPlan | PoolPlan) -> int:
    """Bytes of an element."""
    return _ITEMSIZE[plan.dtype]


def fitting_index(plan: ConvPlan | PoolPlan) -> str:
    """The C type of offsets inside one image and of an output's number: int, unless there are too many of them.

    An image with strides of its own may reach anywhere.
    """
    channels = plan.in_channels if isinstance(plan, ConvPlan) else plan.channels
    largest = max(channels * math.prod(plan.in_size), math.prod(plan.out_shape) + _ROOM)
    return "int" if plan.layout in ("nchw", "nhwc") and largest <= INT_LIMIT else "long long"


def too_wide(plan: ConvPlan | FoldPlan) -> str | None:
    """The reason why a padded image is too large for counters of 32 bits, or None."""
    rows, columns = (size + sum(pad) for size, pad in zip(plan.in_size, plan.padding, strict=True))
    if max(rows, columns) > INT_LIMIT:
        return f"the padded image of {rows:,} x {columns:,} pixels is above the {INT_LIMIT:,} that its counters hold"
    return None


def strides_of(x: Any) -> list[int]:
    """Strides in elements."""
    return [stride // x.dtype.itemsize for stride in x.strides]
