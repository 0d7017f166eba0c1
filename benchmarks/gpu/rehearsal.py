"""The stand-in of the tests in the GPU's place: every line runs, on small layers, with times that mean nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from pyconv import registry

from .device import Replay, spread

__all__ = ["Rehearsal"]

_STAND_IN = Path(__file__).resolve().parents[2] / "tests" / "cuda_host"


class Rehearsal:
    """What :class:`benchmarks.gpu.device.Device` has, on the host."""

    tiny = True
    torch_device = "cpu"
    xp = np
    cache_bytes = 1024
    multiprocessors = 1

    def __init__(self) -> None:
        sys.path[:0] = [str(_STAND_IN)]
        from stand_in import StandIn

        from pyconv.backends.cuda import CudaBackend

        self.room = StandIn(seed=5)
        self.wgmma = CudaBackend(StandIn(seed=6, tensor_cores=9))
        backend, load = CudaBackend(self.room), registry.load
        registry.load = lambda name: backend if name == "cuda" else load(name)  # type: ignore[assignment]
        self._base = np.random.default_rng(0).standard_normal(1009, np.float32)

    def current(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def torch_stream(self, torch: Any) -> AbstractContextManager[Any]:
        return nullcontext()

    def numbers(self, shape: tuple[int, ...], seed: int) -> Any:
        return self.room.array(spread(np, self._base, shape, seed))

    def channels_last(self, array: Any) -> Any:
        return self.room.array(np.ascontiguousarray(array.host.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))

    def plain(self, array: Any) -> Any:
        return getattr(array, "host", array)

    def to_torch(self, torch: Any, array: Any) -> Any:
        return torch.from_numpy(array.host)

    def from_torch(self, tensor: Any) -> Any:
        return (tensor.float() if tensor.element_size() == 2 else tensor.detach()).numpy()

    def synchronize(self) -> None:
        pass

    def microseconds(self, work: Callable[[], Any]) -> float:
        start = perf_counter()
        work()
        return (perf_counter() - start) * 1e6

    def capture(self, calls: Callable[[], list[Any]]) -> Replay:
        results = calls()
        return Replay(lambda: None, results)

    def capture_torch(self, torch: Any, calls: Callable[[], list[Any]]) -> Replay:
        return self.capture(calls)

    def free(self) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {**self.room.describe(), "rehearsal": "the times mean nothing"}
