"""Max pooling behind a convolution on the host, as one kernel: the bits of the two, and refusals in words."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import known_by, normal, warm

import pyconv
from pyconv.backends.cuda import CudaBackend, conv, tensor, tensor_terms
from pyconv.backends.cuda.tensor_tile import TILES, Cut
from pyconv.functional.conv import plan_call_conv2d
from pyconv.plan import conv_parameters, plan_elementwise, plan_fused, plan_max_pool2d, pool_parameters
from pyconv.report import explain

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import stand_in_for_cuda
from stand_in import StandIn, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

ROOM = StandIn(seed=10) if missing() is None else None

# input, weight, (stride, padding, dilation, groups)
LAYERS = {
    "few channels": ((2, 3, 13, 18), (10, 3, 3, 3), (1, 1, 1, 1)),
    "taps outside": ((2, 8, 9, 11), (13, 8, 3, 3), (1, 1, 1, 1)),
    "groups": ((1, 6, 14, 15), (10, 3, 3, 3), (1, 1, 2, 2)),
    "1x1": ((3, 5, 8, 8), (12, 5, 1, 1), (1, 0, 1, 1)),
    "stride 2": ((1, 5, 25, 23), (7, 5, 3, 5), (2, 2, 1, 1)),
    "one window": ((1, 4, 2, 3), (3, 4, 1, 1), (1, 0, 1, 1)),
}
TENSOR = {
    "taps": ((2, 32, 9, 11), (40, 32, 3, 3), (1, 1, 1, 1)),
    "mixed": ((1, 3, 19, 22), (70, 3, 3, 3), (1, 1, 1, 1)),
    "planes": ((2, 40, 8, 10), (130, 40, 1, 1), (1, 0, 1, 1)),
    "planes of whole steps": ((1, 32, 6, 10), (16, 32, 1, 1), (1, 0, 1, 1)),
    "tensor groups": ((1, 64, 7, 9), (40, 32, 3, 3), (1, 1, 1, 2)),
}
FUNCTIONS = {"none": None, "relu": ("relu", ()), "hardtanh": ("hardtanh", (-0.5, 0.75)), "gelu": ("gelu", ())}


@pytest.fixture(params=["tensor cores", "without"])
def room(request, monkeypatch):
    stand_in_for_cuda(monkeypatch, ROOM)
    monkeypatch.setattr(ROOM, "_tensor_cores", 8 if request.param == "tensor cores" else 0)
    ROOM.launched.clear()
    return ROOM


def plan_of(x, weight, bias, parameters, function=("relu", ()), pool=(2, None, 0, 1, False, False)):
    call = plan_call_conv2d(x, weight, bias, conv_parameters("conv2d", *parameters), None, "auto", True)
    shape, dtype = call.plan.out_shape, call.plan.dtype
    activated = plan_elementwise(function[0], shape, dtype, function[1]) if function else None
    pooled = plan_max_pool2d(shape, dtype, x.itemsize, "nchw", *pool_parameters("pool", *pool)) if pool else None
    return plan_fused(call.plan, None, activated, pooled)


def one_after_the_other(backend, plan, x, prepared):
    result = backend.run(plan.conv, x, prepared)
    if plan.activation is not None:
        result = backend.run(plan.activation, result)
    return backend.run(plan.pool, result).host


def check(room, layer, function="relu", values=None, layout=None):
    shape, weight_shape, parameters = layer
    x, weight, bias = normal(*shape), normal(*weight_shape, seed=1), normal(weight_shape[0], seed=2)
    if values is not None:
        x.reshape(-1)[:: max(1, x.size // 5)] = values
    if layout == "nhwc":
        x = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)
    backend, plan = CudaBackend(room), plan_of(x, weight, bias, parameters, FUNCTIONS[function])
    assert backend.fuses(plan) is None
    prepared = backend.prepare(plan, weight, bias)
    on_device = room.array(x)
    with np.errstate(all="ignore"):
        wanted = one_after_the_other(backend, plan, on_device, prepared)
        room.launched.clear()
        got = backend.run(plan, on_device, prepared)
        assert len(room.launched) == 1
        assert got.shape == plan.out_shape
        assert got.host.tobytes() == wanted.tobytes()
        out = room.empty((*plan.out_shape[:3], plan.out_shape[3] * 2), np.dtype("f4"))
        inside = type(out)(out.host[..., ::2])
        assert backend.run(plan, on_device, prepared, inside) is inside
        np.testing.assert_array_equal(inside.host, wanted)
        assert np.isnan(out.host[..., 1::2]).all()
    return wanted


CASES = [(name, "relu") for name in (*LAYERS, *TENSOR)]
CASES += [(name, function) for name in ("few channels", "taps") for function in FUNCTIONS if function != "relu"]


@pytest.mark.parametrize(("name", "function"), CASES)
def test_the_same_bits(room, name, function):
    check(room, {**LAYERS, **TENSOR}[name], function)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_that_are_not_finite(room, value):
    for name in ("few channels", "taps", "mixed"):
        wanted = check(room, {**LAYERS, **TENSOR}[name], "none", value)
        assert not np.isfinite(wanted).all()


@pytest.mark.parametrize(("tile", "precision"), list(zip(TILES, ("fp32", "tf32", "fp32"), strict=True)), ids=str)
def test_every_tile_of_tensor_cores(monkeypatch, tile, precision):
    """Windows of a tile, one less and one more; channels-last too."""
    stand_in_for_cuda(monkeypatch, ROOM)
    cached = (tensor.packing, tensor.launch, conv._chosen)

    def chosen(plan):
        return Cut(tile, 1, tensor_terms.steps(plan))

    monkeypatch.setattr(tensor, "cut", chosen)
    for function in cached:
        function.cache_clear()
    try:
        windows = tile.pixels // 4
        with pyconv.precision(precision):
            check(ROOM, ((1, 32, 2, 2 * windows - 1), (tile.channels - 1, 32, 1, 1), (1, 0, 1, 1)))
            check(ROOM, ((1, 5, 4, 2 * windows), (tile.channels, 5, 3, 3), (1, 1, 1, 1)), "relu", np.inf)
            check(ROOM, ((1, 32, 2, 2 * windows + 2), (tile.channels + 1, 32, 3, 1), (1, (1, 0), 1, 1)), layout="nhwc")
    finally:
        for function in cached:
            function.cache_clear()


def test_a_group_is_one_call(room):
    """Known when it comes again, into other memory and into ``out``; explained as one."""
    net = pyconv.Sequential(pyconv.Conv2d(5, 6, 3, padding=1, rng=0), pyconv.ReLU(), pyconv.MaxPool2d(2))
    x, other = room.array(normal(2, 5, 9, 12)), room.array(normal(2, 5, 9, 12, seed=3))
    [group] = net.parts().values()
    wanted = pyconv.Sequential(*net, fuse=False)(other).host
    warm(net, x)
    room.launched.clear()
    got = known_by(group, other)
    assert room.launched == ["conv_gemm"]
    np.testing.assert_array_equal(got.host, wanted)
    out = room.array(np.zeros_like(wanted))
    assert net(other, out=out) is out
    np.testing.assert_array_equal(out.host, wanted)
    text = str(explain(net, x))
    assert "conv2d+relu+max_pool2d" in text
    assert "cuda:gemm" in text


def test_what_is_refused(room):
    """In words; the activation is applied by the convolution all the same."""
    backend, (shape, weight_shape, parameters) = CudaBackend(room), LAYERS["few channels"]
    arrays = normal(*shape), normal(*weight_shape), None

    def reason(*pool, **changed):
        plan = plan_of(*arrays, parameters, pool=(*pool, False))
        return backend.fuses(replace(plan, conv=replace(plan.conv, **changed)) if changed else plan)

    assert reason(2, None, 0, 1, False) is None
    for pool in ((3, 2, 1, 1, False), (2, 1, 0, 1, False), (2, 2, 1, 1, False), (2, None, 0, 2, False)):
        assert "2x2 windows" in reason(*pool)
    assert "2x2 windows" in reason(2, None, 0, 1, True)  # 13 rows end in half a window
    places = plan_of(*arrays, parameters, pool=(2, None, 0, 1, False, True))
    assert "more than maxima" in backend.fuses(places)
    wide = plan_of(*(array if array is None else array.astype("f8") for array in arrays), parameters)
    assert "in float64 a thread has half a window" in backend.fuses(wide)
    x, weight = normal(1, 4, 8, 8), normal(4, 1, 3, 3)
    assert "depthwise" in backend.fuses(plan_of(x, weight, None, (1, 1, 1, 4)))
    deep = plan_of(normal(1, 512, 6, 6), normal(16, 512, 3, 3), None, (1, 1, 1, 1))
    assert ("parts" in (backend.fuses(deep) or "")) == bool(room.tensor_cores())
    net = pyconv.Sequential(pyconv.Conv2d(3, 4, 3, rng=0), pyconv.ReLU(), pyconv.MaxPool2d(3, 2))
    x = room.array(normal(1, 3, 9, 9))
    net(x)
    room.launched.clear()
    net(x)
    assert room.launched == ["conv_gemm", "window_pool"]
    assert "layer by layer" in str(explain(net, x))
