"""The benchmark's own machinery: valid layers, right checks, failures that become rows. No time is asserted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pyconv
import pyconv.functional as F
from benchmarks import data, machine, results
from benchmarks.layer import (
    POOLS,
    Layer,
    activation,
    conv,
    image_filter,
    line,
    pool,
    transposed,
)
from benchmarks.layers import LISTS, select
from benchmarks.peers.base import Peer, Unsupported, Way
from benchmarks.peers.with_pyconv import Pyconv
from benchmarks.run import Settings, measure
from benchmarks.team import Worker
from pyconv.report import function_call

ROOT = Path(__file__).resolve().parent.parent
SHORT = Settings(rounds=2, burst_seconds=1e-4, warm_up_seconds=0.0, limit_seconds=1.0)
SMALL = conv(3, 4, 3, 6)

ALL_LAYERS = [pytest.param(layer, id=f"{name}: {layer.name}") for name, rows in LISTS.items() for layer in rows]


def planned(layer: Layer):
    """pyconv's plan of the layer, without computing anything."""
    x = np.broadcast_to(np.float32(0), layer.shape)
    arguments = {"input": x}
    if layer.op == "conv2d":
        weight = np.broadcast_to(np.float32(0), layer.weight_shape)
        arguments.update(weight=weight, stride=layer.stride, padding=layer.padding, groups=layer.groups)
        arguments["dilation"] = layer.dilation
    elif layer.op == "conv_transpose2d":
        weight = np.broadcast_to(np.float32(0), layer.weight_shape)
        arguments.update(weight=weight, stride=layer.stride, padding=layer.padding, groups=layer.groups)
        arguments["output_padding"] = layer.output_padding
    elif layer.op == "conv1d":
        weight = np.broadcast_to(np.float32(0), layer.weight_shape)[:, :, 0]
        arguments.update(input=x[:, :, 0], weight=weight, stride=layer.stride, padding=layer.padding[1])
        arguments["groups"] = layer.groups
    elif layer.op in POOLS:
        arguments.update(kernel_size=layer.kernel, stride=layer.stride, padding=layer.padding)
        if layer.op == "max_pool2d":
            arguments.update(dilation=layer.dilation, ceil_mode=layer.ceil_mode, return_indices=layer.indices)
    elif layer.op == "adaptive_avg_pool2d":
        arguments["output_size"] = 1
    else:
        arguments.update(layer.options)
    call, _ = function_call(getattr(F, layer.op), (), arguments)
    return call.plan


@pytest.mark.parametrize("layer", ALL_LAYERS)
def test_layers_are_valid_and_their_sizes_are_the_plans(layer):
    plan = planned(layer)
    assert plan.out_shape == layer.out_shape
    assert getattr(plan, "flops", 0) == layer.flops


def test_networks_have_the_published_number_of_convolutions_and_multiply_adds():
    def totals(name):
        convolutions = [layer for layer in LISTS[name] if layer.op == "conv2d"]
        return sum(layer.count for layer in convolutions), sum(layer.flops * layer.count for layer in convolutions) // 2

    assert totals("resnet50") == (53, 4_087_136_256)  # torchvision's model without its last, dense layer
    assert totals("vgg16") == (13, 15_346_630_656)
    assert totals("mobilenetv2") == (52, 299_494_272)
    assert totals("efficientnet") == (81, 384_534_752)  # torchvision: 0.386 GFLOPS, with 1.28 million of the last layer
    assert totals("convnext") == (58, 4_454_763_264)  # 4.456, with 0.77 million
    weights = sum(int(np.prod(layer.weight_shape)) for layer in LISTS["unet"] if layer.op == "conv2d")
    assert weights == 28_238_528  # 31 million parameters with the transposed convolutions' 2.8


def test_names_are_unique_in_a_list():
    for rows in LISTS.values():
        assert max(Counter(layer.name for layer in rows).values()) == 1


