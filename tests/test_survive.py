"""What must not crash, hang or change its mind; whatever could, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import WORK, assert_close, needs_fork, normal, output_of, run_python
from threadpoolctl import threadpool_limits

import pyconv
import pyconv.functional as F
from pyconv.errors import PyconvError


@needs_fork
@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_fork_after_a_parallel_call(threads):
    code = (
        WORK
        + """
import warnings
warnings.simplefilter("ignore")  # newer Pythons warn of forking a process with threads
assert right()
child = os.fork()
if child == 0:
    fine = right()
    second = os.fork()  # and a child of the child
    if second == 0:
        os._exit(0 if right() else 1)
    _, status = os.waitpid(second, 0)
    os._exit(0 if fine and status == 0 else 1)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert right()
print("fine")
"""
    )
    assert output_of(code, PYCONV_NUM_THREADS=threads, timeout=60) == "fine"


@needs_fork
def test_multiprocessing_by_fork_with_a_layer():
    code = (
        WORK
        + """
import multiprocessing, warnings
warnings.simplefilter("ignore")
layer = pyconv.Conv2d(16, 32, 3, padding=1, rng=0)
before = layer(x)
def run(number):
    return bool(np.array_equal(layer(x), before))
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(all(pool.map(run, range(4))))
"""
    )
    assert output_of(code, PYCONV_NUM_THREADS="2", timeout=60) == "True"


def test_multiprocessing_by_spawn_sends_a_layer():
    code = """
import multiprocessing
import numpy as np, pyconv
if __name__ == "__main__":
    layer = pyconv.Sequential(pyconv.Conv2d(3, 4, 3, rng=0), pyconv.ReLU(), pyconv.MaxPool2d(2))
    x = np.ones((2, 3, 10, 10), np.float32)
    wanted = layer(x)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(np.array_equal(pool.apply(layer, (x,)), wanted))
"""
    assert output_of(code, timeout=60) == "True"


@pytest.mark.parametrize("value", ["100000", "1", "0", "-3", "many", "4,2", "", "999999999999999999999"])
def test_omp_num_threads(value):
    code = WORK + "print(right(), 1 <= pyconv.get_num_threads() <= 100000)"
    assert output_of(code, OMP_NUM_THREADS=value) == "True True"


def test_omp_num_threads_counts():
    code = "import pyconv; print(pyconv.get_num_threads())"
    assert output_of(code, OMP_NUM_THREADS="1") == "1"
    assert output_of(code, OMP_NUM_THREADS="1", PYCONV_NUM_THREADS="3") == "3"
    assert output_of(code, PYCONV_NUM_THREADS="2") == "2"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert output_of(code) == str(cores)


@pytest.mark.parametrize("omp", ["1", "2"])
def test_openmp_s_setting_is_the_caller_s(omp):
    """What other libraries would use is the same before and after a call that uses more."""
    code = (
        WORK
        + """
from threadpoolctl import threadpool_info
def settings():
    return {each["filepath"]: each["num_threads"] for each in threadpool_info() if each["user_api"] == "openmp"}
