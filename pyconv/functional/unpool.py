"""Max unpooling as functions, of images and of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

from .. import registry
from ..errors import ArgumentError
from ..plan import (
    Amounts,
    Array,
    ArrayT,
    Plan,
    Size,
    array_kind,
    as_array,
    as_lines,
    check_out,
    check_places,
    plan_max_unpool2d,
    unpool_output,
    unpool_parameters,
)
from .call import Call, planned_by, run
from .known import Known
from .lines import from_lines, to_lines
from .pool import plan_call_pool2d

__all__ = ["max_unpool1d", "max_unpool2d"]


def _plan_call(op: str, input: Any, indices: Any, parameters: tuple[Any, ...], out: Any) -> Call:
    """Check and plan an unpooling with ``parameters`` as :func:`pyconv.plan.plan_max_unpool2d` wants them."""
    places = as_array(op, "indices", indices)
    x = as_array(op, "input", input)
    if array_kind(places) != array_kind(x):
        raise ArgumentError(f"{op}: indices must be a {array_kind(x)} array like the input")
    shape = tuple(places.shape) if x.ndim == 4 else (1, *places.shape)

    def make(input_shape: tuple[int, ...], dtype: str, itemsize: int, layout: str, *parameters: Any, op: str) -> Plan:
        plan = plan_max_unpool2d(input_shape, shape, dtype, itemsize, layout, *parameters, op=op)
        with registry.on_device_of(op, places):
            check_places(op, places, plan.out_size)
        return plan

    call = plan_call_pool2d(op, make, input, parameters, out)
    if call.out is not None:
        check_out(op, call.out, call.kind, call.plan.out_shape, call.plan.dtype, (places,), in_place=False)
    return call._replace(weight=places.reshape(call.x.shape))


def _plan(*, input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any, out: Any) -> Call:
    op = "max_unpool2d"
    parameters = (*unpool_parameters(op, kernel_size, stride, padding), unpool_output(op, output_size))
    return _plan_call(op, input, indices, parameters, out)


@planned_by(_plan)
def max_unpool2d(
    input: ArrayT,
    indices: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Amounts = 0,
    output_size: Sequence[SupportsIndex] | None = None,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> ArrayT:
    """Put the maxima of a max pooling back to where they were found, with zeros everywhere else.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        float32 or float64; any strides.
    indices : int64 array of the same shape
        ``y * W_out + x`` of each element in its output plane: what ``max_pool2d(..., return_indices=True)`` returns.
        Of elements with the same index one stays; in a max pooling's result they are equal.
    kernel_size : int or (int, int)
        The pooling's window, (height, width), in pixels.
    stride : int or (int, int), optional
        The pooling's step; by default the kernel size.
    padding : int, (int, int) or ((top, bottom), (left, right)), default 0
        The pooling's padding.
    output_size : (int, int) or a shape that ends in them, optional
        (H_out, W_out): the size of the pooling's input, where the formula gives another.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the input.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array, shape (N, C, H_out, W_out), or without N as the input
        ``H_out = (H - 1) * stride - top - bottom + kernel height``, or as ``output_size`` says, which may differ from
        that by less than the stride.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`; ShapeError too if an index lies outside of its plane.

    Notes
    -----
    Formula: torch.nn.MaxUnpool2d's documentation.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> x = np.array([[[[1, 9, 2, 0], [3, 4, 8, 5]]]], np.float32)
    >>> values, indices = F.max_pool2d(x, 2, return_indices=True)
    >>> F.max_unpool2d(values, indices, 2)
    array([[[[0., 9., 0., 0.],
             [0., 0., 8., 0.]]]], dtype=float32)
    """
    call = _plan(
        input=input,
        indices=indices,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        output_size=output_size,
        out=out,
    )
    return run(call, input, backend, Known(), ())


def _plan_lines(
    *, input: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any, out: Any
) -> Call:
    op = "max_unpool1d"
    parameters = (*unpool_parameters(op, kernel_size, stride, padding), unpool_output(op, output_size))
    x, target = to_lines(op, input, out)
    return _plan_call(op, x, as_lines(op, as_array(op, "indices", indices), "indices"), parameters, target)


@planned_by(_plan_lines)
def max_unpool1d(
    input: ArrayT,
    indices: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Amounts = 0,
    output_size: Size | None = None,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> ArrayT:
    """Put the maxima of a max pooling of lines back to where they were found, with zeros everywhere else.

    Parameters
    ----------
    input : array, shape (N, C, L) or (C, L)
        float32 or float64; any strides.
    indices : int64 array of the same shape
        The place of each element in its output line: what ``max_pool1d(..., return_indices=True)`` returns. Of elements
        with the same index one stays; in a max pooling's result they are equal.
    kernel_size : int or sequence of one
        The pooling's window, in elements.
    stride : int or sequence of one, optional
        The pooling's step; by default the kernel size.
    padding : int, sequence of one or ((left, right),), default 0
        The pooling's padding.
    output_size : int or a shape that ends in it, optional
        L_out: the length of the pooling's input, where the formula gives another.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the input.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array, shape (N, C, L_out), or without N as the input
        ``L_out = (L - 1) * stride - left - right + kernel length``, or as ``output_size`` says, which may differ from
        that by less than the stride.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`; ShapeError too if an index lies outside of its line.

    Notes
    -----
    Formula: torch.nn.MaxUnpool1d's documentation.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> values, indices = F.max_pool1d(np.array([[[1, 9, 2, 0]]], np.float32), 2, return_indices=True)
    >>> F.max_unpool1d(values, indices, 2)
    array([[[0., 9., 2., 0.]]], dtype=float32)
    """
    call = _plan_lines(
        input=input,
        indices=indices,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        output_size=output_size,
        out=out,
    )
    return from_lines(run(call, call.x, backend, Known(), ()), input, out)
