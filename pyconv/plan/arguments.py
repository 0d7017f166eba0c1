"""Checking single arguments: numbers, pairs and paddings. Nothing here knows an operation."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, SupportsIndex

from ..errors import ArgumentError, PyconvError, ShapeError, TooLargeError

__all__ = [
    "LIMIT",
    "PADDING_FORMS",
    "SMALLER_OUTPUT",
    "Amounts",
    "OutputSize",
    "Pads",
    "Pair",
    "Size",
    "check_bytes",
    "check_flag",
    "check_size",
    "index",
    "itemsize_of",
    "pads",
    "pair",
    "span",
]

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]

Size = SupportsIndex | Sequence[SupportsIndex]
"""In public signatures: one number, or one for each axis of an image or a line."""
OutputSize = Size | Sequence[SupportsIndex | None] | None
"""In public signatures: the same, None where it is the input's own size."""
Amounts = SupportsIndex | Sequence[SupportsIndex | Sequence[SupportsIndex]]
"""In public signatures: padding in numbers, also as (before, after) for each axis."""

LIMIT = 2**31 - 1
"""Largest kernel size, stride, dilation or padding: what a C int holds, so that no kernel has to ask."""

SMALLER_OUTPUT = "use a larger stride, less padding, fewer channels or a smaller batch"
"""What to do about an output of windows that is too large."""

_LARGEST = 2**63 - 1
PADDING_FORMS = "an int, a pair (height, width), ((top, bottom), (left, right)) or, of convolutions, 'valid' or 'same'"


def index(op: str, name: str, value: Any, low: int, high: int = LIMIT, beyond: type[PyconvError] = ShapeError) -> int:
    """``value`` as an int between ``low`` and ``high``; bool, float and str are refused.

    ``beyond``: the error outside of them, where it is no number that a shape follows from.
    """
    if isinstance(value, bool) or type(value).__name__ == "bool_":
        raise ArgumentError(f"{op}: {name} must be an integer, got the bool {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{op}: {name} must be an integer, got {type(value).__name__} {value!r}") from None
    if number < low:
        raise beyond(f"{op}: {name} must be at least {low}, got {number}")
    if number > high:
        raise beyond(f"{op}: {name} must be at most {high}, got {number}")
    return number


def check_flag(op: str, name: str, value: Any) -> bool:
    """``value`` as a bool; only a bool is one (``ceil_mode=2`` is a slip, not a choice)."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    raise ArgumentError(f"{op}: {name} must be True or False, got {type(value).__name__} {value!r}")


def pair(op: str, name: str, value: Any, low: int) -> Pair:
    """An int, or two of them for (height, width)."""
    if type(value) is int:  # by far the most common, and cheap to check
        if low <= value <= LIMIT:
            return value, value
    elif isinstance(value, tuple | list):
        if len(value) != 2:
            raise ShapeError(
                f"{op}: {name} must be an int or a pair (height, width), got {len(value)} values: {value!r}"
            )
        return index(op, f"{name}[0]", value[0], low), index(op, f"{name}[1]", value[1], low)
    elif isinstance(value, str) or value is None:
        raise ArgumentError(f"{op}: {name} must be an int or a pair (height, width), got {value!r}")
    number = index(op, name, value, low)
    return number, number


def pads(op: str, value: Any) -> Pads | str:
    """Padding as ((top, bottom), (left, right)), or the word 'same'."""
    if type(value) is int and 0 <= value <= LIMIT:
        return (value, value), (value, value)
    if isinstance(value, str):
        if value == "valid":
            return (0, 0), (0, 0)
        if value == "same":
            return value
        raise ArgumentError(f"{op}: padding must be {PADDING_FORMS}, got {value!r}")
    if isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[0], tuple | list):
        if not isinstance(value[1], tuple | list):
            raise ArgumentError(f"{op}: padding must be {PADDING_FORMS}, got {value!r}")
        rows = pair(op, "padding[0] (top, bottom)", value[0], 0)
        return rows, pair(op, "padding[1] (left, right)", value[1], 0)
    if value is None:
        raise ArgumentError(f"{op}: padding must be {PADDING_FORMS}, got None")
    if isinstance(value, tuple | list) and len(value) != 2:
        raise ShapeError(f"{op}: padding must be {PADDING_FORMS}, got {len(value)} values: {value!r}")
    height, width = pair(op, "padding", value, 0)
    return (height, height), (width, width)


def span(kernel: int, dilation: int) -> int:
    """Input elements from a window's first tap to its last: dilation * (kernel - 1) + 1."""
    return dilation * (kernel - 1) + 1


def itemsize_of(dtype: str) -> int:
    """Bytes of a number of ``dtype``, 'float32' or 'float64'."""
    return int(dtype.removeprefix("float")) // 8


def check_size(op: str, what: str, shape: tuple[int, ...], itemsize: int) -> int:
    """The bytes of an array, held to 63 bits (zero sizes set aside, as NumPy holds its shapes)."""
    product = itemsize
    for size in shape:
        product *= size or 1
        if product > _LARGEST:
            raise ShapeError(f"{op}: {what} of shape {shape} takes more than 2**63 - 1 bytes")
    return 0 if 0 in shape else product


@lru_cache(maxsize=1)
def _memory() -> int:
    """Bytes of memory this process could ever hold: the machine's, or its control group's if that is less."""
    total = _LARGEST
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        with open("/sys/fs/cgroup/memory.max") as file:
            total = min(total, int(file.read()))
    except (AttributeError, OSError, ValueError):
        pass  # not told here ('max' is no number): the allocation itself will say
    return total


def check_bytes(
    op: str, shape: tuple[int, ...], itemsize: int, what: str = "the output", advice: str = "work on it in parts"
) -> None:
    """Refuse an array that could never be allocated, before anything is."""
    size = check_size(op, what, shape, itemsize)
    if size > _memory():
        raise TooLargeError(
            f"{op}: {what} of shape {shape} takes {size:,} bytes, this machine has {_memory():,}; {advice}"
        )
