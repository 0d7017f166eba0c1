"""Winograd's algorithm for few input channels, by tiles and along rows: right at every edge, on every level."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from guarded import guarded
from helpers import DTYPES, bits, normal

import pyconv
import pyconv.functional as F
from pyconv import registry
from pyconv._core import runtime
from pyconv.backends.cpu import fused, isa, pooled, winograd_few, winograd_row
from pyconv.functional.conv import plan_call_conv2d
from pyconv.plan import conv_parameters, plan_elementwise, plan_fused, plan_max_pool2d, pool_parameters
from pyconv.report import explain

SMALL = {"float32": 1e-5, "float64": 2e-14}
"""Largest error in rms of the output, for normal data and few channels: that of winograd_4 in test_winograd.py."""

KERNELS = [(3, 1), (4, 1), ((3, 4), 1), (5, 2), (7, 2), ((6, 8), 2), (7, 3), ((5, 3), (2, 1)), (11, 4)]
KERNELS += [(2, 1), (3, 2), (5, 3), ((1, 2), 1), (5, 1), ((2, 5), 1), (9, 2)]
"""Kernel and stride: 2x2 to 5x5 taps, also as phases of which some have fewer."""


def made(x, weight, bias=None, stride=1, padding=0, algorithm="auto"):
    parameters = conv_parameters("conv2d", stride, padding, 1, 1)
    return plan_call_conv2d(x, weight, bias, parameters, None, algorithm, True).plan


WAYS = [(winograd_few, 3, 1), (winograd_few, 7, 2), (winograd_few, 5, 3), (winograd_few, 5, 1), (winograd_row, 5, 1)]
"""Implementation, kernel and stride."""


def run(x, weight, bias=None, out=None, way=winograd_few, **parameters):
    """On this implementation, whatever is chosen."""
    plan = made(x, weight, bias, **parameters)
    assert way._cannot(plan, isa.current()) is None
    return way.run(plan, x, way.prepare(plan, weight, bias), out)


def error(got, x, weight, bias=None, **parameters):
    wide = [None if array is None else array.astype(np.float64) for array in (x, weight, bias)]
    exact = F.conv2d(*wide, backend="reference", **parameters)
    assert got.shape == exact.shape
    return np.abs(got - exact).max() / np.sqrt((exact**2).mean())


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride"), KERNELS)
def test_every_edge(level, dtype, kernel, stride):
    """Widths around a vector of tiles, rows that are not whole tiles, channels around a block, any padding."""
    lanes, (tall, wide), (down, along) = runtime.lanes(level, dtype == "float64"), pair(kernel), pair(stride)
    tile = winograd_few._tile(made(normal(1, 1, 40, 40), normal(1, 1, tall, wide), stride=stride))
    assert tile == {2: 5, 3: 4, 4: 3, 5: 2}[max(-(-tall // down), -(-wide // along))]
    widths = {1, tile, tile + 1, lanes * tile - 1, lanes * tile, lanes * tile + 1, 2 * lanes * tile + 3}
    for number, (width, outs) in enumerate(itertools.product(sorted(widths), (1, 3, 4, 9))):
        height, channels = (1, tile + 1, 3 * tile, 7)[number % 4], 1 + number % 3
        padding = (0, ((1, 0), (2, 1)))[number % 2]
        (above, below), (left, right) = padding or ((0, 0), (0, 0))
        rows, columns = (height - 1) * down + tall - above - below, (width - 1) * along + wide - left - right
        if rows < 1 or columns < 1:
            continue
        x = normal(2, channels, rows + number % 2 * (down > 1), columns, dtype=dtype)  # a row that no window reaches
        weight, bias = normal(outs, channels, tall, wide, dtype=dtype, seed=1), normal(outs, dtype=dtype, seed=2)
        got = run(x, weight, bias, stride=stride, padding=padding)
        assert error(got, x, weight, bias, stride=stride, padding=padding) < SMALL[dtype], (width, outs, height)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tall", [1, 2, 5, 8])
def test_every_edge_along_rows(level, dtype, tall):
    """Widths around a tile and a vector of tiles, with gaps between rows and without."""
    lanes = runtime.lanes(level, dtype == "float64")
    widths = {1, 3, 4, 5, 24, 4 * lanes - 1, 4 * lanes, 4 * lanes + 1, 8 * lanes + 4}
    for number, (width, outs) in enumerate(itertools.product(sorted(widths), (1, 3, 4, 9))):
        height, channels = (1, 2, 24, 7)[number % 4], 1 + number % 3
        padding = (0, ((1, 0), (2, 1)))[number // 2 % 2]
        (above, below), (left, right) = padding or ((0, 0), (0, 0))
        rows, columns = height + tall - 1 - above - below, width + 4 - left - right
        if rows < 1 or columns < 1 or (padding and tall == 1):
            continue
        x = normal(2, channels, rows, columns, dtype=dtype)
        weight, bias = normal(outs, channels, tall, 5, dtype=dtype, seed=1), normal(outs, dtype=dtype, seed=2)
        got = run(x, weight, bias, way=winograd_row, padding=padding)
        assert error(got, x, weight, bias, padding=padding) < SMALL[dtype], (width, outs, height)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_read_where_they_lie(level, dtype, threads):
    """Nothing is packed without padding, and nothing read beyond the image: the bits are those of a packed band."""
    lanes = runtime.lanes(level, dtype == "float64")
    pyconv.set_num_threads(threads)
    for width, height, channels in itertools.product((4, 24, 4 * lanes, 8 * lanes + 4), (1, 5, 24, 70), (1, 3)):
        x = normal(2, channels, height + 4, width + 4, dtype=dtype)
        weight = normal(5, channels, 5, 5, dtype=dtype, seed=1)
        gapped = np.repeat(x, 2, -1)[..., ::2]
        wanted = run(gapped, weight, way=winograd_row)
        for at_end in (False, True):
            assert bits(run(guarded(x, at_end), weight, way=winograd_row)) == bits(wanted), (width, height, channels)
        assert error(wanted, x, weight) < SMALL[dtype]


@pytest.mark.parametrize("height", [3, 5, 9, 24, 25, 29])
def test_rows_together_have_the_bits_of_single_ones(level, height):
    """AVX-512 computes three rows in a lane where one channel has enough of them, and the others' bits are the same."""
    for width, outs in itertools.product((16, 19, 20, 24, 26, 28, 33, 64), (1, 4, 7)):
        x, weight, bias = normal(2, 1, height + 4, width + 4), normal(outs, 1, 5, 5, seed=1), normal(outs, seed=2)
        whole = run(x, weight, bias, way=winograd_row)
        rows = [run(np.ascontiguousarray(x[:, :, y : y + 5]), weight, bias, way=winograd_row) for y in range(height)]
        assert bits(whole) == bits(np.concatenate(rows, 2)), (width, outs)
        x[1, 0, height // 2, width - 1] = np.inf
        got = run(x, weight, bias, way=winograd_row)
        assert bits(got[:1]) == bits(whole[:1])
        np.testing.assert_array_equal(np.isfinite(got[1]), np.isfinite(F.conv2d(x, weight, algorithm="direct")[1]))


@pytest.mark.parametrize(("way", "kernel", "stride"), WAYS)
def test_layouts_and_out(level, way, kernel, stride):
    """Channels-last, reversed and gapped input; out= with rows anywhere, of which nothing else is written."""
    x, weight = normal(2, 3, 41, 69), normal(9, 3, kernel, kernel, seed=1)
    plain = run(x, weight, way=way, stride=stride, padding=2)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    reversed_ = np.ascontiguousarray(x[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1]
    for view in (last, reversed_, np.repeat(x, 2, -1)[..., ::2]):
        np.testing.assert_array_equal(run(view, weight, way=way, stride=stride, padding=2), plain)
    batch, channels, height, width = plain.shape
    room = np.full((batch, channels + 2, height + 3, width + 4), 7, np.float32)
    out = room[:, 1:-1, 2:-1, 3:-1]
    assert run(x, weight, out=out, way=way, stride=stride, padding=2) is out
    np.testing.assert_array_equal(out, plain)
    out[...] = 7
    assert (room == 7).all()


@pytest.mark.parametrize(("way", "kernel", "stride"), WAYS)
def test_same_bits_for_any_threads_and_batch(level, way, kernel, stride):
    x, weight = normal(3, 3, 61, 75), normal(21, 3, kernel, kernel, seed=1)
    pyconv.set_num_threads(1)
    once = run(x, weight, way=way, stride=stride, padding=1)
    for threads in (2, 3, 5):
        pyconv.set_num_threads(threads)
        np.testing.assert_array_equal(run(x, weight, way=way, stride=stride, padding=1), once)
        plan = made(x, weight, stride=stride, padding=1)
        weights = way.prepare(plan, weight, None)
        tasks = way.tasks(plan, level, threads)
        got = np.empty_like(once)
        assert way.conv.run(tasks, x, weights.weights, weights.bias, got) is None
        np.testing.assert_array_equal(got, once)
    for image in range(3):
        one = run(x[image : image + 1], weight, way=way, stride=stride, padding=1)
        np.testing.assert_array_equal(one[0], once[image])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize(("way", "kernel", "stride"), WAYS)
def test_what_is_not_finite_stays_where_it_belongs(level, way, kernel, stride, value):
    """One odd number in one image: that image is as direct sums give it, and the others are untouched."""
    x, weight = normal(3, 3, 27, 39), normal(6, 3, kernel, kernel, seed=1)  # the windows reach all of it
    parameters = {"stride": stride, "padding": 1}
    clean = run(x, weight, way=way, **parameters)
    for row, column in ((0, 0), (13, 17), (26, 38)):
        odd = x.copy()
        odd[1, 2, row, column] = value
        with np.errstate(all="ignore"):
            got = run(odd, weight, way=way, **parameters)
            wanted = F.conv2d(odd, weight, algorithm="direct", backend="cpu", **parameters)
        np.testing.assert_array_equal(got[1], wanted[1])
        np.testing.assert_array_equal(got[::2], clean[::2])


def test_numbers_that_no_window_reaches(level):
    """Rows and columns behind the last window may hold anything, and so may what is behind a row in memory."""
    x, weight = normal(1, 3, 30, 40), normal(8, 3, 7, 7, seed=1)
    clean = run(x, weight, stride=2, padding=1)
    around = np.full((1, 3, 34, 50), np.nan, np.float32)
    around[:, :, 2:32, 5:45] = x
    np.testing.assert_array_equal(run(around[:, :, 2:32, 5:45], weight, stride=2, padding=1), clean)
    unreached = x[..., :29, :39]  # the windows of 12 x 17 outputs without padding span 29 x 39
    padded = np.full((1, 3, 30, 40), np.inf, np.float32)
    padded[..., :29, :39] = unreached
    np.testing.assert_array_equal(run(padded, weight, stride=2), run(unreached, weight, stride=2))


def test_weights_that_are_not_finite(level):
    """Only direct sums show these right: the weights are not taken."""
    x, weight = normal(1, 3, 64, 64), normal(64, 3, 3, 3, seed=1)
    for value in (np.inf, np.nan):
        weight[5, 1, 1, 2] = value
        assert winograd_few.prepare(made(x, weight), weight, None) is None
        layer = pyconv.Conv2d(3, 64, 3, bias=False, backend="cpu")
        layer.weight = weight
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(layer(x), F.conv2d(x, weight, algorithm="direct", backend="cpu"))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("special", [None, np.nan, -np.inf])
def test_pooled_in_registers(level, monkeypatch, dtype, activation, threads, special):
    """The bits of the parts one after the other: pixels that no window has, and images that are not finite."""
    monkeypatch.setattr(pooled, "threads_for", lambda plan: threads)
    monkeypatch.setattr(winograd_few, "refusal", lambda plan: winograd_few._cannot(plan, isa.current()))
    fused.conv._first.cache_clear()
    pooled._refusal.cache_clear()
    cpu = registry.load("cpu")
    try:
        for height, width, outs in ((2, 2, 1), (9, 70, 5), (33, 131, 7), (24, 128, 9)):
            x, weight, bias = normal(2, 3, height, width, dtype=dtype), normal(outs, 3, 3, 3, dtype=dtype), None
            if special is not None:
                x[1, 0, height - 1, width // 2] = special
                bias = np.full(outs, -0.0, dtype)
                weight[0] = 0
            one = made(x, weight, bias, padding=1)
            function = activation and plan_elementwise(activation, one.out_shape, dtype, ())
            window = pool_parameters("pool", 2, None, 0, 1, False, False)
            plan = plan_fused(one, None, function, plan_max_pool2d(one.out_shape, dtype, x.itemsize, "nchw", *window))
            assert pooled.refusal(plan) is None
            assert pooled.implementation(plan) is winograd_few
            prepared = cpu.prepare(plan, weight, bias)
            with np.errstate(all="ignore"):
                wanted = cpu.run(one, x, prepared)
                wanted = cpu.run(plan.pool, wanted if function is None else cpu.run(function, wanted))
                got = cpu.run(plan, x, prepared)
            assert bits(got) == bits(wanted), (height, width, outs)
    finally:
        fused.conv._first.cache_clear()
        pooled._refusal.cache_clear()


@pytest.fixture
def relus(monkeypatch):
    """The plans of bands whose relu is taken with the outputs, as they are asked for; all are for winograd_few."""
    found, pieces = [], winograd_few.pieces

    def watched(plan, level):
        own = pieces(plan, level)

        def relu_tasks(part, count):
            found.append(part)
            return own.relu_tasks(part, count)

        return own._replace(relu_tasks=relu_tasks)

    monkeypatch.setattr(winograd_few, "pieces", watched)
    monkeypatch.setattr(fused.conv, "chosen", lambda plan, level: winograd_few)
    fused._tasks.cache_clear()
    yield found
    fused._tasks.cache_clear()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (7, 2), (5, 3), (5, 1)])
def test_relu_of_bands(level, dtype, kernel, stride, relus):
    """A relu is taken with the outputs, of every size of tile: the bits of a separate one, not finite too."""
    cpu = registry.load("cpu")
    x, weight, bias = normal(2, 3, 41, 83, dtype=dtype), normal(9, 3, kernel, kernel, dtype=dtype, seed=1), None
    for special in (None, np.nan, np.inf):
        if special is not None:
            x[1, 0, 20, 40] = special
            bias, weight[0] = np.full(9, -0.0, dtype), 0
        one = made(x, weight, bias, stride=stride, padding=1)
        weights = winograd_few.prepare(one, weight, bias)
        relu = plan_elementwise("relu", one.out_shape, dtype, ())
        window = pool_parameters("pool", 3, 2, 1, 1, False, False)
        whole = plan_max_pool2d(one.out_shape, dtype, x.itemsize, "nchw", *window)
        with np.errstate(all="ignore"):
            apart = cpu.run(relu, winograd_few.run(one, x, weights, None))
            for pooling, wanted in ((None, apart), (whole, cpu.run(whole, apart))):
                for threads in (1, 2):
                    pyconv.set_num_threads(threads)
                    prepared = fused.conv.Prepared(winograd_few, weights)
                    relus.clear()
                    fused._tasks.cache_clear()
                    got = fused.run(plan_fused(one, None, relu, pooling), x, prepared, None)
                    assert bits(got) == bits(wanted), (special, pooling, threads)
                    assert relus, (special, pooling, threads)


def test_no_relu_of_bands(level, relus):
    """What is no relu, or comes after a residual, is taken by itself."""
    x, weight = normal(2, 3, 41, 83), normal(9, 3, 3, 3, seed=1)
    one = made(x, weight, padding=1)
    prepared = fused.conv.Prepared(winograd_few, winograd_few.prepare(one, weight, None))
    apart = winograd_few.run(one, x, prepared.weights, None)
    relu, relu6 = (plan_elementwise(name, one.out_shape, "float32", ()) for name in ("relu", "relu6"))
    residual, cpu = normal(*one.out_shape, seed=2), registry.load("cpu")
    for plan, given, wanted in (
        (plan_fused(one, None, relu6), x, cpu.run(relu6, apart)),
        (plan_fused(one, one.out_shape, relu), (x, residual), cpu.run(relu, apart + residual)),
    ):
        assert bits(fused.run(plan, given, prepared, None)) == bits(wanted)
        assert fused._tasks.cache_info().currsize
    assert not relus


def test_a_tap_less_takes_a_place_less():
    """Planes of phases with fewer taps down, or along, come after those of all, and have no place for the point 0."""
    for kernel, stride, in_order, count in (
        (7, 2, [(0, 0), (0, 1), (1, 0), (1, 1)], (6 + 5) ** 2),
        ((4, 3), 2, [(0, 0), (1, 0), (0, 1), (1, 1)], 2 * 6 * (6 + 5)),
        ((5, 7), (2, 3), None, (6 + 5) * (6 + 5 + 5)),
        (4, 2, [(0, 0), (0, 1), (1, 0), (1, 1)], 4 * 36),
    ):
        tall, wide = pair(kernel)
        plan = made(normal(1, 3, 40, 40), normal(1, 3, tall, wide), stride=stride)
        assert winograd_few._products(plan) == 3 * count, (kernel, stride)
        assert in_order is None or winograd_few._phases(plan) == in_order


def test_used_where_it_pays():
    """First layers of networks: yes, if it is quicker; as image filters with one result, and by name: no."""
    lanes = runtime.lanes(isa.current(), False)
    wide = lanes >= 16 and runtime.multiply_adds(isa.current()) == 1  # else direct sums may be as quick
    for arguments, shape, sure in (
        ((3, 64, 3, 1, 1), (1, 3, 224, 224), wide),
        ((3, 64, 7, 2, 3), (1, 3, 224, 224), lanes >= 8),
    ):
        layer = pyconv.Conv2d(*arguments, backend="cpu", rng=0)
        name = explain(layer, normal(*shape)).steps[0].implementation
        assert name == winograd_few.label(made(normal(*shape), layer.weight, stride=arguments[3])) or not sure
        layer.algorithm = "direct"
        assert "winograd" not in explain(layer, normal(*shape)).steps[0].implementation
    layer, x = pyconv.Conv2d(1, 16, 5, backend="cpu", rng=0), normal(1, 1, 28, 28)
    assert explain(layer, x).steps[0].implementation == winograd_row.label(made(x, layer.weight)) or not wide
    layer.algorithm = "direct"
    assert "winograd" not in explain(layer, x).steps[0].implementation
    one = explain(F.conv2d, normal(1, 3, 64, 64), normal(1, 3, 3, 3), padding=1, backend="cpu")
    assert "winograd" not in one.steps[0].implementation


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [28, 56, 112, 224])
def test_places_lie_in_many_sets_of_the_cache(level, dtype, size):
    """An odd number of vectors apart, of those that are half a line of the cache or a line."""
    lanes = runtime.lanes(level, dtype == "float64")
    plan = made(normal(1, 2, size, size, dtype=dtype), normal(32, 2, 7, 7, dtype=dtype), stride=2, padding=3)
    for count in (1, 2):
        _, (_, pitch, *_) = winograd_few._cut(plan, level, count)
        assert pitch % lanes == 0
        assert pitch // lanes % 2 == 1 or lanes * np.dtype(dtype).itemsize < 32


