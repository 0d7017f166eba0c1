"""Transposed convolution, a thread an output: simple, and right for all weights; it shares nothing between threads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...plan import TransposedPlan, span
from .kept import Kept, keep
from .kernel import DTYPES, INDEX_TYPES, Kernel, Launch, struct
from .memory import given_back
from .plans import INT_LIMIT, strides_of

__all__ = ["kernels", "label", "launch", "prepare", "refusal", "run"]

_ARGUMENTS = struct(
    x="u8", weights="u8", bias="u8", out="u8", x_strides=("i8", 4), weight_strides=("i8", 4), work="i8",
    channels=("i4", 2), groups="i4", in_size=("i4", 2), out_size=("i4", 2), kernel=("i4", 2), stride=("i4", 2),
    dilation=("i4", 2), start=("i4", 2),
)  # fmt: skip
_THREADS = 256


def label(plan: TransposedPlan) -> str:
    """The implementation's name."""
    return "gather"


def refusal(plan: TransposedPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    return launch(plan).refusal


@lru_cache(maxsize=1024)
def launch(plan: TransposedPlan) -> Launch:
    """Kernel, grid and block."""
    reach = max(
        size + sum(pad) + span(length, gap)
        for size, pad, length, gap in zip(plan.out_size, plan.padding, plan.kernel, plan.dilation, strict=True)
    )
    index = INDEX_TYPES[max(prod(plan.out_shape) + _THREADS, reach) > INT_LIMIT]
    return Launch(_kernel(plan.dtype, index), -(-prod(plan.out_shape) // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for dtype, index in product(DTYPES[:2], INDEX_TYPES):
        yield _kernel(dtype, index)


def _kernel(dtype: str, index: str) -> Kernel:
    return Kernel.of("conv_transposed", dtype, _ARGUMENTS, INDEX=index)


def prepare(room: Any, plan: TransposedPlan, weight: Any, bias: Any) -> Kept:
    """Copies of weights and bias."""
    return keep(room, plan.op, None, weight, bias, once=not plan.keeps_weights)


def run(room: Any, plan: TransposedPlan, x: Any, prepared: Kept, out: Any) -> Any:
    """Run the plan on ``x``, which lies on the current device."""
    weights = prepared.on(room.current_device())
    x = room.readable(x)
    result = out if room.writable(out) else room.empty(plan.out_shape, x.dtype)
    packed = np.zeros(1, _ARGUMENTS)
    packed["x"], packed["out"] = room.address(x), room.address(result)
    packed["weights"] = room.address(weights.weights)
    packed["bias"] = 0 if weights.bias is None else room.address(weights.bias)
    packed["x_strides"], packed["weight_strides"] = strides_of(x), strides_of(weights.weights)
    packed["work"], packed["groups"] = prod(plan.out_shape), plan.groups
    packed["channels"] = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    packed["in_size"], packed["out_size"] = plan.in_size, plan.out_size
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["start"] = plan.padding[0][0], plan.padding[1][0]
    room.launch(launch(plan), packed)
    return given_back(room, result, out)
