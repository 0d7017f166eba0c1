"""What kernels need of an activation: its function in activation.cuh, and its parameters as a field of a struct."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...plan import ACTIVATIONS as TABLE
from ...plan import ConvPlan
from .kernel import accumulator

__all__ = ["ACTIVATIONS", "EXAMPLES", "NONE", "PARAMETERS", "POOLED", "Epilogue", "parameters"]

ACTIVATIONS = tuple(TABLE)
"""Those with a function ``<name>_of`` in activation.cuh."""

PARAMETERS = ("i8", 2)
"""The field ``Parameter parameters[2]``: bits of numbers, not addresses, which are u8."""


@lru_cache(maxsize=1024)
def parameters(values: tuple[float, ...], dtype: str) -> np.ndarray:
    """The field's value: numbers of the type that sums are kept in, each in 8 bytes. Not to be written to."""
    kind = np.dtype(accumulator(dtype))
    places = np.zeros((2, 8 // kind.itemsize), kind)
    with np.errstate(over="ignore"):  # what is too large is infinite, as on every backend
        places[: len(values), 0] = values
    return places.view("i8")[:, 0]


class Epilogue(NamedTuple):
    """What a convolution does with its sums before it writes them.

    ``residual``: an array is added to them before the activation.
    ``pooled``: of every 2x2 window, 2 apart, it writes the maximum alone; what no window sees is left away.
    """

    activation: str = "identity"
    parameters: tuple[float, ...] = ()
    residual: bool = False
    pooled: bool = False

    @property
    def macros(self) -> dict[str, Any]:
        """What the kernels are compiled with."""
        return {"ACTIVATION": f"{self.activation}_of", "RESIDUAL": int(self.residual)}

    def out_size(self, plan: ConvPlan) -> tuple[int, int]:
        """Height and width of what is written."""
        height, width = plan.out_size
        return (height // 2, width // 2) if self.pooled else (height, width)

    def pixels(self, plan: ConvPlan) -> int:
        """Pixels of an output channel that are computed."""
        height, width = self.out_size(plan)
        return height * width * (4 if self.pooled else 1)


NONE = Epilogue()
"""The sums as they are."""

EXAMPLES = (Epilogue("relu", residual=True), Epilogue("leaky_relu", (0.01,)), Epilogue("gelu"))
"""What every convolution is compiled with to be checked: with more to add, with parameters, and with many registers."""

POOLED = (NONE._replace(pooled=True), Epilogue("gelu", pooled=True))
"""The same for convolutions that pool."""
