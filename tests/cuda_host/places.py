"""Where the tests of device arrays run: on a GPU through CuPy, or on its stand-in."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import pytest
from stand_in import Array, StandIn, missing

from pyconv import registry
from pyconv.backends.cuda import CudaBackend, kernel
from pyconv.backends.cuda import unusable as no_device
from pyconv.backends.cuda.device import CupyRoom

OWN_ARGUMENTS = kernel.struct(x="u8", out="u8", size="i8")
_READ_ANEW = kernel._source.__wrapped__


class OnStandIn:
    """Arrays of the stand-in; ``pyconv`` sees them as CuPy's."""

    name = "stand-in"

    def __init__(self, seed: int = 0) -> None:
        self.room = StandIn(seed, devices=2)
        self.devices = 2

    def array(self, values: np.ndarray, device: int = 0) -> Array:
        with self.room.on(device):
            return self.room.array(values)

    def host(self, array: Array) -> np.ndarray:
        assert type(array) is Array
        return array.host.copy()

    @contextlib.contextmanager
    def stream(self):
        before, self.room.stream = self.room.stream, self.room.stream + 1
        try:
            yield SimpleNamespace(synchronize=lambda: None)
        finally:
            self.room.stream = before

    def on(self, device: int):
        return self.room.on(device)


class OnDevice:
    """CuPy's arrays."""

    name = "device"

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        self.devices = cupy.cuda.runtime.getDeviceCount()

    def array(self, values: np.ndarray, device: int = 0):
        """With the same strides where they are positive and dense; else through a larger array."""
        with self.cupy.cuda.Device(device):
            order = sorted(range(values.ndim), key=lambda axis: (-abs(values.strides[axis]), axis))
            dense = self.cupy.asarray(np.ascontiguousarray(values.transpose(order)))
            return dense.transpose(np.argsort(order)) if values.ndim else dense.reshape(())

    def host(self, array) -> np.ndarray:
        assert isinstance(array, self.cupy.ndarray)
        return self.cupy.asnumpy(array)

    def stream(self):
        return self.cupy.cuda.Stream(non_blocking=True)

    def on(self, device: int):
        return self.cupy.cuda.Device(device)


def why_not(name: str) -> str | None:
    """The reason why tests cannot run there, or None."""
    return missing() if name == "stand-in" else no_device()


def by_both_ways() -> tuple[CudaBackend, CudaBackend]:
    """Two backends of the GPU: by mma.sync, and by wgmma; skips the test where not every device has that.

    Where all have it and the other kernels take its place, the test fails: it would compare them with themselves.
    """
    hopper = CupyRoom(wgmma=True)
    if hopper.tensor_cores() < 9:
        if hopper.without_wgmma is not None:
            pytest.fail(f"wgmma's kernels cannot be used: {hopper.without_wgmma}")
        pytest.skip("not every device has compute capability 9.0")
    return CudaBackend(CupyRoom(wgmma=False)), CudaBackend(hopper)


def stand_in_for_cuda(monkeypatch, room: StandIn) -> None:
    """Have ``backend='cuda'`` mean the stand-in."""
    backend, load = CudaBackend(room), registry.load
    monkeypatch.setattr(registry, "load", lambda name: backend if name == "cuda" else load(name))
    monkeypatch.setattr(registry, "_selected", {})
    monkeypatch.setattr(registry, "_fusing", {})


def own_kernel(monkeypatch, folder: Path, body: str, *headers: str, **macros: object) -> kernel.Kernel:
    """A kernel with the arguments x, out and size, of float32; ``headers`` are the package's, beside common.cuh."""
    names = ("common.cuh", *headers)
    source = "".join(f'#include "{name}"\n' for name in names)
    source += f"""struct Arguments {{ const element *x; element *out; long long size; }};
extern "C" __global__ void own(const Arguments a)
{{
{body}
}}
"""
    (folder / "own.cu").write_text(source)
    for name in names:
        (folder / name).write_text((kernel.KERNELS / name).read_text())
    monkeypatch.setattr(kernel, "KERNELS", folder)
    monkeypatch.setattr(kernel, "_source", _READ_ANEW)
    return kernel.Kernel.of("own", "float32", OWN_ARGUMENTS, BODY=crc32(source.encode()), **macros)
