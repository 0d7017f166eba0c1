"""Direct convolution of few input channels, as of images and of small maps: vectors along output channels.

Bands and packing are those of direct.py; a tile is two rows of some pixels, so that no lane computes what lies between
two rows, and rows of few pixels cost no more than they are worth. A relu and a pooling of 2x2 that follow may be done
while a tile is in registers, see pooled.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost
from . import direct, estimate, isa
from .arrays import into_rows
from .bands import LARGEST_BAND, Bands, bands, is_flat, packing_cycles
from .cache import WORKING_SET
from .cut import BRIEF_FLOPS, Pieces, ceil_div, is_double_plan, threads_for
from .tiles import Tiling

__all__ = [
    "cannot",
    "cost",
    "cycles",
    "is_narrow",
    "label",
    "pieces",
    "prepare",
    "prepare_key",
    "refusal",
    "run",
    "tasks",
    "work",
]

_MOST_TAPS = 512
"""Products of an output: more pixels than those of so many taps would not stay in the first level of the cache."""

_NEAR = 16 * 1024
"""Bytes of weights that stay in the first level of the cache, beside pixels and sums."""

_WAITING = 256
"""Pixels whose sums wait together, unless two rows are more; see few.kernel.c."""


def _tiling(plan: ConvPlan, level: int) -> Tiling:
    """What bands.py and direct.pack need to know of the tile: here one vector of output channels."""
    lanes = runtime.lanes(level, is_double_plan(plan))
    tiles, rest = divmod(plan.out_channels // plan.groups, lanes)
    return Tiling(
        full=0,
        channels=lanes,
        pixels=lanes,
        lanes=lanes,
        cycles=0.0,
        tiles=tiles,
        last=0,
        last_channels=lanes,
        last_real=rest,
    )


def _bands(plan: ConvPlan, level: int, count: int, step: int = 1) -> Bands:
    tiling = _tiling(plan, level)
    cut = bands(plan, tiling, np.dtype(plan.dtype).itemsize, count, level, step)
    return cut._replace(scratch=cut.band_size + max(_WAITING, 2 * cut.cols) * tiling.lanes)


@lru_cache(maxsize=256)
def tasks(plan: ConvPlan, level: int, count: int, pooled: int = 0) -> conv.FewTasks:
    """Tasks of a plan for ``count`` threads; ``pooled``: as in the C struct pc_direct, of whole windows alone."""
    if pooled:
        height, width = plan.out_size
        plan = replace(plan, out_size=(height // 2 * 2, width // 2 * 2))
    cut = _bands(plan, level, count, step=2 if pooled else 1)
    return conv.FewTasks(level, is_double_plan(plan), count, cut, pooled)


def is_narrow(plan: ConvPlan, level: int) -> bool:
    """Whether its bands are narrower than the image."""
    return _bands(plan, level, 1).cols < plan.out_size[1]


def label(plan: ConvPlan) -> str:
    """The implementation's name, with its tile."""
    level, is_double = isa.current(), is_double_plan(plan)
    return f"few_{2 * runtime.few_columns(level, is_double)}x{runtime.lanes(level, is_double)}_{isa.name()}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.algorithm not in ("auto", "direct", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    if reason := cannot(plan):
        return reason
    if plan.algorithm != "measure":
        level = isa.current()
        own, other = cycles(plan, level), direct.cycles(plan, level)
        if own > other:
            return f"vectors along rows take fewer cycles: {other:,.0f}, along channels {own:,.0f}"
    return None


def cannot(plan: ConvPlan) -> str | None:
    """None if it can run the plan, whatever that costs, else the reason why not."""
    if is_flat(plan):
        return "a 1x1 kernel without stride reads the image as one row"
    taps = plan.in_channels // plan.groups * plan.kernel[0] * plan.kernel[1]
    if taps > _MOST_TAPS:
        return f"an output is the sum of {taps:,} products; it is for {_MOST_TAPS} at most"
    if _bands(plan, isa.current(), 1).scratch > LARGEST_BAND or direct.refusal(plan) is not None:
        return "the input of a single row of output needs more memory than it may take"
    return None


