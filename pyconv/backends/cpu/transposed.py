"""Transposed convolution: convolutions of stride 1, whose results are interleaved.

Where they can compute some rows by themselves, this is done band by band, see ``Cut``; else one after the other.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..._core import conv as conv_core
from ..._core import transposed as core
from ...plan import ConvPlan, Cost, Pair, PhasePart, TransposedPlan, phase_parts
from . import conv, separable, winograd
from .arrays import into, native
from .cache import WORKING_SET
from .cut import (
    BRIEF_FLOPS,
    ceil_div,
    even,
    is_double_plan,
    pieces_of,
    rows_of,
    sees_padding_alone,
    threads_for,
)

__all__ = ["Cut", "Prepared", "costs", "implementations", "prepare", "prepare_key", "run", "work"]

_ROOM = WORKING_SET // 2
"""Bytes of a band's results, of all parts: they are read once, and the convolutions work on the rest of the cache."""


class Part(NamedTuple):
    """A convolution of a plan; names as in the C struct Part."""

    phases: int
    width: int
    column: int


class Band(NamedTuple):
    """A part's rows in a band; names as in the C struct Piece."""

    tasks: conv_core.ConvTasks
    in_row: int


class Cut(NamedTuple):
    """How a plan is cut: rows of phases, of which each is one of ``stride[0]`` rows of the output, into bands."""

    parts: list[Part]
    rows: list[int]
    """Where each band begins, and the end."""
    most_rows: int
    bands: list[Band | None]
    """Of each band a part's after the other's; None if it has no rows there."""
    first_bands: list[int]
    """Of each strip, which a thread computes from top to bottom; and the end."""
    places: list[Pair]
    """For each row and column of a step of the output: which part it is of, or -1, and which of its phases."""


class Prepared(NamedTuple):
    """What the convolutions run on; weights as given instead, where they are not all finite."""

    parts: tuple[conv.Prepared, ...]
    bias: np.ndarray | None
    weight: np.ndarray | None = None


def implementations(plan: TransposedPlan) -> list[tuple[str, str | None]]:
    """One implementation, named for those of its convolutions; the reason why one of them has none."""
    names: dict[str, None] = {}
    for part in phase_parts(plan):
        listed = conv.implementations(part.plan)
        name = next((name for name, refusal in listed if refusal is None), None)
        if name is None:
            kernel = "x".join(map(str, part.plan.kernel))
            reasons = "; ".join(f"{name}: {refusal}" for name, refusal in listed)
            return [("phases", f"it is made of convolutions, one of which ({kernel}) has no implementation: {reasons}")]
        names[name] = None
    return [(f"phases({', '.join(names)})", None)]


def costs(plan: TransposedPlan) -> dict[str, Cost]:
    """What its convolutions expect to need together, where all of them can tell."""
    found = [next(iter(conv.costs(part.plan).values()), Cost()) for part in phase_parts(plan)]
    if not found or any(value is None for cost in found for value in cost):
        return {}
    (name, _), *_ = implementations(plan)
    seconds, flops, moved, workspace = zip(*found, strict=True)
    return {name: Cost(sum(seconds), sum(flops), sum(moved), max(workspace))}


def prepare_key(plan: TransposedPlan) -> Hashable:
    """Plans with equal keys share prepared weights."""
    return tuple((part.taps, conv.prepare_key(part.plan)) for part in phase_parts(plan))


def prepare(plan: TransposedPlan, weight: np.ndarray, bias: np.ndarray | None) -> Prepared:
    """Prepare the weights of every convolution.

    A convolution multiplies its padding too, and 0 * inf is NaN; here the padding is no part of the definition.
    """
    if not np.isfinite(weight).all():
        return Prepared((), bias, weight)
    parts = (
        conv.prepare(part.plan, part.weights(weight), None if bias is None else part.biases(bias))
        for part in phase_parts(plan)
    )
    return Prepared(tuple(parts), bias)


