"""The plan of an activation: one function applied to every element."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .arguments import check_bytes
from .hashing import HashedOnce

__all__ = ["ACTIVATIONS", "ElementwisePlan", "plan_elementwise"]

ACTIVATIONS = ("relu", "sigmoid", "tanh")
"""The functions every backend may be asked for; adding one begins here (see CONTRIBUTING)."""


@dataclass(frozen=True, slots=True)
class ElementwisePlan(HashedOnce):
    """One activation over an array of any shape; ``op`` is its name."""

    __hash__ = HashedOnce.__hash__

    op: str
    dtype: str
    out_shape: tuple[int, ...]


@lru_cache(maxsize=1024)
def plan_elementwise(op: str, shape: tuple[int, ...], dtype: str) -> ElementwisePlan:
    """The plan of activation ``op`` (one of ACTIVATIONS) over an array of ``shape``."""
    if op not in ACTIVATIONS:
        raise KeyError(op)  # only pyconv's own code gets here
    check_bytes(op, shape, int(dtype.removeprefix("float")) // 8)
    return ElementwisePlan(op=op, dtype=dtype, out_shape=shape)
