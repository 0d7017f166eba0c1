"""The benchmark on a GPU: pyconv on CuPy arrays beside torch's cuDNN, strict float32 and TF32.

``python -m benchmarks.gpu``. Both libraries work on the same stream of one process; bursts of them are interleaved and
timed by CUDA events, a burst of several calls at a time, so that what is measured is the device and not the launch.
Without torch, pyconv is measured alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import pyconv
import pyconv.functional as F
from pyconv.plan import conv_parameters

from . import machine
from .layers import LISTS, Layer
from .results import geometric_mean, write_bytes, write_json

HERE = Path(__file__).resolve().parent
BATCHES = (1, 32)
BURSTS = 25
BURST_US = 2000.0  # of work at least, in a burst
ERRORS = {"pyconv": 1e-4, "torch fp32": 1e-4, "torch tf32": 1e-2}
"""The largest error of the outputs, over the largest output, that counts as right."""


class Device:
    """A GPU through CuPy."""

    tiny = False
    torch_device = "cuda"

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy

    def array(self, values: np.ndarray) -> Any:
        return self._cupy.asarray(values)

    def host(self, array: Any) -> np.ndarray:
        return self._cupy.asnumpy(array)

    def microseconds(self, work: Callable[[], Any], calls: int) -> float:
        """Of one call, by events around ``calls`` of them."""
        start, end = self._cupy.cuda.Event(), self._cupy.cuda.Event()
        start.record()
        for _ in range(calls):
            work()
        end.record()
        end.synchronize()
        return self._cupy.cuda.get_elapsed_time(start, end) * 1000 / calls

    def describe(self) -> dict[str, Any]:
        return {**pyconv.registry.load("cuda").describe(), "copy GB/s": self._bandwidth()}

    def _bandwidth(self) -> float:
        """Bytes read and written by a copy of 1 GiB, the best of ten."""
        source = self._cupy.zeros(2**28, self._cupy.float32)
        target = self._cupy.empty_like(source)
        times = [self.microseconds(lambda: self._cupy.copyto(target, source), 1) for _ in range(11)]
        return 2 * source.nbytes / min(times[1:]) / 1000


class Rehearsal:
    """The stand-in of the tests in the GPU's place: the whole path, on small layers, with times that mean nothing."""

    tiny = True
    torch_device = "cpu"

    def __init__(self) -> None:
        sys.path[:0] = [str(HERE.parent / "tests" / "cuda_host")]
        from stand_in import StandIn

        from pyconv import registry
        from pyconv.backends.cuda import CudaBackend

        self._room = StandIn(seed=5)
        backend, load = CudaBackend(self._room), registry.load
        registry.load = lambda name: backend if name == "cuda" else load(name)  # type: ignore[assignment]

    def array(self, values: np.ndarray) -> Any:
        return self._room.array(values)

    def host(self, array: Any) -> np.ndarray:
        return array.host.copy()

    def microseconds(self, work: Callable[[], Any], calls: int) -> float:
        start = perf_counter()
        for _ in range(calls):
            work()
        return (perf_counter() - start) * 1e6 / calls

    def describe(self) -> dict[str, Any]:
        return {**self._room.describe(), "rehearsal": "the times mean nothing"}


@dataclass
class Entry:
    """One library on one layer: ``run`` computes, ``begin`` sets what is global before a burst."""

    run: Callable[[], Any]
    host: Callable[[Any], np.ndarray]
    begin: Callable[[], None] = lambda: None


def arguments(layer: Layer) -> dict[str, np.ndarray]:
    """Numbers to compute with, the same every time."""
    rng = np.random.default_rng(0)
    made = {"x": rng.standard_normal(layer.shape, np.float32)}
    if layer.op == "conv2d":
        made["weight"] = rng.standard_normal(layer.weight_shape, np.float32)
        if layer.bias:
            made["bias"] = rng.standard_normal(layer.out_channels, np.float32)
    return made


