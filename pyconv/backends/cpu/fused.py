"""Fused plans: a convolution whose results are finished and pooled while they are near.

That is in the registers, see pooled.py, or in the cache: the convolution is cut into bands of rows, each of which is
activated and pooled before the next one.

Every kernel of the convolution can take part in that which computes some rows of an image with the bits of the whole
image's: one whose module has ``pieces``. What is between the parts is a few rows in the scratch memory of a thread.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from math import gcd
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..._core import conv as conv_core
from ..._core import fused
from ...plan import ConvPlan, Cost, FusedPlan, Pair, span, traffic
from . import conv, elementwise, isa, pool, pooled
from .arrays import into, into_rows, native
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
    shares,
    slowness_of,
    threads_for,
)

__all__ = [
    "Cut",
    "cut",
    "implementations",
    "of_convolution",
    "prepare",
    "prepare_key",
    "refusal",
    "run",
    "uncut",
    "work",
]

_REGISTERS, _BANDS, _PARTS = "+registers", "+bands", "+parts"
"""What follows the names of the convolution's implementations: how the rest is done."""

_LARGEST_WINDOW = 3

_ROOM = WORKING_SET // 4
"""Bytes of a band's results, where more bands cost nothing: the convolution works on the rest of the cache."""


class Window(NamedTuple):
    """The rows of a pooling; without one, each row of the convolution's output by itself."""

    span: int = 1
    stride: int = 1
    above: int = 0
    rows: int = 0
    """Of the output."""


class Band(NamedTuple):
    """Rows that are computed together; names as in the C struct Band."""

    tasks: conv_core.ConvTasks
    in_row: int
    row: int
    rows: int
    held: int
    held_from: int
    pooled: Pair


class Cut(NamedTuple):
    """How a fused plan is cut: the strips of an image, the bands of each, the shares of the output channels."""

    bands: list[Band]
    first_bands: list[int]
    """Of each strip, and the end."""
    first_channels: list[int]
    """Of each share, and the end."""
    buffer_rows: int
    buffer_channels: int


def refusal(plan: FusedPlan) -> str | None:
    """None if the plan can be run, else the reason why not. With a residual, its parts are run if need be."""
    return None if plan.has_residual or pooled.refusal(plan) is None else uncut(plan)


def uncut(plan: FusedPlan) -> str | None:
    """None if the plan can be run band by band, else the reason why not."""
    one = plan.conv
    chosen = conv.chosen(one, isa.current())
    if not hasattr(chosen, "pieces"):
        return f"{chosen.label(one)} computes no rows by themselves"
    if sees_padding_alone(one):
        return "some rows of the convolution's output see nothing but padding"
    if plan.activation is not None and (reason := elementwise.by_rows(plan.activation)) is not None:
        return reason
    if plan.pool is None:
        return None
    if plan.pool.op not in ("max_pool2d", "avg_pool2d") or plan.pool.return_indices:
        return "the pooling gives more than maxima or averages"
    if max(plan.pool.kernel) > _LARGEST_WINDOW or plan.pool.dilation != (1, 1):
        return f"the pooling's windows are larger than {_LARGEST_WINDOW}x{_LARGEST_WINDOW}, or have gaps"
    return pool.by_rows(plan.pool)


def implementations(plan: FusedPlan, weight: np.ndarray | None = None) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing): the convolution's own, followed by what is done with its bands."""
    own = conv.implementations(plan.conv, weight)
    in_registers = pooled.refusal(plan)
    if in_registers is None and own[0][1] is None:
        in_registers = "kernels that are a column times a row are taken apart"
    first = [(f"{pooled.label(plan)}{_REGISTERS}", in_registers)]
    reason = refusal(plan)
    suffix = _BANDS if reason is not None or uncut(plan) is None else _PARTS
    return first + [(f"{name}{suffix}", refused or reason) for name, refused in own]


def costs(plan: FusedPlan) -> dict[str, Cost]:
    """What the implementations that take the convolution expect to need, by name.

    Time and arithmetic are the convolution's alone, bytes those of the group's arrays.
    """
    reason, between = refusal(plan), traffic(plan).total - traffic(plan.conv).total
    if reason is not None:
        return {}
    found, own = {}, conv.costs(plan.conv)
    for name, cost in own.items():
        if uncut(plan) is None and cost.bytes is not None:
            found[f"{name}{_BANDS}"] = cost._replace(bytes=cost.bytes + between, workspace=None)
        else:
            found[f"{name}{_PARTS}"] = cost._replace(bytes=None, workspace=None)
    if pooled.refusal(plan) is None:
        alone = own.get(pooled.implementation(plan).label(plan.conv), Cost())
        found[f"{pooled.label(plan)}{_REGISTERS}"] = alone._replace(bytes=alone.bytes and alone.bytes + between)
    return found


