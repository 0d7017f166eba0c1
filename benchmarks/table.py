"""The results as a Markdown page."""

from __future__ import annotations

from typing import Any

from .results import best_peer, geometric_mean, lists_of, measured_libraries, micros, ratio

__all__ = ["grid", "head", "markdown", "shown", "summary"]

NOISY = 1.2
"""A row is marked where pyconv's or the best peer's median is this many times its minimum."""


def markdown(report: dict[str, Any]) -> str:
    """A head, a table for each list, and a summary."""
    names = measured_libraries(report)
    parts = [head(report, names), _summary(report, names)]
    for listing, rows in lists_of(report).items():
        parts.append(f"## {listing}\n\n" + _rows(report, rows, [name for name in names if name != "pyconv"]))
    problems = _problems(report)
    if problems:
        parts.append("## Left out\n\n" + "\n".join(f"- {problem}" for problem in problems))
    return "\n\n".join(parts) + "\n"


def _number(value: float | None, form: str = ".2f") -> str:
    return "–" if value is None else format(value, form)


def shown(micros: float | None, long: str = ".0f") -> str:
    """A time in a table; from 100 microseconds on in the form ``long``."""
    return "–" if micros is None else format(micros, ".1f" if micros < 100 else long)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def grid(heads: list[str], lines: list[list[str]]) -> str:
    """A table: numbers in all columns but the first."""
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join(_line(cells) for cells in (heads, rule, *lines))


def head(report: dict[str, Any], names: list[str], title: str = "Benchmark") -> str:
    """What was measured on, and what; the ceilings where a report has them."""
    machine, ceilings = report["machine"], report.get("ceilings")
    versions = ", ".join(f"{name} {report['libraries'][name]['version']}" for name in names)
    cpu = report["libraries"].get("pyconv", {}).get("describe", {}).get("cpu")
    lines = [
        f"- {machine['cpu']}, {machine['threads']} of {machine['cores']} cores, {machine['system']}",
        f"- commit {machine['commit']}, {machine['date']}, load before {machine['load_before']:.2f}",
        f"- {versions}",
    ]
    if ceilings:
        peak, copy = ceilings["flops_per_second"], ceilings["copy_bytes_per_second"]
        lines.append(
            f"- multiply-add peak {'not measured' if peak is None else f'{peak / 1e9:.0f} GFLOP/s'}, "
            f"memory copy {'not measured' if copy is None else f'{copy / 1e9:.1f} GB/s (read and written)'}"
        )
    if cpu:
        lines.append("- pyconv's core: " + ", ".join(f"{key} {value}" for key, value in cpu.items()))
    if report["quick"]:
        lines.append("- a quick run: few and short bursts")
    return f"# {title}\n\n" + "\n".join(lines)


def _summary(report: dict[str, Any], names: list[str]) -> str:
    """How many times as quick pyconv is, by list; and what each list's layers take, times their number."""
    total = [
        [listing, *(_number(_total(rows, name), ".3g") for name in names)] for listing, rows in lists_of(report).items()
    ]
    return (
        "## Summary\n\nTimes as quick as the best peer of each row, and as each peer (geometric means):\n\n"
        + summary(report)
        + "\n\nMilliseconds for all layers of the list, each as often as the network has it:\n\n"
        + grid(["list", *names], total)
    )


def summary(report: dict[str, Any]) -> str:
    """How many times as quick pyconv is, by list: a table."""
    peers = [name for name in measured_libraries(report) if name != "pyconv"]
    lines = []
    for listing, rows in lists_of(report).items():
        ratios = [_ratios(rows, None), *(_ratios(rows, peer) for peer in peers)]
        won = sum(value >= 1 for value in ratios[0])
        lines.append([listing, f"{won} of {len(ratios[0])}", *(_number(geometric_mean(values)) for values in ratios)])
    return grid(["list", "rows won", "best peer", *peers], lines)


def _ratios(rows: list[dict[str, Any]], peer: str | None) -> list[float]:
    return [value for row in rows if (value := ratio(row, peer)) is not None]


def _total(rows: list[dict[str, Any]], name: str) -> float | None:
    """None if the library has not all of the rows."""
    times = [micros(row, name) for row in rows]
    if None in times:
        return None
    return sum(time * row["count"] for time, row in zip(times, rows, strict=True) if time is not None) / 1e3


def _rows(report: dict[str, Any], rows: list[dict[str, Any]], peers: list[str]) -> str:
    heads = ["layer", "×", "pyconv µs", "rate", "of ceiling", "best peer", "µs", "ratio", *peers, "implementation"]
    saves = any("saved_bytes" in row["layer"] for row in rows)  # of stacks: by running each group as one
    heads += ["MB saved", "MB held", "MB grown"] * saves
    lines = []
    for row in rows:
        best = best_peer(row)
        rate, share = _rate(report, row)
        mark = " ~" if best and any(_spread(row, name) > NOISY for name in ("pyconv", best[0])) else ""
        lines.append(
            [
                row["name"],
                str(row["count"]),
                shown(micros(row, "pyconv")),
                rate,
                share,
                best[0] if best else "–",
                shown(best[1]) if best else "–",
                _number(ratio(row)) + mark,
                *(shown(micros(row, peer)) for peer in peers),
                row["implementation"] or "–",
                *(_memory(row) if saves else []),
            ]
        )
    return grid(heads, lines)


def _memory(row: dict[str, Any]) -> list[str]:
    """What a stack saves; what pyconv holds in memory after the first batches, and how much more in the end."""
    memory = row.get("memory", {})
    found = (row["layer"]["saved_bytes"], memory.get("held"), memory.get("grown"))
    return [_number(None if each is None else each / 1e6, ".3g") for each in found]


def _spread(row: dict[str, Any], name: str) -> float:
    found = row["results"].get(name, {})
    return found["median_us"] / found["min_us"] if "median_us" in found else 1.0


def _rate(report: dict[str, Any], row: dict[str, Any]) -> tuple[str, str]:
    """pyconv's rate with its unit, and its share of the ceiling that is measured in this unit."""
    time = micros(row, "pyconv")
    if time is None:
        return "–", "–"
    work, unit, key = row["flops"], "GFLOP/s", "flops_per_second"
    if not work:
        work, unit, key = row["bytes"], "GB/s", "copy_bytes_per_second"
    elif row["layer"].get("dtype") == "float64":
        key = "float64_flops_per_second"
    rate, ceiling = work / time * 1e6, report["ceilings"][key]
    return f"{rate / 1e9:.3g} {unit}", "–" if ceiling is None else f"{rate / ceiling:.0%}"


def _problems(report: dict[str, Any]) -> list[str]:
    """What is missing and why; rows with the same reason on one line."""
    found = [f"{name}: {_short(it['reason'])}" for name, it in report["libraries"].items() if it["status"] != "ok"]
    rows: dict[str, list[str]] = {}
    for row in report["rows"]:
        for name, result in row["results"].items():
            if result["status"] != "ok":
                key = f"{name}, {result['status']}: {_short(result['reason'])}"
                rows.setdefault(key, []).append(f"{row['list']} {row['name']}")
    return found + [f"{reason} ({'; '.join(names)})" for reason, names in rows.items()]


def _short(reason: str) -> str:
    return " ".join(reason.split())[:200]
