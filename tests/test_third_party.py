"""Backends of other packages, found through real entry points, whole and broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import ROOT, output_of, run_python

SOURCE = Path(__file__).with_name("loopback_backend.py")


def install(folder: Path, distribution: str, module: str, source: str, entry: str | None = None) -> None:
    """What an installer would leave behind for a package of one module and one entry point."""
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[pyconv.backends]\n{distribution} = {entry or module + ':info'}\n")


def test_it_fits_in_the_readme():
    text = SOURCE.read_text()
    assert len(text.splitlines()) < 40
    readme = (ROOT / "README.md").read_text()
    assert f"```python\n{text}```" in readme, f"README.md must show {SOURCE.name} word for word"


def test_the_loopback_backend_passes_every_case(tmp_path):
    install(tmp_path, "pyconv-loopback", "loopback_backend", SOURCE.read_text())
    code = """
import sys
import pyconv
from pyconv import testing
assert "loopback_backend" not in sys.modules
report = testing.check_backend("loopback")
assert not report.refused, report
assert len(report.passed) == len(testing.cases())
assert "loopback_backend" in sys.modules
[status] = [status for status in pyconv.backends() if status.name == "loopback"]
assert status.usable
assert "one matrix product" in status.summary
print(status.source)
"""
    assert output_of(code, tmp_path) == "entry point pyconv-loopback = loopback_backend:info"


def test_it_is_chosen_by_every_way_of_naming_it(tmp_path):
    install(tmp_path, "pyconv-loopback", "loopback_backend", SOURCE.read_text())
    code = """
import numpy as np, pyconv, pyconv.functional as F
x = np.zeros((1, 2, 5, 6), np.float32)
names = lambda: pyconv.explain(F.relu, x).steps[0].backend
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()):
    found = [names()]
    with pyconv.use_backend("reference"):
        found.append(names())
    layer = pyconv.Conv2d(2, 3, 3, backend="loopback")
    found.append(pyconv.explain(layer, x).steps[0].backend)
assert layer(x).shape == (1, 3, 3, 4)
print(*found)
"""
    assert output_of(code, tmp_path, PYCONV_BACKEND="loopback") == "loopback reference loopback"


def test_it_is_never_chosen_unasked(tmp_path):
    install(tmp_path, "pyconv-loopback", "loopback_backend", SOURCE.read_text())
    code = """
import sys, numpy as np, pyconv, pyconv.functional as F
pyconv.backends()
assert F.relu(np.float32([-1, 1])).tolist() == [0, 1]
with pyconv.use_backend("cpu,loopback"):
    assert F.relu(np.float32([-1, 1])).tolist() == [0, 1]
"""
    output_of(code, tmp_path)


INFO = "from pyconv.backends import BackendInfo\n"
BROKEN = {
    "import": ("import a_module_that_is_not_there\n", None, "ModuleNotFoundError"),
    "raises": ("raise RuntimeError('boom')\n", None, "RuntimeError: boom"),
    "syntax": ("def (:\n", None, "SyntaxError"),
    "no_module": ("", "another_module:info", "ModuleNotFoundError"),
    "no_attribute": ("", None, "AttributeError"),
    "missing": ("class info:\n    name = 'loopback'\n    target = 'a:b'\n", None, "has no array_types"),
    "api_version": (INFO + "info = BackendInfo('later', 'a:b', api_version=2)\n", None, "version 2"),
    "array_types": (INFO + "info = BackendInfo('odd', 'a:b', array_types=None)\n", None, "array_types must be a tuple"),
    "exits": ("import sys\nsys.exit(3)\n", None, "SystemExit: 3"),
    "name_builtin": (INFO + "info = BackendInfo('cpu', 'a:b')\n", None, "'cpu' is taken"),
    "name_case": (INFO + "info = BackendInfo('Loop', 'a:b')\n", None, "'Loop' is no name"),
    "name_comma": (INFO + "info = BackendInfo('a,b', 'a:b')\n", None, "'a,b' is no name"),
    "name_empty": (INFO + "info = BackendInfo('', 'a:b')\n", None, "'' is no name"),
    "name_number": (INFO + "info = BackendInfo(7, 'a:b')\n", None, "7 is no name"),
}
USE = """
import warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import pyconv, pyconv.functional as F
    names = [status.name for status in pyconv.backends()]
    assert names[:3] == ["cpu", "cuda", "reference"], names
    assert F.relu(np.float32([-1, 1]), backend="reference").tolist() == [0, 1]
