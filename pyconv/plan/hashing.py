"""Plans are looked up several times in a call, so each computes its hash once."""

from __future__ import annotations

from dataclasses import fields

__all__ = ["HashedOnce"]


class HashedOnce:
    """Base of the frozen plans. Each says ``__hash__ = HashedOnce.__hash__``, or dataclass would make its own."""

    __slots__ = ("_hash",)
    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            values = tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
            object.__setattr__(self, "_hash", hash((type(self), values)))
            return self._hash
