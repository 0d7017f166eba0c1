import numpy as np

from .calls import Work

KERNELS: dict[str, int]

def run(isa: int, activation: int, x: np.ndarray, out: np.ndarray, threads: int, chunk: int) -> None: ...

class ElementwiseWork(Work):
    def __init__(
        self, isa: int, is_double: bool, activation: int, size: int, threads: int, chunk: int, brief: bool
    ) -> None: ...
