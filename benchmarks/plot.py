"""The results as pictures; needs matplotlib."""

from __future__ import annotations

import io
from typing import Any

from .results import best_peer, lists_of, micros, ratio

__all__ = ["bars", "roofline"]

_COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#999999"]
_SLOWEST = 0.04
_FASTER, _SLOWER = "#3b7a57", "#b0b0b0"


def _png(figure: Any) -> bytes:
    from matplotlib import pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()


def bars(report: dict[str, Any]) -> bytes | None:
    """A bar for each layer, pyconv's speed relative to the best peer's; dots for the peers. None if none compares."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = {name: kept for name, rows in lists_of(report).items() if (kept := [row for row in rows if ratio(row)])}
    if not panels:
        return None
    heights = [len(rows) + 1.2 for rows in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(10, 0.24 * sum(heights) + 1.2),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
        sharex=True,
    )
    peers = [name for name, library in report["libraries"].items() if library["status"] == "ok" and name != "pyconv"]
    for axis, (listing, rows) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(axis, listing, rows, peers)
    axes[0, 0].set_xlim(_SLOWEST, 1.3 * max(2.0, *(ratio(row) or 0.0 for rows in panels.values() for row in rows)))
    axes[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, fontsize=8, frameon=False)
    axes[-1, 0].set_xlabel("speed relative to the best peer of the row (logarithmic; right is faster)")
    machine = report["machine"]
    figure.suptitle(f"pyconv beside its peers: {machine['cpu']}, {machine['threads']} threads", fontsize=10)
    return _png(figure)


def _panel(axis: Any, listing: str, rows: list[dict[str, Any]], peers: list[str]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter

    places = range(len(rows))
    ratios = [ratio(row) or 1.0 for row in rows]
    shown = [max(value, _SLOWEST) for value in ratios]
    # bars begin at 1, so that their length is the gain or the loss
    axis.barh(
        places,
        [value - 1 for value in shown],
        left=1,
        height=0.7,
        color=[_FASTER if value >= 1 else _SLOWER for value in ratios],
    )
    for place, (row, value) in enumerate(zip(rows, ratios, strict=True)):
        axis.annotate(
            f"{value:.2f}×",
            (max(value, 1.0), place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
        best = best_peer(row)
        for name, colour in zip(peers, _COLOURS, strict=False):
            time = micros(row, name)
            if best and time:
                speed = best[1] / time
                marker = "o" if speed > _SLOWEST else "<"  # off the picture
                axis.plot(max(speed, _SLOWEST), place, marker, color=colour, markersize=3.5, zorder=3, clip_on=False)
    for name, colour in zip(peers, _COLOURS, strict=False):
        axis.plot([], [], "o", color=colour, markersize=4, label=name)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xscale("log")
    ticks = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(FixedLocator([]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axis.grid(axis="x", linewidth=0.3)
    axis.set_yticks(places, [row["name"] for row in rows], fontsize=7)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_title(listing, fontsize=9, loc="right")


def roofline(report: dict[str, Any]) -> bytes | None:
    """pyconv's convolutions under the machine's two ceilings. None if these were not measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    peak, copy = report["ceilings"]["flops_per_second"], report["ceilings"]["copy_bytes_per_second"]
    # tiny layers are calls, not arithmetic
    rows = [row for row in report["rows"] if row["flops"] > 1e6 and micros(row, "pyconv")]
    if not (peak and copy and rows):
        return None
    figure, axis = plt.subplots(figsize=(8, 5))
    intensities = [row["flops"] / row["bytes"] for row in rows]
    low, high = min(intensities) / 2, max(intensities) * 2
    knee = peak / copy
    line = sorted({low, high, *([knee] if low < knee < high else [])})
    axis.plot(line, [min(peak, x * copy) / 1e9 for x in line], color="black", label="peak and memory copy, measured")
    for listing, colour in zip(lists_of(report), _COLOURS, strict=False):
        points = [
            (row["flops"] / row["bytes"], row["flops"] / (micros(row, "pyconv") or 1) / 1e3)
            for row in rows
            if row["list"] == listing
        ]
        if points:
            axis.plot(*zip(*points, strict=True), "o", color=colour, markersize=5, label=listing)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("floating-point operations of the plain sum for each byte in and out")
    axis.set_ylabel("GFLOP/s")
    axis.set_title("pyconv's convolutions; above the line: in cache, or fewer products than the sum has", fontsize=9)
    axis.grid(which="both", linewidth=0.2)
    axis.legend(fontsize=8)
    return _png(figure)
