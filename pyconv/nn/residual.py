"""Residual blocks: layers whose result is added to what they got."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, PyconvError, ShapeError
from ..functional.conv import add_residual
from ..functional.known import Known
from ..plan import DTYPES, check_flag
from .between import Half, fit, taken
from .container import Sequential
from .group import (
    CONVOLUTION,
    FUNCTION,
    NORMALISATION,
    Group,
    calls_plainly,
    groups,
    is_plain,
    kind_of,
    run_part,
    watched,
)
from .module import Module
from .parent import Parent, named

__all__ = ["Residual"]

_OTHERS = ("downsample", "activation")


class _Pieces(NamedTuple):
    """``activation(ending(front(x), shortcut(x)))``: what is None is left out."""

    front: Sequential | None
    shortcut: Module | None
    ending: Group | None
    """The body's last convolution, with the addition and perhaps the activation; None if it is NumPy that adds."""
    activation: Module | None
    names: tuple[str, ...]
    """Of the four, for errors and explanations."""
    reason: str
    """Why there is no ``ending``."""


class Residual(Parent):
    """A residual block: ``activation(body(x) + downsample(x))``; He et al. 2015, figure 2.

    Parameters
    ----------
    *body : Module
        The layers on the way of the sum, in order, named "0", "1", ...; or one mapping of names to layers. They may
        not be called "downsample" or "activation".
    downsample : Module, optional
        What the input goes through on the shortcut, as torchvision calls it, whether or not it makes images smaller.
        Without it the input itself is added.
    activation : Module, optional
        After the addition. What it says of ``inplace`` does not matter.
    fuse : bool, default True
        Add, and apply the activation, within the body's last convolution, where the backend can; see Notes.

    Attributes
    ----------
    fuse : bool
        May be set at any time.

    Raises
    ------
    ArgumentError
        If a layer is no pyconv layer, or has a name that it cannot have.

    Notes
    -----
    Called with an input (N, C, H, W) or (C, H, W), of a dtype that the layers take; the body's result and what is added
    must have one shape: nothing is broadcast. Where the layers are Conv2d, BatchNorm2d, elementwise activations,
    MaxPool2d, AvgPool2d, or made of such, and pad with zeros, ShapeError comes before anything is computed.

    Keys of the state dict are those of a block of torchvision or timm, if the layers are called as there: see Examples.

    The layers are run as in a :class:`Sequential`. Where the body ends in a :class:`Conv2d`, perhaps with a
    :class:`BatchNorm2d` behind it, which is folded, that convolution adds the shortcut and applies an elementwise
    activation while its rows are in the cache (see ``residual`` of :func:`pyconv.functional.conv2d`): the same bits as
    one after the other, but for the normalisation. What lies between is in memory that is kept from the first call on,
    as in a Sequential. :func:`pyconv.explain` tells what is run as one.

    As in torch, the shortcut is taken after the body: an activation in place at the body's beginning changes what is
    added, and the caller's array. ``out`` may be the input itself.

    Examples
    --------
    A basic block of torchvision's ResNet, whose ``state_dict`` it loads:

    >>> import pyconv
    >>> def block(channels, out_channels, stride=1):
    ...     body = {
    ...         "conv1": pyconv.Conv2d(channels, out_channels, 3, stride, 1, bias=False),
    ...         "bn1": pyconv.BatchNorm2d(out_channels),
    ...         "relu": pyconv.ReLU(),
    ...         "conv2": pyconv.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
    ...         "bn2": pyconv.BatchNorm2d(out_channels),
    ...     }
    ...     shortcut = None
    ...     if stride > 1 or channels != out_channels:
    ...         projection = pyconv.Conv2d(channels, out_channels, 1, stride, bias=False)
    ...         shortcut = pyconv.Sequential(projection, pyconv.BatchNorm2d(out_channels))
    ...     return pyconv.Residual(body, downsample=shortcut, activation=pyconv.ReLU())
    >>> [name for name in block(64, 128, 2).state_dict() if "weight" in name]
    ['conv1.weight', 'bn1.weight', 'conv2.weight', 'bn2.weight', 'downsample.0.weight', 'downsample.1.weight']
    """

    def __init__(
        self, *body: Any, downsample: Module | None = None, activation: Module | None = None, fuse: bool = True
    ) -> None:
        layers = named("Residual", body)
        if not layers:
            raise ArgumentError("Residual: there is no layer in the body")
        if taken := [name for name in _OTHERS if name in layers]:
            raise ArgumentError(f"Residual: no layer of the body can be called {taken[0]!r}; pass it as {taken[0]}=")
        self._names = tuple(layers)
        others = zip(_OTHERS, (downsample, activation), strict=True)
        given = {name: layer for name, layer in others if layer is not None}
        self._layers = named("Residual", ({**layers, **given},))
        self.fuse = check_flag("Residual", "fuse", fuse)

    @property
    def body(self) -> Sequential:
        """The layers on the way of the sum: each time a new Sequential that shares them, and may be appended to."""
        return Sequential(self._body, fuse=self.fuse)

    @property
    def downsample(self) -> Module | None:
        """What the input goes through on the shortcut; None if nothing."""
        return self._layers.get("downsample")

    @property
    def activation(self) -> Module | None:
        """What is applied to the sum; None if nothing."""
        return self._layers.get("activation")

    @property
    def _body(self) -> dict[str, Module]:
        return {name: self._layers[name] for name in self._names}

    def pieces(self) -> _Pieces:
        """What is run."""
        layers = _opened(self._body) if self.fuse else self._body
        key = (self.fuse, tuple(layers), self.downsample is not None and is_plain(self.downsample))
        found = self.__dict__.get("_parts")
        if found is None or found[0] != key:
            found = self.__dict__["_parts"] = (key, self._cut(layers))
        return found[1]

    def _cut(self, layers: dict[str, Module]) -> _Pieces:
        """The pieces of a body of ``layers``."""
        shortcut, activation = self.downsample, self.activation
        *_, last = groups(layers)
        adding = {name: layers[name] for name in list(layers)[list(layers).index(last) :]}
        reason = "" if self.fuse else "it was asked for"
        adds = {kind_of(layer) for layer in adding.values()} <= {CONVOLUTION, NORMALISATION}
        if kind_of(layers[last]) != CONVOLUTION or not adds:
            reason = reason or "the body does not end in a convolution that could add"
        if shortcut is not None and not is_plain(shortcut):
            reason = reason or "the shortcut comes after the whole body, since it may write over the input"
        if reason:
            adding = {}
        front = Sequential(fuse=self.fuse)
        front._layers = {name: layer for name, layer in layers.items() if name not in adding}  # names may have dots
        ending = None
        names = (next(iter(layers)), "downsample", next(iter(adding), "+"), "activation")
        if adding:
            if activation is not None and kind_of(activation) == FUNCTION:
                adding, activation = {**adding, "activation": activation}, None
            ending = Group(adding)
        return _Pieces(front if len(front) else None, shortcut, ending, activation, names, reason)

    def parts(self) -> Mapping[str, Module]:
        pieces = self.pieces()
        return {name: part for name, part in zip(pieces.names, pieces[:4], strict=True) if part is not None}

    def _general_call(self, input: Any, out: Any, known: Known, half: Half | None = None) -> Any:
        _, *within = self.modules()
        seen = watched(within)  # before what they are is asked
        pieces = self.pieces()
        self.check(input)
        with taken(known.free_blocks) as block:
            return self._run(pieces, input, out, known, seen, block, half)

    def _run(
        self,
        pieces: _Pieces,
        input: Any,
        out: Any,
        known: Known,
        seen: tuple[tuple[Any, ...], ...],
        block: list[Any],
        half: Half | None,
    ) -> Any:
        front, shortcut, ending, activation, names, _ = pieces
        first = self._taken(front, None, input, Half(block, 0))
        added = self._taken(shortcut, names[1], input, Half(block, 1))
        target = out if activation is None else None
        if ending is None:
            self._check_shapes(first.shape, added.shape)
            result = add_residual("Residual", first, added, target)
        elif activation is None and half is not None:
            result = half.run(ending, (first, added))
        else:
            result = ending((first, added), out=target)
        if activation is not None:
            in_place = result if out is None and kind_of(activation) == FUNCTION else out
            return run_part(names[3], activation, result, in_place, None)
        if ending is not None:
            self._join(pieces, input, (first, added), known, seen)
        return result

    @staticmethod
    def _taken(layer: Module | None, name: str | None, input: Any, half: Half) -> Any:
        """What is taken of the input by a layer, or None: in kept memory, if the layer gives a new array."""
        if layer is None:
            return input
        return run_part(name, layer, input, None, half if type(input) is np.ndarray and is_plain(layer) else None)

    @staticmethod
    def _join(
        pieces: _Pieces, input: Any, pair: tuple[Any, Any], known: Known, seen: tuple[tuple[Any, ...], ...]
    ) -> None:
        """Know the call as one from now on, if all its pieces know theirs."""
        ending, calls = pieces.ending, []
        assert ending is not None
        for part, given in ((pieces.front, input), (pieces.shortcut, input), (ending, pair)):
            call = part.known_calls().find(given) if part is not None and calls_plainly(part) else None
            if call is None and part is not None:
                return
            calls.append(call)
        parts = [part for part in pieces[:3] if part is not None]
        known.join_residual(ending.known_calls(), calls, seen + watched(parts), fit)

    def check(self, input: Any) -> None:
        """Refuse shapes that do not add up, as far as planning tells."""
        body = _planned(self, input)
        added = input if self.downsample is None else _planned(self.downsample, input)
        if body is not None and added is not None:
            self._check_shapes(body.shape, added.shape)

    def _check_shapes(self, body: Any, added: Any) -> None:
        if tuple(body) != tuple(added):
            what = "the input" if self.downsample is None else "what downsample gives"
            hint = "pass downsample=, a layer that gives" if self.downsample is None else "let it give"
            raise ShapeError(
                f"Residual: the body gives {tuple(body)}, and {what} is {tuple(added)}: their shapes must be equal, "
                f"nothing is broadcast; {hint} {tuple(body)}"
            )


def _opened(layers: dict[str, Module]) -> dict[str, Module]:
    """The layers, with those of a Sequential in its place, if it is the last one."""
    *before, last = layers
    tail = layers[last]
    if type(tail) is not Sequential or not tail.fuse or not len(tail):
        return layers
    inside = {f"{last}.{name}": layer for name, layer in tail.named_children()}
    return _opened({**{name: layers[name] for name in before}, **inside})


def _planned(layer: Module, input: Any) -> Any:
    """An array like a layer's result, whose memory is never touched; None if planning alone does not tell."""
    if type(layer) in (Sequential, Residual):
        way = layer._body if isinstance(layer, Residual) else layer._layers  # type: ignore[attr-defined]
        for child in way.values():
            input = None if input is None else _planned(child, input)
        return input
    if kind_of(layer) is None or getattr(layer, "padding_mode", "zeros") != "zeros":
        return None
    try:
        call = layer.plan_call(input)
    except PyconvError:
        return None  # it comes up again when the layer is run
    shape = call.plan.out_shape[1:] if call.squeeze else call.plan.out_shape
    return np.empty(shape, call.plan.dtype) if call.plan.dtype in DTYPES else None
