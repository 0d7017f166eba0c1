"""Memory for what lies between the layers of a Sequential, kept from one call to the next.

Results lie by turns in one half and the other of a block, a list of two arrays of bytes. A block is one call's at a
time; those that are free wait for the next call, of whatever thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..functional.call import Call
from ..plan import DTYPES
from .module import Module

__all__ = ["Half", "fit", "taken"]

_LINE = 64  # bytes of a cache line


@contextmanager
def taken(free: list[list[Any]]) -> Iterator[list[Any]]:
    """A block of those that are free, or a new one of no bytes; free again at the end."""
    try:
        block = free.pop()
    except IndexError:
        block = [None, None]
    try:
        yield block
    finally:
        free.append(block)


def fit(block: list[Any], half: int, size: int) -> None:
    """Let a half have at least ``size`` bytes, which begin where a cache line does."""
    if block[half] is None or block[half].nbytes < size:
        block[half] = None  # not both at a time
        memory = np.empty(size + _LINE, np.uint8)
        start = -memory.ctypes.data % _LINE
        block[half] = memory[start : start + size]


class Half(NamedTuple):
    """The half of a block that a layer's result may lie in: of one that gives a new array of its plan's shape."""

    block: list[Any]
    place: int

    def run(self, layer: Module, input: Any) -> Any:
        """The layer's result, here where it is of the order C. The call is planned once at most."""
        known = layer.known_calls()
        shape_and_dtype = getattr(known.find(input), "result", None)
        if shape_and_dtype is None:
            return layer._general_call(input, None, known, self)
        return layer(input, out=self._array(*shape_and_dtype))

    def lent(self, call: Call) -> Call:
        """A call that was planned without ``out``, with its result here, in the order C."""
        if call.plan.dtype not in DTYPES or getattr(call.plan, "return_indices", False):
            return call
        out = self._array(call.plan.out_shape, call.plan.dtype)
        return call._replace(out=out, given=out[0] if call.squeeze else out)

    def _array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        size = prod(shape) * np.dtype(dtype).itemsize
        fit(self.block, self.place, size)
        return self.block[self.place][:size].view(dtype).reshape(shape)
