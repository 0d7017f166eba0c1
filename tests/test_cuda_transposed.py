"""Transposed convolution by phases on the host: which plans and weights, how it is put together, and known calls."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import known_by, normal, warm

import pyconv
import pyconv.functional as F
from pyconv import testing
from pyconv.backends.cuda import CudaBackend, phases
from pyconv.plan import phase_parts

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import stand_in_for_cuda
from stand_in import StandIn, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ROOM = StandIn(seed=12) if missing() is None else None


@pytest.fixture
def room(monkeypatch):
    stand_in_for_cuda(monkeypatch, ROOM)
    ROOM.launched.clear()
    return ROOM


SHAPES = {
    "2x2 s2": ((2, 6, 5, 7), (6, 4, 2, 2), {"stride": 2}),
    "3x3 s2": ((1, 5, 6, 5), (5, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "4x4 s2 p1": ((1, 4, 5, 6), (4, 3, 4, 4), {"stride": 2, "padding": 1}),
    "5x3 s3x1": ((1, 3, 4, 6), (3, 2, 5, 3), {"stride": (3, 1), "padding": (1, 2)}),
    "groups": ((2, 6, 4, 5), (6, 2, 4, 2), {"stride": 2, "groups": 3}),
    "groups without borders": ((2, 6, 4, 5), (6, 2, 2, 2), {"stride": 2, "groups": 3}),
    "dilation": ((1, 4, 5, 5), (4, 2, 3, 3), {"stride": 2, "dilation": 3, "padding": 2}),
    "stride 1": ((1, 4, 5, 6), (4, 3, 3, 3), {"padding": 1}),
    "tensor cores": ((1, 20, 5, 6), (20, 16, 2, 2), {"stride": 2}),
}


def check(room, name, dtype="float32", of_device=False, bias=True):
    shape, weight_shape, parameters = SHAPES[name]
    x, weight = normal(*shape, dtype=dtype), normal(*weight_shape, dtype=dtype, seed=1)
    added = normal(weight_shape[1] * parameters.get("groups", 1), dtype=dtype, seed=2) if bias else None
    wanted = F.conv_transpose2d(x, weight, added, **parameters, backend="reference")
    arrays = (room.array(weight), None if added is None else room.array(added)) if of_device else (weight, added)
    got = F.conv_transpose2d(room.array(x), *arrays, **parameters)
    np.testing.assert_allclose(got.host, wanted, rtol=1e-4, atol=1e-5)
    for layout in (np.ascontiguousarray(np.moveaxis(x, 1, -1)).transpose(0, 3, 1, 2), x[:, :, ::-1, ::-1]):
        out = room.array(np.zeros_like(wanted))
        moved = F.conv_transpose2d(room.array(layout), *arrays, **parameters, out=out)
        assert moved is out
        np.testing.assert_allclose(
            moved.host,
            F.conv_transpose2d(layout, weight, added, **parameters, backend="reference"),
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize(
    ("name", "dtype"), [(name, "float32") for name in SHAPES] + [("3x3 s2", "float64"), ("stride 1", "float64")]
)
def test_phases(room, name, dtype):
    for bias in (True, False):
        check(room, name, dtype, bias=bias)
    assert "conv_transposed" not in room.launched
    assert ("interleave" in room.launched) == (name != "stride 1")


@pytest.mark.parametrize("name", ["2x2 s2", "4x4 s2 p1", "groups without borders", "stride 1"])
def test_weights_on_the_device(room, name):
    """By phases where the convolutions add no border: whether the weights are finite cannot be seen there."""
    for bias in (True, False):
        check(room, name, of_device=True, bias=bias)
    assert ("conv_transposed" in room.launched) == (name in ("4x4 s2 p1", "stride 1"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(room, value):
    """They meet the image's own pixels alone, as the definition has it."""
    for name in ("2x2 s2", "4x4 s2 p1"):
        shape, weight_shape, parameters = SHAPES[name]
        x, weight = normal(*shape), normal(*weight_shape, seed=1)
        weight[1, 2, 0, 1] = value
        room.launched.clear()
        with np.errstate(all="ignore"):
            got = F.conv_transpose2d(room.array(x), weight, **parameters).host
            wanted = F.conv_transpose2d(x, weight, **parameters, backend="reference")
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
        assert ("interleave" in room.launched) == (name == "2x2 s2")


def test_a_layer_knows_its_calls(room):
    layer, general = (pyconv.ConvTranspose2d(4, 3, 4, 2, 1, rng=0) for _ in range(2))
    general.plans_alike = False
    x, other = room.array(normal(2, 4, 5, 6)), room.array(normal(2, 4, 5, 6, seed=1))
    warm(layer, x)
    wanted = general(other)
    room.launched.clear()
    got = known_by(layer, other)
    parts = len(phase_parts(layer.plan_call(other).plan))
    assert room.launched == ["conv_gemm", "interleave"] * parts
    np.testing.assert_array_equal(got.host, wanted.host)


def test_refusals(room):
    backend = CudaBackend(room)

    def listed(x, weight, **parameters):
        layer = pyconv.ConvTranspose2d(x[1], weight[1], weight[2:], rng=0, **parameters)
        return backend.implementations(layer.plan_call(np.zeros(x, "f4")).plan)

    (first, reason), (second, other) = listed((1, 4, 5, 6), (4, 3, 2, 2), stride=2)
    assert (first[:12], reason, second, other) == ("phases(gemm_", None, "gather", None)
    for x, weight, parameters, words in (
        ((1, 4, 5, 6), (4, 3, 2, 2), {"stride": 3}, "reached by no pixel"),
        ((1, 4, 5, 6), (4, 3, 9, 9), {"stride": 9}, "more than 8 phases"),
        ((0, 4, 5, 6), (4, 3, 2, 2), {"stride": 2}, "nothing to compute"),
    ):
        assert words in listed(x, weight, **parameters)[0][1]


def test_the_same_weights_by_slices():
    for shape, weight_shape, parameters in SHAPES.values():
        call = F.conv_transpose2d.plan_call(
            input=np.zeros(shape, "f4"), weight=np.zeros(weight_shape, "f4"), bias=None, out=None, algorithm="auto",
            precision=None,
            **{"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1, **parameters},
        )  # fmt: skip
        weight = normal(*weight_shape)
        for part in phase_parts(call.plan):
            merged = phases._weights(ROOM, part, ROOM.array(weight))
            np.testing.assert_array_equal(merged.host, part.weights(weight))


@pytest.mark.parametrize(
    "case", [case for case in testing.cases() if case.op.startswith("conv_transpose")][::9], ids=str
)
def test_conformance_cases_on_the_device(room, case):
    if case.out or case.layout not in ("contiguous", "channels_last"):
        pytest.skip("arrays that lie otherwise")
    arguments = case.arguments()
    wanted = getattr(F, case.op)(**arguments, backend="reference")
    moved = {name: room.array(value) if isinstance(value, np.ndarray) else value for name, value in arguments.items()}
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(getattr(F, case.op)(**moved).host, wanted, rtol=1e-3, atol=1e-4)
