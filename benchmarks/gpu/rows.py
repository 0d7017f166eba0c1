"""What is measured, in order of importance: a run that comes to the end of its time leaves out the last ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..layer import Layer, activation, conv, pool
from ..layers import LISTS

__all__ = ["BATCHES", "PRECISIONS", "Row", "chosen"]

BATCHES = (1, 32)
PRECISIONS = ("fp32", "tf32", "bf16")

_FRONT = 16  # layers that stand for all
# With dilation, and with numbers of channels that are no multiple of what a tensor core takes.
_DILATED = [conv(256, 256, 3, 28, dilation=2), conv(512, 512, 3, 14, dilation=4), conv(64, 64, 3, 56, dilation=2)]
_ODD = [conv(37, 53, 3, 41), conv(67, 129, 1, 31), conv(251, 61, 3, 19)]


@dataclass(frozen=True)
class Row:
    """A layer at a batch size and a precision; ``list`` is where the layer comes from."""

    list: str
    layer: Layer
    precision: str

    @property
    def kind(self) -> str:
        """'dense', 'depthwise', 'pool' or 'activation'."""
        layer = self.layer
        if layer.op != "conv2d":
            return "pool" if layer.op.endswith("pool2d") else "activation"
        return "depthwise" if layer.groups == layer.shape[1] == layer.out_channels else "dense"

    @property
    def name(self) -> str:
        """'3x3 64, 56x56, batch 32, tf32'."""
        return f"{self.layer.name}, {self.precision}"

    @property
    def bytes(self) -> int:
        """That have to be read and written at least."""
        return self.layer.bytes // (2 if self.precision in ("bf16", "fp16") else 1)


def _layers() -> list[tuple[str, Layer]]:
    """Every layer once, those that stand for their class first."""

    def some(name: str, keep: object = None) -> list[tuple[str, Layer]]:
        return [(name, layer) for layer in LISTS[name] if keep is None or keep(layer)]  # type: ignore[operator]

    def depthwise(layer: Layer) -> bool:
        return layer.op == "conv2d" and layer.groups > 1

    found = [
        *some("resnet50", lambda layer: layer.headline),
        *some("vgg16", lambda layer: layer.headline),
        ("mobilenetv2", conv(144, 144, 3, 56, groups=144)),
        ("convnext", conv(96, 96, 7, 56, groups=96)),
        ("activations", activation("relu", 256, 56)),
        ("activations", activation("gelu", 384, 56)),
        *some("resnet50"),
        *some("vgg16"),
        *some("mobilenetv2", depthwise),
        *some("convnext", depthwise),
        ("pools", pool(192, 3, 28, stride=1, padding=1)),
        ("activations", activation("gelu", 1536, 14)),
        *(("dilated", layer) for layer in _DILATED),
        *(("odd channels", layer) for layer in _ODD),
    ]
    distinct: dict[Layer, str] = {}
    for name, layer in found:
        distinct.setdefault(replace(layer, headline=False, count=1), name)
    return [(name, layer) for layer, name in distinct.items()]


_TINY = [
    conv(3, 4, 3, 8),
    conv(16, 16, 3, 4),
    conv(4, 6, 1, 4),
    conv(4, 4, 3, 6, groups=4),
    pool(2, 2, 8, stride=2),
    activation("relu", 3, 5),
    activation("gelu", 3, 5),
]


def chosen(tiny: bool) -> list[Row]:
    """The rows, or small ones of every kind for a rehearsal."""
    layers = [("tiny", layer) for layer in _TINY] if tiny else _layers()
    rows = []
    for batch in BATCHES[:1] if tiny else BATCHES[::-1]:
        for name, layer in layers:
            sized = replace(layer, shape=(batch, *layer.shape[1:]))
            first = Row(name, sized, "fp32")
            rows += [replace(first, precision=each) for each in (PRECISIONS if first.kind == "dense" else ("fp32",))]
    if tiny:
        return rows
    front = {layer for _, layer in layers[:_FRONT]}  # at every batch size, before the others
    return sorted(rows, key=lambda row: replace(row.layer, shape=(1, *row.layer.shape[1:])) not in front)
