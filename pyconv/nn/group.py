"""Layers of a Sequential that are run as one: a convolution, and what may follow it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, PyconvError
from ..functional.call import Call, checked_out
from ..functional.conv import add_residual, checked_residual
from ..functional.known import Known
from ..plan import (
    ACTIVATIONS,
    DTYPES,
    ConvPlan,
    FusedPlan,
    Plan,
    plan_avg_pool2d,
    plan_elementwise,
    plan_fused,
    plan_max_pool2d,
)
from ..registry import Backend, fusing, select
from . import activation
from .between import Half, fit, taken
from .conv import Conv2d
from .module import Module
from .norm import BatchNorm2d, folded
from .parent import Parent
from .pooling import AvgPool2d, MaxPool2d
from .tree import copied

__all__ = [
    "CONVOLUTION",
    "FUNCTION",
    "NORMALISATION",
    "Group",
    "calls_plainly",
    "groups",
    "is_plain",
    "kind_of",
    "run_chain",
    "run_part",
    "watched",
]

_POOLINGS: dict[type[Module], Any] = {MaxPool2d: plan_max_pool2d, AvgPool2d: plan_avg_pool2d}
"""Of the layers that end a group, what plans them."""

CONVOLUTION, NORMALISATION, FUNCTION, POOLING = range(4)
"""Kinds of layers, in the order in which they stand in a group."""


def watched(layers: Iterable[Module]) -> tuple[tuple[Any, ...], ...]:
    """Places of :class:`pyconv.registry.Settings` that change when an attribute of one of these layers is set."""
    return tuple((layer.__dict__, "_known", layer.known_calls()) for layer in layers)


def run_chain(
    parts: Mapping[str, Module],
    input: Any,
    out: Any,
    known: Known,
    seen: tuple[tuple[Any, ...], ...],
    half: Half | None = None,
) -> Any:
    """Run ``parts`` one after the other; ``out`` takes the last one's result, or ``half`` may.

    If each part knows its call, ``known`` knows all of them as one from now on; ``seen`` are the places of
    :class:`pyconv.registry.Settings` that it was asked for when the call began, see :func:`watched`. What lies between
    plain layers is in memory that is kept, from the first call on.
    """
    calls: list[Any] = []
    *_, last = parts
    lends = type(input) is np.ndarray and all(is_plain(part) for part in parts.values())
    with taken(known.free_blocks) as block:
        for place, (name, part) in enumerate(parts.items()):
            target = half if name == last else Half(block, place % 2)
            result = run_part(name, part, input, out if name == last else None, target if lends else None)
            calls.append(part.known_calls().find(input) if calls_plainly(part) else None)
            input = result
    if None not in calls:
        known.join(part.known_calls(), calls, seen + watched(parts.values()), fit)
    return result


def run_part(name: str | None, part: Module, input: Any, out: Any, half: Half | None) -> Any:
    """Run a layer, whose errors say which it was, or what has no name or is a group, whose layers do so themselves."""
    try:
        # other layers' results are in the order of their inputs
        if half is not None and (isinstance(part, Group | Conv2d | Parent) or input.flags.c_contiguous):
            return half.run(part, input)
        if out is not None and out is not input and getattr(part, "inplace", False) and kind_of(part) == FUNCTION:
            input = out = copied(repr(part), input, out)  # it takes no other array, and out is asked of the whole
        return part(input) if out is None else part(input, out=out)  # a user's own may take no out
    except PyconvError as error:
        if name is not None and not isinstance(part, Group):
            error.prefix(f"layer {name!r}")
        raise


_CALL = Module.__call__  # a user's own in its place may do more than what is known, and keep what it sees


def calls_plainly(layer: Module) -> bool:
    """Whether calling a layer does what :class:`Module` does, and no more."""
    return type(layer).__call__ is _CALL


def is_plain(layer: Module) -> bool:
    """Whether a layer gives a new array, of the shape that it plans, and keeps no input; a user's own may not."""
    if not calls_plainly(layer) or getattr(layer, "inplace", False):
        return False
    if isinstance(layer, Parent):  # without layers, it gives its input
        return bool(layer._layers) and all(is_plain(part) for part in layer.parts().values())
    return isinstance(layer, Group) or kind_of(layer) is not None


