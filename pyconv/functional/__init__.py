"""The operations as functions, with torch's names and meanings: plan, select, prepare, run."""

from .activation import relu, sigmoid, tanh
from .conv import conv2d
from .pool import max_pool2d

__all__ = ["conv2d", "max_pool2d", "relu", "sigmoid", "tanh"]
