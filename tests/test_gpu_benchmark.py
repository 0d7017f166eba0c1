"""The benchmark for GPUs, on the stand-in: what it finds wrong, leaves out, and makes of its numbers."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import ROOT
from test_packaging import load_tool

sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from stand_in import missing

from benchmarks.gpu import ceilings, classes, entries, host, measure, own, peers
from benchmarks.gpu import report as reports
from benchmarks.gpu.__main__ import RESULTS, main
from benchmarks.gpu.device import Device, spread
from benchmarks.gpu.rehearsal import Rehearsal
from benchmarks.gpu.rows import Row, chosen
from benchmarks.layer import activation, conv, pool
from pyconv import registry

needs_compiler = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(registry, "load", registry.load)  # which the rehearsal replaces
    monkeypatch.setattr(registry, "_selected", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Rehearsal()


def test_rows():
    """Every class is met, at both batch sizes, near the beginning too; no row comes twice."""
    rows = chosen(tiny=False)
    assert len(rows) == len(set(rows)) > 200
    wanted = {(kind, batch) for kind in ("dense", "depthwise", "pool", "activation") for batch in (1, 32)}
    assert {(row.kind, row.layer.shape[0]) for row in rows[:100]} == wanted
    assert {row.precision for row in rows if row.kind == "dense"} == {"fp32", "tf32", "bf16"}
    assert {row.list for row in rows} >= {"resnet50", "vgg16", "mobilenetv2", "convnext", "dilated", "odd channels"}
    assert len({row.layer for row in rows if row.list == "resnet50" and row.kind == "dense"}) == 2 * 23


def test_numbers_of_any_size():
    base = np.arange(7, dtype="f4")
    for shape in ((3,), (7,), (2, 5), (4, 6)):
        got = spread(np, base, shape, 2)
        begin = 2 * 611_953 % 7
        np.testing.assert_array_equal(got.ravel(), [(begin + i) % 7 for i in range(got.size)])
        assert not np.shares_memory(got, base)
    row = Row("", conv(64, 64, 3, 56), "fp32")
    assert entries.copies(row, 50 * 2**20) * row.bytes >= 2 * 50 * 2**20
    assert entries.copies(row, 2**40) == 256


@needs_compiler
def test_a_wrong_result_is_a_failure(device, monkeypatch, tmp_path):
    """So are other bits the second time, and an exception; each leaves the other entries as they are."""
    pytest.importorskip("torch")
    makers = own.makers

    def spoilt(row, numbers, device):
        found = makers(row, numbers, device)
        entry = found["pyconv conv nchw"]()
        call, count = entry.call, []
        entry.call = lambda i: count.append(1) or device.room.array(call(i).host + 1e-3)
        again = found["pyconv conv nhwc"]()
        other, step = again.call, []
        again.call = lambda i: step.append(1) or device.room.array(other(i).host * (1 + 1e-6 * len(step)))
        broken = {"pyconv conv+bias+relu nchw": lambda: 1 / 0}
        return {**found, "pyconv conv nchw": lambda: entry, "pyconv conv nhwc": lambda: again, **broken}

    monkeypatch.setattr(own, "makers", spoilt)
    monkeypatch.setattr("benchmarks.gpu.__main__.Rehearsal", lambda: device)
    assert main(["--stand-in", "--out", str(tmp_path), "--only", "3x3 3->4, 8x8, fp32"]) == 1
    [file] = tmp_path.glob("*.json")
    report = json.loads(file.read_text())
    assert len(report["rows"]) == 1
    results = report["rows"][0]["results"]
    assert results["pyconv conv nchw"]["status"] == "wrong"
    assert results["pyconv conv nhwc"]["status"] == "ok"
    assert not results["pyconv conv nhwc"]["bitwise"]
    assert results["pyconv conv+bias+relu nhwc"]["bitwise"]
    lines = reports.failures(report)
    assert [line.partition(": ")[2].partition(": ")[::2] for line in lines] == [
        ("pyconv conv nchw", f"error {results['pyconv conv nchw']['error']:.1e}, more than 1.0e-05"),
        ("pyconv conv+bias+relu nchw", "ZeroDivisionError: division by zero"),
        ("pyconv conv nhwc", "computed again it gives other bits"),
    ]
    table = file.with_suffix(".md").read_text()
    assert all(line in table for line in lines)
    assert "| 3x3 3->4, 8x8, fp32 | conv nchw | gemm_16x128 | FAIL |" in table


@needs_compiler
def test_what_cannot_be_captured_is_said_and_in_no_ratio(device, monkeypatch, tmp_path):
    """In the row, in the table and among the failures; so is what fails while it is timed, and the others go on."""
    pytest.importorskip("torch")
    makers, of_torch = own.makers, peers.makers

    def fail(*_):
        raise RuntimeError("not in a capture")

    def spoilt(row, numbers, device):
        found = makers(row, numbers, device)
        eager, broken = (found[f"pyconv conv {layout}"]() for layout in ("nchw", "nhwc"))
        eager.capture = fail
        capture = broken.capture
        broken.capture = lambda calls: replaced(capture(calls))
        return {**found, "pyconv conv nchw": lambda: eager, "pyconv conv nhwc": lambda: broken}

    def spoilt_torch(*arguments):
        found = of_torch(*arguments)
        eager = found["torch conv nhwc"]()
        eager.capture = fail
        return {**found, "torch conv nhwc": lambda: eager}

    def replaced(replay):
        launches = iter([None])
        replay.launch = lambda: next(launches)
        return replay

    monkeypatch.setattr(own, "makers", spoilt)
    monkeypatch.setattr(peers, "makers", spoilt_torch)
    monkeypatch.setattr("benchmarks.gpu.__main__.Rehearsal", lambda: device)
    assert main(["--stand-in", "--out", str(tmp_path), "--only", "3x3 3->4, 8x8, fp32"]) == 1
    [file] = tmp_path.glob("*.json")
    report, table = json.loads(file.read_text()), file.with_suffix(".md").read_text()
    results = report["rows"][0]["results"]
    eager, broken = results["pyconv conv nchw"], results["pyconv conv nhwc"]
    assert eager["status"] == "ok"
    assert eager["eager_p10_us"] <= eager["eager_median_us"] <= eager["eager_p90_us"]
    assert "median_us" not in eager
    assert classes.ratio(report["rows"][0], "pyconv conv nchw", ["torch conv nchw"]) is None
    assert results["torch conv nhwc"]["status"] == "ok"
    assert "eager_median_us" in results["torch conv nhwc"]
    assert broken["status"] == "failed"
    assert "median_us" in results["pyconv conv+bias+relu nchw"]
    assert "user_us" in results["pyconv conv+bias+relu nchw"]
    assert "| conv nchw | gemm_16x128 | no graph (" in table
    said = [line.partition(": ")[2] for line in reports.failures(report)]
    assert said == [
        "pyconv conv nchw: its calls cannot be captured: RuntimeError: not in a capture",
        "pyconv conv nhwc: StopIteration: ",
        "torch conv nhwc: its calls cannot be captured: RuntimeError: not in a capture",
    ]


@pytest.mark.parametrize("spoilt", ["the call", "the end"])
def test_the_cause_of_a_failed_capture_is_what_is_raised(spoilt):
    """Ending a capture that became invalid raises too; that alone would not tell why."""
    ends = []

    def end():
        ends.append(1)
        raise RuntimeError("the capture is invalid")

    def calls():
        """The first time nothing is captured."""
        begun.append(1)
        if len(begun) == 2 and spoilt == "the call":
            raise ValueError("the cause")

    device = Device.__new__(Device)
    cuda = SimpleNamespace(MemoryPool=lambda: SimpleNamespace(malloc=None), using_allocator=nullcontext)
    device.xp = SimpleNamespace(cuda=cuda)
    device.stream = SimpleNamespace(synchronize=lambda: None, begin_capture=lambda: None, end_capture=end)
    graph = SimpleNamespace(capture_begin=lambda: None, capture_end=end)
    torch = SimpleNamespace(cuda=SimpleNamespace(CUDAGraph=lambda: graph))
    for capture in (device.capture, partial(device.capture_torch, torch)):
        begun = []
        with pytest.raises((ValueError, RuntimeError), match="the cause" if spoilt == "the call" else "is invalid"):
            capture(calls)
    assert len(ends) == 2


@needs_compiler
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_was_measured_is_kept(device, monkeypatch, tmp_path, error):
    """Parts of the host time before one that fails; and rows before whatever ends the run."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("benchmarks.gpu.__main__.Rehearsal", lambda: device)
    each, parts = host._each, []

    def until_the_third(device, function):
        parts.append(each(device, function))
        if len(parts) == 3:
            raise error("no more")
        return parts[-1]

    monkeypatch.setattr(host, "_each", until_the_third)
    words = ["--stand-in", "--out", str(tmp_path), "--only", "pool"]
    if error is RuntimeError:
        assert main(words) == 1
    else:
        with pytest.raises(error):
            main(words)
    [file] = tmp_path.glob("*.json")
    report, table = json.loads(file.read_text()), file.with_suffix(".md").read_text()
    kept = [value for cases in report["host"].values() for value in cases.values()]
    assert sorted(kept) == pytest.approx(sorted(parts[:2]), rel=1e-3)
    assert f"| {parts[0]:.1f} |" in table
    assert isinstance(report["ceilings"]["copy GB/s"], float)
    if error is RuntimeError:
        assert len(report["rows"]) == 1
        assert "The rest was not measured (RuntimeError: no more)." in table
        assert "FAIL host time: pyconv: RuntimeError: no more" in table
    assert len(report["rows"]) + len(report["left_out"]) == len(chosen(True))


