"""The room that talks to CuPy, without a GPU: arguments as CuPy takes them, streams, captures, forked processes."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import normal, refused

import pyconv
import pyconv.functional as F
from pyconv.backends.cuda.device import CupyRoom
from pyconv.backends.cuda.kernel import Kernel, Launch, struct
from pyconv.errors import DeviceError

sys.path.insert(0, str(Path(__file__).parent / "cuda_host"))
from places import OnStandIn, stand_in_for_cuda
from stand_in import missing

ARGUMENTS = struct(x="u8", inner=struct(a="i4", b=("f8", 2)))
LAUNCH = Launch(Kernel.of("pack", "float32", ARGUMENTS), 1, 1)


def test_cupy_takes_the_arguments(monkeypatch):
    """CuPy's own call, of no function: it is refused by the driver, or for want of one, and not for its arguments."""
    cupy = pytest.importorskip("cupy")
    function = cupy.cuda.function.Function.__new__(cupy.cuda.function.Function)

    def call(grid, block, arguments, shared_mem):
        function(grid, block, arguments, shared_mem, SimpleNamespace(ptr=0))

    room = CupyRoom()
    monkeypatch.setattr(room, "_function", lambda kernel, shared: call)
    errors = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
    with pytest.raises(errors):
        room.launch(LAUNCH, np.zeros(1, ARGUMENTS))
    with pytest.raises(TypeError, match="size one"):
        call((1,), (1,), (np.zeros(1, ARGUMENTS).view(np.uint8),), 0)


class Stream:
    """What the room uses of a stream."""

    def __init__(self, ptr: int) -> None:
        self.ptr, self.captured = ptr, False

    def is_capturing(self) -> bool:
        assert self.ptr > 1, "CUDA refuses to say this of a default stream while another is captured"
        return self.captured


class FakeCupy:
    """What the room uses of CuPy for memory and streams; ``waits`` is what streams were told to wait for."""

    def __init__(self) -> None:
        self.stream, self.done, self.device = Stream(5), False, 0
        self.waits: list[tuple[int, int]] = []
        self.recorded: list[int] = []
        record = lambda stream: self.recorded.append(stream.ptr)  # noqa: E731
        event = lambda **_: SimpleNamespace(ptr=77, record=record, done=self.done)  # noqa: E731
        runtime = SimpleNamespace(
            streamWaitEvent=lambda stream, event, flags: self.waits.append((stream, flags)),
            getDevice=lambda: self.device,
        )
        self.cuda = SimpleNamespace(Event=event, runtime=runtime, get_current_stream=lambda: self.stream)
        self.empty, self.zeros, self.empty_like = np.empty, np.zeros, np.empty_like


@pytest.fixture
def cupy(monkeypatch):
    made = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", made)
    return made


def test_arguments_are_one_element(cupy, monkeypatch):
    room, seen = CupyRoom(), []
    monkeypatch.setattr(
        room, "_function", lambda kernel, shared: lambda grid, block, args, shared_mem: seen.extend(args)
    )
    packed = np.zeros(1, ARGUMENTS)
    packed["x"], packed["inner"]["b"] = 123, 0.5
    room.launch(LAUNCH, packed)
    assert (seen[0].size, seen[0].tobytes()) == (1, packed.tobytes())


def test_waiting(cupy):
    """For each call until the event is done, but on its own stream; another device may have the same handle."""
    room = CupyRoom()
    mark = room.mark()
    room.wait(mark)
    assert cupy.waits == []
    cupy.stream = Stream(6)
    room.wait(mark)
    room.wait(mark)
    assert cupy.waits == [(6, 0), (6, 0)]
    cupy.stream, cupy.device = Stream(5), 1
    room.wait(mark)
    assert cupy.waits.pop() == (5, 0)
    mark.event.done = True
    room.wait(mark)
    mark.event.done = None  # it is not asked again
    room.wait(mark)
    assert len(cupy.waits) == 2


def test_the_per_thread_stream_has_one_handle_for_many(cupy):
    room, cupy.stream = CupyRoom(), Stream(2)
    room.wait(room.mark())
    assert cupy.waits == [(2, 0)]


def test_weights_that_are_dropped_while_they_are_read(cupy):
    """Their stream waits for all others that read them, also for those that came when they were long there."""
    room = CupyRoom()
    mark = room.mark(np.ones(3))
    for number, done in ((6, False), (7, True), (6, True), (5, True)):
        mark.done, cupy.stream = done, Stream(number)
        room.wait(mark)
    cupy.waits.clear()
    cupy.recorded.clear()
    cupy.stream = Stream(8)  # is where they happen to be dropped
    del mark
    gc.collect()
    assert cupy.recorded == [6, 7]
    assert cupy.waits == [(5, 0), (5, 0)]
    assert room._held == {}


