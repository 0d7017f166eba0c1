"""Try a wheel as a user gets it: look into it, install it into a new environment, compute with it from there.

Usage: ``wheel_smoke.py WHEEL``. With ``--installed`` it is the part that runs inside of the new environment, which
must not see the source tree (``python -I``).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

LARGEST = 3_000_000
"""Bytes: the wheel's promise."""

WANTED = {".py", ".pyi", ".so", ".cu", ".cuh"}


def problems(wheel: Path) -> list[str]:
    """What should not be as it is in the wheel's list of files and its size."""
    found = []
    size = wheel.stat().st_size
    if size > LARGEST:
        found.append(f"it has {size} bytes, more than {LARGEST}")
    with zipfile.ZipFile(wheel) as archive:
        names = [PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")]
    package = [name for name in names if name.parts[0] == "pyconv"]
    others = [name for name in names if name.parts[0] != "pyconv" and not name.parts[0].endswith(".dist-info")]
    found += [f"{name} does not belong into it" for name in others]
    found += [f"{name} is no file to ship" for name in package if name.suffix not in WANTED and name.name != "py.typed"]
    if PurePosixPath("pyconv/py.typed") not in names:
        found.append("pyconv/py.typed is missing")
    if not any(name.suffix == ".cu" for name in package):
        found.append("there is no CUDA kernel in it")
    compiled = {name.name.partition(".")[0] for name in package if name.suffix == ".so"}
    stubs = {name.stem for name in package if name.suffix == ".pyi"}
    if not compiled:
        found.append("there is no compiled module in it")
    found += [f"compiled module {name} has no stub" for name in sorted(compiled - stubs)]
    return found


def try_installed() -> None:
    """Compute each operation on the compiled backend and compare with the reference."""
    import numpy as np

    import pyconv
    import pyconv.functional as F

    home = Path(pyconv.__file__).resolve()
    assert Path(sys.prefix).resolve() in home.parents, f"{home} is not the installed package"
    unusable = {s.name: s.reason for s in pyconv.backends() if s.name in ("cpu", "reference") and not s.usable}
    assert not unusable, unusable

    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x = rng.standard_normal((2, 3, 33, 31)).astype(dtype)
        weight, bias = rng.standard_normal((8, 3, 3, 3)).astype(dtype), rng.standard_normal(8).astype(dtype)
        calls = [
            (F.conv2d, (x, weight, bias, 2, 1)),
            (F.max_pool2d, (x, 3, 2, 1)),
            *((function, (x,)) for function in (F.relu, F.sigmoid, F.tanh)),
        ]
        for function, arguments in calls:
            name = f"{function.__name__} {x.dtype}"
            got, expected = (function(*arguments, backend=backend) for backend in ("cpu", "reference"))
            np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5, err_msg=name)
            print(f"{name}: the compiled result agrees with the reference")
    pyconv.show_config()


def try_wheel(wheel: Path) -> None:
    """Install ``wheel`` into a new environment outside of the source tree and run :func:`try_installed` there."""
    with tempfile.TemporaryDirectory(prefix="pyconv-wheel-") as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--only-binary", "numpy", wheel.resolve()]
        for command in (
            pip,
            [python, "-I", Path(__file__).resolve(), "--installed"],
            [python, "-I", "-m", "pyconv", "--version"],
            [python, "-I", "-m", "pyconv", "info"],
            [Path(folder, "bin", "pyconv"), "--version"],
        ):
            subprocess.run([str(part) for part in command], check=True, cwd=folder)


def main(arguments: list[str]) -> int:
    """Run the check; 1 if the wheel is not as it should be."""
    if arguments == ["--installed"]:
        try_installed()
        return 0
    if len(arguments) != 1:
        print("wheel_smoke.py takes one wheel", file=sys.stderr)
        return 2
    wheel = Path(arguments[0])
    found = problems(wheel)
    for problem in found:
        print(f"{wheel.name}: {problem}", file=sys.stderr)
    if found:
        return 1
    try_wheel(wheel)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB, works in a new environment")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
