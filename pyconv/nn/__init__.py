"""Layers: they hold parameters and call :mod:`pyconv.functional`."""

from typing import TYPE_CHECKING

from ..plan import ACTIVATIONS
from . import activation
from .activation import GELU, GLU, LogSoftmax, PReLU, Softmax, Softmin
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

if TYPE_CHECKING:
    from .from_table import *  # noqa: F403  # from_table.pyi: what activation makes from the table

_FROM_TABLE = [entry.layer for entry in ACTIVATIONS.values() if entry.layer]
globals().update({name: getattr(activation, name) for name in _FROM_TABLE})

__all__ = [
    "GELU",
    "GLU",
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
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "Module",
    "PReLU",
    "Residual",
    "Sequential",
    "Softmax",
    "Softmin",
    "Unfold",
]
__all__ += _FROM_TABLE
