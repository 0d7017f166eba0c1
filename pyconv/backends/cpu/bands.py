"""How a convolution is cut into tasks, and how a task's input is packed: the sizes, worked out once for a plan.

A task computes a band of output rows (and, for very wide or very deep images, of columns). Its input is packed in
one form (see _core/kernels/conv_pack.kernel.c): rows and columns are sorted by their remainder by the stride, the
*phase*, so that tap (i, j) of output pixel (y, x) lies in phase (i * dilation % stride, j * dilation % stride) at
(y + i * dilation // stride, x + j * dilation // stride), for every stride and dilation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...plan import ConvPlan, Pair
from .cache import WORKING_SET
from .cut import ceil_div, shares
from .tiles import Tiling

__all__ = ["LARGEST_BAND", "Bands", "bands", "is_flat", "packed_elements", "packed_line", "reads_in_place"]

LARGEST_BAND = 2**28
"""Elements of packed input that a task may need: 1 GiB of float32. Offsets into it are 32-bit."""


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
    in_place: bool
    phase_h: np.ndarray
    phase_w: np.ndarray
    packed_rows: int
    pitch: int
    channel_pitch: int
    offsets: np.ndarray
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


def _fewest_tiles(out_h: int, most: int, cols: int, pitch: int, pixels: int) -> int:
    """Rows for a band, from half of ``most`` up, such that tiles of ``pixels`` cover all bands with the least waste."""

    def tiles(rows: int) -> int:
        return ceil_div((rows - 1) * pitch + cols, pixels) if rows else 0

    return min(range(most, most // 2, -1), key=lambda rows: out_h // rows * tiles(rows) + tiles(out_h % rows))


def packed_line(plan: ConvPlan) -> int:
    """Places of an image's output in packed form, one row after the other."""
    (out_h, out_w), reach = plan.out_size, (plan.kernel[1] - 1) * plan.dilation[1] // plan.stride[1]
    return (out_h - 1) * (out_w + reach) + out_w


def is_flat(plan: ConvPlan) -> bool:
    """Whether the image is one long row to the convolution: a 1x1 kernel without stride, over rows without gaps."""
    return (plan.kernel, plan.stride, plan.padding) == ((1, 1), (1, 1), ((0, 0), (0, 0))) and plan.layout != "strided"


def reads_in_place(plan: ConvPlan) -> bool:
    """Whether a flat image is read where it lies, which is then already what packing would make of it.

    With many channels a tile would touch so many places far apart that copying the band first is quicker (measured).
    """
    per_in = plan.in_channels // plan.groups
    return is_flat(plan) and plan.layout == "nchw" and per_in <= 128 and plan.in_size[0] * plan.in_size[1] < 2**24


def packed_elements(plan: ConvPlan) -> int:
    """Elements that one channel of an image takes in packed form."""
    elements = 1
    for size, kernel, stride, dilation in zip(plan.out_size, plan.kernel, plan.stride, plan.dilation, strict=True):
        phases, _, steps = _phases(kernel, stride, dilation)
        elements *= len(phases) * (size + steps[-1])
    return elements


def bands(plan: ConvPlan, tiling: Tiling, itemsize: int, threads: int) -> Bands:
    """Cut ``plan`` into tasks for this many threads; the result does not depend on how."""
    flat = is_flat(plan)
    row = plan.out_size[1] if flat else 0
    in_place = reads_in_place(plan) and plan.in_size[0] * plan.in_size[1] >= tiling.pixels
    if flat:
        pixels = plan.in_size[0] * plan.in_size[1]
        plan = replace(plan, in_size=(1, pixels), out_size=(1, pixels))
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    phase_h, slot_h, step_h = _phases(plan.kernel[0], plan.stride[0], plan.dilation[0])
    phase_w, slot_w, step_w = _phases(plan.kernel[1], plan.stride[1], plan.dilation[1])
    planes = len(phase_h) * len(phase_w)
    out_h, out_w = plan.out_size

    def channel_elements(rows: int, cols: int) -> int:
        return planes * (rows + step_h[-1]) * (cols + step_w[-1])

    # Weights that stay in the cache pass every band again, and want bands that leave them room; others pass one band
    # after the other, and want few. As many rows as fit; if not even one does, narrower bands.
    taps = per_in * plan.kernel[0] * plan.kernel[1]
    stays = tiling.packed_channels * taps * itemsize <= WORKING_SET
    room = (WORKING_SET // 4 if stays else WORKING_SET) // itemsize // per_in
    cols = out_w
    if channel_elements(1, cols) > room:
        fitting = room // (planes * (1 + step_h[-1])) - step_w[-1]
        cols = min(out_w, max(fitting // tiling.pixels, 1) * tiling.pixels)
        cols = ceil_div(out_w, ceil_div(out_w, cols))
    if flat and threads > 1 and stays:
        cols = min(cols, ceil_div(out_w, ceil_div(4 * threads, plan.groups * max(plan.batch, 1))))
        cols = min(ceil_div(cols, tiling.pixels) * tiling.pixels, out_w)
    rows = max(1, min(out_h, room // (planes * (cols + step_w[-1])) - step_h[-1]))
    # Enough tasks for all threads: bands, if the weights stay in the cache, though not so low ones that rows are packed
    # over and over or tiles stay empty; otherwise shares of the output channels, each of which packs the band anew.
    parts = plan.groups * max(plan.batch, 1) * ceil_div(out_w, cols)
    tiles = tiling.tiles + (tiling.last_real > 0)
    if threads > 1:
        wanted = ceil_div(4 * threads if stays else ceil_div(threads, tiles), parts)
        low = max(2 * (step_h[-1] + 1), ceil_div(2 * tiling.pixels, cols + step_w[-1])) if stays else 1
        rows = min(rows, max(min(low, out_h), out_h // wanted, 1))
    rows = _fewest_tiles(out_h, rows, cols, cols + step_w[-1], tiling.pixels)
    bands_h, bands_w = ceil_div(out_h, rows), ceil_div(out_w, cols)
    count = parts * bands_h
    share = shares(count, tiles, threads)

    packed_rows, pitch = rows + step_h[-1], cols + step_w[-1]
    channel_pitch = out_w if in_place else planes * packed_rows * pitch
    scratch = 1 if in_place else per_in * channel_pitch + tiling.pixels  # the last tile reads on past the end
    if scratch > LARGEST_BAND:
        offsets = np.zeros(1, np.int32)  # no use: the plan is refused
    else:
        h = np.array(slot_h) * len(phase_w) * packed_rows * pitch + np.array(step_h) * pitch
        w = np.array(slot_w) * packed_rows * pitch + np.array(step_w)
        c = np.arange(per_in) * channel_pitch
        offsets = np.ascontiguousarray((c[:, None, None] + h[:, None] + w).ravel(), np.int32)
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
        # rows of few channels are written one after the other: that many of them side by side would be slower
        band_stays=not stays or taps <= 32,
        in_place=in_place,
        phase_h=np.array(phase_h, np.int32),
        phase_w=np.array(phase_w, np.int32),
        packed_rows=packed_rows,
        pitch=pitch,
        channel_pitch=channel_pitch,
        offsets=offsets,
        full_tile=tiling.full,
        last_tile=tiling.last,
        full_tiles=tiling.tiles,
        last_channels=tiling.last_real,
        scratch=scratch,
        row=row,
    )
