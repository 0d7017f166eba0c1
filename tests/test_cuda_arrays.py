"""Arrays on a device: CuPy's on a GPU where there is one, and on its stand-in; streams, devices, threads, bad use."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import output_of, refused

import pyconv
import pyconv.functional as F
from pyconv import testing
from pyconv.errors import ArgumentError, BackendError, DeviceError, OutputError

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import OnDevice, OnStandIn, stand_in_for_cuda, why_not

X = np.random.default_rng(0).standard_normal((2, 5, 9, 8)).astype("f4")
WEIGHT = np.random.default_rng(1).standard_normal((6, 5, 3, 3)).astype("f4")
BIAS = np.linspace(-1, 1, 6, dtype="f4")


@pytest.fixture(params=["stand-in", "device"])
def place(request, monkeypatch):
    if reason := why_not(request.param):
        pytest.skip(reason)
    if request.param == "device":
        return OnDevice()
    made = OnStandIn()
    stand_in_for_cuda(monkeypatch, made.room)
    return made


LAYOUTS = ("contiguous", "channels_last", "transposed", "fortran")  # those that stay as they are on a device
CASES = [
    case
    for case in testing.cases()
    if case.layout in LAYOUTS and case.weight_layout in LAYOUTS and not case.out and case.residual_layout in LAYOUTS
]
# every seventh case, and of every operation some
CHOSEN = [case for op in sorted({case.op for case in CASES}) for case in [each for each in CASES if each.op == op][::7]]


def test_every_operation_has_a_case():
    assert {case.op for case in CHOSEN} >= {name for name in F.__all__ if hasattr(getattr(F, name), "plan_call")}


@pytest.mark.parametrize("case", CHOSEN, ids=str)
def test_device_arrays_in_and_out(place, case):
    """The same numbers as from NumPy arrays, on the device where the input lies."""
    arguments = case.arguments()
    function = getattr(F, case.op)
    wanted = function(**arguments, backend="cuda")
    moved = {name: place.array(value) if isinstance(value, np.ndarray) else value for name, value in arguments.items()}
    got = function(**moved)  # automatic: cuda for device arrays
    for one, other in zip(*(both if isinstance(both, tuple) else (both,) for both in (got, wanted)), strict=True):
        assert one.dtype == other.dtype
        if case.op.startswith("conv_transpose"):  # weights on the device may take another way, see phases.suits
            np.testing.assert_allclose(place.host(one), other, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(place.host(one), other)


def test_layers_keep_their_weights_on_the_device(place):
    layer = pyconv.Conv2d(5, 6, 3, padding=1, rng=0)
    stack = pyconv.Sequential(layer, pyconv.ReLU(), pyconv.MaxPool2d(2))
    first = place.host(stack(place.array(X)))
    with pyconv.use_backend("cpu"):
        np.testing.assert_allclose(first, stack(X), rtol=1e-4, atol=1e-5)
    if place.name == "stand-in":
        place.room.launched.clear()
    np.testing.assert_array_equal(place.host(stack(place.array(X))), first)
    if place.name == "stand-in":
        assert place.room.launched == ["conv_gemm"]  # which pools too, and no packing


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(place, mode):
    """A border of the image's own pixels, by the array module's own pad."""
    layer = pyconv.Conv2d(5, 6, 3, padding=((2, 1), (0, 2)), padding_mode=mode, rng=0)
    got = place.host(layer(place.array(X)))
    with pyconv.use_backend("reference"):
        np.testing.assert_allclose(got, layer(X), rtol=1e-4, atol=1e-5)


def test_a_group_is_one_launch_less(place):
    """The activation is applied by the convolution, to the same bits as by itself; what it cannot do runs apart."""
    conv = pyconv.Conv2d(5, 6, 3, padding=1, rng=0)
    for activation in (pyconv.GELU(), pyconv.LeakyReLU(0.3), pyconv.Softplus(2.0), pyconv.PReLU()):
        x = place.array(X)
        apart = place.host(activation(conv(x)))
        np.testing.assert_array_equal(place.host(pyconv.Sequential(conv, activation)(x)), apart)
        if place.name == "stand-in":
            stack = pyconv.Sequential(conv, activation)
            stack(x)
            place.room.launched.clear()
            stack(x)
            assert place.room.launched == ["conv_gemm", "channels"][: 1 + isinstance(activation, pyconv.PReLU)]


def test_every_channel_count(place):
    """Odd numbers of channels, in and out, that fill no tile and no step."""
    for channels in range(1, 34):
        x = np.random.default_rng(channels).standard_normal((1, channels, 4, 5)).astype("f4")
        weight = np.ones((34 - channels, channels, 3, 3), "f4")
        got = place.host(F.conv2d(place.array(x), place.array(weight), padding=1))
        wanted = F.conv2d(x, weight, padding=1, backend="reference")
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("start", range(6))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_misaligned_slices(place, start, dtype):
    """Memory that begins between vectors of 16 bytes, read and written, the same or differently."""
    flat = np.random.default_rng(2).standard_normal(1000).astype(dtype)
    x, out = place.array(flat), place.array(np.zeros(1000, dtype))
    for length in (0, 1, 3, 200):
        wanted = F.tanh(flat[start : start + length], backend="cuda")
        np.testing.assert_array_equal(place.host(F.tanh(x[start : start + length])), wanted)
        for shift in (0, 1):
            target = out[start + shift : start + shift + length]
            assert F.tanh(x[start : start + length], out=target) is target
            np.testing.assert_array_equal(place.host(target), wanted)
    planes = flat[start : start + 960].reshape(1, 8, 10, 12)
    weight = np.ones((5, 8, 1, 1), dtype)
    wanted = F.conv2d(planes, weight, backend="cuda")
    one = place.array(flat)
    view = place.array(planes) if start == 0 else _planes(place, one, start)
    np.testing.assert_array_equal(place.host(F.conv2d(view, weight)), wanted)


def _planes(place, flat, start):
    if place.name == "device":
        return flat[start : start + 960].reshape(1, 8, 10, 12)
    return type(flat)(flat.host[start : start + 960].reshape(1, 8, 10, 12))


def test_zero_sizes(place):
    empty = place.array(np.zeros((0, 5, 9, 8), "f4"))
    assert F.conv2d(empty, WEIGHT).shape == (0, 6, 7, 6)
    values, indices = F.max_pool2d(empty, 2, return_indices=True)
    assert values.shape == indices.shape == (0, 5, 4, 4)
    assert F.relu(place.array(np.zeros((3, 0), "f4"))).shape == (3, 0)


def test_streams(place):
    """Weights prepared on one stream are waited for on another; results are right on both."""
    layer = pyconv.Conv2d(5, 6, 3, rng=0)
    x = place.array(X)
    wanted = place.host(layer(x))
    for _ in range(2):
        with place.stream() as stream:
            for _ in range(3):
                got = layer(x)
            stream.synchronize()
        np.testing.assert_array_equal(place.host(got), wanted)
    if place.name == "stand-in":
        assert place.room.waits == [1]  # once; after that the stream comes later anyway


def test_two_threads(place):
    """One layer, two threads; on the stand-in, which has one device to play, one after the other."""
    layer, results, lock = pyconv.Conv2d(5, 6, 3, rng=0), {}, threading.Lock()
    inputs = [place.array(X + number) for number in range(2)]
    wanted = [place.host(layer(x)) for x in inputs]

    def work(number: int) -> None:
        for _ in range(10):
            if place.name == "stand-in":
                with lock:
                    results[number] = place.host(layer(inputs[number]))
            else:
                with place.stream() as stream:
                    result = layer(inputs[number])
                    stream.synchronize()
                    results[number] = place.host(result)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        np.testing.assert_array_equal(results[number], wanted[number])


def test_several_devices(place):
    if place.devices < 2:
        pytest.skip("one device")
    layer = pyconv.Conv2d(5, 6, 3, rng=0)
    first, second = layer(place.array(X, 0)), layer(place.array(X, 1))
    assert (first.device.id, second.device.id) == (0, 1)
    np.testing.assert_array_equal(place.host(first), place.host(second))
    words = ["the input is on device 1, the weights are on device 0; move one of them"]
    refused(DeviceError, words, F.conv2d, place.array(X, 1), place.array(WEIGHT, 0))
    words = ["bias is on device 1, weight on device 0"]
    refused(DeviceError, words, F.conv2d, place.array(X), place.array(WEIGHT), place.array(BIAS, 1))
    words = ["relu: out is on device 1, the input on device 0"]
    refused(DeviceError, words, F.relu, place.array(X), out=place.array(X, 1))


def test_bad_use(place):
    x = place.array(X)
    refused(ArgumentError, ["out must be a cupy array"], F.relu, x, out=np.zeros_like(X))
    refused(OutputError, ["overlaps an input"], F.conv2d, x, np.ones((5, 5, 1, 1), "f4"), out=x)
    assert F.relu(x, out=x) is x
    refused(BackendError, ["cpu: it takes numpy arrays"], F.relu, x, backend="cpu")
    refused(BackendError, ["algorithm='winograd' was asked for"], F.conv2d, x, WEIGHT, algorithm="winograd")
    half = place.array(X.astype("f2"))
    refused(pyconv.errors.DTypeError, ["relu: input has dtype float16"], F.relu, half)
    assert F.conv2d(half, WEIGHT.astype("f2")).dtype == np.float16
    refused(pyconv.errors.DTypeError, ["input is float16 but weight is float32"], F.conv2d, half, WEIGHT)


def test_out_with_gaps(place):
    around = place.array(np.zeros((2, 6, 7, 12), "f4"))
    out = around[..., ::2]
    assert F.conv2d(place.array(X), WEIGHT, out=out) is out
    np.testing.assert_array_equal(place.host(out), F.conv2d(X, WEIGHT, backend="cuda"))
    assert not place.host(around)[..., 1::2].any()


def _batch_norm(place, device):
    numbers = np.linspace(0.5, 2, 5, dtype="f4")
    return F.batch_norm(place.array(X, device), *(place.array(numbers, device) for _ in range(4)))


def _max_unpool2d(place, device):
    values, indices = F.max_pool2d(X, 2, return_indices=True)
    return F.max_unpool2d(place.array(values, device), place.array(indices, device), 2)


def _padded(place, device):
    return pyconv.Conv2d(5, 6, 3, padding=1, padding_mode="reflect", rng=0)(place.array(X, device))


COMPUTE_IN_PLANNING = [_batch_norm, _max_unpool2d, _padded]


@pytest.mark.parametrize("compute", COMPUTE_IN_PLANNING)
def test_planning_computes_on_the_arrays_device(place, compute):
    if place.devices < 2:
        pytest.skip("one device")
    got = compute(place, 1)
    assert got.device.id == 1
    np.testing.assert_array_equal(place.host(got), place.host(compute(place, 0)))


def test_statistics_of_several_kinds_and_devices(place):
    x, numbers = place.array(X), np.ones(5, "f4")
    words = ["running_mean is a numpy array but running_var a cupy one"]
    refused(ArgumentError, words, F.batch_norm, x, numbers, place.array(numbers))
    if place.devices > 1:
        words = ["batch_norm: its arrays lie on devices 0 and 1"]
        refused(DeviceError, words, F.batch_norm, x, place.array(numbers), place.array(numbers, 1))


def test_device_weights_for_an_image_of_the_host(place):
    words = ["conv2d: the input is a numpy array but its weights are cupy arrays", "backend 'cpu' does not take"]
    for weight, bias in ((place.array(WEIGHT), None), (WEIGHT, place.array(BIAS))):
        refused(ArgumentError, words, F.conv2d, X, weight, bias, backend="cpu")
    numbers = place.array(np.ones(5, "f4"))
    refused(ArgumentError, ["prelu: the input is a numpy array"], F.prelu, X, numbers)
    refused(ArgumentError, ["batch_norm: the input is a numpy array"], F.batch_norm, X, numbers, numbers)


def test_half_precision_of_what_has_none(place):
    half, weight = place.array(X.astype("f2")), np.ones((5, 2, 3, 3), "f2")
    for kind in (BackendError, pyconv.errors.DTypeError):
        refused(kind, ["only conv2d and conv1d compute in float16"], F.conv_transpose2d, half, weight)
    words = ["float16 is for conv2d and conv1d alone"]
    refused(pyconv.errors.DTypeError, words, F.relu, half)


def test_the_sign_of_a_zero_parameter(place):
    x = place.array(np.zeros(4, "f4"))
    signs = [np.signbit(place.host(F.threshold(x, 0.5, value))).all() for value in [-0.0, 0.0] * 4]
    assert signs == [True, False] * 4


@pytest.mark.parametrize("compute", COMPUTE_IN_PLANNING)
def test_planning_refuses_a_forked_process(place, monkeypatch, compute):
    """Before it computes: as a child sees it, which has another process number."""
    if place.name == "device":
        pytest.skip("arrays cannot be made in a forked child")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    refused(DeviceError, ["this process was forked from one that used CUDA"], compute, place, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_gets_an_error(place):
    x = place.array(X)
    F.relu(x)
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        try:
            F.relu(x)
            message = "no error"
        except DeviceError as error:
            message = str(error)
        os.write(writable, message.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert "this process was forked from one that used CUDA" in os.read(readable, 1000).decode()


NO_CUPY = """
import sys, types
import pyconv
from pyconv.errors import BackendError
{cupy}
try:
    pyconv.functional.relu(__import__("numpy").zeros(3, "f4"), backend="cuda")
