"""Large kernels by Fourier transforms: right at every edge of a tile, within the bound of direct sums, and direct where
numbers break."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from helpers import normal

import pyconv
import pyconv.functional as F
from pyconv._core import tasks
from pyconv.backends.cpu import conv, fft, fft_tiles, isa, separable
from pyconv.errors import BackendError
from pyconv.plan import ConvPlan, conv_parameters, layout_of, plan_conv2d
from pyconv.report import explain


def _plan(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, algorithm="fft", keeps_weights=True):
    shapes = (x.shape, weight.shape, None if bias is None else bias.shape)
    parameters = conv_parameters("conv2d", stride, padding, dilation, groups)
    return plan_conv2d(*shapes, x.dtype.name, x.itemsize, layout_of(x), *parameters, algorithm, keeps_weights)


def _exact(x, weight, bias=None, **parameters):
    """In float64, by sums of which no term is lost."""
    wide = [None if each is None else each.astype(np.float64) for each in (x, weight, bias)]
    return F.conv2d(*wide, backend="reference", **parameters)


def _within_bound(got, x, weight, bias=None, **parameters):
    """See that each result by itself keeps to the bound of direct sums, as the README has it."""
    sizes = _exact(*(None if each is None else np.abs(each) for each in (x, weight, bias)), **parameters)
    terms = weight[0].size + 1
    error = np.abs(got - _exact(x, weight, bias, **parameters))
    allowed = (4 + 4 * np.sqrt(terms)) * np.finfo(np.float32).eps * sizes
    assert (error <= allowed).all(), (error - allowed).max()


def _chosen(x, weight, keeps_weights=True, **parameters):
    return conv.chosen(_plan(x, weight, algorithm="auto", keeps_weights=keeps_weights, **parameters), isa.current())


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles so small that images of tests have many, with few results."""
    monkeypatch.setattr(fft, "_LARGE", 1)
    monkeypatch.setattr(fft, "_LONG", 1)
    monkeypatch.setattr(fft, "_LINES", 100)
    for cached in (fft.grid, fft._refusal):
        cached.cache_clear()
    yield
    for cached in (fft.grid, fft._refusal):
        cached.cache_clear()


def _fft(x, weight, bias=None, **parameters):
    return F.conv2d(x, weight, bias, algorithm="fft", backend="cpu", **parameters)


