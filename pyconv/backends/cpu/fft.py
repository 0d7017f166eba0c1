"""Convolution by the fast Fourier transform, for large kernels that are not separable: overlap-save, by NumPy's FFT.

The image is cut into tiles that overlap by what the kernel spans. A tile's spectrum times the conjugate of the kernel's
is the spectrum of their circular correlation, whose beginning is that of the image (T. G. Stockham, "High-speed
convolution and correlation", 1966).

Rounding in a transform follows the largest number of the whole tile. So float32 is computed in float64, which NumPy's
FFT does about as fast, and results that are so small beside their tile that even then the bound of direct sums might
not hold are computed one by one, or, where they are many, with their tile by direct sums: as tiles that are not finite.
float64 has no such reserve: there it is used where it is named, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from math import inf, log2, prod
from typing import NamedTuple

import numpy as np

from ..._core import memory, tasks
from ...plan import ConvPlan, Cost, Pair, span
from . import depthwise, estimate, isa, separable
from .cache import LEVEL_3, WORKING_SET
from .cut import ceil_div, is_double_plan, threads_for
from .fft_tiles import Grid, Running, Spectra, bins, block_bytes, transform

__all__ = ["cost", "grid", "label", "overtakes", "prepare", "prepare_key", "refusal", "run", "work"]

_LEAST_TAPS = 100
"""Of a kernel: below, plain sums are quicker whatever the image, and nothing need be estimated."""

_GAIN, _GAIN_OF_FEW_TILES = 0.6, 0.3
_MANY_TILES = 8
"""It is chosen where it takes at most so much of the plain sum's cycles, which are shared out over threads more evenly:
NumPy's functions begin one after the other, and there may be fewer tiles than threads."""

_MOST_SPECTRA, _MOST_BLOCK = 2**27, 2**28
"""Bytes of the kernels' spectra, and of what a task works in."""

_SIZES = sorted(size for a in range(2, 21) for b in range(3) for c in range(2) if (size := 2**a * 3**b * 5**c) >= 8)
"""Lengths of transforms: of small factors, and not so many that trying pairs of them would take long."""

_LARGE, _LONG = 512, 2**14
"""The longest transform of two or of one dimension, for kernels that are not longer: larger ones leave the cache."""

_LINES = 2**15
"""Elements of a tile whose rows are transformed by themselves, or whose columns are."""


class _Room(NamedTuple):
    """What :func:`estimate.cost` asks of tasks."""

    threads: int
    scratch_bytes: int


def label(plan: ConvPlan) -> str:
    """The implementation's name, with the rows and columns of a tile."""
    found = grid(plan, isa.current())
    return "fft" if found is None else f"fft_{found.size[0]}x{found.size[1]}"


def refusal(plan: ConvPlan) -> str | None:
    """None if it takes the plan, else the reason why not."""
    if plan.algorithm not in ("auto", "fft", "measure"):
        return f"algorithm={plan.algorithm!r} was asked for"
    if plan.kernel == (1, 1):
        return "a kernel of one tap has nothing to transform"
    if plan.algorithm != "fft":
        if prod(plan.kernel) < _LEAST_TAPS:
            return f"it is for kernels of {_LEAST_TAPS} taps and more"
        if is_double_plan(plan):
            return "in float64 its errors follow the largest number of a tile: algorithm='fft' asks for it"
    return _refusal(plan, isa.current())


@lru_cache(maxsize=1024)
def _refusal(plan: ConvPlan, level: int) -> str | None:
    found = grid(plan, level)
    if found is None:
        return f"spectra of the kernels would take more than {_MOST_SPECTRA:,} bytes, or a tile than {_MOST_BLOCK:,}"
    if plan.algorithm == "auto":
        own, other = _cycles(plan, level, found), _plain_cycles(plan, level)
        if own > _gain(plan, found) * other:
            return f"transforms would not save enough: they take {own:,.0f} cycles, the plain sum {other:,.0f}"
    return None


