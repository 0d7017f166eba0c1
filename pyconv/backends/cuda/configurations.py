"""Every kernel that a plan may ask for, so that all of them can be compiled without a GPU."""

from __future__ import annotations

from . import axis, channels, depthwise, elementwise, gemm, pointwise, pool, sum_pool, tensor, unpool, weights
from .kernel import Kernel

__all__ = ["configurations"]


def configurations() -> list[Kernel]:
    """The kernels, each once, in a fixed order."""
    modules = (tensor, gemm, pointwise, depthwise, pool, sum_pool, unpool, elementwise, channels, axis, weights)
    return list(dict.fromkeys(kernel for module in modules for kernel in module.kernels()))
