"""Convolution: the ordered list of implementations. The first that does not refuse a plan runs it.

An implementation is a module with ``label(plan)``, ``refusal(plan)``, ``prepare_key(plan)``,
``prepare(plan, weight, bias)``, ``run(plan, x, prepared, out)`` and ``work(plan, prepared)``. Which one runs never
depends on the number of threads or the size of the batch: so the bits of an image's result do not either.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..._core import calls
from ...plan import ConvPlan
from . import channels, depthwise, direct, isa, winograd
from .arrays import native

__all__ = ["implementations", "prepare", "prepare_key", "run", "work"]

_IMPLEMENTATIONS = (depthwise, winograd, channels, direct)


class Prepared(NamedTuple):
    """Weights as an implementation wants them."""

    implementation: ModuleType
    weights: Any


def implementations(plan: ConvPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    return [(each.label(plan), each.refusal(plan)) for each in _IMPLEMENTATIONS]


@lru_cache(maxsize=1024)
def _chosen(plan: ConvPlan, level: int) -> ModuleType:
    return next(each for each in _IMPLEMENTATIONS if each.refusal(plan) is None)


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share prepared weights."""
    chosen = _chosen(plan, isa.current())
    return chosen.__name__, chosen.prepare_key(plan)


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Prepared:
    """Pack or transform the weights."""
    chosen = _chosen(plan, isa.current())
    weights = chosen.prepare(plan, weight, bias)
    if weights is None:  # not with these numbers
        chosen, weights = direct, direct.prepare(plan, weight, bias)
    return Prepared(chosen, weights)


def run(plan: ConvPlan, x: np.ndarray, prepared: Prepared, out: np.ndarray | None) -> np.ndarray:
    """Run the plan on the implementation that its weights were prepared for."""
    return prepared.implementation.run(plan, native(x, plan.dtype), prepared.weights, out)


def work(plan: ConvPlan, prepared: Prepared) -> calls.Work:
    """What runs the plan, for calls that come again."""
    return prepared.implementation.work(plan, prepared.weights)
