"""What has to be reached on an H100, and what a report says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..results import geometric_mean

__all__ = ["CLASSES", "Outcome", "Target", "outcomes", "ratio"]


class Target(NamedTuple):
    """A class of rows: their ratios' geometric mean has to be ``least`` or more."""

    name: str
    least: float
    ratios: Callable[[dict[str, Any]], Iterator[float]]


class Outcome(NamedTuple):
    """What became of a class; ``value`` is None where nothing was measured."""

    name: str
    wanted: str
    value: float | None
    count: int
    reached: bool | None


def _time(row: dict[str, Any], name: str, key: str = "median_us") -> float | None:
    found = row["results"].get(name, {})
    return found.get(key) if found.get("status") == "ok" else None


def ratio(row: dict[str, Any], own: str, others: list[str], key: str = "median_us") -> float | None:
    """The quickest right one of ``others`` over pyconv: above 1, pyconv is quicker. None if either is missing."""
    mine = _time(row, own, key)
    theirs = [time for name in others if (time := _time(row, name, key)) is not None]
    return min(theirs) / mine if mine and theirs else None


def _present(*values: float | None) -> Iterator[float]:
    return (value for value in values if value is not None)


def _conv(row: dict[str, Any], own_layout: str, layout: str, library: str = "pyconv") -> Iterator[float]:
    """Convolution alone, and with bias and ReLU against the quicker of torch's ways."""
    fused = [f"torch conv+bias+relu {layout}", f"torch fused conv+bias+relu {layout}"]
    return _present(
        ratio(row, f"{library} conv {own_layout}", [f"torch conv {layout}"]),
        ratio(row, f"{library} conv+bias+relu {own_layout}", fused),
    )


def _strict(row: dict[str, Any]) -> Iterator[float]:
    if row["kind"] == "dense" and row["precision"] == "fp32":
        yield from _conv(row, "nchw", "nchw")
        yield from _conv(row, "nhwc", "nhwc")


def _tensor(own_layout: str, library: str = "pyconv") -> Callable[[dict[str, Any]], Iterator[float]]:
    def ratios(row: dict[str, Any]) -> Iterator[float]:
        # the class is that of networks' layers: 1x1, 3x3, strided, stem
        if row["kind"] == "dense" and row["precision"] != "fp32" and row["list"] in ("resnet50", "vgg16", "tiny"):
            yield from _conv(row, own_layout, "nhwc", library)

    return ratios


def _user(row: dict[str, Any]) -> Iterator[float]:
    if row["kind"] == "dense" and row["precision"] == "tf32":
        names = "pyconv conv+bias+relu nchw", ["torch conv+bias+relu nchw"]
        yield from _present(ratio(row, *names, "user_us"))


def _depthwise(row: dict[str, Any]) -> Iterator[float]:
    if row["kind"] == "depthwise" and row["precision"] == "fp32":
        yield from _conv(row, "nchw", "nchw")


def _other(kind: str) -> Callable[[dict[str, Any]], Iterator[float]]:
    def ratios(row: dict[str, Any]) -> Iterator[float]:
        if row["kind"] == kind:
            yield from _present(ratio(row, "pyconv op nchw", ["torch op nchw"]))

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


def _bandwidth(report: dict[str, Any]) -> list[float]:
    """Of the measured copy, in the activations that are large enough to fill the device."""
    copied = report["ceilings"].get("copy GB/s")
    if not isinstance(copied, float):
        return []
    rows = [row for row in report["rows"] if row["kind"] == "activation" and row["batch"] > 1]
    times = ((row, _time(row, "pyconv op nchw")) for row in rows)
    return [row["bytes"] / time / 1000 / copied for row, time in times if time]


def outcomes(report: dict[str, Any]) -> list[Outcome]:
    """The table of classes."""
    found = []
    for target in CLASSES:
        ratios = [value for row in report["rows"] for value in target.ratios(row)]
        mean = geometric_mean(ratios)
        reached = None if mean is None else mean >= target.least
        found.append(Outcome(target.name, f"≥ {target.least}", mean, len(ratios), reached))
    shares = _bandwidth(report)
    mean = geometric_mean(shares)
    reached = None if mean is None else mean >= _OF_BANDWIDTH
    name = "activations at batch 32, share of measured bandwidth"
    found.append(Outcome(name, f"≥ {_OF_BANDWIDTH}", mean, len(shares), reached))
    host = [value for value in report.get("host", {}).get("layer(x)", {}).values() if isinstance(value, float)]
    most = max(host, default=None)
    reached = None if most is None else most <= _HOST_US
    found.append(Outcome("host time of a warm call, µs, the slowest", f"≤ {_HOST_US:g}", most, len(host), reached))
    return found