@pytest.mark.parametrize("what", ["forked", "an error"])
def test_weights_that_are_dropped_where_nothing_can_wait(cupy, what):
    """In a forked process nothing is done; memory that CUDA will not take back in order is kept."""
    room, kept = CupyRoom(), np.ones(3)
    mark, kept = room.mark(kept), weakref.ref(kept)
    cupy.stream = Stream(6)
    room.wait(mark)
    cupy.recorded.clear()
    if what == "forked":
        room._process = -1
    else:

        def refuse(*_):
            raise RuntimeError("not while another stream is captured")

        cupy.cuda.runtime.streamWaitEvent = refuse
    del mark
    gc.collect()
    assert cupy.recorded == ([] if what == "forked" else [6])
    assert (kept() is None) == (what == "forked")


@pytest.mark.parametrize("home", [0, 5])
def test_waiting_in_a_capture(cupy, home):
    """Always, on the mark's own stream too and though it is done: the graph may run elsewhere, and again."""
    room, cupy.stream = CupyRoom(), Stream(home)
    mark = room.mark("weights")
    mark.done = True
    for number in (5, 6):
        cupy.stream = Stream(number)
        cupy.stream.captured = True
        room.wait(mark)
        room.wait(mark)
    assert cupy.waits == [(5, 1), (5, 1), (6, 1), (6, 1)]
    assert list(room._held.values()) == [mark]  # and with it the weights, for as long as the graph may run
    assert mark.guarded == ("weights",)


def test_a_mark_of_a_capture(cupy):
    """Inside it is part of the graph; outside nobody knows when it comes."""
    room = CupyRoom()
    cupy.stream.captured = True
    mark = room.mark()
    room.wait(mark)
    assert cupy.waits == [(5, 0)]
    cupy.stream.captured = False
    refused(DeviceError, ["while a CUDA graph was captured", "make one call before"], room.wait, mark)


def test_memory_of_a_capture_is_kept(cupy):
    room = CupyRoom()
    makers = [
        lambda: room.empty((3,), np.dtype("f4")),
        lambda: room.zeros((3,), np.dtype("f4")),
        lambda: room.empty_like(np.ones(3)),
        lambda: room.copy(np.ones(3)),
        lambda: room.copy(np.ones(3), "f4"),
        lambda: room.move(np.ones(3)),
    ]
    for captured in (False, True):
        cupy.stream.captured = captured
        made = [weakref.ref(make()) for make in makers]
        gc.collect()
        assert [each() is not None for each in made] == [captured] * len(makers)


def test_a_forked_process_is_not_asked_for_tensor_cores(cupy):
    room = CupyRoom()
    room._process = -1
    refused(DeviceError, ["forked"], room.tensor_cores)


@pytest.fixture
def place(monkeypatch):
    if reason := missing():
        pytest.skip(reason)
    made = OnStandIn()
    stand_in_for_cuda(monkeypatch, made.room)
    return made


def test_a_convolution_in_a_forked_process(place):
    x = place.array(normal(1, 3, 8, 8))
    place.room._process = -1
    refused(DeviceError, ["forked"], F.conv2d, x, np.ones((4, 3, 3, 3), "f4"))


CAPTURED = {
    "packed weights": lambda place, x: F.conv2d(x, place.array(normal(4, 3, 3, 3))),
    "parts of a sum": lambda place, x: F.conv2d(place.array(normal(1, 512, 3, 3)), place.array(normal(16, 512, 3, 3))),
    "gaps": lambda place, x: F.relu(x[..., ::2]),
    "a layer's weights": lambda place, x: pyconv.Conv2d(3, 4, 3, rng=0)(x),
    "between two": lambda place, x: pyconv.Sequential(pyconv.Conv2d(3, 4, 3, rng=0), pyconv.MaxPool2d(3))(x),
}


@pytest.mark.parametrize("what", CAPTURED)
def test_what_a_graph_uses_is_never_freed(place, monkeypatch, what):
    x, empty, made = place.array(normal(1, 3, 8, 8)), place.room.empty, []

    def noted(*arguments):
        array = empty(*arguments)
        made.append(weakref.ref(array.host))
        return array

    for capturing in (False, True):
        CAPTURED[what](place, x)
        with monkeypatch.context() as patch:
            patch.setattr(place.room, "empty", noted)
            place.room.capturing, made[:] = capturing, []
            CAPTURED[what](place, x)
        gc.collect()
        alive = [each() is not None for each in made]
        assert alive
        assert all(alive) is capturing
