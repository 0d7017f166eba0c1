"""What running a plan costs, as far as that can be said before it runs."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from .axis import AxisPlan
from .conv import ConvPlan
from .elementwise import ElementwisePlan
from .fold import FoldPlan
from .fused import FusedPlan
from .pool import PoolPlan
from .transposed import TransposedPlan
from .unpool import UnpoolPlan

__all__ = ["Cost", "Traffic", "traffic"]


class Cost(NamedTuple):
    """What an implementation expects to need for a plan; None is unknown."""

    seconds: float | None = None
    """Estimated time of a call, with the threads that it would use now."""
    flops: int | None = None
    """Multiplications and additions that it does itself; an algorithm may need fewer than the plain sum."""
    bytes: int | None = None
    """Read and written in memory at least: the input, the weights in its own form, the output."""
    workspace: int | None = None
    """Bytes of memory beside those, of all threads together."""


class Traffic(NamedTuple):
    """Bytes of a plan's arrays, each counted once."""

    input: int
    weights: int
    output: int

    @property
    def total(self) -> int:
        return self.input + self.weights + self.output


def traffic(
    plan: ConvPlan | TransposedPlan | FoldPlan | PoolPlan | UnpoolPlan | ElementwisePlan | AxisPlan | FusedPlan,
) -> Traffic:
    """What has to be read and written at least: input, weights and bias as they are given, and the values put out."""
    itemsize = 8 if plan.dtype == "float64" else 4
    output = prod(plan.out_shape)
    if isinstance(plan, FusedPlan):
        arrays = traffic(plan.conv)
        added = arrays.output if plan.has_residual else 0
        return Traffic(arrays.input + added, arrays.weights, output * itemsize)
    if isinstance(plan, AxisPlan | FoldPlan):
        return Traffic(prod(plan.in_shape) * itemsize, 0, output * itemsize)
    if isinstance(plan, ElementwisePlan):
        return Traffic(output * itemsize, 0, output * itemsize)
    if isinstance(plan, PoolPlan | UnpoolPlan):
        elements = plan.batch * plan.channels * prod(plan.in_size)
        places = elements * 8 if isinstance(plan, UnpoolPlan) else 0  # the indices count as its weights
        return Traffic(elements * itemsize, places, output * itemsize)
    weights = prod(plan.weight_shape) + plan.has_bias * plan.out_channels
    return Traffic(plan.batch * plan.in_channels * prod(plan.in_size) * itemsize, weights * itemsize, output * itemsize)
