# The tasks of a pooling, for drivers that pool rows as they come.
from .kernels cimport pc_pool, pc_pool_task
from .tasks cimport Tasks


cdef class PoolTasks(Tasks):
    cdef pc_pool pool
    cdef pc_pool_task kernel
    cdef bint with_indices