def cycles(plan: ConvPlan, level: int, pooled: int = 1) -> float:
    """Cycles of an image on one core, estimated, in the cost models' (see estimate.py).

    Two multiply-adds a cycle, where two loads a cycle allow it, a fifth more where a tile's weights leave no room in
    the first level of the cache, a tenth more where weights of float64 do not stay in the second; sums that would wait
    for each other; and in the core's own cycles one for the loop, 4 for each sum of a tile that begins and ends, 8 for
    each row of a square of pixels and channels that is turned (of ``pooled`` pixels one is), and those of packing
    (measured).
    """
    pace = estimate.pace(level)
    is_double = is_double_plan(plan)
    lanes, columns = runtime.lanes(level, is_double), runtime.few_columns(level, is_double)
    height, width = plan.out_size
    per_in, blocks = plan.in_channels // plan.groups, ceil_div(plan.out_channels // plan.groups, lanes)
    count = ceil_div(width, columns)
    each = ceil_div(width, count)
    loads = 1 if pace == 1 else 0  # beside a broadcast for each product; of two a cycle
    tap = sum(max(wide + loads, 4 * pace) + pace for wide in (*[each] * (count - 1), width - (count - 1) * each))
    tiles = blocks * ceil_div(height, 2)
    taps = per_in * plan.kernel[0] * plan.kernel[1]
    far = is_double and 8 * lanes * blocks * taps > WORKING_SET
    products = tiles * tap * taps / (0.95 if 64 * taps <= _NEAR else 0.8)  # a vector is 64 bytes at most
    products /= 0.9 if far else 1.0
    turning = 8 * lanes * blocks * ceil_div(height * width, pooled * lanes)
    beginning = 4 * tiles * 2 * (width + count)
    return plan.groups * (products + pace * (beginning + turning + packing_cycles(plan, level)))


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need."""
    level = isa.current()
    return estimate.cost(plan, tasks(plan, level, threads_for(plan)), cycles(plan, level))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share packed weights."""
    return isa.current()


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> direct.Prepared:
    """Put the weights into the order in which the tiles read them: [group][vector of channels][tap][channel]."""
    level = isa.current()
    return direct.pack(plan, weight, bias, level, _tiling(plan, level))


def run(plan: ConvPlan, x: np.ndarray, prepared: Any, out: np.ndarray | None) -> np.ndarray:
    """Run the plan with packed weights."""
    found = tasks(plan, prepared.isa, threads_for(plan))

    def fill(result: np.ndarray) -> None:
        conv.run(found, x, prepared.weights, prepared.bias, result)

    return into_rows(out, plan.out_shape, plan.dtype, fill)


def work(plan: ConvPlan, prepared: Any) -> conv.ConvWork:
    """What runs the plan, for calls that come again."""
    found = tasks(plan, prepared.isa, threads_for(plan))
    return conv.ConvWork(found, prepared.weights, prepared.bias, plan.flops < BRIEF_FLOPS)


def pieces(plan: ConvPlan, level: int, tiling: Tiling) -> Pieces:
    """How to compute the plan band by band."""
    taps = plan.in_channels // plan.groups * plan.kernel[0] * plan.kernel[1]

    def of_part(part: ConvPlan, shares: int) -> conv.FewTasks:
        return conv.FewTasks(level, is_double_plan(plan), 1, _bands(part, level, 1)._replace(shares=shares))

    return Pieces(
        of_part,
        blocks=range(0, plan.out_channels, tiling.channels) if plan.groups == 1 else [0],
        rows=_bands(plan, level, 1).rows,
        weights_stay=plan.groups * tiling.packed_channels * taps * np.dtype(plan.dtype).itemsize <= WORKING_SET,
    )
