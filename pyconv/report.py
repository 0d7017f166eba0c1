"""Telling the user what pyconv would do, and what it is running on."""

from __future__ import annotations

import contextlib
import inspect
import platform
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from . import functional, registry
from .errors import ArgumentError, BackendError, PyconvError
from .functional.call import Call
from .nn import Module, Residual, Sequential
from .nn.group import Group
from .nn.linear import Linear
from .nn.lines import Lines
from .nn.shape import Reshaping
from .plan import (
    AxisPlan,
    Cost,
    ElementwisePlan,
    FusedPlan,
    Plan,
    PoolPlan,
    check_flag,
    describe,
    empty_in_order,
    traffic,
)
from .timing import best_seconds
from .version import __version__

__all__ = ["Explanation", "Step", "explain", "show_config"]


class Step(NamedTuple):
    """One operation of an explanation."""

    name: str
    plan: Plan
    backend: str | None
    implementation: str | None
    candidates: tuple[tuple[str, str | None], ...]
    """(backend or backend:implementation, None or the reason for refusing), in the order in which they are tried."""
    costs: Mapping[str, Cost] = MappingProxyType({})
    """What those of ``candidates`` expect to need that take the plan and can tell."""
    measured: Mapping[str, float] = MappingProxyType({})
    """Seconds of a call by candidates of the backend that runs it, if that was asked for, or chose one of them."""
    note: str = ""
    """Why it is not run as one with what follows it, though such layers can be."""


class Explanation(NamedTuple):
    """What would run, step by step. Its repr is the text."""

    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        lines = []
        for step in self.steps:
            chosen = f"{step.backend}:{step.implementation}" if step.backend else "nothing can run it"
            lines.append(f"{step.name}: {step.plan.op} {describe(step.plan)} -> {chosen}")
            lines.append(f"    {_work(step.plan)}")
            lines += [f"    layer by layer: {step.note}"] if step.note else []
            lines += [f"    {'; '.join(_words(step, *candidate))}" for candidate in step.candidates]
        return "\n".join(lines)


def _work(plan: Plan) -> str:
    """The plan's arithmetic and traffic."""
    flops = [f"{_short(plan.flops, 'FLOP')} by the plain sum"] if hasattr(plan, "flops") else []
    arrays = [f"{name} {_short(size, 'B')}" for name, size in traffic(plan)._asdict().items() if size]
    saved = [f"{_short(plan.saved_bytes, 'B')} between the parts not moved"] if isinstance(plan, FusedPlan) else []
    return "; ".join([*flops, ", ".join(arrays) or "no data", *saved])


def _words(step: Step, name: str, reason: str | None) -> list[str]:
    """What there is to say of a candidate."""
    words = [f"{name}: {'runs' if reason is None else reason}"]
    cost = step.costs.get(name, Cost())
    costs = [
        f"{word}{_short(value, unit)}{rest}"
        for word, value, unit, rest in (
            ("estimated ", cost.seconds, "s", ""),
            ("", cost.flops, "FLOP", ""),
            ("", cost.bytes, "B", " moved"),
            ("", cost.workspace, "B", " workspace"),
        )
        if value is not None
    ]
    words += [", ".join(costs)] if costs else []
    if name in step.measured and not (reason or "").startswith("measured"):
        words.append(f"measured {_short(step.measured[name], 's')}")
    return words


def _short(value: float, unit: str) -> str:
    """Three digits and a prefix: '803 kB', '1.20 ms'."""
    factors = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1, "m": 1e-3, "µ": 1e-6, "n": 1e-9}
    prefix = next((prefix for prefix, factor in factors.items() if value >= 0.9995 * factor), "n" if value else "")
    scaled = value / factors[prefix]
    digits = 0 if scaled >= 99.95 or (not prefix and scaled == int(scaled)) else 1 if scaled >= 9.995 else 2
    return f"{scaled:.{digits}f} {prefix}{unit}"


def explain(op: Any, input: Any, *args: Any, measure: bool = False, **kwargs: Any) -> Explanation:
    """Which backend and implementation would run an operation, why not the others, and what they expect to need.

    Nothing is computed, unless ``measure`` or ``algorithm="measure"`` ask for it. Whether kernels are separable is
    seen; that images and weights are not finite, which are summed directly in the end, is not. Flops and bytes of the
    operation are those of the plain sum and of its arrays, each counted once; those of a candidate are its own. Its
    seconds are those of its arithmetic and of packing, shared out evenly over the threads: what it takes to wake these,
    to choose, and to bring arrays from memory comes on top.

    Parameters
    ----------
    op : Module or function of :mod:`pyconv.functional`
    input : array
        What it would be called with.
    *args, **kwargs
        The function's further arguments; a layer takes none.
    measure : bool, default False
        Run every implementation of the chosen backend that takes the operation on ``input``, several times, and show
        the shortest time of each. Of a backend that cannot run one of them by name, only the first.

    Returns
    -------
    Explanation
        Named tuples; its text, as shown by ``print`` and at a prompt, has a paragraph for each step.

    Raises
    ------
    PyconvError
        What calling the operation would raise for its arguments.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.zeros((1, 3, 8, 8), np.float32)
    >>> print(pyconv.explain(pyconv.functional.relu, x, backend="reference"))
    relu: relu float32 1x3x8x8 -> reference:numpy
        input 768 B, output 768 B
        reference:numpy: runs
    """
    return Explanation(tuple(_steps(op, input, args, kwargs, check_flag("explain", "measure", measure))))


