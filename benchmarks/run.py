"""The measurement: every library on every layer, in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from math import ceil
from statistics import median
from typing import Any, NamedTuple

from . import data
from .layer import Layer
from .peers import PEERS
from .team import Worker, WorkerLost

__all__ = ["FULL", "QUICK", "Settings", "measure"]


class Settings(NamedTuple):
    """How long to measure."""

    rounds: int
    burst_seconds: float
    warm_up_seconds: float
    limit_seconds: float
    """A library that has used this much on a layer, and has LEAST bursts, gets no more turns."""


OURS = "pyconv"
"""Without it there is nothing to compare the others with."""

LEAST = 3
LONG = 0.1  # seconds of a call, beside which what it takes to wake threads and fill caches is nothing
FULL = Settings(rounds=6, burst_seconds=0.02, warm_up_seconds=0.004, limit_seconds=1.5)
QUICK = Settings(rounds=5, burst_seconds=0.01, warm_up_seconds=0.002, limit_seconds=0.5)


def measure(
    layers: list[tuple[str, Layer]],
    targets: dict[str, str],
    threads: int,
    cpus: list[int],
    settings: Settings,
    say: Callable[[str], None],
    numbers: Any = data,
) -> dict[str, Any]:
    """Versions, ceilings and a row for each of ``layers``; ``targets`` are the peers' names and classes.

    ``numbers`` knows what is right: it has ``region``, ``expected``, ``error`` and ``TOLERANCE``.
    """
    team: list[Worker] = []
    ceilings = Worker("ceilings", PEERS["ceilings"], threads, cpus)
    try:
        libraries = _start(team, targets, threads, cpus, say)
        limits = [_ceilings(ceilings, say)]
        rows = []
        for position, (listing, layer) in enumerate(layers):
            if settings is FULL and position and listing != layers[position - 1][0]:
                limits.append(_ceilings(ceilings, say))
            row = _row(team, listing, layer, settings, numbers)
            rows.append(row)
            say(_progress(position, len(layers), row))
        limits.append(_ceilings(ceilings, say))
    finally:
        for worker in (*team, ceilings):
            worker.close()
    return {"libraries": libraries, "ceilings": _best(limits), "ceilings_measured": limits, "rows": rows}


def _start(
    team: list[Worker], targets: dict[str, str], threads: int, cpus: list[int], say: Callable[[str], None]
) -> dict[str, Any]:
    """Start the workers; those whose library is there go into ``team``."""
    libraries: dict[str, Any] = {}
    for name, target in targets.items():
        worker = Worker(name, target, threads, cpus)
        try:
            libraries[name] = worker.start()
        except WorkerLost as error:
            libraries[name] = {"status": "failed", "reason": str(error)}
        if libraries[name]["status"] == "ok":
            team.append(worker)
        else:
            worker.close()
            if name == OURS:
                raise RuntimeError(f"{name} cannot be measured, {libraries[name]['reason']}")
            say(f"{name} is left out, {libraries[name]['reason']}")
    if not team:
        raise RuntimeError("none of the libraries could be started")
    return libraries


def _ceilings(worker: Worker, say: Callable[[str], None]) -> dict[str, Any]:
    try:
        found = worker.ask("measure")
    except WorkerLost as error:
        found = {"status": "failed", "reason": str(error)}
    for key in ("reason", "flops_missing"):
        if key in found:
            say(f"ceilings: {found[key]}")
    return found


def _best(limits: list[dict[str, Any]]) -> dict[str, float | None]:
    keys = ("flops_per_second", "float64_flops_per_second", "copy_bytes_per_second")
    return {key: max((found[key] for found in limits if key in found), default=None) for key in keys}


def _row(team: list[Worker], listing: str, layer: Layer, settings: Settings, numbers: Any) -> dict[str, Any]:
    part = numbers.region(layer)
    results = {worker.name: _ask(worker, "build", layer, part) for worker in team}
    right = numbers.expected(layer, part)
    for found in results.values():
        if found["status"] == "ok":
            _check(right, found, numbers.TOLERANCE[layer.dtype])
    turns = [worker for worker in team if results[worker.name]["status"] in ("ok", "wrong")]
    for turn in range(settings.rounds):
        first = turn % max(len(turns), 1)
        for worker in turns[first:] + turns[:first]:
            _take_turn(worker, results[worker.name], settings)
    for found in results.values():
        if found.get("bursts_us"):
            found["min_us"], found["median_us"] = min(found["bursts_us"]), median(found["bursts_us"])
    return {
        "list": listing,
        "name": layer.name,
        "layer": asdict(layer),
        "count": layer.count,
        "flops": layer.flops,
        "bytes": layer.bytes,
        "implementation": results.get("pyconv", {}).get("implementation"),
        "results": results,
    }


def _ask(worker: Worker, order: str, *argument: Any) -> dict[str, Any]:
    try:
        return worker.ask(order, *argument)
    except WorkerLost as error:
        return {"status": "lost", "reason": str(error)}


def _check(right: data.Expected, found: dict[str, Any], tolerance: float) -> None:
    """Put the result's error in the place of the result."""
    try:
        found["error"] = data.error(right, found.pop("sample"))
    except ValueError as error:
        found |= {"status": "wrong", "reason": str(error)}
        return
    if not found["error"] <= tolerance:
        found |= {"status": "wrong", "reason": f"error {found['error']:.1e}, above {tolerance:.0e}: a narrower dtype"}


def _take_turn(worker: Worker, found: dict[str, Any], settings: Settings) -> None:
    if found["status"] not in ("ok", "wrong"):
        return  # lost on the way
    seconds = found["seconds"]
    calls = max(1, ceil(settings.burst_seconds / seconds))
    warm_up = 0 if seconds > LONG else max(1, ceil(settings.warm_up_seconds / seconds))
    bursts = found.setdefault("bursts_us", [])
    if len(bursts) >= LEAST and len(bursts) * (calls + warm_up) * seconds > settings.limit_seconds:
        return
    answer = _ask(worker, "burst", calls, warm_up)
    if answer["status"] != "ok":
        found |= answer
        return
    found["calls"] = calls
    found["seconds"] = min(seconds, answer["seconds"])  # a disturbed first guess makes no more than one short burst
    bursts.append(answer["seconds"] * 1e6)


def _progress(position: int, total: int, row: dict[str, Any]) -> str:
    times = [
        f"{name} {found['median_us']:.4g}" if found["status"] == "ok" else f"{name} {found['status']}"
        for name, found in row["results"].items()
    ]
    return f"[{position + 1}/{total}] {row['list']} {row['name']}: {', '.join(times)} µs"
