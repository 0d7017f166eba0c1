from typing import Any

import numpy as np

from .calls import Work
from .tasks import Tasks

class ConvTasks(Tasks):
    may_break: bool

class DirectTasks(ConvTasks):
    def __init__(self, isa: int, is_double: bool, threads: int, b: Any) -> None: ...

class PhasesTasks(DirectTasks):
    def __init__(
        self, isa: int, is_double: bool, threads: int, b: Any, down: int, across: int, columns: int
    ) -> None: ...

class FewTasks(DirectTasks):
    def __init__(self, isa: int, is_double: bool, threads: int, b: Any, pooled: int = 0) -> None: ...

class WinogradFewTasks(DirectTasks):
    def __init__(
        self, isa: int, is_double: bool, threads: int, b: Any, places: tuple[int, int, int, int, int], pooled: int = 0
    ) -> None: ...

class WinogradRowTasks(DirectTasks):
    def __init__(self, isa: int, is_double: bool, threads: int, b: Any, places: tuple[int, int, int]) -> None: ...

class ChannelsTasks(ConvTasks):
    def __init__(self, isa: int, is_double: bool, threads: int, plan: Any, cut: Any) -> None: ...

class DepthwiseTasks(ConvTasks):
    def __init__(self, isa: int, is_double: bool, threads: int, plan: Any, cut: Any) -> None: ...

class SeparableTasks(DepthwiseTasks): ...

class WinogradTasks(ConvTasks):
    def __init__(self, isa: int, is_double: bool, threads: int, plan: Any, grid: Any) -> None: ...

def run(
    tasks: ConvTasks, x: np.ndarray, weights: np.ndarray, bias: np.ndarray, out: np.ndarray
) -> np.ndarray | None: ...

class ConvWork(Work):
    def __init__(self, tasks: ConvTasks, weights: np.ndarray, bias: np.ndarray, brief: bool) -> None: ...
    def run_arrays(self, x: np.ndarray, out: np.ndarray) -> np.ndarray | None: ...
