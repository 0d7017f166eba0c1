"""Tests see pyconv's defaults, whatever the shell they are started from has set.

PYCONV_CPU_ISA alone is kept: it only limits the instruction set, and the whole suite must hold under each.
"""

from __future__ import annotations

import os

import pytest

for _name in ("PYCONV_BACKEND", "PYCONV_MEASURED", "PYCONV_NUM_THREADS", "PYCONV_VERBOSE"):
    os.environ.pop(_name, None)


@pytest.fixture(autouse=True)
def _default_backend():
    """A test that calls set_backend does not change the next one."""
    yield
    import pyconv

    pyconv.set_backend(None)
