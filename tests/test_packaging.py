"""What is shipped, under which names, and what importing it costs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from helpers import output_of

import pyconv
from pyconv.backends import BUILTIN

ROOT = Path(__file__).parents[1]
PACKAGE = Path(pyconv.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# What `import pyconv` may load of the standard library on top of numpy's own import.
LIGHT = {
    "__future__", "_contextvars", "_heapq", "_string", "atexit", "contextlib", "contextvars", "copy", "dataclasses",
    "difflib", "heapq", "inspect", "logging", "platform", "string", "threading", "traceback",
}  # fmt: skip


def test_entry_points_are_the_built_in_backends():
    """Each resolves to its backend's information, also after the backends themselves have been imported."""
    declared = PROJECT["project"]["entry-points"]["pyconv.backends"]
    for info in BUILTIN:
        import_module(info.target.partition(":")[0])
    found = {name: importlib.metadata.EntryPoint(name, value, "").load() for name, value in declared.items()}
    assert found == {info.name: info for info in BUILTIN}


def test_installed_metadata():
    """The installed distribution says what pyproject.toml and the version module say."""
    try:
        installed = importlib.metadata.distribution("pyconv-kernels")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("run from the source tree, not installed")
    assert installed.version == pyconv.__version__
    found = {entry.name: entry.value for entry in installed.entry_points if entry.group == "pyconv.backends"}
    assert found == PROJECT["project"]["entry-points"]["pyconv.backends"]


def test_version_is_written_once():
    assert "version" in PROJECT["project"]["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", pyconv.__version__)
    literal = f'"{pyconv.__version__}"'
    sources = [ROOT / "setup.py", ROOT / "pyproject.toml", *PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")]
    assert [path.name for path in sources if literal in path.read_text(encoding="utf-8")] == ["version.py"]
    assert pyconv.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_types_are_shipped():
    assert (PACKAGE / "py.typed").is_file()
    shipped = PROJECT["tool"]["setuptools"]["package-data"]["pyconv"]
    assert "py.typed" in shipped
    for stub in PACKAGE.rglob("*.pyi"):
        assert any(stub.relative_to(PACKAGE).match(pattern) for pattern in shipped), stub
    modules = sorted(PACKAGE.rglob("*.pyx"))
    assert modules
    assert [path.name for path in modules if not path.with_suffix(".pyi").is_file()] == []


def test_import_is_light():
    """On top of numpy, importing pyconv loads pyconv's Python modules and small ones of the standard library."""
    added = output_of(
        "import sys, numpy; before = set(sys.modules); import pyconv; print(*sorted(set(sys.modules) - before))"
    ).split()
    ours = [name for name in added if name.partition(".")[0] == "pyconv"]
    assert "pyconv.functional" in ours
    assert [name for name in ours if name.startswith(("pyconv._core", "pyconv.cli"))] == []
    assert [name for name in ours if re.match(r"pyconv\.backends\.", name)] == []
    assert {name.partition(".")[0] for name in added} - {"pyconv"} - LIGHT == set()
    assert "importlib.metadata" not in added  # reading every installed package's metadata waits for the first look-up


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_import_starts_no_thread():
    count = "len(os.listdir('/proc/self/task'))"
    before, after = output_of(f"import os, numpy; print({count}); import pyconv; print({count})").split()
    assert before == after


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOOD = ["pyconv/__init__.py", "pyconv/py.typed", "pyconv/_core/a.cpython-311.so", "pyconv/_core/a.pyi", "pyconv/b/c.cu"]


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (GOOD, None),
        ([*GOOD, "pyconv/_core/a.pyx"], "a.pyx is no file to ship"),
        ([*GOOD, "pyconv/_core/a.c"], "a.c is no file to ship"),
        ([*GOOD, "tests/test_a.py"], "does not belong"),
        ([name for name in GOOD if not name.endswith(".pyi")], "has no stub"),
        ([name for name in GOOD if "_core" not in name], "no compiled module"),
        (GOOD[:4], "no CUDA kernel"),
        ([name for name in GOOD if "py.typed" not in name], "py.typed is missing"),
    ],
)
def test_wheel_check_sees(tmp_path, names, complaint):
    wheel = tmp_path / "pyconv_kernels-0.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in [*names, "pyconv_kernels-0.dist-info/METADATA"]:
            archive.writestr(name, "")
    found = load_tool("wheel_smoke").problems(wheel)
    assert found == [] if complaint is None else (len(found) == 1 and complaint in found[0])


