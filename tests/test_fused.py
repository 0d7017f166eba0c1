"""Fused plans on the cpu backend: the bits of the parts run one after the other, however they are cut."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import DTYPES, bits, normal

import pyconv
from pyconv import registry
from pyconv.backends.cpu import (
    channels,
    conv,
    depthwise,
    depthwise_channels,
    few,
    fused,
    pooled,
    wake,
    winograd,
    winograd_few,
    winograd_row,
)
from pyconv.errors import ShapeError
from pyconv.functional.conv import plan_call_conv2d
from pyconv.plan import (
    FusedPlan,
    avg_pool_parameters,
    conv_parameters,
    describe,
    lp_pool_parameters,
    plan_avg_pool2d,
    plan_elementwise,
    plan_fused,
    plan_lp_pool2d,
    plan_max_pool2d,
    pool_parameters,
    traffic,
)

POOLS = {
    "none": None,
    "2x2": (2, None, 0, 1, False),
    "3x3 s2 p1": (3, 2, 1, 1, False),
    "3x3 s1": (3, 1, 1, 1, False),
    "3x2 s1x3 ceil": ((3, 2), (1, 3), 0, 1, True),
    "2x2 s3 ceil": (2, 3, 0, 1, True),
    "asymmetric": (3, 2, ((2, 1), (0, 2)), 1, False),
}
AVERAGES = {  # of those without, whether the padding counts, and another divisor
    "average 2x2": (2, None, 0, False, True, None),
    "average 3x3 s2 p1": (3, 2, 1, False, True, None),
    "average 3x3 s1 p1, padding left out": (3, 1, 1, False, False, None),
    "average 3x2 s1x3 ceil": ((3, 2), (1, 3), 0, True, True, None),
    "average asymmetric, by 5": (3, 2, ((2, 1), (0, 2)), False, True, 5),
}
# input, weight, (stride, padding, dilation, groups), the implementation that takes it on every instruction set
LAYERS = {
    "direct": ((2, 3, 21, 18), (20, 3, 3, 3), (1, 1, 1, 1)),
    "direct s2": ((1, 5, 25, 23), (7, 5, 3, 5), (2, 2, 1, 1)),
    "direct groups": ((2, 6, 14, 15), (8, 3, 3, 3), (1, 1, 2, 2)),
    "1x1 in place": ((2, 9, 17, 13), (40, 9, 1, 1), (1, 0, 1, 1)),
    "winograd": ((2, 40, 27, 22), (70, 40, 3, 3), (1, 1, 1, 1)),
    "winograd few": ((2, 3, 33, 67), (67, 3, 3, 3), (1, 1, 1, 1)),
    "winograd few s2": ((2, 3, 45, 59), (64, 3, 7, 7), (2, 3, 1, 1)),
    "channels": ((2, 150, 9, 8), (90, 150, 3, 3), (1, 1, 1, 1)),
    "depthwise": ((2, 19, 17, 18), (19, 1, 3, 3), (1, 1, 1, 19)),
    "padding": ((1, 2, 6, 7), (5, 2, 4, 4), (1, ((3, 1), (0, 2)), 1, 1)),
}


def plans(name, pool, activation=("leaky_relu", (0.1,)), residual=False, dtype="float32", algorithm="auto"):
    """(plan, input, weight, bias, residual or None)."""
    shape, weight_shape, parameters = LAYERS[name]
    x, weight, bias = (
        normal(*shape, dtype=dtype),
        normal(*weight_shape, dtype=dtype),
        normal(weight_shape[0], dtype=dtype),
    )
    call = plan_call_conv2d(x, weight, bias, conv_parameters("conv2d", *parameters), None, algorithm, True)
    out_shape, itemsize = call.plan.out_shape, x.itemsize
    activated = plan_elementwise(activation[0], out_shape, dtype, activation[1]) if activation else None
    pooled = None
    if pool in AVERAGES:
        pooled = plan_avg_pool2d(out_shape, dtype, itemsize, "nchw", *avg_pool_parameters("pool", *AVERAGES[pool]))
    elif POOLS[pool] is not None:
        pooled = plan_max_pool2d(out_shape, dtype, itemsize, "nchw", *pool_parameters("pool", *POOLS[pool], False))
    plan = plan_fused(call.plan, out_shape if residual else None, activated, pooled)
    return plan, x, weight, bias, normal(*out_shape, dtype=dtype, seed=1) if residual else None


def one_after_the_other(plan, x, prepared, residual):
    cpu = registry.load("cpu")
    result = cpu.run(plan.conv, x, prepared)
    if residual is not None:
        result = result + residual
    if plan.activation is not None:
        result = cpu.run(plan.activation, result)
    return result if plan.pool is None else cpu.run(plan.pool, result)


def check(plan, x, weight, bias, residual):
    cpu = registry.load("cpu")
    assert cpu.fuses(plan) is None
    prepared = cpu.prepare(plan, weight, bias)
    given = x if residual is None else (x, residual)
    with np.errstate(all="ignore"):
        wanted = one_after_the_other(plan, x, prepared, residual)
        for _ in range(2):
            assert bits(cpu.run(plan, given, prepared)) == bits(wanted)
        out = np.full((*plan.out_shape[:3], 2 * plan.out_shape[3]), 7, plan.dtype)[..., ::2]
        assert cpu.run(plan, given, prepared, out) is out
        assert bits(out) == bits(wanted)


@pytest.fixture
def bands(monkeypatch):
    """Make bands as low as they can be, as for images much larger than the tests'."""

    def limit(room):
        monkeypatch.setattr(fused, "_ROOM", room)
        fused._tasks.cache_clear()

    yield limit
    fused._tasks.cache_clear()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pool", [*POOLS, *AVERAGES])
