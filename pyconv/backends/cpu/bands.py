"""How a convolution is cut into tasks, and how a task's input is packed: the sizes, worked out once for a plan.

A task computes a band of output rows (and, for very wide or very deep images, of columns). Its input is packed in
one form (see _core/kernels/conv_pack.kernel.c): rows and columns are sorted by their remainder by the stride, the
*phase*, so that tap (i, j) of output pixel (y, x) lies in phase (i * dilation % stride, j * dilation % stride) at
(y + i * dilation // stride, x + j * dilation // stride), for every stride and dilation. Or, where few taps read small
images, each column of the kernel is a phase of its own: then no lane computes what lies between two rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..._core import runtime
from ...plan import ConvPlan, Pair
from . import estimate
from .cache import LEVEL_3, PAGE, WORKING_SET
from .cut import ceil_div, shares
from .tiles import FIRST_LEVEL, Tiling

__all__ = [
    "LARGEST_BAND",
    "Bands",
    "bands",
    "copies_panels",
    "is_flat",
    "may_spread",
    "packed_line",
    "packing_cycles",
    "panel_places",
    "reads_in_place",
]

LARGEST_BAND = 2**28
"""Elements of packed input that a task may need: 1 GiB of float32. Offsets into it are 32-bit."""

_FEW_TAPS, _MANY_PLANES = 128, 32
"""Of an output's sum and of an image's output: there writing is the larger part beside the sums (measured)."""

_FETCHERS = 8
"""Tiles that fetch the pixels of the next panel between them, as in kernels/conv_direct.kernel.c."""

_FEW_READERS = 32
"""Output channels: for so few that read it no panel is copied (measured)."""


class Bands(NamedTuple):
    """Sizes of the tasks; names as in the C struct pc_direct."""

    batch: int
    groups: int
    in_channels: int
    out_channels: int
    in_size: Pair
    out_size: Pair
    stride: Pair
    origin: Pair
    rows: int
    cols: int
    bands_h: int
    bands_w: int
    shares: int
    band_stays: bool
    by_rows: bool
    in_place: bool
    phase_h: np.ndarray
    phase_w: np.ndarray
    packed_rows: int
    pitch: int
    channel_pitch: int
    panels: int
    band_size: int
    chunk: int
    offsets: np.ndarray
    panel_offsets: np.ndarray
    full_tile: int
    last_tile: int
    full_tiles: int
    last_channels: int
    scratch: int
    """Elements of scratch memory a task needs."""
    row: int
    """Elements from one row of the output to the next, where the image is one long row; 0: any."""

    @property
    def tasks(self) -> int:
        return self.batch * self.groups * self.bands_h * self.bands_w * self.shares


def _phases(kernel: int, stride: int, dilation: int) -> tuple[list[int], list[int], list[int]]:
    """The phases that taps fall into; and for every tap the place of its phase among them, and its step."""
    remainders = [i * dilation % stride for i in range(kernel)]
    phases = sorted(set(remainders))
    place = {remainder: i for i, remainder in enumerate(phases)}
    return phases, [place[remainder] for remainder in remainders], [i * dilation // stride for i in range(kernel)]


def _rows(plan: ConvPlan) -> tuple[list[int], list[int], list[int]]:
    """The same of the kernel's rows."""
    return _phases(plan.kernel[0], plan.stride[0], plan.dilation[0])


def _columns(plan: ConvPlan, spread: bool) -> tuple[list[int], list[int], list[int]]:
    """And of its columns, each of which is a phase of its own where the image is ``spread``."""
    if not spread:
        return _phases(plan.kernel[1], plan.stride[1], plan.dilation[1])
    columns = range(plan.kernel[1])
    return [column * plan.dilation[1] for column in columns], [*columns], [0 for _ in columns]


