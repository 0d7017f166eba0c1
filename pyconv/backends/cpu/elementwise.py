"""Activations: one kernel each, over memory in whatever order it lies."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..._core import elementwise
from ...plan import AxisPlan, ElementwisePlan
from . import isa, wake
from .arrays import in_memory_order

__all__ = ["by_rows", "implementations", "prepare", "run", "work"]

BRIEF_ELEMENTS = 2_048
"""Below this, one thread takes it all, and other Python threads are not let run meanwhile."""

CHUNK = 16_384
"""Elements a thread takes at a time, at most."""

LINES = 256
"""Neighbouring lines that a thread takes at a time, where an operation runs along an axis that is not the last."""

SLOPES = 1024
"""Slopes of prelu are written out for at least so many elements, so that vectors are full."""


def implementations(plan: ElementwisePlan | AxisPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    known = isinstance(plan, AxisPlan) or plan.op == "prelu" or plan.op in elementwise.KERNELS
    return [(f"vector_{isa.name()}", None if known else "the compiled core has no kernel for it")]


def by_rows(plan: ElementwisePlan) -> str | None:
    """None if any run of elements can be computed by itself, else the reason why not."""
    return None if plan.op in elementwise.KERNELS else f"{plan.op} has no kernel for a run of elements"


def prepare(plan: ElementwisePlan | AxisPlan, weight: Any) -> Any:
    """The slopes of prelu in native order, aligned and contiguous; nothing for the rest."""
    return None if weight is None else np.require(weight, plan.dtype, ["C", "A"])


@lru_cache(maxsize=64)
def _seconds_per_element(op: str, dtype: str, level: int) -> float:
    x = np.linspace(-4, 4, CHUNK, dtype=dtype)
    out = np.empty_like(x)
    place = elementwise.KERNELS[op]
    return wake.seconds_of(lambda: elementwise.run(level, place, x, out, 1, CHUNK, (0.5, 1.0))) / CHUNK


def _shared(op: str, dtype: str, size: int) -> tuple[int, int]:
    """(threads, elements that each takes at a time)."""
    if size < BRIEF_ELEMENTS:
        return 1, CHUNK
    count = wake.threads_for(size * _seconds_per_element(op, dtype, isa.current()))
    return count, min(CHUNK, -(-size // count // 1024) * 1024)


def run(plan: ElementwisePlan | AxisPlan, x: np.ndarray, prepared: Any, out: np.ndarray | None) -> np.ndarray:
    """Run the plan; the kernels work on dense memory, so other inputs are copied first."""
    if isinstance(plan, AxisPlan):
        return _along_axis(plan, x, out)
    if out is not None and in_memory_order(out) is not None and out.flags.aligned:
        result = out
    else:
        result = np.empty_like(x, dtype=plan.dtype, subok=False)
    if not (x.dtype.isnative and x.flags.aligned and x.strides == result.strides):
        np.copyto(result, x)
        x = result
    if plan.op == "prelu":
        _prelu(plan, x, prepared, result)
    else:
        place = elementwise.KERNELS[plan.op]
        elementwise.run(isa.current(), place, x, result, *_shared(plan.op, plan.dtype, x.size), plan.parameters)
    if out is None or result is out:
        return result
    np.copyto(out, result)
    return out


def _prelu(plan: ElementwisePlan, x: np.ndarray, weight: np.ndarray, result: np.ndarray) -> None:
    """Slopes as a row that fits the memory again and again."""
    if not x.size:
        return
    level = isa.current()
    place = elementwise.KERNELS["leaky_relu"]
    count, chunk = _shared("leaky_relu", plan.dtype, x.size)
    if plan.weights == 1:
        elementwise.run(level, place, x, result, count, chunk, (float(weight[0]),))
        return
    order = in_memory_order(x)
    assert order is not None
    axis = order.index(1)
    inner = prod(x.shape[place] for place in order[axis + 1 :])
    x, result = x.transpose(order), result.transpose(order)
    if inner >= SLOPES:  # planes of one slope each
        planes = (x.reshape(-1, inner), weight.astype(np.float64), result.reshape(-1, inner))
        elementwise.run_planes(level, place, *planes, count)
        return
    slopes, columns = np.repeat(weight, inner), plan.weights * inner
    elementwise.run_prelu(level, x.reshape(-1, columns), slopes, result.reshape(-1, columns), count)


def _along_axis(plan: AxisPlan, x: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """The result has the input's order of axes where that is dense."""
    order = in_memory_order(x)
    if order is None or not (x.flags.aligned and x.dtype.isnative):
        x = np.array(x, dtype=plan.dtype, order="C")
        order = tuple(range(x.ndim))
    source = x.transpose(order)
    place = order.index(plan.axis) if order else 0
    shape = [plan.out_shape[axis] for axis in order]
    target = None if out is None else out.transpose(order)
    if target is None or not (target.flags.c_contiguous and target.flags.aligned):
        target = np.empty(shape, plan.dtype)
    outer, inner, length = prod(shape[:place]), prod(shape[place + 1 :]), shape[place] if shape else 1
    level, (count, _) = isa.current(), _shared("sigmoid", plan.dtype, x.size)  # an exponential function, too
    if plan.op == "glu":
        columns = length * inner
        elementwise.run_glu(level, source.reshape(outer, 2 * columns), target.reshape(outer, columns), count, CHUNK)
    else:
        lines = (outer, length, inner)
        chunk = max(1, CHUNK // max(length, 1)) if inner == 1 else LINES
        negative, logarithm = plan.op == "softmin", plan.op == "log_softmax"
        elementwise.run_softmax(level, source.reshape(lines), target.reshape(lines), negative, logarithm, count, chunk)
    if out is not None and np.may_share_memory(target, out):
        return out
    result = target.transpose(np.argsort(order)) if order else target.reshape(plan.out_shape)
    if out is None:
        return result
    np.copyto(out, result)
    return out


def work(plan: ElementwisePlan | AxisPlan, x: np.ndarray, result: np.ndarray) -> elementwise.ElementwiseWork | None:
    """What runs the plan, for calls that come again; only on memory that the kernels can take as it lies."""
    if isinstance(plan, AxisPlan) or plan.op == "prelu":
        return None
    if in_memory_order(x) is None or not x.flags.aligned or x.strides != result.strides:
        return None
    return elementwise.ElementwiseWork(
        isa.current(),
        plan.dtype == "float64",
        elementwise.KERNELS[plan.op],
        x.size,
        *_shared(plan.op, plan.dtype, x.size),
        x.size < BRIEF_ELEMENTS,
        plan.parameters,
    )
