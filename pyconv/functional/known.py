"""Calls that come again just as before, and need not be checked and planned again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import registry
from ..plan import Plan
from ..verbose import verbose

if TYPE_CHECKING:
    from .call import Call

__all__ = ["Known"]

_MOST_PLANS = 64


def _nothing(input: Any, weight: Any, bias: Any, out: Any, parameters: tuple[Any, ...]) -> None:
    """No call is known yet."""


class Known:
    """The calls that one function or layer has met.

    ``run(input, weight, bias, out, parameters)`` gives the result of a call that is known, else None: then the call
    goes the general way, which checks it, plans it, runs it, and hands it to :meth:`note`. A backend whose calls can be
    known has a method ``known_calls``, see :class:`pyconv.registry.Backend`; others always go the general way.

    A layer drops its Known when any of its attributes is set. Whoever notes a call must have taken the Known before
    planning it: so what was planned with old attributes never gets into the new one.
    """

    __slots__ = ("_owner", "_plans", "_table", "free_blocks", "run")

    def __init__(self) -> None:
        self.run: Callable[[Any, Any, Any, Any, tuple[Any, ...]], Any] = _nothing
        self._owner: registry.Backend | None = None
        self._table: Any = None
        self._plans: set[Plan] = set()
        self.free_blocks: list[list[Any]] = []
        """Of a chain: memory for what lies between its calls, which no call has at the moment."""

    def __reduce__(self) -> tuple[type[Known], tuple[()]]:
        return Known, ()  # a copy begins with nothing

    def note(
        self,
        call: Call,
        input: Any,
        out: Any,
        backend: registry.Backend,
        argument: Any,
        prepared: Any,
        result: Any,
        parameters: tuple[Any, ...],
        own_weights: bool,
        watched: tuple[tuple[Any, ...], ...] = (),
    ) -> None:
        """Know ``call``, which was run on ``backend`` and gave ``result``, if it has come before.

        ``input``, ``out`` and ``argument`` (``backend=``) are the caller's, ``parameters`` what it called ``run`` with.
        A call that was planned for another array, or another ``out``, is not known.
        ``own_weights``: they are a layer's, which do not change under it.
        ``watched``: more places of :class:`pyconv.registry.Settings` that the call depends on.
        """
        offer = getattr(backend, "known_calls", None)
        if offer is None or call.given is not out or verbose():
            return
        if call.plan not in self._plans:  # what comes once only is not worth keeping
            plans = self._plans if len(self._plans) < _MOST_PLANS else set()
            plans.add(call.plan)
            self._plans = plans
            return
        settings = registry.settings(argument)
        # if they have changed since the backend was chosen, these settings do not stand for the choice
        if settings is None or registry.select(call.plan, call.kind, argument) is not backend:
            return
        settings = settings._replace(places=settings.places + watched)
        table = self._table
        if self._owner is not backend:
            table = offer()
        table.note(
            call.plan, prepared, input, call.x, call.weight, call.bias, result, parameters, own_weights, settings
        )
        self._table, self._owner, self.run = table, backend, table.run

    def find(self, input: Any) -> Any:
        """What knows a layer's call on ``input``, for :meth:`join`; None if nothing does."""
        find = getattr(self._table, "find", None)
        return None if find is None else find(input, ())

    def join(
        self,
        last: Known,
        calls: list[Any],
        watched: tuple[tuple[Any, ...], ...],
        fit: Callable[[list[Any], int, int], None],
    ) -> None:
        """Know the chain of ``calls``, found one after the other, as one; ``last`` knows the last of them.

        ``fit`` lets a half of one of the ``free_blocks`` have so many bytes.
        """
        self._table_of(last).join(calls, watched, self.free_blocks, fit)
        self.run = self._table.run

    def join_residual(
        self,
        last: Known,
        calls: list[Any],
        watched: tuple[tuple[Any, ...], ...],
        fit: Callable[[list[Any], int, int], None],
    ) -> None:
        """The same of a residual block: a call before the last and one on the shortcut, or None, and the last one."""
        if hasattr(last._table, "join_residual"):
            self._table_of(last).join_residual(*calls, watched, self.free_blocks, fit)
            self.run = self._table.run

    def _table_of(self, last: Known) -> Any:
        """The table of what is joined, of the kind that ``last`` has."""
        if self._owner is not last._owner or self._table is None:
            self._owner, self._table = last._owner, type(last._table)()
        return self._table
