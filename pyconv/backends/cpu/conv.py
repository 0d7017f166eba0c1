"""Convolution: the ordered list of implementations. The first that does not refuse a plan runs it.

An implementation is a module with ``label(plan)``, ``refusal(plan)``, ``prepare_key(plan)``,
``prepare(plan, weight, bias)``, ``run(plan, x, prepared, out)`` and ``work(plan, prepared)``; ``cost(plan)`` for those
it takes, if it can tell. Which one runs never depends on the number of threads or the size of the batch: so the bits of
an image's result do not either - but for algorithm="measure", where the quickest of those that take the plan runs.

Separable kernels are known by their numbers only. Where all of a plan's are, two passes run it in place of what was
chosen for the plan, if they are expected to be quicker: than the plain sum, and than Fourier transforms.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..._core import calls
from ...plan import ConvPlan, Cost
from . import (
    channels,
    depthwise,
    depthwise_channels,
    direct,
    few,
    fft,
    isa,
    separable,
    winograd,
    winograd_few,
    winograd_row,
)
from .arrays import native
from .measured import measured

__all__ = [
    "chosen",
    "costs",
    "implementations",
    "prepare",
    "prepare_key",
    "prepare_with",
    "run",
    "separated",
    "times",
    "work",
]

_IMPLEMENTATIONS = (fft, depthwise_channels, depthwise, winograd_row, winograd_few, winograd, few, channels, direct)


class Prepared(NamedTuple):
    """Weights as an implementation wants them."""

    implementation: ModuleType
    weights: Any


def implementations(plan: ConvPlan, weight: np.ndarray | None = None) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried.

    Without ``weight``, it is taken to have kernels that are not separable.
    """
    return [(separable.label(plan), _separable_refusal(plan, weight)), *_by_plan(plan)]


def _separable_refusal(plan: ConvPlan, weight: np.ndarray | None) -> str | None:
    if (reason := separable.refusal(plan)) is not None:
        return reason
    if fft.overtakes(plan):
        return "Fourier transforms would take fewer cycles"
    if weight is None:
        return "it takes kernels that are a column times a row, which goes by their numbers"
    return "not all kernels are a column times a row" if separable.prepare(plan, weight, None) is None else None


def _by_plan(plan: ConvPlan) -> list[tuple[str, str | None]]:
    found = [(each.label(plan), each.refusal(plan)) for each in _IMPLEMENTATIONS]
    if plan.algorithm == "measure" and (times := _times(plan)):
        best = min(times.values())
        for place, each in enumerate(_IMPLEMENTATIONS):
            if times.get(each.__name__, best) > best:
                slower = f"measured {times[each.__name__] * 1e6:,.1f} µs, the quickest {best * 1e6:,.1f}"
                found[place] = (found[place][0], slower)
    return found


def costs(plan: ConvPlan) -> dict[str, Cost]:
    """What the implementations that take the plan expect to need, by name, where they can tell."""
    return {
        each.label(plan): each.cost(plan)
        for each in (*_IMPLEMENTATIONS, separable)
        if hasattr(each, "cost") and each.refusal(plan) is None
    }


def _times(plan: ConvPlan) -> dict[str, float]:
    """Measured seconds of every implementation that takes the plan, by module."""
    return measured(plan, {each.__name__: each for each in _IMPLEMENTATIONS if each.refusal(plan) is None})


def times(plan: ConvPlan) -> dict[str, float]:
    """Measured seconds of the implementations among which they decide, by name."""
    found = _times(plan) if plan.algorithm == "measure" else {}
    return {each.label(plan): found[each.__name__] for each in _IMPLEMENTATIONS if found.get(each.__name__, 0) > 0}


def chosen(plan: ConvPlan, level: int) -> ModuleType:
    """The implementation that runs the plan on this instruction set."""
    if plan.algorithm == "measure":
        times = _times(plan)
        return next(each for each in _IMPLEMENTATIONS if times.get(each.__name__) == min(times.values()))
    return _first(plan, level)


@lru_cache(maxsize=1024)
def _first(plan: ConvPlan, level: int) -> ModuleType:
    return next(each for each in _IMPLEMENTATIONS if each.refusal(plan) is None)


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share prepared weights."""
    found = chosen(plan, isa.current())
    return found.__name__, found.prepare_key(plan), _may_be_separated(plan)


def _may_be_separated(plan: ConvPlan) -> bool:
    return separable.refusal(plan) is None and not fft.overtakes(plan)


def separated(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Prepared | None:
    """The weights as columns and rows, where they are such products and the plan is to be run by them; else None."""
    if _may_be_separated(plan) and (weights := separable.prepare(plan, weight, bias)) is not None:
        return Prepared(separable, weights)
    return None


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Prepared:
    """Pack, factor or transform the weights."""
    return separated(plan, weight, bias) or _prepare(chosen(plan, isa.current()), plan, weight, bias)


def prepare_with(implementation: str, plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Prepared:
    """The same for an implementation of the caller's choice, by its name; it takes the plan."""
    named = (each for each in (separable, *_IMPLEMENTATIONS) if each.label(plan) == implementation)
    return _prepare(next(named), plan, weight, bias)


def _prepare(found: ModuleType, plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Prepared:
    weights = found.prepare(plan, weight, bias)
    if weights is None:  # not with these numbers
        found, weights = direct, direct.prepare(plan, weight, bias)
    return Prepared(found, weights)


def run(plan: ConvPlan, x: np.ndarray, prepared: Prepared, out: np.ndarray | None) -> np.ndarray:
    """Run the plan on the implementation that its weights were prepared for."""
    return prepared.implementation.run(plan, native(x, plan.dtype), prepared.weights, out)


def work(plan: ConvPlan, prepared: Prepared) -> calls.Work:
    """What runs the plan, for calls that come again."""
    return prepared.implementation.work(plan, prepared.weights)
