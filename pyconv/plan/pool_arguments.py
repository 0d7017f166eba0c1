"""The parameters of the poolings, checked and in one form: those of images, or of lines if ``op`` ends in 1d."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ArgumentError, ShapeError
from .activations import number
from .arguments import LIMIT, Pads, Pair, check_flag, index, pads, pair, span
from .channels import axis_names
from .lines import line_padding, single

__all__ = [
    "adaptive_parameters",
    "avg_pool_parameters",
    "lp_pool_parameters",
    "pool_pads",
    "pool_parameters",
    "pool_steps",
]


def _numbers(op: str, name: str, value: Any) -> Pair:
    """A parameter along both axes, each at least 1; of lines there is one number."""
    return single(op, name, value, 1, 1) if op.endswith("1d") else pair(op, name, value, 1)


def pool_steps(op: str, kernel_size: Any, stride: Any) -> tuple[Pair, Pair]:
    """Kernel and stride as pairs; the stride is by default the kernel."""
    kernel = _numbers(op, "kernel_size", kernel_size)
    # torch takes an empty stride for "as the kernel"
    unset = stride is None or (isinstance(stride, tuple | list) and len(stride) == 0)
    return kernel, kernel if unset else _numbers(op, "stride", stride)


def pool_parameters(
    op: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any, return_indices: Any
) -> tuple[Pair, Pair, Pads, Pair, bool, bool]:
    """The parameters of a max pooling: kernel, stride, padding, dilation, ceil_mode, return_indices."""
    kernel, steps = pool_steps(op, kernel_size, stride)
    gaps = _numbers(op, "dilation", dilation)
    return (
        kernel,
        steps,
        _window_pads(op, padding, kernel, gaps),
        gaps,
        check_flag(op, "ceil_mode", ceil_mode),
        check_flag(op, "return_indices", return_indices),
    )


def pool_pads(op: str, padding: Any) -> Pads:
    """Padding as ((top, bottom), (left, right)); the words of convolutions are refused."""
    if isinstance(padding, str):
        raise ArgumentError(f"{op}: padding={padding!r} is for convolutions; give the padding as numbers")
    amounts = line_padding(op, padding) if op.endswith("1d") else pads(op, padding)
    assert not isinstance(amounts, str)
    return amounts


def _window_pads(op: str, padding: Any, kernel: Pair, gaps: Pair = (1, 1)) -> Pads:
    """Padding that fits the windows.

    As a number, or one for each axis, it may be at most half of the window as it spans the input, dilation included
    (torch's rule, which goes by kernel_size alone on some devices); written out as ((top, bottom), (left, right)) each
    may be anything below the window (ONNX's rule).
    """
    explicit = isinstance(padding, tuple | list) and any(isinstance(side, tuple | list) for side in padding)
    amounts = pool_pads(op, padding)
    for axis, amount, size, gap in zip(axis_names(op), amounts, kernel, gaps, strict=True):
        window = span(size, gap)
        if explicit and max(amount) >= window:
            raise ShapeError(
                f"{op}: explicit padding must be smaller than the window along the {axis}: got {amount}, the window is "
                f"dilation * (kernel - 1) + 1 = {gap} * ({size} - 1) + 1 = {window}"
            )
        if not explicit and amount[0] > window // 2:
            form = "((left, right),)" if op.endswith("1d") else "((top, bottom), (left, right))"
            raise ShapeError(
                f"{op}: padding must be at most half of the window along the {axis}: got {amount[0]}, the window is "
                f"dilation * (kernel - 1) + 1 = {gap} * ({size} - 1) + 1 = {window}, half of it {window // 2}; "
                f"for more, write it out as {form}"
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
    """The parameters of an average pooling: kernel, stride, padding, and the rest as it is in the plan."""
    kernel, steps = pool_steps(op, kernel_size, stride)
    divisor = 0
    if divisor_override is not None:
        divisor = index(op, "divisor_override", divisor_override, -LIMIT, beyond=ArgumentError)
        if divisor == 0:
            raise ArgumentError(f"{op}: divisor_override must not be 0, nothing can be divided by it")
    return (
        kernel,
        steps,
        _window_pads(op, padding, kernel),
        check_flag(op, "ceil_mode", ceil_mode),
        check_flag(op, "count_include_pad", count_include_pad),
        divisor,
    )


def lp_pool_parameters(
    op: str, norm_type: Any, kernel_size: Any, stride: Any, ceil_mode: Any, padding: Any
) -> tuple[float, Pair, Pair, Pads, bool]:
    """The parameters of an L-p pooling: p, kernel, stride, padding, ceil_mode."""
    norm = number(op, "norm_type", norm_type)
    if norm in (0, -math.inf):
        raise ArgumentError(
            f"{op}: norm_type must be a finite number other than 0, or inf for the largest magnitude, got {norm_type!r}"
        )
    kernel, steps = pool_steps(op, kernel_size, stride)
    return norm, kernel, steps, _window_pads(op, padding, kernel), check_flag(op, "ceil_mode", ceil_mode)


def adaptive_parameters(op: str, output_size: Any) -> tuple[int, int]:
    """The output size of an adaptive pooling as a pair; 0 stands for the input's own (None)."""
    if op.endswith("1d"):
        only = output_size[0] if isinstance(output_size, tuple | list) and len(output_size) == 1 else output_size
        return 0, 0 if only is None else single(op, "output_size", only, 1, 0)[1]
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
