"""Cross-compile pyconv for 64-bit ARM, look at its hot loops, and run the kernels' tests under qemu's user emulation.

Usage: ``aarch64.py [PYTEST ARGUMENT...]``. Needs Debian's cross compiler and qemu; without them it says so and does
nothing. Python for arm64 comes from Debian's archive and NumPy from the package index, into build/aarch64; nothing is
installed. An emulator proves results, and a disassembly that the loops are vectors in registers; neither proves speed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from hot_loops import look

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "aarch64"
SYSTEM = BUILD / "root"
SITE = BUILD / "site"
TRIPLET = "aarch64-linux-gnu"
TESTS = (
    "test_activation_accuracy.py",
    "test_kernels*.py",
    "test_pool_kernels.py",
    "test_random_sweep.py",
    "test_separable.py",
    "test_transposed.py",
    "test_winograd*.py",
)
"""What goes through the kernels. Layers, backends and the way of a call are the same on every machine."""
REQUIREMENTS = ("numpy", "pytest", "hypothesis", "threadpoolctl")
GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


def say(text: str) -> None:
    """Print a line that says who speaks, at once."""
    print(f"aarch64: {text}", flush=True)


def missing() -> str | None:
    """What this machine lacks, with the command that helps; None if it has all."""
    lacking = [name for name in (f"{TRIPLET}-gcc", f"{TRIPLET}-objdump") if shutil.which(name) is None]
    if emulator() is None:
        lacking.append("qemu-aarch64")
    if lacking:
        return f"there is no {', '.join(lacking)}; on Debian: apt-get install gcc-{TRIPLET} qemu-user"
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "Python for arm64 is taken from Debian's archive, and this system has no apt-get"
    return None


def emulator() -> str | None:
    """The emulator's path."""
    return shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")


def command(words: list[str], **environment: str) -> str:
    """Run a program that must succeed; its output."""
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        say(f"{' '.join(words[:3])} ... failed:\n{done.stdout}{done.stderr}")
        sys.exit(1)
    return done.stdout


def fetch() -> str:
    """Have Debian's Python and its libraries, and NumPy and pytest, for arm64; the version of Python."""
    apt = BUILD / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()  # an empty one: nothing is installed on that machine
    settings = {
        "Dir::State": apt / "state",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    command(["apt-get", *options, "update"])
    shown = command(["apt-cache", *options, "show", "python3-minimal"])
    found = re.search(r"^Version: (\d+\.\d+)", shown, re.MULTILINE)
    if found is None:
        say("Debian's archive has no Python for arm64")
        sys.exit(1)
    version = found[1]
    names = [f"python{version}-minimal", f"libpython{version}-stdlib", f"libpython{version}-dev", "libgomp1"]
    flags = ["--yes", "--no-install-recommends", "--download-only"]
    command(["apt-get", *options, "install", *flags, *names, "libstdc++6"])
    for archive in sorted((apt / "cache" / "archives").glob("*.deb")):
        command(["dpkg-deb", "--extract", str(archive), str(SYSTEM)])
    platforms = [word for name in GLIBC for word in ("--platform", f"{name}_aarch64")]
    target = ["--target", str(SITE), "--only-binary=:all:", "--python-version", version, *platforms]
    command([sys.executable, "-m", "pip", "install", "--quiet", *target, *REQUIREMENTS])
    return version


def build(version: str) -> tuple[Path, list[Path]]:
    """Cross-compile: the package's folder, and the kernels' object files."""
    (BUILD / "config").mkdir(exist_ok=True)
    name = f"_sysconfigdata__{TRIPLET}"
    shutil.copy(SYSTEM / "usr" / "lib" / f"python{version}" / f"{name}.py", BUILD / "config")
    base = BUILD / "package"
    shutil.rmtree(base, ignore_errors=True)
    folders = (
        SYSTEM / "usr" / "include" / f"python{version}",
        SYSTEM / "usr" / "include",
        SITE / "numpy/_core/include",
    )
    # what Python's own build system uses to make extensions for another machine
    command(
        [sys.executable, "setup.py", "--quiet", "build", "--build-base", str(base)],
        _PYTHON_HOST_PLATFORM="linux-aarch64",
        _PYTHON_SYSCONFIGDATA_NAME=name,
        PYTHONPATH=str(BUILD / "config"),
        CC=f"{TRIPLET}-gcc",  # whatever the caller compiles for this machine with
        CFLAGS=" ".join(f"-I{folder}" for folder in folders),
    )
    (library,) = base.glob("lib*")
    return library, sorted(base.glob("temp*/baseline-*/**/*.o"))


def test(version: str, library: Path, arguments: list[str]) -> int:
    """Run the kernels' tests under the emulator; pytest's exit status."""
    python = BUILD / "python"  # for the tests that start a Python of their own
    python.write_text(f'#!/bin/sh\nexec {emulator()} -L {SYSTEM} {SYSTEM}/usr/bin/python{version} "$@"\n')
    python.chmod(0o755)
    boot = f"import sys; sys.executable = {str(python)!r}; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    files = [str(path) for pattern in TESTS for path in sorted((ROOT / "tests").glob(pattern))]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (library, SITE))),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    words = [str(python), "-c", boot, "-q", "-p", "no:cacheprovider", *files, *arguments]
    return subprocess.run(words, cwd=BUILD, env=environment, check=False).returncode


def main(arguments: list[str]) -> int:
    """All of it; 1 if a hot loop touches the stack or a test failed."""
    reason = missing()
    if reason is not None:
        say(f"skipped: {reason}")
        return 0
    start = perf_counter()
    version = fetch()
    library, objects = build(version)
    say(f"built for Python {version} of Debian, arm64, in {perf_counter() - start:.0f} s")
    clean = look(objects, f"{TRIPLET}-objdump")
    failed = test(version, library, arguments)
    say(f"{'FAILED' if failed or not clean else 'passed'} in {perf_counter() - start:.0f} s")
    return int(bool(failed) or not clean)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
