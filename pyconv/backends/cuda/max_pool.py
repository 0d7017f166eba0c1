"""Max pooling by windows of any kind, adaptive or not: a thread an output."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...plan import PoolPlan
from .kernel import DTYPES, INDEX_TYPES, Kernel, Launch, struct
from .plans import fitting_index, strides_of

__all__ = ["OPERATIONS", "arguments", "kernels", "label", "launch", "refusal"]

_ARGUMENTS = struct(
    x="u8", out="u8", indices="u8", x_strides=("i8", 4), out_strides=("i8", 4), index_strides=("i8", 4), work="i8",
    channels="i4", in_size=("i4", 2), out_size=("i4", 2), kernel=("i4", 2), stride=("i4", 2), dilation=("i4", 2),
    start=("i4", 2), adaptive="i4",
)  # fmt: skip
_THREADS = 256

OPERATIONS = ("max_pool2d", "adaptive_max_pool2d")


def label(plan: PoolPlan) -> str:
    """The implementation's name."""
    return "maxima"


def refusal(plan: PoolPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    return launch(plan).refusal if plan.op in OPERATIONS else "it is for maxima"


@lru_cache(maxsize=1024)
def launch(plan: PoolPlan) -> Launch:
    """Kernel, grid and block."""
    kernel = _kernel(plan.dtype, plan.return_indices, fitting_index(plan))
    return Launch(kernel, -(-prod(plan.out_shape) // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for dtype, indices, index in product(DTYPES[:2], (False, True), INDEX_TYPES):
        yield _kernel(dtype, indices, index)


def _kernel(dtype: str, indices: bool, index: str) -> Kernel:
    return Kernel.of("max_pool", dtype, _ARGUMENTS, INDEX=index, POOL="PLACES" if indices else "MAXIMA")


def arguments(plan: PoolPlan, x: Any, out: Any, indices: Any, at: tuple[int, int, int]) -> np.ndarray:
    """The kernel's struct."""
    packed = np.zeros(1, _ARGUMENTS)
    packed["x"], packed["out"], packed["indices"] = at
    packed["out_strides"], packed["index_strides"] = strides_of(out), 0 if indices is None else strides_of(indices)
    packed["x_strides"], packed["work"], packed["channels"] = strides_of(x), prod(plan.out_shape), plan.channels
    packed["in_size"], packed["out_size"] = plan.in_size, plan.out_size
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["start"] = plan.padding[0][0], plan.padding[1][0]
    packed["adaptive"] = plan.adaptive
    return packed
