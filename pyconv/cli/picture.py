"""The picture of a small network at work: photograph, kernels, and every map after every stage."""

from __future__ import annotations

from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..plan import ACTIVATIONS
from .kernels import Kernels
from .network import Stage

__all__ = ["draw"]

_DPI = 120
_SHOWN = 8  # kernels, at most
_COLOURS = colormaps["RdBu_r"].resampled(33)  # so few levels that PNG packs them well, an odd number so that 0 has one
_MARK = "#e69f00"
_BODY, _SMALL, _HEAD = 9.5, 8.0, 12.0  # font sizes, in points
_LEFT, _RIGHT, _GAP, _MARGIN = 2.35, 0.75, 0.12, 0.15  # inches: the text column, the colour bars, between and around
_WIDE_PIECES = 12  # the close-up shows so many pooled pixels a side

_TITLES = {"conv": "Convolution", "pool": "Max pooling"}  # of an activation, its layer's name
_FORMULAS = {
    "relu": "max(x, 0): what is\nnegative becomes 0.",
    "sigmoid": "1 / (1 + exp(−x)):\nsqueezed between 0 and 1.",
    "tanh": "tanh(x): squeezed\nbetween −1 and 1.",
}
_WORDS = 26  # letters of a line of the text column
_CLOSE_UP = ("The marked square, pixel\nby pixel: before pooling", "and after it")


