# cython: language_level=3
"""Driver of the convolutions: the tasks of every algorithm over threads."""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cimport numpy as cnp

from .calls cimport Work
from .kernels cimport (
    pc_channels,
    pc_channels_tile,
    pc_conv_arrays,
    pc_depthwise,
    pc_depthwise_taps,
    pc_direct,
    pc_winograd,
)
from .runtime cimport check_array, check_packed, scratch
from .tasks cimport Tasks, run_tasks

import numpy as np

cnp.import_array()


cdef class ConvTasks(Tasks):
    """A convolution cut into tasks. Each algorithm has a class of its own that fills in its parameter struct."""

    cdef int run_one(self, const void *arrays, int64_t i) noexcept nogil:
        cdef void *memory = scratch(self.scratch_bytes)
        if memory == NULL:
            return 1
        self.work(self.parameters, <const pc_conv_arrays *>arrays, i, memory)
        return 0


cdef class DirectTasks(ConvTasks):
    """Direct sums in register tiles; ``b`` has the sizes, see bands.py."""

    cdef pc_direct direct
    cdef object arrays  # what direct points into

    def __init__(self, int isa, bint is_double, int threads, b):
        super().__init__(isa, is_double, threads)
        cdef cnp.ndarray phase_h = b.phase_h, phase_w = b.phase_w, offsets = b.offsets, panel_offsets = b.panel_offsets
        self.arrays = (phase_h, phase_w, offsets, panel_offsets)
        for array in self.arrays:
            if array.dtype != "int32" or not array.flags.c_contiguous:
                raise TypeError("phases and offsets must be contiguous int32 arrays")
        cdef pc_direct *d = &self.direct
        d.groups = b.groups
        d.in_channels, d.out_channels = b.in_channels, b.out_channels
        d.in_h, d.in_w = b.in_size
        d.out_h, d.out_w = b.out_size
        d.stride_h, d.stride_w = b.stride
        d.pad_top, d.pad_left = b.origin
        d.rows, d.cols = b.rows, b.cols
        d.bands_h, d.bands_w, d.shares = b.bands_h, b.bands_w, b.shares
        d.band_stays, d.by_rows, d.in_place = b.band_stays, b.by_rows, b.in_place
        d.phases_h, d.phases_w = phase_h.shape[0], phase_w.shape[0]
        d.phase_h = <const int32_t *>cnp.PyArray_DATA(phase_h)
        d.phase_w = <const int32_t *>cnp.PyArray_DATA(phase_w)
        d.packed_rows, d.pitch, d.channel_pitch = b.packed_rows, b.pitch, b.channel_pitch
        d.panels, d.band_size, d.taps, d.chunk = b.panels, b.band_size, offsets.shape[0], b.chunk
        d.offsets = <const int32_t *>cnp.PyArray_DATA(offsets)
        if panel_offsets.shape[0] > 0:
            d.panel_offsets = <const int32_t *>cnp.PyArray_DATA(panel_offsets)
        d.full_tile, d.last_tile = b.full_tile, b.last_tile
        d.full_tiles, d.last_channels = b.full_tiles, b.last_channels
        self.parameters, self.work, self.row = d, self.table.direct_task, b.row
        self.batch, self.count = b.batch, b.tasks
        self.scratch_bytes = b.scratch * (8 if is_double else 4)


cdef class PhasesTasks(DirectTasks):
    """The same of a long row whose output channels are the phases of a transposed convolution, channel by channel.

    Each pixel of the image, of so many columns, becomes ``down`` times ``across`` of the output.
    """

    def __init__(self, int isa, bint is_double, int threads, b, int down, int across, int columns):
        super().__init__(isa, is_double, threads, b)
        if not 2 <= across <= 4 or self.table.tiles[b.full_tile].channels % across != 0:
            raise ValueError("the columns of a pixel must be 2, 3 or 4, and divide the channels of a tile")
        self.direct.phases_down, self.direct.phases_across, self.direct.image_w = down, across, columns
        self.row = 0


cdef class FewTasks(DirectTasks):
    """The same bands for tiles whose vectors run along output channels; see few.py."""

    def __init__(self, int isa, bint is_double, int threads, b, int pooled=0):
        super().__init__(isa, is_double, threads, b)
        self.work, self.direct.pooled = self.table.few_task, pooled


cdef class WinogradFewTasks(DirectTasks):
    """Bands of whole tiles, transformed and multiplied; ``places`` has the sizes besides, see winograd_few.py."""

    def __init__(self, int isa, bint is_double, int threads, b, places, int pooled=0):
        super().__init__(isa, is_double, threads, b)
        self.work, self.may_break, self.direct.pooled = self.table.winograd_few_task, True, pooled
        self.direct.tile, self.direct.places_pitch, self.direct.work_line = places[:3]
        self.direct.whole_h, self.direct.whole_w = places[3:]


cdef class WinogradRowTasks(DirectTasks):
    """Bands of rows, transformed along these and multiplied; ``places`` has the sizes besides, see winograd_row.py."""

    def __init__(self, int isa, bint is_double, int threads, b, places):
        super().__init__(isa, is_double, threads, b)
        self.work, self.may_break = self.table.winograd_row_task, True
        self.direct.tile, self.direct.places_pitch, self.direct.work_line = places


