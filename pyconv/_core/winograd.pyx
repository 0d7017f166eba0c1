# cython: language_level=3
"""Driver of the Winograd convolution: tasks over threads."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

cimport numpy as cnp

from .kernels cimport pc_kernels, pc_winograd
from .runtime cimport check_array, check_packed, kernels, note_parallel, scratch

import numpy as np

from .runtime import check

cnp.import_array()


cdef class WinogradTasks:
    """A Winograd convolution cut into tasks, for one plan, instruction set and number of threads."""

    cdef pc_winograd winograd
    cdef const pc_kernels *table
    cdef int type_number
    cdef readonly int64_t count
    cdef readonly int threads
    cdef readonly size_t scratch_bytes

    def __init__(self, int isa, bint is_double, int threads, plan, grid):
        check(isa)
        self.table = kernels(isa, is_double)
        self.type_number = cnp.NPY_DOUBLE if is_double else cnp.NPY_FLOAT
        self.threads = threads
        cdef pc_winograd *w = &self.winograd
        w.batch, w.in_channels, w.out_channels = plan.batch, plan.in_channels, plan.out_channels
        w.in_h, w.in_w = plan.in_size
        w.out_h, w.out_w = plan.out_size
        w.pad_top, w.pad_left = plan.padding[0][0], plan.padding[1][0]
        w.tiles_h, w.tiles_w, w.rows, w.cols = grid.tiles_h, grid.tiles_w, grid.rows, grid.cols
        w.bands_h, w.bands_w, w.shares = grid.bands_h, grid.bands_w, grid.shares
        w.block_vectors, w.blocks = grid.block_vectors, grid.blocks
        w.tile_pitch, w.plane_pitch, w.work_pitch = grid.tile_pitch, grid.plane_pitch, grid.work_pitch
        self.count = w.batch * w.bands_h * w.bands_w * w.shares
        self.scratch_bytes = grid.scratch * (8 if is_double else 4)


cdef int task(WinogradTasks tasks, int64_t i, const void *x, const int64_t *x_strides, const void *weights,
              const void *bias, void *out, const int64_t *out_strides, char *broken) noexcept nogil:
    cdef const pc_winograd *w = &tasks.winograd
    cdef void *memory = scratch(tasks.scratch_bytes)
    if memory == NULL:
        return 1
    if tasks.table.winograd_task(w, i, x, x_strides, weights, bias, out, out_strides, memory):
        broken[i // (w.bands_h * w.bands_w * w.shares)] = 1  # every thread that writes here writes the same
    return 0


def run(WinogradTasks tasks, cnp.ndarray x, cnp.ndarray weights, cnp.ndarray bias, cnp.ndarray out):
    """Run all tasks; the images whose results are not all finite, and have to be computed directly.

    ``x`` has any strides; the last axis of ``out`` is contiguous; all are of the tasks' dtype.
    """
    cdef int64_t[4] x_strides
    cdef int64_t[4] out_strides
    check_array(x, tasks.type_number, x_strides)
    check_array(out, tasks.type_number, out_strides)
    check_packed(weights, tasks.type_number)
    check_packed(bias, tasks.type_number)
    cdef const void *x_data = cnp.PyArray_DATA(x)
    cdef const void *weight_data = cnp.PyArray_DATA(weights)
    cdef const void *bias_data = cnp.PyArray_DATA(bias)
    cdef void *out_data = cnp.PyArray_DATA(out)
    cdef int64_t i, count = tasks.count
    cdef int threads = <int>min(tasks.threads, count), failed = 0
    cdef cnp.ndarray flags = np.zeros(tasks.winograd.batch, np.uint8)
    cdef char *broken = <char *>cnp.PyArray_DATA(flags)
    with nogil:
        if threads > 1:
            note_parallel()
            for i in prange(count, schedule="dynamic", num_threads=threads):
                failed += task(tasks, i, x_data, x_strides, weight_data, bias_data, out_data, out_strides, broken)
        else:
            for i in range(count):
                failed += task(tasks, i, x_data, x_strides, weight_data, bias_data, out_data, out_strides, broken)
    if failed:
        raise MemoryError(f"conv2d: no memory for {tasks.scratch_bytes:,} bytes of scratch on each thread")
    return np.flatnonzero(flags)
