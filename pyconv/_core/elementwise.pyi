from collections.abc import Sequence

import numpy as np

from .calls import Work

KERNELS: dict[str, int]

class DenseWork(Work): ...

def run(work: DenseWork, x: np.ndarray, out: np.ndarray) -> None: ...

class ElementwiseWork(DenseWork):
    def __init__(
        self,
        isa: int,
        is_double: bool,
        activation: int,
        size: int,
        threads: int,
        chunk: int,
        brief: bool,
        parameters: Sequence[float] = (),
    ) -> None: ...

class PreluWork(DenseWork):
    def __init__(
        self, isa: int, slopes: np.ndarray, inner: int, size: int, threads: int, chunk: int, brief: bool
    ) -> None: ...

class GluWork(DenseWork):
    def __init__(
        self, isa: int, is_double: bool, rows: int, columns: int, threads: int, chunk: int, brief: bool
    ) -> None: ...

class SoftmaxWork(DenseWork):
    def __init__(
        self,
        isa: int,
        is_double: bool,
        outer: int,
        length: int,
        inner: int,
        negative: bool,
        logarithm: bool,
        threads: int,
        chunk: int,
        brief: bool,
    ) -> None: ...

class AffineWork(DenseWork):
    def __init__(
        self,
        isa: int,
        is_double: bool,
        scale: np.ndarray,
        shift: np.ndarray,
        inner: int,
        size: int,
        threads: int,
        chunk: int,
        brief: bool,
    ) -> None: ...
