"""The CUDA backend without a GPU: plans, launches and the very kernels, on the host, over the conformance list."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from test_activation_accuracy import EXACT, POINTS, ROUNDED, error_of_long_sums, function, units

import pyconv.functional as F
from pyconv import testing
from pyconv.backends.cuda import (
    CudaBackend,
    activation,
    axis,
    channel_pool,
    channels,
    conv,
    dense,
    elementwise,
    fold,
    gather,
    kernel,
    max_pool,
    phases,
    pool,
    row_pool,
    sum_pool,
    tensor_run,
    unpool,
    weights,
)
from pyconv.backends.cuda.configurations import configurations
from pyconv.backends.cuda.tile import TILES
from pyconv.errors import DeviceError
from pyconv.plan import ACTIVATIONS, plan_elementwise

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
import stand_in
from places import OWN_ARGUMENTS, own_kernel, stand_in_for_cuda
from stand_in import CXX, StandIn, build, missing

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

CASES = [*testing.cases(), *testing.half_cases()]
ROOM = StandIn(seed=1) if missing() is None else None  # one, so that its libraries are loaded once
WITHOUT_KERNEL: set[str] = set()  # operations that only other backends have; whatever else is refused is an error


def needs_bfloat16(case: testing.Case) -> None:
    if case.dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")


@pytest.fixture
def room(monkeypatch):
    stand_in_for_cuda(monkeypatch, ROOM)
    ROOM.launched.clear()
    return ROOM


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(room, case):
    needs_bfloat16(case)
    reason = testing.check(case, "cuda")
    if case.op in WITHOUT_KERNEL and reason is not None and "there is no CUDA kernel" in reason:
        pytest.skip(reason)
    assert reason is None


def test_the_cases_meet_every_kernel():
    """But those with tests of their own: wgmma's, and those with 64-bit indices, residuals and activations."""
    used = set(ROOM._libraries)
    assert {each for each in used if dict(each.defines).get("RESIDUAL") != "1"} <= set(configurations())
    if len(used) < 10:
        pytest.skip("for the whole list of cases only")
    sources = {each.name for each in configurations() if each.architecture is None}
    assert {each.name for each in used} == sources
    macros = [("window_pool", macro) for macro in ("KERNEL", "STRIDE", "ROWS", "COLUMNS", "POOL")]
    for name, macro in (("conv_depthwise", "KERNEL"), ("max_pool", "POOL"), *macros):
        values = {dict(each.defines)[macro] for each in configurations() if each.name == name}
        assert {dict(each.defines)[macro] for each in used if each.name == name} == values
    for name in ("channel_pool", "elementwise", "channels", "softmax", "glu", "max_unpool"):
        assert {each for each in used if each.name == name} == {each for each in configurations() if each.name == name}


@pytest.fixture
def simt(room, monkeypatch):
    """A device without tensor cores."""
    monkeypatch.setattr(room, "_tensor_cores", 0)
    return room


@pytest.fixture
def choices():
    """Nothing of what was chosen for a plan is remembered, before and after."""
    caches = (
        conv.tensor.cut,
        conv.tensor.packing,
        conv.tensor.launch,
        dense.tile,
        dense.packing,
        conv._chosen,
        pool._chosen,
        row_pool.refusal,
        channel_pool.refusal,
        phases.refusal,
        phases.launch,
        *(m.launch for m in (conv.gemm, conv.pointwise, conv.depthwise, gather, max_pool, sum_pool, fold)),
    )
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


TILED = [(dtype, tile) for dtype in kernel.DTYPES for tile in TILES[dtype]]