def _steps(op: Any, input: Any, args: tuple[Any, ...], kwargs: dict[str, Any], measure: bool) -> list[Step]:
    if isinstance(op, Module):
        if args or kwargs:
            raise ArgumentError("explain: a layer takes only the input")
        return _module_steps(type(op).__name__, op, input, measure)
    call, backend = function_call(op, (input, *args), kwargs)
    return [_step(op.__name__, call, backend, measure)]


def _module_steps(name: str, module: Module, input: Any, measure: bool) -> list[Step]:
    if isinstance(module, Group):
        return _group_steps(module, input, measure)
    if isinstance(module, Residual):
        return _residual_steps(module, input, measure)
    if isinstance(module, Reshaping):
        return []
    if type(module).plan_call is Module.plan_call:
        layers = ", ".join(child for child, _ in module.named_children()) or "it has none"
        place = f"layer {name.partition(')')[0][1:]!r}, " if name.startswith("(") else ""
        raise ArgumentError(
            f"explain: {place}{type(module).__name__} is run by a forward of its own, which only a call can tell; "
            f"explain its layers one by one ({layers})"
        )
    if not isinstance(module, Sequential):
        try:
            call = module.plan_call(input)
        except PyconvError as error:
            error.prefix(f"{name}: {module!r}" if name.startswith("(") else repr(module))
            raise
        return [_step(name, call, module.backend, measure)]
    return _steps_and_result("", module, input, measure)[0]


def _steps_and_result(name: str, layer: Module, input: Any, measure: bool) -> tuple[list[Step], Any]:
    """The steps of a layer in another, and what comes out."""
    if isinstance(layer, Sequential):
        steps: list[Step] = []
        for child, part in layer.parts().items():
            more, input = _steps_and_result(child, part, input, measure)
            steps += more
        return steps, input
    steps = _module_steps(_titled(name, layer), layer, input, measure)
    if measure or not steps:
        return steps, layer(input)
    if isinstance(layer, Linear):
        return steps, np.empty((*input.shape[:-1], layer.out_features), steps[-1].plan.dtype)
    return steps, _result(steps[-1].plan, input, isinstance(layer, Lines))


def _residual_steps(block: Residual, input: Any, measure: bool) -> list[Step]:
    """The steps of the body, of the shortcut, and of what comes after the addition."""
    block.check(input)
    front, shortcut, ending, activation, names, reason = block.pieces()
    steps, result = ([], input) if front is None else _steps_and_result("", front, input, measure)
    if ending is None and steps:
        steps[-1] = steps[-1]._replace(note=f"the residual is added by itself: {reason}")
    added = input
    if shortcut is not None:
        more, added = _steps_and_result(names[1], shortcut, input, measure)
        named = isinstance(shortcut, Sequential | Residual)  # whose steps do not say where they are
        steps += [step._replace(name=f"({names[1]}) {step.name}") for step in more] if named else more
    if ending is not None:
        if type(added) is not type(result):  # of another package's arrays, planning gives NumPy's
            added = np.empty(added.shape, added.dtype)
        more = _group_steps(ending, (result, added), measure)
        steps += more
        result = ending((result, added)) if measure else _result(more[-1].plan, result)
    return steps + (_steps_and_result(names[3], activation, result, measure)[0] if activation is not None else [])


def _titled(name: str, layer: Module) -> str:
    return f"({name}) {type(layer).__name__}"


def _group_steps(group: Group, input: Any, measure: bool) -> list[Step]:
    """One step if the layers are run as one, else theirs, the first with the reason. ``input`` may be a pair."""
    call, backend, reason = group.as_one(input)
    adds = type(input) is tuple
    if call is not None and backend is not None:
        names = [_titled(*named) for named in group.layers.items()]
        if adds:
            names.insert(len(names) - group.is_active, "residual")
        return [_step(" + ".join(names), call, backend.name, measure)]
    steps: list[Step] = []
    if adds and group.is_active:
        steps = _group_steps(group.without_last(), input, measure)
        parts, input = dict([group.last]), group.without_last()(input) if measure else _result(steps[-1].plan, input[0])
    else:
        parts, input = (group.parts(), input[0]) if adds else (group.pieces(), input)
    for name, layer in parts.items():
        more, input = _steps_and_result(name, layer, input, measure)
        steps += more
    return [steps[0]._replace(note=reason or ""), *steps[1:]]


