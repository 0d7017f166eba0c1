"""Which backend runs a plan: discovery, precedence, selection.

Precedence: the ``backend=`` argument, then :func:`use_backend`, then :func:`set_backend`, then ``PYCONV_BACKEND``
(one name or a comma list, tried in order), then automatic choice by array type. A backend that was named is never
replaced silently; only automatic choice goes on to the next one, with a warning where one cannot be used at all.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Hashable
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

from . import context, environment
from .backends import BUILTIN, BackendInfo, problem_of
from .errors import ArgumentError, BackendError, BackendWarning, ConfigurationError, DeviceError, UnsupportedDTypeError
from .plan import DTYPES, FusedPlan, Plan, array_kind

__all__ = [
    "Backend",
    "BackendStatus",
    "Settings",
    "backends",
    "candidate",
    "fusing",
    "load",
    "on_device_of",
    "order",
    "requested",
    "select",
    "set_backend",
    "settings",
    "use_backend",
]

GROUP = "pyconv.backends"


class Backend(Protocol):
    """What a backend object must have.

    It may also have these:

    ``implementations(plan) -> list[(name, None or the reason for refusing)]``
        For ``explain``: in the order in which they are tried.
    ``implementations_for(plan, weight) -> list[(name, None or the reason for refusing)]``
        For ``explain``, where it goes by the weights' numbers too: the same for these weights.
    ``costs(plan) -> Mapping[name, pyconv.plan.Cost]``
        For ``explain``: what implementations that take the plan expect to need; any of them may be left out.
    ``times(plan) -> Mapping[name, seconds]``
        What was measured to choose one of them, as ``algorithm="measure"`` asks for; for ``explain``.
    ``prepare_with(implementation, plan, weight, bias)``
        As ``prepare``, for a plan with weights, so that ``run`` uses the implementation of that name: then
        ``explain(..., measure=True)`` can time each of them.
    ``prepare_key(plan) -> Hashable``
        Plans with equal keys share one prepared weight. Without it each plan has its own.
    ``fuses(plan: FusedPlan) -> str | None``
        None if it can run a convolution and what follows it as one, else the reason why not. Then ``prepare`` and
        ``run`` get such plans, and ``prepare_key``, if there is one; where ``plan.has_residual``, ``x`` is a pair
        (x, residual). Without it the parts are run one after the other, as they are where it gives a reason; but what
        has a residual, it is then never asked to run. ``out`` may be the residual itself.
    ``known_calls() -> object``
        For calls that come again just as before: an object with
        ``run(input, weight, bias, out, parameters)``, the result of a call that it knows, or None, and
        ``note(plan, prepared, input, x, weight, bias, result, parameters, own_weights, settings)``, to know one. It
        must not know a call again unless type, dtype, shape and strides of ``input``, the values of ``parameters`` and
        all :class:`Settings` are those that were noted; and, unless the caller's ``own_weights`` do not change, the
        numbers in ``weight`` and ``bias``. ``x`` is ``input`` with a batch dimension, and maybe a copy; of a plan with
        a residual both are pairs with it. If it also has
        ``find(input, parameters)``, which gives what it knows of a call or None (and as its attribute ``result``, where
        it has one, the shape and dtype of a result that is in the order C), and
        ``join(calls, places, blocks, fit)``, which knows a call that is a chain of such calls, then a
        :class:`pyconv.Sequential` is one call. What lies between them may be in ``blocks``, the list of those that no
        call has at the moment: each a list of two arrays of bytes, or None; ``fit(block, half, size)`` makes one of
        the two large enough. And if it has
        ``join_residual(front, shortcut, last, places, blocks, fit)``, which knows ``last((front(x), shortcut(x)))``,
        calls or None for x itself, then so is a :class:`pyconv.Residual`.
    ``on_device_of(op, arrays) -> context manager``
        For the little arithmetic that planning does with the arrays' own package: their device is the current one
        inside. Raises DeviceError if they lie on several, or no device can be used.
    """

    name: str
    api_version: int
    array_types: tuple[str, ...]

    def supports(self, plan: Plan) -> str | None:
        """None if it can run the plan, else the reason why not."""

    def prepare(self, plan: Plan, weight: Any = None, bias: Any = None) -> Any:
        """Pack or transform the weights, once; the result is handed to ``run`` unchanged, and never modified.

        The indices of a max unpooling are its ``weight``.
        """

    def run(self, plan: Plan, x: Any, prepared: Any, out: Any = None) -> Any:
        """Compute. ``x`` may have any strides, byte order or alignment. Fill ``out`` if it is given; return the result.

        A pooling plan with ``return_indices`` returns (values, int64 indices).
        """


class Settings(NamedTuple):
    """The objects that decide backend and precision: while they are the same objects, so are these."""

    variable: ContextVar[Any]
    value: Any
    """What ``variable`` has to hold."""
    places: tuple[tuple[Any, ...], ...]
    """(dict, key, the object that has to be there), or (dict, key) if nothing may be there."""


class BackendStatus(NamedTuple):
    """One line of :func:`backends`."""

    name: str
    usable: bool
    reason: str | None
    array_types: tuple[str, ...]
    summary: str
    source: str


_interned: dict[tuple[str, ...], tuple[str, ...]] = {}  # equal names are the same object, for Settings
_default: tuple[str, ...] | None = None


def _attribute(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


@cache
def _discover() -> dict[str, tuple[BackendInfo, str]]:
    """Every known backend's info and where it came from, built-in ones first."""
    from importlib.metadata import entry_points  # slow to import, needed only when a backend is looked up

    found = {info.name: (info, "built in") for info in BUILTIN}
    for entry in entry_points(group=GROUP):
        where = f"entry point {entry.name} = {entry.value}"
        if entry.value.startswith("pyconv.backends:"):
            continue  # our own, declared like everybody's; they are known without the package's metadata too
        try:
            info = entry.load()
            info = info() if isinstance(info, type) else info
            problem = problem_of(info)
        except (Exception, SystemExit) as error:  # whatever a plug-in does, pyconv goes on without it
            problem = f"{type(error).__name__}: {error}"
        if problem is None and info.name in found:
            problem = f"the name {info.name!r} is taken by the one {found[info.name][1]}"
        if problem is not None:
            warnings.warn(f"pyconv leaves out the backend of {where}: {problem}", BackendWarning, stacklevel=2)
        else:
            found[info.name] = (info, where)
    return found


