"""Finding images, naming what is made of them, and writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import CommandError
from .images import SUFFIXES

__all__ = ["Job", "find_jobs", "write_whole"]

_PICTURE = ".features.png"


class Job(NamedTuple):
    """One image and what is made of it; ``features`` and ``picture`` are relative to the output folder."""

    image: Path
    shown: str
    features: Path

    @property
    def picture(self) -> Path:
        """Named so that it can never be an image's own name, should the output folder be the images' folder."""
        return self.features.with_name(self.features.name.removesuffix(".npy") + _PICTURE)


def find_jobs(paths: Sequence[str]) -> list[Job]:
    """Every image among ``paths`` and in the folders among them, once, each with a name of its own.

    The folders below the deepest one that holds all of ``paths`` are kept: ``photos`` alone gives ``x.npy``,
    ``a/x.png b/x.png`` give ``a/x.npy`` and ``b/x.npy``. Images in one folder that differ only in their suffix keep
    it: ``x.png.npy`` and ``x.jpg.npy``.

    Raises
    ------
    CommandError
        If a path does not exist, or a folder has no image.
    """
    images: dict[Path, str] = {}
    roots = []
    for given in paths:
        path = Path(os.path.abspath(given))
        if path.is_dir():
            inside = _images_in(given)
            if not inside:
                raise CommandError(f"{given}: no images in this folder (looked for {' '.join(SUFFIXES)})")
            images.update((Path(os.path.abspath(image)), image) for image in inside)
            roots.append(path)
        elif path.exists():
            images[path] = given
            roots.append(path.parent)
        else:
            raise CommandError(f"{given}: no such file or folder")
    base = Path(os.path.commonpath(roots))
    relative = [image.relative_to(base) for image in images]
    outputs = _distinct(relative)
    return [Job(image, shown, output) for (image, shown), output in zip(images.items(), outputs, strict=True)]


def _images_in(folder: str) -> list[str]:
    """Images in a folder and the folders below it, in order; hidden ones and our own pictures left out."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            known = os.path.splitext(name)[1].lower() in SUFFIXES
            if known and not name.startswith(".") and not name.endswith(_PICTURE):
                found.append(os.path.join(place, name))
    return found


def _distinct(images: list[Path]) -> list[Path]:
    """``folder/stem.npy`` for each image, with the suffix kept (``stem.png.npy``) where that is not its own."""
    whole = [image.with_name(image.name + ".npy") for image in images]
    names = [image.with_name(image.stem + ".npy") for image in images]
    while True:  # ends: whole names are all different, and each round makes at least one more name whole
        counts = Counter(names)
        clashing = [place for place, name in enumerate(names) if counts[name] > 1 and name != whole[place]]
        if not clashing:
            return names
        for place in clashing:
            names[place] = whole[place]


def write_whole(path: Path, write: Callable[[Any], object]) -> None:
    """Have ``write(file)`` fill the binary file ``path``, so that nobody ever sees half of it.

    It is written beside its place under another name, reaches the disk, and then takes its place in one step.
    Whatever goes wrong, the old file stays as it was and nothing is left over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
