"""ncnn through its Python binding."""

from __future__ import annotations

import tempfile
from typing import Any

import ncnn
import numpy as np

from ..data import tensors
from ..layer import CONVOLUTIONS, POOLS, Layer
from .base import Peer, Unsupported, Way

__all__ = ["Ncnn"]

_REDUCED_PRECISION = (
    "use_fp16_packed",
    "use_fp16_storage",
    "use_fp16_arithmetic",
    "use_bf16_packed",
    "use_bf16_storage",
)
_MAGIC = 7767517  # first line of the text format
_ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "ReLU 0=0.01",
    "relu6": "Clip 0=0 1=6",
    "hardtanh": "Clip 0=-1 1=1",
    "sigmoid": "Sigmoid",
    "tanh": "TanH",
    "silu": "Swish",
    "mish": "Mish",
    "elu": "ELU 0=1",
    "selu": "SELU",
    "celu": "CELU 0=1",
    "hardsigmoid": "HardSigmoid 0=0.16666667 1=0.5",
    "hardswish": "HardSwish 0=0.16666667 1=0.5",
    "softplus": "Softplus",
    "softmax": "Softmax",
}
"""With parameters, which go by number."""


class Ncnn(Peer):
    """Its Winograd and packed layouts stay on, as by default; fp16 and bf16 storage go off, so that it is float32."""

    batches = False

    def version(self) -> str:
        return ncnn.__version__

    def check(self, layer: Layer) -> None:
        super().check(layer)
        if layer.indices or (layer.op in POOLS and layer.dilation > 1):
            raise Unsupported("its pooling has no indices and no dilation")

    def build(self, layer: Layer) -> list[Way]:
        net = ncnn.Net()
        net.opt.num_threads = self.threads
        for option in _REDUCED_PRECISION:
            if hasattr(net.opt, option):
                setattr(net.opt, option, False)
        data = tensors(layer)
        text = f"{_MAGIC}\n2 2\nInput x 0 1 x\n{_line(layer)}\n"
        if net.load_param_mem(text) != 0:
            raise RuntimeError(f"ncnn does not take the model {text!r}")
        with tempfile.NamedTemporaryFile(suffix=".bin") as file:
            if layer.op in CONVOLUTIONS:
                weight = data.weight.swapaxes(0, 1) if layer.op == "conv_transpose2d" else data.weight
                file.write(b"\0\0\0\0" + weight.tobytes())  # four zero bytes: plain float32 follows
                file.write(b"" if data.bias is None else data.bias.tobytes())
            file.flush()
            if net.load_model(file.name) != 0:
                raise RuntimeError(f"ncnn does not take the weights of {text!r}")
        x = ncnn.Mat(data.x[0]).clone()  # a copy has ncnn's own distance between channels

        def call() -> Any:
            extractor = net.create_extractor()
            extractor.input("x", x)
            return extractor.extract("y")[1]

        return [Way("extract", call, lambda result: np.array(result).reshape(layer.out_shape))]


def _line(layer: Layer) -> str:
    """The layer in ncnn's text format, where parameters go by number."""
    (rows, columns), (border, side) = layer.kernel, layer.padding
    if layer.op == "conv2d":
        size = int(np.prod(layer.weight_shape))
        window = f"1={columns} 11={rows} 2={layer.dilation} 3={layer.stride} 4={side} 14={border}"
        window += f" 5={int(layer.bias)} 6={size}"
        if layer.groups == 1:
            return f"Convolution op 1 1 x y 0={layer.out_channels} {window}"
        return f"ConvolutionDepthWise op 1 1 x y 0={layer.out_channels} {window} 7={layer.groups}"
    if layer.op == "conv_transpose2d":
        size, more = int(np.prod(layer.weight_shape)), layer.output_padding
        window = f"1={columns} 11={rows} 2={layer.dilation} 3={layer.stride} 4={side} 14={border} 18={more} 19={more}"
        return f"Deconvolution op 1 1 x y 0={layer.out_channels} {window} 5={int(layer.bias)} 6={size}"
    if layer.op in POOLS:
        kind, mode = int(layer.op == "avg_pool2d"), int(not layer.ceil_mode)
        return f"Pooling op 1 1 x y 0={kind} 1={columns} 11={rows} 2={layer.stride} 3={side} 13={border} 5={mode} 6=1"
    if layer.op == "adaptive_avg_pool2d":
        return "Pooling op 1 1 x y 0=1 4=1"
    if layer.op not in _ACTIVATIONS:
        raise Unsupported("it has no such operation")
    name, _, parameters = _ACTIVATIONS[layer.op].partition(" ")
    if layer.op == "softmax":
        parameters = f"0={dict(layer.options)['dim'] % 4 - 1} 1=1"  # its axes have no batch among them
    return f"{name} op 1 1 x y {parameters}"
