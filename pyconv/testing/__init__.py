"""The conformance kit, which tells whether a backend computes what pyconv promises.

It is for authors of backends, inside pyconv and outside. Every case is one call of :mod:`pyconv.functional`, run on
the backend and compared with the ``reference`` backend: shapes, dtype, memory layout and values of the result,
``out=`` filled and nothing beside it, inputs left alone. Results are C-contiguous; those of activations may be
contiguous in the input's order of axes.

With pytest, one test a case (pytest is not needed by the kit itself)::

    import pytest
    import pyconv.testing

    @pytest.mark.parametrize("case", pyconv.testing.cases(), ids=str)
    def test_conformance(case):
        if reason := pyconv.testing.check(case, "mybackend"):
            pytest.skip(reason)

or all at once, with a report to read::

    print(pyconv.testing.check_backend("mybackend"))

What is compared how:

- ``conv2d``, ``conv1d``, ``conv_transpose2d``, ``conv_transpose1d``: ``|error| <= (4 + 4 sqrt(n)) * eps * sum of
  |input| |weight|`` over the ``n`` products of each output, which are random here: what rounds the same way at every
  step, as equal numbers do, may err by ``(n / 2 + 1) * eps`` times that sum. Numbers below the smallest normal one may
  be flushed to zero. NaN and infinities must be where the reference has them.
- ``unfold``: equal. ``fold``: ``|error| <= n * eps * sum of |terms|``.
- ``batch_norm``: ``|error| <= 2 * eps * (|x * scale| + |shift|)``.
- ``avg_pool2d``, ``adaptive_avg_pool2d``, ``lp_pool2d``: as ``conv2d``, ``n`` being the elements of a window.
- ``max_pool2d``, ``adaptive_max_pool2d``, ``max_unpool2d``: equal. Indices too, except in windows that have no element
  in the plane, where any valid index will do. Poolings of lines: as those of images.
- activations: equal, or within the units in the last place that :data:`pyconv.plan.ACTIVATIONS` and
  ``pyconv/testing/bounds.py`` list, beside the error of the reference's own arithmetic; ``tanh`` keeps the sign of
  zero.

Convolution in float16 and bfloat16, which a backend may leave out, has a list of its own, ``half_cases()``.

A backend may refuse a plan (``supports`` returns a reason): that is no failure, and the report lists it.
"""

from .case import Case
from .cases import cases
from .checks import ConformanceError, Report, check, check_backend
from .data import LAYOUTS, VALUES
from .half import half_cases

__all__ = ["LAYOUTS", "VALUES", "Case", "ConformanceError", "Report", "cases", "check", "check_backend", "half_cases"]