PARAMETERS = [
    {},
    {"padding": 4},
    {"padding": ((0, 3), (7, 1))},
    {"padding": 13},
    {"stride": 2, "padding": 3},
    {"stride": (3, 1), "dilation": (1, 2)},
    {"dilation": (2, 3), "padding": ((5, 2), (0, 9)), "stride": (1, 2)},
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_every_edge(small_tiles, parameters, dtype):
    """Kernels of one row, of one column and of both; images that fill their last tiles, or do not; groups."""
    tried = 0
    for kernel, size in itertools.product(((7, 7), (1, 9), (9, 1), (4, 11)), ((33, 34), (40, 57), (29, 61))):
        x = normal(1, 4, *size, dtype=dtype)
        for groups, outs in ((1, 3), (2, 4), (4, 4), (4, 8)):
            weight = normal(outs, 4 // groups, *kernel, dtype=dtype, seed=1)
            bias = normal(outs, dtype=dtype, seed=2) if groups == 2 else None
            given = {**parameters, "groups": groups}
            got = _fft(x, weight, bias, **given)
            exact = _exact(x, weight, bias, **given)
            assert got.shape == exact.shape
            assert got.dtype == dtype
            limit = 2e-7 if dtype == "float32" else 2e-14
            assert np.abs(got - exact).max() < limit * max(1.0, np.abs(exact).max())
            plan = _plan(x, weight, bias, **given)
            tried += np.prod(fft.grid(plan, isa.current()).tiles) > 1
    assert tried > 12


@pytest.mark.parametrize("size", range(37, 45))
def test_images_around_a_tile(small_tiles, size):
    """One tile with and without something beyond, and a second one of one row or column."""
    weight = normal(1, 1, 6, 5, seed=1)
    for other in range(20, 64):
        x = normal(1, 1, size, other)
        np.testing.assert_allclose(_fft(x, weight), _exact(x, weight), rtol=2e-7, atol=2e-6)


def test_large_tiles():
    """Of the sizes that are used, with one output channel and several."""
    x, weight = normal(1, 2, 140, 210), normal(2, 2, 15, 21, seed=1)
    _within_bound(_fft(x, weight, padding=12), x, weight, padding=12)
    line, taps = normal(1, 1, 1, 20_000), normal(1, 1, 1, 501, seed=1)
    _within_bound(_fft(line, taps), line, taps)


ERRORS = {"float32": 2.5e-7, "float64": 4e-15}
"""Largest errors in rms of the output, on normal data, as the README has them: of float32 that of rounding results."""


@pytest.mark.parametrize("dtype", ERRORS)
@pytest.mark.parametrize("kernel", [5, 11, 31, 63])
def test_error_of_each_size(kernel, dtype):
    """By far less than direct sums err. The numbers are such that sums in float64 are exact."""
    x, weight = (
        np.round(normal(1, 1, *size, seed=seed) * 1000).astype(dtype)
        for seed, size in ((0, (150, 160)), (1, [kernel] * 2))
    )
    exact = _exact(x, weight)
    assert np.abs(_fft(x, weight) - exact).max() < ERRORS[dtype] * np.sqrt((exact**2).mean())


def _pictures():
    plain = np.random.default_rng(0).random((1, 1, 150, 170), np.float32)
    spike, black, half, dark, mixed, lines = (plain.copy() for _ in range(6))
    spike[..., 70, 80] = 1e16
    black[..., :100] = 0
    half[..., ::2, :] = 0
    half[..., 60:90, 70:140] = 0
    dark[..., :80] *= 1e-14
    mixed *= 10.0 ** np.random.default_rng(1).integers(-20, 20, plain.shape)
    lines[:] = 0
    lines[..., 40, :] = 1
    return {
        "plain": plain,
        "spike": spike,
        "black": black,
        "with holes": half,
        "dark": dark,
        "mixed": mixed.astype(np.float32),
        "a line": lines,
        "nothing": np.zeros_like(plain),
        "small": plain * np.float32(1e-30),
        "large": plain * np.float32(1e34),
    }


@pytest.mark.parametrize("picture", _pictures())
@pytest.mark.parametrize("kernel", ["normal", "positive", "one tap", "large and small"])
def test_bound_of_each_result(picture, kernel):
    """What follows the tile's norm is seen, and mended: next to spikes, in the dark and in the black."""
    x, weight = _pictures()[picture], normal(1, 1, 21, 23, seed=1)
    if kernel == "positive":
        weight = np.abs(weight)
    elif kernel == "one tap":
        weight *= 0
        weight[..., 3, 20] = 1
    elif kernel == "large and small":
        weight[..., :10, :] *= np.float32(1e-12)
    _within_bound(_fft(x, weight, padding=10), x, weight, padding=10)


def test_mending_is_needed(monkeypatch):
    """Without it the bound would not hold: a test that could not fail would be worse than none."""
    monkeypatch.setattr(fft_tiles.Running, "mend", lambda *_: True)
    pictures = _pictures()
    for picture in ("spike", "black", "dark"):
        x, weight = pictures[picture], normal(1, 1, 21, 23, seed=1)
        with pytest.raises(AssertionError):
            _within_bound(_fft(x, weight, padding=10), x, weight, padding=10)


def test_what_is_mended_is_little(monkeypatch):
    """Ordinary images: no tile has to be summed directly, and what sees nothing but zeros costs nothing."""
    left = []
    monkeypatch.setattr(fft_tiles.Running, "directly", lambda self: left.extend(self.undone))
    x = np.zeros((1, 1, 400, 500), np.float32)
    x[..., :300, 60:] = np.random.default_rng(0).random((300, 440), np.float32)
    weight = np.random.default_rng(1).uniform(-1, 1, (1, 1, 31, 31)).astype(np.float32)
    _fft(x, weight, padding=15)
    assert not left
    x[..., :60] = 1e-12
    _fft(x, weight, padding=15)
    assert left


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, "largest"])
def test_what_is_not_finite_stays_where_it_belongs(small_tiles, value, dtype):
    """One odd number: its tiles are as direct sums give them, and no other result is touched."""
    value = np.finfo(dtype).max if value == "largest" else value
    x, weight, bias = normal(2, 2, 60, 61, dtype=dtype), normal(3, 2, 9, 8, dtype=dtype), normal(3, dtype=dtype)
    clean = _fft(x, weight, bias, padding=4)
    x[1, 1, 55, 57] = value
    got = _fft(x, weight, bias, padding=4)
    wanted = F.conv2d(x, weight, bias, padding=4, algorithm="direct", backend="cpu")
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_array_equal(got[0], clean[0])
    same = got == clean
    assert same[1, :, :20].all()
    assert same[1, :, :, :20].all()


