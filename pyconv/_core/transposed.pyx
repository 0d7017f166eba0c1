# cython: language_level=3
"""Driver of transposed convolutions: their phases or taps band by band, put together while they are in the cache.

A unit of work is a strip of rows of one image, of a share of its channels. Of each of its bands, the convolutions write
their rows to scratch memory; from there every row of the output is written once, from one end to the other.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cimport numpy as cnp

from .calls cimport Work
from .conv cimport ConvTasks
from .kernels cimport pc_conv_arrays, pc_conv_task, pc_row
from .runtime cimport check_array, check_packed, scratch
from .tasks cimport Tasks, run_tasks

import numpy as np

cnp.import_array()

cdef enum:
    MOST_STEPS = 8  # columns of phases that one row is put together from
    MOST_PHASES = 16  # rows and columns of a step of the output that are put together at one go
    MOST_ADDED = 16  # rows that a phase's row is the sum of

MOST_COLUMNS, MOST_TERMS = MOST_STEPS, MOST_ADDED

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
    int64_t row, rows          # of the part's results that they give


cdef struct Term:
    int64_t part, phase        # whose results
    int64_t row, column        # belong to the outputs of a phase, so many rows and columns further on


cdef struct Arrays:
    const char *x
    int64_t[4] x_strides
    const char **weights       # of each part
    const char **bias
    const char *rest           # what outputs are that no term reaches, and sums begin with; NULL for zeros
    char *out                  # contiguous
    uint8_t *broken            # of each image: a result was not finite, and has to be computed directly; or NULL


cdef class TransposedTasks(Tasks):
    """A transposed convolution cut into units, which are its tasks; ``cut`` has the sizes."""

    cdef int64_t itemsize, batch, strips, shares, out_channels, out_h, out_w, stride_h, stride_w
    cdef bint adds             # outputs are sums of terms, else they are one each
    cdef int64_t lines_at, line  # where rows are added up: bytes, in scratch memory; elements of each, whole vectors
    cdef Part *parts
    cdef Piece *pieces         # of each band, one a part
    cdef readonly int64_t part_count
    cdef readonly bint may_break  # images whose results are not all finite have to be computed directly
    cdef tuple tasks           # what pieces points into
    cdef cnp.ndarray edges_of_bands, edges_of_strips, edges_of_shares, edges_of_terms, all_terms
    cdef const int64_t *rows   # of phases, where bands begin, and the end
    cdef const int64_t *first_bands
    cdef const int64_t *first_channels
    cdef const int64_t *first_terms  # of each phase, and the end
    cdef const Term *terms

    def __cinit__(self):
        self.parts, self.pieces = NULL, NULL

    def __dealloc__(self):
        free(self.parts)
        free(self.pieces)

    def __init__(self, int isa, bint is_double, int threads, plan, cut):
        super().__init__(isa, is_double, threads)
        self.itemsize = 8 if is_double else 4
        self.batch, self.out_channels, self.out_h, self.out_w = plan.out_shape
        self.stride_h, self.stride_w = plan.stride
        if self.stride_w > MOST_STEPS:
            raise ValueError(f"a stride of {MOST_STEPS} columns at most")
        self.edges_of_bands = np.array(cut.rows, np.int64)
        self.edges_of_strips = np.array(cut.first_bands, np.int64)
        self.edges_of_shares = np.array(cut.first_channels, np.int64)
        self.edges_of_terms = np.array(cut.first_terms, np.int64)
        self.all_terms = np.array(cut.terms, np.int64)
        self.rows = <const int64_t *>cnp.PyArray_DATA(self.edges_of_bands)
        self.first_bands = <const int64_t *>cnp.PyArray_DATA(self.edges_of_strips)
        self.first_channels = <const int64_t *>cnp.PyArray_DATA(self.edges_of_shares)
        self.first_terms = <const int64_t *>cnp.PyArray_DATA(self.edges_of_terms)
        self.terms = <const Term *>cnp.PyArray_DATA(self.all_terms)
        self.adds = cut.adds
        most_added = np.diff(self.edges_of_terms).max()
        if most_added > (MOST_ADDED if self.adds else 1):
            raise ValueError(f"a phase of {most_added} terms")
        self.strips, self.shares = len(cut.first_bands) - 1, len(cut.first_channels) - 1
        self.count = self.batch * self.strips * self.shares
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
                piece.in_row, piece.row, piece.rows = band.in_row, band.row, band.rows
                most = max(most, tasks.scratch_bytes)
                self.may_break |= tasks.may_break
        end = (most + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        for place, part in enumerate(cut.parts):
            p = self.parts + <int64_t>place
            p.phases, p.width, p.column, p.at = part.phases, part.width, part.column, end
            p.pitch = cut.most_rows * p.width
            end += p.phases * self.out_channels * p.pitch * self.itemsize
            end = (end + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
        cdef int64_t lanes = self.table.lanes
        self.lines_at, self.line = end, ((self.out_w + self.stride_w - 1) // self.stride_w + lanes - 1) // lanes * lanes
        self.scratch_bytes = end + (self.stride_w * self.line * self.itemsize if self.adds else 0)

    cdef int run_one(self, const void *arrays, int64_t i) noexcept nogil:
        return unit(self, <const Arrays *>arrays, i)


cdef inline const char *row_of(TransposedTasks t, const Term *term, const Piece *pieces, const char *memory,
                               int64_t channel, int64_t row) noexcept nogil:
    """Where a term's results for the outputs of row ``row`` begin; NULL if the band has none."""
    cdef const Part *part = t.parts + term.part
    cdef const Piece *piece = pieces + term.part
    row += term.row - piece.row
    if row < 0 or row >= piece.rows:
        return NULL
    channel = channel * part.phases + term.phase
    return memory + part.at + t.itemsize * (channel * part.pitch + row * part.width + term.column)


