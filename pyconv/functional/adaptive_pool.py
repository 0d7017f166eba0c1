"""Adaptive pooling as functions: the output's size is given, and the windows follow."""

from __future__ import annotations

from typing import Any, Literal, overload

from ..plan import (
    ArrayT,
    OutputSize,
    adaptive_parameters,
    check_flag,
    plan_adaptive_pool2d,
)
from .call import Call, planned_by, run
from .known import Known
from .pool import plan_call_pool2d

__all__ = ["adaptive_avg_pool2d", "adaptive_max_pool2d"]

_known_avg = Known()
_known_max = Known()


def _plan_avg(*, input: Any, output_size: Any, out: Any) -> Call:
    op = "adaptive_avg_pool2d"
    return plan_call_pool2d(op, plan_adaptive_pool2d, input, (adaptive_parameters(op, output_size), False), out)


@planned_by(_plan_avg)
def adaptive_avg_pool2d(
    input: ArrayT, output_size: OutputSize, *, out: ArrayT | None = None, backend: str | None = None
) -> ArrayT:
    """2-D average pooling to a size that is given; 1 is the mean of each plane.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        float32 or float64; any strides.
    output_size : int, None or a pair of them
        (H_out, W_out), in pixels; None is the input's own.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the input.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array, shape (N, C, H_out, W_out), or without N as the input
        Row ``i`` is the mean of the input's rows from ``floor(i * H / H_out)`` up to ``ceil((i + 1) * H / H_out)``, and
        so are the columns. Channels-last in memory if the input is, else contiguous.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.AdaptiveAvgPool2d.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> F.adaptive_avg_pool2d(np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3), (1, 2))
    array([[[[2., 3.]]]], dtype=float32)
    """
    given = (output_size, backend)
    result = _known_avg.run(input, None, None, out, given)
    if result is not None:
        return result
    return run(_plan_avg(input=input, output_size=output_size, out=out), input, backend, _known_avg, given)


def _plan_max(*, input: Any, output_size: Any, return_indices: Any, out: Any) -> Call:
    op = "adaptive_max_pool2d"
    parameters = (adaptive_parameters(op, output_size), check_flag(op, "return_indices", return_indices))
    return plan_call_pool2d(op, plan_adaptive_pool2d, input, parameters, out)


@overload
def adaptive_max_pool2d(
    input: ArrayT,
    output_size: OutputSize,
    return_indices: Literal[False] = False,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> ArrayT: ...
@overload
def adaptive_max_pool2d(
    input: ArrayT,
    output_size: OutputSize,
    return_indices: Literal[True],
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> tuple[ArrayT, Any]: ...
@overload
def adaptive_max_pool2d(
    input: ArrayT,
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> Any: ...
@planned_by(_plan_max)
def adaptive_max_pool2d(
    input: ArrayT,
    output_size: OutputSize,
    return_indices: bool = False,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> Any:
    """2-D max pooling to a size that is given; NaN if the window has one.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        float32 or float64; any strides.
    output_size : int, None or a pair of them
        (H_out, W_out), in pixels; None is the input's own.
    return_indices : bool, default False
        Also return where each maximum lies.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the input.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array, shape (N, C, H_out, W_out), or without N as the input
        Windows and order in memory as in :func:`adaptive_avg_pool2d`.
    indices : int64 array of the same shape, if ``return_indices``
        As :func:`max_pool2d` returns them.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.AdaptiveMaxPool2d.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> F.adaptive_max_pool2d(np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3), (1, 2))
    array([[[[4., 5.]]]], dtype=float32)
    """
    given = (output_size, return_indices, backend)
    result = _known_max.run(input, None, None, out, given)
    if result is not None:
        return result
    call = _plan_max(input=input, output_size=output_size, return_indices=return_indices, out=out)
    return run(call, input, backend, _known_max, given)
