"""The plans of unfold, which writes every window of an image out as a column, and of fold, which adds them up again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import ArgumentError, ShapeError
from .arguments import Pads, Pair, check_bytes, check_size, pads, pair, span
from .hashing import HashedOnce

__all__ = ["FoldPlan", "fold_parameters", "plan_fold", "plan_unfold"]


@dataclass(frozen=True, slots=True)
class FoldPlan(HashedOnce):
    """Windows of an image and their columns, with all sizes: hashable, and valid by construction.

    ``op`` 'unfold' takes an image (batch, channels, *in_size) to columns (batch, channels * taps, windows), 'fold'
    columns to an image. ``out_size`` are the windows of the padded image, by rows and columns of them.
    """

    __hash__ = HashedOnce.__hash__

    op: str
    dtype: str
    batch: int
    channels: int
    in_size: Pair
    out_size: Pair
    kernel: Pair
    stride: Pair
    padding: Pads
    dilation: Pair

    @property
    def image(self) -> tuple[int, int, int, int]:
        return (self.batch, self.channels, *self.in_size)

    @property
    def windows(self) -> tuple[int, int, int, int, int, int]:
        """The columns, with an axis for each row and column of the kernel and of the windows."""
        return (self.batch, self.channels, *self.kernel, *self.out_size)

    @property
    def columns(self) -> tuple[int, int, int]:
        taps = self.kernel[0] * self.kernel[1]
        return (self.batch, self.channels * taps, self.out_size[0] * self.out_size[1])

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.image if self.op == "unfold" else self.columns

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.columns if self.op == "unfold" else self.image


def fold_parameters(
    op: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> tuple[Pair, Pair, Pads, Pair]:
    """The parameters of both, in torch's order and one form: kernel, dilation, padding, stride."""
    if isinstance(padding, str) and padding == "same":  # an array would compare element by element
        raise ArgumentError(f"{op}: padding='same' is for convolutions; give the padding as numbers")
    amounts = pads(op, padding)
    assert not isinstance(amounts, str)
    kernel, gaps = pair(op, "kernel_size", kernel_size, 1), pair(op, "dilation", dilation, 1)
    return kernel, gaps, amounts, pair(op, "stride", stride, 1)


def _grid(op: str, size: Pair, kernel: Pair, dilation: Pair, padding: Pads, stride: Pair) -> Pair:
    """Windows of an image of ``size``, by rows and columns of them."""
    found = []
    for axis, length, taps, gap, pad, step in zip(
        ("height", "width"), size, kernel, dilation, padding, stride, strict=True
    ):
        room = length + sum(pad) - span(taps, gap)
        if room < 0:
            raise ShapeError(
                f"{op}: the window is larger than the padded image along the {axis}: image {length} + padding {pad[0]} "
                f"+ {pad[1]} = {length + sum(pad)}, but the window spans dilation * (kernel - 1) + 1 = {gap} * "
                f"({taps} - 1) + 1 = {span(taps, gap)}; use a smaller kernel"
            )
        found.append(room // step + 1)
    return found[0], found[1]


@lru_cache(maxsize=1024)
def plan_unfold(
    shape: tuple[int, ...], dtype: str, itemsize: int, kernel: Pair, dilation: Pair, padding: Pads, stride: Pair
) -> FoldPlan:
    """Check the shape (N, C, H, W) of unfold's input and work out its columns.

    Formula: torch.nn.Unfold's documentation.
    """
    batch, channels, height, width = shape
    if 0 in shape[1:]:
        raise ShapeError(f"unfold: input has a dimension of size zero: shape {shape} (only the batch may be zero)")
    grid = _grid("unfold", (height, width), kernel, dilation, padding, stride)
    plan = FoldPlan("unfold", dtype, batch, channels, (height, width), grid, kernel, stride, padding, dilation)
    check_size("unfold", "the input", shape, itemsize)
    check_bytes("unfold", plan.columns, itemsize)
    return plan


@lru_cache(maxsize=1024)
def plan_fold(
    shape: tuple[int, ...],
    dtype: str,
    itemsize: int,
    size: Pair,
    kernel: Pair,
    dilation: Pair,
    padding: Pads,
    stride: Pair,
) -> FoldPlan:
    """Check the shape (N, C * taps, L) of fold's input against the image of ``size`` that it is to become.

    Formula: torch.nn.Fold's documentation.
    """
    batch, rows, length = shape
    taps = kernel[0] * kernel[1]
    if rows == 0 or rows % taps:
        raise ShapeError(
            f"fold: the input's rows must be a multiple of the kernel's taps, {kernel[0]} * {kernel[1]} = {taps}: got "
            f"shape {shape}, {rows} % {taps} = {rows % taps}"
        )
    grid = _grid("fold", size, kernel, dilation, padding, stride)
    if length != grid[0] * grid[1]:
        raise ShapeError(
            f"fold: an image of {size[0]}x{size[1]} has {grid[0]} * {grid[1]} = {grid[0] * grid[1]} such windows, but "
            f"the input of shape {shape} has {length}"
        )
    plan = FoldPlan("fold", dtype, batch, rows // taps, size, grid, kernel, stride, padding, dilation)
    check_size("fold", "the input", shape, itemsize)
    check_bytes("fold", plan.image, itemsize)
    return plan
