"""Winograd's F(4x4, 3x3): a quarter of the multiplications, for 3x3 kernels of stride 1.

A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks" (2016), with the interpolation points
0, ±√½, ±√2 and infinity.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost
from . import channels, direct, estimate, isa
from .arrays import into_rows
from .cache import WORKING_SET
from .cut import Pieces, ceil_div, is_double_plan, shares, threads_for

__all__ = ["Grid", "Transformed", "cost", "grid", "label", "pieces", "prepare", "prepare_key", "refusal", "run", "work"]

_TILE = 4
_PLACES = 36
_CHUNK = 128
"""Input channels whose weights pass the tiles at a time: 32 KiB, which stay in the first level of the cache."""

# rows: (1, p, p²) / product over the other finite points q of (p - q), for each point p; and infinity's
_A, _B = sqrt(0.5), sqrt(2.0)
_G = np.array(
    [
        [1, 0, 0],
        [-1 / 1.5, -_A / 1.5, -0.5 / 1.5],
        [-1 / 1.5, _A / 1.5, -0.5 / 1.5],
        [1 / 6, _B / 6, 2 / 6],
        [1 / 6, -_B / 6, 2 / 6],
        [0, 0, 1],
    ]
)


class Transformed(NamedTuple):
    """Transformed weights, [block of output channels][place][input channel][channel of the block]; and as given."""

    isa: int
    weights: np.ndarray
    bias: np.ndarray
    given_weight: np.ndarray
    given_bias: np.ndarray | None


class Grid(NamedTuple):
    """How the tiles of an image are cut into tasks; names as in the C struct pc_winograd."""

    tiles_h: int
    tiles_w: int
    rows: int
    cols: int
    bands_h: int
    bands_w: int
    shares: int
    block_vectors: int
    blocks: int
    chunk: int
    tile_pitch: int
    plane_pitch: int
    scratch: int
    """Elements of scratch memory a task needs."""


def label(plan: ConvPlan) -> str:
    """The implementation's name."""
    return f"winograd_f4x3_{isa.name()}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.algorithm not in ("auto", "winograd", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    if plan.kernel != (3, 3) or plan.stride != (1, 1) or plan.dilation != (1, 1) or plan.groups != 1:
        return "it is for 3x3 kernels of stride 1 and dilation 1, and one group"
    if plan.algorithm in ("winograd", "measure"):
        return None
    level = isa.current()
    fast, plain = _cycles(plan, level), min(direct.cycles(plan, level), channels.cycles(plan, level))
    if fast > 0.9 * plain:
        return f"the transforms would cost more than they save: {fast:,.0f} cycles, direct sums {plain:,.0f}"
    return None


def _cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated.

    Two multiply-adds a cycle, five sixths of which are reached; on the way in four and a half cycles for each of the
    rows of a square of pixels and channels that is turned, and 75 for a tile's vector of channels; on the way out 400
    (measured on Emerald Rapids); weights that do not stay in the cache come at 8 bytes a cycle. Transforming weights,
    unless they are kept, takes some 500 cycles for each pair of channels.
    """
    is_double = is_double_plan(plan)
    lanes, itemsize = runtime.lanes(level, is_double), 8 if is_double else 4
    tiles_h, tiles_w = ceil_div(plan.out_size[0], _TILE), ceil_div(plan.out_size[1], _TILE)
    pairs, rate = plan.in_channels * plan.out_channels, 2 * lanes * 5 / 6
    vectors = ceil_div(plan.out_channels, lanes)
    products = _PLACES * plan.in_channels * vectors * lanes * tiles_h * tiles_w / rate
    turning = 4.5 * lanes * plan.in_size[0] * ceil_div(plan.in_size[1], lanes)
    coming_in = ceil_div(plan.in_channels, lanes) * (turning + 75 * tiles_h * tiles_w)
    going_out = 400 * tiles_h * tiles_w * vectors
    weights = _PLACES * pairs * itemsize
    fetching = weights / 8 if weights > WORKING_SET else 0
    preparing = 0 if plan.keeps_weights else 500 * pairs
    return preparing + max(products, fetching) + coming_in + going_out


def _weight_bytes(plan: ConvPlan) -> int:
    """Bytes of the transformed weights."""
    return _PLACES * plan.in_channels * plan.out_channels * (8 if is_double_plan(plan) else 4)


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need; its flops are those of the products."""
    level = isa.current()
    pairs = plan.in_channels * plan.out_channels
    tiles = plan.batch * ceil_div(plan.out_size[0], _TILE) * ceil_div(plan.out_size[1], _TILE)
    found = estimate.cost(plan, _tasks(plan, level, threads_for(plan)), _cycles(plan, level), _PLACES * pairs)
    return found._replace(flops=2 * _PLACES * pairs * tiles)


