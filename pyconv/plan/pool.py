"""The plan of a max pooling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from ..errors import ShapeError
from .arguments import SMALLER_OUTPUT, Pads, Pair, check_bytes, check_flag, check_size, pads, pair, span
from .hashing import HashedOnce

__all__ = ["PoolPlan", "plan_max_pool2d", "pool_parameters"]


@dataclass(frozen=True, slots=True)
class PoolPlan(HashedOnce):
    """A max pooling with all its sizes: hashable, and valid by construction.

    Input is (batch, channels, *in_size), output (batch, channels, *out_size); ``padding`` is
    ((top, bottom), (left, right)) of -inf. In ceil mode the last window may reach past the padded input.
    """

    __hash__ = HashedOnce.__hash__

    op: ClassVar[str] = "max_pool2d"

    dtype: str
    layout: str
    batch: int
    channels: int
    in_size: Pair
    out_size: Pair
    kernel: Pair
    stride: Pair
    padding: Pads
    dilation: Pair
    return_indices: bool

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.channels, *self.out_size)


def pool_parameters(
    op: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, return_indices: Any
) -> tuple[Pair, Pair, Pads, Pair, bool, bool]:
    """The parameters of a pooling in one form: kernel, stride, padding, dilation, ceil_mode, return_indices.

    Padding as a number or a pair may be at most half of the window as it spans the input, dilation included (torch's
    rule, which goes by kernel_size alone on some devices); written out as ((top, bottom), (left, right)) each may be
    anything below the window (ONNX's rule).
    """
    kernel = pair(op, "kernel_size", kernel_size, 1)
    # torch takes an empty stride for "as the kernel"
    unset = stride is None or (isinstance(stride, tuple | list) and len(stride) == 0)
    steps = kernel if unset else pair(op, "stride", stride, 1)
    gaps = pair(op, "dilation", dilation, 1)
    explicit = isinstance(padding, tuple | list) and any(isinstance(side, tuple | list) for side in padding)
    if isinstance(padding, str):
        raise ShapeError(f"{op}: padding={padding!r} is for convolutions; give the padding as numbers")
    amounts = pads(op, padding)
    assert not isinstance(amounts, str)
    for axis, amount, size, gap in zip(("height", "width"), amounts, kernel, gaps, strict=True):
        window = span(size, gap)
        if explicit and max(amount) >= window:
            raise ShapeError(
                f"{op}: explicit padding must be smaller than the window along the {axis}: got {amount}, the window is "
                f"dilation * (kernel - 1) + 1 = {gap} * ({size} - 1) + 1 = {window}"
            )
        if not explicit and amount[0] > window // 2:
            raise ShapeError(
                f"{op}: padding must be at most half of the window along the {axis}: got {amount[0]}, the window is "
                f"dilation * (kernel - 1) + 1 = {gap} * ({size} - 1) + 1 = {window}, half of it {window // 2}; "
                "for more, write it out as ((top, bottom), (left, right))"
            )
    return (
        kernel,
        steps,
        amounts,
        gaps,
        check_flag(op, "ceil_mode", ceil_mode),
        check_flag(op, "return_indices", return_indices),
    )


def _extent(axis: str, size: int, kernel: int, stride: int, padding: Pair, dilation: int, ceil_mode: bool) -> int:
    window = span(kernel, dilation)
    room = size + padding[0] + padding[1] - window
    extent = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (extent - 1) * stride >= size + padding[0]:
        extent -= 1  # torch's rule: a window may not start in the padding at the end
    if extent < 1:
        raise ShapeError(
            f"max_pool2d: the window is larger than the padded input along the {axis}: input {size} + padding "
            f"{padding[0]} + {padding[1]} = {size + sum(padding)}, but the window spans "
            f"dilation * (kernel - 1) + 1 = {dilation} * ({kernel} - 1) + 1 = {window}; use a smaller kernel"
        )
    return extent


@lru_cache(maxsize=1024)
def plan_max_pool2d(
    input_shape: tuple[int, ...],
    dtype: str,
    itemsize: int,
    layout: str,
    kernel: Pair,
    stride: Pair,
    padding: Pads,
    dilation: Pair,
    ceil_mode: bool,
    return_indices: bool,
) -> PoolPlan:
    """Check the shape of a pooling's input (N, C, H, W) and work out its output.

    The parameters come from :func:`pool_parameters`. Formula: torch.nn.MaxPool2d's documentation.
    """
    batch, channels, *in_size = input_shape
    if 0 in input_shape[1:]:
        raise ShapeError(
            f"max_pool2d: input has a dimension of size zero: shape {input_shape} (only the batch may be zero)"
        )
    out_size = (
        _extent("height", in_size[0], kernel[0], stride[0], padding[0], dilation[0], ceil_mode),
        _extent("width", in_size[1], kernel[1], stride[1], padding[1], dilation[1], ceil_mode),
    )
    check_size("max_pool2d", "the input", input_shape, itemsize)
    check_bytes(
        "max_pool2d", (batch, channels, *out_size), 8 + itemsize if return_indices else itemsize, advice=SMALLER_OUTPUT
    )
    return PoolPlan(
        dtype=dtype,
        layout=layout,
        batch=batch,
        channels=channels,
        in_size=(in_size[0], in_size[1]),
        out_size=out_size,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        return_indices=return_indices,
    )
