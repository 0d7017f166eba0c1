"""pyconv on a row: with the weights prepared once, as a layer has them, and as a user would write it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

import pyconv
import pyconv.functional as F
from pyconv import registry
from pyconv.errors import BackendError
from pyconv.plan import conv_parameters

from ..layer import Layer
from .entries import LAYOUTS, Entry, Exact, Numbers, half_dtype
from .rows import Row

__all__ = ["exact", "makers"]


def makers(row: Row, numbers: Numbers, device: Any) -> dict[str, Callable[[], Entry]]:
    """By name, what makes each entry; it raises where pyconv cannot do it."""
    if row.layer.op != "conv2d":
        return {"pyconv op nchw": lambda: _plain(row, numbers, device)}
    found: dict[str, Callable[[], Entry]] = {}
    backends = {"pyconv": registry.load("cuda")}
    if row.kind == "dense" and device.wgmma is not None:
        backends["pyconv-wgmma"] = device.wgmma
    for library, layout, relu in product(backends, LAYOUTS, (False, True)):
        name = f"{library} {'conv+bias+relu' if relu else 'conv'} {layout}"
        found[name] = lambda name=name, backend=backends[library], layout=layout, relu=relu: _conv(  # type: ignore[misc]
            name, row, numbers, device, backend, layout, relu
        )
    return found


def _plain(row: Row, numbers: Numbers, device: Any) -> Entry:
    layer = row.layer
    function = getattr(F, layer.op)
    more = (layer.kernel, layer.stride, layer.padding) if row.kind == "pool" else ()
    call = function.plan_call(input=numbers.x[0], out=None, **_named(layer)) if row.kind == "pool" else None
    ran = layer.op if call is None else _ran(call, registry.load("cuda"))
    return Entry(
        "pyconv op nchw", ran, lambda i: function(numbers.x[i], *more), device.plain, device.capture,
        user=lambda: function(numbers.x[0], *more),
    )  # fmt: skip


def _named(layer: Layer) -> dict[str, Any]:
    return {
        "kernel_size": layer.kernel, "stride": layer.stride, "padding": layer.padding, "dilation": 1,
        "ceil_mode": False, "return_indices": False,
    }  # fmt: skip


def _ran(call: Any, backend: Any) -> str:
    """The implementation that takes a call."""
    return next(name for name, reason in backend.implementations(call.plan) if reason is None)


def _precision(row: Row) -> dict[str, str]:
    """The argument that asks for the row's precision, whatever the environment says."""
    return {} if row.precision == "bf16" else {"precision": row.precision}


def _conv(name: str, row: Row, numbers: Numbers, device: Any, backend: Any, layout: str, relu: bool) -> Entry:
    layer = row.layer
    half = half_dtype(device)[1] if row.precision == "bf16" else None

    def ready(array: Any) -> Any:
        if half is None:
            return array
        return device.xp.asarray(array).astype(half) if not device.tiny else device.room.array(array.host.astype(half))

    parameters = conv_parameters("conv2d", layer.stride, layer.padding, layer.dilation, layer.groups)
    more = _precision(row)
    bias = ready(numbers.bias) if relu else None
    calls = []
    for given, kernels in zip(numbers.x, numbers.weight, strict=True):
        x = ready(device.channels_last(given) if layout == "nhwc" else given)
        call = F.conv.plan_call_conv2d(x, ready(kernels), bias, parameters, None, "auto", keeps_weights=True, **more)
        calls.append((call, backend.prepare(call.plan, call.weight, call.bias)))
    ran = _ran(calls[0][0], backend)
    if name.startswith("pyconv-wgmma") and not ran.startswith("wgmma"):
        raise BackendError(f"wgmma does not take it: {backend.implementations(calls[0][0].plan)[1][1]}")
    if relu:
        from pyconv.backends.cuda import conv as kernels_of
        from pyconv.backends.cuda.activation import Epilogue

        def run(i: int) -> Any:
            call, prepared = calls[i]
            return kernels_of.run(backend._room, call.plan, call.x, prepared, None, Epilogue("relu"))
    else:

        def run(i: int) -> Any:
            call, prepared = calls[i]
            return backend.run(call.plan, call.x, prepared)

    users = relu and layout == "nchw" and half is None and name.startswith("pyconv ")
    user = _user(row, numbers, device) if users else None
    return Entry(name, ran, run, device.plain, device.capture, relu, user)


def _user(row: Row, numbers: Numbers, device: Any) -> Callable[[], Any]:
    """A layer and its activation, called on an array."""
    layer = row.layer
    conv = pyconv.Conv2d(
        layer.shape[1], layer.out_channels, layer.kernel, layer.stride, layer.padding, layer.dilation, layer.groups,
        **_precision(row),  # type: ignore[arg-type]
    )  # fmt: skip
    conv.weight = _host(device, numbers.weight[0])
    conv.bias = _host(device, numbers.bias)
    network, x = pyconv.Sequential(conv, pyconv.ReLU()), numbers.x[0]
    return lambda: network(x)


def exact(row: Row, numbers: Numbers, device: Any) -> Exact:
    """By pyconv's own kernels for float64, where there is no torch; they are tested against the reference."""

    def wide(array: Any) -> Any:
        plain = device.plain(array)
        rounded = plain.astype(half_dtype(device)[1]) if row.precision == "bf16" else plain
        return rounded.astype(np.float64)

    layer = row.layer
    x = wide(numbers.x[0])
    if layer.op != "conv2d":
        more = (layer.kernel, layer.stride, layer.padding) if row.kind == "pool" else ()
        values = device.plain(getattr(F, layer.op)(x, *more, backend="cuda"))
        return Exact(values, device.xp.maximum(abs(values), 1), None)
    weight, rest = wide(numbers.weight[0]), (layer.stride, layer.padding, layer.dilation, layer.groups)
    values = device.plain(F.conv2d(x, weight, None, *rest, backend="cuda"))
    scale = device.plain(F.conv2d(abs(x), abs(weight), None, *rest, backend="cuda"))
    return Exact(values, scale, wide(numbers.bias))


def _host(device: Any, array: Any) -> np.ndarray:
    plain = device.plain(array)
    return plain if isinstance(plain, np.ndarray) else device.xp.asnumpy(plain)
