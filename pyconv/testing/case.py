"""One case of the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from zlib import crc32

import numpy as np

from .data import LAYOUTS, VALUES, places

__all__ = ["Case", "Shape", "dtype_of"]

Shape = tuple[int, ...]


def dtype_of(name: str) -> np.dtype:
    """The dtype called ``name``; bfloat16 is in the package ml_dtypes."""
    if name == "bfloat16":
        return np.dtype(import_module("ml_dtypes").bfloat16)
    return np.dtype(name)


@dataclass(frozen=True)
class Case:
    """One call of a function of :mod:`pyconv.functional`, with data that is the same every time.

    Attributes
    ----------
    name : str
        Unique; also ``str(case)``, for ``pytest.mark.parametrize(..., ids=str)``.
    op : str
        Name of the function.
    dtype : str
        'float32' or 'float64'; of convolutions also 'float16' or 'bfloat16'.
    shape, weight_shape : tuple of int
        Of the input and, for operations that have one, of the weight.
    bias : bool
        Whether convolutions and ``batch_norm`` get a bias.
    parameters : mapping
        The function's further arguments: stride, padding, ...
    values, weight_values : str
        What the arrays hold: a key of ``VALUES``.
    layout, weight_layout : str
        How they lie in memory: a key of ``LAYOUTS``; bias and the indices of an unpooling as weight.
    out : str
        '' for no ``out=``, 'contiguous', 'strided', or 'input' or 'residual' (in place).
    residual_shape : tuple of int
        Of what is added to a convolution, if anything is.
    residual_layout : str
        How it lies in memory.
    places : int
        Elements of an output plane or line, which the indices of a max unpooling point at.
    channels : int
        How many running means and variances ``batch_norm`` gets.
    """

    name: str
    op: str
    dtype: str
    shape: Shape
    weight_shape: Shape = ()
    bias: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    values: str = "normal"
    weight_values: str = "normal"
    layout: str = "contiguous"
    weight_layout: str = "contiguous"
    out: str = ""
    places: int = 0
    channels: int = 0
    residual_shape: Shape = ()
    residual_layout: str = "contiguous"

    def __str__(self) -> str:
        return self.name

    def arguments(self) -> dict[str, Any]:
        """The arguments to call the function with, made anew; without ``out`` and ``backend``."""
        rng = np.random.default_rng(crc32(self.name.encode()))
        dtype = dtype_of(self.dtype)
        arrays = {"input": LAYOUTS[self.layout](VALUES[self.values](rng, self.shape, dtype))}
        if self.weight_shape:
            arrange, make = LAYOUTS[self.weight_layout], VALUES[self.weight_values]
            arrays["weight"] = arrange(make(rng, self.weight_shape, dtype))
            if self.bias:
                channels = self.weight_shape[0]
                if self.op.startswith("conv_transpose"):
                    channels = self.weight_shape[1] * self.parameters.get("groups", 1)
                arrays["bias"] = arrange(VALUES["normal"](rng, (channels,), dtype))
        if self.residual_shape:
            arrays["residual"] = LAYOUTS[self.residual_layout](VALUES["normal"](rng, self.residual_shape, dtype))
        if self.channels:
            statistics = VALUES["normal"](rng, (2, self.channels), dtype)
            arrays["running_mean"] = LAYOUTS[self.weight_layout](statistics[0])
            arrays["running_var"] = LAYOUTS[self.weight_layout](np.square(statistics[1]))
        if self.places:
            arrays["indices"] = LAYOUTS[self.weight_layout](places(rng, self.shape, self.places, int(self.op[-2])))
        return {**arrays, **self.parameters}
