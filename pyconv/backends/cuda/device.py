"""The room that talks to the device, through CuPy: compile, allocate, copy, launch. Nothing else imports CuPy."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import environment
from ...errors import BackendError, BackendWarning, DeviceError
from .kernel import OPTIONS, Kernel, Launch, by_value

__all__ = ["WGMMA", "CupyRoom", "Mark", "compiled", "unusable", "warn_without_wgmma", "wgmma_failure"]

WGMMA = "PYCONV_CUDA_WGMMA"
"""'on': Hopper's tensor cores by wgmma. Read when the backend is first used."""

_INSTALL = "pip install 'cupy-cuda13x>=14' (for drivers of CUDA 13), or cupy-cuda12x"
_SHARED_WITHOUT_ASKING = 48 * 1024  # bytes of shared memory that any kernel may have
_LEGACY_STREAMS = (0, 1)  # handles of the default stream, which cannot be captured and refuses to be asked
_PER_THREAD_STREAM = 2  # the handle that stands for another stream in every thread
_EXTERNAL = 1  # cudaEventWaitExternal: while a graph is captured, wait for what was recorded outside of it
_NO_DRIVER, _NOT_INITIALIZED, _NO_DEVICE = 35, 3, 100  # of cudaError


def unusable() -> str | None:
    """The reason why no CUDA device can be used, or None."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported ({error}); {_INSTALL}"
    if getattr(cupy.cuda.runtime, "is_hip", False):
        return "this CuPy is built for AMD GPUs, the kernels are for NVIDIA's"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"{_advice(getattr(error, 'status', 0))} ({error}; CuPy {cupy.__version__})"
    return None if count else f"{_advice(_NO_DEVICE)} (CuPy {cupy.__version__})"


def _advice(status: int) -> str:
    return {
        _NO_DRIVER: "there is no NVIDIA driver, or it is too old for this CuPy; install one, or the CuPy for its CUDA",
        _NO_DEVICE: "the driver finds no NVIDIA GPU",
        _NOT_INITIALIZED: "CUDA does not start; in a process forked from one that used it it never does: "
        "use multiprocessing's 'spawn'",
    }.get(status, "CUDA cannot be used")


class Mark:
    """A point in a stream that others have to wait for.

    Parameters
    ----------
    event : cupy.cuda.Event
        What was recorded there.
    stream : cupy.cuda.Stream
        Where. It is kept: while it lives, no other stream has its handle.
    device : int
        Of the stream, since the default streams have the same handle on every device.
    captured : bool
        Whether it was recorded in a graph, so that it comes when the graph runs.
    guarded : tuple
        What was made before it; kept as long as the mark.
    """

    def __init__(self, event: Any, stream: Any, device: int, captured: bool, guarded: tuple[Any, ...]) -> None:
        self.event = event
        self.stream = stream
        self.device = device
        self.captured = captured
        self.guarded = guarded
        self.done = False
        self.readers: dict[int, Any] = {}  # other streams of the device that came here, by handle

    def before(self, stream: Any, device: int) -> bool:
        """Whether whatever comes in ``stream``, which is not captured, comes after it without waiting."""
        if stream.ptr == self.stream.ptr != _PER_THREAD_STREAM and device == self.device:
            return True
        if device == self.device and stream.ptr != _PER_THREAD_STREAM:
            self.readers[stream.ptr] = stream
        self.done = self.done or self.event.done
        return self.done


class CupyRoom:
    """The device as the backend sees it. Arrays are CuPy's; ``with on(device)`` makes one current.

    A graph that was captured uses the memory of the capture each time it runs, and nobody says when it is gone. What
    is allocated or waited for during a capture is therefore never freed: it is bounded by the captures, not by the
    runs.

    Parameters
    ----------
    wgmma : bool, optional
        Whether Hopper's tensor cores are used by wgmma where all devices have them; else what ``PYCONV_CUDA_WGMMA``
        says: 'off' if it says nothing.
    """

    def __init__(self, wgmma: bool | None = None) -> None:
        import cupy

        self._cupy = cupy
        self._process = os.getpid()
        self._wgmma = environment.choice(WGMMA, ("off", "on")) == "on" if wgmma is None else wgmma
        self._wgmma_by = WGMMA if wgmma is None else "by argument"
        self._tensor_cores: int | None = None
        self._deciding = threading.Lock()
        self.without_wgmma: str | None = None  # the reason, where it was asked for and its kernels cannot be used
        self._compiled: dict[tuple[int, Kernel], Any] = {}
        self._held: dict[int, Any] = {}

    def check_process(self) -> None:
        """Refuse a process that was forked after the device was used: no CUDA call works there."""
        if os.getpid() != self._process:
            raise DeviceError(
                "this process was forked from one that used CUDA, where CUDA cannot be used; start it with "
                "multiprocessing's 'spawn' or 'forkserver', or use backend='cpu' here"
            )

    def current_device(self) -> int:
        """Its number."""
        return self._cupy.cuda.runtime.getDevice()

    def device_of(self, array: Any) -> int:
        """The device on which an array lies."""
        return array.device.id

    def on(self, device: int) -> contextlib.AbstractContextManager[Any]:
        """A context in which ``device`` is the current one."""
        return contextlib.nullcontext() if device == self.current_device() else self._cupy.cuda.Device(device)

    def upload(self, array: np.ndarray) -> Any:
        """A NumPy array's copy on the current device: C order, but for channels-last, in native byte order."""
        source = array.astype(array.dtype.newbyteorder("="), copy=False)
        last = source.ndim == 4 and not source.flags.c_contiguous and source.transpose(0, 2, 3, 1).flags.c_contiguous
        try:
            if last:
                return self._cupy.asarray(source.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
            return self._cupy.asarray(np.ascontiguousarray(source).reshape(source.shape))
        except (TypeError, ValueError) as error:
            raise BackendError(f"CuPy {self._cupy.__version__} takes no {array.dtype} arrays: {error}") from error

    def download(self, array: Any, out: np.ndarray | None) -> np.ndarray:
        """A device array as a NumPy array, ``out`` if it is given; waits for the device."""
        if array.ndim == 4 and not array.flags.c_contiguous:  # channels-last stays so
            result = self._cupy.asnumpy(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        else:
            result = self._cupy.asnumpy(array)
        if out is None:
            return result
        np.copyto(out, result)
        return out

    def empty(self, shape: tuple[int, ...], dtype: np.dtype, order: tuple[int, ...] | None = None) -> Any:
        """New memory from CuPy's pool, in C order, or with the axes in this ``order``, the slowest first."""
        if order is None:
            return self._hold(self._cupy.empty(shape, dtype))
        made = self._hold(self._cupy.empty(tuple(shape[axis] for axis in order), dtype))
        return made.transpose(sorted(range(len(order)), key=order.__getitem__))

    def zeros(self, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """The same, filled with zeros."""
        return self._hold(self._cupy.zeros(shape, dtype))

    def empty_like(self, array: Any) -> Any:
        """New memory in the order of axes of ``array``, which is dense."""
        return self._hold(self._cupy.empty_like(array))

    def copy(self, array: Any, dtype: str | None = None) -> Any:
        """A dense copy, in another dtype if one is given."""
        return self._hold(array.copy(order="K") if dtype is None else array.astype(dtype, order="K"))

    def move(self, array: Any) -> Any:
        """A copy on the current device of an array that lies on another."""
        return self._hold(array.copy())

    def readable(self, array: Any) -> Any:
        """``array`` itself if its elements lie at whole multiples of their size, else a copy where they do."""
        size = array.dtype.itemsize
        if self.address(array) % size or any(stride % size for stride in array.strides):
            return self._hold(self._cupy.ascontiguousarray(array))
        return array

    def writable(self, array: Any) -> bool:
        """Whether a kernel can write its result straight into ``array``."""
        return array is not None and array.flags.c_contiguous and self.address(array) % array.dtype.itemsize == 0

    def assign(self, out: Any, array: Any) -> None:
        """Copy ``array`` into ``out``, of the same shape."""
        self._cupy.copyto(out, array)

    def address(self, array: Any) -> int:
        """Of the first element."""
        return array.data.ptr

    def mark(self, *guarded: Any) -> Mark:
        """Where the current stream is now, for others to wait for; ``guarded`` is what was made before."""
        event = self._cupy.cuda.Event(disable_timing=True)
        stream = self._cupy.cuda.get_current_stream()
        event.record(stream)
        made = Mark(event, stream, self.current_device(), _capturing(stream), guarded)
        weakref.finalize(made, self._give_back, made.device, stream, made.readers, guarded).atexit = False
        return made

    def _give_back(self, device: int, stream: Any, readers: dict[int, Any], guarded: tuple[Any, ...]) -> None:
        """Have ``stream``, to which the memory of ``guarded`` goes back, wait for what other streams do with it.

        Where that cannot be had, as while one of them is captured, the memory is kept.
        """
        if os.getpid() != self._process:
            return
        try:
            for reader in readers.values():
                with self.on(device):
                    event = self._cupy.cuda.Event(disable_timing=True)
                    event.record(reader)
                    self._cupy.cuda.runtime.streamWaitEvent(stream.ptr, event.ptr, 0)
        except Exception:  # of CUDA, of whatever kind: there is nobody to tell
            self._held[id(guarded)] = guarded

    def wait(self, mark: Mark) -> None:
        """Have the current stream wait for ``mark``, unless it comes after it anyway; the host does not wait.

        A graph waits each time it runs, wherever that is; but for a mark of the capture itself, which is part of it.
        """
        stream = self._cupy.cuda.get_current_stream()
        capturing = _capturing(stream)
        if capturing:
            self._held[id(mark)] = mark
        elif mark.captured:
            raise DeviceError(
                "weights were prepared while a CUDA graph was captured, and are there only when it runs; make one "
                "call before the capture"
            )
        elif mark.before(stream, self.current_device()):
            return
        flags = _EXTERNAL if capturing and not mark.captured else 0
        self._cupy.cuda.runtime.streamWaitEvent(stream.ptr, mark.event.ptr, flags)

    def _hold(self, array: Any) -> Any:
        """``array``, kept for the process's life if the current stream is being captured."""
        if _capturing(self._cupy.cuda.get_current_stream()):
            self._held[id(array)] = array
        return array

    def forget_captures(self) -> None:
        """Give up what captured graphs use; none of them may be launched again."""
        self._held.clear()

    def launch(self, launch: Launch, arguments: np.ndarray) -> None:
        """Run a kernel on the current stream; it is compiled if this is the first time on this device."""
        if launch.grid:
            self.launcher(launch)(by_value(arguments))

    def launcher(self, launch: Launch) -> Callable[[np.ndarray], None]:
        """What runs a kernel on the current stream of this device, given its arguments :func:`by_value`."""
        function, grid, block = self._function(launch.kernel, launch.shared), (launch.grid,), (launch.block,)
        return lambda arguments: function(grid, block, (arguments,), shared_mem=launch.shared)

    def tensor_cores(self) -> int:
        """Which tensor cores every device has: 8 for TF32, bfloat16 and asynchronous copies, 0 without these.

        9 for Hopper's, if they are to be used by wgmma and one of its kernels could be compiled and loaded; if not,
        that is said once, in a warning. One answer for the process: weights that are packed for one device may be moved
        to another, and those packed for wgmma are for nothing else.
        """
        found = self._tensor_cores
        if found is None:
            self.check_process()
            with self._deciding:
                first = self._tensor_cores is None
                found = self._decide() if first else self._tensor_cores
                self._tensor_cores = found
            if first and self.without_wgmma is not None:  # what is said may be an error, what is known stays
                warn_without_wgmma(self.without_wgmma, self._wgmma_by)
        assert found is not None
        return found

    def _decide(self) -> int:
        runtime = self._cupy.cuda.runtime
        all_of = [runtime.getDeviceProperties(device) for device in range(runtime.getDeviceCount())]
        found = {(each["major"], each["minor"]) for each in all_of}
        if found == {(9, 0)} and self._wgmma:
            self.without_wgmma = wgmma_failure(self.launcher)
            return 9 if self.without_wgmma is None else 8
        return 8 if min(found) >= (8, 0) else 0

    def _function(self, kernel: Kernel, shared: int) -> Any:
        key = (self.current_device(), kernel)
        found = self._compiled.get(key)
        if found is None:
            try:
                found = self._load(kernel)
                if shared > _SHARED_WITHOUT_ASKING:
                    found.max_dynamic_shared_size_bytes = shared
            except self._cupy.cuda.compiler.CompileException as error:
                raise DeviceError(f"the CUDA kernel {kernel} does not compile:\n{error}") from error
            self._compiled[key] = found
        return found

    def _load(self, kernel: Kernel) -> Any:
        """What CuPy compiles for the current device or, if the kernel is for one architecture alone, NVRTC for that."""
        options = (*OPTIONS, *kernel.options)
        if kernel.architecture is None:
            found = self._cupy.RawModule(code=kernel.source, options=options, backend="nvrtc").get_function(kernel.name)
            found.compile()
            return found
        with tempfile.TemporaryDirectory(prefix="pyconv-") as folder:
            path = os.path.join(folder, f"{kernel.name}.cubin")
            with open(path, "wb") as file:
                file.write(compiled(self._cupy, kernel, options))
            found = self._cupy.RawModule(path=path).get_function(kernel.name)
            found.compile()  # which reads the file
        return found

    def describe(self) -> dict[str, str]:
        """The device, the driver and CuPy."""
        runtime = self._cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self.current_device())
        count = runtime.getDeviceCount()
        return {
            "cuda device": f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB, compute "
            f"capability {properties['major']}.{properties['minor']}" + (f", one of {count}" if count > 1 else ""),
            "cuda driver": f"CUDA {_version(runtime.driverGetVersion())}, "
            f"runtime {_version(runtime.runtimeGetVersion())}",
            "cupy": self._cupy.__version__,
            "cuda wgmma": f"{'on' if self._wgmma else 'off'} ({self._wgmma_by}), "
            + ("used" if self.tensor_cores() >= 9 else "not used")
            + (f": {self.without_wgmma}" if self.without_wgmma else ""),
        }


def wgmma_failure(launcher: Callable[[Launch], Any]) -> str | None:
    """The reason why a kernel of wgmma's cannot be compiled or loaded, or None."""
    from .wgmma import trial  # the plans' side, of which nothing else is asked here

    try:
        launcher(trial())
    except Exception as error:  # NVRTC's, the driver's, the file system's: whatever it is, mma.sync needs none of it
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return None


def warn_without_wgmma(reason: str, asked_by: str = WGMMA) -> None:
    """Say that kernels of mma.sync run where wgmma's were asked for, by ``PYCONV_CUDA_WGMMA`` or by argument."""
    asked = f"{WGMMA}=on" if asked_by == WGMMA else f"wgmma is asked for {asked_by}"
    words = f"{asked}, but its kernels cannot be used here, and those of mma.sync take their place ({reason})"
    warnings.warn(words, BackendWarning, stacklevel=3)


def compiled(cupy: Any, kernel: Kernel, options: tuple[str, ...]) -> bytes:
    """A cubin for the kernel's one architecture, by the NVRTC that CuPy has. It is not kept in CuPy's cache."""
    nvrtc = cupy.cuda.nvrtc
    program = nvrtc.createProgram(kernel.source, kernel.file, (), ())
    own = (f"-arch={kernel.architecture}", "-ftz=true", "--device-as-default-execution-space")
    try:
        nvrtc.compileProgram(program, (*options, *own))
        return bytes(nvrtc.getCUBIN(program))
    except nvrtc.NVRTCError as error:
        words = nvrtc.getProgramLog(program)
        raise DeviceError(f"the CUDA kernel {kernel} does not compile:\n{words}") from error
    finally:
        nvrtc.destroyProgram(program)


def _capturing(stream: Any) -> bool:
    """Whether what ``stream`` is given goes into a graph."""
    return stream.ptr not in _LEGACY_STREAMS and stream.is_capturing()


def _version(number: int) -> str:
    """'13.0' for 13000, as CUDA numbers its versions."""
    return f"{number // 1000}.{number % 1000 // 10}"
