"""Tests see pyconv's defaults, whatever the shell they are started from has set.

PYCONV_CPU_ISA alone is kept: it only limits the instruction set, and the whole suite must hold under each.
"""

from __future__ import annotations

import os
import sys

import pytest

for _name in ("PYCONV_BACKEND", "PYCONV_MEASURED", "PYCONV_NUM_THREADS", "PYCONV_PRECISION", "PYCONV_VERBOSE"):
    os.environ.pop(_name, None)

from helpers import ISAS  # noqa: E402 (loads the backends, so after the environment is as it should be)


@pytest.fixture(autouse=True)
def _defaults():
    """A test that calls set_backend or set_num_threads does not change the next one."""
    yield
    import pyconv

    pyconv.set_backend(None)
    threads = sys.modules.get("pyconv.backends.cpu.threads")
    if threads is not None:
        threads._wanted = None


@pytest.fixture(params=ISAS)
def level(request):
    """The number of an instruction set, in use during the test: the test runs once for each that the machine has."""
    from pyconv.backends.cpu import isa

    isa.use(request.param)
    yield isa.current()
    isa.use(None)
