"""Pooling by windows: the ordered list of implementations. The first that does not refuse a plan runs it.

An implementation is a module with ``label(plan)``, ``refusal(plan)``, ``launch(plan)`` and
``arguments(plan, x, out, indices, addresses)``. All but the first write a result that lies in any order.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ...plan import PoolPlan
from . import channel_pool, max_pool, row_pool, sum_pool
from .memory import given_back

__all__ = ["IMPLEMENTATIONS", "OPERATIONS", "Addresses", "implementations", "run"]

IMPLEMENTATIONS = (row_pool, channel_pool, max_pool, sum_pool)
OPERATIONS = (*max_pool.OPERATIONS, *sum_pool.OPERATIONS)


class Addresses(NamedTuple):
    """Where the arrays of one call lie; ``indices`` is 0 if there are none."""

    x: int
    out: int
    indices: int


def implementations(plan: PoolPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    return [(each.label(plan), each.refusal(plan)) for each in IMPLEMENTATIONS]


@lru_cache(maxsize=1024)
def _chosen(plan: PoolPlan) -> ModuleType:
    return next(each for each in IMPLEMENTATIONS if each.refusal(plan) is None)


def run(room: Any, plan: PoolPlan, x: Any, prepared: Any, out: Any) -> Any:
    """Pool ``x``, which lies on the current device; (values, indices) if the plan asks for indices."""
    chosen = _chosen(plan)
    x = room.readable(x)
    order = plan.out_order if plan.layout == "nhwc" else None
    writable = room.writable(out) or (chosen is not row_pool and out is not None and room.readable(out) is out)
    result = out if writable else room.empty(plan.out_shape, x.dtype, order)
    indices = room.empty(plan.out_shape, np.dtype(np.int64), order) if plan.return_indices else None
    at = Addresses(room.address(x), room.address(result), 0 if indices is None else room.address(indices))
    room.launch(chosen.launch(plan), chosen.arguments(plan, x, result, indices, at))
    result = given_back(room, result, out)
    return result if indices is None else (result, indices)
