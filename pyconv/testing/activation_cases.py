"""Cases of the activations: the table's, prelu, and those along an axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..plan import ACTIVATIONS, AXIS_OPS
from .case import Case, Shape
from .data import LAYOUTS

__all__ = ["activation_cases"]

_ARRAY_SHAPES: dict[str, Shape] = {
    "0d": (),
    "1": (1,),
    "7": (7,),
    "1031": (1031,),
    "image": (2, 3, 5, 7),
    "empty": (3, 0, 2),
}


def _activation(op: str, dtype: str, parameters: Mapping[str, Any], label: str = "") -> Iterator[Case]:
    """What every elementwise function is held to."""

    def case(what: str, shape: str, **fields: Any) -> Case:
        return Case(f"{op}-{label}{what}-{dtype}", op, dtype, _ARRAY_SHAPES[shape], parameters=parameters, **fields)

    for shape in _ARRAY_SHAPES:
        yield case(shape, shape)
    for out in ("contiguous", "strided", "input"):
        yield case(f"out_{out}-7", "7", out=out)
        yield case(f"out_{out}-image", "image", out=out)
    for values in ("wide", "special", "denormal", "minus_inf", "huge"):
        yield case(f"{values}-1031", "1031", values=values)
    for layout in ("channels_last", "gaps", "byte_swapped"):
        yield case(f"{layout}-image", "image", layout=layout, values="wide")


def _activation_thoroughly(op: str, dtype: str) -> Iterator[Case]:
    """Every layout, for a few functions: the others go through the same code."""

    def case(label: str, shape: str, **fields: Any) -> Case:
        return Case(f"{op}-{label}-{dtype}", op, dtype, _ARRAY_SHAPES[shape], **fields)

    for shape in ("0d", "1", "1031", "empty"):
        for out in ("contiguous", "input") if shape in ("0d", "1") else ("contiguous", "strided", "input"):
            yield case(f"out_{out}-{shape}", shape, out=out)
    for values in ("wide", "special", "denormal", "minus_inf", "huge"):
        yield case(f"{values}-image", "image", values=values)
    for layout in LAYOUTS:
        if layout not in ("channels_last", "gaps", "byte_swapped"):
            yield case(f"{layout}-image", "image", layout=layout, values="wide")
        yield case(f"{layout}-1031", "1031", layout=layout, values="wide")
    for layout in ("channels_last", "fortran", "transposed", "reversed", "gaps", "window", "unaligned"):
        yield case(f"out_input-{layout}", "image", layout=layout, out="input")


_FURTHER_PARAMETERS: dict[str, tuple[dict[str, Any], ...]] = {
    "leaky_relu": ({"negative_slope": -0.3},),
    "elu": ({"alpha": 0.3}, {"alpha": -1.5}, {"alpha": 0.0}),
    "celu": ({"alpha": 2.5},),
    "gelu": ({"approximate": "tanh"},),
    "hardtanh": ({"min_val": 0.25, "max_val": 0.25}, {"min_val": -np.inf, "max_val": 0.5}),
    "hardshrink": ({"lambd": 0.0}, {"lambd": -1.0}),
    "softshrink": ({"lambd": 0.0},),
    "softplus": ({"beta": 0.3, "threshold": 1.0}, {"beta": 7.0}),
    "threshold": ({"threshold": -0.1, "value": np.inf},),
}
_NEEDED_PARAMETERS: dict[str, dict[str, Any]] = {"threshold": {"threshold": 0.1, "value": 20.0}}


def _activations(dtype: str) -> Iterator[Case]:
    for op, entry in ACTIVATIONS.items():
        if entry.layer or op == "gelu":
            yield from _activation(op, dtype, _NEEDED_PARAMETERS.get(op, {}))
        for number, parameters in enumerate(_FURTHER_PARAMETERS.get(op, ())):
            yield from _activation(op, dtype, parameters, f"parameters{number + 1}-")
    for op in ("relu", "sigmoid", "tanh"):
        yield from _activation_thoroughly(op, dtype)


_PRELU_SHAPES: dict[str, tuple[Shape, Shape]] = {
    "one": ((2, 3, 5, 7), (1,)),
    "image": ((2, 3, 5, 7), (3,)),
    "matrix": ((5, 33), (33,)),
    "line": ((7,), (1,)),
    "0d": ((), (1,)),
    "planes": ((1, 3, 35, 37), (3,)),
    "small_planes": ((2, 70, 3, 2), (70,)),
    "large": ((1, 5, 130, 131), (5,)),
    "batch0": ((0, 3, 2), (3,)),
}


def _prelu(dtype: str) -> Iterator[Case]:
    def case(label: str, shape: str = "image", **fields: Any) -> Case:
        size, weight = _PRELU_SHAPES[shape]
        return Case(f"prelu-{label}-{dtype}", "prelu", dtype, size, weight, bias=False, **fields)

    for shape in _PRELU_SHAPES:
        yield case(shape, shape)
    for layout in LAYOUTS:
        yield case(f"{layout}-image", layout=layout, weight_layout=layout)
    for out in ("contiguous", "strided", "input"):
        yield case(f"out_{out}", out=out)
    yield case("out_input-channels_last", layout="channels_last", out="input")
    for values in ("special", "denormal", "huge"):
        yield case(values, values=values)


_AXIS_SHAPES: dict[str, tuple[Shape, int]] = {
    "last": ((3, 10), -1),
    "long": ((2, 1000), 1),
    "channels": ((2, 6, 5, 7), 1),
    "first": ((18, 5), 0),
    "middle": ((2, 4, 37), 1),
    "line": ((34,), 0),
    "of_two": ((5, 2), 1),
    "row": ((2, 2500), 1),
    "columns": ((12, 40), 0),
    "batch0": ((0, 4), 1),
}


def _axis(op: str, dtype: str) -> Iterator[Case]:
    def case(label: str, shape: str = "channels", dim: int | None = None, **fields: Any) -> Case:
        size, axis = _AXIS_SHAPES[shape]
        parameters = {"dim": axis if dim is None else dim}
        return Case(f"{op}-{label}-{dtype}", op, dtype, size, parameters=parameters, **fields)

    for shape in _AXIS_SHAPES:
        yield case(shape, shape)
        if shape not in ("batch0", "of_two"):
            yield case(f"wide-{shape}", shape, values="wide")
    yield case("from_the_end", dim=-3)
    for values in ("few_nan", "few_inf", "infinities", "minus_inf", "denormal", "huge"):
        yield case(f"{values}-last", "last", values=values)
        yield case(f"{values}-channels", values=values)
    for layout in LAYOUTS:
        yield case(f"{layout}-channels", layout=layout)
    for out in ("contiguous", "strided") if op == "glu" else ("contiguous", "strided", "input"):
        yield case(f"out_{out}-last", "last", out=out)
        yield case(f"out_{out}-channels", out=out)
        yield case(f"out_{out}-channels_last", out=out, layout="channels_last")
    if op != "glu":
        yield Case(f"{op}-0d-{dtype}", op, dtype, (), parameters={"dim": -1})
        yield Case(f"{op}-of_one-{dtype}", op, dtype, (3, 1, 2), parameters={"dim": 1})


def activation_cases(dtype: str) -> Iterator[Case]:
    """All of them for one dtype."""
    yield from _activations(dtype)
    yield from _prelu(dtype)
    for op in AXIS_OPS:
        yield from _axis(op, dtype)
