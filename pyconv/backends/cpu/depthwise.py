"""Depthwise convolution with vectors along rows: every output plane is one input plane, filtered where it lies.

Rows of channels-last images are sorted into rows of planes first, a few of all channels, which stay near.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost, span
from . import direct, estimate, isa, winograd_row
from .cut import BRIEF_FLOPS, Pieces, ceil_div, is_double_plan, run_tasks, threads_for

__all__ = [
    "Cut",
    "Given",
    "cost",
    "cycles",
    "label",
    "pieces",
    "prepare",
    "prepare_key",
    "refusal",
    "run",
    "shape_refusal",
    "slowness",
    "work",
]

_LEAST_ROWS = 16
"""Rows of a band: each band reads again what the kernel reaches of its neighbours."""


_MOST_MULTIPLIER = 4
_LEAST_TAPS = 25  # of kernels that direct sums may take over
_ALIKE = 1.1  # estimates that are no more than that apart say the same, and packed rows are the safer choice then
_MOST_SCRATCH = 2**24
_VECTOR_BYTES = 64  # of the widest instruction set
_MOST_ROWS = 4  # output rows that are computed together
_MOST_DEALT = 4  # channels of a pixel that are dealt out, not turned in squares
_NEAR = 2**18  # bytes of rows of channels-last images that are to stay in the second-level cache

_SLOWNESS = 6
"""Flops take so many times as long as in dense convolutions: memory and the edges of rows set the pace (measured)."""


class Given(NamedTuple):
    """Weights as given, contiguous, and biases."""

    isa: int
    weights: np.ndarray
    bias: np.ndarray


class Cut(NamedTuple):
    """How the planes are cut into tasks; names as in the C struct pc_depthwise."""

    units: int
    parts: int
    bands: int
    scratch: int
    """Bytes of scratch memory a task needs."""
    together: int = 0
    """Of planes: channels of a channels-last image whose rows are at hand together."""
    rows: int = 0
    slots: int = 0
    row_size: int = 0
    tile: int = 0
    row_taps: np.ndarray | None = None
    """None: vectors along rows, and the rest says nothing."""
    column_taps: np.ndarray | None = None
    places: np.ndarray | None = None
    offsets: np.ndarray | None = None


def slowness(plan: ConvPlan) -> float:
    """How many times as long as in dense convolutions flops take."""
    return _SLOWNESS


def label(plan: ConvPlan) -> str:
    """The implementation's name."""
    return f"depthwise_{isa.name()}"


