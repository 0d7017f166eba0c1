"""Builds the compiled core: every kernel once for each instruction set and dtype, then the Cython drivers.

All other metadata is in pyproject.toml.
"""

from __future__ import annotations

import sysconfig
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count, environ
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = Path("pyconv/_core")
KERNELS = CORE / "kernels"
X86_64 = sysconfig.get_platform().endswith(("x86_64", "amd64"))  # of the target, where that is another machine

# flags of each instruction set; nothing else in the package is compiled for more than the baseline
INSTRUCTION_SETS: dict[str, list[str]] = {"baseline": []}
if X86_64:
    v3 = ["-mavx2", "-mfma", "-mbmi", "-mbmi2"]
    v4 = [*v3, "-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
    INSTRUCTION_SETS.update(x86_64_v3=v3, x86_64_v4=v4)
MACROS = [("PC_X86_64", "1")] if X86_64 else []

# NumPy's C functions as of the oldest version that the package takes
NUMPY_MACROS = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")]

C_FLAGS = ["-O3", "-std=gnu11", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra"]
KERNEL_FLAGS = [
    *C_FLAGS,
    "-ffp-contract=fast",  # one rounding for a multiply-add, where the instruction set has it
    "-fno-math-errno",
    "-fno-trapping-math",  # comparisons may be done for lanes that are not used; results are IEEE all the same
    "-fno-schedule-insns",  # reorders loads before registers are given out, and spills the tiles on AArch64
    "-Wno-psabi",  # vectors are passed between inlined functions only
]

# Formulas are long chains of operations that wait for each other: those of several vectors are mixed before registers
# are given out, but none is moved in front of a test. Only here: see -fno-schedule-insns.
SCHEDULED = ["-fschedule-insns", "-fsched-pressure", "-fno-sched-interblock"]
OWN_FLAGS = {
    "activation": SCHEDULED,
    "softmax": SCHEDULED,
    # Two loops add to the same sums, one after the other: GCC 12's global common subexpressions move sums between
    # registers in each turn.
    "winograd_few": ["-fno-gcse"],
}

# PYCONV_SANITIZE=address,undefined: the compiler's run-time checks in everything; see tools/sanitize.py
SANITIZE = []
if environ.get("PYCONV_SANITIZE"):
    checks = environ["PYCONV_SANITIZE"]
    SANITIZE = [f"-fsanitize={checks}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g1", "-O1"]


class BuildExt(build_ext):
    """Compiles the kernels, and links them into the one driver that hands them to the others."""

    def build_extension(self, ext: Extension) -> None:
        if ext.name.endswith(".runtime"):
            ext.extra_objects = self._compile_kernels()
        super().build_extension(ext)

    def _compile_kernels(self) -> list[str]:
        jobs = []
        for source in sorted(KERNELS.glob("*.kernel.c")):
            own = OWN_FLAGS.get(source.name.removesuffix(".kernel.c"), [])
            for isa, flags in INSTRUCTION_SETS.items():
                for dtype, is_double in (("f32", "0"), ("f64", "1")):
                    macros = [("PC_ISA", isa), ("PC_DTYPE", dtype), ("PC_F64", is_double)]
                    jobs.append((source, f"{isa}-{dtype}", macros, KERNEL_FLAGS + flags + own))
        common = [source for source in sorted(KERNELS.glob("*.c")) if not source.name.endswith(".kernel.c")]
        jobs += [(source, "common", MACROS, C_FLAGS) for source in common]
        with ThreadPoolExecutor(cpu_count()) as pool:
            return list(pool.map(self._compile, jobs))

    def _compile(self, job: tuple[Path, str, list[tuple[str, str]], list[str]]) -> str:
        source, variant, macros, flags = job
        headers = [str(header) for header in sorted(KERNELS.glob("*.h"))]
        (compiled,) = self.compiler.compile(
            [str(source)],
            output_dir=str(Path(self.build_temp) / variant),
            macros=macros,
            extra_postargs=[*flags, *SANITIZE],
            depends=headers,
        )
        return compiled


DRIVERS = (
    "runtime", "memory", "calls", "chains", "tasks", "conv", "pool", "elementwise", "fused", "transposed",
)  # fmt: skip


def driver(name: str) -> Extension:
    """The extension module of one Cython driver."""
    sources = [path for path in KERNELS.rglob("*") if path.suffix in (".c", ".h")] if name == "runtime" else []
    return Extension(
        f"pyconv._core.{name}",
        [str(CORE / f"{name}.pyx")],
        include_dirs=[str(CORE), numpy.get_include()],
        # the lock is taken back by Python's own function: Cython's shortcut keeps thread states in mind
        define_macros=[*NUMPY_MACROS, ("CYTHON_FAST_GIL", "0"), *MACROS],
        extra_compile_args=["-O2", "-g0", "-fopenmp", "-fvisibility=hidden", *SANITIZE],
        extra_link_args=["-fopenmp", "-pthread", *SANITIZE],
        depends=[str(KERNELS / "kernels.h"), str(KERNELS / "process.h"), *map(str, sources)],
    )


setup(
    ext_modules=cythonize(
        [driver(name) for name in DRIVERS],
        compiler_directives={"boundscheck": False, "wraparound": False, "cdivision": True},
    ),
    cmdclass={"build_ext": BuildExt},
)