def own(layer: Layer, values: dict[str, np.ndarray], device: Any) -> Entry:
    """pyconv, with the weights prepared once, as a layer has them."""
    x = device.array(values["x"])
    if layer.op == "conv2d":
        parameters = conv_parameters("conv2d", layer.stride, layer.padding, 1, layer.groups)
        call = F.conv.plan_call_conv2d(
            x, values["weight"], values.get("bias"), parameters, None, "auto", keeps_weights=True
        )
        backend = pyconv.registry.select(call.plan, call.kind)
        prepared = backend.prepare(call.plan, call.weight, call.bias)
        return Entry(lambda: call.run(backend, prepared), device.host)
    if layer.op == "max_pool2d":
        return Entry(lambda: F.max_pool2d(x, layer.kernel, layer.stride, layer.padding), device.host)
    return Entry(lambda: getattr(F, layer.op)(x), device.host)


def torch_function(
    torch: Any, layer: Layer, values: dict[str, np.ndarray], device: str, dtype: Any
) -> Callable[[], Any]:
    """The layer as a call of torch."""
    tensors = {name: torch.from_numpy(value).to(device, dtype) for name, value in values.items()}
    x = tensors["x"]
    if layer.op == "conv2d":
        weight, bias = tensors["weight"], tensors.get("bias")
        return lambda: torch.nn.functional.conv2d(x, weight, bias, layer.stride, layer.padding, groups=layer.groups)
    if layer.op == "max_pool2d":
        return lambda: torch.nn.functional.max_pool2d(x, layer.kernel, layer.stride, layer.padding)
    return lambda: getattr(torch, layer.op)(x)


def peers(torch: Any, layer: Layer, values: dict[str, np.ndarray], device: Any) -> dict[str, Entry]:
    """torch's cuDNN; TF32 only where there is something to multiply."""
    work = torch_function(torch, layer, values, device.torch_device, torch.float32)

    def allow(tf32: bool) -> Callable[[], None]:
        def begin() -> None:
            torch.backends.cudnn.allow_tf32 = tf32

        return begin

    found = {"torch fp32": Entry(work, lambda result: result.cpu().numpy(), allow(False))}
    if layer.op == "conv2d":
        found["torch tf32"] = Entry(work, lambda result: result.cpu().numpy(), allow(True))
    return found


def exact(torch: Any, layer: Layer, values: dict[str, np.ndarray], device: Any) -> np.ndarray:
    """The result in float64: torch's, or pyconv's own float64 kernels where there is no torch."""
    if torch is not None:
        return torch_function(torch, layer, values, device.torch_device, torch.float64)().cpu().numpy()
    wide = {name: value.astype(np.float64) for name, value in values.items()}
    return device.host(own(layer, wide, device).run())


def measure(layer: Layer, torch: Any, device: Any) -> dict[str, Any]:
    """Times and errors of every library on a layer."""
    values = arguments(layer)
    wanted = exact(torch, layer, values, device)
    makers = {"pyconv": lambda: {"pyconv": own(layer, values, device)}}
    if torch is not None:
        makers["torch"] = lambda: peers(torch, layer, values, device)
    entries: dict[str, Entry] = {}
    results: dict[str, dict[str, Any]] = {}
    for name, make in makers.items():
        try:
            entries.update(make())
        except Exception as error:  # a row of its own; the others are measured all the same
            results[name] = {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:300]}
    calls = {}
    for name, entry in list(entries.items()):
        try:
            entry.begin()
            got = entry.host(entry.run())
            error = float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30))
            entry.run()
            calls[name] = max(1, min(200, int(BURST_US / max(device.microseconds(entry.run, 3), 1.0))))
            results[name] = {"status": "ok" if error <= ERRORS[name] else "wrong", "error": error, "times": []}
        except Exception as error:
            results[name] = {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:300]}
            del entries[name]
    for _ in range(2 if device.tiny else BURSTS):
        for name, entry in entries.items():
            entry.begin()
            results[name]["times"].append(device.microseconds(entry.run, 1 if device.tiny else calls[name]))
    for found in results.values():
        if times := found.pop("times", None):
            low, median, high = np.percentile(times, [10, 50, 90])
            found |= {"median_us": float(median), "p10_us": float(low), "p90_us": float(high)}
    return results


