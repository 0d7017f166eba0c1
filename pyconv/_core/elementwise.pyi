import numpy as np

KERNELS: dict[str, int]

def run(isa: int, activation: int, x: np.ndarray, out: np.ndarray, threads: int, chunk: int) -> None: ...
