"""A layer as an ONNX model of one node, for the libraries that read such."""

from __future__ import annotations

from onnx import TensorProto, helper, numpy_helper

from ..data import tensors
from ..layers import Layer

__all__ = ["one_node_model"]

_NAMES = {"conv2d": "Conv", "max_pool2d": "MaxPool", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


def one_node_model(layer: Layer) -> bytes:
    """The serialised model; input 'x', output 'y', weights constant."""
    data = tensors(layer)
    inputs, constants, attributes = ["x"], [], {}
    if layer.op in ("conv2d", "max_pool2d"):
        attributes = {"kernel_shape": layer.kernel, "strides": [layer.stride] * 2, "pads": layer.padding * 2}
    if layer.op == "conv2d":
        attributes |= {"group": layer.groups, "dilations": [layer.dilation] * 2}
        for name, array in (("w", data.weight), ("b", data.bias)):
            if array is not None:
                inputs.append(name)
                constants.append(numpy_helper.from_array(array, name))
    graph = helper.make_graph(
        [helper.make_node(_NAMES[layer.op], inputs, ["y"], **attributes)],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, layer.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, layer.out_shape)],
        constants,
    )
    # old versions on purpose: every reader knows them
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()
