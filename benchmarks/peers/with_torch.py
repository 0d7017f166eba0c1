"""torch on the CPU, in its two memory formats."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import torch

from ..data import tensors
from ..layer import Layer
from .base import Peer, Unsupported, Way

__all__ = ["Torch", "TorchChannelsLast"]


def _array(result: torch.Tensor) -> Any:
    return result.contiguous().numpy()


# Functions of torch.nn.functional have no out=; below them there are some that have.
_INTO = {
    "relu": partial(torch.clamp_min, min=0),
    "relu6": partial(torch.clamp, min=0, max=6),
    "hardtanh": partial(torch.clamp, min=-1, max=1),
    "logsigmoid": torch.ops.aten.log_sigmoid.out,
    "log_softmax": torch.ops.aten.log_softmax.int_out,
    **{op: getattr(torch, op) for op in ("sigmoid", "tanh", "softmax")},
    **{
        op: getattr(torch.ops.aten, op).out
        for op in ("leaky_relu", "elu", "gelu", "silu", "mish", "hardsigmoid", "hardswish", "hardshrink", "softshrink")
    },
    **{op: getattr(torch.ops.aten, op).out for op in ("softplus", "threshold")},
}


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
        if layer.op == "conv_transpose2d":
            weight = weight.contiguous(memory_format=self.memory_format)
            window = (layer.stride, layer.padding, layer.output_padding, layer.groups)
            return [Way("conv_transpose2d", partial(torch.conv_transpose2d, x, weight, bias, *window), _array)]
        if layer.op == "conv1d":
            window = (layer.stride, layer.padding[1], layer.dilation, layer.groups)
            call = partial(torch.conv1d, x[:, :, 0], weight[:, :, 0], bias, *window)
            return [Way("conv1d", call, lambda result: _array(result)[:, :, None])]
        if layer.op == "max_pool2d":
            window = (layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
            if layer.indices:
                function = torch.nn.functional.max_pool2d_with_indices
                return [Way("max_pool2d_with_indices", partial(function, x, *window), lambda result: _array(result[0]))]
            return [Way("max_pool2d", partial(torch.max_pool2d, x, *window), _array)]
        if layer.op == "avg_pool2d":
            call = partial(torch.nn.functional.avg_pool2d, x, layer.kernel, layer.stride, layer.padding)
            return [Way("avg_pool2d", call, _array)]
        if layer.op == "adaptive_avg_pool2d":
            call = partial(torch.nn.functional.adaptive_avg_pool2d, x, 1)
            return [Way("adaptive_avg_pool2d", call, _array)]
        options, out = dict(layer.options), torch.empty_like(x)
        ways = [Way("new", partial(getattr(torch.nn.functional, layer.op), x, **options), _array)]
        if layer.op in _INTO:
            ways.append(Way("out=", partial(_INTO[layer.op], x, **options, out=out), _array))
        return ways


class TorchChannelsLast(Torch):
    """Input and weights in channels-last memory."""

    memory_format = torch.channels_last
    layouts = ("nchw", "nhwc")

    def check(self, layer: Layer) -> None:
        super().check(layer)
        if layer.op == "conv1d":
            raise Unsupported("lines have no such memory format")
