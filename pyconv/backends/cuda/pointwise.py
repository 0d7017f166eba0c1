"""1x1 convolution on dense planes: a plain matrix product, the image fetched in whole vectors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ...plan import ConvPlan
from . import dense
from .activation import EXAMPLES, NONE, Epilogue
from .kernel import DTYPES, INDEX_TYPES, Kernel, Launch, struct
from .plans import fitting_index, strides_of
from .tile import TILES, Tile
from .weights import Packing

__all__ = ["arguments", "kernels", "label", "launch", "packing", "refusal"]

_ARGUMENTS = struct(
    x="u8", weights="u8", output=dense.OUTPUT, x_strides=("i8", 2), in_channels="i4", aligned="i4", steps="i4",
    padded_channels="i4",
)  # fmt: skip


def label(plan: ConvPlan) -> str:
    """The implementation's name, with its tile."""
    tile = dense.tile(plan)
    return f"pointwise_{tile.channels}x{tile.pixels}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.kernel != (1, 1):
        return f"it is for 1x1 kernels, not {plan.kernel[0]}x{plan.kernel[1]}"
    if plan.stride != (1, 1) or plan.padding != ((0, 0), (0, 0)):
        return "it has no stride and no padding"
    if plan.layout != "nchw":
        return "the pixels of a plane are not next to each other"
    if dense.plane(plan) % dense.vector(plan):
        return f"planes of {dense.plane(plan)} pixels are no whole vectors of {dense.vector(plan)}"
    return dense.refusal(plan) or launch(plan).refusal


def packing(plan: ConvPlan) -> Packing:
    """The order of its weights."""
    return dense.packing(plan)


@lru_cache(maxsize=1024)
def launch(plan: ConvPlan, epilogue: Epilogue = NONE) -> Launch:
    """Kernel, grid and block."""
    tile = dense.launched(plan, epilogue)
    return Launch(_kernel(plan.dtype, tile, fitting_index(plan), epilogue), dense.grid(plan, epilogue), tile.threads)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for; with an epilogue, examples."""
    for dtype, index in product(DTYPES, INDEX_TYPES):
        for tile in TILES[dtype][dtype != "float64" and index != "int" :]:  # as dense.launched has it
            yield _kernel(dtype, tile, index)
    for epilogue in EXAMPLES:
        yield _kernel("float32", TILES["float32"][epilogue.residual], "int", epilogue)


def _kernel(dtype: str, tile: Tile, index: str, epilogue: Epilogue = NONE) -> Kernel:
    return Kernel.of("conv_pointwise", dtype, _ARGUMENTS, INDEX=index, **epilogue.macros, **tile.macros)


def arguments(plan: ConvPlan, x: Any, at: dense.Addresses, epilogue: Epilogue = NONE) -> np.ndarray:
    """The kernel's struct."""
    packed = np.zeros(1, _ARGUMENTS)
    dense.fill(plan, packed, at, epilogue)
    packed["x_strides"] = strides_of(x)[:2]
    packed["aligned"] = dense.aligned(plan, at.x)
    return packed
