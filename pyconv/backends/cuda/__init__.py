"""The CUDA backend: kernels in ``kernels/*.cu``, built by CuPy when they are first used, on CuPy's memory and streams.

A plan decides everything before anything runs: a module for each kind of operation turns it into a kernel with its
macros, a grid and one struct of arguments. :mod:`device` alone talks to the device.
"""

from __future__ import annotations

from collections.abc import Hashable
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import DeviceError
from ...plan import HALF_DTYPES, AxisPlan, ConvPlan, ElementwisePlan, Plan, PoolPlan
from . import axis, channels, conv, elementwise, pool
from .known import KnownCalls

__all__ = ["CudaBackend", "unusable"]


def unusable() -> str | None:
    """The reason why the backend cannot be used here, or None."""
    from .device import unusable as reason

    return reason()


def _elementwise(plan: ElementwisePlan) -> ModuleType:
    return channels if plan.op in channels.FUNCTIONS else elementwise


def _compute(room: Any, plan: Plan, x: Any, prepared: Any, out: Any = None) -> Any:
    """Run a plan on ``x``, which lies on the current device."""
    if isinstance(plan, ConvPlan):
        return conv.run(room, plan, x, prepared, out)
    if isinstance(plan, PoolPlan):
        return pool.run(room, plan, x, out)
    if isinstance(plan, AxisPlan):
        return axis.run(room, plan, x, out)
    assert isinstance(plan, ElementwisePlan)  # supports() refuses the others
    return _elementwise(plan).run(room, plan, x, prepared, out)


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
        if isinstance(plan, ConvPlan):
            return conv.implementations(plan)
        if isinstance(plan, PoolPlan):
            return pool.implementations(plan)
        if isinstance(plan, ElementwisePlan):
            return _elementwise(plan).implementations(plan)
        if isinstance(plan, AxisPlan):
            return axis.implementations(plan)
        return [("none", f"there is no CUDA kernel for {plan.op}")]

    def supports(self, plan: Plan) -> str | None:
        """None if an implementation takes the plan, else every one's reason."""
        if plan.dtype in HALF_DTYPES and not isinstance(plan, ConvPlan):
            return f"only convolutions compute in {plan.dtype}"
        refusals = []
        for name, reason in self.implementations(plan):
            if reason is None:
                return None
            refusals.append(f"{name}: {reason}")
        return "; ".join(refusals)

    def prepare_key(self, plan: Plan) -> Hashable:
        """Plans with equal keys share prepared weights."""
        return conv.prepare_key(plan) if isinstance(plan, ConvPlan) else None

    def prepare(self, plan: Plan, weight: Any = None, bias: Any = None) -> Any:
        """Packed weights, or numbers for each channel: on the weight's device or, from NumPy, the current one."""
        self._room.check_process()
        if isinstance(plan, ConvPlan):
            return conv.prepare(self._room, plan, weight, bias)
        if isinstance(plan, ElementwisePlan) and plan.op in channels.FUNCTIONS:
            return channels.prepare(self._room, plan, weight, bias)
        return None

    def run(self, plan: Plan, x: Any, prepared: Any = None, out: Any = None) -> Any:
        """Run the plan on ``x``: a CuPy array on the current stream of its device, or a NumPy array and back."""
        room = self._room
        room.check_process()
        if isinstance(x, np.ndarray):
            with room.on(room.current_device()):
                result = _compute(room, plan, room.upload(x), prepared)
                if isinstance(result, tuple):
                    return room.download(result[0], out), room.download(result[1], None)
                return room.download(result, out)
        device = room.device_of(x)
        if out is not None and room.device_of(out) != device:
            raise DeviceError(f"{plan.op}: out is on device {room.device_of(out)}, the input on device {device}")
        with room.on(device):
            return _compute(room, plan, x, prepared, out)

    def known_calls(self) -> KnownCalls:
        """What a function or a layer keeps of the calls that it has met."""
        return KnownCalls(self._room, _compute)

    def describe(self) -> dict[str, str]:
        """What show_config says of this backend."""
        return self._room.describe()
