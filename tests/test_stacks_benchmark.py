"""The benchmark of whole stacks: its shapes, what is right, and pyconv on it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import machine, stacks
from benchmarks.blocks import Block, Convolution, basic, bottleneck
from benchmarks.peers.stacks import Pyconv, PyconvLayers
from benchmarks.results import best_peer

SMALL = stacks.Stack("small", (2, 3, 13, 12), (stacks.Stage(5, 3, 1), stacks.Stage(4, 2, 0)), 6)
STEM = stacks.Stack("stem", (2, 3, 23, 22), (stacks.Stage(5, 7, 3, 2, stacks.Pool(3, 2, 1)),), 4)

BLOCK = Block("block", (1, 4, 9, 8), (Convolution(3, 1), Convolution(3, 3, 2), Convolution(8, 1)), Convolution(8, 1, 2))
PLAIN = Block("plain", (2, 4, 9, 8), (Convolution(4, 3), Convolution(4, 3)), count=4)


def test_the_lists_are_what_they_say():
    names = [stack.name for rows in stacks.LISTS.values() for stack in rows]
    assert len(set(names)) == len(names)
    lenet, vgg = stacks.LISTS["streams"][0], stacks.LISTS["streams"][2]
    assert (lenet.count, lenet.batches, lenet.out_shape) == (1000, 1000, (1, 16, 5, 5))
    assert vgg.out_shape == (1, 512, 7, 7)
    assert all(stack.count == stack.batches * stack.shape[0] for rows in stacks.LISTS.values() for stack in rows)


def test_shapes_and_bytes():
    assert [SMALL.convolved(0), SMALL.convolved(1), SMALL.out_shape] == [(2, 5, 13, 12), (2, 4, 5, 5), (2, 4, 2, 2)]
    assert SMALL.saved_bytes == 16 * (2 * 5 * 13 * 12 + 2 * 4 * 5 * 5)
    assert SMALL.flops == 2 * 3 * (2 * 5 * 13 * 12 * 27 + 2 * 4 * 25 * 20)
    assert [STEM.convolved(0), STEM.out_shape] == [(2, 5, 12, 11), (2, 5, 6, 6)]
    assert SMALL.bytes == 4 * (135 + 80 + 3 * (2 * 3 * 13 * 12 + 2 * 4 * 4))


def test_blocks():
    assert BLOCK.out_shape == (1, 8, 5, 4)
    assert BLOCK.weight_shapes == [(3, 4, 1, 1), (3, 3, 3, 3), (8, 3, 1, 1), (8, 4, 1, 1)]
    assert BLOCK.flops == 2 * (3 * 72 * 4 + 3 * 20 * 27 + 8 * 20 * 3 + 8 * 20 * 4)
    assert BLOCK.saved_bytes == 8 * (3 * 72 + 3 * 20) + 16 * 8 * 20
    assert PLAIN.bytes == 4 * (2 * 4 * 4 * 9 + 2 * 2 * 2 * 4 * 72)
    assert [each.name for each in (basic(128, 56, stride=2), bottleneck(256, 56, before=64), bottleneck(512, 28))] == [
        "basic block 64->128, 64x56x56, batch 1",
        "bottleneck 64-64-256, 64x56x56, batch 1",
        "bottleneck 512-128-512, 512x28x28, batch 1",
    ]
    assert [each.out_shape for each in (basic(128, 56, stride=2), bottleneck(256, 56, before=64))] == [
        (1, 128, 28, 28),
        (1, 256, 56, 56),
    ]


@pytest.mark.parametrize("stack", [SMALL, STEM, BLOCK, PLAIN], ids=lambda stack: stack.title)
@pytest.mark.parametrize("peer", [Pyconv, PyconvLayers])
def test_pyconv_is_right_on_it(peer, stack):
    part = stacks.region(stack)
    right = stacks.expected(stack, part)
    for way in peer(1).build(stack):
        for _ in range(4):
            assert stacks.error(right, part.of(way.result(way.call()))) < stacks.TOLERANCE["float32"]
    wrong = part.of(np.zeros(stack.out_shape, np.float32))
    assert stacks.error(right, wrong) > 0.1


def test_pyconv_in_another_form_is_no_peer():
    def took(micros):
        return {"status": "ok", "median_us": micros}

    row = {"results": {"pyconv": took(2.0), "pyconv layer by layer": took(3.0), "torch": took(4.0)}}
    assert best_peer(row) == ("torch", 4.0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_looked_at_over_a_long_stream():
    found = stacks.memory(SMALL, 1, machine.cpus(1))
    assert found["status"] == "ok"
    assert found["batches"] == 500
    assert found["held"] > 10_000_000
    assert abs(found["grown"]) < found["held"]
