"""torch on a row: cuDNN for convolutions, ATen's own kernels for depthwise ones, pooling and activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .entries import LAYOUTS, Entry, Exact, Numbers, half_dtype
from .rows import Row

__all__ = ["exact", "makers", "precision"]


@contextmanager
def precision(torch: Any, name: str) -> Iterator[None]:
    """Strict float32, or TF32 in cuDNN and cuBLAS."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = name == "tf32"
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def half(torch: Any, device: Any) -> Any:
    """torch's dtype in which pyconv computes where a row says bf16."""
    return torch.bfloat16 if half_dtype(device)[0] == "bf16" else torch.float16


def makers(torch: Any, row: Row, numbers: Numbers, device: Any) -> dict[str, Callable[[], Entry]]:
    """By name, what makes each entry; convolution, bias and ReLU also as cuDNN's own fused call."""
    if row.layer.op != "conv2d":
        return {"torch op nchw": lambda: _plain(torch, row, numbers, device)}
    found: dict[str, Callable[[], Entry]] = {}
    for layout in LAYOUTS:
        for epilogue in ("conv", "conv+bias+relu", "fused conv+bias+relu"):
            name = f"torch {epilogue} {layout}"
            if epilogue.startswith("fused") and (device.tiny or row.kind == "depthwise"):
                continue  # cudnn_convolution_relu is there on GPUs only
            found[name] = lambda name=name, layout=layout, epilogue=epilogue: _conv(  # type: ignore[misc]
                torch, name, row, numbers, device, layout, epilogue
            )
    return found


def _captured(torch: Any, device: Any) -> Callable[..., Any]:
    return lambda calls: device.capture_torch(torch, calls)


def _plain(torch: Any, row: Row, numbers: Numbers, device: Any) -> Entry:
    function, more = _operation(torch, row)
    x = [device.to_torch(torch, each) for each in numbers.x]
    return Entry(
        "torch op nchw", "ATen", lambda i: function(x[i], *more), device.from_torch, _captured(torch, device),
        user=lambda: function(x[0], *more),
    )  # fmt: skip


def _operation(torch: Any, row: Row) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    layer = row.layer
    function = getattr(torch.nn.functional, layer.op)
    return function, (layer.kernel, layer.stride, layer.padding) if row.kind == "pool" else ()


def _conv(torch: Any, name: str, row: Row, numbers: Numbers, device: Any, layout: str, epilogue: str) -> Entry:
    layer, relu = row.layer, epilogue != "conv"
    dtype = half(torch, device) if row.precision == "bf16" else torch.float32
    order = torch.channels_last if layout == "nhwc" else torch.contiguous_format

    def ready(arrays: list[Any]) -> list[Any]:
        return [device.to_torch(torch, each).to(dtype).contiguous(memory_format=order) for each in arrays]

    x, weight = ready(numbers.x), ready(numbers.weight)
    bias = device.to_torch(torch, numbers.bias).to(dtype) if relu else None
    rest = (layer.stride, layer.padding, layer.dilation, layer.groups)
    conv2d = torch.nn.functional.conv2d

    def run(i: int) -> Any:
        result = conv2d(x[i], weight[i], bias, *rest)
        return result.relu_() if relu else result

    def fused(i: int) -> Any:
        steps = [(n, n) if isinstance(n, int) else n for n in (layer.stride, layer.padding, layer.dilation)]
        return torch.cudnn_convolution_relu(x[i], weight[i], bias, *steps, layer.groups)

    user = _user(torch, row, x[0], weight[0], bias) if epilogue == "conv+bias+relu" and layout == "nchw" else None
    ran = "cuDNN" if row.kind == "dense" else "ATen or cuDNN"
    call = fused if epilogue.startswith("fused") else run
    return Entry(name, ran, call, device.from_torch, _captured(torch, device), relu, user)


def _user(torch: Any, row: Row, x: Any, weight: Any, bias: Any) -> Callable[[], Any]:
    layer = row.layer
    conv = torch.nn.Conv2d(
        layer.shape[1], layer.out_channels, layer.kernel, layer.stride, layer.padding, layer.dilation, layer.groups
    )
    conv.weight, conv.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
    network = torch.nn.Sequential(conv, torch.nn.ReLU(inplace=True)).eval()
    return lambda: network(x)


def exact(torch: Any, row: Row, numbers: Numbers, device: Any) -> Exact:
    """By torch in float64. In rows of half precision the numbers are rounded to it first, as the libraries get them."""
    layer = row.layer

    def wide(array: Any) -> Any:
        tensor = device.to_torch(torch, array)
        return (tensor.to(half(torch, device)) if row.precision == "bf16" else tensor).double()

    if layer.op != "conv2d":
        function, more = _operation(torch, row)
        values = device.from_torch(function(wide(numbers.x[0]), *more))
        return Exact(values, device.xp.maximum(abs(values), 1), None)
    x, weight = wide(numbers.x[0]), wide(numbers.weight[0])
    rest = (layer.stride, layer.padding, layer.dilation, layer.groups)
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False  # it is called once
    try:
        values = torch.nn.functional.conv2d(x, weight, None, *rest)
        scale = torch.nn.functional.conv2d(x.abs(), weight.abs(), None, *rest)
    finally:
        torch.backends.cudnn.benchmark = before
    return Exact(*(device.from_torch(each) for each in (values, scale, wide(numbers.bias))))
