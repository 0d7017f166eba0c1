"""The tools for GPUs, as far as they go without one: what make gpu does, and how cuda-check reads the compiler."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT
from test_packaging import load_tool

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from stand_in import missing

from pyconv.backends.cuda import elementwise
from pyconv.backends.cuda.configurations import configurations
from pyconv.backends.cuda.kernel import Kernel

OTHERS = ("depthwise", "pool", "activation")


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_make_gpu_is_rehearsed(tmp_path):
    """Tests, small set and benchmark from end to end, on the stand-in; results in the folder that was named."""
    command = [sys.executable, "tools/gpu.py", "--stand-in", "--only", "info,sanitizer,bench", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("info         passed", "small set    passed", "small set, by wgmma passed", "bench        passed"):
        assert line in done.stdout
    [results] = tmp_path.glob("gpu-*.json")
    report = json.loads(results.read_text())
    kinds = [(row["kind"], row["precision"]) for row in report["rows"]]
    assert set(kinds) == {*product(["dense"], ["fp32", "tf32", "bf16"]), *product(OTHERS, ["fp32"])}
    own = [each for row in report["rows"] for each in row["results"].items() if each[0].startswith("pyconv")]
    whats = [f"{what} {layout}" for what in ("conv", "conv+bias+relu") for layout in ("nchw", "nhwc")]
    libraries = ("pyconv", "pyconv-wgmma")
    assert {name for name, _ in own} == {f"{library} {what}" for library in libraries for what in whats} | {
        "pyconv op nchw"
    }
    ran = {found["ran"].partition("_")[0] for _, found in own if found["status"] == "ok"}
    assert ran >= {"tensor", "wgmma"}
    assert all(found["status"] == "missing" or (found["bitwise"] and found["ran"]) for _, found in own)
    assert all(isinstance(value, float) for name, value in report["ceilings"].items() if "cuBLAS" not in name)
    table = results.with_suffix(".md").read_text()
    assert all(row["name"] in table for row in report["rows"])
    assert "## Failures\n\nnone" in table
    assert "without launch and memory" in report["host"]


@pytest.fixture
def gpu(monkeypatch):
    return load_tool("gpu")


def planned(tool, **options) -> list:
    parts = options.pop("parts", list(tool.PARTS))
    return list(tool.jobs(parts, options.pop("stand_in", False), Path("results")))


def test_make_gpu_goes_on_without_what_is_missing(gpu, monkeypatch):
    monkeypatch.setattr(gpu, "sanitizer", lambda: None)
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    made = planned(gpu)
    assert [job.name for job in made if isinstance(job, gpu.Missing)] == ["tests", "sanitizer"]
    assert [job.name for job in made if isinstance(job, gpu.Job)] == ["build", "info", "conformance", "bench"]
    monkeypatch.undo()
    monkeypatch.setattr(gpu, "sanitizer", lambda: "/somewhere/compute-sanitizer")
    monkeypatch.setattr(gpu, "not_hopper", lambda: "it is another GPU")
    made = planned(gpu, parts=["tests", "sanitizer"])
    assert [job.name for job in made if isinstance(job, gpu.Missing)] == ["by wgmma", "by wgmma"]
    assert not any("by wgmma" in job.name for job in made if isinstance(job, gpu.Job))


def test_what_make_gpu_does_by_wgmma_cannot_pass_without(gpu, monkeypatch):
    """The small set fails where its kernels are not launched; no test passes with the warning that others run."""
    monkeypatch.setattr(gpu, "sanitizer", lambda: "/somewhere/compute-sanitizer")
    monkeypatch.setattr(gpu, "not_hopper", lambda: None)
    jobs = [job for job in planned(gpu) if "by wgmma" in job.name]
    assert len(jobs) == 1 + len(gpu.SANITIZER_TOOLS)
    for job in jobs:
        assert job.command[:2] == ["env", "PYCONV_CUDA_WGMMA=on"]
        assert "--wgmma" in job.command or "error::pyconv.errors.BackendWarning" in job.command


@pytest.mark.parametrize("launches", ["conv_wgmma", "conv_tensor"])
def test_the_small_set_by_wgmma_wants_its_launches(monkeypatch, capsys, launches):
    tool = load_tool("gpu_small_set")
    room = SimpleNamespace(launcher=lambda launch: lambda arguments: None)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(set_allocator=lambda none: None)))
    monkeypatch.setattr(tool.registry, "load", lambda name: SimpleNamespace(_room=room))
    launch = SimpleNamespace(kernel=SimpleNamespace(name=launches))
    monkeypatch.setattr(tool.testing, "check", lambda case, backend: room.launcher(launch)(None))
    with warnings.catch_warnings():
        assert tool.main(["--wgmma"]) == (launches != "conv_wgmma")
    said = capsys.readouterr().out
    assert ("only conv_tensor" in said) == (launches == "conv_tensor")
    assert "max_pool2d" not in said


def test_make_gpu_names_all_parts(gpu, monkeypatch):
    monkeypatch.setattr(gpu, "sanitizer", lambda: "/somewhere/compute-sanitizer")
    monkeypatch.setattr(gpu, "not_hopper", lambda: None)
    names = [job.name for job in planned(gpu)]
    sanitized = [f"{name}{way}" for name in gpu.SANITIZER_TOOLS for way in ("", ", by wgmma")]
    assert names == ["build", "info", "conformance", "by wgmma", "device", *sanitized, "bench"]
    assert [job.name for job in planned(gpu, parts=["bench"])] == ["bench"]
    for job in planned(gpu):  # every file that a command names is there
        assert all((ROOT / word).exists() for word in job.command if word.startswith(("tests/", "tools/")))


def test_make_gpu_says_what_failed(gpu, capfd, monkeypatch):
    job = gpu.Job("broken", [sys.executable, "-c", "raise SystemExit(3)"], 30)
    slow = gpu.Job("slow", [sys.executable, "-c", "import time; time.sleep(60)"], 0.2)
    absent = gpu.Job("absent", ["/nowhere/at/all"], 30)
    second = absent._replace(name="second", otherwise=(sys.executable, "-c", ""))
    monkeypatch.setattr(gpu, "jobs", lambda *arguments: iter([job, slow, absent, second]))
    assert gpu.main(["--stand-in"]) == 1
    said = capfd.readouterr().out
    for words in (
        "broken       FAILED with 3",
        "slow         FAILED: not done after",
        "absent       FAILED: ",
        "second       passed, the second way",
    ):
        assert words in said


LOG = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'conv_gemm' for 'sm_90'
ptxas info    : Function properties for conv_gemm
ptxas         .     16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 127 registers, used 1 barriers, 16384 bytes smem
"""


