"""Pooling over windows of one size as functions."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Literal, overload

from ..plan import (
    Amounts,
    ArrayT,
    Plan,
    Size,
    array_kind,
    as_array,
    as_batch,
    avg_pool_parameters,
    dtype_name,
    layout_of,
    lp_pool_parameters,
    plan_avg_pool2d,
    plan_lp_pool2d,
    plan_max_pool2d,
    pool_parameters,
)
from .call import Call, checked_out, planned_by, run
from .known import Known

__all__ = ["avg_pool2d", "lp_pool2d", "max_pool2d", "plan_call_pool2d"]

_known = Known()
_known_avg = Known()
_known_lp = Known()


def plan_call_pool2d(op: str, make: Callable[..., Plan], input: Any, parameters: tuple[Any, ...], out: Any) -> Call:
    """Check and plan a pooling by ``make``, one of plan's functions, with ``parameters`` as that wants them.

    ``op`` is what it is called in messages.
    """
    x = as_array(op, "input", input)
    kind, dtype = array_kind(x), dtype_name(op, "input", x)
    given = x = as_batch(op, x)
    if make is plan_lp_pool2d and parameters[0] == inf:
        x = abs(x)  # whose maxima are the norms
    plan = make(tuple(x.shape), dtype, x.dtype.itemsize, layout_of(x), *parameters, op=op)
    batched = input.ndim == 4
    target = checked_out(op, out, kind, plan.out_shape, dtype, (given,), batched)
    return Call(plan, x, kind, out=target, squeeze=not batched, given=out)


def _plan(*, input: Any, out: Any, **parameters: Any) -> Call:
    return plan_call_pool2d("max_pool2d", plan_max_pool2d, input, pool_parameters("max_pool2d", **parameters), out)


@overload
def max_pool2d(
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
def max_pool2d(
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
def max_pool2d(
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
@planned_by(_plan)
def max_pool2d(
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
    """2-D max pooling: the largest element of every window; NaN if the window has one.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        float32 or float64; any strides.
    kernel_size : int or (int, int)
        The window's (height, width), in pixels.
    stride : int or (int, int), optional
        Step of the window; by default the kernel size.
    padding : int, (int, int) or ((top, bottom), (left, right)), default 0
        -inf added around the input, in pixels. As an int or a pair at most half of the window, which dilation makes
        larger: torch's rule where there is none; else torch goes by the kernel alone, and refuses more. In the long
        form anything below the window (ONNX's rule).
    dilation : int or (int, int), default 1
        Distance between the window's elements, in pixels.
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
    array, shape (N, C, H_out, W_out), or without N as the input
        ``H_out = (H + top + bottom - dilation * (kernel height - 1) - 1) // stride + 1``, rounded up in ceil mode.
        Channels-last in memory if the input is, as torch's; else contiguous. So are the indices.
    indices : int64 array of the same shape, if ``return_indices``
        ``y * W + x`` in the unpadded plane: the first of equal elements, the last NaN (as torch chooses). Of a window
        whose elements are all in the padding, as dilation makes them, the pixel nearest to the first of them.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.MaxPool2d's documentation.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> F.max_pool2d(x, 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]], dtype=float32)
    """
    given = (kernel_size, stride, padding, dilation, ceil_mode, return_indices, backend)
    result = _known.run(input, None, None, out, given)
    if result is not None:
        return result
    parameters = pool_parameters("max_pool2d", kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    call = plan_call_pool2d("max_pool2d", plan_max_pool2d, input, parameters, out)
    return run(call, input, backend, _known, given)


def _plan_avg(*, input: Any, out: Any, **parameters: Any) -> Call:
    return plan_call_pool2d("avg_pool2d", plan_avg_pool2d, input, avg_pool_parameters("avg_pool2d", **parameters), out)


@planned_by(_plan_avg)
def avg_pool2d(
    input: ArrayT,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Amounts = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> ArrayT:
    """2-D average pooling: the mean of every window.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        float32 or float64; any strides.
    kernel_size : int or (int, int)
        The window's (height, width), in pixels.
    stride : int or (int, int), optional
        Step of the window; by default the kernel size.
    padding : int, (int, int) or ((top, bottom), (left, right)), default 0
        Zeros added around the input, in pixels. As an int or a pair at most half of the window (torch's rule), in
        the long form anything below the window (ONNX's rule).
    ceil_mode : bool, default False
        Round the output size up; windows that would start in the padding at the end are left out.
    count_include_pad : bool, default True
        Divide by the number of a window's elements with those in the padding, or without them. What a window of
        ceil mode holds beyond the padding is never counted.
    divisor_override : int, optional
        Divide every sum by this number, which is not 0.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the input.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array, shape (N, C, H_out, W_out), or without N as the input
        ``H_out = (H + top + bottom - kernel height) // stride + 1``, rounded up in ceil mode. Channels-last in memory
        if the input is, else contiguous.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.AvgPool2d's documentation.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> F.avg_pool2d(x, 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]], dtype=float32)
    """
    given = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, backend)
    result = _known_avg.run(input, None, None, out, given)
    if result is not None:
        return result
    parameters = avg_pool_parameters("avg_pool2d", *given[:-1])
    call = plan_call_pool2d("avg_pool2d", plan_avg_pool2d, input, parameters, out)
    return run(call, input, backend, _known_avg, given)


def _plan_lp(*, input: Any, out: Any, **parameters: Any) -> Call:
    return plan_call_pool2d("lp_pool2d", plan_lp_pool2d, input, lp_pool_parameters("lp_pool2d", **parameters), out)


@planned_by(_plan_lp)
def lp_pool2d(
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
    """2-D power-average pooling: the p-th root of the sum of every window's p-th powers.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        float32 or float64; any strides.
    norm_type : float
        p, not 0. The powers are those of the elements, not of their magnitudes: for an odd p negative ones count
        negative, and where their sum is negative the root is NaN, as it is in torch. For inf it is the largest
        magnitude.
    kernel_size : int or (int, int)
        The window's (height, width), in pixels.
    stride : int or (int, int), optional
        Step of the window; by default the kernel size.
    ceil_mode : bool, default False
        Round the output size up. The sum of a window that reaches past the padded input counts as much as a whole
        one's: it is multiplied by ``kernel height * kernel width`` over the number of its elements, those in the
        padding included.
    padding : int, (int, int) or ((top, bottom), (left, right)), default 0
        Around the input, in pixels, as in :func:`avg_pool2d`; torch has none. It adds nothing to a sum, whatever p is
        (ONNX's LpPool).
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the input.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array, shape (N, C, H_out, W_out), or without N as the input
        ``H_out = (H + top + bottom - kernel height) // stride + 1``, rounded up in ceil mode. Channels-last in memory
        if the input is, else contiguous. Powers and their sums may be kept in the input's dtype: where they leave its
        range, so does the result.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.LPPool2d's documentation.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> x = np.array([[[[3, 0, 5], [0, 4, 12]]]], np.float32)
    >>> F.lp_pool2d(x, 2, 2, 1)
    array([[[[ 5.      , 13.601471]]]], dtype=float32)
    """
    given = (norm_type, kernel_size, stride, ceil_mode, padding, backend)
    result = _known_lp.run(input, None, None, out, given)
    if result is not None:
        return result
    parameters = lp_pool_parameters("lp_pool2d", *given[:-1])
    call = plan_call_pool2d("lp_pool2d", plan_lp_pool2d, input, parameters, out)
    return run(call, input, backend, _known_lp, given)
