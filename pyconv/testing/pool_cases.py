"""Cases of pooling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .case import Case, Shape
from .data import LAYOUTS

__all__ = ["pool_cases"]

_MAX_SHAPES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "2x2": ((2, 3, 8, 10), {"kernel_size": 2}),
    "2x2_odd": ((1, 5, 9, 131), {"kernel_size": 2}),
    "2x2_stride1": ((1, 3, 7, 9), {"kernel_size": 2, "stride": 1}),
    "3x3": ((1, 3, 9, 12), {"kernel_size": 3}),
    "3x3_stride2": ((2, 3, 9, 35), {"kernel_size": 3, "stride": 2}),
    "3x3_stride2_padding1": ((1, 5, 15, 67), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "3x3_stride1_padding1": ((1, 3, 7, 9), {"kernel_size": 3, "stride": 1, "padding": 1}),
    "2x2_whole_vectors": ((2, 3, 9, 24), {"kernel_size": 2}),
    "2x2_stride1_whole_vectors": ((1, 3, 6, 20), {"kernel_size": 2, "stride": 1}),
    "3x3_stride2_whole_vectors": ((1, 3, 11, 36), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "3x3_stride1_whole_vectors": ((1, 3, 9, 20), {"kernel_size": 3, "stride": 1, "padding": 1}),
    "40_channels": ((2, 40, 7, 33), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "2x3_stride1x2": ((1, 3, 8, 11), {"kernel_size": (2, 3), "stride": (1, 2)}),
    "1x1": ((1, 3, 5, 6), {"kernel_size": 1}),
    "1x1_stride2": ((1, 3, 5, 6), {"kernel_size": 1, "stride": 2}),
    "5x5_stride1": ((1, 3, 9, 10), {"kernel_size": 5, "stride": 1, "padding": 2}),
    "7x7_stride3": ((1, 3, 17, 19), {"kernel_size": 7, "stride": 3, "padding": 3}),
    "stride_above_kernel": ((1, 3, 11, 12), {"kernel_size": 2, "stride": (5, 4)}),
    "stride_above_input": ((1, 3, 5, 6), {"kernel_size": 2, "stride": 2**31 - 1}),
    "dilation2": ((1, 3, 9, 10), {"kernel_size": 3, "stride": 1, "dilation": 2}),
    "dilation2x1_padding": ((1, 3, 9, 10), {"kernel_size": 3, "stride": 2, "dilation": (2, 1), "padding": (2, 1)}),
    "no_element": ((1, 2, 2, 3), {"kernel_size": 2, "stride": 1, "dilation": 4, "padding": 2}),
    "ceil": ((1, 3, 8, 10), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "ceil_2x2": ((1, 3, 9, 11), {"kernel_size": 2, "ceil_mode": True}),
    "ceil_padding": ((1, 3, 8, 9), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    "ceil_stride_above_kernel": ((1, 3, 8, 9), {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}),
    "ceil_dilation": ((1, 3, 10, 11), {"kernel_size": 2, "stride": 3, "dilation": 3, "ceil_mode": True}),
    "asymmetric": ((1, 3, 7, 8), {"kernel_size": 3, "stride": 2, "padding": ((0, 1), (1, 0))}),
    "asymmetric_above_half": ((1, 3, 7, 8), {"kernel_size": 3, "stride": 2, "padding": ((2, 1), (0, 2))}),
    "asymmetric_ceil": ((1, 3, 7, 8), {"kernel_size": 3, "stride": 2, "padding": ((1, 0), (2, 2)), "ceil_mode": True}),
    "whole_plane": ((2, 3, 6, 7), {"kernel_size": (6, 7)}),
    "batch0": ((0, 3, 6, 7), {"kernel_size": 2}),
    "batch3_one_channel": ((3, 1, 6, 7), {"kernel_size": 2}),
    "unbatched": ((3, 6, 7), {"kernel_size": 2}),
}


_AVG_SHAPES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "2x2": ((2, 3, 8, 10), {"kernel_size": 2}),
    "2x2_odd": ((1, 5, 9, 131), {"kernel_size": 2}),
    "3x3_stride2_padding1": ((1, 5, 15, 67), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "3x3_stride1_padding1": ((1, 3, 7, 39), {"kernel_size": 3, "stride": 1, "padding": 1}),
    "2x2_stride1": ((1, 3, 7, 9), {"kernel_size": 2, "stride": 1}),
    "2x2_whole_vectors": ((2, 3, 9, 24), {"kernel_size": 2}),
    "2x2_stride1_whole_vectors": ((1, 3, 6, 20), {"kernel_size": 2, "stride": 1}),
    "3x3_stride2_whole_vectors": ((1, 3, 11, 36), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "3x3_stride1_whole_vectors": ((1, 3, 9, 20), {"kernel_size": 3, "stride": 1, "padding": 1}),
    "40_channels": ((2, 40, 7, 33), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "2x3_stride1x2": ((1, 3, 8, 11), {"kernel_size": (2, 3), "stride": (1, 2)}),
    "1x1_stride2": ((1, 3, 5, 6), {"kernel_size": 1, "stride": 2}),
    "7x5_stride3": ((1, 3, 17, 19), {"kernel_size": (7, 5), "stride": 3, "padding": (3, 2)}),
    "stride_above_input": ((1, 3, 5, 6), {"kernel_size": 2, "stride": 2**31 - 1}),
    "ceil": ((1, 3, 8, 10), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "ceil_padding": ((1, 3, 8, 9), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    "asymmetric": ((1, 3, 7, 8), {"kernel_size": 3, "stride": 2, "padding": ((0, 1), (1, 0))}),
    "asymmetric_above_half": ((1, 3, 7, 8), {"kernel_size": 3, "stride": 2, "padding": ((2, 1), (0, 2))}),
    "asymmetric_ceil": ((1, 3, 7, 8), {"kernel_size": 3, "stride": 2, "padding": ((1, 0), (2, 2)), "ceil_mode": True}),
    "above_the_input": ((1, 2, 4, 3), {"kernel_size": 70, "stride": 35, "padding": 34}),
    "whole_plane": ((2, 3, 6, 7), {"kernel_size": (6, 7)}),
    "whole_large_plane": ((1, 2, 37, 41), {"kernel_size": (37, 41)}),
    "batch0": ((0, 3, 6, 7), {"kernel_size": 2}),
    "unbatched": ((3, 6, 7), {"kernel_size": 2}),
}

_LP_SHAPES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "2x2": ((2, 3, 8, 10), {"kernel_size": 2}),
    "3x2_stride1": ((1, 3, 7, 39), {"kernel_size": (3, 2), "stride": 1}),
    "3x3_stride2_ceil": ((1, 19, 8, 10), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "whole_plane": ((2, 3, 6, 7), {"kernel_size": (6, 7)}),
    "large_plane": ((1, 3, 9, 11), {"kernel_size": (9, 11)}),
    "padding": ((2, 3, 7, 8), {"kernel_size": (3, 2), "stride": 2, "padding": 1}),
    "asymmetric": ((1, 5, 7, 21), {"kernel_size": 3, "stride": 1, "padding": ((2, 0), (1, 2))}),
    "asymmetric_ceil": ((1, 3, 7, 8), {"kernel_size": 3, "stride": 2, "padding": ((1, 0), (2, 2)), "ceil_mode": True}),
    "batch0": ((0, 3, 6, 7), {"kernel_size": 2}),
    "unbatched": ((3, 6, 7), {"kernel_size": 2}),
}

_ADAPTIVE_SHAPES: dict[str, tuple[Shape, Any]] = {
    "one": ((2, 3, 6, 7), 1),
    "half": ((1, 19, 8, 10), (4, 5)),
    "uneven": ((2, 3, 13, 37), (5, 7)),
    "one_axis_uneven": ((1, 3, 8, 10), (4, 3)),
    "of_the_input": ((1, 3, 5, 6), None),
    "height_of_the_input": ((1, 3, 5, 6), (None, 4)),
    "larger": ((1, 3, 3, 4), (7, 5)),
    "long_windows": ((1, 2, 3, 211), (2, 3)),
    "batch0": ((0, 3, 6, 7), (4, 3)),
    "unbatched": ((3, 6, 7), 4),
}

_UNPOOL_SHAPES: dict[str, tuple[Shape, int, dict[str, Any]]] = {
    "2x2": ((2, 3, 4, 5), 80, {"kernel_size": 2}),
    "3x3_stride2_padding1": ((1, 5, 8, 34), 15 * 67, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "output_size": ((2, 3, 4, 5), 99, {"kernel_size": 2, "output_size": (9, 11)}),
    "output_shape": ((2, 3, 4, 5), 63, {"kernel_size": 2, "output_size": (2, 3, 7, 9)}),
    "asymmetric": ((1, 3, 4, 5), 54, {"kernel_size": 2, "padding": ((1, 1), (0, 1))}),
    "batch0": ((0, 3, 4, 5), 80, {"kernel_size": 2}),
    "unbatched": ((3, 4, 5), 80, {"kernel_size": 2}),
}


def _max(dtype: str) -> Iterator[Case]:
    def case(label: str, shape: str = "3x3_stride2_padding1", indices: bool = True, **fields: Any) -> Case:
        size, parameters = _MAX_SHAPES[shape]
        label = f"indices-{label}" if indices else label
        parameters = {**parameters, "return_indices": indices}
        return Case(f"max_pool2d-{label}-{dtype}", "max_pool2d", dtype, size, parameters=parameters, **fields)

    for indices in (False, True):
        for shape in _MAX_SHAPES:
            yield case(shape, shape, indices)
        for shape in ("2x2", "3x3_stride2_padding1", "dilation2x1_padding"):
            for layout in LAYOUTS:
                yield case(f"{layout}-{shape}", shape, indices, layout=layout)
        for shape in ("2x2_whole_vectors", "40_channels"):
            yield case(f"channels_last-{shape}", shape, indices, layout="channels_last")
            for values in ("many_nan", "minus_inf"):
                yield case(f"{values}-{shape}", shape, indices, values=values)
        for shape in ("2x2", "3x3_stride2_padding1", "dilation2x1_padding"):
            for values in ("ties", "few_nan", "many_nan", "infinities", "special", "denormal", "minus_inf"):
                yield case(f"{values}-{shape}", shape, indices, values=values)
        for values in ("ties", "many_nan", "infinities", "minus_inf"):
            yield case(f"{values}-ceil_padding", "ceil_padding", indices, values=values)
            yield case(f"{values}-asymmetric_above_half", "asymmetric_above_half", indices, values=values)
        for out in ("contiguous", "strided"):
            for shape in ("2x2", "3x3_stride2_padding1", "unbatched", "batch0"):
                yield case(f"out_{out}-{shape}", shape, indices, out=out)


def _avg(dtype: str) -> Iterator[Case]:
    def case(
        label: str, shape: str = "3x3_stride2_padding1", more: dict[str, Any] | None = None, **fields: Any
    ) -> Case:
        size, parameters = _AVG_SHAPES[shape]
        return Case(
            f"avg_pool2d-{label}-{dtype}",
            "avg_pool2d",
            dtype,
            size,
            parameters={**parameters, **(more or {})},
            **fields,
        )

    for shape, (_, parameters) in _AVG_SHAPES.items():
        yield case(shape, shape)
        if "padding" in parameters:
            yield case(f"padding_not_counted-{shape}", shape, {"count_include_pad": False})
    for divisor in (1, 7, -3):
        yield case(f"divisor{divisor}", "ceil_padding", {"divisor_override": divisor})
    for shape in ("2x2", "3x3_stride2_padding1", "whole_plane"):
        for layout in LAYOUTS:
            yield case(f"{layout}-{shape}", shape, {"count_include_pad": False}, layout=layout)
        for values in ("few_nan", "infinities", "denormal", "ties"):
            yield case(f"{values}-{shape}", shape, values=values)
    for shape in ("asymmetric_ceil", "above_the_input", "whole_large_plane", "2x2_whole_vectors", "40_channels"):
        yield case(f"channels_last-{shape}", shape, layout="channels_last")
    for out in ("contiguous", "strided"):
        for shape in ("2x2", "3x3_stride2_padding1", "unbatched", "batch0"):
            yield case(f"out_{out}-{shape}", shape, out=out)
        yield case(f"out_{out}-channels_last", layout="channels_last", out=out)


def _lp(dtype: str) -> Iterator[Case]:
    def case(label: str, shape: str, norm: float, **fields: Any) -> Case:
        size, parameters = _LP_SHAPES[shape]
        parameters = {"norm_type": norm, **parameters}
        return Case(f"lp_pool2d-{label}-{dtype}", "lp_pool2d", dtype, size, parameters=parameters, **fields)

    for shape in _LP_SHAPES:
        yield case(f"1-{shape}", shape, 1)
        yield case(f"2-{shape}", shape, 2)
        for norm in (3, 0.5, -2):
            yield case(f"{norm}-{shape}", shape, norm, values="positive")
    for layout in LAYOUTS:
        yield case(f"2-{layout}", "3x3_stride2_ceil", 2, layout=layout)
        yield case(f"2-{layout}-asymmetric_ceil", "asymmetric_ceil", 2, layout=layout)
        yield case(f"1.5-{layout}", "3x3_stride2_ceil", 1.5, layout=layout, values="positive")
    for out in ("contiguous", "strided"):
        yield case(f"2-out_{out}", "3x3_stride2_ceil", 2, out=out)
        yield case(f"3-out_{out}", "3x3_stride2_ceil", 3, out=out, values="positive")
    yield case("2-few_nan", "2x2", 2, values="few_nan")
    yield case("2-few_inf", "2x2", 2, values="few_inf")
    yield case("3-of_negatives", "2x2", 3, values="few_nan")  # roots of negative sums are NaN


def _adaptive(op: str, dtype: str) -> Iterator[Case]:
    def case(label: str, shape: str = "uneven", indices: bool = False, **fields: Any) -> Case:
        size, output_size = _ADAPTIVE_SHAPES[shape]
        parameters = {"output_size": output_size, **({"return_indices": True} if indices else {})}
        label = f"indices-{label}" if indices else label
        return Case(f"{op}-{label}-{dtype}", op, dtype, size, parameters=parameters, **fields)

    for indices in (False, True) if op == "adaptive_max_pool2d" else (False,):
        for shape in _ADAPTIVE_SHAPES:
            yield case(shape, shape, indices)
        for layout in LAYOUTS:
            yield case(f"{layout}-uneven", indices=indices, layout=layout)
        yield case("channels_last-one", "one", indices, layout="channels_last")
        yield case("channels_last-half", "half", indices, layout="channels_last")
        for values in ("few_nan", "infinities", *(("ties", "many_nan", "minus_inf") if "max" in op else ())):
            yield case(f"{values}-uneven", indices=indices, values=values)
        for out in ("contiguous", "strided"):
            yield case(f"out_{out}-uneven", indices=indices, out=out)
            yield case(f"out_{out}-unbatched", "unbatched", indices, out=out)


def _unpool(dtype: str) -> Iterator[Case]:
    def case(label: str, shape: str = "2x2", **fields: Any) -> Case:
        size, places, parameters = _UNPOOL_SHAPES[shape]
        name = f"max_unpool2d-{label}-{dtype}"
        return Case(name, "max_unpool2d", dtype, size, parameters=parameters, places=places, **fields)

    for shape in _UNPOOL_SHAPES:
        yield case(shape, shape)
    for layout in LAYOUTS:
        yield case(f"{layout}-2x2", layout=layout)
        yield case(f"indices_{layout}-2x2", weight_layout=layout)
    yield case("special-2x2", values="special")
    for out in ("contiguous", "strided"):
        for shape in ("2x2", "output_size", "unbatched", "batch0"):
            yield case(f"out_{out}-{shape}", shape, out=out)


def pool_cases(dtype: str) -> Iterator[Case]:
    """All of them for one dtype."""
    yield from _max(dtype)
    yield from _avg(dtype)
    yield from _lp(dtype)
    yield from _adaptive("adaptive_avg_pool2d", dtype)
    yield from _adaptive("adaptive_max_pool2d", dtype)
    yield from _unpool(dtype)