def _plain_cycles(plan: ConvPlan, level: int) -> float:
    """Of the plain sum; depthwise kernels count a tap as on cores that begin two multiply-adds in a cycle."""
    plain = separable.plain(plan)
    if plain is None:  # too large for it; tiles are not
        return inf
    return plain.cycles(plan, level) * (estimate.pace(level) if plain is depthwise else 1)


def _gain(plan: ConvPlan, found: Grid) -> float:
    return _GAIN if plan.groups * prod(found.tiles) >= _MANY_TILES else _GAIN_OF_FEW_TILES


def overtakes(plan: ConvPlan) -> bool:
    """Whether it takes plans with separable kernels from the two passes down and along: long ones of one row, say."""
    if separable.refusal(plan) is not None or refusal(plan) is not None:
        return False
    level = isa.current()
    found = grid(plan, level)
    assert found is not None
    return _cycles(plan, level, found) <= _gain(plan, found) * separable.cycles(plan, level)


@lru_cache(maxsize=1024)
def grid(plan: ConvPlan, level: int) -> Grid | None:
    """The tiles that take the fewest cycles, by count; None if none are small enough.

    They depend neither on the number of threads nor on the size of the batch, as the last bits do on them.
    """
    axes = tuple(axis for axis in (0, 1) if plan.kernel[axis] > 1)
    if not axes:
        return None
    ways = [_lengths(plan, axis, len(axes)) for axis in axes]
    found = []
    for one in ways[0]:
        for other in ways[1] if len(axes) == 2 else [None]:
            if other is None:  # as many rows, or columns, as suit the cache
                lines = min(plan.out_size[1 - axes[0]], max(_LINES // one[0], 1))
                other = lines, lines
            pairs = (one, other) if axes[0] == 0 else (other, one)
            size, outputs = (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1])
            tiles = tuple(ceil_div(out, own) for out, own in zip(plan.out_size, outputs, strict=True))
            found.append(Grid(axes, size, outputs, (tiles[0], tiles[1])))
    found = [each for each in found if _spectra_bytes(plan, each) <= _MOST_SPECTRA]
    fitting = [each for each in found if block_bytes(plan, each) <= _MOST_BLOCK]
    return min(fitting, key=lambda each: _cycles(plan, level, each), default=None)


def _lengths(plan: ConvPlan, axis: int, axes: int) -> list[Pair]:
    """Lengths of transforms along an axis, and the results of each."""
    reach, step = span(plan.kernel[axis], plan.dilation[axis]), plan.stride[axis]
    whole = (plan.out_size[axis] - 1) * step + reach
    longest = max(_LARGE if axes == 2 else _LONG, 4 * reach)
    lengths = [size for size in _SIZES if reach <= size <= longest]
    lengths = [size for n, size in enumerate(lengths) if n == 0 or lengths[n - 1] < whole]
    return [(size, min((size - reach) // step + 1, plan.out_size[axis])) for size in lengths]


def _kernel_bins(found: Grid) -> Pair:
    """The same of a kernel's, which has one row, or column, where it is not transformed."""
    height, width = bins(found)
    return (height if 0 in found.axes else 1, width if 1 in found.axes else 1)


def _spectra_bytes(plan: ConvPlan, found: Grid) -> int:
    return 16 * plan.out_channels * (plan.in_channels // plan.groups) * prod(_kernel_bins(found))


def _cycles(plan: ConvPlan, level: int, found: Grid) -> float:
    """Cycles of an image on one core, estimated, in the cost models' (see estimate.py).

    NumPy's FFT is scalar code: a transform takes 5.7 of the core's own cycles for a pixel and a dimension, and more in
    tiles that leave the second level of the cache. Cutting out takes 4.5, and what is done with results 3.5; a
    product one, a sum of products two, or more where spectra come from far away. Calls take 15 microseconds for each
    tile and each channel of its output, and are counted twice, since threads wait for each other there (measured).
    """
    per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
    pixels, spectra = prod(found.size), _spectra_bytes(plan, found)
    transform = 5.7 * len(found.axes) * (1 + pixels / 2**21)
    product = 8 if spectra > LEVEL_3 else 4.5 if spectra > 2 * WORKING_SET else 1 if per_in == 1 else 2
    coming_in = per_in * pixels * (transform + 4.5)
    going_out = per_out * pixels * (transform + 3.5 + per_in * product)
    preparing = 0 if plan.keeps_weights else plan.out_channels * per_in * pixels * transform
    calls = 100_000 * (1 + per_out)
    return estimate.pace(level) * (preparing + plan.groups * prod(found.tiles) * (coming_in + going_out + calls))


def _threads(plan: ConvPlan, found: Grid) -> int:
    return min(threads_for(plan), max(_count(plan, found), 1))


def _count(plan: ConvPlan, found: Grid) -> int:
    """Tasks: the tiles of each image and group."""
    return plan.batch * plan.groups * prod(found.tiles)


def cost(plan: ConvPlan) -> Cost:
    """What it expects to need; its flops are those of transforms and products, 2.5 n log2(n) for n real numbers."""
    level = isa.current()
    found = grid(plan, level)
    assert found is not None
    per_in, places = plan.in_channels // plan.groups, prod(bins(found))
    room = _Room(_threads(plan, found), block_bytes(plan, found))
    estimated = estimate.cost(plan, room, _cycles(plan, level, found), _spectra_bytes(plan, found) // 4)
    lengths = prod(found.size[axis] for axis in found.axes)
    transform = 2.5 * prod(found.size) * log2(lengths)
    per_out = plan.out_channels // plan.groups
    flops = _count(plan, found) * ((per_in + per_out) * transform + 8 * per_in * per_out * places)
    return estimated._replace(flops=int(flops))


def prepare_key(plan: ConvPlan) -> Hashable:
    """Plans with equal keys share spectra, and the tiles that these are of."""
    level = isa.current()
    return level, grid(plan, level)


def prepare(plan: ConvPlan, weight: np.ndarray, bias: np.ndarray | None) -> Spectra | None:
    """Transform the kernels; None if they are not finite, or become so: only direct sums show that right."""
    level = isa.current()
    found = grid(plan, level)
    assert found is not None
    per_in, kernel = plan.in_channels // plan.groups, plan.kernel
    spectra = np.empty((plan.out_channels, per_in, *_kernel_bins(found)), np.complex128)
    size = tuple(found.size[axis] if axis in found.axes else 1 for axis in (0, 1))
    padded = np.zeros((per_in, *size))
    reach = [span(kernel[axis], plan.dilation[axis]) for axis in (0, 1)]
    taps = padded[:, : reach[0] : plan.dilation[0], : reach[1] : plan.dilation[1]]
    with np.errstate(all="ignore"):
        for channel, own in enumerate(weight):
            taps[:] = own
            transform(padded, spectra[channel], found.axes)
        np.conjugate(spectra, out=spectra)
    if not np.isfinite(spectra).all():
        return None
    return Spectra(level, found, spectra, _gains(weight, spectra), weight, bias)


def _gains(weight: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """How much of a tile's error, and of a spectrum's, a result may have at most.

    With norms by Parseval's theorem and the inequality of Cauchy and Schwarz: errors of the tile's spectrum and of the
    kernel's each meet the norm of the kernel. The transform back adds one that follows the norm of all results of the
    tile, which is at most the tile's times the largest number of the kernel's spectrum.
    """
    with np.errstate(over="ignore"):
        norms = np.sqrt(np.square(weight.astype(np.float64)).sum(axis=(2, 3)))
        return 2 * norms + np.abs(spectra).max(axis=(2, 3))


def run(plan: ConvPlan, x: np.ndarray, prepared: Spectra, out: np.ndarray | None) -> np.ndarray:
    """Run the plan; tiles that are not finite, or have too many results that are small beside them, by direct sums."""
    result = memory.empty(plan.out_shape, plan.dtype) if out is None else out
    running, threads = Running(plan, prepared, x, result), _threads(plan, prepared.grid)
    tasks.run_function(running.task, _count(plan, prepared.grid), threads)
    running.keep_blocks(threads)
    running.directly()
    return result


def work(plan: ConvPlan, prepared: Spectra) -> None:
    """Calls that come again go the general way: looking them up is nothing beside the transforms."""
