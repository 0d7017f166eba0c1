"""Layers: they hold parameters and call :mod:`pyconv.functional`."""

from .activation import ReLU, Sigmoid, Tanh
from .container import Sequential
from .conv import Conv2d
from .module import Module
from .pooling import MaxPool2d

__all__ = ["Conv2d", "MaxPool2d", "Module", "ReLU", "Sequential", "Sigmoid", "Tanh"]
