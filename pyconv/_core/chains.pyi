from collections.abc import Callable
from typing import Any

from .calls import CallTable, KnownCall, Place

class ChainTable(CallTable):
    def join(
        self,
        calls: list[KnownCall],
        places: tuple[Place, ...],
        blocks: list[list[Any]],
        fit: Callable[[list[Any], int, int], None],
    ) -> None: ...
    def join_residual(
        self,
        front: KnownCall | None,
        shortcut: KnownCall | None,
        last: KnownCall,
        places: tuple[Place, ...],
        blocks: list[list[Any]],
        fit: Callable[[list[Any], int, int], None],
    ) -> None: ...
