"""The table of the elementwise activations: one entry each, from which functions, layers and tests are made.

To add one, add its entry here and its formula to the reference backend (see CONTRIBUTING).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

from ..errors import ArgumentError

__all__ = ["ACTIVATIONS", "MEASURED", "Activation", "Parameter", "activation_parameters", "number"]


class Parameter(NamedTuple):
    """A number that an activation takes."""

    name: str
    default: float | None
    """None: it must be given."""
    meaning: str
    rule: str = "any"
    """'any', 'finite', 'finite and not zero', 'positive' (and finite), or 'not negative'."""


class Activation(NamedTuple):
    """An elementwise function with torch's names.

    ``ulps``: the largest error that a backend may have in float32 and in float64, in units in the last place of the
    result; 0 where every step rounds as the formula says. Below the normal numbers one unit of the smallest counts.
    """

    layer: str
    """The layer's class name; '' if the function and the layer are written out by hand."""
    formula: str
    ulps: tuple[float, float] = (0, 0)
    parameters: tuple[Parameter, ...] = ()
    inplace: bool = False
    """torch's function and layer take ``inplace``."""


_ALPHA = Parameter("alpha", 1.0, "The limit at the left is -alpha.", "positive")
_FINITE = _ALPHA._replace(rule="finite")
_LAMBD = "Where it begins to differ from zero."

ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation("ReLU", "max(x, 0)", inplace=True),
    "relu6": Activation("ReLU6", "min(max(x, 0), 6)", inplace=True),
    "leaky_relu": Activation(
        "LeakyReLU",
        "x if x > 0 else negative_slope * x",
        parameters=(Parameter("negative_slope", 0.01, "Slope at the left."),),
        inplace=True,
    ),
    "elu": Activation("ELU", "x if x > 0 else alpha * (exp(x) - 1)", (2, 4), (_FINITE,), inplace=True),
    "selu": Activation(
        "SELU", "1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (exp(x) - 1))", (3, 4), inplace=True
    ),
    "celu": Activation("CELU", "x if x > 0 else alpha * (exp(x / alpha) - 1)", (3, 4), (_ALPHA,), inplace=True),
    "gelu": Activation("", "x * (1 + erf(x / sqrt(2))) / 2", (6, 8)),
    "gelu_tanh": Activation("", "x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2", (4, 6)),
    "silu": Activation("SiLU", "x / (1 + exp(-x))", (3, 5), inplace=True),
    "mish": Activation("Mish", "x * tanh(log(1 + exp(x)))", (4, 6), inplace=True),
    "sigmoid": Activation("Sigmoid", "1 / (1 + exp(-x))", (2, 4)),
    "logsigmoid": Activation("LogSigmoid", "-log(1 + exp(-x))", (3, 5)),
    "tanh": Activation("Tanh", "(exp(2 * x) - 1) / (exp(2 * x) + 1)", (2, 4)),
    "tanhshrink": Activation("Tanhshrink", "x - tanh(x)", (6, 8)),
    "hardtanh": Activation(
        "Hardtanh",
        "min(max(x, min_val), max_val)",
        parameters=(
            Parameter("min_val", -1.0, "Smallest value."),
            Parameter("max_val", 1.0, "Largest value, at least min_val."),
        ),
        inplace=True,
    ),
    "hardsigmoid": Activation("Hardsigmoid", "min(max(x + 3, 0), 6) / 6", (2, 2), inplace=True),
    "hardswish": Activation("Hardswish", "x * min(max(x + 3, 0), 6) / 6", (2, 3), inplace=True),
    "hardshrink": Activation(
        "Hardshrink",
        "x if abs(x) > lambd else 0",
        parameters=(Parameter("lambd", 0.5, _LAMBD),),
    ),
    "softshrink": Activation(
        "Softshrink",
        "x - lambd if x > lambd else x + lambd if x < -lambd else 0",
        parameters=(Parameter("lambd", 0.5, _LAMBD, "not negative"),),
    ),
    "softplus": Activation(
        "Softplus",
        "x if beta * x > threshold else log(1 + exp(beta * x)) / beta",
        (4, 6),
        (
            Parameter("beta", 1.0, "Scale of the argument.", "finite and not zero"),
            Parameter("threshold", 20.0, "Above it the function is x."),
        ),
    ),
    "softsign": Activation("Softsign", "x / (1 + abs(x))", (2, 2)),
    "threshold": Activation(
        "Threshold",
        "x if x > threshold else value",
        parameters=(
            Parameter("threshold", None, "Where it begins to be x."),
            Parameter("value", None, "What it is up to there."),
        ),
        inplace=True,
    ),
}
"""By the function's name."""

