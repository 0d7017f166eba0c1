"""Winograd's F(m x m, 3x3): 3x3 kernels of stride 1 with (m + 2)² products in place of 9 m² for m² outputs.

A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks" (2016). The interpolation points are 0,
infinity and pairs ±p between. The larger the tile, the fewer the products, and the larger the error and the weights:
m = 4 takes a quarter of the products, m = 2 four ninths, with 16 transformed weights for 9 in place of 36. Rows and
columns of tiles of four that end with one or two pixels have a last tile of F(2, 3), by some of the same weights.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise, product
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from ..._core import conv, memory, runtime
from ...plan import ConvPlan, Cost
from . import channels, direct, estimate, isa
from .arrays import into_rows
from .cache import LEVEL_3, WORKING_SET
from .cut import Pieces, ceil_div, is_double_plan, threads_for

__all__ = [
    "Grid",
    "Transformed",
    "cost",
    "cycles",
    "grid",
    "label",
    "pieces",
    "prepare",
    "prepare_key",
    "refusal",
    "run",
    "run_or_sum_directly",
    "weight_transform",
    "work",
]

_POINTS = {2: (1.0,), 4: (sqrt(0.5), sqrt(2.0)), 6: (0.5, 1.0, 2.0)}
"""The points p, by the tile's size m; those of winograd.h, which says why."""

_NAMED = {f"winograd_{tile}": tile for tile in _POINTS}
"""What ``algorithm`` may name. The largest tile errs too much to be chosen unasked."""

_CHOSEN = (4, 2)

_CHUNK = 128
"""Input channels whose weights pass the tiles at a time: 32 KiB, which stay in the first level of the cache."""

_LONG_CHUNK, _MANY_TILES = 512, 32
"""The same where the second level keeps up with multiply-adds, and the tiles of a task that it takes to pay."""

_TAKING_UP = 60
"""The core's own cycles each time that a register tile takes up its sums and puts them down (measured)."""

_PART = 4
"""Tiles of a row that are transformed together on the way in, as winograd_input.kernel.c does."""

_MOST_TILES = 64
"""Of a task: enough that weights from far away come in time."""


class Transformed(NamedTuple):
    """Transformed weights, [block of output channels][place][input channel][channel of the block]; and as given."""

    isa: int
    tile: int
    weights: np.ndarray
    bias: np.ndarray
    given_weight: np.ndarray
    given_bias: np.ndarray | None


class Grid(NamedTuple):
    """How the tiles of an image are cut into tasks; names as in the C struct pc_winograd."""

    tile: int
    tiles_h: int
    tiles_w: int
    bands_h: int
    bands_w: int
    shares: int
    block_vectors: int
    blocks: int
    chunk: int
    spreads: bool
    tile_pitch: int
    plane_pitch: int
    scratch: int
    """Elements of scratch memory a task needs."""


def label(plan: ConvPlan) -> str:
    """The implementation's name."""
    return f"winograd_f{_tile(plan, isa.current())}x3_{isa.name()}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.algorithm not in ("auto", "winograd", "measure", *_NAMED):
        return f"algorithm={plan.algorithm!r} was asked for"
    if plan.kernel != (3, 3) or plan.stride != (1, 1) or plan.dilation != (1, 1):
        return "it is for 3x3 kernels of stride 1 and dilation 1"
    if plan.groups == plan.in_channels > 1:
        return "each group has one input channel, so there is nothing to sum"
    if plan.algorithm != "auto":
        return None
    level = isa.current()
    fast = cycles(plan, level)
    plain = min(direct.cycles(plan, level), channels.cycles(plan, level))
    if fast > 0.9 * plain:
        return f"the transforms would cost more than they save: {fast:,.0f} cycles, direct sums {plain:,.0f}"
    return None


@lru_cache(maxsize=1024)
def _tile(plan: ConvPlan, level: int) -> int:
    """The size of the output tiles: as named, or which takes the fewest cycles."""
    return _NAMED.get(plan.algorithm) or min(_CHOSEN, key=lambda tile: _cycles(plan, level, tile))


def cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated."""
    return _cycles(plan, level, _tile(plan, level))


def _cycles(plan: ConvPlan, level: int, tile: int) -> float:
    """The same with tiles of this size.

    In the cost models' cycles (see estimate.py), also where vectors pass at half the pace, as multiply-adds do. Of two
    multiply-adds a cycle five sixths are reached, 95 in a hundred where they ask for half as much; of few input
    channels, taking up sums takes most of the time. On the way in four and a half cycles for each of the rows of a
    square of pixels and channels that is turned, and two for each place of a tile's vector of channels; on the way out
    as much for turning, and two and a half for each place (measured).
    Weights that do not stay in the second level of the cache come from the third at 12 bytes of the core's own cycles,
    8 where multiply-adds ask for much, 19 where the second level keeps up with these, and half as fast from memory.
    Transforming weights, unless they are kept, takes some 14 cycles for each of them.
    """
    groups, plan = plan.groups, _group(plan)
    places, tiles = (tile + 2) ** 2, _tiles(plan, tile)
    lanes = runtime.lanes(level, is_double_plan(plan))
    vectors = ceil_div(plan.out_channels, lanes)
    products = _products(plan, level, tile) * vectors * _places(plan, tile)
    turning = 4.5 * lanes * plan.in_size[0] * ceil_div(plan.in_size[1], lanes)
    coming_in = ceil_div(plan.in_channels, lanes) * (turning + 2 * places * tiles)
    going_out = vectors * (4.5 * tile**2 + 2.5 * places) * tiles
    preparing = 0 if plan.keeps_weights else 14 * places * plan.in_channels * plan.out_channels
    return groups * (preparing + max(products, _fetching(plan, level, tile)) + coming_in + going_out)


def _group(plan: ConvPlan) -> ConvPlan:
    """The plan of one group, as if each group were an image of its own."""
    if plan.groups == 1:
        return plan
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    return replace(plan, batch=plan.batch * plan.groups, groups=1, in_channels=per_in, out_channels=per_out)


def _products(plan: ConvPlan, level: int, tile: int) -> float:
    """Cycles of a product of a tile for a vector of output channels."""
    lanes = runtime.lanes(level, is_double_plan(plan))
    vectors = min(ceil_div(plan.out_channels, lanes), runtime.block_vectors(level, is_double_plan(plan)))
    full = vectors == runtime.block_vectors(level, is_double_plan(plan))
    sums = vectors * (runtime.block_pixels(level, is_double_plan(plan)) if full else 8)  # of a register tile
    taking_up = estimate.pace(level) * _TAKING_UP * ceil_div(plan.in_channels, _CHUNK) / sums
    return plan.in_channels / 2 / (5 / 6 if estimate.asks_much(level) else 0.95) + taking_up


def _fetching(plan: ConvPlan, level: int, tile: int) -> float:
    """Cycles in which all transformed weights come from where they stay."""
    weights = _weight_bytes(plan, tile)
    if weights <= WORKING_SET:
        return 0.0
    near = 19 if estimate.keeps_up(level) else 8 if estimate.asks_much(level) else 12
    rate = near * (1 if weights <= LEVEL_3 else 0.5)
    return weights / rate * estimate.pace(level)


def _tiles(plan: ConvPlan, tile: int) -> int:
    """Tiles of an image."""
    return ceil_div(plan.out_size[0], tile) * ceil_div(plan.out_size[1], tile)


def _places(plan: ConvPlan, tile: int) -> int:
    """Products of all tiles of an image; tiles of four that end with at most two pixels take fewer."""

    def along(outputs: int) -> int:
        is_short = tile == 4 and (outputs - 1) % 4 < 2
        return ceil_div(outputs, tile) * (tile + 2) - (2 if is_short else 0)

    return along(plan.out_size[0]) * along(plan.out_size[1])


def _weight_bytes(plan: ConvPlan, tile: int) -> int:
    """Bytes of the transformed weights."""
    return (tile + 2) ** 2 * plan.in_channels * plan.out_channels * (8 if is_double_plan(plan) else 4)


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need; its flops are those of the products."""
    level = isa.current()
    tile = _tile(plan, level)
    weights = plan.in_channels * plan.out_channels // plan.groups  # of each place
    tasks, cycles = _tasks(plan, level, threads_for(plan), tile), _cycles(plan, level, tile)
    found = estimate.cost(plan, tasks, cycles, (tile + 2) ** 2 * weights)
    return found._replace(flops=2 * weights * plan.batch * _places(plan, tile))


