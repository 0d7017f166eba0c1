"""The layers that are measured, in named lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Protocol, TypeVar

from .layer import Layer, activation, conv, image_filter, line, pool, transposed

__all__ = ["LISTS", "named", "select"]


class _HasName(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_HasName)

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


def _inverted_residuals(blocks: list[tuple[int, int, int, int, int]], squeeze: bool) -> list[Layer]:
    """A network of MobileNetV2's kind from its table: blocks of expansion, kernel, output channels, repeats, stride."""
    layers = Counter([conv(3, 32, 3, 224, stride=2)])
    channels, size = 32, 112
    for expansion, kernel, out_channels, repeats, first_stride in blocks:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            hidden = channels * expansion
            if expansion > 1:
                layers[conv(channels, hidden, 1, size)] += 1
            layers[conv(hidden, hidden, kernel, size, stride=stride, groups=hidden)] += 1
            size //= stride
            if squeeze:
                layers[conv(hidden, channels // 4, 1, 1)] += 1
                layers[conv(channels // 4, hidden, 1, 1)] += 1
            layers[conv(hidden, out_channels, 1, size)] += 1
            channels = out_channels
    layers[conv(channels, 1280, 1, size)] += 1
    return [replace(layer, count=count) for layer, count in layers.items()]


def _mobilenet_v2() -> list[Layer]:
    """Sandler et al. 2018, table 2."""
    blocks = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    layers = _inverted_residuals([(expansion, 3, *rest) for expansion, *rest in blocks], squeeze=False)
    return [replace(layer, headline=layer.name == "depthwise 3x3 144, 56x56") for layer in layers]


# Tan and Le 2019, table 1, as torchvision has it: squeezing to a quarter of the block's input channels.
EFFICIENTNET_B0 = _inverted_residuals(
    [
        (1, 3, 16, 1, 1),
        (6, 3, 24, 2, 2),
        (6, 5, 40, 2, 2),
        (6, 3, 80, 3, 2),
        (6, 5, 112, 3, 1),
        (6, 5, 192, 4, 2),
        (6, 3, 320, 1, 1),
    ],
    squeeze=True,
)


def _convnext_tiny() -> list[Layer]:
    """Liu et al. 2022, section 2."""
    layers, before = [conv(3, 96, 4, 224, stride=4, padding=0)], 0
    for channels, size, blocks in ((96, 56, 3), (192, 28, 3), (384, 14, 9), (768, 7, 3)):
        if before:
            layers.append(conv(before, channels, 2, 2 * size, stride=2, padding=0))
        layers.append(conv(channels, channels, 7, size, groups=channels, count=blocks))
        layers.append(conv(channels, 4 * channels, 1, size, count=blocks))
        layers.append(conv(4 * channels, channels, 1, size, count=blocks))
        before = channels
    return layers


def _unet() -> list[Layer]:
    """Ronneberger et al. 2015, figure 1: nothing is padded; without the transposed convolutions on the way up."""
    layers, channels = [], 1
    for out_channels, size in ((64, 572), (128, 284), (256, 140), (512, 68), (1024, 32)):
        layers.append(conv(channels, out_channels, 3, size, padding=0))
        layers.append(conv(out_channels, out_channels, 3, size - 2, padding=0))
        if out_channels < 1024:
            layers.append(pool(out_channels, 2, size - 4, stride=2))
        channels = out_channels
    for out_channels, size in ((512, 56), (256, 104), (128, 200), (64, 392)):
        layers.append(conv(2 * out_channels, out_channels, 3, size, padding=0))
        layers.append(conv(out_channels, out_channels, 3, size - 2, padding=0))
    return [*layers, conv(64, 2, 1, 388)]


IMAGES = [
    image_filter(1, 1, 3, 1080, 1920, headline=True),
    image_filter(1, 1, 5, 1080, 1920),
    image_filter(1, 1, 15, 1080, 1920, headline=True),
    image_filter(1, 8, 3, 512, 600),
    image_filter(3, 8, 3, 512, 600),
    image_filter(3, 16, 5, 512, 600, stride=2),
    image_filter(3, 3, 5, 1080, 1920, groups=3),
    # a column times a row each
    image_filter(1, 1, 3, 1080, 1920, filter="sobel"),
    image_filter(1, 1, 5, 1080, 1920, filter="gaussian"),
    image_filter(1, 1, 9, 1080, 1920, filter="box"),
    image_filter(1, 1, 15, 1080, 1920, filter="gaussian"),
    image_filter(1, 1, 31, 1080, 1920, filter="gaussian"),
    image_filter(3, 3, 7, 1080, 1920, filter="gaussian", groups=3),
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

# What no network's list names: whatever is tuned to the lists above shows here.
SHAPES = [
    # odd numbers of channels and pixels
    conv(37, 53, 3, 41),
    conv(67, 129, 1, 31),
    conv(17, 19, 5, 61),
    conv(251, 61, 3, 19),
    conv(100, 100, 3, 75),
    replace(conv(24, 40, 3, 1), shape=(1, 24, 17, 301)),
    # larger kernels, also of one row or column
    conv(48, 48, 5, 35),
    conv(64, 96, 5, 56, stride=2),
    conv(16, 32, 7, 64),
    conv(8, 16, 11, 64),
    conv(3, 64, 11, 224, stride=4, padding=2),
    replace(conv(128, 128, 1, 17), kernel=(1, 7), padding=(0, 3)),
    replace(conv(128, 192, 1, 17), kernel=(7, 1), padding=(3, 0)),
    # stride 3
    conv(48, 96, 3, 57, stride=3),
    conv(3, 64, 5, 225, stride=3),
    conv(64, 64, 1, 57, stride=3),
    # dilation
    conv(64, 64, 3, 56, dilation=2),
    conv(32, 32, 5, 56, dilation=3),
    conv(256, 256, 3, 28, dilation=4),
    conv(128, 128, 3, 33, dilation=6),
    # groups
    conv(64, 64, 3, 56, groups=4),
    conv(96, 192, 1, 28, groups=8),
    conv(128, 128, 3, 56, groups=32),
    conv(256, 256, 3, 28, stride=2, groups=32),
    conv(160, 160, 3, 28, groups=80),
    # depthwise
    conv(32, 64, 3, 112, groups=32),
    conv(120, 120, 5, 28, groups=120, dilation=2),
    conv(61, 61, 9, 40, groups=61),
    conv(128, 128, 31, 28, groups=128),
    # batches
    conv(64, 64, 3, 28, batch=4),
    conv(256, 64, 1, 14, batch=8),
]

# No network needs it, but people who compute do; only torch has it too.
FLOAT64 = [replace(layer, dtype="float64", headline=False) for layer in RESNET50 if layer.op == "conv2d"]

# As images come from files and cameras; only torch takes it too without a copy.
CHANNELS_LAST = [
    replace(layer, layout="nhwc", headline=False)
    for layer in (
        conv(3, 64, 7, 224, stride=2),
        conv(64, 64, 3, 56),
        conv(64, 256, 1, 56),
        conv(128, 128, 3, 56, stride=2),
        conv(256, 256, 3, 14),
        conv(2048, 512, 1, 7),
        conv(144, 144, 3, 56, groups=144),
        image_filter(3, 8, 3, 512, 600),
        pool(64, 3, 112, stride=2, padding=1),
    )
]

# Every elementwise activation but prelu, with its defaults; softmax and log_softmax along channels and the last axis.
ACTIVATIONS = [
    activation(op, channels, size, **options)
    for channels, size in ((64, 112), (16, 24))
    for op, options in (
        *((op, {}) for op in ("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu")),
        ("gelu", {"approximate": "tanh"}),
        *((op, {}) for op in ("silu", "mish", "sigmoid", "logsigmoid", "tanh", "tanhshrink", "hardtanh")),
        *((op, {}) for op in ("hardsigmoid", "hardswish", "hardshrink", "softshrink", "softplus", "softsign")),
        ("threshold", {"threshold": 0.5, "value": 0.0}),
        *((op, {"dim": dim}) for op in ("softmax", "log_softmax") for dim in (1, -1)),
    )
]


def _pooling() -> list[Layer]:
    """Windows small and large, by layout, with indices and in float64; averages."""
    windows = [
        pool(64, 2, 112, stride=2),
        pool(512, 2, 14, stride=2),
        pool(64, 3, 112, stride=2, padding=1),
        pool(192, 3, 28, stride=1, padding=1),
        pool(256, 5, 28, stride=1, padding=2),
        pool(64, 7, 56, stride=1, padding=3),
        pool(64, 31, 56, stride=1, padding=15),
        pool(64, 3, 56, stride=1, padding=1, dilation=2),
        pool(64, 3, 112, stride=2, ceil_mode=True),
    ]
    averages = [
        pool(64, 2, 112, stride=2, op="avg_pool2d"),
        pool(64, 3, 56, stride=1, padding=1, op="avg_pool2d"),
        pool(64, 3, 112, stride=2, padding=1, op="avg_pool2d"),
        Layer("adaptive_avg_pool2d", (1, 2048, 7, 7)),
        Layer("adaptive_avg_pool2d", (1, 64, 112, 112)),
    ]
    few = [windows[0], windows[2], windows[4]]
    return [
        *windows,
        *averages,
        *(replace(layer, indices=True) for layer in (*few, windows[6])),
        *(replace(layer, layout="nhwc") for layer in (*windows[:6], averages[1], averages[3])),
        *(replace(layer, layout="nhwc", indices=True) for layer in few[:2]),
        *(replace(layer, dtype="float64") for layer in (*few, windows[6], averages[0])),
        replace(few[0], dtype="float64", indices=True),
    ]


# Radford et al. 2015 (DCGAN) from 4x4 on, Ronneberger's way up, and what decoders and super-resolution take.
TRANSPOSED = [
    transposed(1024, 512, 4, 4, stride=2, padding=1),
    transposed(256, 128, 4, 16, stride=2, padding=1),
    transposed(128, 3, 4, 32, stride=2, padding=1),
    transposed(1024, 512, 2, 28, stride=2),
    transposed(128, 64, 2, 112, stride=2),
    transposed(128, 64, 3, 56, stride=2, padding=1, output_padding=1),
    transposed(64, 64, 3, 56, stride=1, padding=1),
    transposed(64, 32, 4, 56, stride=4),
    transposed(32, 21, 16, 32, stride=8, padding=4),
]

# Speech, sound and sensors: Baevski et al. 2020 (wav2vec 2.0), Radford et al. 2022 (Whisper), and small ones.
LINES = [
    line(1, 512, 10, 16000, stride=5),
    line(512, 512, 3, 3199, stride=2),
    line(80, 512, 3, 3000),
    line(64, 64, 9, 1000),
    line(128, 128, 5, 256, groups=128),
    line(1, 8, 5, 100),
]

LISTS: dict[str, list[Layer]] = {
    "resnet50": RESNET50,
    "vgg16": VGG16,
    "mobilenetv2": _mobilenet_v2(),
    "efficientnet": EFFICIENTNET_B0,
    "convnext": _convnext_tiny(),
    "images": IMAGES,
    "shapes": SHAPES,
    "tiny": TINY,
    "other": OTHER,
    "unet": _unet(),
    "float64": FLOAT64,
    "channels-last": CHANNELS_LAST,
    "activations": ACTIVATIONS,
    "pooling": _pooling(),
    "transposed": TRANSPOSED,
    "conv1d": LINES,
}


def select(lists: list[str], pattern: str | None = None, headline: bool = False) -> list[tuple[str, Layer]]:
    """(list name, layer) of every layer in ``lists`` whose name contains ``pattern``, or only the headline ones.

    Raises ValueError, with what there is, for an unknown list or where there is no such layer.
    """
    unknown = [name for name in lists if name not in LISTS]
    if unknown:
        raise ValueError(f"there is no list {', '.join(unknown)}; the lists are {', '.join(LISTS)}")
    found = [(name, layer) for name in lists for layer in LISTS[name] if layer.headline or not headline]
    names = {layer.name for layer in named([layer for _, layer in found], pattern or "")}
    return [(name, layer) for name, layer in found if layer.name in names]


def named(layers: Sequence[Named], pattern: str, what: str = "layer") -> list[Named]:
    """Those of ``layers`` (or of ``what`` they are) whose name contains ``pattern``, in capitals or not.

    Raises ValueError, with some of the names, if there is none.
    """
    found = [layer for layer in layers if pattern.lower() in layer.name.lower()]
    if not layers:
        raise ValueError(f"there is no {what} to be measured in the list")
    if not found:
        names = list(dict.fromkeys(layer.name for layer in layers))
        some = get_close_matches(pattern, names, _SHOWN, 0.3) or names[:_SHOWN]
        rest = [f"{len(names) - len(some)} more"] * (len(names) > len(some))
        raise ValueError(f"no {what}'s name contains {pattern!r}; there are: {'; '.join(some + rest)}")
    return found


_SHOWN = 5
"""Names in a message."""
