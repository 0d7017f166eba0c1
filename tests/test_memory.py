"""Results begin where a cache line does, and are arrays like all others."""

from __future__ import annotations

import ctypes
import tracemalloc

import numpy as np
import pytest
from helpers import normal

import pyconv
import pyconv.functional as F
from pyconv._core import memory

LARGE = (1, 3, 80, 90)


def begins_a_line(array):
    return array.ctypes.data % 64 == 0


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.conv2d(x, normal(8, 3, 3, 3), backend="cpu"),
        lambda x: F.conv_transpose2d(x, normal(3, 2, 2, 2), stride=2, backend="cpu"),
        lambda x: F.max_pool2d(x, 2, 1, backend="cpu"),
        lambda x: F.max_pool2d(x, 2, 1, return_indices=True, backend="cpu")[0],
        lambda x: F.max_pool2d(x, 2, 1, return_indices=True, backend="cpu")[1],
        lambda x: F.tanh(x, backend="cpu"),
        lambda x: F.softmax(x, dim=1, backend="cpu"),
    ],
)
def test_results(call, layout):
    """Also those of calls that come again, and whatever was allocated before them."""
    x = normal(*LARGE)
    if layout == "nhwc":
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    kept = [call(x) for _ in range(5)]
    for result in kept:
        assert begins_a_line(result if result.flags.c_contiguous else np.moveaxis(result, 1, -1))
        np.testing.assert_array_equal(result, kept[0])


def test_an_array_like_others():
    """It owns its memory, can be resized, and is counted by tracemalloc."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        array = memory.empty((300, 100), np.float64)
        during, _ = tracemalloc.get_traced_memory()
        assert during - before >= array.nbytes
        assert array.flags.owndata
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.base is None
        array[...] = 1
        array.resize((900, 100), refcheck=False)
        assert (array[:300] == 1).all()
        array.resize((10, 100), refcheck=False)
        assert (array == 1).all()
        del array
        after, _ = tracemalloc.get_traced_memory()
        assert after - before < 10_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(), (0,), (5,), (4096,), (4, 0, 10_000), (1,) * 64, (3, 1 << 21)])
def test_shapes(shape):
    array = memory.empty(shape, np.float32)
    assert array.shape == shape
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    order = tuple(reversed(range(array.ndim)))
    assert memory.empty(shape, np.float32, order).strides == np.empty(shape, np.float32, "F").strides
    array[...] = 3
    assert array.sum(dtype=np.float64) == 3 * array.size


def test_too_large():
    with pytest.raises((MemoryError, ValueError)):
        memory.empty((1 << 40, 1 << 12), np.float32)
    with pytest.raises(ValueError, match="65 axes"):
        memory.empty((1,) * 65, np.float32)


class Allocator(ctypes.Structure):
    """NumPy's PyDataMem_Handler (NEP 49)."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("ctx", ctypes.c_void_p),
        ("malloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("calloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)),
        ("realloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("free", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
    )


def test_functions_that_a_user_has_set_are_used():
    """And stay set; without them NumPy's own stay set."""
    libc, asked = ctypes.CDLL(None), []
    libc.malloc.restype = libc.calloc.restype = libc.realloc.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    libc.calloc.argtypes, libc.realloc.argtypes = [ctypes.c_size_t] * 2, [ctypes.c_void_p, ctypes.c_size_t]

    def malloc(_, size):
        asked.append(size)
        return libc.malloc(size)

    kinds = dict(Allocator._fields_)
    own = Allocator(b"own", 1, None)
    own.malloc = kinds["malloc"](malloc)
    own.calloc = kinds["calloc"](lambda _, count, size: libc.calloc(count, size))
    own.realloc = kinds["realloc"](lambda _, old, size: libc.realloc(old, size))
    own.free = kinds["free"](lambda _, old, __: libc.free(old))

    capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    capsule_pointer.restype, capsule_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    new_capsule = ctypes.pythonapi.PyCapsule_New
    new_capsule.restype = ctypes.py_object
    new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    functions = ctypes.cast(capsule_pointer(np._core.multiarray._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(functions[304])  # PyDataMem_SetHandler

    x, name = normal(*LARGE), np._core.multiarray.get_handler_name
    usual = name()
    label = ctypes.create_string_buffer(b"mem_handler")
    before = set_handler(new_capsule(ctypes.addressof(own), ctypes.addressof(label), None))
    try:
        result = F.relu(x, backend="cpu")
        assert name() == "own"
        assert name(result) == "own"
        assert result.nbytes in asked
        del result
    finally:
        set_handler(before)
    for _ in range(3):
        assert name(F.relu(x, backend="cpu")) == "pyconv"
        assert name() == usual
    assert name(pyconv.ReLU()(normal(1, 1, 4, 4))) == usual  # small ones


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "longlong", "int8", "bool"])
@pytest.mark.parametrize("order", [None, (1, 0)])
def test_room_for_elements_of_every_size(dtype, order):
    array = memory.empty((5000, 4), dtype, order)
    assert array.dtype == dtype
    assert array.nbytes == 20_000 * np.dtype(dtype).itemsize
    array[...] = 1
    assert (array == 1).all()
    del array
