"""Which part of the output, and of the sum, a block of threads computes in the tensor-core convolution."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["TILES", "WORDS", "Cut", "TensorTile", "choose"]

WORDS = 32
"""Words of 32 bits of the sum that are in shared memory at a time, as in tensor_tile.cuh."""

_MULTIPROCESSORS = 132
"""Of an H100. A launch must not depend on the device, or the bits of a result would: so it is chosen for this one."""

# The estimate of a launch's time counts in steps of the largest tile on one multiprocessor, 128 x 128 sums of 32 terms.
_STEP_SECONDS = 0.5e-6
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


TILES = (
    TensorTile(4, 4, 2, 4, 3, 1.0),
    TensorTile(4, 4, 1, 4, 3, 0.85),
    TensorTile(2, 4, 2, 2, 3, 0.65),
)
"""The tiles there are: 128 x 128, 64 x 128 and 64 x 64. Three stages of the largest fill what an SM of 8.6 has."""


class Cut(NamedTuple):
    """A tile, and the number of parts into which the sum is cut; more than one need a second pass."""

    tile: TensorTile
    parts: int
    part_steps: int


def choose(channels: int, groups: int, pixels: int, steps: int, products: int) -> Cut:
    """The cut of ``groups`` times ``channels`` x ``pixels`` sums of ``steps`` steps that takes least by a simple model.

    Multiprocessors take blocks in waves; parts of a sum are for outputs that would not fill one wave. ``products`` is
    how many each multiplication takes. A step is as long in 16 bits, with twice the terms at twice the speed.
    """
    outputs = channels * groups * pixels

    def seconds(cut: Cut) -> float:
        tile = cut.tile
        blocks = -(-channels // tile.channels) * -(-pixels // tile.pixels) * groups * cut.parts
        waves = -(-blocks // _MULTIPROCESSORS)
        area = tile.channels * tile.pixels / (128 * 128) / tile.rate
        compute = waves * (cut.part_steps + tile.stages) * area * products * _STEP_SECONDS
        return compute + (_SECOND_PASS + cut.parts * outputs * 8 / _BYTES_PER_SECOND if cut.parts > 1 else 0)

    cuts = []
    for tile in TILES:
        for wanted in range(1, max(1, min(_MOST_PARTS, steps // _LEAST_STEPS)) + 1):
            part_steps = -(-steps // wanted)
            cuts.append(Cut(tile, -(-steps // part_steps), part_steps))
    return min(cuts, key=seconds)