def _quickest(out_h: int, choice: range, parts: int, tiles: int, threads: int, work: Callable[[int], float]) -> int:
    """Rows for a band such that ``threads`` are soonest done with the bands of ``parts`` images.

    A band of some rows takes ``work(rows)``; up to ``tiles`` tasks may divide its output channels. For one thread the
    time is the sum of all bands.
    """

    def time(rows: int) -> float:
        whole, rest = divmod(out_h, rows)
        if threads == 1:
            return whole * work(rows) + (work(rest) if rest else 0)
        count = parts * ceil_div(out_h, rows)
        share = shares(count, tiles, threads)
        return ceil_div(count * share, threads) * work(rows) / share

    return min(choice, key=time)


def _even_columns(out_w: int, tiling: Tiling, images: int, tiles: int, threads: int) -> int:
    """Columns for a band of one long row such that ``threads`` end together, each after one to four bands.

    Or all of a short one, of which they share the output channels.
    """
    unit = tiling.pixels if tiling.panels else tiling.lanes
    vectors = ceil_div(out_w, unit)

    def time(each: int) -> float:
        count = images * ceil_div(vectors, each)
        share = shares(count, tiles, threads)
        return ceil_div(count * share, threads) * each / share

    least = ceil_div(vectors, ceil_div(4 * threads, images))
    choice = [*range(least, 4 * least + 1), *([vectors] if vectors <= 32 else [])]
    return min(min(choice, key=time) * unit, out_w)


def packed_line(plan: ConvPlan) -> int:
    """Places of an image's output in packed form, one row after the other."""
    (out_h, out_w), reach = plan.out_size, (plan.kernel[1] - 1) * plan.dilation[1] // plan.stride[1]
    return (out_h - 1) * (out_w + reach) + out_w


def is_flat(plan: ConvPlan) -> bool:
    """Whether the image is one long row to the convolution: a 1x1 kernel without stride, over rows without gaps."""
    return (plan.kernel, plan.stride, plan.padding) == ((1, 1), (1, 1), ((0, 0), (0, 0))) and plan.layout != "strided"


def reads_in_place(plan: ConvPlan, level: int) -> bool:
    """Whether a flat image is read where it lies, which is then already what packing would make of it.

    Not where channels lie whole pages apart: then the same few sets of a cache would have to hold all of them. Nor,
    where a tile has few sums and no panels, an image of more pages than the processor keeps at hand, for many output
    channels: a tile is done before it has found the next page.
    """
    plane, page = plan.in_size[0] * plan.in_size[1], PAGE // np.dtype(plan.dtype).itemsize
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    if not (is_flat(plan) and plan.layout == "nchw" and plane * per_in < 2**31):
        return False
    panels = copies_panels(plan, level)
    if _has_few_sums(level) and not panels and per_out >= 64 and plane * per_in > 64 * page:
        return False
    return per_in <= 16 or plane % page != 0


def _turns(plan: ConvPlan) -> bool:
    """Whether the pixels of a tile are turned into a panel just before it is computed."""
    return is_flat(plan) and plan.layout == "nhwc" and plan.in_channels // plan.groups >= 4


def copies_panels(plan: ConvPlan, level: int) -> bool:
    """Whether the first tile of output channels copies its pixels into a panel, one tap behind the other, for the rest.

    Where tiles have few sums of wide vectors, each tap asks for its pixels after few multiply-adds: loads that meet two
    lines of the cache, or a page of their own, are not done in time. Flat channels-last images are turned into panels:
    what is packed stays in the first level of the cache then.
    """
    if _turns(plan):
        return True
    taps = plan.in_channels // plan.groups * plan.kernel[0] * plan.kernel[1]
    readers = plan.out_channels // plan.groups
    if estimate.keeps_up(level):  # the second level is near enough, but not with a page for each tap
        return is_flat(plan) and taps > _FEW_TAPS // 2 and readers > _FEW_READERS * 3 // 2
    many = taps > (32 if is_flat(plan) else _FEW_TAPS)  # of fewer, all pixels stay near as they are (measured)
    return _wants_near(level) and many and readers > _FEW_READERS


