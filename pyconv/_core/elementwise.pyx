# cython: language_level=3
"""Driver of the activations, of the softmax family and of batch normalisation: dense memory, task by task."""

from libc.stdint cimport int64_t
from libc.string cimport memcmp

cimport numpy as cnp

from .calls cimport MOST_AXES, Work
from .kernels cimport pc_affine, pc_axis, pc_kernels
from .runtime cimport check_packed, kernels
from .tasks cimport Tasks, run_tasks

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

cdef int64_t AT_ONCE = 2048  # elements that are gathered and then computed with: half of the first level, of float64
cdef int64_t LINES = 16  # as many as the softmax family computes with at once, or a multiple


cdef struct Arrays:
    const char *x
    char *out


cdef class DenseTasks(Tasks):
    """What is computed task by task over two arrays that are dense and in one order of axes."""

    cdef int64_t x_size, out_size, itemsize

    cdef int cut(self, int64_t count, int64_t x_size, int64_t out_size) except -1:
        if min(count, x_size, out_size) < 0:
            raise ValueError("sizes must not be negative")
        self.count, self.x_size, self.out_size = count, x_size, out_size
        self.itemsize = 8 if self.type_number == cnp.NPY_DOUBLE else 4
        return 0

    cdef int check_input(self, cnp.ndarray x) except -1:
        return check_packed(x, self.type_number)

    cdef void task(self, int64_t i, const char *x, char *out) noexcept nogil:
        pass

    cdef int run_one(self, const void *arrays, int64_t i) noexcept nogil:
        cdef const Arrays *a = <const Arrays *>arrays
        self.task(i, a.x, a.out)
        return 0


cdef class DenseWork(Work):
    """Such tasks, for calls that come again. ``brief``: too short for other Python threads to be let run meanwhile."""

    cdef readonly DenseTasks tasks
    cdef bint brief

    def __init__(self, DenseTasks tasks, bint brief):
        self.tasks, self.brief = tasks, brief

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        cdef Arrays arrays
        arrays.x, arrays.out = x, out
        return run_tasks(self.tasks, self.brief, &arrays)


def run(DenseWork work, cnp.ndarray x, cnp.ndarray out):
    """Run it on two arrays, seen with their axes in the order of memory (of ``out``, for GatheredTasks).

    ``out`` may be ``x`` but for glu and GatheredTasks.
    """
    work.tasks.check_input(x)
    check_packed(out, work.tasks.type_number)
    if cnp.PyArray_SIZE(x) != work.tasks.x_size or cnp.PyArray_SIZE(out) != work.tasks.out_size:
        raise ValueError("the arrays must have as many elements as the work")
    work.run(<const char *>cnp.PyArray_DATA(x), NULL, <char *>cnp.PyArray_DATA(out), NULL)


cdef int64_t pieces(int64_t size, int64_t chunk) except -1:
    if chunk < 1:
        raise ValueError("a task must have at least one element")
    return (size + chunk - 1) // chunk


cdef class RunTasks(DenseTasks):
    """What can compute any run of its numbers by itself, and over them; ``chunk`` of them a task.

    A run begins and ends at multiples of ``unit``, or at the end.
    """

    cdef int64_t chunk, unit

    cdef int cut_runs(self, int64_t size, int64_t chunk) except -1:
        self.cut(pieces(size, chunk), size, size)
        self.chunk, self.unit = chunk, 1
        return 0

    cdef void part(self, int64_t begin, int64_t end, const char *x, char *out) noexcept nogil:
        """Numbers ``begin`` to ``end`` of the arrays."""
        pass

    cdef void task(self, int64_t i, const char *x, char *out) noexcept nogil:
        cdef int64_t begin = i * self.chunk
        self.part(begin, min(begin + self.chunk, self.x_size), x, out)


cdef class ElementwiseTasks(RunTasks):
    """An activation over so many numbers, ``chunk`` at a time. ``fetching``: light ones fetch what they read ahead."""

    cdef void (*kernel)(const void *, void *, int64_t, const double *) noexcept nogil
    cdef double[2] parameters

    def __init__(self, int isa, bint is_double, int activation, int64_t size, int threads, int64_t chunk,
                 parameters=(), bint fetching=False):
        if not 0 <= activation < len(KERNELS):
            raise ValueError(f"there is no activation {activation}")
        super().__init__(isa, is_double, threads)
        self.cut_runs(size, chunk)
        self.kernel = self.table.activations[activation].run_fetching if fetching else (
            self.table.activations[activation].run)
        self.parameters[0] = self.parameters[1] = 0
        for place, value in enumerate(parameters):
            self.parameters[place] = value

    cdef void part(self, int64_t begin, int64_t end, const char *x, char *out) noexcept nogil:
        self.kernel(x + begin * self.itemsize, out + begin * self.itemsize, end - begin, self.parameters)


cdef struct Places:
    int axes  # at least one, the slowest first; what lies as one axis is one
    int64_t[MOST_AXES] lengths
    int64_t[MOST_AXES] steps  # in elements


