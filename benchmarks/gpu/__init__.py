"""The benchmark on a GPU: pyconv on CuPy arrays beside torch's cuDNN. ``python -m benchmarks.gpu``."""
