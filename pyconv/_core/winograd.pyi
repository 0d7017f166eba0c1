from typing import Any

import numpy as np

class WinogradTasks:
    count: int
    threads: int
    scratch_bytes: int
    def __init__(self, isa: int, is_double: bool, threads: int, plan: Any, grid: Any) -> None: ...

def run(tasks: WinogradTasks, x: np.ndarray, weights: np.ndarray, bias: np.ndarray, out: np.ndarray) -> np.ndarray: ...
