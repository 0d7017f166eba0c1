"""Derive the polynomials of pyconv/_core/kernels/activation.h and pieces.h. Needs mpmath.

Each is the interpolant at Chebyshev points, which is within a bit of the best polynomial; for expm1, whose error is
seen in everything, it is the best one, by Remez's exchange. Prints the coefficients, the lowest first, the largest
relative error of the function itself as a power of two, and the condition: the largest ratio of the sum of the terms'
magnitudes to the value, which tells how much of the rounding errors of the terms is seen in the sum.

    python tools/fit_activations.py expm1 4      # float32; 10 for float64
    python tools/fit_activations.py atanh 4      # 10
    python tools/fit_activations.py normal 11    # 23
    python tools/fit_activations.py shrink 7     # 15
    python tools/fit_activations.py log1p 9      # float32 only

Those of pieces.h, sixteen each, the middles first:

    python tools/fit_activations.py normal-pieces 6
    python tools/fit_activations.py tanh-pieces 6
    python tools/fit_activations.py log1p-pieces 3
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from mpmath import mp, mpf

Function = Callable[[mpf], mpf]


def _expm1(r: mpf) -> mpf:
    """P of expm1(r) = r + r**2 P(r), by the series, which loses nothing near zero."""
    return mp.nsum(lambda k: r**k / mp.factorial(k + 2), [0, 40])


def _atanh(z: mpf) -> mpf:
    """R of log((1 + s) / (1 - s)) = 2 atanh(s) = 2 s + 2 s z R(z), z = s**2."""
    return mp.nsum(lambda k: z**k / (2 * k + 3), [0, 200])


def _normal(scale: mpf) -> Function:
    """H of exp(t**2 / 2) * (normal distribution function of -t) = w H(u), w = scale / (t + scale), u = 1 - 2 w.

    The smaller the scale, the longer the polynomial, and the less an error of w is magnified near t = 0.
    """

    def function(u: mpf) -> mpf:
        w = (1 - u) / 2
        t = scale / w - scale
        return mp.exp(t * t / 2) * mp.erfc(t / mp.sqrt(2)) / 2 / w

    return function


def _shrink(z: mpf) -> mpf:
    """S of x - tanh(x) = x z S(z), z = x**2."""
    x = mp.sqrt(z)
    return (x - mp.tanh(x)) / x**3 if z > mpf(10) ** -12 else mpf(1) / 3 - 2 * z / 15 + 17 * z * z / 315


def _log1p(e: mpf) -> mpf:
    """L of log(1 + e) = e L(e)."""
    return mp.log1p(e) / e if e > mpf(10) ** -12 else 1 - e / 2


def _tail(t: mpf) -> mpf:
    """exp(t**2 / 2) * (normal distribution function of -t)."""
    return mp.exp(t * t / 2) * mp.erfc(t / mp.sqrt(2)) / 2


def _slope(t: mpf) -> mpf:
    """tanh(t) / t."""
    return mp.tanh(t) / t if t > mpf(10) ** -8 else 1 - t * t / 3


PIECES = {"normal-pieces": (_tail, True), "tanh-pieces": (_slope, True), "log1p-pieces": (_log1p, False)}
"""The functions, and whether their pieces grow."""


def pieces(growing: bool) -> list[tuple[mpf, mpf]]:
    """The ends of the sixteen pieces, in the order of the low four bits of an index.

    Those that grow are quarters of [1, 2), [2, 4), [4, 8), [8, 16), less 1: the index is the end of the exponent, and
    the first two bits behind it. The others are sixteenths of [0, 1].
    """
    if not growing:
        return [(mpf(i) / 16, mpf(i + 1) / 16) for i in range(16)]
    found = []
    for index in range(16):
        octave = mpf(2) ** ((index // 4 + 1) % 4)  # an exponent of 0 is 127 in the bits, which ends in 3
        found.append(tuple(octave * (1 + mpf(index % 4 + k) / 4) - 1 for k in (0, 1)))
    return found


def main_pieces(name: str, degree: int) -> None:
    """Print the middles of the pieces, the coefficients around them, and the error as a power of two."""
    target, growing = PIECES[name]
    error, columns = mpf(0), []
    angles = [(2 * i + 1) * mp.pi / (2 * (degree + 1)) for i in range(degree + 1)]
    for low, high in pieces(growing):
        middle, half = (low + high) / 2, (high - low) / 2
        coefficients = interpolant(lambda x, m=middle: target(m + x), [-half * mp.cos(angle) for angle in angles])
        for i in range(101):
            x = half * (mpf(2 * i) / 100 - 1)
            error = max(error, abs(mp.polyval(coefficients[::-1], x) / target(middle + x) - 1))
        columns.append([middle, *coefficients])
    for row in zip(*columns, strict=True):
        print(", ".join(mp.nstr(value, 10) for value in row))
    print(f"error 2**{float(mp.log(error, 2)):.1f}")


def fits(name: str, degree: int) -> tuple[Function, mpf, mpf]:
    """The function and the ends of its interval."""
    # where the result has long been zero
    scale, farthest = (mpf(2), mpf("14.6")) if degree < 16 else (mpf(4), mpf("39.5"))
    half = mp.log(2) / 2 * mpf("1.0005")  # the reduced argument may be rounded past the edge
    return {
        "expm1": (_expm1, -half, half),
        "atanh": (_atanh, mpf(0), mpf(1) / 9),
        "normal": (_normal(scale), mpf(-1), 1 - 2 * scale / (farthest + scale)),
        "shrink": (_shrink, mpf(0), mpf(1)),
        "log1p": (lambda x: _log1p(x + mpf("0.5")), mpf("-0.5"), mpf("0.5")),
    }[name]


def weight(name: str, target: Function, x: mpf) -> mpf:
    """What an error of the polynomial at x counts: relative to the function that it is a part of."""
    if name == "expm1":  # r**2 P(r) within expm1(r), which is about r
        return abs(x) / (mp.expm1(x) / x) if x else mpf(10) ** -6
    return 1 / abs(target(x))


def interpolant(target: Function, points: list[mpf]) -> list[mpf]:
    """The coefficients of the polynomial through these points."""
    matrix = mp.matrix(len(points), len(points))
    for row, x in enumerate(points):
        for column in range(len(points)):
            matrix[row, column] = x**column
    return list(mp.lu_solve(matrix, mp.matrix([target(x) for x in points])))


def exchanged(name: str, target: Function, low: mpf, high: mpf, degree: int) -> list[mpf]:
    """The coefficients of the polynomial with the smallest largest error, by Remez's exchange."""
    count = degree + 2
    grid = [low + (high - low) * mpf(i) / 2000 for i in range(2001)]
    values, weights = [target(x) for x in grid], [weight(name, target, x) for x in grid]
    points = [(low + high) / 2 - (high - low) / 2 * mp.cos((2 * i + 1) * mp.pi / (2 * count)) for i in range(count)]
    coefficients: list[mpf] = []
    for _ in range(8):
        matrix = mp.matrix(count, count)
        for row, x in enumerate(points):
            for column in range(degree + 1):
                matrix[row, column] = x**column
            matrix[row, degree + 1] = (-1) ** row / weight(name, target, x)
        coefficients = list(mp.lu_solve(matrix, mp.matrix([target(x) for x in points])))[:-1]
        errors = [w * (mp.polyval(coefficients[::-1], x) - v) for x, v, w in zip(grid, values, weights, strict=True)]
        peaks = [0]  # the largest error between two changes of sign
        for i in range(1, len(grid)):
            if (errors[i] > 0) != (errors[i - 1] > 0):
                peaks.append(i)
            elif abs(errors[i]) > abs(errors[peaks[-1]]):
                peaks[-1] = i
        while len(peaks) > count:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        points = [grid[i] for i in peaks]
    return coefficients


def main(name: str, degree: int) -> None:
    """Print the coefficients of the polynomial of this degree."""
    mp.dps = 60
    target, low, high = fits(name, degree)
    if name == "expm1":
        coefficients = exchanged(name, target, low, high, degree)
    else:
        count = degree + 1
        angles = [(2 * i + 1) * mp.pi / (2 * count) for i in range(count)]
        coefficients = interpolant(target, [(low + high) / 2 + (high - low) / 2 * mp.cos(angle) for angle in angles])
    for coefficient in coefficients:
        print(mp.nstr(coefficient, 20))
    error, condition = mpf(0), mpf(0)
    for i in range(401):
        x = low + (high - low) * mpf(i) / 400
        value = target(x)
        error = max(error, abs(mp.polyval(coefficients[::-1], x) - value) * weight(name, target, x))
        condition = max(condition, mp.polyval([abs(c) for c in coefficients[::-1]], abs(x)) / abs(value))
    print(f"error 2**{float(mp.log(error, 2)):.1f}, condition {float(condition):.2f}")


if __name__ == "__main__":
    mp.dps = 60
    (main_pieces if sys.argv[1] in PIECES else main)(sys.argv[1], int(sys.argv[2]))
