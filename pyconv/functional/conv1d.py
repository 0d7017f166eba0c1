"""Convolution of lines, and its transposed form, as functions: those of images of height 1."""

from __future__ import annotations

from typing import Any

from ..plan import (
    Amounts,
    Array,
    ArrayT,
    Size,
    as_array,
    conv_parameters,
    line_padding,
    single,
    transposed_parameters,
)
from .call import Call, planned_by, run
from .conv import plan_call_conv2d, plan_call_conv_transpose2d
from .known import Known
from .lines import from_lines, to_lines

__all__ = ["conv1d", "conv_transpose1d"]

_known = Known()
_known_transposed = Known()


def _as_images(op: str, input: Any, weight: Any, out: Any) -> tuple[Any, Any, Any]:
    """Input, weight and ``out`` with a height of 1."""
    x, target = to_lines(op, input, out)
    weight = as_array(op, "weight", weight)
    return x, weight[..., None, :] if weight.ndim else weight, target


def _plan_images(
    x: Any, weight: Any, bias: Any, out: Any, algorithm: Any, precision: Any, stride: Any, padding: Any, dilation: Any,
    groups: Any,
) -> Call:  # fmt: skip
    op = "conv1d"
    parameters = conv_parameters(
        op,
        single(op, "stride", stride, 1, 1),
        line_padding(op, padding),
        single(op, "dilation", dilation, 1, 1),
        groups,
    )
    return plan_call_conv2d(x, weight, bias, parameters, out, algorithm, precision=precision, op=op)


def _plan_transposed_images(
    x: Any, weight: Any, bias: Any, out: Any, algorithm: Any, precision: Any, stride: Any, padding: Any,
    output_padding: Any, groups: Any, dilation: Any,
) -> Call:  # fmt: skip
    op = "conv_transpose1d"
    parameters = transposed_parameters(
        op,
        single(op, "stride", stride, 1, 1),
        line_padding(op, padding),
        single(op, "output_padding", output_padding, 0, 0),
        groups,
        single(op, "dilation", dilation, 1, 1),
    )
    return plan_call_conv_transpose2d(x, weight, bias, parameters, out, algorithm, precision=precision, op=op)


def _plan(*, input: Any, weight: Any, out: Any, **more: Any) -> Call:
    x, weight, target = _as_images("conv1d", input, weight, out)
    return _plan_images(x, weight, out=target, **more)


def _plan_transposed(*, input: Any, weight: Any, out: Any, **more: Any) -> Call:
    x, weight, target = _as_images("conv_transpose1d", input, weight, out)
    return _plan_transposed_images(x, weight, out=target, **more)


@planned_by(_plan)
def conv1d(
    input: ArrayT,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: Amounts | str = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
    algorithm: str = "auto",
    precision: str | None = None,
) -> ArrayT:
    """1-D convolution (cross-correlation, as in torch) over lines of several channels.

    It is :func:`conv2d` of the lines as images of height 1, which are views: nothing is copied.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        float32 or float64; any strides. For channels-last data pass the view ``np.moveaxis(x, -1, -2)``.
    weight : array, shape (out_channels, C // groups, kernel length)
        Of the input's dtype.
    bias : array, shape (out_channels,), optional
    stride, dilation : int or sequence of one, default 1
        At least 1.
    padding : int, sequence of one, ((left, right),), 'valid' or 'same', default 0
        Zeros added at the ends.
    groups : int, default 1
        Input and output channels are split into this many groups that do not see each other.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the inputs.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    algorithm : {'auto', 'direct', 'winograd', 'winograd_2', 'winograd_4', 'winograd_6', 'fft', 'measure'}
        As in :func:`conv2d`.
    precision : {'fp32', 'tf32'}, optional
        As in :func:`conv2d`.

    Returns
    -------
    array, shape (N, out_channels, L_out), or without N as the input
        ``L_out = (L + left + right - dilation * (kernel length - 1) - 1) // stride + 1``; contiguous, of the input's
        dtype and array type.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> F.conv1d(np.arange(6, dtype=np.float32).reshape(1, 1, 6), np.ones((1, 1, 3), np.float32), padding=1)
    array([[[ 1.,  3.,  6.,  9., 12.,  9.]]], dtype=float32)
    """
    x, weight, target = _as_images("conv1d", input, weight, out)
    given = (stride, padding, dilation, groups, algorithm, precision, backend)
    result = _known.run(x, weight, bias, target, given)
    if result is None:
        call = _plan_images(x, weight, bias, target, algorithm, precision, stride, padding, dilation, groups)
        result = run(call, x, backend, _known, given)
    return from_lines(result, input, out)


@planned_by(_plan_transposed)
def conv_transpose1d(
    input: ArrayT,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: Amounts | str = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
    algorithm: str = "auto",
    precision: str | None = None,
) -> ArrayT:
    """1-D transposed convolution: each element of a line spreads the kernel, times itself, over the output.

    It is :func:`conv_transpose2d` of the lines as images of height 1, which are views: nothing is copied.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        float32 or float64; any strides.
    weight : array, shape (C, out_channels // groups, kernel length)
        Of the input's dtype.
    bias : array, shape (out_channels,), optional
    stride, dilation : int or sequence of one, default 1
        At least 1.
    padding : int, sequence of one, ((left, right),) or 'valid', default 0
        Output elements that are left away at the ends.
    output_padding : int or sequence of one, default 0
        Output elements more at the end; less than the stride or the dilation.
    groups : int, default 1
        Input and output channels are split into this many groups that do not see each other.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the inputs.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    algorithm : {'auto', 'direct', 'winograd', 'winograd_2', 'winograd_4', 'winograd_6', 'fft', 'measure'}
        As in :func:`conv_transpose2d`.
    precision : {'fp32', 'tf32'}, optional
        As in :func:`conv2d`.

    Returns
    -------
    array, shape (N, out_channels, L_out), or without N as the input
        ``L_out = (L - 1) * stride - left - right + dilation * (kernel length - 1) + output_padding + 1``; contiguous,
        of the input's dtype and array type.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.
    """
    x, weight, target = _as_images("conv_transpose1d", input, weight, out)
    given = (stride, padding, output_padding, groups, dilation, algorithm, precision, backend)
    result = _known_transposed.run(x, weight, bias, target, given)
    if result is None:
        more = (stride, padding, output_padding, groups, dilation)
        call = _plan_transposed_images(x, weight, bias, target, algorithm, precision, *more)
        result = run(call, x, backend, _known_transposed, given)
    return from_lines(result, input, out)
