"""The float64 activations that an error of an argument could spoil, against values worked out to hundreds of digits.

The reference is what every other backend's activations are compared with, so its own errors are theirs to explain.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest

import pyconv.functional as F
from pyconv.plan import ACTIVATIONS, plan_elementwise
from pyconv.registry import candidate

DIGITS = 450
"""Of 1/2 less nearly 1/2, which is what the normal distribution function of -38.5 is here, 120 are left."""


def pi():
    """By Machin's formula, 16 atan(1 / 5) - 4 atan(1 / 239)."""
    unit = 10 ** (DIGITS + 10)

    def atan_of_inverse(n):
        total, power, k = 0, unit // n, 0
        while power:
            total += (-1) ** k * (power // (2 * k + 1))
            power //= n * n
            k += 1
        return total

    return Decimal(16 * atan_of_inverse(5) - 4 * atan_of_inverse(239)) / unit


def gelu(x):
    """By the series of the normal distribution function whose terms have one sign (Abramowitz and Stegun, 26.2.11)."""
    total, term, k = Decimal(0), x, 1
    while abs(term) > Decimal(10) ** -DIGITS:
        total += term
        term *= x * x / (2 * k + 1)
        k += 1
    return x * (Decimal("0.5") + (-x * x / 2).exp() / (2 * pi()).sqrt() * total)


def gelu_tanh(x):
    return x / (1 + (-(8 / pi()).sqrt() * (x + Decimal("0.044715") * x**3)).exp())


def softplus(x, beta=1.0):
    return (1 + (Decimal(beta) * x).exp()).ln() / Decimal(beta)


POINTS = {
    gelu: (-38.4, -38.1, -37.9, -37.3, -36.7, -33.3, -29.9, -25.1, -24.9, -19.3, -12.7, -8.1, -5.3, -2.9, -1.1, -0.3),
    gelu_tanh: (-21.7, -21.5, -21.1, -20.3, -17.9, -13.3, -10.1, -7.7, -5.9, -3.1, -1.7, -0.9, -0.2),
    softplus: (-743.3, -707.7, -601.3, -301.9, -77.7, -30.1, -8.3, -2.1, -0.7, 0.3, 3.3, 17.9),
}


def check(function, exact, op, x):
    with localcontext(prec=DIGITS):
        wanted = [exact(Decimal(value)) for value in x]
        got = [Decimal(value) for value in function(np.array(x)).tolist()]
        least = float(np.finfo(np.float64).tiny)
        units = [Decimal(float(np.spacing(max(abs(float(value)), least)))) for value in wanted]
        errors = [float(abs(a - b) / unit) for a, b, unit in zip(got, wanted, units, strict=True)]
    assert max(errors) <= ACTIVATIONS[op].ulps[1], dict(zip(x, errors, strict=True))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("exact", POINTS, ids=lambda exact: exact.__name__)
def test_float64(backend, exact):
    """Each point and numbers near it, whose squares are rounded otherwise."""
    op, x = exact.__name__, [value * (1 + k * 1e-9) for value in POINTS[exact] for k in range(3)]
    if op == "gelu_tanh":
        check(lambda x: F.gelu(x, "tanh", backend=backend), exact, op, x)
    else:
        check(lambda x: getattr(F, op)(x, backend=backend), exact, op, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("beta", [2.0**-20, 1e-6, 1e-9, 1e-30, 1e-40])
def test_softplus_of_tiny_beta(beta, dtype):
    """Zero far enough to the left, x to the right, on whichever backend is chosen: the kernels leave it alone."""
    with np.errstate(over="ignore"):
        x = np.array([-np.inf, -1000 / beta, 40 / beta, np.inf], dtype)
    for sign in (1, -1):
        got = F.softplus(sign * x, sign * beta)
        np.testing.assert_array_equal(sign * got, [0, 0, *x[2:]])
    plan = plan_elementwise("softplus", (4,), dtype, (beta, 20.0))
    assert (candidate("cpu", plan, "numpy")[1] is None) == (beta >= 2.0**-20)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("beta", [0.3, 7.1, -0.9])
def test_softplus_of_a_product(backend, beta):
    x = [value / beta for value in POINTS[softplus]]
    check(lambda x: F.softplus(x, beta, backend=backend), lambda x: softplus(x, beta), "softplus", x)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_ends(backend):
    """Where nothing is to be computed."""
    most = float(np.finfo(np.float64).max)
    x = np.array([-np.inf, -most, -61.0, -0.0, 0.0, 61.0, most, np.inf, np.nan])
    with np.errstate(all="ignore"):
        for approximate in ("none", "tanh"):
            got = F.gelu(x, approximate, backend=backend)
            np.testing.assert_array_equal(got, [np.nan, -0.0, -0.0, -0.0, 0.0, 61.0, most, np.inf, np.nan])
            assert np.signbit(got[1:4]).all()
            assert not np.signbit(got[4])
        got = F.softplus(x, 3.0, backend=backend)[[0, 1, 5, 6, 7, 8]]
        np.testing.assert_array_equal(got, [0, 0, 61, most, np.inf, np.nan])


def test_log_softmax_near_zero():
    """Where one element outweighs the others by far, the result is what these add to its logarithm."""
    for rest in (-3.0, -20.0, -45.0, -700.0):
        x = np.array([[2.0, rest + 2.0, rest + 2.0]])
        wanted = -np.log1p(2 * np.exp(rest))
        got = F.log_softmax(x, 1, backend="reference")[0]
        np.testing.assert_allclose(got, [wanted, rest + wanted, rest + wanted], rtol=4 * np.finfo(np.float64).eps)
