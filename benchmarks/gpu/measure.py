"""One row: every library's result checked, its calls captured, and bursts of all of them timed in turns.

An entry's times are ``median_us`` and its percentiles if its calls were replayed from a graph, as all should be. Where
they cannot be captured, the reason is ``graph``, and their times, one call after another, have names of their own that
begin with ``eager_``: launches count in them, so that no ratio is made of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Any, NamedTuple

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


class Ready(NamedTuple):
    """What is timed: an entry, how all its calls are made at once, and what the names of its times begin with."""

    entry: Entry
    replay: Replay
    times: str


def measure(row: Row, torch: Any, device: Any) -> dict[str, dict[str, Any]]:
    """What became of every entry: status, error, bits, and times in microseconds."""
    numbers = made(row, device, copies(row, device.cache_bytes))
    results: dict[str, dict[str, Any]] = {}
    with nullcontext() if torch is None else peers.precision(torch, row.precision):
        makers: dict[str, Callable[[], Entry]] = dict(own.makers(row, numbers, device))
        if torch is not None:
            makers |= peers.makers(torch, row, numbers, device)
        wanted = own.exact(row, numbers, device) if torch is None else peers.exact(torch, row, numbers, device)
        ready: list[Ready] = []
        for name, make in makers.items():
            try:
                entry = make()
                results[name], replay = _examined(row, entry, wanted, len(numbers.x), device)
                ready.append(Ready(entry, replay, "eager_" if "graph" in results[name] else ""))
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
    result = entry.call(0)
    first = entry.values(result)
    error = _error(device.xp, first, entry, wanted)
    bound = 0.0 if row.kind == "pool" else BOUNDS["op" if row.kind == "activation" else row.precision]
    found: dict[str, Any] = {}
    try:
        replay = entry.capture(lambda: [entry.call(i) for i in range(count)])
    except Exception as reason:  # then its calls are made one by one, and are no part of any ratio
        found["graph"] = _words(reason)
        replay = Replay(lambda: [entry.call(i) for i in range(count)], [result])
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


def _bursts(ready: list[Ready], results: dict[str, Any], count: int, device: Any) -> None:
    """Time all entries in turns: replays of their graphs by events, then what a user would write by the clock.

    One that fails meanwhile is a failure, and the others go on.
    """
    times: dict[str, list[float]] = {each.entry.name: [] for each in ready}
    going = list(ready)
    for burst in range((2 if device.tiny else BURSTS) + 1):
        for each in list(going):
            try:
                took = device.microseconds(each.replay.launch) / count
            except Exception as error:
                results[each.entry.name] |= {"status": "failed", "reason": _words(error)}
                going.remove(each)
                continue
            if burst:  # the first brings the clocks up
                times[each.entry.name].append(took)
    for each in going:
        low, median, high = map(float, np.percentile(times[each.entry.name], [10, 50, 90]))
        named = {"median_us": median, "p10_us": low, "p90_us": high}
        results[each.entry.name] |= {f"{each.times}{name}": value for name, value in named.items()}
    _user_bursts([each.entry for each in going if each.entry.user is not None], results, device)


def _user_bursts(users: list[Entry], results: dict[str, Any], device: Any) -> None:
    """Time what a user would write; an entry that fails at it has ``user``, the reason, and no such time."""
    calls: dict[str, int] = {}
    eager: dict[str, list[float]] = {}
    for burst in range((1 if device.tiny else _USER_BURSTS) + 1):
        for entry in users:
            try:
                if burst:
                    if entry.name in calls:
                        eager.setdefault(entry.name, []).append(_clock(entry, calls[entry.name], device))
                else:
                    _clock(entry, 2, device)
                    many = 1 if device.tiny else max(3, min(200, int(_USER_US / _clock(entry, 3, device))))
                    calls[entry.name] = many
            except Exception as error:
                results[entry.name]["user"] = _words(error)
                calls.pop(entry.name, None)
                eager.pop(entry.name, None)
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
        time = f"{found['eager_median_us']:.1f} without a graph" if "eager_median_us" in found else time
        bits = "" if found.get("bitwise", True) else " other bits"
        parts.append(f"{name} {time if found['status'] == 'ok' else found['status'] + ' ' + time}{bits}".rstrip())
    return ", ".join(parts)
