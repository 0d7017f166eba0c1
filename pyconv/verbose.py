"""PYCONV_VERBOSE: one line on stderr for every operation that runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from . import environment
from .plan import Plan, describe

if TYPE_CHECKING:
    from .registry import Backend

__all__ = ["implementation", "report", "verbose"]

_level: int | None = None


def verbose() -> int:
    """The level asked for: 0 nothing, 1 a line for every operation. Read once, at the first operation."""
    global _level
    if _level is None:
        _level = int(environment.choice("PYCONV_VERBOSE", ("0", "1")) or 0)
    return _level


def implementation(backend: Backend, plan: Plan) -> str:
    """The name of the implementation inside ``backend`` that runs ``plan``."""
    listing = getattr(backend, "implementations", None)
    names = [name for name, reason in listing(plan) if reason is None] if listing else []
    return names[0] if names else backend.name


def report(backend: Backend, plan: Plan, seconds: float) -> None:
    """Print what ran, where, and how long it took."""
    fields = ("pyconv", plan.op, backend.name, implementation(backend, plan), describe(plan), f"{seconds * 1e3:.4f} ms")
    print(",".join(fields), file=sys.stderr)
