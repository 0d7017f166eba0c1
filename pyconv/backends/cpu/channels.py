"""Direct convolution with vectors along output channels: for small or channels-last images of many channels.

Nothing is packed but the weights: pixels are read one by one where they lie, in any layout and with any stride, and
taps in the padding are left out.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from itertools import pairwise
from math import gcd, prod
from typing import NamedTuple

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost
from . import direct, estimate, isa
from .arrays import into_rows
from .cache import WORKING_SET
from .cut import BRIEF_FLOPS, Pieces, ceil_div, is_double_plan, shares, threads_for

__all__ = [
    "Cut",
    "Packed",
    "cost",
    "cut",
    "cycles",
    "inside",
    "label",
    "pieces",
    "prepare",
    "prepare_key",
    "refusal",
    "run",
    "work",
]

_MOST_PIXELS = 8  # places in pc_channels_tile
_MOST_OUTPUT = 2**16

_BAND = 200
"""Output pixels whose sums wait together: more would leave the first level of the cache, fewer read weights again."""

_CHUNK = 128
"""Input channels whose weights, 32 KiB, pass a band at a time; half as many where a band is small (measured)."""


class Packed(NamedTuple):
    """Weights, [group][block of output channels][kernel row][kernel column][input channel][channel of the block]."""

    isa: int
    weights: np.ndarray
    bias: np.ndarray


class Cut(NamedTuple):
    """How the pixels and channels are cut into tasks; names as in the C struct pc_channels."""

    chunk: int
    blocks: int
    shares: int
    bands: int
    parts: int
    pixels: int
    most_tiles: int
    tiles: np.ndarray
    band_tiles: np.ndarray
    scratch: int
    """Bytes of scratch memory a task needs."""


def label(plan: ConvPlan) -> str:
    """The implementation's name, with its tile."""
    level = isa.current()
    vectors, pixels = (
        runtime.block_vectors(level, is_double_plan(plan)),
        runtime.block_pixels(level, is_double_plan(plan)),
    )
    return f"channels_{pixels}x{vectors * runtime.lanes(level, is_double_plan(plan))}_{isa.name()}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.algorithm not in ("auto", "direct", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    if plan.out_size[0] * plan.out_size[1] > _MOST_OUTPUT:
        return f"the output has more than {_MOST_OUTPUT:,} pixels: vectors along rows suit it better"
    if any((inside(plan, axis)[:, 0] >= inside(plan, axis)[:, 1]).any() for axis in (0, 1)):
        return "some output pixels see nothing but padding"
    if plan.algorithm != "measure" and direct.refusal(plan) is None:
        level = isa.current()
        own, other = cycles(plan, level), direct.cycles(plan, level)
        if own > other:
            return f"vectors along rows take fewer cycles: {other:,.0f}, along channels {own:,.0f}"
    return None


