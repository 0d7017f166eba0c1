# cython: language_level=3
"""The loop that the drivers share: tasks over threads.

At the end of a parallel region OpenMP waits for every thread of it, even for one that has not begun because another
process has its core, and whose tasks the others have done meanwhile: up to a scheduler's slice, some milliseconds. At
the beginning it waits for those that have not left the last region yet. That cannot be told OpenMP otherwise. So waits
that took far longer than the work are remembered, and where they cost more than helpers have lately saved, work is done
by the calling thread alone for a while: no result depends on it. A single late helper is no reason to do without:
virtual processors that had nothing to do are slow to come back, and resting would only keep them away. Work is counted
in processor time, as the calling thread may have lost its core meanwhile too; and a while is one of work, as calls with
pauses between them would else wait for a helper that fell asleep again and again.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free
from posix.time cimport CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, clock_gettime, clockid_t, timespec

cimport numpy as cnp

from .runtime cimport kernels, note_parallel, runs_python

import numpy as np

from .runtime import check

cnp.import_array()


cdef extern from "Python.h":
    ctypedef struct PyInterpreterState
    PyInterpreterState *PyInterpreterState_Get()
    PyInterpreterState *PyInterpreterState_Main()


cdef extern from * nogil:
    const int RELAXED "__ATOMIC_RELAXED"
    int64_t fetch_add "__atomic_fetch_add"(int64_t *, int64_t, int)
    int64_t load "__atomic_load_n"(int64_t *, int)
    void store "__atomic_store_n"(int64_t *, int64_t, int)


cdef int64_t NOTICED = 500_000  # nanoseconds: a shorter wait is not worth a thought
cdef int64_t OUTWEIGHS = 4      # waits longer than so many times the work: no cut is so uneven
cdef int64_t CREDIT = 10_000_000  # nanoseconds that helpers saved and that may be spent in waiting, at most
cdef int64_t REST = 4           # for so many times the wait helpers rest: trying anew costs a fifth at most
cdef int64_t LONG_REST = 8      # and twice as long if that was in vain, but no longer: who had the core may be gone
cdef int64_t LONGEST = 100_000_000  # nanoseconds of a wait that count: the process was stopped, not its core taken

# What threads remember. Any of them may read and set these, but as a whole.
cdef int64_t alone = 0          # nanoseconds of work that the calling thread does alone yet
cdef int64_t next_rest = REST
cdef int64_t credit = 0         # nanoseconds that helpers saved, less those for which they were waited for
cdef int64_t lasted = 0         # nanoseconds, of the last region


cdef struct Share:
    int64_t taken               # tasks of a thread's run that someone has begun
    int64_t[7] apart            # each thread's share has a cache line of its own


cdef struct Region:             # as the calling thread sees it
    Share *shares
    int64_t first, count        # the tasks that are shared out
    int threads
    bint exact                  # whether processor time is looked at: asking the system for it takes a microsecond
    int64_t started, finished   # its own tasks, by the monotonic clock
    int64_t worked              # nanoseconds for them
    int64_t own                 # how many they were


cdef class Tasks:
    """Work for one plan, instruction set and number of threads, cut into tasks.

    They may run in any order and at the same time. Each operation has a class of its own, with what the tasks need.
    """

    def __init__(self, int isa, bint is_double, int threads):
        check(isa)
        self.table = kernels(isa, is_double)
        self.type_number = cnp.NPY_DOUBLE if is_double else cnp.NPY_FLOAT
        self.threads = threads

    cdef int run_one(self, const void *arrays, int64_t i) noexcept nogil:
        """Run task ``i`` on the operation's own struct of arrays: 0, or 1 if there is no memory for it."""
        return 1


cdef int64_t clock(clockid_t which) noexcept nogil:
    cdef timespec time
    clock_gettime(which, &time)
    return <int64_t>time.tv_sec * 1_000_000_000 + time.tv_nsec


cdef int64_t now() noexcept nogil:
    return clock(CLOCK_MONOTONIC)


