"""Pooling of lines as functions: that of images of height 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

from ..plan import (
    Amounts,
    ArrayT,
    OutputSize,
    Plan,
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
)
from .call import Call, planned_by, run
from .known import Known
from .lines import from_lines, to_lines
from .pool import plan_call_pool2d

__all__ = ["adaptive_avg_pool1d", "adaptive_max_pool1d", "avg_pool1d", "lp_pool1d", "max_pool1d"]

_known = Known()
_known_avg = Known()
_known_lp = Known()
_known_adaptive_avg = Known()
_known_adaptive_max = Known()


def _pool(
    op: str,
    make: Callable[..., Plan],
    check: Callable[..., tuple[Any, ...]],
    known: Known,
    input: Any,
    out: Any,
    given: tuple[Any, ...],
    backend: str | None,
) -> Any:
    """Pool ``input`` with the parameters ``given``, which ``check`` brings into the form that ``make`` plans with."""
    x, target = to_lines(op, input, out)
    asked = (*given, backend)
    result = known.run(x, None, None, target, asked)
    if result is None:
        result = run(plan_call_pool2d(op, make, x, check(op, *given), target), x, backend, known, asked)
    return from_lines(result, input, out)


def _planned(op: str, make: Callable[..., Plan], check: Callable[..., tuple[Any, ...]]) -> Callable[..., Call]:
    """What plans a call of the function ``op``."""

    def plan_call(*, input: Any, out: Any, **parameters: Any) -> Call:
        x, target = to_lines(op, input, out)
        return plan_call_pool2d(op, make, x, check(op, **parameters), target)

    return plan_call


def _avg_parameters(
    op: str, kernel_size: Any, stride: Any, padding: Any, ceil_mode: Any, count_include_pad: Any
) -> tuple[Any, ...]:
    return avg_pool_parameters(op, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def _adaptive_parameters(op: str, output_size: Any, return_indices: Any = False) -> tuple[Any, ...]:
    return adaptive_parameters(op, output_size), check_flag(op, "return_indices", return_indices)


@overload
def max_pool1d(
    input: ArrayT,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Amounts = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> ArrayT: ...
@overload
def max_pool1d(
    input: ArrayT,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Amounts = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
    out: ArrayT | None = None,
    backend: str | None = None,
) -> tuple[ArrayT, Any]: ...
@overload
def max_pool1d(
    input: ArrayT,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Amounts = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> Any: ...
@planned_by(_planned("max_pool1d", plan_max_pool2d, pool_parameters))
def max_pool1d(
    input: ArrayT,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Amounts = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> Any:
    """1-D max pooling: the largest element of every window; NaN if the window has one.

    It is :func:`max_pool2d` of the lines as images of height 1, which are views: nothing is copied. So are the other
    poolings of lines.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        float32 or float64; any strides.
    kernel_size : int or sequence of one
        The window's length, in elements.
    stride : int or sequence of one, optional
        Step of the window; by default the kernel size.
    padding : int, sequence of one or ((left, right),), default 0
        -inf added at the ends. As a number at most half of the window, dilation included (torch goes by the kernel
        alone), in the long form anything below the window (ONNX's rule).
    dilation : int or sequence of one, default 1
        Distance between the window's elements.
    ceil_mode : bool, default False
        Round the output size up; windows that would start in the padding at the end are left out.
    return_indices : bool, default False
        Also return where each maximum lies.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the input.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array, shape (N, C, L_out), or without N as the input
        ``L_out = (L + left + right - dilation * (kernel length - 1) - 1) // stride + 1``, rounded up in ceil mode.
        Channels-last in memory if the input is, as torch's; else contiguous. So are the indices.
    indices : int64 array of the same shape, if ``return_indices``
        The place in the unpadded line: the first of equal elements, the last NaN (as torch chooses).

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.MaxPool1d's documentation.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> F.max_pool1d(np.array([[[3, 1, 4, 1, 5, 9]]], np.float32), 2)
    array([[[3., 4., 9.]]], dtype=float32)
    """
    given = (kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return _pool("max_pool1d", plan_max_pool2d, pool_parameters, _known, input, out, given, backend)


@planned_by(_planned("avg_pool1d", plan_avg_pool2d, _avg_parameters))
def avg_pool1d(
    input: ArrayT,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Amounts = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> ArrayT:
    """1-D average pooling: the mean of every window.

    Parameters
    ----------
    input, kernel_size, stride, ceil_mode, out, backend
        As in :func:`max_pool1d`.
    padding : int, sequence of one or ((left, right),), default 0
        Zeros added at the ends; how much may be is as in :func:`max_pool1d`.
    count_include_pad : bool, default True
        As in :func:`avg_pool2d`.

    Returns
    -------
    array, shape (N, C, L_out), or without N as the input
        ``L_out = (L + left + right - kernel length) // stride + 1``, rounded up in ceil mode. Channels-last in memory
        if the input is, else contiguous.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.AvgPool1d's documentation.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> F.avg_pool1d(np.array([[[3, 1, 4, 2, 5, 9]]], np.float32), 2)
    array([[[2., 3., 7.]]], dtype=float32)
    """
    given = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _pool("avg_pool1d", plan_avg_pool2d, _avg_parameters, _known_avg, input, out, given, backend)


@planned_by(_planned("lp_pool1d", plan_lp_pool2d, lp_pool_parameters))
def lp_pool1d(
    input: ArrayT,
    norm_type: float,
    kernel_size: Size,
    stride: Size | None = None,
    ceil_mode: bool = False,
    *,
    padding: Amounts = 0,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> ArrayT:
    """1-D power-average pooling: the p-th root of the sum of every window's p-th powers.

    Parameters
    ----------
    input, kernel_size, stride, out, backend
        As in :func:`max_pool1d`.
    norm_type : float
        p, not 0; as in :func:`lp_pool2d`.
    ceil_mode : bool, default False
        As in :func:`lp_pool2d`.
    padding : int, sequence of one or ((left, right),), default 0
        At the ends; it adds nothing to a sum, and torch has none. How much may be is as in :func:`max_pool1d`.

    Returns
    -------
    array, shape (N, C, L_out), or without N as the input
        ``L_out = (L + left + right - kernel length) // stride + 1``, rounded up in ceil mode. Channels-last in memory
        if the input is, else contiguous.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.LPPool1d's documentation.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> F.lp_pool1d(np.array([[[3, 4, 5, 12]]], np.float32), 2, 2)
    array([[[ 5., 13.]]], dtype=float32)
    """
    given = (norm_type, kernel_size, stride, ceil_mode, padding)
    return _pool("lp_pool1d", plan_lp_pool2d, lp_pool_parameters, _known_lp, input, out, given, backend)


@planned_by(_planned("adaptive_avg_pool1d", plan_adaptive_pool2d, _adaptive_parameters))
def adaptive_avg_pool1d(
    input: ArrayT, output_size: OutputSize, *, out: ArrayT | None = None, backend: str | None = None
) -> ArrayT:
    """1-D average pooling to a length that is given; 1 is the mean of each line.

    Parameters
    ----------
    input, out, backend
        As in :func:`max_pool1d`.
    output_size : int, None or a sequence of one of them
        L_out; None is the input's own.

    Returns
    -------
    array, shape (N, C, L_out), or without N as the input
        Element ``i`` is the mean of the input's from ``floor(i * L / L_out)`` up to ``ceil((i + 1) * L / L_out)``.
        Channels-last in memory if the input is, else contiguous.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.AdaptiveAvgPool1d.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> F.adaptive_avg_pool1d(np.arange(5, dtype=np.float32).reshape(1, 1, 5), 2)
    array([[[1., 3.]]], dtype=float32)
    """
    op, given = "adaptive_avg_pool1d", (output_size,)
    return _pool(op, plan_adaptive_pool2d, _adaptive_parameters, _known_adaptive_avg, input, out, given, backend)


@overload
def adaptive_max_pool1d(
    input: ArrayT,
    output_size: OutputSize,
    return_indices: Literal[False] = False,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> ArrayT: ...
@overload
def adaptive_max_pool1d(
    input: ArrayT,
    output_size: OutputSize,
    return_indices: Literal[True],
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> tuple[ArrayT, Any]: ...
@overload
def adaptive_max_pool1d(
    input: ArrayT,
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> Any: ...
@planned_by(_planned("adaptive_max_pool1d", plan_adaptive_pool2d, _adaptive_parameters))
def adaptive_max_pool1d(
    input: ArrayT,
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> Any:
    """1-D max pooling to a length that is given; NaN if the window has one.

    Parameters
    ----------
    input, out, backend
        As in :func:`max_pool1d`.
    output_size : int, None or a sequence of one of them
        L_out; None is the input's own.
    return_indices : bool, default False
        Also return where each maximum lies.

    Returns
    -------
    array, shape (N, C, L_out), or without N as the input
        Windows and order in memory as in :func:`adaptive_avg_pool1d`.
    indices : int64 array of the same shape, if ``return_indices``
        As :func:`max_pool1d` returns them.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.AdaptiveMaxPool1d.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> F.adaptive_max_pool1d(np.arange(5, dtype=np.float32).reshape(1, 1, 5), 2)
    array([[[2., 4.]]], dtype=float32)
    """
    op, given = "adaptive_max_pool1d", (output_size, return_indices)
    return _pool(op, plan_adaptive_pool2d, _adaptive_parameters, _known_adaptive_max, input, out, given, backend)
