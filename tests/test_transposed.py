"""Transposed convolution and convolution of lines: their plans, layers, and what is refused."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from helpers import assert_close, bits, known_by, normal, refused, warm
from transposed_sizes import BANDED, BY_TILES, FEW_CHANNELS

import pyconv
import pyconv.functional as F
from pyconv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from pyconv.backends.cpu import blocks, channels, conv, estimate, isa, transposed
from pyconv.errors import ArgumentError, DTypeError, OutputError, ShapeError
from pyconv.plan import phase_parts, plan_conv_transpose2d, taps_part, transposed_parameters


def plan_of(x, weight, *parameters, bias=None):
    checked = transposed_parameters("conv_transpose2d", *parameters)
    more = ("auto", True, "fp32")
    return plan_conv_transpose2d(x.shape, weight.shape, bias, "float32", 4, "nchw", *checked, *more)


_PADDINGS = (0, 1, ((2, 0), (1, 4)))
PARAMETERS = list(itertools.product((1, 2, 3, (2, 5)), _PADDINGS, (0, 1, (0, 1)), (1,), (1, 2, 3, (4, 1))))


@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 4), (5, 1)])
def test_phases_fill_the_output_once(kernel):
    """Every output belongs to one phase at most; those that see some of the input belong to one."""
    tried = 0
    for size, parameters in itertools.product(((1, 2), (4, 3)), PARAMETERS):
        x, weight = np.ones((1, 1, *size), np.float32), np.ones((1, 1, *kernel), np.float32)
        try:
            plan = plan_of(x, weight, *parameters)
        except ShapeError:
            continue
        filled = np.zeros(plan.out_size, int)
        for part in phase_parts(plan):
            assert len(part.starts) == len(part.taps) == part.plan.out_channels
            for row, column in part.starts:
                places = filled[row :: plan.stride[0], column :: plan.stride[1]]
                assert places.shape == part.plan.out_size
                places += 1
            assert x[:, :, part.rows, part.columns].shape[2:] == part.plan.in_size
        seen = F.conv_transpose2d(x, weight, None, *parameters, backend="reference")[0, 0] > 0
        assert filled.max() <= 1
        assert (filled[seen] == 1).all()
        tried += 1
    assert tried > 50


def test_a_kernel_as_large_as_the_stride_is_one_convolution():
    """All phases side by side as channels: one convolution with a kernel of one pixel."""
    plan = plan_of(normal(1, 8, 6, 7), normal(8, 4, 2, 2), 2, 0, 0, 1, 1)
    (part,) = phase_parts(plan)
    assert (part.plan.kernel, part.plan.out_channels, part.plan.padding) == ((1, 1), 16, ((0, 0), (0, 0)))
    assert part.plan.flops == plan.flops


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", isa.names())
def test_instruction_sets(name, dtype):
    isa.use(name)
    try:
        for channels, stride, kernel in itertools.product((1, 16, 37), (1, 2, 3), (2, 3, 4)):
            x, weight = normal(2, 5, 7, 9, dtype=dtype), normal(5, channels, kernel, kernel, dtype=dtype, seed=1)
            wanted = F.conv_transpose2d(x, weight, stride=stride, padding=1, backend="reference")
            assert_close(F.conv_transpose2d(x, weight, stride=stride, padding=1, backend="cpu"), wanted)
    finally:
        isa.use(None)


def test_the_bits_do_not_depend_on_threads_or_the_batch():
    x, weight = normal(3, 16, 20, 21), normal(16, 24, 4, 4)
    results = set()
    for count in (1, 2, 3, 5):
        pyconv.set_num_threads(count)
        result = F.conv_transpose2d(x, weight, stride=2, padding=1, backend="cpu")
        results.add(result.tobytes())
        assert bits(F.conv_transpose2d(x[1:2], weight, stride=2, padding=1, backend="cpu")) == bits(result[1:2])
    pyconv.set_num_threads(2)
    assert len(results) == 1


@pytest.fixture
def cut_for(monkeypatch):
    """Have what is planned from now on cut into bands of so much room, for so many threads."""

    def cut_for(room, threads):
        monkeypatch.setattr(transposed, "_ROOM", room)
        monkeypatch.setattr(transposed, "threads_for", lambda plan, slowness=1: threads)
        transposed._tasks.cache_clear()

    yield cut_for
    transposed._tasks.cache_clear()


def prepared_calls(sizes, algorithm, orders):
    """Plans, arrays and prepared weights: both dtypes, the input in each of ``orders``, with a bias and without."""
    shape, weight_shape, *parameters = sizes
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    more = {**dict(zip(names, parameters, strict=True)), "out": None, "algorithm": algorithm, "precision": None}
    for dtype in ("float32", "float64"):
        x, weight = normal(*shape, dtype=dtype), normal(*weight_shape, dtype=dtype, seed=1)
        for source in (order(x) for order in orders):
            for bias in (None, normal(weight_shape[1] * parameters[3], dtype=dtype)):
                plan = F.conv_transpose2d.plan_call(input=source, weight=weight, bias=bias, **more).plan
                yield plan, source, weight, bias, transposed.prepare(plan, weight, bias)


def as_it_is(x):
    return x


def channels_last(x):
    return np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1)


def swapped(x):
    return x.astype(x.dtype.newbyteorder())


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("room", [1, 2**12, 2**20])
@pytest.mark.parametrize("sizes", BANDED + BY_TILES, ids=str)
def test_bands_have_the_bits_of_the_parts(cut_for, level, sizes, room, threads):
    cut_for(room, threads)
    for plan, source, _, _, prepared in prepared_calls(sizes, "auto", (as_it_is, channels_last, swapped)):
        assert transposed.work(plan, prepared) is not None
        wanted = transposed._by_parts(plan, source, prepared, None)
        assert bits(transposed.run(plan, source, prepared, None)) == bits(wanted)


@pytest.mark.parametrize("sizes", BY_TILES, ids=str)
def test_phases_by_tiles_see_what_is_not_finite(sizes):
    """An image whose results are not all finite is computed once more; a tile would have spread them."""
    (shape, (ins, outs, *kernel), stride, padding, more, groups, dilation) = sizes
    asked = "winograd" if dilation > 1 else "auto"
    layer = ConvTranspose2d(ins, outs, kernel, stride, padding, more, groups, True, dilation, algorithm=asked, rng=0)
    x = normal(3, *shape[1:])
    if "winograd" not in pyconv.report.explain(layer, x, measure=False).steps[0].implementation:
        level = isa.current()
        assert estimate.asks_much(level)
        assert not estimate.keeps_up(level)
        pytest.skip("direct sums take fewer cycles on this processor")
    warm(layer, x)
    finite = known_by(layer, x)
    for value in (np.nan, np.inf, -np.inf, 3e38):
        x[0, 0, 5, 6], x[2, -1, -1, -1] = value, value
        for result in (layer(x), copy.deepcopy(layer)(x)):  # known, and not
            wanted = F.conv_transpose2d(
                x, layer.weight, layer.bias, stride, padding, more, groups, dilation, backend="reference"
            )
            assert (np.isnan(result) == np.isnan(wanted)).all()
            assert (np.isinf(result) == np.isinf(wanted)).all() or value == 3e38  # it overflows by the order of sums
            assert bits(result[1]) == bits(finite[1])
            inside = np.isfinite(wanted) & np.isfinite(result) & (np.abs(wanted) < 1e30)
            assert_close(result[inside], wanted[inside])


def added_up(plan, x, prepared, bias):
    """The taps' results added up one after the other, each where it belongs."""
    part, (height, width) = taps_part(plan), plan.out_size
    taps, per_out = plan.kernel[0] * plan.kernel[1], plan.out_channels // plan.groups
    found = conv.run(part.plan, x, prepared.parts[0], None)
    found = found.reshape(plan.batch, plan.groups, per_out, taps, *x.shape[2:])
    result = np.zeros((plan.batch, plan.out_channels, height, width), plan.dtype)
    if bias is not None:
        result += bias[:, None, None]
    for (top, left), reaches in zip(np.ndindex(*plan.stride), part.reaches, strict=True):
        phase = result[:, :, top :: plan.stride[0], left :: plan.stride[1]]
        for tap, down, right in reaches:
            source = found[:, :, :, tap].reshape(plan.batch, plan.out_channels, *x.shape[2:])
            for row, column in np.ndindex(*phase.shape[2:]):
                if 0 <= row + down < x.shape[2] and 0 <= column + right < x.shape[3]:
                    phase[:, :, row, column] += source[:, :, row + down, column + right]
    return result


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("room", [1, 2**12, 2**20])
@pytest.mark.parametrize("sizes", BANDED + FEW_CHANNELS, ids=str)
def test_taps_are_added_up_in_one_order(monkeypatch, cut_for, level, sizes, room, threads):
    """Whatever the bands and threads, and whether or not it is chosen."""
    monkeypatch.setattr(transposed, "_by_taps", lambda plan, level: None)
    cut_for(room, threads)
    for plan, source, weight, bias, prepared in prepared_calls(sizes, "direct", (as_it_is, channels_last)):
        result = transposed.run(plan, source, prepared, None)
        assert bits(result) == bits(added_up(plan, source, prepared, bias))
        assert_close(result, F.conv_transpose2d(source, weight, bias, *sizes[2:], backend="reference"))


