"""Derive the polynomial of pyconv/_core/kernels/activation.kernel.c.

Prints c[0], c[1], ... of P, where expm1(r) = r + r**2 * P(r) for |r| <= log(2) / 2: the interpolant at Chebyshev
points, which is within a bit of the best polynomial, and its largest relative error in bits. Needs mpmath.

    python tools/fit_expm1.py 5     # float32
    python tools/fit_expm1.py 10    # float64
"""

from __future__ import annotations

import sys

from mpmath import mp, mpf


def target(r: mpf) -> mpf:
    """(expm1(r) - r) / r**2, by its series, which loses nothing near zero."""
    return mp.nsum(lambda k: r**k / mp.factorial(k + 2), [0, 40])


def main(degree: int) -> None:
    """Print the coefficients of the polynomial of this degree."""
    mp.dps = 50
    bound = mp.log(2) / 2 * mpf("1.0005")  # the reduced argument may be rounded past the edge
    count = degree + 1
    points = [bound * mp.cos((2 * i + 1) * mp.pi / (2 * count)) for i in range(count)]
    matrix = mp.matrix(count, count)
    for row, x in enumerate(points):
        for column in range(count):
            matrix[row, column] = x**column
    solution = mp.lu_solve(matrix, mp.matrix([target(x) for x in points]))
    coefficients = [solution[i] for i in range(count)]
    grid = [bound * (mpf(i) / 200 - 1) for i in range(401)]
    error = max(abs(mp.polyval(coefficients[::-1], x) - target(x)) * abs(x) for x in grid)
    for coefficient in coefficients:
        print(mp.nstr(coefficient, 20))
    print(f"error 2**{float(mp.log(error, 2)):.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