for warning in caught:
    assert warning.category is pyconv.errors.BackendWarning, warning
    print(warning.message)
print(len(caught), *names[3:])
"""


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_one_is_left_out_with_a_warning(tmp_path, kind):
    source, entry, words = BROKEN[kind]
    install(tmp_path, "pyconv-broken", "broken_backend", source, entry)
    message, rest = output_of(USE, tmp_path).rsplit("\n", 1)
    assert "pyconv leaves out the backend of entry point pyconv-broken" in message
    assert words in message
    assert rest == "1"  # one warning, no further backend


def test_of_two_of_one_name_the_first_stays(tmp_path):
    for number in (1, 2):
        source = INFO + f"info = BackendInfo('twin', 'twin{number}:B')\n"
        install(tmp_path, f"pyconv-twin{number}", f"twin{number}", source)
    message, rest = output_of(USE, tmp_path).rsplit("\n", 1)
    assert "the name 'twin' is taken by the one entry point pyconv-twin" in message
    assert rest == "1 twin"


def test_a_broken_one_does_not_keep_the_good_ones_out(tmp_path):
    install(tmp_path, "pyconv-broken", "broken_backend", "raise RuntimeError('boom')\n")
    install(tmp_path, "pyconv-loopback", "loopback_backend", SOURCE.read_text())
    assert output_of(USE, tmp_path).endswith("1 loopback")


LATE_INFO = "info = BackendInfo('late', 'late_backend:B', unusable='late_backend:why')\n"
LATE = {
    "no_target": ("info = BackendInfo('late', 'late_backend:Missing')\n", "AttributeError"),
    "raises": (
        "info = BackendInfo('late', 'late_backend:B')\nclass B:\n    def __init__(self): raise OSError('no driver')\n",
        "OSError: no driver",
    ),
    "incomplete": (
        "info = BackendInfo('late', 'late_backend:B')\nclass B:\n    name = 'late'\n",
        "has no array_types, supports, prepare, run",
    ),
    "exits": (
        "info = BackendInfo('late', 'late_backend:why')\ndef __getattr__(name): raise SystemExit(3)\n",
        "SystemExit: 3",
    ),
    "unusable": (LATE_INFO + "def why(): return 'no such device'\n", "no such device"),
    "unusable_raises": (LATE_INFO + "def why(): raise OSError('driver too old')\n", "OSError: driver too old"),
}


@pytest.mark.parametrize("kind", LATE)
def test_one_that_fails_when_it_is_chosen_says_why(tmp_path, kind):
    source, words = LATE[kind]
    install(tmp_path, "pyconv-late", "late_backend", INFO + source)
    code = """
import numpy as np, pyconv, pyconv.functional as F
[status] = [status for status in pyconv.backends() if status.name == "late"]
assert not status.usable
print(status.reason)
assert F.relu(np.float32([-1]))[0] == 0  # the others go on
try:
    F.relu(np.float32([-1]), backend="late")
except pyconv.errors.BackendError as error:
    print(error)
"""
    reason, message = output_of(code, tmp_path).split("\n", 1)
    assert words in reason
    assert message.startswith("relu: no backend can run it (backend late was asked for)")
    assert words in message
    assert "Usable here for numpy arrays: cpu, reference" in message


def test_a_warning_made_an_error_does_not_stop_the_import(tmp_path):
    install(tmp_path, "pyconv-broken", "broken_backend", "raise RuntimeError('boom')\n")
    code = "import warnings; warnings.simplefilter('error'); import pyconv; print(pyconv.__version__)"
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_supports_that_fails_is_a_reason(tmp_path):
    source = INFO + (
        "info = BackendInfo('late', 'late_backend:B')\n"
        "class B:\n"
        "    name, array_types = 'late', ('numpy',)\n"
        "    def supports(self, plan): raise RuntimeError('boom')\n"
        "    def prepare(self, plan, weight=None, bias=None): pass\n"
        "    def run(self, plan, x, prepared, out=None): pass\n"
    )
    install(tmp_path, "pyconv-late", "late_backend", source)
    code = """
import numpy as np, pyconv, pyconv.functional as F
assert F.relu(np.float32([-1]), backend="late,reference")[0] == 0
try:
    F.relu(np.float32([-1]), backend="late")
except pyconv.errors.BackendError as error:
    print(error)
"""
    assert "its supports() failed: RuntimeError: boom" in output_of(code, tmp_path)
