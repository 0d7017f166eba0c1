"""Operations along one axis: the softmax family and glu, over memory in whatever order it lies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ...plan import AxisPlan
from .kernel import DTYPES, Kernel, Launch, struct
from .memory import VECTOR, given_back, in_memory_order

__all__ = ["implementations", "kernels", "run"]

_SOFTMAX = struct(
    x="u8", out="u8", lines="i8", length="i8", inner="i8", negative="i4", logarithm="i4", whole_vectors="i4"
)
_GLU = struct(x="u8", out="u8", size="i8", columns="i8", whole_vectors="i4")
_THREADS = 256

ALONG = {True: (4, 32, 256), False: (1, 8, 64)}
"""Threads of one line, where its elements are neighbours and where lines are."""

_MANY_LINES = 65_536  # enough threads for a large GPU, with one for each


class Lines(NamedTuple):
    """How the lines lie in memory: ``outer`` times ``inner`` of them side by side, each of ``length`` elements."""

    outer: int
    length: int
    inner: int

    @classmethod
    def of(cls, plan: AxisPlan, order: tuple[int, ...]) -> Lines:
        """The lines of an input whose axes lie in memory in this order."""
        if not order:
            return cls(1, 1, 1)
        sizes, place = [plan.in_shape[axis] for axis in order], order.index(plan.axis)
        return cls(math.prod(sizes[:place]), sizes[place], math.prod(sizes[place + 1 :]))


def implementations(plan: AxisPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    return [("lines", None)]  # a launch of too many blocks would take more than a terabyte of memory


@lru_cache(maxsize=1024)
def _launch(op: str, dtype: str, lines: Lines) -> Launch:
    """Kernel, grid and block."""
    if op == "glu":
        return Launch(_glu(dtype), -(-math.prod(lines) // 2 // VECTOR[dtype] // _THREADS), _THREADS)
    rows, count = lines.inner == 1, lines.outer * lines.inner
    few, some, many = ALONG[rows]
    if rows:
        along = few if lines.length <= 16 else some if lines.length <= 2048 else many
    else:
        along = few if lines.length <= 8 or count >= _MANY_LINES else some if lines.inner >= 32 else many
    return Launch(_softmax(dtype, rows, along), -(-count * along // _THREADS) if lines.length else 0, _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for dtype in DTYPES[:2]:
        for rows, place in product(ALONG, range(3)):
            yield _softmax(dtype, rows, ALONG[rows][place])
        yield _glu(dtype)


def _softmax(dtype: str, rows: bool, along: int) -> Kernel:
    return Kernel.of("softmax", dtype, _SOFTMAX, ROWS=int(rows), ALONG=along)


def _glu(dtype: str) -> Kernel:
    return Kernel.of("glu", dtype, _GLU)


def run(room: Any, plan: AxisPlan, x: Any, prepared: Any, out: Any) -> Any:
    """Run the plan on ``x``, which lies on the current device. The result's axes lie in memory as those of ``x``."""
    x = room.readable(x)
    order = in_memory_order(x)
    if order is None:
        x = room.copy(x)
        order = in_memory_order(x)
        assert order is not None
    given = None if out is None else out.transpose(order)
    target: Any = given
    if not room.writable(given):
        target = room.empty(tuple(plan.out_shape[axis] for axis in order), x.dtype)
    lines = Lines.of(plan, order)
    packed = np.zeros(1, _GLU if plan.op == "glu" else _SOFTMAX)
    packed["x"], packed["out"] = addresses = room.address(x), room.address(target)
    aligned = not any(address % 16 for address in addresses)
    if plan.op == "glu":
        columns = lines.length // 2 * lines.inner
        packed["size"], packed["columns"] = lines.outer * columns, columns
        packed["whole_vectors"] = aligned and columns % VECTOR[plan.dtype] == 0
    else:
        packed["lines"], packed["length"], packed["inner"] = lines.outer * lines.inner, lines.length, lines.inner
        packed["negative"], packed["logarithm"] = plan.op == "softmin", plan.op == "log_softmax"
        packed["whole_vectors"] = aligned and lines.length % VECTOR[plan.dtype] == 0
    room.launch(_launch(plan.op, plan.dtype, lines), packed)
    if given is not None and target is given:
        return out
    result = target if order == tuple(range(x.ndim)) else target.transpose(tuple(np.argsort(order)))
    return given_back(room, result, out)
