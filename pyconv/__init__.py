"""Convolution, pooling and activations on NumPy and CuPy arrays, with torch's names and meanings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import errors, functional, nn
from .context import precision
from .nn import *  # noqa: F403  # every layer: nn.__all__
from .registry import backends, set_backend, use_backend
from .report import Explanation, explain, show_config
from .threads import get_num_threads, set_num_threads
from .version import __version__

if TYPE_CHECKING:
    from .nn.from_table import *  # noqa: F403  # whose names nn.__all__ has only when it is run

__all__ = [
    "Explanation",
    "__version__",
    "backends",
    "errors",
    "explain",
    "functional",
    "get_num_threads",
    "nn",
    "precision",
    "set_backend",
    "set_num_threads",
    "show_config",
    "use_backend",
]
__all__ += nn.__all__