def test_headline_rows_cover_every_kind_of_operation():
    headline = [layer for _, layer in select(list(LISTS), headline=True)]
    assert len(headline) == 18
    assert {layer.op for layer in headline} == {"conv2d", "max_pool2d", "tanh", "sigmoid"}


def test_all_lists_are_measured_where_none_is_named():
    from benchmarks.__main__ import _lists

    assert _lists(None) == list(LISTS)
    assert _lists("unet, tiny") == ["unet", "tiny"]


def test_what_a_library_would_do_otherwise_is_not_asked_of_it():
    peer = Peer(1)
    peer.check(SMALL)
    peer.batches = False
    for change in ({"dtype": "float64"}, {"layout": "nhwc"}, {"shape": (2, 3, 6, 6)}):
        with pytest.raises(Unsupported):
            peer.check(replace(SMALL, **change))


def test_channels_last_rows_hold_the_same_numbers():
    first, last = data.tensors(SMALL).x, data.tensors(replace(SMALL, layout="nhwc")).x
    assert first.flags.c_contiguous
    assert np.moveaxis(last, 1, -1).flags.c_contiguous
    assert last.shape == first.shape


def test_select_says_what_there_is():
    assert [layer.name for _, layer in select(["resnet50"], "7X7 S2")] == ["7x7 s2 3->64, 224x224"]
    with pytest.raises(ValueError, match="no list resnet; the lists are resnet50"):
        select(["resnet"])
    with pytest.raises(ValueError, match="no layer's name contains '9x9'; there are: 2x2 s2 1, 4x4") as caught:
        select(["tiny"], "9x9")
    assert len(str(caught.value)) < 400
    with pytest.raises(ValueError, match=r"'depthwise 3x3 s3'; there are: depthwise 3x3 .* more$") as caught:
        select(list(LISTS), "depthwise 3x3 s3")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "layer",
    [
        SMALL,
        conv(5, 11, 3, 9, stride=2),
        conv(12, 12, 3, 8, groups=12),
        conv(6, 9, 3, 11, groups=3, dilation=2),
        conv(10, 20, 3, 7, groups=10, stride=3),
        replace(conv(3, 5, 1, 8), kernel=(1, 5), padding=(0, 2)),
        image_filter(1, 1, 5, 40, 30),
        image_filter(2, 2, 5, 40, 30, filter="gaussian", groups=2),
        pool(9, 3, 12, stride=2, padding=1),
        pool(9, 3, 12, stride=2, ceil_mode=True),
        pool(9, 3, 12, stride=1, padding=2, dilation=2),
        pool(9, 3, 12, stride=2, padding=1, op="avg_pool2d"),
        transposed(6, 9, 3, 7, stride=2, padding=1, output_padding=1),
        transposed(5, 9, 4, 7, stride=4),
        line(6, 9, 5, 23, stride=2),
        line(9, 9, 3, 23, groups=9),
        activation("tanh", 10, 5),
        activation("softmax", 10, 5, dim=1),
    ],
    ids=lambda layer: layer.name,
)
def test_expected_values_of_a_region_are_those_of_the_whole_layer(layer, monkeypatch):
    monkeypatch.setattr(data, "ROW_BYTES", 0)
    x, weight, bias = data.tensors(layer)
    window = (layer.stride, layer.padding, layer.dilation)
    whole = {
        "conv2d": lambda: F.conv2d(x, weight, bias, *window, layer.groups, backend="reference"),
        "conv1d": lambda: F.conv2d(x, weight, bias, *window, layer.groups, backend="reference"),
        "conv_transpose2d": lambda: F.conv_transpose2d(
            x, weight, bias, layer.stride, layer.padding, layer.output_padding, backend="reference"
        ),
        "max_pool2d": lambda: F.max_pool2d(x, layer.kernel, *window, layer.ceil_mode, backend="reference"),
        "avg_pool2d": lambda: F.avg_pool2d(x, layer.kernel, layer.stride, layer.padding, backend="reference"),
        "tanh": lambda: np.tanh(x),
        "softmax": lambda: F.softmax(x, 1, backend="reference"),
    }[layer.op]()
    part = data.region(layer)
    if layer.op == "conv_transpose2d" or layer.out_shape[2] == 1:
        assert part.rows == [(0, layer.out_shape[2])]
    else:
        assert part.rows == [(0, 1), (layer.out_shape[2] - 1, layer.out_shape[2])]
    right = data.expected(layer, part)
    assert data.error(right, part.of(whole)) < 1e-7
    off = whole.copy()
    off[:, -1, -1, -1] += 1.0  # the last row and channel are always looked at
    assert data.error(right, part.of(off)) > data.TOLERANCE["float32"]


