"""Transposed convolution by phases: convolutions of stride 1 (see :mod:`pyconv.plan.transposed`), and their places."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...plan import ConvPlan, PhasePart, TransposedPlan, phase_parts
from . import conv
from .kept import Kept
from .kernel import DTYPES, INDEX_TYPES, Kernel, Launch, struct
from .memory import given_back
from .plans import INT_LIMIT

__all__ = ["Phases", "kernels", "label", "launch", "prepare", "refusal", "run", "suits"]

_MOST_STARTS = 8  # phases along an axis
_ARGUMENTS = struct(
    phases="u8", out="u8", work="i8", channels="i4", groups="i4", size=("i4", 2), out_size=("i4", 2), stride=("i4", 2),
    counts=("i4", 2), starts=("i4", (2, _MOST_STARTS)),
)  # fmt: skip
_THREADS = 256


class Phases(NamedTuple):
    """The prepared weights of every convolution."""

    parts: tuple[Kept, ...]

    def on(self, device: int) -> None:
        """Have the current stream wait for them; see :class:`Kept`."""
        for part in self.parts:
            part.on(device)


def label(plan: TransposedPlan, tensor_cores: int) -> str:
    """The implementation's name, with those of its convolutions."""
    names = [_chosen(part, tensor_cores) for part in phase_parts(plan)]
    return f"phases({', '.join(dict.fromkeys(name for name in names if name))})"


def _chosen(part: PhasePart, tensor_cores: int) -> str | None:
    return next((name for name, reason in conv.implementations(part.plan, tensor_cores) if reason is None), None)


@lru_cache(maxsize=1024)
def refusal(plan: TransposedPlan, tensor_cores: int) -> str | None:
    """None if it takes the plan, else the reason why not."""
    parts = phase_parts(plan)
    reached = sum(len(part.starts) * prod(part.plan.out_size) for part in parts)
    if reached < prod(plan.out_size):
        return "some outputs are reached by no pixel"
    if not plan.batch:
        return "there is nothing to compute"
    if max(plan.stride) > _MOST_STARTS:
        return f"a stride of {max(plan.stride)} has more than {_MOST_STARTS} phases"
    if any(_chosen(part, tensor_cores) is None for part in parts):
        return "one of its convolutions has no implementation"
    return next((launch(plan, part.plan).refusal for part in parts if launch(plan, part.plan).refusal), None)


def suits(plan: TransposedPlan, weight: Any) -> bool:
    """Whether these weights may be multiplied with the borders that the convolutions add.

    There 0 * inf would be NaN, where the definition has nothing. Of weights on the device nobody knows: looking at
    them would mean waiting.
    """
    borders = any(part.plan.padding != ((0, 0), (0, 0)) for part in phase_parts(plan))
    return not borders or (isinstance(weight, np.ndarray) and bool(np.isfinite(weight).all()))


def _starts(part: PhasePart) -> tuple[list[int], list[int]]:
    """The first rows and columns of the phases: there is one for each pair of them, columns counted first."""
    rows, columns = (list(dict.fromkeys(start[axis] for start in part.starts)) for axis in (0, 1))
    assert part.starts == tuple(product(rows, columns))
    return rows, columns


@lru_cache(maxsize=1024)
def launch(plan: TransposedPlan, phases: ConvPlan) -> Launch:
    """Kernel, grid and block of putting a convolution's result where it belongs."""
    work = prod(phases.out_shape)
    index = INDEX_TYPES[max(work + _THREADS, *(2 * size for size in plan.out_size)) > INT_LIMIT]
    return Launch(_kernel(plan.dtype, index), -(-work // _THREADS), _THREADS)


def kernels() -> Iterator[Kernel]:
    """Every kernel that a plan may ask for."""
    for dtype, index in product(DTYPES[:2], INDEX_TYPES):
        yield _kernel(dtype, index)


def _kernel(dtype: str, index: str) -> Kernel:
    return Kernel.of("interleave", dtype, _ARGUMENTS, INDEX=index)


def prepare(room: Any, plan: TransposedPlan, weight: Any, bias: Any) -> Phases:
    """The weights of every convolution, packed."""
    device = room.current_device() if isinstance(weight, np.ndarray) else room.device_of(weight)
    found = []
    with room.on(device):
        for part in phase_parts(plan):
            weights = part.weights(weight) if isinstance(weight, np.ndarray) else _weights(room, part, weight)
            found.append(conv.prepare(room, part.plan, weights, None if bias is None else _biases(room, part, bias)))
    return Phases(tuple(found))


def _weights(room: Any, part: PhasePart, weight: Any) -> Any:
    """The same as ``part.weights``, by slices alone."""
    groups, phases = part.plan.groups, len(part.starts)
    per_in, per_out = part.plan.in_channels // groups, weight.shape[1]
    split = weight.reshape(groups, per_in, per_out, *weight.shape[2:])
    merged = room.empty((groups, phases, per_out, per_in, *part.plan.kernel), weight.dtype)
    for phase, taps in enumerate(part.taps):
        rows, columns = map(_slice, taps)
        room.assign(merged[:, phase], split[:, :, :, rows, columns].transpose((0, 2, 1, 3, 4)))
    return merged.reshape(groups * phases * per_out, per_in, *part.plan.kernel)


def _slice(taps: tuple[int, ...]) -> slice:
    """The same numbers, which go down by equal steps."""
    step = taps[1] - taps[0] if len(taps) > 1 else -1
    end = taps[-1] + step
    return slice(taps[0], None if end < 0 else end, step)


def _biases(room: Any, part: PhasePart, bias: Any) -> Any:
    """The same as ``part.biases``."""
    if isinstance(bias, np.ndarray):
        return part.biases(bias)
    groups, phases = part.plan.groups, len(part.starts)
    merged = room.empty((groups, phases, bias.shape[0] // groups), bias.dtype)
    for phase in range(phases):
        room.assign(merged[:, phase], bias.reshape(groups, -1))
    return merged.reshape(-1)


def run(room: Any, plan: TransposedPlan, x: Any, prepared: Phases, out: Any) -> Any:
    """Run the plan on ``x``, which lies on the current device."""
    x, parts = room.readable(x), phase_parts(plan)
    if plan.stride == (1, 1):
        [part], [weights] = parts, prepared.parts
        return conv.run(room, part.plan, x[:, :, part.rows, part.columns], weights, out)
    result = out if room.writable(out) else room.empty(plan.out_shape, x.dtype)
    for part, weights in zip(parts, prepared.parts, strict=True):
        sums = conv.run(room, part.plan, x[:, :, part.rows, part.columns], weights, None)
        room.launch(launch(plan, part.plan), _arguments(plan, part, room.address(sums), room.address(result)))
    return given_back(room, result, out)


def _arguments(plan: TransposedPlan, part: PhasePart, phases: int, out: int) -> np.ndarray:
    """The struct of putting a convolution's result where it belongs."""
    packed = np.zeros(1, _ARGUMENTS)
    packed["phases"], packed["out"], packed["work"] = phases, out, prod(part.plan.out_shape)
    packed["channels"], packed["groups"] = plan.out_channels // plan.groups, plan.groups
    packed["size"], packed["out_size"], packed["stride"] = part.plan.out_size, plan.out_size, plan.stride
    for axis, starts in enumerate(_starts(part)):
        packed["counts"][0, axis] = len(starts)
        packed["starts"][0, axis, : len(starts)] = starts
    return packed