def test_taps_are_for_few_output_channels(level):
    """They give an image's colours; what has channels enough for all lanes goes by phases."""
    for out_channels, chosen in ((1, "taps"), (3, "taps"), (64, "phases")):
        plan = plan_of(normal(1, 128, 32, 32), normal(128, out_channels, 4, 4), 2, 1, 0, 1, 1)
        (first, refusal), (second, none) = transposed.implementations(plan)
        assert (first.partition("(")[0], second.partition("(")[0], none) == ("taps", "phases", None)
        assert (refusal is None) == (chosen == "taps")
        assert refusal is None or refusal.startswith("phases take fewer cycles: ")
        (priced,) = transposed.costs(plan)
        assert priced == (first if chosen == "taps" else second)
    plan = plan_of(normal(1, 8, 9, 9), normal(8, 1, 9, 9), 2, 1, 0, 1, 1)
    assert transposed.implementations(plan)[0][1] == "an output is the sum of 25 taps, it is for 2 to 16"


def test_taps_are_known_and_see_what_is_not_finite():
    layer, x = ConvTranspose2d(64, 3, 4, stride=2, padding=1, rng=0), normal(2, 64, 12, 13)
    assert pyconv.report.explain(layer, x, measure=False).steps[0].implementation.startswith("taps(")
    warm(layer, x)
    x[0, 3, 5, 6], x[1, 2, 0, 0] = np.inf, np.nan
    result = known_by(layer, x)
    wanted = F.conv_transpose2d(x, layer.weight, layer.bias, 2, 1, backend="reference")
    assert (np.isfinite(result) == np.isfinite(wanted)).all()
    assert np.isnan(result[1]).sum() == np.isnan(wanted[1]).sum() == 3 * 3 * 3


