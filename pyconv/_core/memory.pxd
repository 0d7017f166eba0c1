# Arrays that begin where a cache line does.
cimport numpy as cnp


cdef cnp.ndarray new(int axes, cnp.npy_intp *shape, int type_number, cnp.npy_intp *strides)
