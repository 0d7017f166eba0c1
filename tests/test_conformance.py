"""Every built-in backend against the reference, case by case; and the kit itself: it must notice what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import USABLE, pretend

import pyconv
from pyconv import testing
from pyconv.backends.reference import ReferenceBackend
from pyconv.plan import ConvPlan, PoolPlan

CASES = testing.cases()


def test_cpu_is_usable():
    status = {status.name: status for status in pyconv.backends()}
    assert status["cpu"].usable, f"the compiled core is not there (build it with 'make'): {status['cpu'].reason}"
    assert status["reference"].usable


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("backend", USABLE)
def test_case(backend, case):
    reason = testing.check(case, backend)
    if backend == "cuda" and reason is not None and "there is no CUDA kernel" in reason:
        pytest.skip(reason)
    assert reason is None  # the others refuse nothing


def test_names_are_unique_and_cover_everything():
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.op for case in CASES} == set(pyconv.functional.__all__)
    assert {case.layout for case in CASES} == set(testing.LAYOUTS)
    assert {case.values for case in CASES} | {case.weight_values for case in CASES} == set(testing.VALUES)
    for op in pyconv.functional.__all__:
        assert {case.dtype for case in CASES if case.op == op} == {"float32", "float64"}


def test_data_is_the_same_every_time():
    for case in CASES[::50]:
        for first, second in zip(case.arguments().values(), case.arguments().values(), strict=True):
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("layout", [name for name in testing.LAYOUTS if "broadcast" not in name])
def test_layouts_keep_the_values(layout):
    array = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    arranged = testing.LAYOUTS[layout](array)
    assert arranged.dtype.newbyteorder("=") == array.dtype
    np.testing.assert_array_equal(arranged, array)


def test_layouts_are_what_they_say():
    array = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    made = {name: arrange(array) for name, arrange in testing.LAYOUTS.items()}
    assert made["channels_last"].strides == (4 * 5 * 3 * 4, 4, 5 * 3 * 4, 3 * 4)
    assert made["fortran"].flags.f_contiguous
    assert all(stride < 0 for stride in made["reversed"].strides)
    assert made["gaps"].strides[-1] == 8
    assert made["broadcast"].strides[-1] == 0
    assert made["broadcast_planes"].strides[0] == 0
    assert not made["unaligned"].flags.aligned
    assert not made["byte_swapped"].dtype.isnative
    assert not made["read_only"].flags.writeable


class Broken(ReferenceBackend):
    """Right but for one thing, which ``spoil`` does to the result."""

    name = "broken"

    def __init__(self, spoil):
        self.spoil = spoil

    def run(self, plan, x, prepared, out=None):
        return self.spoil(plan, x, super().run(plan, x, prepared, out), out)


def _off_by(factor):
    def spoil(plan, x, result, out):
        if isinstance(plan, ConvPlan) and result.size:
            result[..., 0, 0] *= factor
        return result

    return spoil


def _wrong_indices(plan, x, result, out):
    if isinstance(plan, PoolPlan) and plan.return_indices and result[1].size:
        result[1][..., -1] += 1
    return result


def _forgets_out(plan, x, result, out):
    return result.copy() if out is not None and not isinstance(result, tuple) else result


def _writes_beside_out(plan, x, result, out):
    if plan.op == "relu" and out is not None and out.base is not None and out.size and not np.shares_memory(x, out):
        out.base[..., -1] = 0
    return result


def _changes_the_input(plan, x, result, out):
    if plan.op == "relu" and out is None and x.flags.writeable:
        x[...] = 0
    return result


def _swallows_nan(plan, x, result, out):
    if plan.op == "max_pool2d" and not plan.return_indices:
        np.nan_to_num(result, copy=False, nan=0.0, posinf=np.inf, neginf=-np.inf)
    return result


def _three_ulps(plan, x, result, out):
    if plan.op == "tanh" and plan.dtype == "float32":
        result[...] = result + 3 * np.spacing(result)
    return result


def _other_order(plan, x, result, out):
    return np.asfortranarray(result) if plan.op == "conv2d" and out is None else result


def _gaps(plan, x, result, out):
    return testing.LAYOUTS["gaps"](result) if plan.op == "sigmoid" and out is None else result


def _wider(plan, x, result, out):
    return result.astype(np.float64) if plan.op == "sigmoid" and out is None else result


def _raises(plan, x, result, out):
    if plan.op == "tanh":
        raise RuntimeError("the kernel fell over")
    return result


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_off_by(1.001), "elements are wrong"),
        (_off_by(np.nan), "is np.float32(nan)"),
        (_wrong_indices, "index"),
        (_forgets_out, "returned another array than out="),
        (_writes_beside_out, "memory around the out= array was overwritten"),
        (_changes_the_input, "the argument input was modified"),
        (_swallows_nan, "expected np.float32(nan)"),
        (_three_ulps, "2 units in the last place"),
        (_other_order, "must be contiguous"),
        (_gaps, "must be contiguous"),
        (_wider, "expected native float32"),
        (_raises, "RuntimeError: the kernel fell over"),
    ],
)
def test_the_kit_notices(monkeypatch, spoil, words):
    pretend(monkeypatch, Broken(spoil))
    monkeypatch.setattr(testing.checks, "cases", lambda: [case for case in CASES if case.dtype == "float32"][::2])
    with pytest.raises(testing.ConformanceError) as caught:
        testing.check_backend("broken")
    assert words in str(caught.value)
    assert "FAILED" in str(caught.value)


class Picky(ReferenceBackend):
    name = "picky"

    def supports(self, plan):
        return None if plan.op == "relu" else "only relu"


def test_the_report(monkeypatch):
    pretend(monkeypatch, Picky())
    report = testing.check_backend("picky")
    assert all(name.startswith("relu-") for name in report.passed)
    assert len(report.passed) + len(report.refused) == len(CASES)
    assert set(report.refused.values()) == {"only relu"}
    assert f"{len(report.passed)} cases passed, 0 failed" in str(report)
    assert "refused tanh-7-float32: only relu" in str(report)


def test_a_backend_that_refuses_everything_does_not_pass(monkeypatch):
    monkeypatch.setattr(Picky, "supports", lambda self, plan: "not today")
    pretend(monkeypatch, Picky())
    with pytest.raises(testing.ConformanceError, match="0 cases passed"):
        testing.check_backend("picky")


def test_unknown_backend():
    with pytest.raises(pyconv.errors.ConfigurationError, match=r"'referense'.*did you mean 'reference'"):
        testing.check_backend("referense")
