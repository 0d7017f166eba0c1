"""Activations as functions."""

from __future__ import annotations

from typing import Any

from ..plan import array_kind, as_array, check_out, dtype_name, plan_elementwise
from .call import Call, run

__all__ = ["plan_call_activation", "relu", "sigmoid", "tanh"]


def plan_call_activation(op: str, input: Any, out: Any) -> Call:
    """Check and plan the activation called ``op``."""
    x = as_array(op, "input", input)
    kind, dtype = array_kind(x), dtype_name(op, "input", x)
    plan = plan_elementwise(op, tuple(x.shape), dtype)
    if out is not None:
        check_out(op, out, kind, plan.out_shape, dtype, (x,), in_place=True)
    return Call(plan, x, kind, out=out)


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
    return run(plan_call_activation("relu", input, out), backend)


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
    return run(plan_call_activation("sigmoid", input, out), backend)


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
    return run(plan_call_activation("tanh", input, out), backend)
