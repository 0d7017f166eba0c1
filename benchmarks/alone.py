"""What the commands that measure pyconv alone share: a layer's call, its time, and the files that a run leaves."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from . import machine
from .layer import Layer
from .results import fresh, read, write_bytes, write_json
from .table import grid, head

__all__ = ["Built", "asking", "begin", "build", "by_turns", "micros", "parser", "quartile", "save"]


class Built(NamedTuple):
    call: Callable[[], Any]
    """What is timed: the layer into an array at hand."""
    out: Any
    implementation: str


def build(layer: Layer, threads: int, out: Any = None) -> Built:
    """A layer's call into ``out``; by default into an array that begins where a cache line does, as results do."""
    from .peers.with_pyconv import Pyconv

    peer = Pyconv(threads)
    new = peer.build(layer)[0].call
    if out is None:
        out = new()
        out = out[0] if isinstance(out, tuple) else out  # a pooling with its indices, which are new each time
    return Built(partial(new, out=out), out, peer.implementation().removeprefix("cpu:"))


def quartile(call: Callable[[], Any], seconds: float) -> float:
    """The lower quartile of the calls' times in ``seconds``, after one that is not counted; at least three calls."""
    call()
    taken: list[float] = []
    end = perf_counter() + seconds
    while len(taken) < 3 or perf_counter() < end:
        start = perf_counter()
        call()
        taken.append(perf_counter() - start)
    return sorted(taken)[len(taken) // 4]


def by_turns(calls: Sequence[Callable[[], Any]], rounds: int, seconds: float) -> list[float]:
    """Each call's time: the least of the rounds' quartiles. All are in every round: a disturbed moment meets each."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        best = [min(time, quartile(call, seconds)) for time, call in zip(best, calls, strict=True)]
    return best


def micros(seconds: float) -> str:
    """With a decimal where there is little."""
    return f"{seconds * 1e6:.0f}" if seconds >= 1e-4 else f"{seconds * 1e6:.1f}"


def parser(command: str, about: str | None, rounds: int = 4, layers: bool = True) -> argparse.ArgumentParser:
    """With what the commands have in common."""
    words = argparse.ArgumentParser(prog=f"python -m benchmarks.{command}", description=str(about).partition("\n")[0])
    if layers:
        words.add_argument("--layer", metavar="PATTERN", default="", help="only layers whose name contains this")
    words.add_argument("--rounds", type=int, default=rounds, help="of measuring (default: %(default)s)")
    words.add_argument("--out", type=Path, metavar="FILE", help="the JSON file; the table goes beside it")
    return words


@contextmanager
def asking(words: argparse.ArgumentParser) -> Iterator[None]:
    """What there is not, of what the arguments ask for, ends the command with status 2, before any file is written."""
    try:
        yield
    except ValueError as error:
        words.error(str(error))


def begin(threads: int, arguments: list[str] | None) -> dict[str, Any]:
    """A report, but for its rows: machine and commit before anything is measured, and what pyconv is."""
    import pyconv

    return {
        "machine": machine.describe(threads),
        "quick": False,
        "arguments": sys.argv[1:] if arguments is None else arguments,
        "environment": {name: value for name, value in os.environ.items() if name.startswith("PYCONV_")},
        "libraries": {
            "pyconv": {"status": "ok", "version": pyconv.__version__, "describe": pyconv.show_config("dicts")}
        },
    }


def save(
    report: dict[str, Any],
    command: str,
    rows: Sequence[NamedTuple],
    table: tuple[list[str], list[list[str]]],
    note: str = "",
    out: Path | None = None,
) -> None:
    """Print the table (its head and its lines) and the note below it, and write them and the report's JSON."""
    about, isa = report["machine"], report["libraries"]["pyconv"]["describe"]["cpu"]["cpu isa"].split()[0]
    name = f"{command}-{about['date'][:10]}-{about['commit']}-{isa}-{about['threads']}threads"
    out = out or fresh(name)
    write_json(out, {**report, "rows": [_plain(row) for row in rows]})
    text = grid(*table) + (f"\n\n{note}" if note else "")
    title = f"`python -m benchmarks.{command.partition('-')[0]}`"
    write_bytes(out.with_suffix(".md"), f"{head(read(out), ['pyconv'], title)}\n\n{text}\n".encode())
    print(f"{text}\n\nwritten: {out} and {out.with_suffix('.md').name}")


def _plain(row: NamedTuple) -> dict[str, Any]:
    """A row as JSON has it; its layer's name stands first."""
    found = row._asdict()
    layer = found.pop("layer", None)
    return found if layer is None else {"name": layer.name, "layer": asdict(layer), **found}
