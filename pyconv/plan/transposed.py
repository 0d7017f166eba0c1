"""The plan of a transposed convolution, and its decomposition into ordinary convolutions of stride 1.

With stride ``s``, the output rows ``Y`` with one remainder of ``Y + top`` by ``s`` are a *phase*: they see the same
rows of the kernel, those ``i`` whose ``i * dilation`` has this remainder. So every phase of rows and columns is an
ordinary convolution of the input, of stride 1, with a part of the kernel turned around; together they fill the output.
No output is added to twice. (W. Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016.)

Or all taps are the output channels of one convolution of a pixel, and each output is the sum of those that reach it: a
matrix product, and what "col2im" is in Caffe. (V. Dumoulin, F. Visin, "A guide to convolution arithmetic", 2016, on how
the two go together.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..errors import ArgumentError, ShapeError
from .arguments import SMALLER_OUTPUT, Pads, Pair, check_bytes, check_size, index, pads, pair
from .channels import axis_names, check_channels, shown
from .conv import ConvPlan
from .hashing import HashedOnce

__all__ = [
    "PhasePart",
    "Reach",
    "TapsPart",
    "TransposedPlan",
    "output_padding_for",
    "phase_parts",
    "plan_conv_transpose2d",
    "taps_part",
    "transposed_parameters",
]


@dataclass(frozen=True, slots=True)
class TransposedPlan(HashedOnce):
    """A transposed convolution with all its sizes: hashable, and valid by construction.

    Input is (batch, in_channels, *in_size), weight (in_channels, out_channels // groups, *kernel), output (batch,
    out_channels, *out_size). ``padding`` is ((top, bottom), (left, right)), the rows and columns that are left away of
    what the input spreads out to. See ConvPlan for the rest, and :func:`phase_parts` for how to run it.
    """

    __hash__ = HashedOnce.__hash__

    op: ClassVar[str] = "conv_transpose2d"

    dtype: str
    layout: str
    batch: int
    in_channels: int
    in_size: Pair
    out_channels: int
    out_size: Pair
    kernel: Pair
    stride: Pair
    padding: Pads
    dilation: Pair
    groups: int
    has_bias: bool
    algorithm: str
    keeps_weights: bool
    precision: str = "fp32"

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, self.out_channels, *self.out_size)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.in_channels, self.out_channels // self.groups, *self.kernel)

    @property
    def flops(self) -> int:
        """Multiplications and additions of every input pixel with every tap, those that are left away included."""
        taps = self.out_channels // self.groups * self.kernel[0] * self.kernel[1]
        return 2 * self.batch * self.in_channels * self.in_size[0] * self.in_size[1] * taps


class PhasePart(NamedTuple):
    """Phases of the output that one convolution computes: those with the same sizes, side by side as channels.

    ``plan`` takes the rows and columns ``rows``, ``columns`` of the input and the weights that :meth:`weights` gives;
    its output channels are (group, phase, channel of the group). Phase ``p`` of them belongs to the output's
    ``[..., starts[p][0] :: stride, starts[p][1] :: stride]``.
    """

    plan: ConvPlan
    rows: slice
    columns: slice
    starts: tuple[Pair, ...]
    taps: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """The kernel's rows and columns of each phase, in the order in which the convolution takes them."""

    def weights(self, weight: Any) -> Any:
        """The convolution's weights, of the given ones (in_channels, out_channels // groups, height, width)."""
        groups, phases = self.plan.groups, len(self.starts)
        per_in, (_, per_out, *kernel) = self.plan.in_channels // groups, weight.shape
        rows = np.array([np.repeat(rows, len(columns)) for rows, columns in self.taps])
        columns = np.array([np.tile(columns, len(rows)) for rows, columns in self.taps])
        found = weight.reshape(groups, per_in, per_out, *kernel)[:, :, :, rows, columns]
        return found.transpose(0, 3, 2, 1, 4).reshape(groups * phases * per_out, per_in, *self.plan.kernel)

    def biases(self, bias: Any) -> Any:
        """The convolution's biases, of those given."""
        groups, phases = self.plan.groups, len(self.starts)
        return bias.reshape(groups, 1, -1).repeat(phases, axis=1).reshape(-1)


class _Phase(NamedTuple):
    """One phase along one axis."""

    start: int
    taps: tuple[int, ...]
    sizes: tuple[int, Pair, Pair, int]
    """Outputs, input that is left away at both ends, padding there, dilation."""