@cache
def _unusable(name: str) -> str | None:
    """The reason why a known backend cannot be used here, or None."""
    info, _ = _find(name)
    if not info.unusable:
        return None
    try:
        return _attribute(info.unusable)()
    except ConfigurationError:
        raise  # the user's to mend; going on to another backend would hide it
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _find(name: str) -> tuple[BackendInfo, str]:
    for info in BUILTIN:  # without reading every installed package's metadata
        if info.name == name:
            return info, "built in"
    return _discover()[name]


@cache
def load(name: str) -> Backend:
    """The backend called ``name``, imported at its first use. Raises BackendError if it cannot be used."""
    reason = _unusable(name)
    if reason is not None:
        raise BackendError(f"backend {name!r} cannot be used: {reason}")
    try:
        backend = _attribute(_find(name)[0].target)
        backend = backend() if isinstance(backend, type) else backend
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise BackendError(f"backend {name!r} failed to load: {type(error).__name__}: {error}") from error
    missing = [part for part in ("name", "array_types", "supports", "prepare", "run") if not hasattr(backend, part)]
    if missing:
        raise BackendError(f"backend {name!r} has no {', '.join(missing)} (see pyconv.registry.Backend)")
    return cast(Backend, backend)


def backends() -> list[BackendStatus]:
    """Every known backend, with the reason why it cannot be used here if it cannot.

    Returns
    -------
    list of BackendStatus
        Named tuples (name, usable, reason, array_types, summary, source), built-in ones first.
    """
    result = []
    for name, (info, source) in _discover().items():
        try:
            reason = _unusable(name)
            if reason is None:
                load(name)
        except (BackendError, ConfigurationError) as error:
            reason = str(error)
        result.append(BackendStatus(name, reason is None, reason, tuple(info.array_types), info.summary, source))
    return result


