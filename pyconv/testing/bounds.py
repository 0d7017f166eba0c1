"""How far the result of an activation may be from the reference's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..plan import ACTIVATIONS

__all__ = ["allowed_error", "is_exact"]

_FURTHER_ULPS: dict[str, tuple[float, float]] = {
    "prelu": (0, 0),
    "glu": (3, 5),
    "softmax": (4, 5),
    "softmin": (4, 5),
    "log_softmax": (4, 5),
}
"""Beside those of the table: in float32 and in float64."""


def _ulps(op: str) -> tuple[float, float]:
    return ACTIVATIONS[op].ulps if op in ACTIVATIONS else _FURTHER_ULPS[op]


def _op(op: str, parameters: Mapping[str, Any]) -> str:
    return "gelu_tanh" if op == "gelu" and parameters.get("approximate") == "tanh" else op


def is_exact(op: str) -> bool:
    """Whether every backend has to give the reference's numbers."""
    return _ulps(op) == (0, 0)


def _distance(x: np.ndarray, dim: int) -> np.ndarray:
    """From the largest element, and its mean by weight: exp magnifies the rounding of the differences by so much.

    And the number of terms, which is how often the sum is rounded.
    """
    x = np.atleast_1d(x)
    distance = np.nan_to_num(x.max(axis=dim, keepdims=True, initial=-np.inf) - x)
    weights = np.exp(-distance)
    mean = (distance * weights).sum(axis=dim, keepdims=True) / weights.sum(axis=dim, keepdims=True)
    return distance + mean + x.shape[dim]


# By how many of float64's units the reference may be wrong itself: it rounds the factors of a result, or subtracts
# numbers that are nearly equal.
_REFERENCE: dict[str, Callable[..., Any]] = {
    "gelu": lambda x: 3.0,
    "gelu_tanh": lambda x, **_: 3.0,
    "softplus": lambda x, **_: 2.0,
    "tanhshrink": lambda x: np.where(np.abs(x) < 0.1, 1.0, 4.0 / np.maximum(x * x, 0.01)),
    "celu": lambda x, **_: 2.0,
    "softmax": _distance,
    "softmin": lambda x, dim: _distance(-x, dim),
}


def allowed_error(
    op: str, dtype: str, wanted: np.ndarray, x: np.ndarray, parameters: Mapping[str, Any]
) -> tuple[np.ndarray, str]:
    """The largest error that each element of ``wanted`` may have, and the unit in words."""
    op = _op(op, parameters)
    limit = _ulps(op)[dtype == "float64"]
    double = float(np.finfo(np.float64).eps)
    with np.errstate(all="ignore"):
        size = np.abs(wanted).astype(np.float64)
        allowed = limit * np.spacing(np.abs(wanted)).astype(np.float64)
        if op in _REFERENCE:
            units = np.nan_to_num(_REFERENCE[op](x.astype(np.float64), **parameters), posinf=0.0)
            allowed = allowed + double * size * np.reshape(units, np.shape(units) if x.ndim else ())
        if op in ("softmax", "softmin"):
            allowed = allowed + float(np.finfo(dtype).tiny)  # below the normal numbers zero will do
        if op == "log_softmax":
            allowed = allowed + double * (2 + x.size)  # the logarithm of the sum may be all there is
        if op == "glu":
            first = np.split(x.astype(np.float64), 2, axis=parameters["dim"])[0]
            allowed = allowed + np.nan_to_num(np.abs(first), posinf=0.0) * float(np.finfo(dtype).smallest_subnormal)
    return allowed, f"{limit:g} units in the last place"
