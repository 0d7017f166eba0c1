"""The operations as functions, with torch's names and meanings: plan, select, prepare, run."""

from __future__ import annotations

from importlib import import_module
from time import perf_counter
from typing import Any, NamedTuple

from . import registry
from .plan import (
    Pads,
    Pair,
    Plan,
    array_kind,
    as_array,
    as_batch,
    check_algorithm,
    check_out,
    check_padded,
    conv_parameters,
    dtype_name,
    layout_of,
    padding_amounts,
    plan_conv2d,
    plan_elementwise,
    plan_max_pool2d,
    pool_parameters,
    same_dtype,
)
from .verbose import report, verbose

__all__ = ["conv2d", "max_pool2d", "relu", "sigmoid", "tanh"]


_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # torch's names to NumPy's


class Call(NamedTuple):
    """An operation that has been checked and planned, and not yet run."""

    plan: Plan
    x: Any
    kind: str
    weight: Any = None
    bias: Any = None
    out: Any = None
    squeeze: bool = False  # the input had no batch dimension, so the result has none
    given: Any = None  # out= as the caller has it, and gets it back

    def run(self, backend: registry.Backend, prepared: Any) -> Any:
        """Run it on the backend that was selected, with the weights that this backend prepared."""
        start = perf_counter() if verbose() else 0.0
        result = backend.run(self.plan, self.x, prepared, self.out)
        if verbose():
            report(backend, self.plan, perf_counter() - start)
        if self.squeeze:
            result = tuple(part[0] for part in result) if isinstance(result, tuple) else result[0]
            if self.given is not None:
                return (self.given, *result[1:]) if isinstance(result, tuple) else self.given
        return result


def _run(call: Call, backend: Any) -> Any:
    chosen = registry.select(call.plan, call.kind, backend)
    return call.run(chosen, chosen.prepare(call.plan, call.weight, call.bias))


def _checked_out(
    op: str, out: Any, kind: str, shape: tuple[int, ...], dtype: str, inputs: tuple[Any, ...], batched: bool
) -> Any:
    """``out`` as the backend gets it: checked against the result's shape, with a batch dimension."""
    if out is None:
        return None
    check_out(op, out, kind, shape if batched else shape[1:], dtype, inputs, in_place=False)
    return out if batched else out[None]


def plan_call_conv2d(
    input: Any,
    weight: Any,
    bias: Any,
    parameters: tuple[Pair, Pads | str, Pair, int],
    out: Any,
    algorithm: str,
    keeps_weights: bool = False,
) -> Call:
    """Check and plan a convolution; ``parameters`` come from :func:`pyconv.plan.conv_parameters`.

    ``keeps_weights``: they will be prepared once for many calls.
    """
    x = as_array("conv2d", "input", input)
    kind, dtype = array_kind(x), dtype_name("conv2d", "input", x)
    weight = as_array("conv2d", "weight", weight)
    same_dtype("conv2d", dtype, "weight", weight)
    if bias is not None:
        bias = as_array("conv2d", "bias", bias)
        same_dtype("conv2d", dtype, "bias", bias)
    x = as_batch("conv2d", x)
    plan = plan_conv2d(
        tuple(x.shape),
        tuple(weight.shape),
        None if bias is None else tuple(bias.shape),
        dtype,
        x.dtype.itemsize,
        layout_of(x),
        *parameters,
        check_algorithm("conv2d", algorithm),
        keeps_weights,
    )
    inputs = (x, weight) if bias is None else (x, weight, bias)
    batched = input.ndim == 4
    target = _checked_out("conv2d", out, kind, plan.out_shape, dtype, inputs, batched)
    return Call(plan, x, kind, weight, bias, target, not batched, out)


def plan_call_max_pool2d(input: Any, parameters: tuple[Pair, Pair, Pads, Pair, bool, bool], out: Any) -> Call:
    """Check and plan a max pooling; ``parameters`` come from :func:`pyconv.plan.pool_parameters`."""
    x = as_array("max_pool2d", "input", input)
    kind, dtype = array_kind(x), dtype_name("max_pool2d", "input", x)
    x = as_batch("max_pool2d", x)
    plan = plan_max_pool2d(tuple(x.shape), dtype, x.dtype.itemsize, layout_of(x), *parameters)
    batched = input.ndim == 4
    target = _checked_out("max_pool2d", out, kind, plan.out_shape, dtype, (x,), batched)
    return Call(plan, x, kind, out=target, squeeze=not batched, given=out)


def plan_call_activation(op: str, input: Any, out: Any) -> Call:
    """Check and plan the activation called ``op``."""
    x = as_array(op, "input", input)
    kind, dtype = array_kind(x), dtype_name(op, "input", x)
    plan = plan_elementwise(op, tuple(x.shape), dtype)
    if out is not None:
        check_out(op, out, kind, plan.out_shape, dtype, (x,), in_place=True)
    return Call(plan, x, kind, out=out)


