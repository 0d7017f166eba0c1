"""Layers: they hold parameters and call :mod:`pyconv.functional`."""

from . import activation
from .container import Sequential
from .conv import Conv2d
from .module import Module
from .norm import BatchNorm2d
from .pooling import MaxPool2d

globals().update({name: getattr(activation, name) for name in activation.__all__})

__all__ = ["BatchNorm2d", "Conv2d", "MaxPool2d", "Module", "Sequential"]
__all__ += activation.__all__
