"""Dense convolution on tensor cores: TF32, three products of TF32 for float32, float16 and bfloat16."""

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
from .tensor_tile import TILES, AnyTile, Cut, choose
from .weights import Packing

__all__ = ["cut", "kernels", "label", "launch", "packing", "pooling_refusal", "refusal", "run", "writes"]


def label(plan: ConvPlan) -> str:
    """The implementation's name, with its tile and the parts of its sum."""
    if plan.dtype not in FETCHES:
        return "tensor"
    tile, parts, _ = cut(plan)
    return f"tensor_{tensor_terms.kind(plan)}_{tile.channels}x{tile.pixels}" + (f"_{parts}parts" if parts > 1 else "")


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    return tensor_terms.refusal(plan) or launch(plan).refusal


@lru_cache(maxsize=1024)
def cut(plan: ConvPlan) -> Cut:
    """The part of the output and of the sum that a block computes."""
    pixels, steps = plan.batch * dense.plane(plan), tensor_terms.steps(plan)
    return choose(TILES, plan.out_channels // plan.groups, plan.groups, pixels, steps, tensor_terms.products(plan))


@lru_cache(maxsize=1024)
def packing(plan: ConvPlan) -> Packing:
    """The order of its weights."""
    return tensor_run.packing(plan, cut(plan))


@lru_cache(maxsize=1024)
def launch(plan: ConvPlan, epilogue: Epilogue = NONE) -> Launch:
    """Kernel, grid and block of the first pass."""
    tile = cut(plan).tile
    kernel = _kernel(plan.dtype, tensor_terms.products(plan), tensor_terms.fetch(plan, epilogue.pooled), tile, epilogue)
    return Launch(kernel, tensor_run.blocks(plan, cut(plan), epilogue), tile.threads, tile.shared)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for; with an epilogue, examples."""
    for dtype, fetches in FETCHES.items():
        for products, fetch, tile in product((1, 3) if dtype == "float32" else (1,), fetches, TILES):
            yield _kernel(dtype, products, fetch, tile)
    for epilogue in EXAMPLES:
        yield _kernel("float32", 1, "TAPS", TILES[0], epilogue)
    for epilogue, products, fetch in product(POOLED, (1, 3), ("TAPS", "MIXED", "LAST")):
        yield _kernel("float32", products, fetch, TILES[0], epilogue)
    yield from tensor_run.sum_kernels()


def _kernel(dtype: str, products: int, fetch: str, tile: AnyTile, epilogue: Epilogue = NONE) -> Kernel:
    macros = tensor_run.macros(products, fetch, tile, epilogue)
    return Kernel.of("conv_tensor", dtype, tensor_run.ARGUMENTS, **macros)


def writes(room: Any, plan: ConvPlan, out: Any) -> bool:
    """Whether it can write into ``out`` as that lies in memory: the pixels of a plane are evenly spaced."""
    return tensor_run.writes(room, cut(plan), out)


def pooling_refusal(plan: ConvPlan) -> str | None:
    """None if it can write the maxima of 2x2 windows, else the reason why not."""
    return tensor_run.unpooled(plan, cut(plan))


def run(room: Any, plan: ConvPlan, x: Any, at: dense.Addresses, out: Any, epilogue: Epilogue) -> None:
    """Launch it, on arrays of the current device."""
    tensor_run.run(room, plan, x, at, out, epilogue, cut(plan), launch)
