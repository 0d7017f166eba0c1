# cython: language_level=3
"""Driver of pooling: runs of output rows, or planes, and of unpooling: planes."""

from libc.stdint cimport int64_t

cimport numpy as cnp

from .calls cimport Work
from .kernels cimport pc_pool, pc_pool_arrays, pc_pool_axis, pc_unpool
from .runtime cimport check_array, scratch
from .tasks cimport Tasks, run_tasks

cnp.import_array()


cdef void fill_axis(pc_pool_axis *axis, plan, int place):
    axis.in_, axis.out = plan.in_size[place], plan.out_size[place]
    axis.kernel, axis.stride, axis.dilation = plan.kernel[place], plan.stride[place], plan.dilation[place]
    axis.before, axis.after = plan.padding[place]
    axis.count_padding, axis.adaptive = plan.count_include_pad, plan.adaptive


cdef class PoolTasks(Tasks):
    """A pooling cut into tasks.

    A task is ``rows`` output rows of ``block`` channels, or all rows of ``planes`` such blocks; more than one channel
    are neighbours in memory. ``line`` is how many elements of scratch it needs. ``way`` is '' or one of 'flat' (a
    plane, which is pooled whole, is taken as one row), 'small' (rows are taken in registers) and 'running' (a running
    maximum, with as many lines as it needs). ``far``: elements by which small windows in steps of 2 fetch ahead of what
    they read, into the second level of the cache, or 0; ``near``: the same into the first level, in its place; where
    ``far`` is 0, of 2x2 alone. ``streams``: what they find is written past the caches, where it can be.
    """

    def __init__(self, int isa, bint is_double, int threads, plan, int64_t rows, int64_t block, int64_t planes,
                 int64_t line, str way, int64_t far, int64_t near, bint streams):
        super().__init__(isa, is_double, threads)
        cdef pc_pool *p = &self.pool
        self.with_indices = plan.return_indices
        if "max" in plan.op:
            self.kernel = self.table.max_places_task if self.with_indices else self.table.max_pool_task
        else:
            self.kernel = self.table.sum_pool_task
        p.channels = plan.channels
        fill_axis(&p.h, plan, 0)
        fill_axis(&p.w, plan, 1)
        p.squares, p.divisor, p.area = plan.norm == 2, plan.divisor, plan.area
        p.flat, p.small, p.running = way == "flat", way == "small", way == "running"
        if p.flat:
            p.w.in_ = p.w.kernel = p.h.in_ * p.w.in_
            p.h.in_ = p.h.kernel = 1
        p.rows, p.block, p.planes, p.line = rows, block, planes, line
        p.far, p.near, p.streams = far, near, streams
        p.per_plane = (p.h.out + rows - 1) // rows
        p.blocks = (p.channels + block - 1) // block
        p.units = p.blocks * plan.batch
        self.count = (p.units + planes - 1) // planes * p.per_plane
        self.scratch_bytes = line * (p.h.kernel + 3 if p.running else 1) * (8 if is_double else 4)

    @property
    def streams(self):
        return bool(self.pool.streams)

    cdef int run_one(self, const void *arrays, int64_t i) noexcept nogil:
        cdef void *memory = NULL
        if self.scratch_bytes:
            memory = scratch(self.scratch_bytes)
            if memory == NULL:
                return 1
        self.kernel(&self.pool, <const pc_pool_arrays *>arrays, i, memory)
        return 0


def run(PoolTasks tasks, cnp.ndarray x, cnp.ndarray out, cnp.ndarray indices=None):
    """Run all tasks.

    ``x`` has any strides; each row of ``out`` and of ``indices`` is contiguous, unless windows are taken one by one.
    Where the tasks' channels are neighbours in memory so are those of ``indices``, and those of ``out`` may be.
    """
    cdef pc_pool_arrays arrays
    if cnp.PyArray_SIZE(out) == 0:
        return
    check_array(out, tasks.type_number, arrays.out_strides)
    check_array(x, tasks.type_number, arrays.x_strides)
    if tasks.pool.block > 1 and arrays.x_strides[1] != 1:
        raise ValueError("the channels must be neighbours in memory")
    cdef bint any_strides = tasks.pool.line == 0 and not tasks.pool.flat
    if arrays.out_strides[3] != 1 and tasks.pool.w.out > 1 and not any_strides and (
            tasks.pool.block == 1 or arrays.out_strides[1] != 1):
        raise ValueError("the rows of out must be contiguous")
    if tasks.with_indices != (indices is not None):
        raise ValueError("indices go with a plan that returns them")
    arrays.indices = NULL
    if indices is not None:
        check_array(indices, cnp.NPY_INT64, arrays.index_strides)
        arrays.indices = <int64_t *>cnp.PyArray_DATA(indices)
        if not any_strides and arrays.index_strides[1 if tasks.pool.block > 1 else 3] != 1:
            raise ValueError("indices must lie in memory as the tasks' values do")
    arrays.x, arrays.out = cnp.PyArray_DATA(x), cnp.PyArray_DATA(out)
    run_tasks(tasks, False, &arrays)


cdef class PoolWork(Work):
    """Tasks of a pooling without indices. ``brief``: too short for others to be let run meanwhile."""

    cdef PoolTasks tasks
    cdef bint brief

    def __init__(self, PoolTasks tasks, bint brief):
        self.tasks, self.brief = tasks, brief

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        cdef pc_pool_arrays arrays
        cdef int axis
        arrays.x, arrays.out, arrays.indices = x, out, NULL
        for axis in range(4):
            arrays.x_strides[axis], arrays.out_strides[axis] = x_strides[axis], out_strides[axis]
        return run_tasks(self.tasks, self.brief, &arrays)


cdef class UnpoolTasks(Tasks):
    """An unpooling: a task is a plane of the result."""

    cdef pc_unpool unpool

    def __init__(self, int isa, bint is_double, int threads, plan):
        super().__init__(isa, is_double, threads)
        self.unpool.channels = plan.channels
        self.unpool.in_h, self.unpool.in_w = plan.in_size
        self.unpool.plane = plan.out_size[0] * plan.out_size[1]
        self.count = plan.batch * plan.channels

    cdef int run_one(self, const void *arrays, int64_t i) noexcept nogil:
        self.table.max_unpool_task(&self.unpool, <const pc_pool_arrays *>arrays, i)
        return 0


def unpool(UnpoolTasks tasks, cnp.ndarray x, cnp.ndarray indices, cnp.ndarray out):
    """Planes of zeros with the elements of ``x``, which has any strides, at the places that ``indices`` say.

    ``indices`` lie inside the planes; they and ``out`` are contiguous.
    """
    cdef pc_pool_arrays arrays
    check_array(out, tasks.type_number, arrays.out_strides)
    check_array(x, tasks.type_number, arrays.x_strides)
    check_array(indices, cnp.NPY_INT64, arrays.index_strides)
    if not (cnp.PyArray_IS_C_CONTIGUOUS(out) and cnp.PyArray_IS_C_CONTIGUOUS(indices)):
        raise ValueError("out and the indices must be contiguous")
    arrays.indices = <int64_t *>cnp.PyArray_DATA(indices)
    arrays.x, arrays.out = cnp.PyArray_DATA(x), cnp.PyArray_DATA(out)
    run_tasks(tasks, False, &arrays)
