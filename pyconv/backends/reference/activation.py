"""The elementwise activations and batch normalisation, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...plan import ElementwisePlan

__all__ = ["elementwise"]

Array = np.ndarray

_erfc = np.vectorize(math.erfc, otypes=[np.float64])  # NumPy has none


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written so that exp never overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


def _times_sigmoid(x: Array, y: Array) -> Array:
    """``x * sigmoid(y)``, by halves of exp(y) where that is near the smallest numbers and has lost bits."""
    half = np.exp(np.minimum(y, 0.0) / 2.0)
    return np.where(y < -700.0, x * half * half, x * sigmoid(y))


def _mish(x: Array) -> Array:
    """``x * tanh(log(1 + exp(x)))``, which is ``x * exp(x)`` to the last bit where that may be near these numbers."""
    return np.where(x < -700.0, _times_sigmoid(x, x), x * np.tanh(_softplus(x)))


def _softplus(x: Array) -> Array:
    """log(1 + exp(x)), likewise."""
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _elu(x: Array, alpha: float, scale: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) * scale))


# (x - tanh(x)) / x**3 in powers of x**2
_TANHSHRINK = (1 / 3, -2 / 15, 17 / 315, -62 / 2835, 1382 / 155925, -21844 / 6081075, 929569 / 638512875)


def _tanhshrink(x: Array) -> Array:
    """X - tanh(x); for small x by the series of the difference, which cancels otherwise."""
    z = np.minimum(x * x, 0.01)
    series = np.polynomial.polynomial.polyval(z, _TANHSHRINK)
    return np.where(np.abs(x) < 0.1, x * z * series, x - np.tanh(x))


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "relu": lambda x: np.where(x < 0, 0.0, x),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "leaky_relu": lambda x, negative_slope: np.where(x > 0, x, x * negative_slope),
    "elu": _elu,
    "selu": lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA),
    "celu": lambda x, alpha: _elu(x, alpha, 1.0 / alpha),
    "gelu": lambda x: x * (_erfc(-x / math.sqrt(2.0)) / 2.0),
    "gelu_tanh": lambda x: _times_sigmoid(x, math.sqrt(8.0 / math.pi) * (x + 0.044715 * x**3)),
    "silu": lambda x: _times_sigmoid(x, x),
    "mish": _mish,
    "sigmoid": sigmoid,
    "logsigmoid": lambda x: -_softplus(-x),
    "tanh": np.tanh,
    "tanhshrink": _tanhshrink,
    "hardtanh": np.clip,
    "hardsigmoid": lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hardswish": lambda x: x * (np.clip(x + 3.0, 0.0, 6.0) / 6.0),
    "hardshrink": lambda x, lambd: np.where((x >= -lambd) & (x <= lambd), 0.0, x),
    "softshrink": lambda x, lambd: np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, 0.0 * x)),
    "softplus": lambda x, beta, threshold: np.where(beta * x > threshold, x, _softplus(beta * x) / beta),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "threshold": lambda x, threshold, value: np.where(x <= threshold, np.float64(value), x),
}
"""The formulas of the table in pyconv/plan/activations.py."""


def elementwise(plan: ElementwisePlan, x: Array, prepared: Any) -> Array:
    """The activation of ``x``, whose parameters are rounded to the plan's dtype, as torch does it."""
    if plan.op == "batch_norm":
        scale, shift = (part.reshape(-1, *[1] * (x.ndim - 2)) for part in prepared)
        return x * scale + shift
    if plan.op == "prelu":
        slopes = prepared[0].astype(np.float64)
        if plan.weights > 1:
            slopes = slopes.reshape(-1, *[1] * (x.ndim - 2))
        return np.where(x > 0, x, x * slopes)
    return _FUNCTIONS[plan.op](x, *(float(np.dtype(plan.dtype).type(value)) for value in plan.parameters))