except BackendError as error:
    print(error)
pyconv.show_config()
"""
FAKE = """
class Error(RuntimeError):
    status = {status}
def count():
    raise Error("cudaError {status}")
runtime = types.SimpleNamespace(CUDARuntimeError=Error, getDeviceCount=count, is_hip=False)
sys.modules["cupy"] = types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime), __version__="99.0")
"""


@pytest.mark.parametrize(
    ("cupy", "words"),
    [
        ('sys.modules["cupy"] = None', ["CuPy cannot be imported", "pip install 'cupy-cuda13x>=14'"]),
        (FAKE.format(status=35), ["there is no NVIDIA driver, or it is too old", "cudaError 35; CuPy 99.0"]),
        (FAKE.format(status=100), ["the driver finds no NVIDIA GPU"]),
        (FAKE.format(status=3), ["forked from one that used it", "spawn"]),
        (FAKE.format(status=999), ["CUDA cannot be used (cudaError 999"]),
    ],
    ids=["no_cupy", "no_driver", "no_device", "forked", "other"],
)
def test_why_cuda_cannot_be_used(cupy, words):
    """In the error, and in what show_config says."""
    printed = output_of(NO_CUPY.format(cupy=cupy))
    for word in words:
        assert printed.count(word) >= 2, printed
