"""The plan of a convolution together with what follows it: an added array, an activation, a pooling."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ShapeError
from .conv import ConvPlan
from .elementwise import ElementwisePlan
from .hashing import HashedOnce
from .pool import PoolPlan

__all__ = ["FusedPlan", "plan_fused"]


@dataclass(frozen=True, slots=True)
class FusedPlan(HashedOnce):
    """``pool(activation(conv2d(x) + residual))``, run as one: what lies between need not be written to memory.

    The result is that of its parts run one after the other, to the last bit. A part that is missing is None. Backends
    that can run such plans have a method ``fuses``, see :class:`pyconv.registry.Backend`.
    """

    __hash__ = HashedOnce.__hash__

    conv: ConvPlan
    has_residual: bool = False
    """An array of the convolution's output shape is added before the activation."""
    activation: ElementwisePlan | None = None
    pool: PoolPlan | None = None

    @property
    def parts(self) -> tuple[ConvPlan | ElementwisePlan | PoolPlan, ...]:
        """The plans that it is made of, in order."""
        return tuple(part for part in (self.conv, self.activation, self.pool) if part is not None)

    @property
    def op(self) -> str:
        names = [part.op for part in self.parts]
        return "+".join([names[0], *["residual"] * self.has_residual, *names[1:]])

    @property
    def dtype(self) -> str:
        return self.conv.dtype

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self.parts[-1].out_shape

    @property
    def flops(self) -> int:
        """Those of the convolution's plain sum."""
        return self.conv.flops

    @property
    def keeps_weights(self) -> bool:
        """Whether the convolution's weights are prepared once for many calls."""
        return self.conv.keeps_weights

    @property
    def saved_bytes(self) -> int:
        """Bytes that need not pass memory: what is between two parts is neither written nor read again."""
        itemsize = 8 if self.dtype == "float64" else 4
        batch, channels, height, width = self.conv.out_shape
        passes = 2 * (len(self.parts) - 1 + self.has_residual)
        return passes * batch * channels * height * width * itemsize


def plan_fused(
    conv: ConvPlan,
    residual_shape: tuple[int, ...] | None = None,
    activation: ElementwisePlan | None = None,
    pool: PoolPlan | None = None,
) -> FusedPlan:
    """The plan of parts that follow each other; each takes what the one before it gives."""
    if residual_shape is not None and residual_shape != conv.out_shape:
        raise ShapeError(
            f"conv2d: residual must have the convolution's output shape {conv.out_shape}, got {residual_shape}; "
            f"it is not broadcast"
        )
    for part in (activation, pool):
        if part is not None and part.dtype != conv.dtype:
            raise ValueError(f"{part.op} is planned for {part.dtype}, the convolution for {conv.dtype}")
    if activation is not None and activation.out_shape != conv.out_shape:
        raise ValueError(f"the activation is planned for {activation.out_shape}, not {conv.out_shape}")
    if pool is not None and (pool.batch, pool.channels, *pool.in_size) != conv.out_shape:
        raise ValueError(f"the pooling is planned for another input than {conv.out_shape}")
    return FusedPlan(conv, residual_shape is not None, activation, pool)