cdef int read_places(Places *places, cnp.ndarray x, int type_number) except -1:
    cdef int64_t length, step, itemsize = cnp.PyArray_ITEMSIZE(x)
    cdef int axis, last
    if cnp.PyArray_TYPE(x) != type_number or not cnp.PyArray_ISALIGNED(x) or not cnp.PyArray_ISNOTSWAPPED(x):
        raise TypeError("the array must be aligned and of the tasks' dtype")
    if cnp.PyArray_NDIM(x) > MOST_AXES:
        raise ValueError(f"at most {MOST_AXES} axes")
    places.axes, places.lengths[0], places.steps[0] = 0, 1, 1
    for axis in range(cnp.PyArray_NDIM(x)):
        length, step = cnp.PyArray_DIM(x, axis), cnp.PyArray_STRIDE(x, axis) // itemsize
        if length == 1:
            continue
        last = places.axes - 1
        if last >= 0 and places.steps[last] == step * length:
            places.lengths[last] *= length
            places.steps[last] = step
        else:
            places.lengths[last + 1], places.steps[last + 1] = length, step
            places.axes += 1
    places.axes = max(places.axes, 1)
    return 0


cdef bint same_places(const Places *a, const Places *b) noexcept:
    cdef size_t size = a.axes * sizeof(int64_t)
    return a.axes == b.axes and memcmp(a.lengths, b.lengths, size) == 0 and memcmp(a.steps, b.steps, size) == 0


