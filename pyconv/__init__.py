"""Convolution, pooling and activations on NumPy and CuPy arrays, with torch's names and meanings."""

from __future__ import annotations

from . import errors, functional, nn
from .nn import Conv2d, MaxPool2d, Module, ReLU, Sequential, Sigmoid, Tanh
from .registry import backends, set_backend, use_backend
from .report import Explanation, explain, show_config
from .threads import get_num_threads, set_num_threads
from .version import __version__

__all__ = [
    "Conv2d",
    "Explanation",
    "MaxPool2d",
    "Module",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "__version__",
    "backends",
    "errors",
    "explain",
    "functional",
    "get_num_threads",
    "nn",
    "set_backend",
    "set_num_threads",
    "show_config",
    "use_backend",
]
