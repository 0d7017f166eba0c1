# cython: language_level=3
"""Driver of the direct convolution: tasks over threads."""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t

cimport numpy as cnp

from .kernels cimport pc_conv, pc_kernels
from .runtime cimport check_array, check_packed, kernels, note_parallel, scratch

from .runtime import check

cnp.import_array()


cdef class ConvTasks:
    """A convolution cut into tasks, for one plan, instruction set and number of threads; see bands.py."""

    cdef pc_conv conv
    cdef const pc_kernels *table
    cdef object arrays  # what conv points into
    cdef int type_number
    cdef readonly int64_t count
    cdef readonly int threads
    cdef readonly size_t scratch_bytes

    def __init__(self, int isa, bint is_double, int threads, b):
        check(isa)
        self.table = kernels(isa, is_double)
        self.type_number = cnp.NPY_DOUBLE if is_double else cnp.NPY_FLOAT
        self.threads = threads
        cdef cnp.ndarray phase_h = b.phase_h, phase_w = b.phase_w, offsets = b.offsets
        self.arrays = (phase_h, phase_w, offsets)
        for array in self.arrays:
            if array.dtype != "int32" or not array.flags.c_contiguous:
                raise TypeError("phases and offsets must be contiguous int32 arrays")
        cdef pc_conv *c = &self.conv
        c.batch, c.groups = b.batch, b.groups
        c.in_channels, c.out_channels = b.in_channels, b.out_channels
        c.in_h, c.in_w = b.in_size
        c.out_h, c.out_w = b.out_size
        c.stride_h, c.stride_w = b.stride
        c.pad_top, c.pad_left = b.origin
        c.rows, c.cols = b.rows, b.cols
        c.bands_h, c.bands_w, c.shares, c.band_stays = b.bands_h, b.bands_w, b.shares, b.band_stays
        c.phases_h, c.phases_w = phase_h.shape[0], phase_w.shape[0]
        c.phase_h = <const int32_t *>cnp.PyArray_DATA(phase_h)
        c.phase_w = <const int32_t *>cnp.PyArray_DATA(phase_w)
        c.packed_rows, c.pitch, c.channel_pitch = b.packed_rows, b.pitch, b.channel_pitch
        c.taps = offsets.shape[0]
        c.offsets = <const int32_t *>cnp.PyArray_DATA(offsets)
        c.full_tile, c.last_tile = b.full_tile, b.last_tile
        c.full_tiles, c.last_channels = b.full_tiles, b.last_channels
        self.count = b.tasks
        self.scratch_bytes = b.scratch * (8 if is_double else 4)


cdef int task(ConvTasks tasks, int64_t i, const void *x, const int64_t *x_strides, const void *weights,
              const void *bias, void *out, const int64_t *out_strides) noexcept nogil:
    cdef void *memory = scratch(tasks.scratch_bytes)
    if memory == NULL:
        return 1
    tasks.table.conv_task(&tasks.conv, i, x, x_strides, weights, bias, out, out_strides, memory)
    return 0


def run(ConvTasks tasks, cnp.ndarray x, cnp.ndarray weights, cnp.ndarray bias, cnp.ndarray out):
    """Run all tasks. ``x`` has any strides; the last axis of ``out`` is contiguous; all are of the tasks' dtype."""
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
    # many groups of few channels are many small tasks: a thread takes several at a time
    cdef int64_t together = max(count // (16 * max(tasks.threads, 1)), 1)
    cdef int threads = <int>min(tasks.threads, count), failed = 0
    with nogil:
        if threads > 1:
            note_parallel()
            for i in prange(count, schedule="dynamic", chunksize=together, num_threads=threads):
                failed += task(tasks, i, x_data, x_strides, weight_data, bias_data, out_data, out_strides)
        else:
            for i in range(count):
                failed += task(tasks, i, x_data, x_strides, weight_data, bias_data, out_data, out_strides)
    if failed:
        raise MemoryError(f"conv2d: no memory for {tasks.scratch_bytes:,} bytes of scratch on each thread")
