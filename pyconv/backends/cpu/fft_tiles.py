"""The tiles of a convolution by Fourier transforms: what one is computed from, and how."""

from __future__ import annotations

from dataclasses import replace
from math import log2, prod, sqrt
from typing import Any, NamedTuple

import numpy as np

from ...plan import ConvPlan, Pair, span
from . import separable
from .cut import ceil_div, is_double_plan

__all__ = ["Grid", "Running", "Spectra", "bins", "block_bytes", "transform"]

_ALONE = 64
"""Results of a tile that are computed one by one, at most."""

_ROUNDING = 8
"""Of a transform, for each halving of its length, in norms and units of the dtype's rounding (Higham, "Accuracy and
stability of numerical algorithms", theorem 24.2)."""


class Grid(NamedTuple):
    """How the image is cut into tiles."""

    axes: tuple[int, ...]
    """Those along which the kernel has more than one tap, which are transformed; the last of them as real numbers."""
    size: Pair
    """Rows and columns of a tile: of the transforms, where there are any."""
    outputs: Pair
    """Rows and columns of its results."""
    tiles: Pair


class Spectra(NamedTuple):
    """Conjugate spectra of the kernels, and what was given."""

    isa: int
    grid: Grid
    spectra: np.ndarray
    """[output channel][input channel of its group][row][column], complex128; one row or column where it is constant."""
    gains: np.ndarray
    """Of each kernel: a tile's norm, times the relative error of a transform, times this is the error of a result."""
    given_weight: np.ndarray
    given_bias: np.ndarray | None


