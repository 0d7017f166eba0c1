"""What the layers on lines (N, C, L) add to those on images: they take a line as an image of height 1."""

from __future__ import annotations

from typing import Any

from ..errors import PyconvError
from ..functional.call import Call
from ..functional.lines import from_lines, to_lines
from ..plan import ArrayT
from .module import Module

__all__ = ["Lines"]


class Lines(Module):
    """Before another layer class, whose ``plan_call`` takes images."""

    _op: str

    def __call__(self, input: ArrayT, *, out: ArrayT | None = None) -> ArrayT:
        """Run the layer on ``input``, (N, C, L) or (C, L); ``out`` is written and returned if it is given."""
        x, target = self._as_images(input, out)
        return from_lines(super().__call__(x, out=target), input, out)

    def _as_images(self, input: Any, out: Any) -> tuple[Any, Any]:
        """The lines as images of height 1, and ``out`` likewise; an error names the layer."""
        try:
            return to_lines(self._op, input, out)
        except PyconvError as error:
            error.prefix(repr(self))
            raise

    def forward(self, input: Any, *, out: Any = None) -> Any:
        return Lines.__call__(self, input, out=out)

    def plan_call(self, input: Any, out: Any = None) -> Call:
        if getattr(input, "ndim", 0) != 4:  # it comes from explain, and not from the call above
            input, out = to_lines(self._op, input, out)
        return super().plan_call(input, out)
