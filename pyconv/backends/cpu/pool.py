"""Pooling: the ordered list of implementations, and the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from ..._core import memory, pool, runtime
from ...plan import PoolPlan, UnpoolPlan, plan_max_pool2d, span
from . import isa, wake
from .arrays import into, into_order, native
from .cache import FETCHING, LEVEL_2, LEVEL_3

__all__ = ["by_rows", "implementations", "prepare", "rows_tasks", "run", "work"]

TASK_ELEMENTS = 16_384
"""Input elements a task reads, about: it keeps the rows in the first-level cache, and threads busy to the end."""

BRIEF_ELEMENTS = 16_384
"""Elements that windows hold altogether, below which other Python threads are not let run meanwhile."""


RUNNING_HEIGHT = 9
"""Rows of a window from which a running maximum is quicker than the maximum of its rows."""

RUNNING_BLOCKS = 4
"""Windows that the rows of a task of a running maximum are as high as, at least."""

RUNNING_ELEMENTS = 262_144
"""Elements of scratch that a running maximum may take."""

_SMALL = {(2, 1, 1), (3, 1, 1), (5, 1, 1), (7, 1, 1), (3, 2, 1), (2, 1, 2), (3, 1, 2)}
"""Width, dilation and step of the windows that are taken in registers."""

_SMALL_PLACES = {(2, 1, 1), (3, 1, 1), (5, 1, 1), (2, 1, 2), (3, 1, 2)}
"""The same, with the places of their maxima."""

CHANNEL_VECTORS = 4
"""Vectors of channels that are taken side by side."""

FAR = 16_384
"""Bytes by which rows are fetched ahead of what is read of them, of images too large for the cache (measured)."""

LARGE = LEVEL_3 // 4
"""Bytes of an input from which that pays (measured): others have their share of the third level, and the result too."""

NEAR = 2_048
"""Bytes by which rows of 2x2 windows are fetched ahead into the first level, of images that come from the third, where
the processor is one that gains by it."""

NEARER = 12_288
"""The same, in place of FAR, of images that are too large for the cache, and of 3x3 windows too (measured)."""

STREAMED = LEVEL_3 // 4
"""Bytes of a result above which such a processor writes it past the caches (measured): a smaller one stays in the third
level for what comes next, and is written there as quickly."""

_VALUES_ONLY = "it finds values, not where they lie"

LINES_WITHIN = 65_536
"""Places beyond four times a row's columns, or those in windows, that a line of scratch may have: more is waste."""


def _line(plan: PoolPlan, lanes: int) -> int:
    """Elements of a line of scratch: every place that a window of a row touches, and what vectors touch beyond it."""
    left = plan.padding[1][0]
    reach = (plan.out_size[1] - 1) * plan.stride[1] + span(plan.kernel[1], plan.dilation[1])
    return max(left + plan.in_size[1], 0 if plan.adaptive else reach) + 2 * lanes


def _wasted_line(plan: PoolPlan) -> str | None:
    """Why a line of scratch would be mostly of no use; None if it would not."""
    line = _line(plan, 16)
    if line > 4 * plan.in_size[1] + LINES_WITHIN:
        return f"the windows of a row span {line:,} places around {plan.in_size[1]:,} columns: mostly padding"
    if line > 4 * (seen := plan.out_size[1] * plan.kernel[1]) + LINES_WITHIN:
        return f"the windows of a row hold {seen:,} of its {line:,} places: mostly what lies between them"
    return None


def _whole(plan: PoolPlan) -> str | None:
    if plan.return_indices:
        return _VALUES_ONLY
    if plan.layout != "nchw":
        return "a plane is not one run of memory"
    if plan.kernel != plan.in_size or plan.out_size != (1, 1) or plan.padding != ((0, 0), (0, 0)):
        return "the window is not the whole plane"
    return None


def _channels(plan: PoolPlan) -> str | None:
    if plan.layout != "nhwc" or plan.channels == 1:
        return "the channels are not the last axis in memory"
    if plan.return_indices:
        return _too_many_places(plan)
    return None


