"""What comes before wgmma is used: the setting, its compiler and loader, the trial, and mma.sync in its place."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from time import sleep
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import refused
from test_packaging import load_tool

import pyconv
from pyconv.backends.cuda import wgmma
from pyconv.backends.cuda.device import CupyRoom, compiled
from pyconv.backends.cuda.kernel import OPTIONS
from pyconv.errors import BackendWarning, ConfigurationError, DeviceError
from pyconv.report import explain

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
pytest.importorskip("ml_dtypes")
import stand_in
from nvrtc import Nvrtc
from places import by_both_ways, stand_in_for_cuda
from stand_in import StandIn, missing
from tensor_cases import numbers

needs_compiler = pytest.mark.skipif(missing() is not None, reason=str(missing()))


class FakeCupy:
    """What the room asks of CuPy for the devices' tensor cores, with a compiler and a loader that take everything."""

    __version__ = "0"

    def __init__(self, *capabilities: tuple[int, int], nvrtc=None) -> None:
        more = {"name": b"none", "totalGlobalMem": 0}
        properties = [{"major": major, "minor": minor, **more} for major, minor in capabilities]
        count, each = (lambda: len(properties)), properties.__getitem__
        runtime = SimpleNamespace(getDeviceCount=count, getDeviceProperties=each, getDevice=lambda: 0)
        runtime.driverGetVersion = runtime.runtimeGetVersion = lambda: 13000
        compiler = SimpleNamespace(CompileException=CompileError)
        self.cuda = SimpleNamespace(runtime=runtime, compiler=compiler, nvrtc=nvrtc or FakeNvrtc())
        self.loaded: list[bytes] = []

    def RawModule(self, path):
        def compile():
            self.loaded.append(Path(path).read_bytes())

        return SimpleNamespace(get_function=lambda name: SimpleNamespace(compile=compile))


class CompileError(Exception):
    """CuPy's own."""


class FakeNvrtc:
    """It compiles everything, to nothing."""

    NVRTCError = CompileError

    def __getattr__(self, name):
        return lambda *arguments: b"a cubin"


@pytest.mark.parametrize(
    ("setting", "capabilities", "wanted"),
    [
        (None, [(9, 0)], 8),
        ("off", [(9, 0)], 8),
        ("on", [(9, 0)], 9),
        (" ON ", [(9, 0), (9, 0)], 9),
        ("on", [(9, 0), (8, 0)], 8),
        ("on", [(10, 0)], 8),
        ("on", [(7, 5), (9, 0)], 0),
    ],
)
def test_the_setting(monkeypatch, setting, capabilities, wanted):
    """Of all devices together, and only of compute capability 9.0: sm_90a runs on no other."""
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy(*capabilities))
    monkeypatch.delenv("PYCONV_CUDA_WGMMA", raising=False)
    if setting is not None:
        monkeypatch.setenv("PYCONV_CUDA_WGMMA", setting)
    assert CupyRoom().tensor_cores() == wanted


def test_nonsense_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy((9, 0)))
    monkeypatch.setenv("PYCONV_CUDA_WGMMA", "1")
    refused(ConfigurationError, ["PYCONV_CUDA_WGMMA='1'", "off, on"], CupyRoom)


@pytest.fixture(params=["cupy", "ctypes"])
def nvrtc(request):
    """The compiler as CuPy has it, and by itself: no GPU is needed for either."""
    if request.param == "cupy":
        cupy = pytest.importorskip("cupy")
        try:
            cupy.cuda.nvrtc.getVersion()
        except Exception as error:  # of whatever kind, if there is no NVRTC
            pytest.skip(f"CuPy finds no NVRTC: {error}")
        return cupy.cuda.nvrtc
    library = load_tool("cuda_check").nvrtc()
    if library is None:
        pytest.skip("there is no NVRTC here; pip install nvidia-cuda-nvrtc")
    return Nvrtc(library)


def test_the_cubin_is_for_sm_90a(nvrtc):
    """An ELF file for that architecture; the compiler's words where it does not compile, and nothing is left behind."""
    cupy, kernel = FakeCupy((9, 0), nvrtc=nvrtc), next(wgmma.kernels())
    cubin = compiled(cupy, kernel, (*OPTIONS, *kernel.options))
    assert cubin.startswith(b"\x7fELF")
    assert b"sm_90a" in cubin
    refused(DeviceError, ["conv_wgmma.cu", "TILES"], compiled, cupy, kernel, OPTIONS)
    unknown = replace(kernel, architecture="sm_1")
    refused(DeviceError, ["conv_wgmma.cu"], compiled, cupy, unknown, (*OPTIONS, *kernel.options))
    assert getattr(nvrtc, "programs", 0) == 0


def test_the_trial_takes_what_the_compiler_makes(nvrtc, monkeypatch):
    """From the setting to a loaded cubin, but for the device."""
    cupy = FakeCupy((9, 0), nvrtc=nvrtc)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    room = CupyRoom(wgmma=True)
    assert (room.tensor_cores(), room.without_wgmma) == (9, None)
    assert [cubin[:4] for cubin in cupy.loaded] == [b"\x7fELF"]


