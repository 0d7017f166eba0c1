"""How near dense convolutions come to what the machine can do: ``python -m benchmarks.dense``.

pyconv alone, on as many threads as PYCONV_NUM_THREADS says (one unless it is set) and the instruction set of
PYCONV_CPU_ISA, into an array at hand. Each layer is measured in every one of some rounds over all of them, so that a
disturbed moment meets each once; its time is the least of the rounds' lower quartiles. What it is held against is
measured in the same rounds: multiply-adds in registers of that instruction set, and copies of memory.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import NamedTuple

from .alone import asking, begin, build, by_turns, parser, save
from .layer import Layer, conv, image_filter
from .layers import LISTS, named, select

__all__ = ["LAYERS", "Row", "main", "measure", "table"]

LAYERS: list[Layer] = [
    *(conv(*shape) for shape in ((64, 64, 1, 56), (64, 256, 1, 56), (256, 64, 1, 56), (256, 128, 1, 56))),
    *(conv(*shape) for shape in ((128, 512, 1, 28), (512, 128, 1, 28), (192, 768, 1, 28), (1024, 256, 1, 14))),
    *(conv(*shape) for shape in ((2048, 512, 1, 7), (512, 2048, 1, 7))),
    conv(128, 128, 3, 56, stride=2),
    conv(256, 256, 3, 28, stride=2),
    conv(512, 512, 3, 14, stride=2),
    conv(3, 64, 7, 224, stride=2),
    conv(3, 64, 3, 224),
    conv(3, 32, 3, 224, stride=2),
    conv(3, 96, 4, 224, stride=4, padding=0),
    conv(96, 192, 2, 56, stride=2, padding=0),
    image_filter(3, 16, 5, 512, 600, stride=2),
    conv(48, 48, 5, 35),
    conv(64, 96, 5, 56, stride=2),
    conv(3, 64, 5, 225, stride=3),
    conv(16, 32, 7, 64),
    conv(8, 16, 11, 64),
    conv(3, 64, 11, 224, stride=4, padding=2),
    conv(64, 64, 3, 56, dilation=2),
    conv(32, 32, 5, 56, dilation=3),
    conv(256, 256, 3, 28, dilation=4),
    *(conv(*shape) for shape in ((16, 96, 1, 112), (24, 144, 1, 56), (96, 24, 1, 56), (32, 192, 1, 28))),
    conv(128, 128, 3, 56, groups=32),
    conv(256, 256, 3, 28, stride=2, groups=32),
]
"""Direct sums of every kind: channels, strides, kernels, dilation and groups; none that Winograd's algorithm takes."""


class Row(NamedTuple):
    layer: Layer
    implementation: str
    seconds: float
    arithmetic: float
    """Seconds that its multiply-adds take at the peak."""
    memory: float
    """Seconds that input, weights and output take at the rate of a copy, each moved once."""

    @property
    def reached(self) -> float:
        """Of the multiply-add peak."""
        return self.arithmetic / self.seconds


def measure(layers: list[Layer], threads: int, rounds: int = 4, seconds: float = 0.05) -> list[Row]:
    """A row for each layer; ``seconds`` for each in every round."""
    from pyconv._core import runtime
    from pyconv.backends.cpu import isa

    from .peers.ceilings import Ceilings

    built = [build(layer, threads) for layer in layers]
    best, peaks = [float("inf")] * len(layers), {"float32": 0.0, "float64": 0.0}
    copied = Ceilings(threads).measure()["copy_bytes_per_second"]
    for _ in range(rounds):
        for dtype in peaks:
            found = runtime.measure_peak(isa.current(), dtype == "float64", threads, seconds)
            peaks[dtype] = max(peaks[dtype], found)
        best = [*map(min, best, by_turns([each.call for each in built], 1, seconds))]
    return [
        Row(layer, each.implementation, time, layer.flops / peaks[layer.dtype], layer.bytes / copied)
        for layer, time, each in zip(layers, best, built, strict=True)
    ]


def table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and lines: time, share of the peak, and what the bytes alone would take."""
    return ["layer", "runs as", "µs", "of the peak", "arithmetic, µs", "bytes, µs"], [
        [
            row.layer.name,
            row.implementation,
            f"{row.seconds * 1e6:.0f}",
            f"{row.reached:.0%}",
            f"{row.arithmetic * 1e6:.0f}",
            f"{row.memory * 1e6:.0f}",
        ]
        for row in rows
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the table."""
    words = parser("dense", __doc__)
    words.add_argument("--list", help=f"one of {', '.join(LISTS)}, in place of the dense layers")
    words.add_argument("--float64", action="store_true", help="the same layers in float64")
    words.add_argument("--below", type=float, metavar="PERCENT", help="only rows that reach less of the peak")
    options = words.parse_args(arguments)
    with asking(words):
        layers = [layer for _, layer in select([options.list])] if options.list else LAYERS
        layers = named([layer for layer in layers if layer.op == "conv2d"], options.layer, "convolution")
    if options.float64:
        layers = [replace(layer, dtype="float64") for layer in layers]
    os.environ.setdefault("PYCONV_NUM_THREADS", "1")
    threads = int(os.environ["PYCONV_NUM_THREADS"])
    report = begin(threads, arguments)
    rows = measure(layers, threads, options.rounds)
    rows = [row for row in rows if options.below is None or 100 * row.reached < options.below]
    parts = filter(None, ["dense", options.list, "float64" if options.float64 else ""])
    name = "-".join(dict.fromkeys(parts))  # the list float64 is named once
    save(report, name, rows, table(rows), out=options.out)


if __name__ == "__main__":
    main()