def test_wheel_check_sees_size(tmp_path):
    tool = load_tool("wheel_smoke")
    wheel = tmp_path / "pyconv_kernels-0.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in GOOD:
            archive.writestr(name, "")
        archive.writestr("pyconv/_core/b.py", b"\0" * (tool.LARGEST + 1))
    assert len(tool.problems(wheel)) == 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a\nb\n", None),
        (b"", None),
        (b"\0 \n \n", None),
        (b"a \nb\n", ":1: blanks"),
        (b"a\r\n", ":1: blanks or a carriage return"),
        (b"a", "exactly one newline"),
        (b"a\n\n", "exactly one newline"),
        (b"a\n<<<<<<< ours\n", ":2: a merge conflict"),
        (b"0" * 1_000_001, "more than 1000000"),
    ],
)
def test_file_check_sees(tmp_path, content, complaint):
    path = tmp_path / "file"
    path.write_bytes(content)
    found = load_tool("check_files").findings(path)
    assert found == [] if complaint is None else (len(found) == 1 and complaint in found[0])


ARM = """
0000000000000000 <tile>:
   0:\tldr\tq1, [x0]
   4:\tprfm\tpldl2keep, [x2]
   8:\tb.ne\t4 <tile+0x4>  // b.any
   c:\tfmla\tv3.4s, v1.4s, v2.s[0]
  10:\tfmla\tv4.4s, v1.4s, v2.s[1]
  14:\tfmla\tv5.4s, v1.4s, v2.s[2]
  18:\tfmla\tv6.4s, v1.4s, v2.s[3]
  1c:\tb.ne\t0 <tile>  // b.any
  20:\tldr\tq0, [sp, #64]
  24:\tb.ne\t0 <tile>  // b.any

0000000000000028 <straight>:
  28:\tfmla\tv6.4s, v1.4s, v2.s[3]
  2c:\tret
"""
X86 = """
0000000000000010 <tile>:
  10:\tvmovups (%rdi),%zmm0
  16:\tvfmadd231ps (%rsi){1to16},%zmm0,%zmm1
  1c:\tvfmadd231ps 0x4(%rsi){1to16},%zmm0,%zmm2
  20:\tvfmadd231ps 0x8(%rsi){1to16},%zmm0,%zmm3
  24:\tvfmadd213ps 0x40(%rsp),%zmm0,%zmm4
  28:\tjne    10 <tile>
"""


def test_hot_loops_are_found_in_listings():
    """The smallest loop made of multiply-adds, whatever is in it and around it; and the spilled register."""
    tool = load_tool("hot_loops")
    assert tool.loops(ARM) == [tool.Loop("tile", 8, 4, 0)]
    assert tool.loops(ARM.replace("ldr\tq1, [x0]", "ldr\tq1, [sp, #16]")) == [tool.Loop("tile", 8, 4, 1)]
    assert tool.loops(X86) == [tool.Loop("tile", 6, 4, 1)]
    assert tool.loops(X86.replace("vfmadd231ps", "vmovaps")) == []


def test_contributing_names_files_that_exist():
    """Every path that the guide sends a contributor to is there."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:pyconv|tests|tools|benchmarks)/[\w./*-]*)`", text)
    assert len(paths) > 10
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []


def test_make_help_lists_the_verbs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE).group(1).split()
    documented = re.findall(r"^([a-z0-9-]+):.*## ", makefile, re.MULTILINE)
    assert {"demo", "test", "lint", "bench", "wheel", "clean"} <= set(phony)
    assert phony == documented
    assert {"cuda-check", "gpu"} <= set(phony)
