from collections.abc import Sequence

import numpy as np

from .calls import Work
from .tasks import Tasks

KERNELS: dict[str, int]

class DenseTasks(Tasks): ...

class DenseWork(Work):
    tasks: DenseTasks

    def __init__(self, tasks: DenseTasks, brief: bool) -> None: ...

def run(work: DenseWork, x: np.ndarray, out: np.ndarray) -> None: ...

class RunTasks(DenseTasks): ...

class ElementwiseTasks(RunTasks):
    def __init__(
        self,
        isa: int,
        is_double: bool,
        activation: int,
        size: int,
        threads: int,
        chunk: int,
        parameters: Sequence[float] = (),
        fetching: bool = False,
    ) -> None: ...

class GatheredTasks(DenseTasks):
    def __init__(self, isa: int, tasks: RunTasks, x: np.ndarray, chunk: int) -> None: ...

class PreluTasks(RunTasks):
    def __init__(self, isa: int, slopes: np.ndarray, inner: int, size: int, threads: int, chunk: int) -> None: ...

class GluTasks(DenseTasks):
    def __init__(self, isa: int, is_double: bool, rows: int, columns: int, threads: int, chunk: int) -> None: ...

class SoftmaxTasks(RunTasks):
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
    ) -> None: ...

class AffineTasks(RunTasks):
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
    ) -> None: ...
