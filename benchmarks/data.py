"""The numbers that go into a layer, and whether what came out is right."""

from __future__ import annotations

from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from .layer import CONVOLUTIONS, Layer

__all__ = ["TOLERANCE", "Expected", "Region", "Tensors", "error", "expected", "kernel", "region", "sigma", "tensors"]

TOLERANCE = {"float32": 5e-6, "float64": 5e-6 / 2**29}
"""Largest error that still counts as the dtype: a Winograd convolution errs by up to about 1e-6, bfloat16 by 5e-5."""

CHANNELS = 8
ROW_BYTES = 64_000_000


class Tensors(NamedTuple):
    x: np.ndarray
    weight: np.ndarray | None
    bias: np.ndarray | None


class Region(NamedTuple):
    """The part of a layer's output that is checked: some channels, the first rows and the last rows.

    The whole output of the largest layers would take longer to check than to measure.
    """

    channels: list[int]
    rows: list[tuple[int, int]]

    def of(self, output: np.ndarray) -> np.ndarray:
        """The region's values, from the whole output."""
        return np.concatenate([output[:, self.channels, top:bottom] for top, bottom in self.rows], axis=2)


def tensors(layer: Layer) -> Tensors:
    """The same numbers in every process: normal, with a filter's weights, or scaled so that outputs are near 1."""
    rng = np.random.default_rng(crc32(f"{layer.op} {layer.name}".encode()))
    dtype = np.dtype(layer.dtype).type
    x = rng.standard_normal(layer.shape, dtype)
    if layer.layout == "nhwc":
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layer.op not in CONVOLUTIONS:
        return Tensors(x, None, None)
    if layer.filter:
        weight = np.broadcast_to(kernel(layer), layer.weight_shape).astype(dtype)
    else:
        weight = rng.standard_normal(layer.weight_shape, dtype)
        weight /= dtype(np.sqrt(layer.taps))
    bias = rng.standard_normal(layer.out_channels, dtype) if layer.bias else None
    return Tensors(x, weight, bias)


def sigma(size: int) -> float:
    """Of a Gaussian kernel of this size, as OpenCV chooses it."""
    return 0.3 * ((size - 1) / 2 - 1) + 0.8


def kernel(layer: Layer) -> np.ndarray:
    """What ``layer.filter`` names, (kernel height, kernel width)."""
    if layer.filter == "box":
        return np.full(layer.kernel, 1 / np.prod(layer.kernel))
    if layer.filter == "sobel":
        return np.outer([1, 2, 1], [-1, 0, 1])
    column, row = (np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma(size)) ** 2) for size in layer.kernel)
    return np.outer(column / column.sum(), row / row.sum())


def region(layer: Layer) -> Region:
    """What to check of a layer's output."""
    _, channels, height, width = layer.out_shape
    chosen = sorted({round(i * (channels - 1) / (CHANNELS - 1)) for i in range(CHANNELS)})
    taps = layer.taps if layer.op in CONVOLUTIONS else len(chosen)
    rows = max(2, ROW_BYTES // (8 * width * taps))
    if rows >= height or layer.op == "conv_transpose2d":
        return Region(chosen, [(0, height)])
    return Region(chosen, [(0, rows // 2), (height - rows // 2, height)])


class Expected(NamedTuple):
    """The right values of a region, and what an error in each is measured against."""

    values: np.ndarray
    scale: np.ndarray


def expected(layer: Layer, part: Region) -> Expected:
    """By the reference backend, in float64.

    The scale of a convolution's output is its sum of \\|x\\| \\|w\\|, which is what rounding is measured against;
    elsewhere the value itself, or 1 if that is larger.
    """
    exact = Tensors(*(None if array is None else array.astype(np.float64) for array in tensors(layer)))
    values = _reference(layer, part, exact)
    if layer.op not in CONVOLUTIONS:
        return Expected(values, np.maximum(np.abs(values), 1))
    positive = Tensors(*(None if array is None else np.abs(array) for array in exact))
    return Expected(values, _reference(layer, part, positive))


def error(right: Expected, sample: np.ndarray) -> float:
    """The largest error of a library's values of the region. Raises ValueError if they have another shape."""
    if sample.shape != right.values.shape:
        raise ValueError(f"the checked part of the result has shape {sample.shape}, expected {right.values.shape}")
    worst = float(np.max(np.abs(sample.astype(np.float64) - right.values) / right.scale))
    return worst if np.isfinite(worst) else float("inf")


def _reference(layer: Layer, part: Region, data: Tensors) -> np.ndarray:
    bands = [_band(layer, part.channels, top, bottom, data) for top, bottom in part.rows]
    return np.concatenate(bands, axis=2)


def _band(layer: Layer, channels: list[int], top: int, bottom: int, data: Tensors) -> np.ndarray:
    """Rows ``top`` to ``bottom`` of some output channels, in float64 by the reference backend."""
    import pyconv.functional as F

    (border, side), dilation = layer.padding, layer.dilation
    first = top * layer.stride - border
    last = (bottom - 1) * layer.stride - border + dilation * (layer.kernel[0] - 1) + 1
    rows = slice(max(first, 0), min(last, layer.shape[2]))
    above, below = max(-first, 0), max(last - layer.shape[2], 0)
    padding = ((above, below), (side, side))
    if layer.op == "conv_transpose2d":  # of which all rows are checked
        x, weight, bias = _needed(layer, channels, data)
        window = (layer.stride, layer.padding, layer.output_padding)
        return F.conv_transpose2d(x, weight, bias, *window, backend="reference")
    if layer.op not in CONVOLUTIONS:
        if layer.op == "max_pool2d":
            x = data.x[:, channels, rows]
            window = (layer.kernel, layer.stride, padding, dilation, layer.ceil_mode)
            return F.max_pool2d(x, *window, backend="reference")
        if layer.op == "avg_pool2d":
            return F.avg_pool2d(data.x[:, channels, rows], layer.kernel, layer.stride, padding, backend="reference")
        if layer.op == "adaptive_avg_pool2d":
            return F.adaptive_avg_pool2d(data.x[:, channels], 1, backend="reference")
        # softmax needs all channels
        return getattr(F, layer.op)(data.x[:, :, rows], backend="reference", **dict(layer.options))[:, channels]
    x, weight, bias = _needed(layer, channels, data)
    groups = 1 if layer.groups == 1 else len(channels)
    return F.conv2d(x[:, :, rows], weight, bias, layer.stride, padding, dilation, groups, backend="reference")


def _needed(layer: Layer, channels: list[int], data: Tensors) -> tuple[Any, ...]:
    """Input, weight and bias of some output channels alone; of several groups, with each one's inputs by themselves."""
    x = data.x
    if layer.op == "conv_transpose2d":
        return x, data.weight[:, channels], None if data.bias is None else data.bias[channels]
    if layer.groups > 1:
        per_out, per_in = layer.out_channels // layer.groups, layer.weight_shape[1]
        x = x[:, [channel // per_out * per_in + i for channel in channels for i in range(per_in)]]
    return x, data.weight[channels], None if data.bias is None else data.bias[channels]
