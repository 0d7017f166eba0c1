"""Weights and the like, kept from one call to the next: copies on the devices that use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...errors import DeviceError

__all__ = ["Copy", "Kept", "keep"]


class Copy(NamedTuple):
    """Weights on one device."""

    weights: Any
    bias: Any
    mark: Any
    """What other streams have to wait for; None if it is used once, on the stream that made it."""


class Kept:
    """What an operation was prepared with, on one device; copied to another when it came from NumPy.

    As with any array of CuPy's, its memory goes back to the pool of the stream that made it. When it is dropped, that
    stream waits for the others that were in order with it, see :meth:`on`: so none of them reads what is written anew.
    """

    def __init__(self, room: Any, op: str, home: int, copy: Copy, movable: bool) -> None:
        self._room = room
        self._op = op
        self._movable = movable
        self._copies = {home: copy}

    def on(self, device: int) -> Copy:
        """The copy on ``device``, which is the current one, in order with its current stream."""
        copy = self._copies.get(device)
        if copy is None:
            (home, first), *_ = self._copies.items()
            if not self._movable:
                raise DeviceError(
                    f"{self._op}: the input is on device {device}, the weights are on device {home}; move one of them"
                )
            self._room.wait(first.mark)
            bias = None if first.bias is None else self._room.move(first.bias)
            weights = self._room.move(first.weights)
            copy = self._copies[device] = Copy(weights, bias, self._room.mark(weights, bias))
        if copy.mark is not None:
            self._room.wait(copy.mark)
        return copy


def keep(
    room: Any,
    op: str,
    dtype: str | None,
    weight: Any,
    bias: Any,
    prepare: Callable[[Any], Any] | None = None,
    once: bool = False,
) -> Kept:
    """``prepare(weight)``, or a copy of it, and a copy of ``bias``.

    They lie on the weight's device or, from NumPy, the current one. ``dtype``: of the copies, None for that of the
    arrays. ``once``: they are for one call, on the stream that makes them.
    """
    movable = isinstance(weight, np.ndarray)
    device = room.current_device() if movable else room.device_of(weight)
    if bias is not None and not isinstance(bias, np.ndarray) and room.device_of(bias) != device:
        raise DeviceError(
            f"{op}: bias is on device {room.device_of(bias)}, weight on device {device}; move one of them"
        )
    with room.on(device):
        weight = room.upload(weight) if movable else room.readable(weight)
        prepared = room.copy(weight, dtype) if prepare is None else prepare(weight)
        if bias is not None:  # a copy: the caller may change the bias afterwards
            bias = room.copy(room.upload(bias) if isinstance(bias, np.ndarray) else bias, dtype)
        mark = room.mark(prepared, bias) if movable or not once else None
    return Kept(room, op, device, Copy(prepared, bias, mark), movable)