MEASURED: dict[str, dict[str, tuple[float, str]]] = {
    "elu": {
        "baseline": (1.1, "-0x1.26132p-2"),
        "x86-64-v3": (0.96, "-0x1.268238p-2"),
        "x86-64-v4": (0.96, "-0x1.268238p-2"),
    },
    "selu": {
        "baseline": (1.91, "-0x1.38b7ccp-3"),
        "x86-64-v3": (1.84, "-0x1.2df4aep-3"),
        "x86-64-v4": (1.84, "-0x1.2df4aep-3"),
    },
    "celu": {
        "baseline": (1.1, "-0x1.26132p-2"),
        "x86-64-v3": (0.96, "-0x1.268238p-2"),
        "x86-64-v4": (0.96, "-0x1.268238p-2"),
    },
    "gelu": {
        "baseline": (5.91, "-0x1.8c6746p2"),
        "x86-64-v3": (5.46, "-0x1.85a3c6p2"),
        "x86-64-v4": (3.39, "-0x1.86f346p3"),
    },
    "gelu_tanh": {
        "baseline": (3.52, "-0x1.604cd4p1"),
        "x86-64-v3": (3.31, "-0x1.f17c52p1"),
        "x86-64-v4": (3.25, "-0x1.d4a1fp0"),
    },
    "silu": {
        "baseline": (2.41, "-0x1.0af0b8p4"),
        "x86-64-v3": (2.4, "-0x1.0af4e2p4"),
        "x86-64-v4": (2.42, "-0x1.0b2d5ep4"),
    },
    "mish": {
        "baseline": (3.95, "-0x1.a1b5e4p1"),
        "x86-64-v3": (3.83, "-0x1.7c243ap2"),
        "x86-64-v4": (3.95, "-0x1.b1c38p2"),
    },
    "sigmoid": {
        "baseline": (1.77, "-0x1.1b1356p0"),
        "x86-64-v3": (1.75, "-0x1.19ede8p0"),
        "x86-64-v4": (1.76, "-0x1.6d47b6p-12"),
    },
    "logsigmoid": {
        "baseline": (2.74, "0x1.61d36p1"),
        "x86-64-v3": (2.58, "0x1.bbcf44p-2"),
        "x86-64-v4": (2.4, "0x1.b9de6p1"),
    },
    "tanh": {
        "baseline": (1.71, "0x1.f9db4ep-5"),
        "x86-64-v3": (1.78, "0x1.9f748ap-3"),
        "x86-64-v4": (1.85, "0x1.7b610ep0"),
    },
    "tanhshrink": {
        "baseline": (5.36, "0x1.025dp0"),
        "x86-64-v3": (5.36, "0x1.025dp0"),
        "x86-64-v4": (5.25, "0x1.003ad2p0"),
    },
    "hardsigmoid": {
        "baseline": (1, "0x1.000014p0"),
        "x86-64-v3": (1, "0x1.000014p0"),
        "x86-64-v4": (1, "0x1.000014p0"),
    },
    "hardswish": {
        "baseline": (1.88, "0x1.5f1a7cp0"),
        "x86-64-v3": (1.88, "0x1.5f1a7cp0"),
        "x86-64-v4": (1.88, "0x1.5f1a7cp0"),
    },
    "softplus": {
        "baseline": (2.74, "-0x1.61d36p1"),
        "x86-64-v3": (2.58, "-0x1.bbcf44p-2"),
        "x86-64-v4": (2.4, "-0x1.b9de6p1"),
    },
    "softsign": {
        "baseline": (1.5, "0x1.ffd7fep10"),
        "x86-64-v3": (1.5, "0x1.ffd7fep10"),
        "x86-64-v4": (1.5, "0x1.ffd7fep10"),
    },
}
"""How far the kernels of the cpu backend are from the truth in float32, where the table allows an error: by activation
and instruction set the largest error over every float32, in units in the last place and rounded up, and an argument
that has it; on a Zen 4, at the parameters' defaults. The baseline is that of x86-64, which does not fuse multiply-adds.

For comparison: SLEEF, by which torch computes exp, expm1, tanh, erf and log1p in vectors, promises 1.0 unit for each of
these in its functions named u10 (https://sleef.org), and nothing for what is made of them. torch promises no bound; its
note on numerical accuracy says only that results may differ between releases and platforms.

Tests compare these numbers with what the kernels do at their arguments and, slowly, at all others.
"""


