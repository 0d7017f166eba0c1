"""Batch normalisation at inference, as a function."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import registry
from ..errors import ArgumentError
from ..plan import (
    Array,
    ArrayT,
    array_kind,
    as_array,
    as_batch,
    check_flag,
    check_out,
    dtype_name,
    number,
    plan_batch_norm,
    same_dtype,
)
from .call import Call, planned_by, run
from .known import Known

__all__ = ["batch_norm", "plan_call_batch_norm", "scale_and_shift"]


def scale_and_shift(running_mean: Any, running_var: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, Any]:
    """Batch normalisation as ``x * scale + shift``: both for each channel, in float64."""
    with np.errstate(all="ignore"):
        scale = 1.0 / np.sqrt(running_var.astype(np.float64) + eps)
        if weight is not None:
            scale = scale * weight
        shift = -running_mean * scale
    return scale, shift if bias is None else shift + bias


def plan_call_batch_norm(input: Any, statistics: dict[str, Any], eps: float, out: Any, images: bool = False) -> Call:
    """Check and plan a batch normalisation by ``statistics``: running_mean, running_var, weight and bias.

    ``images``: the input is (N, C, H, W) or (C, H, W), not (N, C, ...).
    """
    op = "batch_norm"
    x = given = as_array(op, "input", input)
    kind, dtype = array_kind(x), dtype_name(op, "input", x)
    x = as_batch(op, x) if images else x
    arrays = {}
    for name, value in statistics.items():
        if value is None and name in ("weight", "bias"):
            continue
        arrays[name] = as_array(op, name, value)
        same_dtype(op, dtype, name, arrays[name])
        found, first = array_kind(arrays[name]), array_kind(arrays["running_mean"])
        if found != first:
            raise ArgumentError(
                f"{op}: running_mean is a {first} array but {name} a {found} one; pass all of them as the same kind"
            )
    plan = plan_batch_norm(tuple(x.shape), tuple((name, tuple(array.shape)) for name, array in arrays.items()), dtype)
    squeeze = x.ndim != given.ndim
    if out is not None:
        check_out(op, out, kind, tuple(given.shape), dtype, (given,), in_place=True)
        check_out(op, out, kind, tuple(given.shape), dtype, tuple(arrays.values()), in_place=False)
    mean, variance = arrays["running_mean"], arrays["running_var"]
    with registry.on_device_of(op, *arrays.values()):
        scale, shift = scale_and_shift(mean, variance, arrays.get("weight"), arrays.get("bias"), eps)
    return Call(plan, x, kind, scale, shift, out[None] if squeeze and out is not None else out, squeeze, out)


def _plan(*, input: Any, training: Any, momentum: Any, eps: Any, out: Any, **statistics: Any) -> Call:
    if check_flag("batch_norm", "training", training):
        raise ArgumentError(
            "batch_norm: training=True would normalise by the batch's own mean and variance; pyconv only runs networks "
            "that are trained: pass running_mean and running_var, and training=False"
        )
    number("batch_norm", "momentum", 0.0 if momentum is None else momentum)
    return plan_call_batch_norm(input, statistics, number("batch_norm", "eps", eps, "not negative"), out)


@planned_by(_plan)
def batch_norm(
    input: ArrayT,
    running_mean: Array,
    running_var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    out: ArrayT | None = None,
    backend: str | None = None,
) -> ArrayT:
    """Batch normalisation at inference: ``(x - running_mean) / sqrt(running_var + eps) * weight + bias``, by channels.

    Parameters
    ----------
    input : array, shape (N, C, ...)
        float32 or float64; any strides. Its second dimension are the channels.
    running_mean, running_var : array, shape (C,)
        Of the input's dtype.
    weight, bias : array, shape (C,), optional
        Of the input's dtype; without them 1 and 0.
    training : bool, default False
        Only False: True is refused.
    momentum : float, default 0.1
        Of no use at inference; it is there because torch has it.
    eps : float, default 1e-5
        Added to the variance; not negative.
    out : array, optional
        Written and returned; it may be ``input`` itself.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    array of the input's shape and dtype

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, BackendError
        As :func:`conv2d`.

    Notes
    -----
    Computed as ``x * scale + shift``, with ``scale = weight / sqrt(running_var + eps)`` and ``shift = bias -
    running_mean * scale`` worked out in float64 and rounded once. The error is at most ``2 * eps * (|x * scale| +
    |shift|)``, with the eps of the dtype; a scale that is too large for the dtype is infinite.

    Formula: torch.nn.BatchNorm2d's documentation.
    """
    call = _plan(
        input=input,
        running_mean=running_mean,
        running_var=running_var,
        weight=weight,
        bias=bias,
        training=training,
        momentum=momentum,
        eps=eps,
        out=out,
    )
    return run(call, input, backend, Known(), ())
