# cython: language_level=3
"""New arrays that begin where a cache line does.

NumPy's begin 16 bytes into one, so that every second vector of 32 bytes, and each of 64, lies in two lines, and takes
two accesses. NumPy lets the functions that allocate be replaced (NEP 49), and an array keeps those that it was made
with, and owns its memory as any other. Replacing them and putting them back takes ten times as long as a small array:
the memory is taken first, and the array given the functions that it would have kept.
"""

from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free, realloc

cimport numpy as cnp

import os
import sys

from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_INCREF

import numpy as np

cnp.import_array()

cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from "sys/mman.h" nogil:
    int madvise(void *address, size_t length, int advice)

cdef extern from * nogil:
    """
    #ifdef MADV_HUGEPAGE
    enum { HUGE_PAGES = MADV_HUGEPAGE };
    #else
    enum { HUGE_PAGES = -1 };
    #endif
    """
    const int HUGE_PAGES

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyArrayObject_fields:
        PyObject *mem_handler

    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *, size_t) noexcept nogil
        void *(*calloc)(void *, size_t, size_t) noexcept nogil
        void *(*realloc)(void *, void *, size_t) noexcept nogil
        void (*free)(void *, void *, size_t) noexcept nogil

    ctypedef struct PyDataMem_Handler:
        char[127] name
        cnp.uint8_t version
        PyDataMemAllocator allocator

    cnp.ndarray PyArray_New(type kind, int axes, cnp.npy_intp *shape, int type_number, cnp.npy_intp *strides,
                            void *data, int itemsize, int flags, PyObject *like)
    object PyDataMem_GetHandler()
    PyObject *PyDataMem_DefaultHandler

cdef extern from "Python.h":
    int PyTraceMalloc_Track(unsigned int domain, uintptr_t memory, size_t size)

cdef enum:
    NPY_TRACE_DOMAIN = 389047  # of NumPy's memory, for tracemalloc
    MOST_AXES = 64  # of NumPy's arrays

cdef size_t LINE = 64
cdef size_t PAGE = 4096
cdef size_t LARGE = 1 << 22     # bytes from which NumPy too asks for huge pages
cdef double SMALL = 16_384      # bytes below which asking costs more than the lines save
cdef double LARGEST = 2.0**62   # bytes; beyond, they might not be counted exactly


cdef void *take(void *context, size_t size) noexcept nogil:
    cdef char *memory = NULL
    if size <= <size_t>-1 - LINE:
        memory = <char *>aligned_alloc(LINE, (size + LINE - 1) // LINE * LINE)
    cdef size_t ahead
    if memory != NULL and size >= LARGE and HUGE_PAGES >= 0 and huge_pages:
        ahead = PAGE - <uintptr_t>memory % PAGE
        madvise(memory + ahead, size - ahead, HUGE_PAGES)
    return memory


cdef void *take_zeros(void *context, size_t count, size_t size) noexcept nogil:
    return calloc(count, size)


cdef void *change(void *context, void *memory, size_t size) noexcept nogil:
    return realloc(memory, size)


cdef void give_back(void *context, void *memory, size_t size) noexcept nogil:
    free(memory)


# as NumPy has it
cdef bint huge_pages = sys.platform == "linux" and os.environ.get("NUMPY_MADVISE_HUGEPAGE", "1") != "0"

cdef PyDataMem_Handler functions  # for as long as the process lives, since arrays do
functions.name = b"pyconv\0" + b"\0" * 120
functions.version = 1
functions.allocator.malloc, functions.allocator.calloc = take, take_zeros
functions.allocator.realloc, functions.allocator.free = change, give_back
cdef object handler = PyCapsule_New(&functions, b"mem_handler", NULL)


cdef cnp.ndarray new(int axes, cnp.npy_intp *shape, int type_number, cnp.npy_intp *strides):
    """A new array, contiguous without ``strides``; where somebody has set functions of their own, by those.

    Of other types than the three here NumPy knows the size, and makes it.
    """
    cdef double size = 0
    if type_number in (cnp.NPY_DOUBLE, cnp.NPY_INT64):
        size = 8
    elif type_number == cnp.NPY_FLOAT:
        size = 4
    cdef int i
    for i in range(axes):
        size *= shape[i]
    cdef void *memory = NULL
    functions_set = PyDataMem_GetHandler() if SMALL <= size < LARGEST else None
    if <PyObject *>functions_set == PyDataMem_DefaultHandler:
        memory = take(NULL, <size_t>size)
    if memory == NULL:  # or, where there is none to be had, NumPy says so in its own words
        return PyArray_New(cnp.ndarray, axes, shape, type_number, strides, NULL, 0, 0, NULL)
    cdef cnp.ndarray array
    try:
        array = PyArray_New(
            cnp.ndarray, axes, shape, type_number, strides, memory, 0,
            cnp.NPY_ARRAY_CARRAY if strides == NULL else cnp.NPY_ARRAY_BEHAVED, NULL,
        )
    except BaseException:
        free(memory)
        raise
    cdef PyArrayObject_fields *fields = <PyArrayObject_fields *>array
    Py_INCREF(handler)
    fields.mem_handler = <PyObject *>handler
    cnp.PyArray_ENABLEFLAGS(array, cnp.NPY_ARRAY_OWNDATA)
    PyTraceMalloc_Track(NPY_TRACE_DOMAIN, <uintptr_t>memory, <size_t>size)
    return array


def empty(shape, dtype, order=None):
    """As ``np.empty``: a new array whose elements are not set. ``order``: its axes in memory, the slowest first."""
    cdef cnp.npy_intp[MOST_AXES] lengths
    cdef cnp.npy_intp[MOST_AXES] strides
    cdef int i, axes = len(shape)
    if axes > MOST_AXES:
        raise ValueError(f"{axes} axes are more than an array may have")
    for i in range(axes):
        lengths[i] = shape[i]
    kind = np.dtype(dtype)
    if order is None:
        return new(axes, lengths, kind.num, NULL)
    cdef cnp.npy_intp step = kind.itemsize
    for axis in reversed(order):
        i = axis
        strides[i] = step
        step *= max(lengths[i], 1)
    return new(axes, lengths, kind.num, strides)
