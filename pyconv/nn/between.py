"""Memory for what lies between the layers of a Sequential, kept from one call to the next.

Results lie by turns in one half and the other of a block, a list of two arrays of bytes. A block is one call's at a
time; those that are free wait for the next call, of whatever thread.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..errors import PyconvError
from .module import Module

__all__ = ["fit", "lent", "take"]

_LINE = 64  # bytes of a cache line


def take(free: list[list[Any]]) -> list[Any]:
    """A block that is free, or a new one of no bytes."""
    try:
        return free.pop()
    except IndexError:
        return [None, None]


def fit(block: list[Any], half: int, size: int) -> None:
    """Let a half have at least ``size`` bytes, which begin where a cache line does."""
    if block[half] is None or block[half].nbytes < size:
        block[half] = None  # not both at a time
        memory = np.empty(size + _LINE, np.uint8)
        start = -memory.ctypes.data % _LINE
        block[half] = memory[start : start + size]


def lent(block: list[Any], half: int, layer: Module, input: Any) -> Any:
    """An array over a half of a block, for the result of a layer that gives one array of its plan's shape, in order C.

    None if it cannot be planned: then the layer says why.
    """
    try:
        call = layer.plan_call(input)
    except PyconvError:
        return None
    plan = call.plan
    if getattr(plan, "return_indices", False):
        return None
    shape = plan.out_shape[1:] if call.squeeze else plan.out_shape
    size = prod(shape) * np.dtype(plan.dtype).itemsize
    fit(block, half, size)
    return block[half][:size].view(plan.dtype).reshape(shape)
