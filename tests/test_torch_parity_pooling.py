"""Average, L-p and adaptive pooling and max unpooling beside torch's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import DTYPES, USABLE, normal

import pyconv
import pyconv.functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional

BACKENDS = [name for name in USABLE if name != "cuda"]
SHAPES = [(2, 3, 8, 9), (3, 11, 7), (1, 1, 16, 67)]


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def close(got, wanted):
    eps = float(np.finfo(got.dtype).eps)
    wanted = wanted.numpy()
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=100 * eps, atol=20 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_avg_pool2d(backend, shape, dtype):
    x = normal(*shape, dtype=dtype)
    places = itertools.product(
        (2, (3, 2)), (None, 1, (2, 3)), (0, 1, (1, 0)), (False, True), (True, False), (None, 1, 5, -2)
    )
    for call in places:
        close(F.avg_pool2d(x, *call, backend=backend), TF.avg_pool2d(torch.from_numpy(x), *call))


@pytest.mark.parametrize("size", range(1, 14))
def test_averages_of_every_number_of_windows(backend, size):
    x = normal(1, 1, size, size)
    for kernel, stride in itertools.product(range(1, 5), range(1, 5)):
        for padding, ceil_mode, counted in itertools.product(range(kernel // 2 + 1), (False, True), (False, True)):
            call = (kernel, stride, padding, ceil_mode, counted)
            try:
                wanted = TF.avg_pool2d(torch.from_numpy(x), *call)
            except RuntimeError:
                with pytest.raises(pyconv.errors.ShapeError):
                    F.avg_pool2d(x, *call, backend=backend)
                continue
            close(F.avg_pool2d(x, *call, backend=backend), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lp_pool2d(backend, shape, dtype):
    x = normal(*shape, dtype=dtype)
    for norm, size, step, ceil_mode in itertools.product((1, 2, 3, 0.5, -1), (2, (3, 2)), (None, 1), (False, True)):
        given = x if norm in (1, 2) else np.abs(x) + x.dtype.type(0.1)
        call = (norm, size, step, ceil_mode)
        close(F.lp_pool2d(given, *call, backend=backend), TF.lp_pool2d(torch.from_numpy(given), *call))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_largest_magnitudes(backend, shape, dtype):
    """For p = inf, at each of several calls, whatever lies apart; with padding as a max pooling of magnitudes."""
    x = normal(*shape, dtype=dtype)
    x[..., 0, 0] = np.nan
    for size, step, ceil_mode in itertools.product((2, (3, 2)), (None, 1), (False, True)):
        layer = pyconv.LPPool2d(np.inf, size, step, ceil_mode, backend=backend)
        assert repr(layer) == repr(torch.nn.LPPool2d(np.inf, size, step, ceil_mode))
        for given in (x, x[..., ::-1], np.moveaxis(np.moveaxis(x, -3, -1).copy(), -1, -3), x * 2):
            wanted = TF.lp_pool2d(torch.from_numpy(given.copy()), np.inf, size, step, ceil_mode)
            close(layer(given), wanted)
            close(F.lp_pool2d(given, np.inf, size, step, ceil_mode, backend=backend), wanted)
            out = np.empty(wanted.shape, dtype)
            assert layer(given, out=out) is out
            close(out, wanted)
        padded = F.lp_pool2d(x, np.inf, size, step, ceil_mode, padding=1, backend=backend)
        wanted = F.max_pool2d(np.abs(x), size, step, 1, 1, ceil_mode, backend=backend)
        np.testing.assert_array_equal(padded, wanted)
    line = normal(2, 3, 17, dtype=dtype)
    close(F.lp_pool1d(line, np.inf, 4, 3, backend=backend), TF.lp_pool1d(torch.from_numpy(line), np.inf, 4, 3))


def test_roots_of_negative_sums(backend):
    x = np.array([[[[-1, -2, 3, 1]]]], np.float32)
    for norm in (1, 3):
        wanted = TF.lp_pool2d(torch.from_numpy(x), norm, (1, 2)).numpy()
        np.testing.assert_allclose(F.lp_pool2d(x, norm, (1, 2), backend=backend), wanted, rtol=1e-6)
    assert np.isnan(wanted[0, 0, 0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, (None, 3), (5, 7), (20, 30), (1, 9)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adaptive(backend, shape, size, dtype):
    x = normal(*shape, dtype=dtype)
    x[..., 1, 3] = np.nan
    tensor = torch.from_numpy(x)
    close(F.adaptive_avg_pool2d(x, size, backend=backend), TF.adaptive_avg_pool2d(tensor, size))
    wanted, places = TF.adaptive_max_pool2d(tensor, size, return_indices=True)
    got, indices = F.adaptive_max_pool2d(x, size, True, backend=backend)
    np.testing.assert_array_equal(got, wanted.numpy())
    np.testing.assert_array_equal(indices, places.numpy())
    np.testing.assert_array_equal(F.adaptive_max_pool2d(x, size, backend=backend), wanted.numpy())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("size", "step", "border"), [(2, None, 0), (3, 2, 1), ((3, 2), (2, 1), (1, 0)), (2, 3, 0)])
def test_max_unpool2d(backend, shape, size, step, border):
    x = normal(*shape)
    values, places = TF.max_pool2d(torch.from_numpy(x), size, step, border, return_indices=True)
    for output_size in (None, x.shape[-2:], *([x.shape] if x.ndim == 4 else [])):
        call = (size, step, border, output_size)
        try:
            wanted = TF.max_unpool2d(values, places, *call).numpy()
        except (RuntimeError, ValueError):
            with pytest.raises(pyconv.errors.ShapeError):
                F.max_unpool2d(values.numpy(), places.numpy(), *call, backend=backend)
            continue
        np.testing.assert_array_equal(F.max_unpool2d(values.numpy(), places.numpy(), *call, backend=backend), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 19), (5, 70)], ids=str)
def test_lines(backend, shape, dtype):
    x = normal(*shape, dtype=dtype)
    x[..., 4] = np.nan
    tensor = torch.from_numpy(x)
    windows = itertools.product((2, 5), (None, 1, 3), (0, 1), (False, True))
    for size, step, padding, ceil_mode in windows:
        for gap in (1, 2):
            call = (size, step, padding, gap, ceil_mode, True)
            wanted, places = TF.max_pool1d(tensor, *call)
            got, indices = F.max_pool1d(x, *call, backend=backend)
            np.testing.assert_array_equal(got, wanted.numpy())
            np.testing.assert_array_equal(indices, places.numpy())
        for counted in (False, True):
            call = (size, step, padding, ceil_mode, counted)
            close(F.avg_pool1d(x, *call, backend=backend), TF.avg_pool1d(tensor, *call))
        call = (2, size, step, ceil_mode)
        close(F.lp_pool1d(x, *call, backend=backend), TF.lp_pool1d(tensor, *call))
    for size in (1, 4, shape[-1], shape[-1] + 5):
        close(F.adaptive_avg_pool1d(x, size, backend=backend), TF.adaptive_avg_pool1d(tensor, size))
        wanted, places = TF.adaptive_max_pool1d(tensor, size, return_indices=True)
        got, indices = F.adaptive_max_pool1d(x, size, True, backend=backend)
        np.testing.assert_array_equal(got, wanted.numpy())
        np.testing.assert_array_equal(indices, places.numpy())
    values, places = TF.max_pool1d(torch.nan_to_num(tensor), 2, return_indices=True)
    for output_size in (None, [shape[-1]]):
        wanted = TF.max_unpool1d(values, places, 2, output_size=output_size)
        got = F.max_unpool1d(values.numpy(), places.numpy(), 2, output_size=output_size, backend=backend)
        np.testing.assert_array_equal(got, wanted.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", [(2,), (3, 2, 1), (5, 1, 2), (3, 1, 1, 2)], ids=str)
def test_channels_last(backend, window, dtype):
    """The same order in memory as torch's result, and the same choice among equal elements and NaN."""
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, (2, 11, 12, 21)).astype(dtype)
    x[rng.random(x.shape) < 0.02] = np.nan
    tensor = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
    results = TF.max_pool2d(tensor, *window, return_indices=True)
    ours = F.max_pool2d(tensor.numpy(), *window, return_indices=True, backend=backend)
    for got, wanted in zip(ours, results, strict=True):
        assert got.strides == wanted.numpy().strides
        np.testing.assert_array_equal(got, wanted.numpy())
    got, wanted = F.avg_pool2d(tensor.numpy(), 3, 2, backend=backend), TF.avg_pool2d(tensor, 3, 2)
    assert got.strides == wanted.numpy().strides
    close(got, wanted)


