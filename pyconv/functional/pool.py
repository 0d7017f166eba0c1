"""Pooling as functions."""

from __future__ import annotations

from typing import Any

from ..plan import Pads, Pair, array_kind, as_array, as_batch, dtype_name, layout_of, plan_max_pool2d, pool_parameters
from .call import Call, checked_out, planned_by, run
from .known import Known

__all__ = ["max_pool2d", "plan_call_max_pool2d"]

_known = Known()


def plan_call_max_pool2d(input: Any, parameters: tuple[Pair, Pair, Pads, Pair, bool, bool], out: Any) -> Call:
    """Check and plan a max pooling; ``parameters`` come from :func:`pyconv.plan.pool_parameters`."""
    x = as_array("max_pool2d", "input", input)
    kind, dtype = array_kind(x), dtype_name("max_pool2d", "input", x)
    x = as_batch("max_pool2d", x)
    plan = plan_max_pool2d(tuple(x.shape), dtype, x.dtype.itemsize, layout_of(x), *parameters)
    batched = input.ndim == 4
    target = checked_out("max_pool2d", out, kind, plan.out_shape, dtype, (x,), batched)
    return Call(plan, x, kind, out=target, squeeze=not batched, given=out)


def _plan(*, input: Any, out: Any, **parameters: Any) -> Call:
    return plan_call_max_pool2d(input, pool_parameters("max_pool2d", **parameters), out)


@planned_by(_plan)
def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Any = None,
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
        -inf added around the input, in pixels. As an int or a pair at most half of the window (torch's rule), in
        the long form anything below the window (ONNX's rule).
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
    indices : int64 array of the same shape, if ``return_indices``
        ``y * W + x`` in the unpadded plane: the first of equal elements, the last NaN (as torch chooses).

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
    return run(plan_call_max_pool2d(input, parameters, out), input, backend, _known, given)