@pytest.mark.parametrize("where", ["compileProgram", "RawModule"])
def test_the_device_falls_back_once(monkeypatch, where):
    """What NVRTC or the driver refuses leaves mma.sync, with one warning."""
    cupy, asked = FakeCupy((9, 0)), []

    def fail(*arguments, **more):
        asked.append(where)
        raise CompileError("not here")

    monkeypatch.setattr(cupy if where == "RawModule" else cupy.cuda.nvrtc, where, fail, raising=False)
    monkeypatch.setattr(cupy.cuda.nvrtc, "getProgramLog", lambda program: "not here", raising=False)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    room = CupyRoom(wgmma=True)
    with pytest.warns(BackendWarning, match=r"asked for by argument.*mma.sync take their place.*not here") as said:
        assert [room.tensor_cores() for _ in range(3)] == [8, 8, 8]
    assert len(said) == len(asked) == 1
    assert "not here" in room.without_wgmma
    with pytest.warns(BackendWarning), pytest.raises(pytest.fail.Exception, match="not here"):
        by_both_ways()


def test_a_warning_that_is_an_error_comes_once(monkeypatch):
    """What was found out is remembered all the same; it names the setting if that asked."""
    cupy, asked = FakeCupy((9, 0)), []
    monkeypatch.setattr(cupy, "RawModule", lambda path: asked.append(path) or 1 / 0)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setenv("PYCONV_CUDA_WGMMA", "on")
    room = CupyRoom()
    with warnings.catch_warnings():
        warnings.simplefilter("error", BackendWarning)
        with pytest.raises(BackendWarning, match=r"PYCONV_CUDA_WGMMA=on, but .*ZeroDivisionError"):
            room.tensor_cores()
        assert [room.tensor_cores() for _ in range(3)] == [8, 8, 8]
    assert len(asked) == 1
    assert "ZeroDivisionError" in room.without_wgmma


def test_two_first_threads_try_once(monkeypatch):
    """The second waits for what the first finds out."""
    cupy, asked, threads = FakeCupy((9, 0)), [], Barrier(2)
    load = cupy.RawModule
    monkeypatch.setattr(cupy, "RawModule", lambda path: asked.append(path) or sleep(0.05) or load(path))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    room = CupyRoom(wgmma=True)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: threads.wait(10) < 2 and room.tensor_cores(), range(2))) == [9, 9]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("setting", "argument", "wanted"),
    [
        ("on", None, "on (PYCONV_CUDA_WGMMA), used"),
        ("off", None, "off (PYCONV_CUDA_WGMMA), not used"),
        ("off", True, "on (by argument), used"),
    ],
)
def test_who_asked_is_said(monkeypatch, setting, argument, wanted):
    cupy = FakeCupy((9, 0))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setenv("PYCONV_CUDA_WGMMA", setting)
    assert CupyRoom(wgmma=argument).describe()["cuda wgmma"] == wanted


def test_hopper_is_asked_for_by_both_ways_or_skipped(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy((9, 0)))
    assert [each._room.tensor_cores() for each in by_both_ways()] == [8, 9]
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy((8, 0)))
    with pytest.raises(pytest.skip.Exception, match=r"capability 9\.0"):
        by_both_ways()


def test_the_trial_takes_most_memory():
    """The kernel, of all of them, that needs most of what a multiprocessor has."""
    assert wgmma.trial().shared == max(int(dict(kernel.defines)["SHARED_BYTES"]) for kernel in wgmma.kernels())
    assert wgmma.trial().kernel in set(wgmma.kernels())


@needs_compiler
def test_it_falls_back_to_mma_sync(monkeypatch):
    """Where its kernels do not compile: the same results as without it, one warning, and the reason in explain."""
    build = stand_in.build

    def without_wgmma(kernel, sanitize=False):
        if kernel.name == "conv_wgmma":
            raise DeviceError("no such architecture")
        return build(kernel, sanitize)

    monkeypatch.setattr(stand_in, "build", without_wgmma)
    falls, plain = StandIn(seed=3, tensor_cores=9, try_wgmma=True), StandIn(seed=3)
    x, layer = numbers(2, 32, 6, 7), pyconv.Conv2d(32, 40, 3, padding=1, rng=0, precision="tf32")
    stand_in_for_cuda(monkeypatch, plain)
    with pyconv.use_backend("cuda"):
        wanted = layer(x)
    stand_in_for_cuda(monkeypatch, falls)
    layer = pyconv.Conv2d(32, 40, 3, padding=1, rng=0, precision="tf32")
    with pyconv.use_backend("cuda"):
        with pytest.warns(BackendWarning, match="no such architecture") as said:
            results = [layer(x) for _ in range(4)]
        explained = str(explain(layer, x))
    assert len(said) == 1
    for result in results:
        np.testing.assert_array_equal(result, wanted)
    assert set(falls.launched) <= {"pack", "conv_tensor", "sum_parts"}
    assert "its kernels cannot be used here: DeviceError: no such architecture" in explained


@needs_compiler
def test_the_trial_passes_where_its_kernels_compile():
    room = StandIn(seed=3, tensor_cores=9, try_wgmma=True)
    assert (room.tensor_cores(), room.without_wgmma, room.launched) == (9, None, [])
