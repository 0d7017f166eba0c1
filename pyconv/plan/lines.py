"""Operations on lines (N, C, L): they are those on images (N, C, 1, L), with one number for each parameter."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, ShapeError
from .arguments import Pads, Pair, index

__all__ = ["as_lines", "line_padding", "single"]

_PADDING = "an int, a sequence of one, ((left, right),) or, of convolutions, 'valid' or 'same'"


def single(op: str, name: str, value: Any, low: int, other: int) -> Pair:
    """An int, or a sequence of one, as a pair for images: ``other`` is that of the height."""
    if isinstance(value, tuple | list):
        if len(value) != 1:
            raise ShapeError(f"{op}: {name} must be an int or a sequence of one, got {len(value)} values: {value!r}")
        value = value[0]
    elif isinstance(value, str) or value is None:
        raise ArgumentError(f"{op}: {name} must be an int or a sequence of one, got {value!r}")
    return other, index(op, name, value, low)


def line_padding(op: str, value: Any) -> Pads | str:
    """Padding of lines as that of images: ((0, 0), (left, right)), or a word."""
    if isinstance(value, str):
        if value not in ("valid", "same"):
            raise ArgumentError(f"{op}: padding must be {_PADDING}, got {value!r}")
        return value
    if isinstance(value, tuple | list) and len(value) == 1 and isinstance(value[0], tuple | list):
        if len(value[0]) != 2:
            raise ShapeError(f"{op}: padding must be {_PADDING}, got {value!r}")
        left, right = (index(op, "padding (left, right)", amount, 0) for amount in value[0])
        return (0, 0), (left, right)
    _, amount = single(op, "padding", value, 0, 0)
    return (0, 0), (amount, amount)


def as_lines(op: str, array: Any, name: str = "input") -> Any:
    """``array`` (N, C, L) or (C, L) as images (N, C, 1, L), a view; a single one gets a batch of one."""
    if array.ndim not in (2, 3):
        raise ShapeError(
            f"{op}: {name} must be (N, C, L) or (C, L), got {array.ndim} dimensions: shape {tuple(array.shape)}"
        )
    return array[..., None, :] if array.ndim == 3 else array[None, :, None, :]
