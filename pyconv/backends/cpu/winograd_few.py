"""Winograd's algorithm for few input channels, also with a stride: the first layers of networks, and 5x5 ones.

A kernel with a stride s is taken apart into s x s kernels of every s-th tap, each of which runs with stride 1 over
every s-th row and column of the input: of channels and these phases, the *planes*, the products are summed. So 7x7 with
stride 2 is at most 4x4 taps, of which F(3x3, 4x4) takes 36 products for 9 outputs of a plane. Phases of a tap less
along an axis do without the point 0: with 4x3, 3x4 and 3x3 taps they take 30, 30 and 25, all of 7x7 13.4 for an output
and channel in place of 49. The points are those of F(4x4, 3x3), and so is the size of the error.

With few planes the sums are short: those of six places stay in registers and are transformed there, with vectors along
tiles (see _core/kernels/winograd_few.kernel.c). A relu or a pooling of 2x2 that follows, or both, are done there too.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache, partial
from itertools import product
from typing import NamedTuple

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost, Pair
from . import channels, direct, estimate, few, isa, winograd
from .bands import LARGEST_BAND, Bands, bands
from .blocks import has_few_sums
from .cache import WORKING_SET
from .cut import BRIEF_FLOPS, Pieces, ceil_div, is_double_plan, shares, threads_for
from .tiles import FIRST_LEVEL, Tiling

__all__ = [
    "Transformed",
    "cost",
    "cycles",
    "holds_windows",
    "label",
    "pieces",
    "prepare",
    "prepare_key",
    "reached",
    "refusal",
    "run",
    "tasks",
    "transformed",
    "whole",
    "work",
]

_SIZE = 6
"""Places of a tile along an axis."""

_MOST_PLANES = {2: 64, 3: 256, 4: 256, 5: 256}
"""Of phases of so many taps: two save little, and have the largest error."""

_MOST_PLAIN = 16
"""Those of 3x3 kernels of stride 1, which go by winograd.py where there are more."""

_AROUND, _STORED = 20, 6.5
"""Cycles of a vector of tiles and an output channel beside its products, and for each output of a tile (measured)."""

_COMING_IN, _READ = 100, 40
"""Cycles of a vector of tiles of a plane until it is transformed, and for each output along an axis (measured)."""

_PASSING = 4
"""Cycles of a plane's weights for an output channel to come from further away, once a band (measured)."""

_RELU = 3
"""``pooled`` of tasks that write the relu of all results."""

_VECTOR_ROOM = 30 * 1024
"""Bytes that a vector of tiles and the weights of a block may have of the first level of the cache, which holds 32 KiB
on a Zen 4, 48 on a Zen 5."""

_NEAR, _NEAR_IN_A_GROUP = WORKING_SET, WORKING_SET // 6
"""Bytes of a band's places, above which they cost a tenth more (measured); where layers that follow share the cache."""


class Transformed(NamedTuple):
    """Transformed weights, [block of output channels][column of places][plane][row][channel]; and as given."""

    isa: int
    weights: np.ndarray
    bias: np.ndarray
    given_weight: np.ndarray
    given_bias: np.ndarray | None


def _taps(plan: ConvPlan) -> int:
    """Taps of a phase along the axis that has more of them."""
    return max(ceil_div(kernel, stride) for kernel, stride in zip(plan.kernel, plan.stride, strict=True))


def _tile(plan: ConvPlan) -> int:
    """Outputs of a tile along an axis."""
    return _SIZE + 1 - _taps(plan)


def _planes(plan: ConvPlan) -> int:
    return plan.in_channels * plan.stride[0] * plan.stride[1]


def _whole(plan: ConvPlan) -> tuple[int, int]:
    """Of the phases along each axis, the first ones that have as many taps as the most, unless none has.

    The others have one point less, 0, and so one place less.
    """
    taps = _taps(plan)
    found = [max(kernel - (taps - 1) * stride, 0) for kernel, stride in zip(plan.kernel, plan.stride, strict=True)]
    return found[0] or plan.stride[0], found[1] or plan.stride[1]


def _phases(plan: ConvPlan) -> list[Pair]:
    """The phases in the order of the kernel's planes: by whether they have fewer taps down, and along, the kernel."""
    whole_h, whole_w = _whole(plan)
    return sorted(
        product(range(plan.stride[0]), range(plan.stride[1])), key=lambda at: (at[0] >= whole_h, at[1] >= whole_w)
    )


def _products(plan: ConvPlan) -> int:
    """Of a tile and an output channel."""
    pairs = zip(plan.stride, _whole(plan), strict=True)
    down, along = (_SIZE * whole + (_SIZE - 1) * (stride - whole) for stride, whole in pairs)
    return plan.in_channels * down * along


