"""Convolution layers."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..functional.call import Call
from ..functional.conv import pad2d, plan_call_conv2d
from ..plan import (
    PADDING_MODES,
    as_array,
    as_batch,
    check_algorithm,
    check_bytes,
    check_flag,
    check_precision,
    conv_parameters,
    index,
    pair,
)
from ..registry import Backend
from .initial import dtype_of, generator
from .module import Module, frozen, locked

__all__ = ["Conv2d"]

_NO_PADDING = ((0, 0), (0, 0))
_KEPT = 8  # prepared weights a layer keeps: one for every backend and kind of plan it has met lately


class Conv2d(Module):
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
    algorithm : {'auto', 'direct', 'winograd', 'measure'}, default 'auto'
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

    _fixed = frozenset(
        ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    )

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
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
        self.in_channels = index("Conv2d", "in_channels", in_channels, 1)
        self.out_channels = index("Conv2d", "out_channels", out_channels, 1)
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size, 1)
        self._parameters = conv_parameters("Conv2d", stride, padding, dilation, groups)
        self.stride, self._pads, self.dilation, self.groups = self._parameters
        self.padding = padding if isinstance(padding, str) else _shown(self._pads)
        for name, count in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if count % self.groups:
                raise ShapeError(
                    f"Conv2d: groups must divide {name}: {count} % {self.groups} = {count % self.groups}; "
                    "choose groups among the divisors of both channel numbers"
                )
        if padding_mode not in PADDING_MODES:
            raise ShapeError(f"Conv2d: padding_mode must be one of {', '.join(PADDING_MODES)}, got {padding_mode!r}")
        self.padding_mode = padding_mode
        self.algorithm = check_algorithm("Conv2d", algorithm)
        self.precision = check_precision("Conv2d", precision)
        self.backend = backend
        self._dtype = dtype_of("Conv2d", dtype)
        has_bias = check_flag("Conv2d", "bias", bias)
        self._prepared_weights: dict[Any, Any] = {}
        check_bytes("Conv2d", self._weight_shape, 8 + self._dtype.itemsize, "the weight and its random numbers")
        self._initialise(has_bias, generator("Conv2d", rng))

    def _initialise(self, has_bias: bool, rng: np.random.Generator) -> None:
        bound = 1 / sqrt(prod(self._weight_shape[1:]))

        def uniform(shape: tuple[int, ...]) -> np.ndarray:
            # drawn in float64, so that a seed gives the same layer in both dtypes
            return locked(rng.uniform(-bound, bound, shape).astype(self._dtype))

        self._weight = uniform(self._weight_shape)
        self._bias = uniform((self.out_channels,)) if has_bias else None

    @property
    def _weight_shape(self) -> tuple[int, ...]:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    @property
    def weight(self) -> np.ndarray:
        """The kernels, read-only; assigning copies and checks."""
        return self._weight

    @weight.setter
    def weight(self, value: Any) -> None:
        self._weight = frozen("Conv2d", "weight", value, self._weight_shape, self._dtype)
        self._prepared_weights = {}

    @property
    def bias(self) -> np.ndarray | None:
        """One number for each output channel, read-only, or None; assigning copies and checks."""
        return self._bias

    @bias.setter
    def bias(self, value: Any) -> None:
        self._bias = None if value is None else frozen("Conv2d", "bias", value, (self.out_channels,), self._dtype)
        self._prepared_weights = {}

    def parameters(self) -> dict[str, np.ndarray]:
        named = {"weight": self._weight}
        return named if self._bias is None else {**named, "bias": self._bias}

    def plan_call(self, input: Any, out: Any = None) -> Call:
        parameters = self._parameters
        if self.padding_mode != "zeros":
            input, parameters = self._pad(input)
        return plan_call_conv2d(input, self._weight, self._bias, parameters, out, self.algorithm, True, self.precision)

    def _pad(self, input: Any) -> tuple[Any, Any]:
        """The input with its padding written out, and the parameters without it."""
        stride, padding, dilation, groups = self._parameters
        x = as_array("conv2d", "input", input)
        padded = pad2d(as_batch("conv2d", x), padding, self.padding_mode, self.kernel_size, dilation)
        return padded if x.ndim == 4 else padded[0], (stride, _NO_PADDING, dilation, groups)

    def _prepared(self, call: Call, backend: Backend) -> Any:
        key_of = getattr(backend, "prepare_key", None)
        key = (backend.name, key_of(call.plan) if key_of else call.plan)
        # Other threads may add, drop and replace meanwhile: one reference to the dict, taken before the check that
        # it belongs to this call's parameters, and no step that counts on the one before.
        kept = self._prepared_weights
        if call.weight is not self._weight or call.bias is not self._bias:
            return backend.prepare(call.plan, call.weight, call.bias)
        found = kept.get(key)
        if found is None:
            found = backend.prepare(call.plan, call.weight, call.bias)
            for old in list(kept)[: max(0, len(kept) - _KEPT + 1)]:
                kept.pop(old, None)
            kept[key] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_prepared_weights": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._weight = locked(self._weight.copy())  # pickle does not keep it
        self._bias = None if self._bias is None else locked(self._bias.copy())

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        if isinstance(self.padding, str) or self._pads != _NO_PADDING:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self._bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        if self._dtype != np.float32:
            parts.append(f"dtype={self._dtype}")
        return ", ".join(parts)


def _shown(pads: Any) -> Any:
    """((top, bottom), (left, right)) as torch shows it, where torch could."""
    (top, bottom), (left, right) = pads
    return (top, left) if top == bottom and left == right else pads
