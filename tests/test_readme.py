"""What the README shows works, and what it points at is there."""

from __future__ import annotations

import json
import re

from helpers import ROOT

from benchmarks import readme
from pyconv.plan import ACTIVATIONS, AXIS_OPS

TEXT = (ROOT / "README.md").read_text()


def test_the_first_example_prints_what_it_says(capsys):
    code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL).group(1)
    exec(compile(code, "README.md", "exec"), {})
    said = re.search(r"print\(.*?\)  # (.*)", code).group(1)
    assert capsys.readouterr().out.strip() == said


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) >= 5
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_variables_and_modules_are_real():
    """Every PYCONV_ variable that is named is read somewhere, and every file of the layout exists."""
    sources = "\n".join(path.read_text() for path in (ROOT / "pyconv").rglob("*.py"))
    for name in set(re.findall(r"PYCONV_[A-Z_]+", TEXT)):
        assert f'"{name}"' in sources, name
    layout = re.search(r"```\npyconv/\n(.*?)tests/", TEXT, re.DOTALL).group(1)
    for name in re.findall(r"^  (\S+)", layout, re.MULTILINE):
        assert (ROOT / "pyconv" / name).exists(), name


def test_every_activation_is_named():
    row = re.search(r"^\| activations \| (.*?) \|", TEXT, re.MULTILINE).group(1)
    named = [op for op, entry in ACTIVATIONS.items() if entry.layer]
    assert sorted(re.findall(r"`(\w+)`", row)) == sorted([*named, *AXIS_OPS, "gelu", "prelu"])


def _cited():
    """The results files that the README's figures come from: of the whole run, and of the lists measured after it."""
    names = dict.fromkeys(re.findall(r"\(benchmarks/results/([\w.-]+)\.md\)", TEXT))
    return [ROOT / "benchmarks" / "results" / f"{name}.json" for name in names]


SHOWN = {"resnet50", "vgg16", "mobilenetv2", "images", "tiny", "other"}


def _is_whole(report):
    """Whether a results file is of full bursts and of all lists that the README shows."""
    words = report.get("arguments", ["--layer"])
    listed = words[words.index("--list") + 1] if "--list" in words else "all"
    return not report["quick"] and "--layer" not in words and (listed == "all" or set(listed.split(",")) >= SHOWN)


def test_figures_come_from_the_newest_results():
    reports = {path: json.loads(path.read_text()) for path in (ROOT / "benchmarks" / "results").glob("[0-9]*.json")}
    dates = {path: report["machine"]["date"] for path, report in reports.items() if _is_whole(report)}
    assert max(dates, key=dates.__getitem__) == _cited()[0]


def test_the_table_is_that_of_the_results():
    page = "".join(path.with_suffix(".md").read_text() for path in _cited())
    lists = re.findall(r"^\| [\w-]+ \| \d+ of \d+ \|.*", TEXT, re.MULTILINE)
    assert {line.split()[1] for line in lists} >= SHOWN
    assert [line for line in lists if line not in page] == []


def test_its_tables_are_made_of_the_results():
    """``python -m benchmarks --readme`` would change nothing."""
    report = json.loads(_cited()[0].read_text())
    assert "| layer | pyconv | torch | best peer | ratio |" in TEXT
    assert readme.filled(TEXT, report) == TEXT
    everything = re.search(r"all rows: (\d+) of (\d+) won, ([\d.]+) over", readme.totals(report))
    assert "So: {} of the {} are ahead of the best peer, {} times".format(*everything.groups()) in TEXT


def test_the_load_before_the_run_is_told():
    load = json.loads(_cited()[0].read_text())["machine"]["load_before"]
    assert f"load was {load:.1f} before the run began" in " ".join(TEXT.split())


def test_pictures_are_of_the_results_and_small():
    machine = json.loads(_cited()[0].read_text())["machine"]
    for name in ("roofline", "peers"):
        assert f"(docs/{name}.png)" in TEXT
        picture = (ROOT / "docs" / f"{name}.png").read_bytes()
        assert f"commit {machine['commit']}, {machine['date']}".encode() in picture
        assert len(picture) < 100_000


def test_no_placeholders():
    assert not re.search(r"\b(TODO|TBD|BENCHMARKS|XXX)\b", TEXT)