def number(op: str, name: str, value: Any, rule: str = "any") -> float:
    """``value`` as a float that keeps to a Parameter's rule; bool, str and complex are refused, NaN too."""
    if isinstance(value, bool | str | bytes) or type(value).__name__ in ("bool_", "bool"):
        raise ArgumentError(f"{op}: {name} must be a number, got {type(value).__name__} {value!r}")
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"{op}: {name} must be a number, got {type(value).__name__} {value!r}") from None
    if found != found:
        raise ArgumentError(f"{op}: {name} must be a number, got {value!r}")
    if rule == "finite and not zero" and not (found and isfinite(found)):
        raise ArgumentError(f"{op}: {name} must be finite and not zero, got {value!r}")
    if rule == "finite" and not isfinite(found):
        raise ArgumentError(f"{op}: {name} must be finite, got {value!r}")
    if rule == "positive" and not (found > 0 and isfinite(found)):
        raise ArgumentError(f"{op}: {name} must be positive and finite, got {value!r}")
    if rule == "not negative" and found < 0:
        raise ArgumentError(f"{op}: {name} must not be negative, got {value!r}")
    return found


def activation_parameters(
    who: str, op: str, given: tuple[Any, ...], named: Mapping[str, Any]
) -> tuple[tuple[float, ...], bool]:
    """The numbers that activation ``op`` is called with, checked and in the table's order; and its ``inplace``.

    ``given`` by place, ``named`` by name, as for torch's function. ``who`` is named in errors.
    """
    entry = ACTIVATIONS[op]
    names = [parameter.name for parameter in entry.parameters] + ["inplace"] * entry.inplace
    if len(given) > len(names):
        raise ArgumentError(f"{who}: takes at most {len(names)} parameters ({', '.join(names)}), got {len(given)}")
    found = dict(zip(names, given, strict=False))
    for name, value in named.items():
        if name not in names:
            raise ArgumentError(f"{who}: there is no parameter {name!r}; it has {', '.join(names) or 'none'}")
        if name in found:
            raise ArgumentError(f"{who}: {name} is given twice")
        found[name] = value
    inplace = found.pop("inplace", False)
    if not isinstance(inplace, bool):
        raise ArgumentError(f"{who}: inplace must be True or False, got {type(inplace).__name__} {inplace!r}")
    values = []
    for parameter in entry.parameters:
        value = found.get(parameter.name, parameter.default)
        if value is None:
            raise ArgumentError(f"{who}: {parameter.name} must be given as a number")
        values.append(number(who, parameter.name, value, parameter.rule))
    if op == "hardtanh" and values[0] > values[1]:
        raise ArgumentError(f"{who}: min_val must be at most max_val, got {values[0]} and {values[1]}")
    return tuple(values), inplace
