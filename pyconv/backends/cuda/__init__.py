"""The CUDA backend: kernels in ``kernels/*.cu``, built by CuPy when they are first used, on CuPy's memory and streams.

A plan decides everything before anything runs: a module for each kind of operation turns it into a kernel with its
macros, a grid and one struct of arguments. :mod:`device` alone talks to the device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import DeviceError
from ...plan import ACTIVATIONS, AXIS_OPS, HALF_DTYPES, ConvPlan, ElementwisePlan, FusedPlan, Plan, TransposedPlan
from . import axis, channels, conv, elementwise, fold, pool, transposed, unpool
from .activation import NONE, Epilogue
from .known import KnownCalls

__all__ = ["CudaBackend", "unusable"]


def unusable() -> str | None:
    """The reason why the backend cannot be used here, or None."""
    from .device import unusable as reason

    return reason()


_MODULES: dict[str, ModuleType] = {
    "conv2d": conv,
    "conv_transpose2d": transposed,
    **dict.fromkeys(pool.OPERATIONS, pool),
    "max_unpool2d": unpool,
    **dict.fromkeys(fold.OPERATIONS, fold),
    **dict.fromkeys(ACTIVATIONS, elementwise),
    **dict.fromkeys(channels.FUNCTIONS, channels),
    **dict.fromkeys(AXIS_OPS, axis),
}
"""What runs each operation, with ``implementations(plan)`` and ``run(room, plan, x, prepared, out)``."""


def _compute(room: Any, plan: Plan, x: Any, prepared: Any, out: Any = None) -> Any:
    """Run a plan on ``x``, which lies on the current device."""
    if isinstance(plan, FusedPlan):
        after = NONE if plan.activation is None else Epilogue(plan.activation.op, plan.activation.parameters)
        x, residual = x if plan.has_residual else (x, None)
        return conv.run(room, plan.conv, x, prepared, out, after._replace(pooled=plan.pool is not None), residual)
    return _MODULES[plan.op].run(room, plan, x, prepared, out)


def _unpooled(plan: FusedPlan) -> str | None:
    """The reason why no convolution pools so, or None."""
    pool, (height, width) = plan.pool, plan.conv.out_size
    assert pool is not None
    windows = (pool.op, pool.kernel, pool.stride, pool.dilation, pool.padding, pool.out_size)
    if windows == ("max_pool2d", (2, 2), (2, 2), (1, 1), ((0, 0), (0, 0)), (height // 2, width // 2)):
        return "the pooling wants more than maxima" if pool.return_indices else None
    return "its convolutions pool by 2x2 windows, 2 apart, without padding"


class CudaBackend:
    """Hands each plan to the module of its operation, on the device where the input lies.

    Parameters
    ----------
    room : object, optional
        What stands for the device, with the methods of :class:`pyconv.backends.cuda.device.CupyRoom`: the default.
    """

    name = "cuda"
    api_version = 1
    array_types = ("cupy", "numpy")

    def __init__(self, room: Any = None) -> None:
        if room is None:
            from .device import CupyRoom

            room = CupyRoom()
        self._room = room

    def implementations(self, plan: Plan) -> list[tuple[str, str | None]]:
        """(name, None or the reason for refusing), in the order in which they are tried."""
        if isinstance(plan, FusedPlan | ConvPlan):
            of_conv, pooled = (plan.conv, plan.pool is not None) if isinstance(plan, FusedPlan) else (plan, False)
            return conv.implementations(of_conv, self._room.tensor_cores(), pooled, self._room.without_wgmma)
        if isinstance(plan, TransposedPlan):
            return transposed.implementations(plan, self._room.tensor_cores())
        if plan.op not in _MODULES:
            return [("none", f"there is no CUDA kernel for {plan.op}")]
        return _MODULES[plan.op].implementations(plan)

    def fuses(self, plan: FusedPlan) -> str | None:
        """None if the plan's parts can be run as one, else the reason why not."""
        if plan.has_residual and plan.pool is not None:
            return "its convolutions pool without a residual"
        if plan.activation is not None and _MODULES.get(plan.activation.op) is not elementwise:
            return f"its convolutions cannot apply {plan.activation.op}"
        if plan.activation is not None and (reason := elementwise.refusal(plan.activation)):
            return reason
        if reason := self.supports(plan.conv):
            return reason
        if plan.pool is None:
            return None
        return _unpooled(plan) or conv.pooling_refusal(plan.conv, self._room.tensor_cores())

    def supports(self, plan: Plan) -> str | None:
        """None if an implementation takes the plan, else every one's reason."""
        if plan.dtype in HALF_DTYPES and not isinstance(plan, ConvPlan):
            return f"only conv2d and conv1d compute in {plan.dtype}"
        refusals = []
        for name, reason in self.implementations(plan):
            if reason is None:
                return None
            refusals.append(f"{name}: {reason}")
        return "; ".join(refusals)

    def prepare_key(self, plan: Plan) -> Hashable:
        """Plans with equal keys share prepared weights."""
        if isinstance(plan, FusedPlan):
            plan = plan.conv
        return conv.prepare_key(plan, self._room.tensor_cores()) if isinstance(plan, ConvPlan) else None

    def prepare(self, plan: Plan, weight: Any = None, bias: Any = None) -> Any:
        """Packed weights, or numbers for each channel: on the weight's device or, from NumPy, the current one."""
        self._room.check_process()
        if isinstance(plan, FusedPlan):
            plan = plan.conv
        if isinstance(plan, ConvPlan):
            return conv.prepare(self._room, plan, weight, bias)
        if isinstance(plan, TransposedPlan):
            return transposed.prepare(self._room, plan, weight, bias)
        if isinstance(plan, ElementwisePlan) and plan.op in channels.FUNCTIONS:
            return channels.prepare(self._room, plan, weight, bias)
        return weight  # the indices of an unpooling

    def run(self, plan: Plan, x: Any, prepared: Any = None, out: Any = None) -> Any:
        """Run the plan on ``x``: a CuPy array on the current stream of its device, or a NumPy array and back.

        ``x`` is a pair of them if the plan has a residual.
        """
        room = self._room
        room.check_process()
        first, *others = x if isinstance(x, tuple) else (x,)
        if isinstance(first, np.ndarray):
            with room.on(room.current_device()):
                arrays = tuple(room.upload(array) for array in (first, *others))
                result = _compute(room, plan, arrays if others else arrays[0], prepared)
                if isinstance(result, tuple):
                    return room.download(result[0], out), room.download(result[1], None)
                return room.download(result, out)
        device = room.device_of(first)
        for array in others:
            if room.device_of(array) != device:
                raise DeviceError(
                    f"{plan.op}: the residual is on device {room.device_of(array)}, the input on device {device}; "
                    "move one of them"
                )
        if out is not None and room.device_of(out) != device:
            raise DeviceError(f"{plan.op}: out is on device {room.device_of(out)}, the input on device {device}")
        with room.on(device):
            return _compute(room, plan, x, prepared, out)

    def on_device_of(self, op: str, arrays: tuple[Any, ...]) -> contextlib.AbstractContextManager[Any]:
        """Where CuPy may compute with ``arrays``: their device is the current one inside."""
        self._room.check_process()
        first, *others = (self._room.device_of(array) for array in arrays)
        for device in others:
            if device != first:
                raise DeviceError(f"{op}: its arrays lie on devices {first} and {device}; move them to one")
        return self._room.on(first)

    def known_calls(self) -> KnownCalls:
        """What a function or a layer keeps of the calls that it has met."""
        return KnownCalls(self._room, _compute)

    def describe(self) -> dict[str, str]:
        """What show_config says of this backend."""
        return self._room.describe()
