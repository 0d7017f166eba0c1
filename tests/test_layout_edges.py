"""Arrays whose strides mean nothing along axes of length one, which NumPy leaves as they came about."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_close, normal

import pyconv
import pyconv.functional as F

SHAPES = [(2, 16, 9, 1), (1, 2, 5, 1), (2, 16, 1, 9), (1, 1, 9, 1), (2, 1, 9, 9), (1, 16, 1, 1), (2, 40, 1, 33)]


def with_strides(x, stride):
    """The same numbers in memory, with ``stride`` bytes along each axis of length one."""
    strides = [step if length > 1 else stride for step, length in zip(x.strides, x.shape, strict=True)]
    return np.lib.stride_tricks.as_strided(x, x.shape, strides)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution(shape, last):
    """Known calls too, and results that are given."""
    x = normal(*shape)
    if last:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    for kernel, parameters in (
        ((1, 1), {}),
        ((1, 1), {"stride": 2}),
        ((3, 3), {"padding": 1}),
        ((1, 1), {"groups": shape[1]}),
        ((3, 1), {"padding": (1, 0), "groups": shape[1]}),
    ):
        weight = normal(2 * shape[1], shape[1] // parameters.get("groups", 1), *kernel)
        expected = F.conv2d(x, weight, backend="reference", **parameters)
        for stride in (4096, -4, 0, 4):
            given = with_strides(x, stride)
            for out in (None, with_strides(np.zeros_like(expected), stride)):
                for _ in range(3):
                    assert_close(F.conv2d(given, weight, backend="cpu", out=out, **parameters), expected, terms=200)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_made_of_convolutions(shape, stride):
    x, weight = normal(*shape), normal(shape[1], 3, 2, 2)
    expected = F.conv_transpose2d(x, weight, stride=stride, backend="reference")
    net = pyconv.Sequential(pyconv.Conv2d(shape[1], 8, 1, rng=0, backend="cpu"), pyconv.ReLU())
    through = net(x)
    for step in (4096, -4, 0, 4):
        given = with_strides(x, step)
        for _ in range(3):
            assert_close(F.conv_transpose2d(given, weight, stride=stride, backend="cpu"), expected, terms=100)
            np.testing.assert_array_equal(net(given), through)
