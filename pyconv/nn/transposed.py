"""Transposed convolution layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

from ..errors import ArgumentError, PyconvError
from ..functional.call import Call
from ..functional.conv import plan_call_conv_transpose2d
from ..functional.lines import from_lines
from ..plan import (
    Amounts,
    ArrayT,
    Pair,
    Size,
    as_array,
    as_batch,
    line_padding,
    output_padding_for,
    pair,
    shown,
    single,
    transposed_parameters,
)
from ..registry import select
from .conv_base import ConvBase, shown_padding
from .lines import Lines

__all__ = ["ConvTranspose1d", "ConvTranspose2d"]


class _ConvTranspose(ConvBase):
    """What 1-D and 2-D transposed convolution share."""

    _transposed = True

    def _start(
        self, channels: tuple[Any, Any], kernel: Pair, parameters: tuple[Any, ...], padding_mode: Any, **more: Any
    ) -> None:
        """``parameters`` in the order of :func:`pyconv.plan.transposed_parameters`."""
        self._parameters = transposed_parameters(self._name, *parameters)
        stride, pads, output_padding, groups, dilation = self._parameters
        if padding_mode != "zeros":
            raise ArgumentError(f"{self._name}: padding_mode must be 'zeros', got {padding_mode!r}")
        self.padding_mode = padding_mode
        self.padding = shown_padding(self._op, pads)
        self.output_padding = shown(self._op, output_padding)
        self._begin(channels, kernel, stride, pads, dilation, groups, **more)

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return self._plan(input, out, self._parameters)

    def _plan(self, input: Any, out: Any, parameters: Any) -> Call:
        more = (self.algorithm, True, self.precision, self._op)
        return plan_call_conv_transpose2d(input, self._weight, self._bias, parameters, out, *more)

    def _sized(self, input: Any, output_size: Any, out: Any) -> Any:
        """The result for images, as large as ``output_size`` says."""
        stride, pads, _, groups, dilation = self._parameters
        try:
            x = as_batch(self._op, as_array(self._op, "input", input))
            more = output_padding_for(self._op, output_size, x.shape[2:], self._kernel, stride, pads, dilation)
            call = self._plan(input, out, (stride, pads, more, groups, dilation))
            backend = select(call.plan, call.kind, self.backend)
            return call.run(backend, self._prepared(call, backend))
        except PyconvError as error:
            error.prefix(repr(self))
            raise


class ConvTranspose2d(_ConvTranspose):
    """2-D transposed convolution over an image of several channels; see :func:`pyconv.functional.conv_transpose2d`.

    A call takes ``output_size=(height, width)`` besides, or a shape that ends so: then ``output_padding`` is what gives
    this size.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int or (int, int)
        The kernel's (height, width), in pixels.
    stride : int or (int, int), default 1
        Distance between the places to which two neighbouring pixels spread the kernel, in output pixels.
    padding : int, (int, int), ((top, bottom), (left, right)) or 'valid', default 0
        Output pixels that are left away at the edges.
    output_padding : int or (int, int), default 0
        Output pixels more at the end of each axis; less than the stride or the dilation.
    groups : int, default 1
        Groups of channels that do not see each other; it divides both channel numbers.
    bias : bool, default True
        Add a number to each output channel.
    dilation : int or (int, int), default 1
        Distance between the kernel's taps, in output pixels.
    padding_mode : {'zeros'}, default 'zeros'
        There is no other; it is there because torch has it.
    dtype, backend, algorithm, precision, rng
        As for :class:`Conv2d`.

    Attributes
    ----------
    weight : array, shape (in_channels, out_channels // groups, kernel height, kernel width)
        Read-only; assign a new array to change it.
    bias : array, shape (out_channels,), or None
        Read-only; assign a new array to change it.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        If a parameter is not usable.

    Notes
    -----
    Initial weights and biases are uniform in ±1 / sqrt(fan_in), fan_in = out_channels / groups * kernel height *
    kernel width: torch's default.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> up = pyconv.ConvTranspose2d(8, 3, 3, stride=2, padding=1, rng=0)
    >>> x = np.zeros((1, 8, 10, 10), np.float32)
    >>> up(x).shape, up(x, output_size=(20, 20)).shape
    ((1, 3, 19, 19), (1, 3, 20, 20))
    """

    plans_alike = True

    _name, _op = "ConvTranspose2d", "conv_transpose2d"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Amounts | str = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        *,
        dtype: Any = None,
        backend: str | None = None,
        algorithm: str = "auto",
        precision: str | None = None,
        rng: Any = None,
    ) -> None:
        self._start(
            (in_channels, out_channels),
            pair("ConvTranspose2d", "kernel_size", kernel_size, 1),
            (stride, padding, output_padding, groups, dilation),
            padding_mode,
            bias=bias,
            dtype=dtype,
            backend=backend,
            algorithm=algorithm,
            precision=precision,
            rng=rng,
        )

    def __call__(
        self, input: ArrayT, output_size: Sequence[SupportsIndex] | None = None, *, out: ArrayT | None = None
    ) -> ArrayT:
        """Run the layer on ``input``; ``out`` is written and returned if it is given."""
        if output_size is not None:
            return self._sized(input, output_size, out)
        return super().__call__(input, out=out)

    def forward(self, input: Any, output_size: Any = None, *, out: Any = None) -> Any:
        return ConvTranspose2d.__call__(self, input, output_size, out=out)


class ConvTranspose1d(Lines, _ConvTranspose):
    """1-D transposed convolution over lines of several channels; see :func:`pyconv.functional.conv_transpose1d`.

    As :class:`ConvTranspose2d`, for inputs (N, C, L) or (C, L); ints may also be sequences of one. A call takes
    ``output_size=(length,)`` besides, or a shape that ends so.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int
        The kernel's length.
    stride : int, default 1
        Distance between the places to which two neighbouring elements spread the kernel.
    padding : int, ((left, right),) or 'valid', default 0
        Elements of the output that are left away at the ends.
    output_padding : int, default 0
        Elements more at the end; less than the stride or the dilation.
    groups : int, default 1
        Groups of channels that do not see each other; it divides both channel numbers.
    bias : bool, default True
        Add a number to each output channel.
    dilation : int, default 1
        Distance between the kernel's taps.
    padding_mode : {'zeros'}, default 'zeros'
        There is no other; it is there because torch has it.
    dtype, backend, algorithm, precision, rng
        As for :class:`Conv2d`.

    Attributes
    ----------
    weight : array, shape (in_channels, out_channels // groups, kernel length)
        Read-only; assign a new array to change it.
    bias : array, shape (out_channels,), or None
        Read-only; assign a new array to change it.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        If a parameter is not usable.
    """

    plans_alike = True

    _name, _op = "ConvTranspose1d", "conv_transpose1d"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Amounts | str = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        *,
        dtype: Any = None,
        backend: str | None = None,
        algorithm: str = "auto",
        precision: str | None = None,
        rng: Any = None,
    ) -> None:
        name = "ConvTranspose1d"
        self._start(
            (in_channels, out_channels),
            single(name, "kernel_size", kernel_size, 1, 1),
            (
                single(name, "stride", stride, 1, 1),
                line_padding(name, padding),
                single(name, "output_padding", output_padding, 0, 0),
                groups,
                single(name, "dilation", dilation, 1, 1),
            ),
            padding_mode,
            bias=bias,
            dtype=dtype,
            backend=backend,
            algorithm=algorithm,
            precision=precision,
            rng=rng,
        )

    def __call__(
        self, input: ArrayT, output_size: Sequence[SupportsIndex] | None = None, *, out: ArrayT | None = None
    ) -> ArrayT:
        """Run the layer on ``input``; ``out`` is written and returned if it is given."""
        if output_size is None:
            return super().__call__(input, out=out)
        x, target = self._as_images(input, out)
        return from_lines(self._sized(x, output_size, target), input, out)

    def forward(self, input: Any, output_size: Any = None, *, out: Any = None) -> Any:
        return ConvTranspose1d.__call__(self, input, output_size, out=out)
