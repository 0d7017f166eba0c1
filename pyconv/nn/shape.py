"""Layers that compute nothing: they give the input itself, or its numbers in another shape."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError
from ..plan import LIMIT, as_array, check_flag, flattened, index, number
from .module import Module, Operation

__all__ = ["Dropout", "Dropout1d", "Dropout2d", "Flatten", "Identity", "Reshaping"]


class Reshaping(Module):
    """A layer without an operation. Arrays of every dtype and package are taken; ``out=`` gets a copy."""


class Flatten(Reshaping):
    """Dimensions ``start_dim`` to ``end_dim`` become one; the result is a view where the input's memory allows it.

    Parameters
    ----------
    start_dim : int, default 1
        The first of them.
    end_dim : int, default -1
        The last of them.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.Flatten()(np.zeros((2, 16, 5, 5), np.float32)).shape
    (2, 400)
    """

    _fixed = frozenset(("start_dim", "end_dim"))

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = index("Flatten", "start_dim", start_dim, -LIMIT)
        self.end_dim = index("Flatten", "end_dim", end_dim, -LIMIT)

    def forward(self, input: Any) -> Any:
        x = as_array("Flatten", "input", input)
        return x.reshape(flattened("Flatten", tuple(x.shape), self.start_dim, self.end_dim))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Reshaping, Operation):
    """The input itself. Whatever it is made with is left out, as in torch: it may stand in any layer's place."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, input: Any) -> Any:
        return as_array("Identity", "input", input)


class Dropout(Reshaping, Operation):
    """The input itself, as torch's layer gives it after training.

    Parameters
    ----------
    p : float, default 0.5
        What was dropped in training, between 0 and 1; of no use here.
    inplace : bool, default False
        Of no use here.
    """

    _fixed = frozenset(("p", "inplace"))

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        name = type(self).__name__
        self.p = number(name, "p", p)
        if not 0 <= self.p <= 1:
            raise ArgumentError(f"{name}: p must be between 0 and 1, got {p!r}")
        self.inplace = check_flag(name, "inplace", inplace)

    def forward(self, input: Any) -> Any:
        return as_array(type(self).__name__, "input", input)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """The input itself; see :class:`Dropout`."""


class Dropout2d(Dropout):
    """The input itself; see :class:`Dropout`."""