def test_weights_that_are_not_finite_are_summed_directly():
    x, weight = normal(1, 2, 40, 50), normal(3, 2, 9, 9, seed=1)
    weight[1, 0, 2, 3] = np.nan
    got, wanted = (F.conv2d(x, weight, algorithm=name, backend="cpu") for name in ("fft", "direct"))
    np.testing.assert_array_equal(got, wanted)


def test_same_bits_for_any_threads_and_batch(small_tiles):
    x, weight, bias = normal(3, 4, 70, 90), normal(6, 2, 9, 11, seed=1), normal(6, seed=2)
    x[1, 2, 30, 40] = np.inf
    given = {"padding": 5, "groups": 2, "stride": (1, 2)}
    pyconv.set_num_threads(1)
    once = _fft(x, weight, bias, **given)
    for threads in (2, 3, 7):
        pyconv.set_num_threads(threads)
        np.testing.assert_array_equal(_fft(x, weight, bias, **given), once)
    for image in range(3):
        np.testing.assert_array_equal(_fft(x[image], weight, bias, **given), once[image])


def test_choice_does_not_depend_on_threads_or_batch():
    weight, found = normal(1, 1, 41, 41), set()
    for threads, batch in itertools.product((1, 2, 7), (1, 4)):
        pyconv.set_num_threads(threads)
        plan = _plan(np.empty((batch, 1, 800, 900), np.float32), weight, padding=20, algorithm="auto")
        found.add((conv.chosen(plan, isa.current()), fft.grid(plan, isa.current())))
    assert len(found) == 1


def test_chosen_where_it_pays():
    """Large images and kernels that are not separable, in float32; none of these alone."""
    image, weight = np.zeros((1, 1, 1080, 1920), np.float32), normal(1, 1, 63, 63)
    assert _chosen(image, weight, padding=31) is fft
    assert _chosen(image, weight[..., :15, :15], padding=7) is not fft
    assert _chosen(image[..., :70, :70], weight) is not fft
    assert _chosen(image.astype(np.float64), weight.astype(np.float64), padding=31) is not fft
    assert "errors follow" in fft.refusal(_plan(image.astype(np.float64), weight, algorithm="auto"))
    assert _chosen(image, weight, stride=8) is not fft  # most of its results would not be used
    assert fft.refusal(_plan(image, normal(1, 1, 1, 1), algorithm="measure")) is not None
    assert fft.refusal(_plan(image, weight, algorithm="measure")) is None
    line = np.empty((1, 1, 1, 400_000), np.float32)
    assert _chosen(line, normal(1, 1, 1, 2001)) is fft
    large, heavy = np.empty((1, 64, 300, 300), np.float32), np.empty((64, 64, 200, 200), np.float32)
    assert "bytes" in fft.refusal(_plan(large, heavy))


def test_separable_kernels_come_first_but_for_long_lines():
    image, column = np.zeros((1, 1, 1080, 1920), np.float32), normal(63, 1)
    weight = (column * column.T)[None, None]
    plan = _plan(image, weight, padding=31, algorithm="auto")
    assert conv.chosen(plan, isa.current()) is fft
    assert conv.prepare(plan, weight, None).implementation is separable
    assert conv.prepare(plan, normal(1, 1, 63, 63), None).implementation is fft
    line, taps = np.zeros((1, 1, 1, 400_000), np.float32), normal(1, 1, 1, 2001)
    plan = _plan(line, taps, algorithm="auto")
    assert conv.prepare(plan, taps, None).implementation is fft
    reasons = dict(conv.implementations(plan, taps))
    assert "fewer cycles" in reasons[separable.label(plan)]


def test_explained():
    """By name, with an estimate; measured, if asked for; and why not, where it is not chosen."""
    layer = pyconv.Conv2d(1, 1, 41, padding=20, backend="cpu", rng=0)
    [step] = explain(layer, normal(1, 1, 800, 900), measure=True).steps
    assert step.implementation.startswith("fft_")
    cost = step.costs[f"cpu:{step.implementation}"]
    assert cost.flops < step.plan.flops
    assert cost.seconds > 0
    assert cost.bytes > 0
    assert cost.workspace > 0
    assert set(step.measured) >= {f"cpu:{step.implementation}"}
    small = explain(layer, normal(1, 1, 50, 60)).steps[0]
    assert "transforms would not save enough" in str(small.candidates)


def test_by_name():
    x, weight = normal(1, 1, 30, 30), normal(1, 1, 3, 3)
    found = explain(F.conv2d, x, weight, algorithm="fft", backend="cpu").steps[0]
    assert found.implementation.startswith("fft_")
    with pytest.raises(BackendError, match="one tap"):
        _fft(x, normal(1, 1, 1, 1))
    with pytest.raises(BackendError, match="no algorithm 'fft'"):
        F.conv2d(x, weight, algorithm="fft", backend="reference")


