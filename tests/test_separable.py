"""Kernels that are a column times a row: found by their numbers, run in two passes, and direct where those break."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import assert_close, normal

import pyconv
import pyconv.functional as F
from pyconv.backends.cpu import estimate, fused, isa, separable, transposed, winograd_row
from pyconv.plan import conv_parameters, layout_of, plan_conv2d
from pyconv.report import explain

SOBEL = np.outer([1, 2, 1], [1, 0, -1])
BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])


def gaussian(size, sigma, dtype="float32"):
    """Made as people make them: the product in the image's dtype, divided by its sum."""
    line = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2).astype(dtype)
    kernel = np.outer(line, line)
    return kernel / kernel.sum()


def _kernels(channels, height, width, dtype="float32"):
    return (normal(channels, height, 1, dtype=dtype, seed=1) * normal(channels, 1, width, dtype=dtype, seed=2))[:, None]


def _plan(x, weight, bias=None, padding=0, groups=1, algorithm="auto"):
    shapes = (x.shape, weight.shape, None if bias is None else bias.shape)
    parameters = conv_parameters("conv2d", 1, padding, 1, groups)
    return plan_conv2d(*shapes, x.dtype.name, x.itemsize, layout_of(x), *parameters, algorithm, True)


def _run(x, weight, bias=None, padding=0, groups=1):
    plan = _plan(x, weight, bias, padding, groups)
    out = np.full(plan.out_shape, np.nan, plan.dtype)
    return separable.run(plan, x, separable.prepare(plan, weight, bias), out)


