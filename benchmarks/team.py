"""The main process's side of the workers: one of them runs at a time, the others are stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

__all__ = ["Worker", "WorkerLost"]

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 90.0

# The root goes last, so that an installed pyconv wins over the sources, which may not be compiled.
_BOOT = """
import sys
sys.path.append(sys.argv[1])
from benchmarks.worker import main
main(sys.argv[2], int(sys.argv[3]), [int(cpu) for cpu in sys.argv[4].split(",")], int(sys.argv[5]), int(sys.argv[6]))
"""

# How threads wait is left to each library: its own default is what its users get.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY", "KMP_BLOCKTIME", "KMP_AFFINITY", "OMP_PROC_BIND")


class WorkerLost(Exception):
    """A worker died or did not answer; the message says which and shows the end of what it printed."""


class Worker:
    """A library in its own process. Between orders the process is stopped (SIGSTOP), whatever its threads were at."""

    def __init__(self, name: str, target: str, threads: int, cpus: list[int]) -> None:
        self.name = name
        self.greeting: dict[str, Any] = {}
        self._start = (target, threads, cpus)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> dict[str, Any]:
        """Start the process and wait for its greeting."""
        target, threads, cpus = self._start
        self._connection, theirs = Pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        words = [ROOT, target, threads, ",".join(map(str, cpus)), os.getpid(), theirs.fileno()]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, *map(str, words)],
            env=_environment(threads),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # some libraries chat
            stderr=self._errors,
            start_new_session=True,  # an interrupt from the keyboard is the main process's to handle
        )
        theirs.close()
        self.greeting = self._answer(TIMEOUT)
        return self.greeting

    def ask(self, order: str, *argument: Any, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Let the process run until it has answered one order. A lost worker is started again."""
        if self._process is None:
            self.start()
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)
        try:
            self._connection.send((order, argument))
        except OSError:
            raise self._lost("died") from None
        return self._answer(timeout)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()  # also ends a stopped one
            self._process.wait()
            self._process = None
            self._connection.close()
            self._errors.close()

    def _answer(self, timeout: float) -> dict[str, Any]:
        assert self._process is not None
        try:
            if not self._connection.poll(timeout):
                raise self._lost(f"no answer within {timeout:.0f} s")
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._lost("died") from None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGSTOP)
        # until it has really stopped; not reaped here, that is for close
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return answer

    def _lost(self, what: str) -> WorkerLost:
        assert self._process is not None
        self._process.kill()
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        if what == "died" and code < 0:
            what = f"died of {signal.Signals(-code).name}"
        return WorkerLost(f"{self.name}: {what}" + (f": {lines[-1]}" if lines else ""))


def _environment(threads: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _WAITING}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYCONV_NUM_THREADS"):
        kept[name] = str(threads)
    kept["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's; nothing that is measured uses it
    return kept
