"""pyconv itself: a layer object, which keeps its prepared weights."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np

import pyconv
from pyconv.plan import ACTIVATIONS

from ..data import tensors
from ..layer import CONVOLUTIONS, Layer
from .base import Peer, Way

__all__ = ["Pyconv"]


class Pyconv(Peer):
    """The worker's environment has PYCONV_NUM_THREADS; PYCONV_BACKEND and the rest are the user's."""

    dtypes = ("float32", "float64")
    layouts = ("nchw", "nhwc")

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        if not os.environ.get("PYCONV_BACKEND"):
            for backend in pyconv.backends():
                if backend.name == "cpu" and not backend.usable:  # the reference would be measured, without a word
                    raise ImportError(backend.reason)

    def version(self) -> str:
        return pyconv.__version__

    def build(self, layer: Layer) -> list[Way]:
        x, weight, bias = tensors(layer)
        if layer.op == "conv2d":
            module = pyconv.Conv2d(
                layer.shape[1],
                layer.out_channels,
                layer.kernel,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
                layer.bias,
                dtype=layer.dtype,
                rng=0,
            )
            module.weight, module.bias = weight, bias
        elif layer.op == "conv_transpose2d":
            window = (layer.kernel, layer.stride, layer.padding, layer.output_padding, layer.groups, layer.bias)
            module = pyconv.ConvTranspose2d(layer.shape[1], layer.out_channels, *window, dtype=layer.dtype, rng=0)
            module.weight, module.bias = weight, bias
        elif layer.op == "conv1d":
            window = (layer.kernel[1], layer.stride, layer.padding[1], layer.dilation, layer.groups, layer.bias)
            module = pyconv.Conv1d(layer.shape[1], layer.out_channels, *window, dtype=layer.dtype, rng=0)
            module.weight, module.bias = weight[:, :, 0], bias
        elif layer.op == "max_pool2d":
            window = (layer.kernel, layer.stride, layer.padding, layer.dilation)
            module = pyconv.MaxPool2d(*window, layer.indices, layer.ceil_mode)
        elif layer.op == "avg_pool2d":
            module = pyconv.AvgPool2d(layer.kernel, layer.stride, layer.padding)
        elif layer.op == "adaptive_avg_pool2d":
            module = pyconv.AdaptiveAvgPool2d(1)
        else:
            module = _activation(layer)
        if layer.op == "conv1d":
            x = x[:, :, 0]
        step = pyconv.explain(module, x).steps[0]
        self._implementation = f"{step.backend}:{step.implementation}"
        out = np.empty(layer.out_shape, layer.dtype)
        function = partial(module, x)
        if layer.op not in CONVOLUTIONS and "pool" not in layer.op:
            function = partial(getattr(pyconv.functional, layer.op), x, **dict(layer.options))
        if layer.op == "conv1d":
            out = out[:, :, 0]
        values = _lines if layer.op == "conv1d" else _values
        return [Way("new", function, values), Way("out=", partial(function, out=out), values)]

    def implementation(self) -> str:
        return self._implementation

    def describe(self) -> dict[str, Any]:
        return pyconv.show_config("dicts")


def _activation(layer: Layer) -> pyconv.Module:
    """The layer of an activation: of the table, or one of those that are written out."""
    others = {"gelu": pyconv.GELU, "softmax": pyconv.Softmax, "log_softmax": pyconv.LogSoftmax}
    make = others[layer.op] if layer.op in others else getattr(pyconv, ACTIVATIONS[layer.op].layer)
    return make(**dict(layer.options))


def _lines(result: Any) -> np.ndarray:
    return np.asarray(result)[:, :, None]


def _values(result: Any) -> np.ndarray:
    return np.asarray(result[0] if isinstance(result, tuple) else result)
