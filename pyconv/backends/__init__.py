"""What a backend tells about itself before any of it is imported, and the built-in ones.

A backend has two parts. The *info* is light: importing it must not import the array library or compiled code.
The *backend* is imported from ``info.target`` when it is chosen; the protocol it follows is in
:mod:`pyconv.registry`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["API_VERSION", "BUILTIN", "BackendInfo", "problem_of"]

API_VERSION = 1


class BackendInfo(NamedTuple):
    """Light information about a backend.

    Parameters
    ----------
    name : str
        What users write in ``backend=`` and ``PYCONV_BACKEND``: lower case, no comma.
    target : str
        ``"package.module:attribute"`` of the backend object or class, imported when the backend is chosen.
    array_types : tuple of str
        Packages whose arrays it takes: ``"numpy"``, ``"cupy"``.
    automatic : tuple of str
        Those of ``array_types`` for which it may be chosen without being named.
    summary : str
        One line for ``python -m pyconv info``.
    unusable : str
        ``"package.module:function"`` of a function that returns the reason why the backend cannot be used here, or
        None if it can. Empty: it always can.
    api_version : int
        The version of this interface it was written for.
    """

    name: str
    target: str
    array_types: tuple[str, ...] = ("numpy",)
    automatic: tuple[str, ...] = ()
    summary: str = ""
    unusable: str = ""
    api_version: int = API_VERSION


# not called cpu and so on: those names become the submodules once they are imported
cpu_info = BackendInfo(
    name="cpu",
    target="pyconv.backends.cpu:CpuBackend",
    automatic=("numpy",),
    summary="compiled C kernels, OpenMP threads",
    unusable="pyconv.backends.cpu:unusable",
)
reference_info = BackendInfo(
    name="reference",
    target="pyconv.backends.reference:ReferenceBackend",
    automatic=("numpy",),
    summary="plain NumPy, written to be read: the specification",
)
cuda_info = BackendInfo(
    name="cuda",
    target="pyconv.backends.cuda:CudaBackend",
    array_types=("cupy", "numpy"),
    automatic=("cupy",),
    summary="CUDA kernels through CuPy",
    unusable="pyconv.backends.cuda:unusable",
)

BUILTIN = (cpu_info, cuda_info, reference_info)
"""In the order of automatic choice."""


def problem_of(info: Any) -> str | None:
    """What is wrong with a plug-in's info, or None."""
    missing = [name for name in BackendInfo._fields if not hasattr(info, name)]
    if missing:
        return f"its info has no {', '.join(missing)} (see pyconv.backends.BackendInfo)"
    if info.api_version != API_VERSION:
        return f"it was written for version {info.api_version} of the interface, this is version {API_VERSION}"
    name = info.name
    if not isinstance(name, str) or not name or name != name.lower() or "," in name or name != name.strip():
        return f"{name!r} is no name for a backend (lower case, no comma)"
    for field in ("array_types", "automatic"):
        value = getattr(info, field)
        if not isinstance(value, tuple | list) or not all(isinstance(part, str) for part in value):
            return f"{field} must be a tuple of str, got {value!r}"
    return None
