"""algorithm="measure": the quickest runs, it is found once, and the file that keeps it does no harm."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import GENERAL, needs_fork, normal, output_of

import pyconv
import pyconv.functional as F
from pyconv.backends.cpu import conv, measured
from pyconv.plan import layout_of
from pyconv.report import explain

X, WEIGHT = normal(2, 20, 14, 15), normal(24, 20, 3, 3, seed=1)


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(measured, "_times", {})


@pytest.fixture
def clock(monkeypatch):
    """Times as a test wants them: two seconds, one of the quickest; and how often they were taken."""

    found = SimpleNamespace(quickest="winograd", taken=Counter())

    def best_seconds(calls):
        for call in calls.values():
            call()
        found.taken.update(list(calls))
        return {name: 1.0 if name.endswith(found.quickest) else 2.0 for name in calls}

    monkeypatch.setattr(measured, "best_seconds", best_seconds)
    return found


def _run(algorithm="measure"):
    """A call that selects and prepares each time: one that is known would stay with what an earlier test chose."""
    return F.conv2d(X, WEIGHT, padding=1, algorithm=algorithm, backend=GENERAL)


def _explained(x=X, weight=WEIGHT, **more):
    [step] = explain(F.conv2d, x, weight, padding=1, algorithm="measure", backend="cpu", **more).steps
    return step


def _by_name(step):
    """What the implementation that explain names puts out."""
    cpu = pyconv.registry.load("cpu")
    return cpu.run(step.plan, X, cpu.prepare_with(step.implementation, step.plan, WEIGHT, None))


@pytest.mark.parametrize("quickest", ["winograd", "direct"])
def test_the_quickest_runs(clock, quickest):
    clock.quickest = quickest
    got, step = _run(), _explained()
    assert step.implementation.startswith(quickest)
    np.testing.assert_array_equal(got, _by_name(step))
    slower = [reason for name, reason in step.candidates if "measured" in (reason or "")]
    assert set(slower) == {"measured 2,000,000.0 µs, the quickest 1,000,000.0"}
    assert len(slower) == len(clock.taken) - 1
    assert step.measured[f"cpu:{step.implementation}"] == 1
    assert sorted(step.measured.values()) == [1, *(2 for _ in slower)]
    text = str(explain(F.conv2d, X, WEIGHT, padding=1, algorithm="measure", backend="cpu"))
    assert "; measured 1 s" in text
    assert text.count("measured") == len(clock.taken)


def test_a_shape_is_measured_once_for_each_number_of_threads(clock):
    layer = pyconv.Conv2d(20, 24, 3, padding=1, algorithm="measure", backend="cpu", rng=0)
    pyconv.set_num_threads(2)
    for _ in range(3):
        layer(X)
    assert set(clock.taken.values()) == {1}
    layer(X[:, :, 1:])  # another shape
    assert set(clock.taken.values()) == {2}
    for threads in (3, 2, 3, 2):
        pyconv.set_num_threads(threads)
        layer(X)
    assert set(clock.taken.values()) == {3}


def test_what_only_one_can_do_is_not_measured(clock):
    """Vectors along channels are for small images, or for kernels that see several pixels, as Winograd is."""
    x, weight = normal(1, 2, 300, 300), normal(1, 2, 1, 1)
    got = F.conv2d(x, weight, algorithm="measure", backend=GENERAL)
    np.testing.assert_array_equal(got, F.conv2d(x, weight, algorithm="direct", backend=GENERAL))
    assert not clock.taken


def test_really_measured():
    """With the real clock: whichever wins, the result is its."""
    got = _run()
    [times] = measured._times.values()
    assert len(times) >= 2
    assert all(0 < value < 10 for value in times.values())
    np.testing.assert_array_equal(got, _by_name(_explained()))


def test_several_threads_measure_once(clock):
    start = threading.Barrier(4)

    def work(_):
        start.wait()
        return _run().tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(work, range(4)))) == 1
    assert set(clock.taken.values()) == {1}


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "strided"])
def test_it_measures_on_the_layout_of_the_input(layout):
    views = {
        "nchw": X,
        "nhwc": np.moveaxis(np.ascontiguousarray(np.moveaxis(X, 1, -1)), -1, 1),
        "strided": np.repeat(X, 2, axis=3)[..., ::2],
    }
    step = _explained(views[layout])
    made = measured._input(step.plan)
    assert (made.shape, layout_of(made), step.plan.layout) == (X.shape, layout, layout)


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "measured.json"
    monkeypatch.setenv("PYCONV_MEASURED", str(path))
    return path


def _again():
    measured._times.clear()
    return _run()


def test_the_file_is_written_and_used(clock, file):
    first = _run()
    assert os.listdir(file.parent) == [file.name]
    clock.quickest = "direct"  # not asked any more
    np.testing.assert_array_equal(_again(), first)
    assert set(clock.taken.values()) == {1}
    [machine] = json.loads(file.read_text())["times"]
    assert machine.startswith(f"pyconv {pyconv.__version__}, ")
    assert machine.endswith(f" {pyconv.get_num_threads()} threads")


def test_the_file_keeps_what_others_measured(clock, file):
    _run()
    content = json.loads(file.read_text())
    [(machine, plans)] = content["times"].items()
    content["times"] = {"another machine": plans}
    file.write_text(json.dumps(content))
    _again()
    assert set(clock.taken.values()) == {2}  # not for this machine
    assert json.loads(file.read_text())["times"] == {"another machine": plans, machine: plans}


def test_an_entry_without_one_of_the_candidates_is_measured_anew(clock, file):
    _run()
    content = json.loads(file.read_text())
    [plans] = content["times"].values()
    for times in plans.values():
        times.popitem()
    file.write_text(json.dumps(content))
    _again()
    assert set(clock.taken.values()) == {2}


FOREIGN = {
    "empty": b"",
    "cut off": b'{"format": "pyconv measured times, version 1", "times": {"a',
    "binary": bytes(range(256)),
    "a list": b"[1, 2]",
    "another program's": b'{"name": "package", "version": "1.0"}',
    "a later format": b'{"format": "pyconv measured times, version 9", "times": {}}',
    "no numbers": b'{"format": "pyconv measured times, version 1", "times": {"m": {"p": {"direct": "fast"}}}}',
    "negative": b'{"format": "pyconv measured times, version 1", "times": {"m": {"p": {"direct": -1.0}}}}',
    "flat": b'{"format": "pyconv measured times, version 1", "times": {"m": 3}}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_not_ours_is_left_alone(clock, file, kind):
    file.write_bytes(FOREIGN[kind])
    with pytest.warns(RuntimeWarning, match=r"PYCONV_MEASURED=.*measured.json': it is left as it is"):
        _run()
    assert set(clock.taken.values()) == {1}
    assert file.read_bytes() == FOREIGN[kind]


def test_a_file_that_cannot_be_written_is_a_warning(clock, file, monkeypatch):
    monkeypatch.setenv("PYCONV_MEASURED", str(file / "deeper"))  # below what is no folder
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        _run()
    monkeypatch.setenv("PYCONV_MEASURED", str(file.parent))  # a folder itself
    with pytest.warns(RuntimeWarning, match="it is left as it is"):
        _again()
    assert os.listdir(file.parent) == []


def test_the_file_of_another_process(file):
    code = """
