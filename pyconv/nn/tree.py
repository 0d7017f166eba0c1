"""Layers that hold layers: how they are found, and how a class of the user's own calls them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from ..errors import ArgumentError
from ..plan import array_kind, as_array, check_flag, check_out

if TYPE_CHECKING:
    from .module import Module

__all__ = ["Tree", "copied"]


class Tree:
    """What torch's layers have beside parameters; the base of :class:`pyconv.nn.module.Module`."""

    training = False
    """Always: pyconv only runs networks that are trained."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if _place(cls, "forward") < _place(cls, "__call__"):
            cls.__call__ = _call_forward  # type: ignore[method-assign]

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, layer) of each layer that is an attribute of this one, in order; one with two names comes twice."""
        return ((name, value) for name, value in list(self.__dict__.items()) if isinstance(value, Tree))  # type: ignore[misc]

    def children(self) -> Iterator[Module]:
        """The layers of :meth:`named_children`."""
        return (layer for _, layer in self.named_children())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(name, layer) of this layer, which is called "", and of all that it holds, at any depth; each once."""
        return self._named_modules("", set())

    def modules(self) -> Iterator[Module]:
        """The layers of :meth:`named_modules`."""
        return (layer for _, layer in self.named_modules())

    def _named_modules(self, name: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
        if id(self) in seen:
            return
        seen.add(id(self))
        yield name, self  # type: ignore[misc]
        for child, layer in self.named_children():
            yield from layer._named_modules(f"{name}.{child}" if name else child, seen)

    def eval(self) -> Self:
        """The layer itself: it is always evaluated as torch's is after this."""
        return self

    def train(self, mode: bool = True) -> Self:
        """The layer itself for ``mode=False``.

        Raises
        ------
        ArgumentError
            If ``mode`` is True: pyconv only runs networks that are trained.
        """
        if check_flag(type(self).__name__, "mode", mode):
            raise ArgumentError(
                f"{type(self).__name__}: pyconv is for inference and only runs networks that are trained; train with "
                "torch, and pass its state_dict() to load_state_dict()"
            )
        return self


def _place(cls: type, name: str) -> int:
    """How far up a class or a base of it defines a name."""
    return next((place for place, base in enumerate(cls.__mro__) if name in base.__dict__), len(cls.__mro__))


def _call_forward(self: Any, *inputs: Any, out: Any = None, **named: Any) -> Any:
    """``__call__`` of a class that defines ``forward``, which may leave ``out`` away: then the result is copied."""
    if out is None:
        return self.forward(*inputs, **named)
    parameters = inspect.signature(self.forward).parameters.values()
    if any(each.name == "out" or each.kind is each.VAR_KEYWORD for each in parameters):
        return self.forward(*inputs, out=out, **named)
    who = type(self).__name__
    return copied(who, as_array(who, "what forward returns", self.forward(*inputs, **named)), out)


def copied(who: str, result: Any, out: Any) -> Any:
    """``out`` with the numbers of ``result``; ``who`` is named in errors."""
    check_out(who, out, array_kind(result), tuple(result.shape), result.dtype.name, (), in_place=True)
    out[...] = result
    return out