@needs_compiler
def test_it_runs_without_torch_and_stops_in_time(device, monkeypatch, tmp_path):
    """Errors are against float64 all the same; what is left out is said."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("benchmarks.gpu.__main__.Rehearsal", lambda: device)
    assert main(["--stand-in", "--out", str(tmp_path), "--only", "pool"]) == 0
    [file] = tmp_path.glob("*.json")
    report = json.loads(file.read_text())
    assert report["machine"]["torch"] == "not installed"
    assert report["ceilings"]["cuBLAS tf32 TFLOP/s"].startswith("not measured (")
    assert [list(row["results"]) for row in report["rows"]] == [["pyconv op nchw"]]
    assert main(["--stand-in", "--out", str(tmp_path), "--seconds", "0"]) == 0
    report = json.loads(file.read_text())
    assert report["rows"] == []
    [words, *_] = report["notes"]
    assert words == f"the time was up: the last {len(chosen(True))} of {len(chosen(True))} rows were left out"
    assert all(outcome.value is None for outcome in classes.outcomes(report))
    assert "| not measured |" in file.with_suffix(".md").read_text()


@needs_compiler
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_float64_without_torch_is_the_same(device, precision):
    torch = pytest.importorskip("torch")
    pytest.importorskip("ml_dtypes")

    row = Row("", conv(3, 4, 3, 8), precision)
    numbers = entries.made(row, device, 1)
    for one, other in zip(own.exact(row, numbers, device), peers.exact(torch, row, numbers, device), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_a_rehearsal_is_no_result():
    with pytest.raises(SystemExit):
        main(["--stand-in", "--out", str(RESULTS)])


def row_of(layer, precision, **results) -> dict:
    row = Row("resnet50", layer, precision)
    return {
        "list": row.list, "name": row.name, "kind": row.kind, "precision": precision, "batch": layer.shape[0],
        "bytes": row.bytes, "results": {name.replace("_", " "): found for name, found in results.items()},
    }  # fmt: skip


def test_classes():
    """Peer's time over pyconv's, the quicker of the peer's ways, if none of those that were tried was lost."""

    def ok(time: float) -> dict:
        return {"status": "ok", "median_us": time, "user_us": 3 * time}

    rows = [
        row_of(conv(8, 8, 3, 8), "fp32", pyconv_conv_nchw=ok(2), torch_conv_nchw=ok(3), torch_conv_nhwc=ok(1)),
        row_of(
            conv(8, 8, 3, 8), "tf32", **{"pyconv_conv+bias+relu_nchw": ok(2), "torch_conv+bias+relu_nhwc": ok(8),
            "pyconv-wgmma_conv+bias+relu_nchw": ok(1),
            "torch_fused_conv+bias+relu_nhwc": ok(4), "torch_conv+bias+relu_nchw": ok(5)},
        ),
        row_of(conv(8, 8, 3, 8, groups=8), "fp32", pyconv_conv_nchw={"status": "wrong"}, torch_conv_nchw=ok(1)),
        row_of(pool(8, 2, 8, stride=2), "fp32", pyconv_op_nchw=ok(5), torch_op_nchw=ok(6)),
        row_of(activation("relu", 25, 100), "fp32", pyconv_op_nchw=ok(1)),
    ]  # fmt: skip
    rows[-1]["batch"] = 32
    case = next(iter(host.CASES))
    found = classes.outcomes({"rows": rows, "ceilings": {"copy GB/s": 4000.0}, "host": {"layer(x)": {case: 12.0}}})
    got = [outcome.value for outcome in found]
    assert got == [1.5, 2.0, None, 4.0, None, 2.5, None, 1.2, None, 0.5, 12.0]
    for spoilt in ({"status": "failed", "reason": ""}, {"status": "ok", "graph": "", "eager_median_us": 1.0}):
        fused = {"torch fused conv+bias+relu nhwc": spoilt}  # the slower peer alone would flatter
        lost_one = {**rows[1], "results": {**rows[1]["results"], **fused}}
        report = {"rows": [lost_one], "ceilings": {}}
        assert [(each.value, each.asked) for each in classes.outcomes(report)][1:4:2] == [(None, 2), (None, 2)]
    counts = [(outcome.count, outcome.asked) for outcome in found]
    assert counts == [(1, 4), (1, 2), (0, 2), (1, 2), (0, 2), (1, 1), (0, 2), (1, 1), (0, 1), (1, 1), (1, 5)]
    lost = "incomplete"  # what was measured would do, but some of it failed or is missing
    assert [each.verdict for each in found] == [
        lost, lost, "", lost, "", "reached", "", "missed", "", "missed", "missed"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        (None, "reached"),
        ({"status": "failed", "reason": ""}, "incomplete"),
        ({"status": "missing", "reason": ""}, "incomplete"),
        ({"status": "ok", "graph": "", "eager_median_us": 2.0}, "incomplete"),
        ("left out", "incomplete"),
    ],
)
def test_a_class_that_lost_a_row_is_not_reached(lost, verdict):
    """Whether it failed, is missing, was timed without a graph on one of both sides, or was never begun."""
    good = {"status": "ok", "median_us": 2.0}, {"status": "ok", "median_us": 3.0}
    for mine, peer in ((lost or good[0], good[1]), (good[0], lost or good[1])):
        rows = [row_of(pool(8, n, 8, stride=2), "fp32", pyconv_op_nchw=good[0], torch_op_nchw=good[1]) for n in (2, 3)]
        left = []
        if lost == "left out":
            left = [{**rows.pop(), "results": {}}]
        else:
            rows[1]["results"] = {"pyconv op nchw": mine, "torch op nchw": peer}
        report = {"rows": rows, "left_out": left, "ceilings": {}, "machine": {}, "notes": []}
        [outcome] = [each for each in classes.outcomes(report) if each.name.startswith("max pooling")]
        assert (outcome.value, outcome.asked, outcome.verdict) == (1.5, 2, verdict)


def test_errors_are_against_the_sum_of_sizes():
    wanted = entries.Exact(np.full((1, 1, 1, 2), 3.0), np.full((1, 1, 1, 2), 10.0), np.array([-4.0]))
    entry = entries.Entry("", "", lambda i: None, lambda a: a, lambda c: None)
    assert measure._error(np, np.full((1, 1, 1, 2), 3.5), entry, wanted) == pytest.approx(0.05)
    assert measure._error(np, np.full((1, 1, 1, 2), np.nan), entry, wanted) == np.inf
    entry.relu = True
    assert measure._error(np, np.full((1, 1, 1, 2), 0.7), entry, wanted) == pytest.approx(0.05)


def test_ceilings_compile():
    tool = load_tool("cuda_check")
    if tool.nvrtc() is None:
        pytest.skip("there is no NVRTC here")
    assert {kernel.architecture for kernel in ceilings.probes()} == {None, "sm_90a"}
    for kernel in ceilings.probes():
        for architecture in [kernel.architecture] if kernel.architecture else tool.ARCHITECTURES:
            compiled, log = tool.compile_kernel(kernel, architecture)
            assert compiled, log
            assert tool.usage(log).spills == 0
