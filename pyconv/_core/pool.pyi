from typing import Any

import numpy as np

from .calls import Work
from .tasks import Tasks

class PoolTasks(Tasks):
    def __init__(
        self,
        isa: int,
        is_double: bool,
        threads: int,
        plan: Any,
        rows: int,
        block: int,
        planes: int,
        line: int,
        way: str,
        far: int,
        near: int,
        streams: bool,
    ) -> None: ...
    @property
    def streams(self) -> bool: ...

def run(tasks: PoolTasks, x: np.ndarray, out: np.ndarray, indices: np.ndarray | None = None) -> None: ...

class UnpoolTasks(Tasks):
    def __init__(self, isa: int, is_double: bool, threads: int, plan: Any) -> None: ...

def unpool(tasks: UnpoolTasks, x: np.ndarray, indices: np.ndarray, out: np.ndarray) -> None: ...

class PoolWork(Work):
    def __init__(self, tasks: PoolTasks, brief: bool) -> None: ...
