"""A convolution whose results are pooled in registers, after a relu or none: by maxima of 2x2, in the kernels that can.

Those are the kernel for few input channels of direct sums (few.py) and that of Winograd's tiles of 4x4
(winograd_few.py). Each gives the bits of the convolution by itself, pooled afterwards.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from ..._core import conv as conv_core
from ..._core import runtime
from ...plan import ConvPlan, FusedPlan
from . import conv, direct, estimate, few, isa, separable, winograd_few
from .cut import ceil_div, is_double_plan, threads_for

__all__ = ["implementation", "label", "prepare", "prepare_key", "refusal", "tasks"]


def refusal(plan: FusedPlan) -> str | None:
    """None if the plan is to be pooled in registers, else the reason why not."""
    return _refusal(plan, isa.current())


def implementation(plan: FusedPlan) -> ModuleType:
    """The one that does so, or would."""
    return winograd_few if conv.chosen(plan.conv, isa.current()) is winograd_few else few


def label(plan: FusedPlan) -> str:
    """The implementation's name."""
    return implementation(plan).label(plan.conv)


@lru_cache(maxsize=256)
def _refusal(plan: FusedPlan, level: int) -> str | None:
    one, pooling = plan.conv, plan.pool
    if plan.has_residual or pooling is None or (plan.activation is not None and plan.activation.op != "relu"):
        return "only a pooling, after a relu or none, can follow in registers"
    window = (pooling.op, pooling.kernel, pooling.stride, pooling.dilation, pooling.return_indices)
    if window != ("max_pool2d", (2, 2), (2, 2), (1, 1), False) or max(map(max, pooling.padding)) > 0:
        return "only maxima of 2x2 without padding are taken in registers"
    if pooling.out_size != (one.out_size[0] // 2, one.out_size[1] // 2):
        return "the last windows are not whole"
    chosen = conv.chosen(one, level)
    if chosen is winograd_few:
        return None if winograd_few.holds_windows(one) else "its tiles of 3x3 are no whole windows"
    if one.algorithm not in ("auto", "direct"):
        return f"algorithm={one.algorithm!r} was asked for"
    if reason := few.cannot(one):
        return reason
    if few.is_narrow(one, level):
        return "its bands are narrower than the image"
    if chosen not in (few, direct):
        return "the convolution by itself runs on sums in another order"
    own, other = few.cycles(one, level, 4), min(few.cycles(one, level), direct.cycles(one, level))
    other += _finishing(one, level)
    return None if own <= other else f"pooling in the cache takes fewer cycles: {other:,.0f}, in registers {own:,.0f}"


def _finishing(plan: ConvPlan, level: int) -> float:
    """Cycles of a relu and a pooling of rows in the cache: the core's 20 for a row, and 6 for a vector (measured)."""
    vectors = ceil_div(plan.out_size[1], runtime.lanes(level, is_double_plan(plan)))
    return estimate.pace(level) * plan.out_channels * plan.out_size[0] * (20 + 6 * vectors)


def prepare_key(plan: FusedPlan) -> tuple[Any, ...]:
    """Plans with equal keys share prepared weights."""
    found = implementation(plan)
    return found.__name__, found.prepare_key(plan.conv), separable.refusal(plan.conv) is None


def prepare(plan: FusedPlan, weight: np.ndarray, bias: np.ndarray | None) -> conv.Prepared:
    """The convolution's weights: for the implementation, unless it cannot take their numbers."""
    if implementation(plan) is winograd_few:
        return conv.prepare(plan.conv, weight, bias)
    separated = conv.separated(plan.conv, weight, bias)  # as the convolution by itself would run
    return separated or conv.Prepared(few, few.prepare(plan.conv, weight, bias))


def tasks(plan: FusedPlan, level: int) -> conv_core.ConvTasks:
    """Tasks of a plan that is not refused: they write what is pooled."""
    return implementation(plan).tasks(plan.conv, level, threads_for(plan.conv), 1 if plan.activation is None else 2)
