"""What the tensor-core convolutions sum over, and how their pixels come into shared memory."""

from __future__ import annotations

from math import prod

from ...plan import HALF_DTYPES, ConvPlan
from . import dense
from .plans import INT_LIMIT, itemsize, too_wide
from .tensor_tile import WORDS

__all__ = ["FETCHES", "fetch", "in_padded", "kind", "products", "refusal", "rows", "step", "steps", "up"]

FETCHES = {"float32": ("TAPS", "MIXED", "PLANES", "LAST"), "float16": ("LAST", "GATHERED")}
FETCHES["bfloat16"] = FETCHES["float16"]
"""How tensor_pixels.cuh may fetch pixels, by dtype."""

_FEWEST = 16
"""Output channels of a group, and terms of a sum, below which most of a tile would be idle."""
_FILLING = 1.25
"""How much longer the sum may get by filling up every tap's channels to whole steps."""


def refusal(plan: ConvPlan) -> str | None:
    """None if a tile can compute the plan, else the reason why not."""
    if plan.dtype not in FETCHES:
        return f"it is for {', '.join(FETCHES)}, not {plan.dtype}"
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    if plan.layout not in ("nchw", "nhwc"):
        return "the pixels lie neither as NCHW nor as NHWC"
    if per_out < _FEWEST or per_in * prod(plan.kernel) < _FEWEST:
        return (
            f"{per_out} output channels with sums of {per_in * prod(plan.kernel)} terms leave most of a tile idle, "
            f"it takes {_FEWEST} of each"
        )
    if (plan.in_channels + 2 * WORDS) * prod(plan.in_size) > INT_LIMIT:
        return f"an image of {plan.in_channels} x {plan.in_size[0]} x {plan.in_size[1]} is above 32-bit offsets"
    if dense.plane(plan) > INT_LIMIT:
        return f"an output plane of {plan.out_size[0]:,} x {plan.out_size[1]:,} pixels is above 32-bit counters"
    if rows(plan) > INT_LIMIT - 2 * WORDS:
        return f"the sum has {rows(plan):,} terms, more than the {INT_LIMIT:,} that its counters hold"
    return too_wide(plan)


def kind(plan: ConvPlan) -> str:
    """What is multiplied: 'tf32', '3xtf32' for three products of it, or the dtype."""
    return {"fp32": "3xtf32", "tf32": "tf32"}[plan.precision] if plan.dtype == "float32" else plan.dtype


def products(plan: ConvPlan) -> int:
    """How many products each multiplication takes."""
    return 3 if plan.dtype == "float32" and plan.precision == "fp32" else 1


def fetch(plan: ConvPlan, pooled: bool = False) -> str:
    """How the pixels come into shared memory: one of FETCHES."""
    per_in, taps, chunk = plan.in_channels // plan.groups, prod(plan.kernel), 16 // itemsize(plan)
    if plan.layout == "nhwc" and per_in % chunk == 0:
        return "LAST"
    if plan.dtype in HALF_DTYPES:
        return "GATHERED"
    unmoved = plan.stride == (1, 1) and plan.padding == ((0, 0), (0, 0))
    if plan.kernel == (1, 1) and unmoved and plan.layout == "nchw" and dense.plane(plan) % 4 == 0:
        if not pooled:
            return "PLANES"
        return "MIXED" if per_in % WORDS else "TAPS"  # of those that take the same weights
    filled = up(per_in, WORDS) * taps <= _FILLING * up(per_in * taps, WORDS)
    return "TAPS" if filled else "MIXED"


def in_padded(plan: ConvPlan) -> int:
    """Input channels of a tap, filled up."""
    return up(plan.in_channels // plan.groups, {"TAPS": WORDS, "GATHERED": 8}.get(fetch(plan), 1))


def step(plan: ConvPlan) -> int:
    """Terms of the sum at a time."""
    return WORDS * 4 // itemsize(plan)


def steps(plan: ConvPlan) -> int:
    """Of the whole sum."""
    return -(-in_padded(plan) * prod(plan.kernel) // step(plan))


def rows(plan: ConvPlan) -> int:
    """Terms of the sum, filled up to whole steps."""
    return steps(plan) * step(plan)


def up(count: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-count // step) * step
