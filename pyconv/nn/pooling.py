"""Pooling layers, of images."""

from __future__ import annotations

from ..functional.unpool import max_unpool2d
from .pool_base import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, LPPool, MaxPool, MaxUnpool

__all__ = ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "LPPool2d", "MaxPool2d", "MaxUnpool2d"]


class MaxPool2d(MaxPool):
    """The largest element of every window; see :func:`pyconv.functional.max_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
        The window's (height, width), in pixels.
    stride : int or (int, int), optional
        Step of the window; by default the kernel size.
    padding : int, (int, int) or ((top, bottom), (left, right)), default 0
        -inf added around the input, in pixels.
    dilation : int or (int, int), default 1
        Distance between the window's elements, in pixels.
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

    _name, _op = "MaxPool2d", "max_pool2d"


class AvgPool2d(AvgPool):
    """The mean of every window; see :func:`pyconv.functional.avg_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
        The window's (height, width), in pixels.
    stride : int or (int, int), optional
        Step of the window; by default the kernel size.
    padding : int, (int, int) or ((top, bottom), (left, right)), default 0
        Zeros added around the input, in pixels.
    ceil_mode : bool, default False
        Round the output size up.
    count_include_pad : bool, default True
        Count the elements in the padding too.
    divisor_override : int, optional
        Divide every sum by this number.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    _name, _op = "AvgPool2d", "avg_pool2d"


class LPPool2d(LPPool):
    """The p-th root of the sum of every window's p-th powers; see :func:`pyconv.functional.lp_pool2d`.

    Parameters
    ----------
    norm_type : float
        p, not 0; inf takes the largest magnitude.
    kernel_size : int or (int, int)
        The window's (height, width), in pixels.
    stride : int or (int, int), optional
        Step of the window; by default the kernel size.
    ceil_mode : bool, default False
        Round the output size up.
    padding : int, (int, int) or ((top, bottom), (left, right)), default 0
        Around the input, in pixels; it adds nothing to a sum.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    _name, _op = "LPPool2d", "lp_pool2d"


class AdaptiveAvgPool2d(AdaptiveAvgPool):
    """The means of as many windows as the output has pixels; see :func:`pyconv.functional.adaptive_avg_pool2d`.

    Parameters
    ----------
    output_size : int, None or a pair of them
        (height, width), in pixels; None is the input's own. 1 is the mean of each plane.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    _name, _op = "AdaptiveAvgPool2d", "adaptive_avg_pool2d"


class AdaptiveMaxPool2d(AdaptiveMaxPool):
    """The maxima of as many windows as the output has pixels; see :func:`pyconv.functional.adaptive_max_pool2d`.

    Parameters
    ----------
    output_size : int, None or a pair of them
        (height, width), in pixels; None is the input's own.
    return_indices : bool, default False
        Return (values, indices).
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Raises
    ------
    ShapeError, ArgumentError
        If a parameter is not usable.
    """

    _name, _op = "AdaptiveMaxPool2d", "adaptive_max_pool2d"


class MaxUnpool2d(MaxUnpool):
    """Maxima back to where a max pooling found them; see :func:`pyconv.functional.max_unpool2d`.

    It is called with the maxima and their indices, and the size of the pooling's input if that is not
    ``(size - 1) * stride - 2 * padding + kernel_size``: ``layer(values, indices, output_size=None)``.

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

    _name, _op = "MaxUnpool2d", "max_unpool2d"
    _function = staticmethod(max_unpool2d)