def test_error_sees_what_is_not_finite_or_of_the_wrong_shape():
    part = data.region(SMALL)
    right = data.expected(SMALL, part)
    broken = right.values.copy()
    broken[0, 0, 0, 0] = np.nan
    assert data.error(right, broken) == float("inf")
    with pytest.raises(ValueError, match="has shape"):
        data.error(right, right.values[:, :1])


class Honest(Peer):
    """Computes with the reference backend; the other peers below go wrong in one way each."""

    def version(self):
        return "1"

    def build(self, layer):
        x, weight, bias = data.tensors(layer)

        def run():
            return F.conv2d(x, weight, bias, 1, 1, backend="reference")

        return [Way("reference", run, np.asarray), Way("twice", lambda: (run(), run())[1], np.asarray)]


class Wrong(Honest):
    def build(self, layer):
        way, _ = super().build(layer)
        return [way._replace(result=lambda result: result + 1e-3)]


class Raises(Honest):
    def build(self, layer):
        raise RuntimeError("no such kernel")


class Lacks(Honest):
    def build(self, layer):
        raise Unsupported("it has no convolutions")


class Dies(Honest):
    def build(self, layer):
        os.kill(os.getpid(), signal.SIGKILL)


class Missing(Honest):
    def __init__(self, threads):
        raise ModuleNotFoundError("No module named 'missing'")


