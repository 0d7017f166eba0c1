"""Activations: one kernel, over memory in whatever order it lies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ...plan import ElementwisePlan
from .kernel import DTYPES, Kernel, Launch, struct

__all__ = ["ACTIVATIONS", "implementations", "kernels", "launch", "run"]

_ARGUMENTS = struct(x="u8", out="u8", size="i8")
_THREADS = 256
_VECTOR = {"float64": 2, "float32": 4}

ACTIVATIONS = ("relu", "sigmoid", "tanh")
"""Those with a function ``<name>_of`` in activation.cuh."""


def implementations(plan: ElementwisePlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    if plan.op not in ACTIVATIONS:
        return [("vector", f"there is no CUDA kernel for {plan.op}")]
    return [("vector", launch(plan).refusal)]


@lru_cache(maxsize=1024)
def launch(plan: ElementwisePlan) -> Launch:
    """Kernel, grid and block: a thread a vector, and one more for what is left at both ends."""
    size = math.prod(plan.out_shape)
    threads = size // _VECTOR[plan.dtype] + 1 if size else 0
    return Launch(_kernel(plan.op, plan.dtype), -(-threads // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for op, dtype in product(ACTIVATIONS, DTYPES[:2]):
        yield _kernel(op, dtype)


def _kernel(op: str, dtype: str) -> Kernel:
    return Kernel.of("elementwise", dtype, _ARGUMENTS, ACTIVATION=f"{op}_of")


def run(room: Any, plan: ElementwisePlan, x: Any, out: Any) -> Any:
    """Run the plan on ``x``, which lies on the current device; memory with gaps is copied first."""
    x = room.readable(x)
    if not _dense(x):
        x = result = room.copy(x)
    elif out is not None and out.strides == x.strides and room.readable(out) is out:
        result = out
    else:
        result = room.empty_like(x)
    packed = np.zeros(1, _ARGUMENTS)
    packed["x"], packed["out"], packed["size"] = room.address(x), room.address(result), math.prod(plan.out_shape)
    room.launch(launch(plan), packed)
    if out is None or result is out:
        return result
    room.assign(out, result)
    return out


def _dense(x: Any) -> bool:
    """Whether the elements fill one run of memory from its first address on, in any order of axes."""
    expected = x.dtype.itemsize
    for stride, length in sorted(
        (stride, length) for stride, length in zip(x.strides, x.shape, strict=True) if length > 1
    ):
        if stride != expected:
            return False
        expected *= length
    return True
