"""Depthwise convolution with vectors along channels: for small, strided and channels-last images, and large kernels.

A vector of planes at a time is turned into [pixel][channel], row by row as the rows are needed, and the sums back.
Groups of a few channels that give as many are computed alike: a lane takes its inputs from the lanes of its group.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from math import gcd, log2
from typing import NamedTuple

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost, span
from . import channels, depthwise, direct, estimate, few, isa, winograd, winograd_few, winograd_row
from .blocks import inside
from .cut import BRIEF_FLOPS, Pieces, ceil_div, is_double_plan, run_tasks, threads_for
from .depthwise import Cut, Given

__all__ = [
    "cost",
    "cut",
    "cycles",
    "label",
    "pieces",
    "prepare",
    "prepare_key",
    "refusal",
    "run",
    "slowness",
    "work",
]

_WAITING = 112
"""Output pixels, about, whose sums wait together: in squares of as many pixels as lanes, few of which are cut short."""

_MOST_BANDS = 4
_MOST_TOGETHER = 16
_NEAR = 2**18
"""Bytes of rows at hand, of all blocks whose input is read together: they are to stay in the second-level cache."""

_MOST_GROUP = 8
_WAITED = 1.3  # direct sums of groups take so much longer than estimated, with two multiply-adds a cycle (measured)
_REARRANGED = 32  # bytes of vectors whose lanes can be rearranged at will
_MOST_SCRATCH = 2**24
_LONGEST = 2**16  # of the sides whose rows and columns are counted one by one


def label(plan: ConvPlan) -> str:
    """The implementation's name."""
    group = _group(plan)
    return f"groups_{group}_{isa.name()}" if group in (2, 4, 8) else f"depthwise_channels_{isa.name()}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if (reason := _shape_refusal(plan)) is not None:
        return reason
    if (longest := max(*plan.out_size, plan.in_size[1])) > _LONGEST:
        return f"a side of {longest:,} is longer than {_LONGEST:,}"
    level = isa.current()
    scratch = _sizes(plan, level).scratch
    if scratch > _MOST_SCRATCH:
        return f"the rows that a row of output needs take {scratch:,} bytes, more than {_MOST_SCRATCH:,}"
    if plan.algorithm == "measure":
        return None
    own = cycles(plan, level)
    if depthwise.refusal(plan) is None:
        other = depthwise.cycles(plan, level)
    else:
        other = direct.cycles(plan, level) if direct.refusal(plan) is None else own
        if _group(plan) > 1 and estimate.keeps_up(level):
            other *= _WAITED
    if own > other:
        return f"vectors along rows take fewer cycles: {other:,.0f}, along channels {own:,.0f}"
    return _slower_in_groups(plan, level, own) if _group(plan) > 1 else None


def _slower_in_groups(plan: ConvPlan, level: int, own: float) -> str | None:
    """The reason why not, where groups of several channels, or a single one, are quicker by what takes any number."""
    for each in (winograd_row, winograd_few, winograd, few, channels):
        if each.refusal(plan) is None and own > (other := each.cycles(plan, level)):
            return f"{each.label(plan)} takes fewer cycles: {other:,.0f}, groups along channels {own:,.0f}"
    return None


def _group(plan: ConvPlan) -> int:
    return plan.in_channels // plan.groups


def _shape_refusal(plan: ConvPlan) -> str | None:
    group = _group(plan)
    if group == 1 or plan.algorithm not in ("auto", "direct", "measure"):
        return depthwise.shape_refusal(plan)
    level, is_double = isa.current(), is_double_plan(plan)
    lanes = runtime.lanes(level, is_double)
    if lanes * (8 if is_double else 4) < _REARRANGED:
        return f"a group has {group} input channels, and this instruction set does not rearrange lanes at will"
    if group > _MOST_GROUP or lanes % group or plan.out_channels != plan.in_channels:
        out = plan.out_channels // plan.groups
        return f"a group has {group} input channels and {out} output channels, it takes as many of both: 1, 2, 4 or 8"
    return None


def cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated.

    To turn a vector of pixels takes 1.5 for each round of shuffles, and 1.5; to copy one that lies along channels, 3. A
    product takes 0.62, a tile of sums 20 (measured, AVX-512). In groups of several channels, where multiply-adds set
    the pace, they are those of the cost models (see estimate.py).
    """
    is_double = is_double_plan(plan)
    lanes = runtime.lanes(level, is_double)
    turning = 1.5 * (log2(lanes) + 1)
    reading = 3 if _reads_vectors(plan) else turning
    out_h, out_w = plan.out_size
    rows = np.maximum(np.diff(inside(plan, 0)), 0).sum()  # of the kernel, in all output rows
    tiles = out_h * ceil_div(out_w, runtime.depthwise_pixels(level, is_double))
    block = reading * plan.in_size[0] * plan.in_size[1] + turning * out_h * out_w + 20 * tiles
    products = _group(plan) * float(rows) * plan.kernel[1] * out_w
    block = block + 0.62 * products if _group(plan) == 1 else estimate.pace(level) * block + 0.55 * products
    return ceil_div(plan.out_channels, lanes) * block


def slowness(plan: ConvPlan) -> float:
    """How much longer flops take than in dense convolutions."""
    return max(depthwise.slowness(plan) / _group(plan), 1)


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need."""
    level = isa.current()
    return estimate.cost(plan, _tasks(plan, level, threads_for(plan, slowness(plan))), cycles(plan, level))


def _bands(plan: ConvPlan, units: int, count: int) -> int:
    """Bands of a plane such that ``count`` threads are soonest done; each turns again what it shares with others."""
    out_h, reach = plan.out_size[0], span(plan.kernel[0], plan.dilation[0]) - plan.stride[0]

    def time(bands: int) -> float:
        return ceil_div(units * bands, count) * (ceil_div(out_h, bands) + max(reach, 0) / plan.stride[0] / 2)

    return min(range(1, max(min(_MOST_BANDS * count, out_h), 1) + 1), key=time) if count > 1 else 1


def _even(vectors: int, most: int) -> int:
    """Vectors of channels, ``most`` or fewer, to be read together: units even in size, and if possible in number.

    Seven of nine in the first unit, and two in the second, would leave one of two threads waiting for the other.
    """
    units = ceil_div(vectors, most)
    return ceil_div(vectors, units + units % 2) if most > 1 and units > 1 else most


class _Sizes(NamedTuple):
    """Sizes of what a task has at hand; names as in Cut."""

    together: int
    rows: int
    slots: int
    phase: int
    """Columns whose remainder by the stride is the same."""
    scratch: int


