"""The operations as functions, with torch's names and meanings: plan, select, prepare, run."""

from typing import TYPE_CHECKING

from ..plan import ACTIVATIONS
from . import activation
from .activation import gelu, glu, log_softmax, prelu, softmax, softmin
from .adaptive_pool import adaptive_avg_pool2d, adaptive_max_pool2d
from .conv import conv2d
from .conv1d import conv1d, conv_transpose1d
from .fold import fold, unfold
from .norm import batch_norm
from .pool import avg_pool2d, lp_pool2d, max_pool2d
from .pool1d import adaptive_avg_pool1d, adaptive_max_pool1d, avg_pool1d, lp_pool1d, max_pool1d
from .transposed import conv_transpose2d
from .unpool import max_unpool1d, max_unpool2d

if TYPE_CHECKING:
    from .from_table import *  # noqa: F403  # from_table.pyi: what activation makes from the table

_FROM_TABLE = [op for op, entry in ACTIVATIONS.items() if entry.layer]
globals().update({op: getattr(activation, op) for op in _FROM_TABLE})

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "fold",
    "gelu",
    "glu",
    "log_softmax",
    "lp_pool1d",
    "lp_pool2d",
    "max_pool1d",
    "max_pool2d",
    "max_unpool1d",
    "max_unpool2d",
    "prelu",
    "softmax",
    "softmin",
    "unfold",
]
__all__ += _FROM_TABLE
