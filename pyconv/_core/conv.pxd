# The tasks of a convolution, for drivers that go on with what they compute.
from libc.stdint cimport int64_t

from .kernels cimport pc_conv_task
from .tasks cimport Tasks


cdef class ConvTasks(Tasks):
    cdef pc_conv_task work
    cdef const void *parameters  # of the algorithm, as its tasks get them
    cdef int64_t batch
    cdef int64_t row  # elements from one row of the output to the next, where rows must have no gaps; 0: anything
    cdef readonly bint may_break  # images whose results are not all finite have to be computed directly
