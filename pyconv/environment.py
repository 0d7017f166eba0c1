"""Reading environment variables: empty means unset, nonsense is an error that names the variable and the choices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .errors import ConfigurationError

__all__ = ["choice", "integer", "places", "text"]


def text(name: str) -> str | None:
    """The stripped value of ``name``; None if it is unset or empty."""
    environ = os.environ
    values = getattr(environ, "_data", None)  # os.environ itself takes a microsecond to say that it is not there
    if isinstance(values, dict) and environ.encodekey(name) not in values:
        return None
    return environ.get(name, "").strip() or None


def places(*names: str) -> tuple[tuple[Any, ...], ...] | None:
    """What has to stay the same for variables to: see ``places`` of :class:`pyconv.registry.Settings`."""
    environ = os.environ
    values = getattr(environ, "_data", None)
    if not isinstance(values, dict):
        return None  # somebody put another mapping there
    keys = [environ.encodekey(name) for name in names]
    read = [(values, key, values[key]) if key in values else (values, key) for key in keys]
    return ((os.__dict__, "environ", environ), *read)


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
