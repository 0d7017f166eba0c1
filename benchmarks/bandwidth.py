"""What is bound by memory, and whether it comes near it: ``python -m benchmarks.bandwidth``.

pyconv alone on the depthwise convolutions, filters of one channel, poolings and activations of the lists, into an array
at hand. Each is held against its bytes (every array moved once) at the rate of a copy that moves as many in the same
round, by as many threads: of what fits in the caches that is the caches' rate. And against its instructions, which is
the time that more channels (or rows, of one channel) add where all lies in a core's own caches. The longer of the two
bounds it. Pages that the system had to give during the calls are counted as well. On one thread, or as many as
PYCONV_NUM_THREADS says.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from .alone import Built, asking, begin, build, by_turns, micros, parser, save
from .layer import CONVOLUTIONS, Layer
from .layers import LISTS, named, select
from .peers.ceilings import copy_rate

__all__ = ["Row", "layers", "main", "measure", "table"]

ASKED = 0.7
LEAST = 2**16
"""Bytes below which a call is hardly more than its beginning and end: ``benchmarks.calls`` is about these."""
NEAR = 2**18
"""Bytes that a core's own caches hold."""


class Row(NamedTuple):
    layer: Layer
    implementation: str
    seconds: float
    copied: float
    """Bytes for each second of a copy that moves as many."""
    arithmetic: float | None
    """Seconds that its multiply-adds take at the peak; None where Layer counts none."""
    near: float | None
    """Seconds that all its instructions take with the arrays at hand; None where less would run as something else."""
    pages: float
    """Given by the system for each call."""

    @property
    def memory(self) -> float:
        """Seconds that its bytes take at that rate."""
        return self.layer.bytes / self.copied

    @property
    def reached(self) -> float:
        """Of that rate."""
        return self.memory / self.seconds

    @property
    def bound(self) -> str:
        """By what takes longer."""
        return "instructions" if max(self.near or 0, self.arithmetic or 0) > self.memory else "bytes"


def layers(lists: list[str]) -> list[Layer]:
    """What does little with each number: depthwise and one-channel convolutions, poolings, activations; once each."""
    found = (replace(layer, count=1, headline=False) for _, layer in select(lists))
    little = (layer for layer in found if layer.op not in CONVOLUTIONS or layer.weight_shape[1] == 1)
    return list(dict.fromkeys(layer for layer in little if layer.bytes >= LEAST))


def measure(chosen: list[Layer], threads: int, rounds: int = 4, seconds: float = 0.04) -> list[Row]:
    """A row for each layer; ``seconds`` for it and its parts in every round, and half as long for each way to copy."""
    from pyconv._core import runtime
    from pyconv.backends.cpu import isa

    peaks = {name: runtime.measure_peak(isa.current(), name == "float64", threads) for name in ("float32", "float64")}
    built = [[build(part, threads) for part in (layer, *_few(layer))] for layer in chosen]
    times = [[float("inf")] * len(parts) for parts in built]
    copied, pages = [0.0] * len(chosen), [float("inf")] * len(chosen)
    for _ in range(rounds):
        for i, (layer, parts) in enumerate(zip(chosen, built, strict=True)):
            times[i] = [*map(min, times[i], by_turns([part.call for part in parts], 1, seconds / len(parts)))]
            copied[i] = max(copied[i], copy_rate(layer.bytes, threads, seconds / 2))
            pages[i] = min(pages[i], _pages(parts[0].call, 10))
    return [
        Row(
            layer,
            parts[0].implementation,
            times[i][0],
            copied[i],
            layer.flops / peaks[layer.dtype] if layer.op in CONVOLUTIONS else None,
            _near(layer, parts, times[i], threads),
            pages[i],
        )
        for i, (layer, parts) in enumerate(zip(chosen, built, strict=True))
    ]


def _near(layer: Layer, parts: list[Built], times: list[float], threads: int) -> float | None:
    """What the whole layer would take as its two small parts do, without what a call takes whatever its size."""
    if len(parts) < 3 or len({part.implementation for part in parts}) > 1 or times[2] <= times[1]:
        return None
    few, more = _few(layer)
    return (times[2] - times[1]) * layer.bytes / (more.bytes - few.bytes) / threads


def _few(layer: Layer) -> list[Layer]:
    """Some of its channels, and twice as many; or rows, where channels are one or lie together; [] if too few."""
    _, channels, height, width = layer.shape
    share = NEAR / layer.bytes / 2
    if channels > 1 and layer.layout == "nchw" and ("dim", 1) not in layer.options:
        some = min(int(channels * share), channels // 2)
        made = [
            replace(
                layer,
                shape=(1, count, height, width),
                out_channels=layer.out_channels * count // channels,
                groups=count if layer.groups > 1 else 1,
            )
            for count in (some, 2 * some)
        ]
    else:
        some = min(int(height * share), height // 2)
        made = [replace(layer, shape=(1, channels, count, width)) for count in (some, 2 * some)]
    return made if some > 0 and all(length > 0 for part in made for length in part.out_shape) else []


def _pages(call: Callable[[], object], calls: int) -> float:
    """Pages that the system gives for a call, without reading a disk (minor faults)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(calls):
        call()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / calls


def table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and lines: bytes, what both ceilings would take, what is reached of the copy, pages."""
    heads = ["layer", "runs as", "MB", "µs", "copy, GB/s", "bytes, µs", "multiply-adds, µs", "instructions, µs"]
    return [*heads, "of the copy", "bound by", "pages a call"], [
        [
            row.layer.name,
            row.implementation,
            f"{row.layer.bytes / 1e6:.3g}",
            micros(row.seconds),
            f"{row.copied / 1e9:.0f}",
            micros(row.memory),
            *("–" if time is None else micros(time) for time in (row.arithmetic, row.near)),
            f"{row.reached:.0%}",
            row.bound,
            f"{row.pages:.1g}",
        ]
        for row in rows
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the table."""
    words = parser("bandwidth", __doc__)
    words.add_argument("--list", help=f"comma list of {', '.join(LISTS)} (default: all)")
    options = words.parse_args(arguments)
    with asking(words):
        chosen = named(layers(options.list.split(",") if options.list else list(LISTS)), options.layer)
    threads = int(os.environ.setdefault("PYCONV_NUM_THREADS", "1"))
    report = begin(threads, arguments)
    rows = measure(chosen, threads, options.rounds)
    bound = [row for row in rows if row.bound == "bytes"]
    reached = sum(row.reached >= ASKED for row in bound)
    note = f"Of {len(bound)} rows that are bound by their bytes {reached} reach {ASKED:.0%} of the copy's rate."
    save(report, "bandwidth", rows, table(rows), note, options.out)


if __name__ == "__main__":
    main()
