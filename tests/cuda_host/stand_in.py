"""A room in the place of the device: the CUDA backend's own sources, compiled as C++, on memory of the host.

:class:`StandIn` has the methods of :class:`pyconv.backends.cuda.device.CupyRoom`. Its arrays pass for CuPy's and lie
between pages that nobody may touch; everything but compiling, allocating and launching is the backend's own.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import os
import shutil
import subprocess
import weakref
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from pyconv.backends.cuda.device import warn_without_wgmma, wgmma_failure
from pyconv.backends.cuda.kernel import by_value
from pyconv.errors import DeviceError

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "cuda_host"
CXX = os.environ.get("CXX", "g++")
HEADERS = ("host.hpp", "entry.hpp", "warp.hpp", "warpgroup.hpp")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_PAGE = mmap.PAGESIZE
_NO_ACCESS, _READ_WRITE = 0, mmap.PROT_READ | mmap.PROT_WRITE


def missing() -> str | None:
    """The reason why kernels cannot be built for the host, or None."""
    return None if shutil.which(CXX) else f"there is no C++ compiler ({CXX}) for the host build of the CUDA kernels"


class Array(NDArrayOperatorsMixin):
    """What the backend and pyconv.functional use of a CuPy array, over memory of the host."""

    __module__ = "cupy"  # array_kind() goes by it

    def __init__(self, host: np.ndarray, device: int = 0, room: StandIn | None = None) -> None:
        self.host, self.room = host, room
        self.device = SimpleNamespace(id=device)
        self.data = SimpleNamespace(ptr=host.__array_interface__["data"][0])
        self.shape, self.strides, self.dtype, self.ndim = host.shape, host.strides, host.dtype, host.ndim
        self.size, self.itemsize, self.nbytes = host.size, host.itemsize, host.nbytes
        self.flags = SimpleNamespace(c_contiguous=host.flags.c_contiguous, f_contiguous=host.flags.f_contiguous)

    @property
    def __cuda_array_interface__(self) -> dict:
        return {**self.host.__array_interface__, "version": 3}

    def _computed(self, function, *inputs, **more) -> Array:
        """What CuPy computes on the current device, of arrays that lie there."""
        arrays = [value for value in inputs if isinstance(value, Array)]
        for array in arrays:
            if array.room is not None:
                assert array.room._process == os.getpid(), "CUDA is used in a forked process"
                assert array.room._current == array.device.id, "the array is not on the current device"
        hosts = [value.host if isinstance(value, Array) else value for value in inputs]
        return self._of(np.asarray(function(*hosts, **more)))

    def _of(self, host: np.ndarray) -> Array:
        return Array(host, self.device.id, self.room)

    def __array_ufunc__(self, ufunc, method, *inputs, **more) -> Array:
        return self._computed(getattr(ufunc, method), *inputs, **more)

    def __array_function__(self, function, types, inputs, more) -> Array:
        return self._computed(np.pad, *inputs, **more) if function is np.pad else NotImplemented

    def astype(self, dtype) -> Array:
        return self._computed(np.ndarray.astype, self, dtype)

    def min(self) -> Array:
        return self._computed(np.min, self)

    def max(self) -> Array:
        return self._computed(np.max, self)

    def __int__(self) -> int:
        return int(self.host)

    def reshape(self, *shape: int) -> Array:
        return self._of(self.host.reshape(*shape))

    def transpose(self, axes: tuple[int, ...]) -> Array:
        return self._of(self.host.transpose(axes))

    def __getitem__(self, key) -> Array:
        return self._of(self.host[key])


class _Page:
    """Memory that ends, or begins, at a page without access; 16-byte aligned, as no kernel asks for more."""

    def __init__(self, size: int, at_end: bool) -> None:
        inner = -(-max(size, 1) // _PAGE) * _PAGE
        self.total = inner + 2 * _PAGE
        base = _libc.mmap(None, self.total, _NO_ACCESS, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if base in (None, ctypes.c_void_p(-1).value):
            raise MemoryError(f"{size} bytes between guard pages")
        _libc.mprotect(base + _PAGE, inner, _READ_WRITE)
        self.address = base + _PAGE + (inner - -(-size // 16) * 16 if at_end else 0)
        weakref.finalize(self, _libc.munmap, base, self.total)


class StandIn:
    """One device, or several, on the host.

    Parameters
    ----------
    seed : int
        Shuffles the order of blocks and threads, and where arrays lie in their pages.
    sanitize : bool
        Build with AddressSanitizer, which must be preloaded, and take memory from malloc, which it watches.
    devices : int
        How many devices to play.
    tensor_cores : int
        Which they have: of compute capability 8.0 or, to be used by wgmma, 9.0; or 0.
    try_wgmma : bool
        Ask first whether wgmma's kernels can be used, as the device is asked.
    """

    def __init__(
        self, seed: int = 0, sanitize: bool = False, devices: int = 1, tensor_cores: int = 8, try_wgmma: bool = False
    ) -> None:
        self._tensor_cores = tensor_cores
        self._to_try = try_wgmma
        self.without_wgmma: str | None = None
        self._random = np.random.default_rng(seed)
        self._sanitize = sanitize
        self._devices = devices
        self._current = 0
        self._libraries: dict = {}
        self._process = os.getpid()
        self.launched: list[str] = []
        self.stream = 0
        self.waits: list[int] = []
        self.capturing = False
        self.held: list = []

    def check_process(self) -> None:
        if os.getpid() != self._process:
            raise DeviceError("this process was forked from one that used CUDA")

    def current_device(self) -> int:
        return self._current

    def tensor_cores(self) -> int:
        self.check_process()
        if self._to_try:
            self._to_try, self.without_wgmma = False, wgmma_failure(self.launcher)
            if self.without_wgmma is not None:
                self._tensor_cores = 8
                warn_without_wgmma(self.without_wgmma)
        return self._tensor_cores

    def device_of(self, array: Array) -> int:
        return array.device.id

    @contextlib.contextmanager
    def on(self, device: int):
        before, self._current = self._current, device
        try:
            yield
        finally:
            self._current = before

    def array(self, values: np.ndarray) -> Array:
        """A device array of ``values``, with the same strides where the memory order allows it."""
        return self._like(values, values)

    def upload(self, array: np.ndarray) -> Array:
        source = array.astype(array.dtype.newbyteorder("="), copy=False)
        last = source.ndim == 4 and not source.flags.c_contiguous and source.transpose(0, 2, 3, 1).flags.c_contiguous
        return self._like(source if last else np.ascontiguousarray(source).reshape(source.shape), source)

    def download(self, array: Array, out: np.ndarray | None) -> np.ndarray:
        if out is None:
            return array.host.copy(order="K")
        np.copyto(out, array.host)
        return out

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, order: tuple[int, ...] | None = None) -> Array:
        if order is not None:
            made = self.empty(tuple(shape[axis] for axis in order), dtype)
            return made.transpose(sorted(range(len(order)), key=order.__getitem__))
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if self._sanitize:
            host = np.empty(shape, dtype)
        else:
            page = _Page(size, bool(self._random.integers(2)))
            buffer = (ctypes.c_char * size).from_address(page.address)
            buffer.page = page
            host = np.frombuffer(buffer, dtype).reshape(shape) if size else np.empty(shape, dtype)
        if host.size:
            host.view(np.uint8).fill(0xFF) if host.ndim else host.reshape(1).view(np.uint8).fill(0xFF)
        return self._hold(Array(host, self._current, self))

    def _hold(self, made: Array) -> Array:
        if self.capturing:
            self.held.append(made.host)
        return made

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        made = self.empty(shape, dtype)
        made.host.fill(0)
        return made

    def _like(self, order: np.ndarray, values: np.ndarray) -> Array:
        axes = sorted(range(order.ndim), key=lambda axis: (-abs(order.strides[axis]), axis))
        dense = self.empty(tuple(order.shape[axis] for axis in axes), order.dtype).host
        host = dense.transpose(np.argsort(axes)) if axes else dense
        host[...] = values
        return Array(host, self._current, self)

    def empty_like(self, array: Array) -> Array:
        return self._like(array.host, np.nan)

    def copy(self, array: Array, dtype: str | None = None) -> Array:
        with np.errstate(over="ignore"):
            host = array.host if dtype is None else array.host.astype(dtype)
        return self._like(host, host)

    def move(self, array: Array) -> Array:
        return self.copy(array)

    def readable(self, array: Array) -> Array:
        size = array.dtype.itemsize
        if self.address(array) % size or any(stride % size for stride in array.strides):
            return self._like(np.ascontiguousarray(array.host), array.host)
        return array

    def writable(self, array: Array | None) -> bool:
        return array is not None and array.flags.c_contiguous and self.address(array) % array.dtype.itemsize == 0

    def assign(self, out: Array, array: Array) -> None:
        np.copyto(out.host, array.host)

    def address(self, array: Array) -> int:
        return array.data.ptr

    def mark(self, *guarded: Array | None):
        return SimpleNamespace(stream=self.stream, guarded=guarded, done=False)

    def wait(self, mark) -> None:
        if self.capturing:
            self.held.append(mark)
        elif self.stream == mark.stream or mark.done:
            return
        self.waits.append(self.stream)
        mark.done = not self.capturing

    def launch(self, launch, arguments: np.ndarray) -> None:
        if launch.grid:
            self.launcher(launch)(by_value(arguments))

    def launcher(self, launch):
        self._library(launch.kernel)
        return lambda arguments: self._launch(launch, arguments)

    def _launch(self, launch, arguments: np.ndarray) -> None:
        assert arguments.size == 1, "CuPy passes arrays of one element by value, and no others"
        assert arguments.dtype.fields is None
        self.launched.append(launch.kernel.name)
        assert launch.shared == int(dict(launch.kernel.defines).get("SHARED_BYTES", 0))
        message = ctypes.create_string_buffer(300)
        status = self._library(launch.kernel).pyconv_run(
            launch.grid,
            launch.block,
            ctypes.c_void_p(arguments.ctypes.data),
            ctypes.c_size_t(arguments.nbytes),
            ctypes.c_ulonglong(int(self._random.integers(2**62))),
            message,
            ctypes.c_size_t(len(message)),
        )
        if status:
            raise DeviceError(f"{launch.kernel}: {message.value.decode()}")

    def _library(self, kernel) -> ctypes.CDLL:
        if kernel not in self._libraries:
            self._libraries[kernel] = ctypes.CDLL(str(build(kernel, self._sanitize)))
        return self._libraries[kernel]

    def describe(self) -> dict[str, str]:
        return {"cuda device": "the host's stand-in"}


def _flags(sanitize: bool) -> list[str]:
    flags = ["-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    flags += ["-Wno-unknown-pragmas", "-Wno-unused-function", f"-I{HERE}"]
    # Some systems' compilers fortify by themselves, and then a jump to another stack ends the process
    flags += ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=0"]
    with contextlib.suppress(OSError):
        if " fma " in Path("/proc/cpuinfo").read_text():
            flags.append("-mfma")  # fmaf as an instruction, not a call
    if sanitize:
        flags += ["-g", "-fsanitize=address", "-fsanitize-sections=cuda_shared"]
    return flags


def _made(name: str, suffix: str, command: list[str], source: str) -> Path:
    """The file that ``command`` makes of ``source``, unless it is there: its name tells all that goes into it."""
    hashed = hashlib.sha256(repr((command, source)).encode())
    for header in HEADERS:
        hashed.update((HERE / header).read_bytes())
    file = BUILD / f"{name}-{hashed.hexdigest()[:20]}{suffix}"
    if not file.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        done = subprocess.run([*command, "-o", str(unfinished)], input=source, capture_output=True, text=True)
        if done.returncode:
            raise DeviceError(f"{name} does not compile on the host:\n{done.stderr}")
        unfinished.replace(file)
    return file


@cache
def _runner(sanitize: bool) -> Path:
    """run.cpp, compiled: most of what a kernel's library needs, and the same for all of them."""
    command = [CXX, *_flags(sanitize), "-c", "-x", "c++", "-"]
    return _made("run", ".o", command, f'#line 1 "run.cpp"\n{(HERE / "run.cpp").read_text()}')


def build(kernel, sanitize: bool = False) -> Path:
    """The kernel as a shared library, compiled if it is not there yet. Raises DeviceError with the compiler's words."""
    source = f'#include "host.hpp"\n{kernel.source}#include "entry.hpp"\n'
    command = [CXX, *_flags(sanitize), *kernel.options, f"-DENTRY={kernel.name}", "-shared", "-x", "c++", "-"]
    command += ["-x", "none", str(_runner(sanitize))]
    try:
        return _made(kernel.name, ".so", command, source)
    except DeviceError as error:
        raise DeviceError(f"the CUDA kernel {kernel}: {error}") from None
