"""Direct convolution with vectors along output channels: for small or channels-last images of many channels.

Nothing is packed but the weights, and pixels of small images where tiles have few sums: they are read one by one where
they lie, in any layout and with any stride, and taps in the padding are left out. The tasks are cut in blocks.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from ..._core import conv, memory, runtime
from ...plan import ConvPlan, Cost
from . import blocks, direct, estimate, isa
from .cache import PAGE, WORKING_SET
from .cut import BRIEF_FLOPS, Pieces, ceil_div, is_double_plan, run_tasks, threads_for

__all__ = [
    "Packed",
    "cost",
    "cycles",
    "label",
    "pieces",
    "prepare",
    "prepare_key",
    "refusal",
    "run",
    "work",
]

_MOST_OUTPUT = 2**16


class Packed(NamedTuple):
    """Weights: [group][block of output channels][chunk of input channels].

    And of each chunk [kernel row][kernel column][input channel][output channel].
    """

    isa: int
    weights: np.ndarray
    bias: np.ndarray


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
    if any((blocks.inside(plan, axis)[:, 0] >= blocks.inside(plan, axis)[:, 1]).any() for axis in (0, 1)):
        return "some output pixels see nothing but padding"
    if plan.algorithm != "measure" and direct.refusal(plan) is None:
        level = isa.current()
        own, other = cycles(plan, level), direct.cycles(plan, level)
        if own > other:
            return f"vectors along rows take fewer cycles: {other:,.0f}, along channels {own:,.0f}"
    return None


def cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated, in the cost models' (see estimate.py).

    Of two multiply-adds a cycle 85 in a hundred are reached, 88 where all of a kernel's places pass at a time, 93 of
    turned pixels, 97 where the second level of the cache keeps up, as of one, and fewer in tiles of one to three
    vectors of four, which load more. In the core's own cycles: about 50 each time that a tile takes up its sums and
    puts them down, 100 where the second level keeps up; 120 to turn a vector of channels of as many pixels into rows,
    240 with one multiply-add a cycle, 160 where the second level keeps up, and half as many to turn pixels; up to 8 for
    each cache line of input, 2 where the second level keeps up, where the channels of a part lie in more pages than the
    processor keeps at hand and two multiply-adds a cycle wait for them; and 4 for each channel of a tile's tap where
    channels lie whole pages apart, and so meet in few sets of the first level of the cache (measured).
    """
    if blocks.in_squares(plan, level):
        return _square_cycles(plan, level)
    is_double = is_double_plan(plan)
    lanes = runtime.lanes(level, is_double)
    pixels = plan.out_size[0] * plan.out_size[1]
    vectors = ceil_div(plan.out_channels // plan.groups, lanes)
    count = ceil_div(vectors, runtime.block_vectors(level, is_double))
    per_in = plan.in_channels // plan.groups
    rows, columns = (float(np.diff(blocks.inside(plan, axis)).sum()) for axis in (0, 1))
    one = estimate.pace(level) < 1  # multiply-add a cycle
    keeps_up = estimate.keeps_up(level)
    few = 1.0
    if vectors < runtime.block_vectors(level, is_double):
        few = ({1: 0.7, 2: 0.85, 3: 0.93} if keeps_up else {1: 0.7, 2: 0.9}).get(vectors, 1.0)
    near = blocks.has_few_sums(level) and plan.kernel != (1, 1)
    turns = blocks.turns_pixels(plan, level)
    reached = 0.97 * few if one or keeps_up else 0.88 if near else 0.93 if turns else 0.85
    products = rows * columns * per_in * vectors / 2 / reached
    chunk = blocks.chunk_of(plan, level)
    parts: float = ceil_div(per_in, chunk)
    if chunk < per_in and not near:
        parts *= rows * columns
    else:
        parts *= pixels * ceil_div(prod(plan.kernel), blocks.places_of(plan, level, chunk))
    taking_up = (100 if keeps_up else 50) * count * parts / runtime.block_pixels(level, is_double)
    square = 240 if one else 160 if keeps_up else 120
    if keeps_up and pixels <= 2:
        square = 20  # so few pixels are put down one by one
    turning = square * ceil_div(pixels, lanes) * (vectors + turns * ceil_div(per_in, 2 * lanes))
    width = plan.in_size[1] * (8 if is_double else 4)
    lines = count * per_in * plan.out_size[0] * plan.kernel[0] * ceil_div(width, 64)
    pages = min(plan.in_size[0] * width / PAGE, 1.0) * (chunk if near else min(per_in, blocks.CHUNK))
    fetching = lines * (2 if keeps_up else 8) * max(pages - 64, 0) / 64
    tiles = count * rows * columns / runtime.block_pixels(level, is_double)  # of each tap
    meeting = 4 * tiles * per_in if plan.in_size[0] * width % PAGE == 0 and plan.layout == "nchw" else 0
    waiting = meeting + (0 if one else fetching)
    return plan.groups * (products + estimate.pace(level) * (taking_up + turning + waiting))


def _square_cycles(plan: ConvPlan, level: int) -> float:
    """The same of squares.

    Of one multiply-add a cycle 93 in a hundred are reached, and two of half a vector take as long as one; to turn a
    square and to store it takes 120 of the core's cycles with vectors of 16 channels, half as many for 8. Where the
    second level keeps up, 92 of two, and 98 of those in pairs, 94 where there is one vector of these; and 50 cycles to
    turn a square, 35 for each vector of pairs (measured).
    """
    lanes, per_out = runtime.lanes(level, is_double_plan(plan)), plan.out_channels // plan.groups
    squares = ceil_div(plan.out_size[0] * plan.out_size[1], lanes)
    if estimate.keeps_up(level):
        whole, paired = ceil_div(per_out, lanes), 0
        if blocks.in_pairs(plan, level):
            paired = 3 if whole > 1 else 1
            whole -= (paired + 1) // 2
        each = whole / 0.92 + paired / 2 / (0.98 if paired == 3 else 0.94)
        per_in = plan.in_channels // plan.groups
        return plan.groups * squares * (lanes * per_in * each / 2 + lanes / 16 * (50 * whole + 35 * paired))
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


@lru_cache(maxsize=256)
def _tasks(plan: ConvPlan, level: int, count: int) -> conv.ChannelsTasks:
    return conv.ChannelsTasks(level, is_double_plan(plan), count, plan, blocks.cut(plan, level, count))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share packed weights: those depend on the chunks of input channels only."""
    return isa.current(), blocks.chunk_of(plan, isa.current())


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Packed | None:
    """Put the weights into the order in which the tiles read them; None if they are not all finite.

    Then 0 * inf from the padding would be missing from the sums.
    """
    level = isa.current()
    edges = [vector * runtime.lanes(level, is_double_plan(plan)) for vector in blocks.first_vectors(plan, level)]
    groups, per_out, per_in = plan.groups, plan.out_channels // plan.groups, plan.in_channels // plan.groups
    chunk = blocks.chunk_of(plan, level)
    each = per_in * plan.kernel[0] * plan.kernel[1]
    packed = memory.empty((groups, edges[-1] * each), plan.dtype)  # of 16 KB and more each vector in one line
    packed.fill(0)
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
    whole = blocks.cut(plan, level, 1)

    def tasks(part: ConvPlan, shares: int) -> conv.ChannelsTasks:
        # as the weights are packed, whatever would suit the part
        cut = blocks.cut(part, level, 1)._replace(shares=shares, chunk=whole.chunk, places=whole.places)
        return conv.ChannelsTasks(level, is_double, 1, part, cut)

    edges = [vector * runtime.lanes(level, is_double) for vector in blocks.first_vectors(plan, level)]
    return Pieces(
        tasks,
        blocks=edges[:-1] if plan.groups == 1 else [0],
        rows=ceil_div(whole.pixels, plan.out_size[1]),
        weights_stay=prod(plan.weight_shape) * (8 if is_double else 4) <= WORKING_SET,
    )
