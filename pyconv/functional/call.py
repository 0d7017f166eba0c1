"""A call between its plan and its result: select, prepare, run."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from .. import registry
from ..errors import ArgumentError
from ..plan import Plan, array_kind, check_out
from ..verbose import report, verbose
from .known import Known

__all__ = ["Call", "checked_out", "planned_by", "run"]

Function = TypeVar("Function", bound=Callable[..., Any])


class Call(NamedTuple):
    """An operation that has been checked and planned, and not yet run."""

    plan: Plan
    x: Any  # with what is added to a convolution a pair (x, residual)
    kind: str
    weight: Any = None
    bias: Any = None
    out: Any = None
    squeeze: bool = False  # the input had no batch dimension, so the result has none
    given: Any = None  # out= as the caller has it, and gets it back

    def run(self, backend: registry.Backend, prepared: Any) -> Any:
        """Run it on the backend that was selected, with the weights that this backend prepared."""
        start = perf_counter() if verbose() else 0.0
        result = backend.run(self.plan, self.x, prepared, self.out)
        if verbose():
            report(backend, self.plan, perf_counter() - start)
        if self.squeeze:
            result = tuple(part[0] for part in result) if isinstance(result, tuple) else result[0]
            if self.given is not None:
                return (self.given, *result[1:]) if isinstance(result, tuple) else self.given
        return result


def run(call: Call, input: Any, backend: Any, known: Known, parameters: tuple[Any, ...]) -> Any:
    """Run a function's call on the backend it asks for, or that is chosen for it.

    ``known`` did not know it, by ``input`` and ``parameters``; it may know it the next time.
    """
    chosen = registry.select(call.plan, call.kind, backend)
    _check_kinds(call, chosen)
    prepared = chosen.prepare(call.plan, call.weight, call.bias)
    result = call.run(chosen, prepared)
    known.note(call, input, call.given, chosen, backend, prepared, result, parameters, own_weights=False)
    return result


def _check_kinds(call: Call, backend: registry.Backend) -> None:
    """Refuse weights of a package whose arrays the backend does not take; NumPy's every backend does."""
    for weight in (call.weight, call.bias):
        kind = "numpy" if weight is None else array_kind(weight)
        if kind != "numpy" and kind not in backend.array_types:
            raise ArgumentError(
                f"{call.plan.op}: the input is a {call.kind} array but its weights are {kind} arrays, which backend "
                f"{backend.name!r} does not take; pass all of them as {kind} arrays, or as {call.kind} arrays"
            )


def checked_out(
    op: str,
    out: Any,
    kind: str,
    shape: tuple[int, ...],
    dtype: str,
    inputs: tuple[Any, ...],
    batched: bool,
    residual: Any = None,
) -> Any:
    """``out`` as the backend gets it: checked against the result's shape, with a batch dimension.

    It shares no memory with ``inputs``; it may be ``residual`` itself.
    """
    if out is None:
        return None
    shape = shape if batched else shape[1:]
    check_out(op, out, kind, shape, dtype, inputs, in_place=False)
    if residual is not None:
        check_out(op, out, kind, shape, dtype, (residual,), in_place=True)
    return out if batched else out[None]


def planned_by(plan_call: Callable[..., Call]) -> Callable[[Function], Function]:
    """Say which function checks and plans a public one: it takes the same arguments by name, all but ``backend``.

    It is the attribute ``plan_call`` of the public function, for :func:`pyconv.explain` and the conformance kit.
    """

    def mark(function: Function) -> Function:
        function.plan_call = plan_call  # type: ignore[attr-defined]
        return function

    return mark
