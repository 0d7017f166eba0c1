"""Activations: one kernel each, over memory in whatever order it lies."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._core import elementwise
from ...plan import ElementwisePlan
from . import isa, threads

__all__ = ["implementations", "run", "work"]

SERIAL_ELEMENTS = 65_536
"""Arrays smaller than this are not worth starting threads for."""

BRIEF_ELEMENTS = 2_048
"""Below this, other Python threads are not let run meanwhile: the switch would cost as much."""

CHUNK = 16_384
"""Elements a thread takes at a time."""


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
        threads.count() if x.size >= SERIAL_ELEMENTS else 1,
        CHUNK,
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
        threads.count() if x.size >= SERIAL_ELEMENTS else 1,
        CHUNK,
        x.size < BRIEF_ELEMENTS,
    )
