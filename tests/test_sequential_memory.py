"""Memory between the layers of a Sequential: kept, and never that of a result."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from helpers import bits, normal, output_of

from pyconv import BatchNorm2d, Conv2d, MaxPool2d, ReLU, Sequential, Sigmoid, Softmax, Tanh
from pyconv.nn.module import Module

MEMORY = """
import os, numpy as np, pyconv
from pyconv import Conv2d, MaxPool2d, ReLU, Sequential
net = Sequential(Conv2d(3, 16, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(16, 32, 3, padding=1), ReLU(), ReLU())
x = np.ones((4, 3, 96, 96), np.float32)
out = net(x)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

before = resident()
for _ in range(200):
    net(x, out=out)
print(resident() - before)
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_memory_is_flat_after_the_first_batch(threads):
    """Without kept memory each of the 200 calls would take 5 MB between its layers."""
    try:
        open("/proc/self/statm").close()
    except OSError:
        pytest.skip("there is no /proc/self/statm")
    assert int(output_of(MEMORY, PYCONV_NUM_THREADS=threads)) < 1_000_000


@pytest.mark.parametrize("fuse", [True, False])
def test_what_lies_between_layers_is_kept_from_the_first_batch_on(fuse):
    """After it no batch holds more than the first left, nor needs more on the way than its own result."""
    net = Sequential(
        Conv2d(3, 8, 3, padding=1, rng=0), ReLU(), MaxPool2d(2), Conv2d(8, 16, 3, padding=1, rng=1), ReLU(), fuse=fuse
    )
    x = normal(4, 3, 96, 96)
    between = 4 * 8 * 48 * 48 * 4 if fuse else 2 * 4 * 8 * 96 * 96 * 4  # bytes of what lies there at a time
    slack = 100_000  # Python's own: plans, calls that are known
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        results = [net(x)]
        held, _ = tracemalloc.get_traced_memory()
        assert held - before >= between + results[0].nbytes
        for _ in range(5):
            results.clear()
            tracemalloc.reset_peak()
            results.append(net(x))
            now, peak = tracemalloc.get_traced_memory()
            assert max(now, peak) - held < slack
    finally:
        tracemalloc.stop()


def test_what_a_layer_of_the_users_own_gets_is_not_written_again():
    """It may keep it; nor is what it gives taken for memory that is free."""

    class Recorder(Module):
        def __init__(self):
            self.seen = []

        def __call__(self, input, *, out=None):
            self.seen.append(input)
            return input

    net, recorder = Sequential(Conv2d(3, 8, 3, rng=0), ReLU()), Recorder()
    watched = Sequential(net[0], recorder, net[1], MaxPool2d(2))
    inputs = [normal(1, 3, 24, 26, seed=seed) for seed in range(4)]
    for x in inputs:
        watched(x)
    for x, seen in zip(inputs, recorder.seen, strict=True):
        assert bits(seen) == bits(net[0](x))


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [MaxPool2d(2), ReLU(inplace=True)],
        lambda: [Conv2d(3, 8, 3, rng=0), MaxPool2d(2), ReLU(inplace=True)],
        lambda: [Conv2d(3, 8, 3, rng=0), ReLU(inplace=True), MaxPool2d(2)],
        lambda: [MaxPool2d(2), ReLU(inplace=True), Sequential()],
        lambda: [MaxPool2d(2), Sequential(Sigmoid(), ReLU(inplace=True))],
        lambda: [Sigmoid(), MaxPool2d(2), Tanh()],
    ],
)
@pytest.mark.parametrize("fuse", [True, False])
def test_what_a_call_returned_is_not_written_again(layers, fuse):
    """An activation in place gives back the array it got, which must not be kept memory then."""
    net = Sequential(*layers(), fuse=fuse)
    results = [net(normal(2, 3, 12, 14, seed=seed)) for seed in range(6)]
    for seed, result in enumerate(results):
        x = normal(2, 3, 12, 14, seed=seed)
        for layer in net:
            x = layer(x)
        assert bits(result) == bits(x)


