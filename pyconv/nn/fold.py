"""Layers for windows of an image as columns, and back."""

from __future__ import annotations

from typing import Any

from ..functional.call import Call
from ..functional.fold import plan_call_fold, plan_call_unfold
from ..plan import (
    Amounts,
    Size,
    fold_parameters,
    pair,
)
from .module import Module
from .pool_base import as_given

__all__ = ["Fold", "Unfold"]


class Unfold(Module):
    """Every window of an image as a column; see :func:`pyconv.functional.unfold`.

    Parameters
    ----------
    kernel_size, dilation, padding, stride
        As for the function.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    _name = "Unfold"
    _fixed = frozenset(("output_size", "kernel_size", "dilation", "padding", "stride"))

    def __init__(
        self,
        kernel_size: Size,
        dilation: Size = 1,
        padding: Amounts | str = 0,
        stride: Size = 1,
        *,
        backend: str | None = None,
    ) -> None:
        self._parameters = fold_parameters(self._name, kernel_size, dilation, padding, stride)
        self.kernel_size, self.dilation = as_given(kernel_size), as_given(dilation)
        self.padding, self.stride = as_given(padding), as_given(stride)
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_unfold(input, self._parameters, out)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Unfold):
    """Columns added up to an image; see :func:`pyconv.functional.fold`.

    Parameters
    ----------
    output_size, kernel_size, dilation, padding, stride
        As for the function.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    _name = "Fold"

    def __init__(
        self,
        output_size: Size,
        kernel_size: Size,
        dilation: Size = 1,
        padding: Amounts | str = 0,
        stride: Size = 1,
        *,
        backend: str | None = None,
    ) -> None:
        self._size = pair("Fold", "output_size", output_size, 1)
        self.output_size = as_given(output_size)
        super().__init__(kernel_size, dilation, padding, stride, backend=backend)

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_fold(input, self._size, self._parameters, out)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"
