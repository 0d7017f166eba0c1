"""Activations: one kernel each, over memory in whatever order it lies."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..._core import elementwise, memory, runtime
from ...plan import AXIS_OPS, AxisPlan, ElementwisePlan
from . import isa, wake
from .arrays import empty_like, in_memory_order
from .cache import FETCHING, LEVEL_2, LEVEL_3

__all__ = ["by_rows", "gathers", "implementations", "prepare", "run", "work"]

BRIEF_ELEMENTS = 2_048
"""Below this, one thread takes it all, and other Python threads are not let run meanwhile."""

CHUNK = 16_384
"""Elements of which the time is measured."""

LINE = 64
"""Elements that a thread takes come in so many: a few lines of the cache."""

SQUARE = 16
"""Lines that a thread takes at a time come in so many: as many as vectors have lanes, or a multiple."""

MOST_AXES = 6
"""Of an array whose elements are gathered: as many as the compiled core takes of one that lies in any way."""

NEAR = 4
"""Elements that lie at most so many apart are gathered as they are computed with. Farther ones have a line of the cache
each, or a few, and NumPy's copy may go through them in a better order."""

ROW = 1024
"""Where channels are neighbours in memory, the slopes of prelu are written out again and again for about so many
elements; and where fewer than NEIGHBOURS elements have the same."""

NEIGHBOURS = 16

