"""Unfold and fold: a thread an output."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...plan import FoldPlan
from .kernel import DTYPES, INDEX_TYPES, Kernel, Launch, struct
from .memory import given_back
from .plans import INT_LIMIT, strides_of, too_wide

__all__ = ["OPERATIONS", "implementations", "kernels", "launch", "run"]

_ARGUMENTS = struct(
    x="u8", out="u8", x_strides=("i8", 4), work="i8",
    channels="i4", in_size=("i4", 2), out_size=("i4", 2), kernel=("i4", 2), stride=("i4", 2), dilation=("i4", 2),
    start=("i4", 2),
)  # fmt: skip
_THREADS = 256

OPERATIONS = ("unfold", "fold")


def implementations(plan: FoldPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    return [("gather", too_wide(plan) or launch(plan).refusal)]


@lru_cache(maxsize=1024)
def launch(plan: FoldPlan) -> Launch:
    """Kernel, grid and block."""
    work = prod(plan.out_shape)
    index = INDEX_TYPES[work + _THREADS > INT_LIMIT]
    return Launch(_kernel(plan.op, plan.dtype, index), -(-work // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for op, dtype, index in product(OPERATIONS, DTYPES[:2], INDEX_TYPES):
        yield _kernel(op, dtype, index)


def _kernel(op: str, dtype: str, index: str) -> Kernel:
    return Kernel.of("fold", dtype, _ARGUMENTS, INDEX=index, UNFOLD=int(op == "unfold"))


def run(room: Any, plan: FoldPlan, x: Any, prepared: Any, out: Any) -> Any:
    """Run the plan on ``x``, which lies on the current device."""
    x = room.readable(x)
    result = out if room.writable(out) else room.empty(plan.out_shape, x.dtype)
    packed = np.zeros(1, _ARGUMENTS)
    packed["x"], packed["out"] = room.address(x), room.address(result)
    packed["x_strides"][0, : x.ndim], packed["work"] = strides_of(x), prod(plan.out_shape)
    packed["channels"], packed["in_size"], packed["out_size"] = plan.channels, plan.in_size, plan.out_size
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["start"] = plan.padding[0][0], plan.padding[1][0]
    room.launch(launch(plan), packed)
    return given_back(room, result, out)
