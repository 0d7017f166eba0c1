"""How threads share transposed convolutions of many weights, and of pixels that become blocks of the output."""

from __future__ import annotations

import pytest
from helpers import assert_close, bits
from test_transposed import as_it_is, channels_last, prepared_calls, swapped

import pyconv.functional as F
from pyconv._core import conv as conv_core
from pyconv.backends.cpu import conv, direct, isa, transposed


@pytest.fixture
def on_threads(monkeypatch):
    """Have what is planned from now on cut for so many threads."""

    def on_threads(threads):
        monkeypatch.setattr(transposed, "threads_for", lambda plan, slowness=1: threads)
        transposed._tasks.cache_clear()

    yield on_threads
    transposed._tasks.cache_clear()


@pytest.mark.parametrize("padding", [0, 1])  # all phases as one convolution, and as four
@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_divide_the_channels_of_many_weights(on_threads, level, padding, threads):
    """Where no thread's cache holds them: each of them reads its own."""
    on_threads(threads)
    sizes = ((1, 640, 3, 4), (640, 160, 4, 4), 2, padding, 0, 1, 1)
    for plan, source, weight, bias, prepared in prepared_calls(sizes, "direct", (as_it_is,)):
        how = tuple((each.implementation, getattr(each.weights, "tiling", None)) for each in prepared.parts)
        edges = transposed._cut(plan, how, isa.current(), threads).first_channels
        assert len(edges) > 2
        assert edges == sorted(set(edges))
        assert (edges[0], edges[-1]) == (0, 160)
        wanted = transposed._by_parts(plan, source, prepared, None)
        assert bits(transposed.run(plan, source, prepared, None)) == bits(wanted)
        reference = F.conv_transpose2d(source, weight, bias, 2, padding, backend="reference")
        assert_close(wanted, reference, terms=4 * 640)


def test_every_thread_has_work(on_threads):
    """Few channels for each thread are made up for by strips of rows."""
    on_threads(4)
    sizes = ((1, 1024, 16, 16), (1024, 128, 3, 3), 2, 1, 0, 1, 1)
    for plan, _, _, _, prepared in prepared_calls(sizes, "direct", (as_it_is,)):
        how = tuple((each.implementation, getattr(each.weights, "tiling", None)) for each in prepared.parts)
        cut = transposed._cut(plan, how, isa.current(), 4)
        assert (len(cut.first_channels) - 1) * (len(cut.first_bands) - 1) >= 4


BLOCKS = [  # each pixel becomes a block of the output
    ((2, 5, 9, 7), (5, 6, 2, 2), 2, 0, 0, 1, 1),
    ((1, 70, 3, 33), (70, 7, 2, 2), 2, 0, 0, 1, 1),
    ((1, 6, 1, 64), (6, 4, 4, 3), (4, 3), 0, 0, 2, 1),
    ((1, 150, 12, 41), (150, 3, 1, 4), (1, 4), 0, 0, 1, 1),
    ((3, 4, 8, 16), (4, 33, 4, 4), 4, 0, 0, 1, 1),
]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("sizes", BLOCKS, ids=str)
def test_tiles_put_the_phases_of_blocks_together(monkeypatch, on_threads, level, sizes, threads):
    monkeypatch.setattr(conv, "chosen", lambda plan, level: direct)
    monkeypatch.setattr(transposed, "_by_taps", lambda plan, level: "not here")
    on_threads(threads)
    for plan, source, weight, bias, prepared in prepared_calls(sizes, "direct", (as_it_is, channels_last, swapped)):
        holds_rows = prepared.parts[0].weights.tiling.channels % plan.stride[1] == 0  # of phases, a tile does
        assert isinstance(transposed.work(plan, prepared), conv_core.ConvWork) == holds_rows
        result = transposed.run(plan, source, prepared, None)
        assert bits(result) == bits(transposed._by_parts(plan, source, prepared, None))
        assert_close(result, F.conv_transpose2d(source, weight, bias, *sizes[2:], backend="reference"))
