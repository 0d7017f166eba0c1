"""The command line: what it writes, what it says, and how it ends when something is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers import USABLE, noise

import pyconv
from pyconv.__main__ import main
from pyconv.cli.files import find_jobs, write_whole
from pyconv.cli.kernels import kernels_from

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def photos(tmp_path):
    """Three images in two folders, two of one stem."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.png", "deep/a.png")):
        Image.fromarray(noise(seed)).save(folder / name)
    return folder


def features(*arguments):
    return main(["features", *map(str, arguments)])


def made(folder):
    """Everything under ``folder`` but the record."""
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return [name for name in files if name != "features.jsonl"]


def run_module(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "pyconv", *map(str, arguments)], capture_output=True, text=True, timeout=120, **kwargs
    )


# what is printed without any image


def test_version():
    done = run_module("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"pyconv {pyconv.__version__}\n", "")


def test_info(capsys, monkeypatch):
    monkeypatch.setenv("PYCONV_VERBOSE", "0")
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split(":")[0].strip(): line for line in lines}
    assert np.__version__ in shown["numpy"]
    assert pyconv.__version__ in shown["pyconv"]
    if "cuda" not in USABLE:
        assert "not usable: CuPy cannot be imported" in shown["cuda"]
    assert "reference" in shown
    assert Image.__version__ in shown["pillow"]
    assert "  PYCONV_VERBOSE=0" in lines


def test_info_survives_a_reader_that_leaves():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "pyconv", "info"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.parametrize("argv", [[], ["bogus"], ["features", "--pool", "0"], ["features", "--threads", "many"]])
def test_unusable_arguments(argv, capsys):
    assert main(argv) == 2
    assert "error:" in capsys.readouterr().err


# the demonstration


