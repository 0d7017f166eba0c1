"""The CUDA backend's place. Its kernels are not written yet, so that naming it says why it cannot be used."""

from __future__ import annotations

__all__ = ["unusable"]


def unusable() -> str | None:
    """The reason why the backend cannot be used here."""
    return "this version of pyconv has no CUDA kernels yet"
