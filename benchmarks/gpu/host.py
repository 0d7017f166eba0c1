"""What a warm call costs the host: the time until it returns, whatever the device does meanwhile.

``python -m benchmarks.gpu.host`` prints it for the stand-in, where only rows without launch and memory mean something:
they are Python alone, on the same arrays' attributes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np

import pyconv

__all__ = ["CASES", "breakdown", "table"]

CASES: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "relu 1x8x8x8": (pyconv.ReLU, (1, 8, 8, 8)),
    "pool 2x2 1x8x8x8": (lambda: pyconv.MaxPool2d(2), (1, 8, 8, 8)),
    "conv 3x3 8->8 8x8": (lambda: pyconv.Conv2d(8, 8, 3, padding=1, rng=0), (1, 8, 8, 8)),
    "conv 1x1 8->8 8x8": (lambda: pyconv.Conv2d(8, 8, 1, rng=0), (1, 8, 8, 8)),
    "depthwise 3x3 8 8x8": (lambda: pyconv.Conv2d(8, 8, 3, padding=1, groups=8, rng=0), (1, 8, 8, 8)),
}
_CALLS, _TIMES = 200, 9  # at a time: a stream takes about a thousand launches before the host has to wait


def _each(device: Any, function: Callable[[], Any]) -> float:
    """Microseconds of one call: the least of several runs, without the loop around it."""
    best = empty = float("inf")
    for _ in range(_TIMES):
        device.synchronize()
        start = perf_counter()
        for _ in range(_CALLS):
            function()
        middle = perf_counter()
        for _ in range(_CALLS):
            pass
        empty, best = min(empty, perf_counter() - middle), min(best, middle - start)
    device.synchronize()
    return (best - empty) * 1e6 / _CALLS


@contextmanager
def _without(room: Any, **instead: Any) -> Iterator[None]:
    """Methods of the room replaced for a while."""
    for name, function in instead.items():
        setattr(room, name, function)
    try:
        yield
    finally:
        for name in instead:
            delattr(room, name)


def breakdown(device: Any, whole: bool, table: dict[str, dict[str, float]]) -> None:
    """Put microseconds into ``table``, [part][case], as they are measured; with ``whole`` also what a device can show.

    What has been measured stays there if an exception ends it.
    """

    def put(part: str, case: str, function: Callable[[], Any]) -> None:
        table.setdefault(part, {})[case] = _each(device, function)

    for case, (make, shape) in CASES.items():
        layer, x = make(), device.numbers(shape, 1)
        for _ in range(4):
            result = layer(x)
        general = make()
        general.plans_alike = False  # then no call is known
        general(x)
        if whole:
            put("layer(x)", case, lambda layer=layer, x=x: layer(x))
            put("layer(x, out=out)", case, lambda layer=layer, x=x, out=result: layer(x, out=out))
            put("layer(x), the general way", case, lambda layer=general, x=x: layer(x))
        quiet = make()
        with _without(device.room, launcher=lambda launch: lambda arguments: None):
            for _ in range(4):
                quiet(x)  # it knows its call with launches that do nothing
            if whole:
                put("without the launch", case, lambda layer=quiet, x=x: layer(x))
            memory = {
                "empty": lambda shape, dtype, order=None, kept=result: kept,
                "empty_like": lambda array, kept=result: kept,
            }
            with _without(device.room, **memory):
                put("without launch and memory", case, lambda layer=quiet, x=x: layer(x))
                put("the same, the general way", case, lambda layer=general, x=x: layer(x))
    if whole:
        _of_cupy(device, put)


def _of_cupy(device: Any, put: Callable[[str, str, Callable[[], Any]], None]) -> None:
    """What CuPy itself takes, for the same arrays."""
    cupy, (case, (_, shape)) = device.xp, next(iter(CASES.items()))
    x = device.numbers(shape, 1)
    out = cupy.empty_like(x)
    kernel = cupy.RawKernel('extern "C" __global__ void nothing(const float *x, float *out, int size) {}', "nothing")
    arguments = (x, out, np.int32(x.size))
    kernel((1,), (32,), arguments)
    put("CuPy: a RawKernel that does nothing", case, lambda: kernel((1,), (32,), arguments))
    put("CuPy: empty", case, lambda: cupy.empty(shape, np.float32))
    put("CuPy: negative(x)", case, lambda: cupy.negative(x))
    put("CuPy: negative(x, out)", case, lambda: cupy.negative(x, out))


def table(parts: dict[str, dict[str, float]]) -> str:
    """As Markdown."""
    lines = ["| µs | " + " | ".join(CASES) + " |", "| --- |" + " ---: |" * len(CASES)]
    for part, values in parts.items():
        cells = (f"{values[case]:.1f}" if case in values else "" for case in CASES)
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """On the stand-in."""
    argparse.ArgumentParser("python -m benchmarks.gpu.host", description=str(__doc__)).parse_args(arguments)
    from .rehearsal import Rehearsal

    found: dict[str, dict[str, float]] = {}
    breakdown(Rehearsal(), whole=False, table=found)
    print(table(found))


if __name__ == "__main__":
    main()
