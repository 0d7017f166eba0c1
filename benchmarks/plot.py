"""The results as pictures; needs matplotlib."""

from __future__ import annotations

import io
from typing import Any

from .results import best_peer, geometric_mean, lists_of, measured_libraries, micros, ratio

__all__ = ["bars", "peers", "roofline"]

_COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#999999"]
_SLOWEST = 0.04
_LEAST_RATE = 1.0
_SHADES = 64
_FASTER, _SLOWER = "#3b7a57", "#b0b0b0"


def _png(figure: Any, report: dict[str, Any]) -> bytes:
    from matplotlib import pyplot as plt

    buffer = io.BytesIO()
    machine = report["machine"]
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return _small(buffer, f"commit {machine['commit']}, {machine['date']}")


def _small(picture: io.BytesIO, source: str) -> bytes:
    """The picture in as few bytes as its colours take, with a text that says which results it shows."""
    from PIL import Image, PngImagePlugin  # matplotlib needs it too

    text, small = PngImagePlugin.PngInfo(), io.BytesIO()
    text.add_text("Source", source)
    with Image.open(picture) as image:
        image.convert("RGB").quantize(_SHADES, dither=Image.Dither.NONE).save(small, "png", optimize=True, pnginfo=text)
    return small.getvalue()


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
    peers = _peers(report)
    for axis, (listing, rows) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(axis, listing, rows, peers)
    axes[0, 0].set_xlim(_SLOWEST, 1.3 * max(2.0, *(ratio(row) or 0.0 for rows in panels.values() for row in rows)))
    axes[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, fontsize=8, frameon=False)
    axes[-1, 0].set_xlabel("speed relative to the best peer of the row (logarithmic; right is faster)")
    machine = report["machine"]
    figure.suptitle(f"pyconv beside its peers: {machine['cpu']}, {machine['threads']} threads", fontsize=10)
    return _png(figure, report)


def _peers(report: dict[str, Any]) -> list[str]:
    return [name for name in measured_libraries(report) if name != "pyconv"]


def _ratio_axis(axis: Any) -> None:
    """A logarithmic axis of ratios, with 1 in the middle of what matters."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    axis.set_major_locator(FixedLocator([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]))
    axis.set_minor_locator(FixedLocator([]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))


def peers(report: dict[str, Any]) -> bytes | None:
    """A panel for each peer: how many times as quick pyconv is, for all its rows in order. None if none compares."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = {}
    for name in _peers(report):
        ratios = sorted(value for row in report["rows"] if (value := ratio(row, name)) is not None)
        if ratios:
            panels[name] = ratios
    if not panels:
        return None
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(down, across, figsize=(9, 2.6 * down), squeeze=False, layout="constrained", sharey=True)
    for axis, (name, ratios) in zip(axes.flat, panels.items(), strict=False):
        won = sum(value >= 1 for value in ratios)
        axis.bar(
            range(len(ratios)),
            [value - 1 for value in ratios],
            bottom=1,
            width=1,
            color=[_FASTER if value >= 1 else _SLOWER for value in ratios],
        )
        mean = geometric_mean(ratios)
        axis.set_title(f"{name}\n{mean:.2f}× on average, quicker on {won} of {len(ratios)}", fontsize=8)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_yscale("log")
        _ratio_axis(axis.yaxis)
        axis.grid(axis="y", linewidth=0.3)
        axis.set_xticks([])
        axis.set_xlim(-0.5, len(ratios) - 0.5)
        axis.tick_params(labelsize=7)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    machine = report["machine"]
    figure.suptitle(
        f"How many times as quick as each library pyconv is, layer by layer: {machine['cpu']}, "
        f"{machine['threads']} threads",
        fontsize=9,
    )
    return _png(figure, report)


def _panel(axis: Any, listing: str, rows: list[dict[str, Any]], peers: list[str]) -> None:
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
    _ratio_axis(axis.xaxis)
    axis.grid(axis="x", linewidth=0.3)
    axis.set_yticks(places, [row["name"] for row in rows], fontsize=7)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_title(listing, fontsize=9, loc="right")


def roofline(report: dict[str, Any]) -> bytes | None:
    """pyconv's float32 convolutions under the machine's two ceilings. None if these were not measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    peak, copy = report["ceilings"]["flops_per_second"], report["ceilings"]["copy_bytes_per_second"]
    rows = [
        row
        for row in report["rows"]
        if row["flops"] and micros(row, "pyconv") and row["layer"].get("dtype", "float32") == "float32"
    ]
    if not (peak and copy and rows):
        return None
    figure, axis = plt.subplots(figsize=(8, 5))
    intensities = [row["flops"] / row["bytes"] for row in rows]
    low, high = min(intensities) / 2, max(intensities) * 2
    knee = peak / copy
    line = sorted({low, high, *([knee] if low < knee < high else [])})
    axis.plot(line, [min(peak, x * copy) / 1e9 for x in line], color="black", label="peak and memory copy, measured")
    styles = [(marker, colour) for marker in "os^" for colour in _COLOURS]
    for (marker, colour), listing in zip(styles, lists_of(report), strict=False):
        points = [
            (row["flops"] / row["bytes"], row["flops"] / (micros(row, "pyconv") or 1) / 1e3)
            for row in rows
            if row["list"] == listing
        ]
        inside = [point for point in points if point[1] > _LEAST_RATE]
        axis.plot([x for x, _ in inside], [y for _, y in inside], marker, color=colour, markersize=4, label=listing)
        below = [x for x, y in points if y <= _LEAST_RATE]  # calls that are hardly work
        axis.plot(below, [_LEAST_RATE] * len(below), "v", color=colour, markersize=4, clip_on=False)
    axis.set_ylim(_LEAST_RATE, 4 * peak / 1e9)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("floating-point operations of the plain sum for each byte in and out")
    axis.set_ylabel("GFLOP/s")
    axis.set_title(
        "pyconv's convolutions, float32; above the line: data in the cache, or fewer products than the sum has\n"
        f"{report['machine']['cpu']}, {report['machine']['threads']} threads",
        fontsize=9,
    )
    axis.grid(which="both", linewidth=0.2)
    axis.legend(fontsize=8, ncols=2, loc="lower right")
    return _png(figure, report)