@pytest.fixture
def findable(monkeypatch):
    """Workers can import this file."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))


def test_what_goes_wrong_in_a_library_is_a_labelled_row(findable):
    peers = (Honest, Wrong, Raises, Lacks, Dies, Missing)
    targets = {peer.__name__.lower(): f"{__name__}:{peer.__name__}" for peer in peers}
    said: list[str] = []
    report = measure([("list", SMALL)], targets, 1, machine.cpus(1), SHORT, said.append)
    found = report["rows"][0]["results"]
    assert {name: entry["status"] for name, entry in found.items()} == {
        "honest": "ok",
        "wrong": "wrong",
        "raises": "failed",
        "lacks": "unsupported",
        "dies": "lost",
    }
    assert found["honest"]["error"] < 1e-7
    assert list(found["honest"]["ways_us"]) == ["reference", "twice"]
    assert found["honest"]["way"] == min(found["honest"]["ways_us"], key=found["honest"]["ways_us"].get)
    assert len(found["honest"]["bursts_us"]) == SHORT.rounds
    assert "RuntimeError: no such kernel" in found["raises"]["reason"]
    assert "SIGKILL" in found["dies"]["reason"]
    assert report["libraries"]["missing"]["status"] == "missing"
    assert any("missing is left out" in line for line in said)
    assert results.best_peer(report["rows"][0])[0] == "honest"  # a wrong result is never the best


def test_without_pyconv_itself_nothing_is_measured(findable):
    targets = {"honest": f"{__name__}:Honest", "pyconv": f"{__name__}:Missing"}
    with pytest.raises(RuntimeError, match="pyconv cannot be measured, not installed"):
        measure([("list", SMALL)], targets, 1, machine.cpus(1), SHORT, lambda _: None)


def test_the_reference_backend_is_not_measured_in_place_of_a_broken_core(monkeypatch):
    broken = pyconv.backends()[0]._replace(name="cpu", usable=False, reason="truncated")
    monkeypatch.setattr(pyconv, "backends", lambda: [broken])
    monkeypatch.delenv("PYCONV_BACKEND", raising=False)
    with pytest.raises(ImportError, match="truncated"):
        Pyconv(1)
    monkeypatch.setenv("PYCONV_BACKEND", "reference")  # asked for by name
    assert Pyconv(1).version() == pyconv.__version__


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_is_stopped_between_orders(findable):
    worker = Worker("honest", f"{__name__}:Honest", 1, machine.cpus(1))
    try:
        worker.start()
        assert worker.ask("build", SMALL, data.region(SMALL))["status"] == "ok"
        state = Path(f"/proc/{worker._process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert state == "T"
        assert worker.ask("burst", 2, 1)["seconds"] > 0
    finally:
        worker.close()


def test_lists_of_numbers_stay_on_a_line(tmp_path):
    """And words are as they were, whatever is in them."""
    report = {"a": ["x [\n 1\n ] y", "{"], "b": [[1, 2], [3.5]], "c": [], "d": {"e": [1, 2, 3]}}
    results.write_json(tmp_path / "lists.json", report)
    assert results.read(tmp_path / "lists.json") == report
    assert "[1, 2, 3]" in (tmp_path / "lists.json").read_text()


def test_results_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "results.json"
    results.write_json(path, {"a": float("inf"), "b": [1 / 3]})
    assert results.read(path) == {"a": "inf", "b": [0.33333]}
    with pytest.raises(TypeError):
        results.write_json(path, {"a": object()})
    assert results.read(path) == {"a": "inf", "b": [0.33333]}
    assert [entry.name for entry in path.parent.iterdir()] == ["results.json"]


def test_no_run_replaces_the_results_of_another(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    for name in ("run.json", "run-2.json", "run-3.json"):
        path = results.fresh("run")
        assert path == tmp_path / name
        results.write_json(path, {})


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="a process's threads are counted as Linux shows them")
def test_numpy_leaves_the_cores_to_the_libraries():
    """Its threads stay awake after they have computed what is right, on the cores of the library that goes first."""
    code = "import benchmarks.data, os, numpy as np; np.ones((400, 400)) @ np.ones((400, 400));"
    code += "print(len(os.listdir('/proc/self/task')))"
    environment = {name: value for name, value in os.environ.items() if "_NUM_THREADS" not in name}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout == "1\n", run.stderr


def test_command_runs_pyconv_alone_on_one_layer(tmp_path):
    out = tmp_path / "run.json"
    words = ["--peers", "pyconv", "--list", "tiny", "--layer", "2x2 s2 1, 4x4", "--threads", 1, "--quick", "--out", out]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(out.read_text())
    assert {row["name"]: row["results"]["pyconv"]["status"] for row in report["rows"]} == {
        "2x2 s2 1, 4x4": "ok",
        "pool 2x2 s2 1, 4x4": "ok",
    }
    assert all(row["implementation"] for row in report["rows"])
    assert report["ceilings"]["copy_bytes_per_second"] > 0
    page = out.with_suffix(".md").read_text()
    assert "## tiny" in page
    assert page in run.stdout  # of many rows only the summary


def test_a_long_table_is_left_in_its_file():
    from benchmarks.__main__ import _short

    page = "# Benchmark\n\n## Summary\n\nall\n\n## tiny\n\nrows\n"
    assert _short(page, 2) == page
    assert _short(page, 100) == "# Benchmark\n\n## Summary\n\nall\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--peers", "tensorflow"], "there is no peer 'tensorflow'"),
        (["--list", "alexnet"], "there is no list alexnet"),
        (["--threads", "0"], "--threads must be at least 1"),
    ],
)
def test_command_refuses_what_it_does_not_know(words, message, capsys):
    from benchmarks.__main__ import main

    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err