def test_demonstration(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert features("--out", tmp_path / "new") == 0
    folder = tmp_path / "new"
    assert made(folder) == ["features.npy", "features.png"]
    maps = np.load(folder / "features.npy")
    assert maps.shape == (6, 299, 255)
    assert maps.dtype == np.float32
    assert maps.min() == 0
    with Image.open(folder / "features.png") as picture:
        assert min(picture.size) > 1000
    assert (folder / "features.png").stat().st_size < 1_000_000
    head, conv, relu, pool, total, wrote = capsys.readouterr().out.splitlines()
    assert head.split() == ["layer", "input", "output", "parameters", "backend", "implementation", "ms"]
    assert conv.split()[:4] == ["conv", "3x600x512", "6x598x510", "162"]
    assert relu.split()[:4] == ["relu", "6x598x510", "6x598x510", "0"]
    assert pool.split()[:4] == ["pool", "6x598x510", "6x299x255", "0"]
    assert total.split()[:2] == ["total", "162"]
    assert all(float(line.split()[-1]) > 0 for line in (conv, relu, pool, total))
    assert "grace_hopper.jpg" in wrote


def test_demonstration_has_nothing_to_resume(tmp_path, capsys):
    assert features("--resume", "--out", tmp_path) == 2
    assert "--resume" in capsys.readouterr().err
    assert made(tmp_path) == []


# the user's images


def test_the_numbers(photos, tmp_path):
    """Vertical edges, ReLU and 2 by 2 pooling, written out in NumPy."""
    assert features(photos / "a.png", "--out", tmp_path / "out") == 0
    grey = noise(0) / 255 @ [0.299, 0.587, 0.114]
    across = grey[:, 2:] - grey[:, :-2]
    edges = np.maximum(across[:-2] + 2 * across[1:-1] + across[2:], 0)
    pooled = edges.reshape(9, 2, 11, 2).max(axis=(1, 3))
    np.testing.assert_allclose(np.load(tmp_path / "out/a.npy")[0], pooled, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [("sigmoid", 0, 1), ("tanh", -1, 1), ("selu", -2, 9), ("gelu", -1, 9), ("none", -9, 9)],
)
def test_activations(photos, tmp_path, activation, low, high):
    assert features(photos / "a.png", "--out", tmp_path, "--activation", activation, "--pool", 3, "--picture") == 0
    maps = np.load(tmp_path / "a.npy")
    conv = kernels_from("edges").layer()(np.moveaxis(noise(0).astype(np.float32) / 255, -1, 0))
    function = (lambda x: x) if activation == "none" else getattr(pyconv.functional, activation)
    np.testing.assert_allclose(maps, function(conv[:, :18, :21]).reshape(6, 6, 3, 7, 3).max(axis=(2, 4)), atol=1e-5)
    assert low <= maps.min() < maps.max() <= high


def test_folders_keep_their_structure(photos, tmp_path, capsys):
    (photos / ".hidden").mkdir()
    for unwanted in (".hidden/x.png", "notes.txt", "old.features.png"):
        (photos / unwanted).write_bytes(b"no image")
    assert features(photos, "--out", tmp_path / "out") == 0
    assert made(tmp_path / "out") == ["a.npy", "b.npy", "deep/a.npy"]
    assert not np.array_equal(np.load(tmp_path / "out/a.npy"), np.load(tmp_path / "out/deep/a.npy"))
    out = capsys.readouterr().out
    assert out.count("implementation") == 1  # one table, however many images
    assert f"3 written to {tmp_path / 'out'}, 0 done before, 0 failed" in out


def names(*paths):
    return sorted(str(job.features) for job in find_jobs([str(path) for path in paths]))


def test_names_of_results(photos):
    assert names(photos / "a.png") == ["a.npy"]
    assert names(photos / "a.png", photos / "deep/a.png") == ["a.npy", "deep/a.npy"]
    assert names(photos / "deep", photos) == ["a.npy", "b.npy", "deep/a.npy"]  # each once
    other = photos.parent / "other"
    other.mkdir()
    Image.fromarray(noise()).save(other / "a.png")
    assert names(photos / "deep", other) == ["other/a.npy", "photos/deep/a.npy"]


def test_images_that_differ_in_the_suffix_only(photos):
    for name in ("a.jpg", "a.png.png", "c.bmp"):
        Image.fromarray(noise()).save(photos / name)
    assert names(photos) == ["a.jpg.npy", "a.png.npy", "a.png.png.npy", "b.npy", "c.npy", "deep/a.npy"]


def test_picture(photos, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    Image.fromarray(noise(height=4, width=40)).save(photos / "deep/line.png")
    arguments = (photos / "deep", "--out", out, "--kernels", "random:1", "--activation", "tanh", "--picture")
    assert features(*arguments) == 0
    assert made(out) == ["a.features.png", "a.npy", "line.features.png", "line.npy"]
    with Image.open(out / "a.features.png") as picture:
        assert picture.format == "PNG"
    assert features(*arguments, "--resume") == 0
    (out / "a.features.png").unlink()
    assert features(*arguments, "--resume") == 0
    assert "1 written" in capsys.readouterr().out.splitlines()[-1]
    assert (out / "a.features.png").exists()


@pytest.mark.parametrize("name", [b"a$\\q$b.png", b"$x^2$.png", b"bad\xff.png"])
def test_odd_names(name, tmp_path):
    """Names that matplotlib would typeset, or that are no Unicode, on a terminal that takes only what it can encode."""
    pytest.importorskip("matplotlib")
    image = os.path.join(os.fsencode(tmp_path), name)
    with open(image, "wb") as file:
        Image.fromarray(noise()).save(file, format="PNG")
    plain = tmp_path / "plain.png"
    Image.fromarray(noise()).save(plain)
    arguments = [os.fsdecode(image), plain, "--out", tmp_path / "out", "--picture"]
    done = run_module("features", *arguments, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})
    assert done.returncode == 0, done.stderr
    stem = os.fsdecode(name).removesuffix(".png")
    assert made(tmp_path / "out") == sorted(
        f"{part}{end}" for part in (stem, "plain") for end in (".npy", ".features.png")
    )


def test_an_image_is_never_overwritten(photos, capsys):
    """The output folder is the images' folder, and an image has the name that a picture would get."""
    pytest.importorskip("matplotlib")
    Image.fromarray(noise()).save(photos / "a.features.png")
    before = (photos / "a.features.png").read_bytes()
    assert features(photos / "a.png", photos / "a.features.png", "--out", photos, "--picture") == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert (photos / "a.features.png").read_bytes() == before


# what goes wrong


def test_a_broken_image_is_named_and_the_rest_done(photos, tmp_path, capsys):
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:300])
    (photos / "text.jpg").write_text("no image at all")
    Image.fromarray(noise(height=2)).save(photos / "flat.png")
    assert features(photos, "--out", tmp_path / "out") == 1
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{photos / 'a.png'}: cannot be read")
    assert lines[1].startswith(f"{photos / 'flat.png'}: ")
    assert "kernel" in lines[1]
    assert lines[2].startswith(f"{photos / 'text.jpg'}: no image")
    assert made(tmp_path / "out") == ["b.npy", "deep/a.npy"]
    assert "2 written" in said.out
    assert "3 failed" in said.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.png"], "nowhere.png: no such file"),
        (["empty"], "no images in this folder"),
        (["--kernels", "edgy", "a.png"], "none of the choices edges, blur, random:SEED or FILE.npz"),
        (["--kernels", "random:-1", "a.png"], "the seed is a whole number"),
        (["--kernels", "a.png", "a.png"], "no .npz file"),
        (["--backend", "cdua", "a.png"], "did you mean 'cuda'?"),
        (["--backend", "cuda", "a.png"], "CuPy"),
        (["--out", "a.png/below", "a.png"], "--out a.png/below"),
        (["--pool", str(2**40), "a.png"], "kernel_size must be at most"),
    ],
)
def test_nothing_starts(arguments, said, photos, monkeypatch, capsys):
    monkeypatch.chdir(photos)
    (photos / "empty").mkdir()
    assert features(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("pyconv: error: ")
    assert said in error
    assert made(photos) == ["a.png", "b.png", "deep/a.png"]


def test_a_senseless_environment_is_an_error(photos, tmp_path):
    done = run_module("features", photos, "--out", tmp_path / "out", env={**os.environ, "PYCONV_BACKEND": "abacus"})
    assert done.returncode == 2
    assert "PYCONV_BACKEND='abacus'" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_in_a_process_of_its_own(photos, tmp_path):
    arguments = ("features", photos, "--out", tmp_path / "out", "--backend", "reference")
    done = run_module(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert " reference  numpy " in done.stdout
    again = run_module(*arguments, "--threads", 1)
    if any(status.usable for status in pyconv.backends() if status.name == "cpu"):
        assert again.returncode == 0
    else:
        assert again.returncode == 2
        assert "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "package"),
    [
        ("PIL", ["a.png"], "Pillow"),
        ("matplotlib", ["a.png", "--picture"], "matplotlib"),
        ("matplotlib", [], "matplotlib"),
    ],
)
def test_a_missing_package_is_said_in_one_line(module, arguments, package, photos, monkeypatch, capsys):
    for other in ("matplotlib", "tqdm"):
        pytest.importorskip(other)
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(photos)
    assert features(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"needs {package}, which is not installed" in line
    assert line.endswith(f": pip install {package.lower()}")  # and of no other, that is there


def test_all_missing_packages_are_named_at_once(photos, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] in ("PIL", "matplotlib", "tqdm")]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("PIL", "matplotlib", "tqdm"):
        monkeypatch.setitem(sys.modules, name, None)
    assert features(photos / "a.png") == 2
    assert capsys.readouterr().err.endswith(": pip install matplotlib pillow tqdm\n")


@pytest.mark.parametrize("installed", [True, False])
def test_progress_bar_for_many(installed, tmp_path, monkeypatch, capsys):
    if installed:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    for place in range(50):
        Image.fromarray(noise(place, 6, 6)).save(tmp_path / f"{place:02}.png")
    (tmp_path / "25.png").write_bytes(b"broken")
    assert features(tmp_path, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert f"{tmp_path / '25.png'}: no image" in error
    assert ("50/50" in error) == installed
    assert bool(re.search("pip install .*tqdm\n", error)) != installed
    assert len(made(tmp_path / "out")) == 49


# files whole or not at all


def test_write_whole(tmp_path):
    path = tmp_path / "new" / "file"
    write_whole(path, lambda file: file.write(b"first"))
    assert path.read_bytes() == b"first"

    def fail(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, fail)
    assert path.read_bytes() == b"first"
    assert made(tmp_path) == ["new/file"]


@pytest.mark.parametrize(("how", "status"), [("full", 1), ("ctrl-c", 130), ("terminated", 143)])
def test_stopped_while_writing(how, status, photos, tmp_path, monkeypatch, capsys):
    save = np.save
    calls = []

    def stopped(file, array):
        calls.append(array)
        if len(calls) != 2:
            return save(file, array)
        file.write(b"half of it")
        if how == "ctrl-c":
            raise KeyboardInterrupt
        if how == "terminated":
            os.kill(os.getpid(), signal.SIGTERM)
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", stopped)
        assert features(photos, "--out", out) == status
    assert made(out) == (["a.npy", "deep/a.npy"] if how == "full" else ["a.npy"])
    said = capsys.readouterr()
    assert ("No space left" in said.err) == (how == "full")
    assert ("2 left (--resume goes on from here)" in said.out) == (how != "full")
    assert features(photos, "--out", out, "--resume") == 0
    assert made(out) == ["a.npy", "b.npy", "deep/a.npy"]


# resuming


def done_and_skipped(capsys):
    words = capsys.readouterr().out.splitlines()[-1].split()
    return int(words[0]), int(words[words.index("done") - 1])


def test_resume(photos, tmp_path, capsys):
    out = tmp_path / "out"
    run = (photos, "--out", out, "--resume")
    assert features(*run) == 0
    assert done_and_skipped(capsys) == (3, 0)
    assert features(*run) == 0
    assert done_and_skipped(capsys) == (0, 3)
    Image.fromarray(noise(9)).save(photos / "a.png")  # a newer image
    (out / "b.npy").unlink()  # a result that is gone
    assert features(*run) == 0
    assert done_and_skipped(capsys) == (2, 1)
    (out / "deep/a.npy").write_bytes(b"cut")  # a result that is not whole
    assert features(*run) == 0
    assert done_and_skipped(capsys) == (1, 2)
    assert features(photos, "--out", out) == 0  # without --resume all is done anew
    assert done_and_skipped(capsys) == (3, 0)


@pytest.mark.parametrize("change", [["--kernels", "random:3"], ["--activation", "tanh"], ["--pool", "3"]])
def test_resume_with_other_settings_does_it_again(change, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert features(photos, "--out", out) == 0
    before = np.load(out / "a.npy")
    assert features(photos, "--out", out, "--resume", *change) == 0
    assert done_and_skipped(capsys) == (3, 0)
    assert not np.array_equal(np.load(out / "a.npy"), before)
    assert features(photos, "--out", out, "--resume", *change) == 0
    assert done_and_skipped(capsys) == (0, 3)


def test_resume_after_a_run_with_other_settings_was_cut(photos, tmp_path, capsys, monkeypatch):
    """The result of the cut run is in place, its line in the record is not: the old line must not vouch for it."""
    out = tmp_path / "out"
    assert features(photos / "a.png", "--out", out) == 0

    def cut(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pyconv.cli.record.Record.add", cut)
        assert features(photos / "a.png", "--out", out, "--activation", "tanh") == 130
    assert features(photos / "a.png", "--out", out, "--resume") == 0
    assert done_and_skipped(capsys) == (1, 0)


def test_the_record_may_be_damaged(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert features(photos, "--out", out) == 0
    record = out / "features.jsonl"
    first, second, third = record.read_text().splitlines()
    record.write_text(f'{first}\n[1]\n{{"features": "b.npy", "outputs": null}}\n{second}\n{third[:40]}')
    assert features(photos, "--out", out, "--resume") == 0
    assert done_and_skipped(capsys) == (1, 2)
    assert [json.loads(line)["features"] for line in record.read_text().splitlines()] == [
        "a.npy",
        "b.npy",
        "deep/a.npy",
    ]
