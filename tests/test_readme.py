"""What the README shows works, and what it points at is there."""

from __future__ import annotations

import re

from helpers import ROOT

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


def test_no_placeholders():
    assert not re.search(r"\b(TODO|TBD|BENCHMARKS|XXX)\b", TEXT)
