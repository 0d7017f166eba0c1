"""The plan of an activation or a batch normalisation: one function applied to every element."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..errors import ShapeError
from .activations import ACTIVATIONS
from .arguments import check_bytes, itemsize_of
from .hashing import HashedOnce

__all__ = ["ElementwisePlan", "plan_batch_norm", "plan_elementwise", "plan_prelu"]


@dataclass(frozen=True, slots=True)
class ElementwisePlan(HashedOnce):
    """One function over an array of any shape; ``op`` is its name, a key of ACTIVATIONS, 'prelu' or 'batch_norm'."""

    __hash__ = HashedOnce.__hash__

    op: str
    dtype: str
    out_shape: tuple[int, ...]
    parameters: tuple[float, ...] = ()
    """In the order of the activation's entry in ACTIVATIONS."""
    weights: int = 0
    """Length of the arrays that go with the channels: prelu's slopes (1, or the input's second dimension), the scales
    and shifts of batch_norm (the input's second dimension)."""


class _NegativeZero(float):
    """-0.0 that does not equal 0.0: plans, and what is kept by their parameters, must not take one for the other."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is _NegativeZero

    def __ne__(self, other: object) -> bool:
        return type(other) is not _NegativeZero

    def __hash__(self) -> int:
        return hash(_NegativeZero)


def plan_elementwise(
    op: str, shape: tuple[int, ...], dtype: str, parameters: tuple[float, ...] = ()
) -> ElementwisePlan:
    """The plan of activation ``op`` (a key of ACTIVATIONS) over an array of ``shape``."""
    if 0.0 in parameters:
        parameters = tuple(_NegativeZero(value) if str(value) == "-0.0" else value for value in parameters)
    return _plan_elementwise(op, shape, dtype, parameters)


@lru_cache(maxsize=1024)
def _plan_elementwise(op: str, shape: tuple[int, ...], dtype: str, parameters: tuple[float, ...]) -> ElementwisePlan:
    if op not in ACTIVATIONS:
        raise KeyError(op)  # only pyconv's own code gets here
    check_bytes(op, shape, itemsize_of(dtype))
    return ElementwisePlan(op=op, dtype=dtype, out_shape=shape, parameters=parameters)


@lru_cache(maxsize=1024)
def plan_prelu(shape: tuple[int, ...], weight_shape: tuple[int, ...], dtype: str) -> ElementwisePlan:
    """The plan of prelu over an array of ``shape`` with slopes of ``weight_shape``: one, or one for each channel."""
    channels = shape[1] if len(shape) > 1 else 1
    if len(weight_shape) > 1 or (weight_shape and weight_shape[0] not in (1, channels)):
        raise ShapeError(
            f"prelu: weight must hold one slope or one for each channel: shape (1,) or ({channels},) for an input of "
            f"shape {shape}, whose channels are its second dimension; got {weight_shape}"
        )
    check_bytes("prelu", shape, itemsize_of(dtype))
    return ElementwisePlan(op="prelu", dtype=dtype, out_shape=shape, weights=weight_shape[0] if weight_shape else 1)


@lru_cache(maxsize=1024)
def plan_batch_norm(
    shape: tuple[int, ...], statistics: tuple[tuple[str, tuple[int, ...]], ...], dtype: str
) -> ElementwisePlan:
    """The plan of a batch normalisation of an array (N, C, ...) by arrays of ``statistics``: their names and shapes."""
    if len(shape) < 2:
        raise ShapeError(
            f"batch_norm: input must be (N, C, ...), with the channels as its second dimension; got shape {shape}"
        )
    for name, found in statistics:
        if found != (shape[1],):
            raise ShapeError(
                f"batch_norm: {name} must have shape (C,) = ({shape[1]},), one number for each channel of an input of "
                f"shape {shape}; got {found}"
            )
    check_bytes("batch_norm", shape, itemsize_of(dtype))
    return ElementwisePlan(op="batch_norm", dtype=dtype, out_shape=shape, weights=shape[1])