def test_refusals_say_why():
    x = normal(1, 2, 30, 30)
    plan = made(x, normal(8, 2, 3, 3))
    for change, word in (
        ({"algorithm": "direct"}, "asked for"),
        ({"dilation": (2, 2)}, "dilation 1"),
        ({"groups": 2}, "one group"),
        ({"kernel": (6, 6)}, "two to five steps"),
        ({"kernel": (2, 3)}, None),
        ({"in_channels": 17}, "16 at most"),
        ({"in_channels": 257, "kernel": (5, 5)}, "256 at most"),
    ):
        reason = winograd_few.refusal(replace(plan, **change))
        assert (word or "") in (reason or ""), change
    plan = made(x, normal(8, 2, 4, 5))
    for change, word in (
        ({"algorithm": "winograd"}, "asked for"),
        ({"stride": (1, 2)}, "stride 1"),
        ({"kernel": (5, 4)}, "5 columns"),
        ({"in_channels": 17}, "16 at most"),
        ({"out_channels": 1}, "more than they save"),
    ):
        assert word in (winograd_row.refusal(replace(plan, **change)) or ""), change
    strided = made(x, normal(8, 2, 5, 5), stride=2, algorithm="winograd")
    assert "stride 1" in winograd_few.refusal(strided)


def test_choice_does_not_depend_on_threads_or_batch():
    """Else the bits would."""
    weight, chosen = normal(32, 3, 3, 3), set()
    for threads, batch in itertools.product((1, 2, 7), (1, 4)):
        pyconv.set_num_threads(threads)
        found = explain(F.conv2d, normal(batch, 3, 56, 56), weight, padding=1, backend="cpu")
        chosen.add(found.steps[0].implementation)
    assert len(chosen) == 1
