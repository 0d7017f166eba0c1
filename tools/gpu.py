"""Everything that needs a GPU, one part after another; what is missing is said and left out. No network is needed.

Usage: ``gpu.py [--only PARTS] [--stand-in] [--out FOLDER]``, where PARTS is a comma list of build, info, tests,
sanitizer, bench. ``--stand-in`` rehearses all of it on a machine without a GPU. Exit status 1 if a part failed.
"""

from __future__ import annotations

import argparse
import glob
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("build", "info", "tests", "sanitizer", "bench")
SANITIZER_TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
SANITIZERS = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/nvidia/**")


class Job(NamedTuple):
    """A command, its name, how long it may take, whether the whole fails with it, and what to try if it does."""

    name: str
    command: list[str]
    seconds: float
    needed: bool = True
    otherwise: tuple[str, ...] = ()


class Missing(NamedTuple):
    """A part that cannot run here, and why."""

    name: str
    reason: str


def sanitizer() -> str | None:
    """compute-sanitizer, from the PATH or where CUDA's toolkit and profilers put it."""
    found = shutil.which("compute-sanitizer")
    places = (path for folder in SANITIZERS for path in glob.iglob(f"{folder}/compute-sanitizer", recursive=True))
    return found or next((path for path in places if os.access(path, os.X_OK) and os.path.isfile(path)), None)


def jobs(parts: list[str], stand_in: bool, out: Path) -> Iterator[Job | Missing]:
    """What is to be done, in order."""
    python = sys.executable
    if "build" in parts:
        install = [python, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--editable", "."]
        in_place = [python, "setup.py", "--quiet", "build_ext", "--inplace"]
        # without the compiled core the CUDA backend works all the same
        yield Job("build", in_place if stand_in else install, 600, needed=False, otherwise=tuple(in_place))
    if "info" in parts:
        yield Job("info", [python, "-m", "pyconv", "info"], 60, needed=False)
    if "tests" in parts:
        yield from tests(python, stand_in)
    if "sanitizer" in parts:
        yield from sanitized(python, stand_in)
    if "bench" in parts:
        more = ["--stand-in"] if stand_in else []
        yield Job("bench", [python, "-m", "benchmarks.gpu", "--out", str(out), *more], 600)


_BY_WGMMA = ["env", "PYCONV_CUDA_WGMMA=on"]
"""What a command begins with to use Hopper's products."""


def not_hopper() -> str | None:
    """The reason why wgmma is for none of the GPUs here, or None."""
    try:
        from cupy.cuda import runtime

        count = runtime.getDeviceCount()
        found = {tuple(runtime.getDeviceProperties(i)[key] for key in ("major", "minor")) for i in range(count)}
    except Exception as error:  # CuPy's, the driver's: of whatever kind
        return f"CuPy finds no GPU ({error})"
    return None if found == {(9, 0)} else "not every GPU has compute capability 9.0"


def tests(python: str, stand_in: bool) -> Iterator[Job | Missing]:
    """The conformance list, and what only a device can show."""
    if find_spec("pytest") is None:
        code = "import pyconv.testing; print(pyconv.testing.check_backend('cuda'))"
        yield Missing("tests", "pytest is not installed; the conformance list alone runs")
        if not stand_in:
            yield Job("conformance", [python, "-c", code], 300)
        return
    pytest = [python, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    if stand_in:
        chosen = "test_device_arrays_in_and_out or test_streams or test_bad_use"
        yield Job("device", [*pytest, "tests/test_cuda_arrays.py", "tests/test_cuda_device.py", "-k", chosen], 300)
        return
    yield Job("conformance", [*pytest, "tests/test_conformance.py", "-k", "test_case and cuda-"], 300)
    if reason := not_hopper():
        yield Missing("by wgmma", reason)
    else:  # no test may pass because other kernels took the place of wgmma's
        strict = ["-W", "error::pyconv.errors.BackendWarning"]
        listed = ["tests/test_conformance.py", "-k", "test_case and cuda- and conv2d"]
        yield Job("by wgmma", [*_BY_WGMMA, *pytest, *strict, *listed], 300)
    yield Job("device", [*pytest, "tests/test_cuda_arrays.py", "tests/test_cuda_device.py"], 300)


def sanitized(python: str, stand_in: bool) -> Iterator[Job | Missing]:
    """A small set of cases under compute-sanitizer."""
    script = [python, "tools/gpu_small_set.py", *(["--stand-in"] if stand_in else [])]
    if stand_in:
        yield Job("small set", script, 120)
        yield Job("small set, by wgmma", [*_BY_WGMMA, *script, "--wgmma"], 120)
        return
    program = sanitizer()
    if program is None:
        yield Missing("sanitizer", "there is no compute-sanitizer")
        return
    if reason := not_hopper():
        yield Missing("by wgmma", reason)
    for tool in SANITIZER_TOOLS:
        command = [program, f"--tool={tool}", "--error-exitcode=9", "--print-limit=5", *script]
        yield Job(tool, command, 240)
        if reason is None:
            yield Job(f"{tool}, by wgmma", [*_BY_WGMMA, *command, "--wgmma"], 240)


def run(job: Job) -> tuple[str, float]:
    """What became of a job, and its seconds."""
    print(f"\n===== {job.name}: {' '.join(job.command)}", flush=True)
    begin = perf_counter()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    try:
        status = subprocess.run(job.command, cwd=ROOT, env=environment, timeout=job.seconds).returncode
        outcome = "passed" if status == 0 else f"FAILED with {status}"
    except subprocess.TimeoutExpired:
        outcome = f"FAILED: not done after {job.seconds:.0f} s"
    except OSError as error:
        outcome = f"FAILED: {error}"
    if outcome != "passed" and job.otherwise:
        again, seconds = run(job._replace(command=list(job.otherwise), otherwise=()))
        return (again if again != "passed" else f"passed, the second way ({outcome} the first)"), seconds
    return outcome, perf_counter() - begin


def main(words: list[str] | None = None) -> int:
    """Run the parts, then say in a table what became of each."""
    parser = argparse.ArgumentParser(prog="gpu.py", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help=f"comma list of {', '.join(PARTS)}")
    parser.add_argument("--stand-in", action="store_true", help="rehearse without a GPU")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the benchmark's results go")
    options = parser.parse_args(words)
    parts = [part.strip() for part in options.only.split(",") if part.strip()]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    folder = tempfile.mkdtemp(prefix="pyconv-gpu-") if options.stand_in else ROOT / "benchmarks" / "results"
    failed, lines = False, []
    for job in jobs(parts, options.stand_in, (options.out or Path(folder)).resolve()):
        if isinstance(job, Missing):
            print(f"\n===== {job.name}: left out: {job.reason}", flush=True)
            lines.append(f"{job.name:12} left out: {job.reason}")
            continue
        outcome, seconds = run(job)
        failed |= job.needed and not outcome.startswith("passed")
        lines.append(f"{job.name:12} {outcome} ({seconds:.0f} s)")
    print("\n" + "\n".join(lines))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
