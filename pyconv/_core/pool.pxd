# The tasks of a pooling, for drivers that pool rows as they come.
from libc.stdint cimport int64_t

from .kernels cimport pc_pool, pc_pool_task


cdef class PoolTasks:
    cdef pc_pool pool
    cdef pc_pool_task kernel
    cdef int type_number
    cdef bint with_indices
    cdef readonly int64_t count
    cdef readonly int threads
    cdef readonly size_t scratch_bytes
