"""What the tests of both tensor-core convolutions need: numbers, plans, a cut of one's choice, and a checked case."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
from stand_in import StandIn

from pyconv import testing
from pyconv.backends.cuda import conv, tensor, tensor_run, tensor_terms, wgmma
from pyconv.backends.cuda.tensor_tile import AnyTile, Cut
from pyconv.functional.conv import plan_call_conv2d
from pyconv.plan import ConvPlan

ATTEMPTS = [("float32", "fp32"), ("float32", "tf32"), ("float16", None), ("bfloat16", None)]


def numbers(*shape: int, dtype: str = "f4", seed: int = 0) -> np.ndarray:
    """Of a normal distribution."""
    drawn = np.random.default_rng(seed).standard_normal(shape)
    return drawn.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def channels_last(array: np.ndarray) -> np.ndarray:
    """The same numbers with channels side by side in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def plan_of(x: Any, weight: Any, padding: int = 0, precision: str | None = None) -> ConvPlan:
    steps = ((1, 1), ((padding, padding), (padding, padding)), (1, 1), 1)
    return plan_call_conv2d(x, weight, None, steps, None, "auto", precision=precision).plan


class Cuts:
    """Has every plan take a tile, with its sum in so many parts; ``clear`` forgets what was cut otherwise."""

    def __init__(self, monkeypatch) -> None:
        self._monkeypatch = monkeypatch
        self.clear()

    def clear(self) -> None:
        for function in (tensor_run._second_launch, conv._chosen):
            function.cache_clear()
        for module in (tensor, wgmma):
            module.packing.cache_clear()
            module.launch.cache_clear()

    def __call__(self, module: ModuleType, tile: AnyTile, parts: int = 1) -> None:
        def chosen(plan: ConvPlan) -> Cut:
            steps = tensor_terms.steps(plan)
            part_steps = -(-steps // parts)
            return Cut(tile, -(-steps // part_steps), part_steps)

        self._monkeypatch.setattr(module, "cut", chosen)
        self.clear()


def check(room: StandIn, kernel: str, shape, weight, dtype: str = "float32", precision=None, **fields) -> None:
    """A case of :mod:`pyconv.testing`, whose sum ``kernel`` computes."""
    parameters = fields.pop("parameters", {}) | ({"precision": precision} if precision else {})
    name = f"{kernel}-{shape}-{weight}-{dtype}-{precision}"
    case = testing.Case(name, "conv2d", dtype, shape, weight, parameters=parameters, **fields)
    assert testing.check(case, "cuda") is None
    assert room.launched[-1] in (kernel, "sum_parts")


def check_edges(room: StandIn, kernel: str, tile: AnyTile, dtype: str, precision: str | None) -> None:
    """Channels and pixels of a tile, one less and one more, by every way of fetching pixels."""
    m, n = tile.channels, tile.pixels
    more = {"layout": "channels_last", "parameters": {"stride": (1, 2)}}
    for shape, weight, fields in (
        ((1, 5, 3, n // 2 + 1), (m - 1, 5, 3, 3), {"parameters": {"padding": 1}}),
        ((1, 32, 1, n + 1), (m, 32, 1, 3), {"parameters": {"padding": (0, 1)}}),
        ((2, 33, 2, n // 2), (m + 1, 33, 1, 1), {}),
        ((1, 24, 1, n - 1), (17, 24, 1, 3), more),
    ):
        check(room, kernel, shape, weight, dtype, precision, **fields)
