"""The list of cases that every backend is held to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..plan import DTYPES
from .activation_cases import activation_cases
from .case import Case, Shape
from .data import LAYOUTS
from .family_cases import family_cases
from .line_pool_cases import line_pool_cases
from .norm_cases import norm_cases
from .pool_cases import pool_cases

__all__ = ["cases", "conv_case"]

_CONV_SHAPES: dict[str, tuple[Shape, Shape, dict[str, Any]]] = {
    "plain": ((2, 3, 9, 10), (4, 3, 3, 3), {}),
    "stride2": ((2, 3, 9, 10), (4, 3, 3, 3), {"stride": 2}),
    "stride3x2": ((1, 3, 11, 12), (4, 3, 3, 3), {"stride": (3, 2)}),
    "stride_above_kernel": ((1, 3, 11, 12), (4, 3, 2, 2), {"stride": (5, 3)}),
    "stride_above_input": ((1, 3, 5, 6), (4, 3, 2, 2), {"stride": 2**31 - 1}),
    "padding1": ((2, 3, 9, 10), (4, 3, 3, 3), {"padding": 1}),
    "padding2x1": ((1, 3, 7, 8), (4, 3, 3, 3), {"padding": (2, 1)}),
    "padding_asymmetric": ((1, 3, 7, 8), (4, 3, 3, 3), {"padding": ((1, 0), (2, 3))}),
    "padding_above_kernel": ((1, 2, 4, 5), (3, 2, 3, 3), {"padding": 6}),
    "padding_stride_asymmetric": ((1, 3, 8, 9), (4, 3, 4, 3), {"stride": 2, "padding": ((0, 3), (1, 0))}),
    "valid": ((1, 3, 7, 8), (4, 3, 3, 3), {"padding": "valid"}),
    "same_odd": ((1, 3, 7, 8), (4, 3, 3, 5), {"padding": "same"}),
    "same_even": ((1, 3, 7, 8), (4, 3, 2, 4), {"padding": "same"}),
    "same_dilated": ((1, 3, 7, 8), (4, 3, 3, 2), {"padding": "same", "dilation": (2, 3)}),
    "dilation2": ((1, 3, 9, 10), (4, 3, 3, 3), {"dilation": 2}),
    "dilation1x3": ((1, 3, 9, 10), (4, 3, 3, 3), {"dilation": (1, 3)}),
    "dilation_stride_padding": ((2, 3, 9, 10), (4, 3, 3, 2), {"dilation": 2, "stride": (2, 3), "padding": (3, 2)}),
    "groups2": ((2, 4, 7, 8), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    "groups3_stride2": ((1, 9, 7, 8), (6, 3, 3, 3), {"groups": 3, "stride": 2}),
    "groups_of_17": ((1, 34, 5, 6), (38, 17, 3, 3), {"groups": 2, "padding": 1}),
    "depthwise": ((2, 5, 9, 10), (5, 1, 3, 3), {"groups": 5, "padding": 1}),
    "depthwise_stride2": ((1, 19, 9, 10), (19, 1, 3, 3), {"groups": 19, "stride": 2, "padding": 1}),
    "depthwise_5x5_dilated": ((1, 16, 13, 14), (16, 1, 5, 5), {"groups": 16, "dilation": 2}),
    "depthwise_5x5": ((1, 3, 9, 14), (3, 1, 5, 5), {"groups": 3, "padding": 2}),
    "depthwise_7x7_stride2": ((2, 3, 13, 15), (3, 1, 7, 7), {"groups": 3, "stride": 2, "padding": 3}),
    "depthwise_channels": ((2, 21, 7, 7), (21, 1, 5, 5), {"groups": 21, "padding": 2}),
    "depthwise_multiplier": ((1, 4, 7, 8), (12, 1, 3, 3), {"groups": 4}),
    "channels_1_1": ((1, 1, 6, 7), (1, 1, 3, 3), {}),
    "channels_1_7": ((1, 1, 6, 7), (7, 1, 3, 3), {"padding": 1}),
    "channels_7_1": ((1, 7, 6, 7), (1, 7, 3, 3), {"padding": 1}),
    "channels_13_17": ((1, 13, 6, 7), (17, 13, 3, 3), {"padding": 1}),
    "channels_17_33": ((1, 17, 5, 17), (33, 17, 3, 3), {"padding": 1}),
    "channels_32_48": ((2, 32, 14, 19), (48, 32, 3, 3), {"padding": 1}),
    "channels_64_65": ((1, 64, 7, 15), (65, 64, 3, 3), {"padding": 1}),
    "kernel_1x1": ((2, 5, 6, 7), (4, 5, 1, 1), {}),
    "kernel_1x1_many": ((1, 67, 7, 9), (53, 67, 1, 1), {}),
    "kernel_1x1_stride2": ((1, 5, 7, 8), (4, 5, 1, 1), {"stride": 2}),
    "kernel_1x1_padding": ((1, 5, 4, 5), (4, 5, 1, 1), {"padding": 2}),
    "kernel_1x7": ((1, 3, 6, 17), (4, 3, 1, 7), {"padding": (0, 3)}),
    "kernel_7x1": ((1, 3, 17, 6), (4, 3, 7, 1), {"padding": (3, 0)}),
    "kernel_7x7_stem": ((1, 3, 23, 25), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
    "kernel_11x11": ((1, 2, 21, 22), (3, 2, 11, 11), {"stride": 4, "padding": 2}),
    "kernel_15x15": ((1, 1, 24, 25), (1, 1, 15, 15), {"padding": 7}),
    "kernel_of_input": ((2, 3, 6, 7), (4, 3, 6, 7), {}),
    "kernel_above_input": ((1, 3, 4, 5), (4, 3, 8, 9), {"padding": 3}),
    "one_pixel": ((1, 3, 1, 1), (4, 3, 3, 3), {"padding": 1}),
    "wide": ((1, 2, 4, 131), (3, 2, 3, 3), {"padding": 1}),
    "tall": ((1, 2, 131, 3), (3, 2, 3, 3), {"padding": 1}),
    "batch0": ((0, 3, 6, 7), (4, 3, 3, 3), {}),
    "kernel_1x1_batch0": ((0, 3, 6, 7), (4, 3, 1, 1), {}),
    "batch3": ((3, 3, 6, 7), (4, 3, 3, 3), {"padding": 1}),
    "unbatched": ((3, 6, 7), (4, 3, 3, 3), {"padding": 1}),
    "direct": ((1, 16, 12, 13), (16, 16, 3, 3), {"padding": 1, "algorithm": "direct"}),
    "tf32": ((2, 16, 12, 13), (24, 16, 3, 3), {"padding": 1, "precision": "tf32"}),
    "tf32_stem": ((1, 3, 23, 25), (16, 3, 7, 7), {"stride": 2, "padding": 3, "precision": "tf32"}),
    "tf32_kernel_1x1": ((1, 67, 8, 9), (53, 67, 1, 1), {"precision": "tf32"}),
    "measure": ((1, 16, 12, 13), (16, 16, 3, 3), {"padding": 1, "algorithm": "measure"}),
}


RESIDUALS: dict[str, Shape] = {
    "plain": (2, 4, 7, 8),
    "padding1": (2, 4, 9, 10),
    "padding_above_kernel": (1, 3, 14, 15),
    "dilation_stride_padding": (2, 4, 6, 4),
    "groups2": (2, 6, 7, 8),
    "depthwise": (2, 5, 9, 10),
    "channels_32_48": (2, 48, 14, 19),
    "kernel_1x1_many": (1, 53, 7, 9),
    "batch0": (0, 4, 4, 5),
    "unbatched": (4, 6, 7),
}
"""Shapes of the results that something is added to."""


def conv_case(dtype: str, label: str, shape: str = "plain", **fields: Any) -> Case:
    """A case of convolution; ``shape`` is a name in this list."""
    size, weight, parameters = _CONV_SHAPES[shape]
    return Case(f"conv2d-{label}-{dtype}", "conv2d", dtype, size, weight, parameters=parameters, **fields)


def _conv(dtype: str) -> Iterator[Case]:
    def case(label: str, shape: str = "plain", **fields: Any) -> Case:
        return conv_case(dtype, label, shape, **fields)

    for shape in _CONV_SHAPES:
        yield case(shape, shape)
    for shape in ("plain", "depthwise", "kernel_1x1", "channels_64_65"):
        yield case(f"no_bias-{shape}", shape, bias=False)
    for layout in LAYOUTS:
        for shape in ("padding1", "kernel_1x1", "depthwise", "dilation_stride_padding", "unbatched"):
            yield case(f"{layout}-{shape}", shape, layout=layout)
        yield case(f"{layout}-depthwise_channels", "depthwise_channels", layout=layout)
        yield case(f"weight_{layout}", "padding1", weight_layout=layout)
        yield case(f"all_{layout}-groups2", "groups2", layout=layout, weight_layout=layout)
    for layout in ("channels_last", "byte_swapped", "gaps"):
        yield case(f"{layout}-channels_17_33", "channels_17_33", layout=layout)
        yield case(f"{layout}-channels_32_48", "channels_32_48", layout=layout)
        yield case(f"{layout}-kernel_7x7_stem", "kernel_7x7_stem", layout=layout)
    for values in ("few_nan", "few_inf", "infinities", "denormal", "ties"):
        for shape in ("plain", "padding1", "channels_17_33", "depthwise"):
            yield case(f"{values}-{shape}", shape, values=values)
    for values in ("one_nan", "one_inf"):
        for shape in ("plain", "padding1", "kernel_1x1_many", "depthwise", "channels_17_33", "channels_32_48"):
            yield case(f"{values}-{shape}", shape, values=values)
        yield case(f"{values}-depthwise_channels", "depthwise_channels", values=values)
    yield case("denormal-channels_32_48", "channels_32_48", values="denormal")
    yield case("weight_nan", weight_values="few_nan")
    yield case("weight_denormal", weight_values="denormal")
    yield case("overflow", values="huge", weight_values="ones", bias=False)
    for out in ("contiguous", "strided"):
        for shape in ("padding1", "kernel_1x1", "depthwise", "channels_32_48", "unbatched", "batch0"):
            yield case(f"out_{out}-{shape}", shape, out=out)
        yield case(f"out_{out}-channels_last", "padding1", out=out, layout="channels_last")
    for shape, added in RESIDUALS.items():
        yield case(f"residual-{shape}", shape, residual_shape=added)
        yield case(f"residual_in_place-{shape}", shape, residual_shape=added, out="residual")
    for layout in ("channels_last", "byte_swapped", "reversed", "gaps", "broadcast"):
        yield case(f"residual_{layout}", "padding1", residual_shape=RESIDUALS["padding1"], residual_layout=layout)
    yield case("residual-out_strided", "padding1", residual_shape=RESIDUALS["padding1"], out="strided")
    for values in ("one_nan", "one_inf"):
        more = {"values": values, "residual_shape": RESIDUALS["channels_32_48"]}
        yield case(f"residual_in_place-{values}", "channels_32_48", **more, out="residual")


def cases() -> list[Case]:
    """Every case, in a fixed order.

    Returns
    -------
    list of Case
        With names that are unique and stay the same from run to run.
    """
    found: list[Case] = []
    for dtype in DTYPES:
        found += _conv(dtype)
        found += pool_cases(dtype)
        found += line_pool_cases(dtype)
        found += activation_cases(dtype)
        found += norm_cases(dtype)
        found += family_cases(dtype)
    return found
