"""Which part of the output a block of threads computes, in the dense convolutions."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["STEP", "TILES", "Tile", "choose"]

STEP = 8
"""Rows of the sum that are in shared memory at a time: BLOCK_K of gemm_tile.cuh."""

_MULTIPROCESSORS = 128
"""Of a large GPU, about. The choice must not depend on the device, or the bits of a result would."""


class Tile(NamedTuple):
    """``thread_m`` x ``thread_n`` outputs a thread, 4 x 8 threads a warp, ``warps_m`` x ``warps_n`` warps a block.

    ``rate`` is the speed at which a full GPU computes with it, relative to the largest tile: an estimate, by the
    multiply-adds for each vector read from shared memory.
    """

    thread_m: int
    thread_n: int
    warps_m: int
    warps_n: int
    rate: float

    @property
    def channels(self) -> int:
        """Output channels of a block."""
        return self.warps_m * 4 * self.thread_m

    @property
    def pixels(self) -> int:
        """Output pixels of a block."""
        return self.warps_n * 8 * self.thread_n

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * self.warps_m * self.warps_n

    @property
    def macros(self) -> dict[str, Any]:
        """What gemm_tile.cuh is compiled with."""
        return {"TM": self.thread_m, "TN": self.thread_n, "WARPS_M": self.warps_m, "WARPS_N": self.warps_n}


_FLOAT32 = (
    Tile(8, 8, 4, 2, 1.0),
    Tile(8, 8, 2, 2, 0.95),
    Tile(8, 4, 2, 2, 0.8),
    Tile(8, 4, 1, 4, 0.75),
    Tile(4, 4, 1, 4, 0.5),
)
TILES: dict[str, tuple[Tile, ...]] = {
    "float32": _FLOAT32,
    "float16": _FLOAT32,
    "bfloat16": _FLOAT32,
    # 8 x 8 sums in float64 would take 128 registers
    "float64": (Tile(8, 4, 2, 4, 1.0), Tile(8, 4, 2, 2, 0.9), Tile(8, 4, 1, 4, 0.9), Tile(4, 4, 1, 4, 0.6)),
}
"""The tiles there are, by dtype."""


def choose(dtype: str, channels: int, groups: int, pixels: int) -> Tile:
    """The tile that computes ``groups`` times ``channels`` x ``pixels`` outputs soonest, by a simple model.

    Every multiprocessor computes whole tiles; with fewer tiles than multiprocessors, some are idle.
    """

    def time(tile: Tile) -> float:
        blocks = -(-channels // tile.channels) * -(-pixels // tile.pixels) * groups
        return max(blocks, _MULTIPROCESSORS) * tile.channels * tile.pixels / tile.rate

    return min(TILES[dtype], key=time)
