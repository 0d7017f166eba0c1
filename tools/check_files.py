"""Check the files that git knows: size, line ends, trailing blanks, conflict markers. Prints one line a finding.

Usage: ``check_files.py [PATH...]``; without paths, every tracked file, or every file where there is no git.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LARGEST = 1_000_000
"""Bytes; what is larger belongs somewhere else."""

SKIPPED = {".git", ".venv", ".venv-ci", "build", "dist", "__pycache__"}


def tracked() -> list[Path]:
    """The paths that git tracks below the current directory."""
    try:
        names = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):  # an unpacked source archive
        return [path for path in Path().rglob("*") if path.is_file() and not SKIPPED & set(path.parts)]
    return [Path(name) for name in names.split("\0") if name and Path(name).is_file()]


def findings(path: Path) -> list[str]:
    """What is wrong with one file."""
    data = path.read_bytes()
    if len(data) > LARGEST:
        return [f"{path}: {len(data)} bytes, more than {LARGEST}"]
    if b"\0" in data:
        return []  # binary
    found = []
    if data and (not data.endswith(b"\n") or data.endswith(b"\n\n")):
        found.append(f"{path}: must end with exactly one newline")
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.endswith((b" ", b"\t", b"\r")):
            found.append(f"{path}:{number}: blanks or a carriage return at the end of the line")
        if line.startswith((b"<<<<<<< ", b">>>>>>> ")):
            found.append(f"{path}:{number}: a merge conflict's marker")
    return found


def main(names: list[str]) -> int:
    """Print the findings; 1 if there are any."""
    paths = [Path(name) for name in names] or tracked()
    lines = [line for path in paths for line in findings(path)]
    print(*lines, sep="\n", end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
