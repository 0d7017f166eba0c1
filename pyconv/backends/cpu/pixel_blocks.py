"""Transposed convolution that makes a block of the output of each pixel: one convolution along one long row.

That is one whose kernel is as large as its stride, and not padded. The register tiles hold the sums of all columns of a
phase's row, and put them between each other's when they write them: nothing is put down first, and no thread writes
while it could multiply.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..._core import conv as conv_core
from ...plan import TransposedPlan, phase_parts
from . import direct
from .bands import bands, is_flat
from .cut import BRIEF_FLOPS, is_double_plan
from .tiles import Tiling

__all__ = ["work"]


@lru_cache(maxsize=256)
def _tasks(plan: TransposedPlan, tiling: Tiling, level: int, count: int) -> conv_core.PhasesTasks | None:
    """None where the tiles cannot put the phases together."""
    (height, width), (down, across) = plan.in_size, plan.stride
    if not 2 <= across <= 4 or tiling.channels % across != 0 or plan.out_size != (height * down, width * across):
        return None
    part, *others = phase_parts(plan)
    if others or part.plan.in_size != plan.in_size or not is_flat(part.plan):
        return None
    if len(part.starts) != down * across or part.starts != tuple(np.ndindex(plan.stride)):
        return None
    # one thread too computes all channels of some pixels one after the other, which fetch the next ones meanwhile
    cut = bands(part.plan, tiling, np.dtype(plan.dtype).itemsize, max(count, 2), level)
    return conv_core.PhasesTasks(level, is_double_plan(plan), count, cut, down, across, width)


def work(plan: TransposedPlan, prepared: direct.Prepared, count: int) -> conv_core.ConvWork | None:
    """What runs the plan on ``count`` threads, with the weights of its one part; None where that cannot be."""
    tasks = _tasks(plan, prepared.tiling, prepared.isa, count)
    if tasks is None:
        return None
    return conv_core.ConvWork(tasks, prepared.weights, prepared.bias, plan.flops < BRIEF_FLOPS)
