"""Residual blocks of ResNet, as `benchmarks.stacks` measures them; their normalisations are folded into the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Block", "Convolution", "Network", "basic", "bottleneck"]


class Convolution(NamedTuple):
    """A convolution with a bias that keeps the size of images, but for its stride."""

    out_channels: int
    kernel: int
    stride: int = 1

    @property
    def padding(self) -> int:
        return self.kernel // 2


class Network:
    """What blocks and stacks have in common: layers over ``count`` images, ``shape[0]`` at a time."""

    title: str
    shape: tuple[int, int, int, int]
    count: int
    dtype = "float32"
    layout = "nchw"

    @property
    def name(self) -> str:
        batch, channels, height, width = self.shape
        return f"{self.title}, {channels}x{height}x{width}, batch {batch}"

    @property
    def batches(self) -> int:
        return self.count // self.shape[0]

    @property
    def bytes(self) -> int:
        """Of all images and their results, and of the weights."""
        return 4 * (sum(map(prod, self.weight_shapes)) + self.batches * (prod(self.shape) + prod(self.out_shape)))


@dataclass(frozen=True)
class Block(Network):
    """Convolutions with relu between; the input, or a 1x1 ``projection`` of it, is added, and then comes relu."""

    title: str
    shape: tuple[int, int, int, int]
    convolutions: tuple[Convolution, ...]
    projection: Convolution | None = None
    count: int = 1
    saved_bytes: int = field(init=False)
    """What a batch need not write to memory and read again if relu and addition are the convolutions' own."""

    def __post_init__(self) -> None:
        *between, last = (prod(self._out_shape(place)) for place in range(len(self.convolutions)))
        object.__setattr__(self, "saved_bytes", 8 * sum(between) + 16 * last)  # each pass reads and writes

    def _out_shape(self, place: int) -> tuple[int, int, int, int]:
        """Of the convolution at ``place``."""
        shape = self.shape if place == 0 else self._out_shape(place - 1)
        stride = self.convolutions[place].stride
        return shape[0], self.convolutions[place].out_channels, -(-shape[2] // stride), -(-shape[3] // stride)

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return self._out_shape(len(self.convolutions) - 1)

    @property
    def weight_shapes(self) -> list[tuple[int, int, int, int]]:
        """Of the convolutions in order, and of the projection."""
        before = [self.shape[1], *(each.out_channels for each in self.convolutions)]
        found = [
            (each.out_channels, channels, each.kernel, each.kernel)
            for each, channels in zip(self.convolutions, before, strict=False)
        ]
        return found + ([(self.projection.out_channels, self.shape[1], 1, 1)] if self.projection else [])

    @property
    def flops(self) -> int:
        """Of the convolutions, by the plain sums."""
        shapes = [self._out_shape(place) for place in range(len(self.convolutions))]
        shapes += [self.out_shape] if self.projection else []
        weights = self.weight_shapes
        return 2 * sum(prod(out) * prod(weight[1:]) for out, weight in zip(shapes, weights, strict=True))

    def reference(self, x: np.ndarray, weights: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """The result by the reference backend, in the dtype of ``x``."""
        import pyconv.functional as F

        def run(each: Convolution, x: Any, place: int) -> Any:
            wide = (array.astype(x.dtype) for array in weights[place])
            return F.conv2d(x, *wide, each.stride, each.padding, backend="reference")

        added = run(self.projection, x, -1) if self.projection else x
        for place, each in enumerate(self.convolutions):
            x = run(each, F.relu(x, backend="reference") if place else x, place)
        return F.relu(x + added, backend="reference")


def basic(channels: int, size: int, stride: int = 1) -> Block:
    """ResNet-18's: two of 3x3; the first one of a stage has a stride and doubles the channels."""
    before = channels // stride
    title = f"basic block {before if stride > 1 else ''}{'->' if stride > 1 else ''}{channels}"
    projection = Convolution(channels, 1, stride) if stride > 1 else None
    return Block(
        title, (1, before, size, size), (Convolution(channels, 3, stride), Convolution(channels, 3)), projection
    )


def bottleneck(channels: int, size: int, before: int | None = None) -> Block:
    """ResNet-50's: 1x1 to a quarter of the channels, 3x3, and 1x1 back; with a projection if there are fewer before."""
    within = channels // 4
    title = f"bottleneck {before or channels}-{within}-{channels}"
    convolutions = (Convolution(within, 1), Convolution(within, 3), Convolution(channels, 1))
    projection = Convolution(channels, 1) if before else None
    return Block(title, (1, before or channels, size, size), convolutions, projection)
