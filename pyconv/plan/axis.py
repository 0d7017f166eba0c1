"""The plan of an operation along one axis: the softmax family, and glu."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

from ..errors import ShapeError
from .arguments import LIMIT, check_bytes, index, itemsize_of
from .hashing import HashedOnce

__all__ = ["AXIS_OPS", "AxisPlan", "axis_of", "flattened", "plan_axis"]

AXIS_OPS = ("softmax", "softmin", "log_softmax", "glu")
"""The operations that an AxisPlan may name."""


@dataclass(frozen=True, slots=True)
class AxisPlan(HashedOnce):
    """One of AXIS_OPS along ``axis``, which counts from the front; glu's output has half of it."""

    __hash__ = HashedOnce.__hash__

    op: str
    dtype: str
    in_shape: tuple[int, ...]
    axis: int

    @property
    def out_shape(self) -> tuple[int, ...]:
        if self.op != "glu":
            return self.in_shape
        return (*self.in_shape[: self.axis], self.in_shape[self.axis] // 2, *self.in_shape[self.axis + 1 :])


def axis_of(op: str, dim: Any, dimensions: int) -> int:
    """``dim`` as it counts from the front. None is torch's rule of old: 0 for 0, 1 and 3 dimensions, else 1."""
    if dim is None:
        return 0 if dimensions in (0, 1, 3) else 1
    found = index(op, "dim", dim, -LIMIT)
    room = max(dimensions, 1)  # a number alone counts as an axis of one
    if not -room <= found < room:
        raise ShapeError(f"{op}: dim must be between {-room} and {room - 1} for {dimensions} dimensions, got {found}")
    return found % room


def flattened(op: str, shape: tuple[int, ...], start: Any, end: Any) -> tuple[int, ...]:
    """``shape`` with the dimensions ``start`` to ``end`` as one."""
    first, last = axis_of(op, start, len(shape)), axis_of(op, end, len(shape))
    if first > last:
        raise ShapeError(f"{op}: start_dim must not come after end_dim: got {start} and {end} for shape {shape}")
    return (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])


@lru_cache(maxsize=1024)
def plan_axis(op: str, shape: tuple[int, ...], dtype: str, axis: int) -> AxisPlan:
    """The plan of ``op`` (one of AXIS_OPS) along ``axis`` of an array of ``shape``."""
    if op == "glu":
        if not shape:
            raise ShapeError("glu: the input has no dimension to halve")
        if shape[axis] % 2:
            raise ShapeError(
                f"glu: dimension {axis} is halved, so it must be even; the input has shape {shape}, "
                f"{shape[axis]} % 2 = {shape[axis] % 2}"
            )
    plan = AxisPlan(op=op, dtype=dtype, in_shape=shape, axis=axis)
    check_bytes(op, plan.out_shape, itemsize_of(dtype))
    return plan