def _elementwise(layer: Module) -> tuple[str, tuple[float, ...]] | None:
    """The entry of ACTIVATIONS that a layer runs, and its numbers; None if it is no such layer, or more than that."""
    op = getattr(layer, "_op", "")
    if type(layer) is activation.GELU:
        return op, ()
    entry = ACTIVATIONS.get(op)
    is_own = entry is not None and type(layer) is getattr(activation, entry.layer, None)
    return (op, layer._values) if is_own else None  # type: ignore[attr-defined]


def kind_of(layer: Module) -> int | None:
    """The kind of a layer; None if it fits no group. Layers derived from these may do more than these do."""
    if type(layer) is Conv2d:
        return CONVOLUTION
    if type(layer) is BatchNorm2d:
        return NORMALISATION
    if type(layer) in _POOLINGS:
        return POOLING
    return FUNCTION if _elementwise(layer) is not None else None


def groups(layers: Mapping[str, Module]) -> dict[str, Module]:
    """The layers in order, those that are to be run as one in the place of the first as a Group."""
    found: dict[str, Module] = {}
    names = list(layers)
    while names:
        together, last = names[:1], kind_of(layers[names[0]])
        if last == CONVOLUTION:
            for name in names[1:]:
                kind = kind_of(layers[name])
                if kind is None or kind <= last:
                    break
                together.append(name)
                last = kind
        several = {name: layers[name] for name in together}
        found[together[0]] = Group(several) if len(together) > 1 else layers[together[0]]
        names = names[len(together) :]
    return found


