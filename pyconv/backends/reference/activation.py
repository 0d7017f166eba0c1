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


def _times_sigmoid(x: Array, y: Array, lost: Array | float = 0.0) -> Array:
    """``x * sigmoid(y + lost)``, by halves of exp(y) where that is near the smallest numbers and has lost bits."""
    half, more = np.exp(np.minimum(y, 0.0) / 2.0), 1.0 + lost * sigmoid(-y)
    return np.where(y < -700.0, x * half * (half * more), x * (sigmoid(y) * more))


def _mish(x: Array) -> Array:
    """``x * tanh(log(1 + exp(x)))``, which is ``x * exp(x)`` to the last bit where that may be near these numbers."""
    return np.where(x < -700.0, _times_sigmoid(x, x), x * np.tanh(_softplus(x)))


def _softplus(x: Array) -> Array:
    """log(1 + exp(x)), likewise."""
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _exact_product(a: Array, b: Array | float) -> tuple[Array, Array]:
    """``a * b`` rounded, and what the rounding loses: by halves, whose products are exact (Dekker 1971)."""
    (a1, a2), (b1, b2) = _halves(a), _halves(np.asarray(b, np.float64))
    product = a * b
    lost = ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2
    return product, np.where(np.isfinite(lost), lost, 0.0)  # of infinities there is none


def _halves(a: Array) -> tuple[Array, Array]:
    """The first 26 bits of each number, and the rest."""
    first = (a.view(np.uint64) & np.uint64(2**64 - 2**27)).view(np.float64)
    return first, a - first


def _exact_sum(a: Array, b: Array | float) -> tuple[Array, Array]:
    """``a + b`` rounded, and what the rounding loses (Knuth's TwoSum)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


_ROOT, _ROOT_LOW = 0.7071067811865476, -4.833646656726457e-17  # sqrt(1 / 2) as two numbers
_MILLS = np.cumprod([1.0, *range(-1, -16, -2)])  # 1, -1, 3, -15, ...


def _gelu(x: Array) -> Array:
    """``x * erfc(-x / sqrt(2)) / 2``, where erfc would magnify the rounding of its argument by ``x**2``.

    So what is lost there is put in by the derivative of erfc. At the far left, where erfc is near the smallest numbers,
    it is ``-exp(-x**2 / 2) / sqrt(2 pi)`` times the asymptotic series of Mills' ratio in powers of ``1 / x**2``
    (Abramowitz and Stegun, 26.2.12), and the exponential function of halves.
    """
    t = np.clip(x, -60.0, 60.0)
    z, lost = _exact_product(-t, _ROOT)
    lost = lost - t * _ROOT_LOW
    left = x * ((_erfc(z) - lost * 2.0 / math.sqrt(math.pi) * np.exp(-z * z)) / 2.0)
    square, lost = _exact_product(t, t)
    series = np.polynomial.polynomial.polyval(1.0 / np.maximum(square, 1.0), _MILLS)
    quarter = np.exp(-square / 4.0)
    far = -(quarter * (1.0 - lost / 2.0) * series / math.sqrt(2.0 * math.pi)) * quarter
    return np.where((x < -25.0) & (x > -60.0), far, left)


# sqrt(8 / pi) and 0.044715 times it as two numbers each
_TANH_1, _TANH_1_LOW = 1.5957691216057308, -9.96930880911092e-17
_TANH_3, _TANH_3_LOW = 0.07135481627260025, -6.175149918155315e-19


def _gelu_tanh(x: Array) -> Array:
    """``x * sigmoid(y)``, ``y = sqrt(8 / pi) * (x + 0.044715 * x**3)`` with what its rounding loses."""
    t = np.clip(x, -60.0, 60.0)
    square, square_low = _exact_product(t, t)
    cubic, cubic_low = _exact_product(square, _TANH_3)
    slope, low = _exact_sum(cubic, _TANH_1)
    low = low + cubic_low + _TANH_3 * square_low + _TANH_3_LOW * square + _TANH_1_LOW
    y, lost = _exact_product(t, slope)
    return _times_sigmoid(x, y, lost + t * low)


def _scaled_softplus(x: Array, beta: float, threshold: float) -> Array:
    """``log(1 + exp(beta * x)) / beta``, the product with what its rounding loses."""
    z, lost = _exact_product(x, beta)
    return np.where(z > threshold, x, (_softplus(z) + lost * sigmoid(z)) / beta)


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
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
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
    "softplus": _scaled_softplus,
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