def of_convolution(implementation: str) -> str:
    """The name of the convolution's own implementation."""
    return implementation.removesuffix(_REGISTERS).removesuffix(_BANDS).removesuffix(_PARTS)


def prepare_key(plan: FusedPlan) -> Hashable:
    """Plans with equal keys share prepared weights, also with a convolution alone."""
    return conv.prepare_key(plan.conv) if pooled.refusal(plan) is not None else pooled.prepare_key(plan)


def prepare(plan: FusedPlan, weight: np.ndarray, bias: np.ndarray | None) -> conv.Prepared:
    """The convolution's weights."""
    if pooled.refusal(plan) is not None:
        return conv.prepare(plan.conv, weight, bias)
    return pooled.prepare(plan, weight, bias)


def _in_registers(plan: FusedPlan, prepared: conv.Prepared) -> bool:
    """Whether it is pooled in registers: where these weights could be prepared for it."""
    return pooled.refusal(plan) is None and prepared.implementation is pooled.implementation(plan)


def _window(plan: FusedPlan) -> Window:
    if plan.pool is None:
        return Window(rows=plan.conv.out_size[0])
    found = plan.pool
    return Window(span(found.kernel[0], found.dilation[0]), found.stride[0], found.padding[0][0], found.out_size[0])


def cut(plan: FusedPlan, pieces: Pieces, count: int) -> Cut:
    """Cut ``plan`` into strips, bands and shares for ``count`` threads; the result does not depend on how."""
    one, window, step = plan.conv, _window(plan), pieces.step
    images, height = max(one.batch, 1), one.out_size[0]
    row_bytes = one.out_channels * one.out_size[1] * (8 if is_double_plan(one) else 4)
    share = 1
    if not pieces.weights_stay:
        share = pieces.shares(count) if pieces.shares else shares(images, len(pieces.blocks), count)
    rows = max(_ROOM // row_bytes, pieces.least) if pieces.weights_stay else pieces.rows
    rows = even(height, rows, step)
    # Strips begin anew: rows that windows of two strips need are computed twice.
    each = 4 if pieces.weights_stay and window.span <= window.stride else 1
    strips = min(ceil_div(each * count, images * share), ceil_div(height, rows)) if count > 1 else 1
    if images * share * strips < count:
        share = min(len(pieces.blocks), ceil_div(count, images * strips))

    made: dict[ConvPlan, conv_core.ConvTasks] = {}
    bands: list[Band] = []
    first_bands = [0]
    pooled, whole = ceil_div(window.rows, strips), step // gcd(step, window.stride)
    if pooled > step or plan.pool is None:  # without windows, no row is computed twice: it may be added to in place
        pooled = ceil_div(pooled, whole) * whole
    for first in range(0, window.rows, pooled):
        bands += _strip(plan.conv, window, pieces, rows, share, (first, min(first + pooled, window.rows)), made)
        first_bands.append(len(bands))
    edges = [pieces.blocks[len(pieces.blocks) * place // share] for place in range(share)]
    first_channels = [*edges, one.out_channels]
    most = max(b - a for a, b in pairwise(first_channels))
    return Cut(bands, first_bands, first_channels, max(band.held + band.rows for band in bands), most)


def _strip(
    plan: ConvPlan,
    window: Window,
    pieces: Pieces,
    rows: int,
    share: int,
    pooled: Pair,
    made: dict[ConvPlan, conv_core.ConvTasks],
) -> list[Band]:
    """The bands of a strip with the results ``pooled``, from top to bottom."""
    height, step = plan.out_size[0], pieces.step
    next_pooled, end_pooled = pooled
    top = max(next_pooled * window.stride - window.above, 0) // step * step
    bottom = min((end_pooled - 1) * window.stride - window.above + window.span, height)
    if pieces.may_break:  # then rows that no window sees, too: the separate calls see what is not finite there
        bottom = height if end_pooled == window.rows else max(bottom, end_pooled * window.stride - window.above)
    bottom = min(ceil_div(bottom, step) * step, height)
    bands, origin = [], top
    for first in range(top, bottom, rows):
        end = min(first + rows, bottom)
        needed = max(next_pooled * window.stride - window.above, top)
        held = max(first - needed, 0)
        whole = (end + window.above - window.span) // window.stride + 1  # windows that end above row ``end``
        ready = end_pooled if end == bottom else min(max(whole, next_pooled), end_pooled)
        part, in_row = rows_of(plan, first, end)
        if part not in made:
            made[part] = pieces.tasks(part, share)
        held_from = needed - origin if held else 0
        bands.append(Band(made[part], in_row, first, end - first, held, held_from, (next_pooled, ready)))
        origin, next_pooled = first - held, ready
    return bands


@lru_cache(maxsize=256)
def _tasks(plan: FusedPlan, implementation: ModuleType, level: int, tiling: Any, count: int) -> fused.FusedTasks:
    pieces = pieces_of(implementation, plan.conv, level, tiling)
    if pieces.relu_tasks and plan.activation is not None and plan.activation.op == "relu" and not plan.has_residual:
        plan, pieces = replace(plan, activation=None), pieces._replace(tasks=pieces.relu_tasks)
    pooling = None if plan.pool is None else pool.rows_tasks(plan.pool, level)
    return fused.FusedTasks(level, is_double_plan(plan.conv), count, plan, cut(plan, pieces, count), pooling)


def work(plan: FusedPlan, prepared: conv.Prepared) -> fused.FusedWork | conv_core.ConvWork | None:
    """What runs the plan, for calls that come again; None where its parts are run one after the other."""
    if _in_registers(plan, prepared):
        weights = prepared.weights
        tasks = pooled.tasks(plan, weights.isa)
        return conv_core.ConvWork(tasks, weights.weights, weights.bias, plan.flops < BRIEF_FLOPS)
    return _work(plan, prepared) if uncut(plan) is None else None


def _work(plan: FusedPlan, prepared: conv.Prepared) -> fused.FusedWork:
    """What runs the plan band by band; images whose results are not all finite are left to ``run``."""
    implementation, weights = prepared
    slowness = slowness_of(implementation, plan.conv)
    count, tiling = threads_for(plan.conv, slowness), getattr(weights, "tiling", None)
    tasks = _tasks(plan, implementation, weights.isa, tiling, count)
    return fused.FusedWork(tasks, weights.weights, weights.bias, slowness * plan.flops < BRIEF_FLOPS)


def run(plan: FusedPlan, x: Any, prepared: conv.Prepared, out: np.ndarray | None) -> np.ndarray:
    """Run the plan; ``x`` is a pair with the residual where it has one."""
    x, added = x if plan.has_residual else (x, None)
    x = native(x, plan.dtype)
    if _in_registers(plan, prepared):
        return _run_in_registers(plan, x, prepared, out)
    if added is not None:
        added = np.ascontiguousarray(native(added, plan.dtype))

    def fill(result: np.ndarray) -> None:
        if uncut(plan) is not None:
            result[...] = _by_parts(plan, x, prepared, added)
            return
        ready = _work(plan, prepared)
        residual = added
        if ready.may_break and residual is not None and np.may_share_memory(result, residual):
            residual = residual.copy()  # it may be needed once more
        broken = ready.run_arrays(x, residual, result)
        _mend(plan, x, prepared, residual, broken, result)

    return into(out, plan.out_shape, plan.dtype, fill)


def _run_in_registers(plan: FusedPlan, x: np.ndarray, prepared: conv.Prepared, out: np.ndarray | None) -> np.ndarray:
    weights = prepared.weights

    def fill(result: np.ndarray) -> None:
        broken = conv_core.run(pooled.tasks(plan, weights.isa), x, weights.weights, weights.bias, result)
        _mend(plan, x, prepared, None, broken, result)

    return into_rows(out, plan.out_shape, plan.dtype, fill)


def _mend(
    plan: FusedPlan,
    x: np.ndarray,
    prepared: conv.Prepared,
    residual: np.ndarray | None,
    broken: np.ndarray | None,
    result: np.ndarray,
) -> None:
    """Compute the images whose results are not all finite once more, part by part."""
    for image in () if broken is None else broken:
        one = slice(image, image + 1)
        result[one] = _by_parts(_one_image(plan), x[one], prepared, None if residual is None else residual[one])


def _one_image(plan: FusedPlan) -> FusedPlan:
    activation = plan.activation and replace(plan.activation, out_shape=(1, *plan.activation.out_shape[1:]))
    pooling = plan.pool and replace(plan.pool, batch=1)
    return replace(plan, conv=replace(plan.conv, batch=1), activation=activation, pool=pooling)


def _by_parts(plan: FusedPlan, x: np.ndarray, prepared: conv.Prepared, residual: np.ndarray | None) -> np.ndarray:
    """The parts one after the other."""
    result = conv.run(plan.conv, x, prepared, None)
    if residual is not None:
        np.add(result, residual, out=result)
    if plan.activation is not None:
        elementwise.run(plan.activation, result, None, result)
    return result if plan.pool is None else pool.run(plan.pool, result, None, None)
