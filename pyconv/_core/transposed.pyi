from typing import Any

import numpy as np

from .calls import Work
from .tasks import Tasks

MOST_COLUMNS: int
MOST_TERMS: int

class TransposedTasks(Tasks):
    part_count: int
    may_break: bool
    def __init__(self, isa: int, is_double: bool, threads: int, plan: Any, cut: Any) -> None: ...

class TransposedWork(Work):
    def __init__(
        self,
        tasks: TransposedTasks,
        weights: tuple[np.ndarray, ...],
        biases: tuple[np.ndarray, ...],
        rest: np.ndarray | None,
        brief: bool,
    ) -> None: ...
    def run_arrays(self, x: np.ndarray, out: np.ndarray) -> np.ndarray | None: ...
