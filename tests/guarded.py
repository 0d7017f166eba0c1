"""Arrays beside memory that the process may not touch: a read or write beyond them ends it."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def guarded(array: np.ndarray, at_end: bool) -> np.ndarray:
    """The same array with the same strides, its last byte before a forbidden page or its first one after one."""
    low, high = np.lib.array_utils.byte_bounds(array)
    pages = -(-(high - low) // PAGE) + 1
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (base, base + (pages + 1) * PAGE):
        if _libc.mprotect(page, PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = PAGE + (pages * PAGE - (high - low) if at_end else 0)
    if not array.flags.aligned:
        start += -1 if at_end else 1
    first = start + array.__array_interface__["data"][0] - low
    raw = np.frombuffer(memory, np.uint8, pages * PAGE, PAGE)
    source = np.frombuffer((ctypes.c_uint8 * (high - low)).from_address(low), np.uint8) if array.size else raw[:0]
    raw[start - PAGE : start - PAGE + source.size] = source
    view = np.ndarray(array.shape, array.dtype, raw, first - PAGE, array.strides)
    view.setflags(write=array.flags.writeable)
    return view