def _implementation(*args, **parameters):
    return explain(F.conv2d, *args, backend="cpu", **parameters).steps[0].implementation


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (2, 7), (9, 1), (1, 9), (6, 21), (17, 6)])
def test_every_edge(level, dtype, kernel):
    """Rows around the four that are summed together, columns around vectors and blocks of them, any padding."""
    half = [(size // 2, size // 2) for size in kernel]
    tried = 0
    for height, width, multiplier in itertools.product((1, 3, 4, 5, 9), (1, 15, 16, 17, 40, 65, 130, 301), (1, 2)):
        x, bias = normal(2, 2, height, width, dtype=dtype), normal(2 * multiplier, dtype=dtype, seed=3)
        weight = _kernels(2 * multiplier, *kernel, dtype=dtype)
        for padding in (((0, 0), (0, 0)), half, ((0, 30), (25, 1))):
            (above, below), (left, right) = padding
            if height + above + below < kernel[0] or width + left + right < kernel[1]:
                continue
            wanted = F.conv2d(x, weight, bias, padding=padding, groups=2, backend="reference")
            assert_close(_run(x, weight, bias, padding, 2), wanted, terms=kernel[0] * kernel[1])
            tried += 1
    assert tried > 80


@pytest.mark.parametrize("widest", [64, 2048])
def test_strips_of_columns(level, widest, monkeypatch):
    """However wide they are, the bits are the same."""
    x, weight = normal(1, 1, 12, 333), _kernels(1, 5, 19)
    whole = _run(x, weight, padding=9)
    monkeypatch.setattr(separable, "_WIDEST", widest)
    separable._tasks.cache_clear()
    cut = separable._cut(_plan(x, weight, padding=9), level, 1, 1, 1)
    assert (cut.tile < 333) == (widest == 64)
    np.testing.assert_array_equal(_run(x, weight, padding=9), whole)
    separable._tasks.cache_clear()


def test_same_bits_for_any_threads_and_batch(level):
    x, weight = normal(3, 2, 61, 90), _kernels(2, 7, 7)
    results = []
    for threads in (1, 2, 5):
        pyconv.set_num_threads(threads)
        results.append(F.conv2d(x, weight, padding=3, groups=2, backend="cpu"))
        np.testing.assert_array_equal(results[-1], results[0])
        alone = F.conv2d(x[1], weight, padding=3, groups=2, backend="cpu")
        np.testing.assert_array_equal(alone, results[0][1])
    assert _implementation(x, weight, padding=3, groups=2) == f"separable_{isa.name()}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_products_have_exact_factors(dtype):
    """So that images of whole numbers give whole numbers, as direct sums do."""
    kernels = [SOBEL, SOBEL.T, np.ones((3, 3)), np.zeros((3, 3)), np.outer([0, 0, 3], [0, 5, 0])]
    columns, rows = separable.factors(np.array(kernels, dtype))
    np.testing.assert_array_equal(columns[:, :, None] * rows[:, None], kernels)
    x = np.random.default_rng(0).integers(0, 256, (1, 1, 40, 50)).astype(dtype)
    for kernel in (BINOMIAL, np.outer([1, 4, 6, 4, 1], [-1, -2, 0, 2, 1]), np.ones((7, 7))):
        weight = kernel.astype(dtype)[None, None]
        assert _implementation(x, weight).startswith("separable")
        np.testing.assert_array_equal(F.conv2d(x, weight, backend="cpu"), F.conv2d(x, weight, backend="reference"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_that_are_found(dtype):
    """Rounded products are; what differs by more than rounding is not, be it one element of one kernel."""
    for size, sigma in ((3, 0.8), (5, 1.1), (15, 2.5), (31, 5), (31, 1), (63, 2), (63, 10)):  # some end in zeros
        kernel = gaussian(size, sigma, dtype)
        assert separable.factors(kernel[None]) is not None
        wrong = np.array([kernel, kernel])
        wrong[1, size // 2 + 1, size // 2 - 1] *= 1 + 20 * np.finfo(dtype).eps
        assert separable.factors(wrong) is None
    for kernel in (normal(3, 3), np.eye(2), SOBEL + SOBEL.T, np.full((2, 2), np.nan), np.full((2, 2), np.inf)):
        assert separable.factors(kernel.astype(dtype)[None]) is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_error_keeps_to_the_bound_of_direct_sums(level, dtype):
    """(4 + 4 sqrt(n)) eps * the sum of |x| |w| of each output (README), also where one pixel is all there is."""
    one = np.zeros((1, 1, 40, 70), dtype)
    one[0, 0, 20, 33] = 3
    mixed = normal(1, 1, 40, 70, dtype=dtype) * 10.0 ** np.arange(-6, 8).repeat(5).astype(dtype)
    for size, sigma in ((5, 1.1), (15, 2.5), (31, 5)):
        weight = gaussian(size, sigma, dtype)[None, None]
        for x in (one, mixed, normal(1, 1, 40, 70, dtype=dtype)):
            got = F.conv2d(x, weight, padding=size // 2, algorithm="auto", backend="cpu")
            wide, exact = x.astype(np.longdouble), weight.astype(np.longdouble)
            windows = np.lib.stride_tricks.sliding_window_view(np.pad(wide[0, 0], size // 2), (size, size))
            wanted = np.einsum("yxij,ij->yx", windows, exact[0, 0])
            scale = np.einsum("yxij,ij->yx", np.abs(windows), np.abs(exact[0, 0]))
            bound = (4 + 4 * size) * np.finfo(dtype).eps * scale + np.finfo(dtype).tiny * 1e3
            assert (np.abs(got[0, 0] - wanted) <= bound).all()
        assert _implementation(x, weight, padding=size // 2).startswith("separable")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_as_direct_sums_give_it(level, value):
    """The image is summed directly, and the others are untouched; so too where a call is known."""
    x, weight = normal(3, 1, 30, 50), np.float32([gaussian(7, 1.5)])[None] * 100
    layer = pyconv.Conv2d(1, 1, 7, padding=3, bias=False, backend="cpu")
    layer.weight = weight
    clean = layer(x)
    x[1, 0, 7, 9:11] = value
    wanted = F.conv2d(x, weight, padding=3, algorithm="direct", backend="cpu")
    assert not np.isfinite(wanted[1]).all()
    for _ in range(4):
        got = layer(x)
        np.testing.assert_array_equal(got[1], wanted[1])
        np.testing.assert_array_equal(got[[0, 2]], clean[[0, 2]])


def test_sums_that_overflow_half_way_are_done_again(level):
    """Down the columns they pass the largest number, though the result is an ordinary one."""
    weight = np.outer(np.ones(5), [1e-3, 1e-4, 1, 1e-4, 1e-3]).astype(np.float32)[None, None]
    x = np.zeros((1, 1, 20, 40), np.float32)
    x[..., ::4] = 1e38
    got = F.conv2d(x, weight, padding=2, backend="cpu")
    assert _implementation(x, weight, padding=2).startswith("separable")
    np.testing.assert_array_equal(got, F.conv2d(x, weight, padding=2, algorithm="direct", backend="cpu"))
    assert np.isfinite(got[..., 3::4]).all()


def test_choice_goes_by_the_weights():
    """And by the plan, but not by threads and batch. What keeps its weights sees new ones."""
    x, weight = normal(1, 1, 64, 80), gaussian(9, 2)[None, None]
    layer = pyconv.Conv2d(1, 1, 9, padding=4, bias=False, backend="cpu")
    layer.weight = weight
    for threads, batch in itertools.product((1, 3), (1, 4)):
        pyconv.set_num_threads(threads)
        found = explain(layer, np.repeat(x, batch, axis=0)).steps[0]
        assert found.implementation == f"separable_{isa.name()}"
        assert found.costs[f"cpu:separable_{isa.name()}"].flops == 2 * batch * 64 * 80 * 18
    two_passes = layer(x)
    for dense in (normal(1, 1, 9, 9), weight * (1 + normal(1, 1, 9, 9) / 100)):
        layer.weight = dense
        found = explain(layer, x).steps[0]
        assert found.implementation.startswith("depthwise")
        assert "a column times a row" in dict(found.candidates)[f"cpu:separable_{isa.name()}"]
        np.testing.assert_array_equal(layer(x), F.conv2d(x, dense, padding=4, algorithm="direct", backend="cpu"))
    layer.weight = weight
    np.testing.assert_array_equal(layer(x), two_passes)
    wide = isa.name().endswith("v4") and not estimate.keeps_up(isa.current())
    for wanted, kernel, parameters in (
        ("depthwise", weight, {"algorithm": "direct"}),
        (("depthwise", "direct"), weight, {"stride": 2}),
        (("depthwise", "direct"), weight, {"dilation": 2}),
        # two passes of three taps save multiply-adds only where vectors are narrow, or where rows cost more besides
        ("depthwise" if wide else "separable", SOBEL.astype(np.float32)[None, None], {}),
        ("depthwise", gaussian(9, 2)[None, None, :, 4:5], {}),
        # of a short row the ends take longest, where masks are vectors
        ("separable" if isa.name().endswith("v4") else "depthwise", gaussian(9, 2)[None, None, 4:5], {}),
        ("separable", np.repeat(weight, 8, axis=0), {}),
        ("separable", weight, {"algorithm": "measure"}),
    ):
        assert _implementation(x, kernel, **parameters).startswith(wanted), (wanted, kernel.shape, parameters)
    assert "input channels" in separable.refusal(_plan(normal(1, 2, 9, 9), normal(2, 2, 3, 3)))
    last = np.moveaxis(normal(1, 40, 40, 3), -1, 1)
    assert "layout" in separable.refusal(_plan(last, np.repeat(weight, 3, axis=0), groups=3))


def test_a_layer_on_images_of_several_sizes_and_layouts():
    """Weights that are kept for two passes are not taken for plans that would not take them."""
    layer = pyconv.Conv2d(3, 3, 5, padding=2, groups=3, bias=False, backend="cpu")
    layer.weight = np.repeat(gaussian(5, 1)[None, None], 3, axis=0)
    for shape in ((1, 3, 40, 50), (1, 3, 2, 2), (2, 3, 7, 7)):
        for x in (normal(*shape), np.moveaxis(normal(*(shape[n] for n in (0, 2, 3, 1))), -1, 1)):
            assert_close(layer(x), F.conv2d(x, layer.weight, padding=2, groups=3, backend="reference"), terms=25)


@pytest.mark.parametrize("value", [0, np.inf])
def test_fused_with_what_follows(value):
    """The same bits as layer by layer."""
    layer = pyconv.Conv2d(2, 2, 7, padding=3, groups=2, rng=0)
    layer.weight = np.repeat(gaussian(7, 1.5)[None, None], 2, axis=0)
    x = normal(2, 2, 50, 44)
    x[1, 0, 20, 20] += value
    net = pyconv.Sequential(layer, pyconv.ReLU(), pyconv.MaxPool2d(2))
    for _ in range(3):
        np.testing.assert_array_equal(net(x), F.max_pool2d(F.relu(layer(x)), 2))


def test_threads_go_by_the_same_slowness_whatever_follows(monkeypatch):
    """Kernels of one row save no flops, Winograd's save half: alone, with an activation, and as phases."""
    seen = []

    def note(plan, slowness=1):
        seen.append(slowness)
        return 1

    for module in (separable, fused, transposed):
        monkeypatch.setattr(module, "threads_for", note)
    monkeypatch.setattr(winograd_row, "threads_for", note)
    line = pyconv.Conv2d(4, 4, (1, 9), groups=4, rng=0, backend="cpu")
    square = pyconv.Conv2d(3, 16, 5, rng=0, backend="cpu")
    tried = 0
    for implementation, layer, x in (
        (separable, line, normal(1, 4, 40, 640)),
        (winograd_row, square, normal(1, 3, 60, 60)),
    ):
        plan = layer.plan_call(x).plan
        if pyconv.explain(layer, x).steps[0].implementation != implementation.label(plan):
            continue  # other instruction sets have others
        for net in (layer, pyconv.Sequential(layer, pyconv.ReLU())):
            seen.clear()
            net(x)
            assert set(seen) == {implementation.slowness(plan)}
            assert 1 not in seen
            tried += 1
    if not tried:
        pytest.skip("neither is chosen on this instruction set")
    seen.clear()
    pyconv.ConvTranspose2d(4, 4, (1, 18), stride=(1, 2), groups=4, rng=0, backend="cpu")(normal(1, 4, 40, 640))
    assert len(seen) > 0


def test_transposed_convolution_may_be_made_of_them():
    x, weight = normal(1, 2, 30, 31), np.repeat(gaussian(9, 2)[None, None], 2, axis=0)
    for stride in (1, 2):
        wanted = F.conv_transpose2d(x, weight, stride=stride, groups=2, backend="reference")
        got = F.conv_transpose2d(x, weight, stride=stride, groups=2, backend="cpu")
        assert_close(got, wanted, terms=81)


def test_layouts_and_out(level):
    """Other byte order, and rows with gaps, which others take; out= with rows anywhere."""
    x, weight = normal(2, 3, 20, 33), np.repeat(gaussian(5, 1)[None, None], 3, axis=0)
    plain = F.conv2d(x, weight, padding=2, groups=3, backend="cpu")
    np.testing.assert_array_equal(F.conv2d(x.astype(">f4"), weight, padding=2, groups=3, backend="cpu"), plain)
    gaps = np.repeat(x, 2, axis=2)[:, :, ::2]
    assert_close(F.conv2d(gaps, weight, padding=2, groups=3, backend="cpu"), plain, terms=25)
    room = np.full((2, 5, 26, 40), 7, np.float32)
    out = room[:, 1:4, 3:23, 2:35]
    assert F.conv2d(x, weight, padding=2, groups=3, out=out, backend="cpu") is out
    np.testing.assert_array_equal(out, plain)
    out[...] = 7
    assert (room == 7).all()


def test_small_weights_are_found_by_what_they_are():
    """A bound below the normal numbers is for weights that lie there, not for kernels of small ones."""
    small = np.random.default_rng(0).uniform(1, 1.5, (4, 7, 7)).astype(np.float32)
    for size in (1.2e-38, 5e-38, 1e-30, 1.0):
        assert separable.factors(small * np.float32(size)) is None
    assert separable.factors(np.outer(small[0, 0], small[0, 1])[None] * np.float32(5e-38)) is not None


def test_nothing_is_lost_half_way(level):
    """Where a column is small and its row large, sums down the column are no smaller than results."""
    random = np.random.default_rng(3)
    column, row = random.uniform(0.5, 1, 7), random.uniform(0.5, 1, 7) * 1e10
    column[0] = 1e-10
    weight = np.outer(column, row).astype(np.float32)[None, None]
    x = np.full((1, 1, 40, 40), 1e-30, np.float32)
    x[:, :, 10:20] = 0
    assert_close(_run(x, weight, padding=3), F.conv2d(x, weight, padding=3, backend="reference"), terms=49)


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_no_images(axes):
    line = np.exp(-(np.arange(-3, 4) ** 2) / 2).astype("float32")
    weight = np.repeat(np.outer(line, line)[None, None], 3, axis=0)
    x = np.zeros(np.take((0, 3, 32, 32), np.argsort(axes)), np.float32).transpose(axes)
    assert F.conv2d(x, weight, padding=3, groups=3, backend="cpu").shape == (0, 3, 32, 32)
    assert "separable" in explain(F.conv2d, x, weight, padding=3, groups=3, backend="cpu").steps[0].implementation