def test_what_has_no_bands_is_run_part_by_part():
    for kernel, stride, more in ((3, 1, 0), (2, (1, 9), 0), (2, 4, 3)):  # the last has rows that see nothing of x
        x, weight = normal(1, 4, 5, 6), normal(4, 4, kernel, kernel)
        plan = plan_of(x, weight, stride, 0, more, 1, 1)
        assert transposed.work(plan, transposed.prepare(plan, weight, None)) is None
        wanted = F.conv_transpose2d(x, weight, None, stride, 0, more, backend="reference")
        assert_close(F.conv_transpose2d(x, weight, None, stride, 0, more, backend="cpu"), wanted)


def test_transposed_calls_are_known():
    layer, x = ConvTranspose2d(3, 5, 3, stride=2, rng=0), normal(2, 3, 6, 7)
    warm(layer, x)
    other = normal(2, 3, 6, 7, seed=1)
    assert bits(known_by(layer, other)) == bits(copy.deepcopy(layer)(other))


def test_an_infinite_weight_is_seen_where_it_belongs():
    x, weight = normal(1, 2, 4, 5), normal(2, 3, 3, 3)
    weight[0, 1, 0, 0] = np.inf
    for backend in ("cpu", "reference"):
        result = F.conv_transpose2d(x, weight, stride=2, backend=backend)
        wrong = ~np.isfinite(result[0])
        assert wrong[1, 0:8:2, 0:10:2].all()
        assert wrong.sum() == 4 * 5


