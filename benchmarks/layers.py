"""The layers that are measured, as plain data in named lists."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

__all__ = ["LISTS", "Layer", "select"]


@dataclass(frozen=True)
class Layer:
    """One operation on one input shape.

    ``op`` is a name of pyconv.functional. ``shape`` is the input's (N, C, H, W). ``count`` is how often the network
    has such a layer. ``headline`` rows are the ones a quick run takes.
    """

    op: str
    shape: tuple[int, int, int, int]
    out_channels: int = 0
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = True
    count: int = 1
    headline: bool = False

    @property
    def name(self) -> str:
        """Unique within a list: '3x3 s2 64->128, 56x56'."""
        _, channels, height, width = self.shape
        size = f"{height}x{width}"
        if self.op not in ("conv2d", "max_pool2d"):
            return f"{self.op} {channels}, {size}"
        window = f"{self.kernel[0]}x{self.kernel[1]}" + (f" s{self.stride}" if self.stride > 1 else "")
        if self.op == "max_pool2d":
            return f"pool {window} {channels}, {size}"
        if self.groups > 1 and self.groups == channels == self.out_channels:
            return f"depthwise {window} {channels}, {size}"
        arrow = f"{channels}" if channels == self.out_channels else f"{channels}->{self.out_channels}"
        return f"{window} {arrow}, {size}"

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.out_channels, self.shape[1] // self.groups, *self.kernel)

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        batch, channels, *size = self.shape
        height, width = (
            (length + 2 * self.padding - kernel) // self.stride + 1
            for length, kernel in zip(size, self.kernel, strict=True)
        )
        return (batch, self.out_channels or channels, height, width)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the plain sum of products; 0 for what is bound by memory anyway."""
        if self.op != "conv2d":
            return 0
        batch, channels, height, width = self.out_shape
        _, per_group, rows, columns = self.weight_shape
        return 2 * batch * channels * height * width * per_group * rows * columns

    @property
    def bytes(self) -> int:
        """Bytes that must be read and written at least, in float32."""
        total = 0
        for shape in (self.shape, self.out_shape, self.weight_shape if self.op == "conv2d" else (0,)):
            size = 4
            for length in shape:
                size *= length
            total += size
        return total


def conv(
    channels: int,
    out_channels: int,
    kernel: int,
    size: int,
    stride: int = 1,
    padding: int | None = None,
    count: int = 1,
    groups: int = 1,
    headline: bool = False,
) -> Layer:
    """A convolution on a square image, by default padded so that stride 1 keeps the size."""
    return Layer(
        op="conv2d",
        shape=(1, channels, size, size),
        out_channels=out_channels,
        kernel=(kernel, kernel),
        stride=stride,
        padding=kernel // 2 if padding is None else padding,
        groups=groups,
        count=count,
        headline=headline,
    )


def pool(
    channels: int, kernel: int, size: int, stride: int, padding: int = 0, count: int = 1, headline: bool = False
) -> Layer:
    return Layer(
        op="max_pool2d",
        shape=(1, channels, size, size),
        kernel=(kernel, kernel),
        stride=stride,
        padding=padding,
        count=count,
        headline=headline,
    )


def activation(op: str, channels: int, size: int, count: int = 1, headline: bool = False) -> Layer:
    return Layer(op=op, shape=(1, channels, size, size), count=count, headline=headline)


def image_filter(channels: int, out_channels: int, kernel: int, height: int, width: int, **more: object) -> Layer:
    """A convolution without bias on a photograph or a video frame."""
    layer = conv(channels, out_channels, kernel, 1)
    return replace(layer, shape=(1, channels, height, width), bias=False, **more)


# He et al. 2015, with the stride in the 3x3 layer, as torchvision has it; batch normalisation folded into the bias.
RESNET50 = [
    conv(3, 64, 7, 224, stride=2, headline=True),
    activation("relu", 64, 112),
    pool(64, 3, 112, stride=2, padding=1, headline=True),
    conv(64, 64, 1, 56),
    conv(64, 64, 3, 56, count=3, headline=True),
    conv(64, 256, 1, 56, count=4, headline=True),
    conv(256, 64, 1, 56, count=2),
    conv(256, 128, 1, 56),
    conv(128, 128, 3, 56, stride=2, headline=True),
    conv(256, 512, 1, 56, stride=2),
    conv(128, 512, 1, 28, count=4),
    conv(512, 128, 1, 28, count=3),
    conv(128, 128, 3, 28, count=3, headline=True),
    conv(512, 256, 1, 28),
    conv(256, 256, 3, 28, stride=2),
    conv(512, 1024, 1, 28, stride=2),
    conv(256, 1024, 1, 14, count=6),
    conv(1024, 256, 1, 14, count=5),
    conv(256, 256, 3, 14, count=5, headline=True),
    conv(1024, 512, 1, 14),
    conv(512, 512, 3, 14, stride=2),
    conv(1024, 2048, 1, 14, stride=2),
    conv(512, 2048, 1, 7, count=3),
    conv(2048, 512, 1, 7, count=2),
    conv(512, 512, 3, 7, count=2, headline=True),
]