def _too_many_places(plan: PoolPlan) -> str | None:
    places = plan.in_size[0] * plan.in_size[1]
    if plan.dtype == "float32" and places > 2**31 - 1:
        return f"a plane has {places:,} elements, vectors of float32 hold places of 32 bits"
    return None


def _registers(plan: PoolPlan) -> str | None:
    if plan.adaptive:
        return "the windows differ in size"
    lanes = runtime.lanes(isa.current(), plan.dtype == "float64")
    row = (plan.kernel[1], plan.dilation[1], plan.stride[1])
    if row not in (_SMALL_PLACES if plan.return_indices else _SMALL) or span(row[0], row[1]) > lanes + 1:
        rows = f"rows of {row[0]} elements {row[1]} apart in steps of {row[2]}"
        return f"there is no kernel for {rows}, in vectors of {lanes}"
    if plan.layout not in ("nchw", "strided"):
        return "rows are not contiguous"
    if (refusal := _wasted_line(plan)) is not None:
        return refusal
    return _too_many_places(plan) if plan.return_indices else None


def _running(plan: PoolPlan) -> str | None:
    if plan.return_indices:
        return _VALUES_ONLY
    if "max" not in plan.op:
        return "sums are not taken from sums of more"
    if plan.adaptive or plan.stride[0] != 1 or plan.dilation[0] != 1:
        return "windows do not step down by one row, without gaps"
    if plan.kernel[0] < RUNNING_HEIGHT:
        return f"the windows are lower than {RUNNING_HEIGHT} rows"
    if (refusal := _separable(plan)) is not None:
        return refusal
    lines = (plan.kernel[0] + 3) * _line(plan, 16)
    if lines > RUNNING_ELEMENTS:
        return f"it would keep {lines:,} elements of scratch, above {RUNNING_ELEMENTS:,}"
    return None


def _separable(plan: PoolPlan) -> str | None:
    if plan.return_indices and (reason := _too_many_places(plan)):
        return reason
    return _wasted_line(plan)


_REFUSALS: dict[str, Callable[[PoolPlan], str | None]] = {
    "whole": _whole,
    "channels": _channels,
    "registers": _registers,
    "running": _running,
    "separable": _separable,
    "windows": lambda plan: None,
}


