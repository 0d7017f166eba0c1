"""Maxima and averages over channels-last images: vectors of channels are read, and written or turned to columns."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...plan import PoolPlan
from .kernel import DTYPES, Kernel, Launch, struct
from .memory import VECTOR
from .plans import fitting_index, strides_of
from .row_pool import kind
from .sum_pool import LARGE

__all__ = ["arguments", "kernels", "label", "launch", "refusal"]

_ARGUMENTS = struct(
    x="u8", out="u8", indices="u8", x_strides=("i8", 4), out_strides=("i8", 4), index_strides=("i8", 4),
    work="i8", channels="i4", in_size=("i4", 2), out_size=("i4", 2), kernel=("i4", 2), stride=("i4", 2),
    dilation=("i4", 2), padding=("i4", (2, 2)), count_include_pad="i4", divisor="i4", whole_in="i4",
    whole_channels="i4", whole_columns="i4",
)  # fmt: skip
_THREADS = 256
_ALONG_CHANNELS, _ALONG_COLUMNS = 8, 4  # threads of a warp
_REACH = 2**30  # of what an average counts in 32 bits


def label(plan: PoolPlan) -> str:
    """The implementation's name."""
    return "channels"


@lru_cache(maxsize=1024)
def refusal(plan: PoolPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    pool = kind(plan)
    if pool is None:
        return f"it is for maxima and averages of windows of one size, not {plan.op}"
    if plan.layout != "nhwc":
        return "the channels of a pixel are not next to each other"
    if plan.channels < VECTOR[plan.dtype]:
        return f"{plan.channels} channels are no vector of {VECTOR[plan.dtype]}"
    if pool == "SUMS" and prod(plan.kernel) >= LARGE:
        return f"windows of {prod(plan.kernel)} elements are shared by threads"
    ends = [
        (count - 1) * step + size for count, step, size in zip(plan.out_size, plan.stride, plan.kernel, strict=True)
    ]
    if fitting_index(plan) != "int" or (pool == "SUMS" and max(*ends, *plan.in_size) > _REACH):
        return "its counters hold 32 bits"
    return launch(plan).refusal


def _work(plan: PoolPlan) -> int:
    """Warps that have something to do."""
    wide = VECTOR[plan.dtype]
    deep, across = -(-plan.channels // (wide * _ALONG_CHANNELS)), -(-plan.out_size[1] // (wide * _ALONG_COLUMNS))
    return plan.batch * plan.out_size[0] * across * deep


@lru_cache(maxsize=1024)
def launch(plan: PoolPlan) -> Launch:
    """Kernel, grid and block."""
    return Launch(_kernel(plan.dtype, kind(plan)), -(-_work(plan) * 32 // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for dtype, pool in product(DTYPES[:2], ("MAXIMA", "PLACES", "SUMS")):
        yield _kernel(dtype, pool)


def _kernel(dtype: str, pool: str | None) -> Kernel:
    return Kernel.of("channel_pool", dtype, _ARGUMENTS, POOL=pool)


def arguments(plan: PoolPlan, x: Any, out: Any, indices: Any, at: tuple[int, int, int]) -> np.ndarray:
    """The kernel's struct."""
    packed, wide, to = np.zeros(1, _ARGUMENTS), VECTOR[plan.dtype], strides_of(out)
    packed["x"], packed["out"], packed["indices"] = at
    packed["x_strides"], packed["out_strides"] = strides_of(x), to
    packed["index_strides"] = 0 if indices is None else strides_of(indices)
    packed["work"], packed["channels"] = _work(plan), plan.channels
    packed["in_size"], packed["out_size"] = plan.in_size, plan.out_size
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["padding"], packed["divisor"] = plan.padding, plan.divisor
    packed["count_include_pad"] = plan.count_include_pad
    packed["whole_in"] = _vectors(strides_of(x), x.shape, 1, at[0], wide)
    packed["whole_channels"] = _vectors(to, plan.out_shape, 1, at[1], wide)
    packed["whole_columns"] = _vectors(to, plan.out_shape, 3, at[1], wide)
    return packed


def _vectors(strides: list[int], shape: tuple[int, ...], axis: int, address: int, wide: int) -> bool:
    """Whether memory is whole vectors along ``axis``, each on its own size."""
    # along an axis of length 1 nothing is skipped
    others = [stride for each, stride in enumerate(strides) if each != axis and shape[each] > 1]
    return strides[axis] == 1 and shape[axis] % wide == 0 and address % 16 == 0 and not any(s % wide for s in others)
