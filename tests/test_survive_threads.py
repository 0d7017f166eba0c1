"""What threads, forks and interpreters do to each other must not crash or hang; each in a process of its own."""

from __future__ import annotations

import os
import sys
from textwrap import indent

import pytest
from helpers import WORK, needs_fork, output_of


@needs_fork
def test_forks_by_one_thread_while_others_compute():
    """And while threads rest, because others were waited for: the child has neither these threads nor their locks."""
    code = (
        WORK
        + """
import signal, threading, warnings
from pyconv._core import tasks
warnings.simplefilter("ignore")
done, fine = threading.Event(), [right()]  # before: a child waits forever for what another thread is importing
def compute():
    while not done.is_set():
        fine.append(right())
threads = [threading.Thread(target=compute) for _ in range(3)]
for thread in threads:
    thread.start()
for number in range(8):
    tasks.note_wait(0.0, 1e-3) if number % 2 else tasks.forget_waits()
    child = os.fork()
    if child == 0:
        signal.alarm(50)
        os._exit(0 if right() else 1)
    _, status = os.waitpid(child, 0)
    fine.append(status == 0)
done.set()
for thread in threads:
    thread.join()
print(all(fine))
"""
    )
    assert output_of(code, PYCONV_NUM_THREADS="2", timeout=100) == "True"


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="the system's threads cannot be counted")
def test_threads_that_come_and_go_leave_none():
    """Each has helpers of its own, which end with it."""
    code = (
        WORK
        + """
import threading, time
fine = [right()]
for _ in range(3):
    threads = [threading.Thread(target=lambda: fine.append(right())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
for _ in range(200):  # they may take a while to end
    if len(os.listdir("/proc/self/task")) < 12:
        break
    time.sleep(0.1)
print(all(fine), len(os.listdir("/proc/self/task")) < 12)
"""
    )
    assert output_of(code, PYCONV_NUM_THREADS="2", timeout=100) == "True True"


@pytest.mark.parametrize("size", ["32k", "64k", "1g"])
def test_helpers_with_small_stacks(size):
    """Tasks that are Python's are left to the calling thread where a helper has no room for them."""
    assert output_of(WORK + "print(right())", OMP_STACKSIZE=size, PYCONV_NUM_THREADS="3") == "True"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="its subinterpreters have another module")
@pytest.mark.parametrize("order", ["sub sub main", "main sub main"])
def test_subinterpreters(order):
    """The first interpreter that imports NumPy and the core can use them; others get an error, and none crashes."""
    work = indent(WORK + "print(right(), flush=True)", "    ")  # each interpreter has a buffer of its own
    code = f"""
import _xxsubinterpreters as interpreters
code = {"try:" + work + chr(10) + "except ImportError:" + chr(10) + "    print('refused', flush=True)"!r}
for place in {order.split()}:
    exec(code) if place == "main" else interpreters.run_string(interpreters.create(), code)
"""
    first, *others = output_of(code, PYCONV_NUM_THREADS="2").splitlines()
    assert first == "True"
    assert len(others) == 2
    assert set(others) <= {"True", "refused"}
