"""Compile every CUDA kernel for every architecture, without a GPU, and hold registers, spills and shared memory down.

Usage: ``cuda_check.py [ARCHITECTURE...]``. It needs NVRTC, CUDA's run-time compiler: ``pip install nvidia-cuda-nvrtc``,
which needs neither a driver nor a GPU, or a CUDA toolkit. Compiler and options are those that CuPy uses.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from pyconv.backends.cuda.configurations import configurations
from pyconv.backends.cuda.kernel import OPTIONS, Kernel

ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90")
"""Those that every kernel is compiled for; some are for another one alone."""


class Limit(NamedTuple):
    """The most that a kernel may use: registers of a thread, bytes of shared memory. None may spill."""

    registers: int
    shared: int


# Registers: a multiprocessor has 65,536. Where a kernel computes, 384 threads on it hide the latency of memory, since
# each has 32 or 64 sums to go on with, and in float64 256; where it only moves data, about 1,024, and 640 where each
# thread holds a row of a window. Shared memory: a block gets at most 48 KiB without asking.
# A tensor-core kernel asks for its shared memory, of which a multiprocessor of 8.6 has the least: 99 KiB for a block.
# Its warps have so much to do at once that two blocks are enough, in float32's three products one of 256 threads.
# Spills: none. Where the compiler spills with registers to spare, as around 64-bit divisions, __launch_bounds__ with a
# number of blocks makes it use them.
LIMITS = {
    "conv_tensor": Limit(255, 99 * 1024),
    "conv_wgmma": Limit(176, 227 * 1024),  # one block of Hopper's, of 384 threads with 168 or of 256
    "sum_parts": Limit(64, 0),
    "conv_gemm": Limit(168, 24 * 1024),
    "conv_gemm in float64": Limit(255, 24 * 1024),
    "conv_pointwise": Limit(168, 24 * 1024),
    "conv_pointwise in float64": Limit(255, 24 * 1024),
    "conv_depthwise": Limit(96, 0),
    "window_pool": Limit(128, 0),  # of which a thread has its windows of several rows
    "channel_pool": Limit(96, 0),
    "max_pool": Limit(64, 0),
    "interleave": Limit(64, 0),
    "conv_transposed": Limit(64, 0),
    "sum_pool": Limit(64, 2 * 1024),
    "max_unpool": Limit(64, 0),
    "fold": Limit(64, 0),
    "elementwise": Limit(64, 0),
    "channels": Limit(64, 0),
    "softmax": Limit(64, 6 * 1024),
    "glu": Limit(64, 0),
    "pack": Limit(64, 0),
}


class Usage(NamedTuple):
    """What ptxas says of one kernel: registers of a thread, bytes of shared memory, of stack and of spills."""

    registers: int
    shared: int
    stack: int
    spills: int


def candidates() -> Iterator[Path | str]:
    """Places where NVRTC may lie: the wheel's folders, and the loader's own."""
    found = find_spec("nvidia")
    for folder in (found.submodule_search_locations if found else None) or ():
        yield from sorted(Path(folder).glob("*/lib/libnvrtc.so.*"))
        yield from sorted(Path(folder).glob("*/bin/**/nvrtc64_*.dll"))
    if name := ctypes.util.find_library("nvrtc"):
        yield name


@cache
def nvrtc() -> ctypes.CDLL | None:
    """The compiler, or None if there is none."""
    for path in candidates():
        if "builtins" not in str(path):
            try:
                return ctypes.CDLL(str(path))
            except OSError:
                continue
    return None


def compile_kernel(kernel: Kernel, architecture: str) -> tuple[bool, str]:
    """Whether it compiles, and the compiler's log."""
    library = nvrtc()
    assert library is not None
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), kernel.source.encode(), kernel.file.encode(), 0, None, None)
    own = ["-ftz=true", "--device-as-default-execution-space"]
    options = [f"--gpu-architecture={architecture}", *OPTIONS, *own, *kernel.options, "--ptxas-options=-v"]
    status = library.nvrtcCompileProgram(
        program, len(options), (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    )
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(max(1, size.value))
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return status == 0, log.value.decode(errors="replace")


def usage(log: str) -> Usage:
    """What the log of ``--ptxas-options=-v`` says."""

    def number(pattern: str) -> int:
        found = re.search(pattern, log)
        return int(found[1]) if found else 0

    if not re.search(r"Used \d+ registers", log):
        raise ValueError(f"the compiler's log does not tell the registers:\n{log}")
    spills = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    return Usage(number(r"Used (\d+) registers"), number(r"(\d+) bytes smem"), number(r"(\d+) bytes stack"), spills)


def problem(kernel: Kernel, used: Usage) -> str | None:
    """What is above the kernel's limits, or None."""
    used = used._replace(shared=used.shared + int(dict(kernel.defines).get("SHARED_BYTES", 0)))
    double = f"{kernel.name} in float64"
    limit = LIMITS[double if ("DTYPE", "FLOAT64") in kernel.defines and double in LIMITS else kernel.name]
    if used.registers > limit.registers:
        return f"{used.registers} registers, the limit is {limit.registers}"
    if used.shared > limit.shared:
        return f"{used.shared} bytes of shared memory, the limit is {limit.shared}"
    if used.spills or used.stack:
        return f"{used.spills} bytes of spills and {used.stack} of stack"
    return None


_ADVICE = re.compile(r"serialized|setmaxnreg.* ignored")
"""What the compiler says where products wait for each other, or registers are not handed on."""


def check(job: tuple[Kernel, str]) -> tuple[Usage | None, str | None]:
    """What a kernel uses on an architecture, and what is wrong with it."""
    kernel, architecture = job
    compiled, log = compile_kernel(kernel, architecture)
    if not compiled:
        return None, f"does not compile:\n{log}"
    used = usage(log)
    return used, problem(kernel, used) or next(filter(_ADVICE.search, log.splitlines()), None)


def row(kernel: Kernel, uses: dict[str, Usage | None]) -> str:
    """One line of the table: macros, then registers by architecture, shared memory and spills at most."""
    known = [used for used in uses.values() if used]
    registers = " ".join(f"{used.registers if used else '-':>5}" for used in uses.values())
    macros = " ".join(f"{name}={value}" for name, value in kernel.defines if name != "ARGUMENTS_BYTES")
    shared = max((used.shared for used in known), default=0)
    return f"{kernel.name:15} {registers} {shared:>7} {max((used.spills for used in known), default=0):>7}  {macros}"


def jobs_of(kernels: Iterable[Kernel], architectures: list[str]) -> list[tuple[Kernel, str]]:
    """What is compiled: all of a kernel's architectures, one after another."""
    special = {kernel.architecture for kernel in kernels if kernel.architecture}
    return [
        (kernel, name)
        for kernel in kernels
        for name in architectures
        if name == kernel.architecture or (kernel.architecture is None and name not in special)
    ]


def main(architectures: list[str]) -> int:
    """Print the table, a kernel as soon as it is done, and what is wrong; 1 if anything is, 2 without a compiler."""
    if nvrtc() is None:
        print("cuda_check: there is no NVRTC here; pip install nvidia-cuda-nvrtc", file=sys.stderr)
        return 2
    kernels = configurations()
    names = architectures or [*ARCHITECTURES, *sorted({each.architecture for each in kernels if each.architecture})]
    jobs = jobs_of(kernels, names)
    print(
        f"{'kernel':15} {' '.join(name.rjust(5) for name in names)}  shared  spills  macros (registers by architecture)"
    )
    wrong, begin, done = [], perf_counter(), 0
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        results = zip(jobs, pool.map(check, jobs, chunksize=4), strict=True)
        for kernel, found in groupby(results, lambda result: result[0][0]):
            uses: dict[str, Usage | None] = dict.fromkeys(names)
            before = done
            for (_, name), (used, why) in found:
                uses[name] = used
                done += 1
                if why:
                    wrong.append(f"{kernel} for {name}: {why}")
                    print(f"WRONG {wrong[-1]}")
            print(row(kernel, uses), flush=True)
            if done // 200 > before // 200:
                print(f"({done} of {len(jobs)} after {perf_counter() - begin:.0f} s)", flush=True)
    count = len({kernel for kernel, _ in jobs})
    print(f"{count} kernels for {', '.join(names)}: {len(wrong) or 'none'} of {len(jobs)} are wrong")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
