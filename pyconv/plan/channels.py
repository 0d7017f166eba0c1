"""Checking the arrays of a convolution against each other: channels, groups, kernel, bias. Of every kind of them."""

from __future__ import annotations

from ..errors import ShapeError
from .arguments import LIMIT

__all__ = ["axis_names", "check_channels", "shown"]


def axis_names(op: str) -> tuple[str, str]:
    """What the two axes of an operation's images are called; those of a 1-D one are lines of height 1."""
    return ("height", "length") if op.endswith("1d") else ("height", "width")


def shown(op: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape as the caller of ``op`` has it: without the height of lines."""
    return (*shape[:-2], *shape[-1:]) if op.endswith("1d") else shape


def check_channels(
    op: str,
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    bias_shape: tuple[int, ...] | None,
    groups: int,
    transposed: bool = False,
) -> int:
    """The output channels of a convolution, whose arrays fit each other and have pixels.

    Shapes are (N, C, H, W) and (out_channels, in_channels / groups, kernel height, kernel width), ``transposed``
    (in_channels, out_channels / groups, ...).
    """
    weight_is, first = shown(op, weight_shape), "input" if transposed else "output"
    if len(weight_shape) != 4:
        sizes = "kernel length" if op.endswith("1d") else "kernel height, kernel width"
        channels = "in_channels, out_channels / groups" if transposed else "out_channels, in_channels / groups"
        dimensions = 3 if op.endswith("1d") else 4
        raise ShapeError(
            f"{op}: weight must have {dimensions} dimensions ({channels}, {sizes}), got {len(weight_is)}: "
            f"shape {weight_is}"
        )
    if 0 in weight_shape:
        raise ShapeError(f"{op}: weight has a dimension of size zero: shape {weight_is}; each must be at least 1")
    if max(weight_shape) > LIMIT:
        raise ShapeError(f"{op}: every dimension of weight must be below 2**31, got shape {weight_is}")
    if weight_shape[0] % groups:
        raise ShapeError(
            f"{op}: groups must divide the {first} channels: {weight_shape[0]} % {groups} = "
            f"{weight_shape[0] % groups}; choose groups among the divisors of both channel numbers"
        )
    expected = weight_shape[0] if transposed else weight_shape[1] * groups
    if input_shape[1] != expected:
        raise ShapeError(_wrong_channels(op, input_shape, weight_shape, groups, expected, transposed))
    out_channels = weight_shape[1] * groups if transposed else weight_shape[0]
    if bias_shape is not None and bias_shape != (out_channels,):
        raise ShapeError(
            f"{op}: bias must have shape (out_channels,) = ({out_channels},), got {bias_shape}; "
            "pass one number for each output channel, or None"
        )
    if 0 in input_shape[2:]:
        raise ShapeError(f"{op}: input has no pixels: shape {shown(op, input_shape)} (only the batch may be zero)")
    return out_channels


def _wrong_channels(
    op: str,
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    groups: int,
    expected: int,
    transposed: bool,
) -> str:
    takes = (
        f"takes {expected}" if transposed else f"with groups={groups} takes {weight_shape[1]} * {groups} = {expected}"
    )
    message = (
        f"{op}: input of shape {shown(op, input_shape)} has {input_shape[1]} channels, weight of shape "
        f"{shown(op, weight_shape)} {takes}"
    )
    if input_shape[3] == expected:
        form, back = ("(N, L, C)", "-2") if op.endswith("1d") else ("(N, H, W, C)", "-3")
        message += (
            f"; the last dimension is {expected}, so this looks like channels-last {form} data: "
            f"pass np.moveaxis(x, -1, {back}), a view that costs nothing"
        )
    elif transposed:
        message += f"; give the input {expected} channels, or weight {input_shape[1]} in its first dimension"
    elif weight_shape[1] and input_shape[1] % weight_shape[1] == 0:
        message += f"; with groups={input_shape[1] // weight_shape[1]} they would fit"
    else:
        message += f"; give the input {expected} channels, or weight {input_shape[1]} / groups in its second dimension"
    return message
