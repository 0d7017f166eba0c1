from collections.abc import Sequence
from typing import Any

import numpy as np

def empty(shape: Sequence[int], dtype: Any, order: Sequence[int] | None = None) -> np.ndarray: ...