def _names(value: Any, origin: str) -> tuple[str, ...]:
    """A name, a comma list or a sequence of names, each of them known."""
    if isinstance(value, str):
        names = tuple(part.strip().lower() for part in value.split(","))
    elif isinstance(value, tuple | list) and value and all(isinstance(part, str) for part in value):
        names = tuple(part.strip().lower() for part in value)
    else:
        raise ArgumentError(f"{origin}: a backend is given by name (a str or several), got {value!r}")
    for name in names:
        try:
            _find(name)
        except KeyError:
            known = list(_discover())
            import difflib  # only for the error

            close = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ConfigurationError(
                f"{origin}: there is no backend {name!r}{hint}; installed: {', '.join(known)}"
            ) from None
    return _interned.setdefault(names, names)


def use_backend(name: str | None) -> contextlib.AbstractContextManager[None]:
    """Use a backend inside a ``with`` block, in this thread or task only.

    Parameters
    ----------
    name : str or None
        A backend's name, or a comma list to be tried in order; None goes back to
        :func:`set_backend`, ``PYCONV_BACKEND`` or automatic choice, also inside another block.

    Raises
    ------
    ConfigurationError
        If there is no backend of that name.
    """
    return context.asking(backend=None if name is None else _names(name, "use_backend"))


def set_backend(name: str | None) -> None:
    """Use a backend from now on, in the whole process; None takes that back.

    Parameters
    ----------
    name : str or None
        A backend's name, or a comma list to be tried in order.

    Raises
    ------
    ConfigurationError
        If there is no backend of that name.
    """
    global _default
    _default = None if name is None else _names(name, "set_backend")


@cache
def _from_environment(value: str) -> tuple[str, ...]:
    return _names(value, f"PYCONV_BACKEND={value!r}")


def requested(argument: Any = None) -> tuple[str, ...] | None:
    """The names that were asked for, by order of precedence; None where the choice is automatic."""
    if argument is not None:
        return _names(argument, "backend=")
    names = context.asked.get().backend or _default
    if names is None:
        value = environment.text("PYCONV_BACKEND")
        names = _from_environment(value) if value else None
    return names


def settings(argument: Any = None) -> Settings | None:
    """What :func:`requested` and the precision go by, to be compared without asking them; None if it cannot be."""
    names = ("PYCONV_PRECISION",) if argument is not None else ("PYCONV_PRECISION", "PYCONV_BACKEND")
    places = environment.places(*names)
    if places is None:
        return None
    if argument is None:
        places = (*places, (globals(), "_default", _default))
    return Settings(context.asked, context.asked.get(), places)


def select(plan: Plan, kind: str, argument: Any = None) -> Backend:
    """The backend that runs ``plan`` on arrays of package ``kind``.

    Raises
    ------
    BackendError
        If none that may be used can run it; the message lists each one's reason. UnsupportedDTypeError, which is a
        DTypeError too, if the dtype is one that only some backends compute in.
    """
    return _select(plan, kind, requested(argument))


def fusing(plan: FusedPlan, kind: str, argument: Any = None) -> tuple[Backend | None, str | None]:
    """The backend that runs each part of ``plan``, if it can run them as one; else None, and the reason why not."""
    names = requested(argument)
    key = (plan, kind, names)
    found = _fusing.get(key)
    if found is None:
        if len(_fusing) >= 1024:
            _fusing.clear()
        found = _fusing[key] = _fuse(plan, kind, names)
    return found


def _fuse(plan: FusedPlan, kind: str, names: tuple[str, ...] | None) -> tuple[Backend | None, str | None]:
    try:
        found = [_select(part, kind, names) for part in plan.parts]
    except BackendError as error:
        return None, str(error)
    if any(backend is not found[0] for backend in found):
        return None, f"its parts are run by different backends: {', '.join(backend.name for backend in found)}"
    return candidate(found[0].name, plan, kind)


_fusing: dict[Hashable, tuple[Backend | None, str | None]] = {}
_selected: dict[Hashable, Backend] = {}


def _select(plan: Plan, kind: str, names: tuple[str, ...] | None) -> Backend:
    key = (plan, kind, names)
    backend = _selected.get(key)
    if backend is None:
        if len(_selected) >= 1024:
            _selected.clear()
        backend = _selected[key] = _choose(plan, kind, names)
    return backend


