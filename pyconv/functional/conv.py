"""Convolution as a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import registry
from ..context import requested_precision
from ..errors import ArgumentError, ShapeError
from ..plan import (
    Amounts,
    Array,
    ArrayT,
    ConvPlan,
    Pads,
    Pair,
    Plan,
    Size,
    TransposedPlan,
    array_kind,
    as_array,
    as_batch,
    check_algorithm,
    check_out,
    check_padded,
    check_precision,
    conv_parameters,
    dtype_name,
    layout_of,
    padding_amounts,
    plan_conv2d,
    plan_conv_transpose2d,
    plan_fused,
    same_dtype,
)
from .call import Call, checked_out, planned_by, run
from .known import Known

__all__ = ["add_residual", "checked_residual", "conv2d", "pad2d", "plan_call_conv2d", "plan_call_conv_transpose2d"]

_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # torch's names to NumPy's
_known = Known()
_known_with_residual = Known()  # by pairs (input, residual)


def _arrays(op: str, input: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any, str, str]:
    """The arrays of a convolution, checked one by one; the input's kind and dtype."""
    x = as_array(op, "input", input)
    kind, dtype = array_kind(x), dtype_name(op, "input", x, half=True)
    weight = as_array(op, "weight", weight)
    same_dtype(op, dtype, "weight", weight, half=True)
    if bias is not None:
        bias = as_array(op, "bias", bias)
        same_dtype(op, dtype, "bias", bias, half=True)
    return as_batch(op, x), weight, bias, kind, dtype


def _planned(
    op: str,
    planner: Callable[..., ConvPlan | TransposedPlan],
    input: Any,
    weight: Any,
    bias: Any,
    parameters: tuple[Any, ...],
    out: Any,
    algorithm: str,
    keeps_weights: bool,
    precision: str | None,
    residual: Any = None,
) -> Call:
    """Check and plan a convolution of images; ``parameters`` are those that ``planner`` takes after the layout."""
    x, weight, bias, kind, dtype = _arrays(op, input, weight, bias)
    plan: Plan = planner(
        tuple(x.shape),
        tuple(weight.shape),
        None if bias is None else tuple(bias.shape),
        dtype,
        x.dtype.itemsize,
        layout_of(x),
        *parameters,
        check_algorithm(op, algorithm),
        keeps_weights,
        requested_precision(check_precision(op, precision)),
        op,
    )
    inputs = (x, weight) if bias is None else (x, weight, bias)
    batched = input.ndim == 4
    if residual is not None:
        assert isinstance(plan, ConvPlan)
        added = checked_residual(op, residual, kind, dtype, batched)
        plan, x = plan_fused(plan, tuple(added.shape)), (x, added)
    target = checked_out(op, out, kind, plan.out_shape, dtype, inputs, batched, residual)
    return Call(plan, x, kind, weight, bias, target, not batched, out)


def checked_residual(op: str, residual: Any, kind: str, dtype: str, batched: bool) -> Any:
    """What is added to a convolution, checked but for its shape, with a batch dimension."""
    added = as_array(op, "residual", residual)
    if array_kind(added) != kind:
        raise ArgumentError(f"{op}: residual must be a {kind} array like the input, got a {array_kind(added)} array")
    same_dtype(op, dtype, "residual", added, half=True)
    if added.ndim != 3 + batched:
        dimensions = "(N, C, H, W)" if batched else "(C, H, W)"
        raise ShapeError(f"{op}: residual must be {dimensions} as the input, got shape {tuple(added.shape)}")
    return added if batched else added[None]


def add_residual(op: str, result: Any, residual: Any, out: Any) -> Any:
    """``result + residual``, of one package, dtype and shape; ``out`` may be one of them, or None."""
    kind, dtype, shape = array_kind(result), dtype_name(op, "result", result, half=True), tuple(result.shape)
    if array_kind(residual) != kind:
        raise ArgumentError(f"{op}: a {array_kind(residual)} array cannot be added to a {kind} array")
    same_dtype(op, dtype, "residual", residual, half=True)
    if tuple(residual.shape) != shape:
        raise ShapeError(f"{op}: what is added has shape {tuple(residual.shape)}, not {shape}; it is not broadcast")
    if out is not None:
        check_out(op, out, kind, shape, dtype, (result, residual), in_place=True)
    with registry.on_device_of(op, result), np.errstate(all="ignore"):
        return np.add(result, residual, out=out)  # of another package's arrays, by that package's own


def plan_call_conv2d(
    input: Any,
    weight: Any,
    bias: Any,
    parameters: tuple[Pair, Pads | str, Pair, int],
    out: Any,
    algorithm: str,
    keeps_weights: bool = False,
    precision: str | None = None,
    op: str = "conv2d",
    residual: Any = None,
) -> Call:
    """Check and plan a convolution; ``parameters`` come from :func:`pyconv.plan.conv_parameters`.

    ``keeps_weights``: they will be prepared once for many calls. ``precision``: None leaves it to context and
    environment. ``op`` is named in errors.
    """
    planner = plan_conv2d
    return _planned(op, planner, input, weight, bias, parameters, out, algorithm, keeps_weights, precision, residual)


def plan_call_conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any,
    parameters: tuple[Pair, Pads, Pair, int, Pair],
    out: Any,
    algorithm: str,
    keeps_weights: bool = False,
    precision: str | None = None,
    op: str = "conv_transpose2d",
) -> Call:
    """The same for a transposed one; ``parameters`` come from :func:`pyconv.plan.transposed_parameters`."""
    planner = plan_conv_transpose2d
    return _planned(op, planner, input, weight, bias, parameters, out, algorithm, keeps_weights, precision)


