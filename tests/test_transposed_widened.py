"""Phases of 2x2 taps that Winograd's algorithm computes: see pyconv/backends/cpu/widened.py."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers import assert_close, normal

import pyconv
import pyconv.functional as F
from pyconv import ConvTranspose2d
from pyconv.backends.cpu import direct, transposed
from pyconv.plan import plan_conv_transpose2d, transposed_parameters


def plan_of(shape, weight_shape):
    """Of a transposed convolution of stride 2 with a padding of 1."""
    checked = transposed_parameters("conv_transpose2d", 2, 1, 0, 1, 1)
    return plan_conv_transpose2d(shape, weight_shape, None, "float32", 4, "nchw", *checked, "auto", True, "fp32")


def test_phases_of_two_taps_are_widened_for_winograd(level):
    """Where that takes fewer cycles, and direct sums were not asked for."""
    plan = plan_of((1, 128, 40, 40), (128, 64, 4, 4))
    assert transposed.implementations(plan)[-1][0].startswith("phases(winograd_f4x3_")
    assert all(one.kernel == (3, 3) for one in transposed._phase_plans(plan))
    plain = dataclasses.replace(plan, algorithm="direct")
    assert "winograd" not in transposed.implementations(plain)[-1][0]
    few = plan_of((1, 4, 3, 3), (4, 64, 4, 4))
    assert all(one.kernel == (2, 2) for one in transposed._phase_plans(few))


@pytest.mark.parametrize("sizes", [(512, 256, 14, 4, 2), (512, 256, 20, 5, 3), (256, 128, 14, 4, 2)], ids=str)
def test_largest_errors(level, sizes):
    """As README has them, in the output's rms."""
    channels, out_channels, size, kernel, stride = sizes
    x, weight = normal(1, channels, size, size), normal(channels, out_channels, kernel, kernel)
    layer = ConvTranspose2d(channels, out_channels, kernel, stride, bias=False, rng=0)
    layer.weight = weight
    assert "winograd" in str(pyconv.explain(layer, x))
    wanted = F.conv_transpose2d(x.astype(np.float64), weight.astype(np.float64), None, stride, backend="reference")
    assert np.abs(layer(x) - wanted).max() <= 4e-5 * np.sqrt(np.mean(wanted**2))


def test_weights_that_cannot_be_transformed_are_not_widened(level):
    """They overflow when they are; direct sums of the two taps take their place, and see what is not finite."""
    x, weight = normal(1, 128, 15, 14), normal(128, 64, 4, 4)
    weight[3, 5] = 3e38
    x[0, 3] = 0
    x[0, 4, 7, 7] = np.inf
    plan = plan_of(x.shape, weight.shape)
    assert transposed._phase_plans(plan)[0].kernel == (3, 3)
    prepared = transposed.prepare(plan, weight, None)
    assert all(part.implementation is direct for part in prepared.parts)
    result = transposed.run(plan, x, prepared, None)
    wanted = F.conv_transpose2d(x, weight, None, 2, 1, backend="reference")
    assert (np.isfinite(result) == np.isfinite(wanted)).all()
    assert_close(result[np.isfinite(wanted)], wanted[np.isfinite(wanted)], terms=4 * 128)
