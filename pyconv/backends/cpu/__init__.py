"""The cpu backend: compiled C kernels, chosen by instruction set, run by OpenMP threads."""

from __future__ import annotations

from collections.abc import Hashable
from types import ModuleType
from typing import Any

from ... import environment
from ...plan import DTYPES, ConvPlan, Cost, FoldPlan, FusedPlan, Plan, PoolPlan, TransposedPlan, UnpoolPlan

__all__ = ["CpuBackend", "unusable"]


def unusable() -> str | None:
    """The reason why the backend cannot be used here, or None."""
    try:
        from ..._core import calls, chains, conv, elementwise, fused, pool, runtime, transposed  # noqa: F401
    except ImportError as error:
        return f"the compiled core cannot be imported ({error}); build it with pip install . in a clone"
    return None


class CpuBackend:
    """Hands each plan to the module of its operation."""

    name = "cpu"
    api_version = 1
    array_types = ("numpy",)

    def __init__(self) -> None:
        from ..._core import tasks
        from . import conv, elementwise, fold, fused, isa, known, norm, pool, threads, transposed

        self._fused, self._transposed, self._fold = fused, transposed, fold
        self._conv, self._pool, self._elementwise, self._norm = conv, pool, elementwise, norm
        self._isa, self._threads, self._tasks, self.known_calls = isa, threads, tasks, known.KnownCalls
        # a bad PYCONV_CPU_ISA or PYCONV_NUM_THREADS is an error now, not in the middle of an operation
        isa.current()
        threads.wanted()

    def _module(self, plan: Plan) -> ModuleType:
        if isinstance(plan, ConvPlan):
            return self._conv
        if isinstance(plan, FusedPlan):
            return self._fused
        if isinstance(plan, TransposedPlan):
            return self._transposed
        if isinstance(plan, FoldPlan):
            return self._fold
        if plan.op == "batch_norm":
            return self._norm
        return self._pool if isinstance(plan, PoolPlan | UnpoolPlan) else self._elementwise

    def implementations(self, plan: Plan) -> list[tuple[str, str | None]]:
        """(name, None or the reason for refusing), in the order in which they are tried."""
        return self._module(plan).implementations(plan)

    def implementations_for(self, plan: Plan, weight: Any) -> list[tuple[str, str | None]]:
        """The same for a plan with these weights: some implementations of convolution go by their numbers."""
        if isinstance(plan, ConvPlan | FusedPlan):
            return self._module(plan).implementations(plan, weight)
        return self.implementations(plan)

    def costs(self, plan: Plan) -> dict[str, Cost]:
        """What implementations of a convolution, or of a group with one, expect to need, by name."""
        known = isinstance(plan, ConvPlan | TransposedPlan | FusedPlan)
        return self._module(plan).costs(plan) if known else {}

    def times(self, plan: Plan) -> dict[str, float]:
        """Seconds that were measured to choose an implementation of a convolution, by name."""
        return self._conv.times(plan) if isinstance(plan, ConvPlan) else {}

    def fuses(self, plan: FusedPlan) -> str | None:
        """None if the plan's parts can be run as one, else the reason why not."""
        return self.supports(plan.conv) or self._fused.refusal(plan)

    def supports(self, plan: Plan) -> str | None:
        """None if an implementation takes the plan, else every one's reason."""
        if plan.dtype not in DTYPES:
            return f"it computes in {' and '.join(DTYPES)}, not {plan.dtype}; pass input.astype(np.float32)"
        refusals = []
        for name, reason in self.implementations(plan):
            if reason is None:
                return None
            refusals.append(f"{name}: {reason}")
        return "; ".join(refusals)

    def prepare_key(self, plan: Plan) -> Hashable:
        """Plans with equal keys share prepared weights."""
        has_weights = isinstance(plan, ConvPlan | FusedPlan | TransposedPlan)
        return self._module(plan).prepare_key(plan) if has_weights else None

    def prepare(self, plan: Plan, weight: Any = None, bias: Any = None) -> Any:
        """Packed weights, slopes for prelu, scales and shifts of channels, indices for unpooling, or nothing."""
        if isinstance(plan, ConvPlan | FusedPlan | TransposedPlan) or plan.op == "batch_norm":
            return self._module(plan).prepare(plan, weight, bias)
        return self._module(plan).prepare(plan, weight)

    def prepare_with(self, implementation: str, plan: Plan, weight: Any = None, bias: Any = None) -> Any:
        """Weights prepared so that ``run`` uses the implementation of this name."""
        if isinstance(plan, FusedPlan):
            implementation, plan = self._fused.of_convolution(implementation), plan.conv
        if isinstance(plan, ConvPlan):
            return self._conv.prepare_with(implementation, plan, weight, bias)
        return self.prepare(plan, weight, bias)  # the others have one that takes weights

    def run(self, plan: Plan, x: Any, prepared: Any = None, out: Any = None) -> Any:
        """Run the plan on ``x``."""
        return self._module(plan).run(plan, x, prepared, out)

    def describe(self) -> dict[str, str]:
        """What show_config says of this backend."""
        found = {
            "cpu isa": f"{self._isa.name()} (of {', '.join(self._isa.names())})",
            "threads": str(self._threads.count()),
        }
        if seconds := self._tasks.resting():
            found["threads"] += f" (1 for {seconds:.3f} s of work: waiting for the others took far longer than theirs)"
        if path := environment.text("PYCONV_MEASURED"):
            found["measured"] = path
        return found
