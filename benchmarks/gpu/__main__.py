"""The benchmark on a GPU: pyconv on CuPy arrays beside torch's cuDNN, in strict float32, TF32 and bfloat16.

Both libraries work on the same stream of one process. Each entry's calls are captured in a graph, as many as it takes
to find nothing of their arrays in the second-level cache; bursts of all entries are interleaved and timed by events.
What a user would write is timed by the host's clock besides. Without torch, pyconv is measured alone.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from .. import machine
from ..results import write_bytes, write_json
from . import host
from .ceilings import ceilings
from .device import Device
from .entries import half_dtype
from .measure import measure, summary
from .rehearsal import Rehearsal
from .report import failures, markdown
from .rows import Row, chosen

RESULTS = Path(__file__).resolve().parents[1] / "results"
SECONDS = 400  # of rows: with start and end the whole stays below eight minutes


def torch_and_what(device: Any) -> tuple[Any, str]:
    """torch, ready to be measured, and its version; None and the reason without it."""
    try:
        import torch
    except ImportError:
        return None, "not installed"
    if not device.tiny and not torch.cuda.is_available():
        return None, f"{torch.__version__} without CUDA"
    torch.backends.cudnn.benchmark = True
    return torch, f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}, cudnn.benchmark on"


class Run:
    """A report that grows, and is written after every step: what was measured is kept if a run is cut short."""

    def __init__(self, device: Any, torch: Any, about: dict[str, Any], files: Path) -> None:
        self.device, self.torch, self._files = device, torch, files
        self.done: set[Row] = set()
        self.report: dict[str, Any] = {
            "machine": about, "notes": [], "ceilings": {}, "rows": [], "left_out": [], "host": {},
        }  # fmt: skip

    def write(self) -> None:
        write_json(self._files.with_suffix(".json"), self.report)
        write_bytes(self._files.with_suffix(".md"), markdown(self.report).encode())

    def note(self, text: str) -> None:
        print(text, flush=True)
        self.report["notes"].append(text)

    def begin(self) -> None:
        """Ceilings and host time; both are put into the report one by one, and stay there whatever comes."""
        ceilings(self.torch, self.device, self.report["ceilings"])
        print(*(f"{key}: {value}" for key, value in self.report["ceilings"].items()), sep="\n", flush=True)
        self.write()
        try:
            host.breakdown(self.device, not self.device.tiny, self.report["host"])
        except Exception as error:  # the rows are measured all the same
            self.report["host_failed"] = f"{type(error).__name__}: {error}"[:300]
        self.write()

    def row(self, row: Row) -> None:
        """One row; what makes all of it impossible is its result."""
        try:
            results = measure(row, self.torch, self.device)
        except Exception as error:
            results = {"pyconv whole row": {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:300]}}
        self.report["rows"].append({**_described(row), "results": results})
        self.done.add(row)
        print(f"{row.name}: {summary(results)}", flush=True)
        self.write()
        self.device.free()
        if self.torch is not None and not self.device.tiny:
            self.torch.cuda.empty_cache()

    def rows(self, rows: list[Row], until: float) -> None:
        """All of them, but none is begun after ``until``."""
        for number, row in enumerate(rows):
            if perf_counter() > until:
                self.note(f"the time was up: the last {len(rows) - number} of {len(rows)} rows were left out")
                break
            self.row(row)


def _described(row: Row) -> dict[str, Any]:
    """A row of the report, without results."""
    return {
        "list": row.list, "name": row.name, "kind": row.kind, "precision": row.precision,
        "batch": row.layer.shape[0], "flops": row.layer.flops, "bytes": row.bytes, "results": {},
    }  # fmt: skip


def main(words: list[str] | None = None) -> int:
    """Measure, print the tables, write both files; 1 if a result of pyconv is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Measure pyconv on a GPU.")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=RESULTS, help="where gpu-* is written")
    parser.add_argument("--stand-in", action="store_true", help="rehearse without a GPU: times mean nothing")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="begin no further row after this time")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name or kind contains it")
    options = parser.parse_args(words)
    if options.stand_in and options.out.resolve() == RESULTS:
        parser.error("a rehearsal's times are no results: name another folder with --out")
    begin = perf_counter()
    device = Rehearsal() if options.stand_in else Device()
    torch, peer = torch_and_what(device)
    now = datetime.now(UTC)
    about = {**device.describe(), "torch": peer, **machine.describe(1), "date": now.isoformat(timespec="seconds")}
    files = options.out / f"gpu-{now:%Y-%m-%d}-{about['commit']}".removesuffix("-")
    every = chosen(device.tiny)
    rows = [row for row in every if options.only in row.name or options.only == row.kind]
    if not rows:
        parser.error(f"no row's name contains {options.only!r}")
    run = Run(device, torch, about, files)
    try:
        with (
            device.current(),
            device.torch_stream(torch) if torch else nullcontext(),
            torch.inference_mode() if torch else nullcontext(),
        ):
            half = half_dtype(device)[0]
            if half != "bf16":
                run.note("CuPy's arrays hold no bfloat16 here: rows called bf16 are of float16, in both libraries")
            run.begin()
            run.rows(rows, begin + options.seconds)
    finally:  # what was measured is kept, whatever ended the run; the classes know what is missing
        run.report["left_out"] = [_described(row) for row in every if row not in run.done]
        run.note(f"took {perf_counter() - begin:.0f} s")
        run.write()
    failed = failures(run.report)
    print(f"\n{markdown(run.report)}\nwritten to {files}.json and .md")
    return 1 if any(": pyconv" in line for line in failed) else 0


if __name__ == "__main__":
    sys.exit(main())
