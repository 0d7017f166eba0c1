"""Running a case on a backend, and comparing with the reference."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import functional, registry
from ..plan import ACTIVATIONS, AXIS_OPS, HALF_DTYPES, PoolPlan
from ..report import function_call
from .bounds import allowed_error, is_exact
from .case import Case, dtype_of
from .cases import cases

__all__ = ["ConformanceError", "Report", "check", "check_backend"]

_SENTINEL = -12345.0  # around an out= array; no case computes it
_HALF_UNITS = {"float16": (2**-10, 2**-24), "bfloat16": (2**-7, 2**-133)}  # eps, smallest subnormal number
_TF32 = 2**-11  # what rounding to TF32 changes of a number, at most
_ELEMENTWISE = {*ACTIVATIONS, *AXIS_OPS, "prelu", "batch_norm"}

_SUMS = {f"{name}{axes}d" for name in ("avg_pool", "lp_pool", "adaptive_avg_pool") for axes in (1, 2)}
_MAXIMA = {f"{name}{axes}d" for name in ("max_pool", "adaptive_max_pool") for axes in (1, 2)}

_KEEPS_ORDER = _ELEMENTWISE | _SUMS | _MAXIMA
"""What may give its result the input's order of axes."""


class ConformanceError(AssertionError):
    """A backend does not compute what the reference does."""


class Report(NamedTuple):
    """What :func:`check_backend` found; print it."""

    backend: str
    passed: tuple[str, ...]
    refused: dict[str, str]
    failed: dict[str, str]

    def __str__(self) -> str:
        lines = [
            f"backend {self.backend!r}: {len(self.passed)} cases passed, {len(self.failed)} failed, "
            f"{len(self.refused)} refused"
        ]
        lines += [f"  FAILED  {text}" for text in self.failed.values()]
        lines += [f"  refused {name}: {reason}" for name, reason in self.refused.items()]
        return "\n".join(lines)


def check(case: Case, backend: str) -> str | None:
    """Run one case on a backend and compare with the reference.

    Parameters
    ----------
    case : Case
        One of :func:`cases`.
    backend : str
        The backend's name.

    Returns
    -------
    None or str
        None if the result is right, the backend's reason if it refuses the case.

    Raises
    ------
    ConformanceError
        If the result is wrong; the message says where and by how much.
    ConfigurationError, BackendError
        If there is no such backend, or it cannot be used at all.
    """
    _load(backend)
    arguments = case.arguments()
    function = getattr(functional, case.op)
    call, _ = function_call(function, (), arguments)
    _, reason = registry.candidate(backend, call.plan, call.kind)
    if reason is not None:
        return reason

    # the reference gets plain copies, so that what it is right about does not depend on memory layouts
    # or on the algorithm, of which it has one
    plain = {name: _plain(value) for name, value in arguments.items() if name != "algorithm"}
    with np.errstate(all="ignore"):
        wanted = _reference(case, function, plain)
        first_wanted = wanted[0] if isinstance(wanted, tuple) else wanted
        out, guard = _make_out(case, arguments, first_wanted)
        got = function(**arguments, out=out, backend=backend)

    _check_kind(case, got, wanted, arguments, out)
    if not all(np.all(part == part.dtype.type(_SENTINEL)) for part in guard):
        raise ConformanceError(f"{case}: memory around the out= array was overwritten")
    for name, value in arguments.items():
        if case.out == name:
            continue
        if isinstance(value, np.ndarray) and _plain(value).tobytes() != plain[name].tobytes():
            raise ConformanceError(f"{case}: the argument {name} was modified")
    _check_values(case, got, wanted, plain)
    return None


def _load(backend: str) -> None:
    registry.requested(backend)  # for its words about a name that is unknown
    registry.load(backend)


def _reference(case: Case, function: Any, plain: dict[str, Any]) -> Any:
    """What the reference computes; in float64, rounded once, for the dtypes that it does not have."""
    if case.dtype not in HALF_DTYPES:
        return function(**plain, backend="reference")
    wide = {name: value.astype(np.float64) if isinstance(value, np.ndarray) else value for name, value in plain.items()}
    return function(**wide, backend="reference").astype(dtype_of(case.dtype))


def _plain(value: Any) -> Any:
    return np.array(value, value.dtype.newbyteorder("="), order="C") if isinstance(value, np.ndarray) else value


def _make_out(case: Case, arguments: dict[str, Any], wanted: np.ndarray) -> tuple[Any, list[np.ndarray]]:
    """An out= array as the case has it, and the memory around it, which must stay as it is."""
    if case.out == "":
        return None, []
    if case.out in arguments:
        return arguments[case.out], []
    if case.out == "strided":
        around = np.full((*wanted.shape[:-1], 2 * wanted.shape[-1]), _SENTINEL, wanted.dtype)
        return around[..., ::2], [around[..., 1::2]]
    margin, end = 64, 64 + wanted.size
    around = np.full(end + margin, _SENTINEL, wanted.dtype)
    return around[margin:end].reshape(wanted.shape), [around[:margin], around[end:]]


