"""The house's rules: who may import whom, what an import costs, how long a file gets."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
from helpers import PACKAGE, ROOT, output_of

LONGEST = 450

# What each room may import of pyconv, at any depth of its code. A room that is not listed (the command line, the
# conformance kit, reports) stands above all others: it may import anything, and nobody below may import it.
MAY_IMPORT = {
    "errors": set(),
    "version": set(),
    "environment": {"errors"},
    "plan": {"errors"},
    "backends": set(),
    "timing": set(),
    "backends.*": {"plan", "errors", "environment", "timing", "version", "_core"},
    "_core": set(),
    "context": {"plan", "errors", "environment"},
    "registry": {"backends", "context", "plan", "errors", "environment"},
    "verbose": {"environment", "plan"},
    "functional": {"registry", "context", "plan", "errors", "verbose"},
    "nn": {"functional", "registry", "plan", "errors"},
    "threads": {"backends.cpu"},
}
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if "__pycache__" not in path.parts]


def module_of(path: Path) -> str:
    """'plan.conv' for pyconv/plan/conv.py; '' for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room a module lies in: its first name, and for a backend the second too."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "backends" and len(parts) > 1 else parts[0]


def imports_of(path: Path) -> set[str]:
    """Modules of pyconv that a file imports, anywhere in it; what is for type checkers only does not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    package = ["pyconv", *path.relative_to(PACKAGE).parent.parts]
    modules = {module_of(source) for source in SOURCES}
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = ".".join([*base, *([node.module] if node.module else [])])
            names = [(full, alias.name) for alias in node.names]
        for full, name in names:
            if full.partition(".")[0] != "pyconv":
                continue
            target = full.removeprefix("pyconv").removeprefix(".")
            deeper = f"{target}.{name}".removeprefix(".")
            # "from .. import registry" names a module, "from ..errors import ShapeError" does not
            found.add(deeper if deeper in modules or not target else target)
    return found


def test_the_package_is_found():
    names = {module_of(path) for path in SOURCES}
    assert {"", "plan.conv", "backends", "backends.reference", "nn.conv", "testing.checks"} <= names
    assert imports_of(PACKAGE / "nn" / "conv_base.py") >= {"errors", "functional.call", "plan", "registry", "nn.module"}
    assert imports_of(PACKAGE / "threads.py") == {"backends.cpu.threads"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path) or "pyconv")
def test_imports_go_one_way(path):
    module = module_of(path)
    room = room_of(module)
    allowed = MAY_IMPORT.get("backends.*" if room.startswith("backends.") else room)
    if module == "" or allowed is None:
        return  # the package's face, and what stands above
    for target in imports_of(path):
        other = room_of(target)
        assert other == room or other in allowed, f"{module} imports {target}, {room} may import {sorted(allowed)}"


def test_no_backend_imports_another():
    backends = [path for path in SOURCES if room_of(module_of(path)).startswith("backends.")]
    assert len(backends) > 3
    for path in backends:
        others = {room_of(target) for target in imports_of(path)} - {room_of(module_of(path))}
        assert not {other for other in others if other.startswith("backends")}, path


def test_the_conformance_kit_needs_no_pytest():
    output_of("import sys, pyconv.testing; pyconv.testing.cases(); assert 'pytest' not in sys.modules")


def written_by_us(path: Path) -> bool:
    """Whether Cython did not make it."""
    return path.suffix == ".pyx" or not path.with_suffix(".pyx").exists()


def test_files_stay_small():
    suffixes = {".py", ".pyx", ".pxd", ".pyi", ".c", ".h", ".cu", ".cuh", ".hpp"}
    paths = [path for folder in (PACKAGE, ROOT / "tests", ROOT / "benchmarks") for path in folder.rglob("*.*")]
    lengths = {
        str(path): len(path.read_text().splitlines())
        for path in paths
        if path.suffix in suffixes and written_by_us(path)
    }
    assert len(lengths) > 20
    assert not {path: length for path, length in lengths.items() if length > LONGEST}


def test_every_module_says_what_it_is():
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path} has no docstring"


IMPORT = """
import sys, os, threading
import numpy
before, tasks = set(sys.modules), os.listdir("/proc/self/task") if os.path.exists("/proc/self/task") else []
import pyconv
new = set(sys.modules) - before
assert (os.listdir("/proc/self/task") if tasks else []) == tasks, "the import started a thread"
assert threading.active_count() == 1
"""


def test_the_import_is_light():
    output_of(
        IMPORT
        + """
heavy = {"importlib.metadata", "cupy", "torch", "matplotlib", "PIL", "tqdm", "pytest", "scipy", "multiprocessing",
         "subprocess", "email", "asyncio", "ctypes.util"}
assert not heavy & new, heavy & new
own = {name for name in new if name.startswith("pyconv.")}
rooms = ("pyconv._core", "pyconv.backends.", "pyconv.testing", "pyconv.cli")
assert not {name for name in own if name.startswith(rooms)}
for name in own:
    assert (sys.modules[name].__file__ or "").endswith(".py"), name  # nothing compiled
