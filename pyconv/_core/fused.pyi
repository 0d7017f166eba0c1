from typing import Any

import numpy as np

from .calls import Work
from .pool import PoolTasks
from .tasks import Tasks

class FusedTasks(Tasks):
    def __init__(
        self, isa: int, is_double: bool, threads: int, plan: Any, cut: Any, pool: PoolTasks | None
    ) -> None: ...

class FusedWork(Work):
    def __init__(self, tasks: FusedTasks, weights: np.ndarray, bias: np.ndarray, brief: bool) -> None: ...
    @property
    def may_break(self) -> bool: ...
    def run_arrays(self, x: np.ndarray, residual: np.ndarray | None, out: np.ndarray) -> np.ndarray | None: ...
