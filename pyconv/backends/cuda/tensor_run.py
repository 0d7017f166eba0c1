"""Running a tensor-core convolution: one launch, or one for the parts of the sum and one that adds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ...plan import ConvPlan
from . import dense, tensor_terms
from .activation import EXAMPLES, NONE, PARAMETERS, Epilogue, parameters
from .gemm import divisor
from .kernel import Kernel, Launch, struct
from .plans import itemsize, strides_of
from .tensor_tile import Cut
from .weights import Packing

__all__ = ["ARGUMENTS", "blocks", "macros", "packing", "run", "sum_kernels", "tiles_m", "unpooled", "writes"]

_DIVISOR = struct(multiplier="u4", shift="u4")
_OUTPUT = struct(
    out="u8", bias="u8", residual="u8", parameters=PARAMETERS, strides=("i8", 3), part="i8", pixels="i8", plane="i8",
    channels="i4", groups="i4", tiles_m="i4", parts="i4", pairs="i4",
)  # fmt: skip
ARGUMENTS = struct(
    x="u8", weights="u8", output=_OUTPUT, x_strides=("i8", 4),
    in_channels="i4", in_size=("i4", 2), out_width="i4", kernel=("i4", 2), stride=("i4", 2), dilation=("i4", 2),
    start=("i4", 2), steps="i4", part_steps="i4", padded_channels="i4", in_padded="i4", aligned="i4",
    by_padded=_DIVISOR, by_kernel_width=_DIVISOR,
)  # fmt: skip
"""The struct Arguments of tensor_sum.cuh."""
_SUM_ARGUMENTS = struct(
    parts="u8", bias="u8", out="u8", residual="u8", parameters=PARAMETERS, size="i8", plane="i8", channels="i4",
    count="i4",
)  # fmt: skip
_SUM_THREADS = 256


def packing(plan: ConvPlan, cut: Cut, panels: int = 0) -> Packing:
    """The order of the weights: in TF32 they are rounded when they are packed."""
    per_out = plan.out_channels // plan.groups
    return Packing(
        groups=plan.groups,
        channels=per_out,
        in_channels=plan.in_channels // plan.groups,
        kernel=plan.kernel,
        padded_channels=tensor_terms.up(per_out, cut.tile.channels),
        in_padded=tensor_terms.in_padded(plan),
        rows=tensor_terms.rows(plan),
        taps_outside=True,
        by_channel=True,
        rounded=plan.precision == "tf32",
        panels=panels,
    )


def tiles_m(plan: ConvPlan, cut: Cut) -> int:
    """Tiles along the output channels of a group."""
    return -(-(plan.out_channels // plan.groups) // cut.tile.channels)


def blocks(plan: ConvPlan, cut: Cut, epilogue: Epilogue) -> int:
    """Of the first launch."""
    return tiles_m(plan, cut) * -(-plan.batch * epilogue.pixels(plan) // cut.tile.pixels) * plan.groups * cut.parts


def macros(products: int, fetch: str, tile: Any, epilogue: Epilogue) -> dict[str, Any]:
    """What the first launch's kernel is compiled with."""
    return {**epilogue.macros, "POOLED": int(epilogue.pooled), "PRODUCTS": products, "FETCH": fetch, **tile.macros}


