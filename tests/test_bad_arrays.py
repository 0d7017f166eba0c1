"""What is refused among arrays: by which exception, and in which words."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from helpers import USABLE, normal, pretend, refused

import pyconv
import pyconv.functional as F
from pyconv.backends.reference import ReferenceBackend
from pyconv.errors import (
    ArgumentError,
    BackendError,
    DTypeError,
    OutputError,
    PyconvError,
    ShapeError,
    TooLargeError,
)
from pyconv.plan import plan_conv2d, plan_max_pool2d

X = normal(1, 4, 8, 9)
WEIGHT = normal(6, 4, 3, 3)
BIAS = normal(6)


def conv(input=X, weight=WEIGHT, bias=BIAS, **parameters):
    return F.conv2d(input, weight, bias, **parameters)


def pool(input=X, kernel_size=3, **parameters):
    return F.max_pool2d(input, kernel_size, **parameters)


@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (6, 0, 3, 3), (6, 4, 0, 3), (6, 4, 3, 0)])
def test_weight_with_nothing_in_it(shape):
    weight = np.zeros(shape, np.float32)
    refused(ShapeError, ["conv2d: weight", "size zero", str(shape)], conv, weight=weight, bias=None)


@pytest.mark.parametrize("shape", [(), (6,), (6, 4), (6, 4, 3), (6, 4, 3, 3, 1)])
def test_weight_of_another_rank(shape):
    refused(ShapeError, ["conv2d: weight must have 4 dimensions", str(shape)], conv, weight=np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(), (1,), (5,), (7,), (0,), (6, 1), (1, 6), (1, 6, 1, 1)])
def test_bias_of_another_shape(shape):
    refused(ShapeError, ["conv2d: bias", "(6,)", str(shape)], conv, bias=np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(1, 6, 1, 1), (1, 1, 6, 7), (6, 1, 6, 7), (1, 6, 7, 6), (0, 6, 6, 7)])
def test_residual_of_another_shape(shape):
    words = ["conv2d: residual", "(1, 6, 6, 7)", str(shape), "not broadcast"]
    refused(ShapeError, words, conv, residual=np.zeros(shape, np.float32))


def test_residual_that_cannot_be_added():
    good = normal(1, 6, 6, 7)
    refused(ShapeError, ["residual must be (N, C, H, W)", "(6, 6, 7)"], conv, residual=good[0])
    refused(ShapeError, ["residual must be (C, H, W)", "(1, 6, 6, 7)"], conv, X[0], residual=good)
    refused(DTypeError, ["residual is float64"], conv, residual=good.astype(np.float64))
    refused(DTypeError, ["residual has dtype int64"], conv, residual=good.astype(np.int64))
    refused(ArgumentError, ["residual"], conv, residual=good.tolist())
    refused(ArgumentError, ["residual", "masked"], conv, residual=np.ma.masked_array(good))
    x = np.zeros((1, 6, 8, 9), np.float32)
    refused(OutputError, ["overlaps an input"], conv, x, normal(6, 6, 1, 1), residual=normal(*x.shape), out=x)
    refused(OutputError, ["overlaps an input"], conv, residual=good, out=good[:, :, ::-1])
    untouched = good.copy()
    with pytest.raises(TypeError):
        F.conv2d(X, WEIGHT, BIAS, 1, 0, 1, 1, good)  # by keyword only
    assert np.array_equal(good, untouched)


def test_a_backend_that_adds_no_residual_says_so(monkeypatch):
    class Plain(ReferenceBackend):
        name = "plain"
        fuses = property()  # as if there were none

    pretend(monkeypatch, Plain())
    added = normal(1, 6, 6, 7)
    refused(BackendError, ["conv2d+residual", "plain: it adds no residual"], conv, residual=added, backend="plain")
    np.testing.assert_array_equal(
        conv(residual=added, backend=["plain", "reference"]), conv(backend="reference") + added
    )


@pytest.mark.parametrize("shape", [(), (8,), (8, 9), (1, 1, 4, 8, 9)])
def test_input_of_another_rank(shape):
    x = np.zeros(shape, np.float32)
    words = ["input must be (N, C, H, W) or (C, H, W)", f"got {len(shape)} dimensions", str(shape)]
    refused(ShapeError, ["conv2d", *words], conv, x)
    refused(ShapeError, ["max_pool2d", *words], pool, x)
    circular = pyconv.Conv2d(4, 6, 3, padding=1, padding_mode="circular")
    for layer in (pyconv.Conv2d(4, 6, 3), pyconv.MaxPool2d(2), circular):
        refused(ShapeError, [repr(layer), *words], layer, x)


def test_a_grey_image_is_recognised():
    refused(ShapeError, ["a single grey image is x[None]"], conv, X[0, 0])


NO_ARRAYS = [
    None,
    [[1.0, 2.0], [3.0]],
    [[1.0, 2.0], [3.0, 4.0]],
    (1.0, 2.0),
    1.0,
    3,
    "image.png",
    b"1234",
    range(4),
    memoryview(b"1234"),
    object(),
    np.ndarray,
]


@pytest.mark.parametrize("value", NO_ARRAYS, ids=repr)
def test_what_is_no_array(value):
    kind = type(value).__name__
    refused(ArgumentError, ["conv2d: input must be a NumPy or CuPy array", kind], conv, value)
    refused(ArgumentError, ["conv2d: weight", kind], conv, weight=value)
    if value is not None:
        refused(ArgumentError, ["conv2d: bias", kind], conv, bias=value)
    refused(ArgumentError, ["max_pool2d: input", kind], pool, value)
    for function in (F.relu, F.sigmoid, F.tanh):
        hint = [] if value is None or value is np.ndarray else ["np.asarray"]  # of no use for these two
        refused(ArgumentError, [f"{function.__name__}: input", kind, *hint], function, value)
    for layer in (pyconv.Conv2d(4, 6, 3), pyconv.MaxPool2d(2), pyconv.Tanh(), pyconv.Sequential(pyconv.ReLU())):
        refused(ArgumentError, [kind], layer, value)


BAD_DTYPES = [
    ("int8", "astype(np.float32)"),
    ("uint8", "astype(np.float32)"),
    ("int64", "astype(np.float32)"),
    ("bool", "astype(np.float32)"),
    ("longdouble", "astype(np.float32)"),
    ("complex64", "real and the imaginary part"),
    ("complex128", "real and the imaginary part"),
    ("O", "convert it to numbers"),
    ("U3", "convert it to numbers"),
    ("S3", "convert it to numbers"),
    ("M8[s]", "convert it to numbers"),
    ("m8[s]", "convert it to numbers"),
    ([("a", "f4"), ("b", "f4")], "convert it to numbers"),
]


@pytest.mark.parametrize(("dtype", "advice"), BAD_DTYPES, ids=str)
def test_dtypes(dtype, advice):
    words = [f"has dtype {np.dtype(dtype)}", "float32 and float64", advice]
    x = np.zeros(X.shape, dtype)
    refused(DTypeError, ["conv2d: input", *words], conv, x)
    refused(DTypeError, ["conv2d: weight", *words], conv, weight=np.zeros(WEIGHT.shape, dtype))
    refused(DTypeError, ["conv2d: bias", *words], conv, bias=np.zeros(6, dtype))
    refused(DTypeError, ["max_pool2d: input", *words], pool, x)
    for function in (F.relu, F.sigmoid, F.tanh):
        refused(DTypeError, [f"{function.__name__}: input", *words], function, x)
    refused(DTypeError, ["Conv2d: dtype", str(np.dtype(dtype))], pyconv.Conv2d, 4, 6, 3, dtype=dtype)


def test_half_precision_is_for_gpus():
    x, weight = X.astype("float16"), WEIGHT.astype("float16")
    words = ["cpu: it computes in float32 and float64, not float16", "pass input.astype(np.float32)", "reference: it"]
    for kind in (DTypeError, BackendError):  # to either it is what it expects
        refused(kind, words, F.conv2d, x, weight)
        refused(kind, words, F.conv_transpose2d, x, weight.swapaxes(0, 1))
        refused(kind, [words[0]], F.conv1d, x[:, :, 0], weight[:, :, 0], backend="cpu")
    refused(DTypeError, ["input is float16 but weight is float32"], F.conv2d, x, WEIGHT)
    refused(DTypeError, ["weight has dtype int8"], F.conv2d, x, WEIGHT.astype("int8"))
    for function in (F.relu, pool):
        refused(DTypeError, ["has dtype float16", "float32 and float64", "astype(np.float32)"], function, x)
    refused(DTypeError, ["Conv2d: dtype", "float16"], pyconv.Conv2d, 4, 6, 3, dtype="float16")


def test_mixed_dtypes():
    words = ["conv2d: input is float32", "is float64", "astype(np.float32)"]
    refused(DTypeError, [*words, "weight"], conv, weight=WEIGHT.astype("float64"))
    refused(DTypeError, [*words, "bias"], conv, bias=BIAS.astype("float64"))
    refused(DTypeError, ["input is float64 but weight is float32"], conv, X.astype("float64"))
    layer = pyconv.Conv2d(4, 6, 3)
    refused(DTypeError, [repr(layer), "input is float64 but weight is float32"], layer, X.astype("float64"))


def test_masked_arrays():
    masked = np.ma.masked_greater(X, 0)
    refused(ArgumentError, ["conv2d: input is a masked array", "filled"], conv, masked)
    refused(ArgumentError, ["weight is a masked array"], conv, weight=np.ma.array(WEIGHT))
    refused(ArgumentError, ["max_pool2d: input is a masked array"], pool, masked)
    refused(ArgumentError, ["relu: input is a masked array"], F.relu, masked)
    refused(ArgumentError, ["relu: out is a masked array"], F.relu, X, out=np.ma.array(X.copy()))


@pytest.mark.parametrize("shape", [(1, 4, 0, 9), (1, 4, 8, 0), (0, 4, 0, 0), (4, 0, 9)])
def test_no_pixels(shape):
    x = np.zeros(shape, np.float32)
    refused(ShapeError, ["conv2d: input has no pixels", "only the batch may be zero"], conv, x, padding=3)
    refused(ShapeError, ["max_pool2d: input", "size zero", "only the batch may be zero"], pool, x, padding=1)
    for mode in ("reflect", "replicate", "circular"):
        layer = pyconv.Conv2d(4, 6, 3, padding=1, padding_mode=mode)
        refused(ShapeError, [repr(layer)], layer, x)


def test_no_channels():
    refused(ShapeError, ["conv2d", "has 0 channels"], conv, np.zeros((1, 0, 8, 9), np.float32))
    refused(ShapeError, ["max_pool2d", "size zero"], pool, np.zeros((1, 0, 8, 9), np.float32))


@pytest.mark.parametrize("backend", USABLE)
def test_no_batch_is_an_empty_result(backend):
    x = np.zeros((0, 4, 8, 9), np.float32)
    assert conv(x, backend=backend).shape == (0, 6, 6, 7)
    assert pool(x, backend=backend).shape == (0, 4, 2, 3)
    values, indices = pool(x, return_indices=True, backend=backend)
    assert values.shape == indices.shape == (0, 4, 2, 3)
    assert indices.dtype == np.int64
    for mode in ("zeros", "reflect", "replicate", "circular"):
        assert pyconv.Conv2d(4, 6, 3, padding=1, padding_mode=mode, backend=backend)(x).shape == (0, 6, 8, 9)
    assert F.tanh(x, backend=backend).shape == x.shape


def test_channels_that_do_not_fit():
    message = refused(ShapeError, ["conv2d", "has 5 channels", "4 * 1 = 4"], conv, np.zeros((1, 5, 8, 9), np.float32))
    assert "channels-last" not in message
    layer = pyconv.Conv2d(4, 6, 3)
    refused(ShapeError, [repr(layer), "has 5 channels"], layer, np.zeros((1, 5, 8, 9), np.float32))


@pytest.mark.parametrize("shape", [(1, 8, 9, 4), (8, 9, 4)])
def test_channels_last_is_recognised(shape):
    x = np.zeros(shape, np.float32)
    advice = ["looks like channels-last (N, H, W, C)", "np.moveaxis(x, -1, -3)"]
    refused(ShapeError, ["conv2d", *advice], conv, x)
    refused(ShapeError, ["Conv2d(", *advice], pyconv.Conv2d(4, 6, 3), x)
    assert conv(np.moveaxis(x, -1, -3)).shape[-3:] == (6, 6, 7)  # the advice is good


# -- sizes that no machine has: refused before anything is allocated


def test_output_larger_than_memory():
    x = np.broadcast_to(np.float32(1), (2**20, 4, 8, 9))
    wide = {"padding": (10_000, 10_000)}
    message = refused(TooLargeError, ["conv2d: the output of shape (1048576, 6, 20006, 20007)"], conv, x, **wide)
    assert "bytes, this machine has" in message
    assert "use a larger stride" in message
    with pytest.raises(MemoryError):
        conv(x, **wide)
    refused(TooLargeError, ["relu: the output of shape"], F.relu, np.broadcast_to(np.float32(1), (2**50,)))
    planes = np.broadcast_to(np.float32(1), (2**30, 4, 64, 64))
    refused(TooLargeError, ["max_pool2d: the output"], F.max_pool2d, planes, 2, 1, return_indices=True)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_larger_than_memory(mode):
    layer = pyconv.Conv2d(1, 1, 3, padding=1_000_000, padding_mode=mode)
    size = 3 if mode == "replicate" else 1_000_001
    x = np.broadcast_to(np.float32(1), (1, 1, size, size))
    refused(TooLargeError, [repr(layer), "padded input", "bytes, this machine has"], layer, x)


def test_output_of_more_elements_than_an_integer_holds():
    x = np.broadcast_to(np.float32(1), (1, 4, 8, 9))
    refused(ShapeError, ["conv2d: the output of shape", "2**63 - 1"], conv, x, padding=2**31 - 1)
    refused(TooLargeError, ["conv2d: the output of shape (1, 6, "], conv, x, padding=2**31 - 1, stride=(2**4, 2**4))


def test_a_zero_dimension_beside_a_huge_one():
    huge = 2**60
    x = np.empty((0, huge, 1, 1), np.float32)
    weight = normal(1, 1, 1, 1)
    refused(ShapeError, ["has 1152921504606846976 channels"], F.conv2d, x, weight)
    refused(ShapeError, ["size zero"], F.max_pool2d, np.empty((1, 0, huge, 1), np.float32), 1)
    assert F.max_pool2d(x, 1).shape == x.shape
    assert F.relu(x).shape == x.shape
    tall = np.empty((0, 1, huge, 1), np.float32)
    assert F.conv2d(tall, weight).shape == tall.shape
    refused(ShapeError, ["more than 2**63 - 1 bytes"], F.conv2d, tall, normal(16, 1, 1, 1))
    refused(ShapeError, ["more than 2**63 - 1 bytes"], F.max_pool2d, tall, 1, return_indices=True)


def test_shapes_that_only_another_array_library_could_have():
    steps, none = (1, 1), ((0, 0), (0, 0))
    shape = (0, 2**61, 1, 1)
    with pytest.raises(ShapeError, match=r"2\*\*63 - 1 bytes"):
        plan_max_pool2d(shape, "float32", 4, "nchw", steps, steps, none, steps, False, False)
    with pytest.raises(ShapeError, match=r"2\*\*63 - 1 bytes"):
        plan_conv2d((0, 1, 2**61, 1), (1, 1, 1, 1), None, "float32", 4, "nchw", steps, none, steps, 1, "auto", True)
    with pytest.raises(ShapeError, match=r"below 2\*\*31"):
        plan_conv2d((1, 1, 1, 1), (2**31, 1, 1, 1), None, "float32", 4, "nchw", steps, none, steps, 1, "auto", True)


# -- out=


def out_for(op):
    return {"conv2d": np.zeros((1, 6, 6, 7), np.float32), "max_pool2d": np.zeros((1, 4, 2, 3), np.float32)}.get(
        op, np.zeros(X.shape, np.float32)
    )


OPERATIONS = {"conv2d": conv, "max_pool2d": pool, "relu": F.relu, "sigmoid": F.sigmoid, "tanh": F.tanh}


@pytest.mark.parametrize("op", OPERATIONS)
def test_out(op):
    call, good = OPERATIONS[op], out_for(op)
    assert call(X, out=good) is good

    refused(OutputError, [f"{op}: out has shape", str(good.shape)], call, X, out=good[..., :-1])
    refused(OutputError, [f"{op}: out has shape"], call, X, out=good[0])
    refused(OutputError, [f"{op}: out has shape"], call, X, out=np.zeros((), np.float32))
    refused(OutputError, [f"{op}: out has dtype float64", "float32"], call, X, out=good.astype(np.float64))
    refused(OutputError, [f"{op}: out has dtype int32"], call, X, out=good.astype(np.int32))
    refused(OutputError, [f"{op}: out has dtype >f4", "native"], call, X, out=good.astype(">f4"))
    for value in ([0.0], 1.0, "out", True, np.float32):
        refused(ArgumentError, [f"{op}: out must be a numpy array"], call, X, out=value)

    locked = good.copy()
    locked.setflags(write=False)
    refused(OutputError, [f"{op}: out is read-only"], call, X, out=locked)

    shared = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), good.shape, (0,) * good.ndim)
    refused(OutputError, [f"{op}: out is a broadcast view"], call, X, out=shared)
    for strides in ((4, 4, 4, 4), (840, 168, 28, 2), (4000, 400, -8, 4)):
        folded = np.lib.stride_tricks.as_strided(np.zeros(9999, np.float32)[500:], good.shape, strides)
        refused(OutputError, [f"{op}: out overlaps itself", str(strides), "pass a copy"], call, X, out=folded)


@pytest.mark.parametrize("op", OPERATIONS)
def test_out_apart(op):
    """Elements that lie wherever they are to, none on another, are taken: interleaved ones too."""
    call, shape = OPERATIONS[op], out_for(op).shape
    wanted, (_, channels, height, width) = call(X), shape
    memory = np.zeros((2, 3 * channels, 2 * height, 3 * width), np.float32)
    views = {
        "slice": memory[1:, ::-3, ::2, -1::-3],
        "channels last": np.zeros((1, height, width, channels), np.float32).transpose(0, 3, 1, 2),
        "axis of one": np.lib.stride_tricks.as_strided(memory, shape, (0, *np.zeros(shape, np.float32).strides[1:])),
        # width and height have no common divisor: steps of both never meet
        "woven": np.lib.stride_tricks.as_strided(memory, shape, (0, 8 * width * height, 4 * width, 4 * height)),
    }
    for name, out in views.items():
        memory[...] = 0
        assert call(X, out=out) is out, name
        np.testing.assert_array_equal(out, wanted, err_msg=name)


def test_empty_out():
    empty = np.zeros((0, 4, 5, 6), np.float32)
    F.relu(empty, out=np.lib.stride_tricks.as_strided(empty, empty.shape, (4, 4, 4, 4)))


@pytest.mark.parametrize("op", OPERATIONS)
def test_out_in_the_input(op):
    call, good = OPERATIONS[op], out_for(op)
    memory = np.zeros(X.size + good.size, np.float32)
    x = memory[: X.size].reshape(X.shape)
    x[...] = X
    for start in (1, X.size - 1):
        out = memory[start : start + good.size].reshape(good.shape)
        refused(OutputError, [f"{op}: out overlaps an input", "separate array"], call, x, out=out)
    np.testing.assert_array_equal(x, X)
    beside = memory[X.size :].reshape(good.shape)
    np.testing.assert_array_equal(call(x, out=beside), call(X))


def test_out_in_the_weights():
    weight = normal(6, 4, 3, 3)
    out = weight.reshape(-1)[:200].reshape(1, 1, 20, 10)
    x = normal(1, 4, 22, 12)
    refused(OutputError, ["conv2d: out overlaps an input"], F.conv2d, x, weight[:1], out=out)
    bias = np.zeros(6 * 6 * 7, np.float32)
    refused(OutputError, ["conv2d: out overlaps"], conv, bias=bias[:6], out=bias.reshape(1, 6, 6, 7))


def test_interleaved_out():
    memory = np.zeros((1, 4, 8, 18), np.float32)
    x, out = memory[..., ::2], memory[..., 1::2]
    x[...] = X
    np.testing.assert_array_equal(F.relu(x, out=out), F.relu(X))  # near each other, and no byte in common
    np.testing.assert_array_equal(x, X)


def test_parameters_of_a_layer():
    layer = pyconv.Conv2d(4, 6, 3)
    with pytest.raises(ShapeError, match=r"Conv2d: weight must have shape \(6, 4, 3, 3\), got \(6, 4, 3, 2\)"):
        layer.weight = np.zeros((6, 4, 3, 2), np.float32)
    with pytest.raises(DTypeError, match=r"Conv2d: weight must be float32, got float64; pass weight.astype"):
        layer.weight = np.zeros((6, 4, 3, 3))
    with pytest.raises(ShapeError, match=r"Conv2d: bias must have shape \(6,\), got \(5,\)"):
        layer.bias = np.zeros(5, np.float32)
    with pytest.raises(PyconvError):
        layer.weight = [[1.0], [1.0, 2.0]]
    with pytest.raises(PyconvError):
        layer.weight = None


def test_advice_never_leads_to_half_precision():
    half, single = np.zeros((1, 1, 3, 3), np.float16), np.zeros((1, 1, 3, 3), np.float32)
    with pytest.raises(DTypeError, match=r"weight is float32; they must agree: pass input.astype\(np.float32\)$"):
        F.conv2d(half, single)
    with pytest.raises(DTypeError, match=r"weight is float16; they must agree: pass weight.astype\(np.float32\)$"):
        F.conv2d(single, half)
    words = r"pass input.astype\(np.float64\) or weight.astype\(np.float32\)$"
    with pytest.raises(DTypeError, match=words):
        F.conv2d(single, single.astype(np.float64))


@pytest.mark.skipif(find_spec("cupy") is not None, reason="cuda may be usable here")
def test_half_precision_where_float32_would_not_run_either():
    with pytest.raises(BackendError, match="CuPy") as caught:
        F.conv2d(X.astype("float16"), WEIGHT.astype("float16"), backend="cuda")
    assert not isinstance(caught.value, DTypeError)
