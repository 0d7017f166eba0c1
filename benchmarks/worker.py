"""The process that runs one library: it takes orders over a pipe and times its own calls."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

__all__ = ["main"]

PROBE_SECONDS = 0.01
PR_SET_PDEATHSIG = 1


def main(target: str, threads: int, cpus: list[int], parent: int, descriptor: int) -> None:
    """Serve orders until the pipe is closed."""
    _die_with(parent)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)  # before the library is imported: many count the cores then
    from multiprocessing.connection import Connection

    connection = Connection(descriptor)
    from .peers import load

    try:
        peer = load(target)(threads)
        connection.send({"status": "ok", "version": peer.version(), "describe": peer.describe()})
    except ImportError as error:
        connection.send({"status": "missing", "reason": f"not installed: {error}"})
        return
    with peer.context():
        _serve(peer, connection)


def _die_with(parent: int) -> None:
    """A stopped process would outlive its parent for ever."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


def _serve(peer: Any, connection: Any) -> None:
    from .peers.base import Unsupported

    call: Callable[[], Any] | None = None
    while True:
        try:
            order, argument = connection.recv()
        except EOFError:
            return
        try:
            if order == "build":
                call = None  # the last layer's memory goes first
                gc.collect()
                call, reply = _build(peer, *argument)
            elif order == "burst":
                reply = {"status": "ok", "seconds": _burst(call, *argument)}
            else:
                reply = {"status": "ok", **peer.measure()}
        except Unsupported as error:
            reply = {"status": "unsupported", "reason": str(error)}
        except Exception as error:  # a library's failure is a row in the table
            reply = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        connection.send(reply)


def _build(peer: Any, layer: Any, part: Any) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The quickest of the library's ways to run ``layer``, and what it gave in the region ``part``."""
    peer.check(layer)
    timed, ways = [], peer.build(layer)
    for way in ways:
        way.call()  # many libraries prepare at the first call
        way.call()
        timed.append((min(_probe(way.call) for _ in range(3 if len(ways) > 1 else 1)), way))
    seconds, way = min(timed, key=lambda entry: entry[0])
    reply = {
        "status": "ok",
        "way": way.name,
        "implementation": peer.implementation(),
        "seconds": seconds,
        "sample": part.of(way.result(way.call())).copy(),
    }
    if len(timed) > 1:
        reply["ways_us"] = {way.name: round(1e6 * seconds, 4) for seconds, way in timed}
    return way.call, reply


def _probe(call: Callable[[], Any]) -> float:
    """About how long one call takes, in seconds."""
    start, count = perf_counter(), 0
    while True:
        call()
        count += 1
        passed = perf_counter() - start
        if passed >= PROBE_SECONDS:
            return passed / count


def _burst(call: Callable[[], Any], count: int, warm_up: int) -> float:
    """Seconds for each of ``count`` calls, after ``warm_up`` calls that wake the threads and fill the caches."""
    gc.disable()
    try:
        for _ in range(warm_up):
            call()
        start = perf_counter()
        for _ in range(count):
            call()
        return (perf_counter() - start) / count
    finally:
        gc.enable()
