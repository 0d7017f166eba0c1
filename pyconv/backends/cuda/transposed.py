"""Transposed convolution: by phases, or where these would not be right a thread an output."""

from __future__ import annotations

from typing import Any

from ...plan import TransposedPlan
from . import gather, phases

__all__ = ["implementations", "prepare", "run"]


def implementations(plan: TransposedPlan, tensor_cores: int) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried.

    The first one is also left out for weights that are not finite, or may not be; see :func:`phases.prepare`.
    """
    named = None if plan.algorithm in ("auto", "direct", "measure") else f"algorithm={plan.algorithm!r} was asked for"
    return [
        (phases.label(plan, tensor_cores), named or phases.refusal(plan, tensor_cores)),
        (gather.label(plan), named or gather.refusal(plan)),
    ]


def prepare(room: Any, plan: TransposedPlan, weight: Any, bias: Any) -> Any:
    """Weights of the phases, or copies of weights and bias."""
    if phases.refusal(plan, room.tensor_cores()) is None and phases.suits(plan, weight):
        return phases.prepare(room, plan, weight, bias)
    return gather.prepare(room, plan, weight, bias)


def run(room: Any, plan: TransposedPlan, x: Any, prepared: Any, out: Any) -> Any:
    """Run the plan on ``x``, which lies on the current device."""
    chosen = phases if isinstance(prepared, phases.Phases) else gather
    return chosen.run(room, plan, x, prepared, out)