cdef class GatheredTasks(DenseTasks):
    """``tasks`` for an ``x`` whose elements lie apart, seen with its axes in the order of the result's memory.

    Some of them at a time are put side by side where their results will lie, and are computed with there while they are
    in the cache; ``chunk`` of them a task, and as many more as a run of ``tasks`` needs to be whole.
    """

    cdef RunTasks tasks
    cdef Places places
    cdef int64_t chunk, at_once

    def __init__(self, int isa, RunTasks tasks, cnp.ndarray x, int64_t chunk):
        super().__init__(isa, tasks.type_number == cnp.NPY_DOUBLE, tasks.threads)
        if cnp.PyArray_SIZE(x) != tasks.x_size:
            raise ValueError("the array must have as many elements as the tasks")
        self.tasks, self.chunk = tasks, pieces(chunk, tasks.unit) * tasks.unit
        self.cut(pieces(tasks.x_size, self.chunk), tasks.x_size, tasks.out_size)
        self.at_once = max(AT_ONCE // tasks.unit, 1) * tasks.unit
        read_places(&self.places, x, self.type_number)

    cdef void task(self, int64_t i, const char *x, char *out) noexcept nogil:
        cdef int64_t begin = i * self.chunk, end = min(begin + self.chunk, self.x_size), count
        while begin < end:
            count = min(end - begin, self.at_once)
            self.gather(begin, count, x, out + begin * self.itemsize)
            self.tasks.part(begin, begin + count, out, out)
            begin += count

    cdef int check_input(self, cnp.ndarray x) except -1:
        cdef Places places
        read_places(&places, x, self.type_number)
        if not same_places(&places, &self.places):
            raise ValueError("the elements must lie as they did when the tasks were made")
        return 0

    cdef void gather(self, int64_t begin, int64_t count, const char *x, char *out) noexcept nogil:
        cdef int64_t[MOST_AXES] place
        cdef int last = self.places.axes - 1, axis
        cdef int64_t offset = 0, length
        for axis in range(last, -1, -1):
            place[axis] = begin % self.places.lengths[axis]
            begin //= self.places.lengths[axis]
            offset += place[axis] * self.places.steps[axis]
        while True:
            length = min(self.places.lengths[last] - place[last], count)
            self.table.gather(x + offset * self.itemsize, self.places.steps[last], out, length)
            out += length * self.itemsize
            count -= length
            if count == 0:
                return
            offset -= place[last] * self.places.steps[last]
            place[last] = 0
            axis = last - 1
            while True:
                place[axis] += 1
                offset += self.places.steps[axis]
                if place[axis] < self.places.lengths[axis]:
                    break
                offset -= place[axis] * self.places.steps[axis]
                place[axis] = 0
                axis -= 1


cdef class PreluTasks(RunTasks):
    """prelu over so many numbers that lie as (..., slopes, inner), ``chunk`` at a time."""

    cdef cnp.ndarray slopes
    cdef int64_t several, inner
    cdef int activation

    def __init__(self, int isa, cnp.ndarray slopes, int64_t inner, int64_t size, int threads, int64_t chunk):
        cdef bint is_double = cnp.PyArray_TYPE(slopes) == cnp.NPY_DOUBLE
        check_packed(slopes, cnp.NPY_DOUBLE if is_double else cnp.NPY_FLOAT)
        if cnp.PyArray_SIZE(slopes) < 1 or inner < 1:
            raise ValueError("there must be at least one slope")
        super().__init__(isa, is_double, threads)
        self.cut_runs(size, chunk)
        self.slopes, self.several, self.inner = slopes, cnp.PyArray_SIZE(slopes), inner
        self.activation = KERNELS["leaky_relu"]

    cdef void part(self, int64_t begin, int64_t end, const char *x, char *out) noexcept nogil:
        if self.inner == 1:
            self.rows(begin, end, x, out)
        else:
            self.planes(begin, end, x, out)

    cdef void rows(self, int64_t begin, int64_t end, const char *x, char *out) noexcept nogil:
        """Neighbours have slopes of their own."""
        cdef const char *slopes = <const char *>cnp.PyArray_DATA(self.slopes)
        cdef int64_t place, length, size = self.itemsize
        while begin < end:
            place = begin % self.several
            length = min(self.several - place, end - begin)
            self.table.prelu(x + begin * size, slopes + place * size, out + begin * size, length)
            begin += length

    cdef void planes(self, int64_t begin, int64_t end, const char *x, char *out) noexcept nogil:
        """One slope for each run of ``inner`` numbers."""
        cdef const void *slopes = cnp.PyArray_DATA(self.slopes)
        cdef int64_t place, length, size = self.itemsize
        cdef double[2] parameters
        parameters[1] = 0
        while begin < end:
            place = begin // self.inner % self.several
            length = min(self.inner - begin % self.inner, end - begin)
            parameters[0] = (<const double *>slopes)[place] if size == 8 else (<const float *>slopes)[place]
            self.table.activations[self.activation].run(x + begin * size, out + begin * size, length, parameters)
            begin += length


cdef class GluTasks(DenseTasks):
    """(rows, 2 * columns): the first half times the sigmoid of the second, ``chunk`` numbers at a time.

    Those are a part of a row, or several short ones.
    """

    cdef int64_t rows, several, columns, chunk, chunks

    def __init__(self, int isa, bint is_double, int64_t rows, int64_t columns, int threads, int64_t chunk):
        self.chunks, self.several = pieces(columns, chunk), max(chunk // max(columns, 1), 1)
        cdef int64_t count = pieces(rows, self.several) * self.chunks
        super().__init__(isa, is_double, threads)
        self.cut(count, 2 * rows * columns, rows * columns)
        self.rows, self.columns, self.chunk = rows, columns, chunk

    cdef void task(self, int64_t i, const char *x, char *out) noexcept nogil:
        cdef int64_t row = i // self.chunks * self.several, start = i % self.chunks * self.chunk, columns = self.columns
        cdef int64_t _row, end = min(row + self.several, self.rows), itemsize = self.itemsize
        x += (2 * row * columns + start) * itemsize
        out += (row * columns + start) * itemsize
        for _row in range(row, end):
            self.table.glu(x, x + columns * itemsize, out, min(self.chunk, columns - start))
            x += 2 * columns * itemsize
            out += columns * itemsize


cdef class SoftmaxTasks(RunTasks):
    """The softmax family along the length of (outer, length, inner), ``chunk`` lines at a time.

    A run by itself is of whole lines where they are neighbours, else of all ``inner`` of them.
    """

    cdef pc_axis axis
    cdef int64_t lines, chunk_lines

    def __init__(self, int isa, bint is_double, int64_t outer, int64_t length, int64_t inner, bint negative,
                 bint logarithm, int threads, int64_t chunk):
        cdef int64_t size = outer * length * inner
        self.axis.length, self.axis.inner, self.axis.negative, self.axis.logarithm = length, inner, negative, logarithm
        self.lines, self.chunk_lines = outer * inner if size else 0, chunk
        super().__init__(isa, is_double, threads)
        self.cut(pieces(self.lines, chunk), size, size)
        self.unit = max(length * (LINES if inner == 1 else inner), 1)

    cdef void task(self, int64_t i, const char *x, char *out) noexcept nogil:
        cdef int64_t begin = i * self.chunk_lines
        self.table.softmax(&self.axis, begin, min(begin + self.chunk_lines, self.lines), x, out)

    cdef void part(self, int64_t begin, int64_t end, const char *x, char *out) noexcept nogil:
        self.table.softmax(&self.axis, begin // self.axis.length, end // self.axis.length, x, out)


cdef class AffineTasks(RunTasks):
    """``x * scale + shift``, over so many numbers that lie as (..., channels, inner), ``chunk`` at a time."""

    cdef pc_affine affine
    cdef object arrays  # what affine points into

    def __init__(self, int isa, bint is_double, cnp.ndarray scale, cnp.ndarray shift, int64_t inner, int64_t size,
                 int threads, int64_t chunk):
        cdef int number = cnp.NPY_DOUBLE if is_double else cnp.NPY_FLOAT
        check_packed(scale, number)
        check_packed(shift, number)
        if cnp.PyArray_SIZE(scale) < 1 or cnp.PyArray_SIZE(scale) != cnp.PyArray_SIZE(shift) or inner < 1:
            raise ValueError("there must be as many scales as shifts, and at least one")
        super().__init__(isa, is_double, threads)
        self.cut_runs(size, chunk)
        self.arrays = (scale, shift)
        self.affine.channels, self.affine.inner = cnp.PyArray_SIZE(scale), inner
        self.affine.scale, self.affine.shift = cnp.PyArray_DATA(scale), cnp.PyArray_DATA(shift)

    cdef void part(self, int64_t begin, int64_t end, const char *x, char *out) noexcept nogil:
        self.table.affine(&self.affine, begin, end, x, out)