LAYERS = [
    ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, rng=0),
    ConvTranspose2d(4, 6, (2, 3), bias=False, dilation=2, rng=0),
    ConvTranspose1d(4, 6, 4, 2, 1, rng=0),
    Conv1d(4, 6, 3, padding=1, rng=0),
    Conv1d(4, 6, 3, padding=2, padding_mode="circular", bias=False, groups=2, rng=0),
]


def input_of(layer):
    return normal(2, 4, 11) if isinstance(layer, Conv1d | ConvTranspose1d) else normal(2, 4, 7, 8)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers(layer):
    """Batch or none, out=, copies, state dicts, calls that come again; explained as they run."""
    layer, x = copy.deepcopy(layer), input_of(layer)
    wanted = layer(x)
    assert bits(warm(layer, x)) == bits(wanted)
    assert bits(warm(layer, x[0])) == bits(wanted[0])
    assert layer(x[0]).shape == wanted.shape[1:]
    for source, result in ((x, wanted), (x[0], wanted[0])):
        out = np.full_like(result, 7)
        assert warm(layer, source, out=out) is out
        assert bits(out) == bits(result)
    other = type(layer)(*_arguments(layer), rng=1)
    assert bits(other(x)) != bits(wanted)
    other.load_state_dict(layer.state_dict())
    assert bits(other(x)) == bits(wanted)
    assert bits(pickle.loads(pickle.dumps(layer))(x)) == bits(wanted)
    assert layer.weight.ndim == x.ndim
    with pytest.raises(ValueError, match="read-only"):
        layer.weight[...] = 0
    layer.weight = layer.weight * np.float32(2)
    assert bits(layer(x)) != bits(wanted)
    found = pyconv.report.explain(pyconv.Sequential(layer, pyconv.ReLU()), x, measure=False)
    assert found.steps[1].plan.out_shape == wanted.shape
    assert found.steps[0].backend == "cpu"


def _arguments(layer):
    parts = [layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding]
    if layer._transposed:
        return [*parts, layer.output_padding, layer.groups, layer.bias is not None, layer.dilation]
    return [*parts, layer.dilation, layer.groups, layer.bias is not None, layer.padding_mode]


def test_lines_are_images():
    x, weight, bias = normal(2, 4, 20), normal(6, 2, 3), normal(6)
    wanted = F.conv2d(x[:, :, None], weight[:, :, None], bias, (1, 2), ((0, 0), (1, 2)), 1, 2)[:, :, 0]
    assert bits(F.conv1d(x, weight, bias, 2, ((1, 2),), 1, 2)) == bits(wanted)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    assert F.conv1d.plan_call(  # no copy, and known for what it is
        input=last, weight=weight, bias=None, out=None, algorithm="auto", precision=None, stride=1, padding=0,
        dilation=1, groups=2,
    ).plan.layout == "nhwc"  # fmt: skip


