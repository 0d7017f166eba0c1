"""Functions on lines (N, C, L): those on images, with views of height 1."""

from __future__ import annotations

from typing import Any

from ..errors import OutputError
from ..plan import as_array, as_lines

__all__ = ["from_lines", "to_lines"]


def to_lines(op: str, input: Any, out: Any) -> tuple[Any, Any]:
    """Input and ``out`` as images (N, C, 1, L); what is no array stays, for others to refuse."""
    x = as_array(op, "input", input)
    images = as_lines(op, x)
    if out is None or not hasattr(out, "ndim"):
        return images, out
    if out.ndim != x.ndim:
        raise OutputError(f"{op}: out has {out.ndim} dimensions, the result has {x.ndim}: shape {tuple(out.shape)}")
    return images, as_lines(op, out)


def from_lines(result: Any, input: Any, out: Any) -> Any:
    """The result (N, C, 1, L) as the caller has it: ``out``, or without the height, and the batch if there was none.

    Of a pair of results ``out`` is the first one.
    """
    if isinstance(result, tuple):
        return tuple(from_lines(part, input, target) for part, target in zip(result, (out, None), strict=True))
    if out is not None:
        return out
    return result[:, :, 0] if input.ndim == 3 else result[0, :, 0]
