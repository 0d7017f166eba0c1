"""What the machine can do at most: multiply-adds in registers, and copying memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np

from .base import Peer

__all__ = ["Ceilings"]

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
