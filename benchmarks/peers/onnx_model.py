"""A layer as an ONNX model of one node, for the libraries that read such."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..data import tensors
from ..layer import CONVOLUTIONS, POOLS, Layer
from .base import Unsupported

__all__ = ["one_node_model"]

_NAMES = {
    "conv2d": "Conv",
    "conv1d": "Conv",
    "conv_transpose2d": "ConvTranspose",
    "max_pool2d": "MaxPool",
    "avg_pool2d": "AveragePool",
    "adaptive_avg_pool2d": "GlobalAveragePool",
    "relu6": "Clip",
    "hardtanh": "Clip",
    "leaky_relu": "LeakyRelu",
    "hardsigmoid": "HardSigmoid",
    "hardswish": "HardSwish",
    "hardshrink": "Shrink",
    "softshrink": "Shrink",
    "threshold": "ThresholdedRelu",
    "log_softmax": "LogSoftmax",
    **{op: op.capitalize() for op in ("relu", "sigmoid", "tanh", "elu", "selu", "celu", "gelu", "mish")},
    **{op: op.capitalize() for op in ("softplus", "softsign", "softmax")},
}
_ATTRIBUTES = {
    "leaky_relu": {"alpha": 0.01},
    "hardsigmoid": {"alpha": 1 / 6, "beta": 0.5},
    "hardshrink": {"lambd": 0.5, "bias": 0.0},
    "softshrink": {"lambd": 0.5, "bias": 0.5},
}
_LIMITS = {"relu6": (0, 6), "hardtanh": (-1, 1)}
_OPERATOR_SET = {"gelu": (20, 9), "mish": (18, 8)}
"""The first that has the operator, and the format's version that goes with it; elsewhere an old one."""


def one_node_model(layer: Layer) -> bytes:
    """The serialised model; input 'x', output 'y', weights constant."""
    data = tensors(layer)
    if layer.op not in _NAMES and layer.op != "silu":
        raise Unsupported("ONNX has no operator for it")
    inputs, constants, attributes = ["x"], [], dict(_ATTRIBUTES.get(layer.op, {}))
    names = {"dim": "axis", "threshold": "alpha", "approximate": "approximate"}
    attributes |= {names[name]: value for name, value in layer.options if name in names}
    for name, limit in zip(("low", "high"), _LIMITS.get(layer.op, ()), strict=False):
        inputs.append(name)
        constants.append(numpy_helper.from_array(np.float32(limit), name))
    if layer.op in CONVOLUTIONS or layer.op in POOLS:
        attributes = {"kernel_shape": layer.kernel, "strides": [layer.stride] * 2, "pads": layer.padding * 2}
    if layer.op == "max_pool2d":
        attributes |= {"dilations": [layer.dilation] * 2, "ceil_mode": int(layer.ceil_mode)}
    if layer.op == "avg_pool2d":
        attributes |= {"count_include_pad": 1}
    if layer.op == "conv_transpose2d":
        attributes |= {"output_padding": [layer.output_padding] * 2}
    if layer.op in CONVOLUTIONS:
        attributes |= {"group": layer.groups, "dilations": [layer.dilation] * 2}
        for name, array in (("w", data.weight), ("b", data.bias)):
            if array is not None:
                inputs.append(name)
                constants.append(numpy_helper.from_array(array, name))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, layer.out_shape)]
    if layer.indices:
        outputs.append(helper.make_tensor_value_info("places", TensorProto.INT64, layer.out_shape))
    graph = helper.make_graph(
        _nodes(layer, inputs, attributes),
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, layer.shape)],
        outputs,
        constants,
    )
    # old versions on purpose: every reader knows them
    operators, version = _OPERATOR_SET.get(layer.op, (17, 8))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", operators)], ir_version=version)
    return model.SerializeToString()


def _nodes(layer: Layer, inputs: list[str], attributes: dict[str, Any]) -> list[NodeProto]:
    if layer.op == "silu":  # which has no operator; readers put the two together
        return [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])]
    outputs = ["y", "places"] if layer.indices else ["y"]
    return [helper.make_node(_NAMES[layer.op], inputs, outputs, **attributes)]
