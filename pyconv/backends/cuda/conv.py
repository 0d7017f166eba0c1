"""Convolution: the ordered list of implementations. The first that does not refuse a plan runs it.

An implementation is a module with ``label(plan)``, ``refusal(plan)``, ``packing(plan)``, ``launch(plan, epilogue)``
and ``arguments(plan, x, addresses, epilogue)``; :mod:`tensor` and :mod:`wgmma`, which may take two launches, have
``run`` in place of the last, and ``writes``. Those that can pool what they compute have ``pooling_refusal(plan)``.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from types import ModuleType
from typing import Any

from ...plan import ConvPlan
from . import depthwise, gemm, pointwise, tensor, wgmma
from .activation import NONE, Epilogue
from .dense import Addresses
from .kept import Kept, keep
from .memory import given_back
from .weights import pack

__all__ = ["IMPLEMENTATIONS", "implementations", "pooling_refusal", "prepare", "prepare_key", "run"]

IMPLEMENTATIONS = (depthwise, wgmma, tensor, pointwise, gemm)

_MISSING = {
    wgmma: "it is for devices of compute capability 9.0, where PYCONV_CUDA_WGMMA=on asks for it",
    tensor: "a device has no tensor cores of compute capability 8.0 or above",
}
_NEEDED = {wgmma: 9, tensor: 8}
"""The tensor cores that an implementation needs, and the words where they are not there."""


def _algorithm(plan: ConvPlan) -> str | None:
    if plan.algorithm not in ("auto", "direct", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    return None


def _refusal(each: ModuleType, plan: ConvPlan, tensor_cores: int) -> str | None:
    return _MISSING[each] if tensor_cores < _NEEDED.get(each, 0) else each.refusal(plan)


def implementations(
    plan: ConvPlan, tensor_cores: int, pooled: bool = False, without_wgmma: str | None = None
) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried.

    ``tensor_cores``: of which generation all devices have them and may use them, 0, 8 or 9. Nothing else is asked of a
    device, so that results are the same on all that have them. ``pooled``: they have to pool what they compute.
    ``without_wgmma``: why its kernels cannot be used, if that is why they are not.
    """
    found = []
    for each in IMPLEMENTATIONS:
        reason = _algorithm(plan) or _refusal(each, plan, tensor_cores)
        if each is wgmma and reason == _MISSING[wgmma] and without_wgmma is not None:
            reason = f"its kernels cannot be used here: {without_wgmma}"
        found.append((each.label(plan), reason or (_unpooled(each, plan) if pooled else None)))
    return found


def _unpooled(each: ModuleType, plan: ConvPlan) -> str | None:
    """The reason why an implementation that takes the plan cannot pool what it computes, or None."""
    return each.pooling_refusal(plan) if hasattr(each, "pooling_refusal") else "it does not pool"


@lru_cache(maxsize=1024)
def _chosen(plan: ConvPlan, tensor_cores: int) -> ModuleType:
    return next(each for each in IMPLEMENTATIONS if _refusal(each, plan, tensor_cores) is None)


def _pooling(plan: ConvPlan, tensor_cores: int) -> ModuleType:
    """What convolves where the result is pooled: of those that take the same weights."""
    chosen = _chosen(plan, tensor_cores)
    return gemm if chosen is pointwise else chosen


def pooling_refusal(plan: ConvPlan, tensor_cores: int) -> str | None:
    """None if the convolution can write the maxima of 2x2 windows, else the reason why not."""
    chosen = _pooling(plan, tensor_cores)
    reason = _unpooled(chosen, plan)
    return reason and f"{chosen.label(plan)}: {reason}"


def prepare_key(plan: ConvPlan, tensor_cores: int) -> Hashable:
    """Plans with equal keys share packed weights."""
    return _chosen(plan, tensor_cores).packing(plan), plan.dtype, plan.has_bias


def prepare(room: Any, plan: ConvPlan, weight: Any, bias: Any) -> Kept:
    """Pack the weights."""
    packing = _chosen(plan, room.tensor_cores()).packing(plan)
    once = not plan.keeps_weights
    return keep(room, plan.op, None, weight, bias, lambda source: pack(room, packing, plan.dtype, source), once)


def run(
    room: Any, plan: ConvPlan, x: Any, prepared: Kept, out: Any, epilogue: Epilogue = NONE, residual: Any = None
) -> Any:
    """Convolve ``x``, which lies on the current device, into ``out`` or a new array.

    ``epilogue`` is applied to the sums before they are written, after ``residual``, of the result's shape, is added.
    """
    choose = _pooling if epilogue.pooled else _chosen
    chosen = choose(plan, room.tensor_cores())
    weights = prepared.on(room.current_device())
    x = room.readable(x)
    writable = room.writable(out) or (hasattr(chosen, "writes") and chosen.writes(room, plan, out))
    if residual is not None:
        epilogue, residual = epilogue._replace(residual=True), room.readable(residual)
        writable = writable and residual.strides == out.strides
    result = out if writable else room.empty((*plan.out_shape[:2], *epilogue.out_size(plan)), x.dtype)
    if residual is not None and residual.strides != result.strides:  # kernels find it where they write
        moved = room.empty(plan.out_shape, x.dtype)
        room.assign(moved, residual)
        residual = moved
    bias = 0 if weights.bias is None else room.address(weights.bias)
    at = Addresses(room.address(x), room.address(weights.weights), bias, room.address(result))
    if residual is not None:
        at = at._replace(residual=room.address(residual))
    if hasattr(chosen, "run"):
        chosen.run(room, plan, x, at, result, epilogue)
    else:
        room.launch(chosen.launch(plan, epilogue), chosen.arguments(plan, x, at, epilogue))
    return given_back(room, result, out)