cdef class ChannelsTasks(ConvTasks):
    """Direct sums in vectors of output channels; ``cut`` has the sizes, see channels.py."""

    cdef pc_channels channels
    cdef object arrays  # what channels points into

    def __init__(self, int isa, bint is_double, int threads, plan, cut):
        super().__init__(isa, is_double, threads)
        cdef cnp.ndarray tiles = cut.tiles, band_tiles = cut.band_tiles
        self.arrays = (tiles, band_tiles)
        if tiles.dtype != "int32" or band_tiles.dtype != "int64" or not tiles.flags.c_contiguous:
            raise TypeError("tiles must be a contiguous int32 array, band_tiles an int64 one")
        if tiles.shape[1] * 4 != sizeof(pc_channels_tile):
            raise TypeError("tiles must have a row for each pc_channels_tile")
        cdef pc_channels *c = &self.channels
        c.groups = plan.groups
        c.in_channels, c.out_channels = plan.in_channels // plan.groups, plan.out_channels // plan.groups
        c.out_h, c.out_w = plan.out_size
        c.kernel_h, c.kernel_w = plan.kernel
        c.stride_h, c.stride_w = plan.stride
        c.pad_top, c.pad_left = plan.padding[0][0], plan.padding[1][0]
        c.dilation_h, c.dilation_w = plan.dilation
        c.chunk, c.places, c.blocks, c.shares = cut.chunk, cut.places, cut.blocks, cut.shares
        c.bands, c.parts, c.pixels, c.most_tiles = cut.bands, cut.parts, cut.pixels, cut.most_tiles
        c.band_stays, c.spreads, c.squares = cut.band_stays, cut.spreads, cut.squares
        c.tiles = <const pc_channels_tile *>cnp.PyArray_DATA(tiles)
        c.band_tiles = <const int64_t *>cnp.PyArray_DATA(band_tiles)
        self.parameters, self.work = c, self.table.channels_task
        self.batch, self.count = plan.batch, plan.batch * c.groups * c.parts * c.shares
        self.scratch_bytes = cut.scratch