@pytest.mark.parametrize("name", LAYERS)
def test_the_same_bits(level, name, pool, dtype, bands):
    for room in (1, 2**14, 2**20):
        bands(room)
        check(*plans(name, pool, dtype=dtype))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("name", LAYERS)
def test_the_same_bits_for_any_number_of_threads(monkeypatch, name, threads, bands):
    monkeypatch.setattr(fused, "threads_for", lambda plan, slowness=1: threads)
    for room in (1, 2**20):
        bands(room)
        for pool in ("none", "2x2", "3x3 s2 p1", "average 2x2", "average 3x3 s2 p1"):
            check(*plans(name, pool))


IN_REGISTERS = [  # input, weight, (stride, padding, dilation, groups)
    ((2, 1, 28, 28), (6, 1, 5, 5), (1, 2, 1, 1)),
    ((3, 6, 14, 14), (16, 6, 5, 5), (1, 0, 1, 1)),
    ((1, 3, 21, 67), (37, 3, 3, 3), (1, 1, 1, 1)),
    ((2, 3, 9, 5), (5, 3, 2, 2), (1, 1, 1, 1)),
    ((1, 4, 2, 3), (6, 2, 1, 2), (1, 0, 1, 2)),
    ((1, 3, 41, 38), (20, 3, 7, 7), (2, 3, 1, 1)),
    ((1, 2, 30, 31), (9, 2, 3, 3), (3, ((4, 0), (1, 5)), 2, 1)),
]