def inside(plan: ConvPlan, axis: int) -> np.ndarray:
    """For every output row (axis 0) or column (1): the kernel's first one inside of the image, and the first beyond."""
    first = np.arange(plan.out_size[axis]) * plan.stride[axis] - plan.padding[axis][0]
    step, size = plan.dilation[axis], plan.in_size[axis]
    begin = np.maximum(-(first // step), 0)
    end = np.minimum(-((first - size) // step), plan.kernel[axis])
    return np.stack([begin, end], axis=1)


def cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated.

    Two multiply-adds a cycle, of which 85 in a hundred are reached; about 50 cycles each time that a tile takes up its
    sums and puts them down; 120 to turn a vector of channels of as many pixels into rows; and up to 8 for each cache
    line of input, where the channels of a part lie in more pages than the processor keeps at hand (measured).
    """
    is_double = is_double_plan(plan)
    lanes = runtime.lanes(level, is_double)
    pixels = plan.out_size[0] * plan.out_size[1]
    vectors = ceil_div(plan.out_channels // plan.groups, lanes)
    blocks = ceil_div(vectors, runtime.block_vectors(level, is_double))
    per_in = plan.in_channels // plan.groups
    rows, columns = (float(np.diff(inside(plan, axis)).sum()) for axis in (0, 1))
    products = rows * columns * per_in * vectors / 2 / 0.85
    taking_up = 50 * blocks * rows * columns / runtime.block_pixels(level, is_double) * ceil_div(per_in, _CHUNK)
    turning = 120 * ceil_div(pixels, lanes) * vectors
    width = plan.in_size[1] * (8 if is_double else 4)
    lines = blocks * per_in * plan.out_size[0] * plan.kernel[0] * ceil_div(width, 64)
    pages = min(plan.in_size[0] * width / 4096, 1.0) * min(per_in, _CHUNK)
    fetching = lines * 8 * max(pages - 64, 0) / 64
    return plan.groups * (products + taking_up + turning + fetching)


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need."""
    level = isa.current()
    return estimate.cost(plan, _tasks(plan, level, threads_for(plan)), cycles(plan, level))


def _tiles(plan: ConvPlan, pixels: int, band: int) -> tuple[np.ndarray, np.ndarray]:
    """Bands of ``band`` output pixels, cut into tiles of ``pixels`` at most with the same taps inside the image."""
    out_h, out_w = plan.out_size
    rows, row_class = np.unique(inside(plan, 0), axis=0, return_inverse=True)
    columns, column_class = np.unique(inside(plan, 1), axis=0, return_inverse=True)
    kind = (row_class.reshape(-1, 1) * len(columns) + column_class.reshape(-1)).ravel()
    place = np.arange(out_h * out_w)
    order = np.lexsort((place, kind, place // band))
    run = np.stack([order // band, kind[order]], axis=1)
    starts = np.flatnonzero(np.any(run[1:] != run[:-1], axis=1)) + 1  # where a band or a kind begins
    edges = np.concatenate([[0], starts, [len(order)]])
    firsts = np.concatenate([np.arange(a, b, pixels) for a, b in pairwise(edges)])
    counts = np.diff(np.append(firsts, len(order)))
    tiles = np.zeros((len(firsts), 5 + _MOST_PIXELS), np.int32)
    tiles[:, 0] = counts
    tiles[:, 1:3] = rows[kind[order[firsts]] // len(columns)]
    tiles[:, 3:5] = columns[kind[order[firsts]] % len(columns)]
    for p in range(pixels):
        real = counts > p
        tiles[real, 5 + p] = order[firsts[real] + p] % band
    bands = ceil_div(out_h * out_w, band)
    band_tiles = np.searchsorted(order[firsts] // band, np.arange(bands + 1)).astype(np.int64)
    return tiles, band_tiles


def cut(plan: ConvPlan, level: int, count: int) -> Cut:
    """Cut the plan into tasks for ``count`` threads; the result does not depend on how."""
    is_double = is_double_plan(plan)
    itemsize = 8 if is_double else 4
    lanes, block = runtime.lanes(level, is_double), runtime.block_vectors(level, is_double)
    vectors = ceil_div(plan.out_channels // plan.groups, lanes)
    blocks, pixels = ceil_div(vectors, block), runtime.block_pixels(level, is_double)
    if vectors < block:
        pixels = _MOST_PIXELS  # tiles of fewer vectors have room for them
    size = plan.out_size[0] * plan.out_size[1]
    bands = ceil_div(size, _BAND)
    band = ceil_div(size, bands)
    bands = ceil_div(size, band)
    tiles, band_tiles = _tiles(plan, pixels, band)
    most_tiles = int(np.diff(band_tiles).max())
    width = min(vectors, block) * lanes
    # Blocks of channels are shared out before bands of pixels, so that each thread reads its own weights only.
    images = max(plan.batch, 1) * plan.groups
    share = shares(images, blocks, count)
    parts = min(bands, count // gcd(images * share, count))
    return Cut(
        chunk=_CHUNK // 2 if band <= 64 else _CHUNK,
        blocks=blocks,
        shares=share,
        bands=bands,
        parts=parts,
        pixels=band,
        most_tiles=most_tiles,
        tiles=tiles,
        band_tiles=band_tiles,
        scratch=most_tiles * _MOST_PIXELS * 8 + band * width * itemsize,
    )


@lru_cache(maxsize=256)
def _tasks(plan: ConvPlan, level: int, count: int) -> conv.ChannelsTasks:
    return conv.ChannelsTasks(level, is_double_plan(plan), count, plan, cut(plan, level, count))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share packed weights."""
    return isa.current()


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Packed | None:
    """Put the weights into the order in which the tiles read them; None if they are not all finite.

    Then 0 * inf from the padding would be missing from the sums.
    """
    level, is_double = isa.current(), is_double_plan(plan)
    lanes = runtime.lanes(level, is_double)
    block = runtime.block_vectors(level, is_double) * lanes
    groups, per_out, per_in = plan.groups, plan.out_channels // plan.groups, plan.in_channels // plan.groups
    padded = ceil_div(per_out, lanes) * lanes
    each = per_in * plan.kernel[0] * plan.kernel[1]
    packed = np.zeros((groups, padded * each), plan.dtype)
    given = np.asarray(weight, plan.dtype).reshape(groups, per_out, per_in, *plan.kernel)
    if not np.isfinite(given).all():
        return None
    for first in range(0, per_out, block):
        part = given[:, first : first + block]
        width = min(block, padded - first)
        target = packed[:, first * each : (first + width) * each].reshape(groups, *plan.kernel, per_in, width)
        target[..., : part.shape[1]] = part.transpose(0, 3, 4, 2, 1)
    biases = np.zeros((groups, padded), plan.dtype)
    if bias is not None:
        biases[:, :per_out] = np.asarray(bias, plan.dtype).reshape(groups, per_out)
    return Packed(level, packed, biases)


def run(plan: ConvPlan, x: np.ndarray, prepared: Packed, out: np.ndarray | None) -> np.ndarray:
    """Run the plan with packed weights."""
    tasks = _tasks(plan, prepared.isa, threads_for(plan))

    def fill(result: np.ndarray) -> None:
        conv.run(tasks, x, prepared.weights, prepared.bias, result)

    return into_rows(out, plan.out_shape, plan.dtype, fill)


def work(plan: ConvPlan, prepared: Packed) -> conv.ConvWork:
    """What runs the plan, for calls that come again."""
    tasks = _tasks(plan, prepared.isa, threads_for(plan))
    return conv.ConvWork(tasks, prepared.weights, prepared.bias, plan.flops < BRIEF_FLOPS)


def pieces(plan: ConvPlan, level: int) -> Pieces:
    """How to compute the plan band by band."""
    is_double = is_double_plan(plan)
    whole = cut(plan, level, 1)

    def tasks(part: ConvPlan, shares: int) -> conv.ChannelsTasks:
        # sums are taken up in parts of so many channels: other parts would round otherwise
        some = cut(part, level, 1)._replace(shares=shares, chunk=whole.chunk)
        return conv.ChannelsTasks(level, is_double, 1, part, some)

    block = runtime.block_vectors(level, is_double) * runtime.lanes(level, is_double)
    return Pieces(
        tasks,
        blocks=whole.blocks if plan.groups == 1 else 1,
        block=block if plan.groups == 1 else plan.out_channels,
        rows=ceil_div(whole.pixels, plan.out_size[1]),
        weights_stay=prod(plan.weight_shape) * (8 if is_double else 4) <= WORKING_SET,
    )
