# What the other drivers share: the kernel tables, scratch memory and the note that threads were started. The C behind
# it is linked into runtime alone, so that the process has it once.
from libc.stdint cimport int64_t

cimport numpy as cnp

from .kernels cimport pc_kernels


cdef const pc_kernels *kernels(int isa, bint is_double) noexcept nogil
cdef void *scratch(size_t size) noexcept nogil
cdef void note_parallel() noexcept nogil
cdef int allowed(int wanted, int preset) noexcept nogil
cdef bint runs_python() noexcept nogil
cdef void join_rows(const cnp.npy_intp *shape, int64_t *strides) noexcept
cdef int check_packed(cnp.ndarray array, int type_number) except -1
cdef int check_array(cnp.ndarray array, int type_number, int64_t *strides) except -1
