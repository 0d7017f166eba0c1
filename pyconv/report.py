"""Telling the user what pyconv would do, and what it is running on."""

from __future__ import annotations

import inspect
import platform
from typing import Any, NamedTuple

import numpy as np

from . import functional, registry
from .errors import ArgumentError, PyconvError
from .functional.activation import plan_call_activation
from .functional.call import Call
from .functional.conv import plan_call_conv2d
from .functional.pool import plan_call_max_pool2d
from .nn import Module, Sequential
from .plan import ACTIVATIONS, ElementwisePlan, Plan, conv_parameters, describe, pool_parameters
from .version import __version__

__all__ = ["Explanation", "Step", "explain", "explanation", "show_config"]


class Step(NamedTuple):
    """One operation of an explanation."""

    name: str
    plan: Plan
    backend: str | None
    implementation: str | None
    candidates: tuple[tuple[str, str | None], ...]
    """(backend or backend:implementation, None or the reason for refusing), in the order in which they are tried."""


class Explanation(NamedTuple):
    """What would run, step by step; ``print`` it."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        lines = []
        for step in self.steps:
            chosen = f"{step.backend}:{step.implementation}" if step.backend else "nothing can run it"
            lines.append(f"{step.name}: {step.plan.op} {describe(step.plan)} -> {chosen}")
            lines += [f"    {name}: {'runs' if reason is None else reason}" for name, reason in step.candidates]
        return "\n".join(lines)


def explain(op: Any, input: Any, *args: Any, **kwargs: Any) -> Explanation:
    """Print which backend and implementation would run an operation, and why not the others; nothing is computed.

    What goes by the numbers is not seen: images and weights that are not finite are summed directly in the end.

    Parameters
    ----------
    op : Module or function of :mod:`pyconv.functional`
    input : array
        What it would be called with.
    *args, **kwargs
        The function's further arguments; a layer takes none.

    Returns
    -------
    Explanation
        What was printed, as named tuples.

    Raises
    ------
    PyconvError
        What calling the operation would raise for its arguments.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.zeros((1, 3, 8, 8), np.float32)
    >>> found = pyconv.explain(pyconv.ReLU(), x, backend="reference")  # doctest: +SKIP
    """
    found = explanation(op, input, *args, **kwargs)
    print(found)
    return found


def explanation(op: Any, input: Any, *args: Any, **kwargs: Any) -> Explanation:
    """What :func:`explain` prints, without printing it."""
    return Explanation(tuple(_steps(op, input, args, kwargs)))


def _steps(op: Any, input: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Step]:
    if isinstance(op, Module):
        if args or kwargs:
            raise ArgumentError("explain: a layer takes only the input")
        return _module_steps(type(op).__name__, op, input)
    call, backend = function_call(op, (input, *args), kwargs)
    return [_step(call.plan.op, call, backend)]


def _module_steps(name: str, module: Module, input: Any) -> list[Step]:
    if not isinstance(module, Sequential):
        try:
            call = module.plan_call(input)
        except PyconvError as error:
            error.prefix(f"{name}: {module!r}" if name.startswith("(") else repr(module))
            raise
        return [_step(name, call, module.backend)]
    steps: list[Step] = []
    for child, layer in module.named_children():
        steps += _module_steps(f"({child}) {type(layer).__name__}", layer, input)
        # what comes out, as far as planning goes: shape, dtype and order of axes; its memory is never touched
        if steps and isinstance(steps[-1].plan, ElementwisePlan):
            input = np.empty_like(input, subok=False)
        elif steps:
            plan = steps[-1].plan
            input = np.empty(plan.out_shape if input.ndim == 4 else plan.out_shape[1:], plan.dtype)
    return steps


def function_call(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Call, Any]:
    """The call that a function of pyconv.functional would plan, and its ``backend`` argument."""
    name = getattr(op, "__name__", "")
    if not any(op is getattr(functional, known) for known in functional.__all__):
        raise ArgumentError(f"explain: op must be a layer or a function of pyconv.functional, got {op!r}")
    bound = inspect.signature(op).bind(*args, **kwargs)
    bound.apply_defaults()
    a = bound.arguments
    if name in ACTIVATIONS:
        call = plan_call_activation(name, a["input"], a["out"])
    elif name == "conv2d":
        parameters = conv_parameters(name, a["stride"], a["padding"], a["dilation"], a["groups"])
        call = plan_call_conv2d(a["input"], a["weight"], a["bias"], parameters, a["out"], a["algorithm"])
    else:
        windows = [a[key] for key in ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")]
        call = plan_call_max_pool2d(a["input"], pool_parameters(name, *windows), a["out"])
    return call, a["backend"]


def _step(name: str, call: Call, argument: Any) -> Step:
    candidates: list[tuple[str, str | None]] = []
    chosen: tuple[str | None, str | None] = (None, None)
    for backend_name in registry.order(call.kind, argument):
        backend, reason = registry.candidate(backend_name, call.plan, call.kind)
        if backend is None:
            candidates.append((backend_name, reason))
            continue
        listing = getattr(backend, "implementations", None)
        for implementation, refusal in listing(call.plan) if listing else [(backend_name, None)]:
            if refusal is None and chosen[0] is None:
                chosen = (backend_name, implementation)
                candidates.append((f"{backend_name}:{implementation}", None))
            else:
                candidates.append((f"{backend_name}:{implementation}", refusal or "comes later in the order"))
    return Step(name, call.plan, *chosen, tuple(candidates))


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
        order, named = ", ".join(registry.order("numpy")), registry.requested() is not None
        config["chosen"] = f"{order} ({'asked for' if named else 'automatic'}), for NumPy arrays"
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