def _cut(plan: TransposedPlan, how: tuple[tuple[ModuleType, Any], ...], level: int, count: int) -> Cut:
    """Cut ``plan`` for ``count`` threads; the result does not depend on how. ``how``: see ``_tasks``."""
    parts = phase_parts(plan)
    pieces = [pieces_of(module, part.plan, level, tiling) for part, (module, tiling) in zip(parts, how, strict=True)]
    height, batch = ceil_div(plan.out_size[0], plan.stride[0]), max(plan.batch, 1)
    row_bytes = sum(part.plan.out_channels * part.plan.out_size[1] for part in parts)
    row_bytes *= 8 if is_double_plan(plan) else 4
    least = max([each.rows for each in pieces if not each.weights_stay], default=1)
    rows = even(height, max(_ROOM // row_bytes, least, 1))
    strips = min(ceil_div(4 * count, batch), ceil_div(height, rows)) if count > 1 else 1
    if batch * strips < count:
        strips = min(ceil_div(count, batch), height)

    made: dict[ConvPlan, conv_core.ConvTasks] = {}
    bands: list[Band | None] = []
    edges, first_bands = [0], [0]
    for strip in range(strips):
        end = height * (strip + 1) // strips
        for first in range(edges[-1], end, rows):
            last = min(first + rows, end)
            for part, each in zip(parts, pieces, strict=True):
                below = min(last, part.plan.out_size[0])
                if below <= first:
                    bands.append(None)
                    continue
                some, in_row = rows_of(part.plan, first, below)
                if some not in made:
                    made[some] = each.tasks(some, 1)
                bands.append(Band(made[some], in_row + part.rows.start))
            edges.append(last)
        first_bands.append(len(edges) - 1)
    return Cut(
        parts=[Part(len(part.starts), part.plan.out_size[1], part.columns.start) for part in parts],
        rows=edges,
        most_rows=rows,
        bands=bands,
        first_bands=first_bands,
        places=_places(plan),
    )


def _places(plan: TransposedPlan) -> list[Pair]:
    places = {
        start: (number, place)
        for number, part in enumerate(phase_parts(plan))
        for place, start in enumerate(part.starts)
    }
    rows = min(plan.stride[0], plan.out_size[0])
    return [places.get((row, column), (-1, 0)) for row in range(rows) for column in range(plan.stride[1])]


@lru_cache(maxsize=256)
def _tasks(
    plan: TransposedPlan, how: tuple[tuple[ModuleType, Any], ...], level: int, count: int
) -> core.TransposedTasks:
    """``how``: of each part the implementation, and the tiling that its weights were packed for."""
    return core.TransposedTasks(level, is_double_plan(plan), count, plan, _cut(plan, how, level, count))


def work(plan: TransposedPlan, prepared: Prepared) -> core.TransposedWork | None:
    """What runs the plan band by band; None where that cannot be."""
    parts = phase_parts(plan)
    if prepared.weight is not None or not parts or plan.stride[1] > core.MOST_COLUMNS:
        return None
    if plan.stride == (1, 1) or any(sees_padding_alone(part.plan) for part in parts):
        return None  # where nothing is put together, the convolution writes the result
    if any(each.implementation in (separable, winograd) for each in prepared.parts):
        return None  # an image whose results are not finite would have to be computed directly
    weights = [each.weights for each in prepared.parts]
    how = tuple((each.implementation, getattr(each.weights, "tiling", None)) for each in prepared.parts)
    slowness = max(getattr(each.implementation, "SLOWNESS", 1) for each in prepared.parts)
    tasks = _tasks(plan, how, weights[0].isa, threads_for(plan, slowness))
    rest = None if prepared.bias is None else np.ascontiguousarray(native(prepared.bias, plan.dtype))
    return core.TransposedWork(
        tasks,
        tuple(each.weights for each in weights),
        tuple(each.bias for each in weights),
        rest,
        slowness * plan.flops < BRIEF_FLOPS,
    )


def run(plan: TransposedPlan, x: np.ndarray, prepared: Prepared, out: np.ndarray | None) -> np.ndarray:
    """Run the convolutions, and interleave their results."""
    ready = work(plan, prepared)
    if ready is None:
        return _by_parts(plan, x, prepared, out)
    x = native(x, plan.dtype)
    return into(out, plan.out_shape, plan.dtype, lambda result: ready.run_arrays(x, result))


def _by_parts(plan: TransposedPlan, x: np.ndarray, prepared: Prepared, out: np.ndarray | None) -> np.ndarray:
    """The convolutions one after the other."""
    parts = phase_parts(plan)
    result = np.empty(plan.out_shape, plan.dtype) if out is None else out
    if prepared.weight is not None:
        result[...] = _tap_by_tap(plan, x, prepared.weight, prepared.bias)
        return result
    x = native(x, plan.dtype)
    reached = sum(len(part.starts) * part.plan.out_size[0] * part.plan.out_size[1] for part in parts)
    if reached < plan.out_size[0] * plan.out_size[1]:
        result[...] = 0 if prepared.bias is None else prepared.bias[:, None, None]
    for part, weights in zip(parts, prepared.parts, strict=True):
        source = x[:, :, part.rows, part.columns]
        if plan.stride == (1, 1):
            conv.run(part.plan, source, weights, result)
            continue
        for sums, (row, column) in _phases(plan, part, conv.run(part.plan, source, weights, None)):
            result[:, :, row :: plan.stride[0], column :: plan.stride[1]] = sums
    return result


def _phases(plan: TransposedPlan, part: PhasePart, sums: np.ndarray) -> Iterator[tuple[np.ndarray, Pair]]:
    """The results of a convolution phase by phase, each (N, out_channels, height, width), and where they belong."""
    per_out = plan.out_channels // plan.groups
    split = sums.reshape(plan.batch, plan.groups, len(part.starts), per_out, *part.plan.out_size)
    for place, start in enumerate(part.starts):
        yield split[:, :, place].reshape(plan.batch, plan.out_channels, *part.plan.out_size), start


def _tap_by_tap(plan: TransposedPlan, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Every tap by itself, in float64: nothing but the input's own pixels is multiplied."""
    (height, width), (stride_h, stride_w), ((top, _), (left, _)) = plan.in_size, plan.stride, plan.padding
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    grouped = x.astype(np.float64).reshape(plan.batch, plan.groups, per_in, height * width)
    taps = weight.astype(np.float64).reshape(plan.groups, per_in, per_out, *plan.kernel)
    sums = np.zeros((plan.batch, plan.groups, per_out, *plan.out_size))
    if bias is not None:
        sums += bias.reshape(plan.groups, per_out, 1, 1)
    for i, j in np.ndindex(*plan.kernel):
        products = np.einsum("ngcp,gck->ngkp", grouped, taps[..., i, j]).reshape(*sums.shape[:3], height, width)
        rows = np.arange(height) * stride_h + i * plan.dilation[0] - top
        columns = np.arange(width) * stride_w + j * plan.dilation[1] - left
        inside_h, inside_w = (
            (places >= 0) & (places < size) for places, size in zip((rows, columns), plan.out_size, strict=True)
        )
        places = np.ix_(rows[inside_h], columns[inside_w])
        sums[..., places[0], places[1]] += products[..., inside_h, :][..., inside_w]
    with np.errstate(over="ignore"):
        return sums.reshape(plan.out_shape).astype(plan.dtype)
