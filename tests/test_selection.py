"""Which backend runs: precedence, lists, environment variables, and what is said about it."""

from __future__ import annotations

import logging
import os
import threading

import numpy as np
import pytest
from helpers import USABLE, normal, output_of, refused, run_python

import pyconv
import pyconv.functional as F
from pyconv import registry
from pyconv.errors import ArgumentError, BackendError, BackendWarning, ConfigurationError
from pyconv.plan import plan_elementwise

X = normal(1, 3, 6, 7)
PLAN = plan_elementwise("relu", (2, 3), "float32")


def chosen(**more):
    """The name of the backend that would run a relu."""
    return registry.select(PLAN, "numpy", more.get("backend")).name


def test_automatic():
    assert chosen() == "cpu"
    assert registry.order("numpy") == ("cpu", "reference")
    assert registry.order("cupy") == ("cuda",)


def test_precedence(monkeypatch):
    assert registry.requested() is None
    monkeypatch.setenv("PYCONV_BACKEND", "cuda")
    assert registry.requested() == ("cuda",)
    pyconv.set_backend("reference")
    assert registry.requested() == ("reference",)
    with pyconv.use_backend("cpu"):
        assert registry.requested() == ("cpu",)
        assert registry.requested("cuda") == ("cuda",)
        with pyconv.use_backend("reference"):
            assert registry.requested() == ("reference",)
        assert registry.requested() == ("cpu",)
        with pyconv.use_backend(None):
            assert registry.requested() == ("reference",)
    assert registry.requested() == ("reference",)
    pyconv.set_backend(None)
    assert registry.requested() == ("cuda",)
    monkeypatch.setenv("PYCONV_BACKEND", "")
    assert registry.requested() is None


def test_precedence_is_followed_by_calls(monkeypatch):
    monkeypatch.setenv("PYCONV_BACKEND", "reference")
    assert chosen() == "reference"
    assert chosen(backend="cpu") == "cpu"
    with pyconv.use_backend("cpu"):
        assert chosen() == "cpu"
        assert chosen(backend="reference") == "reference"
        assert pyconv.explain(pyconv.ReLU(backend="reference"), X).steps[0].backend == "reference"
    pyconv.set_backend("cpu")
    assert chosen() == "cpu"


def test_lists_are_tried_in_order():
    assert chosen(backend="reference,cpu") == "reference"
    assert chosen(backend="cuda, cpu") == "cpu"
    assert chosen(backend=["cuda", "reference"]) == "reference"
    assert chosen(backend=("CPU",)) == "cpu"
    with pyconv.use_backend("cuda,reference"):
        assert chosen() == "reference"
    with pytest.raises(BackendError, match="backend cuda was asked for"):
        chosen(backend="cuda")


def test_use_backend_is_undone_by_an_error():
    with pytest.raises(ZeroDivisionError), pyconv.use_backend("reference"):
        1 / 0  # noqa: B018
    assert registry.requested() is None


def test_use_backend_as_a_decorator():
    @pyconv.use_backend("reference")
    def run():
        return chosen()

    assert [run(), chosen(), run()] == ["reference", "cpu", "reference"]


def test_use_backend_is_of_one_thread():
    inside, over = threading.Event(), threading.Event()
    found = []

    def other():
        inside.wait()
        found.append(registry.requested())
        with pyconv.use_backend("reference"):
            found.append(registry.requested())
            over.wait()
            found.append(registry.requested())

    thread = threading.Thread(target=other)
    thread.start()
    with pyconv.use_backend("cpu"):
        inside.set()
        assert registry.requested() == ("cpu",)
    over.set()
    thread.join()
    assert found == [None, ("reference",), ("reference",)]
    assert registry.requested() is None


def test_set_backend_is_of_all_threads():
    found = []
    pyconv.set_backend("reference")
    thread = threading.Thread(target=lambda: found.append(registry.requested()))
    thread.start()
    thread.join()
    assert found == [("reference",)]


@pytest.mark.parametrize(
    ("value", "close"),
    [("cqu", "cpu"), ("CPUs", "cpu"), ("referense", "reference"), ("coda", "cuda"), ("cpu,refrence", "reference")],
)
def test_near_misses(monkeypatch, value, close):
    words = ["there is no backend", f"did you mean {close!r}?", "installed: cpu, cuda, reference"]
    refused(ConfigurationError, ["backend=", *words], F.relu, X, backend=value)
    refused(ConfigurationError, ["set_backend", *words], pyconv.set_backend, value)
    with pytest.raises(ConfigurationError, match="use_backend: there is no"), pyconv.use_backend(value):
        pass
    monkeypatch.setenv("PYCONV_BACKEND", value)
    refused(ConfigurationError, [f"PYCONV_BACKEND={value!r}", *words], F.relu, X)
    assert registry.requested("cpu") == ("cpu",)  # the argument comes first


