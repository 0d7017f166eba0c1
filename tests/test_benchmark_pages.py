"""Tables and pictures of made-up results, and the README's of them."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from benchmarks import results, table
from benchmarks.layer import activation, conv


def made_up_row(listing, layer, times, failed=()):
    found = {name: {"status": "ok", "min_us": time, "median_us": time} for name, time in times.items()}
    found |= {name: {"status": "failed", "reason": "one\n  two"} for name in failed}
    return {
        "list": listing,
        "name": layer.name,
        "count": layer.count,
        "flops": layer.flops,
        "bytes": layer.bytes,
        "layer": asdict(layer),
        "implementation": "cpu:direct",
        "results": found,
    }


@pytest.fixture
def made_up():
    """A report of two lists: pyconv twice as quick as the best peer, then half as quick."""
    relu = activation("relu", 1, 1000, count=3)
    return {
        "machine": {
            "cpu": "Some CPU",
            "cores": 2,
            "threads": 2,
            "system": "Linux",
            "commit": "abc",
            "date": "today",
            "load_before": 0.0,
        },
        "quick": False,
        "libraries": {
            "pyconv": {"status": "ok", "version": "1", "describe": {"cpu": {"cpu isa": "x86-64-v4"}}},
            "torch": {"status": "ok", "version": "2"},
            "ncnn": {"status": "ok", "version": "3"},
            "opencv": {"status": "missing", "reason": "not installed"},
        },
        "ceilings": {"flops_per_second": 200e9, "copy_bytes_per_second": 40e9},
        "rows": [
            made_up_row("first", conv(64, 64, 3, 56), {"pyconv": 2000.0, "torch": 5000.0, "ncnn": 4000.0}),
            made_up_row("second", relu, {"pyconv": 400.0, "torch": 200.0}, failed=["ncnn"]),
        ],
    }


def test_table_of_a_made_up_result(made_up):
    lines = table.markdown(made_up).splitlines()
    row = next(line for line in lines if line.startswith("| 3x3 64, 56x56"))
    assert row.split(" | ")[1:8] == ["1", "2000", "116 GFLOP/s", "58%", "ncnn", "4000", "2.00"]
    row = next(line for line in lines if line.startswith("| relu"))
    assert row.split(" | ")[1:8] == ["3", "400", "20 GB/s", "50%", "torch", "200", "0.50"]
    assert "| first | 1 of 1 | 2.00 | 2.50 | 2.00 |" in lines
    assert "| second | 0 of 1 | 0.50 | 0.50 | – |" in lines
    assert "| second | 1.2 | 0.6 | – |" in lines  # 3 times 400 and 200 microseconds, in milliseconds
    assert "- opencv: not installed" in lines
    assert f"- ncnn, failed: one two (second {made_up['rows'][1]['name']})" in lines


def test_table_without_ceilings(made_up):
    made_up["ceilings"] = {"flops_per_second": None, "copy_bytes_per_second": None}
    text = table.markdown(made_up)
    assert "multiply-add peak not measured" in text
    assert "| 116 GFLOP/s | – | ncnn |" in text


def test_pictures_of_a_made_up_result(made_up, tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    from benchmarks import plot

    for name in ("bars", "roofline", "peers"):
        path = tmp_path / f"{name}.png"
        results.write_bytes(path, getattr(plot, name)(made_up))
        with image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(100_000)) > 10
            assert picture.text["Source"] == "commit abc, today"
    made_up["ceilings"] = {"flops_per_second": None, "copy_bytes_per_second": None}
    assert plot.roofline(made_up) is None
    for row in made_up["rows"]:
        row["results"] = {"pyconv": row["results"]["pyconv"]}
    assert plot.peers(made_up) is None


def test_command_draws_the_pictures_of_the_readme(made_up, tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks.__main__ import main

    results.write_json(tmp_path / "results.json", made_up)
    assert main(["--plots", str(tmp_path / "results.json"), str(tmp_path / "docs")]) == 0
    assert sorted(path.name for path in (tmp_path / "docs").iterdir()) == ["peers.png", "roofline.png"]
    made_up["ceilings"]["flops_per_second"] = None
    results.write_json(tmp_path / "results.json", made_up)
    assert main(["--plots", str(tmp_path / "results.json"), str(tmp_path / "docs")]) == 1


PAGE = """# Figures

| list | rows won | best peer | torch |
| --- | ---: | ---: | ---: |
| second | 9 of 9 | 9.99 | 9.99 |

| layer | pyconv | torch | best peer | ratio |
| --- | ---: | ---: | ---: | ---: |
| 3x3 64, 56x56 | 9 | 9 | 9 (torch) | 9.99 |

| list | of something else |
| --- | --- |
| second | 9 of 9 |
"""


def test_command_fills_in_the_tables_of_the_readme(made_up, tmp_path, capsys):
    from benchmarks.__main__ import main

    page = tmp_path / "README.md"
    page.write_text(PAGE)
    results.write_json(tmp_path / "results.json", made_up)
    assert main(["--readme", str(tmp_path / "results.json"), str(page)]) == 0
    lines, before = page.read_text().splitlines(), PAGE.splitlines()
    assert lines[2] == "| list | rows won | best peer | torch | ncnn |"
    assert lines[3] == "| --- | ---: | ---: | ---: | ---: |"
    assert lines[4] == "| second | 0 of 1 | 0.50 | 0.50 | – |"
    assert lines[8] == "| 3x3 64, 56x56 | 2,000 | 5,000 | 4,000 (ncnn) | 2.00 |"
    assert lines[:2] + lines[5:8] + lines[9:] == before[:2] + before[5:8] + before[9:]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "all rows: 1 of 2 won, 1.00 over the best peer, 1.12 over torch"
    assert said[-1] == f"  0.500 {made_up['rows'][1]['name']}"
    page.write_text(PAGE.replace("3x3 64", "3x3 65"))
    with pytest.raises(KeyError, match="3x3 65"):
        main(["--readme", str(tmp_path / "results.json"), str(page)])
    assert "3x3 65, 56x56 | 9 |" in page.read_text()
