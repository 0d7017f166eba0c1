"""Winograd's algorithm along rows, F(4, 5): for kernels of five columns over few input channels, as LeNet's.

Four outputs of a row take eight products for each row of the kernel in place of twenty. Tiles of two axes save more,
but the transform of their outputs is for each output channel too, and with few input channels that is most of it: see
_core/kernels/winograd_row.kernel.c, and winograd_few.py for more channels. The points are 0, +-1/2, +-1, +-2 and
infinity; along one axis they err by less than F(4x4, 3x3).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost
from . import channels, direct, estimate, few, isa, winograd, winograd_few
from .bands import LARGEST_BAND, Bands, bands
from .cache import WORKING_SET
from .cut import BRIEF_FLOPS, Pieces, ceil_div, even, is_double_plan, shares, threads_for
from .tiles import Tiling
from .winograd_few import Transformed, reached, transformed, whole

__all__ = ["cost", "cycles", "label", "pieces", "prepare", "prepare_key", "refusal", "run", "slowness", "tasks", "work"]

_TILE, _TAPS, _SIZE = 4, 5, 8
"""Outputs of a tile, taps of a row, and places."""

_MOST_CHANNELS = 16

_PAIRS = ((0, 7), (1, 2), (3, 4), (5, 6))
"""Points whose sums are in registers together: 0 and infinity, and those that differ by their sign."""

_AROUND, _COMING_IN, _LOADS = 14, 40, 1.5
"""The core's cycles of a vector of tiles and an output channel beside its products, and until one of an input channel's
row is transformed; loads of a cycle, of two that a core could begin. Measured on a Zen 5, for all instruction sets."""

_SLOW = 25, 60, 1.25
"""The same where multiply-adds take twice as long, or ask for more than the cache gives: of a Zen 4, before its loops
were unrolled."""


def label(plan: ConvPlan) -> str:
    """The implementation's name."""
    return f"winograd_row_f{_TILE}x{_TAPS}_{isa.name()}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.algorithm not in ("auto", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    if reason := _cannot(plan, isa.current()):
        return reason
    if plan.algorithm == "auto":
        level = isa.current()
        own, plain = cycles(plan, level), min(each.cycles(plan, level) for each in (direct, channels, few))
        if own > 0.85 * plain:
            return f"the transforms would cost more than they save: {own:,.0f} cycles, direct sums {plain:,.0f}"
        if winograd_few.refusal(plan) is None and own > (other := winograd_few.cycles(plan, level)):
            return f"tiles of two axes take fewer cycles: {other:,.0f}, along rows {own:,.0f}"
    return None


@lru_cache(maxsize=1024)
def _cannot(plan: ConvPlan, level: int) -> str | None:
    if plan.groups != 1 or plan.dilation != (1, 1) or plan.stride != (1, 1):
        return "it is for one group, stride 1 and dilation 1"
    if plan.kernel[1] != _TAPS:
        return f"it is for kernels of {_TAPS} columns"
    if plan.in_channels > _MOST_CHANNELS:
        return f"the input has {plan.in_channels} channels; it is for {_MOST_CHANNELS} at most"
    cut, _ = _cut(plan, level, 1)
    if cut.cols < plan.out_size[1] or cut.scratch > LARGEST_BAND:
        return "the rows are too long for a band of whole rows"
    return None


def cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated, as in winograd_few.py."""
    is_double, pace = is_double_plan(plan), estimate.pace(level)
    lanes, together = runtime.lanes(level, is_double), runtime.winograd_few_channels(level, is_double)
    (height, width), terms = plan.out_size, plan.in_channels * plan.kernel[0]
    tiles, out_channels = ceil_div(width, _TILE), ceil_div(plan.out_channels, together) * together
    waits = pace < 1 or (estimate.asks_much(level) and not estimate.keeps_up(level))
    around, each, loads = _SLOW if waits else (_AROUND, _COMING_IN, _LOADS)
    products = _SIZE * terms * max(0.5 / 0.97, pace * (1 + 1 / together) / loads)
    at_once = max(lanes // (tiles + 1), 1)  # rows
    coming_in = each * ceil_div(height + plan.kernel[0] - 1, at_once) * ceil_div(tiles, lanes) * plan.in_channels
    vectors = ceil_div(height * tiles, lanes)
    preparing = 0 if plan.keeps_weights else 14 * _SIZE * terms * plan.out_channels
    return preparing + pace * coming_in + vectors * out_channels * (products + pace * around)


@lru_cache(maxsize=256)
def _cut(plan: ConvPlan, level: int, count: int) -> tuple[Bands, tuple[int, int, int]]:
    """The bands, and what the tasks need besides; any rows give the same bits."""
    is_double = is_double_plan(plan)
    lanes, itemsize = runtime.lanes(level, is_double), 8 if is_double else 4
    (height, width), taps = plan.out_size, plan.kernel[0]
    tiles = ceil_div(width, _TILE)
    padded = replace(plan, out_size=(height, tiles * _TILE))
    cut = bands(padded, Tiling(0, lanes, lanes, lanes, 0.0, 1, 0, 0, 0), itemsize, 1, level)
    near = WORKING_SET // 2 // (_SIZE * plan.in_channels * tiles * itemsize)
    rows = even(height, max(near - taps + 1, 1))
    if count > 1:
        rows = min(rows, ceil_div(height * max(plan.batch, 1), 4 * count))
    count_h, together = ceil_div(height, rows), runtime.winograd_few_channels(level, is_double)
    packed_rows, pitch = rows + taps - 1, tiles * _TILE + _TAPS - 1
    # a row is transformed in whole vectors of tiles, which reach beyond its end
    band_size = whole(plan.in_channels * packed_rows * pitch, lanes) + whole((_TILE + 1) * lanes + _SIZE, lanes)
    places_pitch = whole(packed_rows * tiles, lanes) + 2 * lanes
    found = cut._replace(
        in_size=(reached(plan, 0), reached(plan, 1)),
        out_size=plan.out_size,
        rows=rows,
        bands_h=count_h,
        shares=shares(max(plan.batch, 1) * count_h, ceil_div(plan.out_channels, together), count),
        packed_rows=packed_rows,
        pitch=pitch,
        channel_pitch=packed_rows * pitch,
        band_size=band_size,
        scratch=band_size
        + max(_SIZE * plan.in_channels * places_pitch + together * _TILE * lanes, _SIZE * (3 + _TAPS - 1) * lanes),
    )
    return found, (_TILE, places_pitch, 0)


@lru_cache(maxsize=256)
def tasks(plan: ConvPlan, level: int, count: int) -> conv.WinogradRowTasks:
    """Tasks of a plan for ``count`` threads."""
    return conv.WinogradRowTasks(level, is_double_plan(plan), count, *_cut(plan, level, count))


def slowness(plan: ConvPlan) -> float:
    """How many times as long as those of dense sums its flops take."""
    return 0.5


def _threads(plan: ConvPlan) -> int:
    return threads_for(plan, slowness(plan))


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need; its flops are those of the products."""
    level = isa.current()
    weights = _SIZE * plan.in_channels * plan.kernel[0] * plan.out_channels
    found = estimate.cost(plan, tasks(plan, level, _threads(plan)), cycles(plan, level), weights)
    return found._replace(flops=2 * weights * plan.batch * plan.out_size[0] * ceil_div(plan.out_size[1], _TILE))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share transformed weights."""
    return isa.current()


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Transformed | None:
    """Transform the weights in float64, [block of output channels][pair of points][plane][row][point][channel].

    None if any is not finite, or becomes so: only direct sums show that right.
    """
    level = isa.current()
    together = runtime.winograd_few_channels(level, is_double_plan(plan))
    blocks = ceil_div(plan.out_channels, together)
    places = np.zeros((_SIZE, plan.in_channels, plan.kernel[0], blocks * together))
    with np.errstate(over="ignore", invalid="ignore"):
        transform = winograd.weight_transform(_TILE, _TAPS)
        places[..., : plan.out_channels] = np.einsum("aj,kcij->acik", transform, weight, dtype=np.float64)
        split = places.reshape(*places.shape[:3], blocks, together)[np.array(_PAIRS)]
        packed = np.ascontiguousarray(split.transpose(4, 0, 2, 3, 1, 5), plan.dtype)
    return transformed(plan, level, packed, weight, bias)


def run(plan: ConvPlan, x: np.ndarray, prepared: Transformed, out: np.ndarray | None) -> np.ndarray:
    """Run the plan; images whose results are not all finite are done again by direct sums, as in winograd.py."""
    found = tasks(plan, prepared.isa, _threads(plan))
    return winograd.run_or_sum_directly(plan, found, x, prepared, out)


def work(plan: ConvPlan, prepared: Transformed) -> conv.ConvWork:
    """What runs the plan, for calls that come again; those whose results are not all finite go the general way."""
    found = tasks(plan, prepared.isa, _threads(plan))
    return conv.ConvWork(found, prepared.weights, prepared.bias, slowness(plan) * plan.flops < BRIEF_FLOPS)


def pieces(plan: ConvPlan, level: int) -> Pieces:
    """How to compute the plan band by band: of any rows."""

    def of_part(part: ConvPlan, count: int) -> conv.WinogradRowTasks:
        cut, places = _cut(part, level, 1)
        return conv.WinogradRowTasks(level, is_double_plan(plan), 1, cut._replace(shares=count), places)

    together, rows = runtime.winograd_few_channels(level, is_double_plan(plan)), _cut(plan, level, 1)[0].rows
    return Pieces(of_part, blocks=range(0, plan.out_channels, together), rows=rows, may_break=True)