@pytest.mark.parametrize("value", ["tensorflow", "", "cpu,", ",", "  "])
def test_no_near_miss(value):
    message = refused(ConfigurationError, ["backend=: there is no backend", "installed:"], F.relu, X, backend=value)
    assert "did you mean" not in message


@pytest.mark.parametrize("value", [3, [], [1], b"cpu", pyconv])
def test_no_names(value):
    refused(ArgumentError, ["set_backend: a backend is given by name"], pyconv.set_backend, value)


@pytest.mark.skipif("cuda" in USABLE, reason="there is a GPU")
def test_cuda_says_why_not():
    [status] = [status for status in pyconv.backends() if status.name == "cuda"]
    assert not status.usable
    message = refused(
        BackendError,
        ["conv2d: no backend can run it", "backend cuda was asked for"],
        F.conv2d,
        X,
        normal(2, 3, 3, 3),
        backend="cuda",
    )
    assert status.reason in message
    assert "Usable here for numpy arrays: cpu, reference" in message


def fake_array(package, **attributes):
    """An array of another library, as far as selection looks at it."""
    kind = type("ndarray", (), {"__module__": f"{package}.core"})
    array = kind()
    for name, value in {"shape": (1, 3, 6, 7), "ndim": 4, "dtype": np.dtype("float32"), **attributes}.items():
        setattr(array, name, value)
    return array


@pytest.mark.parametrize("function", [F.relu, lambda x, **more: F.max_pool2d(x, 2, **more)])
def test_arrays_of_other_libraries(function):
    cupy, other = fake_array("cupy"), fake_array("arraylib")
    refused(BackendError, ["automatic choice for cupy arrays", "cuda: "], function, cupy)
    refused(BackendError, ["it takes numpy arrays, not cupy ones"], function, cupy, backend="cpu")
    refused(BackendError, ["cpu: it takes", "reference: it takes"], function, cupy, backend="cpu,reference")
    refused(BackendError, ["no backend takes arraylib arrays"], function, other)
    refused(ArgumentError, ["not a NumPy or CuPy array; pass np.asarray(input)"], function, fake_array("torch"))


def test_out_of_another_library():
    refused(ArgumentError, ["relu: out must be a numpy array like the input"], F.relu, X, out=fake_array("cupy"))


class Choosy:
    """A backend that refuses everything, to see what automatic choice does."""

    name, api_version, array_types = "cpu", 1, ("numpy",)

    def supports(self, plan):
        return "it is out of order"


def test_automatic_choice_goes_on_and_says_so(monkeypatch, caplog):
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda name: Choosy() if name == "cpu" else load(name))
    monkeypatch.setattr(registry, "_selected", {})
    with caplog.at_level(logging.DEBUG, "pyconv"):
        assert chosen() == "reference"
    assert "relu: automatic choice of reference, after {'cpu': 'it is out of order'}" in caplog.text
    with pytest.raises(BackendError, match="cpu: it is out of order"):
        chosen(backend="cpu")  # a name is never replaced
    explanation = pyconv.explain(F.relu, X)
    assert explanation.steps[0].candidates[0] == ("cpu", "it is out of order")
    assert explanation.steps[0].backend == "reference"


# -- a clone that is not built, played in a process of its own

NOT_BUILT = """
import sys
sys.modules["pyconv._core.runtime"] = None  # as if it were not there
import numpy as np, pyconv, pyconv.functional as F
x = np.ones((1, 2, 5, 6), np.float32)
for _ in range(3):
    assert F.relu(x{argument}).all() and pyconv.Conv2d(2, 3, 3, rng=0{argument})(x).shape == (1, 3, 3, 4)
pyconv.show_config()
"""


def test_a_core_that_is_not_built_is_told_once():
    done = run_python(NOT_BUILT.format(argument=""))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("BackendWarning: backend 'cpu' cannot be used: the compiled core cannot be imported") == 1
    for words in (
        "build it with pip install . in a clone",
        "'reference' runs in its place",
        "PYCONV_BACKEND=reference",
    ):
        assert words in done.stderr
    assert "chosen:     reference (automatic), for NumPy arrays" in done.stdout
    assert "cpu:        not usable: the compiled core" in done.stdout
    assert issubclass(BackendWarning, RuntimeWarning)


