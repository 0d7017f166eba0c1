"""Reading environment variables: empty means unset, nonsense is an error that names the variable and the choices."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .errors import ConfigurationError

__all__ = ["choice", "integer", "text"]


def text(name: str) -> str | None:
    """The stripped value of ``name``; None if it is unset or empty."""
    return os.environ.get(name, "").strip() or None


def integer(name: str, low: int, high: int) -> int | None:
    """The value of ``name`` as an integer from ``low`` to ``high``; None if unset."""
    value = text(name)
    if value is None:
        return None
    number = int(value) if value.isascii() and value.isdecimal() else low - 1
    if not low <= number <= high:
        raise ConfigurationError(f"{name}={value!r}: it must be a whole number from {low} to {high}, or empty")
    return number


def choice(name: str, choices: Sequence[str]) -> str | None:
    """The value of ``name``, which must be one of ``choices`` (upper and lower case alike); None if unset."""
    value = text(name)
    if value is not None and value.lower() not in choices:
        raise ConfigurationError(f"{name}={value!r}: it must be one of {', '.join(choices)}, or empty")
    return value.lower() if value else None
