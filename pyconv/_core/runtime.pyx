# cython: language_level=3
"""Instruction sets, threads and scratch memory of the compiled core."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

cimport numpy as cnp

from .kernels cimport (
    pc_isa_count,
    pc_isa_name,
    pc_isa_usable,
    pc_kernels,
    pc_kernels_of,
    pc_multiply_adds,
    pc_second_level,
)

import time

cnp.import_array()


cdef extern from "kernels/process.h" nogil:
    void *pc_scratch(size_t size)
    int pc_watch_forks()
    void pc_note_parallel()
    int pc_must_be_serial()
    int pc_allowed_threads(int wanted, int preset)
    int pc_runs_python()


if pc_watch_forks() != 0:
    raise ImportError("pyconv could not register with pthread_atfork")


cdef const pc_kernels *kernels(int isa, bint is_double) noexcept nogil:
    return pc_kernels_of(isa, is_double)


cdef void *scratch(size_t size) noexcept nogil:
    return pc_scratch(size)


cdef void note_parallel() noexcept nogil:
    pc_note_parallel()


cdef int allowed(int wanted, int preset) noexcept nogil:
    return pc_allowed_threads(wanted, preset)


cdef bint runs_python() noexcept nogil:
    return pc_runs_python()


cdef int check_packed(cnp.ndarray array, int type_number) except -1:
    """Refuse packed numbers that are not of this type, aligned and contiguous."""
    if (
        cnp.PyArray_TYPE(array) != type_number
        or not cnp.PyArray_ISALIGNED(array)
        or not cnp.PyArray_IS_C_CONTIGUOUS(array)
    ):
        raise TypeError("packed weights and biases must be aligned, contiguous and of the plan's dtype")
    return 0


cdef void join_rows(const cnp.npy_intp *shape, int64_t *strides) noexcept:
    """Where rows have one pixel, let the step along them be that to the next row.

    NumPy leaves the stride of an axis of length one as it came about, and rows without gaps are read as one long row.
    """
    if shape[3] == 1 and (strides[2] == 1 or strides[1] == 1):
        strides[3] = strides[2]


cdef int check_array(cnp.ndarray array, int type_number, int64_t *strides) except -1:
    """Refuse an array that is not of this type and aligned, and give its four strides in elements."""
    cdef int axis
    if cnp.PyArray_TYPE(array) != type_number or not cnp.PyArray_ISALIGNED(array) or cnp.PyArray_NDIM(array) != 4:
        raise TypeError("the array must be aligned, of the plan's dtype, and of four dimensions")
    for axis in range(4):
        strides[axis] = cnp.PyArray_STRIDE(array, axis) // cnp.PyArray_ITEMSIZE(array)
    join_rows(cnp.PyArray_DIMS(array), strides)
    return 0


def instruction_sets():
    """(name, whether this machine has it) of every instruction set that was built, in ascending order."""
    return [((<bytes>pc_isa_name(i)).decode(), bool(pc_isa_usable(i))) for i in range(pc_isa_count())]


def lanes(int isa, bint is_double):
    """Elements of a vector."""
    check(isa)
    return pc_kernels_of(isa, is_double).lanes


def multiply_adds(int isa):
    """Multiply-adds of whole vectors that a core of this processor begins in a cycle."""
    check(isa)
    return pc_multiply_adds(isa)


def second_level():
    """Bytes that a core of this processor gets from the second level of the cache in a cycle, about."""
    return pc_second_level()


def tiles(int isa, bint is_double):
    """(output channels, vectors of pixels) of every register tile of the convolution, in the kernel table's order."""
    check(isa)
    cdef const pc_kernels *table = pc_kernels_of(isa, is_double)
    return [(table.tiles[i].channels, table.tiles[i].vectors) for i in range(table.tile_count[0])]


def block_vectors(int isa, bint is_double):
    """Vectors of output channels in a full tile of the kind whose vectors run along them."""
    check(isa)
    return pc_kernels_of(isa, is_double).block_vectors


def block_pixels(int isa, bint is_double):
    """Pixels in that tile."""
    check(isa)
    return pc_kernels_of(isa, is_double).block_pixels


def few_columns(int isa, bint is_double):
    """Output columns of the widest tile for few input channels."""
    check(isa)
    return pc_kernels_of(isa, is_double).few_columns[0]


def winograd_few_channels(int isa, bint is_double):
    """Output channels of a block of the weights of Winograd's algorithm for few input channels."""
    check(isa)
    return pc_kernels_of(isa, is_double).winograd_few_channels


def depthwise_pixels(int isa, bint is_double):
    """Output pixels of the largest tile of the depthwise convolution with vectors along channels."""
    check(isa)
    return pc_kernels_of(isa, is_double).depthwise_pixels


cpdef int check(int isa) except -1:
    """Refuse an instruction set that this machine does not have."""
    if not 0 <= isa < pc_isa_count() or not pc_isa_usable(isa):
        raise ValueError(f"instruction set {isa} is not usable on this machine")
    return 0


def allowed_threads(int wanted, int preset):
    """The threads that a call may use, of ``wanted``; ``preset`` is what OpenMP would use by itself.

    Fewer where someone (threadpoolctl, say) has limited OpenMP's threads; 1 in a forked child that cannot have any.
    """
    return pc_allowed_threads(wanted, preset)


def measure_wake(int threads, double slow=0.001):
    """Seconds that a parallel region on ``threads`` threads takes beyond its work: the median of some.

    Or the seconds of one that took longer than ``slow``: a thread had to wait for its core, and no more are run.
    """
    cdef int _i
    cdef double nothing = 0, seconds
    taken = []
    pc_note_parallel()
    end = time.perf_counter() + 0.0005
    while len(taken) < 4 or (len(taken) < 32 and time.perf_counter() < end):
        start = time.perf_counter()
        for _i in prange(threads, nogil=True, schedule="static", num_threads=threads):
            nothing += 1
        seconds = time.perf_counter() - start
        if seconds > slow:
            return seconds
        taken.append(seconds)
    return sorted(taken[1:])[(len(taken) - 1) // 2]  # the first one may have started the threads


def measure_peak(int isa, bint is_double, int threads, double seconds=0.2, int64_t rounds=1_000_000):
    """Multiply-adds that touch no memory, on ``threads`` threads: flops per second, best of several bursts."""
    check(isa)
    cdef const pc_kernels *table = pc_kernels_of(isa, is_double)
    cdef int _i
    cdef double flops, best = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or best == 0:
        start = time.perf_counter()
        flops = 0
        if threads > 1 and not pc_must_be_serial():
            pc_note_parallel()
            for _i in prange(threads, nogil=True, schedule="static", num_threads=threads):
                flops += table.multiply_add_loop(rounds)
        else:
            flops = table.multiply_add_loop(rounds)
        best = max(best, flops / (time.perf_counter() - start))
    return best