def pad2d(x: Any, padding: Pads | str, mode: str, kernel: Pair, dilation: Pair) -> Any:
    """``x`` (N, C, H, W) with a border of its own pixels: mode 'reflect', 'replicate' or 'circular', as torch's."""
    namespace = import_module(array_kind(x))  # numpy or cupy: their pad is the same function
    amounts = padding_amounts("conv2d", padding, mode, tuple(x.shape[2:]), kernel, dilation)
    check_padded("conv2d", tuple(x.shape), x.dtype.itemsize, amounts)
    return namespace.pad(x, ((0, 0), (0, 0), *amounts), mode=_PAD_MODES[mode])


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    out: Any = None,
    backend: str | None = None,
    algorithm: str = "auto",
) -> Any:
    """2-D convolution (cross-correlation, as in torch) over an image of several channels.

    ``out[n, k, y, x] = bias[k] + sum over c, i, j of
    input[n, c, y * stride - top + i * dilation, x * stride - left + j * dilation] * weight[k, c, i, j]``,
    with zeros outside of the input.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        float32 or float64; any strides. For channels-last data pass the view ``np.moveaxis(x, -1, -3)``.
    weight : array, shape (out_channels, C // groups, kernel height, kernel width)
        Of the input's dtype.
    bias : array, shape (out_channels,), optional
    stride : int or (int, int), default 1
        Step of the window along (height, width), in pixels; at least 1.
    padding : int, (int, int), ((top, bottom), (left, right)), 'valid' or 'same', default 0
        Zeros added around the input, in pixels. 'same' keeps the size, for stride 1; the odd one goes to the end.
    dilation : int or (int, int), default 1
        Distance between the kernel's taps, in pixels; at least 1.
    groups : int, default 1
        Input and output channels are split into this many groups that do not see each other.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the inputs.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    algorithm : {'auto', 'direct', 'winograd'}, default 'auto'
        'direct' keeps to the plain sum of products; 'winograd' asks for F(4x4, 3x3), for 3x3 kernels of stride 1,
        which takes a quarter of the multiplications and errs about twice as much.

    Returns
    -------
    array, shape (N, out_channels, H_out, W_out), or without N as the input
        ``H_out = (H + top + bottom - dilation * (kernel height - 1) - 1) // stride + 1``; contiguous, of the
        input's dtype and array type.

    Raises
    ------
    ShapeError
        If shapes or parameters do not fit; the message has the formula with its numbers.
    DTypeError, ArgumentError
        If a dtype or a Python type is not usable.
    OutputError
        If ``out`` cannot take the result.
    TooLargeError
        If the result would not fit in memory.
    BackendError
        If the backend that was named cannot run it.

    Notes
    -----
    Formula: torch.nn.Conv2d's documentation.

    The weights are prepared at every call; :class:`pyconv.Conv2d` does that once, and so may choose another
    algorithm. The error of direct sums is bounded by a multiple of ``eps * sum of |input| |weight|`` for each output
    by itself; that of Winograd's follows the largest input within its tile of 6 x 6 pixels. Numbers below the
    smallest normal one may count as zero. Images and weights that are not finite are summed directly.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> F.conv2d(x, np.ones((1, 1, 2, 2), np.float32), stride=2)
    array([[[[10., 18.],
             [42., 50.]]]], dtype=float32)
    """
    parameters = conv_parameters("conv2d", stride, padding, dilation, groups)
    return _run(plan_call_conv2d(input, weight, bias, parameters, out, algorithm), backend)


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
    parameters = pool_parameters("max_pool2d", kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return _run(plan_call_max_pool2d(input, parameters, out), backend)


def relu(input: Any, *, out: Any = None, backend: str | None = None) -> Any:
    """Rectified linear unit, ``max(x, 0)``; NaN stays NaN.

    Parameters
    ----------
    input : array of any shape, 0-d included
        float32 or float64; any strides.
    out : array, optional
        Written and returned; it may be ``input`` itself.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array of the input's shape and dtype

    Raises
    ------
    DTypeError, ArgumentError, OutputError, BackendError
        As :func:`conv2d`.
    """
    return _run(plan_call_activation("relu", input, out), backend)


def sigmoid(input: Any, *, out: Any = None, backend: str | None = None) -> Any:
    """Logistic function, ``1 / (1 + exp(-x))``; within 2 ulp in float32.

    Parameters
    ----------
    input : array of any shape, 0-d included
        float32 or float64; any strides.
    out : array, optional
        Written and returned; it may be ``input`` itself.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array of the input's shape and dtype

    Raises
    ------
    DTypeError, ArgumentError, OutputError, BackendError
        As :func:`conv2d`.
    """
    return _run(plan_call_activation("sigmoid", input, out), backend)


def tanh(input: Any, *, out: Any = None, backend: str | None = None) -> Any:
    """Hyperbolic tangent; within 2 ulp in float32.

    Parameters
    ----------
    input : array of any shape, 0-d included
        float32 or float64; any strides.
    out : array, optional
        Written and returned; it may be ``input`` itself.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array of the input's shape and dtype

    Raises
    ------
    DTypeError, ArgumentError, OutputError, BackendError
        As :func:`conv2d`.
    """
    return _run(plan_call_activation("tanh", input, out), backend)