import numpy as np, pyconv, pyconv.functional as F
x, w = np.ones((1, 8, 6, 6), np.float32), np.ones((8, 8, 3, 3), np.float32)
F.conv2d(x, w, algorithm="measure")
from pyconv.backends.cpu import measured
print(sum(map(len, measured._times.values())) >= 2, pyconv.show_config("dicts")["cpu"]["measured"])
"""
    assert output_of(code, PYCONV_MEASURED=str(file)) == f"True {file}"
    never = "from pyconv.backends.cpu import measured\nmeasured._measure = None\n"
    assert output_of(never + code, PYCONV_MEASURED=str(file)) == f"True {file}"


@needs_fork
def test_a_child_forked_while_another_thread_measures():
    code = """
import os, threading, warnings
import numpy as np, pyconv, pyconv.functional as F
from pyconv.backends.cpu import measured
warnings.simplefilter("ignore")
x, w = np.ones((1, 8, 6, 6), np.float32), np.ones((8, 8, 3, 3), np.float32)
F.conv2d(x, w)
measured._lock.acquire()  # as the thread that measures holds it
child = os.fork()
if child == 0:
    os._exit(int(F.conv2d(x, w, algorithm="measure")[0, 0, 0, 0] != 72))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert output_of(code, timeout=60) == "0"


def test_implementations_by_name_and_their_costs():
    """What explain and measuring stand on: every implementation can be run by name, and tells what it needs."""
    x, weight = normal(1, 128, 28, 28), normal(128, 128, 3, 3, seed=1)
    plan = explain(pyconv.Conv2d(128, 128, 3, padding=1, backend="cpu"), x).steps[0].plan
    exact = F.conv2d(x, weight, padding=1, backend="reference")
    cpu = pyconv.registry.load("cpu")
    costs = cpu.costs(plan)
    taking = [name for name, refusal in cpu.implementations(plan) if refusal is None]
    assert len(taking) >= 2
    assert sorted(costs) == sorted(taking)
    for name in taking:
        prepared = cpu.prepare_with(name, plan, weight, None)
        assert prepared.implementation.label(plan) == name
        assert np.abs(conv.run(plan, x, prepared, None) - exact).max() < 1e-3
        cost = costs[name]
        assert cost.seconds is None or 0 < cost.seconds < 1
        assert cost.bytes > x.nbytes + exact.nbytes
        assert cost.workspace > 0
    assert costs[taking[0]].flops < costs[taking[-1]].flops == plan.flops
