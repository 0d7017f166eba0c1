"""Reading and writing results, and what follows from them."""

from __future__ import annotations

import json
import os
import re
from math import exp, log
from pathlib import Path
from typing import Any

__all__ = [
    "best_peer",
    "fresh",
    "geometric_mean",
    "lists_of",
    "measured_libraries",
    "micros",
    "ratio",
    "read",
    "write_bytes",
    "write_json",
]

FOLDER = Path(__file__).parent / "results"


def fresh(name: str) -> Path:
    """A JSON file in results/ that is not there yet: ``name``, or with a number: no run replaces another's results."""
    path, number = FOLDER / f"{name}.json", 1
    while path.exists():
        number += 1
        path = FOLDER / f"{name}-{number}.json"
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, report: dict[str, Any]) -> None:
    # allow_nan=False: an error of inf would make a file that is not JSON
    text = json.dumps(_finite(report), indent=1, allow_nan=False)
    # a list of numbers or words stays on one line; no string has a line's end in it
    text = re.sub(r"\[\n\s+([^][{}]*)\n\s+\]", lambda found: "[" + re.sub(r"\n\s+", " ", found[1]) + "]", text)
    write_bytes(path, f"{text}\n".encode())


def _finite(value: Any) -> Any:
    """``value`` with its times shortened to what they mean, and infinities in words."""
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if abs(value) < float("inf") else str(value)
    return value


def read(path: Path) -> dict[str, Any]:
    """A report that was written by :func:`write_json`."""
    return json.loads(path.read_text())


def micros(row: dict[str, Any], name: str) -> float | None:
    """Median microseconds of a call, None if the library has no right result for this row."""
    found = row["results"].get(name, {})
    return found.get("median_us") if found.get("status") == "ok" else None


def best_peer(row: dict[str, Any]) -> tuple[str, float] | None:
    """The quickest library other than pyconv (in whatever form), and its time."""
    others = [name for name in row["results"] if not name.startswith("pyconv")]
    times = [(time, name) for name in others if (time := micros(row, name)) is not None]
    return (min(times)[1], min(times)[0]) if times else None


def ratio(row: dict[str, Any], peer: str | None = None) -> float | None:
    """How many times as quick pyconv is as ``peer``, or as the best of them."""
    own = micros(row, "pyconv")
    best = best_peer(row)
    other = (best[1] if best else None) if peer is None else micros(row, peer)
    return None if own is None or other is None else other / own


def geometric_mean(values: list[float]) -> float | None:
    return exp(sum(map(log, values)) / len(values)) if values else None


def lists_of(report: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows by list, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in report["rows"]:
        found.setdefault(row["list"], []).append(row)
    return found


def measured_libraries(report: dict[str, Any]) -> list[str]:
    """Those that could be used, pyconv among them."""
    return [name for name, library in report["libraries"].items() if library["status"] == "ok"]
