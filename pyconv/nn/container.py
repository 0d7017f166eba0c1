"""Layers made of layers."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import ArgumentError, PyconvError
from ..functional.call import Call
from .module import Module

__all__ = ["Sequential"]


class Sequential(Module):
    """Layers run one after the other.

    Parameters
    ----------
    *layers : Module
        The layers in order, named "0", "1", ...; or one mapping of names to layers, as in torch.

    Examples
    --------
    >>> import pyconv
    >>> pyconv.Sequential(pyconv.Conv2d(3, 8, 3, padding=1), pyconv.ReLU(), pyconv.MaxPool2d(2))
    Sequential(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (1): ReLU()
      (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
    )
    """

    def __init__(self, *layers: Any) -> None:
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            named = dict(layers[0])
        else:
            named = {str(place): layer for place, layer in enumerate(layers)}
        for name, layer in named.items():
            if not isinstance(name, str) or not name or "." in name:
                raise ArgumentError(f"Sequential: a layer's name must be a str without dots, got {name!r}")
            if not isinstance(layer, Module):
                raise ArgumentError(f"Sequential: layer {name!r} is no pyconv layer, got {type(layer).__name__}")
        self._layers: dict[str, Module] = named

    def __call__(self, input: Any, *, out: Any = None) -> Any:
        """Run all layers; ``out`` takes the last one's result."""
        if not self._layers:
            if out is not None:
                raise ArgumentError("Sequential: there is no layer to write to out=")
            return input
        *first, last = self._layers.items()
        for name, layer in first:
            input = self._run(name, layer, input, None)
        return self._run(*last, input, out)

    def _run(self, name: str, layer: Module, input: Any, out: Any) -> Any:
        try:
            return layer(input, out=out)
        except PyconvError as error:
            error.prefix(f"layer {name!r}")
            raise

    def plan_call(self, input: Any, out: Any = None) -> Call:
        """A Sequential has no operation of its own: plan its layers one by one."""
        raise NotImplementedError("plan the layers of a Sequential one by one")

    def parameters(self) -> dict[str, np.ndarray]:
        return {
            f"{name}.{key}": array for name, layer in self._layers.items() for key, array in layer.parameters().items()
        }

    def _set_parameters(self, values: dict[str, np.ndarray]) -> None:
        for name, layer in self._layers.items():
            start = f"{name}."
            own = {key.removeprefix(start): value for key, value in values.items() if key.startswith(start)}
            layer._set_parameters(own)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, layer) in order."""
        return iter(self._layers.items())

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers.values())

    def __getitem__(self, place: Any) -> Any:
        """The layer at an index; a slice is a Sequential that shares the layers."""
        if isinstance(place, slice):
            return Sequential(dict(list(self._layers.items())[place]))
        return list(self._layers.values())[operator.index(place)]

    def __repr__(self) -> str:
        if not self._layers:
            return "Sequential()"
        lines = [f"({name}): {layer!r}".replace("\n", "\n  ") for name, layer in self._layers.items()]
        return "Sequential(\n  " + "\n  ".join(lines) + "\n)"
