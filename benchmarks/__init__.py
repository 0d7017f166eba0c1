"""How fast pyconv is beside the libraries a user would otherwise pick: ``python -m benchmarks`` (see README.md)."""

import os

# Before NumPy is imported: OpenBLAS threads spin for 100 ms after a product, of the check of a row's results that is,
# and would have half of a core while the first libraries' first bursts run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
