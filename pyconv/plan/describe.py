"""A plan in one short line, for verbose output and explanations."""

from __future__ import annotations

from .axis import AxisPlan
from .conv import ConvPlan
from .elementwise import ElementwisePlan
from .fold import FoldPlan
from .fused import FusedPlan
from .pool import PoolPlan
from .transposed import TransposedPlan
from .unpool import UnpoolPlan

__all__ = ["describe"]


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "0-d"


def describe(
    plan: ConvPlan | TransposedPlan | FoldPlan | PoolPlan | UnpoolPlan | ElementwisePlan | AxisPlan | FusedPlan,
) -> str:
    """dtype, input and output shape, and every parameter that is not torch's default.

    ``'float32 1x3x32x32 -> 1x8x32x32 k3x3 p1/1/1/1'``: k kernel, s stride, p padding (top/bottom/left/right),
    d dilation, g groups; adaptive poolings have none of these.
    """
    if isinstance(plan, FusedPlan):
        numbers = "".join(f" {value:g}" for value in plan.activation.parameters) if plan.activation else ""
        pool = f", {describe(plan.pool)}" if plan.pool else ""
        return f"{describe(plan.conv)}{numbers}{pool}"
    if isinstance(plan, FoldPlan):
        return " ".join([f"{plan.dtype} {_by(plan.in_shape)} -> {_by(plan.out_shape)}", *_window(plan)])
    if isinstance(plan, AxisPlan):
        return f"{plan.dtype} {_by(plan.in_shape)} axis {plan.axis}"
    if isinstance(plan, ElementwisePlan):
        numbers = "".join(f" {value:g}" for value in plan.parameters)
        return f"{plan.dtype} {_by(plan.out_shape)}{numbers}" + (f" weights {plan.weights}" if plan.weights else "")
    channels = plan.in_channels if isinstance(plan, ConvPlan | TransposedPlan) else plan.channels
    source = _by((plan.batch, channels, *plan.in_size))
    parts = [f"{plan.dtype} {source} -> {_by(plan.out_shape)}"]
    if not (isinstance(plan, UnpoolPlan) or (isinstance(plan, PoolPlan) and plan.adaptive)):
        parts += _window(plan)
    if isinstance(plan, ConvPlan | TransposedPlan) and plan.groups != 1:
        parts.append(f"g{plan.groups}")
    if isinstance(plan, ConvPlan | TransposedPlan) and plan.precision != "fp32":
        parts.append(plan.precision)
    if isinstance(plan, PoolPlan):
        parts += _of_sums(plan)
    if plan.layout != "nchw":
        parts.append(plan.layout)
    return " ".join(parts)


def _window(plan: ConvPlan | TransposedPlan | FoldPlan | PoolPlan) -> list[str]:
    parts = [f"k{_by(plan.kernel)}"]
    if plan.stride != (1, 1):
        parts.append(f"s{_by(plan.stride)}")
    if plan.padding != ((0, 0), (0, 0)):
        parts.append("p" + "/".join(str(n) for side in plan.padding for n in side))
    if plan.dilation != (1, 1):
        parts.append(f"d{_by(plan.dilation)}")
    return parts


def _of_sums(plan: PoolPlan) -> list[str]:
    parts = [f"norm {plan.norm:g}"] if plan.norm else []
    parts += [f"divisor {plan.divisor}"] if plan.divisor else []
    if not plan.count_include_pad and plan.padding != ((0, 0), (0, 0)):
        parts.append("padding not counted")
    return parts
