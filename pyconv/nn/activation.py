"""Activation layers."""

from __future__ import annotations

from typing import Any

from ..functional.activation import plan_call_activation
from ..functional.call import Call
from ..plan import check_flag
from .module import Module

__all__ = ["ReLU", "Sigmoid", "Tanh"]


class _Activation(Module):
    """A layer of one elementwise function.

    Parameters
    ----------
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    """

    plans_alike = True

    _op: str

    def __init__(self, *, backend: str | None = None) -> None:
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_activation(self._op, input, out)


class ReLU(_Activation):
    """``max(x, 0)``, elementwise; see :func:`pyconv.functional.relu`.

    Parameters
    ----------
    inplace : bool, default False
        Write the result over the input, which must be writable.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    """

    plans_alike = True

    _op = "relu"

    def __init__(self, inplace: bool = False, *, backend: str | None = None) -> None:
        super().__init__(backend=backend)
        self.inplace = check_flag("ReLU", "inplace", inplace)

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return super().plan_call(input, input if self.inplace and out is None else out)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class Sigmoid(_Activation):
    """``1 / (1 + exp(-x))``, elementwise; see :func:`pyconv.functional.sigmoid`."""

    _op = "sigmoid"


class Tanh(_Activation):
    """Hyperbolic tangent, elementwise; see :func:`pyconv.functional.tanh`."""

    _op = "tanh"
