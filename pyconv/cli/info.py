"""``python -m pyconv info``: what a bug report needs."""

from __future__ import annotations

import os
from importlib import metadata

from .. import show_config

__all__ = ["run"]

# CuPy's wheels are named after the CUDA they are for
_OPTIONAL = {
    "pillow": ("pillow",),
    "matplotlib": ("matplotlib",),
    "tqdm": ("tqdm",),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
}


def _version(distributions: tuple[str, ...]) -> str:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"


def run() -> int:
    """Print versions, instruction set, threads, backends, optional packages and pyconv's environment variables."""
    show_config()
    print("optional packages:")
    for name, distributions in _OPTIONAL.items():
        print(f"  {name + ':':12}{_version(distributions)}")
    variables = sorted(name for name in os.environ if name.startswith("PYCONV_") or name == "OMP_NUM_THREADS")
    if variables:
        print("environment:")
    for name in variables:
        print(f"  {name}={os.environ[name]}")
    return 0
