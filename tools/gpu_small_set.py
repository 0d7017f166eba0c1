"""One case for each CUDA kernel, for compute-sanitizer: every array is an allocation of its own, not CuPy's pool's.

Usage: ``gpu_small_set.py [--stand-in] [--wgmma]``. With ``--wgmma``, for which ``PYCONV_CUDA_WGMMA=on`` has to be set,
only convolutions run, and it fails if kernels of wgmma were not launched.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyconv import registry, testing
from pyconv.errors import BackendWarning

NAMES = (
    "conv2d-plain-float32", "conv2d-channels_32_48-float32", "conv2d-channels_64_65-float64",
    "conv2d-channels_64_65-float32", "conv2d-one_inf-channels_32_48-float32",
    "conv2d-tf32-float32", "conv2d-tf32_stem-float32", "conv2d-tf32_kernel_1x1-float32",
    "conv2d-channels_last-channels_32_48-float32", "conv2d-channels_32_48-float16", "conv2d-channels_64_65-bfloat16",
    "conv2d-kernel_1x1_many-float32", "conv2d-kernel_1x1-float32", "conv2d-kernel_7x7_stem-float32",
    "conv2d-gaps-dilation_stride_padding-float32", "conv2d-groups3_stride2-float64", "conv2d-depthwise-float32",
    "conv2d-depthwise_5x5_dilated-float32", "conv2d-depthwise_7x7_stride2-float32", "conv2d-channels_17_33-float16",
    "conv2d-residual-channels_32_48-float32", "conv2d-residual_in_place-depthwise-float32",
    "conv2d-residual_in_place-plain-float64", "max_pool2d-3x3_stride2_whole_vectors-float32",
    "avg_pool2d-2x2_stride1_whole_vectors-float32",
    "max_pool2d-indices-3x3_stride1_padding1-float64", "max_pool2d-indices-channels_last-40_channels-float32",
    "avg_pool2d-channels_last-2x2_whole_vectors-float64", "max_pool2d-5x5_stride1-float32",
    "max_pool2d-3x3_stride2_padding1-float32", "max_pool2d-indices-ceil_dilation-float64", "max_pool2d-2x2_odd-float32",
    "relu-1031-float32", "sigmoid-image-float64", "tanh-1031-float32", "tanh-gaps-image-float32",
    "gelu-special-1031-float32", "softplus-parameters1-1031-float64", "prelu-image-float32",
    "softmax-long-float32", "log_softmax-channels-float64", "softmin-last-float32", "glu-channels-float32",
    "conv_transpose2d-3x3_stride2-float32", "conv_transpose2d-plain-float64",
    "avg_pool2d-3x3_stride2_padding1-float32", "avg_pool2d-whole_large_plane-float64", "lp_pool2d-3-2x2-float32",
    "adaptive_avg_pool2d-uneven-float32", "adaptive_max_pool2d-uneven-float64", "max_unpool2d-2x2-float32",
    "prelu-channels_last-image-float64", "batch_norm-image-float32", "unfold-dilation-float32",
    "fold-2x3_stride2-float64", "conv1d-all-float32", "conv_transpose1d-all-float64",
)  # fmt: skip


def names_of_launches(room: Any) -> set[str]:
    """A set into which the names of the kernels that ``room`` launches come."""
    launcher, names = room.launcher, set()

    def noted(launch: Any) -> Callable[[Any], None]:
        run = launcher(launch)

        def noting(arguments: Any) -> None:
            names.add(launch.kernel.name)
            run(arguments)

        return noting

    room.launcher = noted
    return names


def main(words: list[str]) -> int:
    """Check the cases; 1 if one is wrong or refused."""
    warnings.simplefilter("error", BackendWarning)  # that other kernels take the place of those that are asked for
    by_wgmma = "--wgmma" in words
    if "--stand-in" in words:
        sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests" / "cuda_host")]
        from stand_in import StandIn

        from pyconv.backends.cuda import CudaBackend

        backend, load = CudaBackend(StandIn(seed=6, tensor_cores=9 if by_wgmma else 8)), registry.load
        registry.load = lambda name: backend if name == "cuda" else load(name)  # type: ignore[assignment]
    else:
        import cupy

        cupy.cuda.set_allocator(None)
    known = {case.name: case for case in (*testing.cases(), *testing.half_cases())}
    launched, wrong = names_of_launches(registry.load("cuda")._room), 0  # type: ignore[attr-defined]
    for name in NAMES:
        if by_wgmma and not name.startswith("conv"):
            continue
        try:
            reason = testing.check(known[name], "cuda")
        except AssertionError as error:
            reason = str(error)
        print(f"{name}: {reason or 'right'}", flush=True)
        wrong += reason is not None
    if by_wgmma and "conv_wgmma" not in launched:
        print(f"no kernel of wgmma was launched, only {', '.join(sorted(launched))}")
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