def _check_kind(case: Case, got: Any, wanted: Any, arguments: dict[str, Any], out: Any) -> None:
    """Array type, number of results, shape, dtype, memory layout."""
    if isinstance(wanted, tuple) != isinstance(got, tuple):
        raise ConformanceError(f"{case}: returned {type(got).__name__}, expected {type(wanted).__name__}")
    both = (got, wanted) if isinstance(wanted, tuple) else ((got,), (wanted,))
    if len(both[0]) != len(both[1]):
        raise ConformanceError(f"{case}: returned {len(got)} results, expected {len(wanted)}")
    for what, array, expected in zip(("the result", "indices"), *both, strict=False):
        if type(array) is not np.ndarray:
            raise ConformanceError(f"{case}: {what} is a {type(array).__name__}, expected a NumPy array like the input")
        if array.shape != expected.shape or array.dtype != expected.dtype or not array.dtype.isnative:
            raise ConformanceError(
                f"{case}: {what} is {array.dtype} of shape {array.shape}, expected native {expected.dtype} of shape "
                f"{expected.shape}"
            )
        if what == "the result" and out is not None:
            if array is not out:
                raise ConformanceError(f"{case}: returned another array than out=")
            continue
        ordered = array.transpose(np.argsort(array.strides)[::-1]) if case.op in _KEEPS_ORDER else array
        if not ordered.flags.c_contiguous or not array.flags.writeable:
            raise ConformanceError(f"{case}: {what} must be contiguous and writable, its strides are {array.strides}")
        for name, value in arguments.items():
            if isinstance(value, np.ndarray) and np.may_share_memory(array, value):
                raise ConformanceError(f"{case}: {what} shares memory with the argument {name}")


def _check_values(case: Case, got: Any, wanted: Any, plain: dict[str, Any]) -> None:
    """The numbers, within what the operation may err."""
    if isinstance(wanted, tuple):
        _check_equal(case, "value", got[0], wanted[0])
        _check_indices(case, got[1], wanted[1], plain)
    elif case.op.startswith("conv"):
        _check_conv(case, got, wanted, plain)
    elif case.op == "fold":
        _check_fold(case, got, wanted, plain)
    elif case.op == "batch_norm":
        _check_norm(case, got, wanted, plain)
    elif case.op in _SUMS:
        _check_sums(case, got, wanted, plain)
    elif case.op in _ELEMENTWISE and not is_exact(case.op):
        _check_ulps(case, got, wanted, plain["input"])
    else:
        _check_equal(case, "value", got, wanted)


def _reject(case: Case, what: str, wrong: np.ndarray, got: np.ndarray, wanted: np.ndarray, why: str = "") -> None:
    """Raise if anything is ``wrong``, showing the first such element."""
    if not wrong.any():
        return
    place = tuple(int(n) for n in np.argwhere(wrong)[0])
    raise ConformanceError(
        f"{case}: {int(wrong.sum())} of {wrong.size} elements are wrong; the first, {what}{list(place)}, is "
        f"{got[place]!r}, expected {wanted[place]!r}{why}"
    )


def _check_equal(case: Case, what: str, got: np.ndarray, wanted: np.ndarray) -> None:
    _reject(case, what, ~((got == wanted) | (np.isnan(got) & np.isnan(wanted))), got, wanted)


def _check_error(case: Case, got: np.ndarray, wanted: np.ndarray, allowed: np.ndarray, unit: str) -> None:
    """Finite where ``wanted`` is, and then off by at most ``allowed``; NaN and infinities equal."""
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(wanted)
        error = np.where(finite, np.abs(got.astype(np.float64) - wanted), 0.0)
        same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
        wrong = np.where(finite, ~(error <= allowed), ~same)
    why = f", allowed is an error of {allowed[wrong][0]:.3g} ({unit})" if wrong.any() else ""
    _reject(case, "value", wrong, got, wanted, why)


def _magnitude(value: Any) -> Any:
    return np.abs(value).astype(np.float64) if isinstance(value, np.ndarray) else value


def _check_conv(case: Case, got: np.ndarray, wanted: np.ndarray, plain: dict[str, Any]) -> None:
    wide = {name: _magnitude(value) for name, value in plain.items()}
    function = getattr(functional, case.op)
    with np.errstate(all="ignore"):
        sums = function(**wide, backend="reference")
        # numbers below the normal ones may count as zero, on either side
        weights = function(**{**wide, "input": np.ones_like(wide["input"])}, backend="reference")
        inputs = function(**{**wide, "weight": np.ones_like(wide["weight"])}, backend="reference")
    terms = plain["weight"][0].size
    if case.op.startswith("conv_transpose"):
        terms = plain["weight"][:, 0].size // case.parameters.get("groups", 1)
    limits = np.finfo("float32" if case.dtype in HALF_DTYPES else case.dtype)
    allowed = (4 + 4 * np.sqrt(terms)) * float(limits.eps) * sums + float(limits.tiny) * (weights + inputs + terms)
    if case.dtype == "float32" and case.parameters.get("precision") == "tf32":
        allowed = allowed + (2 * _TF32 + _TF32**2) * sums  # both factors of a product are rounded
    if case.dtype in HALF_DTYPES:
        got, wanted = got.astype(np.float64), wanted.astype(np.float64)
        unit, smallest = _HALF_UNITS[case.dtype]
        allowed = allowed + np.maximum(unit * np.abs(wanted), smallest)  # half a unit for each of the two roundings
    _check_error(case, got, wanted, allowed, "(4 + 4 sqrt(n)) * eps * sum of |terms|")


