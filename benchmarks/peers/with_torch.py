"""torch on the CPU, in its two memory formats."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import torch

from ..data import tensors
from ..layers import Layer
from .base import Peer, Way

__all__ = ["Torch", "TorchChannelsLast"]


def _array(result: torch.Tensor) -> Any:
    return result.contiguous().numpy()


class Torch(Peer):
    """NCHW, the default."""

    memory_format = torch.contiguous_format
    dtypes = ("float32", "float64")

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        torch.set_num_threads(threads)

    def version(self) -> str:
        return torch.__version__

    def context(self) -> contextlib.AbstractContextManager[Any]:
        return torch.inference_mode()

    def build(self, layer: Layer) -> list[Way]:
        x, weight, bias = (None if array is None else torch.from_numpy(array) for array in tensors(layer))
        x = x.contiguous(memory_format=self.memory_format)
        if layer.op == "conv2d":
            weight = weight.contiguous(memory_format=self.memory_format)
            call = partial(torch.conv2d, x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
            return [Way("conv2d", call, _array)]
        if layer.op == "max_pool2d":
            return [Way("max_pool2d", partial(torch.max_pool2d, x, layer.kernel, layer.stride, layer.padding), _array)]
        out = torch.empty_like(x)
        into = partial(torch.clamp_min, x, 0) if layer.op == "relu" else partial(getattr(torch, layer.op), x)
        return [
            Way("new", partial(getattr(torch, layer.op), x), _array),
            Way("out=", partial(into, out=out), _array),
        ]


class TorchChannelsLast(Torch):
    """Input and weights in channels-last memory."""

    memory_format = torch.channels_last
    layouts = ("nchw", "nhwc")
