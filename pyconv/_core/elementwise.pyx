# cython: language_level=3
"""Driver of the activations: chunks of contiguous memory over threads."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

cimport numpy as cnp

from .calls cimport Work
from .kernels cimport pc_affine, pc_axis, pc_kernels
from .runtime cimport check_packed, kernels, note_parallel

from .runtime import check

cnp.import_array()


def _names():
    cdef const pc_kernels *table = kernels(0, False)
    found, i = {}, 0
    while table.activations[i].name != NULL:
        found[(<bytes>table.activations[i].name).decode()] = i
        i += 1
    return found


KERNELS = _names()
"""Places of the activations in the kernel table."""


cdef const pc_kernels *checked(int isa, cnp.ndarray x, cnp.ndarray out) except NULL:
    """The kernel table for two arrays, which must be of one type, aligned and contiguous."""
    check(isa)
    cdef int number = cnp.PyArray_TYPE(x)
    if number not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE) or cnp.PyArray_TYPE(out) != number:
        raise TypeError("the arrays must both be float32 or float64")
    if not (cnp.PyArray_ISALIGNED(x) and cnp.PyArray_ISALIGNED(out)):
        raise ValueError("the arrays must be aligned")
    return kernels(isa, number == cnp.NPY_DOUBLE)


cdef class ElementwiseWork(Work):
    """An activation over so many numbers. ``brief``: too short for others to be let run meanwhile."""

    cdef void (*kernel)(const void *, void *, int64_t, const double *) noexcept nogil
    cdef double[2] parameters
    cdef int threads
    cdef int64_t size, itemsize, chunk
    cdef bint brief

    def __init__(self, int isa, bint is_double, int activation, int64_t size, int threads, int64_t chunk, bint brief,
                 parameters=()):
        check(isa)
        if not 0 <= activation < len(KERNELS):
            raise ValueError(f"there is no activation {activation}")
        self.kernel = kernels(isa, is_double).activations[activation].run
        self.parameters[0] = self.parameters[1] = 0
        for place, value in enumerate(parameters):
            self.parameters[place] = value
        self.size, self.itemsize, self.chunk = size, 8 if is_double else 4, chunk
        self.threads = threads if size > chunk else 1
        self.brief = brief

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        if self.threads > 1:
            with nogil:
                self.parallel(x, out)
        elif self.brief:
            self.kernel(x, out, self.size, self.parameters)
        else:
            with nogil:
                self.kernel(x, out, self.size, self.parameters)
        return 0

    cdef void parallel(self, const char *x, char *out) noexcept nogil:
        cdef int64_t i, start, chunk = self.chunk, chunks = (self.size + chunk - 1) // chunk
        note_parallel()
        for i in prange(chunks, schedule="static", num_threads=self.threads):
            start = i * chunk
            self.kernel(
                x + start * self.itemsize, out + start * self.itemsize, min(chunk, self.size - start), self.parameters
            )


def run(int isa, int activation, cnp.ndarray x, cnp.ndarray out, int threads, int64_t chunk, parameters=()):
    """``out = activation(x)``, in memory order: both are dense and in one order of axes, ``out`` may be ``x``."""
    checked(isa, x, out)
    if cnp.PyArray_SIZE(x) != cnp.PyArray_SIZE(out):
        raise ValueError("the arrays must be of one size")
    cdef bint is_double = cnp.PyArray_TYPE(x) == cnp.NPY_DOUBLE
    cdef Work work = ElementwiseWork(
        isa, is_double, activation, cnp.PyArray_SIZE(x), threads, chunk, False, parameters
    )
    work.run(<const char *>cnp.PyArray_DATA(x), NULL, <char *>cnp.PyArray_DATA(out), NULL)


def run_prelu(int isa, cnp.ndarray x, cnp.ndarray weight, cnp.ndarray out, int threads):
    """``x`` (rows, columns) with a slope for each column."""
    cdef const pc_kernels *table = checked(isa, x, out)
    checked(isa, x, weight)
    cdef int64_t rows = x.shape[0], columns = x.shape[1], i
    if cnp.PyArray_SIZE(weight) != columns or out.shape[0] != rows or out.shape[1] != columns:
        raise ValueError("the arrays must be of one size")
    cdef int64_t step = columns * cnp.PyArray_ITEMSIZE(x)
    cdef const char *x_data = <const char *>cnp.PyArray_DATA(x)
    cdef const void *slopes = cnp.PyArray_DATA(weight)
    cdef char *out_data = <char *>cnp.PyArray_DATA(out)
    with nogil:
        if threads > 1 and rows > 1:
            note_parallel()
            for i in prange(rows, schedule="static", num_threads=threads):
                table.prelu(x_data + i * step, slopes, out_data + i * step, columns)
        else:
            for i in range(rows):
                table.prelu(x_data + i * step, slopes, out_data + i * step, columns)


cdef void plane(const pc_kernels *table, int activation, const void *x, void *out, int64_t count,
                double slope) noexcept nogil:
    cdef double[2] parameters
    parameters[0], parameters[1] = slope, 0
    table.activations[activation].run(x, out, count, parameters)


def run_planes(int isa, int activation, cnp.ndarray x, double[::1] slopes, cnp.ndarray out, int threads):
    """``x`` (planes, columns): an activation whose first parameter is that of the plane, the slopes again and again."""
    cdef const pc_kernels *table = checked(isa, x, out)
    cdef int64_t planes = x.shape[0], columns = x.shape[1], several = slopes.shape[0], i
    if out.shape[0] != planes or out.shape[1] != columns or not 0 <= activation < len(KERNELS):
        raise ValueError("the arrays must be of one size")
    cdef int64_t step = columns * cnp.PyArray_ITEMSIZE(x)
    cdef const char *x_data = <const char *>cnp.PyArray_DATA(x)
    cdef char *out_data = <char *>cnp.PyArray_DATA(out)
    with nogil:
        if threads > 1 and planes > 1:
            note_parallel()
            for i in prange(planes, schedule="static", num_threads=threads):
                plane(table, activation, x_data + i * step, out_data + i * step, columns, slopes[i % several])
        else:
            for i in range(planes):
                plane(table, activation, x_data + i * step, out_data + i * step, columns, slopes[i % several])


cdef void gate(const pc_kernels *table, int64_t task, int64_t columns, int64_t chunk, int64_t itemsize,
               const char *x, char *out) noexcept nogil:
    cdef int64_t chunks = (columns + chunk - 1) // chunk
    cdef int64_t row = task // chunks, start = task % chunks * chunk
    x += (2 * row * columns + start) * itemsize
    table.glu(x, x + columns * itemsize, out + (row * columns + start) * itemsize, min(chunk, columns - start))


def run_glu(int isa, cnp.ndarray x, cnp.ndarray out, int threads, int64_t chunk):
    """``x`` (rows, 2 * columns): the first half times the sigmoid of the second."""
    cdef const pc_kernels *table = checked(isa, x, out)
    cdef int64_t rows = out.shape[0], columns = out.shape[1], itemsize = cnp.PyArray_ITEMSIZE(x), i
    if x.shape[0] != rows or x.shape[1] != 2 * columns:
        raise ValueError("the arrays do not fit")
    cdef int64_t count = rows * ((columns + chunk - 1) // chunk)
    cdef const char *x_data = <const char *>cnp.PyArray_DATA(x)
    cdef char *out_data = <char *>cnp.PyArray_DATA(out)
    with nogil:
        if threads > 1 and count > 1:
            note_parallel()
            for i in prange(count, schedule="static", num_threads=threads):
                gate(table, i, columns, chunk, itemsize, x_data, out_data)
        else:
            for i in range(count):
                gate(table, i, columns, chunk, itemsize, x_data, out_data)


def run_softmax(int isa, cnp.ndarray x, cnp.ndarray out, bint negative, bint logarithm, int threads, int64_t chunk):
    """``x`` (outer, length, inner), along the length, ``chunk`` lines at a time; ``out`` may be ``x``."""
    cdef const pc_kernels *table = checked(isa, x, out)
    if out.shape[0] != x.shape[0] or out.shape[1] != x.shape[1] or out.shape[2] != x.shape[2]:
        raise ValueError("the arrays must be of one shape")
    cdef pc_axis axis
    axis.length, axis.inner, axis.negative, axis.logarithm = x.shape[1], x.shape[2], negative, logarithm
    cdef int64_t lines = x.shape[0] * x.shape[2], i
    cdef int64_t chunks = (lines + chunk - 1) // chunk
    cdef const void *x_data = cnp.PyArray_DATA(x)
    cdef void *out_data = cnp.PyArray_DATA(out)
    with nogil:
        if threads > 1 and chunks > 1:
            note_parallel()
            for i in prange(chunks, schedule="static", num_threads=threads):
                table.softmax(&axis, i * chunk, min((i + 1) * chunk, lines), x_data, out_data)
        else:
            table.softmax(&axis, 0, lines, x_data, out_data)


cdef class AffineWork(Work):
    """``x * scale + shift``, over so many numbers that lie as (..., channels, inner); see ElementwiseWork."""

    cdef const pc_kernels *table
    cdef pc_affine affine
    cdef object arrays  # what affine points into
    cdef int threads
    cdef int64_t size, itemsize, chunk
    cdef bint brief

    def __init__(self, int isa, bint is_double, cnp.ndarray scale, cnp.ndarray shift, int64_t inner, int64_t size,
                 int threads, int64_t chunk, bint brief):
        check(isa)
        cdef int number = cnp.NPY_DOUBLE if is_double else cnp.NPY_FLOAT
        check_packed(scale, number)
        check_packed(shift, number)
        if cnp.PyArray_SIZE(scale) < 1 or cnp.PyArray_SIZE(scale) != cnp.PyArray_SIZE(shift) or inner < 1 or chunk < 1:
            raise ValueError("there must be as many scales as shifts, and at least one")
        self.table = kernels(isa, is_double)
        self.arrays = (scale, shift)
        self.affine.channels, self.affine.inner = cnp.PyArray_SIZE(scale), inner
        self.affine.scale, self.affine.shift = cnp.PyArray_DATA(scale), cnp.PyArray_DATA(shift)
        self.size, self.itemsize, self.chunk, self.brief = size, 8 if is_double else 4, chunk, brief
        self.threads = threads if size > chunk else 1

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        if self.threads > 1:
            with nogil:
                self.parallel(x, out)
        elif self.brief:
            self.table.affine(&self.affine, 0, self.size, x, out)
        else:
            with nogil:
                self.table.affine(&self.affine, 0, self.size, x, out)
        return 0

    cdef void parallel(self, const char *x, char *out) noexcept nogil:
        cdef int64_t i, chunk = self.chunk, chunks = (self.size + chunk - 1) // chunk
        note_parallel()
        for i in prange(chunks, schedule="static", num_threads=self.threads):
            self.table.affine(&self.affine, i * chunk, min((i + 1) * chunk, self.size), x, out)


def run_affine(AffineWork work, cnp.ndarray x, cnp.ndarray out):
    """Run it on two arrays that are dense and in one order of axes; ``out`` may be ``x``."""
    for array in (x, out):
        check_packed(array, cnp.NPY_DOUBLE if work.itemsize == 8 else cnp.NPY_FLOAT)
        if cnp.PyArray_SIZE(array) != work.size:
            raise ValueError("the arrays must have as many elements as the work")
    work.run(<const char *>cnp.PyArray_DATA(x), NULL, <char *>cnp.PyArray_DATA(out), NULL)
