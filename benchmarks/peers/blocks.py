"""Residual blocks in the libraries' own forms; see stacks.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..blocks import Block, Convolution

__all__ = ["ncnn_block", "onnx_nodes", "pyconv_block", "torch_block"]

_Weights = list[tuple[np.ndarray, np.ndarray]]


def pyconv_block(pyconv: Any, block: Block, weights: _Weights, fuse: bool) -> Any:
    def convolution(place: int, each: Convolution) -> Any:
        weight, bias = weights[place]
        layer = pyconv.Conv2d(weight.shape[1], each.out_channels, each.kernel, each.stride, each.padding, rng=0)
        layer.weight, layer.bias = weight, bias
        return layer

    layers: list[Any] = []
    for place, each in enumerate(block.convolutions):
        layers += [pyconv.ReLU()] * (place > 0) + [convolution(place, each)]
    shortcut = convolution(-1, block.projection) if block.projection else None
    return pyconv.Residual(*layers, downsample=shortcut, activation=pyconv.ReLU(), fuse=fuse)


def torch_block(torch: Any, block: Block, weights: _Weights) -> Any:
    def convolution(place: int, each: Convolution) -> Any:
        weight, bias = weights[place]
        layer = torch.nn.Conv2d(weight.shape[1], each.out_channels, each.kernel, each.stride, each.padding)
        layer.weight = torch.nn.Parameter(torch.from_numpy(weight))
        layer.bias = torch.nn.Parameter(torch.from_numpy(bias))
        return layer

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[Any] = []
            for place, each in enumerate(block.convolutions):
                layers += [torch.nn.ReLU(inplace=True)] * (place > 0) + [convolution(place, each)]
            self.body = torch.nn.Sequential(*layers)
            self.shortcut = convolution(-1, block.projection) if block.projection else torch.nn.Identity()
            self.relu = torch.nn.ReLU(inplace=True)

        def forward(self, x: Any) -> Any:
            result = self.body(x)
            result += self.shortcut(x)  # as torchvision has it
            return self.relu(result)

    return Net().eval()


def onnx_nodes(block: Block, helper: Any) -> list[Any]:
    """From "x" to "y"; the weights are called w0, b0, w1, ..., those of the projection come last."""
    nodes: list[Any] = []

    def convolution(place: int, each: Convolution, source: str, end: str) -> None:
        window = {"kernel_shape": [each.kernel] * 2, "strides": [each.stride] * 2, "pads": [each.padding] * 4}
        nodes.append(helper.make_node("Conv", [source, f"w{place}", f"b{place}"], [end], **window))

    last = "x"
    for place, each in enumerate(block.convolutions):
        if place:
            nodes.append(helper.make_node("Relu", [last], [f"r{place}"]))
            last = f"r{place}"
        convolution(place, each, last, f"c{place}")
        last = f"c{place}"
    added = "x"
    if block.projection:
        convolution(len(block.convolutions), block.projection, "x", "projected")
        added = "projected"
    nodes.append(helper.make_node("Add", [last, added], ["sum"]))
    nodes.append(helper.make_node("Relu", ["sum"], ["y"]))
    return nodes


def ncnn_block(block: Block, weights: _Weights) -> tuple[list[str], bytes]:
    """Lines of the network from "x" to "y", and the content of its file of weights."""
    lines, content = ["Split split 1 2 x x0 x1"], b""

    def convolution(place: int, each: Convolution, source: str, end: str, relu: bool) -> None:
        nonlocal content
        weight, bias = weights[place]
        size = f"0={each.out_channels} 1={each.kernel} 3={each.stride} 4={each.padding} 5=1 6={weight.size}"
        lines.append(f"Convolution {end} 1 1 {source} {end} {size}{' 9=1' * relu}")
        content += b"\0\0\0\0" + weight.tobytes() + bias.tobytes()

    last = "x0"
    for place, each in enumerate(block.convolutions):
        convolution(place, each, last, f"c{place}", place + 1 < len(block.convolutions))
        last = f"c{place}"
    added = "x1"
    if block.projection:
        convolution(-1, block.projection, "x1", "projected", False)
        added = "projected"
    lines.append(f"BinaryOp add 2 1 {last} {added} sum 0=0")
    lines.append("ReLU relu 1 1 sum y")
    return lines, content
