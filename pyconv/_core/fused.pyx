# cython: language_level=3
"""Driver of fused plans: a convolution band by band, each band finished and pooled while it is in the cache.

A unit of work is a strip of rows of one image, for one share of the output channels. Its bands follow each other from
top to bottom; rows that windows of the next band need too are kept.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

cimport numpy as cnp

from .calls cimport Work
from .conv cimport ConvTasks
from .kernels cimport pc_conv_arrays, pc_conv_task, pc_pool, pc_pool_arrays
from .pool cimport PoolTasks
from .runtime cimport check_array, check_packed, scratch
from .tasks cimport Tasks, run_tasks

import numpy as np

from .elementwise import KERNELS

cnp.import_array()

cdef int64_t ALIGNMENT = 64
cdef int64_t NEAR = 16_384  # bytes of channels' rows that are pooled while they are in the first level of the cache


cdef struct Band:
    pc_conv_task work
    const void *parameters
    int64_t count                # tasks of all shares
    int64_t in_row               # of the input that the tasks begin with
    int64_t row, rows            # of the convolution's output
    int64_t held, held_from      # rows kept in front of them, and where these lie before
    pc_pool pool                 # of the windows that are whole with them
    int64_t pooled               # the first row of its output


cdef struct Arrays:
    const char *x
    int64_t[4] x_strides
    const char *weights
    const char *bias
    const char *residual         # contiguous, or NULL
    char *out                    # contiguous
    uint8_t *broken              # of each image, or NULL


cdef class FusedTasks(Tasks):
    """A fused plan cut into units, which are its tasks; ``cut`` has the sizes."""

    cdef readonly bint may_break
    cdef Band *bands
    cdef int64_t itemsize, batch, strips, shares
    cdef int64_t out_channels, width, plane           # of the convolution's output; width * height
    cdef int64_t buffer_at, line_at, pitch            # in scratch, in bytes; elements of a channel's rows there
    cdef void (*activation)(const void *, void *, int64_t, const double *) noexcept nogil
    cdef double[2] numbers
    cdef PoolTasks pool
    cdef tuple tasks                                  # what bands points into
    cdef cnp.ndarray edges_of_strips, edges_of_shares
    cdef const int64_t *first_bands
    cdef const int64_t *first_channels

    def __cinit__(self):
        self.bands = NULL

    def __dealloc__(self):
        free(self.bands)

    def __init__(self, int isa, bint is_double, int threads, plan, cut, PoolTasks pool):
        super().__init__(isa, is_double, threads)
        self.itemsize, self.pool = 8 if is_double else 4, pool
        self.batch, self.out_channels, self.plane, self.width = plan.conv.out_shape
        self.plane *= self.width
        self.activation = NULL
        self.numbers[0] = self.numbers[1] = 0
        if plan.activation is not None:
            self.activation = self.table.activations[<int>KERNELS[plan.activation.op]].run
            for place, value in enumerate(plan.activation.parameters):
                self.numbers[place] = value
        self.edges_of_strips = np.array(cut.first_bands, np.int64)
        self.edges_of_shares = np.array(cut.first_channels, np.int64)
        self.first_bands = <const int64_t *>cnp.PyArray_DATA(self.edges_of_strips)
        self.first_channels = <const int64_t *>cnp.PyArray_DATA(self.edges_of_shares)
        self.strips, self.shares = len(cut.first_bands) - 1, len(cut.first_channels) - 1
        self.count = self.batch * self.strips * self.shares
        self.tasks = tuple([band.tasks for band in cut.bands])
        self.bands = <Band *>calloc(max(len(cut.bands), 1), sizeof(Band))
        if self.bands == NULL:
            raise MemoryError("no memory for the bands of a fused plan")
        cdef ConvTasks tasks
        cdef Band *b
        cdef size_t most = 0
        for place, band in enumerate(cut.bands):
            tasks, b = band.tasks, self.bands + <int64_t>place
            if tasks.batch != 1 or tasks.type_number != self.type_number:
                raise TypeError("the tasks of a band must be of one image, and of the plan's dtype")
            b.work, b.parameters, b.count = tasks.work, tasks.parameters, tasks.count
            b.in_row, b.row, b.rows = band.in_row, band.row, band.rows
            b.held, b.held_from = band.held, band.held_from
            b.pooled = band.pooled[0]
            if pool is not None:
                b.pool = pool.pool
                b.pool.h.before -= b.pooled * b.pool.h.stride
                b.pool.h.out = b.pool.rows = band.pooled[1] - b.pooled
                b.pool.per_plane = 1
                b.pool.far = b.pool.near = b.pool.streams = 0  # what is pooled is at hand, and each call is short
            self.may_break |= tasks.may_break
            most = max(most, tasks.scratch_bytes)
        self.pitch = cut.buffer_rows * self.width
        self.buffer_at = (most + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        cdef int64_t buffer_bytes = cut.buffer_channels * self.pitch * self.itemsize
        if pool is None and not plan.has_residual:
            buffer_bytes = 0
        self.line_at = self.buffer_at + (buffer_bytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        self.scratch_bytes = self.line_at + (0 if pool is None else pool.scratch_bytes)

    cdef int run_one(self, const void *arrays, int64_t i) noexcept nogil:
        return unit(self, <const Arrays *>arrays, i)


cdef void finish(FusedTasks t, char *rows, int64_t pitch, const char *added, int64_t added_pitch, int64_t channels,
                 int64_t count) noexcept nogil:
    """Add ``added``, unless it is NULL, and apply the activation: ``count`` elements each of so many channels."""
    cdef int64_t c
    if added == NULL and t.activation == NULL:
        return
    if pitch == count and (added == NULL or added_pitch == count):
        count, channels = count * channels, 1
    for c in range(channels):
        if added != NULL:
            t.table.add(added + c * added_pitch * t.itemsize, rows, count)
        if t.activation != NULL:
            t.activation(rows, rows, count, t.numbers)
        rows += pitch * t.itemsize


cdef void keep(FusedTasks t, const Band *band, char *buffer, int64_t channels) noexcept nogil:
    """Move the rows that are needed once more to the front of each channel's."""
    cdef int64_t _c, row = t.width * t.itemsize
    if band.held == 0 or band.held_from == 0:
        return
    for _c in range(channels):
        memmove(buffer, buffer + band.held_from * row, band.held * row)
        buffer += t.pitch * t.itemsize


