# The loop that the drivers share: tasks over threads.
from libc.stdint cimport int64_t

from .kernels cimport pc_kernels


cdef class Tasks:
    cdef const pc_kernels *table
    cdef int type_number
    cdef readonly int threads
    cdef readonly int64_t count
    cdef readonly size_t scratch_bytes

    cdef int run_one(self, const void *arrays, int64_t i) noexcept nogil


cdef int run_tasks(Tasks tasks, bint brief, const void *arrays) except -1
