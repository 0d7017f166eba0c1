"""Layers: they hold parameters and call :mod:`pyconv.functional`."""

from typing import TYPE_CHECKING, Any

from . import activation
from .container import Sequential
from .conv import Conv1d, Conv2d
from .fold import Fold, Unfold
from .linear import Linear
from .module import Module
from .norm import BatchNorm2d
from .pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, LPPool2d, MaxPool2d, MaxUnpool2d
from .pooling1d import AdaptiveAvgPool1d, AdaptiveMaxPool1d, AvgPool1d, LPPool1d, MaxPool1d, MaxUnpool1d
from .residual import Residual
from .shape import Dropout, Dropout1d, Dropout2d, Flatten, Identity
from .transposed import ConvTranspose1d, ConvTranspose2d

globals().update({name: getattr(activation, name) for name in activation.__all__})

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Flatten",
    "Fold",
    "Identity",
    "LPPool1d",
    "LPPool2d",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "Module",
    "Residual",
    "Sequential",
    "Unfold",
]
__all__ += activation.__all__

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The layers that activation makes from the table of activations, which no type checker sees."""
