"""How much of an operation's data a core may count on keeping near."""

from __future__ import annotations

from pathlib import Path

__all__ = ["WORKING_SET"]

_LEVEL_2 = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
_UNKNOWN = 512 * 1024


def _level_2() -> int:
    """Bytes of the first core's second-level cache, as the kernel tells it ('2048K'), or a modest guess."""
    try:
        text = _LEVEL_2.read_text().strip()
        size = int(text.removesuffix("K")) * (1024 if text.endswith("K") else 1)
    except (OSError, ValueError):
        return _UNKNOWN
    return min(max(size, 256 * 1024), 4 * 1024 * 1024)


WORKING_SET = _level_2() // 2
"""Bytes a task works on: half of the second-level cache, since weights pass through it too."""
