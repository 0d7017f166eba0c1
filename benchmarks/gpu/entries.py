"""One library's way of computing a row, in one layout; and the numbers that all of them get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from .device import Replay
from .rows import Row

__all__ = ["LAYOUTS", "Entry", "Exact", "Numbers", "copies", "half_dtype", "made"]

LAYOUTS = ("nchw", "nhwc")
_MOST_COPIES = 256


class Numbers(NamedTuple):
    """float32 arrays of the device, as many as it takes to be out of the second-level cache when they come again."""

    x: list[Any]
    weight: list[Any]
    bias: Any


class Exact(NamedTuple):
    """The result of the first copy of the numbers in float64, and what an error in it is measured against.

    ``scale`` is, for a convolution, the sum of |x| |w|; elsewhere the value itself, or 1 if that is larger. A
    convolution's values are those without bias.
    """

    values: Any
    scale: Any
    bias: Any


@dataclass
class Entry:
    """One library on one row.

    ``call(i)`` computes with the i-th copy of the numbers, ``values`` makes an array of the device's ``xp`` of its
    result, ``capture`` a graph of calls. ``user``, if there is one, is what a user would write, with nothing prepared
    but the layers. ``ran`` names what computes.
    """

    name: str
    ran: str
    call: Callable[[int], Any]
    values: Callable[[Any], Any]
    capture: Callable[[Callable[[], list[Any]]], Replay]
    relu: bool = False
    user: Callable[[], Any] | None = None


def copies(row: Row, cache_bytes: int) -> int:
    """So many that going through all of them reads and writes twice what the second-level cache holds."""
    return max(2, min(_MOST_COPIES, -(-2 * cache_bytes // max(1, row.bytes))))


def made(row: Row, device: Any, count: int) -> Numbers:
    """Numbers near 1 in, numbers near 1 out."""
    layer = row.layer
    x = [device.numbers(layer.shape, 1 + i) for i in range(count)]
    if layer.op != "conv2d":
        return Numbers(x, [], None)
    scale = prod(layer.weight_shape[1:]) ** -0.5
    weight = [device.numbers(layer.weight_shape, 101 + i) for i in range(count)]
    for each in weight:
        plain = device.plain(each)
        plain *= scale
    return Numbers(x, weight, device.numbers((layer.out_channels,), 201))


def half_dtype(device: Any) -> tuple[str, Any]:
    """('bf16', its dtype), or ('fp16', float16) where the arrays cannot hold bfloat16."""
    try:
        import ml_dtypes

        device.xp.zeros(2, ml_dtypes.bfloat16).astype("float32")
    except Exception:  # whatever CuPy raises for a dtype that it does not know
        return "fp16", device.xp.float16
    return "bf16", ml_dtypes.bfloat16
