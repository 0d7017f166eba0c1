"""Random calls of every operation: what is drawn from a seed and a number can be drawn again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any
from zlib import crc32

import numpy as np
from guarded import guarded

import pyconv
import pyconv.functional as F
from pyconv.errors import PyconvError
from pyconv.plan import ACTIVATIONS
from pyconv.report import function_call
from pyconv.testing import LAYOUTS, Case

WORK = 4e6
"""Multiply-adds or comparisons of a call at most: the reference is no quick one."""


class Guarded(Case):
    """A case whose arrays lie beside forbidden pages."""

    def arguments(self) -> dict[str, Any]:
        at_end = bool(crc32(self.name.encode()) & 1)
        case = replace(self, values="normal") if 0 in self.shape else self  # no element may be another
        return {
            name: guarded(value, at_end) if isinstance(value, np.ndarray) else value
            for name, value in Case.arguments(case).items()
        }


class Draw:
    """What a call is drawn with."""

    def __init__(self, seed: int, op: str, number: int) -> None:
        self.rng = np.random.default_rng((seed, crc32(op.encode()), number))
        self.name = f"{op}-{seed}-{number}"
        self.op = op

    def one(self, *values: Any) -> Any:
        """One of ``values``; one that is given twice comes twice as often."""
        return values[int(self.rng.integers(len(values)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def dtype(self) -> str:
        return self.one("float32", "float32", "float64")

    def layout(self) -> str:
        """Every other time as most arrays are, else any."""
        return self.one("contiguous", "contiguous", "channels_last", self.one(*LAYOUTS))

    def out(self) -> str:
        return self.one("", "", "", "contiguous", "strided")

    def extra(self) -> int:
        """How many pixels more than one window has."""
        return self.one(0, 0, 1, 2, 3, 5, 7, 8, 14, 15, 16, 17, 29, 31, 32, 33, 48, 63)

    def pads(self, most: list[int]) -> tuple[tuple[int, int], ...]:
        if self.chance(0.3):
            return ((0, 0),) * len(most)
        if self.chance(0.5):
            return tuple((same, same) for same in (self.between(0, limit) for limit in most))
        return tuple((self.between(0, limit), self.between(0, limit)) for limit in most)

    def size(self, spans: list[int], pads: tuple[tuple[int, int], ...]) -> list[int]:
        """Of an image that a window of ``spans`` fits into: often just, often whole pages, sometimes a line."""
        if len(spans) == 2 and self.chance(0.15):
            return list(self.one((32, 32), (64, 16), (16, 64), (32, 64), (64, 64)))
        least = [max(1, span - sum(pad)) for span, pad in zip(spans, pads, strict=True)]
        sizes = [small + self.extra() for small in least]
        if self.chance(0.1):
            sizes[-1] = least[-1]
        if self.chance(0.1):
            sizes[0] = least[0]
        return sizes

    def batch(self) -> tuple[int, ...]:
        return self.one((1,), (1,), (1,), (2,), (3,), (), (0,) if self.chance(0.2) else (1,))


def convolution(draw: Draw) -> Case:
    """A call of a convolution or a transposed one, in one or two dimensions."""
    axes, transposed = int(draw.op[-2]), "transpose" in draw.op
    groups, ins, outs = (
        1,
        draw.one(1, 1, 2, 3, 4, 8, 16, 17, 32, 33, 64, 128),
        draw.one(1, 1, 2, 3, 4, 7, 16, 17, 33, 64),
    )
    if draw.chance(0.15):
        groups, ins, outs = draw.one(2, 3, 4, 8), draw.one(1, 2, 3, 4, 8, 17), draw.one(1, 2, 3, 4, 7, 16)
    elif draw.chance(0.1):
        groups, ins = draw.one(1, 2, 4, 8, 9, 16), draw.one(2, 4, 8)
        outs = ins
    elif draw.chance(0.2):
        groups, ins, outs = draw.one(1, 2, 3, 5, 8, 16, 17, 40), 1, draw.one(1, 1, 1, 2)
    kernel = [draw.one(1, 2, 3, 3, 3, 4, 5, 7, draw.one(1, 6, 8, 9, 11, 15, 21)) for _ in range(axes)]
    stride = [draw.one(1, 1, 1, 2, 2, 3, 4, draw.one(5, 7, 9)) for _ in range(axes)]
    dilation = [draw.one(1, 1, 1, 1, 2, draw.one(3, 4, 6)) for _ in range(axes)]
    if draw.chance(0.5):
        kernel, stride, dilation = ([some[0]] * axes for some in (kernel, stride, dilation))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = draw.pads([min(span, 6) if not draw.chance(0.03) else span + 20 for span in spans])
    parameters: dict[str, Any] = {"stride": tuple(stride), "padding": pads, "dilation": tuple(dilation)}
    if transposed:
        size = [draw.one(1, 2, 3, 5, 8, 14, 16, 17, 32, 33, 40) for _ in range(axes)]
        size = list(draw.one((32, 32), (64, 16), (16, 64))) if axes == 2 and draw.chance(0.15) else size
        most = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
        parameters["output_padding"] = tuple(draw.between(0, limit) if draw.chance(0.5) else 0 for limit in most)
        weight = (groups * ins, outs, *kernel)
    else:
        size = draw.size(spans, pads)
        weight = (groups * outs, ins, *kernel)
        if draw.chance(0.05) and max(stride) == 1:
            parameters["padding"] = "same"
    parameters["groups"] = groups
    algorithm = draw.one(None, None, "direct", "direct", "fft", draw.one("winograd", "winograd_2", "winograd_4"))
    if algorithm and axes == 2:
        parameters["algorithm"] = algorithm
    values = draw.one("normal", "normal", "normal", "ties", "few_nan", "one_nan", "one_inf", "infinities", "denormal")
    if algorithm == "direct" and draw.chance(0.2):
        values = "wide"
    factors = "normal" if draw.chance(0.85) else draw.one("few_nan", "few_inf", "denormal", "ties")
    if "denormal" in (values, factors):  # may count as zero, and with an infinity it matters
        values, factors = (kind if kind == "denormal" else "normal" for kind in (values, factors))
    return Guarded(
        draw.name,
        draw.op,
        draw.dtype(),
        (*draw.batch(), groups * ins, *size),
        weight,
        draw.chance(0.6),
        parameters,
        values,
        factors,
        draw.layout(),
        draw.layout(),
        draw.out(),
    )


def _call(draw: Draw, shape: tuple[int, ...], parameters: dict[str, Any], values: str) -> Case:
    """A call without weights, of any dtype, layout and ``out``."""
    return Guarded(
        draw.name,
        draw.op,
        draw.dtype(),
        shape,
        parameters=parameters,
        values=values,
        layout=draw.layout(),
        out=draw.out(),
    )


def pooling(draw: Draw) -> Case:
    """A call of a pooling by windows."""
    axes = int(draw.op[-2])
    kernel = [draw.one(1, 2, 2, 3, 3, 4, 5, 6, 7, draw.one(9, 13, 17, 31)) for _ in range(axes)]
    stride = [draw.one(1, 1, 2, 2, 3, 4) for _ in range(axes)]
    dilation = [draw.one(1, 1, 2, 3) if "max" in draw.op and draw.chance(0.3) else 1 for _ in range(axes)]
    if draw.chance(0.5):
        kernel, stride, dilation = ([some[0]] * axes for some in (kernel, stride, dilation))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = draw.pads([min(span - 1, 8) if draw.chance(0.2) else k // 2 for span, k in zip(spans, kernel, strict=True)])
    parameters: dict[str, Any] = {"kernel_size": tuple(kernel), "padding": pads, "ceil_mode": draw.chance(0.4)}
    if draw.chance(0.8):
        parameters["stride"] = tuple(stride)
    values = draw.one("normal", "normal", "ties", "few_nan", "infinities", "denormal")
    if draw.op.startswith("max"):
        parameters.update(dilation=tuple(dilation), return_indices=draw.chance(0.5))
        values = draw.one(values, "ties", "few_nan", "many_nan", "minus_inf", "special", "huge")
    elif draw.op.startswith("avg"):
        parameters["count_include_pad"] = draw.chance(0.5)
        if axes == 2 and draw.chance(0.3):
            parameters["divisor_override"] = draw.one(1, 7, -3)
    else:
        parameters["norm_type"] = draw.one(1, 2, 2, 3, 0.5, inf)
        values = "positive" if parameters["norm_type"] in (3, 0.5) else draw.one("normal", "few_nan", "few_inf")
    channels = draw.one(1, 2, 3, 7, 8, 15, 16, 17, 33)
    shape = (*draw.batch(), channels, *draw.size(spans, pads))
    return _call(draw, shape, parameters, values)


def adaptive(draw: Draw) -> Case:
    """A call of a pooling to a given size."""
    axes = int(draw.op[-2])
    size = [draw.one(1, 2, 3, 5, 7, 8, 14, 16, 17, 31, 32, 33, 50) for _ in range(axes)]
    wanted = [draw.one(1, 1, 2, 3, 5, 7, length, draw.between(1, length + 3)) for length in size]
    parameters: dict[str, Any] = {"output_size": tuple(wanted)}
    values = draw.one("normal", "normal", "ties", "few_nan", "infinities")
    if "max" in draw.op:
        parameters["return_indices"] = draw.chance(0.5)
        values = draw.one(values, "many_nan", "minus_inf", "special")
    shape = (*draw.batch(), draw.one(1, 2, 3, 8, 16, 17, 40), *size)
    return _call(draw, shape, parameters, values)


def unpooling(draw: Draw) -> Case:
    """A call of a max unpooling."""
    axes = int(draw.op[-2])
    kernel, size = [draw.one(1, 2, 3, 4) for _ in range(axes)], [draw.one(1, 2, 3, 7, 16, 17) for _ in range(axes)]
    places = int(np.prod([k * n for k, n in zip(kernel, size, strict=True)]))
    return Guarded(
        draw.name,
        draw.op,
        draw.dtype(),
        (*draw.batch(), draw.one(1, 2, 3, 17), *size),
        parameters={"kernel_size": tuple(kernel)},
        values=draw.one("normal", "special"),
        layout=draw.layout(),
        weight_layout=draw.layout(),
        out=draw.out(),
        places=places,
    )


def _any_shape(draw: Draw) -> tuple[int, ...]:
    """Of one to four axes; with a long one, and sometimes an empty one."""
    shape = [draw.one(1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17) for _ in range(draw.between(1, 4))]
    place = draw.between(0, len(shape) - 1)
    shape[place] = draw.one(draw.between(1, 70), draw.between(1, 300), 1000, 1024, 4097)
    if draw.chance(0.02):
        shape[place] = 0
    while np.prod(shape) > 60_000:
        shape[int(np.argmax([n if i != place else 0 for i, n in enumerate(shape)]))] = 1
    return tuple(shape)


def activation(draw: Draw) -> Case:
    """A call of an elementwise activation, of prelu or of batch_norm."""
    op = draw.one(*(op for op, entry in ACTIVATIONS.items() if entry.layer), "gelu", "prelu", "batch_norm")
    shape, out = _any_shape(draw), draw.one("", "", "contiguous", "strided", "input")
    layout = draw.layout() if out != "input" else draw.one("contiguous", "channels_last", "gaps", "reversed", "window")
    fields: dict[str, Any] = {"parameters": {"threshold": {"threshold": 0.1, "value": 20.0}}.get(op, {})}
    if op == "gelu" and draw.chance(0.5):
        fields["parameters"] = {"approximate": "tanh"}
    if op == "softplus":
        fields["parameters"] = {"beta": draw.one(1.0, 0.5, -1.0, -3.0)}
    values = draw.one("normal", "wide", "special", "denormal", "few_nan", "infinities")
    if op in ("prelu", "batch_norm"):
        shape = tuple(length or 1 for length in (shape if len(shape) > 1 else (2, *shape)))
        fields.update(weight_shape=(shape[1],), bias=op == "batch_norm", channels=shape[1] if op == "batch_norm" else 0)
        fields["weight_layout"] = draw.layout()
        values = draw.one("normal", "few_nan", "infinities", "denormal")
    return Guarded(draw.name, op, draw.dtype(), shape, values=values, layout=layout, out=out, **fields)


def axis(draw: Draw) -> Case:
    """A call of one of the softmax family or of glu."""
    op, shape = draw.one("softmax", "softmax", "softmin", "log_softmax", "log_softmax", "glu"), _any_shape(draw)
    dim, out = draw.between(-len(shape), len(shape) - 1), draw.one("", "", "contiguous", "strided", "input")
    if op == "glu":
        shape = tuple(2 * n if i == dim % len(shape) else n for i, n in enumerate(shape))
        out = "" if out == "input" else out
    layout = draw.layout() if out != "input" else draw.one("contiguous", "channels_last", "gaps", "reversed", "window")
    values = draw.one("normal", "wide", "few_nan", "few_inf", "infinities", "minus_inf", "denormal", "huge", "ties")
    return Guarded(draw.name, op, draw.dtype(), shape, parameters={"dim": dim}, values=values, layout=layout, out=out)


def windows(draw: Draw) -> Case:
    """A call of unfold, or of fold with the columns that unfold would make."""
    kernel, stride, dilation = ([draw.one(1, 2, 3, 4) for _ in range(2)] for _ in range(3))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = draw.pads(spans)
    size, batch = draw.size(spans, pads), draw.batch()
    channels = draw.one(1, 2, 3, 8)
    parameters = {"kernel_size": tuple(kernel), "stride": tuple(stride), "dilation": tuple(dilation), "padding": pads}
    shape: tuple[int, ...] = (*batch, channels, *size)
    if draw.op == "fold":
        counts = [(n + sum(pad) - span) // s + 1 for n, pad, span, s in zip(size, pads, spans, stride, strict=True)]
        shape = (*batch, channels * kernel[0] * kernel[1], counts[0] * counts[1])
        parameters["output_size"] = tuple(size)
    values = draw.one("normal", "few_nan", "infinities", "denormal")
    return _call(draw, shape, parameters, values)


def with_residual(draw: Draw) -> Case:
    """A convolution that something is added to, in place or not."""
    draw.op = "conv2d"
    case = convolution(draw)
    call, _ = function_call(F.conv2d, (), case.arguments())
    shape = call.plan.out_shape if len(case.shape) == 4 else call.plan.out_shape[1:]
    out = draw.one("", "contiguous", "strided", "residual")
    layout = draw.layout() if out != "residual" else draw.one("contiguous", "channels_last", "gaps", "window")
    return replace(case, residual_shape=tuple(shape), residual_layout=layout, out=out)


def layer(draw: Draw) -> Case:
    """A convolution for a layer, which keeps its weights and so may choose another algorithm: often 3x3, and wide."""
    draw.op = draw.one(
        "conv2d", "conv2d", "conv2d", "conv_transpose2d", "conv_transpose2d", "conv1d", "conv_transpose1d"
    )
    case = replace(convolution(draw), weight_layout="contiguous", out="")
    if draw.op == "conv2d" and draw.chance(0.5):
        groups, ins, outs = draw.one(1, 1, 1, 2), draw.one(16, 24, 32, 48, 64, 65), draw.one(16, 24, 32, 48, 64, 65)
        pads = draw.pads([2, 2])
        size = draw.size([3, 3], pads)
        parameters = {"stride": 1, "padding": pads, "dilation": 1, "groups": groups}
        shape, weight_shape = (*draw.batch(), groups * ins, *size), (groups * outs, ins, 3, 3)
        return replace(case, shape=shape, weight_shape=weight_shape, parameters=parameters)
    return case


CASES: dict[str, Callable[[Draw], Case]] = {
    **{f"{kind}{axes}d": convolution for kind in ("conv", "conv_transpose") for axes in (2, 1)},
    "residual": with_residual,
    "layer": layer,
    **{f"{kind}_pool{axes}d": pooling for kind in ("max", "avg", "lp") for axes in (2, 1)},
    **{f"adaptive_{kind}_pool{axes}d": adaptive for kind in ("max", "avg") for axes in (2, 1)},
    **{f"max_unpool{axes}d": unpooling for axes in (2, 1)},
    "activation": activation,
    "axis": axis,
    "unfold": windows,
    "fold": windows,
}
"""What can be drawn as a case of the conformance kit."""


def _work(case: Case) -> float:
    """About how much the reference has to do."""
    size = float(np.prod(case.shape))
    if case.op.startswith("conv"):
        return (
            size
            * float(np.prod(case.weight_shape[1:]))
            * (1 if "transpose" in case.op else case.weight_shape[0])
            / (case.parameters["groups"])
        )
    return size * float(np.prod(case.parameters.get("kernel_size", 1)))


def drawn(op: str, seed: int, number: int) -> Case | None:
    """The case of this number, or None if such a call is refused or too much work."""
    try:
        case = CASES[op](Draw(seed, op, number))
        if _work(case) > (10 * WORK if op == "layer" else WORK):
            return None
        function_call(getattr(F, case.op), (), case.arguments())
    except PyconvError:
        return None
    return case


def draw_stack(draw: Draw) -> tuple[list[Any], np.ndarray]:
    """Layers that a Sequential may run as one, and an input."""
    dtype, groups = draw.dtype(), draw.one(1, 1, 1, 1, 2, 3)
    ins, outs = groups * draw.one(1, 2, 3, 8, 16, 17, 64), groups * draw.one(1, 2, 4, 6, 8, 16, 17, 32, 64)
    if draw.chance(0.2):
        groups = ins = outs = draw.one(1, 3, 8, 17, 32)
    kernel = [draw.one(1, 2, 3, 3, 3, 5, 7)] * 2 if draw.chance(0.8) else [draw.one(1, 3, 5), draw.one(1, 3, 5, 5)]
    stride, dilation, pads = draw.one(1, 1, 1, 2, 3), draw.one(1, 1, 1, 2), draw.one(0, 1, 1, 2, 3)
    size = [max(1, dilation * (taps - 1) + 1 - 2 * pads) + draw.extra() for taps in kernel]
    if draw.chance(0.1):
        size = list(draw.one((32, 32), (64, 16)))

    def activations() -> list[Any]:
        made: list[Any] = [pyconv.ReLU(), pyconv.ReLU(), pyconv.ReLU6(), pyconv.SiLU(), pyconv.GELU(), pyconv.Sigmoid()]
        made += [pyconv.LeakyReLU(0.2), pyconv.Hardswish(), pyconv.Tanh(), pyconv.ELU(), pyconv.ReLU(inplace=True)]
        return [draw.one(*made)] if draw.chance(0.7) else []

    def poolings() -> list[Any]:
        window = [draw.one(1, 2, 2, 3, 3, 5) for _ in range(2)]
        if draw.chance(0.6):
            window = [window[0]] * 2
        step = [draw.one(1, 2, 2, 3, draw.one(4, 9)) for _ in range(2)]
        edge = tuple(draw.between(0, k // 2) if draw.chance(0.4) else 0 for k in window)
        ceil = draw.chance(0.3)
        if draw.chance(0.5):
            return [pyconv.MaxPool2d(tuple(window), tuple(step), edge, draw.one(1, 1, 1, 2), ceil_mode=ceil)]
        divisor = draw.one(None, None, 3)
        return [pyconv.AvgPool2d(tuple(window), tuple(step), edge, ceil, draw.chance(0.5), divisor)]

    def convolved(ins: int, outs: int, *parameters: Any) -> Any:
        return pyconv.Conv2d(ins, outs, *parameters, draw.chance(0.7), dtype=dtype, rng=draw.between(0, 9))

    def normalised() -> list[Any]:
        layer = pyconv.BatchNorm2d(outs, dtype=dtype)
        for name in ("running_mean", "running_var", "weight", "bias"):
            numbers = draw.rng.standard_normal(outs).astype(dtype)
            setattr(layer, name, numbers**2 + 0.1 if name == "running_var" else numbers)
        return [layer] if draw.chance(0.15) else []

    layers = [convolved(ins, outs, tuple(kernel), stride, pads, dilation, groups), *normalised(), *activations()]
    layers += poolings() if draw.chance(0.8) else []
    if draw.chance(0.4):
        width = draw.one(1, 3, 16)
        layers += [convolved(outs, width, draw.one(1, 3), 1, 1, 1, 1), *activations()]
        layers += poolings() if draw.chance(0.5) else []
    x = draw.rng.standard_normal((*draw.batch(), ins, *size)).astype(dtype)
    if x.size and draw.chance(0.2):
        row = size[0] - 1 if draw.chance(0.3) else draw.between(0, size[0] - 1)
        x[..., row, draw.between(0, size[1] - 1)].flat[0] = draw.one(np.nan, np.inf, -np.inf)
    return layers, guarded(LAYOUTS[draw.layout()](x), draw.chance(0.5))
