"""The plans of pooling by windows: maxima, averages and L-p norms, over windows of one size or adaptive ones.

Those of lines are planned as images of height 1; ``op`` is what an operation is called in messages: 'max_pool1d' then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import isinf
from typing import Any

from ..errors import ShapeError
from .arguments import SMALLER_OUTPUT, Pads, Pair, check_bytes, check_size, span
from .channels import axis_names, shown
from .hashing import HashedOnce

__all__ = ["PoolPlan", "plan_adaptive_pool2d", "plan_avg_pool2d", "plan_lp_pool2d", "plan_max_pool2d"]

_NO_PADS = ((0, 0), (0, 0))
_IMAGES, _CHANNELS_LAST = (0, 1, 2, 3), (0, 2, 3, 1)


@dataclass(frozen=True, slots=True)
class PoolPlan(HashedOnce):
    """A pooling with all its sizes: hashable, and valid by construction.

    ``op`` is 'max_pool2d', 'avg_pool2d', 'lp_pool2d', 'adaptive_avg_pool2d' or 'adaptive_max_pool2d'. Input is
    (batch, channels, *in_size), output (batch, channels, *out_size); ``padding`` is ((top, bottom), (left, right)), of
    -inf for maxima and of zeros for sums. In ceil mode the last window may reach past the padded input. Poolings of
    lines are those of images of height 1, ``op`` included.

    An adaptive pooling whose windows are all of one size is planned as the plain one that it is. Along an axis of the
    others, output ``i`` takes the inputs from ``floor(i * in / out)`` up to ``ceil((i + 1) * in / out)``; ``kernel`` is
    then about their size, and ``stride``, ``padding`` and ``dilation`` say nothing.
    """

    __hash__ = HashedOnce.__hash__

    op: str
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
    return_indices: bool = False
    count_include_pad: bool = True
    """An average divides by the number of a window's elements, those in the padding included (but never those that
    ceil mode adds); else without them."""
    divisor: int = 0
    """What an average divides by in place of that, if it is not 0."""
    norm: float = 0.0
    """p of the L-p norm; 0 otherwise."""

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.channels, *self.out_size)

    @property
    def out_order(self) -> tuple[int, ...]:
        """The axes of a new result from the slowest to the fastest in memory: channels-last where the input is."""
        return _CHANNELS_LAST if self.layout == "nhwc" else _IMAGES

    @property
    def adaptive(self) -> bool:
        """Whether windows differ in size."""
        return self.op.startswith("adaptive")

    @property
    def area(self) -> int:
        """The elements that a window's sum counts for: 1 for an average, a whole window's for an L-p norm."""
        return self.kernel[0] * self.kernel[1] if self.norm else 1


def _extent(
    op: str, axis: str, size: int, kernel: int, stride: int, padding: Pair, dilation: int, ceil_mode: bool
) -> int:
    window = span(kernel, dilation)
    room = size + padding[0] + padding[1] - window
    extent = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (extent - 1) * stride >= size + padding[0]:
        extent -= 1  # torch's rule: a window may not start in the padding at the end
    if extent < 1:
        raise ShapeError(
            f"{op}: the window is larger than the padded input along the {axis}: input {size} + padding "
            f"{padding[0]} + {padding[1]} = {size + sum(padding)}, but the window spans "
            f"dilation * (kernel - 1) + 1 = {dilation} * ({kernel} - 1) + 1 = {window}; use a smaller kernel"
        )
    return extent


def _plan(
    op: str,
    input_shape: tuple[int, ...],
    dtype: str,
    itemsize: int,
    layout: str,
    kernel: Pair,
    stride: Pair,
    padding: Pads,
    dilation: Pair,
    ceil_mode: bool,
    **fields: Any,
) -> PoolPlan:
    """Check the input's shape and work out the output of windows of one size."""
    _check_input(op, input_shape, itemsize)
    height, width = input_shape[2:]
    names = axis_names(op)
    out_size = (
        _extent(op, names[0], height, kernel[0], stride[0], padding[0], dilation[0], ceil_mode),
        _extent(op, names[1], width, kernel[1], stride[1], padding[1], dilation[1], ceil_mode),
    )
    batch, channels = input_shape[:2]
    plan = PoolPlan(
        _of_images(op), dtype, layout, batch, channels, (height, width), out_size, kernel, stride, padding, dilation,
        **fields,
    )  # fmt: skip
    _check_output(op, plan, itemsize)
    return plan


