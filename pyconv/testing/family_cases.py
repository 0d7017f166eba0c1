"""Cases of the convolution's relatives: transposed, on lines, and windows as columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..plan import fold_parameters, plan_unfold
from .case import Case, Shape
from .data import LAYOUTS

__all__ = ["family_cases"]

_TRANSPOSED: dict[str, tuple[Shape, Shape, dict[str, Any]]] = {
    "plain": ((2, 3, 5, 6), (3, 4, 3, 3), {}),
    "2x2_stride2": ((2, 5, 6, 7), (5, 3, 2, 2), {"stride": 2}),
    "4x4_stride2": ((1, 5, 6, 7), (5, 3, 4, 4), {"stride": 2, "padding": 1}),
    "3x3_stride2": ((1, 5, 6, 7), (5, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    "3x3_stride2x1": ((1, 3, 6, 7), (3, 2, 3, 3), {"stride": (2, 1), "padding": (0, 1)}),
    "stride_above_kernel": ((1, 3, 4, 5), (3, 2, 2, 2), {"stride": (5, 3), "output_padding": (4, 2)}),
    "stride_above_input": ((1, 3, 1, 1), (3, 2, 2, 2), {"stride": 2**31 - 1}),
    "padding_above_kernel": ((1, 3, 9, 8), (3, 2, 3, 3), {"stride": 2, "padding": (5, 4)}),
    "padding_asymmetric": ((1, 3, 5, 6), (3, 2, 4, 3), {"stride": 2, "padding": ((0, 3), (2, 1))}),
    "dilation2": ((1, 3, 5, 6), (3, 2, 3, 3), {"dilation": 2}),
    "dilation2_stride2": ((1, 3, 5, 6), (3, 2, 3, 3), {"dilation": 2, "stride": 2, "padding": 1}),
    "dilation3_stride2": ((1, 3, 5, 6), (3, 2, 3, 3), {"dilation": 3, "stride": 2, "padding": 2}),
    "dilation2_stride3": ((1, 3, 5, 6), (3, 2, 5, 2), {"dilation": (2, 4), "stride": (3, 6), "output_padding": (1, 5)}),
    "groups2": ((2, 4, 5, 6), (4, 3, 3, 3), {"groups": 2, "stride": 2}),
    "groups2_2x2": ((2, 4, 5, 6), (4, 3, 2, 2), {"groups": 2, "stride": 2}),
    "depthwise": ((1, 5, 6, 7), (5, 1, 4, 4), {"groups": 5, "stride": 2, "padding": 1}),
    "kernel_1x1": ((1, 5, 6, 7), (5, 4, 1, 1), {}),
    "kernel_1x1_stride2": ((1, 5, 6, 7), (5, 4, 1, 1), {"stride": 2, "output_padding": 1}),
    "kernel_8x8_stride4": ((1, 3, 5, 6), (3, 2, 8, 8), {"stride": 4, "padding": 2}),
    "channels_17_33": ((1, 17, 7, 9), (17, 33, 2, 2), {"stride": 2}),
    "channels_33_17": ((1, 33, 7, 9), (33, 17, 4, 4), {"stride": 2, "padding": 1}),
    "channels_32_48": ((2, 32, 14, 15), (32, 48, 3, 3), {"padding": 1}),
    "channels_64_65": ((1, 64, 4, 5), (64, 65, 4, 4), {"stride": 2, "padding": 1}),
    "one_pixel": ((1, 3, 1, 1), (3, 4, 4, 4), {}),
    "cropped_to_one": ((1, 3, 4, 4), (3, 4, 3, 3), {"stride": 2, "padding": 4}),
    "batch0": ((0, 3, 5, 6), (3, 4, 2, 2), {"stride": 2}),
    "unbatched": ((3, 5, 6), (3, 4, 3, 3), {"stride": 2, "padding": 1}),
    "direct": ((1, 16, 12, 13), (16, 16, 3, 3), {"padding": 1, "algorithm": "direct"}),
}

_LINES: dict[str, tuple[Shape, Shape, dict[str, Any]]] = {
    "plain": ((2, 3, 19), (4, 3, 3), {}),
    "all": ((2, 4, 31), (6, 2, 3), {"stride": 2, "padding": 3, "dilation": (2,), "groups": 2}),
    "same": ((1, 3, 33), (5, 3, 4), {"padding": "same", "dilation": 2}),
    "padding_asymmetric": ((1, 3, 18), (4, 3, 3), {"padding": ((0, 5),)}),
    "depthwise": ((2, 5, 37), (5, 1, 7), {"groups": 5, "padding": [3]}),
    "kernel_1": ((1, 33, 65), (17, 33, 1), {}),
    "channels_17_33": ((1, 17, 40), (33, 17, 3), {"padding": 1}),
    "kernel_31": ((1, 1, 200), (1, 1, 31), {"padding": 15}),
    "batch0": ((0, 3, 19), (4, 3, 3), {}),
    "unbatched": ((3, 19), (4, 3, 3), {"padding": 1}),
}

_TRANSPOSED_LINES: dict[str, tuple[Shape, Shape, dict[str, Any]]] = {
    "plain": ((2, 3, 19), (3, 4, 3), {}),
    "all": ((2, 4, 11), (4, 3, 5), {"stride": 3, "padding": 2, "output_padding": 1, "dilation": (2,), "groups": 2}),
    "padding_asymmetric": ((1, 3, 18), (3, 4, 4), {"stride": 2, "padding": ((0, 3),)}),
    "unbatched": ((3, 19), (3, 4, 2), {"stride": [2]}),
}


_FOLDS: dict[str, tuple[Shape, dict[str, Any]]] = {
    "2x2": ((2, 3, 6, 8), {"kernel_size": 2}),
    "3x3": ((1, 3, 7, 9), {"kernel_size": 3, "padding": 1}),
    "2x3_stride2": ((2, 3, 7, 9), {"kernel_size": (2, 3), "stride": 2}),
    "stride_above_kernel": ((1, 2, 11, 12), {"kernel_size": 2, "stride": (5, 3)}),
    "dilation": ((1, 3, 9, 10), {"kernel_size": 3, "dilation": (2, 1), "padding": (3, 2), "stride": (2, 3)}),
    "padding_asymmetric": ((1, 3, 7, 8), {"kernel_size": 3, "padding": ((0, 4), (5, 1)), "stride": 3}),
    "batch0": ((0, 3, 6, 7), {"kernel_size": 2}),
    "unbatched": ((3, 6, 7), {"kernel_size": 2, "stride": 2}),
}


def _folds(dtype: str) -> Iterator[Case]:
    def cases(label: str, shape: str, **fields: Any) -> Iterator[Case]:
        size, parameters = _FOLDS[shape]
        yield Case(f"unfold-{label}-{dtype}", "unfold", dtype, size, parameters=parameters, **fields)
        plan = plan_unfold((1, *size[-3:]), dtype, 4, *fold_parameters("unfold", **{**_PLAIN, **parameters}))
        columns, parameters = (*size[:-3], *plan.columns[1:]), {"output_size": size[-2:], **parameters}
        yield Case(f"fold-{label}-{dtype}", "fold", dtype, columns, parameters=parameters, **fields)

    for shape in _FOLDS:
        yield from cases(shape, shape)
    for layout in LAYOUTS:
        yield from cases(f"{layout}-3x3", "3x3", layout=layout)
    for out in ("contiguous", "strided"):
        for shape in ("3x3", "unbatched"):
            yield from cases(f"out_{out}-{shape}", shape, out=out)
    for values in ("few_nan", "infinities", "denormal", "huge"):
        yield from cases(f"{values}-dilation", "dilation", values=values)


_PLAIN = {"dilation": 1, "padding": 0, "stride": 1}


def family_cases(dtype: str) -> Iterator[Case]:
    """All of them for one dtype."""
    yield from _conv(dtype, "conv_transpose2d", _TRANSPOSED, ("2x2_stride2", "3x3_stride2", "unbatched"))
    yield from _conv(dtype, "conv1d", _LINES, ("all", "unbatched"))
    yield from _folds(dtype)
    yield from _conv(dtype, "conv_transpose1d", _TRANSPOSED_LINES, ("all", "unbatched"))


def _conv(
    dtype: str, op: str, shapes: dict[str, tuple[Shape, Shape, dict[str, Any]]], thoroughly: tuple[str, ...]
) -> Iterator[Case]:
    def case(label: str, shape: str = "plain", **fields: Any) -> Case:
        size, weight, parameters = shapes[shape]
        return Case(f"{op}-{label}-{dtype}", op, dtype, size, weight, parameters=parameters, **fields)

    for shape in shapes:
        yield case(shape, shape)
    yield case("no_bias", bias=False)
    for layout in LAYOUTS:
        yield case(f"{layout}-plain", layout=layout, weight_layout=layout)
    for shape in thoroughly:
        for layout in ("channels_last", "gaps", "byte_swapped"):
            yield case(f"{layout}-{shape}", shape, layout=layout)
        for out in ("contiguous", "strided"):
            yield case(f"out_{out}-{shape}", shape, out=out)
        for values in ("few_nan", "one_inf", "denormal"):
            yield case(f"{values}-{shape}", shape, values=values)
        if op.startswith("conv_transpose"):
            for values in ("few_nan", "few_inf", "denormal"):
                yield case(f"weight_{values}-{shape}", shape, weight_values=values)
    yield case("overflow", values="huge", weight_values="ones", bias=False)