cdef void add_up(TransposedTasks t, const Term *term, const Term *end, const Piece *pieces, const char *memory,
                 int64_t channel, int64_t row, const void *start, char *line) noexcept nogil:
    """The sum of all terms, in ``line``."""
    cdef pc_row[MOST_ADDED] rows
    cdef int64_t count = 0
    while term < end:
        rows[count].at = row_of(t, term, pieces, memory, channel, row)
        rows[count].begin, rows[count].end = -term.column, t.parts[term.part].width - term.column
        count += rows[count].at != NULL
        term += 1
    t.table.add_rows(rows, count, t.line, start, line)


cdef bint put_whole_bands_together(TransposedTasks t, const Arrays *a, int64_t image, int64_t band, int64_t share,
                                   char *memory) noexcept nogil:
    """``put_together`` at one go for each channel, if all phases have all rows of the band; False if it is not done.

    Of 2 or 4 columns, as strides of networks are: there is no such kernel of others.
    """
    cdef const void *starts[MOST_PHASES]
    cdef int64_t[MOST_PHASES] steps
    cdef int64_t c, j, first = t.rows[band], count = t.rows[band + 1] - first, phases = t.stride_h * t.stride_w
    cdef const Term *term
    cdef const Piece *piece
    if t.adds or t.stride_w not in (2, 4) or phases > MOST_PHASES or (first + count) * t.stride_h > t.out_h:
        return False
    for j in range(phases):
        if t.first_terms[j] == t.first_terms[j + 1]:
            return False
        term = t.terms + t.first_terms[j]
        piece = t.pieces + band * t.part_count + term.part
        if piece.row != first or piece.rows != count:
            return False
        steps[j] = t.parts[term.part].width
    for c in range(t.first_channels[share], t.first_channels[share + 1]):
        for j in range(phases):
            starts[j] = row_of(t, t.terms + t.first_terms[j], t.pieces + band * t.part_count, memory, c, first)
        t.table.interleave_band(
            starts, steps, t.stride_h, t.stride_w, count, t.out_w,
            a.out + ((image * t.out_channels + c) * t.out_h + first * t.stride_h) * t.out_w * t.itemsize,
        )
    return True


