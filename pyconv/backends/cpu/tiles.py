"""Which register tile a convolution runs on: the one with the least work, waste at the edges counted in."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..._core import runtime
from . import estimate
from .cut import ceil_div

__all__ = ["FIRST_LEVEL", "Tiling", "choose"]

FIRST_LEVEL = 24 * 1024
"""Bytes of pixels that stay in the first level of the cache, beside weights and sums that pass by."""


class Tiling(NamedTuple):
    """A tile for most output channels of a group, and a narrower one of the same width for the rest."""

    full: int
    """Its place in the kernel table."""
    channels: int
    pixels: int
    lanes: int
    """Pixels of a vector."""
    cycles: float
    """Of a tap for all output pixels and channels of a group, estimated."""
    tiles: int
    """Full tiles of a group."""
    last: int
    last_channels: int
    """Channels of the last tile, real ones and padding."""
    last_real: int
    """Real output channels in the last tile; 0 if there is none."""
    by_rows: bool = False
    """Each row of the output is a line of its own; else all rows of a band are one, whose tiles run past row ends."""
    spread: bool = False
    """The image is packed once for each column of the kernel, in rows as long as the output's: a line has no gaps."""

    panels: bool = False
    """A tile's pixels are copied, one tap behind the other, by the first tile of output channels that reads them."""

    @property
    def packed_channels(self) -> int:
        """Output channels of a group as packed, with the padding of the last tile."""
        return self.tiles * self.channels + (self.last_channels if self.last_real else 0)


def _cycles(channels: int, vectors: int, pace: float, far: bool, panels: bool) -> float:
    """Cycles a tile takes for one tap, about, in the cost models' (see estimate.py).

    Vectors of pixels lie at any address, so they cost two loads, of two a cycle (or one of vectors of 64 bytes where
    a cycle has one multiply-add of them); a chain of additions has a latency of four; and the loop itself takes about a
    cycle beside two multiply-adds a cycle. Of wider tiles' pixels, fewer taps stay in the first level of the cache, and
    the sums are put down and taken up again more often, or the pixels come from ``far``. In ``panels`` they are near,
    and each vector of them takes one load: the loop then costs little (measured: 6.2 to 6.4 cycles for 6 x 2 sums, 6.5
    to 7 for 4 x 3, whose weights pass more often).
    """
    if panels and pace == 1:
        return max(channels * vectors / 2, (channels + vectors) / 2, 5.0) * (0.98 + 0.04 * vectors)
    if pace == 1:
        more = 0.04 * max(vectors - 3, 0)
        more += 0.03 * max(channels - 4, 0) if far else 0.0  # weights pass once for each tile of pixels
        return max(channels * vectors / 2, (channels + 2 * vectors) / 2, 4.0) + 1.0 + more
    wide = 0.04 * vectors if far else 0.0
    return max(channels * vectors / 2, pace * (channels / 2 + 2 * vectors), 4 * pace) + 0.25 + wide


def _line_cycles(line: int, lanes: int, tile: dict[int, float]) -> float:
    """Cycles of a line of so many pixels in the widest tiles of ``tile``, which has those of each number of vectors.

    A narrower one ends the line, or two: as find_ends of kernels/conv_direct.kernel.c has it.
    """

    def narrowest(vectors: int) -> int:
        return min(v for v in tile if v >= vectors)

    most = max(tile)
    whole, left = divmod(ceil_div(line, lanes), most)
    if left == 0:
        return whole * tile[most]
    if whole and 2 * left <= most:
        first = narrowest(ceil_div(most + left, 2))
        second = narrowest(most + left - first)
        if first + second == most + left:
            return (whole - 1) * tile[most] + tile[first] + tile[second]
    return whole * tile[most] + tile[narrowest(left)]


@lru_cache(maxsize=256)
def choose(
    out_channels: int,
    line: int,
    isa: int,
    is_double: bool,
    taps: int = 1000,
    rows: tuple[int, int] | None = None,
    spreading: float | None = None,
    panels: bool = False,
) -> Tiling:
    """The tiling for ``out_channels`` of a group and output lines of ``line`` pixels with gaps, or ``rows`` without.

    ``rows``: how many there are in place of a line, and their pixels; None if the line has no gaps. ``spreading``: the
    cycles that it takes to pack the image for each column of the kernel, so that the line has none; None if it cannot
    be. Then no two taps share pixels, all of which are to stay in the first level of the cache. ``panels``: whether the
    tiling has them.
    """
    tiles = runtime.tiles(isa, is_double)
    lanes, pace = runtime.lanes(isa, is_double), estimate.pace(isa)
    best, best_cost = None, 0.0
    for vectors in sorted({v for _, v in tiles}):
        widths = [(channels, place) for place, (channels, v) in enumerate(tiles) if v == vectors]
        channels, full = next((w for w in widths if w[0] >= out_channels), widths[-1])
        count, rest = divmod(out_channels, channels)
        last_channels, last = next(w for w in widths if w[0] >= rest)

        far = taps * 64 * (vectors + 1) > FIRST_LEVEL
        each = {
            v: count * _cycles(channels, v, pace, far, panels)
            + (_cycles(last_channels, v, pace, far, panels) if rest else 0)
            for v in sorted({v for _, v in tiles if v <= vectors})
        }
        cost, form = _line_cycles(line, lanes, each), (False, False)
        if rows is not None:
            # sums of pixels that are not neighbours in the output are copied to their places: vectors, and ends of runs
            copying = pace / taps * out_channels
            cost += copying * (2 * ceil_div(line, lanes) + 10 * rows[0])
            whole = rows[0] * _line_cycles(rows[1], lanes, each)
            if rows[1] % lanes:
                whole += copying * 12 * rows[0]
            cost, form = min((cost, form), (whole, (True, False)))
            if spreading is not None and not far:
                without_gaps = _line_cycles(rows[0] * rows[1], lanes, each) + spreading / taps
                cost, form = min((cost, form), (without_gaps, (False, True)))
        if best is None or cost < best_cost:
            best = Tiling(full, channels, vectors * lanes, lanes, cost, count, last, last_channels, rest, *form, panels)
            best_cost = cost
    assert best is not None
    return best