def test_an_activation_in_place_writes_its_input_whatever_follows():
    for layers in ([MaxPool2d(2)], [Sigmoid(), MaxPool2d(2)], [Softmax(1)], []):
        x = normal(1, 3, 8, 8)
        wanted = np.maximum(x, 0)
        Sequential(ReLU(inplace=True), *layers)(x)
        assert bits(x) == bits(wanted)


def test_layers_in_a_row_keep_the_channels_last_order():
    """Another order in between might be summed in another one."""
    for first in (MaxPool2d(2), ReLU(), BatchNorm2d(8)):
        net = Sequential(first, Conv2d(8, 16, 3, padding=1, rng=0), MaxPool2d(2), Conv2d(16, 8, 3, rng=1))
        x = np.moveaxis(normal(2, 16, 18, 8), -1, 1)
        wanted = x
        for layer in net:
            wanted = layer(wanted)
        for _ in range(4):
            assert bits(net(x)) == bits(wanted)


def test_what_a_call_of_the_users_own_sees_is_not_written_again(monkeypatch):
    """A profiler or a hook may stand in the place of a class's ``__call__``, and keep results."""
    for owner in (MaxPool2d, Module):
        kept, plain = [], owner.__call__

        def recorded(self, input, *, out=None, kept=kept, plain=plain):
            result = plain(self, input, out=out)
            kept.append((result, np.copy(result)))
            return result

        monkeypatch.setattr(owner, "__call__", recorded)
        net = Sequential(Sigmoid(), MaxPool2d(2), Tanh())
        for seed in range(4):
            net(normal(1, 3, 8, 8, seed=seed))
        monkeypatch.undo()
        assert len(kept) >= 4
        assert all(bits(result) == bits(copied) for result, copied in kept)


@pytest.mark.parametrize("fuse", [True, False])
def test_memory_is_kept_between_sequentials_too(fuse):
    net = Sequential(Sequential(Conv2d(3, 8, 3, padding=1, rng=0), ReLU(), fuse=fuse), Conv2d(8, 4, 3, rng=1))
    x = normal(4, 3, 96, 96)
    net(x)
    tracemalloc.start()
    try:
        result = net(x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < result.nbytes + 100_000


@pytest.mark.parametrize("fuse", [True, False])
def test_no_call_is_planned_twice(fuse, monkeypatch):
    net = Sequential(
        Sequential(Conv2d(3, 8, 3, rng=0), Sigmoid()), MaxPool2d(2), BatchNorm2d(8), Conv2d(8, 4, 3, rng=1), fuse=fuse
    )
    planned = []
    for kind in {type(layer) for layer in (*net[0], *net[1:])}:
        plan = kind.plan_call
        monkeypatch.setattr(kind, "plan_call", lambda self, *args, plan=plan: planned.append(self) or plan(self, *args))
    right = None
    for expected in (4, 4, 0):  # the convolution and the sigmoid are one
        planned.clear()
        result = net(normal(1, 3, 20, 22))
        assert len(planned) == len(set(map(id, planned))) == expected
        right = result if right is None else right
        assert bits(result) == bits(right)


def test_what_is_never_known_as_one_pads_once_a_call(monkeypatch):
    net = Sequential(Conv2d(3, 8, 3, padding=1, padding_mode="reflect", rng=0), Sigmoid(), Conv2d(8, 4, 3, rng=1))
    x, pad, padded = normal(1, 3, 20, 22), np.pad, []
    right = net(x)
    monkeypatch.setattr(np, "pad", lambda *args, **more: padded.append(1) or pad(*args, **more))
    for calls in range(1, 5):
        assert bits(net(x)) == bits(right)
        assert len(padded) == calls


def test_a_call_in_place_of_every_layer_s_sees_what_is_not_written_again(monkeypatch):
    """Such a one is called for each layer, also of nets that were known before, and never gets kept memory."""
    net, kept, plain = Sequential(Sigmoid(), Sequential(MaxPool2d(2)), Tanh()), [], Module.__call__

    def recorded(self, input, *, out=None):
        kept.append(plain(self, input, out=out))
        return kept[-1]

    monkeypatch.setattr(Module, "__call__", recorded)
    for seed in range(5):
        kept.clear()
        net(normal(1, 3, 8, 8, seed=seed))
        assert len(kept) == 5
