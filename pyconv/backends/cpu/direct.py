"""Direct convolution: the plain sum of products in register tiles, for every plan."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost
from . import estimate, isa
from .arrays import into, into_rows
from .bands import (
    LARGEST_BAND,
    Bands,
    bands,
    copies_panels,
    is_flat,
    may_spread,
    packed_line,
    packing_cycles,
    panel_places,
    reads_in_place,
)
from .cache import WORKING_SET
from .cut import BRIEF_FLOPS, Pieces, ceil_div, is_double_plan, threads_for
from .tiles import Tiling, choose

__all__ = ["Prepared", "cost", "cycles", "label", "pack", "pieces", "prepare", "prepare_key", "refusal", "run", "work"]


class Prepared(NamedTuple):
    """Weights packed for one tiling: [group][tile][tap][channel of the tile]; biases padded likewise."""

    isa: int
    tiling: Tiling
    weights: np.ndarray
    bias: np.ndarray


def _tiling(plan: ConvPlan, level: int) -> Tiling:
    per_out, line = plan.out_channels // plan.groups, packed_line(plan)
    taps = plan.in_channels // plan.groups * plan.kernel[0] * plan.kernel[1]
    is_double = is_double_plan(plan)
    rows, spreading = None, None
    if line > plan.out_size[0] * plan.out_size[1]:
        rows = plan.out_size
        if may_spread(plan):
            more = packing_cycles(plan, level, spread=True) - packing_cycles(plan, level)
            spreading = estimate.pace(level) * more
    return choose(per_out, line, level, is_double, taps, rows, spreading, copies_panels(plan, level))


@lru_cache(maxsize=256)
def _cut(plan: ConvPlan, tiling: Tiling, count: int, level: int) -> Bands:
    return bands(plan, tiling, np.dtype(plan.dtype).itemsize, count, level)


@lru_cache(maxsize=256)
def _tasks(plan: ConvPlan, tiling: Tiling, level: int, count: int) -> conv.DirectTasks:
    return conv.DirectTasks(level, is_double_plan(plan), count, _cut(plan, tiling, count, level))


def label(plan: ConvPlan) -> str:
    """The implementation's name, with its tile."""
    tiling = _tiling(plan, isa.current())
    return f"direct_{tiling.channels}x{tiling.pixels}_{isa.name()}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.algorithm not in ("auto", "direct", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    cut = _cut(plan, _tiling(plan, isa.current()), 1, isa.current())
    if cut.scratch > LARGEST_BAND:
        return (
            f"the input of a single row of output needs {cut.scratch:,} packed elements, more than the "
            f"{LARGEST_BAND:,} that it may take (stride, dilation and channels are too large together)"
        )
    return None


def cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated: those of the tiles, and those of packing.

    Pixels of many channels that are read in place are waited for, as long as packing takes, but where the first tile
    copies them, which takes a fourth of that. Where a multiply-add takes a cycle, a vector of sums takes 5 to be begun
    and stored, besides, 1.5 with two a cycle where the second level keeps up; and weights of float64 that do not stay
    in the cache slow the tiles down by a tenth (measured).
    """
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    lanes, tiling = runtime.lanes(level, is_double_plan(plan)), _tiling(plan, level)
    one = estimate.pace(level) < 1  # multiply-add a cycle
    taps = per_in * plan.kernel[0] * plan.kernel[1]
    far = is_double_plan(plan) and 8 * tiling.packed_channels * taps > WORKING_SET
    products = tiling.cycles * taps / ((0.9 if far else 0.97) if one else 0.95)
    line = plan.out_size[0] * plan.out_size[1] if tiling.spread else packed_line(plan)
    storing = (5 if one else 1.5 if estimate.keeps_up(level) else 0) * ceil_div(line, lanes) * per_out
    times = 0.25 if tiling.panels else float(per_in > 128)
    if not reads_in_place(plan, level):
        times = 1.25 if tiling.panels else 1.0
    packing = times * packing_cycles(plan, level)
    return plan.groups * (products + estimate.pace(level) * (storing + packing))


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need."""
    level = isa.current()
    tasks = _tasks(plan, _tiling(plan, level), level, threads_for(plan))
    return estimate.cost(plan, tasks, cycles(plan, level))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share packed weights: those depend on the tiling only."""
    level = isa.current()
    return level, _tiling(plan, level)


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Prepared:
    """Pack the weights for the plan's own tiling."""
    level = isa.current()
    return pack(plan, weight, bias, level, _tiling(plan, level))


