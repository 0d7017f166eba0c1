"""Pooling layers."""

from __future__ import annotations

from typing import Any

from ..functional.call import Call
from ..functional.pool import plan_call_max_pool2d
from ..plan import pool_parameters
from .module import Module

__all__ = ["MaxPool2d"]


class MaxPool2d(Module):
    """The largest element of every window; see :func:`pyconv.functional.max_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
        The window's (height, width), in pixels.
    stride : int or (int, int), optional
        Step of the window; by default the kernel size.
    padding : int, (int, int) or ((top, bottom), (left, right)), default 0
        -inf added around the input, in pixels.
    dilation : int or (int, int), default 1
        Distance between the window's elements, in pixels.
    return_indices : bool, default False
        Return (values, indices).
    ceil_mode : bool, default False
        Round the output size up.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    plans_alike = True

    _fixed = frozenset(("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"))

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        backend: str | None = None,
    ) -> None:
        self._parameters = pool_parameters(
            "MaxPool2d", kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )
        # as given, for a repr like torch's; a list is copied, since it could change
        self.kernel_size = _as_given(kernel_size)
        self.stride = self.kernel_size if stride is None else _as_given(stride)
        self.padding = _as_given(padding)
        self.dilation = _as_given(dilation)
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_max_pool2d(input, self._parameters, out)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


def _as_given(value: Any) -> Any:
    return tuple(map(_as_given, value)) if isinstance(value, list | tuple) else value
