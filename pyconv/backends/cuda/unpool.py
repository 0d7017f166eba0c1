"""Max unpooling: two launches, one that marks where elements go, and one that fetches them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...errors import DeviceError
from ...plan import UnpoolPlan
from .kernel import DTYPES, Kernel, Launch, struct
from .memory import given_back
from .plans import INT_LIMIT, strides_of

__all__ = ["implementations", "kernels", "launches", "run"]

_ARGUMENTS = struct(
    x="u8", indices="u8", out="u8", marks="u8", x_strides=("i8", 4), index_strides=("i8", 4), planes="i8",
    channels="i4", in_size=("i4", 2), out_plane="i4",
)  # fmt: skip
_THREADS = 256


def implementations(plan: UnpoolPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    largest = max(prod(plan.in_size), prod(plan.out_size))
    if largest >= INT_LIMIT:
        return [("marks", f"a plane has {largest:,} elements, more than the {INT_LIMIT:,} that its marks hold")]
    return [("marks", next((launch.refusal for launch in launches(plan) if launch.refusal), None))]


@lru_cache(maxsize=1024)
def launches(plan: UnpoolPlan) -> tuple[Launch, Launch]:
    """Kernel, grid and block of both steps."""
    planes = plan.batch * plan.channels
    sizes = (planes * prod(plan.in_size), planes * prod(plan.out_size))
    first, second = (
        Launch(_kernel(plan.dtype, step), -(-size // _THREADS), _THREADS) for step, size in enumerate(sizes)
    )
    return first, second


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for dtype, step in product(DTYPES[:2], range(2)):
        yield _kernel(dtype, step)


def _kernel(dtype: str, step: int) -> Kernel:
    return Kernel.of("max_unpool", dtype, _ARGUMENTS, STEP=step)


def run(room: Any, plan: UnpoolPlan, x: Any, prepared: Any, out: Any) -> Any:
    """Unpool ``x``, which lies on the current device; the indices lie there or in NumPy's memory."""
    indices = prepared
    if isinstance(indices, np.ndarray):
        indices = room.upload(indices)
    elif room.device_of(indices) != room.current_device():
        raise DeviceError(
            f"{plan.op}: the input is on device {room.current_device()}, indices on device {room.device_of(indices)}; "
            "move one of them"
        )
    x, indices = room.readable(x), room.readable(indices)
    result = out if room.writable(out) else room.empty(plan.out_shape, x.dtype)
    marks = room.zeros(plan.out_shape, np.dtype(np.int32))
    packed = np.zeros(1, _ARGUMENTS)
    packed["x"], packed["indices"] = room.address(x), room.address(indices)
    packed["out"], packed["marks"] = room.address(result), room.address(marks)
    packed["x_strides"], packed["index_strides"] = strides_of(x), strides_of(indices)
    packed["planes"], packed["channels"] = plan.batch * plan.channels, plan.channels
    packed["in_size"], packed["out_plane"] = plan.in_size, prod(plan.out_size)
    for launch in launches(plan):
        room.launch(launch, packed)
    return given_back(room, result, out)