def pack(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None, level: int, tiling: Tiling) -> Prepared:
    """Put the weights into the order in which the tiles read them, the last tile filled up with zeros."""
    groups, per_out = plan.groups, plan.out_channels // plan.groups
    taps = plan.in_channels // groups * plan.kernel[0] * plan.kernel[1]
    rows = np.asarray(weight, dtype=plan.dtype).reshape(groups, per_out, taps)
    split = tiling.tiles * tiling.channels
    full = rows[:, :split].reshape(groups, tiling.tiles, tiling.channels, taps).transpose(0, 1, 3, 2)
    packed = np.zeros((groups, tiling.packed_channels * taps), plan.dtype)
    packed[:, : split * taps] = full.reshape(groups, -1)
    if tiling.last_real:
        last = packed[:, split * taps :].reshape(groups, taps, tiling.last_channels)
        last[:, :, : tiling.last_real] = rows[:, split:].transpose(0, 2, 1)
    biases = np.zeros((groups, tiling.packed_channels), plan.dtype)
    if bias is not None:
        biases[:, :per_out] = np.asarray(bias, dtype=plan.dtype).reshape(groups, per_out)
    return Prepared(level, tiling, packed, biases)


def run(plan: ConvPlan, x: np.ndarray, prepared: Any, out: np.ndarray | None) -> np.ndarray:
    """Run the plan with packed weights, on the tiling they were packed for."""
    tasks = _tasks(plan, prepared.tiling, prepared.isa, threads_for(plan))

    def fill(result: np.ndarray) -> None:
        conv.run(tasks, x, prepared.weights, prepared.bias, result)

    write = into if is_flat(plan) else into_rows  # what is read as one long row is written as one too
    return write(out, plan.out_shape, plan.dtype, fill)


def work(plan: ConvPlan, prepared: Any) -> conv.ConvWork:
    """What runs the plan, for calls that come again."""
    tasks = _tasks(plan, prepared.tiling, prepared.isa, threads_for(plan))
    return conv.ConvWork(tasks, prepared.weights, prepared.bias, plan.flops < BRIEF_FLOPS)


def pieces(plan: ConvPlan, level: int, tiling: Tiling) -> Pieces:
    """How to compute the plan band by band, with weights packed for ``tiling``."""
    itemsize = np.dtype(plan.dtype).itemsize
    taps = plan.in_channels // plan.groups * plan.kernel[0] * plan.kernel[1]
    whole = _cut(plan, tiling, 1, level)

    def tasks(part: ConvPlan, shares: int) -> conv.DirectTasks:
        # Channels are as far apart as in the whole image, which alone tells whether they can be read where they lie.
        cut = bands(part, tiling, itemsize, 1, level, packs=not whole.in_place)._replace(shares=shares)
        if cut.in_place:
            cut = cut._replace(channel_pitch=whole.channel_pitch, offsets=whole.offsets)
            if cut.panel_offsets.size:
                places = panel_places(cut.offsets, cut.chunk, tiling.pixels, not cut.band_stays)
                cut = cut._replace(panel_offsets=places)
        return conv.DirectTasks(level, is_double_plan(plan), 1, cut)

    return Pieces(
        tasks,
        blocks=range(0, plan.out_channels, tiling.channels) if plan.groups == 1 else [0],
        rows=max(whole.cols // plan.out_size[1], 1) if is_flat(plan) else whole.rows,
        weights_stay=plan.groups * tiling.packed_channels * taps * itemsize <= WORKING_SET,
    )