def test_what_is_asked_for_by_name_needs_no_core():
    for argument, environment in ((", backend='reference'", {}), ("", {"PYCONV_BACKEND": "cpu,reference"})):
        done = run_python(NOT_BUILT.format(argument=argument), **environment)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        assert "chosen:     reference (" in done.stdout
    done = run_python(NOT_BUILT.format(argument=""), PYCONV_BACKEND="cpu")
    assert "backend 'cpu' cannot be used: the compiled core" in done.stderr
    done = run_python(
        "import sys; sys.modules['pyconv._core.runtime'] = None; import pyconv; pyconv.show_config()",
        PYCONV_BACKEND="cpu",
    )
    assert "chosen:     none that is usable (asked for)" in done.stdout


# -- environment variables, each in a process of its own

CALL = """
import numpy as np, pyconv, pyconv.functional as F
x = np.ones((1, 2, 5, 6), np.float32)
try:
    layer = pyconv.Conv2d(2, 3, 3, rng=0)
    assert layer(x).shape == (1, 3, 3, 4) and F.relu(x).all() and F.max_pool2d(x, 2).all()
    pyconv.get_num_threads()
except pyconv.errors.ConfigurationError as error:
    print(error)
else:
    print("fine")
"""


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PYCONV_BACKEND", "gpu", "installed: cpu, cuda, reference"),
        ("PYCONV_BACKEND", "cpu,", "installed: cpu, cuda, reference"),
        ("PYCONV_NUM_THREADS", "0", "whole number from 1"),
        ("PYCONV_NUM_THREADS", "-2", "whole number from 1"),
        ("PYCONV_NUM_THREADS", "many", "whole number from 1"),
        ("PYCONV_NUM_THREADS", "1.5", "whole number from 1"),
        ("PYCONV_NUM_THREADS", "100000", "whole number from 1"),
        ("PYCONV_CPU_ISA", "sse9", "one of baseline, "),
        ("PYCONV_CPU_ISA", "1", "one of baseline, "),
        ("PYCONV_VERBOSE", "yes", "one of 0, 1"),
        ("PYCONV_VERBOSE", "-1", "one of 0, 1"),
    ],
)
def test_values_that_make_no_sense(name, value, words):
    message = output_of(CALL, **{name: value})
    assert f"{name}={value!r}" in message
    assert words in message
    assert output_of(CALL.replace("pyconv.get_num_threads()", ""), **{name: value}) == message  # by any operation
    if name != "PYCONV_VERBOSE":  # which has nothing to do with what is chosen
        chosen = output_of("import pyconv; print(pyconv.show_config('dicts')['chosen'])", **{name: value})
        assert chosen.startswith(f"none: {name}={value!r}")
    # the import alone goes well: it is an error when it is first needed
    assert output_of("import pyconv; print(pyconv.__version__)", **{name: value}) == pyconv.__version__


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("PYCONV_BACKEND", "PYCONV_NUM_THREADS", "PYCONV_CPU_ISA", "PYCONV_VERBOSE")
            for value in ("", "  ")
        ),
        ("PYCONV_BACKEND", "Reference"),
        ("PYCONV_BACKEND", "cuda , cpu"),
        ("PYCONV_NUM_THREADS", " 2 "),
        ("PYCONV_CPU_ISA", "baseline"),
        ("PYCONV_CPU_ISA", "BASELINE"),
        ("PYCONV_VERBOSE", "0"),
    ],
)
def test_values_that_make_sense(name, value):
    done = run_python(CALL, **{name: value})
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_the_backend_of_the_environment():
    code = """
import contextlib, io, numpy as np, pyconv, pyconv.functional as F
with contextlib.redirect_stdout(io.StringIO()):
    step = pyconv.explain(F.relu, np.ones(3, np.float32)).steps[0]
print(step.backend)
"""
    assert output_of(code) == "cpu"
    assert output_of(code, PYCONV_BACKEND="reference") == "reference"
    assert output_of(code, PYCONV_BACKEND="cuda,reference") == "reference"


def test_verbose_lines():
    done = run_python(CALL, PYCONV_VERBOSE="1", PYCONV_BACKEND="reference")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("pyconv,conv2d,reference,numpy,float32 1x2x5x6 -> 1x3x3x4 k3x3,")
    assert lines[1].startswith("pyconv,relu,reference,numpy,float32 1x2x5x6,")
    assert lines[2].startswith("pyconv,max_pool2d,reference,numpy,float32 1x2x5x6 -> 1x2x2x3 k2x2 s2x2,")
    assert all(line.endswith(" ms") for line in lines)
    lines = run_python(CALL, PYCONV_VERBOSE="1").stderr.splitlines()
    assert [line.split(",")[2] for line in lines] == ["cpu"] * 3


# -- explain


