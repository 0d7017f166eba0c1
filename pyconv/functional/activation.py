"""Activations as functions: those of the table are made from it, the others are written out."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter as Argument
from inspect import Signature
from typing import Any, TypeVar, overload

from ..errors import ArgumentError
from ..plan import (
    ACTIVATIONS,
    AXIS_OPS,
    MEASURED,
    Activation,
    Array,
    ArrayT,
    activation_parameters,
    array_kind,
    as_array,
    axis_of,
    cast,
    check_out,
    dtype_name,
    plan_axis,
    plan_elementwise,
    plan_prelu,
    same_dtype,
)
from .call import Call, planned_by, run
from .known import Known

__all__ = [
    "call_signature",
    "gelu",
    "gelu_op",
    "glu",
    "log_softmax",
    "own_parameters",
    "plan_call_activation",
    "plan_call_axis",
    "plan_call_prelu",
    "prelu",
    "softmax",
    "softmin",
]

Function = TypeVar("Function", bound=Callable[..., Any])

_known = {op: Known() for op in (*ACTIVATIONS, *AXIS_OPS, "prelu")}

_PARAMETERS = """

    Parameters
    ----------
    input : {input}
        float32 or float64; any strides.{more}{own}
    out : array, optional
        Written and returned; {out}.
    backend : str, optional
        A backend's name, or a comma list; see :func:`pyconv.backends`.

    Returns
    -------
    {returns}

    Raises
    ------
    ShapeError, DTypeError, ArgumentError, OutputError, BackendError
        As :func:`conv2d`.
"""


def _sections(
    own: str,
    *,
    input: str = "array of any shape, 0-d included",
    more: str = "",
    out: str = "it may be ``input`` itself",
    returns: str = "array of the input's shape and dtype",
    notes: str = "",
) -> str:
    """The sections of a function's documentation; ``own`` are its own parameters, ``more`` is said of its input."""
    text = _PARAMETERS.format(input=input, more=more, own=own.rstrip(), out=out, returns=returns)
    return text + (f"\n    Notes\n    -----\n    {notes}\n" if notes else "")


def _documented(own: str, **others: str) -> Callable[[Function], Function]:
    """Put the sections that these functions share behind the first line of their documentation."""

    def mark(function: Function) -> Function:
        function.__doc__ = f"{function.__doc__}{_sections(own, **others)}"
        return function

    return mark


def plan_call_activation(
    op: str, input: Any, out: Any, parameters: tuple[float, ...] = (), inplace: bool = False
) -> Call:
    """Check and plan the activation called ``op``, a key of ACTIVATIONS."""
    given = out
    if inplace:
        if out is not None and out is not input:
            raise ArgumentError(
                f"{op}: inplace=True writes over the input, and out is another array; give out alone, and the input "
                "stays as it is, or inplace=True alone"
            )
        out, given = input, input if out is None else None  # not the caller's out: which is written goes by the call
    x = as_array(op, "input", input)
    kind, dtype = array_kind(x), dtype_name(op, "input", x)
    plan = plan_elementwise(op, tuple(x.shape), dtype, parameters)
    if out is not None:
        check_out(op, out, kind, plan.out_shape, dtype, (x,), in_place=True)
    return Call(plan, x, kind, out=out, given=given)


def plan_call_prelu(input: Any, weight: Any, out: Any) -> Call:
    """Check and plan a prelu."""
    x = as_array("prelu", "input", input)
    kind, dtype = array_kind(x), dtype_name("prelu", "input", x)
    weight = as_array("prelu", "weight", weight)
    same_dtype("prelu", dtype, "weight", weight)
    plan = plan_prelu(tuple(x.shape), tuple(weight.shape), dtype)
    if out is not None:
        check_out("prelu", out, kind, plan.out_shape, dtype, (x,), in_place=True)
        check_out("prelu", out, kind, plan.out_shape, dtype, (weight,), in_place=False)
    return Call(plan, x, kind, weight.reshape(-1), out=out, given=out)


def plan_call_axis(op: str, input: Any, dim: Any, out: Any, dtype: Any = None) -> Call:
    """Check and plan one of AXIS_OPS along dimension ``dim``, of the input as ``dtype`` if it is given."""
    x = _cast(op, input, dtype)
    kind, dtype = array_kind(x), dtype_name(op, "input", x, converts=op != "glu")
    plan = plan_axis(op, tuple(x.shape), dtype, axis_of(op, dim, x.ndim))
    if out is not None:
        check_out(op, out, kind, plan.out_shape, dtype, (x,), in_place=op != "glu")
    return Call(plan, x, kind, out=out, given=out)


def _cast(op: str, input: Any, dtype: Any) -> Any:
    x = as_array(op, "input", input)
    return x if dtype is None else cast(op, "input", x, dtype)


