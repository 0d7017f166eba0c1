"""Every exception that pyconv raises on purpose.

Each one also derives from the built-in class that a caller would expect, so ``except ValueError`` keeps working.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "BackendError",
    "BackendWarning",
    "ConfigurationError",
    "DTypeError",
    "DeviceError",
    "OutputError",
    "PyconvError",
    "ShapeError",
    "StateDictError",
    "TooLargeError",
    "UnsupportedDTypeError",
]


class PyconvError(Exception):
    """Base of all pyconv errors."""

    def prefix(self, who: str) -> None:
        """Put the name of a layer in front of the message, in place, so that the traceback stays."""
        self.args = (f"{who}: {self}",)


class ShapeError(PyconvError, ValueError):
    """A shape, or a number that a shape is computed from, is not usable."""


class ArgumentError(PyconvError, TypeError, ValueError):
    """An argument has the wrong type, or is no choice.

    A float stride, a list where an array is needed; an algorithm that there is not, a slope that is NaN.
    """


class DTypeError(PyconvError, TypeError):
    """An array's dtype is not one that pyconv computes in, or two arrays disagree."""


class OutputError(PyconvError, ValueError):
    """The array given as ``out=`` cannot take the result."""


class TooLargeError(PyconvError, MemoryError):
    """The result would not fit in this machine's memory; raised before anything is allocated."""


class StateDictError(PyconvError, RuntimeError):
    """A state dict does not fit the module; nothing was loaded."""


class ConfigurationError(PyconvError, ValueError):
    """An environment variable or a setting holds a value that makes no sense."""


class BackendError(PyconvError, RuntimeError):
    """No backend that may be used can run the operation."""


class UnsupportedDTypeError(BackendError, DTypeError):
    """No backend that may be used computes in the input's dtype, though in float32: of half precision."""


class DeviceError(PyconvError, RuntimeError):
    """A GPU cannot be used in this process, arrays lie on different ones, or a kernel does not compile for it."""


class BackendWarning(UserWarning, RuntimeWarning):
    """A backend, a plug-in, or what was asked of a backend, cannot be used, and was left out."""
