"""Dense convolution on tensor cores: TF32, three products of TF32 for float32, float16 and bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...plan import HALF_DTYPES, ConvPlan
from . import dense
from .activation import EXAMPLES, NONE, PARAMETERS, POOLED, Epilogue, parameters
from .gemm import divisor
from .kernel import Kernel, Launch, struct
from .plans import INT_LIMIT, itemsize, strides_of, too_wide
from .tensor_tile import TILES, WORDS, Cut, TensorTile, choose
from .weights import Packing

__all__ = ["cut", "kernels", "label", "launch", "packing", "pooling_refusal", "refusal", "run", "writes"]

_DIVISOR = struct(multiplier="u4", shift="u4")
_OUTPUT = struct(
    out="u8", bias="u8", residual="u8", parameters=PARAMETERS, strides=("i8", 3), part="i8", pixels="i8", plane="i8",
    channels="i4", groups="i4", tiles_m="i4", parts="i4", pairs="i4",
)  # fmt: skip
_ARGUMENTS = struct(
    x="u8", weights="u8", output=_OUTPUT, x_strides=("i8", 4),
    in_channels="i4", in_size=("i4", 2), out_width="i4", kernel=("i4", 2), stride=("i4", 2), dilation=("i4", 2),
    start=("i4", 2), steps="i4", part_steps="i4", padded_channels="i4", in_padded="i4", aligned="i4",
    by_padded=_DIVISOR, by_kernel_width=_DIVISOR,
)  # fmt: skip
_SUM_ARGUMENTS = struct(
    parts="u8",
    bias="u8",
    out="u8",
    residual="u8",
    parameters=PARAMETERS,
    size="i8",
    plane="i8",
    channels="i4",
    count="i4",
)
_SUM_THREADS = 256

FETCHES = {"float32": ("TAPS", "MIXED", "PLANES", "LAST"), "float16": ("LAST", "GATHERED")}
FETCHES["bfloat16"] = FETCHES["float16"]
"""How tensor_pixels.cuh may fetch pixels, by dtype."""

_FEWEST = 16
"""Output channels of a group, and terms of a sum, below which most of a tile would be idle."""
_FILLING = 1.25
"""How much longer the sum may get by filling up every tap's channels to whole steps."""


def label(plan: ConvPlan) -> str:
    """The implementation's name, with its tile and the parts of its sum."""
    if plan.dtype not in FETCHES:
        return "tensor"
    tile, parts, _ = cut(plan)
    kind = {"fp32": "3xtf32", "tf32": "tf32"}[plan.precision] if plan.dtype == "float32" else plan.dtype
    return f"tensor_{kind}_{tile.channels}x{tile.pixels}" + (f"_{parts}parts" if parts > 1 else "")


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
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
    if packing(plan).rows > INT_LIMIT - 2 * WORDS:
        return f"the sum has {packing(plan).rows:,} terms, more than the {INT_LIMIT:,} that its counters hold"
    return too_wide(plan) or launch(plan).refusal


def _fetch(plan: ConvPlan) -> str:
    """How the pixels come into shared memory: one of FETCHES."""
    per_in, taps, chunk = plan.in_channels // plan.groups, prod(plan.kernel), 16 // itemsize(plan)
    if plan.layout == "nhwc" and per_in % chunk == 0:
        return "LAST"
    if plan.dtype in HALF_DTYPES:
        return "GATHERED"
    unmoved = plan.stride == (1, 1) and plan.padding == ((0, 0), (0, 0))
    if plan.kernel == (1, 1) and unmoved and plan.layout == "nchw" and dense.plane(plan) % 4 == 0:
        return "PLANES"
    filled = _up(per_in, WORDS) * taps <= _FILLING * _up(per_in * taps, WORDS)
    return "TAPS" if filled else "MIXED"


