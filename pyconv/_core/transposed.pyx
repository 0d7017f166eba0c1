# cython: language_level=3
"""Driver of transposed convolutions: their phases band by band, put together while they are in the cache.

A unit of work is a strip of rows of one image. Of each of its bands, the convolutions write their rows to scratch
memory; from there every row of the output is written once, from one end to the other.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cimport numpy as cnp

from .calls cimport Work
from .conv cimport ConvTasks
from .kernels cimport pc_conv_arrays, pc_conv_task
from .runtime cimport check_array, check_packed, scratch
from .tasks cimport Tasks, run_tasks

import numpy as np

cnp.import_array()

cdef enum:
    MOST_STEPS = 8  # columns of phases that one row is put together from

MOST_COLUMNS = MOST_STEPS

cdef int64_t ALIGNMENT = 64
cdef double ZERO = 0


cdef struct Part:
    int64_t phases, width      # of its results
    int64_t pitch              # elements from one channel to the next in scratch memory
    int64_t at                 # bytes, there
    int64_t column             # of the input that it begins with


cdef struct Piece:
    pc_conv_task work          # NULL if a part has no rows in a band
    const void *parameters
    int64_t count
    int64_t in_row             # of the input that the tasks begin with


cdef struct Place:
    int64_t part, phase        # part: -1 if none reaches these outputs


cdef struct Arrays:
    const char *x
    int64_t[4] x_strides
    const char **weights       # of each part
    const char **bias
    const char *rest           # what outputs are that no part reaches, a channel each; or NULL for zeros
    char *out                  # contiguous


cdef class TransposedTasks(Tasks):
    """A transposed convolution cut into units, which are its tasks; ``cut`` has the sizes."""

    cdef int64_t itemsize, batch, strips, out_channels, per_out, out_h, out_w, stride_h, stride_w, most
    cdef Part *parts
    cdef Piece *pieces         # of each band, one a part
    cdef readonly int64_t part_count
    cdef tuple tasks           # what pieces points into
    cdef cnp.ndarray edges_of_bands, edges_of_strips, all_places
    cdef const int64_t *rows   # of phases, where bands begin, and the end
    cdef const int64_t *first_bands
    cdef const Place *places

    def __cinit__(self):
        self.parts, self.pieces = NULL, NULL

    def __dealloc__(self):
        free(self.parts)
        free(self.pieces)

    def __init__(self, int isa, bint is_double, int threads, plan, cut):
        super().__init__(isa, is_double, threads)
        self.itemsize = 8 if is_double else 4
        self.batch, self.out_channels, self.out_h, self.out_w = plan.out_shape
        self.per_out = plan.out_channels // plan.groups
        self.stride_h, self.stride_w = plan.stride
        if self.stride_w > MOST_STEPS:
            raise ValueError(f"a stride of {MOST_STEPS} columns at most")
        self.edges_of_bands = np.array(cut.rows, np.int64)
        self.edges_of_strips = np.array(cut.first_bands, np.int64)
        self.all_places = np.array(cut.places, np.int64)
        self.rows = <const int64_t *>cnp.PyArray_DATA(self.edges_of_bands)
        self.first_bands = <const int64_t *>cnp.PyArray_DATA(self.edges_of_strips)
        self.places = <const Place *>cnp.PyArray_DATA(self.all_places)
        self.strips = len(cut.first_bands) - 1
        self.count = self.batch * self.strips
        self.part_count = len(cut.parts)
        self.parts = <Part *>calloc(self.part_count + 1, sizeof(Part))
        self.pieces = <Piece *>calloc(self.part_count * (len(cut.rows) - 1) + 1, sizeof(Piece))
        if self.parts == NULL or self.pieces == NULL:
            raise MemoryError("no memory for the bands of a transposed convolution")
        cdef ConvTasks tasks
        cdef Part *p
        cdef Piece *piece
        cdef size_t most = 0, end
        self.tasks = tuple([band.tasks for band in cut.bands if band is not None])
        for place, band in enumerate(cut.bands):
            if band is not None:
                tasks, piece = band.tasks, self.pieces + <int64_t>place
                if tasks.batch != 1 or tasks.type_number != self.type_number:
                    raise TypeError("the tasks of a band must be of one image, and of the plan's dtype")
                piece.work, piece.parameters, piece.count = tasks.work, tasks.parameters, tasks.count
                piece.in_row = band.in_row
                most = max(most, tasks.scratch_bytes)
        end = (most + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        for place, part in enumerate(cut.parts):
            p = self.parts + <int64_t>place
            p.phases, p.width, p.column, p.at = part.phases, part.width, part.column, end
            p.pitch = cut.most_rows * p.width
            end += p.phases * self.out_channels * p.pitch * self.itemsize
            end = (end + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        self.scratch_bytes = end

    cdef int run_one(self, const void *arrays, int64_t i) noexcept nogil:
        return unit(self, <const Arrays *>arrays, i)


cdef void put_together(TransposedTasks t, const Arrays *a, int64_t image, int64_t band,
                       const char *memory) noexcept nogil:
    """Write the output rows of a band, each from the rows of its phases."""
    cdef int64_t first = t.rows[band], top = first * t.stride_h, c, y, j
    cdef int64_t bottom = min(t.rows[band + 1] * t.stride_h, t.out_h)
    cdef const void *rows[MOST_STEPS]
    cdef const char *rest = <const char *>&ZERO
    cdef const Place *place
    cdef const Part *part
    for c in range(t.out_channels):
        if a.rest != NULL:
            rest = a.rest + c * t.itemsize
        for y in range(top, bottom):
            for j in range(t.stride_w):
                place = t.places + y % t.stride_h * t.stride_w + j
                rows[j] = NULL
                if place.part >= 0:
                    part = t.parts + place.part
                    rows[j] = memory + part.at + t.itemsize * (
                        ((c // t.per_out * part.phases + place.phase) * t.per_out + c % t.per_out) * part.pitch
                        + (y // t.stride_h - first) * part.width
                    )
            t.table.interleave(
                rows, t.stride_w, t.out_w, rest,
                a.out + ((image * t.out_channels + c) * t.out_h + y) * t.out_w * t.itemsize,
            )


cdef int unit(TransposedTasks t, const Arrays *a, int64_t i) noexcept nogil:
    cdef int64_t strip = i % t.strips, image = i // t.strips, n, p, j
    cdef char *memory = <char *>scratch(t.scratch_bytes)
    cdef const Piece *piece
    cdef const Part *part
    cdef pc_conv_arrays arrays
    if memory == NULL:
        return 1
    memcpy(arrays.x_strides, a.x_strides, sizeof(arrays.x_strides))
    arrays.broken = NULL
    for n in range(t.first_bands[strip], t.first_bands[strip + 1]):
        for p in range(t.part_count):
            part, piece = t.parts + p, t.pieces + n * t.part_count + p
            if piece.work == NULL:
                continue
            arrays.x = a.x + t.itemsize * (
                image * a.x_strides[0] + piece.in_row * a.x_strides[2] + part.column * a.x_strides[3]
            )
            arrays.weights, arrays.bias, arrays.out = a.weights[p], a.bias[p], memory + part.at
            arrays.out_strides[0], arrays.out_strides[1] = 0, part.pitch
            arrays.out_strides[2], arrays.out_strides[3] = part.width, 1
            for j in range(piece.count):
                piece.work(piece.parameters, &arrays, j, memory)
        put_together(t, a, image, n, memory)
    return 0


cdef class TransposedWork(Work):
    """Tasks and the packed weights that they read, of each part. ``brief``: too short for others to be let run."""

    cdef TransposedTasks tasks
    cdef tuple weights         # and biases: what the pointers point into
    cdef cnp.ndarray rest
    cdef const char **pointers
    cdef bint brief

    def __cinit__(self):
        self.pointers = NULL

    def __dealloc__(self):
        free(self.pointers)

    def __init__(self, TransposedTasks tasks, tuple weights, tuple biases, cnp.ndarray rest, bint brief):
        cdef cnp.ndarray array
        if len(weights) != tasks.part_count or len(biases) != tasks.part_count:
            raise ValueError("every part must have its weights and its bias")
        self.pointers = <const char **>calloc(2 * tasks.part_count + 1, sizeof(char *))
        if self.pointers == NULL:
            raise MemoryError("no memory for the parts of a transposed convolution")
        for place, array in enumerate((*weights, *biases)):
            check_packed(array, tasks.type_number)
            self.pointers[<int64_t>place] = <const char *>cnp.PyArray_DATA(array)
        if rest is not None:
            check_packed(rest, tasks.type_number)
            if cnp.PyArray_SIZE(rest) != tasks.out_channels:
                raise ValueError("the bias must have a number for each channel")
        self.tasks, self.weights, self.rest, self.brief = tasks, (*weights, *biases), rest, brief

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        cdef TransposedTasks t = self.tasks
        cdef Arrays arrays
        arrays.x, arrays.out = x, out
        memcpy(arrays.x_strides, x_strides, sizeof(arrays.x_strides))
        arrays.weights, arrays.bias = self.pointers, self.pointers + t.part_count
        arrays.rest = NULL
        if self.rest is not None:
            arrays.rest = <const char *>cnp.PyArray_DATA(self.rest)
        return run_tasks(t, self.brief, &arrays)

    def run_arrays(self, cnp.ndarray x, cnp.ndarray out):
        """Run on arrays of the tasks' dtype; ``x`` has any strides, ``out`` is contiguous."""
        cdef int64_t[4] x_strides
        cdef int64_t[4] strides
        check_array(x, self.tasks.type_number, x_strides)
        check_array(out, self.tasks.type_number, strides)
        if not cnp.PyArray_IS_C_CONTIGUOUS(out) or cnp.PyArray_DIM(out, 0) != cnp.PyArray_DIM(x, 0):
            raise ValueError("out must be contiguous, with as many images as x")
        self.run(<const char *>cnp.PyArray_DATA(x), x_strides, <char *>cnp.PyArray_DATA(out), strides)