def pad2d(x: Any, padding: Pads | str, mode: str, kernel: Pair, dilation: Pair, op: str = "conv2d") -> Any:
    """``x`` (N, C, H, W) with a border of its own pixels: mode 'reflect', 'replicate' or 'circular', as torch's."""
    amounts = padding_amounts(op, padding, mode, tuple(x.shape[2:]), kernel, dilation)
    check_padded(op, tuple(x.shape), x.dtype.itemsize, amounts)
    with registry.on_device_of(op, x):  # NumPy hands another package's array to that package's own pad
        return np.pad(x, ((0, 0), (0, 0), *amounts), mode=_PAD_MODES[mode])  # type: ignore[call-overload]


def _plan(
    *, input: Any, weight: Any, bias: Any, residual: Any, out: Any, algorithm: Any, precision: Any, **parameters: Any
) -> Call:
    checked = conv_parameters("conv2d", **parameters)
    return plan_call_conv2d(input, weight, bias, checked, out, algorithm, precision=precision, residual=residual)


@planned_by(_plan)
def conv2d(
    input: ArrayT,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: Amounts | str = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    residual: Array | None = None,
    out: ArrayT | None = None,
    backend: str | None = None,
    algorithm: str = "auto",
    precision: str | None = None,
) -> ArrayT:
    """2-D convolution (cross-correlation, as in torch) over an image of several channels.

    ``out[n, k, y, x] = bias[k] + sum over c, i, j of
    input[n, c, y * stride - top + i * dilation, x * stride - left + j * dilation] * weight[k, c, i, j]``,
    with zeros outside of the input; and ``+ residual[n, k, y, x]``, if one is given.

    Parameters
    ----------
    input : array, shape (N, C, H, W) or (C, H, W)
        float32 or float64; any strides. On the cuda backend also float16 or bfloat16, whose sums are kept in float32.
        For channels-last data pass the view ``np.moveaxis(x, -1, -3)``.
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
    residual : array, shape (N, out_channels, H_out, W_out), optional
        Added to the result, as at the end of a residual block. Of exactly the result's shape, without N where the
        input has none, and of its dtype; any strides.
    out : array, optional
        Written and returned; it must have the result's shape and dtype and share no memory with the inputs. It may be
        the ``residual`` itself, which the convolution is added to in place.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    algorithm : {'auto', 'direct', 'winograd', 'winograd_2', 'winograd_4', 'winograd_6', 'fft', 'measure'}
        'direct' keeps to the plain sum of products, also where 'auto' runs separable kernels in two passes; 'winograd'
        asks for Winograd's F(m x m, 3x3), for 3x3 kernels of stride 1, with m = 4 or 2, whichever is quicker;
        'winograd_2' and the like ask for one m. With m = 2 it takes 4/9 of the multiplications and errs half as much as
        direct sums, with m = 4 a quarter and errs about twice as much (of three channels five times), with m = 6, which
        is used only where it is named, a fifth and eight times as much. Where input channels times both strides are at
        most 256, 'auto' may also run other kernels of more than one and up to five times their stride so, with m = 5 to
        2: 5x5 with stride 1, 5x5 and 7x7 with stride 2, 11x11 with stride 4.
        'fft' asks for the fast Fourier transform, which 'auto' takes for large kernels that are not separable, in
        float32 (see Notes). 'measure' runs each algorithm that can do it once for a shape, on numbers of its own, and
        stays with the quickest: so the last bits may differ from one machine, number of threads or run to another.
        ``PYCONV_MEASURED`` names a file that keeps what was found.
    precision : {'fp32', 'tf32'}, optional
        Of products of float32 arrays; see :func:`pyconv.precision`, which gives it where this does not.

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
        If the backend that was named cannot run it. For half precision, where no backend takes it, an error that is
        a DTypeError too.

    Notes
    -----
    Formula: torch.nn.Conv2d's documentation.

    The weights are prepared at every call; :class:`pyconv.Conv2d` does that once, and so may choose another
    algorithm. The error of direct sums is bounded by a multiple of ``eps * sum of |input| |weight|`` for each output
    by itself; that of Winograd's follows the largest input within its tile of m + 2 pixels squared. Fourier
    transforms of float32 are computed in float64, and keep to the bound of direct sums; in float64, where only
    ``algorithm='fft'`` takes them, they err in proportion to the norm of a tile of some hundred pixels squared. Numbers
    below the smallest normal one may count as zero. Images and weights that are not finite are summed directly.

    Examples
    --------
    >>> import numpy as np, pyconv.functional as F
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> F.conv2d(x, np.ones((1, 1, 2, 2), np.float32), stride=2)
    array([[[[10., 18.],
             [42., 50.]]]], dtype=float32)
    """
    given = (stride, padding, dilation, groups, algorithm, precision, backend)
    known, found = (_known, input) if residual is None else (_known_with_residual, (input, residual))
    result = known.run(found, weight, bias, out, given)
    if result is not None:
        return result
    parameters = conv_parameters("conv2d", stride, padding, dilation, groups)
    call = plan_call_conv2d(input, weight, bias, parameters, out, algorithm, precision=precision, residual=residual)
    return run(call, found, backend, known, given)