before = settings()
fine = [pyconv.get_num_threads() == 3, right(), settings() == before, bool(before)]
pyconv.set_num_threads(4)
fine += [pyconv.get_num_threads() == 4, right(), settings() == before]
print(fine)
"""
    )
    assert output_of(code, OMP_NUM_THREADS=omp, PYCONV_NUM_THREADS="3") == str([True] * 7)


def test_set_num_threads_wins():
    code = "import pyconv; pyconv.set_num_threads(3); print(pyconv.get_num_threads())"
    assert output_of(code, PYCONV_NUM_THREADS="2") == "3"


def test_threadpoolctl_limits_hold():
    before = pyconv.get_num_threads()
    with threadpool_limits(1):
        assert pyconv.get_num_threads() == 1
        assert F.conv2d(normal(1, 16, 64, 64), normal(16, 16, 3, 3), backend="cpu").shape == (1, 16, 62, 62)
    assert pyconv.get_num_threads() == before


def test_more_threads_than_work():
    code = WORK + "print(right(), F.conv2d(x[:1, :1, :3, :3], weight[:1, :1]).shape, F.relu(x[0, 0, 0, :1]).shape)"
    assert output_of(code, PYCONV_NUM_THREADS="64") == "True (1, 1, 1, 1) (1,)"


SAME_BITS = {
    "conv": lambda: F.conv2d(normal(2, 19, 41, 43), normal(37, 19, 3, 3), normal(37), padding=1, backend="cpu"),
    "conv64": lambda: F.conv2d(
        normal(1, 19, 41, 43, dtype="float64"), normal(37, 19, 3, 3, dtype="float64"), stride=2, backend="cpu"
    ),
    "conv_1x1": lambda: F.conv2d(normal(1, 67, 31, 33), normal(129, 67, 1, 1), backend="cpu"),
    "conv_many_channels": lambda: F.conv2d(normal(1, 256, 7, 7), normal(256, 256, 3, 3), padding=1, backend="cpu"),
    "conv_groups": lambda: F.conv2d(normal(1, 64, 33, 35), normal(64, 16, 3, 3), groups=4, backend="cpu"),
    "depthwise": lambda: F.conv2d(normal(1, 70, 57, 59), normal(70, 1, 3, 3), padding=1, groups=70, backend="cpu"),
    "channels_last": lambda: F.conv2d(np.moveaxis(normal(1, 57, 59, 20), -1, 1), normal(24, 20, 5, 5), backend="cpu"),
    "image": lambda: F.conv2d(normal(1, 1, 301, 303), normal(1, 1, 9, 9), backend="cpu"),
    "fft": lambda: F.conv2d(normal(2, 2, 130, 140), normal(3, 2, 21, 9), algorithm="fft", backend="cpu"),
    "pool": lambda: F.max_pool2d(normal(2, 33, 57, 59), 3, 2, 1, backend="cpu"),
    "sigmoid": lambda: F.sigmoid(normal(301, 1009), backend="cpu"),
    "tanh": lambda: F.tanh(normal(301, 1009, dtype="float64"), backend="cpu"),
}


@pytest.mark.parametrize("name", SAME_BITS)
def test_same_bits_for_any_number_of_threads(name):
    before = pyconv.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            pyconv.set_num_threads(threads)
            results.append(SAME_BITS[name]().tobytes())
    finally:
        pyconv.set_num_threads(before)
    assert len(set(results)) == 1


def test_same_bits_every_time():
    layer = pyconv.Conv2d(19, 37, 3, rng=0)
    x = normal(2, 19, 41, 43)
    assert len({layer(x).tobytes() for _ in range(10)}) == 1


@pytest.fixture
def switching():
    """Python's threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("switching")
def test_several_threads_in_one_layer():
    net = pyconv.Sequential(pyconv.Conv2d(8, 16, 3, padding=1, rng=0), pyconv.Tanh(), pyconv.MaxPool2d(2))
    inputs = [normal(1, 8, 24, 26, seed=seed) for seed in range(8)]
    wanted = [net(x) for x in inputs]
    fresh = pyconv.Sequential(pyconv.Conv2d(8, 16, 3, padding=1, rng=0), pyconv.Tanh(), pyconv.MaxPool2d(2))
    start = threading.Barrier(4)

    def work(_):
        start.wait()
        return all(np.array_equal(fresh(x), right) for _ in range(5) for x, right in zip(inputs, wanted, strict=True))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [True] * 4


@pytest.mark.usefixtures("switching")
def test_several_threads_with_many_shapes_in_one_layer():
    # more kinds of plan than a layer keeps weights for, so that entries come and go under the other threads
    layer = pyconv.Conv2d(2, 3, 3, backend="reference", rng=0)
    inputs = [normal(1, 2, 4 + size, 5) for size in range(20)]
    wanted = [F.conv2d(x, layer.weight, layer.bias, backend="reference") for x in inputs]

    def work(offset):
        order = [(place + offset) % 20 for place in range(20)] * 5
        return all(np.array_equal(layer(inputs[place]), wanted[place]) for place in order)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, (0, 3, 7, 11))) == [True] * 4


