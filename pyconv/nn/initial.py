"""What layers with parameters begin with: a source of random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError

__all__ = ["generator"]


def generator(who: str, rng: Any) -> np.random.Generator:
    """``rng`` if it is a generator, else a new one from a seed; ``who`` is named in errors."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{who}: rng must be a numpy.random.Generator or a seed, got {rng!r}: {error}") from None
