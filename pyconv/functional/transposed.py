"""Transposed convolution as a function."""

from __future__ import annotations

from typing import Any

from ..plan import (
    Amounts,
    Array,
    ArrayT,
    Size,
    transposed_parameters,
)
from .call import Call, planned_by, run
from .conv import plan_call_conv_transpose2d
from .known import Known

__all__ = ["conv_transpose2d"]

_OP = "conv_transpose2d"
_known = Known()


def _plan(*, input: Any, weight: Any, bias: Any, out: Any, algorithm: Any, precision: Any, **parameters: Any) -> Call:
    checked = transposed_parameters(_OP, **parameters)
    return plan_call_conv_transpose2d(input, weight, bias, checked, out, algorithm, precision=precision)


@planned_by(_plan)
def conv_transpose2d(
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
    """2-D transposed convolution: each input pixel spreads the kernel, times itself, over the output.

    ``out[n, k, Y, X] = bias[k] + sum of input[n, c, y, x] * weight[c, k, i, j]`` over all c, y, x, i, j with
    ``Y = y * stride - top + i * dilation`` and ``X = x * stride - left + j * dilation``.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        float32 or float64; any strides. For channels-last data pass the view ``np.moveaxis(x, -1, -3)``.
    weight : array, shape (C, out_channels // groups, kernel height, kernel width)
        Of the input's dtype.
    bias : array, shape (out_channels,), optional
    stride : int or (int, int), default 1
        Distance between the places to which two neighbouring pixels spread the kernel, in output pixels; at least 1.
    padding : int, (int, int), ((top, bottom), (left, right)) or 'valid', default 0
        Output pixels that are left away at the edges.
    output_padding : int or (int, int), default 0
        Output pixels more at the end of each axis; less than the stride or the dilation.
    groups : int, default 1
        Input and output channels are split into this many groups that do not see each other.
    dilation : int or (int, int), default 1
        Distance between the kernel's taps, in output pixels; at least 1.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the inputs.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    algorithm : {'auto', 'direct', 'winograd', 'winograd_2', 'winograd_4', 'winograd_6', 'fft', 'measure'}
        As in :func:`conv2d`, of the convolutions that it is made of.
    precision : {'fp32', 'tf32'}, optional
        As in :func:`conv2d`.

    Returns
    -------
    array, shape (N, out_channels, H_out, W_out), or without N as the input
        ``H_out = (H - 1) * stride - top - bottom + dilation * (kernel height - 1) + output_padding + 1``; contiguous,
        of the input's dtype and array type.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, TooLargeError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Formula: torch.nn.ConvTranspose2d's documentation.

    It is computed as ordinary convolutions of stride 1, one or more for the ``stride x stride`` places of an output
    pixel, with the errors of :func:`conv2d`. Nothing is multiplied but the input's own pixels: an infinite weight is
    seen where it belongs and nowhere else.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> x = np.array([[[[1, 2], [3, 4]]]], np.float32)
    >>> F.conv_transpose2d(x, np.ones((1, 1, 2, 2), np.float32), stride=2)[0, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.],
           [3., 3., 4., 4.],
           [3., 3., 4., 4.]], dtype=float32)
    """
    given = (stride, padding, output_padding, groups, dilation, algorithm, precision, backend)
    result = _known.run(input, weight, bias, out, given)
    if result is not None:
        return result
    parameters = transposed_parameters(_OP, stride, padding, output_padding, groups, dilation)
    call = plan_call_conv_transpose2d(input, weight, bias, parameters, out, algorithm, precision=precision)
    return run(call, input, backend, _known, given)