def _of_images(op: str) -> str:
    """The name of the same operation on images."""
    return f"{op[:-2]}2d"


def _check_input(op: str, input_shape: tuple[int, ...], itemsize: int) -> None:
    shape = shown(op, input_shape)
    if 0 in input_shape[1:]:
        raise ShapeError(f"{op}: input has a dimension of size zero: shape {shape} (only the batch may be zero)")
    check_size(op, "the input", shape, itemsize)


def _check_output(op: str, plan: PoolPlan, itemsize: int, advice: str = SMALLER_OUTPUT) -> None:
    bytes_each = 8 + itemsize if plan.return_indices else itemsize
    check_bytes(op, shown(op, plan.out_shape), bytes_each, advice=advice)


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
    op: str = "max_pool2d",
) -> PoolPlan:
    """Check the shape of a max pooling's input (N, C, H, W) and work out its output.

    The parameters come from :func:`pool_parameters`. Formula: torch.nn.MaxPool2d's documentation.
    """
    return _plan(
        op,
        input_shape,
        dtype,
        itemsize,
        layout,
        kernel,
        stride,
        padding,
        dilation,
        ceil_mode,
        return_indices=return_indices,
    )


@lru_cache(maxsize=1024)
def plan_avg_pool2d(
    input_shape: tuple[int, ...],
    dtype: str,
    itemsize: int,
    layout: str,
    kernel: Pair,
    stride: Pair,
    padding: Pads,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int,
    op: str = "avg_pool2d",
) -> PoolPlan:
    """The same for an average pooling; the parameters come from :func:`avg_pool_parameters`."""
    return _plan(
        op,
        input_shape,
        dtype,
        itemsize,
        layout,
        kernel,
        stride,
        padding,
        (1, 1),
        ceil_mode,
        count_include_pad=count_include_pad,
        divisor=divisor,
    )


@lru_cache(maxsize=1024)
def plan_lp_pool2d(
    input_shape: tuple[int, ...],
    dtype: str,
    itemsize: int,
    layout: str,
    norm: float,
    kernel: Pair,
    stride: Pair,
    padding: Pads,
    ceil_mode: bool,
    op: str = "lp_pool2d",
) -> PoolPlan:
    """The same for an L-p pooling; the parameters come from :func:`lp_pool_parameters`.

    For p = inf it is the max pooling of magnitudes: what is padded is no larger than they are.
    """
    finite = 0.0 if isinf(norm) else norm
    plan = _plan(op, input_shape, dtype, itemsize, layout, kernel, stride, padding, (1, 1), ceil_mode, norm=finite)
    return replace(plan, op="max_pool2d") if isinf(norm) else plan


@lru_cache(maxsize=1024)
def plan_adaptive_pool2d(
    input_shape: tuple[int, ...],
    dtype: str,
    itemsize: int,
    layout: str,
    output_size: tuple[int, int],
    return_indices: bool,
    op: str,
) -> PoolPlan:
    """The plan of an adaptive pooling, which ``op`` names; the size comes from :func:`adaptive_parameters`."""
    _check_input(op, input_shape, itemsize)
    batch, channels, height, width = input_shape
    out_size = (output_size[0] or height, output_size[1] or width)
    kernel = (-(-height // out_size[0]), -(-width // out_size[1]))
    regular = height % out_size[0] == 0 and width % out_size[1] == 0
    plan = PoolPlan(
        _of_images(op).removeprefix("adaptive_") if regular else _of_images(op),
        dtype,
        layout,
        batch,
        channels,
        (height, width),
        out_size,
        kernel,
        kernel if regular else (1, 1),
        _NO_PADS,
        (1, 1),
        return_indices=return_indices,
    )
    _check_output(op, plan, itemsize, "use a smaller output_size")
    return plan
