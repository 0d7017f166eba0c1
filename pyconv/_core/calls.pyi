from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import numpy as np

class Work:
    def bind_threads(self, count: int, wanted: int, preset: int) -> None: ...

Place = tuple[Mapping[Any, Any], Any] | tuple[Mapping[Any, Any], Any, Any]

class KnownCall:
    @property
    def result(self) -> tuple[tuple[int, ...], np.dtype] | None: ...

class CallTable:
    def find(self, input: Any, parameters: tuple[Any, ...]) -> KnownCall | None: ...
    def run(self, input: Any, weight: Any, bias: Any, out: Any, parameters: tuple[Any, ...]) -> np.ndarray | None: ...
    def add(
        self,
        work: Work,
        input: np.ndarray,
        x: np.ndarray,
        weight: np.ndarray | None,
        bias: np.ndarray | None,
        result: np.ndarray,
        in_place: bool,
        in_any_order: bool,
        compares: bool,
        parameters: tuple[Any, ...],
        variable: ContextVar[Any] | None,
        value: Any,
        places: tuple[Place, ...],
    ) -> None: ...
