"""Every kernel that a plan may ask for, so that all of them can be compiled without a GPU."""

from __future__ import annotations

from . import (
    axis,
    channel_pool,
    channels,
    depthwise,
    elementwise,
    fold,
    gather,
    gemm,
    max_pool,
    phases,
    pointwise,
    row_pool,
    sum_pool,
    tensor,
    unpool,
    weights,
    wgmma,
)
from .kernel import Kernel

__all__ = ["configurations"]


def configurations() -> list[Kernel]:
    """The kernels, each once, in a fixed order."""
    convolutions = (tensor, wgmma, gemm, pointwise, depthwise, phases, gather)
    poolings = (row_pool, channel_pool, max_pool, sum_pool, unpool)
    modules = (*convolutions, *poolings, fold, elementwise, channels, axis, weights)
    return list(dict.fromkeys(kernel for module in modules for kernel in module.kernels()))
