"""Activation layers: those of the table are made from it, the others are written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..errors import ArgumentError
from ..functional.activation import (
    HALVED_DIM,
    SUMMED_DIM,
    call_signature,
    gelu_op,
    own_parameters,
    plan_call_activation,
    plan_call_axis,
    plan_call_prelu,
)
from ..functional.call import Call
from ..plan import ACTIVATIONS, LIMIT, Activation, activation_parameters, dtype_of, index, number
from .module import Operation, frozen, locked

__all__ = ["GELU", "GLU", "LogSoftmax", "PReLU", "Softmax", "Softmin"]


class _Activation(Operation):
    """A layer of one elementwise function of the table; its parameters cannot be changed afterwards."""

    plans_alike = True

    _op: str

    def __init__(self, *given: Any, backend: str | None = None, **named: Any) -> None:
        entry = ACTIVATIONS[self._op]
        self._values, self.inplace = activation_parameters(entry.layer, self._op, given, named)
        for parameter, value in zip(entry.parameters, self._values, strict=True):
            setattr(self, parameter.name, value)
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_activation(self._op, input, out, self._values, self.inplace)

    def extra_repr(self) -> str:
        entry = ACTIVATIONS[self._op]
        shown = [f"{parameter.name}={getattr(self, parameter.name)}" for parameter in entry.parameters]
        if self._op in ("hardshrink", "softshrink"):  # torch shows the number alone
            shown = [str(self._values[0])]
        return ", ".join(shown + ["inplace=True"] * self.inplace)


def _layer(op: str, entry: Activation) -> type[_Activation]:
    """The layer of an entry of the table."""
    documentation = f"""``{entry.formula}``, elementwise; see :func:`pyconv.functional.{op}`.

    Parameters
    ----------{own_parameters(entry)}
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    """
    return type(
        entry.layer,
        (_Activation,),
        {
            "_op": op,
            "_fixed": frozenset(parameter.name for parameter in entry.parameters),
            "__doc__": documentation,
            "__module__": __name__,
            "__signature__": call_signature(entry, (), ()),
        },
    )


for _op, _entry in ACTIVATIONS.items():
    if _entry.layer:
        globals()[_entry.layer] = _layer(_op, _entry)
        __all__ += [_entry.layer]


class GELU(Operation):
    """Gaussian error linear unit; see :func:`pyconv.functional.gelu`.

    Parameters
    ----------
    approximate : {'none', 'tanh'}, default 'none'
        The function itself, or the approximation by tanh.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    """

    plans_alike = True

    _fixed = frozenset(("approximate",))

    def __init__(self, approximate: str = "none", *, backend: str | None = None) -> None:
        self._op = gelu_op("GELU", approximate)
        self.approximate = approximate
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_activation(self._op, input, out)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class PReLU(Operation):
    """``x if x > 0 else weight * x``, the slopes held by the layer; see :func:`pyconv.functional.prelu`.

    Parameters
    ----------
    num_parameters : int, default 1
        Slopes: one for all, or one for each channel (the input's second dimension).
    init : float, default 0.25
        What they begin as.
    dtype : {'float32', 'float64'} or numpy dtype, default float32
        Of the slopes; inputs must have it too.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Attributes
    ----------
    weight : array, shape (num_parameters,)
        Read-only; assign a new array to change it.
    """

    plans_alike = True

    _fixed = frozenset(("num_parameters", "init"))

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = None, backend: str | None = None
    ) -> None:
        self.num_parameters = index("PReLU", "num_parameters", num_parameters, 1)
        self.init = number("PReLU", "init", init)
        self._dtype = dtype_of("PReLU", dtype)
        self._weight = locked(np.full(self.num_parameters, self.init, self._dtype))
        self.backend = backend

    @property
    def weight(self) -> np.ndarray:
        """The slopes, read-only; assigning copies and checks."""
        return self._weight

    @weight.setter
    def weight(self, value: Any) -> None:
        self._weight = frozen("PReLU", "weight", value, (self.num_parameters,), self._dtype)

    def parameters(self) -> dict[str, np.ndarray]:
        return {"weight": self._weight, **super().parameters()}

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_prelu(input, self._weight, out)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._weight = locked(self._weight.copy())  # pickle does not keep it

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class _AlongAxis(Operation):
    """A layer that works along one dimension."""

    plans_alike = True

    _op: str
    _fixed = frozenset(("dim",))

    def __init__(self, dim: int | None = None, *, backend: str | None = None) -> None:
        self.dim = None if dim is None else index(type(self).__name__, "dim", dim, -LIMIT)
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_axis(self._op, input, self.dim, out)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


_Layer = TypeVar("_Layer", bound=type[_AlongAxis])


def _documented(dim: str) -> Callable[[_Layer], _Layer]:
    """Put the parameters behind the first line of a layer's documentation, ``dim`` as its function has it."""

    def mark(layer: _Layer) -> _Layer:
        layer.__doc__ = f"""{layer.__doc__}

    Parameters
    ----------{dim}
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    """
        return layer

    return mark


@_documented(SUMMED_DIM)
class Softmax(_AlongAxis):
    """``exp(x) / sum of exp(x)`` along a dimension; see :func:`pyconv.functional.softmax`."""

    _op = "softmax"


@_documented(SUMMED_DIM)
class Softmin(_AlongAxis):
    """``exp(-x) / sum of exp(-x)`` along a dimension; see :func:`pyconv.functional.softmin`."""

    _op = "softmin"


@_documented(SUMMED_DIM)
class LogSoftmax(_AlongAxis):
    """``x - log(sum of exp(x))`` along a dimension; see :func:`pyconv.functional.log_softmax`."""

    _op = "log_softmax"


@_documented(HALVED_DIM)
class GLU(_AlongAxis):
    """The first half times the sigmoid of the second; see :func:`pyconv.functional.glu`."""

    _op = "glu"

    def __init__(self, dim: int = -1, *, backend: str | None = None) -> None:
        if dim is None:
            raise ArgumentError("GLU: dim must be an integer, got None")
        super().__init__(dim, backend=backend)
