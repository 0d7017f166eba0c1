"""What a compared library must offer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from ..layer import Layer

__all__ = ["Peer", "Unsupported", "Way"]


class Unsupported(Exception):
    """The library does not have this operation; the message says what is missing."""


class Way(NamedTuple):
    """One way of calling the library for a layer. Of several the worker takes the quickest, to be fair to each."""

    name: str
    call: Callable[[], Any]
    result: Callable[[Any], Any]
    """What ``call`` returned, to a NumPy array (N, C, H, W)."""


class Peer:
    """A library with a fixed number of threads. Made once in each worker process."""

    dtypes: tuple[str, ...] = ("float32",)
    layouts: tuple[str, ...] = ("nchw",)
    """How the input may lie in memory without being copied first."""
    batches = True

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def version(self) -> str:
        raise NotImplementedError

    def context(self) -> contextlib.AbstractContextManager[Any]:
        """In which everything runs."""
        return contextlib.nullcontext()

    def check(self, layer: Layer) -> None:
        """Raise Unsupported for a layer that ``build`` could not do as it is meant."""
        if layer.dtype not in self.dtypes:
            raise Unsupported(f"it computes in {' and '.join(self.dtypes)}")
        if layer.layout not in self.layouts:
            raise Unsupported("its input is NCHW; others would be copied first")
        if layer.shape[0] > 1 and not self.batches:
            raise Unsupported("it takes one image at a time")

    def build(self, layer: Layer) -> list[Way]:
        """The ways to run ``layer``, with weights prepared as far as the library can. Raises Unsupported."""
        raise NotImplementedError

    def implementation(self) -> str | None:
        """The name of what runs the layer built last, where the library tells."""
        return None

    def describe(self) -> dict[str, Any]:
        """What else is worth keeping beside the results."""
        return {}
