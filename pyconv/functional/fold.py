"""Windows of an image as columns, and back, as functions."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import numpy as np

from ..errors import ShapeError
from ..plan import (
    Amounts,
    Array,
    Pads,
    Pair,
    Size,
    array_kind,
    as_array,
    as_batch,
    dtype_name,
    fold_parameters,
    pair,
    plan_fold,
    plan_unfold,
)
from .call import Call, checked_out, planned_by, run
from .known import Known

__all__ = ["fold", "plan_call_fold", "plan_call_unfold", "unfold"]

Windows = tuple[Pair, Pair, Pads, Pair]

_Number = TypeVar("_Number", bound=np.generic)
_NumPyArray = np.ndarray[tuple[Any, ...], np.dtype[_Number]]  # the result has another number of dimensions


def plan_call_unfold(input: Any, parameters: Windows, out: Any) -> Call:
    """Check and plan an unfold; ``parameters`` come from :func:`pyconv.plan.fold_parameters`."""
    given = as_array("unfold", "input", input)
    kind, dtype = array_kind(given), dtype_name("unfold", "input", given)
    x = as_batch("unfold", given)
    plan = plan_unfold(tuple(x.shape), dtype, x.dtype.itemsize, *parameters)
    batched = given.ndim == 4
    target = checked_out("unfold", out, kind, plan.out_shape, dtype, (x,), batched)
    return Call(plan, x, kind, out=target, squeeze=not batched, given=out)


def plan_call_fold(input: Any, size: Pair, parameters: Windows, out: Any) -> Call:
    """Check and plan a fold to an image of ``size``."""
    given = as_array("fold", "input", input)
    kind, dtype = array_kind(given), dtype_name("fold", "input", given)
    if given.ndim not in (2, 3):
        raise ShapeError(
            f"fold: input must be (N, C * taps, L) or (C * taps, L), got {given.ndim} dimensions: shape "
            f"{tuple(given.shape)}"
        )
    batched = given.ndim == 3
    x = given if batched else given[None]
    plan = plan_fold(tuple(x.shape), dtype, x.dtype.itemsize, size, *parameters)
    target = checked_out("fold", out, kind, plan.out_shape, dtype, (x,), batched)
    return Call(plan, x, kind, out=target, squeeze=not batched, given=out)


def _plan_unfold(*, input: Any, out: Any, **parameters: Any) -> Call:
    return plan_call_unfold(input, fold_parameters("unfold", **parameters), out)


def _plan_fold(*, input: Any, output_size: Any, out: Any, **parameters: Any) -> Call:
    size = pair("fold", "output_size", output_size, 1)
    return plan_call_fold(input, size, fold_parameters("fold", **parameters), out)


@overload
def unfold(
    input: _NumPyArray[_Number],
    kernel_size: Size,
    dilation: Size = 1,
    padding: Amounts | str = 0,
    stride: Size = 1,
    *,
    out: _NumPyArray[_Number] | None = None,
    backend: str | None = None,
) -> _NumPyArray[_Number]: ...
@overload
def unfold(
    input: Array,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Amounts | str = 0,
    stride: Size = 1,
    *,
    out: Any = None,
    backend: str | None = None,
) -> Any: ...
@planned_by(_plan_unfold)
def unfold(
    input: Array,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Amounts | str = 0,
    stride: Size = 1,
    *,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Every window of an image, written out as a column.

    ``out[n, (c * kernel height + i) * kernel width + j, y * columns + x] =
    input[n, c, y * stride - top + i * dilation, x * stride - left + j * dilation]``, zero outside of the input.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        float32 or float64; any strides.
    kernel_size : int or (int, int)
        The window's (height, width), in pixels.
    dilation : int or (int, int), default 1
        Distance between the window's elements, in pixels.
    padding : int, (int, int), ((top, bottom), (left, right)) or 'valid', default 0
        Zeros added around the input, in pixels.
    stride : int or (int, int), default 1
        Step of the window, in pixels.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the input.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array, shape (N, C * kernel height * kernel width, windows), or without N as the input

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.
    """
    parameters = fold_parameters("unfold", kernel_size, dilation, padding, stride)
    return run(plan_call_unfold(input, parameters, out), input, backend, Known(), ())


@overload
def fold(
    input: _NumPyArray[_Number],
    output_size: Size,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Amounts | str = 0,
    stride: Size = 1,
    *,
    out: _NumPyArray[_Number] | None = None,
    backend: str | None = None,
) -> _NumPyArray[_Number]: ...
@overload
def fold(
    input: Array,
    output_size: Size,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Amounts | str = 0,
    stride: Size = 1,
    *,
    out: Any = None,
    backend: str | None = None,
) -> Any: ...
@planned_by(_plan_fold)
def fold(
    input: Array,
    output_size: Size,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Amounts | str = 0,
    stride: Size = 1,
    *,
    out: Any = None,
    backend: str | None = None,
) -> Any:
    """Columns added up to an image: each element goes where :func:`unfold` would have taken it from.

    Parameters
    ----------
    input : array, shape (N, C * kernel height * kernel width, windows), or without N
        float32 or float64; any strides.
    output_size : int or (int, int)
        The image's (height, width), in pixels.
    kernel_size, dilation, padding, stride
        As for :func:`unfold`; what lies in the padding is left away.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the input.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array, shape (N, C, H, W), or without N as the input

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    The sums are kept in the input's dtype: an element of ``n`` terms errs by at most ``n * eps * sum of |terms|``.
    """
    size = pair("fold", "output_size", output_size, 1)
    parameters = fold_parameters("fold", kernel_size, dilation, padding, stride)
    return run(plan_call_fold(input, size, parameters, out), input, backend, Known(), ())
