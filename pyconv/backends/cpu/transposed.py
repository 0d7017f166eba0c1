"""Transposed convolution: convolutions of stride 1, whose results are interleaved."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple

import numpy as np

from ...plan import Cost, Pair, PhasePart, TransposedPlan, phase_parts
from . import conv
from .arrays import native

__all__ = ["Prepared", "costs", "implementations", "prepare", "prepare_key", "run"]


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


def run(plan: TransposedPlan, x: np.ndarray, prepared: Prepared, out: np.ndarray | None) -> np.ndarray:
    """Run the convolutions one after the other, and interleave their results."""
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
