"""What has to be reached on an H100, and what a report says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import inf
from typing import Any, NamedTuple

from ..results import geometric_mean
from . import host

__all__ = ["CLASSES", "Outcome", "Target", "outcomes", "ratio"]


class Target(NamedTuple):
    """A class of rows: their ratios' geometric mean has to be ``least`` or more.

    ``ratios`` gives every ratio that a row should add, None for one that could not be made.
    """

    name: str
    least: float
    ratios: Callable[[dict[str, Any]], Iterator[float | None]]


class Outcome(NamedTuple):
    """What became of a class.

    ``value`` is of what was measured, None if nothing was: ``count`` numbers of the ``asked`` that belong to the class.
    ``verdict`` is 'reached' only if that is all of them, 'incomplete' if the value would do but numbers are missing,
    'missed' if it would not, and '' without a value.
    """

    name: str
    wanted: str
    value: float | None
    count: int
    asked: int
    verdict: str


def _time(row: dict[str, Any], name: str, key: str = "median_us") -> float | None:
    found = row["results"].get(name, {})
    return found.get(key) if found.get("status") == "ok" else None


def ratio(row: dict[str, Any], own: str, others: list[str], key: str = "median_us") -> float | None:
    """The quickest of ``others`` over pyconv: above 1, pyconv is quicker.

    None if pyconv's time is missing, or that of one of ``others`` that was tried: it might have been the quickest.
    """
    mine = _time(row, own, key)
    theirs = [_time(row, name, key) for name in others if name in row["results"]]
    known = [time for time in theirs if time is not None]
    return min(known) / mine if mine and known and len(known) == len(theirs) else None


def _conv(row: dict[str, Any], own_layout: str, layout: str, library: str = "pyconv") -> Iterator[float | None]:
    """Convolution alone, and with bias and ReLU against the quicker of torch's ways."""
    fused = [f"torch conv+bias+relu {layout}", f"torch fused conv+bias+relu {layout}"]
    yield ratio(row, f"{library} conv {own_layout}", [f"torch conv {layout}"])
    yield ratio(row, f"{library} conv+bias+relu {own_layout}", fused)


def _strict(row: dict[str, Any]) -> Iterator[float | None]:
    if row["kind"] == "dense" and row["precision"] == "fp32":
        yield from _conv(row, "nchw", "nchw")
        yield from _conv(row, "nhwc", "nhwc")


def _tensor(own_layout: str, library: str = "pyconv") -> Callable[[dict[str, Any]], Iterator[float | None]]:
    def ratios(row: dict[str, Any]) -> Iterator[float | None]:
        # the class is that of networks' layers: 1x1, 3x3, strided, stem
        if row["kind"] == "dense" and row["precision"] != "fp32" and row["list"] in ("resnet50", "vgg16", "tiny"):
            yield from _conv(row, own_layout, "nhwc", library)

    return ratios


def _user(row: dict[str, Any]) -> Iterator[float | None]:
    if row["kind"] == "dense" and row["precision"] == "tf32":
        names = "pyconv conv+bias+relu nchw", ["torch conv+bias+relu nchw"]
        yield ratio(row, *names, "user_us")


def _depthwise(row: dict[str, Any]) -> Iterator[float | None]:
    if row["kind"] == "depthwise" and row["precision"] == "fp32":
        yield from _conv(row, "nchw", "nchw")


def _other(kind: str) -> Callable[[dict[str, Any]], Iterator[float | None]]:
    def ratios(row: dict[str, Any]) -> Iterator[float | None]:
        if row["kind"] == kind:
            yield ratio(row, "pyconv op nchw", ["torch op nchw"])

    return ratios


CLASSES = (
    Target("strict float32 convolution, each layout against cuDNN in it", 1.2, _strict),
    Target("TF32 and half, NCHW arrays, against channels-last cuDNN", 0.75, _tensor("nchw")),
    Target("TF32 and half, channels-last arrays, against channels-last cuDNN", 0.75, _tensor("nhwc")),
    Target("the same by wgmma, NCHW arrays", 0.95, _tensor("nchw", "pyconv-wgmma")),
    Target("the same by wgmma, channels-last arrays", 0.95, _tensor("nhwc", "pyconv-wgmma")),
    Target("conv+bias+ReLU on NCHW arrays, TF32, eager user time", 1.5, _user),
    Target("depthwise float32 against ATen or cuDNN in NCHW", 2.5, _depthwise),
    Target("max pooling against ATen", 1.3, _other("pool")),
    Target("activations against ATen", 0.97, _other("activation")),
)
_OF_BANDWIDTH, _HOST_US = 0.9, 10.0


def _bandwidth(report: dict[str, Any], rows: list[dict[str, Any]]) -> Iterator[float | None]:
    """Of the measured copy, in the activations that are large enough to fill the device."""
    copied = report["ceilings"].get("copy GB/s")
    for row in rows:
        if row["kind"] == "activation" and row["batch"] > 1:
            time = _time(row, "pyconv op nchw")
            yield row["bytes"] / time / 1000 / copied if time and isinstance(copied, float) else None


def _outcome(
    name: str,
    values: Iterable[float | None],
    mean: Callable[[list[float]], float | None],
    least: float = 0.0,
    most: float = inf,
) -> Outcome:
    """Of the ``mean`` of what was measured, which has to be from ``least`` to ``most``; one of both is given."""
    values = list(values)
    measured = [value for value in values if value is not None]
    value = mean(measured)
    verdict = ""
    if value is not None:
        complete = "reached" if len(measured) == len(values) else "incomplete"
        verdict = complete if least <= value <= most else "missed"
    wanted = f"≥ {least}" if most == inf else f"≤ {most:g}"
    return Outcome(name, wanted, value, len(measured), len(values), verdict)


def outcomes(report: dict[str, Any]) -> list[Outcome]:
    """The table of classes. Rows that were not begun (``left_out``) belong to them as do those that failed."""
    rows = [*report["rows"], *report.get("left_out", [])]
    found = []
    for target in CLASSES:
        ratios = [value for row in rows for value in target.ratios(row)]
        found.append(_outcome(target.name, ratios, geometric_mean, least=target.least))
    name, shares = "activations at batch 32, share of measured bandwidth", _bandwidth(report, rows)
    found.append(_outcome(name, shares, geometric_mean, least=_OF_BANDWIDTH))
    name, layers = "host time of a warm call, µs, the slowest", report.get("host", {}).get("layer(x)", {})
    found.append(_outcome(name, map(layers.get, host.CASES), partial(max, default=None), most=_HOST_US))
    return found