cdef void put_together(TransposedTasks t, const Arrays *a, int64_t image, int64_t band, int64_t share,
                       char *memory) noexcept nogil:
    """Write the output rows of a band, each from the rows of its phases."""
    cdef int64_t row, below, c, j
    cdef int64_t bottom = min(t.rows[band + 1] * t.stride_h, t.out_h)
    cdef const Piece *pieces = t.pieces + band * t.part_count
    cdef const int64_t *first
    cdef const void *rows[MOST_STEPS]
    cdef const char *rest = <const char *>&ZERO
    cdef char *out
    if put_whole_bands_together(t, a, image, band, share, memory):
        return
    for c in range(t.first_channels[share], t.first_channels[share + 1]):
        if a.rest != NULL:
            rest = a.rest + c * t.itemsize
        row, below, first = t.rows[band], 0, t.first_terms
        out = a.out + ((image * t.out_channels + c) * t.out_h + row * t.stride_h) * t.out_w * t.itemsize
        while row * t.stride_h + below < bottom:
            for j in range(t.stride_w):
                rows[j] = NULL
                if t.adds:
                    rows[j] = memory + t.lines_at + j * t.line * t.itemsize
                    add_up(
                        t, t.terms + first[j], t.terms + first[j + 1], pieces, memory, c, row, rest,
                        <char *>rows[j],
                    )
                elif first[j] < first[j + 1]:
                    rows[j] = row_of(t, t.terms + first[j], pieces, memory, c, row)
            t.table.interleave(rows, t.stride_w, t.out_w, rest, out)
            out += t.out_w * t.itemsize
            below, first = below + 1, first + t.stride_w
            if below == t.stride_h:
                row, below, first = row + 1, 0, t.first_terms


cdef int unit(TransposedTasks t, const Arrays *a, int64_t i) noexcept nogil:
    cdef int64_t share = i % t.shares, strip = i // t.shares % t.strips, image = i // (t.shares * t.strips), n, p, j
    cdef char *memory = <char *>scratch(t.scratch_bytes)
    cdef const Piece *piece
    cdef const Part *part
    cdef pc_conv_arrays arrays
    if memory == NULL:
        return 1
    memcpy(arrays.x_strides, a.x_strides, sizeof(arrays.x_strides))
    arrays.broken = NULL if a.broken == NULL else a.broken + image
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
            j = share
            while j < piece.count:
                piece.work(piece.parameters, &arrays, j, memory)
                j += t.shares
        put_together(t, a, image, n, share, memory)
    return 0


cdef class TransposedWork(Work):
    """Tasks and the packed weights that they read, of each part. ``brief``: too short for others to be let run.

    Undone if there are images whose results are not all finite and have to be computed directly.
    """

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

    cdef int run_broken(self, const char *x, const int64_t *x_strides, char *out, uint8_t *broken) except -1:
        cdef TransposedTasks t = self.tasks
        cdef Arrays arrays
        arrays.x, arrays.out, arrays.broken = x, out, broken
        memcpy(arrays.x_strides, x_strides, sizeof(arrays.x_strides))
        arrays.weights, arrays.bias = self.pointers, self.pointers + t.part_count
        arrays.rest = NULL
        if self.rest is not None:
            arrays.rest = <const char *>cnp.PyArray_DATA(self.rest)
        return run_tasks(t, self.brief, &arrays)

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        cdef int64_t i
        cdef int undone = 0
        cdef uint8_t *broken
        if not self.tasks.may_break:
            return self.run_broken(x, x_strides, out, NULL)
        broken = <uint8_t *>calloc(max(self.tasks.batch, 1), 1)
        if broken == NULL:
            raise MemoryError("conv_transpose2d: no memory for a byte for each image")
        try:
            self.run_broken(x, x_strides, out, broken)
            for i in range(self.tasks.batch):
                undone |= broken[i]
        finally:
            free(broken)
        return undone

    def run_arrays(self, cnp.ndarray x, cnp.ndarray out):
        """Run on arrays: None, or the images whose results are not all finite and have to be computed directly.

        ``x`` has any strides, ``out`` is contiguous; both are of the tasks' dtype.
        """
        cdef int64_t[4] x_strides
        cdef int64_t[4] strides
        cdef cnp.ndarray broken = np.zeros(self.tasks.batch, np.uint8)
        check_array(x, self.tasks.type_number, x_strides)
        check_array(out, self.tasks.type_number, strides)
        if not cnp.PyArray_IS_C_CONTIGUOUS(out) or cnp.PyArray_DIM(out, 0) != cnp.PyArray_DIM(x, 0):
            raise ValueError("out must be contiguous, with as many images as x")
        self.run_broken(
            <const char *>cnp.PyArray_DATA(x), x_strides, <char *>cnp.PyArray_DATA(out),
            <uint8_t *>cnp.PyArray_DATA(broken),
        )
        return np.flatnonzero(broken) if broken.any() else None
