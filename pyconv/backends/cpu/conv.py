"""Convolution: the ordered list of implementations, packed weights, and the run."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..._core import conv, runtime
from ...plan import ConvPlan
from . import isa, threads
from .arrays import into, native
from .bands import LARGEST_BAND, SERIAL_FLOPS, Bands, bands, choose_tile

__all__ = ["implementations", "prepare", "prepare_key", "run"]


class Prepared(NamedTuple):
    """Weights packed for one instruction set: [group][tile][tap][channel of the tile]; biases padded likewise."""

    isa: int
    weights: np.ndarray
    bias: np.ndarray


def _is_double(plan: ConvPlan) -> bool:
    return plan.dtype == "float64"


def _useful_threads(plan: ConvPlan) -> int:
    return threads.count() if plan.flops >= SERIAL_FLOPS else 1


@lru_cache(maxsize=256)
def _cut(plan: ConvPlan, level: int, count: int) -> Bands:
    return bands(plan, runtime.tile_sizes(level, _is_double(plan)), np.dtype(plan.dtype).itemsize, count)


@lru_cache(maxsize=256)
def _tasks(plan: ConvPlan, level: int, count: int) -> conv.ConvTasks:
    return conv.ConvTasks(level, _is_double(plan), count, _cut(plan, level, count))


def _direct(plan: ConvPlan) -> str | None:
    cut = _cut(plan, isa.current(), 1)
    if cut.scratch > LARGEST_BAND:
        return (
            f"the input of a single row of output needs {cut.scratch:,} packed elements, more than the "
            f"{LARGEST_BAND:,} that it may take (stride, dilation and channels are too large together)"
        )
    return None


def implementations(plan: ConvPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    tile = choose_tile(plan.out_channels // plan.groups, runtime.tile_sizes(isa.current(), _is_double(plan)))
    return [(f"direct_{tile.channels}x{tile.pixels}_{isa.name()}", _direct(plan))]


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share packed weights: those depend on the tile only."""
    return isa.current()


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Prepared:
    """Pack the weights in the order in which the tile reads them, the last tile filled up with zeros."""
    level, groups = isa.current(), plan.groups
    per_out = plan.out_channels // groups
    tile = choose_tile(per_out, runtime.tile_sizes(level, _is_double(plan)))
    taps = plan.in_channels // groups * plan.kernel[0] * plan.kernel[1]
    rows = np.asarray(weight, dtype=plan.dtype).reshape(groups, per_out, taps)
    split = tile.full * tile.channels
    full = rows[:, :split].reshape(groups, tile.full, tile.channels, taps).transpose(0, 1, 3, 2)
    packed = np.zeros((groups, (split + tile.last) * taps), plan.dtype)
    packed[:, : split * taps] = full.reshape(groups, -1)
    if tile.last:
        last = packed[:, split * taps :].reshape(groups, taps, tile.last)
        last[:, :, : per_out - split] = rows[:, split:].transpose(0, 2, 1)
    biases = np.zeros((groups, split + tile.last), plan.dtype)
    if bias is not None:
        biases[:, :per_out] = np.asarray(bias, dtype=plan.dtype).reshape(groups, per_out)
    return Prepared(level, packed, biases)


def run(plan: ConvPlan, x: np.ndarray, prepared: Any, out: np.ndarray | None) -> np.ndarray:
    """Run the plan with packed weights, on the instruction set they were packed for."""
    x = native(x, plan.dtype)
    tasks = _tasks(plan, prepared.isa, _useful_threads(plan))
    if out is not None and out.flags.aligned and out.strides[3] == out.itemsize:  # rows may be anywhere
        conv.run(tasks, x, prepared.weights, prepared.bias, out)
        return out
    return into(
        out, plan.out_shape, plan.dtype, lambda result: conv.run(tasks, x, prepared.weights, prepared.bias, result)
    )