def gelu_op(who: str, approximate: Any) -> str:
    """The key of ACTIVATIONS that gelu's ``approximate`` chooses; ``who`` is named in errors."""
    if not isinstance(approximate, str) or approximate not in ("none", "tanh"):
        raise ArgumentError(f"{who}: approximate must be 'none' or 'tanh', got {approximate!r}")
    return "gelu" if approximate == "none" else "gelu_tanh"


def call_signature(
    entry: Activation, leading: tuple[str, ...] = ("input",), keyword: tuple[str, ...] = ("out",)
) -> Signature:
    """The signature of an activation's function or, without ``leading`` and ``out``, of its layer."""
    places = [Argument(name, Argument.POSITIONAL_OR_KEYWORD) for name in leading]
    for parameter in entry.parameters:
        default = Argument.empty if parameter.default is None else parameter.default
        places.append(Argument(parameter.name, Argument.POSITIONAL_OR_KEYWORD, default=default))
    if entry.inplace:
        places.append(Argument("inplace", Argument.POSITIONAL_OR_KEYWORD, default=False))
    places += [Argument(name, Argument.KEYWORD_ONLY, default=None) for name in (*keyword, "backend")]
    return Signature(places)


def own_parameters(entry: Activation) -> str:
    """What the documentation of an activation's function and of its layer says of its numbers and ``inplace``."""
    own = ""
    for parameter in entry.parameters:
        given = "" if parameter.default is None else f", default {parameter.default:g}"
        rule = "" if parameter.rule == "any" else f" It must be {parameter.rule}.".replace("be not", "not be")
        own += f"\n    {parameter.name} : float{given}\n        {parameter.meaning}{rule}"
    if entry.inplace:
        own += "\n    inplace : bool, default False"
        own += "\n        Write over the input, which is the same as ``out=input``; there can be no other ``out``."
    return own


def _accuracy(op: str) -> str:
    single, double = ACTIVATIONS[op].ulps
    if not single:
        return "Rounded as the formula says."
    promised = f"Within {single:g} ulp in float32, {double:g} in float64"
    found = max((error for error, _ in MEASURED.get(op, {}).values()), default=None)
    return f"{promised}." if found is None else f"{promised}; of every float32 the worst has {found:g}."


def _function(op: str, entry: Activation) -> Callable[..., Any]:
    """The function of an entry of the table, with the signature and the documentation that follow from it."""
    known = _known[op]

    def plan_call(input: Any, *given: Any, out: Any = None, **named: Any) -> Call:
        parameters, inplace = activation_parameters(op, op, given, named)
        return plan_call_activation(op, input, out, parameters, inplace)

    def function(input: Any, *given: Any, out: Any = None, backend: str | None = None, **named: Any) -> Any:
        key = (backend, *given, *named.items())
        result = known.run(input, None, None, out, key)
        if result is not None:
            return result
        call = plan_call(input, *given, out=out, **named)
        return run(call, input, backend, known if call.given is out else Known(), key)

    function.__name__ = function.__qualname__ = op
    sections = _sections(own_parameters(entry))
    function.__doc__ = f"``{entry.formula}``, elementwise; NaN stays NaN. {_accuracy(op)}{sections}"
    function.__signature__ = call_signature(entry)  # type: ignore[attr-defined]
    return planned_by(plan_call)(function)


def _given(dim: Any) -> Any:
    if dim is None:
        raise ArgumentError("glu: dim must be an integer, got None")
    return dim


@planned_by(lambda *, input, approximate, out: plan_call_activation(gelu_op("gelu", approximate), input, out))
@_documented(f"""
    approximate : {{'none', 'tanh'}}, default 'none'
        'none' is ``{ACTIVATIONS["gelu"].formula}``, the far left included. {_accuracy("gelu")}
        'tanh' is ``{ACTIVATIONS["gelu_tanh"].formula}``. {_accuracy("gelu_tanh")}""")
def gelu(input: ArrayT, approximate: str = "none", *, out: ArrayT | None = None, backend: str | None = None) -> ArrayT:
    """Gaussian error linear unit, ``x`` times the normal distribution function of ``x``."""
    key = (approximate, backend)
    result = _known["gelu"].run(input, None, None, out, key)
    if result is not None:
        return result
    return run(plan_call_activation(gelu_op("gelu", approximate), input, out), input, backend, _known["gelu"], key)


@planned_by(lambda *, input, weight, out: plan_call_prelu(input, weight, out))
@_documented(
    """
    weight : array, shape (1,) or (channels,)
        Of the input's dtype.""",
    input="array of any shape",
    more=" Its second dimension are the channels.",
)
def prelu(input: ArrayT, weight: Array, *, out: ArrayT | None = None, backend: str | None = None) -> ArrayT:
    """``x if x > 0 else weight * x``, with one slope for all or one for each channel."""
    key = (backend,)
    result = _known["prelu"].run(input, weight, None, out, key)
    if result is not None:
        return result
    return run(plan_call_prelu(input, weight, out), input, backend, _known["prelu"], key)


