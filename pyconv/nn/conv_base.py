"""What all convolution layers have in common: their parameters, and the weights prepared from them."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..functional.call import Call
from ..plan import Pads, Pair, check_algorithm, check_bytes, check_flag, check_precision, dtype_of, index, shown
from ..registry import Backend
from .initial import generator
from .module import Operation, frozen, locked

__all__ = ["NO_PADDING", "ConvBase", "shown_padding"]

NO_PADDING = ((0, 0), (0, 0))
_KEPT = 8  # prepared weights a layer keeps: one for every backend and kind of plan it has met lately


class ConvBase(Operation):
    """A layer with a weight and perhaps a bias, which computes on images; lines are images of height 1.

    A subclass names itself (``_name``) and its operation (``_op``), sets its own attributes, and calls ``_begin``.
    """

    _name: str
    _op: str
    _transposed = False
    _fixed = frozenset(
        (
            "in_channels", "out_channels", "kernel_size", "stride", "padding", "output_padding", "dilation", "groups",
            "padding_mode",
        )
    )  # fmt: skip

    in_channels: int
    out_channels: int
    groups: int
    padding: Any
    padding_mode: str
    output_padding: tuple[int, ...]

    def _begin(
        self,
        channels: tuple[Any, Any],
        kernel: Pair,
        stride: Pair,
        pads: Pads | str,
        dilation: Pair,
        groups: int,
        *,
        bias: Any,
        dtype: Any,
        backend: str | None,
        algorithm: Any,
        precision: Any,
        rng: Any,
    ) -> None:
        """Set what every layer has; numbers are those of images, checked, but for the channels."""
        name = self._name
        self.in_channels = index(name, "in_channels", channels[0], 1)
        self.out_channels = index(name, "out_channels", channels[1], 1)
        self.groups, self._kernel = groups, kernel
        self.kernel_size, self.stride, self.dilation = (shown(self._op, size) for size in (kernel, stride, dilation))
        for what, count in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if count % groups:
                raise ShapeError(
                    f"{name}: groups must divide {what}: {count} % {groups} = {count % groups}; "
                    "choose groups among the divisors of both channel numbers"
                )
        self._pads = pads
        self.algorithm = check_algorithm(name, algorithm)
        self.precision = check_precision(name, precision)
        self.backend = backend
        self._dtype = dtype_of(name, dtype)
        has_bias = check_flag(name, "bias", bias)
        self._prepared_weights: dict[Any, Any] = {}
        check_bytes(name, self._weight_shape, 8 + self._dtype.itemsize, "the weight and its random numbers")
        self._initialise(has_bias, generator(name, rng))

    def _initialise(self, has_bias: bool, rng: np.random.Generator) -> None:
        bound = 1 / sqrt(prod(self._weight_shape[1:]))

        def uniform(shape: tuple[int, ...]) -> np.ndarray:
            # drawn in float64, so that a seed gives the same layer in both dtypes
            return locked(rng.uniform(-bound, bound, shape).astype(self._dtype))

        self._weight = uniform(self._weight_shape)
        self._bias = uniform((self.out_channels,)) if has_bias else None

    @property
    def _weight_shape(self) -> tuple[int, ...]:
        """Of the weight of images."""
        first, second = self.out_channels, self.in_channels
        if self._transposed:
            first, second = second, first
        return (first, second // self.groups, *self._kernel)

    @property
    def weight(self) -> np.ndarray:
        """The kernels, read-only; assigning copies and checks."""
        return self._weight.reshape(shown(self._op, self._weight_shape))

    @weight.setter
    def weight(self, value: Any) -> None:
        checked = frozen(self._name, "weight", value, shown(self._op, self._weight_shape), self._dtype)
        self._weight = checked.reshape(self._weight_shape)
        self._prepared_weights = {}

    @property
    def bias(self) -> np.ndarray | None:
        """One number for each output channel, read-only, or None; assigning copies and checks."""
        return self._bias

    @bias.setter
    def bias(self, value: Any) -> None:
        self._bias = None if value is None else frozen(self._name, "bias", value, (self.out_channels,), self._dtype)
        self._prepared_weights = {}

    def parameters(self) -> dict[str, np.ndarray]:
        own = {"weight": self.weight} if self._bias is None else {"weight": self.weight, "bias": self._bias}
        return {**own, **super().parameters()}

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
        if isinstance(self.padding, str) or self._pads != NO_PADDING:
            parts.append(f"padding={self.padding}")
        if max(self.dilation) != 1:
            parts.append(f"dilation={self.dilation}")
        if self._transposed and max(self.output_padding):
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self._bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        if self._dtype != np.float32:
            parts.append(f"dtype={self._dtype}")
        return ", ".join(parts)


def shown_padding(op: str, pads: Pads | str) -> Any:
    """Padding as torch shows it, where torch could: one number for both ends."""
    if isinstance(pads, str):
        return pads
    if any(begin != end for begin, end in pads):
        return pads[1:] if op.endswith("1d") else pads
    return shown(op, (pads[0][0], pads[1][0]))
