"""Calls that come again: what the compiled core needs to know them, and to run them straight away."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._core import calls, chains
from ...plan import AxisPlan, ConvPlan, ElementwisePlan, FoldPlan, FusedPlan, Plan, PoolPlan, TransposedPlan, UnpoolPlan
from . import conv, elementwise, fused, isa, norm, pool, threads, transposed

__all__ = ["KnownCalls"]


def _work(plan: Plan, prepared: Any, x: np.ndarray, result: np.ndarray) -> calls.Work | None:
    if isinstance(plan, ConvPlan):
        return conv.work(plan, prepared)
    if isinstance(plan, FusedPlan):
        return fused.work(plan, prepared)
    if isinstance(plan, TransposedPlan):
        return transposed.work(plan, prepared)
    if isinstance(plan, FoldPlan):
        return None
    if isinstance(plan, ElementwisePlan) and plan.op == "batch_norm":
        return norm.work(plan, prepared, x, result)
    if isinstance(plan, PoolPlan | UnpoolPlan):
        return pool.work(plan, result)
    return elementwise.work(plan, prepared, x, result)


class KnownCalls(chains.ChainTable):
    """The calls that a function or a layer has met lately."""

    def note(
        self,
        plan: Plan,
        prepared: Any,
        input: Any,
        x: Any,
        weight: Any,
        bias: Any,
        result: Any,
        parameters: tuple[Any, ...],
        own_weights: bool,
        settings: Any,
    ) -> None:
        """Know a call from now on; see :class:`pyconv.registry.Backend`."""
        # read before the work is made from them, so that a change meanwhile is seen
        mine = ((isa.__dict__, "_current", isa.current()), (threads.__dict__, "_wanted", threads.wanted()))
        limits = threads.limits()
        work = _work(plan, prepared, x, result)
        if work is None:
            return
        work.bind_threads(*limits)
        in_place = isinstance(plan, ElementwisePlan) or (isinstance(plan, AxisPlan) and plan.op != "glu")
        in_place = in_place and not elementwise.gathers(work)
        in_any_order = isinstance(plan, ElementwisePlan | AxisPlan | PoolPlan)
        compares = weight is not None and not own_weights
        places = (*settings.places, *mine)
        self.add(
            work,
            input,
            x,
            weight,
            bias,
            result,
            in_place,
            in_any_order,
            compares,
            parameters,
            settings.variable,
            settings.value,
            places,
        )
