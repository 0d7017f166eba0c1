"""Groups of few channels with vectors along channels, whose lanes take their inputs from those of their group."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import normal
from test_implementations import checked, parameters_of, plan_of, run_by

import pyconv
import pyconv.functional as F
from pyconv._core import conv, runtime
from pyconv.backends.cpu import depthwise_channels


def _in_layout(x, layout):
    """The same numbers, however they lie in memory."""
    if layout == "nhwc":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "strided":
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    return np.repeat(x, 2, axis=2)[:, :, ::2] if layout == "rows with gaps" else x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided", "rows with gaps"])
def test_groups(level, dtype, layout):
    """Whole blocks of channels and less, tiles at the edges and between them, any layout, stride and dilation."""
    tried = 0
    sizes, kernels = ((1, 1), (7, 7), (3, 17), (20, 3), (5, 45)), ((1, 1), (3, 3), (2, 5))
    for size, (group, groups), kernel in itertools.product(sizes, ((2, 1), (2, 11), (4, 9), (8, 1), (8, 3)), kernels):
        if runtime.lanes(level, dtype == "float64") % group:
            continue
        count = group * groups
        x = _in_layout(normal(2, count, *size, dtype=dtype), layout)
        weight, bias = normal(count, group, *kernel, dtype=dtype, seed=1), normal(count, dtype=dtype)
        for parameters in parameters_of(stride=(1, (1, 2)), padding=(0, ((3, 0), (1, 8))), dilation=(1, (2, 3))):
            tried += checked(depthwise_channels, x, weight, bias, {**parameters, "groups": groups})
    assert tried > 100


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("padding", [0, 1, 3])
def test_every_width_and_layout_has_the_same_bits(level, dtype, padding):
    """Of one channel and of groups, for rows that end anywhere in a tile."""
    lanes = runtime.lanes(level, dtype == "float64")
    for width, stride, group in itertools.product((3, 8, 11, 12, 16, 17, 30, 31, 44), (1, 2), (1, 2)):
        count = 2 * lanes + group
        if count % group or (width + 2 * padding < 3):
            continue
        x, weight = normal(2, count, 4, width, dtype=dtype), normal(count, group, 3, 3, dtype=dtype, seed=1)
        parameters = {"stride": stride, "padding": padding, "groups": count // group}
        both = [run_by(depthwise_channels, _in_layout(x, layout), weight, **parameters) for layout in ("nchw", "nhwc")]
        np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("channels", "group"), [(40, 2), (36, 4), (136, 8)])
def test_groups_in_bands(level, layout, channels, group):
    """The same bits for any number of threads."""
    x, weight = _in_layout(normal(2, channels, 40, 31), layout), normal(channels, group, 3, 3)
    if runtime.lanes(level, False) % group:
        pytest.skip("so few lanes hold no group")
    results = []
    for count in (1, 2, 7):
        pyconv.set_num_threads(count)
        results.append(run_by(depthwise_channels, x, weight, padding=1, groups=channels // group))
    pyconv.set_num_threads(2)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_groups_keep_to_themselves(level, layout):
    """An inf in one group is no business of others, nor of windows that do not see it."""
    x, weight = normal(1, 24, 6, 40), normal(24, 4, 3, 3)
    x[0, 9, 3, 20] = np.inf
    got = run_by(depthwise_channels, _in_layout(x, layout), weight, padding=1, groups=6)
    seen = np.zeros(got.shape, bool)
    seen[:, 8:12, 2:5, 19:22] = True
    assert np.isfinite(got[~seen]).all()
    assert not np.isfinite(got[seen]).any()


def test_which_groups_are_taken(level):
    """Where vectors are of 32 bytes or more; the shortest ones cannot be rearranged."""
    short = runtime.lanes(level, False) < 8
    for shape, out_channels, groups, reason in (
        ((1, 64, 30, 30), 64, 4, "16 input channels"),
        ((1, 64, 30, 30), 128, 16, "8 output channels"),
        ((1, 60, 30, 30), 60, 20, "3 input channels"),
    ):
        x, weight = normal(*shape), normal(out_channels, shape[1] // groups, 3, 3)
        refusal = depthwise_channels.refusal(plan_of(x, weight, padding=1, groups=groups))
        assert ("does not rearrange lanes" if short else reason) in refusal


def test_known_calls_and_results_along_channels(level):
    x, weight, bias = _in_layout(normal(2, 48, 9, 33), "nhwc"), normal(48, 4, 3, 3), normal(48)
    wanted = F.conv2d(x, weight, bias, padding=1, groups=12, backend="reference")
    out = np.moveaxis(np.empty((2, 9, 33, 48), np.float32), -1, 1)
    for _ in range(3):
        np.testing.assert_allclose(F.conv2d(x, weight, bias, padding=1, groups=12), wanted, atol=1e-5)
        out.fill(np.nan)
        np.testing.assert_allclose(F.conv2d(x, weight, bias, padding=1, groups=12, out=out), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("vectors", "most", "together"), [(9, 7, 5), (16, 7, 4), (36, 16, 9), (6, 6, 6), (5, 8, 8), (9, 1, 1), (3, 2, 2)]
)
def test_units_of_channels_are_even(vectors, most, together):
    """In size, and in number where they can be: two threads have as much to do."""
    assert depthwise_channels._even(vectors, most) == together


def test_threads_share_units_of_channels_evenly(level):
    """Of channels-last images: the same bits as one thread's units, which may be larger."""
    lanes, results = runtime.lanes(level, False), []
    x, weight = _in_layout(normal(1, 9 * lanes, 24, 60), "nhwc"), normal(9 * lanes, 1, 3, 3, seed=1)
    plan = plan_of(x, weight, padding=1, stride=2, groups=9 * lanes)
    one = depthwise_channels.cut(plan, level, 1)
    for count in (1, 2, 4):
        cut = depthwise_channels.cut(plan, level, count)
        tasks = conv.DepthwiseTasks(level, False, count, plan, cut)
        assert cut.units == -(-9 // cut.together)
        assert cut.together <= one.together
        results.append(np.full(plan.out_shape, np.nan, np.float32))
        prepared = depthwise_channels.prepare(plan, weight, None)
        conv.run(tasks, x, prepared.weights, prepared.bias, results[-1])
        np.testing.assert_array_equal(results[-1], results[0])


def test_which_processor_filters_along_rows(level, monkeypatch):
    """Rows of two vectors cost more beside these on a Zen 5 with AVX-512; on others planes of 28x28 go along rows."""
    if runtime.lanes(level, False) < 16:
        pytest.skip("fewer lanes have their own costs")
    wide, narrow = (plan_of(normal(1, 32, size, size), normal(32, 1, 3, 3), 1, 1, groups=32) for size in (112, 28))
    for multiply_adds, second_level in ((1, 32), (1, 64), (2, 32), (2, 64)):
        monkeypatch.setattr(runtime, "multiply_adds", lambda level, count=multiply_adds: count)
        monkeypatch.setattr(runtime, "second_level", lambda count=second_level: count)
        along_rows = [depthwise_channels.refusal(plan) is not None for plan in (wide, narrow)]
        assert along_rows == [True, (multiply_adds, second_level) != (2, 64)]
