"""What is refused among parameters: by which exception, and in which words."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import normal, refused

import pyconv
import pyconv.functional as F
from pyconv.errors import (
    ArgumentError,
    BackendError,
    ConfigurationError,
    DTypeError,
    OutputError,
    ShapeError,
    TooLargeError,
)

X = normal(1, 4, 8, 9)
WEIGHT = normal(6, 4, 3, 3)
BIAS = normal(6)


def conv(input=X, weight=WEIGHT, bias=BIAS, **parameters):
    return F.conv2d(input, weight, bias, **parameters)


def pool(input=X, kernel_size=3, **parameters):
    return F.max_pool2d(input, kernel_size, **parameters)


# Numbers that are no sizes, the exception, and what the message has to say about them.
NO_SIZE = [
    (0, ShapeError, "at least 1, got 0"),
    (-1, ShapeError, "at least 1, got -1"),
    (2**31, ShapeError, "at most 2147483647, got 2147483648"),
    (2**63 - 1, ShapeError, "at most 2147483647"),
    (2**70, ShapeError, "at most 2147483647"),
    ((0, 1), ShapeError, "[0] must be at least 1, got 0"),
    ((1, 0), ShapeError, "[1] must be at least 1, got 0"),
    ([1, -2], ShapeError, "[1] must be at least 1, got -2"),
    ((2**31, 1), ShapeError, "[0] must be at most 2147483647"),
    ((1, 2**31), ShapeError, "[1] must be at most 2147483647"),
    ((1, 1, 1), ShapeError, "got 3 values"),
    ((1,), ShapeError, "got 1 values"),
    (True, ArgumentError, "True"),
    (np.True_, ArgumentError, "True"),
    (1.0, ArgumentError, "float 1.0"),
    (np.float64(2), ArgumentError, "float64"),
    (float("nan"), ArgumentError, "float nan"),
    ("1", ArgumentError, "'1'"),
    (b"1", ArgumentError, "bytes"),
    (1j, ArgumentError, "complex"),
    ({1: 1}, ArgumentError, "dict"),
    (np.array([1, 1]), ArgumentError, "ndarray"),
    ((1, 1.5), ArgumentError, "[1] must be an integer, got float 1.5"),
    ((True, 1), ArgumentError, "[0] must be an integer, got the bool True"),
    ((1, None), ArgumentError, "[1] must be an integer, got NoneType"),
    (((1, 1), (1, 1)), ArgumentError, "[0] must be an integer, got tuple"),
]
EMPTY = ([], ShapeError, "got 0 values")
NONE = (None, ArgumentError, "None")


@pytest.mark.parametrize(("value", "kind", "words"), [*NO_SIZE, EMPTY, NONE])
@pytest.mark.parametrize("name", ["stride", "dilation"])
def test_conv_sizes(name, value, kind, words):
    refused(kind, ["conv2d: " + name, words], conv, **{name: value})
    refused(kind, ["Conv2d: " + name, words], pyconv.Conv2d, 4, 6, 3, **{name: value})


@pytest.mark.parametrize(("value", "kind", "words"), [*NO_SIZE, EMPTY, NONE])
def test_conv_kernel_size(value, kind, words):
    refused(kind, ["Conv2d: kernel_size", words], pyconv.Conv2d, 4, 6, value)


@pytest.mark.parametrize(("value", "kind", "words"), [*NO_SIZE, EMPTY, NONE])
@pytest.mark.parametrize("name", ["kernel_size", "dilation"])
def test_pool_sizes(name, value, kind, words):
    refused(kind, ["max_pool2d: " + name, words], pool, **{name: value})
    refused(kind, ["MaxPool2d: " + name, words], pyconv.MaxPool2d, **{"kernel_size": 3, name: value})


@pytest.mark.parametrize(("value", "kind", "words"), NO_SIZE)
def test_pool_stride(value, kind, words):
    refused(kind, ["max_pool2d: stride", words], pool, stride=value)
    refused(kind, ["MaxPool2d: stride", words], pyconv.MaxPool2d, 3, value)


NO_PADDING = [
    (-1, ShapeError, "at least 0, got -1"),
    (2**31, ShapeError, "at most 2147483647"),
    (2**63 - 5, ShapeError, "at most 2147483647, got 9223372036854775803"),
    (2**70, ShapeError, "at most 2147483647"),
    ((-1, 0), ShapeError, "padding[0] must be at least 0"),
    ((0, -1), ShapeError, "padding[1] must be at least 0"),
    (((0, -1), (0, 0)), ShapeError, "(top, bottom)[1] must be at least 0"),
    (((0, 0), (-1, 0)), ShapeError, "(left, right)[0] must be at least 0"),
    (((0, 0), (0, 2**63 - 5)), ShapeError, "(left, right)[1] must be at most"),
    ((1, 1, 1), ShapeError, "got 3 values"),
    ((1, 1, 1, 1), ShapeError, "got 4 values"),
    ([], ShapeError, "got 0 values"),
    (((1, 1),), ShapeError, "got 1 values"),
    (((1, 1, 1), (1, 1)), ShapeError, "got 3 values"),
    ("full", ArgumentError, "'full'"),
    ("SAME", ArgumentError, "'SAME'"),
    (None, ArgumentError, "None"),
    (True, ArgumentError, "True"),
    (1.0, ArgumentError, "float 1.0"),
    ((1, 1.0), ArgumentError, "float 1.0"),
    ((1, (1, 1)), ArgumentError, "tuple"),
    (((1, 1), 1), ArgumentError, "((1, 1), 1)"),
    (((1, 1), None), ArgumentError, "None"),
    (((1, True), (0, 0)), ArgumentError, "True"),
    (np.array([1, 1]), ArgumentError, "ndarray"),
]


@pytest.mark.parametrize(("value", "kind", "words"), NO_PADDING)
def test_padding(value, kind, words):
    refused(kind, ["conv2d: ", "padding", words], conv, padding=value)
    refused(kind, ["Conv2d: ", "padding", words], pyconv.Conv2d, 4, 6, 3, padding=value)
    refused(kind, ["max_pool2d: ", "padding", words], pool, padding=value)
    refused(kind, ["MaxPool2d: ", "padding", words], pyconv.MaxPool2d, 3, padding=value)


@pytest.mark.parametrize(("value", "kind", "words"), NO_PADDING)
def test_padding_of_the_family(value, kind, words):
    """Of transposed convolutions and of windows as columns, and of the other poolings."""
    weight, columns = normal(4, 6, 3, 3), normal(1, 36, 42)
    refused(kind, ["conv_transpose2d: ", "padding", words], F.conv_transpose2d, X, weight, padding=value)
    refused(kind, ["unfold: ", "padding", words], F.unfold, X, 3, padding=value)
    refused(kind, ["fold: ", "padding", words], F.fold, columns, (8, 9), 3, padding=value)
    refused(kind, ["avg_pool2d: ", "padding", words], F.avg_pool2d, X, 3, padding=value)
    refused(kind, ["lp_pool2d: ", "padding", words], F.lp_pool2d, X, 2, 3, padding=value)


def test_padding_words_are_of_convolutions():
    refused(ArgumentError, ["or, of convolutions, 'valid' or 'same', got None"], pool, padding=None)
    refused(ShapeError, ["or, of convolutions, 'valid' or 'same'"], F.max_pool1d, X[0], 3, padding=((1, 1, 1),))


def test_messages_about_lines_show_no_height():
    x, weight = normal(1, 4, 10), normal(2, 4, 3)
    refused(OutputError, ["(1, 2, 6), the result has (1, 2, 8)"], F.conv1d, x, weight, out=normal(1, 2, 6))
    refused(OutputError, ["(1, 4, 4), the result has (1, 4, 5)"], F.max_pool1d, x, 2, out=normal(1, 4, 4))
    refused(ShapeError, ["got stride (2,)"], F.conv1d, x, weight, stride=2, padding="same")
    refused(TooLargeError, ["of shape (1, 2, 4294967302)"], F.conv1d, x, weight, padding=2**31 - 1)
    far = {"stride": 2**31 - 1}
    refused(TooLargeError, ["of shape (1, 3, 19327352826)"], F.conv_transpose1d, x, normal(4, 3, 3), **far)


def test_pool_padding_above_the_kernel():
    refused(ShapeError, ["max_pool2d", "at most half", "got 2", "1 * (3 - 1) + 1 = 3"], pool, padding=2)
    refused(ShapeError, ["along the width", "got 2"], pool, padding=(1, 2))
    refused(ShapeError, ["smaller than the window", "(0, 3)"], pool, padding=((0, 3), (0, 0)))
    refused(ShapeError, ["along the width", "(5, 0)"], pool, padding=((0, 0), (5, 0)))
    refused(ArgumentError, ["padding='same' is for convolutions"], pool, padding="same")
    assert pool(padding=((2, 2), (2, 2))).shape == (1, 4, 4, 4)  # the long form may go up to the window


def test_same_padding_with_a_stride():
    refused(ShapeError, ["conv2d", "padding='same' needs stride 1", "(2, 2)"], conv, padding="same", stride=2)
    refused(ShapeError, ["Conv2d", "padding='same'"], pyconv.Conv2d, 4, 6, 3, padding="same", stride=(1, 2))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "at least 1, got 0"),
        (-1, "at least 1, got -1"),
        (2**31, "at most"),
        (2**70, "at most"),
        (True, "True"),
        (1.0, "float"),
        ("2", "'2'"),
        (None, "None"),
        ((1, 1), "tuple"),
    ],
)
def test_groups(value, words):
    refused(ArgumentError, ["conv2d: groups", words], conv, groups=value)
    for layer in (pyconv.Conv2d, pyconv.ConvTranspose2d):
        refused(ArgumentError, [f"{layer.__name__}: groups", words], layer, 4, 6, 3, groups=value)


def test_groups_that_do_not_divide():
    refused(ShapeError, ["Conv2d: groups must divide in_channels: 4 % 3 = 1"], pyconv.Conv2d, 4, 6, 3, groups=3)
    refused(ShapeError, ["Conv2d: groups must divide out_channels: 6 % 4 = 2"], pyconv.Conv2d, 4, 6, 3, groups=4)
    weight = normal(6, 1, 3, 3)
    refused(ShapeError, ["conv2d: groups must divide", "6 % 4 = 2"], conv, weight=weight, groups=4)
    refused(ShapeError, ["4 channels", "4 * 2 = 8", "groups=2"], conv, groups=2)


@pytest.mark.parametrize("name", ["in_channels", "out_channels"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, ShapeError),
        (-3, ShapeError),
        (2**31, ShapeError),
        (2.0, ArgumentError),
        (True, ArgumentError),
        ("3", ArgumentError),
        (None, ArgumentError),
        ((1, 2), ArgumentError),
    ],
)
def test_channels_of_a_layer(name, value, kind):
    good = {"in_channels": 4, "out_channels": 6, "kernel_size": 3}
    refused(kind, [f"Conv2d: {name}"], pyconv.Conv2d, **{**good, name: value})


@pytest.mark.parametrize("dtype", ["float", "f8", np.float64, ">f8", np.dtype("float64")])
def test_dtypes_of_a_layer_by_any_name(dtype):
    assert pyconv.Conv2d(1, 1, 1, dtype=dtype).weight.dtype == np.dtype("=f8")


@pytest.mark.parametrize("dtype", ["float33", 7, object(), "nonsense"])
def test_what_is_no_dtype(dtype):
    refused(DTypeError, ["Conv2d: dtype must be one of float32, float64"], pyconv.Conv2d, 4, 6, 3, dtype=dtype)


def test_a_kernel_larger_than_the_input():
    sums = ["input 2 + padding 0 + 0 = 2", "1 * (3 - 1) + 1 = 3", "at least 1 more padding"]
    refused(ShapeError, ["conv2d", "along the height", *sums], conv, X[:, :, :2])
    sums = ["4 * (3 - 1) + 1 = 9", "at least 2 more padding"]
    refused(ShapeError, ["conv2d", "along the width", *sums], conv, X[..., :7], dilation=(1, 4))
    refused(ShapeError, ["max_pool2d", "along the height", "use a smaller kernel"], pool, X[:, :, :2])
    refused(ShapeError, ["max_pool2d"], pool, kernel_size=2**31 - 1)
    refused(ShapeError, ["conv2d"], conv, dilation=2**31 - 1)
    refused(ShapeError, ["max_pool2d"], pool, dilation=2**31 - 1, ceil_mode=True)


def test_flags_are_bools():
    for name in ("ceil_mode", "return_indices"):
        for value in (2, 1, None, "yes", 0.0):
            refused(ArgumentError, [f"max_pool2d: {name} must be True or False", repr(value)], pool, **{name: value})
            refused(ArgumentError, [f"MaxPool2d: {name}"], pyconv.MaxPool2d, 2, **{name: value})
    refused(ArgumentError, ["Conv2d: bias must be True or False"], pyconv.Conv2d, 4, 6, 3, bias=BIAS)
    refused(ArgumentError, ["ReLU: inplace"], pyconv.ReLU, 1)


@pytest.mark.parametrize("value", ["im2col", "DIRECT", ""])
def test_algorithm_by_another_name(value):
    refused(ArgumentError, ["conv2d: algorithm must be one of auto, direct", repr(value)], conv, algorithm=value)
    refused(ArgumentError, ["Conv2d: algorithm"], pyconv.Conv2d, 4, 6, 3, algorithm=value)


@pytest.mark.parametrize("value", [None, 1, ["auto"], {"auto": 1}])
def test_algorithm_that_is_no_str(value):
    refused(ArgumentError, ["conv2d: algorithm must be a str", repr(value)], conv, algorithm=value)
    refused(ArgumentError, ["Conv2d: algorithm must be a str"], pyconv.Conv2d, 4, 6, 3, algorithm=value)


@pytest.mark.parametrize("value", [7, None.__class__, b"cpu", [], [1], X])
def test_backend_that_is_no_name(value):
    refused(ArgumentError, ["backend=", "by name"], conv, backend=value)
    refused(ArgumentError, ["by name"], pyconv.ReLU(backend=value), X)


def test_backend_that_is_not_there():
    refused(ConfigurationError, ["backend=", "there is no backend 'cqu'", "did you mean 'cpu'"], conv, backend="cqu")
    refused(BackendError, ["relu: no backend can run it (backend cuda was asked for)"], F.relu, X, backend="cuda")


def test_padding_modes():
    refused(
        ArgumentError,
        ["Conv2d: padding_mode must be one of zeros, reflect", "'mirror'"],
        pyconv.Conv2d,
        4,
        6,
        3,
        padding_mode="mirror",
    )
    refused(ArgumentError, ["Conv2d: padding_mode"], pyconv.Conv2d, 4, 6, 3, padding_mode=None)
    layer = pyconv.Conv2d(4, 6, 3, padding=8, padding_mode="reflect")
    refused(ShapeError, [repr(layer), "can add at most 7 pixels to a height of 8", "(8, 8)"], layer, X)
    layer = pyconv.Conv2d(4, 6, 3, padding=(0, 10), padding_mode="circular")
    refused(ShapeError, [repr(layer), "can add at most 9 pixels to a width of 9"], layer, X)


@pytest.mark.parametrize("rng", ["seed", 1.5, -1, object()])
def test_what_is_no_rng(rng):
    refused(ArgumentError, ["Conv2d: rng must be a numpy.random.Generator or a seed"], pyconv.Conv2d, 4, 6, 3, rng=rng)


@pytest.mark.parametrize("count", [0, -1, 10**6, 1.5, True, "two", None])
def test_number_of_threads(count):
    with pytest.raises(ArgumentError, match="set_num_threads: count"):
        pyconv.set_num_threads(count)


def test_other_slips():
    with pytest.raises(ArgumentError, match="a layer takes only the input"):
        pyconv.explain(pyconv.ReLU(), X, 3)
    with pytest.raises(ArgumentError, match="op must be a layer or a function"):
        pyconv.explain(np.tanh, X)
    with pytest.raises(ArgumentError, match="mode must be"):
        pyconv.show_config("json")
    with pytest.raises(ArgumentError, match="layer '1' is no pyconv layer, got function"):
        pyconv.Sequential(pyconv.ReLU(), F.relu)
    with pytest.raises(ArgumentError, match="name must be a str without dots"):
        pyconv.Sequential({"a.b": pyconv.ReLU()})


def test_a_wrong_word_is_a_value_error_too():
    for error in (ArgumentError, ValueError, TypeError):
        refused(error, ["algorithm must be one of"], conv, algorithm="foo")
    assert not issubclass(ArgumentError, ShapeError)
