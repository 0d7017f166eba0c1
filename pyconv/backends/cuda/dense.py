"""What the dense convolutions share: tile, packing and output of a product of weights and pixels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from ...plan import ConvPlan
from .activation import PARAMETERS, Epilogue, parameters
from .kernel import struct
from .plans import INT_LIMIT, fitting_index, itemsize
from .tile import STEP, TILES, Tile, choose
from .weights import Packing

__all__ = [
    "OUTPUT",
    "Addresses",
    "aligned",
    "fill",
    "grid",
    "launched",
    "packing",
    "plane",
    "refusal",
    "tile",
    "vector",
]

OUTPUT = struct(
    out="u8", bias="u8", residual="u8", pixels="i8", plane="i8", channels="i4", groups="i4", whole_vectors="i4",
    tiles_m="i4", parameters=PARAMETERS,
)  # fmt: skip
"""The struct Output of gemm_tile.cuh."""

_FILLING = 1.25
"""How much longer the sum may get by filling up every tap's channels to whole steps."""


class Addresses(NamedTuple):
    """Where the arrays of one call lie; ``bias`` and ``residual`` are 0 if there is none."""

    x: int
    weights: int
    bias: int
    out: int
    residual: int = 0


def plane(plan: ConvPlan) -> int:
    """Pixels of an output channel."""
    return plan.out_size[0] * plan.out_size[1]


def vector(plan: ConvPlan) -> int:
    """Pixels of a vector: 16 bytes of the type that sums are kept in."""
    return 2 if plan.dtype == "float64" else 4


def aligned(plan: ConvPlan, address: int) -> bool:
    """Whether whole vectors of elements can be read or written there."""
    return address % (vector(plan) * itemsize(plan)) == 0


@lru_cache(maxsize=1024)
def tile(plan: ConvPlan) -> Tile:
    """The part of the output that a block computes."""
    return choose(plan.dtype, plan.out_channels // plan.groups, plan.groups, plan.batch * plane(plan))


def launched(plan: ConvPlan, epilogue: Epilogue) -> Tile:
    """The tile that runs: the plan's but where its 128 registers a thread would not hold the epilogue or offsets too.

    The next smaller one, which takes the same weights and gives the same bits, may have 168.
    """
    largest, smaller, *_ = TILES[plan.dtype]
    full = tile(plan) == largest and vector(plan) == 4
    return smaller if full and (epilogue.residual or fitting_index(plan) != "int") else tile(plan)


@lru_cache(maxsize=1024)
def packing(plan: ConvPlan) -> Packing:
    """The order of the weights."""
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    taps = plan.kernel[0] * plan.kernel[1]
    filled = _up(per_in, STEP)
    taps_outside = filled * taps <= _FILLING * _up(per_in * taps, STEP)
    in_padded = filled if taps_outside else per_in
    return Packing(
        groups=plan.groups,
        channels=per_out,
        in_channels=per_in,
        kernel=plan.kernel,
        padded_channels=_up(per_out, tile(plan).channels),
        in_padded=in_padded,
        rows=_up(in_padded * taps, STEP),
        taps_outside=taps_outside,
    )


def refusal(plan: ConvPlan) -> str | None:
    """The reason why the tile's counters cannot take the plan, or None."""
    rows = packing(plan).rows
    if rows > INT_LIMIT - STEP:
        return f"the sum has {rows:,} terms, more than the {INT_LIMIT:,} that its counters hold"
    return None


def grid(plan: ConvPlan, epilogue: Epilogue) -> int:
    """Blocks of threads."""
    runs = launched(plan, epilogue)
    tiles_m = packing(plan).padded_channels // runs.channels
    return tiles_m * -(-plan.batch * epilogue.pixels(plan) // runs.pixels) * plan.groups


def fill(plan: ConvPlan, arguments: Any, at: Addresses, epilogue: Epilogue) -> None:
    """Set what the kernels' structs have in common."""
    order, output, pixels = packing(plan), arguments["output"], epilogue.pixels(plan)
    arguments["x"], arguments["weights"], output["bias"], output["out"], output["residual"] = at
    output["pixels"], output["plane"] = plan.batch * pixels, pixels
    output["channels"], output["groups"] = order.channels, plan.groups
    output["whole_vectors"] = pixels % vector(plan) == 0 and aligned(plan, at.out | at.residual)
    output["tiles_m"] = order.padded_channels // launched(plan, epilogue).channels
    output["parameters"] = parameters(epilogue.parameters, plan.dtype)
    arguments["in_channels"] = order.in_channels
    arguments["steps"], arguments["padded_channels"] = order.rows // STEP, order.padded_channels


def _up(count: int, step: int) -> int:
    return -(-count // step) * step
