"""A layer that is measured, as plain data, and short ways to write one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

__all__ = [
    "CONVOLUTIONS",
    "POOLS",
    "Layer",
    "activation",
    "conv",
    "image_filter",
    "line",
    "pool",
    "transposed",
]

POOLS = {"max_pool2d": "pool", "avg_pool2d": "average"}
"""The poolings by windows, and what they are called in a layer's name."""

CONVOLUTIONS = {"conv2d": "", "conv_transpose2d": "transposed", "conv1d": "line"}
"""What has weights, and what it is called in a layer's name."""


@dataclass(frozen=True)
class Layer:
    """One operation on one input shape.

    ``op`` is a name of pyconv.functional, adaptive pooling being to one pixel. ``shape`` is the input's (N, C, H, W),
    ``layout`` how it lies in memory: 'nchw' or 'nhwc'. ``count`` is how often the network has such a layer. What works
    on lines is given as images of height 1.
    ``headline`` rows are the ones a quick run takes.
    """

    op: str
    shape: tuple[int, int, int, int]
    out_channels: int = 0
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    dilation: int = 1
    groups: int = 1
    bias: bool = True
    output_padding: int = 0
    ceil_mode: bool = False
    indices: bool = False
    dtype: str = "float32"
    layout: str = "nchw"
    count: int = 1
    headline: bool = False
    filter: str = ""
    """Weights that people filter images with, in place of random ones: 'gaussian', 'box' or 'sobel'."""
    options: tuple[tuple[str, Any], ...] = ()
    """What else the function is called with, by name: softmax's ``dim``, gelu's ``approximate`` …"""

    @property
    def name(self) -> str:
        """Unique within a list: '3x3 s2 64->128, 56x56'."""
        batch, channels, height, width = self.shape
        marks = [f"{height}x{width}", *([f"batch {batch}"] if batch > 1 else [])]
        marks += [self.dtype] if self.dtype != "float32" else []
        marks += ["channels-last"] if self.layout == "nhwc" else []
        return f"{self._what(channels)}, {', '.join(marks)}"

    def _what(self, channels: int) -> str:
        if self.op == "adaptive_avg_pool2d":
            return f"global average {channels}"
        if self.op not in CONVOLUTIONS and self.op not in POOLS:
            return " ".join([self.op, *(f"{name}={value}" for name, value in self.options), f"{channels}"])
        depthwise = self.groups > 1 and self.groups == channels == self.out_channels
        window = [f"{self.kernel[0]}x{self.kernel[1]}"]
        window += [f"s{self.stride}"] if self.stride > 1 else []
        window += [f"d{self.dilation}"] if self.dilation > 1 else []
        window += [f"g{self.groups}"] if self.groups > 1 and not depthwise else []
        window += ["ceil"] if self.ceil_mode else []
        window += ["indices"] if self.indices else []
        arrow = f"{channels}" if self.out_channels in (0, channels) else f"{channels}->{self.out_channels}"
        kind = [POOLS[self.op]] if self.op in POOLS else [self.filter] if self.filter else []
        kind += ["depthwise"] if depthwise else []
        kind += [CONVOLUTIONS[self.op]] if CONVOLUTIONS.get(self.op) else []
        return " ".join([*kind, *window, arrow])

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        if self.op == "conv_transpose2d":
            return (self.shape[1], self.out_channels // self.groups, *self.kernel)
        return (self.out_channels, self.shape[1] // self.groups, *self.kernel)

    @property
    def taps(self) -> int:
        """Products that an output is the sum of; of a transposed convolution, in the mean and away from the edges."""
        window = self.kernel[0] * self.kernel[1]
        if self.op == "conv_transpose2d":
            window = -(-window // self.stride**2)
        return self.shape[1] // self.groups * window

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        batch, channels, *size = self.shape
        if self.op == "adaptive_avg_pool2d":
            return (batch, channels, 1, 1)
        if self.op == "conv_transpose2d":
            height, width = (
                (length - 1) * self.stride - 2 * padding + kernel + self.output_padding
                for length, kernel, padding in zip(size, self.kernel, self.padding, strict=True)
            )
            return (batch, self.out_channels, height, width)
        up = self.stride - 1 if self.ceil_mode else 0
        height, width = (
            (length + up + 2 * padding - self.dilation * (kernel - 1) - 1) // self.stride + 1
            for length, kernel, padding in zip(size, self.kernel, self.padding, strict=True)
        )
        return (batch, self.out_channels or channels, height, width)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the plain sum of products; 0 for what is bound by memory anyway."""
        if self.op not in CONVOLUTIONS:
            return 0
        batch, _, height, width = self.shape if self.op == "conv_transpose2d" else self.out_shape
        return 2 * batch * height * width * prod(self.weight_shape)

    @property
    def bytes(self) -> int:
        """Bytes that must be read and written at least."""
        weights = prod(self.weight_shape) if self.op in CONVOLUTIONS else 0
        itemsize = 8 if self.dtype == "float64" else 4
        return (prod(self.shape) + prod(self.out_shape) + weights) * itemsize + self.indices * prod(self.out_shape) * 8


def conv(
    channels: int,
    out_channels: int,
    kernel: int,
    size: int,
    stride: int = 1,
    padding: int | None = None,
    count: int = 1,
    groups: int = 1,
    headline: bool = False,
    dilation: int = 1,
    batch: int = 1,
) -> Layer:
    """A convolution on a square image, by default padded so that stride 1 keeps the size."""
    border = dilation * (kernel // 2) if padding is None else padding
    return Layer(
        op="conv2d",
        shape=(batch, channels, size, size),
        out_channels=out_channels,
        kernel=(kernel, kernel),
        stride=stride,
        padding=(border, border),
        dilation=dilation,
        groups=groups,
        count=count,
        headline=headline,
    )


def transposed(
    channels: int, out_channels: int, kernel: int, size: int, stride: int, padding: int = 0, **more: object
) -> Layer:
    """A transposed convolution of a square image."""
    layer = Layer("conv_transpose2d", (1, channels, size, size), out_channels, (kernel, kernel), stride)
    return replace(layer, padding=(padding, padding), **more)


def line(channels: int, out_channels: int, kernel: int, length: int, stride: int = 1, **more: object) -> Layer:
    """A convolution of lines, padded so that stride 1 keeps their length."""
    layer = Layer("conv1d", (1, channels, 1, length), out_channels, (1, kernel), stride, (0, kernel // 2))
    return replace(layer, **more)


def pool(channels: int, kernel: int, size: int, stride: int, padding: int = 0, **more: object) -> Layer:
    """A max pooling of a square image."""
    layer = Layer("max_pool2d", (1, channels, size, size), 0, (kernel, kernel), stride, (padding, padding))
    return replace(layer, **more)


def activation(op: str, channels: int, size: int, count: int = 1, headline: bool = False, **options: object) -> Layer:
    return Layer(op=op, shape=(1, channels, size, size), count=count, headline=headline, options=tuple(options.items()))


def image_filter(channels: int, out_channels: int, kernel: int, height: int, width: int, **more: object) -> Layer:
    """A convolution without bias on a photograph or a video frame."""
    layer = conv(channels, out_channels, kernel, 1)
    return replace(layer, shape=(1, channels, height, width), bias=False, **more)