def _phases(in_size: int, out_size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> Iterator[_Phase]:
    """The phases along an axis that see any of the input."""
    common = gcd(stride, dilation)
    for first in range(min(kernel, stride // common)):
        # taps first, first + step, ... reach outputs of one remainder; tap i those `(i * dilation - remainder) /
        # stride` further on
        taps = range(first, kernel, stride // common)
        remainder = first * dilation % stride
        start = (remainder - padding[0]) % stride
        count = len(range(start, out_size, stride))
        place = (start + padding[0] - remainder) // stride
        begin = place - (taps[-1] * dilation - remainder) // stride  # the input that the first output sees first
        end = place - (first * dilation - remainder) // stride + count  # and beyond what the last one sees last
        if count and begin < in_size and end > 0:
            crop, border = (max(begin, 0), max(in_size - end, 0)), (max(-begin, 0), max(end - in_size, 0))
            yield _Phase(start, tuple(reversed(taps)), (count, crop, border, dilation // common))


@lru_cache(maxsize=256)
def phase_parts(plan: TransposedPlan) -> tuple[PhasePart, ...]:
    """The convolutions that the transposed one is made of. What none of them reaches is the bias alone."""
    by_size: dict[Any, list[tuple[_Phase, _Phase]]] = {}
    axes = [
        list(_phases(*sizes))
        for sizes in zip(
            plan.in_size, plan.out_size, plan.kernel, plan.stride, plan.padding, plan.dilation, strict=True
        )
    ]
    for row in axes[0]:
        for column in axes[1]:
            alike = tuple((len(phase.taps), phase.sizes) for phase in (row, column))
            by_size.setdefault(alike, []).append((row, column))
    return tuple(_part(plan, phases) for phases in by_size.values())


def _part_plan(plan: TransposedPlan) -> ConvPlan:
    """A convolution of one pixel on the plan's input: what all convolutions that it is made of have in common."""
    return ConvPlan(
        dtype=plan.dtype,
        layout=plan.layout,
        batch=plan.batch,
        in_channels=plan.in_channels,
        in_size=plan.in_size,
        out_channels=plan.out_channels,
        out_size=plan.in_size,
        kernel=(1, 1),
        stride=(1, 1),
        padding=((0, 0), (0, 0)),
        dilation=(1, 1),
        groups=plan.groups,
        has_bias=False,
        algorithm=plan.algorithm,
        keeps_weights=plan.keeps_weights,
        precision=plan.precision,
    )


def _part(plan: TransposedPlan, phases: list[tuple[_Phase, _Phase]]) -> PhasePart:
    row, column = phases[0]
    (out_h, rows, border_h, gap_h), (out_w, columns, border_w, gap_w) = row.sizes, column.sizes
    height, width = plan.in_size
    return PhasePart(
        plan=replace(
            _part_plan(plan),
            layout=plan.layout if (rows, columns) == ((0, 0), (0, 0)) else "strided",
            in_size=(height - sum(rows), width - sum(columns)),
            out_channels=plan.out_channels * len(phases),
            out_size=(out_h, out_w),
            kernel=(len(row.taps), len(column.taps)),
            padding=(border_h, border_w),
            dilation=(gap_h, gap_w),
            has_bias=plan.has_bias,
        ),
        rows=slice(rows[0], height - rows[1]),
        columns=slice(columns[0], width - columns[1]),
        starts=tuple((row.start, column.start) for row, column in phases),
        taps=tuple((row.taps, column.taps) for row, column in phases),
    )


class Reach(NamedTuple):
    """A tap's results that belong to the outputs of a phase: those ``row`` rows and ``column`` columns further on."""

    tap: int
    row: int
    column: int


class TapsPart(NamedTuple):
    """The convolution of one pixel whose output channels are (group, tap, channel of the group), without a bias.

    ``reaches`` are, for each of ``stride`` rows and columns of a step of the output, the taps whose sum it is.
    """

    plan: ConvPlan
    reaches: tuple[tuple[Reach, ...], ...]

    def weights(self, weight: Any) -> Any:
        """The convolution's weights, of the given ones (in_channels, out_channels // groups, height, width)."""
        groups = self.plan.groups
        found = weight.reshape(groups, self.plan.in_channels // groups, weight.shape[1], -1)
        return found.transpose(0, 3, 2, 1).reshape(self.plan.out_channels, self.plan.in_channels // groups, 1, 1)


def _reaching(start: int, kernel: int, stride: int, padding: Pair, dilation: int) -> list[Pair]:
    """The taps along an axis that reach outputs start, start + stride, ..., and how much further on their input is."""
    ways = ((tap, start + padding[0] - tap * dilation) for tap in range(kernel))
    return [(tap, way // stride) for tap, way in ways if way % stride == 0]


@lru_cache(maxsize=256)
def taps_part(plan: TransposedPlan) -> TapsPart:
    """The transposed convolution as one of all taps, whose results are added up."""
    count = plan.kernel[0] * plan.kernel[1]
    one = replace(_part_plan(plan), out_channels=plan.out_channels * count)
    axes = zip(plan.kernel, plan.stride, plan.padding, plan.dilation, strict=True)
    rows, columns = ([_reaching(start, *sizes) for start in range(sizes[1])] for sizes in axes)
    reaches = [
        tuple(Reach(i * plan.kernel[1] + j, down, right) for i, down in row for j, right in column)
        for row in rows
        for column in columns
    ]
    return TapsPart(one, tuple(reaches))


def transposed_parameters(
    op: str, stride: Any, padding: Any, output_padding: Any, groups: Any, dilation: Any
) -> tuple[Pair, Pads, Pair, int, Pair]:
    """The parameters of a transposed convolution that need no array to be checked, in one form."""
    steps, gaps = pair(op, "stride", stride, 1), pair(op, "dilation", dilation, 1)
    if isinstance(padding, str) and padding == "same":  # an array would compare element by element
        raise ArgumentError(
            f"{op}: padding='same' is for convolutions; give the padding as numbers, and output_padding for the rest"
        )
    amounts = pads(op, padding)
    assert not isinstance(amounts, str)
    more = pair(op, "output_padding", output_padding, 0)
    for axis, amount, step, gap in zip(axis_names(op), more, steps, gaps, strict=True):
        if amount >= max(step, gap):
            raise ShapeError(
                f"{op}: output_padding must be smaller than the stride or the dilation: got {amount} along the {axis}, "
                f"with stride {step} and dilation {gap}"
            )
    return steps, amounts, more, index(op, "groups", groups, 1, beyond=ArgumentError), gaps


def _extent(size: int, kernel: int, stride: int, padding: Pair, dilation: int) -> int:
    """Output size along one axis, without output_padding."""
    return (size - 1) * stride - sum(padding) + dilation * (kernel - 1) + 1


def output_padding_for(
    op: str, output_size: Any, in_size: Pair, kernel: Pair, stride: Pair, padding: Pads, dilation: Pair
) -> Pair:
    """The output_padding that gives ``output_size``: (height, width), of lines (length,), or a shape that ends so."""
    lines = op.endswith("1d")
    if not isinstance(output_size, tuple | list) or len(output_size) not in ((1, 2, 3) if lines else (2, 3, 4)):
        size = "(length,)" if lines else "(height, width)"
        raise ShapeError(f"{op}: output_size must be {size}, or a shape that ends so; got {output_size!r}")
    if lines:
        wanted = (1, index(op, "output_size", output_size[-1], 1))
    else:
        wanted = pair(op, "output_size", output_size[-2:], 1)
    found = []
    for axis, want, *sizes in zip(axis_names(op), wanted, in_size, kernel, stride, padding, dilation, strict=True):
        least = _extent(*sizes)
        most = least + sizes[2] - 1
        if not least <= want <= most:
            raise ShapeError(
                f"{op}: output_size asks for a {axis} of {want}, but an input of {sizes[0]} gives {least} to {most}"
            )
        found.append(want - least)
    return found[0], found[1]


@lru_cache(maxsize=1024)
def plan_conv_transpose2d(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    bias_shape: tuple[int, ...] | None,
    dtype: str,
    itemsize: int,
    layout: str,
    stride: Pair,
    padding: Pads,
    output_padding: Pair,
    groups: int,
    dilation: Pair,
    algorithm: str,
    keeps_weights: bool,
    precision: str,
    op: str = "conv_transpose2d",
) -> TransposedPlan:
    """Check the shapes of a transposed convolution and work out its output.

    Shapes are (N, C, H, W) and (in_channels, out_channels / groups, kernel height, kernel width); the other parameters
    come from :func:`transposed_parameters`. Formula: torch.nn.ConvTranspose2d's documentation.
    """
    out_channels = check_channels(op, input_shape, weight_shape, bias_shape, groups, transposed=True)
    batch, channels, *in_size = input_shape
    kernel = weight_shape[2:]
    out_size = []
    for axis, size, count, step, pad, gap, more in zip(
        axis_names(op), in_size, kernel, stride, padding, dilation, output_padding, strict=True
    ):
        extent = _extent(size, count, step, pad, gap) + more
        if extent < 1:
            raise ShapeError(
                f"{op}: no output is left along the {axis}: (input - 1) * stride + dilation * (kernel - 1) + 1 + "
                f"output_padding - padding = ({size} - 1) * {step} + {gap} * ({count} - 1) + 1 + {more} - {pad[0]} - "
                f"{pad[1]} = {extent}; use less padding"
            )
        out_size.append(extent)
    check_size(op, "the input", input_shape, itemsize)
    check_bytes(op, shown(op, (batch, out_channels, *out_size)), itemsize, advice=SMALLER_OUTPUT)
    return TransposedPlan(
        dtype=dtype,
        layout=layout,
        batch=batch,
        in_channels=channels,
        in_size=(in_size[0], in_size[1]),
        out_channels=out_channels,
        out_size=(out_size[0], out_size[1]),
        kernel=(kernel[0], kernel[1]),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        has_bias=bias_shape is not None,
        algorithm=algorithm,
        keeps_weights=keeps_weights,
        precision=precision if dtype == "float32" else "fp32",
    )