def implementations(plan: PoolPlan | UnpoolPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    if isinstance(plan, UnpoolPlan):
        return [(f"planes_{isa.name()}", None)]
    return [(f"{name}_{isa.name()}", refusal(plan)) for name, refusal in _REFUSALS.items()]


@lru_cache(maxsize=256)
def _tasks(plan: PoolPlan, level: int, count: int) -> pool.PoolTasks:
    is_double = plan.dtype == "float64"
    lanes = runtime.lanes(level, is_double)
    chosen = next(name for name, refusal in _REFUSALS.items() if refusal(plan) is None)
    block, line = 1, 0
    if chosen == "channels":
        block, line = plan.channels, lanes * -(-plan.out_size[1] // lanes) * lanes
    elif chosen == "registers" and plan.return_indices:
        line = plan.out_size[1] + lanes
    elif chosen in ("registers", "running", "separable"):
        line = _line(plan, lanes) * (2 if plan.return_indices else 1)
    read = plan.in_size[1] * -(-plan.in_size[0] // plan.out_size[0])  # for a row of output of one channel
    if chosen == "channels" and read * block > 2 * TASK_ELEMENTS:  # all channels of a pixel lie together
        group = CHANNEL_VECTORS * lanes
        block = min(block, max(TASK_ELEMENTS // (read * group), 1) * group)
    read *= block
    rows = TASK_ELEMENTS // read
    if chosen == "running":  # a task begins with as many rows as the window is high
        rows = max(rows, RUNNING_BLOCKS * plan.kernel[0])
    rows = max(1, min(plan.out_size[0], rows))
    planes = max(1, TASK_ELEMENTS // (read * rows)) if rows == plan.out_size[0] else 1
    way = {"whole": "flat", "registers": "small", "running": "running"}.get(chosen, "")
    itemsize = 8 if is_double else 4
    size = plan.batch * plan.channels * prod(plan.in_size) * itemsize
    far = FAR // itemsize if size > LARGE else 0
    near, streams = 0, False
    if size > LEVEL_2 and runtime.second_level() >= FETCHING:
        near = (NEARER if far else NEAR) // itemsize
        streams = prod(plan.out_shape) * itemsize > STREAMED and not plan.return_indices
    return pool.PoolTasks(level, is_double, count, plan, rows, block, planes, line, way, far, near, streams)


def by_rows(plan: PoolPlan) -> str | None:
    """None if rows of it can be pooled one by one, as they come, with the same bits; else the reason why not."""
    if _whole(plan) is None:
        return "the window is the whole plane"
    return _separable(plan)


def rows_tasks(plan: PoolPlan, level: int) -> pool.PoolTasks:
    """What pools rows as they come, of an input that is contiguous."""
    return _tasks(plan, level, 1)


@lru_cache(maxsize=8)
def _seconds_per_element(dtype: str, level: int) -> float:
    """Of an input to windows of 2x2 with stride 2."""
    shape = (1, 16, 32, 32)
    plan = plan_max_pool2d(
        shape, dtype, int(dtype[5:]) // 8, "nchw", (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), False, False
    )
    x, out, tasks = np.zeros(shape, dtype), np.empty(plan.out_shape, dtype), _tasks(plan, level, 1)
    return wake.seconds_of(lambda: pool.run(tasks, x, out)) / x.size


def _threads(plan: PoolPlan) -> int:
    elements = plan.batch * plan.channels * plan.in_size[0] * plan.in_size[1]
    if elements < BRIEF_ELEMENTS:
        return 1
    return wake.threads_for(elements * sum(plan.kernel) / 4 * _seconds_per_element(plan.dtype, isa.current()))


def _by_powers(plan: PoolPlan) -> bool:
    """Whether NumPy takes the powers and the roots of an L-p norm: the kernel has squares, and plain sums."""
    return plan.norm not in (0.0, 1.0, 2.0)


def prepare(plan: PoolPlan | UnpoolPlan, indices: Any) -> Any:
    """The indices of an unpooling in native order, aligned and contiguous; nothing for the rest."""
    return np.require(indices, np.int64, ["C", "A"]) if isinstance(plan, UnpoolPlan) else None


def run(plan: PoolPlan | UnpoolPlan, x: np.ndarray, prepared: Any, out: np.ndarray | None) -> Any:
    """Run the plan; (values, indices) if it asks for indices."""
    x = native(x, plan.dtype)
    if isinstance(plan, UnpoolPlan):
        unpooling = pool.UnpoolTasks(isa.current(), plan.dtype == "float64", _unpool_threads(plan), plan)
        return into(out, plan.out_shape, plan.dtype, partial(pool.unpool, unpooling, x, prepared))
    if _by_powers(plan):
        with np.errstate(all="ignore"):
            x = x**plan.norm
    tasks, order = _tasks(plan, isa.current(), _threads(plan)), plan.out_order
    indices = memory.empty(plan.out_shape, np.int64, order) if plan.return_indices else None
    out = into_order(out, plan.out_shape, plan.dtype, order, lambda result: pool.run(tasks, x, result, indices))
    if _by_powers(plan):
        with np.errstate(all="ignore"):
            np.power(out, 1.0 / plan.norm, out=out)
    return out if indices is None else (out, indices)


def _unpool_threads(plan: UnpoolPlan) -> int:
    return wake.threads_for(prod(plan.out_shape) * _seconds_per_element(plan.dtype, isa.current()))


def work(plan: PoolPlan | UnpoolPlan, result: np.ndarray) -> pool.PoolWork | None:
    """What runs the plan, for calls that come again and give what lies in memory as ``result``.

    Not with indices, which are a second result or argument; nor for an ``out`` that lies as no new result would.
    """
    if isinstance(plan, UnpoolPlan) or plan.return_indices or _by_powers(plan):
        return None
    missing = 4 - result.ndim  # axes: the batch of a single image
    if not result.transpose([axis - missing for axis in plan.out_order[missing:]]).flags.c_contiguous:
        return None
    brief = prod(plan.out_shape) * plan.kernel[0] * plan.kernel[1] < BRIEF_ELEMENTS
    return pool.PoolWork(_tasks(plan, isa.current(), _threads(plan)), brief)
