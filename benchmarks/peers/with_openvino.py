"""OpenVINO's CPU plug-in."""

from __future__ import annotations

import numpy as np
import openvino
from openvino import opset13 as ops

from ..data import tensors
from ..layer import CONVOLUTIONS, Layer
from .base import Peer, Unsupported, Way

__all__ = ["OpenVino"]


class OpenVino(Peer):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._core = openvino.Core()

    def version(self) -> str:
        return openvino.__version__.partition("-")[0]

    def build(self, layer: Layer) -> list[Way]:
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # its default is bfloat16 where the machine has it
        }
        request = self._core.compile_model(_model(layer), "CPU", settings).create_infer_request()
        x = tensors(layer).x
        request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
        out = request.get_output_tensor(0)

        def call(kept: np.ndarray = x) -> object:  # the request does not keep the input's memory alive
            return request.infer(None, share_inputs=True, share_outputs=True)

        return [Way("infer", call, lambda _: out.data)]


def _model(layer: Layer) -> openvino.Model:
    data = tensors(layer)
    x = ops.parameter(layer.shape, np.float32, name="x")
    strides, pads, dilations = [layer.stride] * 2, list(layer.padding), [layer.dilation] * 2
    if layer.op == "max_pool2d":
        rounding = "ceil" if layer.ceil_mode else "floor"
        found = ops.max_pool(x, strides, dilations, pads, pads, list(layer.kernel), rounding)
        if layer.indices:
            return openvino.Model([found.output(0), found.output(1)], [x], "layer")
        node = found.output(0)
    elif layer.op == "avg_pool2d":
        node = ops.avg_pool(x, strides, pads, pads, list(layer.kernel), exclude_pad=False)
    elif layer.op == "adaptive_avg_pool2d":
        node = ops.reduce_mean(x, ops.constant(np.array([2, 3])), keep_dims=True)
    elif layer.op == "conv_transpose2d":
        window = {"strides": strides, "pads_begin": pads, "pads_end": pads, "dilations": dilations}
        window["output_padding"] = [layer.output_padding] * 2
        node = ops.convolution_backprop_data(x, ops.constant(data.weight), **window)
        node = ops.add(node, ops.constant(data.bias.reshape(1, -1, 1, 1)))
    elif layer.op in CONVOLUTIONS:
        weight = data.weight
        if layer.groups == 1:
            node = ops.convolution(x, ops.constant(weight), strides, pads, pads, dilations)
        else:
            groups = layer.groups
            weight = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
            node = ops.group_convolution(x, ops.constant(weight), strides, pads, pads, dilations)
        if data.bias is not None:
            node = ops.add(node, ops.constant(data.bias.reshape(1, -1, 1, 1)))
    else:
        node = _activation(layer, x)
    return openvino.Model([node], [x], "layer")


def _activation(layer: Layer, x: openvino.Node) -> openvino.Node:
    options, same = dict(layer.options), ("relu", "sigmoid", "tanh", "mish", "softsign")
    if layer.op in ("softmax", "log_softmax"):
        return getattr(ops, layer.op)(x, options["dim"])
    if layer.op == "gelu":
        return ops.gelu(x, "tanh" if options else "erf")
    if layer.op in ("relu6", "hardtanh"):
        return ops.clamp(x, *((0.0, 6.0) if layer.op == "relu6" else (-1.0, 1.0)))
    others = {
        "silu": ops.swish,
        "hardswish": ops.hswish,
        "softplus": ops.softplus,
        "elu": lambda x: ops.elu(x, 1.0),
        "leaky_relu": lambda x: ops.prelu(x, ops.constant(np.float32([0.01]))),
        "hardsigmoid": lambda x: ops.hard_sigmoid(x, ops.constant(np.float32(1 / 6)), ops.constant(np.float32(0.5))),
        **{op: getattr(ops, op) for op in same},
    }
    if layer.op not in others:
        raise Unsupported("it has no such operation")
    return others[layer.op](x)
