"""Print requirements of pyproject.toml, one a line, for ``pip install -r``.

Usage: ``requirements.py NAME...``, where a name is ``build-system``, ``dependencies`` or one of the extras.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main(names: list[str]) -> int:
    """Print the requirements called ``names``; 2 if there is no such name."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    known = {
        "build-system": project["build-system"]["requires"],
        "dependencies": project["project"]["dependencies"],
        **project["project"]["optional-dependencies"],
    }
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        print(f"requirements.py: {unknown or 'nothing'} given; the names are {', '.join(known)}", file=sys.stderr)
        return 2
    print(*(line for name in names for line in known[name]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
