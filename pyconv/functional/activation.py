"""Activations as functions."""

from __future__ import annotations

from typing import Any

from ..plan import ACTIVATIONS, array_kind, as_array, check_out, dtype_name, plan_elementwise
from .call import Call, run
from .known import Known

__all__ = ["plan_call_activation", "relu", "sigmoid", "tanh"]

_known = {op: Known() for op in ACTIVATIONS}


def plan_call_activation(op: str, input: Any, out: Any) -> Call:
    """Check and plan the activation called ``op``."""
    x = as_array(op, "input", input)
    kind, dtype = array_kind(x), dtype_name(op, "input", x)
    plan = plan_elementwise(op, tuple(x.shape), dtype)
    if out is not None:
        check_out(op, out, kind, plan.out_shape, dtype, (x,), in_place=True)
    return Call(plan, x, kind, out=out, given=out)


def run_activation(op: str, input: Any, out: Any, backend: Any) -> Any:
    """Run the activation called ``op`` the general way."""
    return run(plan_call_activation(op, input, out), input, backend, _known[op], (backend,))


def relu(input: Any, *, out: Any = None, backend: str | None = None) -> Any:
    """Rectified linear unit, ``max(x, 0)``; NaN stays NaN.

    Parameters
    ----------
    input : array of any shape, 0-d included
        float32 or float64; any strides.
    out : array, optional
        Written and returned; it may be ``input`` itself.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array of the input's shape and dtype

    Raises
    ------
    DTypeError, ArgumentError, OutputError, BackendError
        As :func:`conv2d`.
    """
    result = _known["relu"].run(input, None, None, out, (backend,))
    return run_activation("relu", input, out, backend) if result is None else result


def sigmoid(input: Any, *, out: Any = None, backend: str | None = None) -> Any:
    """Logistic function, ``1 / (1 + exp(-x))``; within 2 ulp in float32.

    Parameters
    ----------
    input : array of any shape, 0-d included
        float32 or float64; any strides.
    out : array, optional
        Written and returned; it may be ``input`` itself.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array of the input's shape and dtype

    Raises
    ------
    DTypeError, ArgumentError, OutputError, BackendError
        As :func:`conv2d`.
    """
    result = _known["sigmoid"].run(input, None, None, out, (backend,))
    return run_activation("sigmoid", input, out, backend) if result is None else result


def tanh(input: Any, *, out: Any = None, backend: str | None = None) -> Any:
    """Hyperbolic tangent; within 2 ulp in float32.

    Parameters
    ----------
    input : array of any shape, 0-d included
        float32 or float64; any strides.
    out : array, optional
        Written and returned; it may be ``input`` itself.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array of the input's shape and dtype

    Raises
    ------
    DTypeError, ArgumentError, OutputError, BackendError
        As :func:`conv2d`.
    """
    result = _known["tanh"].run(input, None, None, out, (backend,))
    return run_activation("tanh", input, out, backend) if result is None else result
