"""The layer of a matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import PyconvError, ShapeError
from ..functional.call import Call
from ..functional.conv import plan_call_conv2d
from ..plan import ArrayT, array_kind, as_array, check_out, index
from .conv_base import NO_PADDING, ConvBase
from .module import frozen

__all__ = ["Linear"]

_PARAMETERS: tuple[Any, ...] = ((1, 1), NO_PADDING, (1, 1), 1)


class Linear(ConvBase):
    """``input @ weight.T + bias`` over the last dimension: a 1x1 convolution, whose pixels are the rows of the input.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool, default True
    dtype, backend, algorithm, precision, rng
        As for :class:`Conv2d`.

    Attributes
    ----------
    weight : array, shape (out_features, in_features)
        Read-only; assign a new array to change it.
    bias : array, shape (out_features,), or None
        Likewise.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        If a parameter is not usable.

    Notes
    -----
    Called with an input (..., in_features), it gives (..., out_features), which lies in memory feature by feature (the
    order F, where there are two dimensions). Initial weights and biases are uniform in ±1 / sqrt(in_features): torch's
    default.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.Linear(400, 120, rng=0)(np.zeros((2, 400), np.float32)).shape
    (2, 120)
    """

    plans_alike = True

    _name, _op = "Linear", "conv2d"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        dtype: Any = None,
        *,
        backend: str | None = None,
        algorithm: str = "auto",
        precision: str | None = None,
        rng: Any = None,
    ) -> None:
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            index("Linear", name, size, 1)
        self.padding_mode, self.padding = "zeros", (0, 0)
        more = {"backend": backend, "algorithm": algorithm, "precision": precision, "rng": rng}
        self._begin((in_features, out_features), (1, 1), *_PARAMETERS, bias=bias, dtype=dtype, **more)

    @property
    def in_features(self) -> int:
        """The length of the input's last dimension."""
        return self.in_channels

    @property
    def out_features(self) -> int:
        """The length of the result's last dimension."""
        return self.out_channels

    @property
    def weight(self) -> np.ndarray:
        """The matrix, read-only; assigning copies and checks."""
        return self._weight[:, :, 0, 0]

    @weight.setter
    def weight(self, value: Any) -> None:
        shape = (self.out_channels, self.in_channels)
        self._weight = frozen("Linear", "weight", value, shape, self._dtype).reshape(self._weight_shape)
        self._prepared_weights = {}

    def __call__(self, input: ArrayT, *, out: ArrayT | None = None) -> ArrayT:
        """Run the layer on ``input``, (..., in_features); ``out`` is written and returned if it is given."""
        try:
            image = self._image(input)
            shape = (*input.shape[:-1], self.out_channels)
            if out is not None:
                check_out("Linear", out, array_kind(image), shape, image.dtype.name, (image,), in_place=False)
        except PyconvError as error:
            error.prefix(repr(self))
            raise
        result = super().__call__(image)
        # one image with the rows as its pixels; without rows, no image
        rows = result[0, :, :, 0].T if result.shape[0] else result[:, :, 0, 0]
        if out is None:
            return rows.reshape(shape)
        written: Any = out
        written[...] = rows.reshape(shape)
        return out

    def forward(self, input: Any, *, out: Any = None) -> Any:
        return Linear.__call__(self, input, out=out)

    def _image(self, input: Any) -> Any:
        """The input's rows as the pixels of one image (1, in_features, rows, 1); a view, where it can be."""
        x = as_array("Linear", "input", input)
        if not x.ndim or x.shape[-1] != self.in_channels:
            raise ShapeError(f"input must be (..., in_features), got shape {tuple(x.shape)}")
        rows = x.reshape(-1, self.in_channels) if x.size else x.reshape(0, self.in_channels)
        return rows.T[None, :, :, None] if len(rows) else rows[:, :, None, None]

    def plan_call(self, input: Any, out: Any = None) -> Call:
        return self._handed_on(self._image(input), out)

    def _handed_on(self, image: Any, out: Any) -> Call:
        more = (self.algorithm, True, self.precision, "conv2d")
        return plan_call_conv2d(image, self._weight, self._bias, _PARAMETERS, out, *more)

    def extra_repr(self) -> str:
        shown = f"in_features={self.in_channels}, out_features={self.out_channels}, bias={self._bias is not None}"
        return shown if self._dtype == np.float32 else f"{shown}, dtype={self._dtype}"
