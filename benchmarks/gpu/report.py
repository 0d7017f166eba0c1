"""A report as Markdown: header, ceilings, classes, rows, host time, and what failed."""

from __future__ import annotations

from typing import Any

from . import host
from .classes import outcomes, ratio
from .measure import BOUNDS

__all__ = ["failures", "markdown"]


_TABLES = {
    "Convolutions, beside torch's cuDNN": ("dense",),
    "Depthwise convolutions, beside torch's ATen or cuDNN": ("depthwise",),
    "Pooling and activations, beside torch's ATen": ("pool", "activation"),
}


def failures(report: dict[str, Any]) -> list[str]:
    """A line for every result that is wrong, failed, not in a graph, or not the same bits when computed again."""
    lines = [f"FAIL host time: pyconv: {report['host_failed']}"] if "host_failed" in report else []
    for row in report["rows"]:
        for name, found in row["results"].items():
            where = f"FAIL {row['name']}: {name}"
            if found["status"] == "failed":
                lines.append(f"{where}: {found['reason']}")
            elif found["status"] == "wrong":
                lines.append(f"{where}: error {found['error']:.1e}, more than {_bound(row):.1e}")
            elif found["status"] == "ok" and not found["bitwise"]:
                lines.append(f"{where}: computed again it gives other bits")
            for key, what in (("graph", "its calls cannot be captured"), ("user", "what a user would write fails")):
                if key in found:
                    lines.append(f"{where}: {what}: {found[key]}")
    return sorted(lines, key=lambda line: ": pyconv" not in line)


def _bound(row: dict[str, Any]) -> float:
    return 0.0 if row["kind"] == "pool" else BOUNDS["op" if row["kind"] == "activation" else row["precision"]]


def markdown(report: dict[str, Any]) -> str:
    """The whole of it."""
    lines = ["# On a GPU", ""]
    lines += [f"- {key}: {value}" for key, value in report["machine"].items()]
    lines += [f"- {note}" for note in report["notes"]]
    lines += ["", "## What the device can do", "", "| measured first | |", "| --- | ---: |"]
    lines += [f"| {key} | {_number(value)} |" for key, value in report["ceilings"].items()]
    lines += ["", "## Classes", "", "Geometric means of the peer's time over pyconv's, kernel time. Measured are so"]
    lines += ["many of those that belong to the class: only with all of them is it reached.", ""]
    lines += ["| class | wanted | got | measured | |", "| --- | ---: | ---: | ---: | --- |"]
    for outcome in outcomes(report):
        got = "not measured" if outcome.value is None else f"{outcome.value:.2f}"
        measured = f"{outcome.count} of {outcome.asked}"
        lines.append(f"| {outcome.name} | {outcome.wanted} | {got} | {measured} | {outcome.verdict} |")
    for title, kinds in _TABLES.items():
        lines += ["", f"## {title}", "", *_rows([row for row in report["rows"] if row["kind"] in kinds])]
    lines += ["", "## Host time of a warm call", ""]
    lines += [host.table(report.get("host", {}))]
    if "host_failed" in report:
        lines += ["", f"The rest was not measured ({report['host_failed']})."]
    lines += ["", "## Failures", "", *(failures(report) or ["none"])]
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _rows(rows: list[dict[str, Any]]) -> list[str]:
    """Each of pyconv's entries beside the peers in the same layout."""
    lines = [
        "Microseconds of a call, replayed from a graph: median (10th to 90th percentile). × is the quickest "
        "peer's time over pyconv's, and empty if one that was tried failed. 'no graph' stands where calls could not "
        "be captured: their time, one after another, is in no ratio.",
        "",
        "| layer | what | ran | pyconv | TFLOP/s | GB/s | peer | × | peer, channels-last | × | user | × | error | "
        "the peer's |",
        "| --- | --- | --- |" + " ---: |" * 11,
    ]
    for row in rows:
        for name, found in row["results"].items():
            asked = name.startswith("pyconv ") or found["status"] != "missing"  # wgmma, which does not take all
            if name.startswith("pyconv") and asked:
                lines.append("| " + " | ".join(_cells(row, name, found)) + " |")
    return lines


def _cells(row: dict[str, Any], name: str, found: dict[str, Any]) -> list[str]:
    _, what, layout = name.split(" ")
    time = found.get("median_us") if found["status"] == "ok" else None
    cells = [row["name"], f"{what} {layout}", found.get("ran", ""), _cell(found)]
    cells.append(f"{row['flops'] / time / 1e6:.1f}" if time and row["flops"] else "")
    cells.append(f"{row['bytes'] / time / 1e3:.0f}" if time else "")
    for order in (layout, "nhwc") if layout == "nchw" else (None, layout):
        peers = [f"torch {what} {order}", f"torch fused {what} {order}"]
        best = min((_time(row, peer), peer) for peer in peers)[1] if order else ""
        cells += [_cell(row["results"].get(best, {})), _times(ratio(row, name, peers))]
    cells.append(f"{found['user_us']:.1f}" if "user_us" in found else "")
    cells.append(_times(ratio(row, name, [f"torch {what} {layout}"], "user_us") if "user_us" in found else None))
    error = row["results"].get(f"torch {what} {layout}", {}).get("error")
    cells += [f"{each:.1e}" if each is not None else "" for each in (found.get("error"), error)]
    return cells


def _time(row: dict[str, Any], name: str) -> float:
    found = row["results"].get(name, {})
    return found.get("median_us", float("inf")) if found.get("status") == "ok" else float("inf")


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cell(found: dict[str, Any]) -> str:
    if not found:
        return ""
    if found["status"] == "ok" and "eager_median_us" in found:
        return f"no graph ({found['eager_median_us']:.1f})"
    if found["status"] != "ok" or "median_us" not in found:
        return "FAIL" if found["status"] in ("failed", "wrong") else found["status"]
    return f"{found['median_us']:.1f} ({found['p10_us']:.1f}–{found['p90_us']:.1f})"
