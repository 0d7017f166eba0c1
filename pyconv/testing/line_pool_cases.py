"""Cases of pooling lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .case import Case, Shape
from .data import LAYOUTS

__all__ = ["line_pool_cases"]

_SHAPES: dict[str, tuple[Shape, dict[str, Any]]] = {
    "2": ((2, 3, 10), {"kernel_size": 2}),
    "3_stride2_padding1": ((1, 5, 67), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "5_stride1": ((1, 19, 33), {"kernel_size": (5,), "stride": [1], "padding": (2,)}),
    "asymmetric": ((1, 3, 17), {"kernel_size": 4, "stride": 3, "padding": ((3, 1),)}),
    "ceil": ((1, 3, 12), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "asymmetric_ceil": ((1, 3, 12), {"kernel_size": 3, "stride": 3, "padding": ((2, 0),), "ceil_mode": True}),
    "whole_line": ((2, 3, 41), {"kernel_size": 41}),
    "batch0": ((0, 3, 7), {"kernel_size": 2}),
    "unbatched": ((3, 9), {"kernel_size": 2}),
}
_DILATED: tuple[Shape, dict[str, Any]] = ((1, 3, 19), {"kernel_size": 3, "stride": 1, "dilation": 2, "padding": 2})

_ADAPTIVE: dict[str, tuple[Shape, Any]] = {
    "one": ((2, 3, 7), 1),
    "uneven": ((2, 19, 37), 7),
    "of_the_input": ((1, 3, 6), None),
    "larger": ((1, 3, 4), (5,)),
    "unbatched": ((3, 7), 4),
}


def _windows(op: str, dtype: str, first: dict[str, Any], **fields: Any) -> Iterator[Case]:
    """``op`` with the parameters ``first`` over all shapes, layouts and kinds of results."""

    def case(label: str, shape: str, **more: Any) -> Case:
        size, parameters = _SHAPES[shape]
        tag = "-".join([op, *("indices" for name in first if name == "return_indices"), label, dtype])
        return Case(tag, op, dtype, size, parameters={**first, **parameters}, **{**fields, **more})

    for shape in _SHAPES:
        yield case(shape, shape)
    for shape in ("5_stride1", "unbatched"):
        for layout in LAYOUTS:
            yield case(f"{layout}-{shape}", shape, layout=layout)
        for out in ("contiguous", "strided"):
            yield case(f"out_{out}-{shape}", shape, out=out)
    for values in ("few_nan", "infinities", "ties"):
        yield case(f"{values}-asymmetric_ceil", "asymmetric_ceil", values=values)


def _adaptive(op: str, dtype: str, indices: bool) -> Iterator[Case]:
    for shape, (size, output_size) in _ADAPTIVE.items():
        parameters = {"output_size": output_size, **({"return_indices": True} if indices else {})}
        for layout in ("contiguous", "channels_last"):
            label = "-".join([op, *["indices"] * indices, layout, shape, dtype])
            yield Case(label, op, dtype, size, parameters=parameters, layout=layout)


def _unpool(dtype: str) -> Iterator[Case]:
    for label, shape, places, more in (
        ("2", (2, 3, 5), 10, {}),
        ("output_size", (1, 3, 5), 11, {"output_size": [11]}),
        ("asymmetric", (1, 3, 5), 8, {"padding": ((2, 0),)}),
        ("unbatched", (3, 5), 10, {}),
    ):
        for layout in ("contiguous", "channels_last", "gaps"):
            parameters = {"kernel_size": 2, **more}
            name = f"max_unpool1d-{layout}-{label}-{dtype}"
            yield Case(name, "max_unpool1d", dtype, shape, parameters=parameters, layout=layout, places=places)


def line_pool_cases(dtype: str) -> Iterator[Case]:
    """All of them for one dtype."""
    yield from _windows("max_pool1d", dtype, {})
    yield from _windows("max_pool1d", dtype, {"return_indices": True})
    for indices in (False, True):
        size, parameters = _DILATED
        more, tag = ({"return_indices": True}, "indices-") if indices else ({}, "")
        yield Case(f"max_pool1d-{tag}dilation-{dtype}", "max_pool1d", dtype, size, parameters={**parameters, **more})
    yield from _windows("avg_pool1d", dtype, {})
    size, parameters = _SHAPES["asymmetric_ceil"]
    parameters = {**parameters, "count_include_pad": False}
    yield Case(f"avg_pool1d-padding_not_counted-{dtype}", "avg_pool1d", dtype, size, parameters=parameters)
    yield from _windows("lp_pool1d", dtype, {"norm_type": 2})
    yield from _adaptive("adaptive_avg_pool1d", dtype, indices=False)
    yield from _adaptive("adaptive_max_pool1d", dtype, indices=False)
    yield from _adaptive("adaptive_max_pool1d", dtype, indices=True)
    yield from _unpool(dtype)