class Group(Module):
    """Conv2d, then any of BatchNorm2d, an elementwise activation and MaxPool2d or AvgPool2d, in this order.

    Its input may be a pair (x, residual): then that is added before the activation, and there is no pooling.

    The normalisation is folded into the convolution's weights. Where the rest cannot be run as one, convolution and
    activation are, if these can; else it is run layer by layer. The result is the same to the bit, but for a
    BatchNorm2d, which is folded into the weights and so rounded in another place.
    """

    plans_alike = True

    def __init__(self, layers: Mapping[str, Module]) -> None:
        self.layers = dict(layers)
        kinds = {kind_of(layer): layer for layer in layers.values()}
        self._conv, self._norm = kinds[CONVOLUTION], kinds.get(NORMALISATION)
        self._pool: Any = kinds.get(POOLING)
        self._function = _elementwise(kinds[FUNCTION]) if FUNCTION in kinds else None
        self._folded: tuple[Any, ...] = ()
        self._shorter: Group | None = None

    def _general_call(self, input: Any, out: Any, known: Known, half: Half | None = None) -> Any:
        seen = watched(self.layers.values())
        call, backend, _ = self.as_one(input, out)
        if call is None or backend is None:
            if type(input) is tuple:
                return self._add(input, out, known, seen)
            return run_chain(self.pieces(), input, out, known, seen, half)
        if half is not None:
            call = half.lent(call)
            out = call.given
        prepared = next(iter(self.parts().values()))._prepared(call, backend)
        result = call.run(backend, prepared)
        known.note(call, input, out, backend, self._argument, prepared, result, (), own_weights=True, watched=seen)
        return result

    def _add(self, pair: tuple[Any, Any], out: Any, known: Known, seen: tuple[tuple[Any, ...], ...]) -> Any:
        """A call with a residual whose layers are not run as one: the activation by itself, or the addition too."""
        if self._function is None:
            input, added = pair
            result = run_chain(self.parts(), input, None, known, seen)
            return add_residual("residual", result, added, result if out is None else out)
        result = self.without_last()(pair, out=out)
        return run_part(*self.last, result, result, None)

    @property
    def is_active(self) -> bool:
        """Whether there is an activation."""
        return self._function is not None

    @property
    def last(self) -> tuple[str, Module]:
        """The last layer and its name."""
        return next(reversed(self.layers.items()))

    def as_one(self, input: Any, out: Any = None) -> tuple[Call | None, Backend | None, str | None]:
        """The call that all layers are as one, and the backend that runs it; or neither, and the reason why not."""
        if any(layer.backend != self._argument for layer in self.layers.values()):
            return None, None, "the layers name different backends"
        try:
            call = self.plan_call(input, out)
            if isinstance(call.plan, FusedPlan):
                backend, reason = fusing(call.plan, call.kind, self._argument)
            else:
                backend, reason = select(call.plan, call.kind, self._argument), None
        except PyconvError as error:  # it comes up again in the layer that it is about
            return None, None, str(error)
        return (call if backend else None), backend, reason

    @property
    def _argument(self) -> Any:
        return self._conv.backend

    def parts(self) -> dict[str, Module]:
        """The layers with the normalisation folded into the first, if it can be."""
        if self._norm is None:
            return self.layers
        keys = [place[2] for place in watched((self._conv, self._norm))]
        kept = self._folded
        if not kept or any(a is not b for a, b in zip(kept[0], keys, strict=True)):
            kept = self.__dict__["_folded"] = (keys, self._fold())  # past __setattr__: what is known stays
        if kept[1] is None:
            return self.layers
        first, _, *rest = self.layers
        return {first: kept[1], **{name: self.layers[name] for name in rest}}

    def pieces(self) -> dict[str, Module]:
        """What is run one after the other where not all is run as one: the pooling is what may be too much."""
        parts = self.parts()
        if self._pool is None or self._function is None or self._norm in parts.values():
            return parts
        return {next(iter(parts)): self.without_last(), self.last[0]: self.last[1]}

    def without_last(self) -> Group:
        """The group of all layers but the last, the normalisation folded if it can be."""
        parts, group = self.parts(), self._shorter
        first, (last, _) = next(iter(parts)), self.last
        if group is None or group._conv is not parts[first]:
            group = Group({name: layer for name, layer in parts.items() if name != last})
            self.__dict__["_shorter"] = group  # past __setattr__: what is known stays
        return group

    def _fold(self) -> Conv2d | None:
        """The convolution that does what it and the normalisation do; None if there is none."""
        conv, norm = self._conv, self._norm
        assert isinstance(conv, Conv2d)
        assert isinstance(norm, BatchNorm2d)
        if norm.num_features != conv.out_channels or norm._dtype != conv._dtype or norm.backend != conv.backend:
            return None
        weight, bias = folded(conv, norm)
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            return None  # 0 * inf in the sum is not what comes of the two
        one = copy(conv)
        one.weight, one.bias = weight, bias
        return one

    def plan_call(self, input: Any, out: Any = None) -> Call:
        """The call that all layers are as one; PyconvError if they are none."""
        parts = self.parts()
        x, added = input if type(input) is tuple else (input, None)
        call = next(iter(parts.values())).plan_call(x)
        plan, activated, pooled = call.plan, None, None
        if len(parts) == 1 and added is None:
            return call._replace(out=self._target(call, plan, x, out), given=out)
        if self._norm in parts.values():
            raise ArgumentError("the normalisation cannot be folded into the convolution")
        if plan.dtype not in DTYPES and len(parts) > 1:
            raise DTypeError(f"{plan.dtype} is for convolutions alone")
        if self._function is not None:
            op, numbers = self._function
            activated = plan_elementwise(op, plan.out_shape, plan.dtype, numbers)
        if self._pool is not None:
            make = _POOLINGS[type(self._pool)]
            pooled = make(plan.out_shape, plan.dtype, np.dtype(plan.dtype).itemsize, "nchw", *self._pool._parameters)
        assert isinstance(plan, ConvPlan)
        if added is None:
            plan = plan_fused(plan, None, activated, pooled)
            return call._replace(plan=plan, out=self._target(call, plan, x, out), given=out)
        residual = checked_residual(plan.op, added, call.kind, plan.dtype, x.ndim == 4)
        plan = plan_fused(plan, tuple(residual.shape), activated, pooled)
        return call._replace(plan=plan, x=(call.x, residual), out=self._target(call, plan, x, out, added), given=out)

    @staticmethod
    def _target(call: Call, plan: Plan, input: Any, out: Any, added: Any = None) -> Any:
        inputs = tuple(array for array in (call.x, call.weight, call.bias) if array is not None)
        return checked_out(plan.op, out, call.kind, plan.out_shape, plan.dtype, inputs, input.ndim == 4, added)