def _along_axis(op: str, input: Any, dim: Any, out: Any, backend: str | None, dtype: Any = None) -> Any:
    """Run one of AXIS_OPS."""
    if dtype is not None:
        input = _cast(op, input, dtype)
    key = (dim, backend)
    result = _known[op].run(input, None, None, out, key)
    if result is not None:
        return result
    return run(plan_call_axis(op, input, dim, out), input, backend, _known[op], key)


HALVED_DIM = """
    dim : int, default -1
        The dimension that is halved; it must be even."""
"""Of glu, function and layer."""


@planned_by(lambda *, input, dim, out: plan_call_axis("glu", input, _given(dim), out))
@_documented(
    HALVED_DIM,
    input="array of at least one dimension",
    out="it must have the result's shape and dtype and share no memory with the input",
    returns="array of the input's dtype, with half of dimension ``dim``",
    notes="Within 3 ulp in float32, but that a sigmoid of less than -87, which is no normal number, has fewer digits.",
)
def glu(input: ArrayT, dim: int = -1, *, out: ArrayT | None = None, backend: str | None = None) -> ArrayT:
    """Gated linear unit: the first half of the input times the sigmoid of the second."""
    return _along_axis("glu", input, _given(dim), out, backend)


SUMMED_DIM = """
    dim : int, optional
        The dimension along which it sums; without it 0 for inputs of 0, 1 and 3 dimensions, else 1 (torch's rule,
        which it advises against: name the dimension)."""
"""Of the softmax family, functions and layers."""

_DIM = f"""{SUMMED_DIM}
    dtype : {{'float32', 'float64'}} or numpy dtype, optional
        The input is converted to it first; then whole numbers and half precision are taken too."""


@overload
def softmax(
    input: ArrayT, dim: int | None = None, *, dtype: None = None, out: ArrayT | None = None, backend: str | None = None
) -> ArrayT: ...
@overload
def softmax(
    input: ArrayT, dim: int | None = None, *, dtype: Any, out: ArrayT | None = None, backend: str | None = None
) -> Any: ...
@planned_by(lambda *, input, dim, dtype, out: plan_call_axis("softmax", input, dim, out, dtype))
@_documented(
    _DIM,
    notes="Within 4 ulp, however long the dimension is; results below the smallest normal number may be zero.",
)
def softmax(
    input: ArrayT, dim: int | None = None, *, dtype: Any = None, out: ArrayT | None = None, backend: str | None = None
) -> Any:
    """``exp(x) / sum of exp(x)`` along a dimension, without overflow."""
    return _along_axis("softmax", input, dim, out, backend, dtype)


@overload
def softmin(
    input: ArrayT, dim: int | None = None, *, dtype: None = None, out: ArrayT | None = None, backend: str | None = None
) -> ArrayT: ...
@overload
def softmin(
    input: ArrayT, dim: int | None = None, *, dtype: Any, out: ArrayT | None = None, backend: str | None = None
) -> Any: ...
@planned_by(lambda *, input, dim, dtype, out: plan_call_axis("softmin", input, dim, out, dtype))
@_documented(_DIM, notes="As :func:`softmax` of ``-x``.")
def softmin(
    input: ArrayT, dim: int | None = None, *, dtype: Any = None, out: ArrayT | None = None, backend: str | None = None
) -> Any:
    """``exp(-x) / sum of exp(-x)`` along a dimension, without overflow."""
    return _along_axis("softmin", input, dim, out, backend, dtype)


@overload
def log_softmax(
    input: ArrayT, dim: int | None = None, *, dtype: None = None, out: ArrayT | None = None, backend: str | None = None
) -> ArrayT: ...
@overload
def log_softmax(
    input: ArrayT, dim: int | None = None, *, dtype: Any, out: ArrayT | None = None, backend: str | None = None
) -> Any: ...
@planned_by(lambda *, input, dim, dtype, out: plan_call_axis("log_softmax", input, dim, out, dtype))
@_documented(
    _DIM,
    notes="Within 4 ulp, however long the dimension is; what :func:`softmax` gives as zero adds nothing to the sum.",
)
def log_softmax(
    input: ArrayT, dim: int | None = None, *, dtype: Any = None, out: ArrayT | None = None, backend: str | None = None
) -> Any:
    """``x - log(sum of exp(x))`` along a dimension, without overflow."""
    return _along_axis("log_softmax", input, dim, out, backend, dtype)


for _op, _entry in ACTIVATIONS.items():
    if _entry.layer:
        globals()[_op] = _function(_op, _entry)
        __all__ += [_op]
