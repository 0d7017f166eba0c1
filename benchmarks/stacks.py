"""Stacks of (convolution, relu, max pooling) over streams of images, and residual blocks, each library in its own fused
form.

``python -m benchmarks.stacks`` measures them as ``python -m benchmarks`` measures layers, and writes the same files.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from . import machine
from .alone import asking
from .blocks import Block, Network, basic, bottleneck
from .data import Expected, error
from .layers import named
from .results import fresh, read, write_bytes, write_json
from .run import FULL, OURS, measure
from .table import markdown
from .team import Worker

__all__ = [
    "LISTS", "PEERS", "STREAM", "TOLERANCE", "Stack", "Stage", "error", "expected", "images", "main", "memory",
    "region", "weights",
]  # fmt: skip

TOLERANCE = {"float32": 5e-5}
"""Largest error, of the largest output: rounding of several layers; bfloat16 errs by 1e-2."""


class Pool(NamedTuple):
    """A max pooling."""

    kernel: int = 2
    stride: int = 2
    padding: int = 0


class Stage(NamedTuple):
    """A convolution, a relu, and a max pooling."""

    out_channels: int
    kernel: int
    padding: int
    stride: int = 1
    pool: Pool = Pool()


@dataclass(frozen=True)
class Stack(Network):
    """Stages over a stream of ``count`` images, ``shape[0]`` at a time."""

    title: str
    shape: tuple[int, int, int, int]
    stages: tuple[Stage, ...]
    count: int = 1
    saved_bytes: int = field(init=False)
    """What a batch need not write to memory and read again if each stage is run as one."""

    def __post_init__(self) -> None:
        between = sum(prod(self.convolved(place)) for place in range(len(self.stages)))
        object.__setattr__(self, "saved_bytes", 4 * 4 * between)  # relu and pooling each read what was written

    def input_shape(self, place: int) -> tuple[int, int, int, int]:
        """Of the stage at ``place``."""
        if place == 0:
            return self.shape
        batch, channels, *size = self.convolved(place - 1)
        kernel, stride, padding = self.stages[place - 1].pool
        height, width = ((length + 2 * padding - kernel) // stride + 1 for length in size)
        return batch, channels, height, width

    def convolved(self, place: int) -> tuple[int, int, int, int]:
        """Of the convolution's output there."""
        batch, _, *size = self.input_shape(place)
        stage = self.stages[place]
        height, width = ((length + 2 * stage.padding - stage.kernel) // stage.stride + 1 for length in size)
        return batch, stage.out_channels, height, width

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return self.input_shape(len(self.stages))

    def weight_shape(self, place: int) -> tuple[int, int, int, int]:
        stage = self.stages[place]
        return stage.out_channels, self.input_shape(place)[1], stage.kernel, stage.kernel

    @property
    def weight_shapes(self) -> list[tuple[int, int, int, int]]:
        return [self.weight_shape(place) for place, _ in enumerate(self.stages)]

    def reference(self, x: np.ndarray, weights: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """A batch's result by the reference backend, in the dtype of ``x``."""
        import pyconv.functional as F

        for stage, (weight, bias) in zip(self.stages, weights, strict=True):
            wide = weight.astype(x.dtype), bias.astype(x.dtype)
            x = F.conv2d(x, *wide, stage.stride, stage.padding, backend="reference")
            x = F.max_pool2d(F.relu(x, backend="reference"), *stage.pool, backend="reference")
        return x

    @property
    def flops(self) -> int:
        """Of the whole stream, by the plain sums."""
        sums = (prod(self.convolved(place)) * prod(self.weight_shape(place)[1:]) for place, _ in enumerate(self.stages))
        return 2 * self.batches * sum(sums)


def _vgg(batch: int, count: int) -> Stack:
    channels = (64, 128, 256, 512, 512)
    return Stack("VGG-like", (batch, 3, 224, 224), tuple(Stage(n, 3, 1) for n in channels), count)


def _lenet(batch: int, count: int) -> Stack:
    return Stack("LeNet-like", (batch, 1, 28, 28), (Stage(6, 5, 2), Stage(16, 5, 0)), count)


def _group(channels: int, out_channels: int, size: int) -> Stack:
    title = f"conv 3x3 {channels}->{out_channels}, relu, pool 2x2"
    return Stack(title, (1, channels, size, size), (Stage(out_channels, 3, 1),))


def _stem(channels: int, out_channels: int, size: int) -> Stack:
    title = f"conv 7x7 s2 {channels}->{out_channels}, relu, pool 3x3 s2"
    return Stack(title, (1, channels, size, size), (Stage(out_channels, 7, 3, 2, Pool(3, 2, 1)),))


LISTS: dict[str, list[Any]] = {
    "streams": [_lenet(1, 1000), _lenet(32, 992), _vgg(1, 4), _vgg(32, 32)],
    "groups": [
        _group(3, 64, 224), _group(64, 64, 224), _group(64, 128, 112), _group(128, 256, 56), _group(256, 512, 28),
        _group(512, 512, 14), _stem(3, 64, 224),
    ],
    "residual": [
        basic(64, 56), basic(128, 28), basic(256, 14), basic(512, 7), basic(128, 56, stride=2),
        bottleneck(256, 56), bottleneck(512, 28), bottleneck(1024, 14), bottleneck(2048, 7),
        bottleneck(256, 56, before=64),
    ],
}  # fmt: skip
"""A stream of whole batches: of LeNet-like ones 1000 images, or the 992 that are batches of 32. Of the residual blocks,
those of ResNet-18 and ResNet-50 in each stage, and of each one that changes the channels."""

PEERS = {
    name: f"benchmarks.peers.stacks:{target}"
    for name, target in {
        "pyconv": "Pyconv",
        "pyconv layer by layer": "PyconvLayers",
        "torch": "Torch",
        "torch-channels-last": "TorchChannelsLast",
        "torch.compile": "TorchCompiled",
        "onnxruntime": "OnnxRuntime",
        "openvino": "OpenVino",
        "ncnn": "Ncnn",
    }.items()
}

STREAM = 1000
"""Images that pyconv's memory is looked at over: more than the large stacks' time is measured on."""

_DIFFERENT = 4


def images(stack: Stack | Block) -> list[np.ndarray]:
    """Batches of the stream: some that differ, again and again."""
    rng = np.random.default_rng(crc32(stack.name.encode()))
    some = [rng.standard_normal(stack.shape, np.float32) for _ in range(min(stack.batches, _DIFFERENT))]
    return [some[place % len(some)] for place in range(stack.batches)]


def weights(stack: Stack | Block) -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight, bias) of every convolution, scaled so that the outputs stay near 1."""
    rng = np.random.default_rng(crc32(stack.title.encode()))
    found = []
    for shape in stack.weight_shapes:
        weight = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / prod(shape[1:])))
        found.append((weight, rng.standard_normal(shape[0], np.float32) / 8))
    return found


class _Images:
    """What is checked of the last batch's output: its first and its last image."""

    def of(self, output: np.ndarray) -> np.ndarray:
        return output[[0, -1]]


def region(stack: Stack | Block) -> _Images:
    """What to check of a stack's output."""
    return _Images()


def expected(stack: Stack | Block, part: _Images) -> Expected:
    """By the reference backend in float64, relative to the largest output."""
    x = stack.reference(part.of(images(stack)[-1]).astype(np.float64), weights(stack))
    return Expected(x, np.full_like(x, np.abs(x).max()))


def memory(stack: Stack | Block, threads: int, cpus: list[int]) -> dict[str, Any]:
    """Bytes that a process of pyconv holds after the first batches, and how many more after STREAM images."""
    worker = Worker("memory", "benchmarks.peers.stacks:PyconvStream", threads, cpus)
    try:
        worker.start()
        built = worker.ask("build", stack, region(stack))
        return worker.ask("measure") if built["status"] == "ok" else built
    finally:
        worker.close()


def main(arguments: list[str] | None = None) -> int:
    """Measure, write, print where. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stacks", description=__doc__)
    parser.add_argument("--list", default=",".join(LISTS), help="comma list of %(default)s")
    parser.add_argument("--stack", default="", metavar="PATTERN", help="only stacks whose name contains this")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma list of libraries (default: %(default)s)")
    about_threads = "of every library (default: the physical cores, %(default)s)"
    parser.add_argument("--threads", type=int, default=machine.physical_cores(), help=about_threads)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the JSON file; the table goes beside it")
    options = parser.parse_args(arguments)
    lists = options.list.split(",")
    for what, names, there in (("list", lists, LISTS), ("peer", options.peers.split(","), PEERS)):
        if unknown := [name for name in names if name not in there]:
            parser.error(f"there is no {what} {', '.join(unknown)}; the {what}s are {', '.join(there)}")
    with asking(parser):
        some = named([stack for name in lists for stack in LISTS[name]], options.stack, "stack")
    chosen = [(name, stack) for name in lists for stack in LISTS[name] if stack in some]
    about = machine.describe(options.threads)
    targets = {name: PEERS[name] for name in options.peers.split(",")}
    found = measure(chosen, targets, options.threads, about["cpus"], FULL, lambda text: print(text, flush=True), _HERE)
    if OURS in targets:
        for row, (_, stack) in zip(found["rows"], chosen, strict=True):
            row["memory"] = memory(stack, options.threads, about["cpus"])
    report: dict[str, Any] = {"machine": about, "quick": False, "arguments": sys.argv[1:], **found}
    out = options.out or fresh(f"stacks-{about['date'][:10]}-{about['commit']}")
    write_json(out, report)
    text = markdown(read(out))
    write_bytes(out.with_suffix(".md"), text.encode())
    print(text)
    return 0


_HERE = sys.modules[__name__]

if __name__ == "__main__":
    from benchmarks.stacks import main as run  # not as __main__: stacks are sent to other processes

    sys.exit(run())
