"""Activations: one kernel each, over memory in whatever order it lies."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..._core import elementwise
from ...plan import ElementwisePlan
from . import isa, wake

__all__ = ["implementations", "run", "work"]

BRIEF_ELEMENTS = 2_048
"""Below this, one thread takes it all, and other Python threads are not let run meanwhile."""

CHUNK = 16_384
"""Elements a thread takes at a time, at most."""


@lru_cache(maxsize=64)
def _seconds_per_element(op: str, dtype: str, level: int) -> float:
    x = np.linspace(-4, 4, CHUNK, dtype=dtype)
    out = np.empty_like(x)
    return wake.seconds_of(lambda: elementwise.run(level, elementwise.KERNELS[op], x, out, 1, CHUNK)) / CHUNK


def _shared(plan: ElementwisePlan, size: int) -> tuple[int, int]:
    """(threads, elements that each takes at a time)."""
    if size < BRIEF_ELEMENTS:
        return 1, CHUNK
    count = wake.threads_for(size * _seconds_per_element(plan.op, plan.dtype, isa.current()))
    return count, min(CHUNK, -(-size // count // 1024) * 1024)


def implementations(plan: ElementwisePlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    refusal = None if plan.op in elementwise.KERNELS else "the compiled core has no kernel for it"
    return [(f"vector_{isa.name()}", refusal)]


def _dense(array: np.ndarray) -> bool:
    """Whether the elements fill one run of memory, in C order or its reverse."""
    return array.flags.forc and array.flags.aligned


def run(plan: ElementwisePlan, x: np.ndarray, prepared: Any, out: np.ndarray | None) -> np.ndarray:
    """Run the plan; the kernels work on dense memory, so other inputs are copied to the result and worked on there."""
    result = out if out is not None and _dense(out) else np.empty_like(x, dtype=plan.dtype, subok=False)
    if not (x.dtype.isnative and _dense(x) and x.strides == result.strides):
        np.copyto(result, x)
        x = result
    elementwise.run(
        isa.current(),
        elementwise.KERNELS[plan.op],
        x,
        result,
        *_shared(plan, x.size),
    )
    if out is None or result is out:
        return result
    np.copyto(out, result)
    return out


def work(plan: ElementwisePlan, x: np.ndarray, result: np.ndarray) -> elementwise.ElementwiseWork | None:
    """What runs the plan, for calls that come again; only on memory that the kernels can take as it lies."""
    if not (_dense(x) and x.strides == result.strides):
        return None
    return elementwise.ElementwiseWork(
        isa.current(),
        plan.dtype == "float64",
        elementwise.KERNELS[plan.op],
        x.size,
        *_shared(plan, x.size),
        x.size < BRIEF_ELEMENTS,
    )
