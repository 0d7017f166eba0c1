"""Properties: Hypothesis draws shapes, parameters and layouts, the reference says what is right."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import USABLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyconv
import pyconv.functional as F
from pyconv import testing
from pyconv.testing.checks import check

BACKENDS = [name for name in USABLE if name != "reference"]
LAYOUTS = st.sampled_from(sorted(testing.LAYOUTS))
DTYPES = st.sampled_from(["float32", "float64"])
OUTS = st.sampled_from(["", "", "contiguous", "strided"])


def quick(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


def sizes_around(draw, kernel, dilation, pads, room):
    """An input size that the window fits into, often only just."""
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    return tuple(max(1, span - sum(pad)) + draw(st.integers(0, room)) for span, pad in zip(spans, pads, strict=True))


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 5]))
    per_in = draw(st.integers(1, 9)) if groups > 1 else draw(st.integers(1, 40))
    per_out = draw(st.integers(1, 9)) if groups > 1 else draw(st.integers(1, 70))
    kernel = draw(st.one_of(pairs(1, 4), st.sampled_from([(1, 1), (3, 3), (7, 7), (1, 9), (9, 1)])))
    dilation = draw(st.one_of(st.just((1, 1)), pairs(1, 3)))
    pads = (draw(pairs(0, 4)), draw(pairs(0, 4)))
    size = sizes_around(draw, kernel, dilation, pads, 20)
    batch = draw(st.integers(0, 3))
    return testing.Case(
        "conv2d-drawn",
        "conv2d",
        draw(DTYPES),
        (per_in * groups, *size) if draw(st.booleans()) and batch else (batch, per_in * groups, *size),
        (per_out * groups, per_in, *kernel),
        draw(st.booleans()),
        {"stride": draw(pairs(1, 4)), "padding": pads, "dilation": dilation, "groups": groups},
        draw(st.sampled_from(["normal", "normal", "few_nan", "few_inf", "denormal", "ties"])),
        layout=draw(LAYOUTS),
        weight_layout=draw(LAYOUTS),
        out=draw(OUTS),
    )


@st.composite
def poolings(draw):
    kernel = draw(st.one_of(pairs(1, 6), st.sampled_from([(2, 2), (3, 3)])))
    dilation = draw(st.one_of(st.just((1, 1)), pairs(1, 3)))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = tuple(draw(pairs(0, min(span - 1, 5))) for span in spans)
    size = sizes_around(draw, kernel, dilation, pads, 40)
    return testing.Case(
        "max_pool2d-drawn",
        "max_pool2d",
        draw(DTYPES),
        (*draw(st.sampled_from([(1,), (2, 1), (1, 5), (3, 2), (0, 2)])), *size),
        parameters={
            "kernel_size": kernel,
            "stride": draw(st.one_of(st.none(), pairs(1, 4))),
            "padding": pads,
            "dilation": dilation,
            "ceil_mode": draw(st.booleans()),
            "return_indices": draw(st.booleans()),
        },
        values=draw(st.sampled_from(["normal", "ties", "few_nan", "many_nan", "infinities", "minus_inf", "special"])),
        layout=draw(LAYOUTS),
        out=draw(OUTS),
    )


@st.composite
def activations(draw):
    out = draw(st.sampled_from(["", "contiguous", "strided", "input"]))
    layouts = [name for name in testing.LAYOUTS if name in ("contiguous", "fortran", "gaps", "reversed", "window")]
    shape = draw(st.one_of(st.tuples(st.integers(0, 300)), st.lists(st.integers(1, 9), min_size=1, max_size=5)))
    return testing.Case(
        "activation-drawn",
        draw(st.sampled_from(["relu", "sigmoid", "tanh"])),
        draw(DTYPES),
        tuple(shape),
        values=draw(st.sampled_from(["normal", "wide", "special", "denormal"])),
        layout=draw(st.sampled_from(layouts) if out == "input" else LAYOUTS),
        out=out,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@given(case=convolutions())
@quick(400)
def test_convolutions(backend, case):
    assert check(case, backend) is None


@pytest.mark.parametrize("backend", BACKENDS)
@given(case=poolings())
@quick(400)
def test_poolings(backend, case):
    assert check(case, backend) is None


@pytest.mark.parametrize("backend", BACKENDS)
@given(case=activations())
@quick(200)
def test_activations(backend, case):
    assert check(case, backend) is None


@pytest.mark.parametrize("backend", USABLE)
@given(case=convolutions(), factor=st.sampled_from([-2.0, 0.5, 4.0]))
@quick(40)
def test_convolution_is_linear_in_its_input(backend, case, factor):
    # a power of two is exact, so the two sides are the same number by number
    arguments = {**case.arguments(), "bias": None, "backend": backend}
    x = np.nan_to_num(np.array(arguments.pop("input"), case.dtype), posinf=1, neginf=-1)
    x[np.abs(x) < 1e-20] = 0  # their multiples would be rounded
    np.testing.assert_array_equal(
        F.conv2d(x * np.array(factor, case.dtype), **arguments),
        F.conv2d(x, **arguments) * np.array(factor, case.dtype),
    )


@pytest.mark.parametrize("backend", USABLE)
@given(case=poolings())
@quick(60)
def test_indices_point_at_the_values(backend, case):
    arguments = {**case.arguments(), "return_indices": True}
    x = np.array(arguments["input"], case.dtype)
    values, indices = F.max_pool2d(**arguments, backend=backend)
    plane = x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])
    assert ((indices >= 0) & (indices < plane.shape[-1])).all()
    places = indices.reshape(*x.shape[:-2], indices.shape[-2] * indices.shape[-1])
    found = np.take_along_axis(plane, places, -1).reshape(values.shape)
    # a window of padding alone is -inf, and points anywhere
    assert ((found == values) | (np.isnan(found) & np.isnan(values)) | np.isneginf(values)).all()


NUMBERS = st.one_of(
    st.integers(-3, 12), st.sampled_from([2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**64, 2**70, -(2**63)])
)
ARGUMENTS = st.one_of(NUMBERS, st.tuples(NUMBERS, NUMBERS), st.booleans(), st.none(), st.floats(), st.text(max_size=3))
PADDINGS = st.one_of(ARGUMENTS, st.tuples(st.tuples(NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS)))


def planned_or_refused(op, *call):
    """The operation is planned with sensible sizes, or refused in words that begin with its name."""
    message, sizes = None, ()
    try:
        sizes = pyconv.report.explain(*call).steps[0].plan.out_shape
    except pyconv.errors.PyconvError as error:
        message = str(error)
    if message is not None:
        assert message.startswith(f"{op}: ")
        assert len(message) > 20
    assert all(0 < size < 2**62 for size in sizes)


@given(stride=ARGUMENTS, padding=PADDINGS, dilation=ARGUMENTS, groups=ARGUMENTS)
@quick(300)
def test_any_convolution_is_planned_or_refused(stride, padding, dilation, groups):
    x, weight = np.zeros((1, 4, 5, 6), np.float32), np.zeros((6, 4, 3, 3), np.float32)
    planned_or_refused("conv2d", F.conv2d, x, weight, None, stride, padding, dilation, groups)


@given(kernel=ARGUMENTS, stride=ARGUMENTS, padding=PADDINGS, dilation=ARGUMENTS, ceil_mode=st.booleans())
@quick(300)
def test_any_pooling_is_planned_or_refused(kernel, stride, padding, dilation, ceil_mode):
    x = np.zeros((1, 4, 5, 6), np.float32)
    planned_or_refused("max_pool2d", F.max_pool2d, x, kernel, stride, padding, dilation, ceil_mode)
