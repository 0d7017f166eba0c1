# cython: language_level=3
"""Driver of the activations: chunks of a contiguous array over threads."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

cimport numpy as cnp

from .kernels cimport PC_RELU, PC_SIGMOID, PC_TANH, pc_kernels
from .runtime cimport kernels, note_parallel

from .runtime import check

cnp.import_array()

KERNELS = {"relu": PC_RELU, "sigmoid": PC_SIGMOID, "tanh": PC_TANH}
"""Places of the activations in the kernel table."""


def run(int isa, int activation, cnp.ndarray x, cnp.ndarray out, int threads, int64_t chunk):
    """``out = activation(x)``, in memory order: both are dense and in one order of axes, ``out`` may be ``x``."""
    check(isa)
    cdef bint is_double = cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
    cdef const pc_kernels *table = kernels(isa, is_double)
    if cnp.PyArray_TYPE(x) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE) or cnp.PyArray_TYPE(out) != cnp.PyArray_TYPE(x):
        raise TypeError("the arrays must both be float32 or float64")
    if not (cnp.PyArray_ISALIGNED(x) and cnp.PyArray_ISALIGNED(out)) or cnp.PyArray_SIZE(x) != cnp.PyArray_SIZE(out):
        raise ValueError("the arrays must be aligned and of one size")
    if not 0 <= activation < len(KERNELS):
        raise ValueError(f"there is no activation {activation}")
    cdef int64_t size = cnp.PyArray_SIZE(x), itemsize = cnp.PyArray_ITEMSIZE(x), i, start
    cdef int64_t chunks = (size + chunk - 1) // chunk
    cdef const char *x_data = <const char *>cnp.PyArray_DATA(x)
    cdef char *out_data = <char *>cnp.PyArray_DATA(out)
    with nogil:
        if threads > 1 and chunks > 1:
            note_parallel()
            for i in prange(chunks, schedule="static", num_threads=threads):
                start = i * chunk
                table.activation[activation](
                    x_data + start * itemsize, out_data + start * itemsize, min(chunk, size - start)
                )
        else:
            table.activation[activation](x_data, out_data, size)
