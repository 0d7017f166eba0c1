"""Functions with numbers of their own for each channel: one kernel, over memory in any order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ...plan import ElementwisePlan
from .kept import Kept, keep
from .kernel import DTYPES, Kernel, Launch, struct
from .memory import in_memory_order, launch_over, over_memory

__all__ = ["FUNCTIONS", "implementations", "kernels", "launch", "prepare", "run"]

_ARGUMENTS = struct(x="u8", out="u8", size="i8", each="i8", first="u8", second="u8", inner="i8", channels="i4")

FUNCTIONS = {"prelu": "prelu", "batch_norm": "affine"}
"""The function in channels.cu of each operation."""


def implementations(plan: ElementwisePlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    return [("vector", launch(plan).refusal)]


@lru_cache(maxsize=1024)
def launch(plan: ElementwisePlan) -> Launch:
    """Kernel, grid and block."""
    return launch_over(_kernel(plan.op, plan.dtype), plan.dtype, math.prod(plan.out_shape))


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for op, dtype in product(FUNCTIONS, DTYPES[:2]):
        yield _kernel(op, dtype)


def _kernel(op: str, dtype: str) -> Kernel:
    return Kernel.of("channels", dtype, _ARGUMENTS, FUNCTION=FUNCTIONS[op])


def prepare(room: Any, plan: ElementwisePlan, first: Any, second: Any) -> Kept:
    """Copies of the numbers, rounded to the plan's dtype."""
    return keep(room, plan.op, plan.dtype, first, second)


def run(room: Any, plan: ElementwisePlan, x: Any, prepared: Kept, out: Any) -> Any:
    """Run the plan on ``x``, which lies on the current device."""
    numbers = prepared.on(room.current_device())

    def fill(packed: np.ndarray, x: Any) -> None:
        order = in_memory_order(x)
        assert order is not None
        after = order[order.index(1) + 1 :] if plan.weights > 1 else order
        packed["inner"] = math.prod(x.shape[axis] for axis in after)
        packed["channels"] = plan.weights
        packed["first"] = room.address(numbers.weights)
        packed["second"] = 0 if numbers.bias is None else room.address(numbers.bias)

    return over_memory(room, launch(plan), _ARGUMENTS, x, out, fill)
