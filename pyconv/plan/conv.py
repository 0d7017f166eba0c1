"""The plan of a convolution: what is computed, with every size worked out and checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from ..errors import ArgumentError, ShapeError
from .arguments import LIMIT, SMALLER_OUTPUT, Pads, Pair, check_bytes, check_size, index, pads, pair, span
from .channels import axis_names, check_channels, shown
from .hashing import HashedOnce

__all__ = [
    "ALGORITHMS",
    "PADDING_MODES",
    "PRECISIONS",
    "ConvPlan",
    "check_algorithm",
    "check_padded",
    "check_precision",
    "conv_parameters",
    "padding_amounts",
    "plan_conv2d",
]

ALGORITHMS = ("auto", "direct", "winograd", "winograd_2", "winograd_4", "winograd_6", "fft", "measure")
"""What ``algorithm=`` may be: ``auto`` lets the backend choose, ``direct`` keeps to the plain sum of products,
``winograd`` asks for Winograd's, with output tiles of 2x2 or 4x4 pixels or of the size that is named, and is refused
where it cannot be used, ``fft`` for the fast Fourier transform, ``measure`` for the quickest by trial."""

PRECISIONS = ("fp32", "tf32")
"""What ``precision=`` may be: ``fp32`` is the precision of float32 sums, ``tf32`` lets a backend with tensor cores
round every factor to TF32's 11 bits first."""

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


@dataclass(frozen=True, slots=True)
class ConvPlan(HashedOnce):
    """A convolution with all its sizes: hashable, and valid by construction.

    Input is (batch, in_channels, *in_size), weight (out_channels, in_channels // groups, *kernel),
    output (batch, out_channels, *out_size). ``padding`` is ((top, bottom), (left, right)).
    ``layout`` tells how the input lies in memory: 'nchw', 'nhwc' or 'strided'.
    """

    __hash__ = HashedOnce.__hash__

    op: ClassVar[str] = "conv2d"

    dtype: str
    layout: str
    batch: int
    in_channels: int
    in_size: Pair
    out_channels: int
    out_size: Pair
    kernel: Pair
    stride: Pair
    padding: Pads
    dilation: Pair
    groups: int
    has_bias: bool
    algorithm: str
    keeps_weights: bool
    """The weights are prepared once and used again, as a layer does: then preparing them costs nothing."""
    precision: str = "fp32"
    """One of PRECISIONS; 'fp32' for all dtypes but float32."""

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.out_channels, *self.out_size)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the plain sum of products."""
        taps = self.in_channels // self.groups * self.kernel[0] * self.kernel[1]
        return 2 * self.batch * self.out_channels * self.out_size[0] * self.out_size[1] * taps


def conv_parameters(
    op: str, stride: Any, padding: Any, dilation: Any, groups: Any
) -> tuple[Pair, Pads | str, Pair, int]:
    """The parameters of a convolution that need no array to be checked, in one form."""
    steps = pair(op, "stride", stride, 1)
    padding = pads(op, padding)
    if padding == "same" and steps != (1, 1):
        raise ShapeError(
            f"{op}: padding='same' needs stride 1 (the output is as large as the input), got stride "
            f"{shown(op, steps)}; give the padding as numbers"
        )
    return steps, padding, pair(op, "dilation", dilation, 1), index(op, "groups", groups, 1, beyond=ArgumentError)


def check_algorithm(op: str, algorithm: Any) -> str:
    """``algorithm`` if it is one of ALGORITHMS."""
    if not isinstance(algorithm, str):
        raise ArgumentError(f"{op}: algorithm must be a str, got {type(algorithm).__name__} {algorithm!r}")
    if algorithm not in ALGORITHMS:
        raise ArgumentError(f"{op}: algorithm must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}")
    return algorithm


def check_precision(op: str, precision: Any) -> str | None:
    """``precision`` if it is one of PRECISIONS, or None, which leaves it to context and environment."""
    if precision is not None and not isinstance(precision, str):
        raise ArgumentError(f"{op}: precision must be a str or None, got {type(precision).__name__} {precision!r}")
    if precision is not None and precision not in PRECISIONS:
        raise ArgumentError(f"{op}: precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    return precision


def _same(kernel: int, dilation: int) -> Pair:
    total = span(kernel, dilation) - 1
    return total // 2, total - total // 2  # torch's rule: the odd one goes at the end


def padding_amounts(op: str, padding: Pads | str, mode: str, size: Pair, kernel: Pair, dilation: Pair) -> Pads:
    """Padding in numbers, checked against what a border of the image's own pixels can give."""
    if isinstance(padding, str):
        padding = (_same(kernel[0], dilation[0]), _same(kernel[1], dilation[1]))
    for axis, amount, length in zip(("height", "width"), padding, size, strict=True):
        most = {"reflect": length - 1, "circular": length}.get(mode, LIMIT if length else 0)
        if max(amount) > most:
            raise ShapeError(
                f"{op}: padding_mode={mode!r} can add at most {most} pixels to a {axis} of {length}, got {amount}"
            )
    return padding


