"""Layers made of layers."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..functional.call import Call
from ..functional.known import Known
from ..plan import check_flag
from .group import groups, run_chain, watched
from .module import Module

__all__ = ["Sequential"]


class Sequential(Module):
    """Layers run one after the other.

    Parameters
    ----------
    *layers : Module
        The layers in order, named "0", "1", ...; or one mapping of names to layers, as in torch.
    fuse : bool, default True
        Run a convolution and what follows it as one, where the backend can; see Notes.

    Attributes
    ----------
    fuse : bool
        May be set at any time.

    Notes
    -----
    A :class:`Conv2d`, then any of :class:`BatchNorm2d`, an elementwise activation and :class:`MaxPool2d` or
    :class:`AvgPool2d`, in this order, are one group. On the cpu backend a few rows of a convolution at a time are
    activated and pooled while they are in the cache, or in registers: the same bits as layer by layer, and what lies
    between the layers never gets into memory. Where the pooling cannot take part, convolution and activation are still
    one. A normalisation is folded into the convolution's weights (see :func:`pyconv.nn.norm.folded`), on every backend;
    that rounds otherwise than the two layers one after the other. :func:`pyconv.explain` tells what is run as one, and
    why not what is not.

    Between groups, results lie in memory that is kept as long as the layer is, one piece for each thread that calls at
    the same time: from the first call on if all layers are Conv2d, BatchNorm2d, elementwise activations (not in
    place), MaxPool2d or AvgPool2d and what they pass on is in the order C; else, where it can be kept, from the third.
    What a call returns is never written again.

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

    def __init__(self, *layers: Any, fuse: bool = True) -> None:
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
        self.fuse = check_flag("Sequential", "fuse", fuse)

    def _general_call(self, input: Any, out: Any, known: Known) -> Any:
        if not self._layers:
            if out is not None:
                raise ArgumentError("Sequential: there is no layer to write to out=")
            return input
        seen = watched(self._layers.values())  # before what they are is asked
        return run_chain(self.parts(), input, out, known, seen)

    def parts(self) -> dict[str, Module]:
        """What is run one after the other, by the name of the first layer in it: layers, and groups of them as one."""
        if not self.fuse:
            return self._layers
        found = self.__dict__.get("_parts")
        if found is None:
            found = self.__dict__["_parts"] = groups(self._layers)
        return found

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
            return Sequential(dict(list(self._layers.items())[place]), fuse=self.fuse)
        return list(self._layers.values())[operator.index(place)]

    def __repr__(self) -> str:
        if not self._layers:
            return "Sequential()"
        lines = [f"({name}): {layer!r}".replace("\n", "\n  ") for name, layer in self._layers.items()]
        return "Sequential(\n  " + "\n  ".join(lines) + "\n)"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_parts"}
