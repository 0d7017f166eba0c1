"""Random calls of every operation against the reference: some in every run, thousands with the slow tests.

Each run is a process of its own, since arrays lie beside memory that ends it: drawn.py draws, sweep.py checks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sweep
from drawn import CASES, Draw, Guarded, inf
from helpers import ISAS, run_python

import pyconv
from pyconv.backends.cpu import wake
from pyconv.testing import Case


def swept(tmp_path, name, timeout, *words):
    """Run the sweep; what it printed, and of a crash the call that was being made."""
    progress = tmp_path / "progress"
    words = [*words, "--isa", name, "--progress", str(progress)]
    done = run_python(f"import sweep, sys; sys.exit(sweep.main({words!r}))", Path(__file__).parent, timeout=timeout)
    crash = f"crashed in {progress.read_text()}" if done.returncode not in (0, 1) and progress.exists() else ""
    assert done.returncode == 0, f"{crash}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("name", ISAS)
def test_some_calls(tmp_path, name):
    said = swept(tmp_path, name, 300, "--count", "25")
    assert [line.split()[1] for line in said.splitlines()] == [f"{op}:" for op in sweep.OPS]


@pytest.mark.slow
@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("op", sweep.OPS)
def test_many_calls(tmp_path, op, name):
    swept(tmp_path, name, 3600, "--op", op, "--first", "25", "--count", "2000")


def test_every_operation_is_drawn():
    named = {op for op in CASES if op in pyconv.functional.__all__}
    drawn = {CASES[op](Draw(0, op, number)).op for op in ("activation", "axis") for number in range(400)}
    assert named | drawn == set(pyconv.functional.__all__)


def test_a_call_can_be_drawn_again():
    for op in CASES:
        first, second = (CASES[op](Draw(3, op, 7)) for _ in range(2))
        assert first == second
        assert (
            eval(repr(first), {"Guarded": Guarded, "inf": inf}) == first
        )  # what is printed of a failure can be pasted
        assert isinstance(first, Case)


def test_arrays_lie_beside_forbidden_memory(tmp_path):
    """A read beyond ends the process, and the sweep's file says in which call."""
    code = (
        "import numpy as np, guarded; a = guarded.guarded(np.ones(100, np.float32), {end}); print(a.sum(), flush=True);"
        "np.lib.stride_tricks.as_strided(a, (200,), ({step},)).sum()"
    )
    for end, step in ((True, 4), (False, -4)):
        done = run_python(code.format(end=end, step=step), Path(__file__).parent)
        assert done.stdout.strip() == "100.0"
        assert done.returncode != 0


@pytest.mark.parametrize("what", ["value", "threads", "alone", "known"])
def test_what_is_wrong_is_found(monkeypatch, what):
    """A convolution that is wrong in one way at a time."""
    case = Guarded("wrong", "conv2d", "float32", (2, 3, 9, 10), (4, 3, 3, 3))
    right = pyconv.functional.conv2d

    def conv2d(*, backend=None, out=None, **arguments):
        result = right(**arguments, backend=backend, out=out)
        several = wake.threads_for(1.0) > 1
        wrong = {
            "value": backend != "reference",
            "threads": backend == ["cpu"] and several and wake.threads_for is not sweep._threads_for,
            "alone": arguments["input"].shape[0] == 1,
            "known": backend == "cpu" and wake.threads_for is sweep._threads_for,
        }[what]
        if wrong:
            result[...] *= 1.5 if what == "value" else 1 + np.finfo(result.dtype).eps
        return result

    conv2d.__wrapped__, conv2d.plan_call = right, right.plan_call
    monkeypatch.setattr(sweep.F, "conv2d", conv2d)
    with pytest.raises(AssertionError, match={"value": "wrong", "known": "repeated"}.get(what, what)):
        sweep.check_case(case)
    sweep.use_threads(None)