def _result(plan: Plan, input: Any, lines: bool = False) -> Any:
    """What comes out, as far as planning goes: shape, dtype and order of axes; its memory is never touched.

    ``lines``: the plan is of images of height 1, where the input and the result have none.
    """
    if isinstance(plan, ElementwisePlan):  # of several layers' plans the last: then its input is not theirs
        same = plan.out_shape == input.shape
        return np.empty_like(input, subok=False) if same else np.empty(plan.out_shape, plan.dtype)
    if isinstance(plan, PoolPlan):
        result = empty_in_order(plan.out_shape, plan.dtype, plan.out_order)
    else:
        result = np.empty(plan.out_shape, plan.dtype)
    if lines:
        return result[:, :, 0] if input.ndim == 3 else result[0, :, 0]
    return result[0] if not isinstance(plan, AxisPlan) and input.ndim == 3 else result


def function_call(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Call, Any]:
    """The call that a function of pyconv.functional would plan, and its ``backend`` argument."""
    if not any(op is getattr(functional, known) for known in functional.__all__):
        raise ArgumentError(f"explain: op must be a layer or a function of pyconv.functional, got {op!r}")
    bound = inspect.signature(op).bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    backend = arguments.pop("backend")
    return op.plan_call(**arguments), backend


def _step(name: str, call: Call, argument: Any, measure: bool) -> Step:
    candidates: list[tuple[str, str | None]] = []
    costs: dict[str, Cost] = {}
    measured: dict[str, float] = {}
    chosen: tuple[str | None, str | None] = (None, None)
    for backend_name in registry.order(call.kind, argument):
        backend, reason = registry.candidate(backend_name, call.plan, call.kind)
        if backend is None:
            candidates.append((backend_name, reason))
            continue
        listed = _listed(backend, backend_name, call)
        telling = getattr(backend, "costs", None)
        costs |= {f"{backend_name}:{key}": cost for key, cost in telling(call.plan).items()} if telling else {}
        if chosen[0] is None:
            deciding = getattr(backend, "times", None)
            found = _measured(backend, call, listed) if measure else deciding(call.plan) if deciding else {}
            measured = {f"{backend_name}:{key}": time for key, time in found.items()}
        for implementation, refusal in listed:
            if refusal is None and chosen[0] is None:
                chosen = (backend_name, implementation)
                candidates.append((f"{backend_name}:{implementation}", None))
            else:
                candidates.append((f"{backend_name}:{implementation}", refusal or "comes later in the order"))
    return Step(name, call.plan, *chosen, tuple(candidates), costs, measured)


def _listed(backend: Any, name: str, call: Call) -> list[tuple[str, str | None]]:
    """A backend's implementations, or itself."""
    if call.weight is not None and hasattr(backend, "implementations_for"):
        return backend.implementations_for(call.plan, call.weight)
    return backend.implementations(call.plan) if hasattr(backend, "implementations") else [(name, None)]


def _measured(backend: Any, call: Call, listed: list[tuple[str, str | None]]) -> dict[str, float]:
    """Seconds of a call by those of a backend's implementations that take it, or by the first."""
    taking = [name for name, refusal in listed if refusal is None]
    prepare_with = getattr(backend, "prepare_with", None) if call.weight is not None else None

    def runs(name: str) -> Callable[[], Any]:
        prepare = partial(partial(prepare_with, name) if prepare_with else backend.prepare, call.plan)
        if not getattr(call.plan, "keeps_weights", True):
            return lambda: backend.run(call.plan, call.x, prepare(call.weight, call.bias), None)
        return partial(backend.run, call.plan, call.x, prepare(call.weight, call.bias), None)

    return best_seconds({name: runs(name) for name in (taking if prepare_with else taking[:1])})


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print versions, threads, instruction set and backends.

    Parameters
    ----------
    mode : {'stdout', 'dicts'}, default 'stdout'
        'dicts' returns them as a dict in place of printing, as ``numpy.show_config`` does.
    """
    if mode not in ("stdout", "dicts"):
        raise ArgumentError(f"show_config: mode must be 'stdout' or 'dicts', got {mode!r}")
    config: dict[str, Any] = {
        "pyconv": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "backends": {status.name: status._asdict() for status in registry.backends()},
    }
    try:
        order, how = registry.order("numpy"), "automatic" if registry.requested() is None else "asked for"
        for name in order:
            with contextlib.suppress(BackendError):  # the next one is tried; a nonsense setting ends every operation
                registry.load(name)
        usable = [name for name in order if config["backends"][name]["usable"]]
        config["chosen"] = f"{', '.join(usable) or 'none that is usable'} ({how}), for NumPy arrays"
    except PyconvError as error:  # the very thing a bug report is about
        config["chosen"] = f"none: {error}"
    for name in ("cpu", "cuda"):
        if config["backends"][name]["usable"]:
            config[name] = registry.load(name).describe()  # type: ignore[attr-defined]
    if mode == "dicts":
        return config
    for key in ("pyconv", "python", "numpy", "machine"):
        print(f"{key + ':':12}{config[key]}")
    for key, value in {**config.get("cpu", {}), **config.get("cuda", {})}.items():
        print(f"{key + ':':12}{value}")
    print(f"{'chosen:':12}{config['chosen']}")
    print("backends:")
    for name, status in config["backends"].items():
        state = status["summary"] if status["usable"] else f"not usable: {status['reason']}"
        print(f"  {name + ':':12}{state} [{status['source']}]")
    return None
