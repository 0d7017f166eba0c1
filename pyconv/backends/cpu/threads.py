"""How many threads an operation may use."""

from __future__ import annotations

import os

from ... import environment
from ..._core import runtime
from ...errors import ArgumentError
from ...plan import index

__all__ = ["MOST", "count", "limits", "set_count", "wanted"]


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


MOST = max(256, 4 * _cores())
"""More threads than this are a slip, and the system may refuse to start them."""

_wanted: int | None = None
_preset = 1


def _from_environment() -> int:
    """PYCONV_NUM_THREADS, else OMP_NUM_THREADS, else the cores this process may use."""
    global _preset
    cores = _cores()
    # OpenMP's variable is not ours to complain about: it may be a list, and what is no number counts as unset
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    _preset = min(int(first), 2**30) if first.isdecimal() and int(first) > 0 else cores
    own = environment.integer("PYCONV_NUM_THREADS", 1, MOST)
    return min(_preset, cores) if own is None else own


def wanted() -> int:
    """Threads that were asked for, before any limit."""
    global _wanted
    if _wanted is None:
        _wanted = _from_environment()
    return _wanted


def count() -> int:
    """Threads that the next operation may use."""
    return runtime.allowed_threads(wanted(), _preset)


def limits() -> tuple[int, int, int]:
    """What is allowed now, and what it follows from: runtime.allowed_threads' arguments."""
    number = wanted()
    return runtime.allowed_threads(number, _preset), number, _preset


def set_count(threads: int) -> None:
    """Use this many from now on."""
    global _wanted
    number = index("set_num_threads", "count", threads, 1, MOST, beyond=ArgumentError)
    if _wanted is None:
        _from_environment()  # for what a limit set elsewhere is measured against
    _wanted = number
