"""Transposed convolutions that are told how large their output is."""

from __future__ import annotations

import numpy as np
from helpers import bits, normal, refused

import pyconv.functional as F
from pyconv import ConvTranspose1d, ConvTranspose2d
from pyconv.errors import ShapeError


def test_output_size():
    layer = ConvTranspose2d(3, 4, 3, stride=2, padding=1, rng=0)
    x = normal(2, 3, 5, 6)
    for size in ((9, 11), (10, 11), (9, 12), [10, 12], (2, 4, 10, 12)):
        result = layer(x, output_size=size)
        assert result.shape == (2, 4, *size[-2:])
        more = (size[-2] - 9, size[-1] - 11)
        wanted = F.conv_transpose2d(x, layer.weight, layer.bias, 2, 1, more)
        assert bits(result) == bits(wanted)
    out = np.empty((4, 10, 12), np.float32)
    assert layer(x[0], (10, 12), out=out) is out
    words = ["ConvTranspose2d(3, 4", "output_size asks for a height of 11, but an input of 5 gives 9 to 10"]
    refused(ShapeError, words, layer, x, (11, 12))
    refused(ShapeError, ["output_size must be (height, width)"], layer, x, 10)


def test_output_size_of_lines():
    layer, x, out = ConvTranspose1d(3, 4, 3, stride=2, padding=1, rng=0), normal(2, 3, 5), np.empty((4, 10), np.float32)
    for size in ((9,), [10], (4, 10), (2, 4, 10)):
        wanted = F.conv_transpose1d(x, layer.weight, layer.bias, 2, 1, size[-1] - 9)
        assert bits(layer(x, size)) == bits(layer.forward(x, output_size=size)) == bits(wanted)
    assert layer(x[0], (10,), out=out) is out
    assert bits(out) == bits(wanted[0])
    refused(ShapeError, ["ConvTranspose1d(3, 4", "a length of 11, but an input of 5 gives 9 to 10"], layer, x, (11,))
    refused(ShapeError, ["ConvTranspose1d(3, 4", "output_size must be (length,)"], layer, x, 10)
    refused(ShapeError, ["ConvTranspose1d(3, 4", "output_size must be at least 1, got -1"], layer, x, (-1,))