def test_bands_of_long_lines_are_shorter_with_the_same_bits(monkeypatch):
    """Where the processor begins one multiply-add in a cycle, and many channels lie pages apart."""
    x, weight = normal(1, 40, 1, 1100), normal(64, 40, 1, 3)
    parameters = {"stride": (1, 2), "padding": (0, 1), "dilation": 1, "groups": 1}
    more = {"bias": None, "residual": None, "out": None, "algorithm": "auto", "precision": None}
    plan = F.conv2d.plan_call(input=x, weight=weight, **parameters, **more).plan
    results, most = set(), set()
    for pace, near in ((1.0, 1), (0.5, 2**20), (0.5, 2**14)):
        monkeypatch.setattr(channels.estimate, "pace", lambda level, pace=pace: pace)
        monkeypatch.setattr(blocks, "WORKING_SET", near)
        channels._tasks.cache_clear()
        most.add(blocks._most_pixels(plan, isa.current()))
        result = channels.run(plan, x, channels.prepare(plan, weight, None), None)
        assert_close(result, F.conv2d(x, weight, **parameters, backend="reference"))
        results.add(bits(result))
    channels._tasks.cache_clear()
    assert len(results) == 1
    assert most == ({100} if blocks.has_few_sums(isa.current()) else {200, 40})


X, W, L, WL = normal(1, 4, 5, 6), normal(4, 3, 3, 3), normal(1, 4, 9), normal(6, 4, 3)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"stride": 0}, ShapeError, ["stride must be at least 1"]),
        ({"padding": -1}, ShapeError, ["padding must be at least 0"]),
        ({"padding": "same"}, ArgumentError, ["padding='same' is for convolutions"]),
        ({"padding": 9}, ShapeError, ["no output is left along the height", "(5 - 1) * 1", "- 9 - 9 = -11"]),
        ({"output_padding": 1}, ShapeError, ["output_padding must be smaller than the stride or the dilation: got 1"]),
        ({"output_padding": -1}, ShapeError, ["output_padding must be at least 0"]),
        ({"groups": 3}, ShapeError, ["groups must divide the input channels: 4 % 3 = 1"]),
        ({"dilation": 1.5}, ArgumentError, ["dilation must be an integer"]),
        ({"weight": normal(3, 4, 3, 3)}, ShapeError, ["has 4 channels", "takes 3", "weight 4 in its first dimension"]),
        (
            {"weight": normal(4, 3, 3)},
            ShapeError,
            ["weight must have 4 dimensions (in_channels, out_channels / groups"],
        ),
        ({"weight": W.astype("float64")}, DTypeError, ["input is float32 but weight is float64"]),
        ({"bias": normal(4)}, ShapeError, ["bias must have shape (out_channels,) = (3,), got (4,)"]),
        ({"input": normal(5, 6)}, ShapeError, ["input must be (N, C, H, W) or (C, H, W)"]),
        ({"input": normal(1, 4, 0, 6)}, ShapeError, ["input has no pixels"]),
        ({"out": normal(1, 3, 7, 7)}, OutputError, ["out has shape (1, 3, 7, 7), the result has (1, 3, 7, 8)"]),
        ({"algorithm": "winograd", "stride": 2}, pyconv.errors.BackendError, ["made of convolutions", "(2x2)"]),
    ],
)
def test_bad_transposed(change, kind, words):
    refused(kind, ["conv_transpose2d: ", *words], F.conv_transpose2d, **{"input": X, "weight": W, **change})


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"stride": (1, 1)}, ShapeError, ["stride must be an int or a sequence of one, got 2 values"]),
        ({"stride": 0}, ShapeError, ["stride must be at least 1"]),
        ({"padding": "full"}, ArgumentError, ["padding must be an int, a sequence of one, ((left, right),)"]),
        ({"padding": ((1, 2), (3, 4))}, ShapeError, ["padding must be an int or a sequence of one"]),
        ({"padding": ((1, -2),)}, ShapeError, ["padding (left, right) must be at least 0, got -2"]),
        ({"padding": None}, ArgumentError, ["padding must be an int"]),
        ({"weight": normal(6, 4, 10)}, ShapeError, ["larger than the padded input along the length: input 9"]),
        (
            {"weight": normal(6, 4, 1, 3)},
            ShapeError,
            ["weight must have 3 dimensions", "kernel length", "(6, 4, 1, 3)"],
        ),
        ({"weight": normal(6, 5, 3)}, ShapeError, ["input of shape (1, 4, 9) has 4 channels", "(6, 5, 3)"]),
        ({"input": normal(1, 4, 1, 9)}, ShapeError, ["input must be (N, C, L) or (C, L), got 4 dimensions"]),
        ({"input": normal(1, 9, 4)}, ShapeError, ["channels-last (N, L, C)", "np.moveaxis(x, -1, -2)"]),
        ({"input": [1, 2]}, ArgumentError, ["input must be a NumPy or CuPy array, got list"]),
        ({"out": normal(6, 7)}, OutputError, ["out has 2 dimensions, the result has 3"]),
        ({"out": [1.0]}, ArgumentError, ["out must be a numpy array"]),
    ],
)
def test_bad_lines(change, kind, words):
    refused(kind, ["conv1d: ", *words], F.conv1d, **{"input": L, "weight": WL, **change})


