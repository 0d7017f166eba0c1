"""Transposed convolution: convolutions of stride 1, whose results are interleaved; or one of all taps, added up.

Where they can compute some rows by themselves, this is done band by band, see ``Cut``; else one after the other. The
phases of few output channels leave lanes empty and read the input once each: there the taps, which are a matrix product
without a lane or a padded pixel too much, are quicker, though each output is put together from several numbers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from math import gcd, lcm, prod
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..._core import conv as conv_core
from ..._core import memory, runtime
from ..._core import transposed as core
from ...plan import ConvPlan, Cost, Pair, PhasePart, TransposedPlan, phase_parts, taps_part
from . import channels, conv, direct, estimate, isa, pixel_blocks, widened, winograd
from .arrays import into, native
from .cache import WORKING_SET
from .cut import (
    BRIEF_FLOPS,
    Pieces,
    ceil_div,
    even,
    is_double_plan,
    pieces_of,
    rows_of,
    sees_padding_alone,
    slowness_of,
    threads_for,
)

__all__ = ["Cut", "Prepared", "costs", "implementations", "prepare", "prepare_key", "run", "work"]

_ROW, _ADDED = 10, 2
"""Cycles of a row that is added to others, and of each of its vectors (measured)."""

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
    row: int
    rows: int


class Term(NamedTuple):
    """Results of a part that belong to a phase's outputs; names as in the C struct Term."""

    part: int
    phase: int
    row: int
    column: int


class Cut(NamedTuple):
    """How a plan is cut: rows of phases, of which each is one of ``stride[0]`` rows of the output, into bands."""

    parts: list[Part]
    rows: list[int]
    """Where each band begins, and the end."""
    most_rows: int
    """Of a part's results in a band."""
    bands: list[Band | None]
    """Of each band a part's after the other's; None if it has no rows there."""
    first_bands: list[int]
    """Of each strip, which a thread computes from top to bottom; and the end."""
    first_channels: list[int]
    """Of the output in each share of them, which is a unit of work by itself; and the end."""
    terms: list[Term]
    first_terms: list[int]
    """For each row and column of a step of the output, and the end."""
    adds: bool
    """Outputs are the sum of their terms; else they have one, or none."""


class Prepared(NamedTuple):
    """What the convolutions run on; weights as given instead, where they are not all finite."""

    parts: tuple[conv.Prepared, ...]
    bias: np.ndarray | None
    weight: np.ndarray | None = None


def implementations(plan: TransposedPlan) -> list[tuple[str, str | None]]:
    """By taps and by phases, each named for its convolutions, and the reason why it is not what runs."""
    by_taps = _by_taps(plan, isa.current())
    taps = [(f"taps({_name(taps_part(plan).plan)})", by_taps)] if _few_phases(plan) else []
    names: dict[str, None] = {}
    for part in _phase_plans(plan):
        name = _name(part)
        if name is None:
            kernel = "x".join(map(str, part.kernel))
            reasons = "; ".join(f"{name}: {refusal}" for name, refusal in conv.implementations(part))
            reason = f"it is made of convolutions, one of which ({kernel}) has no implementation: {reasons}"
            return [("phases", reason)]
        names[name] = None
    return [*taps, (f"phases({', '.join(names)})", None)]


def _name(plan: ConvPlan) -> str | None:
    """Of the implementation that runs a convolution."""
    return next((name for name, refusal in conv.implementations(plan) if refusal is None), None)


def _few_phases(plan: TransposedPlan) -> bool:
    """Whether the output has several phases, and so few that they can be written down."""
    return plan.stride != (1, 1) and max(plan.stride) <= core.MOST_COLUMNS


