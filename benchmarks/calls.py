"""Where the time of a tiny call goes, part by part: ``python -m benchmarks.calls``.

Parts are differences of calls that do more and more of the same; each is the least of several runs, with the empty
loop taken off.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import pyconv
import pyconv.functional as F

from .alone import begin, parser, save

__all__ = ["breakdown", "main"]

CASES: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "relu 1x1x4x4": (pyconv.ReLU, (1, 1, 4, 4)),
    "pool 2x2 s2 1x1x4x4": (lambda: pyconv.MaxPool2d(2), (1, 1, 4, 4)),
    "conv 2x2 s2 1->1 4x4": (lambda: pyconv.Conv2d(1, 1, 2, 2), (1, 1, 4, 4)),
    "conv 5x5 1->16 28x28": (lambda: pyconv.Conv2d(1, 16, 5), (1, 1, 28, 28)),
}


class Nothing:
    """What it costs to call a layer that does nothing."""

    def __call__(self, input: Any, *, out: Any = None) -> Any:
        return None


class Part(NamedTuple):
    name: str
    microseconds: list[float]


def _seconds(function: Callable[..., Any], *args: Any, rounds: int, **kwargs: Any) -> float:
    """Of one call: the least of nine runs, without the loop around it."""
    call, nothing = partial(function, *args, **kwargs), partial(int)
    best, empty = 1.0, 1.0
    for _ in range(9):
        start = perf_counter()
        for _ in range(rounds):
            call()
        middle = perf_counter()
        for _ in range(rounds):
            nothing()
        end = perf_counter()
        best, empty = min(best, middle - start), min(empty, end - middle)
    return (best - empty) / rounds


def _known(layer: Any, x: np.ndarray) -> Callable[..., Any]:
    """The compiled look-up of a layer that knows its call."""
    for _ in range(3):
        layer(x)
    return layer.__dict__["_known"].run


def breakdown(rounds: int = 5000) -> list[Part]:
    """The parts of each case's call, in microseconds, and what to hold them against."""
    seconds = partial(_seconds, rounds=rounds)
    one = np.ones((1, 1, 1, 1), np.float32)
    run_one = _known(pyconv.ReLU(), one)
    least = seconds(run_one, one, None, None, one.copy(), ())
    unknown = seconds(run_one, one, None, None, None, (None,))  # it looks at the input, and at other parameters
    columns = []
    for make, shape in CASES.values():
        layer, x = make(), np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        run, out = _known(layer, x), layer(x)
        reused, fresh = seconds(run, x, None, None, out, ()), seconds(run, x, None, None, None, ())
        with_out, without = seconds(layer, x, out=out), seconds(layer, x)
        nothing = seconds(Nothing(), x)
        general = make()
        general.plans_alike = False  # then no call is known
        columns.append(
            [
                nothing,
                without - fresh - nothing,
                unknown,
                least - unknown,
                fresh - reused,
                reused - least,
                without,
                with_out,
                seconds(general, x),
                seconds(np.negative, x),
            ]
        )
    names = (
        "Python calls a layer",
        "its look at what it keeps",
        "into compiled code, and out again",
        "recognising input and settings; relu of one number",
        "the result's memory",
        "the kernel, beyond relu of one number",
        "**layer(x)**",
        "layer(x, out=out)",
        "layer(x) the general way",
        "numpy.negative(x)",
    )
    return [
        Part(name, [1e6 * value for value in row]) for name, row in zip(names, zip(*columns, strict=True), strict=True)
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write the table."""
    options = parser("calls", __doc__, rounds=5000, layers=False).parse_args(arguments)
    report = begin(pyconv.get_num_threads(), arguments)
    F.relu(np.ones(3, np.float32))  # whatever happens once
    parts = breakdown(options.rounds)
    lines = [[part.name, *(f"{value:.2f}" for value in part.microseconds)] for part in parts]
    save(report, "calls", parts, (["µs", *CASES], lines), out=options.out)


if __name__ == "__main__":
    main()
