"""Dense convolution on Hopper's tensor cores by wgmma, for sm_90a: asked for, until a GPU has shown what it is worth.

What it computes is what :mod:`tensor` does, with which it shares everything but tile and weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

from ...plan import ConvPlan
from . import dense, tensor_run, tensor_terms
from .activation import EXAMPLES, NONE, POOLED, Epilogue
from .kernel import Kernel, Launch
from .tensor_terms import FETCHES
from .tensor_tile import AnyTile, Cut, choose, wgmma_tiles
from .weights import Packing

__all__ = [
    "ARCHITECTURE",
    "cut",
    "kernels",
    "label",
    "launch",
    "packing",
    "pooling_refusal",
    "refusal",
    "run",
    "trial",
    "writes",
]

ARCHITECTURE = "sm_90a"
"""What its kernels are compiled for."""


def label(plan: ConvPlan) -> str:
    """The implementation's name, with its tile and the parts of its sum."""
    if plan.dtype not in FETCHES:
        return "wgmma"
    tile, parts, _ = cut(plan)
    return f"wgmma_{tensor_terms.kind(plan)}_{tile.channels}x{tile.pixels}" + (f"_{parts}parts" if parts > 1 else "")


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    return tensor_terms.refusal(plan) or launch(plan).refusal


@lru_cache(maxsize=1024)
def cut(plan: ConvPlan) -> Cut:
    """The part of the output and of the sum that a block computes."""
    pixels, products = plan.batch * dense.plane(plan), tensor_terms.products(plan)
    per_out, steps = plan.out_channels // plan.groups, tensor_terms.steps(plan)
    return choose(wgmma_tiles(products), per_out, plan.groups, pixels, steps, products)


@lru_cache(maxsize=1024)
def packing(plan: ConvPlan) -> Packing:
    """The order of its weights: panels that are copied at once, of high and of low parts for three products."""
    return tensor_run.packing(plan, cut(plan), cut(plan).tile.panels)


@lru_cache(maxsize=1024)
def launch(plan: ConvPlan, epilogue: Epilogue = NONE) -> Launch:
    """Kernel, grid and block of the first pass."""
    tile = cut(plan).tile
    kernel = _kernel(plan.dtype, tensor_terms.fetch(plan, epilogue.pooled), tile, epilogue)
    return Launch(kernel, tensor_run.blocks(plan, cut(plan), epilogue), tile.threads, tile.shared)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for; with an epilogue, examples."""
    for dtype, fetches in FETCHES.items():
        for products in (1, 3) if dtype == "float32" else (1,):
            for fetch, tile in product(fetches, wgmma_tiles(products)):
                yield _kernel(dtype, fetch, tile)
    for epilogue in EXAMPLES:
        yield _kernel("float32", "TAPS", wgmma_tiles(1)[0], epilogue)
    for epilogue, products, fetch in product(POOLED, (1, 3), ("TAPS", "MIXED", "LAST")):
        yield _kernel("float32", fetch, wgmma_tiles(products)[0], epilogue)


def trial() -> Launch:
    """A launch of no blocks, of one kernel of the tile with most shared memory.

    What refuses the architecture, the memory or the way of loading (an NVRTC or a driver older than sm_90a, no folder
    for temporary files) refuses it as it would the others. It multiplies float32 numbers, by TF32's instruction: of
    those of float16 and bfloat16, and of the other tiles and ways of fetching, it shows nothing.
    """
    tile = max((*wgmma_tiles(1), *wgmma_tiles(3)), key=lambda tile: tile.shared)
    return Launch(_kernel("float32", "TAPS", tile), 0, tile.threads, tile.shared)


def _kernel(dtype: str, fetch: str, tile: AnyTile, epilogue: Epilogue = NONE) -> Kernel:
    macros = tensor_run.macros(3 if tile.panels == 2 else 1, fetch, tile, epilogue)
    return Kernel.of("conv_wgmma", dtype, tensor_run.ARGUMENTS, ARCHITECTURE, **macros)


def writes(room: Any, plan: ConvPlan, out: Any) -> bool:
    """Whether it can write into ``out`` as that lies in memory: the pixels of a plane are evenly spaced."""
    return tensor_run.writes(room, cut(plan), out)


def pooling_refusal(plan: ConvPlan) -> str | None:
    """None if it can write the maxima of 2x2 windows, else the reason why not."""
    return tensor_run.unpooled(plan, cut(plan))


def run(room: Any, plan: ConvPlan, x: Any, at: dense.Addresses, out: Any, epilogue: Epilogue) -> None:
    """Launch it, on arrays of the current device."""
    tensor_run.run(room, plan, x, at, out, epilogue, cut(plan), launch)
