# cython: language_level=3
"""Known calls that are one: chains of them, and residual blocks."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.string cimport memcpy

cimport numpy as cnp

from .calls cimport CallTable, KnownCall, Work, alike

cnp.import_array()

cdef extern from "Python.h":
    PyObject *PyList_GET_ITEM(list items, Py_ssize_t place)


cdef class Between(Work):
    """Known calls of which some take the results of others.

    Results in between lie in the two halves of a block: a list of two arrays of bytes, which ``fit`` lets have as many
    as are needed. A block is one call's at a time; those that are free are in ``blocks``.
    """

    cdef list blocks
    cdef object fit
    cdef cnp.npy_intp[2] sizes

    cdef list take(self):
        cdef list block = self.blocks.pop() if self.blocks else [None, None]
        cdef int half
        for half in range(2):
            if self.sizes[half] and (
                    block[half] is None or cnp.PyArray_NBYTES(<cnp.ndarray>block[half]) < self.sizes[half]):
                self.fit(block, half, self.sizes[half])
        return block


cdef class ChainWork(Between):
    """Known calls one after the other, each on the result of the one before, by turns in one half and the other."""

    cdef list calls

    def __init__(self, list calls, list blocks, fit):
        cdef KnownCall known
        cdef Py_ssize_t i
        self.sizes[0] = self.sizes[1] = 0
        for i in range(len(calls) - 1):
            known = calls[i]
            self.sizes[i % 2] = max(self.sizes[i % 2], known.of_result.beyond)
        self.calls, self.blocks, self.fit = calls, blocks, fit

    cdef bint threads_fit(self) noexcept:
        cdef Py_ssize_t i
        for i in range(len(self.calls)):
            if not (<KnownCall>PyList_GET_ITEM(self.calls, i)).work.threads_fit():
                return False
        return True

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        cdef list block = self.take()
        cdef KnownCall known
        cdef char *target
        cdef Py_ssize_t i, last = len(self.calls) - 1
        cdef int undone = 0
        for i in range(last + 1):
            known = <KnownCall>PyList_GET_ITEM(self.calls, i)
            target = out if i == last else cnp.PyArray_BYTES(<cnp.ndarray>block[i % 2])
            undone = known.work.run(x, known.x_strides, target, known.out_strides)
            if undone:
                break
            x = target
        self.blocks.append(block)
        return undone


cdef class ResidualWork(Between):
    """``last(front(x), shortcut(x))``, whose last call adds; without ``front`` or ``shortcut`` it takes x itself."""

    cdef KnownCall front, shortcut, last

    def __init__(self, KnownCall front, KnownCall shortcut, KnownCall last, list blocks, fit):
        self.sizes[0] = 0 if front is None else front.of_result.beyond
        self.sizes[1] = 0 if shortcut is None else shortcut.of_result.beyond
        self.front, self.shortcut, self.last, self.blocks, self.fit = front, shortcut, last, blocks, fit

    cdef bint threads_fit(self) noexcept:
        return (
            (self.front is None or self.front.work.threads_fit())
            and (self.shortcut is None or self.shortcut.work.threads_fit())
            and self.last.work.threads_fit()
        )

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        cdef list block = self.take()
        cdef const char *first = x
        cdef const char *added = x
        cdef char *target
        cdef int undone = 0
        if self.front is not None:
            target = cnp.PyArray_BYTES(<cnp.ndarray>block[0])
            undone = self.front.work.run(x, self.front.x_strides, target, self.front.out_strides)
            first = target
        if self.shortcut is not None and not undone:
            target = cnp.PyArray_BYTES(<cnp.ndarray>block[1])
            undone = self.shortcut.work.run(x, self.shortcut.x_strides, target, self.shortcut.out_strides)
            added = target
        if not undone:
            undone = self.last.work.run_added(first, self.last.x_strides, added, out, self.last.out_strides)
        self.blocks.append(block)
        return undone


cdef KnownCall joined(list calls, KnownCall first, Work work, tuple places):
    """``calls`` as one, which takes what ``first`` takes and gives what the last one gives."""
    cdef KnownCall known = KnownCall(), one, last = calls[len(calls) - 1]
    known.of_input, known.of_result, known.contiguous = first.of_input, last.of_result, last.contiguous
    memcpy(known.x_strides, first.x_strides, sizeof(known.x_strides))
    memcpy(known.out_strides, last.out_strides, sizeof(known.out_strides))
    known.work, known.in_place, known.compares, known.parameters = work, False, False, ()
    merged = {}
    for one in calls:
        merged.update({(id(place[0]), place[1]): place for place in one.places})
        if one.variable is not None:
            known.variable, known.value = one.variable, one.value
    known.places = (*merged.values(), *places)
    return known


cdef class ChainTable(CallTable):
    """The calls that a function or a layer has met lately, and those that are made of others."""

    def join(self, list calls, tuple places, list blocks, fit):
        """Know the chain of ``calls``, each of which takes the result of the one before, as one without parameters.

        ``places`` are as in ``add``, and come on top of those that the calls go by. ``blocks`` and ``fit``: the memory
        between them, see Between.
        """
        cdef KnownCall one, other
        cdef Py_ssize_t i
        for i in range(len(calls) - 1):
            one, other = calls[i], calls[i + 1]
            if not alike(&one.of_result, &other.of_input):
                return
        self.keep(joined(calls, calls[0], ChainWork(calls, blocks, fit), places))

    def join_residual(self, KnownCall front, KnownCall shortcut, KnownCall last, tuple places, list blocks, fit):
        """The same for ``last(front(x), shortcut(x))``, whose last call adds; those that are None give x itself."""
        cdef KnownCall first = last if front is None else front
        if front is not None and not alike(&front.of_result, &last.of_input):
            return
        if not alike(&first.of_input if shortcut is None else &shortcut.of_result, &last.of_residual):
            return
        if shortcut is not None and not alike(&first.of_input, &shortcut.of_input):
            return
        calls = [call for call in (front, shortcut, last) if call is not None]
        self.keep(joined(calls, first, ResidualWork(front, shortcut, last, blocks, fit), places))