@pytest.fixture
def registers(monkeypatch):
    """Pool in registers whatever it costs, on so many threads."""

    def use(threads):
        monkeypatch.setattr(few, "cycles", lambda *_: 0)
        monkeypatch.setattr(pooled, "_finishing", lambda *_: 0)
        for other in (channels, depthwise, depthwise_channels, winograd, winograd_few, winograd_row):
            monkeypatch.setattr(other, "refusal", lambda plan: "not here")
        monkeypatch.setattr(pooled, "threads_for", lambda plan: threads)
        pooled._refusal.cache_clear()
        conv._first.cache_clear()

    yield use
    pooled._refusal.cache_clear()
    conv._first.cache_clear()


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("activation", [None, ("relu", ())])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_pooled_in_registers(level, monkeypatch, registers, dtype, activation, special, threads):
    registers(threads)
    for shape, weight_shape, parameters in IN_REGISTERS:
        monkeypatch.setitem(LAYERS, "one", (shape, weight_shape, parameters))
        plan, x, weight, bias, _ = plans("one", "2x2", activation, dtype=dtype)
        assert pooled.refusal(plan) is None
        if special:
            x.flat[:: x.size // 5] = [np.nan, np.inf, -np.inf, -0.0, 1e30][: len(x.flat[:: x.size // 5])]
            weight[0], bias[0] = 0, -0.0
        check(plan, x, weight, bias, None)


@pytest.mark.parametrize("pool", [name for name in POOLS if name != "2x2"])
def test_other_windows_are_not_pooled_in_registers(registers, pool):
    registers(1)
    assert pooled.refusal(plans("direct", pool, ("relu", ()))[0])


def test_what_is_not_pooled_in_registers(registers):
    assert "was asked for" in pooled.refusal(plans("winograd", "2x2", ("relu", ()), algorithm="winograd")[0])
    registers(1)
    assert pooled.refusal(plans("direct", "2x2", ("relu", ()))[0]) is None
    for plan in (
        plans("direct", "2x2", ("relu6", ()))[0],
        plans("direct", "2x2", ("relu", ()), residual=True)[0],
        plans("1x1 in place", "2x2", ("relu", ()))[0],
        plans("channels", "2x2", ("relu", ()))[0],
    ):
        assert pooled.refusal(plan)


def test_weights_that_do_not_stay_in_the_cache_are_shared_out(monkeypatch, bands):
    from pyconv.backends.cpu import winograd

    bands(2**20)
    monkeypatch.setattr(winograd, "WORKING_SET", 2**16)
    monkeypatch.setattr(fused, "threads_for", lambda plan, slowness=1: 4)
    plan, *arrays = plans("winograd", "3x3 s2 p1", algorithm="winograd")
    cut = fused.cut(plan, winograd.pieces(plan.conv, 0), 4)
    assert len(cut.first_channels) > 2
    check(plan, *arrays)


def test_threads_share_rows_where_each_share_of_channels_would_transform_the_input_again(monkeypatch, bands):
    from pyconv.backends.cpu import winograd

    bands(2**20)
    monkeypatch.setattr(winograd, "WORKING_SET", 2**16)
    x, weight, parameters = normal(1, 64, 56, 56), normal(128, 64, 3, 3), ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    plan = plan_call_conv2d(x, weight, None, parameters, None, "winograd_4", keeps_weights=True).plan
    windows = pool_parameters("pool", *POOLS["2x2"], False)
    pooled = plan_max_pool2d(plan.out_shape, "float32", 4, "nchw", *windows)
    pieces = winograd.pieces(plan, 0)
    assert not pieces.weights_stay
    assert [pieces.shares(count) for count in (1, 2, 3)] == [winograd.grid(plan, 0, n, 4).shares for n in (1, 2, 3)]
    cut = fused.cut(plan_fused(plan, None, None, pooled), pieces._replace(shares=lambda count: 1), 2)
    assert cut.first_channels == [0, 128]
    strips = [cut.bands[first].row for first in cut.first_bands[:-1]]
    assert strips == [0, 28]  # both of seven rows of tiles


@pytest.mark.parametrize("activation", [None, ("relu", ()), ("gelu", ()), ("hardtanh", (-0.5, 0.75)), ("silu", ())])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("name", ["direct", "winograd", "depthwise"])
def test_residuals_and_activations(name, residual, activation):
    for pool in ("none", "2x2") if activation or residual else ("2x2",):
        check(*plans(name, pool, activation, residual))


@pytest.mark.parametrize("layout", ["channels last", "backwards", "byte-swapped"])
def test_inputs_of_any_layout(layout):
    for name in ("direct", "winograd", "1x1 in place"):
        shape = LAYERS[name][0]
        x = {
            "channels last": np.moveaxis(normal(shape[0], *shape[2:], shape[1]), -1, 1),
            "backwards": normal(*shape)[:, :, ::-1, ::-1],
            "byte-swapped": normal(*shape).astype(">f4"),
        }[layout]
        plan, _, weight, bias, _ = plans(name, "2x2")
        call = plan_call_conv2d(x, weight, bias, conv_parameters("conv2d", *LAYERS[name][2]), None, "auto", True)
        check(plan_fused(call.plan, None, plan.activation, plan.pool), x, weight, bias, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("row", [0, 13, 26])
def test_numbers_that_are_not_finite(value, row, bands):
    """Winograd's results are computed again for the image; also where the pooling leaves the row out."""
    bands(1)
    plan, x, weight, bias, residual = plans("winograd", "2x2", residual=True, algorithm="winograd")
    x[1, 3, row, 5] = value
    check(plan, x, weight, bias, residual)


@pytest.mark.parametrize(
    ("kernel", "channels"), [((1, 5), 16), ((5, 5), 1), ((3, 3), 3), ((3, 3), 64)], ids=["row", "LeNet", "few", "many"]
)
@pytest.mark.parametrize("pool", [(2, 2), ((1, 2), (4, 2)), (1, 16)], ids=["2x2", "rows left out", "most left out"])
def test_numbers_that_are_not_finite_in_rows_that_no_window_sees(level, monkeypatch, kernel, channels, pool):
    """What takes other sums for such an image takes them on any number of threads, as the layers one by one do."""
    convolution, pooling = pyconv.Conv2d(channels, 16, kernel, rng=0), pyconv.MaxPool2d(*pool)
    for threads in (1, 2, 3):
        monkeypatch.setattr(wake, "threads_for", lambda seconds, threads=threads: threads)
        for row in range(33):
            x = normal(1, channels, 33, 40)
            x[0, 0, row, 3] = np.inf
            got = pyconv.Sequential(convolution, pooling)(x)
            np.testing.assert_array_equal(got, pooling(convolution(x)), err_msg=f"{threads} threads, row {row}")


def test_what_it_cannot_do_is_refused_in_words():
    cpu = registry.load("cpu")
    plan, *_ = plans("direct", "none")
    shape = plan.conv.out_shape

    def pooled(*parameters):
        return plan_max_pool2d(shape, "float32", 4, "nchw", *pool_parameters("pool", *parameters))

    for pool, words in (
        (pooled(4, None, 0, 1, False, False), "larger than 3x3"),
        (pooled(2, None, 0, 2, False, False), "have gaps"),
        (pooled(2, None, 0, 1, False, True), "more than maxima"),
        (
            plan_lp_pool2d(shape, "float32", 4, "nchw", *lp_pool_parameters("pool", 2, 2, None, False, 0)),
            "more than maxima or averages",
        ),
    ):
        assert words in cpu.fuses(plan_fused(plan.conv, None, None, pool))
    call = plan_call_conv2d(
        normal(1, 1, 3, 3), normal(1, 1, 2, 2), None, ((1, 1), ((2, 0), (0, 0)), (1, 1), 1), None, "auto"
    )
    assert "nothing but padding" in cpu.fuses(plan_fused(call.plan))
    assert "float16" in cpu.fuses(
        FusedPlan(plan_call_conv2d(*halves(), None, ((1, 1), ((0, 0), (0, 0)), (1, 1), 1), None, "auto").plan)
    )
    assert registry.candidate("reference", plan, "numpy")[1] == "it runs the parts one after the other"


def halves():
    return normal(1, 1, 3, 3, dtype="float16"), normal(1, 1, 2, 2, dtype="float16")


def test_a_residual_without_bands_is_added_afterwards(monkeypatch):
    monkeypatch.setattr(fused, "uncut", lambda plan: "as a convolution may one day be")
    cpu = registry.load("cpu")
    for activation, pool in ((None, "none"), (("relu6", ()), "2x2")):
        plan, x, weight, bias, residual = plans("direct", pool, activation, residual=True)
        check(plan, x, weight, bias, residual)
        (registers, _), *others = cpu.implementations(plan)
        assert registers.endswith("+registers")
        assert all(name.endswith("+parts") for name, _ in others)
        assert "one day" in cpu.fuses(plan_fused(plan.conv, None, plan.activation, plan.pool))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("name", LAYERS)
def test_adding_in_place(monkeypatch, name, threads, bands):
    """Every row once, however the image is cut."""
    monkeypatch.setattr(fused, "threads_for", lambda plan, slowness=1: threads)
    cpu = registry.load("cpu")
    for room in (1, 2**20):
        bands(room)
        plan, x, weight, bias, residual = plans(name, "none", ("silu", ()), residual=True)
        prepared = cpu.prepare(plan, weight, bias)
        wanted = one_after_the_other(plan, x, prepared, residual)
        assert cpu.run(plan, (x, residual), prepared, residual) is residual
        assert bits(residual) == bits(wanted)


def test_parts_that_do_not_fit_are_no_plan():
    plan, *_ = plans("direct", "2x2")
    with pytest.raises(ShapeError, match="residual must have"):
        plan_fused(plan.conv, (1, 2, 3, 4))
    with pytest.raises(ValueError, match="the activation is planned for"):
        plan_fused(plan.conv, None, plan_elementwise("relu", (1, 2), "float32"))
    with pytest.raises(ValueError, match="planned for float64"):
        plan_fused(plan.conv, None, plan_elementwise("relu", plan.conv.out_shape, "float64"))
    with pytest.raises(ValueError, match="another input"):
        plan_fused(
            plan.conv,
            None,
            None,
            plan_max_pool2d((1, 1, 4, 4), "float32", 4, "nchw", *pool_parameters("pool", *POOLS["2x2"], False)),
        )


def test_what_a_plan_says_of_itself():
    plan, *_ = plans("direct", "2x2", residual=True)
    assert plan.op == "conv2d+residual+leaky_relu+max_pool2d"
    assert (
        describe(plan) == "float32 2x3x21x18 -> 2x20x21x18 k3x3 p1/1/1/1 0.1, float32 2x20x21x18 -> 2x20x10x9 k2x2 s2x2"
    )
    between, added = 2 * 20 * 21 * 18 * 4, traffic(plan).input - 2 * 3 * 21 * 18 * 4
    assert added == between
    assert plan.saved_bytes == 6 * between  # sum, activation and pooling each read what the one before has written
    assert traffic(plan).output == 2 * 20 * 10 * 9 * 4


def test_an_empty_batch():
    net = pyconv.Sequential(pyconv.Conv2d(3, 4, 3, rng=0), pyconv.ReLU(), pyconv.MaxPool2d(2))
    assert net(normal(0, 3, 8, 8)).shape == (0, 4, 3, 3)


@pytest.mark.parametrize(("size", "channels", "image"), [(5, 16, 32), (7, 16, 64), (11, 64, 40)])
def test_one_channel_by_separable_kernels(level, size, channels, image):
    """Those go by their numbers, in the separate layers too."""
    line = np.arange(1, size + 1, dtype=np.float32)
    net = pyconv.Sequential(pyconv.Conv2d(1, channels, size, rng=0), pyconv.ReLU(), pyconv.MaxPool2d(2))
    kernels = np.tile(np.outer(line, line[::-1]) / np.float32(256), (channels, 1, 1, 1))
    net[0].load_state_dict({"weight": kernels, "bias": np.zeros(channels, np.float32)})
    x = normal(1, 1, image, image)
    wanted = x
    for layer in net:
        wanted = layer(wanted)
    np.testing.assert_array_equal(net(x), wanted)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_channels_of_a_band_are_those_of_its_share(level, monkeypatch, dtype, threads):
    """Depthwise along channels: a band that is less than the image has room for more channels at a time."""
    monkeypatch.setattr(fused, "threads_for", lambda plan, slowness=1: threads)
    x = np.moveaxis(normal(1, 34, 34, 32, dtype=dtype), -1, 1)
    conv = pyconv.Conv2d(32, 32, 3, 3, 0, 2, 32, dtype=dtype, rng=0)
    pooling = pyconv.AvgPool2d(1, 2)  # the last of ten rows is in no window
    fused._tasks.cache_clear()
    np.testing.assert_array_equal(pyconv.Sequential(conv, pooling)(x), pooling(conv(x)))