def _choose(plan: Plan, kind: str, names: tuple[str, ...] | None) -> Backend:
    refusals: dict[str, str] = {}
    for name in names or _automatic(kind):
        backend, reason = candidate(name, plan, kind)
        if backend is not None:
            if refusals and names is None:
                import logging  # slow to import, and this is rare

                logging.getLogger("pyconv").debug("%s: automatic choice of %s, after %s", plan.op, name, refusals)
                for refused in refusals:
                    _tell_without(refused, name)
            return backend
        refusals[name] = str(reason)
    asked = f"backend {', '.join(names)} was asked for" if names else f"automatic choice for {kind} arrays"
    details = (
        "".join(f"\n  {name}: {reason}" for name, reason in refusals.items()) or f"\n  no backend takes {kind} arrays"
    )
    usable = [status.name for status in backends() if status.usable and kind in status.array_types]
    raise (UnsupportedDTypeError if _only_its_dtype(plan, kind, names) else BackendError)(
        f"{plan.op}: no backend can run it ({asked}):{details}\n"
        f"Usable here for {kind} arrays: {', '.join(usable) or 'none'}"
    )


@cache
def _tell_without(name: str, instead: str) -> None:
    """Warn, once, where a backend that would be chosen cannot be used at all: what runs in its place may be slow."""
    try:
        load(name)
    except BackendError as error:
        words = f"{error}. Until then {instead!r} runs in its place; PYCONV_BACKEND={instead} asks for that silently"
        warnings.warn(words, BackendWarning, stacklevel=2)


def _only_its_dtype(plan: Plan, kind: str, names: tuple[str, ...] | None) -> bool:
    """Whether one that may be used would run the plan in float32."""
    if plan.dtype in DTYPES or isinstance(plan, FusedPlan):
        return False
    single = replace(plan, dtype=DTYPES[0])
    return any(candidate(name, single, kind)[0] is not None for name in names or _automatic(kind))


def order(kind: str, argument: Any = None) -> tuple[str, ...]:
    """The names that are tried for arrays of ``kind``, in order."""
    return requested(argument) or tuple(_automatic(kind))


def on_device_of(op: str, *arrays: Any) -> contextlib.AbstractContextManager[Any]:
    """Where planning may do arithmetic on ``arrays``, all of one kind: their device is the current one inside.

    Raises
    ------
    DeviceError
        If they lie on several devices, or this process cannot use any.
    """
    kind = array_kind(arrays[0])
    if kind != "numpy":
        for name in _automatic(kind):
            with contextlib.suppress(BackendError):  # selection will say why it cannot be used
                backend = load(name)
                if hasattr(backend, "on_device_of"):
                    return cast("contextlib.AbstractContextManager[Any]", backend.on_device_of(op, arrays))
    return contextlib.nullcontext()


def _automatic(kind: str) -> list[str]:
    """Names of the backends that may be chosen for arrays of ``kind`` without being named."""
    infos = list(BUILTIN) if any(kind in info.automatic for info in BUILTIN) else [i for i, _ in _discover().values()]
    return [info.name for info in infos if kind in info.automatic]


def candidate(name: str, plan: Plan, kind: str) -> tuple[Backend | None, str | None]:
    """The backend ``name`` if it can run ``plan`` on arrays of ``kind``, else the reason why not."""
    try:
        backend = load(name)
    except BackendError as error:
        return None, str(error)
    if kind not in backend.array_types:
        return None, f"it takes {' and '.join(backend.array_types)} arrays, not {kind} ones"
    question = "fuses" if isinstance(plan, FusedPlan) else "supports"
    if not hasattr(backend, question):
        alone = isinstance(plan, FusedPlan) and plan.has_residual
        return None, "it adds no residual" if alone else "it runs the parts one after the other"
    try:
        reason = getattr(backend, question)(plan)
    except DeviceError:
        raise
    except Exception as error:
        reason = f"its {question}() failed: {type(error).__name__}: {error}"
    return (None, reason) if reason is not None else (backend, None)