@pytest.mark.parametrize(
    ("dtype", "tile"), TILED, ids=[f"{dtype}-{tile.channels}x{tile.pixels}" for dtype, tile in TILED]
)
def test_edges_of_tiles(simt, monkeypatch, choices, dtype, tile):
    """Channels and pixels of one, one less than a tile, a tile, and one more; sums that do not fill a step."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    monkeypatch.setattr(dense, "tile", lambda plan: tile)
    m, n = tile.channels, tile.pixels
    shapes = [
        ((1, 3, 3, n + 1), (m - 1, 3, 3, 3), {"padding": 1}),
        ((1, 17, 1, n), (m, 17, 1, 1), {}),
        ((2, 8, 2, n // 2), (m + 1, 8, 1, 1), {}),
        ((1, 16, 1, n - 1), (1, 16, 1, 3), {"padding": (0, 1)}),
        ((1, 18, 4, 4), (2 * (m + 1), 9, 1, 1), {"groups": 2}),
    ]
    for number, (shape, weight, parameters) in enumerate(shapes):
        case = testing.Case(f"tile{number}-{dtype}", "conv2d", dtype, shape, weight, parameters=parameters)
        assert testing.check(case, "cuda") is None


def test_numbers_of_64_bits(simt, monkeypatch, choices):
    """The kernels for images of 2**31 elements, on small ones."""
    chosen = {}
    for module in (conv.gemm, conv.pointwise, conv.depthwise, row_pool, channel_pool, max_pool, sum_pool):
        monkeypatch.setattr(module, "fitting_index", lambda plan: "long long")
    for module in (gather, phases, fold):
        monkeypatch.setattr(module, "INT_LIMIT", 0)
    names = ("plain", "groups2", "depthwise_stride2", "tf32_kernel_1x1", "channels_17_33", "dilation_stride_padding")
    names += ("indices-3x3_stride2_padding1", "ceil_dilation", "2x2", "whole_large_plane", "3-2x2", "2-large_plane")
    names += ("groups2_2x2", "2x3_stride2", "dilation")
    for case in CASES:
        label = case.name.partition("-")[2].removesuffix(f"-{case.dtype}")
        if label in names:
            needs_bfloat16(case)
            assert testing.check(case, "cuda") is None
            chosen[case.op] = chosen.get(case.op, 0) + 1
    for dtype in ("float32", "float64"):  # whose phases do not reach every output
        case = testing.Case("gather", "conv_transpose2d", dtype, (1, 3, 4, 5), (3, 2, 2, 2), parameters={"stride": 3})
        assert testing.check(case, "cuda") is None
    assert chosen["conv2d"] > 15
    assert chosen["max_pool2d"] == 6
    used = [each.name for each in ROOM._libraries if dict(each.defines).get("INDEX") == "long long"]
    assert len(used) > 10
    assert set(used) == {each.name for each in configurations() if ("INDEX", "long long") in each.defines}
    whole = {each for each in configurations() if each.name in ("sum_pool", "conv_transposed", "interleave", "fold")}
    assert {each for each in whole if ("INDEX", "long long") in each.defines} <= set(ROOM._libraries)


@pytest.mark.parametrize("epilogue", activation.EXAMPLES, ids=lambda epilogue: epilogue.activation)
@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (4, 1, 3, 3), (5, 4, 1, 1)], ids=str)
def test_activation_in_the_epilogue(room, epilogue, shape):
    """The same bits as the convolution and then the activation."""
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 6)).astype("f4")
    weight, bias = np.ones(shape, "f4"), np.linspace(-1, 1, shape[0], dtype="f4")
    backend = CudaBackend(room)
    call = F.conv.plan_call_conv2d(x, weight, bias, ((1, 1), ((1, 1), (1, 1)), (1, 1), 4 // shape[1]), None, "auto")
    prepared = backend.prepare(call.plan, weight, bias)
    fused = conv.run(room, call.plan, room.upload(x), prepared, None, epilogue._replace(residual=False))
    apart = backend.run(call.plan, x, prepared)
    wanted = backend.run(plan_elementwise(epilogue.activation, apart.shape, "float32", epilogue.parameters), apart)
    np.testing.assert_array_equal(fused.host, wanted)


@pytest.mark.parametrize("op", ROUNDED)
def test_error_of_activations(room, op):
    """Over floats of every magnitude, as every backend is held to; float64 at points that are known to many digits."""
    single, double = ACTIVATIONS[op].ulps
    bits = np.arange(0, 2**32, 80_021, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    x = x[np.isfinite(x)]
    assert units(function(op, "cuda")(x), function(op)(x.astype(np.float64)), np.float32).max() <= single
    exact = np.array([float.fromhex(value) for value in EXACT[op].split()])
    assert units(function(op, "cuda")(np.array(POINTS)), exact, np.float64).max() <= double


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_long_sums_stay_exact(room, op, dtype):
    """Though threads share a sum, and each sums many terms."""
    assert error_of_long_sums(op, dtype, "cuda") <= 4


def test_one_result_whatever_the_order_of_threads():
    """Shuffled differently, blocks and threads compute the same bits."""
    for case in CASES[:60:7]:
        arguments, results = case.arguments(), []
        for seed in (2, 3):
            backend = CudaBackend(StandIn(seed))
            call = testing.checks.function_call(getattr(F, case.op), (), arguments)[0]
            prepared = backend.prepare(call.plan, call.weight, call.bias)
            results.append(backend.run(call.plan, call.x, prepared))
        np.testing.assert_array_equal(*results)


def run_own(own: kernel.Kernel, size: int = 64) -> np.ndarray:
    x, out = ROOM.array(np.arange(size, dtype="f4")), ROOM.empty((64,), np.dtype("f4"))
    arguments = np.zeros(1, OWN_ARGUMENTS)
    arguments["x"], arguments["out"], arguments["size"] = ROOM.address(x), ROOM.address(out), size
    ROOM.launch(kernel.Launch(own, 1, 64), arguments)
    return out.host


def run_alone(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, which may end as it likes; it prints what was written."""
    code = f"""
import ctypes, numpy as np
x, out, text = np.arange(64, dtype="f4"), np.zeros(64, "f4"), ctypes.create_string_buffer(300)
packed = np.array([x.ctypes.data, out.ctypes.data, 64], "u8")
failed = ctypes.CDLL({str(path)!r}).pyconv_run(1, 64, ctypes.c_void_p(packed.ctypes.data), ctypes.c_size_t(24),
                                               ctypes.c_ulonglong(1), text, ctypes.c_size_t(300))
print(text.value.decode() if failed else " ".join(map(str, out.tolist())))
"""
    more = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=more, capture_output=True, text=True, timeout=100)


