# The tasks of a convolution, for drivers that go on with what they compute.
from libc.stdint cimport int64_t

from .kernels cimport pc_conv_arrays, pc_conv_task, pc_kernels


cdef class ConvTasks:
    cdef const pc_kernels *table
    cdef pc_conv_task work
    cdef const void *parameters  # of the algorithm, as its tasks get them
    cdef int type_number
    cdef int64_t batch
    cdef int64_t row  # elements from one row of the output to the next, where rows must have no gaps; 0: anything
    cdef readonly int64_t count
    cdef readonly int threads
    cdef readonly size_t scratch_bytes
