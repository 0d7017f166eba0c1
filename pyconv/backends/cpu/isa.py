"""Which instruction set the kernels use: the best this machine has, or less if PYCONV_CPU_ISA says so."""

from __future__ import annotations

from ... import environment
from ..._core import runtime
from ...errors import ConfigurationError

__all__ = ["current", "name", "names", "use"]

_current: int | None = None


def names() -> list[str]:
    """Those that this machine has, in ascending order."""
    return [found for found, usable in runtime.instruction_sets() if usable]


def current() -> int:
    """The number of the instruction set in use; PYCONV_CPU_ISA is read at the first call."""
    global _current
    if _current is None:
        built = [found for found, _ in runtime.instruction_sets()]
        cap = environment.choice("PYCONV_CPU_ISA", built)
        if cap is not None and cap not in names():
            raise ConfigurationError(f"PYCONV_CPU_ISA={cap!r}: this machine has only {', '.join(names())}")
        _current = len(names()) - 1 if cap is None else built.index(cap)
    return _current


def name() -> str:
    """The name of the instruction set in use."""
    return names()[current()]


def use(wanted: str | None) -> None:
    """Use another instruction set from now on; None goes back to the best, or to PYCONV_CPU_ISA's (for tests)."""
    global _current
    _current = None if wanted is None else names().index(wanted)
