"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from time import perf_counter

from . import machine, readme
from .layers import LISTS, select
from .peers import DEFAULT, PEERS
from .results import best_peer, fresh, read, write_bytes, write_json
from .run import FULL, QUICK, measure
from .table import markdown

BUSY = 0.5
SCREEN = 40
"""Rows of a run whose tables are printed in the end."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure pyconv beside other libraries.")
    parser.add_argument("--list", help=f"comma list of {', '.join(LISTS)} (default: all)")
    parser.add_argument(
        "--peers",
        default=",".join(DEFAULT),
        help="comma list of libraries, or name=module:class for one of your own (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, help="threads of every library (default: the physical cores)")
    parser.add_argument("--layer", metavar="PATTERN", help="only layers whose name contains this")
    parser.add_argument("--quick", action="store_true", help="short bursts; headline rows only if no --list or --layer")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the JSON file; table and pictures go beside it")
    parser.add_argument("--render", type=Path, metavar="FILE", help="table and pictures of this JSON file, and no run")
    parser.add_argument("--plots", nargs=2, type=Path, metavar=("FILE", "FOLDER"), help="the README's pictures")
    parser.add_argument("--readme", nargs=2, type=Path, metavar=("FILE", "README"), help="the README's tables")
    return parser


def _lists(words: str | None) -> list[str]:
    return [part.strip() for part in words.split(",")] if words else list(LISTS)


def _targets(names: str) -> dict[str, str]:
    targets = {}
    for word in filter(None, (part.strip() for part in names.split(","))):
        name, _, target = word.partition("=")
        if not target and name not in DEFAULT:
            raise ValueError(f"there is no peer {name!r}; there are {', '.join(DEFAULT)}, or name=module:class")
        targets[name] = target or PEERS[name]
    if not targets:
        raise ValueError("--peers names no library")
    return targets


def _say(text: str) -> None:
    print(text, flush=True)


def _short(page: str, rows: int) -> str:
    """The page of a results file for a terminal: of many rows only its head and its summary."""
    return page if rows <= SCREEN else "\n## ".join(page.split("\n## ")[:2])


def _render(path: Path) -> None:
    """Write the table and the pictures of a results file beside it."""
    report = read(path)
    write_bytes(path.with_suffix(".md"), markdown(report).encode())
    try:
        from . import plot

        pictures = {path.with_suffix(".png"): plot.bars(report)}
        pictures[path.with_name(f"{path.stem}-roofline.png")] = plot.roofline(report)
    except ImportError as error:
        _say(f"no pictures: {error}")
        return
    for target, picture in pictures.items():
        if picture is not None:
            write_bytes(target, picture)


def _plots(path: Path, folder: Path) -> int:
    """Write the pictures that the README shows of a results file."""
    from . import plot

    report = read(path)
    try:
        pictures = {"roofline": plot.roofline(report), "peers": plot.peers(report)}
    except ImportError as error:
        _say(f"no pictures: {error}")
        return 1
    for name, picture in pictures.items():
        if picture is None:
            _say(f"{path} has nothing for {name}.png")
            return 1
        write_bytes(folder / f"{name}.png", picture)
    return 0


def _readme(path: Path, page: Path) -> None:
    """Write a results file's figures into the README's tables, and print what the text around them says."""
    report = read(path)
    write_bytes(page, readme.filled(page.read_text(), report).encode())
    _say(readme.totals(report))


def main(arguments: list[str] | None = None) -> int:
    """Measure, write, print where. Returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.render:
        _render(options.render)
        return 0
    if options.plots:
        return _plots(*options.plots)
    if options.readme:
        _readme(*options.readme)
        return 0
    try:
        lists = _lists(options.list)
        layers = select(lists, options.layer, options.quick and not options.list and not options.layer)
        targets = _targets(options.peers)
    except ValueError as error:
        parser.error(str(error))
    threads = options.threads if options.threads is not None else machine.physical_cores()
    if threads < 1:
        parser.error(f"--threads must be at least 1, got {threads}")
    about = machine.describe(threads)
    if about["load_before"] > BUSY:
        _say(f"the machine is busy (load {about['load_before']:.2f}): ratios hold up better than times")
    start = perf_counter()
    try:
        measured = measure(layers, targets, threads, about["cpus"], QUICK if options.quick else FULL, _say)
    except RuntimeError as error:
        _say(str(error))
        return 1
    report = {
        "machine": about,
        "quick": options.quick,
        "arguments": sys.argv[1:] if arguments is None else arguments,
        "environment": {name: value for name, value in os.environ.items() if name.startswith("PYCONV_")},
        **measured,
    }
    report["seconds"] = perf_counter() - start
    out = options.out or fresh(f"{about['date'][:10]}-{about['commit']}-{threads}threads")
    write_json(out, report)
    _render(out)
    _say(_short(markdown(read(out)), len(layers)))
    _say(f"\n{len(layers)} layers in {report['seconds']:.0f} s; written: {out} and {out.with_suffix('.md').name}")
    compared = any(best_peer(row) for row in report["rows"])
    if not compared:
        _say("no other library gave a result to compare with")
    return 0


if __name__ == "__main__":
    sys.exit(main())
