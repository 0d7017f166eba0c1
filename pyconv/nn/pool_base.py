"""What the pooling layers of images and of lines share: a subclass says what it and its function are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ArgumentError, PyconvError
from ..functional.call import Call
from ..functional.pool import plan_call_pool2d
from ..plan import (
    Amounts,
    Array,
    ArrayT,
    OutputSize,
    Pair,
    Size,
    adaptive_parameters,
    avg_pool_parameters,
    check_flag,
    lp_pool_parameters,
    plan_adaptive_pool2d,
    plan_avg_pool2d,
    plan_lp_pool2d,
    plan_max_pool2d,
    pool_parameters,
    unpool_parameters,
)
from .module import Module, Operation

__all__ = ["AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "LPPool", "MaxPool", "MaxUnpool"]


class MaxPool(Module):
    """Max pooling of images, or of lines."""

    _name: str
    _op: str

    plans_alike = True

    _fixed = frozenset(("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"))

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Amounts = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        backend: str | None = None,
    ) -> None:
        self._parameters = pool_parameters(
            self._name, kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )
        # as given, for a repr like torch's; a list is copied, since it could change
        self.kernel_size = as_given(kernel_size)
        self.stride = self.kernel_size if stride is None else as_given(stride)
        self.padding = as_given(padding)
        self.dilation = as_given(dilation)
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_pool2d(self._op, plan_max_pool2d, input, self._parameters, out)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool(Operation):
    """Average pooling of images, or of lines."""

    _name: str
    _op: str

    plans_alike = True

    _fixed = frozenset(("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"))

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Amounts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        backend: str | None = None,
    ) -> None:
        self._parameters = avg_pool_parameters(
            self._name, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        )
        self.kernel_size = as_given(kernel_size)
        self.stride = self.kernel_size if stride is None else as_given(stride)
        self.padding = as_given(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_pool2d(self._op, plan_avg_pool2d, input, self._parameters, out)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class LPPool(Operation):
    """L-p pooling of images, or of lines."""

    _name: str
    _op: str

    plans_alike = True

    _fixed = frozenset(("norm_type", "kernel_size", "stride", "ceil_mode", "padding"))

    def __init__(
        self,
        norm_type: float,
        kernel_size: Size,
        stride: Size | None = None,
        ceil_mode: bool = False,
        *,
        padding: Amounts = 0,
        backend: str | None = None,
    ) -> None:
        self._parameters = lp_pool_parameters(self._name, norm_type, kernel_size, stride, ceil_mode, padding)
        self.norm_type = norm_type
        self.kernel_size = as_given(kernel_size)
        self.stride = as_given(stride)
        self.ceil_mode = ceil_mode
        self.padding = as_given(padding)
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_pool2d(self._op, plan_lp_pool2d, input, self._parameters, out)

    def extra_repr(self) -> str:
        told = (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )
        return told if self.padding == 0 else f"{told}, padding={self.padding}"


class AdaptiveAvgPool(Operation):
    """Average pooling to a size, of images or of lines."""

    _name: str
    _op: str

    plans_alike = True

    _fixed = frozenset(("output_size",))

    def __init__(self, output_size: OutputSize, *, backend: str | None = None) -> None:
        self._parameters = (adaptive_parameters(self._name, output_size), False)
        self.output_size = as_given(output_size)
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_pool2d(self._op, plan_adaptive_pool2d, input, self._parameters, out)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool(Module):
    """Max pooling to a size, of images or of lines."""

    _name: str
    _op: str

    plans_alike = True

    _fixed = frozenset(("output_size", "return_indices"))

    def __init__(self, output_size: OutputSize, return_indices: bool = False, *, backend: str | None = None) -> None:
        self.return_indices = check_flag(self._name, "return_indices", return_indices)
        self._parameters = (adaptive_parameters(self._name, output_size), self.return_indices)
        self.output_size = as_given(output_size)
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_pool2d(self._op, plan_adaptive_pool2d, input, self._parameters, out)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class MaxUnpool(Module):
    """Max unpooling of images, or of lines, by ``_function``."""

    _name: str
    _op: str
    _function: Callable[..., Any]

    _fixed = frozenset(("kernel_size", "stride", "padding"))

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Amounts = 0, *, backend: str | None = None
    ) -> None:
        lines = self._op.endswith("1d")
        kernel, steps, pads = unpool_parameters(self._name, kernel_size, stride, padding)
        self.kernel_size: tuple[int, ...] = kernel[1:] if lines else kernel
        self.stride: tuple[int, ...] = steps[1:] if lines else steps
        amounts: tuple[Pair, ...] = pads[1:] if lines else pads
        symmetric = all(before == after for before, after in amounts)
        self.padding: tuple[Any, ...] = tuple(before for before, _ in amounts) if symmetric else amounts
        self.backend = backend

    def __call__(  # type: ignore[override]  # torch's layer takes a second array too
        self,
        input: ArrayT,
        indices: Array,
        output_size: Size | None = None,
        *,
        out: ArrayT | None = None,
    ) -> ArrayT:
        """Put the elements of ``input`` to where ``indices`` say."""
        window = (self.kernel_size, self.stride, self.padding)
        try:
            return self._function(input, indices, *window, output_size, out=out, backend=self.backend)
        except PyconvError as error:
            error.prefix(repr(self))
            raise

    def forward(self, input: Any, indices: Any, output_size: Any = None, *, out: Any = None) -> Any:
        return MaxUnpool.__call__(self, input, indices, output_size, out=out)

    def plan_call(self, input: Any, out: Any = None) -> Call:
        raise ArgumentError(f"{self._name} takes the indices beside the input; use functional.{self._op} here")

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def as_given(value: Any) -> Any:
    """A parameter as it was given, with lists, which could change, as tuples."""
    return tuple(map(as_given, value)) if isinstance(value, list | tuple) else value
