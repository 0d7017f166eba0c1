"""Cases of batch normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .case import Case, Shape
from .data import LAYOUTS

__all__ = ["norm_cases"]

_SHAPES: dict[str, Shape] = {
    "image": (2, 3, 5, 7),
    "odd": (1, 17, 9, 13),
    "one_channel": (3, 1, 6, 7),
    "one_pixel": (2, 33, 1, 1),
    "matrix": (5, 600),
    "line": (2, 3, 37),
    "volume": (2, 3, 2, 3, 5),
    "plane": (1, 2, 131, 67),
    "batch0": (0, 3, 4, 5),
}


def norm_cases(dtype: str) -> Iterator[Case]:
    """All of them for one dtype."""

    def case(label: str, shape: str = "image", affine: bool = True, **fields: Any) -> Case:
        size = _SHAPES[shape]
        weight = size[1:2] if affine else ()
        return Case(f"batch_norm-{label}-{dtype}", "batch_norm", dtype, size, weight, channels=size[1], **fields)

    for shape in _SHAPES:
        yield case(shape, shape)
        yield case(f"plain-{shape}", shape, affine=False)
    yield case("no_bias", bias=False)
    yield case("eps", parameters={"eps": 0.5})
    for layout in LAYOUTS:
        yield case(f"{layout}-image", layout=layout, weight_layout=layout)
    for layout in ("channels_last", "fortran", "gaps"):
        yield case(f"{layout}-odd", "odd", layout=layout)
        yield case(f"out_input-{layout}", layout=layout, out="input")
    for out in ("contiguous", "strided", "input"):
        yield case(f"out_{out}-image", out=out)
        yield case(f"out_{out}-odd", "odd", out=out, layout="channels_last")
    for values in ("special", "few_nan", "infinities", "denormal", "wide", "huge"):
        yield case(f"{values}-image", values=values)
    for values in ("few_nan", "few_inf", "denormal"):
        yield case(f"weight_{values}", weight_values=values)