def test_the_stand_in_sees_an_access_outside(monkeypatch, tmp_path):
    own = own_kernel(monkeypatch, tmp_path, "a.out[threadIdx.x] = a.x[threadIdx.x == 5 ? 1024 : threadIdx.x];")
    with pytest.raises(
        DeviceError, match=r"own.cu with .*: block 0, thread 5: access to 0x\w+, outside of every array"
    ):
        run_own(own)
    np.testing.assert_array_equal(F.relu(np.ones(3, "f4"), backend="cpu"), 1)  # and life goes on


REVERSE = """__shared__ element line[64];
    line[threadIdx.x] = a.x[threadIdx.x];
    %s
    a.out[threadIdx.x] = line[63 - threadIdx.x];"""


def test_the_stand_in_has_barriers(monkeypatch, tmp_path):
    own = own_kernel(monkeypatch, tmp_path, REVERSE % "__syncthreads();")
    np.testing.assert_array_equal(run_own(own), np.arange(64)[::-1])


def test_the_stand_in_under_a_compiler_that_fortifies(monkeypatch, tmp_path):
    """As that of Ubuntu does unasked; a jump to another stack would end the process, so it is another one."""
    compiler = tmp_path / "fortifying"
    compiler.write_text(f'#!/bin/sh\nexec {CXX} -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setattr(stand_in, "CXX", str(compiler))
    monkeypatch.setattr(stand_in, "BUILD", tmp_path)
    monkeypatch.setattr(stand_in, "_runner", stand_in._runner.__wrapped__)
    done = run_alone(build(own_kernel(monkeypatch, tmp_path, REVERSE % "__syncthreads();")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"{value}.0" for value in range(63, -1, -1)]


def test_the_stand_in_sees_a_missing_barrier(monkeypatch, tmp_path):
    """Shared memory begins as NaN, and half of it is read before it is written."""
    own = own_kernel(monkeypatch, tmp_path, REVERSE % "")
    assert 1 < np.isnan(run_own(own)).sum() < 63


def test_the_stand_in_sees_a_barrier_that_not_all_reach(monkeypatch, tmp_path):
    own = own_kernel(monkeypatch, tmp_path, "if (threadIdx.x < 10) __syncthreads(); *a.out = 1;")
    with pytest.raises(DeviceError, match="10 threads wait at __syncthreads, 54 have returned"):
        run_own(own)


def test_the_stand_in_flushes_subnormals_as_cupy_does(monkeypatch, tmp_path):
    own = own_kernel(monkeypatch, tmp_path, "a.out[threadIdx.x] = a.x[threadIdx.x] * 1e-40f * 1e10f;")
    if os.uname().machine == "x86_64":
        assert run_own(own)[1] == 0
    own = own_kernel(monkeypatch, tmp_path, "a.out[threadIdx.x] = multiply_unflushed(a.x[threadIdx.x], 1e-40f);")
    assert run_own(own)[1] == np.float32(1e-40)


def test_a_kernel_that_does_not_compile(monkeypatch, tmp_path):
    own = own_kernel(monkeypatch, tmp_path, "    nonsense;")
    with pytest.raises(DeviceError) as caught:
        build(own)
    assert "own.cu with -DDTYPE=FLOAT32" in str(caught.value)
    assert "own.cu:5" in str(caught.value)  # the line in that file, headers or not
    assert "nonsense" in str(caught.value)


def test_structs_are_those_of_the_kernels():
    """Field by field in the order of the sources; their sizes are asserted by the sources themselves."""
    modules = (
        conv.gemm, conv.pointwise, conv.depthwise, phases, gather, row_pool, channel_pool, max_pool,
        sum_pool, unpool, fold, elementwise, channels, weights,
    )  # fmt: skip
    structs = [(next(iter(module.kernels())), module._ARGUMENTS) for module in modules]
    structs += [(next(iter(module.kernels())), tensor_run.ARGUMENTS) for module in (conv.tensor, conv.wgmma)]
    softmax, glu = (next(each for each in axis.kernels() if each.name == name) for name in ("softmax", "glu"))
    for each, struct in (*structs, (softmax, axis._SOFTMAX), (glu, axis._GLU)):
        text = each.source
        body = re.search(r"struct Arguments \{(.*?)\n\};", text, re.DOTALL)[1]
        first = re.sub(r"//.*", "", body).strip().split(";")[0].replace("*", " ").split()[-1]
        assert first == struct.names[0]
        assert "static_assert(sizeof(Arguments) == ARGUMENTS_BYTES" in text


SANITIZED = f"""
import sys
sys.path[:0] = [{str(ROOT / "tests" / "cuda_host")!r}, {str(ROOT / "tests")!r}]
from stand_in import StandIn
from pyconv import registry, testing
from pyconv.backends.cuda import CudaBackend
backend, load = CudaBackend(StandIn(4, sanitize=True)), registry.load
registry.load = lambda name: backend if name == "cuda" else load(name)
names = sys.argv[1:]
for case in testing.cases() + testing.half_cases():
    if case.name in names:
        assert testing.check(case, "cuda") is None
        print(case)
"""
FOR_SANITIZER = [
    "conv2d-plain-float32", "conv2d-channels_64_65-float32", "conv2d-kernel_1x1_many-float32",
    "conv2d-depthwise_stride2-float32", "conv2d-gaps-dilation_stride_padding-float64", "conv2d-groups2-float16",
    "max_pool2d-indices-3x3_stride2_padding1-float32", "max_pool2d-ceil_dilation-float64", "tanh-1031-float32",
]  # fmt: skip


def test_no_finding_of_address_sanitizer():
    library = subprocess.run(
        [CXX, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("the compiler has no AddressSanitizer")
    environment = {**os.environ, "LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SANITIZED, *FOR_SANITIZER], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(FOR_SANITIZER)


def test_sanitizer_sees_an_access_outside(monkeypatch, tmp_path):
    """Beside an array on the heap, and beside one in shared memory."""
    library = subprocess.run(
        [CXX, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("the compiler has no AddressSanitizer")
    for body, finding in (
        ("a.out[threadIdx.x] = a.x[threadIdx.x + 1];", "heap-buffer-overflow"),
        (
            "__shared__ element line[64]; line[threadIdx.x + (int)a.size - 63] = 1; *a.out = *line;",
            "global-buffer-overflow",
        ),
    ):
        path = build(own_kernel(monkeypatch, tmp_path, body), sanitize=True)
        done = run_alone(path, LD_PRELOAD=library, ASAN_OPTIONS="detect_leaks=0")
        assert done.returncode != 0
        assert finding in done.stderr