def chosen(tiny: bool) -> list[tuple[str, Layer]]:
    """The headline layers of every list, at several batch sizes; small ones for a rehearsal."""
    if tiny:
        small = [replace(layer, shape=(1, *layer.shape[1:])) for layer in LISTS["tiny"][:5]]
        return [("tiny", layer) for layer in small]
    found = []
    for name in ("resnet50", "vgg16", "mobilenetv2", "other"):
        for layer in LISTS[name]:
            if layer.headline or name == "vgg16":
                found += [(name, replace(layer, shape=(batch, *layer.shape[1:]))) for batch in BATCHES]
    return found + [("images", layer) for layer in LISTS["images"] if layer.headline]


def markdown(report: dict[str, Any]) -> str:
    """The report as a table: microseconds, the rate, and how many times as quick pyconv is."""
    lines = ["# On a GPU", ""]
    lines += [f"- {key}: {value}" for key, value in report["machine"].items()]
    lines += ["", "Median microseconds of a call (10th to 90th percentile). Above 1, pyconv is quicker.", ""]
    lines += ["| layer | batch | pyconv | TFLOP/s | torch fp32 | × | torch tf32 | × | error |", "|---|" + "---:|" * 8]
    ratios: dict[str, list[float]] = {"torch fp32": [], "torch tf32": []}
    for row in report["rows"]:
        results = row["results"]
        ours = results["pyconv"]
        rate = row["flops"] / ours["median_us"] / 1e6 if ours.get("median_us") and row["flops"] else None
        cells = [row["name"], str(row["batch"]), _cell(ours), f"{rate:.1f}" if rate else ""]
        for peer, known in ratios.items():
            theirs = results.get(peer, {})
            ratio = theirs["median_us"] / ours["median_us"] if _right(theirs) and _right(ours) else None
            if ratio:
                known.append(ratio)
            cells += [_cell(theirs), f"{ratio:.2f}" if ratio else ""]
        cells.append(f"{ours['error']:.1e}" if "error" in ours else "")
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    lines += [f"Geometric mean over {peer}: {geometric_mean(known):.2f}" for peer, known in ratios.items() if known]
    return "\n".join(lines).rstrip() + "\n"


def _right(result: dict[str, Any]) -> bool:
    return result.get("status") == "ok" and "median_us" in result


def _cell(result: dict[str, Any]) -> str:
    if not result:
        return ""
    if not _right(result):
        return result["status"]
    return f"{result['median_us']:.1f} ({result['p10_us']:.1f}–{result['p90_us']:.1f})"


def main(words: list[str] | None = None) -> int:
    """Measure, print the table, write both files; 1 if a result of pyconv is wrong or missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Measure pyconv on a GPU.")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=HERE / "results", help="where gpu-* is written")
    parser.add_argument("--stand-in", action="store_true", help="rehearse without a GPU: times mean nothing")
    parser.add_argument("--seconds", type=float, default=400, help="begin no further layer after this time")
    options = parser.parse_args(words)
    device = Rehearsal() if options.stand_in else Device()
    try:
        import torch

        torch.backends.cudnn.benchmark = True
        peer = f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}"
        if not options.stand_in and not torch.cuda.is_available():
            torch, peer = None, "without CUDA"
    except ImportError:
        torch, peer = None, "not installed"
    now = datetime.now(UTC)
    about = {**device.describe(), "torch": peer, **machine.describe(1), "date": now.isoformat(timespec="seconds")}
    report: dict[str, Any] = {"machine": about, "rows": []}
    name = f"gpu-{now:%Y-%m-%d}-{about['commit']}".removesuffix("-")
    begin, layers = perf_counter(), chosen(device.tiny)
    for number, (listed, layer) in enumerate(layers):
        if perf_counter() - begin > options.seconds:
            print(f"the time is up; {len(layers) - number} layers are left out")
            break
        results = measure(layer, torch, device)
        report["rows"].append(
            {"list": listed, "name": layer.name, "batch": layer.shape[0], "flops": layer.flops, "results": results}
        )
        print(
            f"{layer.name}, batch {layer.shape[0]}: " + ", ".join(f"{n} {_cell(r)}" for n, r in results.items()),
            flush=True,
        )
        write_json(options.out / f"{name}.json", report)  # after each layer: a run that is cut short is kept
        write_bytes(options.out / f"{name}.md", markdown(report).encode())
    print(f"\n{markdown(report)}\nwritten to {options.out / name}.json and .md")
    return 0 if all(_right(row["results"]["pyconv"]) for row in report["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