def test_explain_a_function(capsys):
    found = pyconv.explain(F.conv2d, X, normal(4, 3, 3, 3), stride=2, padding=1, backend="reference")
    assert capsys.readouterr().out == ""  # it is shown once by print, and at a prompt
    assert (
        repr(found)
        == str(found)
        == (
            "conv2d: conv2d float32 1x3x6x7 -> 1x4x3x4 k3x3 s2x2 p1/1/1/1 -> reference:numpy\n"
            "    2.59 kFLOP by the plain sum; input 504 B, weights 432 B, output 192 B\n"
            "    reference:numpy: runs"
        )
    )
    [step] = found.steps
    assert (step.backend, step.implementation) == ("reference", "numpy")
    assert step.plan.out_shape == (1, 4, 3, 4)


def test_explain_lists_every_candidate():
    found = pyconv.explain(F.tanh, X)
    names = [name for name, _ in found.steps[0].candidates]
    assert names[0].startswith("cpu:")
    assert names[-1] == "reference:numpy"
    assert [reason for _, reason in found.steps[0].candidates].count(None) == 1
    assert "reference:numpy: comes later in the order" in str(found)


def test_explain_a_network():
    net = pyconv.Sequential(
        pyconv.Conv2d(3, 8, 3), pyconv.Sequential({"act": pyconv.ReLU(), "pool": pyconv.MaxPool2d(2)}), pyconv.Tanh()
    )
    found = pyconv.explain(net, X)
    assert [step.name for step in found.steps] == ["(0) Conv2d", "(act) ReLU", "(pool) MaxPool2d", "(2) Tanh"]
    assert found.steps[-1].plan.out_shape == net(X).shape
    assert [step.plan.out_shape[-3:] for step in pyconv.explain(net, X[0]).steps][-1] == net(X[0]).shape
    assert pyconv.explain(pyconv.Sequential(), X).steps == ()


def test_explain_what_cannot_run():
    found = pyconv.explain(F.relu, X, backend="cuda")
    assert found.steps[0].backend is None
    assert "nothing can run it" in str(found)
    with pytest.raises(pyconv.errors.ShapeError):
        pyconv.explain(F.max_pool2d, X, 99)


def test_explain_runs_nothing():
    x = np.broadcast_to(np.float32(1), (1, 3, 20_000, 20_000))
    assert pyconv.explain(pyconv.Conv2d(3, 1, 3), x).steps[0].plan.out_shape == (1, 1, 19_998, 19_998)


def test_show_config(capsys):
    config = pyconv.show_config("dicts")
    assert capsys.readouterr().out == ""
    assert config["pyconv"] == pyconv.__version__
    assert config["backends"]["reference"]["usable"]
    assert pyconv.show_config() is None
    text = capsys.readouterr().out
    for words in (pyconv.__version__, np.__version__, "reference:", "cuda:", "not usable: "):
        assert words in text


def test_explanation_sees_the_layout_between_layers():
    image = np.moveaxis(normal(1, 8, 8, 16), -1, 1)
    net = pyconv.Sequential(
        pyconv.ReLU(), pyconv.MaxPool2d(2), pyconv.Conv2d(16, 4, 1), pyconv.MaxPool2d(2), fuse=False
    )
    steps = pyconv.report.explain(net, image).steps
    assert [step.plan.layout for step in steps[1:]] == ["nhwc", "nhwc", "nchw"]
    assert steps[1].implementation.startswith("channels_")


def test_explanation_names_the_layer_that_does_not_fit():
    net = pyconv.Sequential(pyconv.ReLU(), pyconv.Conv2d(3, 4, 3))
    with pytest.raises(pyconv.errors.ShapeError, match=r"\(1\) Conv2d: Conv2d\(3, 4"):
        pyconv.report.explain(net, normal(1, 2, 8, 8))
    with pytest.raises(pyconv.errors.ArgumentError, match="op must be"):
        pyconv.report.explain(np.zeros(3), normal(1, 2, 8, 8))


LIMITS = """
import pyconv
from threadpoolctl import threadpool_limits
pyconv.set_num_threads({wanted})
found = [pyconv.get_num_threads()]
for limit in (1, 2, 3, 4):
    with threadpool_limits(limit):
        found.append(pyconv.get_num_threads())
    found.append(pyconv.get_num_threads())
print(found)
"""


@pytest.mark.parametrize("wanted", [1, 2, 7])
@pytest.mark.parametrize("omp", ["", "1", "2", "5"])
def test_threadpoolctl_limits_hold(wanted, omp):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    preset = int(omp or cores)  # a limit of just that looks like none where more are wanted
    expected = [wanted]
    for limit in (1, 2, 3, 4):
        expected += [wanted if limit == preset else min(limit, wanted), wanted]
    assert output_of(LIMITS.format(wanted=wanted), OMP_NUM_THREADS=omp) == str(expected)