class _Page:
    """A figure measured in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.size = width, height
        self.figure = Figure(figsize=self.size, dpi=_DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        wide, high = self.size
        axes = self.figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))
        axes.set(xticks=[], yticks=[])
        return axes

    def text(self, left: float, top: float, text: str, size: float = _BODY, **style: Any) -> None:
        style = {"va": "top", "ha": "left", "linespacing": 1.25, **style}
        self.figure.text(left / self.size[0], 1 - top / self.size[1], text, fontsize=size, **style)


class _Square(NamedTuple):
    """What the close-up shows, in pooled pixels."""

    row: int
    column: int
    height: int
    width: int


def draw(
    file: Any, image: np.ndarray, name: str, kernels: Kernels, stages: list[Stage], focus: tuple[int, int] | None = None
) -> None:
    """Draw a photograph's way through the network into the binary ``file``, as PNG.

    Parameters
    ----------
    file : binary file
    image : array, shape (height, width, 3), float32 from 0 to 1
    name : str
        The photograph's, for the title.
    kernels : Kernels
        What the convolution holds.
    stages : list of Stage
        Convolution, activation if there is one, max pooling.
    focus : (int, int), optional
        Row and column of the photograph that the close-up shows; by default where the most is going on.
    """
    count = min(len(kernels.names), _SHOWN)
    panel = min(max(9.6 / count, 1.35), 2.6)
    pitch = panel + _GAP
    high = panel * min(max(image.shape[0] / image.shape[1], 0.45), 1.8)
    kernel_high = max(_kernel_height(kernels, panel), 0.9)
    photograph_high = (_LEFT - 0.3) * min(max(image.shape[0] / image.shape[1], 0.45), 1.8)
    first = max(kernel_high + 0.85, photograph_high + 0.45)
    row_high = max(high, 1.42) + 0.22
    top = 0.62
    page = _Page(
        2 * _MARGIN + _LEFT + count * pitch + _RIGHT, top + first + len(stages) * row_high + 2 * (panel + _GAP)
    )
    _title(page, name, stages, count, len(kernels.names))
    square = _busiest(stages) if focus is None else _around(focus, stages)
    # a map's pixel stands for the middle of the window that the kernel had on the photograph
    edge = ((kernels.weight.shape[2] - 1) / 2, (kernels.weight.shape[3] - 1) / 2)
    _photograph(page, top, image, photograph_high, _outline(square, _pool(stages), edge))
    for place in range(count):
        _kernel(page, _column(place, pitch), top, panel, kernel_high, kernels, place)
    top += first
    norms = _norms(stages)
    for stage, norm in zip(stages, norms, strict=True):
        _caption(page, top, stage, kernels)
        for place in range(count):
            axes = page.axes(_column(place, pitch), top, panel, high)
            shown = _map(axes, stage.output[place], norm)
            if stage is not stages[0] or len(stages) == 2:
                axes.add_patch(_outline(square, 1 if stage is stages[-1] else _pool(stages)))
        _colour_bar(page, top, high, shown, stage.output)
        top += row_high
    _close_up(page, top, panel, pitch, count, square, stages, norms)
    page.figure.savefig(file, format="png", dpi=_DPI, pil_kwargs={"optimize": True})


def _column(place: int, pitch: float) -> float:
    return _MARGIN + _LEFT + place * pitch


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _title(page: _Page, name: str, stages: list[Stage], shown: int, count: int) -> None:
    steps = [_stage_title(stage) for stage in stages]
    title = f"{', '.join(steps[:-1])} and {steps[-1].lower()}"
    room = int((page.size[0] - 2 * _MARGIN) / 0.105)
    # a name may be no Unicode, and must not be taken for mathematics
    heading = f"{title}: {name.encode(errors='replace').decode()}".replace("$", r"\$")
    if len(heading) > room:
        heading = heading[: room - 1] + "…"
    page.text(_MARGIN, 0.12, heading, _HEAD + 2, weight="bold")
    if shown < count:
        right = page.size[0] - _MARGIN
        page.text(right, 0.4, f"the first {shown} of {count} kernels", _SMALL, ha="right", color="0.3")


def _stage_title(stage: Stage) -> str:
    return _TITLES.get(stage.name, type(stage.layer).__name__)


def _photograph(page: _Page, top: float, image: np.ndarray, high: float, mark: Rectangle) -> None:
    axes = page.axes(_MARGIN, top, _LEFT - 0.3, high)
    axes.imshow(image, interpolation="nearest" if image.shape[1] < (_LEFT - 0.3) * _DPI else "auto")
    axes.set_anchor("NW")
    axes.add_patch(mark)
    rows, columns, channels = image.shape
    page.text(_MARGIN, top + high + 0.06, f"Photograph, {_by((channels, rows, columns))}", _SMALL + 0.5)


def _kernel_height(kernels: Kernels, panel: float) -> float:
    """One heat map, or three of them under each other: red, green, blue."""
    rows, columns = kernels.weight.shape[2:]
    if kernels.planes is not None:
        return min(panel * rows / columns, 2.2)
    return 2.4


def _kernel(page: _Page, left: float, top: float, panel: float, high: float, kernels: Kernels, place: int) -> None:
    middle = left + panel / 2
    name = _shorten(kernels.names[place], panel)
    page.text(middle, top + 0.16, name, _BODY + 0.5, ha="center", va="baseline", weight="bold")
    top += 0.27  # the names
    if kernels.planes is None:
        _colour_kernel(page, left, top, panel, high, kernels.weight[place])
        return
    factor = _heat(page.axes(left, top, panel, high), kernels.planes[place])
    page.text(middle, top + high + 0.06, f"{factor}{kernels.mixes[place]}", 7.0, ha="center", color="0.25")


def _shorten(name: str, panel: float) -> str:
    room = int(panel / 0.085)
    return name if len(name) <= room else name[: room - 1] + "…"


def _colour_kernel(page: _Page, left: float, top: float, panel: float, high: float, weight: np.ndarray) -> None:
    each, wide = (high - 0.16) / 3, min(panel - 0.3, 1.1)
    limit = np.abs(weight).max()
    for place, (channel, plane) in enumerate(zip("RGB", weight, strict=True)):
        axes = page.axes(left + (panel - wide) / 2, top + place * (each + 0.08), wide, each)
        _heat(axes, plane, limit, "auto")
        axes.set_ylabel(channel, fontsize=_SMALL, rotation=0, va="center", labelpad=6)


def _heat(axes: Any, plane: np.ndarray, limit: float | None = None, aspect: str = "equal") -> str:
    """A kernel as colours, with its numbers if they fit; what they are to be divided by, in words."""
    limit = limit or np.abs(plane).max() or 1.0
    rows, columns = plane.shape
    axes.imshow(plane, cmap=_COLOURS, vmin=-1.25 * limit, vmax=1.25 * limit, interpolation="nearest", aspect=aspect)
    axes.set_xticks(np.arange(1, columns) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, rows) - 0.5, minor=True)
    axes.tick_params(which="minor", length=0)
    if max(rows, columns) > 5:
        return ""
    axes.grid(which="minor", color="white", linewidth=1)
    divisor = _divisor(plane)
    for (row, column), value in np.ndenumerate(plane):
        text = f"{value * divisor:.0f}" if divisor else f"{value:.2f}".replace("0.", ".")
        dark = abs(value) > 0.75 * limit
        text = "0" if text in ("-0", "-.00", ".00") else text.replace("-", "−")
        size = 10 if max(rows, columns) <= 3 and divisor else 7.5
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color="white" if dark else "black")
    return f"1/{divisor} of these\n" if divisor and divisor > 1 else ""


def _divisor(plane: np.ndarray) -> int | None:
    """The least number that makes the kernel one of small whole numbers, if there is one."""
    for divisor in (1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 16, 25, 32, 49, 64, 81, 100, 128, 256):
        scaled = plane * divisor
        if np.abs(scaled).max() < 1000 and np.allclose(scaled, np.round(scaled), rtol=0, atol=1e-4):
            return divisor
    return None


def _norms(stages: list[Stage]) -> list[Normalize]:
    """White is 0 (for the sigmoid ½, which it makes of 0); before and after ReLU a colour means the same number."""
    conv = _limit(stages[0].output)
    activation = stages[-2].name
    if activation == "sigmoid":
        last: Normalize = TwoSlopeNorm(0.5, 0.0, 1.0)
    elif activation == "tanh":
        last = TwoSlopeNorm(0.0, -1.0, 1.0)
    else:
        last = TwoSlopeNorm(0.0, -conv, conv)
    return [TwoSlopeNorm(0.0, -conv, conv), *[last] * (len(stages) - 1)]


def _limit(maps: np.ndarray) -> float:
    """Nearly all values lie within ± this; the few beyond take the last colour."""
    some = np.abs(maps.reshape(-1)[:: max(maps.size // 1_000_000, 1)])
    limit = float(np.percentile(some, 98.5))
    return limit or float(some.max()) or 1.0


def _map(axes: Any, values: np.ndarray, norm: Normalize) -> Any:
    room = axes.get_window_extent().width
    # every pixel as a square where there is room for it; where several share a dot of the picture, their mean
    return axes.imshow(
        values,
        cmap=_COLOURS,
        norm=norm,
        interpolation="nearest" if values.shape[1] <= room else "auto",
        interpolation_stage="data",
    )


def _caption(page: _Page, top: float, stage: Stage, kernels: Kernels) -> None:
    page.text(_MARGIN, top, _stage_title(stage), _HEAD, weight="bold")
    shapes = f"{_by(stage.input.shape)}\n→ {_by(stage.output.shape)}"
    if stage.name == "conv":
        kernel, size = kernels.weight.shape[2], stage.input.shape[1]
        what = "Each kernel slides over the\nimage: a map's pixel is the\nsum of kernel × pixels."
        shapes += f"\n{size} − {kernel} + 1 = {stage.output.shape[1]} rows"
    elif stage.name == "pool":
        pool, size = stage.layer.kernel_size, stage.input.shape[1]  # type: ignore[attr-defined]
        what = f"The largest value of every\n{pool} × {pool} window."
        shapes += f"\n⌊{size} / {pool}⌋ = {stage.output.shape[1]} rows"
    else:
        what = _FORMULAS.get(stage.name) or fill(ACTIVATIONS[stage.name].formula, _WORDS)
    _words(page, top, what, shapes)


def _words(page: _Page, top: float, what: str, shapes: str) -> None:
    page.text(_MARGIN, top + 0.26, what)
    page.text(_MARGIN, top + 0.36 + 0.165 * len(what.splitlines()), shapes, _BODY - 0.5, color="0.3")


def _colour_bar(page: _Page, top: float, high: float, shown: Any, maps: np.ndarray) -> None:
    axes = page.axes(page.size[0] - _MARGIN - _RIGHT + 0.08, top, 0.13, high)
    norm = shown.norm
    ends = "both" if maps.min() < norm.vmin or maps.max() > norm.vmax else "neither"
    bar = page.figure.colorbar(shown, cax=axes, extend=ends, extendfrac=0.03)
    bar.ax.tick_params(labelsize=_SMALL)
    bar.outline.set_linewidth(0.5)
    step = 0.5 if norm.vmax == 1 else float(f"{norm.vmax * 0.8:.1g}")
    middle = norm.vcenter
    ticks = [middle - step, middle, middle + step]
    bar.set_ticks(ticks, labels=[f"{tick:g}".replace("-", "−") for tick in ticks])


def _busiest(stages: list[Stage]) -> _Square:
    """The square in which the pooled maps have the most going on: the largest sum of differences between neighbours."""
    maps = stages[-1].output
    rows, columns = maps.shape[1:]
    height, width = min(_WIDE_PIECES, rows), min(_WIDE_PIECES, columns)
    change = np.zeros((rows, columns))
    change[1:] += np.abs(np.diff(maps, axis=1)).sum(axis=0)
    change[:, 1:] += np.abs(np.diff(maps, axis=2)).sum(axis=0)
    sums = np.pad(change, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    windows = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    row, column = np.unravel_index(np.argmax(windows), windows.shape)
    return _Square(int(row), int(column), height, width)


def _around(focus: tuple[int, int], stages: list[Stage]) -> _Square:
    """The square in the middle of which is a pixel of the photograph."""
    sizes = [min(_WIDE_PIECES, size) for size in stages[-1].output.shape[1:]]
    corners = [
        min(max(middle // _pool(stages) - size // 2, 0), whole - size)
        for middle, size, whole in zip(focus, sizes, stages[-1].output.shape[1:], strict=True)
    ]
    return _Square(*corners, *sizes)


def _pool(stages: list[Stage]) -> int:
    size: int = stages[-1].layer.kernel_size  # type: ignore[attr-defined]
    return size


def _outline(square: _Square, scale: int, shift: tuple[float, float] = (0.0, 0.0)) -> Rectangle:
    """The square on a map that has ``scale`` pixels for a pooled one and begins ``shift`` (rows, columns) earlier."""
    corner = square.column * scale + shift[1] - 0.5, square.row * scale + shift[0] - 0.5
    return Rectangle(corner, square.width * scale, square.height * scale, fill=False, edgecolor=_MARK, linewidth=1.2)


def _close_up(
    page: _Page,
    top: float,
    side: float,
    pitch: float,
    count: int,
    square: _Square,
    stages: list[Stage],
    norms: list[Normalize],
) -> None:
    """The square's pixels before the pooling and, under them, after it."""
    page.text(_MARGIN, top, "Close up", _HEAD, weight="bold")
    for stage, norm, scale, words in zip(stages[-2:], norms[-2:], (_pool(stages), 1), _CLOSE_UP, strict=True):
        rows, columns, height, width = (scale * number for number in square)
        part = stage.output[:, rows : rows + height, columns : columns + width]
        _words(page, top, words, f"{_by(part.shape[1:])} pixels")
        for place in range(count):
            axes = page.axes(_column(place, pitch), top, side, side)
            axes.imshow(part[place], cmap=_COLOURS, norm=norm, interpolation="nearest")
            for spine in axes.spines.values():
                spine.set(edgecolor=_MARK, linewidth=1.2)
        top += side + _GAP
