# What a driver offers to calls that come again: everything but the arrays, bound together.
from libc.stdint cimport int64_t

cdef enum:
    MOST_AXES = 6


cdef class Work:
    # OpenMP's threads as they were allowed when the work was cut for them; 0 if it takes one thread in any case
    cdef int allowed, wanted, preset

    cdef bint threads_fit(self) noexcept
    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1
    cdef int run_added(self, const char *x, const int64_t *x_strides, const char *residual, char *out,
                       const int64_t *out_strides) except -1
