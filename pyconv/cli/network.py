"""The network that ``features`` runs: a convolution, an activation and max pooling; and the table of its layers."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np

from .. import Conv2d, MaxPool2d, Module, Sequential, nn
from ..plan import ACTIVATIONS as TABLE
from ..report import explain

__all__ = ["ACTIVATIONS", "Stage", "as_input", "build", "layer_table", "run_stages"]

ACTIVATIONS: dict[str, type[Module]] = {
    "gelu": nn.GELU,
    **{
        op: getattr(nn, entry.layer)
        for op, entry in TABLE.items()
        if entry.layer and all(parameter.default is not None for parameter in entry.parameters)
    },
}
"""Layers that need no number, by their functions' names."""

_RUNS, _SECONDS = 5, 1.0  # a layer is timed so many times, or until it has taken so long


class Stage(NamedTuple):
    """A layer with what went in and what came out."""

    name: str
    layer: Module
    input: np.ndarray
    output: np.ndarray


def build(conv: Conv2d, activation: str, pool: int) -> Sequential:
    """``conv``, then the activation unless it is 'none', then max pooling over ``pool`` by ``pool`` pixels."""
    layers: dict[str, Module] = {"conv": conv}
    if activation != "none":
        layers[activation] = ACTIVATIONS[activation]()
    layers["pool"] = MaxPool2d(pool)
    return Sequential(layers)


def as_input(image: np.ndarray) -> np.ndarray:
    """A (height, width, 3) image as (3, height, width): a view, pyconv reads channels-last arrays in place."""
    return np.moveaxis(image, -1, 0)


def run_stages(net: Sequential, x: np.ndarray) -> list[Stage]:
    """Run the layers one by one and keep everything in between."""
    stages = []
    for name, layer in net.named_children():
        stages.append(Stage(name, layer, x, layer(x)))
        x = stages[-1].output
    return stages


def _milliseconds(stage: Stage) -> float:
    """The median time of a warm run (the layer has run on this input before)."""
    times: list[float] = []
    while len(times) < _RUNS and sum(times) < _SECONDS:
        start = perf_counter()
        stage.layer(stage.input)
        times.append(perf_counter() - start)
    return median(times) * 1e3


def layer_table(stages: list[Stage]) -> str:
    """The layers in aligned columns: name, shapes, parameters, backend, implementation, milliseconds."""
    rows: list[tuple[str, ...]] = [("layer", "input", "output", "parameters", "backend", "implementation", "ms")]
    count, total = 0, 0.0
    for stage in stages:
        step = explain(stage.layer, stage.input).steps[0]
        parameters = sum(array.size for array in stage.layer.parameters().values())
        time = _milliseconds(stage)
        count, total = count + parameters, total + time
        shapes = ["x".join(map(str, array.shape)) for array in (stage.input, stage.output)]
        rows.append((stage.name, *shapes, f"{parameters}", f"{step.backend}", f"{step.implementation}", f"{time:.3f}"))
    rows.append(("total", "", "", f"{count}", "", "", f"{total:.3f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = (3, 6)
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