def shape_refusal(plan: ConvPlan) -> str | None:
    """What every depthwise implementation refuses."""
    if plan.algorithm not in ("auto", "direct", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    if plan.groups != plan.in_channels:
        return f"a group has {plan.in_channels // plan.groups} input channels, it takes one"
    if plan.out_channels // plan.groups > _MOST_MULTIPLIER:
        return f"more than {_MOST_MULTIPLIER} output channels of each input channel share their loads better elsewhere"
    return None


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if (reason := shape_refusal(plan)) is not None:
        return reason
    if plan.layout == "strided":
        return "the input's layout is strided, it takes nchw and nhwc"
    if plan.stride[1] > 2:
        return f"the horizontal stride is {plan.stride[1]}, it takes 1 and 2"
    if (scratch := _cut(plan, isa.current(), 1).scratch) > _MOST_SCRATCH:
        return f"the masks and rows for so large a kernel take {scratch:,} bytes, more than {_MOST_SCRATCH:,}"
    if plan.algorithm == "measure":
        return None
    return _slower_than_along_rows(plan, isa.current()) or _slower_than_packed(plan, isa.current())


def _slower_than_along_rows(plan: ConvPlan, level: int) -> str | None:
    """The reason why not, where Winograd's algorithm makes several results of one channel of less products."""
    if plan.out_channels == plan.in_channels or winograd_row.refusal(plan) is not None:
        return None
    own, other = estimate.pace(level) * cycles(plan, level), winograd_row.cycles(plan, level)
    return f"Winograd along rows takes fewer cycles: {other:,.0f}, plain sums {own:,.0f}" if own > other else None


def _slower_than_packed(plan: ConvPlan, level: int) -> str | None:
    """The reason why not, where rows are better packed first: for large kernels with strides, or several results.

    Those of fixed size are quicker in any case, and small ones have little to gain.
    """
    if (
        plan.kernel[0] * plan.kernel[1] < _LEAST_TAPS
        or _is_square_of_stride_2(plan)
        or direct.refusal(plan) is not None
    ):
        return None
    own, other = estimate.pace(level) * cycles(plan, level), direct.cycles(plan, level)
    if other > _ALIKE * own:
        return None
    return f"packed rows would take few cycles: {other:,.0f}, rows as they lie {own:,.0f}"


def _scratch(plan: ConvPlan) -> int:
    """Bytes of scratch of a task, at most: a row of vectors of masks, one of zeros, pointers to input rows.

    A mask is counted as a whole vector: where it is smaller, the rest is room for aligning what follows.
    """
    vectors = plan.out_size[1] // runtime.lanes(isa.current(), is_double_plan(plan)) + 2
    masks = vectors * plan.kernel[1] * plan.stride[1] * _VECTOR_BYTES
    return masks + plan.in_size[1] * 8 + _VECTOR_BYTES + (plan.kernel[0] + _MOST_ROWS) * 8


def _cut(plan: ConvPlan, level: int, count: int, shares: int | None = None, together: int | None = None) -> Cut:
    """Cut the plan for ``count`` threads, or its units into ``shares``; the result does not depend on how.

    ``together``: channels whose rows are at hand together, where the plan is of some rows of an image only.
    """
    scratch, units = _scratch(plan), plan.batch * plan.out_channels
    rows = slots = row_size = 0
    if plan.layout == "nhwc":
        lanes, itemsize = runtime.lanes(level, is_double_plan(plan)), 8 if is_double_plan(plan) else 4
        rows, reach = min(_MOST_ROWS, plan.out_size[0]), span(plan.kernel[0], plan.dilation[0])
        slots = min((rows - 1) * plan.stride[0] + reach, plan.in_size[0])
        row_size = ceil_div(plan.in_size[1], lanes) * lanes
        line = slots * row_size * itemsize
        together = together or min(max(_NEAR // max(lanes * line, 1), 1) * lanes, plan.in_channels)
        scratch, units = scratch + together * line, plan.batch * ceil_div(plan.in_channels, together)
    parts = bands = 1
    if shares:
        parts = shares
    elif count > 1:
        parts = max(min(units, 4 * count), 1)
        bands = min(ceil_div(4 * count, parts), max(plan.out_size[0] // _LEAST_ROWS, 1))
    return Cut(units, parts, bands, scratch, together or 0, rows, slots, row_size)


@lru_cache(maxsize=256)
def _tasks(plan: ConvPlan, level: int, count: int) -> conv.DepthwiseTasks:
    return conv.DepthwiseTasks(level, is_double_plan(plan), count, plan, _cut(plan, level, count))


def _is_square_of_stride_2(plan: ConvPlan) -> bool:
    return plan.stride == (2, 2) and plan.dilation == (1, 1) and plan.kernel in ((3, 3), (5, 5))


def cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated, where every load is from the first level of the cache.

    Each vector of outputs takes 5, and for each tap 1.1 where rows share their loads, 2.3 where they do not, 3.6 where
    every other column is picked; and more where loads are masked; a row takes 9 besides on a Zen 5 with AVX-512.
    Squares of stride 2 take 1.4 for a tap, and for a row 18, or 55 where it begins in the midst of the kernel, 24 more
    on that Zen 5. Measured on AVX-512; where it is missing, masks are dear. To that comes the sorting of channels-last
    images.
    """
    return _sorting(plan, level) + _filtering(plan, level)


def _sorting(plan: ConvPlan, level: int) -> float:
    """Cycles to sort a channels-last image into planes: 3 a vector, of whole squares where these are turned."""
    if plan.layout != "nhwc":
        return 0
    lanes = runtime.lanes(level, is_double_plan(plan))
    channels = plan.in_channels
    if channels > _MOST_DEALT:
        channels = ceil_div(channels, lanes) * lanes
    return 3 * channels * plan.in_size[0] * ceil_div(plan.in_size[1], lanes)


def _filtering(plan: ConvPlan, level: int) -> float:
    is_double = is_double_plan(plan)
    vectors = ceil_div(plan.out_size[1], runtime.lanes(level, is_double))
    has_masks = runtime.lanes(level, is_double) * (8 if is_double else 4) == _VECTOR_BYTES
    if _is_square_of_stride_2(plan):
        row = (18 if plan.kernel == (3, 3) else 55) + (24 if estimate.keeps_up(level) else 0 if has_masks else 32)
        return plan.out_channels * plan.out_size[0] * (row + vectors * (4 + 1.4 * plan.kernel[0] * plan.kernel[1]))
    alone = plan.stride[0] > 1 or plan.dilation[0] > 1 or (plan.kernel[0] < _MOST_ROWS and plan.kernel != (3, 3))
    tap = 3.6 if plan.stride[1] > 1 else 2.3 if alone else 1.1
    if has_masks:
        tap *= 1.5 if vectors == 1 else 1.0
    else:
        tap *= 1 + 0.8 * min(vectors, 2) / max(vectors, 1)
    row = 9 if estimate.keeps_up(level) else 0
    return plan.out_channels * plan.out_size[0] * (row + vectors * (5 + tap * plan.kernel[0] * plan.kernel[1]))


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need."""
    level = isa.current()
    return estimate.cost(plan, _tasks(plan, level, threads_for(plan, slowness(plan))), cycles(plan, level))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share weights."""
    return isa.current()


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Given:
    """Copy the weights, contiguous."""
    biases = np.zeros(plan.out_channels, plan.dtype)
    if bias is not None:
        biases[:] = bias
    return Given(isa.current(), np.array(weight, plan.dtype, order="C"), biases)


def run(plan: ConvPlan, x: np.ndarray, prepared: Given, out: np.ndarray | None) -> np.ndarray:
    """Run the plan."""
    return run_tasks(plan, _tasks(plan, prepared.isa, threads_for(plan, slowness(plan))), x, prepared, out)


def work(plan: ConvPlan, prepared: Given) -> conv.ConvWork:
    """What runs the plan, for calls that come again."""
    tasks = _tasks(plan, prepared.isa, threads_for(plan, slowness(plan)))
    return conv.ConvWork(tasks, prepared.weights, prepared.bias, slowness(plan) * plan.flops < BRIEF_FLOPS)


def pieces(plan: ConvPlan, level: int) -> Pieces:
    """How to compute the plan band by band."""
    together = _cut(plan, level, 1).together

    def tasks(part: ConvPlan, shares: int) -> conv.DepthwiseTasks:
        # fewer rows would leave room for more channels, and the shares would be others than the whole image's
        return conv.DepthwiseTasks(level, is_double_plan(plan), 1, part, _cut(part, level, 1, shares, together))

    step = together * plan.out_channels // plan.in_channels if together else 1
    return Pieces(tasks, blocks=range(0, plan.out_channels, step), rows=plan.out_size[0])
