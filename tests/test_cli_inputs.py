"""The command line's inputs: kernels by name and from files, images of all kinds."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import noise

import pyconv
from pyconv.__main__ import main
from pyconv.cli import CommandError
from pyconv.cli.images import ImageError, read_rgb
from pyconv.cli.kernels import kernels_from
from pyconv.cli.network import as_input
from pyconv.report import explain

Image = pytest.importorskip("PIL.Image")


# kernels


@pytest.mark.parametrize("name", ["edges", "blur"])
def test_kernels_made_by_hand(name):
    kernels = kernels_from(name)
    sums = kernels.weight.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(sums, 0 if name == "edges" else 1, atol=1e-5)  # edges of grey are nothing, blur keeps it
    assert len(set(kernels.names)) == len(kernels.names) == len(kernels.weight)


def test_random_kernels_are_the_layers_own():
    conv = kernels_from("random:7").layer()
    expected = pyconv.Conv2d(3, conv.out_channels, 3, rng=7)
    np.testing.assert_array_equal(conv.weight, expected.weight)
    np.testing.assert_array_equal(conv.bias, expected.bias)


@pytest.mark.parametrize("colour", [True, False])
def test_kernels_from_a_file(colour, tmp_path):
    Image.fromarray(noise(1)).save(tmp_path / "b.png")
    weight = np.random.default_rng(0).normal(size=(2, 3, 5, 3) if colour else (2, 5, 3))
    np.savez(tmp_path / "k.npz", weight=weight, bias=np.array([1, -1]), names=np.array(["one", "two"]))
    paths = [str(tmp_path / "b.png"), "--out", str(tmp_path), "--kernels", str(tmp_path / "k.npz")]
    assert main(["features", *paths, "--activation", "none"]) == 0
    if not colour:
        weight = weight[:, None] * np.array([0.299, 0.587, 0.114])[:, None, None]
    windows = np.lib.stride_tricks.sliding_window_view(noise(1) / 255, (5, 3), axis=(0, 1))
    maps = np.einsum("yxcij,kcij->kyx", windows, weight) + np.array([1, -1])[:, None, None]
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), maps.reshape(2, 8, 2, 11, 2).max(axis=(2, 4)), atol=1e-4)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"weights": np.ones((1, 3, 3))}, "expected weight"),
        ({"weight": np.ones((1, 3, 3)), "biases": np.ones(1)}, "biases"),
        ({"weight": np.ones((1, 4, 3, 3))}, "expected (K, 3, height, width)"),
        ({"weight": np.ones((0, 3, 3))}, "expected (K, 3, height, width)"),
        ({"weight": np.ones((2, 3, 3)), "bias": np.ones(3)}, "expected (2,)"),
        ({"weight": np.ones((2, 3, 3)), "names": np.array(["one"])}, "expected 2 strings"),
        ({"weight": np.full((1, 3, 3), np.nan)}, "finite real numbers"),
        ({"weight": np.ones((1, 3, 3), complex)}, "finite real numbers"),
        ({"weight": np.array([[[None]]])}, "no .npz file of plain arrays"),
    ],
)
def test_files_that_hold_no_kernels(arrays, said, tmp_path):
    path = tmp_path / "k.npz"
    np.savez(path, **arrays)
    with pytest.raises(CommandError) as caught:
        kernels_from(str(path))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


# images of all kinds


def saved(path, image, **options):
    image.save(path, **options)
    return read_rgb(path)


def test_rgb_and_grey(tmp_path):
    pixels = noise()
    read = saved(tmp_path / "x.png", Image.fromarray(pixels))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, pixels.astype(np.float32) / np.float32(255))
    assert np.shares_memory(as_input(read), read)
    assert explain(kernels_from("edges").layer(), as_input(read)).steps[0].plan.layout == "nhwc"  # no copy
    grey = saved(tmp_path / "g.png", Image.fromarray(pixels[..., 0]))
    np.testing.assert_array_equal(grey, np.repeat(read[..., :1], 3, axis=2))
    bits = saved(tmp_path / "b.png", Image.fromarray(pixels[..., 0] > 127))
    np.testing.assert_array_equal(bits[..., 1], pixels[..., 0] > 127)


def test_transparency_is_laid_over_white(tmp_path):
    alpha = np.zeros((20, 24, 1), np.uint8)
    alpha[:10] = 255
    image = Image.fromarray(np.concatenate([noise(), alpha], axis=2))
    read = saved(tmp_path / "x.png", image)
    np.testing.assert_allclose(read[:10], noise()[:10] / 255, atol=1e-6)
    assert (read[10:] == 1).all()
    palette = Image.new("P", (4, 3), 0)
    assert (saved(tmp_path / "p.png", palette, transparency=0) == 1).all()
    assert (saved(tmp_path / "q.png", palette) == 0).all()


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits(tmp_path, suffix):
    values = np.linspace(0, 65535, 480).reshape(20, 24).astype(np.uint16)
    read = saved(tmp_path / f"x.{suffix}", Image.fromarray(values))
    np.testing.assert_allclose(read[..., 2], values / 65535, atol=1e-6)


def test_float_images(tmp_path):
    values = np.linspace(0, 1, 480, dtype=np.float32).reshape(20, 24)
    np.testing.assert_array_equal(saved(tmp_path / "x.tif", Image.fromarray(values))[..., 0], values)
    with pytest.raises(ImageError, match="rescale"):
        saved(tmp_path / "y.tif", Image.fromarray(values * 1000))
    with pytest.raises(ImageError, match="rescale"):
        saved(tmp_path / "z.tif", Image.fromarray(values * np.nan))


@pytest.mark.parametrize("grey16", [False, True])
def test_exif_orientation(tmp_path, grey16):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    pixels = noise()[..., 0].astype(np.uint16) * 257 if grey16 else noise()
    path = tmp_path / "x.png"
    read = saved(path, Image.fromarray(pixels), exif=exif)
    top = 65535 if grey16 else 255
    np.testing.assert_allclose(read[..., 0], np.rot90(pixels if grey16 else pixels[..., 0], -1) / top, atol=1e-6)


def test_other_colour_spaces(tmp_path):
    read = saved(tmp_path / "x.tif", Image.new("CMYK", (4, 3), (0, 255, 255, 0)))
    np.testing.assert_allclose(read, np.broadcast_to([1, 0, 0], (3, 4, 3)), atol=0.01)
