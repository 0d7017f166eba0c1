"""Layers made of layers."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, Self, SupportsIndex, overload

from ..errors import ArgumentError
from ..functional.known import Known
from ..plan import as_array, check_flag
from .between import Half
from .group import groups, run_chain, watched
from .module import Module
from .parent import Parent, named
from .tree import copied

__all__ = ["Sequential"]


class Sequential(Parent):
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
    place), MaxPool2d or AvgPool2d, or made of such layers, and what they pass on is in the order C; else, where it can
    be kept, from the third.
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
        self._layers = named("Sequential", layers)
        self.fuse = check_flag("Sequential", "fuse", fuse)

    def _general_call(self, input: Any, out: Any, known: Known, half: Half | None = None) -> Any:
        if not self._layers:
            return input if out is None else copied("Sequential", as_array("Sequential", "input", input), out)
        seen = watched(self._layers.values())  # before what they are is asked
        return run_chain(self.parts(), input, out, known, seen, half)

    def parts(self) -> dict[str, Module]:
        if not self.fuse:
            return self._layers
        layers, found = self._layers, self.__dict__.get("_parts")
        if found is None or found[0] is not layers:
            found = self.__dict__["_parts"] = (layers, groups(layers))
        return found[1]

    def append(self, layer: Module) -> Self:
        """Add a layer at the end, under the number of layers before it, and return the Sequential, as torch does.

        What is run as one and the memory kept between layers are made anew by the next call.

        Raises
        ------
        ArgumentError
            If it is no pyconv layer, holds this Sequential, or its name is taken.
        """
        name = str(len(self._layers))
        if not isinstance(layer, Module):
            raise ArgumentError(f"Sequential: a pyconv layer is needed, got {type(layer).__name__}")
        if any(inner is self for inner in layer.modules()):
            raise ArgumentError("Sequential: a layer that holds the Sequential cannot be a part of it")
        if name in self._layers:
            raise ArgumentError(f"Sequential: there is a layer {name!r} already")
        self._layers = {**self._layers, name: layer}  # a new one: who is planning meanwhile keeps the old
        return self

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers.values())

    @overload
    def __getitem__(self, place: SupportsIndex) -> Module: ...
    @overload
    def __getitem__(self, place: slice) -> Sequential: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Module:
        """The layer at an index; a slice is a Sequential that shares the layers."""
        if isinstance(place, slice):
            return Sequential(dict(list(self._layers.items())[place]), fuse=self.fuse)
        return list(self._layers.values())[operator.index(place)]