def _sizes(plan: ConvPlan, level: int, together: int | None = None) -> _Sizes:
    """The sizes for ``plan``, or for some rows of one that takes so many vectors of channels ``together``."""
    is_double = is_double_plan(plan)
    itemsize, lanes = 8 if is_double else 4, runtime.lanes(level, is_double)
    (out_h, out_w), stride = plan.out_size, plan.stride
    square = lanes // gcd(out_w, lanes)  # rows that are whole squares
    rows = max(min(ceil_div(ceil_div(_WAITING, out_w), square) * square, out_h, 2 * _WAITING // out_w), 1)
    slots = min((rows - 1) * stride[0] + span(plan.kernel[0], plan.dilation[0]), plan.in_size[0])
    phase = out_w + (plan.kernel[1] - 1) * plan.dilation[1] // stride[1]
    at_hand, waiting = (vectors * lanes * itemsize for vectors in (slots * (stride[1] * phase + 1), rows * out_w))
    if together is None:
        together = 1
        if _reads_vectors(plan):
            together = max(min(ceil_div(plan.out_channels, lanes), _MOST_TOGETHER, _NEAR // max(at_hand, 1)), 1)
    return _Sizes(together, rows, slots, phase, waiting + together * at_hand + plan.kernel[0] * 8)


def _reads_vectors(plan: ConvPlan) -> bool:
    """Whether the input lies along channels already."""
    return plan.layout == "nhwc" and plan.out_channels == plan.in_channels


def _row_taps(plan: ConvPlan, slots: int) -> np.ndarray:
    """For every output row the kernel's first row inside of the image, the first beyond, and the first one's slot."""
    taps = np.zeros((plan.out_size[0], 3), np.int32)
    found = np.maximum(inside(plan, 0), 0)
    taps[:, 0] = found.min(axis=1)
    taps[:, 1] = found[:, 1]
    first = np.arange(plan.out_size[0]) * plan.stride[0] - plan.padding[0][0] + taps[:, 0] * plan.dilation[0]
    taps[:, 2] = first % max(slots, 1)
    return taps


def _column_taps(plan: ConvPlan, tile: int) -> np.ndarray:
    """For every tile the kernel's columns that meet the image for some output pixel of it."""
    found = np.maximum(inside(plan, 1), 0)
    starts = np.arange(0, plan.out_size[1], tile)
    taps = np.zeros((len(starts), 3), np.int32)
    taps[:, 0] = np.minimum.reduceat(found[:, 0], starts)
    taps[:, 1] = np.maximum.reduceat(found[:, 1], starts)
    taps[:, 0] = np.minimum(taps[:, 0], taps[:, 1])
    return taps


def cut(plan: ConvPlan, level: int, count: int, shares: int | None = None, together: int | None = None) -> Cut:
    """Cut the plan for ``count`` threads, or its blocks into ``shares``; the result does not depend on how."""
    is_double = is_double_plan(plan)
    if count > 1 and together is None:
        together = _even(ceil_div(plan.out_channels, runtime.lanes(level, is_double)), _sizes(plan, level).together)
    together, rows, slots, phase, scratch = _sizes(plan, level, together)
    out_w, stride = plan.out_size[1], plan.stride[1]
    units = plan.batch * ceil_div(plan.out_channels, together * runtime.lanes(level, is_double))
    tile = ceil_div(out_w, ceil_div(out_w, runtime.depthwise_pixels(level, is_double)))
    columns, taps = np.arange(plan.in_size[1]) + plan.padding[1][0], np.arange(plan.kernel[1]) * plan.dilation[1]
    # Columns are sorted by their remainder by the stride. Those behind the last that is read share a place at the end.
    places = np.where(columns < stride * phase, columns % stride * phase + columns // stride, stride * phase)
    return Cut(
        units=units,
        parts=shares or max(min(units, 8 * count), 1),
        bands=1 if shares else _bands(plan, units, count),
        scratch=scratch,
        together=together,
        rows=rows,
        slots=slots,
        row_size=stride * phase + 1,
        tile=tile,
        row_taps=_row_taps(plan, slots),
        column_taps=_column_taps(plan, tile),
        places=places.astype(np.int32),
        offsets=(taps % stride * phase + taps // stride).astype(np.int32),
    )


@lru_cache(maxsize=256)
def _tasks(plan: ConvPlan, level: int, count: int) -> conv.DepthwiseTasks:
    return conv.DepthwiseTasks(level, is_double_plan(plan), count, plan, cut(plan, level, count))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share weights."""
    return isa.current()


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Given | None:
    """Weights as [block of channels][row][input channel of the group][column][channel]; None if not all are finite.

    The last block is filled up with zeros. Of numbers that are not finite, 0 * inf from the padding would be missing
    from the sums.
    """
    level = isa.current()
    lanes = runtime.lanes(level, is_double_plan(plan))
    blocks = ceil_div(plan.out_channels, lanes)
    given = np.asarray(weight, plan.dtype).transpose(0, 2, 1, 3).reshape(plan.out_channels, -1)
    if not np.isfinite(given).all():
        return None
    padded = np.zeros((blocks * lanes, given.shape[1]), plan.dtype)
    padded[: plan.out_channels] = given
    biases = np.zeros(blocks * lanes, plan.dtype)
    if bias is not None:
        biases[: plan.out_channels] = bias
    packed = padded.reshape(blocks, lanes, given.shape[1]).transpose(0, 2, 1)
    return Given(level, np.ascontiguousarray(packed), biases)


def run(plan: ConvPlan, x: np.ndarray, prepared: Given, out: np.ndarray | None) -> np.ndarray:
    """Run the plan."""
    tasks = _tasks(plan, prepared.isa, threads_for(plan, slowness(plan)))
    return run_tasks(plan, tasks, x, prepared, out, or_channels=True)


def work(plan: ConvPlan, prepared: Given) -> conv.ConvWork:
    """What runs the plan, for calls that come again."""
    tasks = _tasks(plan, prepared.isa, threads_for(plan, slowness(plan)))
    return conv.ConvWork(tasks, prepared.weights, prepared.bias, slowness(plan) * plan.flops < BRIEF_FLOPS)


def pieces(plan: ConvPlan, level: int) -> Pieces:
    """How to compute the plan band by band."""
    is_double, together = is_double_plan(plan), _sizes(plan, level).together

    def tasks(part: ConvPlan, shares: int) -> conv.DepthwiseTasks:
        # fewer rows would leave room for more channels, and the shares would be others than the whole image's
        return conv.DepthwiseTasks(level, is_double, 1, part, cut(part, level, 1, shares, together))

    blocks = range(0, plan.out_channels, together * runtime.lanes(level, is_double))
    return Pieces(tasks, blocks, rows=plan.out_size[0])
