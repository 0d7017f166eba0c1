# cython: language_level=3
"""Driver of the activations: chunks of a contiguous array over threads."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

cimport numpy as cnp

from .calls cimport Work
from .kernels cimport PC_RELU, PC_SIGMOID, PC_TANH
from .runtime cimport kernels, note_parallel

from .runtime import check

cnp.import_array()

KERNELS = {"relu": PC_RELU, "sigmoid": PC_SIGMOID, "tanh": PC_TANH}
"""Places of the activations in the kernel table."""


cdef class ElementwiseWork(Work):
    """An activation over so many numbers. ``brief``: too short for others to be let run meanwhile."""

    cdef void (*kernel)(const void *, void *, int64_t) noexcept nogil
    cdef int threads
    cdef int64_t size, itemsize, chunk
    cdef bint brief

    def __init__(self, int isa, bint is_double, int activation, int64_t size, int threads, int64_t chunk, bint brief):
        check(isa)
        if not 0 <= activation < len(KERNELS):
            raise ValueError(f"there is no activation {activation}")
        self.kernel = kernels(isa, is_double).activation[activation]
        self.size, self.itemsize, self.chunk = size, 8 if is_double else 4, chunk
        self.threads = threads if size > chunk else 1
        self.brief = brief

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        if self.threads > 1:
            with nogil:
                self.parallel(x, out)
        elif self.brief:
            self.kernel(x, out, self.size)
        else:
            with nogil:
                self.kernel(x, out, self.size)
        return 0

    cdef void parallel(self, const char *x, char *out) noexcept nogil:
        cdef int64_t i, start, chunk = self.chunk, chunks = (self.size + chunk - 1) // chunk
        note_parallel()
        for i in prange(chunks, schedule="static", num_threads=self.threads):
            start = i * chunk
            self.kernel(x + start * self.itemsize, out + start * self.itemsize, min(chunk, self.size - start))


def run(int isa, int activation, cnp.ndarray x, cnp.ndarray out, int threads, int64_t chunk):
    """``out = activation(x)``, in memory order: both are dense and in one order of axes, ``out`` may be ``x``."""
    if cnp.PyArray_TYPE(x) not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE) or cnp.PyArray_TYPE(out) != cnp.PyArray_TYPE(x):
        raise TypeError("the arrays must both be float32 or float64")
    if not (cnp.PyArray_ISALIGNED(x) and cnp.PyArray_ISALIGNED(out)) or cnp.PyArray_SIZE(x) != cnp.PyArray_SIZE(out):
        raise ValueError("the arrays must be aligned and of one size")
    cdef bint is_double = cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
    cdef Work work = ElementwiseWork(isa, is_double, activation, cnp.PyArray_SIZE(x), threads, chunk, False)
    work.run(<const char *>cnp.PyArray_DATA(x), NULL, <char *>cnp.PyArray_DATA(out), NULL)