def check_padded(op: str, shape: tuple[int, ...], itemsize: int, padding: Pads) -> None:
    """Refuse an input (N, C, H, W) whose padding could not be written out in memory."""
    grown = (*shape[:2], *(length + sum(amount) for length, amount in zip(shape[2:], padding, strict=True)))
    check_bytes(op, grown, itemsize, "the padded input")


def _extent(op: str, axis: str, size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """Output size along one axis."""
    room = size + padding[0] + padding[1] - span(kernel, dilation)
    if room < 0:
        raise ShapeError(
            f"{op}: the kernel is larger than the padded input along the {axis}: input {size} + padding "
            f"{padding[0]} + {padding[1]} = {size + sum(padding)}, but the kernel spans "
            f"dilation * (kernel - 1) + 1 = {dilation} * ({kernel} - 1) + 1 = {span(kernel, dilation)}; "
            f"use a smaller kernel or dilation, or at least {-room} more padding"
        )
    return room // stride + 1


@lru_cache(maxsize=1024)
def plan_conv2d(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    bias_shape: tuple[int, ...] | None,
    dtype: str,
    itemsize: int,
    layout: str,
    stride: Pair,
    padding: Pads | str,
    dilation: Pair,
    groups: int,
    algorithm: str,
    keeps_weights: bool,
    precision: str = "fp32",
    op: str = "conv2d",
) -> ConvPlan:
    """Check the shapes of a convolution and work out its output; ``op`` is named in errors.

    Shapes are (N, C, H, W) and (out_channels, in_channels / groups, kernel height, kernel width); the other
    parameters come from :func:`conv_parameters`, :func:`check_algorithm` and :func:`check_precision`. Formula:
    torch.nn.Conv2d's documentation.
    """
    out_channels = check_channels(op, input_shape, weight_shape, bias_shape, groups)
    batch, channels, *in_size = input_shape
    kernel, axes = weight_shape[2:], axis_names(op)
    if isinstance(padding, str):
        padding = (_same(kernel[0], dilation[0]), _same(kernel[1], dilation[1]))
    out_size = (
        _extent(op, axes[0], in_size[0], kernel[0], stride[0], padding[0], dilation[0]),
        _extent(op, axes[1], in_size[1], kernel[1], stride[1], padding[1], dilation[1]),
    )
    check_size(op, "the input", input_shape, itemsize)
    check_bytes(op, shown(op, (batch, out_channels, *out_size)), itemsize, advice=SMALLER_OUTPUT)
    return ConvPlan(
        dtype=dtype,
        layout=layout,
        batch=batch,
        in_channels=channels,
        in_size=(in_size[0], in_size[1]),
        out_channels=out_channels,
        out_size=out_size,
        kernel=(kernel[0], kernel[1]),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        has_bias=bias_shape is not None,
        algorithm=algorithm,
        keeps_weights=keeps_weights,
        precision=precision if dtype == "float32" else "fp32",
    )
