"""The libraries that are compared; each module here imports its library, so it is loaded in a worker process only."""

from __future__ import annotations

from importlib import import_module

from .base import Peer

__all__ = ["DEFAULT", "PEERS", "load"]

PEERS = {
    "pyconv": "benchmarks.peers.with_pyconv:Pyconv",
    "torch": "benchmarks.peers.with_torch:Torch",
    "torch-channels-last": "benchmarks.peers.with_torch:TorchChannelsLast",
    "onnxruntime": "benchmarks.peers.with_onnxruntime:OnnxRuntime",
    "openvino": "benchmarks.peers.with_openvino:OpenVino",
    "ncnn": "benchmarks.peers.with_ncnn:Ncnn",
    "opencv": "benchmarks.peers.with_opencv:OpenCV",
    "ceilings": "benchmarks.peers.ceilings:Ceilings",
}
"""Name to module:class. Others can be given to ``--peers`` as name=module:class."""

DEFAULT = [name for name in PEERS if name != "ceilings"]


def load(target: str) -> type[Peer]:
    """The class at ``module:class``."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
