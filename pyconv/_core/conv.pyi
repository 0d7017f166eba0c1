from typing import Any

import numpy as np

class ConvTasks:
    count: int
    threads: int
    scratch_bytes: int

class DirectTasks(ConvTasks):
    def __init__(self, isa: int, is_double: bool, threads: int, b: Any) -> None: ...

class WinogradTasks(ConvTasks):
    def __init__(self, isa: int, is_double: bool, threads: int, plan: Any, grid: Any) -> None: ...

def run(
    tasks: ConvTasks, x: np.ndarray, weights: np.ndarray, bias: np.ndarray, out: np.ndarray
) -> np.ndarray | None: ...
