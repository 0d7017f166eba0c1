"""What only a GPU can show: capture in a graph, no waiting, more than 2**31 elements, CuPy's views, NVRTC's errors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import refused

import pyconv
import pyconv.functional as F
from pyconv import registry, testing
from pyconv.backends.cuda import conv, kernel, unusable
from pyconv.backends.cuda.activation import Epilogue
from pyconv.errors import BackendError, DeviceError

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import by_both_ways

pytestmark = pytest.mark.skipif(unusable() is not None, reason=str(unusable()))

SPIN = r"""
extern "C" __global__ void spin(long long ticks)
{
    long long begin = clock64();
    while (clock64() - begin < ticks) {
    }
}
"""


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy")


def stack() -> pyconv.Sequential:
    return pyconv.Sequential(
        pyconv.Conv2d(3, 8, 3, padding=1, rng=0),
        pyconv.ReLU(),
        pyconv.MaxPool2d(2),
        pyconv.Conv2d(8, 8, 3, padding=1, groups=8, rng=1),
        pyconv.Conv2d(8, 5, 1, rng=2),
        pyconv.Tanh(),
    )


def image(cupy, batch: int = 2, seed: int = 0):
    return cupy.asarray(np.random.default_rng(seed).standard_normal((batch, 3, 16, 20), np.float32))


def test_a_graph_after_a_warm_up(cupy):
    """Captured once and launched again with other numbers in the same memory; weights came from another stream."""
    layers, x = stack(), image(cupy)
    cupy.asnumpy(layers(x))
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        layers(x)  # fills this stream's part of CuPy's pool
        stream.synchronize()
        stream.begin_capture()
        result = layers(x)
        graph = stream.end_capture()
        for seed in (3, 4):
            x[...] = image(cupy, seed=seed)
            graph.launch(stream)
            stream.synchronize()
            np.testing.assert_array_equal(cupy.asnumpy(result), cupy.asnumpy(layers(x)))


def test_a_call_does_not_wait_for_the_device(cupy):
    layers, x = stack(), image(cupy)
    spin = cupy.RawKernel(SPIN, "spin")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        wanted = cupy.asnumpy(layers(x))
        spin((1,), (1,), (np.int64(1),))
        stream.synchronize()
        spin((1,), (1,), (np.int64(4_000_000_000),))  # seconds, far longer than the calls take
        result = layers(x)
        assert not stream.done
        stream.synchronize()
    np.testing.assert_array_equal(cupy.asnumpy(result), wanted)


def test_memory_comes_from_the_pool(cupy):
    layers, x = stack(), image(cupy)
    layers(x)
    pool = cupy.get_default_memory_pool()
    before, total = pool.used_bytes(), pool.total_bytes()
    for _ in range(20):
        result = layers(x)
    assert pool.total_bytes() <= total + result.nbytes * 20
    del result
    assert pool.used_bytes() <= before + x.nbytes * 20


LARGE = 2**31 + 5


def room_for(cupy, size: int) -> None:
    free, _ = cupy.cuda.runtime.memGetInfo()
    cupy.get_default_memory_pool().free_all_blocks()
    if free < size + 2**31:
        pytest.skip(f"it takes {size / 2**30:.0f} GiB of device memory, {free / 2**30:.0f} are free")


def test_an_activation_of_more_than_2_31_elements(cupy):
    room_for(cupy, 2 * LARGE * 4)
    x = cupy.full(LARGE, -1, np.float32)
    x[-3:] = 2
    x[2**31 - 1] = 3
    F.relu(x, out=x)
    assert (float(x[-1]), float(x[-4]), float(x[2**31 - 1]), float(x[0])) == (2, 0, 3, 0)


def test_an_image_of_more_than_2_31_elements(cupy):
    """Offsets inside one image, and numbers of outputs, beyond 32 bits."""
    side = 46_342  # its square is above 2**31
    room_for(cupy, 3 * side * side * 4)
    x = cupy.zeros((1, 1, side, side), np.float32)
    x[0, 0, -1, -1] = 5
    x[0, 0, -2, -3] = 2
    values, indices = F.max_pool2d(x, 2, return_indices=True)
    assert float(values[0, 0, -1, -1]) == 5
    assert int(indices[0, 0, -1, -1]) == side * side - 1
    del values, indices
    out = F.conv2d(x, np.full((1, 1, 3, 3), 2, np.float32), padding=1)
    assert float(out[0, 0, -1, -1]) == 10
    assert float(out[0, 0, -1, -2]) == 14
    assert float(out[0, 0, -3, -3]) == 4
    assert float(out.sum(dtype=np.float64)) == 2 * (5 * 4 + 2 * 9)


def test_a_batch_of_more_than_2_31_elements(cupy):
    room_for(cupy, 2 * 4 * (2**31 + 2**20))
    images = 2**31 // (64 * 128 * 128) + 1
    x = cupy.zeros((images, 64, 128, 128), np.float32)
    x[-1] = 1
    out = F.conv2d(x, np.ones((1, 64, 1, 1), np.float32))
    assert float(out[-1].min()) == float(out[-1].max()) == 64
    assert float(cupy.abs(out[:-1]).max()) == 0


@pytest.mark.parametrize("layout", ["reversed", "gaps", "window", "broadcast", "broadcast_planes"])
@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (6, 1, 3, 3), (4, 3, 1, 1)], ids=str)
def test_views(cupy, layout, shape):
    """CuPy's views with gaps, negative and zero strides, without a copy."""
    values = np.random.default_rng(0).standard_normal((2, 3, 9, 8)).astype("f4")
    moved = testing.LAYOUTS["contiguous"](values)
    around = cupy.zeros((2, 3, 20, 24), np.float32)
    view = {
        "reversed": lambda: cupy.asarray(values)[::-1, ::-1, ::-1, ::-1],
        "gaps": lambda: around[:, :, :18:2, :24:3],
        "window": lambda: around[:, :, 3:12, 5:13],
        "broadcast": lambda: cupy.broadcast_to(cupy.asarray(values)[..., :1], values.shape),
        "broadcast_planes": lambda: cupy.broadcast_to(cupy.asarray(values)[:1], values.shape),
    }[layout]()
    if layout in ("gaps", "window"):
        view[...] = cupy.asarray(moved)
    weight = np.random.default_rng(1).standard_normal(shape).astype("f4")
    groups = 3 // shape[1]
    got = F.conv2d(view, weight, padding=1, groups=groups)
    wanted = F.conv2d(cupy.asnumpy(view), weight, padding=1, groups=groups, backend="reference")
    np.testing.assert_allclose(cupy.asnumpy(got), wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(
        cupy.asnumpy(F.max_pool2d(view, 2)), F.max_pool2d(cupy.asnumpy(view), 2, backend="reference")
    )
    np.testing.assert_array_equal(cupy.asnumpy(F.relu(view)), np.maximum(cupy.asnumpy(view), 0))


@pytest.mark.parametrize("case", testing.half_cases(), ids=str)
def test_half_precision(case):
    if case.dtype == "bfloat16":
        ml_dtypes = pytest.importorskip("ml_dtypes")
        try:
            registry.load("cuda")._room.upload(np.zeros(1, ml_dtypes.bfloat16))
        except BackendError as error:
            pytest.skip(str(error))
    assert testing.check(case, "cuda") is None


def test_a_kernel_that_does_not_compile(cupy, monkeypatch, tmp_path):
    (tmp_path / "broken.cu").write_text('extern "C" __global__ void broken(int a)\n{\n    nonsense;\n}\n')
    monkeypatch.setattr(kernel, "KERNELS", tmp_path)
    monkeypatch.setattr(kernel, "_source", kernel._source.__wrapped__)
    room = registry.load("cuda")._room
    launch = kernel.Launch(kernel.Kernel.of("broken", "float32", np.dtype("i4")), 1, 1)
    words = ["broken.cu with -DDTYPE=FLOAT32", "broken.cu(3)", "nonsense"]
    refused(DeviceError, words, room.launch, launch, np.zeros(1, "i4"))


@pytest.fixture
def hopper():
    return by_both_ways()


HALF = ["float16", "bfloat16"]
LAYERS = [
    ((2, 64, 17, 19), (256, 64, 3, 3), 1, 1),
    ((2, 64, 16, 16), (128, 64, 1, 1), 0, 1),
    ((1, 512, 7, 7), (512, 512, 3, 3), 1, 1),
    ((2, 3, 33, 35), (64, 3, 7, 7), 3, 2),
    ((3, 67, 9, 11), (129, 67, 3, 3), 1, 1),
]


@pytest.mark.parametrize(("shape", "kernel", "padding", "stride"), LAYERS, ids=str)
@pytest.mark.parametrize(("dtype", "precision"), [("float32", "fp32"), ("float32", "tf32"), *((d, None) for d in HALF)])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_wgmma_and_mma_sync(cupy, hopper, shape, kernel, padding, stride, dtype, precision, layout):
    """Whole numbers, whose sums are exact, to the same bits; others within each precision's bound."""
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    rng = np.random.default_rng(0)
    for whole in (True, False):
        arrays = [rng.integers(-3, 4, size) if whole else rng.standard_normal(size) for size in (shape, kernel)]
        try:
            x, weight = (cupy.asarray(array.astype("f4")).astype(kind) for array in arrays)
        except (TypeError, ValueError) as error:
            pytest.skip(f"CuPy takes no {dtype}: {error}")
        if layout == "nhwc":
            x = cupy.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        steps = ((stride, stride), ((padding, padding), (padding, padding)), (1, 1), 1)
        plan = F.conv.plan_call_conv2d(x, weight, None, steps, None, "auto", precision=precision).plan
        names = [next(name for name, reason in each.implementations(plan) if reason is None) for each in hopper]
        assert [name.partition("_")[0] for name in names] == ["tensor", "wgmma"]
        first, second = (
            cupy.asnumpy(each.run(plan, x, each.prepare(plan, weight)).astype("f4")).astype("f8") for each in hopper
        )
        again = hopper[1].run(plan, x, hopper[1].prepare(plan, weight))
        np.testing.assert_array_equal(cupy.asnumpy(again.astype("f4")), second)
        if whole and dtype == "float32":
            np.testing.assert_array_equal(first, second)
        wide = [cupy.asnumpy(array.astype("f4")).astype("f8") for array in (x, weight)]
        exact, scale = (
            F.conv2d(*pair, stride=stride, padding=padding, backend="reference")
            for pair in (wide, [abs(array) for array in wide])
        )
        bound = {"fp32": 1e-6, "tf32": 2.0**-10}.get(precision, 2.0**-8 if dtype == "bfloat16" else 2.0**-10)
        for result in (first, second):
            assert (abs(result - exact) / scale).max() < bound


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_wgmma_with_what_is_not_finite_and_an_epilogue(cupy, hopper, precision):
    """The exact pass; residual, activation and pooling, as mma.sync has them."""
    x = np.random.default_rng(0).standard_normal((2, 32, 12, 12)).astype("f4")
    x[0, 3, 4, 5], x[1, 7, 8, 9] = np.inf, np.nan
    weight = np.random.default_rng(1).standard_normal((70, 32, 3, 3)).astype("f4")
    steps = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    x = cupy.asarray(x)
    plan = F.conv.plan_call_conv2d(x, weight, None, steps, None, "auto", precision=precision).plan
    residual = cupy.asarray(np.random.default_rng(2).standard_normal(plan.out_shape).astype("f4"))
    for epilogue, more in ((Epilogue("relu"), residual), (Epilogue("gelu", pooled=True), None)):
        found = [
            cupy.asnumpy(conv.run(each._room, plan, x, each.prepare(plan, weight), None, epilogue, more))
            for each in hopper
        ]
        np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)
        assert np.isfinite(found[0]).any()
        assert not np.isfinite(found[0]).all()


def test_info_shows_the_device(capsys):
    pyconv.show_config()
    said = capsys.readouterr().out
    for word in ("cuda device:", "cuda driver:", "cupy:", "cuda wgmma:", "compute capability"):
        assert word in said
