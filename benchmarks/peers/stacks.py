"""The libraries on whole stacks and blocks, each in the form in which it fuses layers itself; imported when chosen."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import tempfile
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np

from ..blocks import Block
from ..stacks import STREAM, Stack, images, weights
from .base import Peer, Way
from .blocks import ncnn_block, onnx_nodes, pyconv_block, torch_block

__all__ = [
    "Ncnn", "OnnxRuntime", "OpenVino", "Pyconv", "PyconvLayers", "PyconvStream", "Torch", "TorchChannelsLast",
    "TorchCompiled",
]  # fmt: skip


def _stream(batches: list[Any], one: Callable[[Any], Any]) -> Callable[[], Any]:
    """A call that runs all batches and gives the last result."""

    def call() -> Any:
        for batch in batches:
            result = one(batch)
        return result

    return call


class Pyconv(Peer):
    fuse = True

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import pyconv

        self._pyconv = pyconv

    def version(self) -> str:
        return self._pyconv.__version__

    def _net(self, stack: Stack | Block) -> Any:
        pyconv, layers = self._pyconv, []
        if isinstance(stack, Block):
            return pyconv_block(pyconv, stack, weights(stack), self.fuse)
        for stage, (weight, bias) in zip(stack.stages, weights(stack), strict=True):
            window = (stage.kernel, stage.stride, stage.padding)
            conv = pyconv.Conv2d(weight.shape[1], stage.out_channels, *window, rng=0)
            conv.weight, conv.bias = weight, bias
            layers += [conv, pyconv.ReLU(), pyconv.MaxPool2d(*stage.pool)]
        return pyconv.Sequential(*layers, fuse=self.fuse)

    def build(self, stack: Stack | Block) -> list[Way]:
        net, batches = self._net(stack), images(stack)
        steps = self._pyconv.report.explain(net, batches[0]).steps
        self._implementation = " ".join(dict.fromkeys(str(step.implementation) for step in steps))
        out = np.empty(stack.out_shape, np.float32)
        return [
            Way("new", _stream(batches, net), np.asarray),
            Way("out=", _stream(batches, lambda x: net(x, out=out)), np.asarray),
        ]

    def implementation(self) -> str | None:
        return self._implementation

    def describe(self) -> dict[str, Any]:
        return self._pyconv.show_config("dicts")


class PyconvLayers(Pyconv):
    """Separate calls, for what fusing saves."""

    fuse = False

    def build(self, stack: Stack | Block) -> list[Way]:
        (new, _) = super().build(stack)
        return [new]


class PyconvStream(Pyconv):
    """A batch a call, for a look at memory over a long stream."""

    def build(self, stack: Stack | Block) -> list[Way]:
        net, batches = self._net(stack), cycle(images(stack))
        self._call, self._batches = (lambda: net(next(batches))), STREAM // stack.shape[0]
        return [Way("new", self._call, np.asarray)]

    def implementation(self) -> None:
        return None

    def measure(self) -> dict[str, Any]:
        """Bytes in memory after the first batches, and how many more after a stream of them."""
        held = _resident()
        for _ in range(self._batches):
            self._call()
        after = _resident()
        return {
            "batches": self._batches,
            "held": held,
            "grown": None if held is None or after is None else after - held,
        }


def _resident() -> int | None:
    """Bytes of this process in memory, where the system tells it, without what the C library keeps for later."""
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # else results that are gone count, or not, as they happened to lie
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


class Torch(Peer):
    channels_last = False
    compiled = False

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import torch

        self._torch = torch
        torch.set_num_threads(threads)

    def version(self) -> str:
        return self._torch.__version__

    def context(self) -> contextlib.AbstractContextManager[Any]:
        return self._torch.inference_mode()

    def build(self, stack: Stack | Block) -> list[Way]:
        net = self._net(stack)
        batches = [self._torch.from_numpy(x) for x in images(stack)]
        if self.channels_last:
            last = self._torch.channels_last
            net = net.to(memory_format=last)
            batches = [x.contiguous(memory_format=last) for x in batches]
        if self.compiled:
            net = self._torch.compile(net)
        return [Way("module", _stream(batches, net), lambda result: result.contiguous().numpy())]

    def _net(self, stack: Stack | Block) -> Any:
        torch = self._torch
        if isinstance(stack, Block):
            return torch_block(torch, stack, weights(stack))
        layers: list[Any] = []
        for stage, (weight, bias) in zip(stack.stages, weights(stack), strict=True):
            window = (stage.kernel, stage.stride, stage.padding)
            conv = torch.nn.Conv2d(weight.shape[1], stage.out_channels, *window)
            conv.weight = torch.nn.Parameter(torch.from_numpy(weight))
            conv.bias = torch.nn.Parameter(torch.from_numpy(bias))
            layers += [conv, torch.nn.ReLU(), torch.nn.MaxPool2d(*stage.pool)]
        return torch.nn.Sequential(*layers).eval()


class TorchChannelsLast(Torch):
    channels_last = True


class TorchCompiled(Torch):
    compiled = True


def _onnx(stack: Stack | Block) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    constants = [
        numpy_helper.from_array(array, f"{name}{place}")
        for place, parameters in enumerate(weights(stack))
        for name, array in zip("wb", parameters, strict=True)
    ]
    nodes = onnx_nodes(stack, helper) if isinstance(stack, Block) else _stages(stack, helper)
    graph = helper.make_graph(
        nodes,
        "stack",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, stack.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, stack.out_shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def _stages(stack: Stack, helper: Any) -> list[Any]:
    """Nodes from "x" to "y"."""
    nodes, last = [], "x"
    for place, stage in enumerate(stack.stages):
        end = "y" if place == len(stack.stages) - 1 else f"p{place}"
        window, pool = (
            {"kernel_shape": [each.kernel] * 2, "strides": [each.stride] * 2, "pads": [each.padding] * 4}
            for each in (stage, stage.pool)
        )
        nodes += [
            helper.make_node("Conv", [last, f"w{place}", f"b{place}"], [f"c{place}"], **window),
            helper.make_node("Relu", [f"c{place}"], [f"r{place}"]),
            helper.make_node("MaxPool", [f"r{place}"], [end], **pool),
        ]
        last = end
    return nodes


class OnnxRuntime(Peer):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import onnxruntime

        self._library = onnxruntime

    def version(self) -> str:
        return self._library.__version__

    def build(self, stack: Stack | Block) -> list[Way]:
        options = self._library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.graph_optimization_level = self._library.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        session = self._library.InferenceSession(_onnx(stack), options, providers=["CPUExecutionProvider"])
        batches = images(stack)
        out = self._library.OrtValue.ortvalue_from_shape_and_type(stack.out_shape, np.float32)
        bound = []
        for x in batches:
            binding = session.io_binding()
            binding.bind_cpu_input("x", x)
            binding.bind_ortvalue_output("y", out)
            bound.append(binding)
        return [
            Way("run", _stream(batches, lambda x: session.run(["y"], {"x": x})), lambda result: result[0]),
            Way("io binding", _stream(bound, session.run_with_iobinding), lambda _: out.numpy()),
        ]


class OpenVino(Peer):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import openvino

        self._library, self._core = openvino, openvino.Core()

    def version(self) -> str:
        return self._library.__version__.partition("-")[0]

    def build(self, stack: Stack | Block) -> list[Way]:
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # its default is bfloat16 where the machine has it
        }
        model = self._core.read_model(_onnx(stack))
        request = self._core.compile_model(model, "CPU", settings).create_infer_request()
        batches = images(stack)

        def one(x: np.ndarray) -> Any:
            return request.infer({0: x}, share_inputs=True, share_outputs=True)

        return [Way("infer", _stream(batches, one), lambda result: np.array(result[0]))]


class Ncnn(Peer):
    batches = False

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import ncnn

        self._library = ncnn

    def version(self) -> str:
        return self._library.__version__

    def build(self, stack: Stack | Block) -> list[Way]:
        from .with_ncnn import _MAGIC, _REDUCED_PRECISION

        net = self._library.Net()
        net.opt.num_threads = self.threads
        for option in _REDUCED_PRECISION:
            if hasattr(net.opt, option):
                setattr(net.opt, option, False)
        some, content = ncnn_block(stack, weights(stack)) if isinstance(stack, Block) else self._lines(stack)
        lines = ["Input x 0 1 x", *some]
        blobs = len({blob for line in lines for blob in _blobs(line)})
        text = f"{_MAGIC}\n{len(lines)} {blobs}\n" + "\n".join(lines) + "\n"
        with tempfile.NamedTemporaryFile(suffix=".bin") as file:
            file.write(content)
            file.flush()
            if net.load_param_mem(text) != 0 or net.load_model(file.name) != 0:
                raise RuntimeError(f"ncnn does not take the model {text!r}")

        def one(x: Any) -> Any:
            extractor = net.create_extractor()
            extractor.input("x", x)
            return extractor.extract("y")[1]

        mats = [self._library.Mat(x[0]).clone() for x in images(stack)]
        return [Way("extract", _stream(mats, one), lambda result: np.array(result)[None])]

    @staticmethod
    def _lines(stack: Stack) -> tuple[list[str], bytes]:
        lines, last, content = [], "x", b""
        for place, (stage, (weight, bias)) in enumerate(zip(stack.stages, weights(stack), strict=True)):
            end = "y" if place == len(stack.stages) - 1 else f"p{place}"
            size = f"1={stage.kernel} 3={stage.stride} 4={stage.padding} 5=1 6={weight.size} 9=1"  # 9=1: relu
            pool = f"1={stage.pool.kernel} 2={stage.pool.stride} 3={stage.pool.padding} 5=1"
            lines.append(f"Convolution c{place} 1 1 {last} c{place} 0={stage.out_channels} {size}")
            lines.append(f"Pooling p{place} 1 1 c{place} {end} 0=0 {pool}")
            content += b"\0\0\0\0" + weight.tobytes() + bias.tobytes()
            last = end
        return lines, content


def _blobs(line: str) -> list[str]:
    """Of a line of an ncnn network: what its layer reads and writes."""
    _, _, reads, writes, *rest = line.split()
    return rest[: int(reads) + int(writes)]