def _is_plain(plan: ConvPlan) -> bool:
    """Whether winograd.py is for it too."""
    return (plan.kernel, plan.stride) == ((3, 3), (1, 1))


def label(plan: ConvPlan) -> str:
    """The implementation's name."""
    taps = min(max(_taps(plan), min(_MOST_PLANES)), max(_MOST_PLANES))
    return f"winograd_few_f{_SIZE + 1 - taps}x{taps}_{isa.name()}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.algorithm not in ("auto", "winograd", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    if reason := _cannot(plan, isa.current()):
        return reason
    level, is_plain = isa.current(), _is_plain(plan)
    if plan.algorithm == "measure":
        return None
    if plan.algorithm == "winograd" and not is_plain:
        return "algorithm='winograd' asks for 3x3 kernels of stride 1"
    own = cycles(plan, level)
    if plan.algorithm == "auto":
        plain = min(each.cycles(plan, level) for each in (direct, channels, few))
        if own > (0.96 if estimate.keeps_up(level) else 0.85) * plain:  # the gain that is asked for
            return f"the transforms would cost more than they save: {own:,.0f} cycles, direct sums {plain:,.0f}"
    if is_plain and own > (other := winograd.cycles(plan, level)):
        return f"vectors along channels take fewer cycles: {other:,.0f}, along tiles {own:,.0f}"
    return None


@lru_cache(maxsize=1024)
def _cannot(plan: ConvPlan, level: int) -> str | None:
    if plan.groups != 1 or plan.dilation != (1, 1):
        return "it is for one group and dilation 1"
    pairs = list(zip(plan.kernel, plan.stride, strict=True))
    if _taps(plan) not in _MOST_PLANES or any(kernel < stride for kernel, stride in pairs):
        return "it is for kernels of two to five steps of their stride"
    most = _MOST_PLAIN if _is_plain(plan) else _MOST_PLANES[_taps(plan)]
    if (planes := _planes(plan)) > most:
        return f"the phases of all channels are {planes} planes; it is for {most} at most"
    cut, _ = _cut(plan, level, 1)
    if cut.cols < plan.out_size[1] or cut.scratch > LARGEST_BAND:
        return "the rows are too long for a band of whole rows"
    return None


def holds_windows(plan: ConvPlan) -> bool:
    """Whether its tiles are made of whole windows of 2x2."""
    return _tile(plan) == 4


def cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated.

    In the cost models' cycles (see estimate.py), also where vectors pass at half the pace, as multiply-adds do. A plane
    has 36 products for a vector of tiles and an output channel, each of which asks for a broadcast weight and its part
    of a vector of pixels; of two loads a cycle five eighths are reached, three quarters by small vectors whose places
    stay in the first level of the cache (measured). Transforming weights, unless they are kept, takes some 14 cycles
    for each of them.
    """
    tile, planes, all_products = _tile(plan), _planes(plan), _products(plan)
    is_double = is_double_plan(plan)
    lanes, together = runtime.lanes(level, is_double), runtime.winograd_few_channels(level, is_double)
    height, width = (ceil_div(size, tile) for size in plan.out_size)
    out_channels = ceil_div(plan.out_channels, together) * together
    near = has_few_sums(level) and all_products * lanes * (8 if is_double else 4) <= FIRST_LEVEL
    loads = estimate.pace(level) * (1 + 1 / together) / (1.5 if near else 1.25)
    products = all_products * max(0.5 / 0.97, loads)
    preparing = 0 if plan.keeps_weights else 14 * _SIZE**2 * planes * plan.out_channels
    coming_in = _coming_in(tile) * height * ceil_div(width, lanes) * planes
    return coming_in + preparing + _vectors(plan, level) * out_channels * (products + _around(tile))


def _around(tile: int) -> float:
    return _AROUND + _STORED * tile**2


def _coming_in(tile: int) -> float:
    return _COMING_IN + _READ * tile


def _vectors(plan: ConvPlan, level: int) -> int:
    """Vectors of tiles of an image, of which the last one of a band may not be full."""
    lanes, tile = runtime.lanes(level, is_double_plan(plan)), _tile(plan)
    height, width = (ceil_div(size, tile) for size in plan.out_size)
    rows = _rows(plan, level, 1)
    many, rest = divmod(height, rows)
    return many * ceil_div(rows * width, lanes) + ceil_div(rest * width, lanes)


@lru_cache(maxsize=1024)
def _rows(plan: ConvPlan, level: int, count: int, near: int = _NEAR) -> int:
    """Rows of tiles of a band: such that ``count`` threads are soonest done, with places that stay in the cache.

    Longer bands leave fewer lanes empty and let the weights pass less often.
    """
    is_double, tile, planes = is_double_plan(plan), _tile(plan), _planes(plan)
    lanes = runtime.lanes(level, is_double)
    height, width = (ceil_div(size, tile) for size in plan.out_size)
    row = _SIZE**2 * planes * width * (8 if is_double else 4)
    most = min(max(3 * near // row, 1), height)
    vector = plan.out_channels * (_products(plan) / 2 + _around(tile)) / planes  # cycles of each plane

    def work(rows: int) -> float:
        far = 1.1 if rows * row > near else 1.0
        coming_in = (rows + 0.5) * ceil_div(width, lanes) * _coming_in(tile)
        return ceil_div(rows * width, lanes) * vector * far + coming_in + _PASSING * plan.out_channels

    def time(rows: int) -> float:
        many, rest = divmod(height, rows)
        if count == 1:
            return many * work(rows) + (work(rest) if rest else 0)
        return ceil_div(max(plan.batch, 1) * ceil_div(height, rows), count) * work(rows)

    return min(range(most, 0, -1), key=time)


@lru_cache(maxsize=256)
def _cut(plan: ConvPlan, level: int, count: int) -> tuple[Bands, tuple[int, int, int, int, int]]:
    """The bands, of whole tiles, and what WinogradFewTasks needs besides."""
    is_double, tile, planes = is_double_plan(plan), _tile(plan), _planes(plan)
    lanes = runtime.lanes(level, is_double)
    height, width = (ceil_div(size, tile) for size in plan.out_size)
    padded = replace(plan, out_size=(height * tile, width * tile))
    cut = bands(padded, Tiling(0, lanes, lanes, lanes, 0.0, 1, 0, 0, 0), 8 if is_double else 4, 1, level, step=tile)
    rows = _rows(plan, level, count)
    count_h = ceil_div(height, rows)
    blocks = ceil_div(plan.out_channels, runtime.winograd_few_channels(level, is_double))
    # whole vectors are written and read, and none but those of tiles lies in two cache lines
    packed_rows, pitch = rows * tile + _taps(plan) - 1, cut.cols + _taps(plan) - 1
    phases = plan.stride[0] * plan.stride[1]
    channel_pitch = whole(phases * packed_rows * pitch, lanes)
    band_size = whole(plan.in_channels * channel_pitch + pitch, lanes) + lanes
    places_pitch = whole(rows * width, lanes) + 2 * lanes
    if lanes * (8 if is_double else 4) >= 32:
        places_pitch = (places_pitch // lanes | 1) * lanes  # else places would meet in few sets of the cache
    work_line = whole(pitch, lanes) + (tile + 1) * lanes
    behind = max(_SIZE * work_line, runtime.winograd_few_channels(level, is_double) * tile**2 * lanes + lanes)
    found = cut._replace(
        in_size=(reached(plan, 0), reached(plan, 1)),
        out_size=plan.out_size,
        rows=rows * tile,
        bands_h=count_h,
        shares=shares(max(plan.batch, 1) * count_h, blocks, count),
        packed_rows=packed_rows,
        pitch=pitch,
        channel_pitch=channel_pitch,
        band_size=band_size,
        band_stays=_stays(plan, level),
        scratch=band_size + _SIZE**2 * planes * places_pitch + behind,
    )
    return found, (tile, places_pitch, work_line, *_whole(plan))


def _stays(plan: ConvPlan, level: int) -> bool:
    """Whether a vector of tiles stays in the first level of the cache, with the weights that pass.

    Not where it has few planes: it comes soon again, and outputs are written channel by channel, in order.
    """
    is_double = is_double_plan(plan)
    each = runtime.lanes(level, is_double) + runtime.winograd_few_channels(level, is_double)
    return _VECTOR_ROOM // 2 < _products(plan) * each * (8 if is_double else 4) <= _VECTOR_ROOM


def reached(plan: ConvPlan, axis: int) -> int:
    """Rows or columns of the input as far as the windows reach: what is beyond may be infinite without harm to them."""
    (before, _), last = plan.padding[axis], (plan.out_size[axis] - 1) * plan.stride[axis]
    return min(plan.in_size[axis], max(last - before + plan.kernel[axis], 0))


def whole(elements: int, lanes: int) -> int:
    """As many, in whole vectors."""
    return ceil_div(elements, lanes) * lanes


@lru_cache(maxsize=256)
def tasks(plan: ConvPlan, level: int, count: int, pooled: int = 0) -> conv.WinogradFewTasks:
    """Tasks of a plan for ``count`` threads; ``pooled``: as in the C struct pc_direct."""
    return conv.WinogradFewTasks(level, is_double_plan(plan), count, *_cut(plan, level, count), pooled)


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need; its flops are those of the products."""
    level, tile = isa.current(), _tile(plan)
    weights = _products(plan) * plan.out_channels
    found = estimate.cost(plan, tasks(plan, level, threads_for(plan)), cycles(plan, level), weights)
    tiles = ceil_div(plan.out_size[0], tile) * ceil_div(plan.out_size[1], tile)
    return found._replace(flops=2 * weights * plan.batch * tiles)


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share transformed weights."""
    return isa.current()


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Transformed | None:
    """Transform the weights in float64; None if any is not finite, or becomes so: only direct sums show that right."""
    level, taps = isa.current(), _taps(plan)
    together = runtime.winograd_few_channels(level, is_double_plan(plan))
    transform = winograd.weight_transform(_tile(plan), taps)
    fewer = np.zeros((_SIZE, taps))
    fewer[1:, :-1] = winograd.weight_transform(_tile(plan), taps - 1, 1)
    blocks, phases, (whole_h, whole_w) = ceil_div(plan.out_channels, together), _phases(plan), _whole(plan)
    places = np.zeros((_SIZE, len(phases), plan.in_channels, _SIZE, blocks * together))
    for number, (i, j) in enumerate(phases):
        phase = np.zeros((plan.out_channels, plan.in_channels, taps, taps))
        some = weight[:, :, i :: plan.stride[0], j :: plan.stride[1]]
        phase[:, :, : some.shape[2], : some.shape[3]] = some
        down, along = (fewer if at >= whole else transform for at, whole in ((i, whole_h), (j, whole_w)))
        with np.errstate(over="ignore", invalid="ignore"):
            places[:, number, :, :, : plan.out_channels] = np.einsum(
                "ai,bj,kcij->bcak", down, along, phase, optimize=True
            )
    split = places.reshape(_SIZE, -1, _SIZE, blocks, together)
    with np.errstate(over="ignore"):
        packed = np.ascontiguousarray(np.moveaxis(split, 3, 0), plan.dtype)
    return transformed(plan, level, packed, weight, bias)


def transformed(
    plan: ConvPlan, level: int, packed: np.ndarray, weight: np.ndarray, bias: np.ndarray | None
) -> Transformed | None:
    """What ``prepare`` gives, of weights that are packed for whole blocks of output channels."""
    if not np.isfinite(packed).all():
        return None
    together = runtime.winograd_few_channels(level, is_double_plan(plan))
    biases = np.zeros(whole(plan.out_channels, together), plan.dtype)
    if bias is not None:
        biases[: plan.out_channels] += bias  # not -0.0: zeros of both signs would come of it, by the rounding of sums
    return Transformed(level, packed.reshape(-1), biases, weight, bias)


def run(plan: ConvPlan, x: np.ndarray, prepared: Transformed, out: np.ndarray | None) -> np.ndarray:
    """Run the plan; images whose results are not all finite are done again by direct sums, as in winograd.py."""
    found = tasks(plan, prepared.isa, threads_for(plan))
    return winograd.run_or_sum_directly(plan, found, x, prepared, out)


def work(plan: ConvPlan, prepared: Transformed) -> conv.ConvWork:
    """What runs the plan, for calls that come again; those whose results are not all finite go the general way."""
    found = tasks(plan, prepared.isa, threads_for(plan))
    return conv.ConvWork(found, prepared.weights, prepared.bias, plan.flops < BRIEF_FLOPS)


def pieces(plan: ConvPlan, level: int) -> Pieces:
    """How to compute the plan band by band: of whole rows of tiles, which mix the rows of their input."""
    is_double, tile = is_double_plan(plan), _tile(plan)

    def of_part(part: ConvPlan, count: int, relu: bool = False) -> conv.WinogradFewTasks:
        cut, places = _cut(part, level, 1)
        return conv.WinogradFewTasks(level, is_double, 1, cut._replace(shares=count), places, _RELU * relu)

    rows = tile * _rows(plan, level, 1, _NEAR_IN_A_GROUP)
    return Pieces(
        of_part,
        relu_tasks=partial(of_part, relu=True),
        blocks=range(0, plan.out_channels, runtime.winograd_few_channels(level, is_double)),
        rows=rows,
        step=tile,
        least=rows,
        may_break=True,
    )