def test_what_the_compiler_says():
    tool = load_tool("cuda_check")
    assert tool.usage(LOG) == (127, 16384, 16, 20)
    with pytest.raises(ValueError, match="does not tell the registers"):
        tool.usage("")


def test_limits():
    tool = load_tool("cuda_check")
    kernels = {each.name: each for each in configurations()}
    assert set(kernels) == {name.partition(" ")[0] for name in tool.LIMITS}
    pool = kernels["max_pool"]
    assert tool.problem(pool, tool.Usage(64, 0, 0, 0)) is None
    for used, words in [
        (tool.Usage(65, 0, 0, 0), "65 registers, the limit is 64"),
        (tool.Usage(64, 4, 0, 0), "4 bytes of shared memory"),
        (tool.Usage(64, 0, 0, 8), "8 bytes of spills"),
        (tool.Usage(64, 0, 8, 0), "8 of stack"),
    ]:
        assert words in tool.problem(pool, used)
    double = next(each for each in configurations() if each.name == "conv_gemm" and "-DDTYPE=FLOAT64" in each.options)
    assert tool.problem(double, tool.Usage(200, 0, 0, 0)) is None
    single = next(each for each in configurations() if each.name == "conv_gemm" and "-DDTYPE=FLOAT32" in each.options)
    assert "the limit is 168" in tool.problem(single, tool.Usage(200, 0, 0, 0))


def test_progress_is_told_once_for_every_two_hundred(monkeypatch, capsys):
    """Of what was compiled, also among kernels for one architecture alone."""
    tool = load_tool("cuda_check")
    kernels = [Kernel("pack", (("N", str(i)),), architecture="sm_90a" if i % 2 else None) for i in range(202)]
    monkeypatch.setattr(tool, "nvrtc", object)
    monkeypatch.setattr(tool, "configurations", lambda: kernels)
    monkeypatch.setattr(tool, "check", lambda job: (tool.Usage(8, 0, 0, 0), None))
    monkeypatch.setattr(tool, "ProcessPoolExecutor", lambda count, context: ThreadPoolExecutor(1))
    assert tool.main([]) == 0
    told = [line.partition(" after")[0] for line in capsys.readouterr().out.splitlines() if " after" in line]
    assert told == ["(200 of 505", "(400 of 505"]


def test_a_kernel_under_the_compiler():
    """One, where there is NVRTC; cuda-check compiles all of them."""
    tool = load_tool("cuda_check")
    if tool.nvrtc() is None:
        pytest.skip("there is no NVRTC here")
    kernel = next(elementwise.kernels())
    for architecture in tool.ARCHITECTURES:
        used, problem = tool.check((kernel, architecture))
        assert problem is None
        assert 0 < used.registers <= 64
    broken = type(kernel)("elementwise", (*kernel.defines[:-1], ("ACTIVATION", "nonsense_of")))
    compiled, log = tool.compile_kernel(broken, "sm_90")
    assert not compiled
    assert "activation.cuh(" in log
    assert "nonsense_of" in log
