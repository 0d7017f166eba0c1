"""Kernels of two rows and columns, widened by zeros to three, which Winograd's algorithm takes.

F(4, 3) then has 36 products for 16 outputs, direct sums of four taps have 64. Phases of transposed convolutions have
such kernels: of 3x3 in steps of two one of the four, of 4x4 all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ...plan import ConvPlan
from . import channels, conv, direct, winograd
from .arrays import native

__all__ = ["prepare", "run", "widened"]

_GAIN = 0.9
"""Of the cycles of direct sums it may take, at most: as for kernels of three rows."""


@lru_cache(maxsize=256)
def widened(plan: ConvPlan, level: int) -> ConvPlan:
    """The plan with a row and a column of zeros more in its kernel, where that is quicker; else as it is."""
    if plan.kernel != (2, 2) or plan.dilation != (1, 1) or plan.algorithm != "auto":
        return plan
    (top, bottom), (left, right) = plan.padding
    wide = replace(plan, kernel=(3, 3), padding=((top, bottom + 1), (left, right + 1)))
    if conv.chosen(wide, level) is not winograd or conv.chosen(plan, level) not in (direct, channels):
        return plan
    plain = min(direct.cycles(plan, level), channels.cycles(plan, level))
    return wide if winograd.cycles(wide, level) <= _GAIN * plain else plan


def prepare(plan: ConvPlan, wide: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> conv.Prepared:
    """The weights of a plan that runs as ``wide``; where these cannot be transformed, for direct sums of the plan."""
    if wide == plan:
        return conv.prepare(plan, weight, bias)
    transformed = winograd.prepare(wide, np.pad(weight, [(0, 0), (0, 0), (0, 1), (0, 1)]), bias)
    if transformed is None:
        return conv.Prepared(direct, direct.prepare(plan, weight, bias))
    return conv.Prepared(winograd, transformed._replace(given_weight=weight))


def run(plan: ConvPlan, wide: ConvPlan, x: np.ndarray, prepared: conv.Prepared, out: np.ndarray | None) -> np.ndarray:
    """Run the plan as ``wide``; what is not finite is summed by the plan itself, as 0 * inf is no zero."""
    if wide == plan or prepared.implementation is not winograd:
        return conv.run(plan, x, prepared, out)
    # Weights of Winograd's algorithm are those of ``wide``, with 3x3 taps. Some images of a batch, taken again, come to
    # here too: with the same ``wide``, since no choice depends on the batch.
    weights = prepared.weights
    return winograd.run_or_sum_directly(plan, winograd.tasks(wide, weights), native(x, plan.dtype), weights, out)
