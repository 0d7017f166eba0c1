"""OpenCV: filter2D for images of one channel, its network module for the rest."""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np

from ..data import tensors
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
            and layer.shape[0] == layer.shape[1] == layer.out_channels == layer.stride == 1
            and _centred(layer)
        ):
            ways.append(_filter2d(layer))
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


def _filter2d(layer: Layer) -> Way:
    data = tensors(layer)
    image, kernel = data.x[0, 0], data.weight[0, 0]
    delta = 0.0 if data.bias is None else float(data.bias[0])
    out = np.empty_like(image)
    call = partial(cv2.filter2D, image, cv2.CV_32F, kernel, out, (-1, -1), delta, cv2.BORDER_CONSTANT)
    return Way("filter2D", call, lambda _: out[None, None])


def _network(layer: Layer) -> Way:
    from .onnx_model import one_node_model

    network = cv2.dnn.readNetFromONNX(np.frombuffer(one_node_model(layer), np.uint8))
    x = tensors(layer).x

    def call() -> Any:
        network.setInput(x)
        return network.forward()

    return Way("dnn", call, np.asarray)
