"""OpenCV: its functions for images where a channel is filtered by itself, its network module for the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np

from ..data import sigma, tensors
from ..layer import Layer
from .base import Peer, Unsupported, Way

__all__ = ["OpenCV"]


class OpenCV(Peer):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        cv2.setNumThreads(threads)

    def version(self) -> str:
        return cv2.__version__

    def check(self, layer: Layer) -> None:
        super().check(layer)
        if layer.indices:
            raise Unsupported("its pooling's indices are for its own unpooling")

    def build(self, layer: Layer) -> list[Way]:
        ways = []
        if (
            layer.op == "conv2d"
            and layer.shape[0] == layer.stride == 1
            and layer.shape[1] == layer.out_channels == layer.groups
            and _centred(layer)
        ):
            ways += _filters(layer)
        try:
            ways.append(_network(layer))
        except ImportError:  # without onnx there are the filters
            if not ways:
                raise Unsupported("its network module needs the onnx package to be given a model") from None
        return ways


def _centred(layer: Layer) -> bool:
    return layer.dilation == 1 and all(
        length % 2 and padding == length // 2 for length, padding in zip(layer.kernel, layer.padding, strict=True)
    )


def _filters(layer: Layer) -> list[Way]:
    """Plane by plane, by its functions for images: the general one, and those that know what the kernel is."""
    data = tensors(layer)
    planes, out = data.x[0], np.empty_like(data.x[0])
    deltas = np.zeros(len(planes)) if data.bias is None else data.bias
    size, border = (layer.kernel[1], layer.kernel[0]), cv2.BORDER_CONSTANT
    calls: dict[str, Callable[[int], Any]] = {
        "filter2D": lambda n: cv2.filter2D(
            planes[n], cv2.CV_32F, data.weight[n, 0], out[n], (-1, -1), float(deltas[n]), border
        )
    }
    if layer.filter:
        column, row = (cv2.getGaussianKernel(length, sigma(length)) for length in layer.kernel)
        if layer.filter == "gaussian":
            calls["GaussianBlur"] = lambda n: cv2.GaussianBlur(planes[n], size, sigma(size[0]), out[n], 0, border)
        elif layer.filter == "box":
            column, row = (np.full(length, 1 / length) for length in layer.kernel)
            calls["blur"] = lambda n: cv2.blur(planes[n], size, out[n], (-1, -1), border)
        else:
            column, row = np.array([1.0, 2, 1]), np.array([-1.0, 0, 1])
            calls["Sobel"] = lambda n: cv2.Sobel(planes[n], cv2.CV_32F, 1, 0, out[n], size[0], 1, 0, border)
        calls["sepFilter2D"] = lambda n: cv2.sepFilter2D(
            planes[n], cv2.CV_32F, row, column, out[n], (-1, -1), 0, border
        )

    def every(call: Callable[[int], Any]) -> None:
        for n in range(len(planes)):
            call(n)

    return [Way(name, partial(every, call), lambda _: out[None]) for name, call in calls.items()]


def _network(layer: Layer) -> Way:
    from .onnx_model import one_node_model

    network = cv2.dnn.readNetFromONNX(np.frombuffer(one_node_model(layer), np.uint8))
    x = tensors(layer).x

    def call() -> Any:
        network.setInput(x)
        return network.forward()

    return Way("dnn", call, np.asarray)