def grid(plan: ConvPlan, level: int, count: int) -> Grid:
    """Cut the plan's tiles into tasks for ``count`` threads; the result does not depend on how."""
    is_double = is_double_plan(plan)
    lanes, itemsize = runtime.lanes(level, is_double), 8 if is_double else 4
    block_vectors = runtime.block_vectors(level, is_double)
    vectors = ceil_div(plan.out_channels, lanes)
    blocks = ceil_div(vectors, block_vectors)
    width = min(vectors, block_vectors) * lanes
    tiles_h, tiles_w = ceil_div(plan.out_size[0], _TILE), ceil_div(plan.out_size[1], _TILE)
    # Weights that stay in the cache leave half of it to the tiles. Others are read again for every task: then as many
    # tiles as can be, even if they spill into the next cache.
    stays = _weight_bytes(plan) <= WORKING_SET
    room = WORKING_SET // 2 if stays else 4 * WORKING_SET
    most = min(max(room // (_PLACES * itemsize * (plan.in_channels + width)), 12), 64)
    cols = ceil_div(tiles_w, ceil_div(tiles_w, most))
    rows = max(1, min(tiles_h, most // cols))
    parts = max(plan.batch, 1) * ceil_div(tiles_w, cols)
    if count > 1:
        # enough tasks for all threads, from blocks of output channels if weights are dear, and else from tiles
        wanted = 2 * count if stays else ceil_div(count, blocks)
        rows = min(rows, max(1, tiles_h // ceil_div(wanted, parts)))
    rows = ceil_div(tiles_h, ceil_div(tiles_h, rows))
    bands_h, bands_w = ceil_div(tiles_h, rows), ceil_div(tiles_w, cols)
    # whole vectors are written, and neither tiles nor the 36 planes lie a power of two apart
    tile_pitch = ceil_div(plan.in_channels, lanes) * lanes + lanes
    plane_pitch = rows * cols * tile_pitch + lanes
    work = (_TILE * rows + 2 + 6) * (_TILE * cols + 2) * lanes
    return Grid(
        tiles_h=tiles_h,
        tiles_w=tiles_w,
        rows=rows,
        cols=cols,
        bands_h=bands_h,
        bands_w=bands_w,
        shares=shares(parts * bands_h, blocks, count),
        block_vectors=block_vectors,
        blocks=blocks,
        chunk=_CHUNK,
        tile_pitch=tile_pitch,
        plane_pitch=plane_pitch,
        scratch=_PLACES * plane_pitch + max(work, _PLACES * rows * cols * width),
    )


@lru_cache(maxsize=256)
def _tasks(plan: ConvPlan, level: int, count: int) -> conv.WinogradTasks:
    return conv.WinogradTasks(level, is_double_plan(plan), count, plan, grid(plan, level, count))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share transformed weights."""
    return isa.current()


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Transformed | None:
    """Transform the weights in float64; None if they are not finite or become so, which only direct sums show right."""
    level, is_double = isa.current(), is_double_plan(plan)
    lanes = runtime.lanes(level, is_double)
    block = runtime.block_vectors(level, is_double) * lanes
    padded = ceil_div(plan.out_channels, lanes) * lanes
    each = plan.in_channels * _PLACES  # numbers for an output channel
    packed = np.zeros(padded * each, plan.dtype)
    for first in range(0, plan.out_channels, block):
        part = weight[first : first + block].astype(np.float64)
        width = min(block, padded - first)
        target = packed[first * each : (first + width) * each].reshape(6, 6, plan.in_channels, width)
        with np.errstate(over="ignore", invalid="ignore"):
            places = np.kron(_G, _G) @ part.transpose(2, 3, 1, 0).reshape(9, -1)
            target[..., : part.shape[0]] = places.reshape(6, 6, plan.in_channels, -1)
    if not np.isfinite(packed).all():
        return None
    biases = np.zeros(padded, plan.dtype)
    if bias is not None:
        biases[: plan.out_channels] = bias
    return Transformed(level, packed, biases, weight, bias)


def run(plan: ConvPlan, x: np.ndarray, prepared: Transformed, out: np.ndarray | None) -> np.ndarray:
    """Run the plan; images whose results are not all finite are done again by direct sums.

    The transforms mix the pixels of a tile, so one inf or NaN, or an overflow half way, would reach pixels that the
    plain sum leaves alone.
    """
    tasks = _tasks(plan, prepared.isa, threads_for(plan))

    def fill(result: np.ndarray) -> None:
        broken = conv.run(tasks, x, prepared.weights, prepared.bias, result)
        if broken is not None:
            one = replace(plan, batch=1, algorithm="direct")
            plain = channels if channels.refusal(one) is None else direct
            weights = plain.prepare(one, prepared.given_weight, prepared.given_bias)
            for image in broken:
                plain.run(one, x[image : image + 1], weights, result[image : image + 1])

    return into_rows(out, plan.out_shape, plan.dtype, fill)


def work(plan: ConvPlan, prepared: Transformed) -> conv.ConvWork:
    """What runs the plan, for calls that come again; those whose results are not all finite go the general way."""
    return conv.ConvWork(_tasks(plan, prepared.isa, threads_for(plan)), prepared.weights, prepared.bias, False)


def pieces(plan: ConvPlan, level: int) -> Pieces:
    """How to compute the plan band by band: of whole rows of tiles, which mix the rows of their input."""
    is_double = is_double_plan(plan)

    def tasks(part: ConvPlan, shares: int) -> conv.WinogradTasks:
        return conv.WinogradTasks(level, is_double, 1, part, grid(part, level, 1)._replace(shares=shares))

    whole = grid(plan, level, 1)
    return Pieces(
        tasks,
        blocks=range(0, plan.out_channels, whole.block_vectors * runtime.lanes(level, is_double)),
        rows=_TILE * whole.rows,
        step=_TILE,
        weights_stay=_weight_bytes(plan) <= WORKING_SET,
    )
