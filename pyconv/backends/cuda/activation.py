"""What kernels need of an activation: its function in activation.cuh, and its parameters as a field of a struct."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...plan import ACTIVATIONS as TABLE
from .kernel import accumulator

__all__ = ["ACTIVATIONS", "EXAMPLES", "NONE", "PARAMETERS", "Epilogue", "parameters"]

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
    """What a convolution does with its sums before it writes them."""

    activation: str = "identity"
    parameters: tuple[float, ...] = ()

    @property
    def macro(self) -> str:
        """The value of ACTIVATION."""
        return f"{self.activation}_of"


NONE = Epilogue()
"""The sums as they are."""

EXAMPLES = (Epilogue("relu"), Epilogue("leaky_relu", (0.01,)), Epilogue("gelu"))
"""What every convolution is compiled with to be checked: without and with parameters, and with many registers."""
