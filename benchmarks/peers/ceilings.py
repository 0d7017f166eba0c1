"""What the machine can do at most: multiply-adds in registers, and copying memory, all of it or what caches hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np

from .base import Peer

__all__ = ["Ceilings", "copy_rate"]

_BYTES = 256 * 2**20  # well above most caches
_REPEATS = 5


class Ceilings(Peer):
    """Runs no layers; measured between them, since a shared machine's ceilings drift."""

    def version(self) -> str:
        return np.__version__

    def measure(self) -> dict[str, Any]:
        """Floating-point operations and copied bytes (read and written) for each second."""
        result: dict[str, Any] = {"copy_bytes_per_second": self._copy()}
        try:
            from pyconv._core import runtime

            best = max(i for i, (_, usable) in enumerate(runtime.instruction_sets()) if usable)
            result["flops_per_second"] = runtime.measure_peak(best, False, self.threads)
            result["float64_flops_per_second"] = runtime.measure_peak(best, True, self.threads)
        except ImportError as error:
            result["flops_missing"] = f"pyconv's compiled core is not there: {error}"
        return result

    def _copy(self) -> float:
        size = _BYTES // 4
        source, target = np.ones(size, np.float32), np.ones(size, np.float32)
        edges = [size * part // self.threads for part in range(self.threads + 1)]
        parts = [slice(*pair) for pair in pairwise(edges)]
        best = float("inf")
        with ThreadPoolExecutor(self.threads) as threads:  # NumPy lets go of the GIL while it copies
            for _ in range(_REPEATS):
                start = perf_counter()
                list(threads.map(lambda part: np.copyto(target[part], source[part]), parts))
                best = min(best, perf_counter() - start)
        return 2 * _BYTES / best


def copy_rate(size: int, threads: int, seconds: float) -> float:
    """Bytes, read and written, for each second of copies that move ``size`` in all, again and again.

    Each thread copies a part of its own and waits for no other. Two ways, of which the quicker counts: NumPy's loop
    over numbers, called each time, which needs the interpreter in between; and all the copies in one call, as elements
    that are as long as the part, which the C library moves: past its caches from a few MB on, whatever they hold.
    """
    part = max(4, size // 2 // threads // 4 * 4)  # bytes read by a thread, and written
    arrays = [(np.ones(part // 4, np.float32), np.zeros(part // 4, np.float32)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        return max(2 * part * threads / _seconds(pool, way, arrays, seconds) for way in (_by_number, _by_part))


def _seconds(
    pool: ThreadPoolExecutor, way: Callable[..., None], arrays: list[tuple[np.ndarray, np.ndarray]], seconds: float
) -> float:
    """Of one copy, in the best of some runs of about ``seconds`` in all."""
    count, best = 1, float("inf")
    for _ in range(_REPEATS):
        start = perf_counter()
        list(pool.map(partial(way, count), arrays))
        passed = perf_counter() - start
        best = min(best, passed / count)
        count = max(1, int(seconds / _REPEATS / best))
    return best


def _by_number(count: int, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    source, target = arrays
    for _ in range(count):
        np.copyto(target, source)


def _by_part(count: int, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    source, target = (np.lib.stride_tricks.as_strided(each.view(f"V{each.nbytes}"), (count,), (0,)) for each in arrays)
    np.copyto(target, source)
