"""What several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyconv
from pyconv.errors import PyconvError

PACKAGE = Path(pyconv.__file__).parent
ROOT = Path(__file__).parent.parent

USABLE = [status.name for status in pyconv.backends() if status.usable and status.source == "built in"]
"""The built-in backends that this machine can run; test_conformance sees to it that cpu is one of them."""

DTYPES = ("float32", "float64")


def _instruction_sets() -> list[str]:
    if "cpu" not in USABLE:
        return ["baseline"]  # its tests fail, and test_conformance says why
    from pyconv.backends.cpu import isa

    return isa.names()


ISAS = _instruction_sets()
"""The instruction sets that this machine has, in ascending order; the fixture ``level`` goes through them."""

SETTINGS = (
    "PYCONV_BACKEND",
    "PYCONV_MEASURED",
    "PYCONV_NUM_THREADS",
    "PYCONV_PRECISION",
    "PYCONV_VERBOSE",
    "OMP_NUM_THREADS",
)


def run_python(code: str, *paths: Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own: ``paths`` importable, pyconv's settings unset but for those given."""
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    inherited = [clean["PYTHONPATH"]] if clean.get("PYTHONPATH") else []
    clean["PYTHONPATH"] = os.pathsep.join([*map(str, paths), str(PACKAGE.parent), *inherited])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def output_of(code: str, *paths: Path, timeout: float = 120, **environment: str) -> str:
    """What ``code`` prints in a process of its own; the test fails if it does not end well."""
    done = run_python(code, *paths, timeout=timeout, **environment)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def normal(*shape: int, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Normally distributed numbers, the same every time."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def noise(seed: int = 0, height: int = 20, width: int = 24) -> np.ndarray:
    """An image of random colours."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def assert_close(got: np.ndarray, wanted: np.ndarray, terms: int = 100) -> None:
    """Equal but for the rounding of a sum of ``terms`` products of numbers around 1."""
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    error = 8 * terms * float(np.finfo(got.dtype).eps)
    np.testing.assert_allclose(got, wanted, rtol=error, atol=error)


def refused(kind: type[PyconvError], words: list[str], function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """See that ``function`` raises ``kind``, with all of ``words`` in the message, which is returned."""
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    assert isinstance(caught.value, PyconvError)
    message = str(caught.value)
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    return message


GENERAL = ["cpu"]
"""For ``backend=``: a list may change, so calls with it are never known, and always go the general way."""


def known_by(layer: Any, x: Any, out: Any = None) -> Any:
    """The result if the layer knows the call, else None."""
    return layer.__dict__["_known"].run(x, None, None, out, ())


def warm(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of the third such call: the next one is known."""
    for _ in range(3):
        result = function(*args, **kwargs)
    return result


def check_each_call(layer: Any, x: np.ndarray, right: np.ndarray) -> None:
    """Calls of a layer of layers give these bits: until they are known, with ``out``, and when nothing is fused."""
    for _ in range(5):
        assert bits(layer(x)) == bits(right)
        out = np.full_like(right, 7)
        assert layer(x, out=out) is out
        assert bits(out) == bits(right)
    layer.fuse = False
    for _ in range(5):
        assert bits(layer(x)) == bits(right)


def bits(result: Any) -> Any:
    """What two results that are equal to the last bit have in common."""
    return [part.tobytes() for part in result] if isinstance(result, tuple) else result.tobytes()


def pretend(monkeypatch, backend):
    """Make ``backend`` known under its name, without an entry point."""
    from pyconv import registry
    from pyconv.backends import BUILTIN, BackendInfo

    info = BackendInfo(backend.name, "unused:unused")
    load = registry.load
    monkeypatch.setattr(registry, "BUILTIN", (*BUILTIN, info))
    monkeypatch.setattr(registry, "load", lambda name: backend if name == backend.name else load(name))
    monkeypatch.setattr(registry, "_discover", lambda: {i.name: (i, "here") for i in (*BUILTIN, info)})
    monkeypatch.setattr(registry, "_selected", {})
    monkeypatch.setattr(registry, "_fusing", {})


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

WORK = """
import numpy as np, os, sys
import pyconv, pyconv.functional as F
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 16, 64, 64)).astype(np.float32)
weight = rng.standard_normal((32, 16, 3, 3)).astype(np.float32)
wanted = F.conv2d(x, weight, padding=1, backend="reference")
image = rng.standard_normal((4, 1, 90, 90)).astype(np.float32)  # for tasks that are Python's
filtered = F.conv2d(image, weight[:1, :1].repeat(9, 2).repeat(9, 3), backend="cpu", algorithm="direct")
def right():
    got = F.conv2d(x, weight, padding=1, backend="cpu")
    pooled = F.max_pool2d(got, 3, 2, backend="cpu")
    active = F.tanh(got, backend="cpu")
    by_fft = F.conv2d(image, weight[:1, :1].repeat(9, 2).repeat(9, 3), backend="cpu", algorithm="fft")
    return bool(np.allclose(got, wanted, rtol=1e-4, atol=1e-3) and pooled.shape == (2, 32, 31, 31)
                and np.allclose(by_fft, filtered, rtol=1e-4, atol=1e-3)
                and np.allclose(active, np.tanh(got), atol=1e-6))
"""
"""Work that is worth several threads, and checks itself against the reference."""
