"""Channels-last input beside NCHW: ``python -m benchmarks.layouts``.

pyconv alone, each convolution with its input in both orders by turns, into the same array, which is NCHW: what it gives
for either. On as many threads as PYCONV_NUM_THREADS says, or as there are cores.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import NamedTuple

from . import dense, machine
from .alone import asking, begin, build, by_turns, micros, parser, save
from .layer import Layer, conv, image_filter
from .layers import named

__all__ = ["LAYERS", "Row", "main", "measure", "table"]

ASKED = 1.1

LAYERS: list[Layer] = [
    *dense.LAYERS,
    # to few channels
    conv(32, 16, 1, 112),
    conv(24, 24, 1, 56),
    conv(16, 8, 1, 112),
    # Winograd's algorithm, with few channels and with many
    image_filter(3, 8, 3, 512, 600),
    conv(64, 64, 3, 56),
    conv(128, 128, 3, 28),
    conv(256, 256, 3, 14),
    conv(512, 512, 3, 7),
    conv(37, 53, 3, 41),
    # depthwise
    conv(32, 32, 3, 112, groups=32),
    conv(96, 96, 3, 112, stride=2, groups=96),
    conv(144, 144, 3, 56, groups=144),
    conv(576, 576, 3, 14, groups=576),
    conv(240, 240, 5, 28, groups=240),
    conv(672, 672, 5, 14, stride=2, groups=672),
    conv(96, 96, 7, 56, groups=96),
    conv(384, 384, 7, 14, groups=384),
    conv(120, 120, 5, 28, groups=120, dilation=2),
    image_filter(3, 3, 5, 1080, 1920, groups=3),
]
"""Each kind of convolution: dense as a direct sum, by Winograd's algorithm, depthwise."""


class Row(NamedTuple):
    layer: Layer
    implementations: tuple[str, str]
    nchw: float
    """Seconds."""
    channels_last: float

    @property
    def times(self) -> float:
        """As long as with NCHW input."""
        return self.channels_last / self.nchw


def measure(layers: list[Layer], threads: int, rounds: int = 4, seconds: float = 0.05) -> list[Row]:
    """A row for each layer; ``seconds`` for each order in every round."""
    pairs = []
    for layer in layers:
        first = build(layer, threads)
        pairs.append((first, build(replace(layer, layout="nhwc"), threads, first.out)))
    found = by_turns([built.call for pair in pairs for built in pair], rounds, seconds)
    return [
        Row(layer, (first.implementation, last.implementation), nchw, channels_last)
        for layer, (first, last), nchw, channels_last in zip(layers, pairs, found[::2], found[1::2], strict=True)
    ]


def table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and lines: what runs in both orders, both times, and how many times as long."""
    return ["layer", "NCHW runs as", "channels-last as", "NCHW, µs", "channels-last, µs", "times"], [
        [
            row.layer.name,
            *row.implementations,
            micros(row.nchw),
            micros(row.channels_last),
            f"{row.times:.2f}",
        ]
        for row in rows
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the table."""
    words = parser("layouts", __doc__)
    options = words.parse_args(arguments)
    with asking(words):
        chosen = named(LAYERS, options.layer)
    threads = int(os.environ.setdefault("PYCONV_NUM_THREADS", str(machine.physical_cores())))
    report = begin(threads, arguments)
    rows = measure(chosen, threads, options.rounds)
    within = sum(row.times <= ASKED for row in rows)
    save(
        report,
        "layouts",
        rows,
        table(rows),
        f"{within} of {len(rows)} take at most {ASKED} times as long.",
        options.out,
    )


if __name__ == "__main__":
    main()
