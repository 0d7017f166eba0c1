from collections.abc import Sequence

import numpy as np

from .calls import Work

KERNELS: dict[str, int]

def run(
    isa: int,
    activation: int,
    x: np.ndarray,
    out: np.ndarray,
    threads: int,
    chunk: int,
    parameters: Sequence[float] = (),
) -> None: ...
def run_prelu(isa: int, x: np.ndarray, weight: np.ndarray, out: np.ndarray, threads: int) -> None: ...
def run_planes(isa: int, activation: int, x: np.ndarray, slopes: np.ndarray, out: np.ndarray, threads: int) -> None: ...
def run_glu(isa: int, x: np.ndarray, out: np.ndarray, threads: int, chunk: int) -> None: ...
def run_softmax(
    isa: int, x: np.ndarray, out: np.ndarray, negative: bool, logarithm: bool, threads: int, chunk: int
) -> None: ...
def run_affine(work: AffineWork, x: np.ndarray, out: np.ndarray) -> None: ...

class ElementwiseWork(Work):
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

class AffineWork(Work):
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
