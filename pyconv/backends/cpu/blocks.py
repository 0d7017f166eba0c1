"""How a convolution with vectors along output channels is cut into tasks: blocks of channels and bands of pixels."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from ..._core import runtime
from ...plan import ConvPlan
from . import estimate
from .bands import is_flat
from .cache import PAGE, WORKING_SET
from .cut import ceil_div, even, is_double_plan

__all__ = [
    "CHUNK",
    "Cut",
    "chunk_of",
    "cut",
    "first_vectors",
    "has_few_sums",
    "in_pairs",
    "in_squares",
    "inside",
    "places_of",
    "turns_pixels",
]

_MOST_PIXELS = 8  # places in pc_channels_tile

_BAND = 200
"""Output pixels whose sums wait together: more would leave the first level of the cache, fewer read weights again."""

CHUNK = 128
"""Products of a pixel, input channels times places of the kernel, whose weights pass a band at a time; half as many
where a band is small, twice and four times as many in smaller vectors of several places and of turned pixels
(measured)."""

_LONG_CHUNK = 1024
"""The same, 256 KiB, where they may as well come from the second level; with two multiply-adds of 64 bytes a cycle half
as many where a band is small (measured)."""

_WIDE = 12
"""Blocks of output channels, for so many of which it is worth it to turn all pixels first (measured)."""

_SQUARE_VECTORS, _SQUARE_CHANNELS = 4, 256
"""Vectors of output channels, and input channels, up to which a tile is a square."""


class Cut(NamedTuple):
    """How the pixels and channels are cut into tasks; names as in the C struct pc_channels."""

    chunk: int
    places: int
    blocks: int
    """Of output channels; they differ by a vector at most, see first_vectors."""
    shares: int
    bands: int
    parts: int
    band_stays: bool
    """While the weights of all blocks pass it; else those of one block pass all bands."""
    spreads: bool
    """All tiles of a band fetch a little of the weights that come next; else the first few, as much as they can."""
    pixels: int
    most_tiles: int
    squares: int
    """1: vectors are computed for as many pixels and turned in registers, see kernels/channel_squares.kernel.c; 2: all
    pixels are turned before, so that the channels of each are neighbours; 3: as 1, and the last channels in pairs of
    input channels; 0: neither."""
    tiles: np.ndarray
    band_tiles: np.ndarray
    scratch: int
    """Bytes of scratch memory a task needs."""


def inside(plan: ConvPlan, axis: int) -> np.ndarray:
    """For every output row (axis 0) or column (1): the kernel's first one inside of the image, and the first beyond."""
    first = np.arange(plan.out_size[axis]) * plan.stride[axis] - plan.padding[axis][0]
    step, size = plan.dilation[axis], plan.in_size[axis]
    begin = np.maximum(-(first // step), 0)
    end = np.minimum(-((first - size) // step), plan.kernel[axis])
    return np.stack([begin, end], axis=1)


def has_few_sums(level: int) -> bool:
    """Whether tiles have 16 registers, and so ask for weights and pixels after few multiply-adds."""
    return runtime.block_vectors(level, False) < 4


def _input_bytes(plan: ConvPlan) -> int:
    """Of the channels of a group, as far as they are read."""
    rows = min(plan.in_size[0], plan.out_size[0] * plan.kernel[0])
    return plan.in_channels // plan.groups * rows * plan.in_size[1] * (8 if is_double_plan(plan) else 4)


def _weight_bytes(plan: ConvPlan) -> int:
    """Of the weights of a group."""
    return prod(plan.weight_shape) // plan.groups * (8 if is_double_plan(plan) else 4)


def in_squares(plan: ConvPlan, level: int) -> bool:
    """Whether a flat channels-last image has so few output channels that squares are quickest.

    Of smaller squares the sums would wait for each other; pixels of more input channels meet in few sets of the first
    level of the cache.
    """
    lanes = runtime.lanes(level, is_double_plan(plan))
    few = plan.out_channels // plan.groups <= _SQUARE_VECTORS * lanes and plan.in_channels <= _SQUARE_CHANNELS
    return is_flat(plan) and plan.layout == "nhwc" and lanes >= 8 and few


def in_pairs(plan: ConvPlan, level: int) -> bool:
    """Whether these squares leave half of the last vector empty, and two input channels at a time fill it.

    Where halves of a vector are multiplied two at a time, that is as good.
    """
    lanes, per_out = runtime.lanes(level, is_double_plan(plan)), plan.out_channels // plan.groups
    half = 0 < per_out % lanes <= lanes // 2 and plan.in_channels // plan.groups % 2 == 0
    return half and estimate.keeps_up(level) and in_squares(plan, level)


def _turned_bytes(plan: ConvPlan) -> int:
    """Of the pixels that a 1x1 kernel sees."""
    return plan.in_channels // plan.groups * prod(plan.out_size) * (8 if is_double_plan(plan) else 4)


def turns_pixels(plan: ConvPlan, level: int) -> bool:
    """Whether the pixels of a small image are turned first, so that a tile reads whole lines of the cache.

    For tiles that ask for pixels after few multiply-adds, and for so many output channels that it is worth it. What is
    turned stays in the second level of the cache while all weights pass by. Columns in steps of two are dealt out then.
    """
    wide = plan.out_channels // plan.groups >= _WIDE * runtime.block_vectors(level, False) * runtime.lanes(level, False)
    steps = plan.kernel == (1, 1) and plan.stride[1] == 2 and plan.padding == ((0, 0), (0, 0))
    planes = (is_flat(plan) or steps) and plan.layout == "nchw"
    return has_few_sums(level) and planes and wide and _turned_bytes(plan) <= 1.6 * WORKING_SET


def _most_products(plan: ConvPlan, level: int) -> int:
    """Products of a pixel, input channels times the kernel's places, whose weights pass a band at a time.

    Each part of them takes up the sums of the band and puts them down again: few parts are best, but where weights have
    to come from the first level of the cache, beside pixels and sums. Parts of several places read fewer pixels, and
    turned ones take less room.
    """
    if turns_pixels(plan, level):
        return 4 * CHUNK
    if has_few_sums(level):
        return CHUNK if plan.kernel == (1, 1) else 2 * CHUNK
    small = plan.out_size[0] * plan.out_size[1] <= 64
    if estimate.keeps_up(level):
        return _LONG_CHUNK // 2 if small else _LONG_CHUNK
    if estimate.asks_much(level):
        return CHUNK // 2 if small else CHUNK
    return _LONG_CHUNK


def chunk_of(plan: ConvPlan, level: int) -> int:
    """Input channels whose weights are packed together, of all places, and pass a band before those of the next.

    Where tiles have few sums, they are so few that all places pass at a time: a pixel that several of them see is then
    still in the first level of the cache. The last bits depend on it, so it follows from the plan alone.
    """
    per_in, most = plan.in_channels // plan.groups, _most_products(plan, level)
    return even(per_in, max(most // prod(plan.kernel), 1) if has_few_sums(level) else most)


def places_of(plan: ConvPlan, level: int, chunk: int) -> int:
    """The kernel's places whose weights pass at a time, of a chunk of input channels."""
    return even(prod(plan.kernel), max(_most_products(plan, level) // chunk, 1))


def _even_edges(begin: int, end: int, most: int) -> np.ndarray:
    """Where tiles of ``most`` pixels at most begin: as even as can be, as sums of a small one wait for each other."""
    count = ceil_div(end - begin, most)
    return begin + np.arange(count) * (end - begin) // count


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
    firsts = np.concatenate([_even_edges(a, b, pixels) for a, b in pairwise(edges)])
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


def first_vectors(plan: ConvPlan, level: int) -> list[int]:
    """The first vector of output channels of each block, and the end of the last: as kernels/channels.kernel.c has it.

    Blocks are as even as they can be, and of an even number where that leaves them two vectors or more: then two
    threads or four have as much to do.
    """
    is_double = is_double_plan(plan)
    vectors = ceil_div(plan.out_channels // plan.groups, runtime.lanes(level, is_double))
    blocks = ceil_div(vectors, runtime.block_vectors(level, is_double))
    if blocks > 1 and vectors // (blocks + blocks % 2) > 1:
        blocks += blocks % 2
    return [vectors * block // blocks for block in range(blocks + 1)]


def _most_pixels(plan: ConvPlan, level: int) -> int:
    """Output pixels of a band at most: fewer than usual where the input of so many would not stay near.

    It is read once for each of the kernel's taps and for each block of output channels. That matters where rows are
    longer than a page, so that every channel's pixels lie apart from the others' (measured: smaller images lose by it),
    and a core begins one multiply-add in a cycle, so that weights may as well be read more often. Half as many where
    weights, sums and the pixels of several places share the first level.
    """
    if has_few_sums(level) and plan.kernel != (1, 1):
        return _BAND // 2
    width = plan.in_size[1] * (8 if is_double_plan(plan) else 4)
    if estimate.pace(level) == 1 or width < PAGE:
        return _BAND
    each = _input_bytes(plan) / (plan.out_size[0] * plan.out_size[1])
    return _BAND if _BAND * each <= 1.5 * WORKING_SET else max(int(WORKING_SET / 2 / each), _BAND // 5)


def _sharing(
    images: int, firsts: list[int], size: int, most: int, count: int, blocks_first: bool
) -> tuple[int, int, int]:
    """Tasks that divide the blocks, those that divide the bands of pixels, and bands, for ``count`` threads.

    Bands are of ``most`` pixels at most.

    The quickest way, by the task with the most to do. Of ways that are as quick, ``blocks_first``: each thread reads
    its own weights then, and all pixels; else bands first, and each reads its own pixels, and all weights.
    """
    blocks, most_bands = len(firsts) - 1, ceil_div(size, 6)
    best, best_time = (1, 1, ceil_div(size, most)), 0.0
    for shares in range(1, min(blocks, count) + 1):
        edges = [firsts[blocks * share // shares] for share in range(shares + 1)]
        vectors = max(end - first for first, end in pairwise(edges))
        for parts in range(1, min(count, most_bands) + 1):
            bands = ceil_div(ceil_div(size, most), parts) * parts
            pixels = ceil_div(bands, parts) * ceil_div(size, bands)
            again = parts - 1 if blocks_first else shares - 1
            time = ceil_div(images * shares * parts, count) * vectors * pixels * (1 + 0.02 * again)
            if best_time == 0 or time < best_time * 0.999:
                best, best_time = (shares, parts, bands), time
    return best


def cut(plan: ConvPlan, level: int, count: int) -> Cut:
    """Cut the plan into tasks for ``count`` threads; the result does not depend on how."""
    is_double, chunk = is_double_plan(plan), chunk_of(plan, level)
    itemsize = 8 if is_double else 4
    firsts = first_vectors(plan, level)
    widest, pixels = max(end - first for first, end in pairwise(firsts)), runtime.block_pixels(level, is_double)
    if widest < runtime.block_vectors(level, is_double):
        pixels = _MOST_PIXELS  # tiles of fewer vectors have room for them
    size = plan.out_size[0] * plan.out_size[1]
    images, most = max(plan.batch, 1) * plan.groups, _most_pixels(plan, level)
    weights, pixels_read = _weight_bytes(plan), _input_bytes(plan)
    share, parts, bands = _sharing(images, firsts, size, most, count, weights >= pixels_read)
    squares = 3 if in_pairs(plan, level) else 1 if in_squares(plan, level) else 2 * turns_pixels(plan, level)
    if parts > 1 and squares % 2 == 0:  # what one thread leaves of its bands, another may still take
        parts *= max(times for times in (1, 2, 3, 4) if bands % (times * parts) == 0)
    band = ceil_div(size, bands)
    bands = ceil_div(size, band)
    tiles, band_tiles = _tiles(plan, pixels, band)
    most_tiles = int(np.diff(band_tiles).max())
    places = 64 * ceil_div(plan.kernel[0] * plan.kernel[1], 8)  # bytes, in whole cache lines
    sums = band * widest * runtime.lanes(level, is_double) * itemsize
    pitch = 64 * (ceil_div(plan.in_channels // plan.groups * itemsize, 64) | 1)  # bytes, an odd number of cache lines
    turned = ceil_div(bands, parts) * band * pitch if squares == 2 else 0
    zipped = 3 * 64 * (plan.in_channels // plan.groups // 2 + 1) if squares == 3 else 0  # as kernels/channels.h says
    return Cut(
        chunk=chunk,
        places=places_of(plan, level, chunk),
        blocks=len(firsts) - 1,
        shares=share,
        bands=bands,
        parts=min(parts, bands),
        band_stays=weights + pixels_read * band / size <= WORKING_SET,
        spreads=estimate.keeps_up(level),
        pixels=band,
        most_tiles=most_tiles,
        squares=squares,
        tiles=tiles,
        band_tiles=band_tiles,
        scratch=most_tiles * _MOST_PIXELS * 8 + places + sums + turned + zipped,
    )