# Simonyan and Zisserman 2014, configuration D.
VGG16 = [
    conv(3, 64, 3, 224),
    conv(64, 64, 3, 224),
    pool(64, 2, 224, stride=2, headline=True),
    conv(64, 128, 3, 112),
    conv(128, 128, 3, 112),
    pool(128, 2, 112, stride=2),
    conv(128, 256, 3, 56, headline=True),
    conv(256, 256, 3, 56, count=2),
    pool(256, 2, 56, stride=2),
    conv(256, 512, 3, 28),
    conv(512, 512, 3, 28, count=2),
    pool(512, 2, 28, stride=2),
    conv(512, 512, 3, 14, count=3, headline=True),
    pool(512, 2, 14, stride=2),
]


def _mobilenet_v2() -> list[Layer]:
    """Sandler et al. 2018, table 2: blocks of expansion, output channels, repeats, stride."""
    layers = Counter([conv(3, 32, 3, 224, stride=2)])
    channels, size = 32, 112
    blocks = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, out_channels, repeats, first_stride in blocks:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            hidden = channels * expansion
            if expansion > 1:
                layers[conv(channels, hidden, 1, size)] += 1
            layers[conv(hidden, hidden, 3, size, stride=stride, groups=hidden)] += 1
            size //= stride
            layers[conv(hidden, out_channels, 1, size)] += 1
            channels = out_channels
    layers[conv(channels, 1280, 1, size)] += 1
    headline = conv(144, 144, 3, 56, groups=144)
    return [replace(layer, count=count, headline=layer == headline) for layer, count in layers.items()]


IMAGES = [
    image_filter(1, 1, 3, 1080, 1920, headline=True),
    image_filter(1, 1, 5, 1080, 1920),
    image_filter(1, 1, 15, 1080, 1920, headline=True),
    image_filter(1, 8, 3, 512, 600),
    image_filter(3, 8, 3, 512, 600),
    image_filter(3, 16, 5, 512, 600, stride=2),
    image_filter(3, 3, 5, 1080, 1920, groups=3),
]

TINY = [
    conv(1, 1, 2, 4, stride=2, padding=0, headline=True),
    conv(1, 6, 3, 8),
    conv(1, 16, 5, 28, padding=0),
    conv(16, 32, 3, 12, padding=0),
    activation("relu", 1, 2),
    activation("relu", 16, 24),
    activation("tanh", 16, 24),
    pool(1, 2, 4, stride=2),
    pool(16, 2, 24, stride=2),
]

OTHER = [
    conv(96, 96, 7, 56, groups=96, headline=True),
    activation("tanh", 64, 112, headline=True),
    activation("sigmoid", 64, 112, headline=True),
    activation("relu", 256, 56),
    pool(192, 3, 28, stride=1, padding=1),
]

LISTS: dict[str, list[Layer]] = {
    "resnet50": RESNET50,
    "vgg16": VGG16,
    "mobilenetv2": _mobilenet_v2(),
    "images": IMAGES,
    "tiny": TINY,
    "other": OTHER,
}


def select(lists: list[str], pattern: str | None = None, headline: bool = False) -> list[tuple[str, Layer]]:
    """(list name, layer) of every layer in ``lists`` whose name contains ``pattern``, or only the headline ones."""
    unknown = [name for name in lists if name not in LISTS]
    if unknown:
        raise ValueError(f"there is no list {', '.join(unknown)}; the lists are {', '.join(LISTS)}")
    found = [
        (name, layer)
        for name in lists
        for layer in LISTS[name]
        if (not pattern or pattern.lower() in layer.name.lower()) and (layer.headline or not headline)
    ]
    if not found:
        names = ", ".join(layer.name for name in lists for layer in LISTS[name])
        raise ValueError(f"no layer's name contains {pattern!r}; there are: {names}")
    return found