cdef class DepthwiseTasks(ConvTasks):
    """One input channel for each output channel: planes filtered where they lie, or blocks of a vector of planes; of
    these also groups of few channels.

    ``cut`` has the sizes, see depthwise.py.
    """

    cdef pc_depthwise depthwise
    cdef object arrays  # what depthwise points into

    def __init__(self, int isa, bint is_double, int threads, plan, cut):
        super().__init__(isa, is_double, threads)
        cdef pc_depthwise *d = &self.depthwise
        d.units, d.out_channels = cut.units, plan.out_channels
        d.multiplier = max(plan.out_channels // plan.in_channels, 1)
        d.group = plan.in_channels // plan.groups
        d.in_h, d.in_w = plan.in_size
        d.out_h, d.out_w = plan.out_size
        d.kernel_h, d.kernel_w = plan.kernel
        d.stride_h, d.stride_w = plan.stride
        d.pad_top, d.pad_left = plan.padding[0][0], plan.padding[1][0]
        d.dilation_h, d.dilation_w = plan.dilation
        d.parts, d.bands = cut.parts, cut.bands
        d.together, d.rows, d.slots = cut.together, cut.rows, cut.slots
        d.row_size, d.tile = cut.row_size, cut.tile
        if cut.row_taps is not None:
            self.set_taps(cut.row_taps, cut.column_taps, cut.places, cut.offsets)
        self.parameters = d
        self.work = self.table.depthwise_task if cut.row_taps is None else self.table.depthwise_channels_task
        self.batch, self.count = plan.batch, cut.parts * cut.bands
        self.scratch_bytes = cut.scratch

    cdef int set_taps(
        self, cnp.ndarray row_taps, cnp.ndarray column_taps, cnp.ndarray places, cnp.ndarray offsets
    ) except -1:
        cdef pc_depthwise *d = &self.depthwise
        self.arrays = (row_taps, column_taps, places, offsets)
        for array in self.arrays:
            if array.dtype != "int32" or not array.flags.c_contiguous:
                raise TypeError("taps, places and offsets must be contiguous int32 arrays")
        if row_taps.shape[1] * 4 != sizeof(pc_depthwise_taps) or column_taps.shape[1] != row_taps.shape[1]:
            raise TypeError("taps must have a row for each pc_depthwise_taps")
        d.row_taps = <const pc_depthwise_taps *>cnp.PyArray_DATA(row_taps)
        d.column_taps = <const pc_depthwise_taps *>cnp.PyArray_DATA(column_taps)
        d.places = <const int32_t *>cnp.PyArray_DATA(places)
        d.offsets = <const int32_t *>cnp.PyArray_DATA(offsets)
        return 0


cdef class SeparableTasks(DepthwiseTasks):
    """Planes filtered down and along; ``cut`` has the sizes, see separable.py."""

    def __init__(self, int isa, bint is_double, int threads, plan, cut):
        super().__init__(isa, is_double, threads, plan, cut)
        self.work, self.may_break = self.table.separable_task, True


cdef class WinogradTasks(ConvTasks):
    """Winograd's transforms and products; ``grid`` has the sizes, see winograd.py."""

    cdef pc_winograd winograd

    def __init__(self, int isa, bint is_double, int threads, plan, grid):
        super().__init__(isa, is_double, threads)
        cdef pc_winograd *w = &self.winograd
        w.groups = plan.groups
        w.in_channels, w.out_channels = plan.in_channels // plan.groups, plan.out_channels // plan.groups
        w.in_h, w.in_w = plan.in_size
        w.out_h, w.out_w = plan.out_size
        w.pad_top, w.pad_left = plan.padding[0][0], plan.padding[1][0]
        w.tile, w.tiles_h, w.tiles_w = grid.tile, grid.tiles_h, grid.tiles_w
        w.bands_h, w.bands_w, w.shares = grid.bands_h, grid.bands_w, grid.shares
        w.block_vectors, w.blocks = grid.block_vectors, grid.blocks
        w.chunk, w.spreads = grid.chunk, grid.spreads
        w.tile_pitch, w.plane_pitch = grid.tile_pitch, grid.plane_pitch
        self.parameters, self.work, self.may_break = w, self.table.winograd_task, True
        self.batch, self.count = plan.batch, plan.batch * w.groups * w.bands_h * w.bands_w * w.shares
        self.scratch_bytes = grid.scratch * (8 if is_double else 4)


def run(ConvTasks tasks, cnp.ndarray x, cnp.ndarray weights, cnp.ndarray bias, cnp.ndarray out):
    """Run all tasks; None, or the images whose results are not all finite and have to be computed directly.

    ``x`` has any strides; the last axis of ``out`` is contiguous; all are of the tasks' dtype.
    """
    cdef pc_conv_arrays arrays
    check_array(x, tasks.type_number, arrays.x_strides)
    check_array(out, tasks.type_number, arrays.out_strides)
    check_packed(weights, tasks.type_number)
    check_packed(bias, tasks.type_number)
    if cnp.PyArray_DIM(x, 0) != tasks.batch or cnp.PyArray_DIM(out, 0) != tasks.batch:
        raise ValueError("the arrays must have as many images as the tasks")
    if tasks.row and tasks.batch > 0 and cnp.PyArray_DIM(out, 2) > 1 and arrays.out_strides[2] != tasks.row:
        raise ValueError("the output's rows must have no gaps")
    arrays.x, arrays.out = cnp.PyArray_DATA(x), cnp.PyArray_DATA(out)
    arrays.weights, arrays.bias = cnp.PyArray_DATA(weights), cnp.PyArray_DATA(bias)
    cdef cnp.ndarray broken = None
    arrays.broken = NULL
    if tasks.may_break:
        broken = np.zeros(tasks.batch, np.uint8)
        arrays.broken = <uint8_t *>cnp.PyArray_DATA(broken)
    run_tasks(tasks, False, &arrays)
    return None if broken is None or not broken.any() else np.flatnonzero(broken)


cdef class ConvWork(Work):
    """Tasks and the packed weights that they read. ``brief``: too short for others to be let run meanwhile.

    Undone if there are images whose results are not all finite and have to be computed directly, or if the rows of the
    output have gaps where they must not.
    """

    cdef ConvTasks tasks
    cdef cnp.ndarray weights, bias
    cdef bint brief

    def __init__(self, ConvTasks tasks, cnp.ndarray weights, cnp.ndarray bias, bint brief):
        check_packed(weights, tasks.type_number)
        check_packed(bias, tasks.type_number)
        self.tasks, self.weights, self.bias, self.brief = tasks, weights, bias, brief

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        cdef pc_conv_arrays arrays
        cdef int64_t i
        cdef int undone = 0
        if self.tasks.row and out_strides[2] != self.tasks.row:
            return 1
        arrays.x, arrays.out = x, out
        arrays.weights, arrays.bias = cnp.PyArray_DATA(self.weights), cnp.PyArray_DATA(self.bias)
        memcpy(arrays.x_strides, x_strides, sizeof(arrays.x_strides))
        memcpy(arrays.out_strides, out_strides, sizeof(arrays.out_strides))
        arrays.broken = NULL
        if not self.tasks.may_break:
            return run_tasks(self.tasks, self.brief, &arrays)
        arrays.broken = <uint8_t *>calloc(self.tasks.batch, 1)
        if arrays.broken == NULL:
            raise MemoryError("conv2d: no memory for a byte for each image")
        try:
            run_tasks(self.tasks, self.brief, &arrays)
            for i in range(self.tasks.batch):
                undone |= arrays.broken[i]
        finally:
            free(arrays.broken)
        return undone

    def run_arrays(self, cnp.ndarray x, cnp.ndarray out):
        """Run on arrays: None, or the images whose results are not all finite, as ``run``."""
        return run(self.tasks, x, self.weights, self.bias, out)