def may_spread(plan: ConvPlan) -> bool:
    """Whether the image may be packed for each column of the kernel by itself: see Tiling.

    Not where the columns' distances are no 32-bit numbers, nor where a single row of output needs so much input that a
    task would pack it for a few results.
    """
    phases, _, steps = _rows(plan)
    row = plan.in_channels // plan.groups * len(phases) * (1 + steps[-1]) * plan.kernel[1] * plan.out_size[1]
    near = (plan.kernel[1] - 1) * plan.dilation[1] < 2**31
    return plan.stride[1] == 1 and near and row <= LARGEST_BAND // 16


def packing_cycles(plan: ConvPlan, level: int, spread: bool = False) -> float:
    """The core's own cycles in which the channels of a group are packed; ``spread``: see Tiling.

    6 for a vector that is read; 2 for each element of strides above 4, and of few channels that are neighbours in
    memory, but for colours; of more of these 1, and 0.2 where they are whole squares or halves of one, turned at the
    pace of a Zen 5 with AVX-512 (measured).
    """
    lanes = runtime.lanes(level, plan.dtype == "float64")
    per_in = plan.in_channels // plan.groups
    packed = per_in * _packed_elements(plan, spread)
    colours = plan.in_channels in (3, 4) and plan.groups == 1
    if plan.stride[1] <= 4 and (plan.layout != "nhwc" or colours):
        used = 1.0 if spread else len(_columns(plan, spread)[0]) / plan.stride[1]
        return 6 * packed / used / lanes
    if plan.layout != "nhwc" or per_in < 4:
        return 2 * packed
    return 0.2 * packed if estimate.keeps_up(level) and per_in % (lanes // 2) == 0 else packed


def _packed_elements(plan: ConvPlan, spread: bool) -> int:
    """Elements that one channel of an image takes in packed form."""
    rows, columns = _rows(plan), _columns(plan, spread)
    height, width = (size + steps[-1] for size, (_, _, steps) in zip(plan.out_size, (rows, columns), strict=True))
    return len(rows[0]) * height * len(columns[0]) * width


def _has_few_sums(level: int) -> bool:
    """Whether tiles have 16 registers, and so ask for a vector of pixels after few multiply-adds."""
    return runtime.block_vectors(level, False) < 4


def _wants_near(level: int) -> bool:
    """Whether they ask for more pixels, of vectors of 32 bytes, than the second level of the cache gives."""
    return _has_few_sums(level) and runtime.multiply_adds(level) * runtime.lanes(level, False) >= 16


def _near(level: int, panels: bool) -> int:
    """Bytes of pixels that stay while the weights of all output channels pass by: so near as multiply-adds ask for.

    Weights and sums of the tiles that pass want room beside them, the more the fewer sums a tile has (measured).
    """
    if panels and estimate.keeps_up(level):
        return WORKING_SET // 2
    if _wants_near(level):
        return FIRST_LEVEL * 2 // 3
    return FIRST_LEVEL if estimate.asks_much(level) or _has_few_sums(level) else WORKING_SET // 2


def _chunk(plan: ConvPlan, tiling: Tiling, itemsize: int, near: int) -> int:
    """Taps of as many input channels as have room for a tile's pixels in ``near`` bytes."""
    phases, _, steps = _columns(plan, tiling.spread)
    lines = plan.kernel[0] * len(phases) * (ceil_div((tiling.pixels + steps[-1]) * itemsize, 64) + 1)
    if tiling.panels:
        lines = plan.kernel[0] * plan.kernel[1] * ceil_div(tiling.pixels * itemsize, 64)
    per_in = plan.in_channels // plan.groups
    channels = max(near // (64 * lines), 1)
    channels = ceil_div(per_in, ceil_div(per_in, channels))  # chunks of one size
    return channels * plan.kernel[0] * plan.kernel[1]


def panel_places(offsets: np.ndarray, chunk: int, pixels: int, spread: bool) -> np.ndarray:
    """Where a chunk's taps lie in a panel of ``pixels``; ``spread``: and what each tile fetches of the next one's.

    Those are places in the image, a chunk of them for each tile: the first one's some taps over and over, the next
    one's some more.
    """
    places = np.arange(chunk, dtype=np.int32) * np.int32(pixels)
    return np.concatenate([places, np.repeat(offsets[:chunk], _FETCHERS)]) if spread else places


def bands(
    plan: ConvPlan, tiling: Tiling, itemsize: int, threads: int, level: int, step: int = 1, packs: bool = False
) -> Bands:
    """Cut ``plan`` into tasks for this many threads; the result does not depend on how.

    Rows of a band are a multiple of ``step``. ``packs``: no image is read where it lies.
    """
    given, flat = plan, is_flat(plan)
    row = plan.out_size[1] if flat else 0
    in_place = not packs and reads_in_place(plan, level) and plan.in_size[0] * plan.in_size[1] >= tiling.pixels
    if flat:
        pixels = plan.in_size[0] * plan.in_size[1]
        plan = replace(plan, in_size=(1, pixels), out_size=(1, pixels))
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    phase_h, slot_h, step_h = _rows(plan)
    phase_w, slot_w, step_w = _columns(plan, tiling.spread)
    planes = len(phase_h) * len(phase_w)
    out_h, out_w = plan.out_size

    def channel_elements(rows: int, cols: int) -> int:
        return planes * (rows + step_h[-1]) * (cols + step_w[-1])

    # Weights that stay in the cache pass every band again, and want bands that leave them room; others pass one band
    # after the other, and want few. As many rows as fit; if not even one does, narrower bands.
    taps = per_in * plan.kernel[0] * plan.kernel[1]
    weights = tiling.packed_channels * taps * itemsize
    stays = weights <= WORKING_SET
    room = (WORKING_SET // 2 if stays else WORKING_SET) // itemsize // per_in
    cols = out_w
    if channel_elements(1, cols) > room:
        fitting = room // (planes * (1 + step_h[-1])) - step_w[-1]
        cols = min(out_w, max(fitting // tiling.pixels, 1) * tiling.pixels)
        cols = ceil_div(out_w, ceil_div(out_w, cols))
        if tiling.panels:
            cols = min(ceil_div(cols, tiling.pixels) * tiling.pixels, out_w)
    tiles = tiling.tiles + (tiling.last_real > 0)
    if flat and threads > 1 and stays:
        cols = min(cols, _even_columns(out_w, tiling, plan.groups * max(plan.batch, 1), tiles, threads))
    line = 64 // itemsize  # elements of a cache line
    pitch = cols + step_w[-1]
    if tiling.by_rows and pitch >= 4 * line:  # rows begin where a cache line does: nobody computes what is between
        pitch = ceil_div(pitch, line) * line
    most = max(1, min(out_h, room // (planes * pitch) - step_h[-1]))
    # Enough tasks for all threads: bands, if the weights stay in the cache; otherwise shares of the output channels,
    # each of which packs the band anew. A band reads the rows again that its neighbours reach, and the last vector of
    # its line may be half empty. A packed vector takes about 6 cycles; to get weights from the third level, as long as
    # the sums of a vector of pixels.
    parts = plan.groups * max(plan.batch, 1) * ceil_div(out_w, cols)
    packing = 12 * planes / (plan.kernel[0] * plan.kernel[1] * tiling.packed_channels)
    far = weights > 2 * WORKING_SET

    def work(rows: int) -> float:
        vectors = ceil_div((rows - 1) * pitch + cols, tiling.lanes)
        if tiling.by_rows:
            vectors = rows * ceil_div(cols, tiling.lanes)
        return vectors + packing * (rows + step_h[-1]) * ceil_div(pitch, tiling.lanes) + far

    if stays and threads > 1:  # what one of them leaves, another may still take
        most = min(most, ceil_div(out_h, ceil_div(2 * threads, parts)))
    most = max(most // step * step, step)
    choice = range(most, 0, -step) if stays else range(most, most // 2, -step)
    rows = _quickest(out_h, choice, parts, 1 if stays else tiles, threads, work)
    bands_h, bands_w = ceil_div(out_h, rows), ceil_div(out_w, cols)
    count = parts * bands_h
    share = shares(count, tiles, threads)

    packed_rows = rows + step_h[-1]
    # an odd number of cache lines, so that channels spread over the sets
    channel_pitch = out_w if in_place else ceil_div(planes * packed_rows * pitch, line) // 2 * 2 * line + line
    # the last tile reads on past the end
    turns = tiling.panels and _turns(given)
    packed = 0 if in_place or turns else ceil_div(per_in * channel_pitch + tiling.pixels, line) * line
    # Where multiply-adds ask for much, rows of few channels are written one after the other; and so are rows without
    # gaps of few taps and many channels, else as many pages and streams would be written side by side. Each tile then
    # reads pixels from the second level: several threads with tiles of many sums gain nothing by it, and lose on a
    # busy machine, unless no cache holds what they write.
    few = taps <= 32 and estimate.asks_much(level)
    whole_rows = flat or tiling.by_rows or pitch == cols == out_w
    written = out_h * out_w * itemsize
    pays = threads == 1 or _wants_near(level) or per_out * written > LEVEL_3
    many = per_out > _MANY_PLANES and written >= PAGE and pays
    # where weights pass, they all do for one tile's pixels before the next
    pass_by = stays or (_wants_near(level) and weights <= LEVEL_3 // 4)
    band_stays = not pass_by or few or (whole_rows and many and taps <= _FEW_TAPS)
    chunk = taps if band_stays else _chunk(plan, tiling, itemsize, _near(level, tiling.panels))
    panels = tiling.panels and (not band_stays or flat)
    band_size = packed
    if panels:  # of a tile's taps that pass together, or of all tiles
        together = (ceil_div(cols, tiling.pixels) + 1) * taps if band_stays else chunk
        band_size += together * tiling.pixels
    waiting = 1 if chunk == taps else ceil_div(tiles, share)
    scratch = band_size + (waiting * tiling.channels + tiling.last_channels) * tiling.pixels
    if scratch > LARGEST_BAND:
        offsets = panel_offsets = np.zeros(1, np.int32)  # no use: the plan is refused
    else:
        h = np.array(slot_h) * len(phase_w) * packed_rows * pitch + np.array(step_h) * pitch
        w = np.array(slot_w) * packed_rows * pitch + np.array(step_w)
        c = np.arange(per_in) * channel_pitch
        offsets = np.ascontiguousarray((c[:, None, None] + h[:, None] + w).ravel(), np.int32)
        spread = in_place and not band_stays
        panel_offsets = panel_places(offsets, chunk, tiling.pixels, spread) if panels else np.zeros(0, np.int32)
    return Bands(
        batch=plan.batch,
        groups=plan.groups,
        in_channels=per_in,
        out_channels=per_out,
        in_size=plan.in_size,
        out_size=plan.out_size,
        stride=plan.stride,
        origin=(plan.padding[0][0], plan.padding[1][0]),
        rows=rows,
        cols=cols,
        bands_h=bands_h,
        bands_w=bands_w,
        shares=share,
        band_stays=band_stays,
        by_rows=tiling.by_rows,
        in_place=in_place,
        phase_h=np.array(phase_h, np.int32),
        phase_w=np.array(phase_w, np.int32),
        packed_rows=packed_rows,
        pitch=pitch,
        channel_pitch=channel_pitch,
        panels=packed,
        band_size=band_size,
        chunk=chunk,
        offsets=offsets,
        panel_offsets=panel_offsets,
        full_tile=tiling.full,
        last_tile=tiling.last,
        full_tiles=tiling.tiles,
        last_channels=tiling.last_real,
        scratch=scratch,
        row=row,
    )
