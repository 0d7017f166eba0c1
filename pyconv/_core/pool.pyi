from typing import Any

import numpy as np

from .calls import Work

class PoolTasks:
    per_plane: int
    blocks: int
    count: int
    together: int
    threads: int
    scratch_bytes: int
    def __init__(
        self, isa: int, is_double: bool, threads: int, plan: Any, rows: int, block: int, line: int, together: int
    ) -> None: ...

def run(tasks: PoolTasks, x: np.ndarray, out: np.ndarray, indices: np.ndarray | None = None) -> None: ...

class PoolWork(Work):
    def __init__(self, tasks: PoolTasks, brief: bool) -> None: ...
