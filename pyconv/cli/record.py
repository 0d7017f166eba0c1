"""What ``features`` has made so far, with which settings: a line of JSON for each image, for ``--resume``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .files import Job, write_whole

__all__ = ["NAME", "Record", "stamp"]

NAME = "features.jsonl"


def stamp(path: Path) -> list[int] | None:
    """What changes when a file does: (modification time in ns, bytes); None if it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size]


class Record:
    """The record of an output folder. A line is added after an image's files are in place, never before.

    An image is done if it and all files made of it are exactly as when its line was written: a newer image, a
    deleted or replaced output and other settings all make it undone.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder = folder
        self._settings = settings
        self._path = folder / NAME
        self._entries: dict[str, dict[str, Any]] = {}
        self._load()

    def _load(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        lines = data.splitlines()
        for line in lines:
            try:
                entry = json.loads(line)
                if isinstance(entry["outputs"], dict):
                    self._entries[entry["features"]] = entry
            except (ValueError, KeyError, TypeError):
                continue  # cut short by a crash, or not ours: its image is done again
        if len(self._entries) != len(lines) or not data.endswith(b"\n"):
            text = "".join(json.dumps(entry) + "\n" for entry in self._entries.values())
            write_whole(self._path, lambda file: file.write(text.encode()))

    def _entry(self, job: Job, image_stamp: list[int] | None, outputs: Sequence[Path]) -> dict[str, Any]:
        return {
            "features": str(job.features),
            "image": job.image.name,
            "image_stamp": image_stamp,
            "settings": self._settings,
            "outputs": {str(output): stamp(self._folder / output) for output in outputs},
        }

    def is_done(self, job: Job, outputs: Sequence[Path]) -> bool:
        """Whether all of ``outputs`` were made of the job's image as it is now, with these settings."""
        old = self._entries.get(str(job.features))
        if old is None:
            return False
        now = self._entry(job, stamp(job.image), outputs)
        same = all(old.get(key) == now[key] for key in ("image", "image_stamp", "settings"))
        return same and all(made and old["outputs"].get(name) == made for name, made in now["outputs"].items())

    def add(self, job: Job, image_stamp: list[int] | None, outputs: Sequence[Path]) -> None:
        """Write down that ``outputs`` are in place, made of the image as it was at ``image_stamp``."""
        entry = self._entry(job, image_stamp, outputs)
        self._entries[entry["features"]] = entry
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
