# cython: language_level=3
"""Driver of max pooling: runs of output rows over threads."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

cimport numpy as cnp

from .calls cimport Work
from .kernels cimport pc_kernels, pc_pool
from .runtime cimport check_array, kernels, note_parallel, scratch

from .runtime import check

cnp.import_array()


cdef class PoolTasks:
    """A max pooling cut into tasks, for one plan, instruction set and number of threads."""

    cdef pc_pool pool
    cdef const pc_kernels *table
    cdef int type_number
    cdef readonly int64_t per_plane, blocks, count, together
    cdef readonly int threads
    cdef readonly size_t scratch_bytes

    def __init__(self, int isa, bint is_double, int threads, plan, int64_t rows, int64_t block, int64_t line,
                 int64_t together):
        check(isa)
        self.table = kernels(isa, is_double)
        self.type_number = cnp.NPY_DOUBLE if is_double else cnp.NPY_FLOAT
        self.threads = threads
        cdef pc_pool *p = &self.pool
        p.channels = plan.channels
        p.in_h, p.in_w = plan.in_size
        p.out_h, p.out_w = plan.out_size
        p.kernel_h, p.kernel_w = plan.kernel
        p.stride_h, p.stride_w = plan.stride
        p.pad_top, p.pad_left = plan.padding[0][0], plan.padding[1][0]
        p.dilation_h, p.dilation_w = plan.dilation
        p.rows, p.block, p.line = rows, block, line
        self.per_plane = (p.out_h + rows - 1) // rows
        self.blocks = (p.channels + block - 1) // block
        self.count = self.per_plane * self.blocks * plan.batch
        self.together = together  # tasks that a thread takes at a time: small planes are not worth more
        self.scratch_bytes = line * (8 if is_double else 4)


cdef int task(PoolTasks tasks, int64_t i, const char *x, const int64_t *strides, int64_t itemsize, char *out,
              int64_t *indices) noexcept nogil:
    cdef const pc_pool *pool = &tasks.pool
    cdef int64_t first = i % tasks.per_plane * pool.rows
    cdef int64_t end = min(first + pool.rows, pool.out_h)
    cdef int64_t image = i // tasks.per_plane // tasks.blocks
    cdef int64_t channel = i // tasks.per_plane % tasks.blocks * pool.block
    cdef int64_t place = (image * pool.channels + channel) * pool.out_h * pool.out_w
    cdef void *memory = NULL
    x += (image * strides[0] + channel * strides[1]) * itemsize
    out += place * itemsize
    if indices != NULL:
        tasks.table.max_pool_indices_task(pool, x, strides[2], strides[3], out, indices + place, first, end)
        return 0
    if tasks.scratch_bytes:
        memory = scratch(tasks.scratch_bytes)
        if memory == NULL:
            return 1
    if pool.block > 1:
        tasks.table.max_pool_channels_task(
            pool, x, strides[2], strides[3], min(pool.block, pool.channels - channel), out, first, end, memory
        )
    else:
        tasks.table.max_pool_task(pool, x, strides[2], strides[3], out, first, end, memory)
    return 0


cdef int serial(PoolTasks tasks, const char *x, const int64_t *strides, int64_t itemsize, char *out,
                int64_t *indices) noexcept nogil:
    cdef int64_t i
    cdef int failed = 0
    for i in range(tasks.count):
        failed += task(tasks, i, x, strides, itemsize, out, indices)
    return failed


cdef int parallel(PoolTasks tasks, int threads, const char *x, const int64_t *strides, int64_t itemsize, char *out,
                  int64_t *indices) noexcept nogil:
    cdef int64_t i, together = tasks.together
    cdef int failed = 0
    note_parallel()
    for i in prange(tasks.count, schedule="dynamic", chunksize=together, num_threads=threads):
        failed += task(tasks, i, x, strides, itemsize, out, indices)
    return failed


cdef int run_tasks(PoolTasks tasks, bint brief, const char *x, const int64_t *strides, char *out,
                   int64_t *indices) except -1:
    cdef int threads = <int>min(tasks.threads, (tasks.count + tasks.together - 1) // tasks.together), failed
    cdef int64_t itemsize = 8 if tasks.type_number == cnp.NPY_DOUBLE else 4
    if threads > 1:
        with nogil:
            failed = parallel(tasks, threads, x, strides, itemsize, out, indices)
    elif brief:
        failed = serial(tasks, x, strides, itemsize, out, indices)
    else:
        with nogil:
            failed = serial(tasks, x, strides, itemsize, out, indices)
    if failed:
        raise MemoryError(f"max_pool2d: no memory for {tasks.scratch_bytes:,} bytes of scratch on each thread")
    return 0


def run(PoolTasks tasks, cnp.ndarray x, cnp.ndarray out, cnp.ndarray indices=None):
    """Run all tasks. ``x`` has any strides; ``out`` and ``indices`` are contiguous."""
    cdef int64_t[4] strides
    check_array(out, tasks.type_number, strides)
    check_array(x, tasks.type_number, strides)
    if tasks.pool.block > 1 and strides[1] != 1:
        raise ValueError("the channels must be neighbours in memory")
    cdef int64_t *index_data = NULL
    if indices is not None:
        if cnp.PyArray_TYPE(indices) != cnp.NPY_INT64 or not cnp.PyArray_IS_C_CONTIGUOUS(indices):
            raise TypeError("indices must be a contiguous int64 array")
        index_data = <int64_t *>cnp.PyArray_DATA(indices)
    run_tasks(tasks, False, <const char *>cnp.PyArray_DATA(x), strides, <char *>cnp.PyArray_DATA(out), index_data)


cdef class PoolWork(Work):
    """Tasks of a pooling without indices. ``brief``: too short for others to be let run meanwhile."""

    cdef PoolTasks tasks
    cdef bint brief

    def __init__(self, PoolTasks tasks, bint brief):
        self.tasks, self.brief = tasks, brief

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        return run_tasks(self.tasks, self.brief, x, x_strides, out, NULL)
