"""Direct convolution with vectors along output channels: for small or channels-last images of many channels.

Nothing is packed but the weights: pixels are read one by one where they lie, in any layout and with any stride, and
taps in the padding are left out.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost
from . import direct, estimate, isa
from .bands import is_flat
from .cache import PAGE, WORKING_SET
from .cut import BRIEF_FLOPS, Pieces, ceil_div, even, is_double_plan, run_tasks, threads_for

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
"""Products of a pixel, input channels times places of the kernel, whose weights pass a band at a time; half as many
where a band is small, twice as many in smaller vectors of kernels of several places (measured)."""

_LONG_CHUNK = 1024
"""The same, 256 KiB, where they may as well come from the second level (measured)."""


_SQUARE_VECTORS, _SQUARE_CHANNELS = 4, 256
"""Vectors of output channels, and input channels, up to which a tile is a square."""


class Packed(NamedTuple):
    """Weights: [group][block of output channels][chunk of input channels].

    And of each chunk [kernel row][kernel column][input channel][output channel].
    """

    isa: int
    weights: np.ndarray
    bias: np.ndarray


class Cut(NamedTuple):
    """How the pixels and channels are cut into tasks; names as in the C struct pc_channels."""

    chunk: int
    places: int
    blocks: int
    """Of output channels; they differ by a vector at most, see _first_vectors."""
    shares: int
    bands: int
    parts: int
    band_stays: bool
    """While the weights of all blocks pass it; else those of one block pass all bands."""
    pixels: int
    most_tiles: int
    squares: bool
    """Whether vectors are computed for as many pixels and turned in registers, see kernels/channel_squares.kernel.c."""
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


def _in_squares(plan: ConvPlan, level: int) -> bool:
    """Whether a flat channels-last image has so few output channels that squares are quickest.

    Of smaller squares the sums would wait for each other; pixels of more input channels meet in few sets of the first
    level of the cache.
    """
    lanes = runtime.lanes(level, is_double_plan(plan))
    few = plan.out_channels // plan.groups <= _SQUARE_VECTORS * lanes and plan.in_channels <= _SQUARE_CHANNELS
    return is_flat(plan) and plan.layout == "nhwc" and lanes >= 8 and few


def cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated, in the cost models' (see estimate.py).

    Of two multiply-adds a cycle 85 in a hundred are reached, 88 where all of a kernel's places pass at a time, of one
    97, and fewer in tiles of one or two vectors of four, which load more. In the core's own cycles: about 50 each time
    that a tile takes up its sums and puts them down; 120 to turn a vector of channels of as many pixels into rows, 240
    with one multiply-add a cycle; up to 8 for each cache line of input, where the channels of a part lie in more pages
    than the processor keeps at hand and two multiply-adds a cycle wait for them; and 4 for each channel of a tile's tap
    where channels lie whole pages apart, and so meet in few sets of the first level of the cache (measured).
    """
    if _in_squares(plan, level):
        return _square_cycles(plan, level)
    is_double = is_double_plan(plan)
    lanes = runtime.lanes(level, is_double)
    pixels = plan.out_size[0] * plan.out_size[1]
    vectors = ceil_div(plan.out_channels // plan.groups, lanes)
    blocks = ceil_div(vectors, runtime.block_vectors(level, is_double))
    per_in = plan.in_channels // plan.groups
    rows, columns = (float(np.diff(inside(plan, axis)).sum()) for axis in (0, 1))
    one = estimate.pace(level) < 1  # multiply-add a cycle
    few = {1: 0.7, 2: 0.9}.get(vectors, 1.0) if vectors < runtime.block_vectors(level, is_double) else 1.0
    near = _has_few_sums(level) and plan.kernel != (1, 1)
    reached = 0.97 * few if one else 0.88 if near else 0.85
    products = rows * columns * per_in * vectors / 2 / reached
    chunk = _chunk(plan, level)
    parts = ceil_div(per_in, chunk)
    if chunk < per_in and not near:
        parts *= rows * columns
    else:
        parts *= pixels * ceil_div(prod(plan.kernel), _places(plan, level, chunk))
    taking_up = 50 * blocks * parts / runtime.block_pixels(level, is_double)
    turning = (240 if one else 120) * ceil_div(pixels, lanes) * vectors
    width = plan.in_size[1] * (8 if is_double else 4)
    lines = blocks * per_in * plan.out_size[0] * plan.kernel[0] * ceil_div(width, 64)
    pages = min(plan.in_size[0] * width / PAGE, 1.0) * (chunk if near else min(per_in, _CHUNK))
    fetching = lines * 8 * max(pages - 64, 0) / 64
    tiles = blocks * rows * columns / runtime.block_pixels(level, is_double)  # of each tap
    meeting = 4 * tiles * per_in if plan.in_size[0] * width % PAGE == 0 and plan.layout == "nchw" else 0
    waiting = meeting + (0 if one else fetching)
    return plan.groups * (products + estimate.pace(level) * (taking_up + turning + waiting))


def _square_cycles(plan: ConvPlan, level: int) -> float:
    """The same of squares.

    Of one multiply-add a cycle 93 in a hundred are reached, and two of half a vector take as long as one; to turn a
    square and to store it takes 120 of the core's cycles with vectors of 16 channels, half as many for 8 (measured).
    """
    lanes, per_out = runtime.lanes(level, is_double_plan(plan)), plan.out_channels // plan.groups
    squares = ceil_div(plan.out_size[0] * plan.out_size[1], lanes)
    vectors: float = ceil_div(per_out, lanes)
    turning = 7.5 * lanes * squares * vectors
    one = estimate.pace(level) < 1  # multiply-add a cycle
    if one and 0 < per_out % lanes <= lanes // 2:
        vectors -= 0.5
    products = squares * lanes * (plan.in_channels // plan.groups) * vectors / 2 / (0.93 if one else 0.85)
    return plan.groups * (products + estimate.pace(level) * turning)


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need."""
    level = isa.current()
    return estimate.cost(plan, _tasks(plan, level, threads_for(plan)), cycles(plan, level))


def _has_few_sums(level: int) -> bool:
    """Whether tiles have 16 registers, and so ask for weights and pixels after few multiply-adds."""
    return runtime.block_vectors(level, False) < 4


def _most_products(plan: ConvPlan, level: int) -> int:
    """Products of a pixel, input channels times the kernel's places, whose weights pass a band at a time.

    Each part of them takes up the sums of the band and puts them down again: few parts are best, but where weights have
    to come from the first level of the cache, beside pixels and sums. Parts of several places read fewer pixels.
    """
    if _has_few_sums(level):
        return _CHUNK if plan.kernel == (1, 1) else 2 * _CHUNK
    if estimate.asks_much(level):
        return _CHUNK // 2 if plan.out_size[0] * plan.out_size[1] <= 64 else _CHUNK
    return _LONG_CHUNK


def _chunk(plan: ConvPlan, level: int) -> int:
    """Input channels whose weights are packed together, of all places, and pass a band before those of the next.

    Where tiles have few sums, they are so few that all places pass at a time: a pixel that several of them see is then
    still in the first level of the cache. The last bits depend on it, so it follows from the plan alone.
    """
    per_in, most = plan.in_channels // plan.groups, _most_products(plan, level)
    return even(per_in, max(most // prod(plan.kernel), 1) if _has_few_sums(level) else most)


def _places(plan: ConvPlan, level: int, chunk: int) -> int:
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


def _first_vectors(plan: ConvPlan, level: int) -> list[int]:
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
    if _has_few_sums(level) and plan.kernel != (1, 1):
        return _BAND // 2
    width = plan.in_size[1] * (8 if is_double_plan(plan) else 4)
    if estimate.pace(level) == 1 or width < PAGE:
        return _BAND
    each = _input_bytes(plan) / (plan.out_size[0] * plan.out_size[1])
    return _BAND if _BAND * each <= 1.5 * WORKING_SET else max(int(WORKING_SET / 2 / each), _BAND // 5)


def _input_bytes(plan: ConvPlan) -> int:
    """Of the channels of a group, as far as they are read."""
    rows = min(plan.in_size[0], plan.out_size[0] * plan.kernel[0])
    return plan.in_channels // plan.groups * rows * plan.in_size[1] * (8 if is_double_plan(plan) else 4)


def _weight_bytes(plan: ConvPlan) -> int:
    """Of the weights of a group."""
    return prod(plan.weight_shape) // plan.groups * (8 if is_double_plan(plan) else 4)


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
    is_double, chunk = is_double_plan(plan), _chunk(plan, level)
    itemsize = 8 if is_double else 4
    firsts = _first_vectors(plan, level)
    widest, pixels = max(end - first for first, end in pairwise(firsts)), runtime.block_pixels(level, is_double)
    if widest < runtime.block_vectors(level, is_double):
        pixels = _MOST_PIXELS  # tiles of fewer vectors have room for them
    size = plan.out_size[0] * plan.out_size[1]
    images, most = max(plan.batch, 1) * plan.groups, _most_pixels(plan, level)
    weights, pixels_read = _weight_bytes(plan), _input_bytes(plan)
    share, parts, bands = _sharing(images, firsts, size, most, count, weights >= pixels_read)
    squares = _in_squares(plan, level)
    if parts > 1 and not squares:  # what one thread leaves of its bands, another may still take
        parts *= max(times for times in (1, 2, 3, 4) if bands % (times * parts) == 0)
    band = ceil_div(size, bands)
    bands = ceil_div(size, band)
    tiles, band_tiles = _tiles(plan, pixels, band)
    most_tiles = int(np.diff(band_tiles).max())
    places = 64 * ceil_div(plan.kernel[0] * plan.kernel[1], 8)  # bytes, in whole cache lines
    sums = band * widest * runtime.lanes(level, is_double) * itemsize
    return Cut(
        chunk=chunk,
        places=_places(plan, level, chunk),
        blocks=len(firsts) - 1,
        shares=share,
        bands=bands,
        parts=min(parts, bands),
        band_stays=weights + pixels_read * band / size <= WORKING_SET,
        pixels=band,
        most_tiles=most_tiles,
        squares=squares,
        tiles=tiles,
        band_tiles=band_tiles,
        scratch=most_tiles * _MOST_PIXELS * 8 + places + sums,
    )


@lru_cache(maxsize=256)
def _tasks(plan: ConvPlan, level: int, count: int) -> conv.ChannelsTasks:
    return conv.ChannelsTasks(level, is_double_plan(plan), count, plan, cut(plan, level, count))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share packed weights: those depend on the chunks of input channels only."""
    return isa.current(), _chunk(plan, isa.current())


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Packed | None:
    """Put the weights into the order in which the tiles read them; None if they are not all finite.

    Then 0 * inf from the padding would be missing from the sums.
    """
    level = isa.current()
    edges = [vector * runtime.lanes(level, is_double_plan(plan)) for vector in _first_vectors(plan, level)]
    groups, per_out, per_in = plan.groups, plan.out_channels // plan.groups, plan.in_channels // plan.groups
    chunk = _chunk(plan, level)
    each = per_in * plan.kernel[0] * plan.kernel[1]
    packed = np.zeros((groups, edges[-1] * each), plan.dtype)
    given = np.asarray(weight, plan.dtype).reshape(groups, per_out, per_in, *plan.kernel)
    if not np.isfinite(given).all():
        return None
    for first, end in pairwise(edges):
        part = given[:, first:end]
        block = packed[:, first * each : end * each].reshape(groups, per_in, -1)
        for c in range(0, per_in, chunk):
            some = part[:, :, c : c + chunk].transpose(0, 3, 4, 2, 1)
            target = block[:, c : c + chunk].reshape(groups, *plan.kernel, -1, end - first)
            target[..., : part.shape[1]] = some
    biases = np.zeros((groups, edges[-1]), plan.dtype)
    if bias is not None:
        biases[:, :per_out] = np.asarray(bias, plan.dtype).reshape(groups, per_out)
    return Packed(level, packed, biases)


def run(plan: ConvPlan, x: np.ndarray, prepared: Packed, out: np.ndarray | None) -> np.ndarray:
    """Run the plan with packed weights."""
    return run_tasks(plan, _tasks(plan, prepared.isa, threads_for(plan)), x, prepared, out)


def work(plan: ConvPlan, prepared: Packed) -> conv.ConvWork:
    """What runs the plan, for calls that come again."""
    tasks = _tasks(plan, prepared.isa, threads_for(plan))
    return conv.ConvWork(tasks, prepared.weights, prepared.bias, plan.flops < BRIEF_FLOPS)


def pieces(plan: ConvPlan, level: int) -> Pieces:
    """How to compute the plan band by band."""
    is_double = is_double_plan(plan)
    whole = cut(plan, level, 1)
    own = {"chunk": whole.chunk, "places": whole.places}  # as the weights are packed, whatever would suit the part

    def tasks(part: ConvPlan, shares: int) -> conv.ChannelsTasks:
        return conv.ChannelsTasks(level, is_double, 1, part, cut(part, level, 1)._replace(shares=shares, **own))

    edges = [vector * runtime.lanes(level, is_double) for vector in _first_vectors(plan, level)]
    return Pieces(
        tasks,
        blocks=edges[:-1] if plan.groups == 1 else [0],
        rows=ceil_div(whole.pixels, plan.out_size[1]),
        weights_stay=prod(plan.weight_shape) * (8 if is_double else 4) <= WORKING_SET,
    )
