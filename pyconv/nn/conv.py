"""Convolution layers."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError
from ..functional.call import Call
from ..functional.conv import pad2d, plan_call_conv2d
from ..plan import (
    PADDING_MODES,
    Amounts,
    Pair,
    Size,
    as_array,
    as_batch,
    conv_parameters,
    line_padding,
    pair,
    single,
)
from .conv_base import NO_PADDING, ConvBase, shown_padding
from .lines import Lines

__all__ = ["Conv1d", "Conv2d"]


class _Conv(ConvBase):
    """What 1-D and 2-D convolution share."""

    def _start(
        self, channels: tuple[Any, Any], kernel: Pair, parameters: tuple[Any, ...], padding: Any, mode: Any, **more: Any
    ) -> None:
        """``parameters`` in the order of :func:`pyconv.plan.conv_parameters`; ``padding`` as given."""
        self._parameters = conv_parameters(self._name, *parameters)
        stride, pads, dilation, groups = self._parameters
        if mode not in PADDING_MODES:
            raise ArgumentError(f"{self._name}: padding_mode must be one of {', '.join(PADDING_MODES)}, got {mode!r}")
        self.padding_mode = mode
        self.padding = padding if isinstance(padding, str) else shown_padding(self._op, pads)
        self._begin(channels, kernel, stride, pads, dilation, groups, **more)

    def plan_call(self, input: Any, out: Any = None) -> Call:
        parameters = self._parameters
        if self.padding_mode != "zeros":
            input, parameters = self._pad(input)
        more = (self.algorithm, True, self.precision, self._op)
        return plan_call_conv2d(input, self._weight, self._bias, parameters, out, *more)

    def _pad(self, input: Any) -> tuple[Any, Any]:
        """The input with its padding written out, and the parameters without it."""
        stride, padding, dilation, groups = self._parameters
        x = as_array(self._op, "input", input)
        padded = pad2d(as_batch(self._op, x), padding, self.padding_mode, self._kernel, dilation, self._op)
        return padded if x.ndim == 4 else padded[0], (stride, NO_PADDING, dilation, groups)


class Conv2d(_Conv):
    """2-D convolution over an image of several channels; see :func:`pyconv.functional.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int or (int, int)
        The kernel's (height, width), in pixels.
    stride : int or (int, int), default 1
        Step of the window, in pixels.
    padding : int, (int, int), ((top, bottom), (left, right)), 'valid' or 'same', default 0
        Added around the input, in pixels.
    dilation : int or (int, int), default 1
        Distance between the kernel's taps, in pixels.
    groups : int, default 1
        Groups of channels that do not see each other; it divides both channel numbers.
    bias : bool, default True
        Add a number to each output channel.
    padding_mode : {'zeros', 'reflect', 'replicate', 'circular'}, default 'zeros'
        What the padding holds.
    dtype : {'float32', 'float64'} or numpy dtype, default float32
        Of the parameters; inputs must have it too.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.
    algorithm : {'auto', 'direct', 'winograd', 'winograd_2', 'winograd_4', 'winograd_6', 'fft', 'measure'}
        As in :func:`pyconv.functional.conv2d`.
    precision : {'fp32', 'tf32'}, optional
        Of products of float32 arrays; see :func:`pyconv.precision`, which gives it where this does not.
    rng : numpy.random.Generator or int, optional
        Source or seed of the initial parameters.

    Attributes
    ----------
    weight : array, shape (out_channels, in_channels // groups, kernel height, kernel width)
        Read-only; assign a new array to change it.
    bias : array, shape (out_channels,), or None
        Read-only; assign a new array to change it.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        If a parameter is not usable.

    Notes
    -----
    Initial weights and biases are uniform in ±1 / sqrt(fan_in), fan_in = in_channels / groups * kernel height *
    kernel width: torch's default (Kaiming uniform with a = sqrt(5)). A layer may be used by several threads.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> conv = pyconv.Conv2d(3, 8, 3, padding=1, rng=0)
    >>> conv(np.zeros((1, 3, 32, 32), np.float32)).shape
    (1, 8, 32, 32)
    """

    plans_alike = True

    _name, _op = "Conv2d", "conv2d"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Amounts | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
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
            pair("Conv2d", "kernel_size", kernel_size, 1),
            (stride, padding, dilation, groups),
            padding,
            padding_mode,
            bias=bias,
            dtype=dtype,
            backend=backend,
            algorithm=algorithm,
            precision=precision,
            rng=rng,
        )


class Conv1d(Lines, _Conv):
    """1-D convolution over lines of several channels; see :func:`pyconv.functional.conv1d`.

    As :class:`Conv2d`, for inputs (N, C, L) or (C, L); ints may also be sequences of one.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    kernel_size : int
        The kernel's length.
    stride : int, default 1
        Step of the window; at least 1.
    padding : int, ((left, right),), 'valid' or 'same', default 0
        Added around the input. 'same' keeps the length, for stride 1.
    dilation : int, default 1
        Distance between the kernel's taps; at least 1.
    groups : int, default 1
        Groups of channels that do not see each other; it divides both channel numbers.
    bias : bool, default True
        Add a number to each output channel.
    padding_mode : {'zeros', 'reflect', 'replicate', 'circular'}, default 'zeros'
        What the padding is made of.
    dtype, backend, algorithm, precision, rng
        As for :class:`Conv2d`.

    Attributes
    ----------
    weight : array, shape (out_channels, in_channels // groups, kernel length)
        Read-only; assign a new array to change it.
    bias : array, shape (out_channels,), or None
        Read-only; assign a new array to change it.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        If a parameter is not usable.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> conv = pyconv.Conv1d(2, 8, 3, padding=1, rng=0)
    >>> conv(np.zeros((1, 2, 100), np.float32)).shape
    (1, 8, 100)
    """

    plans_alike = True

    _name, _op = "Conv1d", "conv1d"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Amounts | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
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
            single("Conv1d", "kernel_size", kernel_size, 1, 1),
            (
                single("Conv1d", "stride", stride, 1, 1),
                line_padding("Conv1d", padding),
                single("Conv1d", "dilation", dilation, 1, 1),
                groups,
            ),
            padding,
            padding_mode,
            bias=bias,
            dtype=dtype,
            backend=backend,
            algorithm=algorithm,
            precision=precision,
            rng=rng,
        )
