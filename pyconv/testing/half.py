"""Cases of convolution in float16 and bfloat16, which a backend may leave out."""

from __future__ import annotations

from collections.abc import Iterator

from ..plan import HALF_DTYPES
from .case import Case
from .cases import RESIDUALS, conv_case

__all__ = ["half_cases"]

_SHAPES = (
    "plain", "stride2", "padding1", "padding_asymmetric", "dilation_stride_padding", "groups2", "groups3_stride2",
    "depthwise", "depthwise_stride2", "depthwise_5x5_dilated", "depthwise_multiplier", "channels_1_1", "channels_7_1",
    "channels_17_33", "channels_32_48", "channels_64_65", "kernel_1x1", "kernel_1x1_many", "kernel_1x1_stride2",
    "kernel_7x7_stem", "batch0", "unbatched",
)  # fmt: skip


def half_cases() -> list[Case]:
    """Convolutions in float16 and bfloat16, whose sums are kept in float32, in a fixed order.

    ``|error| <= (4 + 4 sqrt(n)) * eps * sum of |input| |weight|``, with the eps of float32, and half a unit in the
    last place of the result's dtype for rounding it. bfloat16 is that of the package ml_dtypes.
    """
    return [case for dtype in HALF_DTYPES for case in _cases(dtype)]


def _cases(dtype: str) -> Iterator[Case]:
    for shape in _SHAPES:
        yield conv_case(dtype, shape, shape)
    yield conv_case(dtype, "no_bias", bias=False)
    for layout in ("channels_last", "gaps", "reversed", "broadcast", "window"):
        for shape in ("padding1", "kernel_1x1", "depthwise"):
            yield conv_case(dtype, f"{layout}-{shape}", shape, layout=layout, weight_layout=layout)
    for values in ("few_nan", "few_inf", "ties"):
        for shape in ("padding1", "channels_17_33", "depthwise"):
            yield conv_case(dtype, f"{values}-{shape}", shape, values=values)
    for out in ("contiguous", "strided"):
        for shape in ("padding1", "kernel_1x1", "depthwise", "unbatched"):
            yield conv_case(dtype, f"out_{out}-{shape}", shape, out=out)
    for shape in ("padding1", "depthwise", "channels_32_48", "kernel_1x1_many"):
        yield conv_case(dtype, f"residual-{shape}", shape, residual_shape=RESIDUALS[shape])
        yield conv_case(dtype, f"residual_in_place-{shape}", shape, residual_shape=RESIDUALS[shape], out="residual")
