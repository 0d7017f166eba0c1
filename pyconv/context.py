"""What ``with`` blocks ask for, in this thread or task: a backend, and the precision of float32 products.

Both stand in one ContextVar, and equal ones are one object: so a call that is known compares one pointer to tell that
nothing has changed (see :class:`pyconv.registry.Settings`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

from . import environment
from .errors import ConfigurationError
from .plan import PRECISIONS

__all__ = ["Asked", "asked", "asking", "precision", "requested_precision"]


class Asked(NamedTuple):
    """What the ``with`` blocks around a call ask for; None where they do not."""

    backend: tuple[str, ...] | None = None
    precision: str | None = None


_NOTHING = Asked()
_interned = {_NOTHING: _NOTHING}
asked: ContextVar[Asked] = ContextVar("pyconv", default=_NOTHING)


@contextlib.contextmanager
def asking(**changes: Any) -> Iterator[None]:
    """Ask for ``backend=`` or ``precision=`` inside a block."""
    wanted = asked.get()._replace(**changes)
    token = asked.set(_interned.setdefault(wanted, wanted))
    try:
        yield
    finally:
        asked.reset(token)


def precision(name: str | None) -> contextlib.AbstractContextManager[None]:
    """Compute float32 convolutions to a precision inside a ``with`` block, in this thread or task only.

    Parameters
    ----------
    name : {'fp32', 'tf32'} or None
        'fp32' is the precision of float32 sums. 'tf32' lets a backend that has tensor cores round every factor of a
        product to 11 bits first (TF32), which is several times as fast; others compute in float32 all the same. None
        goes back to ``PYCONV_PRECISION`` or 'fp32', also inside another block.

    Raises
    ------
    ConfigurationError
        If there is no precision of that name.

    Notes
    -----
    A ``precision=`` argument comes first, then this, then ``PYCONV_PRECISION``. Only float32 arrays are concerned.
    ``CUPY_TF32``, which lets the libraries that CuPy calls use TF32, says nothing about pyconv's kernels: its default,
    off, is the default here, but one setting decides.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> with pyconv.precision("tf32"):
    ...     pyconv.Conv2d(3, 8, 3, rng=0)(np.zeros((1, 3, 8, 8), np.float32)).shape
    (1, 8, 6, 6)
    """
    if name is not None and name not in PRECISIONS:
        raise ConfigurationError(f"precision: it must be one of {', '.join(PRECISIONS)}, or None, got {name!r}")
    return asking(precision=name)


def requested_precision(argument: str | None = None) -> str:
    """The precision that was asked for, by order of precedence: argument, ``with`` block, environment, 'fp32'."""
    return argument or asked.get().precision or environment.choice("PYCONV_PRECISION", PRECISIONS) or "fp32"
