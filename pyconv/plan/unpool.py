"""The plan of max unpooling: elements go back to where a max pooling found them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

from ..errors import DTypeError, ShapeError
from .arguments import Pads, Pair, check_bytes, check_size, index
from .channels import axis_names, shown
from .hashing import HashedOnce
from .pool_arguments import pool_pads, pool_steps

__all__ = ["UnpoolPlan", "check_places", "plan_max_unpool2d", "unpool_output", "unpool_parameters"]


@dataclass(frozen=True, slots=True)
class UnpoolPlan(HashedOnce):
    """A max unpooling: input and indices are (batch, channels, *in_size), output (batch, channels, *out_size)."""

    __hash__ = HashedOnce.__hash__

    dtype: str
    layout: str
    batch: int
    channels: int
    in_size: Pair
    out_size: Pair
    op: str = "max_unpool2d"

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.channels, *self.out_size)


def unpool_parameters(op: str, kernel_size: Any, stride: Any, padding: Any) -> tuple[Pair, Pair, Pads]:
    """Kernel, stride and padding of the max pooling that is undone."""
    return *pool_steps(op, kernel_size, stride), pool_pads(op, padding)


def unpool_output(op: str, output_size: Any) -> Pair | None:
    """(height, width) of an ``output_size``: two numbers, or a whole shape that ends in them; (1, length) of lines."""
    if output_size is None:
        return None
    if op.endswith("1d"):
        sizes = output_size if isinstance(output_size, tuple | list) else (output_size,)
        if not 1 <= len(sizes) <= 3:
            raise ShapeError(f"{op}: output_size must be a length, or a shape that ends in it, got {output_size!r}")
        return 1, index(op, "output_size", sizes[-1], 1)
    if not isinstance(output_size, tuple | list) or not 2 <= len(output_size) <= 4:
        raise ShapeError(
            f"{op}: output_size must be (height, width), or a shape that ends in them, got {output_size!r}"
        )
    height, width = (index(op, "output_size", size, 1) for size in output_size[-2:])
    return height, width


@lru_cache(maxsize=1024)
def plan_max_unpool2d(
    input_shape: tuple[int, ...],
    indices_shape: tuple[int, ...],
    dtype: str,
    itemsize: int,
    layout: str,
    kernel: Pair,
    stride: Pair,
    padding: Pads,
    output_size: Pair | None,
    op: str = "max_unpool2d",
) -> UnpoolPlan:
    """Check the shapes of a max unpooling and work out its output; ``op`` is what it is called in messages.

    Formula: torch.nn.MaxUnpool2d's documentation; ``output_size`` may differ from it by less than the stride.
    """
    shape = shown(op, input_shape)
    if 0 in input_shape[1:]:
        raise ShapeError(f"{op}: input has a dimension of size zero: shape {shape} (only the batch may be zero)")
    if indices_shape != input_shape:
        raise ShapeError(f"{op}: indices must have the input's shape {shape}, got {shown(op, indices_shape)}")
    check_size(op, "the input", shape, itemsize)
    batch, channels, *in_size = input_shape
    sizes = [
        (size - 1) * step - sum(pad) + length
        for size, step, pad, length in zip(in_size, stride, padding, kernel, strict=True)
    ]
    for axis, name in enumerate(axis_names(op)):
        formula = (
            f"(input - 1) * stride - padding + kernel = ({in_size[axis]} - 1) * {stride[axis]} - {sum(padding[axis])} "
            f"+ {kernel[axis]} = {sizes[axis]}"
        )
        if output_size is not None and abs(output_size[axis] - sizes[axis]) >= stride[axis]:
            raise ShapeError(
                f"{op}: output_size must differ by less than the stride, {stride[axis]}, from the {name} {formula}; "
                f"got {output_size[axis]}"
            )
        if output_size is None and sizes[axis] < 1:
            raise ShapeError(f"{op}: nothing is left of the {name}: {formula}; use less padding or give output_size")
    out_size = output_size or (sizes[0], sizes[1])
    check_bytes(op, shown(op, (batch, channels, *out_size)), itemsize, advice="use a smaller output_size or stride")
    return UnpoolPlan(dtype, layout, batch, channels, (in_size[0], in_size[1]), out_size)


def check_places(op: str, indices: Any, out_size: Pair) -> None:
    """Refuse indices that are not int64, or lie outside of an output plane."""
    if indices.dtype.kind != "i" or indices.dtype.itemsize != 8:
        raise DTypeError(f"{op}: indices have dtype {indices.dtype}, expected int64; pass indices.astype(np.int64)")
    if not prod(indices.shape):
        return
    lowest, highest = int(indices.min()), int(indices.max())
    if lowest < 0 or highest >= prod(out_size):
        formula = f"height * width - 1 = {out_size[0]} * {out_size[1]} - 1"
        if op.endswith("1d"):
            formula = f"length - 1 = {out_size[1]} - 1"
        raise ShapeError(
            f"{op}: indices must lie between 0 and {formula} = {prod(out_size) - 1}, got "
            f"{lowest if lowest < 0 else highest}; pass the size of the pooling's input as output_size"
        )
