"""Activations: one kernel, over memory in whatever order it lies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ...plan import ElementwisePlan
from .activation import ACTIVATIONS, PARAMETERS, Epilogue, parameters
from .kernel import DTYPES, Kernel, Launch, struct
from .memory import launch_over, over_memory

__all__ = ["implementations", "kernels", "launch", "refusal", "run"]

_ARGUMENTS = struct(x="u8", out="u8", size="i8", each="i8", parameters=PARAMETERS)


def implementations(plan: ElementwisePlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    if plan.op not in ACTIVATIONS:
        return [("vector", f"there is no CUDA kernel for {plan.op}")]
    return [("vector", refusal(plan) or launch(plan).refusal)]


def refusal(plan: ElementwisePlan) -> str | None:
    """None if there is a function for the plan's parameters, else the reason why not; launches are another matter."""
    if plan.op == "softplus" and plan.parameters[0] < 0:
        return f"softplus with beta={plan.parameters[0]:g}: it takes positive ones"
    return None


@lru_cache(maxsize=1024)
def launch(plan: ElementwisePlan) -> Launch:
    """Kernel, grid and block."""
    return launch_over(_kernel(plan.op, plan.dtype), plan.dtype, math.prod(plan.out_shape))


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for op, dtype in product(ACTIVATIONS, DTYPES[:2]):
        yield _kernel(op, dtype)


def _kernel(op: str, dtype: str) -> Kernel:
    return Kernel.of("elementwise", dtype, _ARGUMENTS, ACTIVATION=Epilogue(op).macros["ACTIVATION"])


def run(room: Any, plan: ElementwisePlan, x: Any, prepared: Any, out: Any) -> Any:
    """Run the plan on ``x``, which lies on the current device."""

    def fill(packed: np.ndarray, x: Any) -> None:
        packed["parameters"] = parameters(plan.parameters, plan.dtype)

    return over_memory(room, launch(plan), _ARGUMENTS, x, out, fill)
