"""What a second thread gives, and that it takes nothing away: ``python -m benchmarks.threads``.

pyconv alone, on one thread and on as many as there are cores by turns, into the same array. Of the lists every float32
layer that takes one thread longer than a millisecond; and some small ones, on which more threads are to be no slower.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from . import machine
from .alone import Built, asking, begin, build, micros, parser, quartile, save
from .layer import Layer, activation, conv, pool
from .layers import LISTS, named, select

__all__ = ["SMALL", "Row", "main", "measure", "table"]

MILLISECOND = 1e-3
ASKED = 1.85
LEVEL = 0.95
"""What is not slower, as far as times of half a microsecond can be told apart."""

SMALL: list[Layer] = [
    conv(1, 1, 2, 4, stride=2, padding=0),
    conv(1, 16, 5, 28, padding=0),
    conv(16, 32, 3, 12, padding=0),
    conv(16, 16, 3, 14),
    conv(64, 64, 1, 7),
    conv(96, 96, 3, 14, groups=96),
    conv(576, 576, 3, 7, groups=576),
    activation("relu", 16, 24),
    activation("tanh", 16, 24),
    pool(16, 2, 24, stride=2),
    pool(64, 3, 14, stride=1, padding=1),
]
"""From hardly any work to some tens of microseconds: around where a second thread begins to pay."""


class Row(NamedTuple):
    layer: Layer
    implementation: str
    one: float
    """Seconds on one thread."""
    all: float
    """Seconds on all of them."""

    @property
    def times(self) -> float:
        return self.one / self.all


def _candidates(lists: list[str]) -> list[Layer]:
    """Each float32 layer once, but for those too small to take a millisecond: 20 GFLOP/s and 4 GB/s are little."""
    layers = (replace(layer, count=1, headline=False) for _, layer in select(lists) if layer.dtype == "float32")
    return [layer for layer in dict.fromkeys(layers) if layer.flops > 2e7 or layer.bytes > 4e6]


def measure(layers: list[Layer], threads: int, rounds: int = 3, seconds: float = 0.03, above: float = 0.0) -> list[Row]:
    """A row for each layer that takes one thread longer than ``above``; ``seconds`` for each time in every round."""
    import pyconv

    before = pyconv.get_num_threads()
    try:
        found = [(layer, built) for layer in layers if (built := _built(layer, threads, above))]
        best = [{1: float("inf"), threads: float("inf")} for _ in found]
        for _ in range(rounds):
            for (_, built), times in zip(found, best, strict=True):
                for count in times:
                    pyconv.set_num_threads(count)
                    times[count] = min(times[count], quartile(built.call, seconds))
    finally:
        pyconv.set_num_threads(before)
    return [
        Row(layer, built.implementation, times[1], times[threads])
        for (layer, built), times in zip(found, best, strict=True)
    ]


def _built(layer: Layer, threads: int, above: float) -> Built | None:
    """What is timed; None if one thread takes no longer than ``above``."""
    import pyconv

    pyconv.set_num_threads(threads)
    built = build(layer, threads)
    pyconv.set_num_threads(1)
    return built if quartile(built.call, 0.0) > above else None


def table(rows: list[Row], threads: int) -> tuple[list[str], list[list[str]]]:
    """Head and lines: both times, and how many times as quick."""
    return ["layer", "runs as", "1 thread, µs", f"{threads} threads, µs", "times"], [
        [row.layer.name, row.implementation, micros(row.one), micros(row.all), f"{row.times:.2f}"] for row in rows
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the table."""
    words = parser("threads", __doc__, rounds=3)
    words.add_argument("--list", help=f"comma list of {', '.join(LISTS)} (default: all)")
    about = "compared with one (default: the physical cores, %(default)s)"
    words.add_argument("--threads", type=int, default=machine.physical_cores(), help=about)
    options = words.parse_args(arguments)
    if options.threads < 2:
        words.error(f"one thread and more are compared: --threads must be at least 2, got {options.threads}")
    lists = options.list.split(",") if options.list else list(LISTS)
    with asking(words):
        candidates = _candidates(lists)
        names = {layer.name for layer in named([*candidates, *SMALL], options.layer)}
    chosen = [[layer for layer in some if layer.name in names] for some in (candidates, SMALL)]
    report = begin(options.threads, arguments)
    large = measure(chosen[0], options.threads, options.rounds, above=MILLISECOND)
    small = measure(chosen[1], options.threads, 3 * options.rounds)  # else one disturbed second meets all of them
    rows = [*large, *small]
    if not rows:
        words.error(f"none of the {len(names)} layers asked for takes one thread longer than a millisecond")
    reached, slower = sum(row.times >= ASKED for row in large), sum(row.times < LEVEL for row in rows)
    note = f"Above a millisecond on one thread: {reached} of {len(large)} at {ASKED} times or more; slower: {slower}."
    save(report, "threads", rows, table(rows, options.threads), note, options.out)


if __name__ == "__main__":
    main()
