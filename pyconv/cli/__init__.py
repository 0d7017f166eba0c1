"""The commands of ``python -m pyconv``: one module each, and what they share."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["CommandError", "need"]

_PACKAGES = {"PIL": "Pillow"}


class CommandError(Exception):
    """The command cannot start: said in one line, exit status 2."""


def need(module: str, what: str) -> Any:
    """Import an optional package's module, or say in one line how to get it.

    Parameters
    ----------
    module : str
        As in an import statement: ``"PIL.Image"``.
    what : str
        What it is needed for, as the sentence's beginning: ``"reading images"``.
    """
    root = module.partition(".")[0]
    package = _PACKAGES.get(root, root)
    try:
        return import_module(module)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == root
        problem = "which is not installed" if absent else f"which cannot be imported ({error})"
        wanted = [other for other in ("matplotlib", "PIL", "tqdm") if other == root or not _is_there(other)]
        names = " ".join(_PACKAGES.get(other, other).lower() for other in wanted)
        raise CommandError(f"{what} needs {package}, {problem}: pip install {names}") from None


def _is_there(package: str) -> bool:
    """Whether a package can be found, without importing it."""
    try:
        return find_spec(package) is not None
    except ValueError:  # something else stands in its place
        return False
