"""Pooling layers."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, PyconvError
from ..functional.adaptive_pool import plan_call_adaptive
from ..functional.call import Call
from ..functional.pool import max_unpool2d, plan_call_pool2d
from ..plan import (
    adaptive_parameters,
    avg_pool_parameters,
    check_flag,
    lp_pool_parameters,
    plan_avg_pool2d,
    plan_lp_pool2d,
    plan_max_pool2d,
    pool_parameters,
    unpool_parameters,
)
from .module import Module

__all__ = ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "LPPool2d", "MaxPool2d", "MaxUnpool2d"]


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
        self.kernel_size = as_given(kernel_size)
        self.stride = self.kernel_size if stride is None else as_given(stride)
        self.padding = as_given(padding)
        self.dilation = as_given(dilation)
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_pool2d("max_pool2d", plan_max_pool2d, input, self._parameters, out)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of every window; see :func:`pyconv.functional.avg_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
        The window's (height, width), in pixels.
    stride : int or (int, int), optional
        Step of the window; by default the kernel size.
    padding : int, (int, int) or ((top, bottom), (left, right)), default 0
        Zeros added around the input, in pixels.
    ceil_mode : bool, default False
        Round the output size up.
    count_include_pad : bool, default True
        Count the elements in the padding too.
    divisor_override : int, optional
        Divide every sum by this number.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    plans_alike = True

    _fixed = frozenset(("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"))

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        backend: str | None = None,
    ) -> None:
        self._parameters = avg_pool_parameters(
            "AvgPool2d", kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        )
        self.kernel_size = as_given(kernel_size)
        self.stride = self.kernel_size if stride is None else as_given(stride)
        self.padding = as_given(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_pool2d("avg_pool2d", plan_avg_pool2d, input, self._parameters, out)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class LPPool2d(Module):
    """The p-th root of the sum of every window's p-th powers; see :func:`pyconv.functional.lp_pool2d`.

    Parameters
    ----------
    norm_type : float
        p, finite and not 0.
    kernel_size : int or (int, int)
        The window's (height, width), in pixels.
    stride : int or (int, int), optional
        Step of the window; by default the kernel size.
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

    _fixed = frozenset(("norm_type", "kernel_size", "stride", "ceil_mode"))

    def __init__(
        self,
        norm_type: float,
        kernel_size: Any,
        stride: Any = None,
        ceil_mode: bool = False,
        *,
        backend: str | None = None,
    ) -> None:
        self._parameters = lp_pool_parameters("LPPool2d", norm_type, kernel_size, stride, ceil_mode)
        self.norm_type = norm_type
        self.kernel_size = as_given(kernel_size)
        self.stride = as_given(stride)
        self.ceil_mode = ceil_mode
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_pool2d("lp_pool2d", plan_lp_pool2d, input, self._parameters, out)

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class AdaptiveAvgPool2d(Module):
    """The means of as many windows as the output has pixels; see :func:`pyconv.functional.adaptive_avg_pool2d`.

    Parameters
    ----------
    output_size : int, None or a pair of them
        (height, width), in pixels; None is the input's own. 1 is the mean of each plane.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    plans_alike = True

    _fixed = frozenset(("output_size",))

    def __init__(self, output_size: Any, *, backend: str | None = None) -> None:
        self._size = adaptive_parameters("AdaptiveAvgPool2d", output_size)
        self.output_size = as_given(output_size)
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_adaptive("adaptive_avg_pool2d", input, self._size, False, out)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(Module):
    """The maxima of as many windows as the output has pixels; see :func:`pyconv.functional.adaptive_max_pool2d`.

    Parameters
    ----------
    output_size : int, None or a pair of them
        (height, width), in pixels; None is the input's own.
    return_indices : bool, default False
        Return (values, indices).
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    plans_alike = True

    _fixed = frozenset(("output_size", "return_indices"))

    def __init__(self, output_size: Any, return_indices: bool = False, *, backend: str | None = None) -> None:
        self._size = adaptive_parameters("AdaptiveMaxPool2d", output_size)
        self.output_size = as_given(output_size)
        self.return_indices = check_flag("AdaptiveMaxPool2d", "return_indices", return_indices)
        self.backend = backend

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return plan_call_adaptive("adaptive_max_pool2d", input, self._size, self.return_indices, out)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class MaxUnpool2d(Module):
    """Maxima back to where a max pooling found them; see :func:`pyconv.functional.max_unpool2d`.

    It is called with the maxima and their indices, and the size of the pooling's input if that is not
    ``(size - 1) * stride - 2 * padding + kernel_size``: ``layer(values, indices, output_size=None)``.

    Parameters
    ----------
    kernel_size, stride, padding
        Those of the pooling; the stride is by default the kernel size.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    _fixed = frozenset(("kernel_size", "stride", "padding"))

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, *, backend: str | None = None) -> None:
        self.kernel_size, self.stride, (rows, columns) = unpool_parameters("MaxUnpool2d", kernel_size, stride, padding)
        symmetric = rows[0] == rows[1] and columns[0] == columns[1]
        self.padding = (rows[0], columns[0]) if symmetric else (rows, columns)
        self.backend = backend

    def __call__(  # type: ignore[override]  # torch's layer takes a second array too
        self, input: Any, indices: Any, output_size: Any = None, *, out: Any = None
    ) -> Any:
        """Put the elements of ``input`` to where ``indices`` say."""
        try:
            return max_unpool2d(
                input,
                indices,
                self.kernel_size,
                self.stride,
                self.padding,
                output_size,
                out=out,
                backend=self.backend,
            )
        except PyconvError as error:
            error.prefix(repr(self))
            raise

    def plan_call(self, input: Any, out: Any = None) -> Call:
        raise ArgumentError("MaxUnpool2d takes the indices beside the input; use functional.max_unpool2d here")

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def as_given(value: Any) -> Any:
    return tuple(map(as_given, value)) if isinstance(value, list | tuple) else value
