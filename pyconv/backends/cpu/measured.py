"""algorithm="measure": the quickest implementation for a plan, found by running each that takes it, once.

What was found is kept for the process, and in the file that PYCONV_MEASURED names for later ones. It holds for one
version of pyconv, one processor, instruction set and number of threads; a file has entries of several.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ... import environment
from ...plan import ConvPlan
from ...timing import best_seconds
from ...version import __version__
from . import isa, threads

__all__ = ["measured"]

VARIABLE = "PYCONV_MEASURED"
FORMAT = "pyconv measured times, version 1"
MOST = 1024
"""Plans that are remembered, as many as selection remembers."""

_times: dict[Hashable, dict[str, float]] = {}
_lock = threading.Lock()


def _new_lock() -> None:
    """In a forked child: the one that had the old lock may not be there to give it back."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def measured(plan: ConvPlan, candidates: Mapping[str, ModuleType]) -> dict[str, float]:
    """Seconds of a call by each of ``candidates``, all of which take the plan; one of them is not measured at all.

    It runs on arrays of its own, of the plan's shapes and layout. One thread measures at a time.
    """
    key = (plan, isa.current(), threads.count())
    found = _times.get(key)
    if found is None or found.keys() != candidates.keys():
        with _lock:
            found = _times.get(key)
            if found is None or found.keys() != candidates.keys():
                if len(_times) >= MOST:
                    _times.clear()
                found = _times[key] = _look_up(plan, candidates)
    return found


def _look_up(plan: ConvPlan, candidates: Mapping[str, ModuleType]) -> dict[str, float]:
    if len(candidates) < 2:
        return dict.fromkeys(candidates, 0.0)
    where = environment.text(VARIABLE)
    path = Path(where).expanduser() if where else None
    machine, name = _machine(), repr(replace(plan, has_bias=True, precision="fp32"))  # they change nothing
    kept = _read(path) if path else None
    found = (kept or {}).get(machine, {}).get(name, {})
    if found.keys() != candidates.keys():
        found = _measure(plan, candidates)
        if path and kept is not None:
            _write(path, machine, name, found)
    return found


def _measure(plan: ConvPlan, candidates: Mapping[str, ModuleType]) -> dict[str, float]:
    x, weight = _input(plan), _numbers(plan.weight_shape, plan.dtype)
    out = np.empty(plan.out_shape, plan.dtype)

    def call(each: ModuleType) -> Callable[[], Any]:
        if not plan.keeps_weights:
            return lambda: each.run(plan, x, each.prepare(plan, weight, None), out)
        return partial(each.run, plan, x, each.prepare(plan, weight, None), out)

    return best_seconds({name: call(each) for name, each in candidates.items()})


def _numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Ordinary ones: zeros, denormals and NaN may take another time."""
    return np.random.default_rng(0).standard_normal(shape, np.dtype(dtype).type)


def _input(plan: ConvPlan) -> np.ndarray:
    shape = (plan.batch, plan.in_channels, *plan.in_size)
    if plan.layout == "nhwc":
        return np.moveaxis(_numbers((shape[0], *shape[2:], shape[1]), plan.dtype), -1, 1)
    if plan.layout == "strided":
        return _numbers((*shape[:3], 2 * shape[3]), plan.dtype)[..., ::2]
    return _numbers(shape, plan.dtype)


def _machine() -> str:
    """What times hold for."""
    return f"pyconv {__version__}, {_processor()}, {isa.name()}, {threads.count()} threads"


def _processor() -> str:
    """Name and numbers of the first processor that the system lists."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        lines = []
    fields = dict([part.strip() for part in line.partition(":")[::2]] for line in lines)
    names = ("model name", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant")
    return " ".join(fields[name] for name in names if name in fields) or "unknown processor"


def _read(path: Path) -> dict[str, dict[str, dict[str, float]]] | None:
    """Times by machine and plan; None, with a warning, if the file is there and is not one of ours."""
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        for plans in content["times"].values():
            for times in plans.values():
                if not all(isinstance(value, float) and value >= 0 for value in times.values()):
                    raise ValueError("its times are no numbers")
        return content["times"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _warn(path, f"it is left as it is, and not used, since it cannot be read as measured times: {error!r}")
        return None


def _write(path: Path, machine: str, name: str, found: dict[str, float]) -> None:
    """Add to the file, whole or not at all; what another process adds at the same moment may be lost."""
    kept = _read(path)
    if kept is None:
        return
    kept.setdefault(machine, {})[name] = found
    new = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        new.write_text(json.dumps({"format": FORMAT, "times": kept}, indent=1) + "\n")
        os.replace(new, path)
    except OSError as error:
        _warn(path, f"the times cannot be written: {error}")
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def _warn(path: Path, what: str) -> None:
    warnings.warn(f"{VARIABLE}={str(path)!r}: {what}", RuntimeWarning, stacklevel=3)
