"""Max pooling, adaptive or not: a thread an output."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from ...plan import PoolPlan
from .kernel import DTYPES, INDEX_TYPES, Kernel, Launch, struct
from .plans import fitting_index, strides_of

__all__ = ["OPERATIONS", "implementations", "kernels", "launch", "run"]

_ARGUMENTS = struct(
    x="u8", out="u8", indices="u8", x_strides=("i8", 4), work="i8",
    channels="i4", in_size=("i4", 2), out_size=("i4", 2), kernel=("i4", 2), stride=("i4", 2), dilation=("i4", 2),
    start=("i4", 2), adaptive="i4",
)  # fmt: skip
_THREADS = 256

SIZES = (2, 3)
"""Heights and widths of windows with a kernel of their own."""

OPERATIONS = ("max_pool2d", "adaptive_max_pool2d")


def _work(plan: PoolPlan) -> int:
    return plan.batch * plan.channels * plan.out_size[0] * plan.out_size[1]


def _window(plan: PoolPlan) -> int:
    """The KERNEL that it is compiled with; 0 for any."""
    height, width = plan.kernel
    return height if height == width and height in SIZES and not plan.adaptive else 0


def implementations(plan: PoolPlan) -> list[tuple[str, str | None]]:
    """(name, None or the reason for refusing) of every implementation, in the order in which they are tried."""
    size = _window(plan)
    return [(f"windows_{size}x{size}" if size else "windows_any", launch(plan).refusal)]


@lru_cache(maxsize=1024)
def launch(plan: PoolPlan) -> Launch:
    """Kernel, grid and block."""
    kernel = _kernel(plan.dtype, _window(plan), plan.return_indices, fitting_index(plan))
    return Launch(kernel, -(-_work(plan) // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for dtype, size, indices, index in product(DTYPES[:2], (0, *SIZES), (False, True), INDEX_TYPES):
        yield _kernel(dtype, size, indices, index)


def _kernel(dtype: str, size: int, indices: bool, index: str) -> Kernel:
    return Kernel.of("max_pool", dtype, _ARGUMENTS, INDEX=index, KERNEL=size, INDICES=int(indices))


def run(room: Any, plan: PoolPlan, x: Any, prepared: Any, out: Any) -> Any:
    """Pool ``x``, which lies on the current device; (values, indices) if the plan asks for indices."""
    x = room.readable(x)
    result = out if room.writable(out) else room.empty(plan.out_shape, x.dtype)
    indices = room.empty(plan.out_shape, np.dtype(np.int64)) if plan.return_indices else None
    packed = np.zeros(1, _ARGUMENTS)
    packed["x"], packed["out"] = room.address(x), room.address(result)
    packed["indices"] = 0 if indices is None else room.address(indices)
    packed["x_strides"], packed["work"], packed["channels"] = strides_of(x), _work(plan), plan.channels
    packed["in_size"], packed["out_size"] = plan.in_size, plan.out_size
    packed["kernel"], packed["stride"], packed["dilation"] = plan.kernel, plan.stride, plan.dilation
    packed["start"] = plan.padding[0][0], plan.padding[1][0]
    packed["adaptive"] = plan.adaptive
    room.launch(launch(plan), packed)
    if out is not None and result is not out:
        room.assign(out, result)
        result = out
    return result if indices is None else (result, indices)
