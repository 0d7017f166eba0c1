# What a driver offers to calls that come again: everything but the arrays, bound together.
from libc.stdint cimport int64_t

cimport numpy as cnp

cdef enum:
    MOST_AXES = 6


cdef class Work:
    # OpenMP's threads as they were allowed when the work was cut for them; 0 if it takes one thread in any case
    cdef int allowed, wanted, preset

    cdef bint threads_fit(self) noexcept
    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1
    cdef int run_added(self, const char *x, const int64_t *x_strides, const char *residual, char *out,
                       const int64_t *out_strides) except -1


cdef struct Layout:
    int type_number, axes
    cnp.npy_intp[MOST_AXES] shape
    cnp.npy_intp[MOST_AXES] strides
    cnp.npy_intp before, beyond  # the bytes that it spans, from its first element


cdef class KnownCall:
    cdef Work work
    cdef Layout of_input, of_result, of_weight, of_bias, of_residual
    cdef int64_t[MOST_AXES] x_strides  # in elements, as the work takes them
    cdef int64_t[MOST_AXES] out_strides
    cdef bint contiguous, in_place, compares, adds
    cdef int changes  # how often only the weights were others
    cdef cnp.ndarray weight, bias
    cdef tuple parameters, places
    cdef object variable, value

    cdef bint settled(self) except -1
    cdef bint of_kind(self, cnp.ndarray input, cnp.ndarray residual, tuple parameters) except -1
    cdef bint same_weights(self, weight, bias) noexcept
    cdef bint takes(self, cnp.ndarray out, cnp.ndarray input, cnp.ndarray residual, weight, bias) noexcept
    cdef object run(self, cnp.ndarray input, cnp.ndarray residual, cnp.ndarray out)


cdef class CallTable:
    cdef list calls

    cdef int keep(self, KnownCall known) except -1


cdef bint alike(const Layout *a, const Layout *b) noexcept
