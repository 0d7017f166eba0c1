"""Convolution: the ordered list of implementations. The first that does not refuse a plan runs it.

An implementation is a module with ``label(plan)``, ``refusal(plan)``, ``packing(plan)``, ``launch(plan, epilogue)``
and ``arguments(plan, x, addresses, epilogue)``.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from types import ModuleType
from typing import Any

from ...plan import ConvPlan
from . import depthwise, gemm, pointwise
from .activation import NONE, Epilogue
from .dense import Addresses
from .kept import Kept, keep
from .weights import pack

__all__ = ["IMPLEMENTATIONS", "implementations", "prepare", "prepare_key", "run"]

IMPLEMENTATIONS = (depthwise, pointwise, gemm)


def _algorithm(plan: ConvPlan) -> str | None:
    if plan.algorithm not in ("auto", "direct", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    return None


def implementations(plan: ConvPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    return [(each.label(plan), _algorithm(plan) or each.refusal(plan)) for each in IMPLEMENTATIONS]


@lru_cache(maxsize=1024)
def _chosen(plan: ConvPlan) -> ModuleType:
    return next(each for each in IMPLEMENTATIONS if each.refusal(plan) is None)


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share packed weights."""
    return _chosen(plan).packing(plan), plan.dtype, plan.has_bias


def prepare(room: Any, plan: ConvPlan, weight: Any, bias: Any) -> Kept:
    """Pack the weights."""
    packing = _chosen(plan).packing(plan)
    once = not plan.keeps_weights
    return keep(room, plan.op, None, weight, bias, lambda source: pack(room, packing, plan.dtype, source), once)


def run(room: Any, plan: ConvPlan, x: Any, prepared: Kept, out: Any, epilogue: Epilogue = NONE) -> Any:
    """Convolve ``x``, which lies on the current device, into ``out`` or a new array.

    ``epilogue`` is applied to the sums before they are written.
    """
    chosen = _chosen(plan)
    weights = prepared.on(room.current_device())
    launch = chosen.launch(plan, epilogue)
    x = room.readable(x)
    result = out if room.writable(out) else room.empty(plan.out_shape, x.dtype)
    bias = 0 if weights.bias is None else room.address(weights.bias)
    at = Addresses(room.address(x), room.address(weights.weights), bias, room.address(result))
    room.launch(launch, chosen.arguments(plan, x, at, epilogue))
    if out is None or result is out:
        return result
    room.assign(out, result)
    return out
