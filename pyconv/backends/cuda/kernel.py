"""A kernel as data: which source, with which macros; and the source as the compiler gets it.

A kernel's file holds one entry, of the file's name, that takes one struct. Shared headers are put in where they are
included, since NVRTC gets a single source, and ``#line`` keeps the compiler's messages about the right file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["DTYPES", "INDEX_TYPES", "KERNELS", "OPTIONS", "Kernel", "Launch", "accumulator", "by_value", "struct"]

KERNELS = Path(__file__).parent / "kernels"

INDEX_TYPES = ("int", "long long")
"""C types of offsets inside one image."""

OPTIONS = ("--std=c++17", "--fmad=false")
"""What all kernels are compiled with beside their macros. Sums of products are contracted where the source says so and
nowhere else: then the host build computes the same bits."""

_MOST_BLOCKS = 2**31 - 1  # of a grid, along x
_MACROS = {"float32": "FLOAT32", "float64": "FLOAT64", "float16": "FLOAT16", "bfloat16": "BFLOAT16"}

DTYPES = tuple(_MACROS)
"""The dtypes of convolution; the other operations take the first two."""


@dataclass(frozen=True)
class Kernel:
    """One source compiled in one way: hashable, so that it is compiled once.

    Parameters
    ----------
    name : str
        Of the file ``kernels/<name>.cu`` and of the entry in it.
    defines : tuple of (str, str)
        Macros and their values.
    architecture : str or None
        The only one that it is for, as 'sm_90a', where CuPy would ask for the device's general one.
    """

    name: str
    defines: tuple[tuple[str, str], ...]
    architecture: str | None = None

    @classmethod
    def of(cls, name: str, dtype: str, arguments: np.dtype, architecture: str | None = None, **macros: Any) -> Kernel:
        """The kernel for elements of ``dtype``, whose struct is ``arguments``."""
        common = {"DTYPE": _MACROS[dtype], "ARGUMENTS_BYTES": arguments.itemsize}
        defines = tuple((macro, str(value)) for macro, value in {**common, **macros}.items())
        return cls(name, defines, architecture)

    @property
    def file(self) -> str:
        """The source's file name."""
        return f"{self.name}.cu"

    @property
    def options(self) -> tuple[str, ...]:
        """The macros as a compiler takes them."""
        return tuple(f"-D{name}={value}" for name, value in self.defines)

    @property
    def source(self) -> str:
        """The whole source, headers included."""
        return _source(self.file)

    def __str__(self) -> str:
        return f"{self.file} with {' '.join(self.options)}"


@dataclass(frozen=True)
class Launch:
    """A kernel with the blocks and threads it is run with: all of it follows from the plan."""

    kernel: Kernel
    grid: int
    block: int
    shared: int = 0
    """Bytes of shared memory beyond what the kernel declares."""

    @property
    def refusal(self) -> str | None:
        """The reason why no device could run it, or None."""
        if self.grid > _MOST_BLOCKS:
            return f"it takes {self.grid:,} blocks of threads, a launch may have {_MOST_BLOCKS:,}"
        return None


@cache
def _source(file: str) -> str:
    return "\n".join(_lines(file, set())) + "\n"


def _lines(file: str, included: set[str]) -> Iterator[str]:
    included.add(file)
    yield f'#line 1 "{file}"'
    text = (KERNELS / file).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        header = re.fullmatch(r'#include "(.+)"', line)
        if header is None:
            yield line
            continue
        if header[1] not in included:
            yield from _lines(header[1], included)
        yield f'#line {number + 1} "{file}"'


def accumulator(dtype: str) -> str:
    """The type that sums of ``dtype`` are kept in."""
    return "float64" if dtype == "float64" else "float32"


def by_value(arguments: np.ndarray) -> np.ndarray:
    """A struct, in an array of one, as CuPy takes it: one element without fields.

    CuPy passes only such arrays by value, and asks them for their ``__array_interface__``, which takes several
    microseconds if there are fields.
    """
    return arguments.view(np.dtype((np.void, arguments.dtype.itemsize)))


def struct(**fields: Any) -> np.dtype:
    """A struct laid out as C does. A field is given by its NumPy type, or (type, shape); "u8" is for addresses."""
    members = [(name, *kind) if isinstance(kind, tuple) else (name, kind) for name, kind in fields.items()]
    return np.dtype(members, align=True)
