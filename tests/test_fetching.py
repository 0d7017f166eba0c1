"""Light activations of arrays that come from the third level of the cache: what is read is asked for ahead."""

from __future__ import annotations

import numpy as np
import pytest
from guarded import guarded
from helpers import DTYPES, bits, normal

from pyconv._core import elementwise


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", sorted(elementwise.KERNELS))
def test_the_same_bits(level, dtype, op):
    """Of every length, also in place, with numbers that take the careful way; nothing beyond the arrays is touched."""
    parameters = (0.5, 1.0)
    for size in (1, 15, 64, 333):
        x = normal(size, dtype=dtype, seed=size)
        x[::7], x[1::50] = 0, np.nan
        x[2::40] = np.finfo(dtype).smallest_subnormal
        found = []
        for fetching in (False, True):
            tasks = elementwise.ElementwiseTasks(
                level, dtype == "float64", elementwise.KERNELS[op], size, 1, size, parameters, fetching
            )
            out = guarded(np.empty_like(x), True)
            elementwise.run(elementwise.DenseWork(tasks, True), guarded(x, True), out)
            within = x.copy()
            elementwise.run(elementwise.DenseWork(tasks, True), within, within)
            found += [bits(out), bits(within)]
        assert len(set(found)) == 1, size