def _check_fold(case: Case, got: np.ndarray, wanted: np.ndarray, plain: dict[str, Any]) -> None:
    wide = {name: _magnitude(value) for name, value in plain.items()}
    with np.errstate(all="ignore"):
        sums = functional.fold(**wide, backend="reference")
        terms = functional.fold(**{**wide, "input": np.ones_like(wide["input"])}, backend="reference")
        allowed = terms * float(np.finfo(case.dtype).eps) * sums
    _check_error(case, got, wanted, allowed, "n * eps * sum of |terms|")


def _check_norm(case: Case, got: np.ndarray, wanted: np.ndarray, plain: dict[str, Any]) -> None:
    """Scale and shift are rounded once each, the product and the sum too."""
    wide = {name: _magnitude(value) for name, value in plain.items()}
    wide["running_mean"] = -wide["running_mean"]  # so that no term takes from another
    limits = np.finfo(case.dtype)
    with np.errstate(all="ignore"):
        sums = functional.batch_norm(**wide, backend="reference")
        weights = functional.batch_norm(**{**wide, "input": np.ones_like(wide["input"])}, backend="reference")
        allowed = 2 * float(limits.eps) * sums + float(limits.tiny) * (2 + weights)
    _check_error(case, got, wanted, allowed, "2 eps * (|x scale| + |shift|)")


def _check_sums(case: Case, got: np.ndarray, wanted: np.ndarray, plain: dict[str, Any]) -> None:
    """Rounding of the sums as in a convolution; of a p-th root it is the p-th part, and each power rounds too."""
    wide = {name: _magnitude(value) for name, value in plain.items()}
    function = getattr(functional, case.op)
    with np.errstate(all="ignore"):
        sums = function(**wide, backend="reference")
    norm = case.parameters.get("norm_type", 1)
    plan = function_call(function, (), plain)[0].plan
    assert isinstance(plan, PoolPlan)
    terms = plan.kernel[0] * plan.kernel[1]
    limits = np.finfo(case.dtype)
    factor = (4 + 4 * np.sqrt(terms)) * max(1, 1 / abs(norm)) + (0 if norm == 1 else 8)
    allowed = factor * float(limits.eps) * np.abs(sums) + float(limits.tiny)
    _check_error(case, got, wanted, allowed, "(4 + 4 sqrt(n)) * eps * the same of |input|")


def _check_ulps(case: Case, got: np.ndarray, wanted: np.ndarray, x: np.ndarray) -> None:
    allowed, unit = allowed_error(case.op, case.dtype, wanted, x, case.parameters)
    _check_error(case, got, wanted, np.asarray(allowed), unit)
    if case.op == "tanh":
        zero = wanted == 0
        _reject(case, "value", zero & (np.signbit(got) != np.signbit(wanted)), got, wanted)


def _check_indices(case: Case, got: np.ndarray, wanted: np.ndarray, plain: dict[str, Any]) -> None:
    """Equal; only valid where a window has no element in the plane, so that there is nothing to point at."""
    ones = {**plain, "input": np.ones_like(plain["input"]), "return_indices": False}
    held = getattr(functional, case.op)(**ones, backend="reference") == 1
    plane = prod(plain["input"].shape[-1 if case.op.endswith("1d") else -2 :])
    _reject(case, "index", np.where(held, got != wanted, (got < 0) | (got >= plane)), got, wanted)


def check_backend(backend: str) -> Report:
    """Run every case on a backend.

    Parameters
    ----------
    backend : str
        The backend's name.

    Returns
    -------
    Report
        Names of the cases that passed, and those that the backend refused with its reasons.

    Raises
    ------
    ConformanceError
        With the whole report as its message, if a case failed or none passed.
    ConfigurationError, BackendError
        If there is no such backend, or it cannot be used at all.
    """
    _load(backend)
    passed: list[str] = []
    refused: dict[str, str] = {}
    failed: dict[str, str] = {}
    for case in cases():
        try:
            reason = check(case, backend)
        except ConformanceError as error:
            failed[case.name] = str(error)
        except Exception as error:  # whatever a backend raises is a failed case, and the others still run
            failed[case.name] = f"{case}: {type(error).__name__}: {error}"
        else:
            if reason is None:
                passed.append(case.name)
            else:
                refused[case.name] = reason
    report = Report(backend, tuple(passed), refused, failed)
    if failed or not passed:
        raise ConformanceError(str(report))
    return report
