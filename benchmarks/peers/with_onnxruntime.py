"""onnxruntime on its CPU provider."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnxruntime

from ..data import tensors
from ..layer import Layer
from .base import Peer, Way
from .onnx_model import one_node_model

__all__ = ["OnnxRuntime"]


class OnnxRuntime(Peer):
    def version(self) -> str:
        return onnxruntime.__version__

    def build(self, layer: Layer) -> list[Way]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(one_node_model(layer), options, providers=["CPUExecutionProvider"])
        x = tensors(layer).x
        out = onnxruntime.OrtValue.ortvalue_from_shape_and_type(layer.out_shape, np.float32)
        bound = session.io_binding()
        bound.bind_cpu_input("x", x)
        bound.bind_ortvalue_output("y", out)
        names = ["y"]
        if layer.indices:
            names.append("places")
            bound.bind_ortvalue_output(
                "places", onnxruntime.OrtValue.ortvalue_from_shape_and_type(layer.out_shape, np.int64)
            )
        return [
            Way("run", partial(session.run, names, {"x": x}), lambda result: result[0]),
            Way("io binding", partial(session.run_with_iobinding, bound), lambda _: out.numpy()),
        ]
