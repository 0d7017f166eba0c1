"""Run the tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer, for every instruction set.

Usage: ``sanitize.py [PYTEST ARGUMENT...]``; arguments go to every run of pytest (a ``-k`` takes the place of ours, and
tests that go through the instruction sets themselves then do so in each run). The build lies in build/sanitize and
leaves the ordinary one alone. A thread's scratch memory ends there exactly where a task said it would, and is NaN where
the task has not written it (pyconv/_core/kernels/process.c).

Tests are run in parts, one for each core at a time. What one goes through on every instruction set, no other repeats.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "sanitize"
CHECKS = "address,undefined"

LEFT_OUT = {
    "test_*benchmark*.py": "starts other libraries; runs no kernel that others do not",
    "test_cuda*.py": "runs CUDA sources, which are compiled apart",
    "test_cli*.py": "reads and writes files; runs no kernel that others do not",
    "test_conformance.py": "test_kernels.py makes the same checks, on every instruction set",
    "test_gpu_tools.py": "looks at tools",
    "test_packaging.py": "looks at what is shipped, and at what an import loads",
    "test_readme.py": "looks at documents",
    "test_reference.py": "runs Python alone",
    "test_structure.py": "looks at sources, and at what an import loads",
    "test_third_party.py": "runs Python backends",
    "test_torch_parity*.py": "torch is not instrumented, and brings threads of its own",
}
"""Tests that the sanitizers have nothing to say of, and why."""

EVERY_SET = (
    ("test_implementations.py", "test_channels.py", "test_batch_norm.py"),
    ("test_separable.py", "test_pooling1d.py"),
    ("test_fused.py", "test_transposed*.py"),
    ("test_kernels.py", "test_winograd*.py", "test_random_sweep.py"),
    ("test_activation_accuracy.py", "test_pool_kernels.py", "test_pool_past_caches.py"),
)
"""Parts whose tests go through the instruction sets themselves, or hold them against each other."""

ONCE = ("test_known_calls.py", "test_survive*.py", "test_bad_*.py", "test_fft.py")
"""Parts that are about calls, processes and Python's tasks, on the best instruction set alone: the kernels are those of
the other parts."""

OTHERWISE = {
    "test_largest_errors_are_what_was_measured": "the compiler makes fewer multiply-adds of products and sums here",
    "test_places_of_former_errors": "likewise",
    "test_helpers_with_small_stacks": "the checks take more of a stack than the kernels",
}
"""Tests of the ordinary build alone, and why."""

OPTIONS = {
    # leaks: the interpreter's own would drown everything; large requests are answered with NULL, which is tested
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}

OVERREAD = """
import numpy as np, pyconv
beyond = np.lib.stride_tricks.as_strided(np.ones(4000, np.float32), (4001,))
pyconv.functional.relu(beyond, backend="cpu")
"""
"""What must end the process, if the checks are there."""


class Run(NamedTuple):
    """One run of pytest."""

    name: str
    settings: dict[str, str]
    arguments: list[str]


def runtime_libraries() -> str:
    """What has to be loaded before Python, for LD_PRELOAD; exits where the compiler has no sanitizers."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    found = []
    # the C++ library too: the sanitizer looks for its functions once, at the start
    for name in ("libasan.so", "libubsan.so", "libstdc++.so.6"):
        where = subprocess.run([*compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True)
        path = where.stdout.strip()
        if not os.path.isabs(path):
            sys.exit(f"sanitize: {compiler[0]} has no {name}; install its sanitizers (on Debian they come with gcc)")
        found.append(os.path.realpath(path))
    return " ".join(found)


def build() -> Path:
    """Build the package with the checks; where it lies."""
    for old in BUILD.glob("lib*"):  # a module that is gone must not stay; objects are elsewhere
        shutil.rmtree(old)
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-base", str(BUILD)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYCONV_SANITIZE": CHECKS}, check=True)
    (library,) = BUILD.glob("lib*")
    return library


def _without(*words: str) -> str:
    """Pytest's expression for tests whose names have none of these words."""
    return " and ".join(f"not {word}" for word in words)


def runs(names: list[str], arguments: list[str]) -> list[Run]:
    """Every part with the best instruction set; below it, what neither goes through all of them nor is done once."""
    tests = ROOT / "tests"
    # capture=sys: what the sanitizers write as the process ends would be lost otherwise
    common = ["--quiet", "--capture=sys", "-p", "no:cacheprovider", "-k", _without(*OTHERWISE)]

    def found(*patterns: str) -> list[str]:
        return sorted(str(path) for pattern in patterns for path in tests.glob(pattern))

    kept = set(found("test_*.py")).difference(found(*LEFT_OUT))
    rest = sorted(kept.difference(*(found(*patterns) for patterns in EVERY_SET)))
    best = names[-1]
    made = [Run(f"{best}, all others", {}, [*common, *rest])]  # the longest first
    made += [Run(f"{best}, {', '.join(patterns)}", {}, [*common, *found(*patterns)]) for patterns in EVERY_SET]
    own = ["-k", _without(*names, *OTHERWISE)]
    below = sorted(kept.difference(found(*ONCE)))
    made += [Run(name, {"PYCONV_CPU_ISA": name}, [*common, *own, *below]) for name in reversed(names[:-1])]
    return [run._replace(arguments=[*run.arguments, *arguments]) for run in made]


def main(arguments: list[str]) -> int:
    """Build, run, print what was found; 1 if a run failed."""
    preload = runtime_libraries()
    start = perf_counter()
    library = build()
    print(f"sanitize: built in {perf_counter() - start:.0f} s; not run: {', '.join(LEFT_OUT)}", flush=True)
    environment = {
        **os.environ,
        **OPTIONS,
        "LD_PRELOAD": preload,
        "PYTHONPATH": str(library),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def python(words: list[str], settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=BUILD,
            env={**environment, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def test(run: Run) -> int:
        begun = perf_counter()
        done = python(["-m", "pytest", *run.arguments], run.settings)
        nothing = done.returncode == 5 and bool(arguments)  # pytest's word for arguments that leave no test in a part
        words = done.stdout if done.returncode and not nothing else done.stdout.strip().rpartition("\n")[2]
        print(f"===== {run.name}, {perf_counter() - begun:.0f} s: {words}", flush=True)
        return 0 if nothing else done.returncode

    code = "from pyconv.backends.cpu import isa; print(isa.__file__, *isa.names())"
    found = python(["-c", code], {})
    where, *names = found.stdout.split() or [""]
    if found.returncode or not where.startswith(str(library)):
        print(f"sanitize: the build cannot be used:\n{found.stdout}", file=sys.stderr)
        return 1
    if "AddressSanitizer" not in python(["-c", OVERREAD], {}).stdout:
        print("sanitize: the checks do not see a read past the end of an array", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a run of pytest is mostly one thread
        failed = any(list(pool.map(test, runs(names, arguments))))
    print(f"sanitize: {'FAILED' if failed else 'passed'} in {perf_counter() - start:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