def bins(grid: Grid) -> Pair:
    """Rows and columns of a tile's spectrum: of a real signal one half, and one more."""
    height, width = grid.size
    return (height, width // 2 + 1) if grid.axes[-1] == 1 else (height // 2 + 1, width)


def transform(real: np.ndarray, spectrum: np.ndarray, axes: tuple[int, ...]) -> None:
    """Spectra of planes along their ``axes``."""
    np.fft.rfft(real, axis=axes[-1] - 2, out=spectrum)
    if len(axes) == 2:
        np.fft.fft(spectrum, axis=-2, out=spectrum)


def _back(spectrum: np.ndarray, real: np.ndarray, axes: tuple[int, ...]) -> None:
    """The plane with this spectrum, which is overwritten."""
    if len(axes) == 2:
        np.fft.ifft(spectrum, axis=-2, out=spectrum)
    np.fft.irfft(spectrum, n=real.shape[axes[-1]], axis=axes[-1], out=real)


def _shapes(plan: ConvPlan, grid: Grid) -> list[tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of what a task works on."""
    per_in, per_out, both = plan.in_channels // plan.groups, plan.out_channels // plan.groups, bins(grid)
    return [
        ((per_in, *grid.size), "float64"),  # the tile
        ((per_in, *both), "complex128"),  # its spectrum
        ((int(per_out > 1), *both), "complex128"),  # a result's spectrum; the last one takes the place of the tile's
        ((int(per_in > 1), *both), "complex128"),  # products that are added to it
        (grid.size, "float64"),  # results
    ]


def block_bytes(plan: ConvPlan, grid: Grid) -> int:
    """Bytes of the memory that a task works in."""
    return sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in _shapes(plan, grid))


_KEPT = 2**26
"""Bytes of memory that is kept for the next task, as much as the compiled core keeps for a thread."""

_blocks: list[np.ndarray] = []
"""Memory that tasks have worked in, for the next ones: fresh pages would take as long as half of the transforms."""


class Running:
    """A plan at work on its arrays. A task computes all output channels of a group for a tile of an image."""

    def __init__(self, plan: ConvPlan, prepared: Spectra, x: np.ndarray, result: np.ndarray) -> None:
        self.plan, self.prepared, self.x, self.result = plan, prepared, x, result
        self.undone: list[int] = []
        """Tasks whose results have to be summed directly."""
        grid = prepared.grid
        self.shapes, self.bytes = _shapes(plan, grid), block_bytes(plan, grid)
        self.reach = [span(plan.kernel[axis], plan.dilation[axis]) for axis in (0, 1)]
        # along an axis that is not transformed only rows, or columns, that are seen are cut out
        self.reads = [1 if axis in grid.axes else plan.stride[axis] for axis in (0, 1)]
        self.steps = [plan.stride[axis] if axis in grid.axes else 1 for axis in (0, 1)]
        limits = np.finfo(plan.dtype)
        self.most = float(limits.max) / 2
        self.least = 0.0  # results, in norms of the tile and the kernel: in float64 all are taken as they are
        if not is_double_plan(plan):
            # Half of the bound of direct sums is for transforms; a result of twice that is surely as large as needed.
            # What is rounded later, or in sums and products on the way, takes little of the other half.
            rounding = _ROUNDING * log2(prod(grid.size)) * float(np.finfo(np.float64).eps)
            terms = plan.in_channels // plan.groups * prod(plan.kernel)
            self.least = 2 * rounding / ((2 + 2 * sqrt(terms)) * float(limits.eps))

    def place(self, number: int) -> tuple[int, int, Pair, Pair]:
        """Of a task its image and group, and the first and the end of its output rows and columns."""
        plan, grid = self.plan, self.prepared.grid
        number, column = divmod(number, grid.tiles[1])
        number, row = divmod(number, grid.tiles[0])
        image, group = divmod(number, plan.groups)
        rows, columns = (
            (first * own, min((first + 1) * own, out))
            for first, own, out in zip((row, column), grid.outputs, plan.out_size, strict=True)
        )
        return image, group, rows, columns

    def cut_out(self, tile: np.ndarray, image: int, group: int, firsts: Pair) -> None:
        """The input of a tile, with zeros where the padding is, and beyond."""
        plan, size = self.plan, self.prepared.grid.size
        source, target = [], []
        for axis, first in enumerate(firsts):
            start, step = first * plan.stride[axis] - plan.padding[axis][0], self.reads[axis]
            begin = min(max(ceil_div(-start, step), 0), size[axis])
            end = min(max(ceil_div(plan.in_size[axis] - start, step), begin), size[axis])
            target.append(slice(begin, end))
            source.append(slice(start + begin * step, start + end * step, step) if end > begin else slice(0, 0))
        if target != [slice(0, length) for length in size]:
            tile[:] = 0
        per_in = tile.shape[0]
        tile[:, target[0], target[1]] = self.x[image, group * per_in : (group + 1) * per_in, source[0], source[1]]

    def task(self, number: int) -> None:
        """Compute a tile, or note that it has to be computed directly."""
        try:
            block = _blocks.pop()
        except IndexError:
            block = np.empty(0, np.uint8)
        if len(block) < self.bytes:
            block = np.empty(self.bytes, np.uint8)
        with np.errstate(all="ignore"):  # each thread has its own
            if not self.compute(number, block):
                self.undone.append(number)
        if self.bytes <= _KEPT:
            _blocks.append(block)

    def compute(self, number: int, block: np.ndarray) -> bool:
        """Write the results of a tile: whether they keep to the bound of direct sums."""
        parts, first = [], 0
        for shape, dtype in self.shapes:
            end = first + prod(shape) * np.dtype(dtype).itemsize
            parts.append(block[first:end].view(dtype).reshape(shape))
            first = end
        tile, spectrum, extra, products, plane = parts
        (_, grid, spectra, gains, _, bias), steps = self.prepared, self.steps
        image, group, rows, columns = self.place(number)
        height, width = rows[1] - rows[0], columns[1] - columns[0]
        self.cut_out(tile, image, group, (rows[0], columns[0]))
        norms = np.sqrt(np.einsum("cij,cij->c", tile, tile))
        transform(tile, spectrum, grid.axes)
        results = plane[: height * steps[0] : steps[0], : width * steps[1] : steps[1]]
        per_out = self.plan.out_channels // self.plan.groups
        end = (group + 1) * per_out
        for channel in range(end - per_out, end):
            size = float((norms * gains[channel]).sum())
            if not size < self.most:  # not finite, or a result might not be
                return False
            total = spectrum[0] if channel == end - 1 else extra[0]
            np.multiply(spectrum[0], spectra[channel, 0], out=total)
            for own, kernel in zip(spectrum[1:], spectra[channel, 1:], strict=True):
                np.add(total, np.multiply(own, kernel, out=products[0]), out=total)
            _back(total, plane, grid.axes)
            if self.least:
                sizes = total.view(np.float64).reshape(-1)[: height * width].reshape(height, width)
                enough = self.least * size
                if np.abs(results, out=sizes).min() < enough and not self.mend(tile, channel, results, sizes < enough):
                    return False
            target = self.result[image, channel, rows[0] : rows[1], columns[0] : columns[1]]
            if bias is None:
                np.copyto(target, results, casting="unsafe")
            else:
                np.add(results, bias[channel], out=target, casting="unsafe")
        return True

    def mend(self, tile: np.ndarray, channel: int, results: np.ndarray, doubtful: np.ndarray) -> bool:
        """Compute one by one what is so small that rounding might show; False if that is too much.

        Windows that see nothing but zeros give zero, without being looked at one by one.
        """
        if np.count_nonzero(doubtful) > _ALONE:
            black = self.sees_zeros(tile, results.shape)
            results[black] = 0
            doubtful &= ~black
        places = np.argwhere(doubtful)
        if len(places) > _ALONE:
            return False
        weight, dilation = self.prepared.given_weight[channel].astype(np.float64), self.plan.dilation
        for row, column in places:
            top, left = row * self.steps[0], column * self.steps[1]
            window = tile[:, top : top + self.reach[0] : dilation[0], left : left + self.reach[1] : dilation[1]]
            results[row, column] = (window * weight).sum()
        return True

    def sees_zeros(self, tile: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Which results see nothing but zeros: numbers that are not, counted in rectangles from the first corner on."""
        counts = np.zeros((tile.shape[1] + 1, tile.shape[2] + 1), np.int64)
        np.cumsum((tile != 0).any(axis=0), axis=0, out=counts[1:, 1:])
        np.cumsum(counts[1:, 1:], axis=1, out=counts[1:, 1:])
        rows, columns = (np.arange(size) * step for size, step in zip(shape, self.steps, strict=True))
        in_rows = counts[rows + self.reach[0]] - counts[rows]
        return in_rows[:, columns + self.reach[1]] == in_rows[:, columns]

    def directly(self) -> None:
        """Sum up the tiles that were left undone."""
        plan, grid, reach = self.plan, self.prepared.grid, self.reach
        per_in, per_out = plan.in_channels // plan.groups, plan.out_channels // plan.groups
        tile = np.empty((per_in, *grid.size), plan.dtype) if self.undone else None
        for number in sorted(self.undone):
            assert tile is not None
            image, group, rows, columns = self.place(number)
            self.cut_out(tile, image, group, (rows[0], columns[0]))
            height, width = rows[1] - rows[0], columns[1] - columns[0]
            in_size = (height - 1) * self.steps[0] + reach[0], (width - 1) * self.steps[1] + reach[1]
            part = replace(
                plan,
                layout="nchw",
                batch=1,
                in_channels=per_in,
                in_size=in_size,
                out_channels=per_out,
                out_size=(height, width),
                stride=(self.steps[0], self.steps[1]),
                padding=((0, 0), (0, 0)),
                groups=1,
                algorithm="direct",
            )
            channels = slice(group * per_out, (group + 1) * per_out)
            bias = self.prepared.given_bias
            summing: Any = separable.plain(part)
            weights = summing.prepare(
                part, self.prepared.given_weight[channels], None if bias is None else bias[channels]
            )
            target = self.result[image : image + 1, channels, rows[0] : rows[1], columns[0] : columns[1]]
            summing.run(part, np.ascontiguousarray(tile[None, :, : in_size[0], : in_size[1]]), weights, target)

    @staticmethod
    def keep_blocks(count: int) -> None:
        """Give back the memory of all but so many tasks."""
        del _blocks[count:]