def test_bad_layers():
    refused(ShapeError, ["ConvTranspose2d: groups must divide out_channels: 3 % 2"], ConvTranspose2d, 4, 3, 3, groups=2)
    words = ["ConvTranspose2d: padding_mode must be 'zeros', got 'reflect'"]
    refused(ArgumentError, words, ConvTranspose2d, 4, 3, 3, padding_mode="reflect")
    refused(ShapeError, ["ConvTranspose2d: output_padding must be smaller"], ConvTranspose2d, 4, 3, 3, 2, 0, 2)
    refused(ShapeError, ["Conv1d: kernel_size must be an int or a sequence of one"], Conv1d, 4, 3, (3, 3))
    refused(ShapeError, ["Conv1d: padding='same' needs stride 1"], Conv1d, 4, 3, 3, 2, "same")
    refused(ShapeError, ["Conv1d(4, 3", "conv1d: ", "got 4 dimensions"], Conv1d(4, 3, 3), X)
    refused(ShapeError, ["ConvTranspose1d(4, 3", "conv_transpose1d: "], ConvTranspose1d(4, 3, 3), normal(1, 5, 9))
    layer = Conv1d(4, 3, 3, padding=1)
    assert (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3,), (1,), (1,), (1,))
    with pytest.raises(AttributeError, match="stride cannot be changed"):
        layer.stride = 2
    refused(
        ShapeError, ["weight must have shape (3, 4, 3), got (3, 4, 1, 3)"], setattr, layer, "weight", normal(3, 4, 1, 3)
    )
    assert Conv2d(1, 1, 1).padding == (0, 0)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(
    ("shape", "kernel", "parameters"),
    [
        ((1, 16, 17, 10), (16, 64, 7, 3), {"stride": (4, 2), "padding": (2, 0)}),
        ((1, 3, 13, 32), (3, 16, 7, 4), {"stride": 4, "padding": (1, 0)}),
        ((1, 16, 8, 34), (16, 64, 7, 5), {"stride": (4, 3), "padding": (6, 0)}),
        ((1, 32, 20, 29), (32, 16, 4, 3), {"stride": 2, "padding": (2, 1), "output_padding": 1}),
        # channels a page apart, which are packed; those of a band are not
        ((1, 128, 32, 32), (128, 3, 4, 4), {"stride": 2, "padding": 1}),
        ((1, 128, 16, 64), (128, 3, 4, 4), {"stride": 2, "padding": 1}),
    ],
)
def test_bands_that_look_alike(level, shape, kernel, parameters, count):
    """Bands of two phases may be the same convolution, packed for different ones; bands may be read where they lie."""
    pyconv.set_num_threads(count)
    x, weight = normal(*shape), normal(*kernel)
    wanted = F.conv_transpose2d(x, weight, backend="reference", **parameters)
    assert_close(F.conv_transpose2d(x, weight, backend="cpu", **parameters), wanted, terms=2000)
