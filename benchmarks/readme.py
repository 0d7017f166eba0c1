"""The README's two tables of a results file."""

from __future__ import annotations

import re
from typing import Any

from .results import best_peer, geometric_mean, lists_of, micros, ratio
from .table import shown, summary

__all__ = ["filled", "totals"]

_LISTS = re.compile(r"(?<=\n)\| list \| rows won \|.*\n\| --- .*\n((?:\|.*\n)+)")
_LAYERS = re.compile(r"(?<=\| layer \| pyconv \| torch \| best peer \| ratio \|\n)(\| ---.*\n)((?:\|.*\n)+)")


def filled(text: str, report: dict[str, Any]) -> str:
    """``text`` with the figures of ``report`` in its table of lists and its table of layers.

    Which lists and layers these show, and in which order, is the text's to say. KeyError for what was not measured.
    """
    text = _LISTS.sub(lambda found: _lists(_firsts(found[1]), report), text)
    return _LAYERS.sub(lambda found: found[1] + _layers(_firsts(found[2]), report), text)


def _firsts(lines: str) -> list[str]:
    return [line.split(" | ")[0].removeprefix("| ") for line in lines.splitlines()]


def _lists(names: list[str], report: dict[str, Any]) -> str:
    head, rule, *lines = summary(report).splitlines()
    found = dict(zip(_firsts("\n".join(lines)), lines, strict=True))
    return "\n".join([head, rule, *(found[name] for name in names)]) + "\n"


def _layers(names: list[str], report: dict[str, Any]) -> str:
    rows: dict[str, dict[str, Any]] = {}
    for row in report["rows"]:
        rows.setdefault(row["name"], row)  # of layers that several networks have, the first
    return "".join(_layer(name, rows[name]) for name in names)


def _layer(name: str, row: dict[str, Any]) -> str:
    best = best_peer(row)
    if best is None:
        raise KeyError(f"no library was compared on {name}")
    own, torch, other = (shown(time, ",.0f") for time in (micros(row, "pyconv"), micros(row, "torch"), best[1]))
    return f"| {name} | {own} | {torch} | {other} ({best[0]}) | {ratio(row):.2f} |\n"


def totals(report: dict[str, Any]) -> str:
    """What the README's paragraph under the tables says: of all rows, and of the convolutions in float32."""
    lines = []
    listed = lists_of(report)
    after = list(listed).index("float64") if "float64" in listed else len(listed)
    for name, lists in (("all rows", list(listed)), ("float32 convolutions' lists", list(listed)[:after])):
        rows = [row for listing in lists for row in listed[listing]]
        best = [value for row in rows if (value := ratio(row))]
        torch = [value for row in rows if (value := ratio(row, "torch"))]
        won, means = sum(value >= 1 for value in best), [geometric_mean(values) or 0 for values in (best, torch)]
        lines.append(f"{name}: {won} of {len(best)} won, {means[0]:.2f} over the best peer, {means[1]:.2f} over torch")
    behind = sorted((value, row["name"]) for row in report["rows"] if (value := ratio(row)) and value < 1)
    return "\n".join([*lines, *(f"  {value:.3f} {name}" for value, name in behind)])
