"""Calls that come again: what the backend did is written down once, and done again with other addresses.

What a call's launches were made from is kept with them: the input's type, dtype, shape, strides and alignment, the
parameters, the device, and the settings that chose the backend. While all of these are the same, so are the launches,
but for the addresses in their arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from .kernel import Launch, by_value

__all__ = ["KnownCalls"]

_MOST_CALLS = 16
_ALIGNMENT = 16  # of the widest access: what kernels may do depends on an address by no more than its remainder
_MISSING = object()
_PLAIN = (type(None), bool, int, float, str)
_put_address = Struct("=Q").pack_into


class _Unrepeatable(Exception):
    """The call did something that is not repeated by launches alone."""


class _Recorder:
    """A room in which launches are written down and not made. What copies an array cannot be recorded."""

    def __init__(self, room: Any) -> None:
        self._room = room
        self.launches: list[tuple[Launch, np.ndarray]] = []
        self.made: list[Any] = []
        self.like_input: list[bool] = []
        self.orders: list[tuple[int, ...] | None] = []
        for name in (
            "check_process",
            "current_device",
            "device_of",
            "on",
            "address",
            "writable",
            "wait",
            "tensor_cores",
        ):
            setattr(self, name, getattr(room, name))

    def __getattr__(self, name: str) -> Any:
        raise _Unrepeatable(name)

    def readable(self, array: Any) -> Any:
        if self._room.readable(array) is not array:
            raise _Unrepeatable("readable")
        return array

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, order: tuple[int, ...] | None = None) -> Any:
        return self._keep(self._room.empty(shape, dtype, order), False, order)

    def empty_like(self, array: Any) -> Any:
        return self._keep(self._room.empty_like(array), True)

    def _keep(self, array: Any, like_input: bool, order: tuple[int, ...] | None = None) -> Any:
        self.made.append(array)
        self.like_input.append(like_input)
        self.orders.append(order)
        return array

    def launch(self, launch: Launch, arguments: np.ndarray) -> None:
        self.launches.append((launch, arguments))


class _Step(NamedTuple):
    """One launch: its arguments by value, and (offset, number of the array, distance from its start) of addresses."""

    start: Callable[[np.ndarray], None]
    arguments: np.ndarray
    places: tuple[tuple[int, int, int], ...]


class _Call(NamedTuple):
    """A call's steps. Array 0 is the input, the others are made.

    Of those a shape, a dtype and an order of axes is kept, or None for "as the input".
    """

    steps: tuple[_Step, ...]
    made: tuple[tuple[tuple[int, ...], np.dtype, tuple[int, ...] | None] | None, ...]
    result: int  # number of the array that is returned
    strides: tuple[int, ...]  # of the result
    shape: tuple[int, ...]
    dtype: np.dtype
    size: int  # of the result, in bytes
    below: int  # bytes that the input spans before and from its address
    above: int
    in_place: bool
    prepared: Any
    device: int
    settings: Any


def _addresses(dtype: np.dtype, start: int = 0) -> Iterator[int]:
    """Offsets of the addresses in a struct: its fields of type u8."""
    for name in dtype.names or ():
        field, offset = dtype.fields[name][:2]  # type: ignore[index]
        if field.names:
            yield from _addresses(field, start + offset)
        elif field.base == np.uint64:
            if field.shape:
                raise _Unrepeatable(name)  # whatever it holds may be made of addresses
            yield start + offset


def _extent(array: Any) -> tuple[int, int]:
    """Bytes that an array spans before, and from, the address of its first element."""
    reach = [(length - 1) * stride for length, stride in zip(array.shape, array.strides, strict=True)]
    return -sum(each for each in reach if each < 0), array.itemsize + sum(each for each in reach if each > 0)


def _kinds(value: Any) -> Any:
    """What equal parameters may still differ in: their types, as True and 1, and the sign of a zero."""
    if type(value) is tuple:
        return tuple(map(_kinds, value))
    return str(value) if value == 0 and type(value) is float else type(value)


def _plain(value: Any) -> bool:
    return all(map(_plain, value)) if type(value) is tuple else type(value) in _PLAIN


def _settled(settings: Any) -> bool:
    """Whether the settings are those that the call was made under."""
    if settings.variable.get() is not settings.value:
        return False
    for place in settings.places:
        if place[0].get(place[1], _MISSING) is not (place[2] if len(place) == 3 else _MISSING):
            return False
    return True


class KnownCalls:
    """The calls that a function or a layer has met lately; see :class:`pyconv.registry.Backend`.

    Parameters
    ----------
    room : object
        The device, as :class:`pyconv.backends.cuda.device.CupyRoom` is.
    compute : callable
        ``compute(room, plan, x, prepared)``: what the backend does with a call, in another room.
    """

    def __init__(self, room: Any, compute: Callable[[Any, Any, Any, Any], Any]) -> None:
        self._room, self._compute = room, compute
        self._calls: dict[Any, _Call] = {}

    def _key(self, input: Any, parameters: tuple[Any, ...]) -> tuple[Any, ...]:
        kinds = _kinds(parameters) if parameters else ()
        remainder = self._room.address(input) % _ALIGNMENT
        return type(input), input.dtype, input.shape, input.strides, remainder, parameters, kinds

    def run(self, input: Any, weight: Any, bias: Any, out: Any, parameters: tuple[Any, ...]) -> Any:
        """The result of a call that is known, or None. ``weight`` and ``bias`` are not looked at: see ``note``."""
        calls = self._calls
        if not calls:
            return None
        room = self._room
        try:
            call = calls.get(self._key(input, parameters))
        except (AttributeError, TypeError):  # no array of a device; parameters that cannot be looked up
            return None
        if call is None or not _settled(call.settings):
            return None
        room.check_process()
        if room.device_of(input) != call.device or room.current_device() != call.device:
            return None
        if out is not None and not self._takes(call, out, input):
            return None
        if call.prepared is not None:
            call.prepared.on(call.device)  # in order with the stream that prepared them
        arrays = [input]
        for number, like in enumerate(call.made, 1):
            if out is not None and number == call.result:
                arrays.append(out)
            else:
                arrays.append(room.empty_like(input) if like is None else room.empty(*like))
        addresses = [room.address(array) for array in arrays]
        for start, arguments, places in call.steps:
            packed = arguments.copy()  # another thread may be here too
            for offset, number, distance in places:
                _put_address(packed.data, offset, addresses[number] + distance)
            start(packed)
        return arrays[call.result]

    def _takes(self, call: _Call, out: Any, input: Any) -> bool:
        """Whether ``out`` is plainly fine; what is doubtful is looked at in the general way."""
        room = self._room
        if type(out) is not type(input) or (out.shape, out.strides, out.dtype) != (
            call.shape,
            call.strides,
            call.dtype,
        ):
            return False
        first, second = room.address(out), room.address(input)
        if first % _ALIGNMENT or room.device_of(out) != call.device:
            return False
        apart = first + call.size <= second - call.below or second + call.above <= first
        return apart or (call.in_place and first == second)

    def note(
        self,
        plan: Any,
        prepared: Any,
        input: Any,
        x: Any,
        weight: Any,
        bias: Any,
        result: Any,
        parameters: tuple[Any, ...],
        own_weights: bool,
        settings: Any,
    ) -> None:
        """Know a call from now on; see :class:`pyconv.registry.Backend`.

        A function's weights may hold other numbers each time, which only the device could tell: such a call is not
        known.
        """
        if (weight is not None and not own_weights) or not _plain(parameters) or isinstance(input, np.ndarray):
            return
        if prepared is not None and not hasattr(prepared, "on"):
            return
        device = self._room.device_of(input)
        if device != self._room.current_device():
            return
        recorder = _Recorder(self._room)
        try:
            made = self._compute(recorder, plan, x, prepared)
            call = self._call(recorder, made, input, x, prepared, device, settings)
        except _Unrepeatable:
            return
        kept = list(self._calls.items())[-_MOST_CALLS + 1 :]
        self._calls = {**dict(kept), self._key(input, parameters): call}

    def _call(
        self, recorder: _Recorder, made: Any, input: Any, x: Any, prepared: Any, device: int, settings: Any
    ) -> _Call:
        room, arrays = self._room, [x, *recorder.made]
        numbers = [number for number, array in enumerate(arrays) if array is made]
        starts = [room.address(array) for array in arrays]
        if numbers == [] or numbers == [0] or not x.size or any(start % _ALIGNMENT for start in starts[1:]):
            raise _Unrepeatable("the result")
        [result] = numbers
        extents = [_extent(array) for array in arrays]
        steps = []
        for launch, arguments in recorder.launches:
            packed, raw = by_value(arguments).copy(), arguments.view(np.uint8)
            places = []
            for offset in _addresses(arguments.dtype):
                value = int(raw[offset : offset + 8].view(np.uint64)[0])
                for number, (start, (below, above)) in enumerate(zip(starts, extents, strict=True)):
                    if start - below <= value < start + above:
                        places.append((offset, number, value - start))
                        break
            steps.append(_Step(room.launcher(launch), packed, tuple(places)))
        squeezed = x.ndim - input.ndim
        shapes = [array.shape[squeezed:] if array is made else array.shape for array in recorder.made]
        orders = [
            tuple(axis - squeezed for axis in order[squeezed:]) if order is not None and array is made else order
            for order, array in zip(recorder.orders, recorder.made, strict=True)
        ]
        return _Call(
            steps=tuple(steps),
            made=tuple(
                None if like else (tuple(shape), array.dtype, order)
                for like, shape, array, order in zip(recorder.like_input, shapes, recorder.made, orders, strict=True)
            ),
            result=result,
            strides=tuple(made.strides[squeezed:]),
            shape=tuple(made.shape[squeezed:]),
            dtype=made.dtype,
            size=made.nbytes,
            below=extents[0][0],
            above=extents[0][1],
            in_place=recorder.like_input[result - 1],
            prepared=prepared,
            device=device,
            settings=settings,
        )