def test_new_weights_between_planning_and_running():
    # what another thread may do at the worst moment must not leave weights of the past in the layer
    layer = pyconv.Conv2d(2, 3, 3, rng=0)
    x = normal(1, 2, 6, 7)
    call = layer.plan_call(x)
    backend = pyconv.registry.select(call.plan, call.kind)
    old = layer.weight
    layer.weight = np.zeros_like(old)
    assert_close(call.run(backend, layer._prepared(call, backend)), F.conv2d(x, old, layer.bias))
    assert_close(layer(x), F.conv2d(x, np.zeros_like(old), layer.bias))


def test_the_interpreter_runs_on_during_a_call():
    # another thread counts while a convolution runs; without the GIL released it could not
    x, weight = normal(4, 64, 96, 96), normal(64, 64, 3, 3)
    started, done = threading.Event(), threading.Event()

    def convolve():
        started.set()
        for _ in range(3):
            F.conv2d(x, weight, backend="cpu")
        done.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # a turn ends only where the lock is given up
    try:
        thread = threading.Thread(target=convolve)
        thread.start()
        started.wait()
        turns = 0
        while not done.is_set():
            turns += 1
            threading.Event().wait(1e-4)
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert turns > 1


# Valid calls whose numbers overflow 32 bits somewhere between plan and memory; what is computed is tiny.
HUGE = {
    "conv_padding_and_stride": """
x = np.full((1, 1, 4, 4), 2, np.float32)
got = F.conv2d(x, np.ones((1, 1, 3, 3), np.float32), padding=2**20, stride=2**20, backend="cpu")
assert got.shape == (1, 1, 3, 3)
assert got[0, 0, 1, 1] == 18 and got.sum() == 18
""",
    "conv_dilation": """
x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
got = F.conv2d(x, np.ones((1, 1, 3, 3), np.float32), dilation=2**30, padding=2**30, backend="cpu")
assert np.array_equal(got, x)
""",
    "conv_dilation_and_stride": """
x = np.arange(7, 19, dtype=np.float32).reshape(1, 1, 3, 4)
far = 2**31 - 1
got = F.conv2d(x, np.ones((1, 1, 2, 2), np.float32), dilation=far, padding=far, stride=far, backend="cpu")
assert got.tolist() == [[[[7, 7], [7, 7]]]], got
""",
    "conv_one_sided": """
x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
weight = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
got = F.conv2d(x, weight, padding=((2**31 - 1, 2**31 - 1), (0, 0)), stride=(2**31 - 1, 1), backend="cpu")
assert got.shape == (1, 1, 3, 3)
assert np.array_equal(got[0, 0, 1], [1 * a + 2 * (a + 1) + 3 * (a + 4) + 4 * (a + 5) for a in range(3)])
assert not got[0, 0, 0].any()
""",
    "pool_window": """
x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
got, index = F.max_pool2d(x, 2**31 - 1, 1, padding=2**30 - 1, return_indices=True, backend="cpu")
assert got.shape[:2] == (1, 1) and (got == 11).all() and (index == 11).all()
""",
    "pool_window_ceil": """
x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
side = (2**31 - 2, 2**31 - 2)
got = F.max_pool2d(x, 2**31 - 1, 2**31 - 1, padding=(side, side), ceil_mode=True, backend="cpu")
assert got.tolist() == [[[[0, 3], [8, 11]]]], got
""",
    "pool_dilation": """
x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
got, index = F.max_pool2d(x, 3, 1, padding=2**30, dilation=2**30, return_indices=True, backend="cpu")
assert np.array_equal(got, x) and np.array_equal(index.ravel(), range(12))
""",
    "tall_input": """
x = np.broadcast_to(np.float32(3), (1, 1, 2**33, 1))
assert F.max_pool2d(x, 1, stride=2**31 - 1, backend="cpu").tolist() == [[[[3.0]] * 5]]
assert F.conv2d(x, np.ones((1, 1, 1, 1), np.float32), stride=2**31 - 1, backend="cpu").tolist() == [[[[3.0]] * 5]]
""",
    "many_taps": """
x = np.ones((1, 1, 1, 100_000), np.float32)
assert F.conv2d(x, x, backend="cpu").item() == 100_000
""",
    "empty": """
assert F.conv2d(np.empty((0, 1, 2**40, 1), np.float32), np.ones((3, 1, 1, 1), np.float32), backend="cpu").size == 0
assert F.max_pool2d(np.empty((0, 1, 2**40, 1), np.float32), 1, backend="cpu").shape == (0, 1, 2**40, 1)
assert F.relu(np.empty((2**40, 0, 2**20), np.float32), backend="cpu").shape == (2**40, 0, 2**20)
""",
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_numbers(name):
    """The right result."""
    code = "import numpy as np, pyconv, pyconv.functional as F\ntry:\n"
    code += "".join(f"    {line}\n" for line in HUGE[name].strip().splitlines())
    code += "except (pyconv.errors.BackendError, MemoryError) as error:\n    print(type(error).__name__, error)\n"
    assert output_of(code, timeout=60) == ""


def test_denormals_do_not_change_the_floating_point_state():
    tiny = np.float32(1e-40)
    F.conv2d(np.full((1, 16, 64, 64), tiny), normal(16, 16, 3, 3), backend="cpu")
    assert np.float32(tiny) * np.float32(1) == tiny
    assert tiny / np.float32(2) > 0


def test_an_error_in_the_middle_leaves_everything_usable():
    layer = pyconv.Conv2d(2, 3, 3, rng=0)
    x = normal(1, 2, 6, 7)
    right = layer(x)
    for wrong in (x[:, :1], x.astype("float64"), None, x[0, 0]):
        with pytest.raises(PyconvError):
            layer(wrong)
    np.testing.assert_array_equal(layer(x), right)


def test_exit_while_a_call_runs():
    code = (
        WORK
        + """
import subprocess
import threading
def forever():
    while True:
        right()
threading.Thread(target=forever, daemon=True).start()
assert right()
"""
    )
    done = run_python(code, timeout=60)
    assert done.returncode == 0, done.stderr


def test_fork_after_another_library_ran_in_parallel(tmp_path):
    """OpenMP's threads belong to the process, not to us: a child must not wait for another library's either."""
    source = tmp_path / "other.c"
    source.write_text(
        "#include <omp.h>\n"
        "int run(void) { int n = 0;\n"
        "#pragma omp parallel num_threads(2) reduction(+ : n)\n"
        "n += 1; return n; }\n"
    )
    library = tmp_path / "other.so"
    build = subprocess.run(["cc", "-fopenmp", "-shared", "-fPIC", "-o", library, source], check=False)
    if build.returncode:
        pytest.skip("no C compiler with OpenMP")
    code = f"""
import ctypes, os, warnings
import numpy as np, pyconv, pyconv.functional as F
warnings.simplefilter("ignore")
pyconv.set_num_threads(2)
pyconv.backends()
x, w = np.ones((1, 32, 64, 64), np.float32), np.ones((32, 32, 3, 3), np.float32)
assert ctypes.CDLL({str(library)!r}).run() == 2
child = os.fork()
right = bool((F.conv2d(x, w, algorithm="direct") == 288).all())
if child == 0:
    os._exit(0 if right else 1)
assert right and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    output_of(code, timeout=60)


def test_padding_that_only_plain_numpy_would_write_out_is_refused():
    """The cpu backend refuses it in words, and automatic choice must not go on to one that takes all memory."""
    x, weight = np.ones((1, 2, 300, 300), np.float32), np.ones((1, 2, 3, 3), np.float32)
    for far in (2**20, 2**31 - 1):
        with pytest.raises(pyconv.errors.BackendError, match="the padded input in float64"):
            F.conv2d(x, weight, padding=far, dilation=far)
