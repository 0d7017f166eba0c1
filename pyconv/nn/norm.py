"""Normalisation layers, for networks that are trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..functional.call import Call
from ..functional.norm import plan_call_batch_norm, scale_and_shift
from ..plan import check_flag, dtype_of, index, number
from .conv import Conv2d
from .module import Operation, frozen, locked

__all__ = ["BatchNorm2d", "folded"]


class _PerChannel:
    """An attribute that holds one number for each channel, read-only; assigning copies and checks."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, layer: Any, owner: type) -> Any:
        return self if layer is None else layer._arrays.get(self._name)

    def __set__(self, layer: Any, value: Any) -> None:
        checked = frozen("BatchNorm2d", self._name, value, (layer.num_features,), layer._dtype)
        layer._arrays = {**layer._arrays, self._name: checked}


class BatchNorm2d(Operation):
    """Batch normalisation of images at inference; see :func:`pyconv.functional.batch_norm`.

    Parameters
    ----------
    num_features : int
        Channels of the input, which is (N, C, H, W) or, beyond torch, (C, H, W).
    eps : float, default 1e-5
        Added to the variance; not negative.
    momentum : float or None, default 0.1
        Of no use at inference; it is there because torch has it.
    affine : bool, default True
        Have a weight and a bias.
    track_running_stats : bool, default True
        Only True: without running statistics torch takes the batch's own, which is refused here.
    dtype : {'float32', 'float64'} or numpy dtype, default float32
        Of the parameters; inputs must have it too.
    bias : bool, default True
        Without it there is no bias, though there is a weight.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Attributes
    ----------
    weight, bias : array, shape (num_features,), or None
        Read-only; assign a new array to change them.
    running_mean, running_var : array, shape (num_features,)
        Likewise.
    num_batches_tracked : array of no dimension, int64
        What torch counted in training: it is loaded and given back, and of no use here.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        If a parameter is not usable.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> norm = pyconv.BatchNorm2d(8)
    >>> norm.running_mean = np.full(8, 2, np.float32)
    >>> float(norm(np.full((1, 8, 4, 4), 2, np.float32)).max())
    0.0
    """

    plans_alike = True

    _fixed = frozenset(("num_features", "eps", "momentum", "affine", "track_running_stats"))

    weight: np.ndarray | None = _PerChannel()  # type: ignore[assignment]
    bias: np.ndarray | None = _PerChannel()  # type: ignore[assignment]
    running_mean: np.ndarray = _PerChannel()  # type: ignore[assignment]
    running_var: np.ndarray = _PerChannel()  # type: ignore[assignment]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = None,
        bias: bool = True,
        backend: str | None = None,
    ) -> None:
        self.num_features = index("BatchNorm2d", "num_features", num_features, 1)
        self.eps = number("BatchNorm2d", "eps", eps, "not negative")
        self.momentum = None if momentum is None else number("BatchNorm2d", "momentum", momentum)
        self.affine = check_flag("BatchNorm2d", "affine", affine)
        self.track_running_stats = check_flag("BatchNorm2d", "track_running_stats", track_running_stats)
        if not self.track_running_stats:
            raise ArgumentError(
                "BatchNorm2d: track_running_stats=False would normalise by the batch's own mean and variance; pyconv "
                "only runs networks that are trained"
            )
        self.backend = backend
        self._dtype = dtype_of("BatchNorm2d", dtype)
        has_bias = check_flag("BatchNorm2d", "bias", bias) and self.affine
        begin = {"weight": 1} if self.affine else {}
        begin |= {"bias": 0} if has_bias else {}
        begin |= {"running_mean": 0, "running_var": 1}
        self._arrays = {name: locked(np.full(self.num_features, value, self._dtype)) for name, value in begin.items()}
        self._batches = locked(np.array(0, np.int64))

    @property
    def num_batches_tracked(self) -> np.ndarray:
        """What torch counted in training, read-only."""
        return self._batches

    @num_batches_tracked.setter
    def num_batches_tracked(self, value: Any) -> None:
        self._batches = frozen("BatchNorm2d", "num_batches_tracked", value, (), np.dtype(np.int64))

    def parameters(self) -> dict[str, np.ndarray]:
        return {**self._arrays, "num_batches_tracked": self._batches, **super().parameters()}

    def scale_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """The layer as ``x * scale + shift``: both of shape (num_features,), float64."""
        return scale_and_shift(self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def plan_call(self, input: Any, out: Any = None) -> Call:
        named = {name: getattr(self, name) for name in ("running_mean", "running_var", "weight", "bias")}
        return plan_call_batch_norm(input, named, self.eps, out, images=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._arrays = {name: locked(array.copy()) for name, array in self._arrays.items()}  # pickle unlocks them
        self._batches = locked(self._batches.copy())

    def extra_repr(self) -> str:
        shown = (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )
        return shown if self._dtype == np.float32 else f"{shown}, dtype={self._dtype}"


def folded(conv: Conv2d, norm: BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """The weight and bias of one convolution that does what ``conv`` followed by ``norm`` do.

    ``weight * scale`` for each output channel, and ``bias * scale + shift``, with scale and shift of
    :meth:`BatchNorm2d.scale_and_shift`: worked out in float64 and rounded once, to the dtype of ``conv``. The result of
    the convolution is rounded in other places than those of the two layers, so last bits may differ.

    Parameters
    ----------
    conv : Conv2d
        Of any padding mode: the padding comes before the sum.
    norm : BatchNorm2d
        Of as many features as ``conv`` has output channels.

    Returns
    -------
    weight : array, of the shape and dtype of ``conv.weight``
    bias : array, shape (out_channels,)

    Raises
    ------
    ShapeError
        If the numbers of channels differ.
    """
    if norm.num_features != conv.out_channels:
        raise ShapeError(
            f"folded: the normalisation has {norm.num_features} features, but the convolution before it "
            f"{conv.out_channels} output channels"
        )
    scale, shift = norm.scale_and_shift()
    with np.errstate(all="ignore"):
        weight = conv.weight * scale[:, None, None, None]
        bias = shift if conv.bias is None else conv.bias * scale + shift
        return weight.astype(conv.weight.dtype), bias.astype(conv.weight.dtype)
