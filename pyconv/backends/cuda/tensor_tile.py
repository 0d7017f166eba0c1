"""Which part of the output, and of the sum, a block of threads computes in the tensor-core convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["TILES", "WORDS", "AnyTile", "Cut", "TensorTile", "WgmmaTile", "choose", "wgmma_tiles"]

WORDS = 32
"""Words of 32 bits of the sum that are in shared memory at a time, as in tensor_tile.cuh."""

_MULTIPROCESSORS = 132
"""Of an H100. A launch must not depend on the device, or the bits of a result would: so it is chosen for this one."""

# The estimate of a launch's time. Of mma.sync a step of the largest tile on one multiprocessor, 128 x 128 sums of 32
# words; of wgmma what a multiprocessor of an H100 multiplies and takes from the second-level cache in a cycle.
_STEP_SECONDS = 0.5e-6
_CYCLE = 1 / 1.755e9
_WORDS_A_CYCLE = 1024
_BYTES_A_CYCLE = 5120 / _MULTIPROCESSORS
_BYTES_PER_SECOND = 2.5e12
_SECOND_PASS = 3e-6  # seconds until it runs
_LEAST_STEPS = 8  # of a part of the sum
_MOST_PARTS = 16


class TensorTile(NamedTuple):
    """``mma_m`` x ``mma_n`` tiles of 16 channels x 8 pixels a warp, ``warps_m`` x ``warps_n`` warps a block.

    ``rate`` is the speed at which a full GPU computes with it, relative to the largest: an estimate, by the words that
    are read from shared memory for each product.
    """

    mma_m: int
    mma_n: int
    warps_m: int
    warps_n: int
    stages: int
    rate: float
    panels: int = 0  # of weights that are copied as a whole
    pairs_of: str = "pixels"  # neighbours that a thread has

    @property
    def channels(self) -> int:
        """Output channels of a block."""
        return self.warps_m * 16 * self.mma_m

    @property
    def pixels(self) -> int:
        """Output pixels of a block."""
        return self.warps_n * 8 * self.mma_n

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * self.warps_m * self.warps_n

    @property
    def shared(self) -> int:
        """Bytes of shared memory."""
        return self.stages * (self.channels + self.pixels) * WORDS * 4

    @property
    def macros(self) -> dict[str, Any]:
        """What tensor_tile.cuh is compiled with."""
        return {
            "MMA_M": self.mma_m, "MMA_N": self.mma_n, "WARPS_M": self.warps_m, "WARPS_N": self.warps_n,
            "STAGES": self.stages, "SHARED_BYTES": self.shared,
        }  # fmt: skip

    def step_seconds(self, products: int) -> float:
        """How long a multiprocessor takes for a step; in 16 bits it is as long, with twice the terms."""
        return self.channels * self.pixels / (128 * 128) / self.rate * products * _STEP_SECONDS


TILES = (
    TensorTile(4, 4, 2, 4, 3, 1.0),
    TensorTile(4, 4, 1, 4, 3, 0.85),
    TensorTile(2, 4, 2, 2, 3, 0.65),
)
"""The tiles there are: 128 x 128, 64 x 128 and 64 x 64. Three stages of the largest fill what an SM of 8.6 has."""


class WgmmaTile(NamedTuple):
    """``tiles`` x 64 channels and 64 pixels for each of ``groups`` warpgroups; another warpgroup fetches.

    ``panels`` of weights: 2 where they are split, for three products. ``blocks`` of them share a multiprocessor.
    """

    tiles: int
    groups: int
    panels: int
    blocks: int
    pairs_of: str = "channels"

    @property
    def channels(self) -> int:
        """Output channels of a block."""
        return 64 * self.tiles

    @property
    def pixels(self) -> int:
        """Output pixels of a block."""
        return 64 * self.groups

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 128 * (self.groups + 1)

    @property
    def _stage(self) -> int:
        """Bytes of a step."""
        return (self.panels * self.channels + self.pixels) * WORDS * 4

    @property
    def stages(self) -> int:
        """As many as fit, up to 6."""
        return min(6, (_WGMMA_SHARED // self.blocks - 1024) // (self._stage + 16))

    @property
    def shared(self) -> int:
        """Bytes of shared memory: stages, and two barriers for each."""
        return self.stages * (self._stage + 16)

    @property
    def macros(self) -> dict[str, Any]:
        """What wgmma_tile.cuh is compiled with."""
        return {
            "TILES": self.tiles, "GROUPS": self.groups, "BLOCKS": self.blocks, "STAGES": self.stages,
            "SHARED_BYTES": self.shared,
        }  # fmt: skip

    def step_seconds(self, products: int) -> float:
        """How long a multiprocessor takes for a step: for its products, or for what they are made of."""
        multiply = self.channels * self.pixels * WORDS * products / _WORDS_A_CYCLE
        return max(multiply, self._stage / _BYTES_A_CYCLE) * _CYCLE


_WGMMA_SHARED = 228 * 1024  # bytes of a multiprocessor of Hopper, of which each block takes 1 KiB more than it asks for


def wgmma_tiles(products: int) -> tuple[WgmmaTile, ...]:
    """The tiles of wgmma: channels 256, 128, 64 x 128 pixels, 128 x 64; for three products no sums of 256 channels."""
    if products == 3:
        return WgmmaTile(2, 2, 2, 1), WgmmaTile(1, 2, 2, 1), WgmmaTile(2, 1, 2, 1)
    return WgmmaTile(4, 2, 1, 1), WgmmaTile(2, 2, 1, 1), WgmmaTile(1, 2, 1, 2), WgmmaTile(2, 1, 1, 2)


AnyTile = TensorTile | WgmmaTile


class Cut(NamedTuple):
    """A tile, and the number of parts into which the sum is cut; more than one need a second pass."""

    tile: AnyTile
    parts: int
    part_steps: int


def choose(tiles: Sequence[AnyTile], channels: int, groups: int, pixels: int, steps: int, products: int) -> Cut:
    """The cut of ``groups`` times ``channels`` x ``pixels`` sums of ``steps`` steps that takes least by a simple model.

    Multiprocessors take blocks in waves; parts of a sum are for outputs that would not fill one wave. ``products`` is
    how many each multiplication takes.
    """
    outputs = channels * groups * pixels

    def seconds(cut: Cut) -> float:
        tile = cut.tile
        blocks = -(-channels // tile.channels) * -(-pixels // tile.pixels) * groups * cut.parts
        waves = -(-blocks // _MULTIPROCESSORS)
        compute = waves * (cut.part_steps + tile.stages) * tile.step_seconds(products)
        return compute + (_SECOND_PASS + cut.parts * outputs * 8 / _BYTES_PER_SECOND if cut.parts > 1 else 0)

    cuts = []
    for tile in tiles:
        for wanted in range(1, max(1, min(_MOST_PARTS, steps // _LEAST_STEPS)) + 1):
            part_steps = -(-steps // wanted)
            cuts.append(Cut(tile, -(-steps // part_steps), part_steps))
    return min(cuts, key=seconds)
