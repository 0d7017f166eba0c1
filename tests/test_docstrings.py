"""The examples in the package's documentation print what they say."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import pyconv

NEEDS = ("pyconv.__main__", "pyconv.backends.cuda", "pyconv._core")
"""Modules that run when they are imported, need a device, or are compiled; they have no examples."""

MODULES = [
    module.name
    for module in pkgutil.walk_packages(pyconv.__path__, "pyconv.", onerror=lambda name: None)
    if not module.name.startswith(NEEDS)
]


def _examples(name: str) -> list[doctest.DocTest]:
    """Each docstring's, where it is written: not where it is imported to."""
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(import_module(name)) if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    for test in _examples(name):
        said: list[str] = []
        results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
        assert results.failed == 0, "".join(said)


def test_they_are_found():
    found = [test.name for name in MODULES for test in _examples(name)]
    assert {"pyconv.functional.conv.conv2d", "pyconv.functional.pool.max_pool2d", "pyconv.nn.conv.Conv2d"} <= set(found)
    assert len(found) > 20
    assert len(set(found)) == len(found)