FETCHED = (2 * LEVEL_2, LEVEL_3 // 4)
"""Bytes of an input from which, and up to which, it pays to fetch what is read ahead (measured)."""

LEAST_BETA = 2.0**-20
"""Of softplus, which multiplies by its reciprocal what is left of exponentials that should be zero."""


def implementations(plan: ElementwisePlan | AxisPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    return [(f"vector_{isa.name()}", None if isinstance(plan, AxisPlan) else _refusal(plan))]


def _refusal(plan: ElementwisePlan) -> str | None:
    """None if there is a kernel for the plan's numbers, else the reason why not."""
    if plan.op == "softplus" and abs(plan.parameters[0]) < LEAST_BETA:
        return f"softplus with beta={plan.parameters[0]:g}: it takes those of at least {LEAST_BETA:g}, of either sign"
    return None if plan.op == "prelu" or plan.op in elementwise.KERNELS else "the compiled core has no kernel for it"


def by_rows(plan: ElementwisePlan) -> str | None:
    """None if any run of elements can be computed by itself, else the reason why not."""
    return _refusal(plan) if plan.op in elementwise.KERNELS else f"{plan.op} has no kernel for a run of elements"


def prepare(plan: ElementwisePlan | AxisPlan, weight: Any) -> Any:
    """The slopes of prelu in native order, aligned and contiguous; nothing for the rest."""
    return None if weight is None else np.require(weight, plan.dtype, ["C", "A"])


@lru_cache(maxsize=64)
def _seconds_per_element(op: str, dtype: str, level: int) -> float:
    if op in AXIS_OPS:
        tasks = _along_axis(AxisPlan(op, dtype, (CHUNK // 128, 128), 1), (0, 1), 1)
    else:
        tasks = _elementwise(ElementwisePlan(op, dtype, (CHUNK,), (0.5, 1.0)), 1)
    own = elementwise.DenseWork(tasks, False)
    x = np.linspace(-4, 4, CHUNK, dtype=dtype)
    out = np.empty(CHUNK // 2 if op == "glu" else CHUNK, dtype)
    return wake.seconds_of(lambda: elementwise.run(own, x, out)) / CHUNK


def _threads(op: str, dtype: str, size: int) -> int:
    if size < BRIEF_ELEMENTS:
        return 1
    return wake.threads_for(size * _seconds_per_element(op, dtype, isa.current()))


def _threads_for(plan: ElementwisePlan | AxisPlan) -> int:
    return _threads("leaky_relu" if plan.op == "prelu" else plan.op, plan.dtype, prod(plan.out_shape))


def _chunk(size: int, threads: int) -> int:
    """Elements of a thread's share, in one piece: whole lines of the cache."""
    return max(-(-size // (threads * LINE)) * LINE, 1)


def _order_to_gather(plan: ElementwisePlan | AxisPlan, x: np.ndarray, result: np.ndarray) -> tuple[int, ...] | None:
    """The result's axes from the slowest to the fastest, if elements of ``x`` can be gathered for it; else None."""
    if plan.op == "glu" or not 0 < x.ndim <= MOST_AXES or not x.size:
        return None
    order = in_memory_order(result)
    near = order is not None and abs(x.strides[order[-1]]) <= NEAR * x.itemsize
    if order is None or not (near and x.flags.aligned and x.dtype.isnative):
        return None
    # what lines have of a piece of the cache's size lies side by side only if they do so one after the other
    return None if isinstance(plan, AxisPlan) and plan.axis != order[-1] else order


def run(plan: ElementwisePlan | AxisPlan, x: np.ndarray, prepared: Any, out: np.ndarray | None) -> np.ndarray:
    """Run the plan. The kernels work on dense memory: other inputs are gathered piece by piece, or copied first."""
    usable = out is not None and in_memory_order(out) is not None and out.flags.aligned
    if isinstance(plan, AxisPlan):  # the result has the input's order of axes where that is dense
        found = in_memory_order(x) if x.flags.aligned and x.dtype.isnative else None
        order = tuple(range(x.ndim)) if found is None else found
        if usable and out is not None and out.transpose(order).flags.c_contiguous:
            result = out
        else:
            result = memory.empty(plan.out_shape, plan.dtype, order)
        apart = found is None
    else:
        result = out if usable and out is not None else empty_like(x, plan.dtype)
        apart = x.strides != result.strides
    to_gather = _order_to_gather(plan, x, result) if apart else None
    if to_gather is not None:
        elementwise.run(_gathered(plan, prepared, x, to_gather), x.transpose(to_gather), result.transpose(to_gather))
        return _handed(result, out)
    if isinstance(plan, AxisPlan):
        x = np.array(x, dtype=plan.dtype, order="C") if apart else x
    else:
        if apart or not (x.dtype.isnative and x.flags.aligned):
            np.copyto(result, x)
            x = result
        found = in_memory_order(x)
        assert found is not None
        order = found
    if x.size:
        elementwise.run(_work(plan, prepared, order), x.transpose(order), result.transpose(order))
    return _handed(result, out)


def _handed(result: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """The result where it was asked for."""
    if out is None or result is out:
        return result
    np.copyto(out, result)
    return out


def _work(plan: ElementwisePlan | AxisPlan, prepared: Any, order: tuple[int, ...]) -> elementwise.DenseWork:
    """What runs the plan on arrays whose axes lie in memory in this order."""
    size = prod(plan.out_shape)
    threads = _threads_for(plan)
    return elementwise.DenseWork(_tasks(plan, prepared, order, threads), size < BRIEF_ELEMENTS)


def _tasks(
    plan: ElementwisePlan | AxisPlan, prepared: Any, order: tuple[int, ...], threads: int
) -> elementwise.DenseTasks:
    if isinstance(plan, AxisPlan):
        return _along_axis(plan, order, threads)
    return _prelu(plan, prepared, order, threads) if plan.op == "prelu" else _elementwise(plan, threads)


def _elementwise(plan: ElementwisePlan, threads: int) -> elementwise.DenseTasks:
    size, is_double = prod(plan.out_shape), plan.dtype == "float64"
    fetching = FETCHED[0] < size * (8 if is_double else 4) <= FETCHED[1] and runtime.second_level() >= FETCHING
    kernel, chunk = elementwise.KERNELS[plan.op], _chunk(size, threads)
    return elementwise.ElementwiseTasks(
        isa.current(), is_double, kernel, size, threads, chunk, plan.parameters, fetching
    )


def _gathered(
    plan: ElementwisePlan | AxisPlan, prepared: Any, x: np.ndarray, order: tuple[int, ...]
) -> elementwise.DenseWork:
    """The same for elements that lie apart, where ``order`` is that of the result's axes in memory."""
    threads = _threads_for(plan)
    tasks = _tasks(plan, prepared, order, threads)
    assert isinstance(tasks, elementwise.RunTasks)
    gathered = elementwise.GatheredTasks(isa.current(), tasks, x.transpose(order), _chunk(x.size, threads))
    return elementwise.DenseWork(gathered, x.size < BRIEF_ELEMENTS)


def _prelu(plan: ElementwisePlan, slopes: np.ndarray, order: tuple[int, ...], threads: int) -> elementwise.DenseTasks:
    size = prod(plan.out_shape)
    if plan.weights == 1:
        inner = size
    else:
        inner = prod(plan.out_shape[axis] for axis in order[order.index(1) + 1 :])
        if inner < NEIGHBOURS:  # vectors of one slope would not be full
            slopes, inner = np.repeat(slopes, inner), 1
            slopes = np.tile(slopes, max(ROW // slopes.size, 1))
    return elementwise.PreluTasks(isa.current(), slopes, inner, size, threads, _chunk(size, threads))


def _along_axis(plan: AxisPlan, order: tuple[int, ...], threads: int) -> elementwise.DenseTasks:
    shape = [plan.out_shape[axis] for axis in order]
    place = order.index(plan.axis) if order else 0
    outer, inner, length = prod(shape[:place]), prod(shape[place + 1 :]), shape[place] if shape else 1
    level, is_double = isa.current(), plan.dtype == "float64"
    if plan.op == "glu":
        share = _chunk(prod(shape), threads)
        return elementwise.GluTasks(level, is_double, outer, length * inner, threads, share)
    chunk = max(-(-outer * inner // (threads * SQUARE)) * SQUARE, 1)
    negative, logarithm = plan.op == "softmin", plan.op == "log_softmax"
    return elementwise.SoftmaxTasks(level, is_double, outer, length, inner, negative, logarithm, threads, chunk)


def work(
    plan: ElementwisePlan | AxisPlan, prepared: Any, x: np.ndarray, result: np.ndarray
) -> elementwise.DenseWork | None:
    """What runs the plan, for calls that come again; only on memory that the kernels can take as it lies."""
    order, along_axis = in_memory_order(x), isinstance(plan, AxisPlan)
    if (order is None) if along_axis else (x.strides != result.strides):
        apart = _order_to_gather(plan, x, result)
        # an ``out`` in another order than a new result's is not known: later results would be in its order
        usual = tuple(range(x.ndim)) if along_axis else in_memory_order(empty_like(x, plan.dtype))
        return _gathered(plan, prepared, x, apart) if apart is not None and apart == usual else None
    if order is None or not x.flags.aligned or not x.size:
        return None
    alike = result.transpose(order).flags.c_contiguous if along_axis else x.strides == result.strides
    return _work(plan, prepared, order) if alike else None


def gathers(work: Any) -> bool:
    """Whether it reads elements that lie apart, and may write over none of them."""
    return isinstance(work, elementwise.DenseWork) and isinstance(work.tasks, elementwise.GatheredTasks)