cdef void note(int64_t worked, int64_t waited, int64_t saved) noexcept nogil:
    """``saved``: nanoseconds that what the helpers did would have taken the calling thread."""
    cdef int64_t times = load(&next_rest, RELAXED)
    cdef int64_t left = min(load(&credit, RELAXED) + saved - waited, CREDIT)
    if waited <= NOTICED or waited <= OUTWEIGHS * worked:
        if times > REST:
            store(&next_rest, times // 2, RELAXED)
    elif left < 0:
        store(&alone, times * min(waited, LONGEST), RELAXED)
        store(&next_rest, min(2 * times, LONG_REST), RELAXED)
    store(&credit, max(left, 0), RELAXED)


cdef int serial(Tasks tasks, const void *arrays, int64_t first) noexcept nogil:
    cdef int64_t i
    cdef int failed = 0
    for i in range(first, tasks.count):
        failed += tasks.run_one(arrays, i)
    return failed


cdef int64_t while_helpers_rest(Tasks tasks, const void *arrays, int *failed) noexcept nogil:
    """Run tasks until helpers have rested: the first one that is left."""
    cdef int64_t i = 0, time, begun = now(), left = load(&alone, RELAXED)
    while left > 0 and i < tasks.count:
        failed[0] += tasks.run_one(arrays, i)
        i += 1
        time = now()
        left = max(left - (time - begun), 0)
        begun = time
        store(&alone, left, RELAXED)
    return i


cdef int shared_out(Tasks tasks, const void *arrays, Region *region, int own) noexcept nogil:
    """A thread's own run of the tasks, and then what is left of the others' runs.

    A thread has the same tasks at every call, so that what it read and wrote then is still in its cache.
    """
    cdef int64_t i, end, count = region.count, done = 0
    cdef int k, of, failed = 0, threads = region.threads
    for k in range(threads):
        of = (own + k) % threads
        end = count * (of + 1) // threads
        while True:
            i = count * of // threads + fetch_add(&region.shares[of].taken, 1, RELAXED)
            if i >= end:
                break
            failed += tasks.run_one(arrays, region.first + i)
            done += 1
    if own == 0:
        region.own = done
    return failed


cdef int callers_share(Tasks tasks, const void *arrays, Region *region) noexcept nogil:
    cdef int64_t before = clock(CLOCK_THREAD_CPUTIME_ID) if region.exact else 0
    region.started = now()
    cdef int failed = shared_out(tasks, arrays, region, 0)
    region.finished = now()
    region.worked = region.finished - region.started
    if region.exact:
        region.worked = clock(CLOCK_THREAD_CPUTIME_ID) - before
    return failed


cdef int parallel(Tasks tasks, const void *arrays, int64_t first, int threads) noexcept:
    """The tasks from ``first`` on, on several threads.

    It lets the lock go itself: a prange of a function without it asks Python whether this thread has it, which Python
    before 3.12 affirms wherever there have been subinterpreters, and would let it go once more.
    """
    cdef Region region
    cdef int own, failed = 0
    cdef int64_t begun, ended, saved
    region.shares = <Share *>calloc(threads, sizeof(Share))
    if region.shares == NULL:
        return serial(tasks, arrays, first)
    region.first, region.count = first, tasks.count - first
    region.threads, region.exact = threads, load(&lasted, RELAXED) > NOTICED
    note_parallel()
    begun = now()
    with nogil:
        for own in prange(threads, schedule="static", chunksize=1, num_threads=threads):
            if own == 0:
                failed += callers_share(tasks, arrays, &region)
            else:
                failed += shared_out(tasks, arrays, &region, own)
        ended = now()
        store(&lasted, ended - begun, RELAXED)
        saved = region.worked * (region.count - region.own) // max(region.own, 1)
        note(region.worked, region.started - begun + ended - region.finished, saved)
    free(region.shares)
    return failed


cdef int run_tasks(Tasks tasks, bint brief, const void *arrays) except -1:
    """Run all tasks. ``brief``: one thread takes them so short a time that other Python threads are not let run."""
    cdef int threads = <int>min(tasks.threads, tasks.count), failed = 0
    cdef int64_t first = 0
    if threads > 1 and load(&alone, RELAXED) > 0:
        with nogil:
            first = while_helpers_rest(tasks, arrays, &failed)
        threads, brief = <int>min(threads, tasks.count - first), False
    if threads > 1:
        failed += parallel(tasks, arrays, first, threads)
    elif brief:
        failed = serial(tasks, arrays, first)
    else:
        with nogil:
            failed += serial(tasks, arrays, first)
    if failed:
        raise MemoryError(f"no memory for {tasks.scratch_bytes:,} bytes of scratch on each thread")
    return 0


cdef class FunctionTasks(Tasks):
    """Tasks that are calls of a Python function: of NumPy's, which let other threads run while they compute.

    What a helper gets whose stack is too small for that is left to the calling thread.
    """

    cdef object function, error
    cdef cnp.ndarray left
    cdef uint8_t *is_left

    def __init__(self, int threads, int64_t count, function):
        super().__init__(0, False, threads)
        self.count, self.function, self.error = count, function, None
        self.left = np.zeros(count, np.uint8)
        self.is_left = <uint8_t *>cnp.PyArray_DATA(self.left)

    cdef int run_one(self, const void *arrays, int64_t i) noexcept nogil:
        if not runs_python():
            self.is_left[i] = 1
            return 0
        with gil:
            self.call(i)
        return 0

    cdef void call(self, int64_t i) noexcept:
        if self.error is not None:
            return
        try:
            self.function(i)
        except BaseException as error:  # nothing may leave a parallel region: it is raised behind it
            self.error = error


def run_function(function, int64_t count, int threads):
    """Call ``function(i)`` for every i below ``count``, on threads. After an error, which is raised, no more begin.

    In a subinterpreter on the calling thread alone: others would come from the main interpreter.
    """
    if threads <= 1 or PyInterpreterState_Get() != PyInterpreterState_Main():
        for i in range(count):
            function(i)
        return
    cdef FunctionTasks tasks = FunctionTasks(threads, count, function)
    run_tasks(tasks, False, NULL)
    if tasks.error is not None:
        raise tasks.error
    for i in np.flatnonzero(tasks.left):
        function(int(i))


def note_wait(double worked, double waited, double saved=0.0):
    """Note that the other threads were waited for, after so many seconds of work, and what they saved, in seconds: as
    every parallel run does."""
    note(<int64_t>(worked * 1e9), <int64_t>(waited * 1e9), <int64_t>(saved * 1e9))


def resting():
    """Seconds of work that the calling thread does alone yet, as others were waited for far too long."""
    return load(&alone, RELAXED) / 1e9


def forget_waits():
    """Let all threads work again, and the next wait be the first one."""
    store(&alone, 0, RELAXED)
    store(&next_rest, REST, RELAXED)
    store(&credit, 0, RELAXED)
    store(&lasted, 0, RELAXED)
