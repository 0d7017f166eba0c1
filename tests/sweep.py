"""Checks of random calls of every operation; `python tests/sweep.py --help` says how to make more of them.

What fails is printed as a line of Python, and as the command that repeats it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
from drawn import CASES, WORK, Draw, draw_stack, drawn
from guarded import guarded

import pyconv
import pyconv.functional as F
from pyconv import registry
from pyconv.backends.cpu import isa, wake
from pyconv.errors import BackendError, PyconvError
from pyconv.report import function_call
from pyconv.testing import LAYOUTS, Case
from pyconv.testing.checks import check


def same_bits(a: Any, b: Any) -> bool:
    """Whether two results are equal to the last bit, whatever the bits of a NaN."""
    if isinstance(a, tuple):
        return all(same_bits(x, y) for x, y in zip(a, b, strict=True))
    if a.dtype.kind == "f":
        a, b = (np.where(np.isnan(x), np.nan, x).astype(x.dtype) for x in (a, b))
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def use_threads(count: int | None) -> None:
    """However little there is to do; None is as ever."""
    wake.threads_for = _threads_for if count is None else lambda seconds: count


_threads_for = wake.threads_for


def check_near(case: Case, arguments: dict[str, Any], got: np.ndarray) -> None:
    """See that an algorithm whose error follows the largest input near by is as right as that."""
    plain = {name: value for name, value in arguments.items() if name != "algorithm"}
    x, weight = arguments["input"], arguments["weight"]
    filters = np.moveaxis(weight, 1, 0) if "transpose" in case.op else weight
    filters = np.where(np.isfinite(filters), np.abs(filters), 0).reshape(len(filters), -1)
    with np.errstate(all="ignore"):
        wanted = getattr(F, case.op)(**plain, backend="reference")
        largest, terms, limits = np.abs(x[np.isfinite(x)]).max(initial=1), filters.shape[1], np.finfo(case.dtype)
        allowed = (8 + 2 * np.sqrt(terms)) * limits.eps * largest * filters.sum(axis=1).max(initial=0)
        near = np.abs(got - wanted) <= allowed + limits.tiny * terms * (1 + largest)
    wrong = ~np.where(np.isfinite(wanted), near, (got == wanted) | (np.isnan(got) & np.isnan(wanted)))
    assert not wrong.any(), f"{case}: {wrong.sum()} elements are wrong; {got[wrong][0]!r}, not {wanted[wrong][0]!r}"


def check_by_norm(case: Case) -> str | None:
    """The same of a function; the reason if it is refused."""
    function, arguments = getattr(F, case.op), case.arguments()
    call, _ = function_call(function, (), arguments)
    _, reason = registry.candidate("cpu", call.plan, call.kind)
    if reason is None:
        with np.errstate(all="ignore"):
            check_near(case, arguments, function(**arguments, backend="cpu"))
    return reason


LAYERS = {
    "conv1d": pyconv.Conv1d,
    "conv2d": pyconv.Conv2d,
    "conv_transpose1d": pyconv.ConvTranspose1d,
    "conv_transpose2d": pyconv.ConvTranspose2d,
}


def check_layer(case: Case) -> bool:
    """A layer is right, and gives the same bits on any number of threads, of an image alone and when it comes again."""
    arguments = case.arguments()
    x, weight, bias = arguments["input"], arguments["weight"], arguments.get("bias")
    outs, ins = weight.shape[:2]
    if "transpose" in case.op:
        ins, outs = weight.shape[0], weight.shape[1] * case.parameters["groups"]
    else:
        ins *= case.parameters["groups"]
    given = {"dtype": case.dtype, "bias": bias is not None, **case.parameters}
    results = []
    for count in (2, 1, 3, None):
        use_threads(count)
        try:
            layer = LAYERS[case.op](ins, outs, weight.shape[2:], **given)
            layer.weight = weight
            if bias is not None:
                layer.bias = bias
            with np.errstate(all="ignore"):
                results += [layer(x), layer(x), layer(x)]
                if len(x) > 1 and x.ndim == weight.ndim and case.layout != "broadcast_planes":
                    assert same_bits(layer(x[-1:]), results[0][-1:]), f"{case}: an image alone gives other bits"
        except BackendError:
            assert case.parameters.get("algorithm", "auto") not in ("auto", "direct"), f"{case}: refused"
            return False
    check_near(case, arguments, results[0])
    assert all(same_bits(result, results[0]) for result in results), (
        f"{case}: threads or repeated calls give other bits"
    )
    return True


def check_case(case: Case) -> None:
    """Right by the reference; and the same bits on any number of threads, for each image by itself, and when known."""
    use_threads(2)
    function, algorithm = getattr(F, case.op), case.parameters.get("algorithm", "auto")
    by_norm = algorithm.startswith("winograd") or (algorithm == "fft" and case.dtype == "float64")
    reason = check_by_norm(case) if by_norm else check(case, "cpu")
    if reason is not None:
        assert algorithm not in ("auto", "direct"), f"{case}: refused: {reason}"
        return
    results = {}
    with np.errstate(all="ignore"):
        for count in (2, 1, 3):
            use_threads(count)
            results[count] = function(**case.arguments(), backend=["cpu"])
        use_threads(None)
        arguments = case.arguments()
        for _ in range(3):
            again = function(**arguments, backend="cpu")
            assert same_bits(again, results[1]), f"{case}: a repeated call gives other bits"
        for count in (2, 3):
            assert same_bits(results[count], results[1]), f"{case}: {count} threads give other bits than one"
        if case.op in ("batch_norm", "prelu") or len(case.shape) != 4 or case.shape[0] < 2 or case.op in AXES:
            return
        if "broadcast_planes" in (case.layout, case.residual_layout):  # one of these alone lies otherwise
            return
        parts = {name: arguments[name][-1:] for name in ("input", "indices", "residual") if name in arguments}
        alone, whole = function(**{**arguments, **parts}, backend=["cpu"]), results[1]
        whole = tuple(part[-1:] for part in whole) if isinstance(whole, tuple) else whole[-1:]
        assert same_bits(alone, whole), f"{case}: an image alone gives other bits"


AXES = ("softmax", "softmin", "log_softmax", "glu")


def check_stack(seed: int, number: int) -> bool:
    """A Sequential gives the bits of its layers one by one; False if they refuse the input, or it is too much work.

    Where a BatchNorm2d becomes part of the weights it is near them, and has the bits of one thread.
    """
    draw = Draw(seed, "stack", number)
    layers, x = draw_stack(draw)
    words = f"Sequential({', '.join(map(repr, layers))}) of {x.dtype} {x.shape} with strides {x.strides}"
    if x.size * np.prod(layers[0].weight.shape) / layers[0].weight.shape[1] / layers[0].groups > 10 * WORK:
        return False

    def see(got: np.ndarray, wanted: np.ndarray, what: str) -> None:
        assert same_bits(np.ascontiguousarray(got), np.ascontiguousarray(wanted)), f"{what}: {words}"

    with np.errstate(all="ignore"):
        use_threads(1)
        wanted = x
        try:
            for layer in layers:
                wanted = layer(wanted)
        except PyconvError:
            return False
        if any(isinstance(layer, pyconv.BatchNorm2d) for layer in layers):
            folded = pyconv.Sequential(*layers)(x)
            scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=1) * 1e4 * np.finfo(x.dtype).eps
            near = (np.abs(folded - wanted) <= scale) | (folded == wanted) | (np.isnan(folded) & np.isnan(wanted))
            assert near.all(), f"by its layers: {words}"
            wanted = folded
        for count in (1, 2, 3, None):
            use_threads(count)
            stack = pyconv.Sequential(*layers)
            for _ in range(3):
                see(stack(x), wanted, f"{count} threads")
            layout = LAYOUTS[draw.one("contiguous", "gaps", "channels_last", "reversed")]
            out = guarded(layout(np.full_like(wanted, 7)), draw.chance(0.5))
            assert stack(x, out=out) is out, words
            see(out, wanted, f"{count} threads, out=")
            if x.ndim == 4 and len(x) > 1 and x.strides[0]:  # the layout of images that are one is another
                see(stack(x[-1:]), wanted[-1:], "alone")
    return True


def one(op: str, seed: int, number: int) -> bool:
    """Draw a call and check it; False if it was none to check."""
    if op == "stack":
        return check_stack(seed, number)
    case = drawn(op, seed, number)
    if case is None:
        return False
    try:
        if op == "layer":
            return check_layer(case)
        check_case(case)
    except Exception as error:
        raise AssertionError(f"{case!r}\n{type(error).__name__}: {error}") from error
    return True


OPS = (*CASES, "stack")


def sweep(ops: list[str], names: list[str], seed: int, numbers: range, seconds: float, progress: Any) -> Iterator[str]:
    """Check calls of these numbers on these instruction sets until the time is over; what is wrong, in words."""
    for name in names:
        isa.use(name)
        for op in ops:
            begun, done = perf_counter(), 0
            for number in numbers:
                if perf_counter() - begun > seconds:
                    break
                where = f"sweep.py --isa {name} --op {op} --seed {seed} --first {number} --count 1"
                os.pwrite(progress, where.ljust(120).encode() + b"\n", 0)
                try:
                    done += one(op, seed, number)
                except AssertionError as error:
                    yield f"{where}\n{error}\n"
            print(f"{name} {op}: {done} calls in {perf_counter() - begun:.1f} s", flush=True)
    isa.use(None)
    use_threads(None)


def main(words: list[str]) -> int:
    """Run as a program; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--isa", action="append", choices=isa.names(), help="instead of all")
    parser.add_argument("--op", action="append", choices=OPS, help="instead of all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--count", type=int, default=100, help="calls of each operation on each instruction set")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each of these at most")
    parser.add_argument("--progress", default=os.devnull, help="a file that says which call is being made")
    given = parser.parse_args(words)
    wrong = 0
    progress = os.open(given.progress, os.O_WRONLY | os.O_CREAT)
    numbers = range(given.first, given.first + given.count)
    for report in sweep(given.op or list(OPS), given.isa or isa.names(), given.seed, numbers, given.seconds, progress):
        print(report, flush=True)
        wrong += 1
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
