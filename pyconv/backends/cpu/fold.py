"""Unfold and fold by NumPy's own strided copies, a tap at a time, on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...plan import FoldPlan

__all__ = ["implementations", "prepare", "run"]


def implementations(plan: FoldPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    return [("strided_copies", None)]


def prepare(plan: FoldPlan, weight: Any = None) -> None:
    """There is nothing to prepare."""


def _inside(plan: FoldPlan, axis: int, tap: int) -> tuple[slice, slice]:
    """The windows whose tap lies in the image along an axis, and the pixels that it is."""
    first, step = tap * plan.dilation[axis] - plan.padding[axis][0], plan.stride[axis]
    begin = max(-(first // step), 0)
    end = min(max(-((first - plan.in_size[axis]) // step), begin), plan.out_size[axis])
    if end <= begin:
        return slice(0, 0), slice(0, 0)
    return slice(begin, end), slice(first + begin * step, first + (end - 1) * step + 1, step)


def _taps(plan: FoldPlan) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """Every tap (i, j), the windows whose tap lies in the image, and its pixels."""
    rows = [_inside(plan, 0, i) for i in range(plan.kernel[0])]
    columns = [_inside(plan, 1, j) for j in range(plan.kernel[1])]
    for i, j in np.ndindex(*plan.kernel):
        yield (i, j), (rows[i][0], columns[j][0]), (rows[i][1], columns[j][1])


def run(plan: FoldPlan, x: np.ndarray, prepared: Any, out: np.ndarray | None) -> np.ndarray:
    """Run the plan on ``x``."""
    result = out if out is not None and out.flags.c_contiguous else np.empty(plan.out_shape, plan.dtype)
    if plan.op == "unfold":
        _unfold(plan, x, result.reshape(plan.windows))
    else:
        _fold(plan, x.reshape(plan.windows), result)
    if out is None or result is out:
        return result
    np.copyto(out, result)
    return out


def _unfold(plan: FoldPlan, x: np.ndarray, result: np.ndarray) -> None:
    every = tuple(slice(0, size) for size in plan.out_size)
    for (i, j), windows, pixels in _taps(plan):
        if windows != every:
            result[:, :, i, j] = 0
        result[:, :, i, j, windows[0], windows[1]] = x[:, :, pixels[0], pixels[1]]


def _fold(plan: FoldPlan, taken: np.ndarray, result: np.ndarray) -> None:
    result[...] = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for (i, j), windows, pixels in _taps(plan):
            result[:, :, pixels[0], pixels[1]] += taken[:, :, i, j, windows[0], windows[1]]