@lru_cache(maxsize=1024)
def _second_launch(plan: ConvPlan, epilogue: Epilogue) -> Launch:
    """The second pass, which adds the parts."""
    return Launch(_sum_kernel(plan.dtype, epilogue), -(-prod(plan.out_shape) // _SUM_THREADS), _SUM_THREADS)


def sum_kernels() -> Iterator[Kernel]:
    """Every kernel of the second pass; with an epilogue, examples."""
    for dtype in tensor_terms.FETCHES:
        yield _sum_kernel(dtype)
    for epilogue in EXAMPLES:
        yield _sum_kernel("float32", epilogue)


def _sum_kernel(dtype: str, epilogue: Epilogue = NONE) -> Kernel:
    return Kernel.of("sum_parts", dtype, _SUM_ARGUMENTS, **epilogue.macros)


def writes(room: Any, cut: Cut, out: Any) -> bool:
    """Whether ``out`` can be written as it lies in memory: the pixels of a plane are evenly spaced."""
    if out is None or cut.parts > 1 or room.readable(out) is not out:
        return False
    return out.strides[2] == out.strides[3] * out.shape[3]


def unpooled(plan: ConvPlan, cut: Cut) -> str | None:
    """The reason why the maxima of 2x2 windows cannot be written, or None."""
    if plan.dtype != "float32":
        return f"pooling is for float32, not {plan.dtype}"
    return None if cut.parts == 1 else f"its sum is computed in {cut.parts} parts, and pooled when they are added"


def run(
    room: Any,
    plan: ConvPlan,
    x: Any,
    at: dense.Addresses,
    out: Any,
    epilogue: Epilogue,
    cut: Cut,
    launch: Callable[[ConvPlan, Epilogue], Launch],
) -> None:
    """Launch it, on arrays of the current device."""
    if cut.parts == 1:
        image, channel, _, pixel = strides_of(out)
        arguments = _arguments(plan, x, at, [image, channel, pixel], 0, epilogue, cut)
        room.launch(launch(plan, epilogue), arguments)
        return
    size = prod(plan.out_shape)
    memory = room.empty((cut.parts * size,), np.dtype(np.float32))
    first = at._replace(bias=0, out=room.address(memory), residual=0)
    plane = dense.plane(plan)
    strides = [plan.out_channels * plane, plane, 1]
    room.launch(launch(plan, NONE), _arguments(plan, x, first, strides, size, NONE, cut))
    packed = np.zeros(1, _SUM_ARGUMENTS)
    packed["parts"], packed["bias"], packed["out"] = room.address(memory), at.bias, at.out
    packed["residual"] = at.residual
    packed["size"], packed["plane"] = size, plane
    packed["parameters"] = parameters(epilogue.parameters, plan.dtype)
    packed["channels"], packed["count"] = plan.out_channels, cut.parts
    room.launch(_second_launch(plan, epilogue), packed)


def _arguments(
    plan: ConvPlan, x: Any, at: dense.Addresses, strides: list[int], part: int, epilogue: Epilogue, cut: Cut
) -> np.ndarray:
    """The kernel's struct; ``part`` is the size of a part of the sum, 0 if there is only one."""
    plane, per_out = epilogue.pixels(plan), plan.out_channels // plan.groups
    packed = np.zeros(1, ARGUMENTS)
    output = packed["output"]
    packed["x"], packed["weights"], output["bias"], output["out"], output["residual"] = at
    output["strides"], output["part"] = strides, part
    output["parameters"] = parameters(epilogue.parameters, plan.dtype)
    output["pixels"], output["plane"] = plan.batch * plane, plane
    output["channels"], output["groups"], output["tiles_m"] = per_out, plan.groups, tiles_m(plan, cut)
    output["parts"] = cut.parts
    output["pairs"] = _in_pairs(cut, plane, per_out, strides, part) and (
        (at.out | at.residual) % (2 * (4 if part else itemsize(plan))) == 0
    )
    packed["x_strides"] = strides_of(x)
    packed["in_channels"] = plan.in_channels // plan.groups
    packed["in_size"], packed["out_width"] = plan.in_size, plan.out_size[1]
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["start"] = plan.padding[0][0], plan.padding[1][0]
    packed["steps"], packed["part_steps"] = tensor_terms.steps(plan), cut.part_steps
    packed["padded_channels"] = tensor_terms.up(per_out, cut.tile.channels)
    padded = tensor_terms.in_padded(plan)
    packed["in_padded"], packed["aligned"] = padded, at.x % 16 == 0
    packed["by_padded"], packed["by_kernel_width"] = divisor(padded), divisor(plan.kernel[1])
    return packed


def _in_pairs(cut: Cut, plane: int, channels: int, strides: list[int], part: int) -> bool:
    """Whether the two neighbours that a thread has, pixels or channels, lie side by side at even places."""
    image, channel, pixel = strides
    if cut.tile.pairs_of == "pixels":
        return plane % 2 == 0 and pixel == 1 and not (image % 2 or channel % 2 or part % 2)
    return channels % 2 == 0 and channel == 1 and not (image % 2 or pixel % 2 or part % 2)