cdef void pool_rows(FusedTasks t, const Band *band, const char *buffer, char *out, int64_t channels,
                    void *line) noexcept nogil:
    """Pool the windows that are whole now; ``out`` is the first row of the first channel's plane."""
    cdef pc_pool pool = band.pool
    cdef pc_pool_arrays arrays
    cdef int64_t plane = t.pool.pool.h.out * pool.w.out
    if pool.rows == 0:
        return
    pool.channels = pool.blocks = pool.units = pool.planes = channels
    arrays.x = buffer - (band.row - band.held) * t.width * t.itemsize  # where row 0 would be
    arrays.out, arrays.indices = out + band.pooled * pool.w.out * t.itemsize, NULL
    arrays.x_strides[0], arrays.x_strides[1], arrays.x_strides[2], arrays.x_strides[3] = 0, t.pitch, t.width, 1
    arrays.out_strides[0], arrays.out_strides[1], arrays.out_strides[2], arrays.out_strides[3] = 0, plane, pool.w.out, 1
    t.pool.kernel(&pool, &arrays, 0, line)


cdef int unit(FusedTasks t, const Arrays *a, int64_t i) noexcept nogil:
    cdef int64_t share = i % t.shares, strip = i // t.shares % t.strips, image = i // (t.shares * t.strips)
    cdef int64_t first = t.first_channels[share], channels = t.first_channels[share + 1] - first
    cdef int64_t size = t.itemsize, plane = t.plane, at = (image * t.out_channels + first) * plane, n, j, c, some
    cdef int64_t pooled_plane
    cdef char *memory = <char *>scratch(t.scratch_bytes)
    cdef char *buffer = memory + t.buffer_at
    cdef bint in_place = a.residual == a.out, buffered = t.pool is not None or in_place
    cdef char *rows
    cdef char *target
    cdef const char *residual = NULL
    cdef Band *band
    cdef pc_conv_arrays arrays
    if memory == NULL:
        return 1
    memcpy(arrays.x_strides, a.x_strides, sizeof(arrays.x_strides))
    arrays.weights, arrays.bias = a.weights, a.bias
    arrays.broken = NULL if a.broken == NULL else a.broken + image
    arrays.out_strides[0], arrays.out_strides[2], arrays.out_strides[3] = 0, t.width, 1
    arrays.out_strides[1] = t.pitch if buffered else plane
    for n in range(t.first_bands[strip], t.first_bands[strip + 1]):
        band = t.bands + n
        target = a.out + (at + band.row * t.width) * size
        rows = buffer + band.held * t.width * size if buffered else target
        if t.pool is not None:
            keep(t, band, buffer, channels)
        arrays.x = a.x + (image * a.x_strides[0] + band.in_row * a.x_strides[2]) * size
        arrays.out = rows - first * arrays.out_strides[1] * size  # tasks count channels from the first of all
        for j in range(band.count // t.shares):
            band.work(band.parameters, &arrays, j * t.shares + share, memory)
        if a.residual != NULL and not in_place:
            residual = a.residual + (at + band.row * t.width) * size
        if t.pool is None:
            if in_place:
                finish(t, target, plane, rows, t.pitch, channels, band.rows * t.width)
            else:
                finish(t, rows, arrays.out_strides[1], residual, plane, channels, band.rows * t.width)
            continue
        pooled_plane = t.pool.pool.h.out * t.pool.pool.w.out
        target = a.out + (image * t.out_channels + first) * pooled_plane * size
        c = 0
        while c < channels:
            some = min(max(NEAR // (t.pitch * size), 1), channels - c)
            finish(t, rows + c * t.pitch * size, t.pitch, residual, plane, some, band.rows * t.width)
            pool_rows(t, band, buffer + c * t.pitch * size, target + c * pooled_plane * size, some, memory + t.line_at)
            if residual != NULL:
                residual += some * plane * size
            c += some
    return 0


cdef class FusedWork(Work):
    """Tasks and the packed weights that they read. ``brief``: too short for others to be let run meanwhile."""

    cdef FusedTasks tasks
    cdef cnp.ndarray weights, bias
    cdef bint brief

    def __init__(self, FusedTasks tasks, cnp.ndarray weights, cnp.ndarray bias, bint brief):
        check_packed(weights, tasks.type_number)
        check_packed(bias, tasks.type_number)
        self.tasks, self.weights, self.bias, self.brief = tasks, weights, bias, brief

    cdef int run_with(self, const char *x, const int64_t *x_strides, const char *residual, char *out,
                      uint8_t *broken) except -1:
        cdef Arrays arrays
        arrays.x, arrays.residual, arrays.out, arrays.broken = x, residual, out, broken
        memcpy(arrays.x_strides, x_strides, sizeof(arrays.x_strides))
        arrays.weights = <const char *>cnp.PyArray_DATA(self.weights)
        arrays.bias = <const char *>cnp.PyArray_DATA(self.bias)
        run_tasks(self.tasks, self.brief, &arrays)
        return 0

    @property
    def may_break(self):
        """Whether there may be images that have to be computed directly."""
        return self.tasks.may_break

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        return self.run_added(x, x_strides, NULL, out, out_strides)

    cdef int run_added(self, const char *x, const int64_t *x_strides, const char *residual, char *out,
                       const int64_t *out_strides) except -1:
        cdef int64_t i
        cdef int undone = 0
        cdef uint8_t *broken = NULL
        if not self.tasks.may_break:
            return self.run_with(x, x_strides, residual, out, NULL)
        if residual == out:
            return 1  # it would be needed once more if an image has to be computed directly
        broken = <uint8_t *>calloc(max(self.tasks.batch, 1), 1)
        if broken == NULL:
            raise MemoryError("conv2d: no memory for a byte for each image")
        try:
            self.run_with(x, x_strides, residual, out, broken)
            for i in range(self.tasks.batch):
                undone |= broken[i]
        finally:
            free(broken)
        return undone

    def run_arrays(self, cnp.ndarray x, cnp.ndarray residual, cnp.ndarray out):
        """Run on arrays: None, or the images whose results are not all finite and have to be computed directly.

        ``x`` has any strides; ``residual``, which may be None, and ``out`` are contiguous; all are of the tasks' dtype.
        Unless the tasks may break, or there is a pooling, ``out`` may be the residual itself.
        """
        cdef int64_t[4] x_strides
        cdef int64_t[4] strides
        cdef const char *residual_data = NULL
        cdef cnp.ndarray broken = np.zeros(self.tasks.batch, np.uint8)
        check_array(x, self.tasks.type_number, x_strides)
        check_array(out, self.tasks.type_number, strides)
        if not cnp.PyArray_IS_C_CONTIGUOUS(out) or cnp.PyArray_DIM(out, 0) != cnp.PyArray_DIM(x, 0):
            raise ValueError("out must be contiguous, with as many images as x")
        if residual is not None:
            check_packed(residual, self.tasks.type_number)
            residual_data = <const char *>cnp.PyArray_DATA(residual)
            if cnp.PyArray_SIZE(residual) != self.tasks.batch * self.tasks.plane * self.tasks.out_channels:
                raise ValueError("the residual must have the size of the convolution's output")
            if residual_data == cnp.PyArray_DATA(out) and (self.tasks.may_break or self.tasks.pool is not None):
                raise ValueError("out must not be the residual here")
        self.run_with(
            <const char *>cnp.PyArray_DATA(x), x_strides, residual_data, <char *>cnp.PyArray_DATA(out),
            <uint8_t *>cnp.PyArray_DATA(broken),
        )
        return np.flatnonzero(broken) if broken.any() else None
