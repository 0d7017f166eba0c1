"""What the device can do at most, measured before anything else: copying, multiply-adds, matrix products."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyconv.backends.cuda.kernel import Kernel, Launch, struct
from pyconv.backends.cuda.wgmma import ARCHITECTURE

from . import peers

__all__ = ["Probe", "ceilings", "probes"]

_LOOP = struct(out="u8", factor="f4", rounds="i4")
_THREADS = 256
_TRIES = 8


class Probe(Kernel):
    """A kernel whose source lies here, built and run as the package's are."""

    @property
    def file(self) -> str:
        """The source's path, which the loader takes as it takes a name."""
        return str(Path(__file__).with_name(f"{self.name}.cu"))


class Loop(NamedTuple):
    """A kernel that does nothing but multiply, and the operations of a thread in one of its rounds."""

    kernel: Probe
    operations: float
    rounds: int


def _loop(name: str, operations: float, dtype: str, architecture: str | None = None, **macros: int) -> Loop:
    made = Kernel.of(name, dtype, _LOOP, architecture, **macros)
    return Loop(Probe(made.name, made.defines, made.architecture), operations, 2000)


def _loops() -> dict[str, Loop]:
    """By name, in the order of what they need."""
    found = {"FFMA": _loop("multiply_adds", 2 * 16 * 8, "float32")}
    for name, dtype, depth in (("tf32", "float32", 8), ("f16", "float16", 16), ("bf16", "bfloat16", 16)):
        warp, warpgroup = 2 * 16 * 8 * depth / 32, 2 * 64 * 64 * depth / 128  # of a thread in one product
        found[f"mma.sync {name}"] = _loop("products", 8 * 4 * warp, dtype, WARPGROUPS=0)
        found[f"wgmma {name}"] = _loop("products", 4 * 4 * warpgroup, dtype, ARCHITECTURE, WARPGROUPS=1)
    return found


def probes() -> list[Probe]:
    """The kernels, for compilers without a GPU."""
    return [loop.kernel for loop in _loops().values()]


def ceilings(torch: Any, device: Any, found: dict[str, str | float]) -> None:
    """Put them into ``found`` by name, with the unit in it; in words where something could not be measured."""
    parts: dict[str, Callable[[], float]] = {"copy GB/s": lambda: _copy(device)}
    for name, loop in _loops().items():
        parts[f"{name} TFLOP/s"] = lambda loop=loop: _run(device, loop)  # type: ignore[misc]
    for name in ("fp32", "tf32", "bf16"):
        parts[f"cuBLAS {name} TFLOP/s"] = lambda name=name: _product(torch, device, name)  # type: ignore[misc]
    for name, measure in parts.items():
        try:
            found[name] = measure()
        except Exception as error:  # whatever is missing, the rest is measured
            found[name] = f"not measured ({type(error).__name__}: {error})"[:200]


def _best(device: Any, work: Callable[[], Any]) -> float:
    """Microseconds of the quickest of several tries, after one that does not count."""
    times = [device.microseconds(work) for _ in range(2 if device.tiny else _TRIES + 1)]
    return min(times[1:])


def _copy(device: Any) -> float:
    """GB/s read and written by a copy of 1 GiB."""
    source = device.xp.zeros(2**10 if device.tiny else 2**28, np.float32)
    target = device.xp.empty_like(source)
    return 2 * source.nbytes / _best(device, lambda: device.xp.copyto(target, source)) / 1000


def _run(device: Any, loop: Loop) -> float:
    """TFLOP/s of a kernel that only multiplies, on random numbers, as sums of all ones would draw less power."""
    room = device.room
    if loop.kernel.architecture is not None:
        if device.wgmma is None:
            raise RuntimeError(f"it is for {loop.kernel.architecture}")
        room = device.wgmma._room
    blocks, rounds = device.multiprocessors * 8, 2 if device.tiny else loop.rounds
    out = room.empty((blocks * _THREADS,), np.dtype(np.float32))
    packed = np.zeros(1, _LOOP)
    packed["out"], packed["factor"], packed["rounds"] = room.address(out), 0.5, rounds
    launch = Launch(loop.kernel, blocks, _THREADS)
    took = _best(device, lambda: room.launch(launch, packed))
    return loop.operations * rounds * blocks * _THREADS / took / 1e6


def _product(torch: Any, device: Any, precision: str) -> float:
    """TFLOP/s of a square matrix product: torch's cuBLAS, or CuPy's in float32."""
    size = 16 if device.tiny else 8192
    if torch is None:
        if precision != "fp32":
            raise RuntimeError("torch is not there")
        a = device.plain(device.numbers((size, size), 1))
        return 2 * size**3 / _best(device, lambda: device.xp.matmul(a, a)) / 1e6
    numbers = device.to_torch(torch, device.numbers((size, size), 1))
    a = numbers.to(torch.bfloat16) if precision == "bf16" else numbers
    with peers.precision(torch, precision):
        return 2 * size**3 / _best(device, lambda: torch.matmul(a, a)) / 1e6
