"""Pooling layers, of lines (N, C, L) or (C, L): those of images of height 1, which are views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..functional.unpool import max_unpool1d
from ..plan import Amounts, Size
from .lines import Lines
from .pool_base import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, LPPool, MaxPool, MaxUnpool, as_given

__all__ = ["AdaptiveAvgPool1d", "AdaptiveMaxPool1d", "AvgPool1d", "LPPool1d", "MaxPool1d", "MaxUnpool1d"]


class MaxPool1d(Lines, MaxPool):
    """The largest element of every window; see :func:`pyconv.functional.max_pool1d`.

    Parameters
    ----------
    kernel_size : int or sequence of one
        The window's length, in elements.
    stride : int or sequence of one, optional
        Step of the window; by default the kernel size.
    padding : int, sequence of one or ((left, right),), default 0
        -inf added at the ends.
    dilation : int or sequence of one, default 1
        Distance between the window's elements.
    return_indices : bool, default False
        Return (values, indices).
    ceil_mode : bool, default False
        Round the output size up.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    plans_alike = True

    _name, _op = "MaxPool1d", "max_pool1d"

    if TYPE_CHECKING:

        def __call__(self, input: Any, *, out: Any = None) -> Any:
            """With ``return_indices`` a pair."""


class AvgPool1d(Lines, AvgPool):
    """The mean of every window; see :func:`pyconv.functional.avg_pool1d`.

    Parameters
    ----------
    kernel_size, stride, ceil_mode, backend
        As in :class:`MaxPool1d`.
    padding : int, sequence of one or ((left, right),), default 0
        Zeros added at the ends.
    count_include_pad : bool, default True
        Count the elements in the padding too.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    plans_alike = True

    _name, _op = "AvgPool1d", "avg_pool1d"

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Amounts = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        backend: str | None = None,
    ) -> None:
        window = (_as_tuple(kernel_size), None if stride is None else _as_tuple(stride), _as_tuple(padding))
        super().__init__(*window, ceil_mode, count_include_pad, backend=backend)


class LPPool1d(Lines, LPPool):
    """The p-th root of the sum of every window's p-th powers; see :func:`pyconv.functional.lp_pool1d`.

    Parameters
    ----------
    norm_type : float
        p, not 0; inf takes the largest magnitude.
    kernel_size, stride, ceil_mode, backend
        As in :class:`MaxPool1d`.
    padding : int, sequence of one or ((left, right),), default 0
        At the ends; it adds nothing to a sum.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    plans_alike = True

    _name, _op = "LPPool1d", "lp_pool1d"


class AdaptiveAvgPool1d(Lines, AdaptiveAvgPool):
    """The means of as many windows as the output is long; see :func:`pyconv.functional.adaptive_avg_pool1d`.

    Parameters
    ----------
    output_size : int, None or a sequence of one of them
        The length; None is the input's own. 1 is the mean of each line.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    plans_alike = True

    _name, _op = "AdaptiveAvgPool1d", "adaptive_avg_pool1d"


class AdaptiveMaxPool1d(Lines, AdaptiveMaxPool):
    """The maxima of as many windows as the output is long; see :func:`pyconv.functional.adaptive_max_pool1d`.

    Parameters
    ----------
    output_size : int, None or a sequence of one of them
        The length; None is the input's own.
    return_indices : bool, default False
        Return (values, indices).
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    plans_alike = True

    _name, _op = "AdaptiveMaxPool1d", "adaptive_max_pool1d"

    if TYPE_CHECKING:

        def __call__(self, input: Any, *, out: Any = None) -> Any:
            """With ``return_indices`` a pair."""


class MaxUnpool1d(MaxUnpool):
    """Maxima of lines back to where a max pooling found them; see :func:`pyconv.functional.max_unpool1d`.

    It is called with the maxima and their indices, and the length of the pooling's input if that is not
    ``(length - 1) * stride - 2 * padding + kernel_size``: ``layer(values, indices, output_size=None)``.

    Parameters
    ----------
    kernel_size, stride, padding
        Those of the pooling; the stride is by default the kernel size.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    _name, _op = "MaxUnpool1d", "max_unpool1d"
    _function = staticmethod(max_unpool1d)


def _as_tuple(value: Any) -> Any:
    """A number as torch's layer shows it: (3,)."""
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else as_given(value)
