"""Checking the arrays themselves: kind, dtype, rank, memory layout, and what is given as ``out=``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import ArgumentError, DTypeError, OutputError, ShapeError
from .channels import shown

__all__ = [
    "DTYPES",
    "HALF_DTYPES",
    "Array",
    "ArrayT",
    "array_kind",
    "as_array",
    "as_batch",
    "cast",
    "check_out",
    "dtype_name",
    "dtype_of",
    "empty_in_order",
    "from_tensor",
    "layout_of",
    "same_dtype",
]

DTYPES = ("float32", "float64")
"""The dtypes that plans may name."""

HALF_DTYPES = ("float16", "bfloat16")
"""The dtypes that plans of convolutions may name besides; sums are kept in float32. bfloat16 is ml_dtypes'."""


class Array(Protocol):
    """What public signatures call an array: NumPy's, CuPy's, or another package's that a backend takes."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def ndim(self) -> int: ...

    @property
    def dtype(self) -> Any: ...


ArrayT = TypeVar("ArrayT", bound=Array)
"""The input's type, which the result has too."""

# byte-swapped ones compute (and return) the native dtype
_NAMES = {np.dtype(order + np.dtype(name).str[1:]): name for name in DTYPES for order in "<>"}


def array_kind(array: Any) -> str:
    """The package an array type belongs to: 'numpy', 'cupy', ..."""
    if isinstance(array, np.ndarray):
        return "numpy"
    return type(array).__module__.partition(".")[0]


def as_array(op: str, name: str, value: Any) -> Any:
    """``value`` if it is an array that may be computed on; a clear error if it is anything else."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ndarray | np.generic):
        if type(value).__name__ == "MaskedArray":
            raise ArgumentError(
                f"{op}: {name} is a masked array, and the mask would be lost; pass {name}.filled(value) or {name}.data"
            )
        return np.asarray(value)
    if advice := from_tensor(name, value):
        raise ArgumentError(f"{op}: {name} is a {type(value).__name__}, not a NumPy or CuPy array{advice}")
    if isinstance(value, type) or not all(hasattr(value, attribute) for attribute in ("shape", "dtype", "ndim")):
        hint = ""
        if not isinstance(value, type) and value is not None:
            hint = f"; if it holds numbers, pass np.asarray({name}, dtype=np.float32)"
        raise ArgumentError(f"{op}: {name} must be a NumPy or CuPy array, got {type(value).__name__}{hint}")
    return value


def from_tensor(name: str, value: Any) -> str:
    """How to make an array of a tensor of torch or tensorflow: '; pass np.asarray(input.detach().float())'.

    Empty for anything else.
    """
    if type(value).__module__.partition(".")[0] not in ("torch", "tensorflow"):
        return ""
    steps = ".detach()" if getattr(value, "requires_grad", False) else ""
    device = getattr(getattr(value, "device", None), "type", "cpu")
    steps += "" if device == "cpu" else ".cpu()"
    steps += ".float()" if str(getattr(value, "dtype", "")) == "torch.bfloat16" else ""
    return f"; pass np.asarray({name}{steps})"


def dtype_name(op: str, name: str, array: Any, half: bool = False, converts: bool = False) -> str:
    """'float32' or 'float64', with ``half`` one of HALF_DTYPES; others are refused with what to do about it.

    ``converts``: the function takes ``dtype=``, which is another way out.
    """
    found = _NAMES.get(array.dtype)
    if found is None and half and array.dtype.name in HALF_DTYPES:
        return array.dtype.name
    if found is None:
        hint = f"pass {name}.astype(np.float32)"
        if array.dtype.kind == "c":
            hint = "apply the operation to the real and the imaginary part"
        elif array.dtype.kind in "OUSVMm":
            hint = "convert it to numbers first"
        elif converts:
            hint += ", or dtype=np.float32 to the function"
        elif array.dtype.name in HALF_DTYPES:
            hint += f"; {array.dtype} is for conv2d and conv1d alone, on the cuda backend"
        raise DTypeError(f"{op}: {name} has dtype {array.dtype}, pyconv computes in {' and '.join(DTYPES)}; {hint}")
    return found


def dtype_of(who: str, dtype: Any) -> np.dtype:
    """``dtype`` in native byte order, float32 for None; ``who`` is named in errors."""
    try:
        found = np.dtype(np.float32 if dtype is None else dtype)
    except TypeError:
        raise DTypeError(f"{who}: dtype must be one of {', '.join(DTYPES)}, got {dtype!r}") from None
    if found.name not in DTYPES:
        raise DTypeError(f"{who}: dtype must be one of {', '.join(DTYPES)}, got {found}")
    return found.newbyteorder("=")


def cast(op: str, name: str, array: Any, dtype: Any) -> Any:
    """``array`` as ``dtype``, itself if it has it; whole numbers and half precision are taken too, as in torch."""
    wanted = dtype_of(op, dtype)
    if array.dtype == wanted:
        return array
    if array.dtype.kind not in "biuf" and array.dtype.name not in HALF_DTYPES:
        dtype_name(op, name, array)  # which refuses it
    with np.errstate(over="ignore"):  # what is too large is infinite, as everywhere
        return array.astype(wanted)


def same_dtype(op: str, expected: str, name: str, array: Any, half: bool = False) -> None:
    """Refuse ``array`` unless its dtype is the input's."""
    found = dtype_name(op, name, array, half)
    if found != expected:
        taken = {"input": found, name: expected}  # half precision runs on the cuda backend alone, float32 on all
        pass_ = [f"{which}.astype(np.{dtype})" for which, dtype in taken.items() if dtype not in HALF_DTYPES]
        advice = " or ".join(pass_) or "both as float32, or as one of the two"
        raise DTypeError(f"{op}: input is {expected} but {name} is {found}; they must agree: pass {advice}")