def _in_padded(plan: ConvPlan) -> int:
    """Input channels of a tap, filled up."""
    return _up(plan.in_channels // plan.groups, {"TAPS": WORDS, "GATHERED": 8}.get(_fetch(plan), 1))


def _step(plan: ConvPlan) -> int:
    """Terms of the sum at a time."""
    return WORDS * 4 // itemsize(plan)


@lru_cache(maxsize=1024)
def cut(plan: ConvPlan) -> Cut:
    """The part of the output and of the sum that a block computes."""
    steps = -(-_in_padded(plan) * prod(plan.kernel) // _step(plan))
    pixels = plan.batch * dense.plane(plan)
    return choose(plan.out_channels // plan.groups, plan.groups, pixels, steps, _products(plan))


def _products(plan: ConvPlan) -> int:
    return 3 if plan.dtype == "float32" and plan.precision == "fp32" else 1


@lru_cache(maxsize=1024)
def packing(plan: ConvPlan) -> Packing:
    """The order of its weights: in TF32 they are rounded when they are packed."""
    per_out, in_padded = plan.out_channels // plan.groups, _in_padded(plan)
    return Packing(
        groups=plan.groups,
        channels=per_out,
        in_channels=plan.in_channels // plan.groups,
        kernel=plan.kernel,
        padded_channels=_up(per_out, cut(plan).tile.channels),
        in_padded=in_padded,
        rows=_up(in_padded * prod(plan.kernel), _step(plan)),
        taps_outside=True,
        by_channel=True,
        rounded=plan.precision == "tf32",
    )


@lru_cache(maxsize=1024)
def launch(plan: ConvPlan, epilogue: Epilogue = NONE) -> Launch:
    """Kernel, grid and block of the first pass."""
    tile, parts, _ = cut(plan)
    blocks = _tiles_m(plan) * -(-plan.batch * epilogue.pixels(plan) // tile.pixels) * plan.groups * parts
    fetch = _fetch(plan)
    if epilogue.pooled and fetch == "PLANES":  # of those that take the same weights
        fetch = "MIXED" if plan.in_channels // plan.groups % WORDS else "TAPS"
    return Launch(_kernel(plan.dtype, _products(plan), fetch, tile, epilogue), blocks, tile.threads, tile.shared)


def _tiles_m(plan: ConvPlan) -> int:
    return packing(plan).padded_channels // cut(plan).tile.channels


@lru_cache(maxsize=1024)
def _second_launch(plan: ConvPlan, epilogue: Epilogue) -> Launch:
    """The second pass, which adds the parts."""
    return Launch(_sum_kernel(plan.dtype, epilogue), -(-prod(plan.out_shape) // _SUM_THREADS), _SUM_THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for; with an epilogue, examples."""
    for dtype, fetches in FETCHES.items():
        for products, fetch, tile in product((1, 3) if dtype == "float32" else (1,), fetches, TILES):
            yield _kernel(dtype, products, fetch, tile)
        yield _sum_kernel(dtype)
    for epilogue in EXAMPLES:
        yield _kernel("float32", 1, "TAPS", TILES[0], epilogue)
        yield _sum_kernel("float32", epilogue)
    for epilogue, products, fetch in product(POOLED, (1, 3), ("TAPS", "MIXED", "LAST")):
        yield _kernel("float32", products, fetch, TILES[0], epilogue)


def _kernel(dtype: str, products: int, fetch: str, tile: TensorTile, epilogue: Epilogue = NONE) -> Kernel:
    return Kernel.of(
        "conv_tensor",
        dtype,
        _ARGUMENTS,
        **epilogue.macros,
        POOLED=int(epilogue.pooled),
        PRODUCTS=products,
        FETCH=fetch,
        **tile.macros,
    )


def _sum_kernel(dtype: str, epilogue: Epilogue = NONE) -> Kernel:
    return Kernel.of("sum_parts", dtype, _SUM_ARGUMENTS, **epilogue.macros)


def writes(room: Any, plan: ConvPlan, out: Any) -> bool:
    """Whether it can write into ``out`` as that lies in memory: the pixels of a plane are evenly spaced."""
    if out is None or cut(plan).parts > 1 or room.readable(out) is not out:
        return False
    return out.strides[2] == out.strides[3] * out.shape[3]


def pooling_refusal(plan: ConvPlan) -> str | None:
    """None if it can write the maxima of 2x2 windows, else the reason why not."""
    if plan.dtype != "float32":
        return f"pooling is for float32, not {plan.dtype}"
    parts = cut(plan).parts
    return None if parts == 1 else f"its sum is computed in {parts} parts, and pooled when they are added"


def run(room: Any, plan: ConvPlan, x: Any, at: dense.Addresses, out: Any, epilogue: Epilogue) -> None:
    """Launch it, on arrays of the current device."""
    parts = cut(plan).parts
    if parts == 1:
        image, channel, _, pixel = strides_of(out)
        room.launch(launch(plan, epilogue), _arguments(plan, x, at, [image, channel, pixel], 0, epilogue))
        return
    size = prod(plan.out_shape)
    memory = room.empty((parts * size,), np.dtype(np.float32))
    first = at._replace(bias=0, out=room.address(memory), residual=0)
    plane = dense.plane(plan)
    room.launch(launch(plan), _arguments(plan, x, first, [plan.out_channels * plane, plane, 1], size))
    packed = np.zeros(1, _SUM_ARGUMENTS)
    packed["parts"], packed["bias"], packed["out"] = room.address(memory), at.bias, at.out
    packed["residual"] = at.residual
    packed["size"], packed["plane"] = size, plane
    packed["parameters"] = parameters(epilogue.parameters, plan.dtype)
    packed["channels"], packed["count"] = plan.out_channels, parts
    room.launch(_second_launch(plan, epilogue), packed)


def _arguments(
    plan: ConvPlan, x: Any, at: dense.Addresses, strides: list[int], part: int, epilogue: Epilogue = NONE
) -> np.ndarray:
    """The kernel's struct; ``part`` is the size of a part of the sum, 0 if there is only one."""
    _tile, parts, part_steps = cut(plan)
    order, plane = packing(plan), epilogue.pixels(plan)
    packed = np.zeros(1, _ARGUMENTS)
    output = packed["output"]
    packed["x"], packed["weights"], output["bias"], output["out"], output["residual"] = at
    output["strides"], output["part"] = strides, part
    output["parameters"] = parameters(epilogue.parameters, plan.dtype)
    output["pixels"], output["plane"] = plan.batch * plane, plane
    output["channels"], output["groups"], output["tiles_m"] = order.channels, plan.groups, _tiles_m(plan)
    written = 4 if part else itemsize(plan)
    output["parts"] = parts
    output["pairs"] = (
        plane % 2 == 0 and strides[2] == 1 and not any(stride % 2 for stride in (*strides[:2], part))
        and (at.out | at.residual) % (2 * written) == 0
    )  # fmt: skip
    packed["x_strides"] = strides_of(x)
    packed["in_channels"], packed["in_size"], packed["out_width"] = order.in_channels, plan.in_size, plan.out_size[1]
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["start"] = plan.padding[0][0], plan.padding[1][0]
    packed["steps"], packed["part_steps"] = order.rows // _step(plan), part_steps
    packed["padded_channels"], packed["in_padded"] = order.padded_channels, order.in_padded
    packed["aligned"] = at.x % 16 == 0
    packed["by_padded"], packed["by_kernel_width"] = divisor(order.in_padded), divisor(plan.kernel[1])
    return packed


def _up(count: int, step: int) -> int:
    return -(-count // step) * step
