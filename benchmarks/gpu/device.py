"""The GPU that is measured, through CuPy: arrays of numbers, graphs of calls, and their times by events."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np

from pyconv import registry
from pyconv.backends.cuda import CudaBackend
from pyconv.backends.cuda.device import CupyRoom

__all__ = ["BASE", "Device", "Replay", "spread"]

BASE = 4_194_301
"""Random numbers that are drawn, a prime: longer arrays repeat them, never in step with rows or planes."""


class Replay:
    """Calls captured in a graph, with what has to live as long as it: its results, and the memory they came from."""

    def __init__(self, launch: Callable[[], Any], results: list[Any], *kept: Any) -> None:
        self.launch = launch
        self.results = results
        self._kept = kept


def spread(xp: Any, base: Any, shape: tuple[int, ...], seed: int) -> Any:
    """An array of ``shape`` filled from ``base``, beginning at a place that ``seed`` chooses."""
    size = int(np.prod(shape))
    begin = seed * 611_953 % base.size
    parts, got = [base[begin : begin + size]], min(size, base.size - begin)
    while got < size:
        parts.append(base[: size - got])
        got += parts[-1].size
    return (xp.concatenate(parts) if len(parts) > 1 else parts[0].copy()).reshape(shape)


class Device:
    """A GPU. Everything runs on one stream: ``current`` and ``torch_stream`` make it CuPy's and torch's."""

    tiny = False
    torch_device = "cuda"

    def __init__(self) -> None:
        import cupy

        self.xp = cupy
        self.room = registry.load("cuda")._room  # type: ignore[attr-defined]
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self._base: Any = None
        asked = CupyRoom(wgmma=True)
        self.wgmma = CudaBackend(asked) if asked.tensor_cores() >= 9 else None
        """A backend that uses Hopper's wgmma, if every device has it."""
        self._asked = asked.describe()["cuda wgmma"]

    def current(self) -> AbstractContextManager[Any]:
        """The stream as CuPy's current one."""
        return self.stream

    def torch_stream(self, torch: Any) -> AbstractContextManager[Any]:
        """The stream as torch's current one."""
        return torch.cuda.stream(torch.cuda.ExternalStream(self.stream.ptr))

    @property
    def cache_bytes(self) -> int:
        """Of the second-level cache."""
        return int(self.xp.cuda.Device().attributes["L2CacheSize"])

    @property
    def multiprocessors(self) -> int:
        return int(self.xp.cuda.Device().attributes["MultiProcessorCount"])

    def numbers(self, shape: tuple[int, ...], seed: int) -> Any:
        """float32 numbers of a normal distribution."""
        if self._base is None:
            drawn = np.random.default_rng(0).standard_normal(BASE, np.float32)
            self._base = self.xp.asarray(drawn)
        return spread(self.xp, self._base, shape, seed)

    def channels_last(self, array: Any) -> Any:
        """The same numbers with channels side by side in memory."""
        return self.xp.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    def plain(self, array: Any) -> Any:
        """An array as ``xp`` computes with it."""
        return array

    def to_torch(self, torch: Any, array: Any) -> Any:
        """The same memory as a tensor."""
        return torch.from_dlpack(array)

    def from_torch(self, tensor: Any) -> Any:
        """The same memory as an array; bfloat16, which CuPy may not know, as float32."""
        return self.xp.from_dlpack(tensor.float() if tensor.element_size() == 2 else tensor.detach())

    def synchronize(self) -> None:
        self.stream.synchronize()

    def microseconds(self, work: Callable[[], Any]) -> float:
        """Between events before and after ``work``."""
        start, end = self.xp.cuda.Event(), self.xp.cuda.Event()
        start.record(self.stream)
        work()
        end.record(self.stream)
        end.synchronize()
        return float(self.xp.cuda.get_elapsed_time(start, end)) * 1000

    def capture(self, calls: Callable[[], list[Any]]) -> Replay:
        """``calls`` in a graph, on memory of its own; run once before, since nothing can be allocated while capturing.

        Results are kept until all calls are captured, so that no two calls write to the same memory.
        """
        pool = self.xp.cuda.MemoryPool()
        with self.xp.cuda.using_allocator(pool.malloc):
            warm = calls()
            self.stream.synchronize()
            del warm
            self.stream.begin_capture()
            results, graph = _ended(calls, self.stream.end_capture)
        return Replay(lambda: graph.launch(self.stream), results, graph, pool)

    def capture_torch(self, torch: Any, calls: Callable[[], list[Any]]) -> Replay:
        """As :meth:`capture`, of torch's calls, in torch's memory."""
        calls()
        self.stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin()
        results, _ = _ended(calls, graph.capture_end)
        return Replay(graph.replay, results, graph)

    def free(self) -> None:
        """Give memory that is not in use back to the device, for the other library."""
        for room in (self.room, *([self.wgmma._room] if self.wgmma else [])):
            room.forget_captures()  # the graphs of this row are not launched again
        self.xp.get_default_memory_pool().free_all_blocks()

    def describe(self) -> dict[str, Any]:
        """Device, driver, versions, clocks and power limit."""
        found = {**self.room.describe(), "second-level cache": f"{self.cache_bytes / 2**20:.0f} MiB"}
        found["pyconv-wgmma"] = self._asked
        return {**found, **_nvidia_smi()}


def _ended(calls: Callable[[], list[Any]], end: Callable[[], Any]) -> tuple[list[Any], Any]:
    """What ``calls`` and, after them, ``end`` return.

    An error of ``calls`` is the cause of what ``end`` then raises, a capture that has become invalid, and goes first.
    """
    try:
        results = calls()
    except BaseException:
        with suppress(Exception):
            end()
        raise
    return results, end()


def _nvidia_smi() -> dict[str, str]:
    names = ("driver_version", "clocks.max.sm", "clocks.max.mem", "clocks.sm", "power.limit", "temperature.gpu")
    command = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {"nvidia-smi": "not there"}
    values = [part.strip() for part in done.stdout.splitlines()[0].split(",")]
    return dict(zip(names, values, strict=False))