def as_batch(op: str, array: Any) -> Any:
    """``array`` as (N, C, H, W): a (C, H, W) one gets a batch of one, as a view."""
    if array.ndim == 4:
        return array
    if array.ndim == 3:
        return array[None]
    hint = ""
    if array.ndim == 2:
        hint = "; a single grey image is x[None] (1, H, W)"
    raise ShapeError(
        f"{op}: input must be (N, C, H, W) or (C, H, W), got {array.ndim} dimensions: shape {tuple(array.shape)}{hint}"
    )


def layout_of(array: Any) -> str:
    """How a (N, C, H, W) array lies in memory: 'nchw', 'nhwc' (channels last) or 'strided'."""
    if not hasattr(array, "strides") or array.flags.c_contiguous:
        return "nchw"  # libraries that hide their memory count as dense
    _, channels, height, width = array.shape
    size = array.itemsize
    expected = (height * width * channels * size, size, width * channels * size, channels * size)
    for length, stride, dense in zip(array.shape, array.strides, expected, strict=True):
        if length > 1 and stride != dense:
            return "strided"
    return "nhwc"


def empty_in_order(shape: tuple[int, ...], dtype: Any, order: tuple[int, ...]) -> np.ndarray:
    """A new NumPy array whose axes lie in memory in this ``order``, the slowest first."""
    memory = np.empty([shape[axis] for axis in order], dtype)
    return memory.transpose(sorted(range(len(order)), key=order.__getitem__))


def check_out(
    op: str, out: Any, kind: str, shape: tuple[int, ...], dtype: str, inputs: tuple[Any, ...], in_place: bool
) -> None:
    """Refuse an ``out=`` array that cannot take the result. ``in_place``: it may be an input itself, exactly."""
    if array_kind(out) != kind or not hasattr(out, "dtype"):
        raise ArgumentError(f"{op}: out must be a {kind} array like the input, got {type(out).__name__}")
    if type(out).__name__ == "MaskedArray":
        raise ArgumentError(f"{op}: out is a masked array; pass out.data")
    if tuple(out.shape) != shape:
        raise OutputError(f"{op}: out has shape {shown(op, tuple(out.shape))}, the result has {shown(op, shape)}")
    if out.dtype.name != dtype or not out.dtype.isnative:
        raise OutputError(f"{op}: out has dtype {out.dtype}, the result is {dtype} in native byte order")
    if kind != "numpy":
        if not hasattr(out, "__cuda_array_interface__"):
            return  # memory that is not told
        out, inputs = _address_view(out), tuple(_address_view(array) for array in inputs)
    elif not out.flags.writeable:
        raise OutputError(f"{op}: out is read-only; pass an array that may be written")
    if out.size and any(stride == 0 and length > 1 for stride, length in zip(out.strides, out.shape, strict=True)):
        raise OutputError(f"{op}: out is a broadcast view, several of its elements share one address; pass a copy")
    if not (out.flags.forc or _nested(out)) and _overlaps_itself(out):
        raise OutputError(f"{op}: out overlaps itself, its elements share memory: strides {out.strides}; pass a copy")
    for array in inputs:
        if in_place and _same_memory(out, array):
            continue
        if np.may_share_memory(out, array) and _overlap(out, array):
            raise OutputError(
                f"{op}: out overlaps an input in memory, which would be changed while it is read; pass a separate array"
            )


def _address_view(array: Any) -> np.ndarray:
    """A NumPy array of the same addresses, for telling where they overlap; what is there must never be read."""
    if isinstance(array, np.ndarray):
        return array
    told = SimpleNamespace(__array_interface__={**array.__cuda_array_interface__, "version": 3})
    return np.asarray(told)


def _same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or (a.ctypes.data == b.ctypes.data and a.strides == b.strides and a.dtype == b.dtype)


def _nested(array: np.ndarray) -> bool:
    """Whether each axis steps over all that the axes of smaller strides reach: then no two elements share memory.

    So it is of slices and transposes of plain arrays; of others it says nothing.
    """
    reach = array.itemsize
    steps = ((abs(stride), length) for stride, length in zip(array.strides, array.shape, strict=True) if length > 1)
    for stride, length in sorted(steps):
        if stride < reach:
            return False
        reach += (length - 1) * stride
    return True


def _overlaps_itself(array: np.ndarray) -> bool:
    """Whether elements share memory: the two halves do, or some of the first, in which the second lies the same way."""
    while array.size > 1:
        axis = max(range(array.ndim), key=array.shape.__getitem__)
        first, second = np.array_split(array, 2, axis)
        if _overlap(first, second):
            return True
        array = first
    return False


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # any positive number will do
    except np.exceptions.TooHardError:
        return True  # interleaved too finely to tell: refuse