LAYERS = [
    ("MaxPool1d", (3, 2, 1)),
    ("AvgPool1d", (3, 2, 1)),
    ("LPPool1d", (2, 3)),
    ("AdaptiveAvgPool1d", (4,)),
    ("AdaptiveMaxPool1d", (4,)),
    ("MaxUnpool1d", (2,)),
    ("AvgPool2d", (3,)),
    ("AvgPool2d", ((3, 2), 1, (1, 0), True, False, 3)),
    ("LPPool2d", (2, 3)),
    ("LPPool2d", (1.5, (3, 2), 2, True)),
    ("AdaptiveAvgPool2d", (1,)),
    ("AdaptiveAvgPool2d", ((None, 3),)),
    ("AdaptiveMaxPool2d", ((4, 3),)),
    ("MaxUnpool2d", (2,)),
    ("MaxUnpool2d", ((2, 3), 2, 1)),
]


@pytest.mark.parametrize(("name", "arguments"), LAYERS, ids=str)
def test_layers(backend, name, arguments):
    ours, theirs = getattr(pyconv, name)(*arguments, backend=backend), getattr(torch.nn, name)(*arguments)
    assert repr(ours) == repr(theirs)
    x = np.abs(normal(2, 3, 8, 9) if name.endswith("2d") else normal(2, 3, 72))
    if name.startswith("MaxUnpool"):
        places = np.random.default_rng(0).permuted(np.tile(np.arange(72), (6, 1)), axis=1).reshape(x.shape)
        np.testing.assert_array_equal(ours(x, places), theirs(torch.from_numpy(x), torch.from_numpy(places)).numpy())
    else:
        close(ours(x), theirs(torch.from_numpy(x)))
