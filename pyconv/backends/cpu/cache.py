"""How much of an operation's data a core may count on keeping near."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FETCHING", "LEVEL_2", "LEVEL_3", "PAGE", "WORKING_SET"]

_SIZES = "/sys/devices/system/cpu/cpu0/cache/index{}/size"
_KIB, _MIB = 1024, 1024 * 1024


def _bytes_of(level: int, unknown: int) -> int:
    """Bytes of the first core's cache of this level, as the kernel tells it ('2048K'), or a modest guess."""
    try:
        text = Path(_SIZES.format(level)).read_text().strip()
        return int(text.removesuffix("K")) * (_KIB if text.endswith("K") else 1)
    except (OSError, ValueError):
        return unknown


LEVEL_2 = _bytes_of(2, 512 * _KIB)
"""Bytes of the second level, of which each core has one."""

FETCHING = 64
"""Bytes that a core gets from its second level in a cycle, from which on it pays to ask for what comes from the third
one before it is used: a Zen 5 ends a sixth sooner by it; a Zen 4 took a tenth longer (measured)."""

WORKING_SET = min(max(LEVEL_2, 256 * _KIB), 4 * _MIB) // 2
"""Bytes a task works on: half of the second-level cache, since weights pass through it too."""

LEVEL_3 = _bytes_of(3, 8 * _MIB)
"""Bytes of the third level, which cores share: what is larger comes from memory at each call."""

PAGE = 4096
"""Bytes of memory that the processor finds together, and after which the sets of its first level begin anew."""
