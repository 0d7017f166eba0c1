"""What layers made of layers have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ArgumentError
from ..functional.call import Call
from .module import Module

__all__ = ["Parent", "named"]


def named(who: str, layers: tuple[Any, ...]) -> dict[str, Module]:
    """Layers by name, checked: "0", "1", ...; or one mapping of names to layers, as in torch."""
    if len(layers) == 1 and isinstance(layers[0], Mapping):
        found = dict(layers[0])
    else:
        found = {str(place): layer for place, layer in enumerate(layers)}
    for name, layer in found.items():
        if not isinstance(name, str) or not name or "." in name:
            raise ArgumentError(f"{who}: a layer's name must be a str without dots, got {name!r}")
        if not isinstance(layer, Module):
            raise ArgumentError(f"{who}: layer {name!r} is no pyconv layer, got {type(layer).__name__}")
    return found


class Parent(Module):
    """A layer of named layers, in ``_layers``; its parameters are theirs, each under its layer's name and a dot."""

    _layers: dict[str, Module]

    def parts(self) -> Mapping[str, Module]:
        """What is run, each by the name of the first layer in it: layers, and groups of them as one."""
        raise NotImplementedError

    def plan_call(self, input: Any, out: Any = None) -> Call:
        """It has no operation of its own."""
        raise NotImplementedError(f"plan the layers of a {type(self).__name__} one by one")

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, layer) in order; those that a class derived from it has as attributes come last."""
        yield from self._layers.items()
        yield from super().named_children()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_parts"}
