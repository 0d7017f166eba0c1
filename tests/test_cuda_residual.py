"""What is added to a convolution, on the host: by every kernel, however it lies, in place, before activations."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import normal, refused

import pyconv.functional as F
from pyconv.backends.cuda import CudaBackend
from pyconv.errors import DeviceError
from pyconv.functional.conv import plan_call_conv2d
from pyconv.plan import conv_parameters, plan_elementwise, plan_fused, plan_max_pool2d, pool_parameters

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import stand_in_for_cuda
from stand_in import StandIn, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ROOM = StandIn(seed=11, devices=2) if missing() is None else None

# input, weight, (stride, padding, dilation, groups), what is launched last
LAYERS = {
    "gemm": ((2, 3, 7, 9), (10, 3, 3, 3), (1, 1, 1, 1), "conv_gemm"),
    "gemm of tiny planes": ((5, 6, 3, 3), (9, 6, 3, 3), (1, 0, 1, 1), "conv_gemm"),
    "pointwise": ((3, 5, 8, 8), (12, 5, 1, 1), (1, 0, 1, 1), "conv_pointwise"),
    "depthwise": ((2, 3, 9, 12), (6, 1, 3, 3), (1, 1, 1, 3), "conv_depthwise"),
    "depthwise of odd width": ((1, 3, 9, 13), (3, 1, 5, 5), (1, 1, 1, 3), "conv_depthwise"),
    "tensor": ((2, 16, 7, 9), (20, 16, 3, 3), (1, 1, 1, 1), "conv_tensor"),
    "tensor in pairs": ((2, 16, 6, 8), (20, 16, 3, 3), (1, 1, 1, 1), "conv_tensor"),
    "tensor in parts": ((1, 64, 4, 4), (16, 64, 3, 3), (1, 1, 1, 1), "sum_parts"),
}
DTYPES = [(name, "float32") for name in LAYERS] + [("gemm", "float64"), ("depthwise", "float16"), ("tensor", "float16")]


@pytest.fixture
def room(monkeypatch):
    stand_in_for_cuda(monkeypatch, ROOM)
    ROOM.launched.clear()
    return ROOM


def last(array: np.ndarray) -> np.ndarray:
    """The same numbers, channels-last."""
    return np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1)


def made(name, dtype, function=("relu", ()), pool=False):
    """(plan, input, weight, bias, residual)."""
    shape, weight_shape, parameters, _ = LAYERS[name]
    x, weight, bias = (
        normal(*each, seed=seed).astype(dtype) for seed, each in enumerate((shape, weight_shape, weight_shape[:1]))
    )
    call = plan_call_conv2d(x, weight, bias, conv_parameters("conv2d", *parameters), None, "auto", True)
    shape = call.plan.out_shape
    activated = plan_elementwise(function[0], shape, dtype, function[1]) if function else None
    pooled = (
        plan_max_pool2d(shape, dtype, 4, "nchw", *pool_parameters("pool", 2, None, 0, 1, False, False))
        if pool
        else None
    )
    plan = plan_fused(call.plan, shape, activated, pooled)
    return plan, x, weight, bias, normal(*shape, seed=5).astype(dtype)


@pytest.mark.parametrize(("name", "dtype"), DTYPES)
def test_the_same_bits_however_it_lies(room, name, dtype):
    """Those of convolution, sum and activation one after the other, where these round alike."""
    plan, x, weight, bias, residual = made(name, dtype, ("leaky_relu", (0.25,)) if dtype != "float16" else None)
    backend = CudaBackend(room)
    assert backend.fuses(plan) is None
    prepared, on_device = backend.prepare(plan, weight, bias), room.array(x)
    wanted = backend.run(plan.conv, on_device, prepared).host + residual
    if plan.activation is not None:
        wanted = backend.run(plan.activation, room.array(wanted)).host
    # float16: the parts round twice, the kernel once; that is a spacing of the largest number at most
    spacing = float(np.spacing(np.abs(wanted).max())) if dtype == "float16" else 0
    shifted = room.array(np.zeros(residual.size + 1, dtype)).host[1:].reshape(residual.shape)
    shifted[...] = residual
    wide = np.repeat(residual, 2, -1)
    room.launched.clear()
    for given in (
        room.array(residual),
        type(on_device)(shifted),
        room.array(last(residual)),
        room.array(wide)[..., ::2],
    ):
        before = given.host.copy()
        got = backend.run(plan, (on_device, given), prepared)
        assert got.host.tobytes() == wanted.tobytes() or dtype == "float16"
        np.testing.assert_allclose(got.host, wanted, rtol=0, atol=spacing)
        np.testing.assert_array_equal(given.host, before)
        assert backend.run(plan, (on_device, given), prepared, given) is given  # in place
        assert given.host.tobytes() == got.host.tobytes()
    assert set(room.launched) == {LAYERS[name][3]} | ({"conv_tensor"} if "parts" in name else set())


def test_an_out_that_lies_otherwise(room):
    """Channels-last, or a slice of more channels, with a residual in C order and in its own order."""
    plan, x, weight, bias, residual = made("tensor", "float32")
    backend = CudaBackend(room)
    prepared, on_device = backend.prepare(plan, weight, bias), room.array(x)
    wanted = backend.run(plan, (on_device, room.array(residual)), prepared).host
    for out in (room.array(last(np.zeros_like(wanted))), room.array(np.zeros((2, 31, 7, 9), "f4"))[:, 3:23]):
        for given in (room.array(residual), room.array(last(residual))):
            assert backend.run(plan, (on_device, given), prepared, out) is out
            np.testing.assert_array_equal(out.host, wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_numbers_that_are_not_finite(room, value):
    for name in ("gemm", "tensor", "tensor in parts"):
        plan, x, weight, bias, residual = made(name, "float32", None)
        x[0, 1, 2, 2] = value
        backend = CudaBackend(room)
        prepared, on_device = backend.prepare(plan, weight, bias), room.array(x)
        with np.errstate(all="ignore"):
            wanted = backend.run(plan.conv, on_device, prepared).host + residual
            got = backend.run(plan, (on_device, room.array(residual)), prepared).host
        assert not np.isfinite(wanted).all()
        np.testing.assert_array_equal(got, wanted)


def test_finite_sums_beside_others_keep_their_bits(room):
    """Of a tile with a sum that is not finite, the others are what they are without it."""
    plan, x, weight, bias, _ = made("tensor", "float32", None)
    backend = CudaBackend(room)
    prepared = backend.prepare(plan, weight, bias)
    before = backend.run(plan.conv, room.array(x), prepared).host
    x[1, 3, 6, 8] = np.nan
    after = backend.run(plan.conv, room.array(x), prepared).host
    seen = np.isnan(after)
    assert seen.any()
    assert not seen[1, :, :4].any()
    np.testing.assert_array_equal(after[~seen], before[~seen])


def test_what_is_refused(room):
    plan, *_ = made("gemm", "float32", pool=True)
    assert "pool without a residual" in CudaBackend(room).fuses(plan)
    x, weight = normal(1, 3, 6, 6), normal(4, 3, 3, 3)
    with room.on(1):
        elsewhere = room.array(normal(1, 4, 4, 4))
    words = ["the residual is on device 1, the input on device 0; move one of them"]
    refused(DeviceError, words, F.conv2d, room.array(x), weight, residual=elsewhere)