def test_layouts_and_out(small_tiles):
    """Channels-last, reversed and byte-swapped input; out= with rows anywhere."""
    x, weight, bias = normal(2, 3, 44, 53), normal(4, 3, 7, 9, seed=1), normal(4, seed=2)
    plain = _fft(x, weight, bias, padding=3)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    reversed_ = np.ascontiguousarray(x[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1]
    for view in (last, reversed_, x.astype(">f4")):
        np.testing.assert_array_equal(_fft(view, weight, bias, padding=3), plain)
    room = np.full((2, 6, 50, 60), 7, np.float32)
    for out in (room[:, 1:5, 3:47, 2:53], np.full((2, 4, 44, 102), 7, np.float32)[..., ::2]):
        for broken in (False, True):
            image = x.copy()
            image[1, 0, 20, 20] = np.nan if broken else image[1, 0, 20, 20]
            assert _fft(image, weight, bias, padding=3, out=out) is out
            np.testing.assert_array_equal(out, _fft(image, weight, bias, padding=3))
    room[:, 1:5, 3:47, 2:53] = 7
    assert (room == 7).all()


def test_layers_residuals_and_stacks():
    """What is around a convolution: the bits of its parts, also from the third call on."""
    layer = pyconv.Conv2d(2, 3, 9, padding=4, algorithm="fft", backend="cpu", rng=0)
    x = normal(1, 2, 60, 70)
    wanted = _fft(x, layer.weight, layer.bias, padding=4)
    net = pyconv.Sequential(layer, pyconv.ReLU(), pyconv.MaxPool2d(2))
    added = normal(*wanted.shape, seed=3)
    for _ in range(4):
        np.testing.assert_array_equal(layer(x), wanted)
        np.testing.assert_array_equal(net(x), F.max_pool2d(F.relu(wanted), 2))
        got = F.conv2d(x, layer.weight, layer.bias, padding=4, algorithm="fft", backend="cpu", residual=added)
        np.testing.assert_array_equal(got, wanted + added)
    line = F.conv1d(x[0, :, 0], normal(1, 2, 15), algorithm="fft", backend="cpu")
    np.testing.assert_allclose(line, F.conv1d(x[0, :, 0], normal(1, 2, 15), backend="reference"), atol=1e-5)
    for stride in (1, 2):
        given = {"stride": stride, "padding": 3}
        both = (
            F.conv_transpose2d(x, normal(2, 3, 9, 9), backend=name, algorithm=algorithm, **given)
            for name, algorithm in (("cpu", "fft"), ("reference", "auto"))
        )
        np.testing.assert_allclose(*both, atol=1e-4)


def test_nothing_to_do():
    assert _fft(np.empty((0, 1, 40, 40), np.float32), normal(3, 1, 9, 9)).shape == (0, 3, 32, 32)


def test_several_python_threads_at_once(small_tiles):
    """The memory that tasks work in is one task's at a time."""
    x, weight = normal(4, 2, 70, 80), normal(3, 2, 9, 9, seed=1)
    wanted = _fft(x, weight)
    right = []

    def work(image):
        right.extend(np.array_equal(_fft(x[image], weight), wanted[image]) for _ in range(5))

    threads = [threading.Thread(target=work, args=(image,)) for image in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 20


def test_an_error_in_a_task_is_raised_behind_it():
    """Nothing leaves a parallel region; no further task begins; and the next run is not harmed."""
    begun = []

    def task(number):
        begun.append(number)
        if number == 3:
            raise KeyboardInterrupt

    for threads in (1, 2, 5):
        begun.clear()
        with pytest.raises(KeyboardInterrupt):
            tasks.run_function(task, 1000, threads)
        assert len(begun) < 1000
        done = []
        tasks.run_function(done.append, 50, threads)
        assert sorted(done) == list(range(50))
    tasks.run_function(task, 0, 2)


def test_plans_are_plain_data():
    """A grid follows from the plan alone, and every task's outputs are the image's, once."""
    x, weight = normal(2, 2, 100, 120), normal(2, 1, 9, 13)
    plan = _plan(x, weight, groups=2, stride=(2, 1), padding=3)
    assert isinstance(plan, ConvPlan)
    out = np.zeros(plan.out_shape, np.float32)
    running = fft_tiles.Running(plan, fft.prepare(plan, weight, None), x, out)
    for number in range(2 * 2 * int(np.prod(fft.grid(plan, isa.current()).tiles))):
        image, group, rows, columns = running.place(number)
        out[image, group, slice(*rows), slice(*columns)] += 1
    assert (out == 1).all()
