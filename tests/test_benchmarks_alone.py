"""The commands that measure pyconv alone: what they compare, and the files they leave. No time is asserted."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import pyconv
from benchmarks import alone, bandwidth, calls, dense, layouts, results, stacks, threads
from benchmarks.gpu import host
from benchmarks.layer import activation, conv, pool
from benchmarks.layers import LISTS
from benchmarks.peers import ceilings
from benchmarks.peers.ceilings import Ceilings, copy_rate

SMALL = conv(3, 5, 3, 8, stride=2)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("PYCONV_NUM_THREADS", "1")  # or the commands would set it
    monkeypatch.setattr(Ceilings, "measure", lambda self: {"copy_bytes_per_second": 1e10})


def _written(path):
    """Rows of a run's JSON file, and the table's lines in the Markdown beside it."""
    report, text = results.read(path), path.with_suffix(".md").read_text()
    for key in ("cpu", "commit", "date"):
        assert str(report["machine"][key]) in text
    assert report["libraries"]["pyconv"]["version"] == pyconv.__version__
    return report["rows"], [line for line in text.splitlines() if line.startswith("| ")][2:]


def test_a_layer_is_built_into_an_array_at_hand():
    for layer in (SMALL, pool(3, 2, 8, stride=2), replace(pool(3, 2, 8, stride=2), indices=True)):
        built = alone.build(layer, 1)
        before, built.out[...] = built.out.copy(), 0
        built.call()
        np.testing.assert_array_equal(built.out, before)
        assert built.implementation


def test_the_least_of_the_turns_counts(monkeypatch):
    times = iter([3.0, 5.0, 4.0, 2.0])
    monkeypatch.setattr(alone, "quartile", lambda call, seconds: next(times))
    assert alone.by_turns([int, float], 2, 0.0) == [3.0, 2.0]


def test_the_parts_of_a_call_add_up(tmp_path, capsys):
    rows = {part.name: part.microseconds for part in calls.breakdown(rounds=2)}
    total = rows.pop("**layer(x)**")
    parts = list(rows.values())[:6]
    np.testing.assert_allclose(np.sum(parts, axis=0), total, atol=1e-6)
    assert len(total) == len(calls.CASES)
    calls.main(["--rounds", "2", "--out", str(tmp_path / "calls.json")])
    found, lines = _written(tmp_path / "calls.json")
    assert [row["name"] for row in found] == [line.split(" | ")[0][2:] for line in lines]
    assert lines[-1] in capsys.readouterr().out


def test_dense_layers_are_held_against_the_ceilings(tmp_path):
    layers = [SMALL, replace(conv(4, 8, 1, 6), dtype="float64")]
    rows = dense.measure(layers, 1, rounds=1, seconds=0.0)
    assert [row.layer for row in rows] == layers
    for row in rows:
        assert row.implementation
        assert row.reached == row.arithmetic / row.seconds > 0
        assert row.memory > 0
    out = tmp_path / "dense.json"
    dense.main(["--layer", "1x1 64,", "--rounds", "1", "--below", "0", "--out", str(out)])
    assert _written(out) == ([], [])
    dense.main(["--layer", "1x1 64,", "--rounds", "1", "--out", str(out)])
    found, lines = _written(out)
    assert [row["name"] for row in found] == ["1x1 64, 56x56"]
    assert lines[0].startswith("| 1x1 64, 56x56 | ")


def test_one_thread_and_two_compute_the_same_layer(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(threads, "quartile", lambda call, seconds: seen.append(pyconv.get_num_threads()) or 1.0)
    (row,) = threads.measure([SMALL], 2, rounds=2)
    assert (row.one, row.all, row.times) == (1.0, 1.0, 1.0)
    assert seen == [1, 1, 2, 1, 2]  # a look at what it takes, and two turns
    assert pyconv.get_num_threads() == 1
    assert threads.measure([SMALL], 2, above=1.0) == []
    out = tmp_path / "threads.json"
    threads.main(["--list", "tiny", "--threads", "2", "--layer", "24x24", "--rounds", "1", "--out", str(out)])
    found, lines = _written(out)
    assert len(found) == len(lines) == 3
    assert "slower: 0" in out.with_suffix(".md").read_text()
    with pytest.raises(SystemExit):
        threads.main(["--threads", "1"])


def test_no_layer_that_takes_a_millisecond_is_left_out():
    chosen = threads._candidates(list(LISTS))
    assert len(set(chosen)) == len(chosen) > 100
    slowest = max(
        (layer for rows in LISTS.values() for layer in rows if layer.dtype == "float32"), key=lambda layer: layer.flops
    )
    assert replace(slowest, count=1) in chosen
    assert not {layer.dtype for layer in chosen} - {"float32"}


def test_both_orders_of_a_layer_give_the_same(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(layouts, "by_turns", lambda made, rounds, seconds: built.extend(made) or [1.0, 2.0])
    (row,) = layouts.measure([SMALL], 1)
    assert (row.nchw, row.channels_last, row.times) == (1.0, 2.0, 2.0)
    first, last = built
    assert first.keywords["out"] is last.keywords["out"]
    strides = [call.args[0].strides for call in built]
    assert strides[0] == (768, 256, 32, 4)
    assert strides[1] == (768, 4, 96, 12)
    out = tmp_path / "layouts.json"
    layouts.main(["--layer", "1x1 24, 56x56", "--out", str(out)])
    found, lines = _written(out)
    assert (len(found), len(lines)) == (1, 1)
    assert "0 of 1 take at most 1.1 times as long" in out.with_suffix(".md").read_text()


def test_the_kinds_of_layers_are_there():
    for layers in (dense.LAYERS, layouts.LAYERS, threads.SMALL):
        assert len(set(layers)) == len(layers)
    assert set(dense.LAYERS) < set(layouts.LAYERS)


def test_rows_bound_by_bytes_and_by_instructions(tmp_path):
    row = bandwidth.Row(pool(64, 2, 112, stride=2), "any", 1e-4, 5e10, None, None, 0.0)
    assert row.memory == row.layer.bytes / 5e10
    assert row.reached == row.memory / 1e-4
    assert row.bound == "bytes"
    assert row._replace(near=2 * row.memory).bound == "instructions"
    assert row._replace(arithmetic=2 * row.memory, near=row.memory / 2).bound == "instructions"
    out = tmp_path / "bandwidth.json"
    bandwidth.main(["--list", "activations,mobilenetv2", "--layer", "14x14", "--rounds", "1", "--out", str(out)])
    found, lines = _written(out)
    assert len(found) == len(lines) == 3
    assert all(row["pages"] == 0 for row in found)


def test_a_few_channels_or_rows_stand_for_all():
    whole = [pool(64, 2, 112, stride=2), conv(96, 96, 3, 56, groups=96), conv(16, 32, 3, 64, groups=16)]
    for layer in whole:
        few, more = bandwidth._few(layer)
        assert more.shape == (1, 2 * few.shape[1], *layer.shape[2:])
        assert more.bytes - few.bytes == few.bytes <= bandwidth.NEAR / 2
    for layer in (activation("softmax", 64, 112, dim=1), replace(whole[0], layout="nhwc")):
        few, more = bandwidth._few(layer)
        assert more.shape == (1, 64, 2 * few.shape[2], 112)
    chosen = bandwidth.layers(list(LISTS))
    assert len(set(chosen)) == len(chosen) > 100
    assert min(layer.bytes for layer in chosen) >= bandwidth.LEAST


@pytest.mark.parametrize("size", [64, 1001, 2**20])
def test_copies_copy(size):
    assert copy_rate(size, 2, 1e-3) > 0


@pytest.mark.parametrize("way", [ceilings._by_number, ceilings._by_part])
def test_both_ways_of_copying_write_all(way):
    source, target = np.arange(1001, dtype=np.float32), np.zeros(1001, np.float32)
    way(3, (source, target))
    np.testing.assert_array_equal(target, source)


COMMANDS = {"dense": dense, "threads": threads, "bandwidth": bandwidth, "layouts": layouts, "stacks": stacks}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--layer", "zzz", ["name contains 'zzz'; there are: ", " more"]),
        ("--list", "nope", ["there is no list nope; the lists are "]),
    ],
)
def test_what_there_is_not_is_said_and_nothing_is_written(name, option, value, words, tmp_path, capsys):
    if name == "layouts" and option == "--list":
        pytest.skip("it has no lists")
    asked = ["--stack" if name == "stacks" and option == "--layer" else option, value]
    with pytest.raises(SystemExit) as ended:
        COMMANDS[name].main([*asked, "--out", str(tmp_path / "run.json")])
    assert ended.value.code == 2
    message = capsys.readouterr().err.partition("error: ")[2]
    for word in words:
        assert word in message
    assert len(message) < 500
    assert list(tmp_path.iterdir()) == []


def test_one_thread_too_quick_for_a_comparison(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(threads, "_candidates", lambda lists: [SMALL])
    with pytest.raises(SystemExit) as ended:
        threads.main(["--threads", "2", "--layer", SMALL.name, "--out", str(tmp_path / "run.json")])
    assert ended.value.code == 2
    assert "longer than a millisecond" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_option_says_what_it_is_for(capsys):
    for module in (*COMMANDS.values(), calls, host):
        with pytest.raises(SystemExit) as ended:
            module.main(["--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert "usage: python -m benchmarks" in text
        assert not re.search(r"^ +(-\S+|-\S+ [A-Z_]+)$\n(?! {10})", text, re.MULTILINE), text
