"""The plans of pooling by windows: maxima, averages and L-p norms, over windows of one size or adaptive ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import ArgumentError, ShapeError
from .activations import number
from .arguments import LIMIT, SMALLER_OUTPUT, Pads, Pair, check_bytes, check_flag, check_size, index, pads, pair, span
from .hashing import HashedOnce

__all__ = [
    "PoolPlan",
    "adaptive_parameters",
    "avg_pool_parameters",
    "lp_pool_parameters",
    "plan_adaptive_pool2d",
    "plan_avg_pool2d",
    "plan_lp_pool2d",
    "plan_max_pool2d",
    "pool_parameters",
    "pool_steps",
]

_NO_PADS = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True)
class PoolPlan(HashedOnce):
    """A pooling with all its sizes: hashable, and valid by construction.

    ``op`` is 'max_pool2d', 'avg_pool2d', 'lp_pool2d', 'adaptive_avg_pool2d' or 'adaptive_max_pool2d'. Input is
    (batch, channels, *in_size), output (batch, channels, *out_size); ``padding`` is ((top, bottom), (left, right)), of
    -inf for maxima and of zeros for sums. In ceil mode the last window may reach past the padded input.

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
    def adaptive(self) -> bool:
        """Whether windows differ in size."""
        return self.op.startswith("adaptive")

    @property
    def area(self) -> int:
        """The elements that a window's sum counts for: 1 for an average, a whole window's for an L-p norm."""
        return self.kernel[0] * self.kernel[1] if self.norm else 1


def pool_steps(op: str, kernel_size: Any, stride: Any) -> tuple[Pair, Pair]:
    """Kernel and stride as pairs; the stride is by default the kernel."""
    kernel = pair(op, "kernel_size", kernel_size, 1)
    # torch takes an empty stride for "as the kernel"
    unset = stride is None or (isinstance(stride, tuple | list) and len(stride) == 0)
    return kernel, kernel if unset else pair(op, "stride", stride, 1)


def pool_parameters(
    op: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, return_indices: Any
) -> tuple[Pair, Pair, Pads, Pair, bool, bool]:
    """The parameters of a pooling in one form: kernel, stride, padding, dilation, ceil_mode, return_indices.

    Padding as a number or a pair may be at most half of the window as it spans the input, dilation included (torch's
    rule, which goes by kernel_size alone on some devices); written out as ((top, bottom), (left, right)) each may be
    anything below the window (ONNX's rule).
    """
    kernel, steps = pool_steps(op, kernel_size, stride)
    gaps = pair(op, "dilation", dilation, 1)
    return (
        kernel,
        steps,
        _pool_padding(op, padding, kernel, gaps),
        gaps,
        check_flag(op, "ceil_mode", ceil_mode),
        check_flag(op, "return_indices", return_indices),
    )


def _pool_padding(op: str, padding: Any, kernel: Pair, gaps: Pair) -> Pads:
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
    return amounts


def avg_pool_parameters(
    op: str,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: Any,
    count_include_pad: Any,
    divisor_override: Any,
) -> tuple[Pair, Pair, Pads, bool, bool, int]:
    """The parameters of an average pooling in one form: kernel, stride, padding, and the rest as it is in the plan."""
    kernel, steps = pool_steps(op, kernel_size, stride)
    divisor = 0 if divisor_override is None else index(op, "divisor_override", divisor_override, -LIMIT)
    if divisor_override is not None and divisor == 0:
        raise ArgumentError(f"{op}: divisor_override must not be 0, nothing can be divided by it")
    return (
        kernel,
        steps,
        _pool_padding(op, padding, kernel, (1, 1)),
        check_flag(op, "ceil_mode", ceil_mode),
        check_flag(op, "count_include_pad", count_include_pad),
        divisor,
    )


def lp_pool_parameters(
    op: str, norm_type: Any, kernel_size: Any, stride: Any, ceil_mode: Any
) -> tuple[float, Pair, Pair, bool]:
    """The parameters of an L-p pooling in one form: p, kernel, stride, ceil_mode."""
    norm = number(op, "norm_type", norm_type)
    if norm == 0 or not math.isfinite(norm):
        raise ArgumentError(
            f"{op}: norm_type must be a finite number other than 0, got {norm_type!r}; for the largest magnitude use "
            "max_pool2d of np.abs(input)"
        )
    return norm, *pool_steps(op, kernel_size, stride), check_flag(op, "ceil_mode", ceil_mode)


def adaptive_parameters(op: str, output_size: Any) -> tuple[int, int]:
    """The output size of an adaptive pooling as a pair; 0 stands for the input's own (None)."""
    if isinstance(output_size, tuple | list):
        if len(output_size) != 2:
            raise ShapeError(
                f"{op}: output_size must be an int, None or a pair (height, width) of them, got {len(output_size)} "
                f"values: {output_size!r}"
            )
        sizes = tuple(output_size)
    else:
        sizes = (output_size, output_size)
    height, width = (0 if size is None else index(op, "output_size", size, 1) for size in sizes)
    return height, width


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
    out_size = (
        _extent(op, "height", height, kernel[0], stride[0], padding[0], dilation[0], ceil_mode),
        _extent(op, "width", width, kernel[1], stride[1], padding[1], dilation[1], ceil_mode),
    )
    batch, channels = input_shape[:2]
    plan = PoolPlan(
        op, dtype, layout, batch, channels, (height, width), out_size, kernel, stride, padding, dilation, **fields
    )
    _check_output(plan, itemsize)
    return plan


def _check_input(op: str, input_shape: tuple[int, ...], itemsize: int) -> None:
    if 0 in input_shape[1:]:
        raise ShapeError(f"{op}: input has a dimension of size zero: shape {input_shape} (only the batch may be zero)")
    check_size(op, "the input", input_shape, itemsize)


def _check_output(plan: PoolPlan, itemsize: int, advice: str = SMALLER_OUTPUT) -> None:
    check_bytes(plan.op, plan.out_shape, 8 + itemsize if plan.return_indices else itemsize, advice=advice)


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
    """Check the shape of a max pooling's input (N, C, H, W) and work out its output.

    The parameters come from :func:`pool_parameters`. Formula: torch.nn.MaxPool2d's documentation.
    """
    return _plan(
        "max_pool2d",
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
) -> PoolPlan:
    """The same for an average pooling; the parameters come from :func:`avg_pool_parameters`."""
    return _plan(
        "avg_pool2d",
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
    ceil_mode: bool,
) -> PoolPlan:
    """The same for an L-p pooling; the parameters come from :func:`lp_pool_parameters`."""
    return _plan(
        "lp_pool2d", input_shape, dtype, itemsize, layout, kernel, stride, _NO_PADS, (1, 1), ceil_mode, norm=norm
    )


@lru_cache(maxsize=1024)
def plan_adaptive_pool2d(
    op: str,
    input_shape: tuple[int, ...],
    dtype: str,
    itemsize: int,
    layout: str,
    output_size: tuple[int, int],
    return_indices: bool,
) -> PoolPlan:
    """The plan of 'adaptive_avg_pool2d' or 'adaptive_max_pool2d'; the size comes from :func:`adaptive_parameters`."""
    _check_input(op, input_shape, itemsize)
    batch, channels, height, width = input_shape
    out_size = (output_size[0] or height, output_size[1] or width)
    kernel = (-(-height // out_size[0]), -(-width // out_size[1]))
    regular = height % out_size[0] == 0 and width % out_size[1] == 0
    plan = PoolPlan(
        op.removeprefix("adaptive_") if regular else op,
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
    _check_output(plan, itemsize, "use a smaller output_size")
    return plan