"""
    )


def test_the_reference_does_not_load_the_core():
    output_of(
        IMPORT
        + """
import pyconv.functional as F
F.relu(numpy.ones(3, numpy.float32), backend="reference")
with pyconv.use_backend("reference"):
    pyconv.Conv2d(1, 1, 1)(numpy.ones((1, 1, 1, 1), numpy.float32))
assert not {name for name in sys.modules if name.startswith(("pyconv._core", "pyconv.backends.cpu"))}
assert "importlib.metadata" not in set(sys.modules) - before
"""
    )


def test_an_automatic_call_reads_no_metadata():
    output_of(
        IMPORT
        + """
import pyconv.functional as F
F.relu(numpy.ones(3, numpy.float32))
assert "importlib.metadata" not in set(sys.modules) - before
assert "pyconv.backends.cuda" not in sys.modules
"""
    )


def test_small_calls_start_no_thread():
    output_of(
        IMPORT
        + """
if tasks:
    pyconv.Conv2d(1, 1, 2, stride=2)(numpy.ones((1, 1, 4, 4), numpy.float32))
    pyconv.functional.tanh(numpy.ones(100, numpy.float32))
    assert os.listdir("/proc/self/task") == tasks
"""
    )


def test_public_names_are_there_and_documented():
    import pyconv
    from pyconv import errors, functional, nn, plan, testing

    for module in (pyconv, errors, functional, nn, plan, testing):
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            found = getattr(module, name)
            if callable(found):
                assert (found.__doc__ or "").strip(), f"{module.__name__}.{name} has no docstring"


def test_every_parameter_is_documented():
    from pyconv import functional, nn

    brief = {"Dropout1d", "Dropout2d", "Identity"}  # which take what is of no use
    for module in (functional, nn):
        for name in set(module.__all__) - brief:
            found = getattr(module, name)
            own = inspect.signature(found).parameters if isinstance(found, type) or inspect.isroutine(found) else ()
            section = re.search(r"\n {4}Parameters\n.*?(\n\n {4}\w+\n {4}---|$)", found.__doc__, re.DOTALL)
            for parameter in own:
                assert section, f"{name} has no section of parameters"
                assert re.search(rf"\n    (.*, )?\*{{0,2}}{parameter}(,.*)?( :|\n)", section[0]), f"{name}: {parameter}"


def _for_type_checkers(path: Path) -> dict[str, str]:
    """What a .pyi file defines, by name, as one would write it."""
    tree = ast.parse(path.read_text())
    return {node.name: ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def _typed(signature: inspect.Signature) -> str:
    """The parameters of an activation with their types, as ``ast.unparse`` writes them."""
    types = {"input": ": ArrayT", "inplace": ": bool=", "out": ": ArrayT | None=", "backend": ": str | None="}
    places = []
    for name, parameter in signature.parameters.items():
        needed = parameter.default is parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in places:
            places.append("*")
        kind = types.get(name, ": float" if needed else ": float=")
        places.append(f"{name}{kind}{'' if needed else repr(parameter.default)}")
    return ", ".join(places)


def test_type_checkers_know_the_activations():
    from pyconv import functional, nn
    from pyconv.plan import ACTIVATIONS

    entries = {op: entry for op, entry in ACTIVATIONS.items() if entry.layer}
    functions, layers = {}, {}
    for op, entry in entries.items():
        functions[op] = f"def {op}({_typed(inspect.signature(getattr(functional, op)))}) -> ArrayT: ..."
        own = _typed(inspect.signature(getattr(nn, entry.layer)))
        attributes = [f"    {parameter.name}: float" for parameter in entry.parameters]
        init = f"    def __init__(self, {own}) -> None: ..."
        layers[entry.layer] = "\n".join([f"class {entry.layer}(_Activation):", *attributes, init])
    for room, expected in (("functional", functions), ("nn", layers)):
        path = PACKAGE / room / "from_table.pyi"
        found = _for_type_checkers(path)
        assert found.keys() <= expected.keys(), f"{path}: {sorted(found.keys() - expected.keys())} are not in the table"
        for name, wanted in expected.items():
            written = ast.unparse(ast.parse(wanted).body[0])
            assert found.get(name) == written, f"{path} needs:\n{wanted}"


def test_errors_are_what_a_caller_expects():
    from pyconv import errors

    expected = {
        "ShapeError": ValueError,
        "ArgumentError": TypeError,
        "DTypeError": TypeError,
        "OutputError": ValueError,
        "TooLargeError": MemoryError,
        "StateDictError": RuntimeError,
        "ConfigurationError": ValueError,
        "BackendError": RuntimeError,
        "DeviceError": RuntimeError,
        "UnsupportedDTypeError": TypeError,
    }
    for name, builtin in expected.items():
        assert issubclass(getattr(errors, name), (builtin,))
        assert issubclass(getattr(errors, name), errors.PyconvError)
    assert set(expected) | {"PyconvError", "BackendWarning"} == set(errors.__all__)
