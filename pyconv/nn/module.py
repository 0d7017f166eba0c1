"""What all layers have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, DTypeError, PyconvError, ShapeError, StateDictError
from ..functional.call import Call
from ..functional.known import Known
from ..plan import HALF_DTYPES, ArrayT, check_flag, from_tensor
from ..registry import Backend, select
from .tree import Tree

if TYPE_CHECKING:
    from .between import Half

__all__ = ["IncompatibleKeys", "Module", "Operation"]


class IncompatibleKeys(NamedTuple):
    """What a state dict and a layer do not share, as torch tells it."""

    missing_keys: list[str]
    """Of the layer alone."""
    unexpected_keys: list[str]
    """Of the state dict alone."""


class Module(Tree):
    """Base of all layers: a callable on arrays, with named parameters.

    A class of your own defines ``forward(self, input)``, as in torch, or ``__call__``. Attributes that are layers are
    its children: their parameters are in its ``state_dict`` under torch's keys. Layers in a list are not found, as in
    torch: hold them in a :class:`Sequential`. Arrays of its own are parameters if its ``parameters`` returns them too,
    by the names of their attributes.

    One that is an operation by itself gives ``plan_call(input, out)``, which checks and plans.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> class Block(pyconv.Module):
    ...     def __init__(self, channels):
    ...         self.conv = pyconv.Conv2d(channels, channels, 3, padding=1)
    ...         self.relu = pyconv.ReLU()
    ...
    ...     def forward(self, x):
    ...         return self.relu(x + self.conv(x))
    >>> list(Block(8).state_dict())
    ['conv.weight', 'conv.bias']
    >>> pyconv.Sequential(Block(8), pyconv.MaxPool2d(2))(np.zeros((8, 6, 6), np.float32)).shape
    (8, 3, 3)
    """

    backend: str | None = None

    plans_alike: bool = False
    """Whether plan_call goes by nothing but the layer's attributes, and the type, dtype, shape and strides of the
    arrays: then the plan of a call that comes again need not be made again. A class that defines plan_call has to say
    so itself. Attributes count as changed when they are set, not when what they hold is."""

    _known: Known | None = None

    _fixed: frozenset[str] = frozenset()
    """Attributes that tell how the layer was made, and cannot be changed afterwards."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fixed and name in self.__dict__:
            raise AttributeError(f"{self!r}: {name} cannot be changed; make a new layer")
        super().__setattr__(name, value)
        self.__dict__.pop("_known", None)  # only now: what others plan meanwhile with the old value goes with it

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "plan_call" in cls.__dict__ and "plans_alike" not in cls.__dict__:
            cls.plans_alike = False

    def __call__(self, input: Any, *, out: Any = None) -> Any:
        """Run the layer on ``input``; ``out`` is written and returned if it is given."""
        known = self._known
        if known is None:
            known = self.known_calls()
        else:
            result = known.run(input, None, None, out, ())
            if result is not None:
                return result
        return self._general_call(input, out, known)

    def _forward(self, input: Any, *, out: Any = None) -> Any:
        """What calling the layer does, for classes derived from it that define a ``forward`` of their own."""
        return Module.__call__(self, input, out=out)

    forward: Callable[..., Any] = _forward  # so that type checkers take any parameters

    def known_calls(self) -> Known:
        """What knows the layer's calls, as long as none of its attributes is set."""
        return self._known or self.__dict__.setdefault("_known", Known())

    def _general_call(self, input: Any, out: Any, known: Known, half: Half | None = None) -> Any:
        """Check, plan and run a call that ``known`` does not know yet. In place of ``out`` there may be a ``half``."""
        try:
            call, argument = self._handed_on(input, out), self.backend
            if half is not None:
                call = half.lent(call)
                out = call.given
            backend = select(call.plan, call.kind, argument)
            prepared = self._prepared(call, backend)
            result = call.run(backend, prepared)
            if self.plans_alike:
                known.note(call, input, out, backend, argument, prepared, result, (), own_weights=True)
            return result
        except PyconvError as error:
            error.prefix(repr(self))
            raise

    def plan_call(self, input: Any, out: Any = None) -> Call:
        """The layer's operation on ``input``, checked and planned and not yet run."""
        raise NotImplementedError(f"{type(self).__name__} plans no operation: it needs a forward")

    def _handed_on(self, input: Any, out: Any) -> Call:
        """The call to run, where what ``__call__`` was given is not what it has handed on."""
        return self.plan_call(input, out)

    def _prepared(self, call: Call, backend: Backend) -> Any:
        return backend.prepare(call.plan, call.weight, call.bias)

    def parameters(self) -> dict[str, np.ndarray]:
        """Parameters by name: read-only arrays; those of the layers that it holds under their names and a dot."""
        children = self.named_children()
        return {f"{name}.{key}": array for name, layer in children for key, array in layer.parameters().items()}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters, under torch's key names."""
        return {name: array.copy() for name, array in self.parameters().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Set all parameters, or none of them if any does not fit.

        Parameters
        ----------
        state_dict : mapping of str to array
            The keys of :meth:`state_dict`; torch CPU tensors are taken too. Values are converted to the layer's dtype.
        strict : bool, default True
            Whether the keys must be exactly these. If not, parameters without a key stay, keys without a parameter are
            left out, and the result tells of both.

        Returns
        -------
        IncompatibleKeys
            A pair of lists, ``missing_keys`` and ``unexpected_keys``; empty if ``strict``.

        Raises
        ------
        StateDictError
            If a shape or dtype does not fit or, if ``strict``, keys are missing or unknown. Nothing is changed then.
        """
        strict = check_flag(type(self).__name__, "strict", strict)
        if not isinstance(state_dict, Mapping):
            kind = type(state_dict).__name__
            raise ArgumentError(f"load_state_dict: a mapping of names to arrays is needed, got {kind}")
        own = self.parameters()
        missing = [name for name in own if name not in state_dict]
        keys = IncompatibleKeys(missing, [name for name in state_dict if name not in own])
        problems = [f"missing key {name!r}" for name in keys.missing_keys if strict]
        problems += [f"unexpected key {name!r}" for name in keys.unexpected_keys if strict]
        hint = "; strict=False would leave out the keys" if problems else ""
        values = {}
        for name, array in own.items():
            if name not in state_dict:
                continue
            try:
                value = np.asarray(state_dict[name])
            except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors that are not on the CPU
                advice = from_tensor(f"state_dict[{name!r}]", state_dict[name])
                problems.append(f"{name!r} is no array: {error}{advice}")
                continue
            if value.dtype.kind not in "fiu" and value.dtype.name not in HALF_DTYPES:
                problems.append(f"{name!r} has dtype {value.dtype}, which is not real numbers")
            elif value.shape != array.shape:
                problems.append(f"{name!r} has shape {value.shape}, the layer's is {array.shape}")
            else:
                values[name] = value.astype(array.dtype)
        if problems:
            raise StateDictError(f"{type(self).__name__}: the state dict does not fit: {'; '.join(problems)}{hint}")
        self._set_parameters(values)
        return keys

    def _set_parameters(self, values: dict[str, np.ndarray]) -> None:
        children = dict(self.named_children())
        for name, value in values.items():
            child, _, rest = name.partition(".")
            if rest and child in children:
                children[child]._set_parameters({rest: value})
            else:
                setattr(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_known"}

    def extra_repr(self) -> str:
        """What stands between the parentheses of ``repr``, as in torch."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {layer!r}".replace("\n", "\n  ") for name, layer in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [self.extra_repr()] * bool(self.extra_repr()) + lines
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


class Operation(Module):
    """A layer whose result is one array, of the input's type and number of dimensions.

    Only type checkers can tell: what other layers return, theirs and those of the user's own, they take for anything.
    """

    if TYPE_CHECKING:

        def __call__(self, input: ArrayT, *, out: ArrayT | None = None) -> ArrayT:
            """As every layer's."""
            ...


def frozen(who: str, name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A read-only copy of a parameter, checked."""
    if type(value).__name__ == "MaskedArray":
        raise ArgumentError(f"{who}: {name} is a masked array, and the mask would be lost; pass {name}.filled(value)")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"{who}: {name} must be an array: {error}{from_tensor(name, value)}") from None
    if array.shape != shape:
        raise ShapeError(f"{who}: {name} must have shape {shape}, got {array.shape}")
    if array.dtype.newbyteorder("=") != dtype:
        raise DTypeError(f"{who}: {name} must be {dtype}, got {array.dtype}; pass {name}.astype(np.{dtype})")
    return locked(np.array(array, dtype=dtype, order="C"))


def locked(array: np.ndarray) -> np.ndarray:
    """A read-only view of an array that is given away: not even its flag can be set back."""
    array.setflags(write=False)
    return array.view()
