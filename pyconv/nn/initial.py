"""What layers with parameters begin with: a dtype and a source of random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError
from ..plan import DTYPES

__all__ = ["dtype_of", "generator"]


def dtype_of(who: str, dtype: Any) -> np.dtype:
    """``dtype`` in native byte order, float32 for None; ``who`` is named in errors."""
    try:
        found = np.dtype(np.float32 if dtype is None else dtype)
    except TypeError:
        raise DTypeError(f"{who}: dtype must be one of {', '.join(DTYPES)}, got {dtype!r}") from None
    if found.name not in DTYPES:
        raise DTypeError(f"{who}: dtype must be one of {', '.join(DTYPES)}, got {found}")
    return found.newbyteorder("=")


def generator(who: str, rng: Any) -> np.random.Generator:
    """``rng`` if it is a generator, else a new one from a seed; ``who`` is named in errors."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{who}: rng must be a numpy.random.Generator or a seed, got {rng!r}: {error}") from None
