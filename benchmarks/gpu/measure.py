"""One row: every library's result checked, its calls captured, and bursts of all of them timed in turns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Any

import numpy as np

from pyconv.errors import BackendError

from . import own, peers
from .device import Replay
from .entries import Entry, Exact, copies, made
from .rows import Row

__all__ = ["BOUNDS", "measure", "summary"]

BURSTS = 15
_USER_BURSTS, _USER_US = 7, 3000.0

BOUNDS = {"fp32": 1e-5, "tf32": 2.0**-9, "bf16": 2.0**-8, "fp16": 2.0**-10, "op": 1e-6}
"""The largest error, over the sum of |x| |w|, that counts as right.

float32: 80 times its rounding, as a Winograd convolution may need. TF32 keeps 10 bits of each factor: cut off, both
cost 2**-10 each. bfloat16 results have 8 bits, float16 results 11, and half a unit is lost by the result alone; the
rest is the sum's. 'op' is for pooling, where any error is one, and activations.
"""


def measure(row: Row, torch: Any, device: Any) -> dict[str, dict[str, Any]]:
    """What became of every entry: status, error, bits, and times in microseconds."""
    numbers = made(row, device, copies(row, device.cache_bytes))
    results: dict[str, dict[str, Any]] = {}
    with nullcontext() if torch is None else peers.precision(torch, row.precision):
        makers: dict[str, Callable[[], Entry]] = dict(own.makers(row, numbers, device))
        if torch is not None:
            makers |= peers.makers(torch, row, numbers, device)
        wanted = own.exact(row, numbers, device) if torch is None else peers.exact(torch, row, numbers, device)
        ready: list[tuple[Entry, Replay]] = []
        for name, make in makers.items():
            try:
                entry = make()
                results[name], replay = _examined(row, entry, wanted, len(numbers.x), device)
                ready.append((entry, replay))
            except BackendError as error:
                results[name] = {"status": "missing", "reason": _words(error)}
            except Exception as error:  # a row of its own; the others are measured all the same
                results[name] = {"status": "failed", "reason": _words(error)}
        del wanted
        _bursts(ready, results, len(numbers.x), device)
    return results


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _examined(row: Row, entry: Entry, wanted: Exact, count: int, device: Any) -> tuple[dict[str, Any], Replay]:
    """Whether it is right, and the same bits again; and its calls in a graph."""
    first = entry.values(entry.call(0))
    error = _error(device.xp, first, entry, wanted)
    bound = 0.0 if row.kind == "pool" else BOUNDS["op" if row.kind == "activation" else row.precision]
    found: dict[str, Any] = {}
    try:
        replay = entry.capture(lambda: [entry.call(i) for i in range(count)])
    except Exception as error:  # then its calls are made one by one: launches count too where they are slower
        found["graph"] = _words(error)
        replay = Replay(lambda: [entry.call(i) for i in range(count)], [first])
    replay.launch()
    device.synchronize()
    again = [entry.values(entry.call(0)), entry.values(replay.results[0])]
    same = all(_same_bits(device.xp, first, other) for other in again)
    found |= {"status": "ok" if error <= bound else "wrong", "error": error, "bitwise": same, "ran": entry.ran}
    return found, replay


def _error(xp: Any, got: Any, entry: Entry, wanted: Exact) -> float:
    """max |error| / scale, image by image, so that float64 copies stay small; NaN counts as infinite."""
    worst = 0.0
    for image, values in enumerate(wanted.values):
        scale = wanted.scale[image]
        if entry.relu:
            bias = wanted.bias.reshape(-1, 1, 1)
            values, scale = xp.maximum(values + bias, 0), scale + abs(bias)
        ratio = abs(got[image].astype(np.float64) - values) / xp.maximum(scale, 1e-300)
        found = float(xp.max(ratio))
        worst = max(worst, found if found == found else float("inf"))
    return worst


def _same_bits(xp: Any, a: Any, b: Any) -> bool:
    whole = f"i{a.dtype.itemsize}"
    return bool((a.view(whole) == b.view(whole)).all())


def _bursts(ready: list[tuple[Entry, Replay]], results: dict[str, Any], count: int, device: Any) -> None:
    """Time all entries in turns: replays of their graphs by events, then what a user would write by the clock."""
    bursts = 2 if device.tiny else BURSTS
    times: dict[str, list[float]] = {entry.name: [] for entry, _ in ready}
    for burst in range(bursts + 1):
        for entry, replay in ready:
            took = device.microseconds(replay.launch) / count
            if burst:  # the first brings the clocks up
                times[entry.name].append(took)
    for entry, _ in ready:
        low, median, high = np.percentile(times[entry.name], [10, 50, 90])
        results[entry.name] |= {"median_us": float(median), "p10_us": float(low), "p90_us": float(high)}
    users = [entry for entry, _ in ready if entry.user is not None]
    calls = {}
    for entry in users:
        try:
            _clock(entry, 2, device)
            calls[entry.name] = 1 if device.tiny else max(3, min(200, int(_USER_US / _clock(entry, 3, device))))
        except Exception as error:
            results[entry.name]["user"] = _words(error)
    eager: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 if device.tiny else _USER_BURSTS):
        for entry in users:
            if entry.name in calls:
                eager[entry.name].append(_clock(entry, calls[entry.name], device))
    for name, took in eager.items():
        results[name]["user_us"] = float(np.median(took))


def _clock(entry: Entry, calls: int, device: Any) -> float:
    """Microseconds of a call on the host's clock, until the device has done all of them."""
    assert entry.user is not None
    device.synchronize()
    start = perf_counter()
    for _ in range(calls):
        entry.user()
    device.synchronize()
    return (perf_counter() - start) * 1e6 / calls


def summary(results: dict[str, dict[str, Any]]) -> str:
    """One line for the terminal."""
    parts = []
    for name, found in results.items():
        time = f"{found['median_us']:.1f}" if "median_us" in found else ""
        bits = "" if found.get("bitwise", True) else " other bits"
        parts.append(f"{name} {time if found['status'] == 'ok' else found['status'] + ' ' + time}{bits}".rstrip())
    return ", ".join(parts)
