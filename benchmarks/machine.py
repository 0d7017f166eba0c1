"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["cpus", "describe", "physical_cores"]

_ROOT = Path(__file__).resolve().parent.parent


def allowed() -> list[int]:
    """The logical processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _core_of(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def physical_cores() -> int:
    """Cores this process may use, each counted once however many threads it has."""
    return len({_core_of(cpu) for cpu in allowed()})


def cpus(threads: int) -> list[int]:
    """The logical processors that every library gets: as many as threads, each on a core of its own if possible."""
    seen: set[str] = set()
    first, second = [], []
    for cpu in allowed():
        (second if _core_of(cpu) in seen else first).append(cpu)
        seen.add(_core_of(cpu))
    return (first + second)[:threads]


def describe(threads: int) -> dict[str, Any]:
    """Processor, operating system, commit, date, load."""
    return {
        "cpu": _cpu_model(),
        "cores": physical_cores(),
        "threads": threads,
        "cpus": cpus(threads),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    """Name, and the family and model numbers: virtual machines often give an empty sort of name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(reversed([[part.strip() for part in line.partition(":")[::2]] for line in lines if ":" in line]))
    if "model name" not in fields:
        return platform.machine()
    return f"{fields['model name']} (family {fields.get('cpu family')}, model {fields.get('model')})"


def _commit() -> str:
    """The commit that is checked out, marked if tracked files differ from it."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()
