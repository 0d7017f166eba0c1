"""Convolution by kernels that are a column times a row, as those of images often are: a pass down, and one along.

Whether a kernel is one goes by its numbers: ``prepare`` finds it out, and is None for the others.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan, Cost
from . import channels, depthwise, depthwise_channels, direct, estimate, isa
from .arrays import into_rows
from .cut import BRIEF_FLOPS, Pieces, ceil_div, even, is_double_plan, threads_for
from .depthwise import Cut

__all__ = [
    "Factors",
    "cost",
    "cycles",
    "factors",
    "label",
    "pieces",
    "prepare",
    "prepare_key",
    "refusal",
    "run",
    "slowness",
    "work",
]

_PLAIN = (depthwise_channels, depthwise, channels, direct)
"""Sums over all taps, in the order in which they are tried."""

_LINES = 4  # that are summed down together
_WIDEST = 2048
"""Columns of a strip, at most: four lines of them leave the first level of the cache, but little more is read again."""

_LEAST_ROWS = 16
"""Rows of a band: threads that share a plane read again what the kernel reaches of their neighbours."""

_TOLERANCE = 8
"""Units of the dtype's rounding, by which an element may differ from the product of its column's and its row's.

A product that was rounded, divided by a sum that was rounded, and rounded again differs by less than half of that. With
at most one unit for each two taps of both passes, the error keeps to the bound of direct sums (README).
"""


class Factors(NamedTuple):
    """Of every kernel its column and then its row, [output channel][..]; biases; and what was given."""

    isa: int
    weights: np.ndarray
    bias: np.ndarray
    given_weight: np.ndarray
    given_bias: np.ndarray | None


def label(plan: ConvPlan) -> str:
    """The implementation's name."""
    return f"separable_{isa.name()}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan with kernels that are separable, else the reason why not."""
    if plan.algorithm not in ("auto", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    if plan.groups != plan.in_channels:
        return f"a group has {plan.in_channels // plan.groups} input channels, it takes one"
    return _refusal(plan, isa.current())  # known by its plan, which takes a look-up: every layer asks


@lru_cache(maxsize=1024)
def _refusal(plan: ConvPlan, level: int) -> str | None:
    if plan.stride != (1, 1) or plan.dilation != (1, 1):
        return "it is for stride 1 and dilation 1"
    if plan.layout != "nchw":
        return f"the input's layout is {plan.layout}, it takes nchw"
    if (summing := plain(plan)) is None:
        return "no plain sum takes the plan, for results that are not finite"
    own, other = cycles(plan, level), summing.cycles(plan, level)
    if own > other:
        return f"two passes would take more cycles: {own:,.0f}, the plain sum {other:,.0f}"
    return None


def plain(plan: ConvPlan) -> ModuleType | None:
    """What sums directly: it runs the plan where kernels are not separable or a result is not finite."""
    summed = replace(plan, algorithm="direct")
    return next((each for each in _PLAIN if each.refusal(summed) is None), None)


def cycles(plan: ConvPlan, level: int) -> float:
    """Cycles of an image on one core, estimated.

    A vector of outputs takes 9, and for each tap 0.9 down and 1.1 along. Where kernels have one row it takes 2, and
    0.65 for each tap; and a row takes the more for its ends, the fewer lanes a vector has (measured).
    """
    lanes = runtime.lanes(level, is_double_plan(plan))
    vectors = ceil_div(plan.out_size[1], lanes)
    height, width = plan.kernel
    row = vectors * (9 + 0.9 * height + 1.1 * width)
    if height == 1:
        row = vectors * (2 + 0.65 * width) + 240_000 / lanes**3
    return plan.out_channels * plan.out_size[0] * row


def slowness(plan: ConvPlan) -> float:
    """How many times as long the flops of the plain sum take as in dense convolutions.

    Once: there are fewer, and memory sets the pace. More often, by its cycles, where kernels of one row save none.
    """
    level = isa.current()
    if not plan.batch:
        return 1.0
    dense = plan.flops / plan.batch / (4 * runtime.lanes(level, is_double_plan(plan)))
    return max(1.0, cycles(plan, level) / dense)


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need; its flops are those of the two passes."""
    level = isa.current()
    taps = sum(plan.kernel)
    found = estimate.cost(
        plan, _tasks(plan, level, threads_for(plan, slowness(plan))), cycles(plan, level), plan.out_channels * taps
    )
    return found._replace(flops=plan.flops // (plan.kernel[0] * plan.kernel[1]) * taps)


@np.errstate(over="ignore", invalid="ignore")
def factors(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Columns and rows whose products are the kernels, (C, height) and (C, width); None if one is no such product.

    They are the column and the row of the kernel's largest element, after division by it (a step of elimination with
    complete pivoting, or of a cross approximation: Bebendorf 2000). Zeros stay zeros, which singular vectors would not
    give back. The row of the column's smallest element takes its place where that is exact: so boxes, binomials and
    Sobel's kernels have whole numbers. Numbers below the normal ones, which the kernels do not see, do not matter.
    """
    if weight.shape[1] == 1:  # as they are: nothing is lost half way
        return (np.ones_like(weight[:, :, 0]), weight[:, 0]) if np.isfinite(weight).all() else None
    limits = np.finfo(weight.dtype)
    kernels = weight.astype(np.float64)
    every, (height, width) = np.arange(len(kernels)), kernels.shape[1:]
    sizes = np.abs(kernels)
    largest, column = np.divmod(sizes.reshape(len(kernels), height * width).argmax(axis=1), width)
    through = sizes[every, :, column]
    smallest = np.where(through > 0, through, np.inf).argmin(axis=1)
    columns, rows = _cross(kernels, largest, column, limits)
    exact_columns, exact_rows = _cross(kernels, smallest, column, limits)
    exact = (exact_columns[:, :, None].astype(np.float64) * exact_rows[:, None] == kernels).all(axis=(1, 2))[:, None]
    columns, rows = np.where(exact, exact_columns, columns), np.where(exact, exact_rows, rows)
    error = np.abs(columns[:, :, None].astype(np.float64) * rows[:, None] - kernels)
    allowed = np.where(sizes < limits.tiny, limits.tiny, _TOLERANCE * limits.eps * sizes)
    return (columns, rows) if (error <= allowed).all() else None


def _cross(kernels: np.ndarray, row: np.ndarray, column: np.ndarray, limits: np.finfo) -> tuple[np.ndarray, np.ndarray]:
    """Of each kernel a column, divided by its element in a row, and this row.

    The row's powers of two above 1 are the column's: so sums down the columns are no smaller than results, and what
    is lost below the normal numbers half way is not made large again.
    """
    every = np.arange(len(kernels))
    pivots = kernels[every, row, column][:, None]
    parts = kernels[every, :, column] / np.where(pivots == 0, 1, pivots), kernels[every, row]
    power = np.maximum(np.frexp(np.abs(parts[1]).max(axis=1))[1], 0)[:, None]
    parts = np.ldexp(parts[0], power), np.ldexp(parts[1], -power)
    columns, rows = (np.where(np.abs(part) < limits.tiny, 0, part).astype(limits.dtype) for part in parts)
    return columns, rows


@lru_cache(maxsize=256)
def _tasks(plan: ConvPlan, level: int, count: int) -> conv.SeparableTasks:
    planes = plan.batch * plan.out_channels
    parts = bands = 1
    if count > 1:
        parts = max(min(planes, 4 * count), 1)
        bands = min(ceil_div(4 * count, parts), max(plan.out_size[0] // _LEAST_ROWS, 1))
    return conv.SeparableTasks(level, is_double_plan(plan), count, plan, _cut(plan, level, planes, parts, bands))


def _cut(plan: ConvPlan, level: int, planes: int, parts: int, bands: int) -> Cut:
    """So many tasks; the line of a strip has room for its outputs, the kernel, and vectors that reach beyond both."""
    is_double = is_double_plan(plan)
    lanes = runtime.lanes(level, is_double)
    strip = even(plan.out_size[1], _WIDEST, lanes)
    line = (ceil_div(strip, lanes) + ceil_div(plan.kernel[1], lanes) + 4) * lanes
    scratch = (_LINES + 1) * line * (8 if is_double else 4) + (plan.kernel[0] + _LINES) * 8
    return Cut(planes, parts, bands, scratch, row_size=line, tile=strip)


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share weights."""
    return isa.current()


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Factors | None:
    """The factors of the kernels; None if some are not finite or not separable."""
    given = np.asarray(weight, plan.dtype).reshape(plan.out_channels, *plan.kernel)
    # most layers of networks are told by their first kernel
    found = None if factors(given[:1]) is None else factors(given)
    if found is None:
        return None
    biases = np.zeros(plan.out_channels, plan.dtype)
    if bias is not None:
        biases[:] = bias
    return Factors(isa.current(), np.concatenate(found, axis=1), biases, weight, bias)


def run(plan: ConvPlan, x: np.ndarray, prepared: Factors, out: np.ndarray | None) -> np.ndarray:
    """Run the plan; images whose results are not all finite are done again by plain sums.

    What overflows half way, or meets a product that is too small for its dtype, would not give what they give.
    """
    tasks = _tasks(plan, prepared.isa, threads_for(plan, slowness(plan)))

    def fill(result: np.ndarray) -> None:
        broken = conv.run(tasks, x, prepared.weights, prepared.bias, result)
        if broken is not None:
            one = replace(plan, batch=1, algorithm="direct")
            summing: Any = plain(one)
            weights = summing.prepare(one, prepared.given_weight, prepared.given_bias)
            for image in broken:
                summing.run(one, x[image : image + 1], weights, result[image : image + 1])

    return into_rows(out, plan.out_shape, plan.dtype, fill)


def work(plan: ConvPlan, prepared: Factors) -> conv.ConvWork:
    """What runs the plan, for calls that come again; those whose results are not all finite go the general way."""
    times = slowness(plan)
    tasks = _tasks(plan, prepared.isa, threads_for(plan, times))
    return conv.ConvWork(tasks, prepared.weights, prepared.bias, times * plan.flops < BRIEF_FLOPS)


def pieces(plan: ConvPlan, level: int) -> Pieces:
    """How to compute the plan band by band."""

    def tasks(part: ConvPlan, shares: int) -> conv.SeparableTasks:
        cut = _cut(part, level, part.out_channels, shares, 1)
        return conv.SeparableTasks(level, is_double_plan(plan), 1, part, cut)

    return Pieces(tasks, blocks=range(plan.out_channels), rows=plan.out_size[0], may_break=True)