@lru_cache(maxsize=256)
def _by_taps(plan: TransposedPlan, level: int) -> str | None:
    """None if the plan is to be run by its taps, else the reason why not."""
    if plan.algorithm not in ("auto", "direct"):
        return f"algorithm={plan.algorithm!r} was asked for"
    if not _few_phases(plan):
        return f"it is for strides of 2 to {core.MOST_COLUMNS}"
    sizes = zip(plan.kernel, plan.stride, plan.dilation, strict=True)
    most = prod(ceil_div(kernel, step // gcd(step, gap)) for kernel, step, gap in sizes)
    if not 2 <= most <= core.MOST_TERMS:
        return f"an output is the sum of {most} taps, it is for 2 to {core.MOST_TERMS}"
    part, phases = taps_part(plan), _phase_plans(plan)
    if conv.chosen(part.plan, level) not in (direct, channels):
        return "the convolution of one pixel has no bands"
    own = _taps_cycles(plan, level)
    other = sum(_phase_cycles(each, level) for each in phases)
    return None if own <= other else f"phases take fewer cycles: {other:,.0f}, taps {own:,.0f}"


def _taps_cycles(plan: TransposedPlan, level: int) -> float:
    """Cycles of an image on one core, estimated: the convolution's, rows that two bands need twice, and the sums'."""
    part = taps_part(plan)
    chosen: Any = conv.chosen(part.plan, level)
    down, _ = _reach(plan)
    rows = _band_rows(plan, [part.plan])
    vectors = ceil_div(plan.out_size[1], plan.stride[1] * runtime.lanes(level, is_double_plan(plan)))
    added = sum(map(len, part.reaches)) / plan.stride[0]
    sums = plan.out_channels * plan.out_size[0] * added * (_ROW + _ADDED * vectors)
    return chosen.cycles(part.plan, level) * (1 + down / rows) + estimate.pace(level) * sums


def _phase_cycles(part: ConvPlan, level: int) -> float:
    chosen: Any = conv.chosen(part, level)
    return chosen.cycles(part, level) if hasattr(chosen, "cycles") else 0.0


def _reach(plan: TransposedPlan) -> Pair:
    """How many rows more of taps' results than of phases a band needs, and how far above these they begin."""
    rows = [reach.row for reaches in taps_part(plan).reaches for reach in reaches]
    return max(rows) - min(rows), min(rows)


def costs(plan: TransposedPlan) -> dict[str, Cost]:
    """What the convolutions of the one that runs expect to need together, where all of them can tell."""
    plans = _plans(plan)
    found = [next(iter(conv.costs(each).values()), Cost()) for each in plans]
    if not found or any(value is None for cost in found for value in cost):
        return {}
    name = next(name for name, refusal in implementations(plan) if refusal is None)
    seconds, flops, moved, workspace = zip(*found, strict=True)
    return {name: Cost(sum(seconds), sum(flops), sum(moved), max(workspace))}


def _plans(plan: TransposedPlan) -> list[ConvPlan]:
    """Of the convolutions that it is run by."""
    if _by_taps(plan, isa.current()) is None:
        return [taps_part(plan).plan]
    return _phase_plans(plan)


def _phase_plans(plan: TransposedPlan) -> list[ConvPlan]:
    """Of the convolutions of its phases, as they are run."""
    return [widened.widened(part.plan, isa.current()) for part in phase_parts(plan)]


def _prepared_plans(plan: TransposedPlan, modules: Iterable[ModuleType]) -> list[ConvPlan]:
    """Of the convolutions that it is run by, on weights that were prepared for these implementations."""
    if _by_taps(plan, isa.current()) is None:
        return [taps_part(plan).plan]
    ways = zip(phase_parts(plan), _phase_plans(plan), modules, strict=True)
    return [one if module is winograd else part.plan for part, one, module in ways]


def prepare_key(plan: TransposedPlan) -> Hashable:
    """Plans with equal keys share prepared weights."""
    if _by_taps(plan, isa.current()) is None:
        return "taps", conv.prepare_key(taps_part(plan).plan)
    plans = _phase_plans(plan)
    return tuple((part.taps, conv.prepare_key(one)) for part, one in zip(phase_parts(plan), plans, strict=True))


def prepare(plan: TransposedPlan, weight: np.ndarray, bias: np.ndarray | None) -> Prepared:
    """Prepare the weights of every convolution.

    A convolution multiplies its padding too, and 0 * inf is NaN; here the padding is no part of the definition.
    """
    if not np.isfinite(weight).all():
        return Prepared((), bias, weight)
    if _by_taps(plan, isa.current()) is None:
        taps = taps_part(plan)
        return Prepared((conv.prepare(taps.plan, _by_channels(plan, taps.weights(weight)), None),), bias)
    parts = []
    for part, one in zip(phase_parts(plan), _phase_plans(plan), strict=True):
        biases = None if bias is None else _by_channels(plan, part.biases(bias))
        parts.append(widened.prepare(part.plan, one, _by_channels(plan, part.weights(weight)), biases))
    return Prepared(tuple(parts), bias)


def _by_channels(plan: TransposedPlan, numbers: np.ndarray) -> np.ndarray:
    """A part's weights or biases (group, phase or tap, channel of the group) as (group, channel, phase or tap).

    So all that a channel of the output is made of lies together, and threads can divide the channels.
    """
    split = numbers.reshape(plan.groups, -1, plan.out_channels // plan.groups, *numbers.shape[1:])
    return split.swapaxes(1, 2).reshape(numbers.shape)


def _band_rows(plan: TransposedPlan, plans: Sequence[ConvPlan], least: int = 1) -> int:
    """Rows of phases in a band."""
    row_bytes = sum(each.out_channels * each.out_size[1] for each in plans) * (8 if is_double_plan(plan) else 4)
    return even(ceil_div(plan.out_size[0], plan.stride[0]), max(_ROOM // row_bytes, least, 1))


def _cut(plan: TransposedPlan, how: tuple[tuple[ModuleType, Any], ...], level: int, count: int) -> Cut:
    """Cut ``plan`` for ``count`` threads; the result does not depend on how. ``how``: see ``_tasks``."""
    plans, adds = _prepared_plans(plan, [module for module, _ in how]), _by_taps(plan, level) is None
    pieces = [pieces_of(module, each, level, tiling) for each, (module, tiling) in zip(plans, how, strict=True)]
    height, batch = ceil_div(plan.out_size[0], plan.stride[0]), max(plan.batch, 1)
    step = lcm(*(each.step for each in pieces))
    least = max([each.least if each.weights_stay else each.rows for each in pieces])
    rows = ceil_div(_band_rows(plan, plans, least), step) * step
    strips = min(ceil_div(4 * count, batch), ceil_div(height, rows)) if count > 1 else 1
    first_channels = [0, plan.out_channels]
    if batch * strips < count:
        first_channels = _first_channels(plan, plans, pieces, ceil_div(count, batch * strips))
        per_share = batch * (len(first_channels) - 1)
        strips = max(strips, min(ceil_div(count, per_share), ceil_div(height, step)))
    shares = len(first_channels) - 1
    more, above = _reach(plan) if adds else (0, 0)

    made: dict[tuple[int, ConvPlan], conv_core.ConvTasks] = {}  # parts that look alike may be packed differently
    found: list[Band | None] = []
    edges, first_bands = [0], [0]
    for strip in range(strips):
        end = min(ceil_div(height * (strip + 1) // strips, step) * step, height)
        for first in range(edges[-1], end, rows):
            last = min(first + rows, end)
            for place, (one, each) in enumerate(zip(plans, pieces, strict=True)):
                top, below = max(first + above, 0), min(last + above + more, one.out_size[0])
                if below <= top:
                    found.append(None)
                    continue
                some, in_row = rows_of(one, top, below)
                if (place, some) not in made:
                    made[place, some] = each.tasks(some, shares)
                in_row += 0 if adds else phase_parts(plan)[place].rows.start
                found.append(Band(made[place, some], in_row, top, below - top))
            edges.append(last)
        first_bands.append(len(edges) - 1)
    terms = _tap_terms(plan) if adds else _phase_terms(plan)
    return Cut(
        parts=_tap_parts(plan) if adds else _phase_parts(plan),
        rows=edges,
        most_rows=rows + more,
        bands=found,
        first_bands=first_bands,
        first_channels=first_channels,
        terms=[term for phase in terms for term in phase],
        first_terms=[0, *accumulate(map(len, terms))],
        adds=adds,
    )


def _first_channels(plan: TransposedPlan, plans: Sequence[ConvPlan], pieces: Sequence[Pieces], most: int) -> list[int]:
    """The first output channel of each of up to ``most`` shares, and the end.

    Of weights that do not stay in the cache each thread then reads its own, and not all. One share if they stay, or if
    the parts' blocks are not of the same channels of the output.
    """
    whole = [0, plan.out_channels]
    if all(each.weights_stay for each in pieces):
        return whole
    for shares in range(min(most, *(len(each.blocks) for each in pieces)), 1, -1):
        ways = set()
        for part, each in zip(plans, pieces, strict=True):
            firsts = (each.blocks[len(each.blocks) * share // shares] for share in range(shares))
            ways.add(tuple(first * plan.out_channels / part.out_channels for first in firsts))
        edges, *others = ways
        if not others and all(edge == int(edge) for edge in edges):
            return [*map(int, edges), plan.out_channels]
    return whole


def _tap_parts(plan: TransposedPlan) -> list[Part]:
    return [Part(plan.kernel[0] * plan.kernel[1], plan.in_size[1], 0)]


def _phase_parts(plan: TransposedPlan) -> list[Part]:
    return [Part(len(part.starts), part.plan.out_size[1], part.columns.start) for part in phase_parts(plan)]


def _tap_terms(plan: TransposedPlan) -> list[list[Term]]:
    return [[Term(0, *reach) for reach in reaches] for reaches in taps_part(plan).reaches]


def _phase_terms(plan: TransposedPlan) -> list[list[Term]]:
    """One for each row and column of a step of the output, or none."""
    places = {
        start: Term(number, place, 0, 0)
        for number, part in enumerate(phase_parts(plan))
        for place, start in enumerate(part.starts)
    }
    steps = np.ndindex(*plan.stride)
    return [[places[start]] if start in places else [] for start in steps]


@lru_cache(maxsize=256)
def _tasks(
    plan: TransposedPlan, how: tuple[tuple[ModuleType, Any], ...], level: int, count: int
) -> core.TransposedTasks:
    """``how``: of each part the implementation, and the tiling that its weights were packed for."""
    return core.TransposedTasks(level, is_double_plan(plan), count, plan, _cut(plan, how, level, count))


def work(plan: TransposedPlan, prepared: Prepared) -> core.TransposedWork | conv_core.ConvWork | None:
    """What runs the plan as one, or band by band; None where that cannot be."""
    if _by_taps(plan, isa.current()) is not None and [each.implementation for each in prepared.parts] == [direct]:
        one = pixel_blocks.work(plan, prepared.parts[0].weights, threads_for(plan))
        if one is not None:
            return one
    if prepared.weight is not None or not prepared.parts or plan.stride[1] > core.MOST_COLUMNS:
        return None
    plans = _prepared_plans(plan, [each.implementation for each in prepared.parts])
    if plan.stride == (1, 1) or any(sees_padding_alone(each) for each in plans):
        return None  # where nothing is put together, the convolution writes the result
    if not all(hasattr(each.implementation, "pieces") for each in prepared.parts):
        return None
    weights = [each.weights for each in prepared.parts]
    how = tuple((each.implementation, getattr(each.weights, "tiling", None)) for each in prepared.parts)
    slowness = max(slowness_of(each.implementation, part) for each, part in zip(prepared.parts, plans, strict=True))
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
    """Run the convolutions, and put their results together."""
    ready = work(plan, prepared)
    if ready is None:
        return _by_parts(plan, x, prepared, out)
    x = native(x, plan.dtype)

    def fill(result: np.ndarray) -> None:
        broken = ready.run_arrays(x, result)
        if broken is not None:
            one = replace(plan, batch=1)
            for image in broken:  # each convolution by itself sees to results that are not finite
                _by_parts(one, x[image : image + 1], prepared, result[image : image + 1])

    return into(out, plan.out_shape, plan.dtype, fill)


def _by_parts(plan: TransposedPlan, x: np.ndarray, prepared: Prepared, out: np.ndarray | None) -> np.ndarray:
    """The convolutions one after the other."""
    parts = phase_parts(plan)
    result = memory.empty(plan.out_shape, plan.dtype) if out is None else out
    if prepared.weight is not None:
        result[...] = _tap_by_tap(plan, x, prepared.weight, prepared.bias)
        return result
    x = native(x, plan.dtype)
    reached = sum(len(part.starts) * part.plan.out_size[0] * part.plan.out_size[1] for part in parts)
    if reached < plan.out_size[0] * plan.out_size[1]:
        result[...] = 0 if prepared.bias is None else prepared.bias[:, None, None]
    for part, one, weights in zip(parts, _phase_plans(plan), prepared.parts, strict=True):
        source = x[:, :, part.rows, part.columns]
        if plan.stride == (1, 1):
            widened.run(part.plan, one, source, weights, result)
            continue
        for sums, (row, column) in _phases(plan, part, widened.run(part.plan, one, source, weights, None)):
            result[:, :, row :: plan.stride[0], column :: plan.stride[1]] = sums
    return result


def _phases(plan: TransposedPlan, part: PhasePart, sums: np.ndarray) -> Iterator[tuple[np.ndarray, Pair]]:
    """The results of a convolution phase by phase, each (N, out_channels, height, width), and where they belong."""
    per_out = plan.out_channels // plan.groups
    split = sums.reshape(plan.batch, plan.groups, per_out, len(part.starts), *part.plan.out_size)
    for place, start in enumerate(part.starts):
        yield split[:, :, :, place].reshape(plan.batch, plan.out_channels, *part.plan.out_size), start


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
