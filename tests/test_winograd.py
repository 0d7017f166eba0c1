"""Winograd's algorithms: right at every edge, on every instruction set, and direct where its numbers break."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import ISAS, normal

import pyconv
import pyconv.functional as F
from pyconv._core import runtime
from pyconv.backends.cpu import estimate, isa, winograd
from pyconv.report import explain


def _error(got, x, weight, **parameters):
    """The largest error, in rms of the exact output."""
    exact = F.conv2d(x.astype(np.float64), weight.astype(np.float64), backend="reference", **parameters)
    return np.abs(got - exact).max() / np.sqrt((exact**2).mean())


NAMES = ("winograd_2", "winograd_4", "winograd_6")

BOUND = {"direct": 1.2e-5, "winograd_2": 5e-6, "winograd_4": 2e-5, "winograd_6": 1.2e-4}
"""Largest error in rms of the output, for normal data of up to 512 channels, as the README has it."""

SMALL = {
    ("winograd_2", "float32"): 4e-6,
    ("winograd_4", "float32"): 1e-5,
    ("winograd_6", "float32"): 8e-5,
    ("winograd_2", "float64"): 8e-15,
    ("winograd_4", "float64"): 2e-14,
    ("winograd_6", "float64"): 1.6e-13,
}
"""The same for a few channels."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("algorithm", NAMES)
@pytest.mark.parametrize("padding", [0, 1, ((0, 1), (2, 0)), 5])
def test_every_edge(level, algorithm, dtype, padding):
    """Image sizes around the tile's, and channels around the vector's and the block's."""
    lanes = [1, 3, 15, 16, 17, 33]
    for size, channels, outs in itertools.product((3, 4, 5, 6, 9, 21), (1, 5), lanes):
        x = normal(2, channels, size, size + 2, dtype=dtype)
        weight = normal(outs, channels, 3, 3, dtype=dtype, seed=1)
        got = F.conv2d(x, weight, padding=padding, algorithm=algorithm, backend="cpu")
        assert _error(got, x, weight, padding=padding) < SMALL[algorithm, dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("algorithm", NAMES)
def test_long_rows(level, algorithm, dtype):
    """Rows around a multiple of 48, the pixels that are turned together; of one task and of several."""
    for width in (46, 47, 48, 49, 50, 95, 97, 290):
        x, weight = normal(1, 6, 8, width, dtype=dtype), normal(20, 6, 3, 3, dtype=dtype, seed=1)
        got = F.conv2d(x, weight, padding=1, algorithm=algorithm, backend="cpu")
        assert _error(got, x, weight, padding=1) < SMALL[algorithm, dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_short_tiles(level, dtype):
    """Tiles of F(2, 3) at the ends of rows, of columns and of both, by bands of one row and of several, and alone."""
    for height, width in ((1, 2), (2, 8), (12, 13), (14, 14), (13, 290), (16, 50), (66, 66)):
        x, weight = normal(2, 18, height, width, dtype=dtype), normal(70, 18, 3, 3, dtype=dtype, seed=1)
        got = F.conv2d(x, weight, padding=1, algorithm="winograd_4", backend="cpu")
        assert _error(got, x, weight, padding=1) < SMALL["winograd_4", dtype]


def test_short_tiles_take_fewer_products():
    """Of 14 pixels the last two: 22 products for an output channel and axis in place of 24; three make a whole tile."""
    for size, along in ((14, 22), (13, 22), (15, 24), (16, 24), (2, 4)):
        layer = pyconv.Conv2d(20, 24, 3, padding=1, algorithm="winograd_4", backend="cpu")
        found = explain(layer, normal(3, 20, size, size)).steps[0]
        assert winograd.cost(found.plan).flops == 2 * 3 * 20 * 24 * along**2


@pytest.mark.parametrize("outs", [64, 65, 100, 130])
def test_blocks_of_output_channels(level, outs):
    x, weight, bias = normal(1, 20, 19, 30), normal(outs, 20, 3, 3, seed=1), normal(outs, seed=2)
    got = F.conv2d(x, weight, bias, padding=1, algorithm="winograd", backend="cpu")
    assert _error(got - bias[:, None, None], x, weight, padding=1) < 1e-5


@pytest.mark.parametrize("algorithm", NAMES)
@pytest.mark.parametrize(("groups", "channels", "outs"), [(2, 5, 17), (3, 16, 16), (4, 7, 66)])
def test_groups(level, algorithm, groups, channels, outs):
    """Groups whose channels are no whole vectors or blocks; each sees its own input, weights and bias."""
    x, weight = normal(2, groups * channels, 13, 18), normal(groups * outs, channels, 3, 3, seed=1)
    bias = normal(groups * outs, seed=2)
    arguments = {"padding": 1, "groups": groups, "backend": "cpu"}
    got = F.conv2d(x, weight, bias, algorithm=algorithm, **arguments)
    assert _error(got - bias[:, None, None], x, weight, padding=1, groups=groups) < SMALL[algorithm, "float32"]
    x[1, channels, 4, 5] = np.inf  # of the second group
    got, wanted = (F.conv2d(x, weight, bias, algorithm=name, **arguments) for name in (algorithm, "direct"))
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
    assert np.isfinite(got[1, :outs]).all()
    assert not np.isfinite(got[1, outs : 2 * outs]).all()


def test_layouts_and_out(level):
    """Channels-last, reversed and byte-swapped input; out= with rows anywhere, or pixels."""
    x = normal(2, 19, 14, 13)
    weight = normal(24, 19, 3, 3, seed=1)
    plain = F.conv2d(x, weight, padding=1, algorithm="winograd", backend="cpu")
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    reversed_ = np.ascontiguousarray(x[:, ::-1, ::-1, ::-1])[:, ::-1, ::-1, ::-1]
    swapped = x.astype(">f4")
    for view in (last, reversed_, swapped):
        np.testing.assert_array_equal(F.conv2d(view, weight, padding=1, algorithm="winograd"), plain)
    room = np.full((2, 26, 20, 15), 7, np.float32)
    for out in (room[:, 1:25, 3:17, 1:14], np.full((2, 24, 14, 26), 7, np.float32)[..., ::2]):
        assert F.conv2d(x, weight, padding=1, algorithm="winograd", out=out) is out
        np.testing.assert_array_equal(out, plain)
    assert (room[:, 0] == 7).all()
    assert (room[:, :, :3] == 7).all()
    assert (room[..., 14] == 7).all()


@pytest.mark.parametrize("algorithm", NAMES)
def test_same_bits_for_any_threads_and_batch(level, algorithm):
    x, weight = normal(3, 48, 33, 41), normal(72, 48, 3, 3, seed=1)
    pyconv.set_num_threads(1)
    once = F.conv2d(x, weight, padding=1, algorithm=algorithm, backend="cpu")
    for threads in (2, 3, 5):
        pyconv.set_num_threads(threads)
        np.testing.assert_array_equal(F.conv2d(x, weight, padding=1, algorithm=algorithm, backend="cpu"), once)
    for image in range(3):
        alone = F.conv2d(x[image], weight, padding=1, algorithm=algorithm, backend="cpu")
        np.testing.assert_array_equal(alone, once[image])


@pytest.mark.parametrize("size", [14, 29])
def test_same_bits_for_any_chunk_of_channels(level, size, monkeypatch):
    """Whether weights pass few channels at a time or many, fetched by the first tiles or by all, of any processor."""
    x, weight = normal(1, 530, size, size), normal(70, 530, 3, 3, seed=1)
    results = []
    for keeps_up in (False, True):
        monkeypatch.setattr(estimate, "keeps_up", lambda level, answer=keeps_up: answer)
        winograd._tasks.cache_clear()
        results.append(F.conv2d(x, weight, padding=1, algorithm="winograd_4", backend="cpu"))
    winograd._tasks.cache_clear()
    np.testing.assert_array_equal(*results)


def test_choice_does_not_depend_on_threads_or_batch():
    """Else the bits would."""
    weight = normal(32, 32, 3, 3)
    chosen = set()
    for threads, batch in itertools.product((1, 2, 7), (1, 4)):
        pyconv.set_num_threads(threads)
        found = explain(F.conv2d, normal(batch, 32, 28, 28), weight, padding=1, backend="cpu")
        chosen.add(found.steps[0].implementation)
    assert len(chosen) == 1


@pytest.mark.parametrize("algorithm", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_what_is_not_finite_stays_where_it_belongs(level, algorithm, value):
    """One odd number in one image: that image is as direct sums give it, and the others are untouched, also where tiles
    at the ends are short."""
    weight = normal(32, 40, 3, 3, seed=1)
    for size, place in (((20, 20), (7, 9)), ((14, 18), (13, 3)), ((14, 18), (2, 17)), ((18, 21), (17, 20))):
        x = normal(3, 40, *size)
        clean = F.conv2d(x, weight, padding=1, algorithm=algorithm, backend="cpu")
        x[1, 3, *place] = value
        got = F.conv2d(x, weight, padding=1, algorithm=algorithm, backend="cpu")
        np.testing.assert_array_equal(got[[0, 2]], clean[[0, 2]])
        wanted = F.conv2d(x, weight, padding=1, algorithm="direct", backend="cpu")
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
        if not np.isfinite(value):
            np.testing.assert_array_equal(got[1], wanted[1])
            assert np.isfinite(got[1]).any()


def test_transformed_weights_begin_at_cache_lines(level):
    """As NumPy's own arrays do not: each vector of them would lie in two lines. What is padding is zero."""
    weight = normal(40, 20, 3, 3)
    found = explain(F.conv2d, normal(1, 20, 14, 14), weight, padding=1, algorithm="winograd_4", backend="cpu")
    kept = [winograd.prepare(found.steps[0].plan, weight, None).weights for _ in range(3)]
    assert [weights.ctypes.data % 64 for weights in kept] == [0, 0, 0]
    assert np.count_nonzero(kept[0]) <= 40 * 20 * 36


@pytest.mark.parametrize("algorithm", NAMES)
def test_weights_that_are_not_finite_are_summed_directly(level, algorithm):
    x, weight = normal(1, 40, 20, 20), normal(32, 40, 3, 3, seed=1)
    weight[5, 7, 1, 1] = np.inf
    got = F.conv2d(x, weight, padding=1, algorithm=algorithm, backend="cpu")
    np.testing.assert_array_equal(got, F.conv2d(x, weight, padding=1, algorithm="direct", backend="cpu"))
    assert np.isfinite(np.delete(got, 5, axis=1)).all()


@pytest.mark.parametrize("algorithm", BOUND)
def test_error_up_to_512_channels(level, algorithm):
    """What the README promises of normal data."""
    for channels, size in ((64, 56), (256, 14), (512, 14), (512, 7)):
        x, weight = normal(1, channels, size, size), normal(16, channels, 3, 3, seed=1)
        got = F.conv2d(x, weight, padding=1, algorithm=algorithm, backend="cpu")
        assert _error(got, x, weight, padding=1) < BOUND[algorithm]


def _bound(x, weight, tile):
    """(4 + 4 sqrt(n)) eps * sum over channels of (largest |x| in the tile) * (sum of |w|), for padding 1; the largest
    tile errs four times as much."""
    height, width = x.shape[2:]
    tiles_h, tiles_w = -(-height // tile), -(-width // tile)
    padded = np.zeros((*x.shape[:2], tile * tiles_h + 2, tile * tiles_w + 2))
    padded[:, :, 1 : height + 1, 1 : width + 1] = np.abs(x)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (tile + 2, tile + 2), axis=(2, 3))
    tiles = windows[:, :, ::tile, ::tile].max(axis=(4, 5))
    sums = np.einsum("nctu,kc->nktu", tiles, np.abs(weight).sum(axis=(2, 3), dtype=np.float64))
    terms = 9 * x.shape[1]
    each = (4 + 4 * np.sqrt(terms)) * np.finfo(x.dtype).eps * sums * (4 if tile == 6 else 1)
    return each.repeat(tile, axis=2).repeat(tile, axis=3)[:, :, :height, :width]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tile", [2, 4, 6])
def test_error_follows_the_largest_number_of_a_tile(level, tile, dtype):
    """What the README says of images with spikes, black parts and very mixed magnitudes."""
    weight = normal(24, 40, 3, 3, dtype=dtype, seed=1)
    plain = normal(1, 40, 30, 29, dtype=dtype)
    spikes, black, mixed = plain.copy(), plain.copy(), plain.copy()
    spikes[:, :, ::8, ::8] *= 1e4
    black[..., 10:] = 0
    mixed *= 10.0 ** np.random.default_rng(0).integers(-6, 6, plain.shape)
    for x in (plain, spikes, black, mixed.astype(dtype)):
        exact = F.conv2d(x.astype(np.float64), weight.astype(np.float64), padding=1, backend="reference")
        got = F.conv2d(x, weight, padding=1, algorithm=f"winograd_{tile}", backend="cpu")
        error, bound = np.abs(got - exact), _bound(x, weight, tile)
        assert (error <= bound).all(), (error[bound > 0] / bound[bound > 0]).max()


def test_refusals_say_why():
    x = normal(1, 4, 8, 8)
    cases = [
        ({"weight": normal(4, 4, 5, 5)}, "3x3"),
        ({"weight": normal(4, 4, 3, 3), "stride": 2}, "stride 1"),
        ({"weight": normal(4, 1, 3, 3), "groups": 4}, "one input channel"),
    ]
    for (arguments, reason), algorithm in itertools.product(cases, ("winograd", *NAMES)):
        with pytest.raises(pyconv.errors.BackendError, match=reason):
            F.conv2d(x, algorithm=algorithm, backend="cpu", **arguments)
    with pytest.raises(pyconv.errors.BackendError, match="no algorithm 'winograd'"):
        F.conv2d(x, normal(4, 4, 3, 3), algorithm="winograd", backend="reference")


def test_used_where_it_pays():
    """Many channels: yes. Three channels: another kernel's. algorithm='direct': no."""
    layer = pyconv.Conv2d(128, 128, 3, padding=1, backend="cpu")
    many = explain(layer, normal(1, 128, 28, 28))
    assert many.steps[0].implementation.startswith("winograd")
    few = explain(F.conv2d, normal(1, 3, 64, 64), normal(64, 3, 3, 3), padding=1, backend="cpu")
    assert not few.steps[0].implementation.startswith("winograd_f4x3")
    assert "cost more" in dict(few.steps[0].candidates)[f"cpu:winograd_f4x3_{isa.name()}"]
    arguments = (normal(1, 256, 8, 8), normal(256, 256, 3, 3))
    grouped = explain(pyconv.Conv2d(64, 64, 3, padding=1, groups=4, backend="cpu"), normal(1, 64, 56, 56))
    assert grouped.steps[0].implementation.startswith("winograd")
    once = explain(F.conv2d, *arguments, padding=1, backend="cpu")
    assert not once.steps[0].implementation.startswith("winograd")  # it would transform them each time
    # small deep images read few weights rather than few pixels, unless narrow vectors are bound by their products
    level = isa.current()
    waits = estimate.asks_much(level) and not estimate.keeps_up(level)  # for weights, even of so many tiles
    for size, tile in ((14, 2 if waits else 4), (7, 2 if runtime.lanes(level, False) >= 8 else 4)):
        deep = explain(pyconv.Conv2d(512, 512, 3, padding=1, backend="cpu"), normal(1, 512, size, size))
        assert deep.steps[0].implementation.startswith(f"winograd_f{tile}x3")
    named = explain(F.conv2d, *arguments, padding=1, backend="cpu", algorithm="direct")
    assert not named.steps[0].implementation.startswith("winograd")


@pytest.mark.parametrize("tile", [2, 4, 6])
def test_name_gives_the_tile(tile):
    layer = pyconv.Conv2d(20, 24, 3, algorithm=f"winograd_{tile}", backend="cpu")
    found = explain(layer, normal(1, 20, 14, 14))
    assert found.steps[0].implementation == f"winograd_f{tile}x3_{isa.name()}"


@pytest.mark.parametrize("tile", [2, 4, 6])
def test_tasks_are_enough_and_even(tile):
    """For any number of threads there are tasks for all, as many tiles for each, and scratch for the largest."""
    for channels, size, layer in ((512, 14, 512), (64, 56, 64), (16, 56, 16)):
        x, weight = normal(1, channels, size, size), normal(layer, channels, 3, 3)
        plan = explain(F.conv2d, x, weight, padding=1, algorithm=f"winograd_{tile}", backend="cpu").steps[0].plan
        for threads in (1, 2, 3, 8, 64):
            cut = winograd.grid(plan, len(ISAS) - 1, threads, tile)
            tiles = cut.tiles_h * cut.tiles_w
            assert cut.tiles_h * tile >= size > (cut.tiles_h - 1) * tile
            assert 1 <= cut.bands_h <= cut.tiles_h
            assert 1 <= cut.bands_w <= cut.tiles_w
            assert 1 <= cut.shares <= cut.blocks
            largest = -(-cut.tiles_h // cut.bands_h) * -(-cut.tiles_w // cut.bands_w)
            assert cut.scratch >= (tile + 2) ** 2 * largest * channels
            if threads == 2:
                tasks = cut.bands_h * cut.bands_w * cut.shares
                assert tasks % 2 == 0 or tasks >= 8, (channels, tiles)