def grid(plan: ConvPlan, level: int, count: int, tile: int) -> Grid:
    """Cut the plan's tiles into tasks for ``count`` threads; the result does not depend on how."""
    plan = _group(plan)
    is_double, places = is_double_plan(plan), (tile + 2) ** 2
    lanes, itemsize = runtime.lanes(level, is_double), 8 if is_double else 4
    block_vectors = runtime.block_vectors(level, is_double)
    vectors = ceil_div(plan.out_channels, lanes)
    blocks = ceil_div(vectors, block_vectors)
    width = min(vectors, block_vectors) * lanes
    tiles_h, tiles_w = ceil_div(plan.out_size[0], tile), ceil_div(plan.out_size[1], tile)
    most = _MOST_TILES
    if (weights := _weight_bytes(plan, tile)) <= WORKING_SET:
        # Weights that stay in the cache leave what they do not take of three quarters of it to the tiles. Others are
        # read again for every task: then many tiles, even if they spill into the next cache.
        room = 3 * WORKING_SET // 2 - weights
        most = min(max(room // (places * itemsize * (plan.in_channels + width)), 12), most)
    bands_w = ceil_div(tiles_w, most)
    rows = max(1, most // ceil_div(tiles_w, bands_w))
    bands_h, share = _sharing(plan, level, count, tile, ceil_div(tiles_h, rows), bands_w, blocks)
    cols, rows = ceil_div(tiles_w, bands_w), ceil_div(tiles_h, bands_h)
    keeps_up = estimate.keeps_up(level)
    # whole vectors are written, and neither tiles nor places lie a power of two apart
    tile_pitch = ceil_div(plan.in_channels, lanes) * lanes + lanes
    plane_pitch = rows * cols * tile_pitch + lanes
    work = ((tile * rows + 2) * (tile * cols + 2) + (tile + 2) * (_PART * tile + 2)) * lanes
    return Grid(
        tile=tile,
        tiles_h=tiles_h,
        tiles_w=tiles_w,
        bands_h=bands_h,
        bands_w=bands_w,
        shares=share,
        block_vectors=block_vectors,
        blocks=blocks,
        chunk=_LONG_CHUNK if keeps_up and rows * cols >= _MANY_TILES else _CHUNK,
        spreads=keeps_up,
        tile_pitch=tile_pitch,
        plane_pitch=plane_pitch,
        scratch=places * plane_pitch + max(work, places * rows * cols * width),
    )


def _sharing(
    plan: ConvPlan, level: int, count: int, tile: int, least: int, bands_w: int, blocks: int
) -> tuple[int, int]:
    """Bands down an image, ``least`` or a few more, and shares of the output channels, for ``count`` threads.

    The quickest way, by the thread with the most to do: more bands read the weights again, more shares transform the
    input again.
    """
    images = max(plan.batch, 1) * bands_w
    if count == 1 or images * least >= 8 * count:
        return least, 1
    is_double, tiles_h = is_double_plan(plan), ceil_div(plan.out_size[0], tile)
    lanes, block = runtime.lanes(level, is_double), runtime.block_vectors(level, is_double)
    vectors, places = ceil_div(plan.out_channels, lanes), (tile + 2) ** 2
    cols = ceil_div(plan.out_size[1], tile) / bands_w
    coming_in = ceil_div(plan.in_channels, lanes) * (4.5 * tile**2 + 2 * places)
    products = _products(plan, level, tile) * _places(plan, tile) / _tiles(plan, tile)  # of a tile in the mean
    going_out = 4.5 * tile**2 + 2.5 * places
    fetching = 2 * _fetching(plan, level, tile) / vectors  # twice as long, since products wait where few tiles use them

    def time(rows: int, own: int) -> float:
        """Of a task of so many rows of tiles and vectors of output channels."""
        tiles = rows * cols
        return coming_in * tiles + own * (max(products * tiles, fetching) + going_out * tiles)

    def longest(bands: int, shares: int) -> float:
        firsts = [min(block * (blocks * share // shares), vectors) for share in range(shares + 1)]
        edges = [tiles_h * band // bands for band in range(bands + 1)]
        times = [time(b - a, d - c) for a, b in pairwise(edges) for _ in range(bands_w) for c, d in pairwise(firsts)]
        times *= max(plan.batch, 1)
        ends = [len(times) * thread // count for thread in range(count + 1)]
        return max(sum(times[a:b]) for a, b in pairwise(ends))

    ways = product(range(least, min(tiles_h, least + count) + 1), range(1, min(blocks, count) + 1))
    return min(ways, key=lambda way: longest(*way))


@lru_cache(maxsize=256)
def _tasks(plan: ConvPlan, level: int, count: int, tile: int) -> conv.WinogradTasks:
    return conv.WinogradTasks(level, is_double_plan(plan), count, plan, grid(plan, level, count, tile))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share transformed weights."""
    level = isa.current()
    return level, _tile(plan, level)


@lru_cache
def weight_transform(tile: int, taps: int = 3, without: int = 0) -> np.ndarray:
    """G: (1, p, p² ...) / product over the other finite points q of (p - q), for each point p; and infinity's.

    ``without``: 1 for all points of a tap more but 0.
    """
    points = [0.0, *(sign * p for p in _POINTS[tile + taps + without - 3] for sign in (1, -1))][without:]
    rows = [np.array([p**k for k in range(taps)]) / prod(p - q for q in points if q != p) for p in points]
    return np.stack([*rows, np.eye(taps)[-1]])


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Transformed | None:
    """Transform the weights in float64; None if any is not finite, or becomes so: only direct sums show that right."""
    level, is_double = isa.current(), is_double_plan(plan)
    tile = _tile(plan, level)
    transform, size = weight_transform(tile), tile + 2
    lanes = runtime.lanes(level, is_double)
    block = runtime.block_vectors(level, is_double) * lanes
    one = _group(plan)
    per_in, per_out, padded = one.in_channels, one.out_channels, ceil_div(one.out_channels, lanes) * lanes
    each = per_in * size**2  # numbers for an output channel
    packed = memory.empty((plan.groups, padded * each), plan.dtype)  # of 16 KB and more each vector in one line
    packed[...] = 0  # channels of the last vector that there are not
    for group, first in product(range(plan.groups), range(0, per_out, block)):
        part = weight[group * per_out :][first : min(first + block, per_out)].astype(np.float64)
        width = min(block, padded - first)
        target = packed[group, first * each : (first + width) * each].reshape(size, size, per_in, width)
        with np.errstate(over="ignore", invalid="ignore"):
            places = np.kron(transform, transform) @ part.transpose(2, 3, 1, 0).reshape(9, -1)
            target[..., : part.shape[0]] = places.reshape(size, size, per_in, -1)
    if not np.isfinite(packed).all():
        return None
    biases = np.zeros((plan.groups, padded), plan.dtype)
    if bias is not None:
        biases[:, :per_out] = bias.reshape(plan.groups, per_out)
    return Transformed(level, tile, packed, biases, weight, bias)


def run(plan: ConvPlan, x: np.ndarray, prepared: Transformed, out: np.ndarray | None) -> np.ndarray:
    """Run the plan; images whose results are not all finite are done again by direct sums.

    The transforms mix the pixels of a tile, so one inf or NaN, or an overflow half way, would reach pixels that the
    plain sum leaves alone.
    """
    return run_or_sum_directly(plan, tasks(plan, prepared), x, prepared, out)


def tasks(plan: ConvPlan, prepared: Transformed) -> conv.WinogradTasks:
    """The tasks of the whole plan, for transformed weights."""
    return _tasks(plan, prepared.isa, threads_for(plan), prepared.tile)


def run_or_sum_directly(
    plan: ConvPlan, tasks: conv.ConvTasks, x: np.ndarray, prepared: Any, out: np.ndarray | None
) -> np.ndarray:
    """The same with any ``tasks`` of such an algorithm; ``prepared`` has the weights as given, too."""

    def fill(result: np.ndarray) -> None:
        broken = conv.run(tasks, x, prepared.weights, prepared.bias, result)
        if broken is not None:
            _sum_directly(plan, x, prepared.given_weight, prepared.given_bias, broken, result)

    return into_rows(out, plan.out_shape, plan.dtype, fill)


def _sum_directly(
    plan: ConvPlan,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    images: np.ndarray,
    result: np.ndarray,
) -> None:
    """Compute these images once more, by direct sums."""
    one = replace(plan, batch=1, algorithm="direct")
    plain = channels if channels.refusal(one) is None else direct
    weights = plain.prepare(one, weight, bias)
    for image in images:
        plain.run(one, x[image : image + 1], weights, result[image : image + 1])


def work(plan: ConvPlan, prepared: Transformed) -> conv.ConvWork:
    """What runs the plan, for calls that come again; those whose results are not all finite go the general way."""
    return conv.ConvWork(tasks(plan, prepared), prepared.weights, prepared.bias, False)


def pieces(plan: ConvPlan, level: int) -> Pieces:
    """How to compute the plan band by band: of whole rows of tiles, which mix the rows of their input."""
    is_double, tile = is_double_plan(plan), _tile(plan, level)

    def tasks(part: ConvPlan, shares: int) -> conv.WinogradTasks:
        return conv.WinogradTasks(level, is_double, 1, part, grid(part, level, 1, tile)._replace(shares=shares))

    whole, block = grid(plan, level, 1, tile), runtime.block_vectors(level, is_double) * runtime.lanes(level, is_double)
    return Pieces(
        tasks,
        blocks=range(0, plan.out_channels, block if plan.groups == 1 else plan.out_channels),
        rows=tile * ceil_div(whole.tiles_h, whole.bands_h),
        step=tile,
        weights_stay=_weight_bytes(_group(plan), tile) <= WORKING_SET,
        shares=lambda count: grid(plan, level, count, tile).shares,  # each transforms the input again
        may_break=True,
    )
