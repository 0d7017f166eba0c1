"""How fast pyconv is beside the libraries a user would otherwise pick: ``python -m benchmarks`` (see README.md)."""
