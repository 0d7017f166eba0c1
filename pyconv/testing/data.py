"""Arrays to test with: what they hold, and how they lie in memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = ["LAYOUTS", "VALUES", "places"]


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def _wide(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Of every magnitude from 1e-30 to 1e3, so that saturation, the middle and the linear part are all met."""
    return (rng.choice([-1, 1], shape) * 10 ** rng.uniform(-30, 3, shape)).astype(dtype)


def _ties(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Few different numbers, so that most windows hold their maximum more than once; zeros of both signs."""
    return (rng.integers(-2, 3, shape) * rng.choice([-1.0, 1.0], shape)).astype(dtype)


def _sprinkled(values: list[float], share: float) -> Callable[..., np.ndarray]:
    def make(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        array = _normal(rng, shape, dtype)
        where = rng.random(shape) < share
        return np.where(where, rng.choice(np.array(values, dtype), shape), array).astype(dtype)

    return make


def _one(value: float) -> Callable[..., np.ndarray]:
    """One such element in the middle: it may be seen only by the windows that hold it."""

    def make(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        array = _normal(rng, shape, dtype)
        array[tuple(length // 2 for length in shape)] = value
        return array

    return make


def _special(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros of both signs, infinities, NaN, the largest, smallest normal and denormal numbers."""
    limits = np.finfo(dtype)
    ends = [limits.max, limits.tiny, limits.smallest_subnormal, limits.tiny / 2, limits.eps, 0.0, np.inf, 1.0]
    values = [sign * float(end) for end in ends for sign in (1, -1)] + [np.nan]
    return _sprinkled(values, 0.8)(rng, shape, dtype)


def _denormal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return (rng.uniform(-1, 1, shape) * np.finfo(dtype).tiny).astype(dtype)


def _minus_inf(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.full(shape, -np.inf, dtype)


def _huge(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Positive and close to the largest number: any sum of two is infinite."""
    return (rng.uniform(0.8, 1, shape) * np.finfo(dtype).max).astype(dtype)


def _ones(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.ones(shape, dtype)


def _positive(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return rng.uniform(0.1, 2, shape).astype(dtype)


def places(rng: np.random.Generator, shape: tuple[int, ...], count: int, axes: int = 2) -> np.ndarray:
    """Indices into planes of ``count`` elements for an array of ``shape``, no two the same within a plane.

    A plane is the last ``axes``.
    """
    size = math.prod(shape[-axes:])
    found = np.empty((*shape[:-axes], size), np.int64)
    for plane in np.ndindex(*shape[:-axes]):
        found[plane] = rng.permutation(count)[:size]
    return found.reshape(shape)


VALUES: dict[str, Callable[[np.random.Generator, tuple[int, ...], np.dtype], np.ndarray]] = {
    "normal": _normal,
    "wide": _wide,
    "ties": _ties,
    "one_nan": _one(np.nan),
    "one_inf": _one(np.inf),
    "few_nan": _sprinkled([np.nan], 0.03),
    "many_nan": _sprinkled([np.nan], 0.5),
    "few_inf": _sprinkled([np.inf], 0.03),
    "infinities": _sprinkled([np.inf, -np.inf, -np.inf], 0.7),
    "special": _special,
    "denormal": _denormal,
    "minus_inf": _minus_inf,
    "huge": _huge,
    "ones": _ones,
    "positive": _positive,
}
"""What an array may hold: functions of (random generator, shape, dtype)."""


def _channels_last(array: np.ndarray) -> np.ndarray:
    if array.ndim < 3:
        return array
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, -3, -1)), -1, -3)


def _reversed(array: np.ndarray) -> np.ndarray:
    back = (slice(None, None, -1),) * array.ndim
    return array[back].copy()[back]


def _transposed(array: np.ndarray) -> np.ndarray:
    """Columns next to each other in memory, planes as ever."""
    return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2) if array.ndim > 1 else array


def _strange(array: np.ndarray) -> float:
    """What no result may be made from: NaN, or an index outside of everything."""
    return np.nan if array.dtype.kind == "f" else -(2**62)


def _gaps(array: np.ndarray) -> np.ndarray:
    """Every other element of every other row; NaN between them."""
    if not array.ndim:
        return array
    steps = (slice(None),) * max(array.ndim - 2, 0) + (slice(None, None, 2),) * min(array.ndim, 2)
    shape = array.shape[:-2] + tuple(2 * length for length in array.shape[-2:])
    around = np.full(shape, _strange(array), array.dtype)
    around[steps] = array
    return around[steps]


def _window(array: np.ndarray) -> np.ndarray:
    """The middle of a larger array that holds NaN otherwise."""
    if not array.ndim:
        return array
    around = np.full([length + 5 for length in array.shape], _strange(array), array.dtype)
    middle = tuple(slice(2, 2 + length) for length in array.shape)
    around[middle] = array
    return around[middle]


def _broadcast(array: np.ndarray) -> np.ndarray:
    """The first element along the last axis, again and again, with a stride of 0."""
    return np.broadcast_to(array[..., :1], array.shape) if array.size and array.ndim else array


def _broadcast_planes(array: np.ndarray) -> np.ndarray:
    """The first of the first axis again and again; read-only, as NumPy has it."""
    return np.broadcast_to(array[:1], array.shape) if array.size and array.ndim else array


def _unaligned(array: np.ndarray) -> np.ndarray:
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    view = np.ndarray(array.shape, array.dtype, buffer, offset=1)
    view[...] = array
    return view


def _byte_swapped(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder())


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.setflags(write=False)
    return array


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": np.ascontiguousarray,
    "channels_last": _channels_last,
    "fortran": np.asfortranarray,
    "transposed": _transposed,
    "reversed": _reversed,
    "gaps": _gaps,
    "window": _window,
    "broadcast": _broadcast,
    "broadcast_planes": _broadcast_planes,
    "unaligned": _unaligned,
    "byte_swapped": _byte_swapped,
    "byte_swapped_channels_last": lambda array: _channels_last(_byte_swapped(array)),
    "read_only": _read_only,
}
"""How an array may lie in memory: functions from an array to an equal one (but for the broadcast ones)."""
