# cython: language_level=3
"""Calls that come again just as before: recognised in one look, and run without being checked and planned again.

What a call's plan was made from is kept with it: the input's type, dtype, shape and strides, the parameters, the
weights, and the settings that chose the backend. While all of these are the same, so is everything that follows.
"""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport Py_EQ, PyObject, PyObject_RichCompareBool
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcmp

cimport numpy as cnp

from .memory cimport new
from .runtime cimport allowed, join_rows

cnp.import_array()

cdef extern from "Python.h":
    int PyContextVar_Get(object var, PyObject *default, PyObject **value) except -1
    void Py_XDECREF(PyObject *value)
    PyObject *PyList_GET_ITEM(list items, Py_ssize_t place)

cdef int MOST_CALLS = 16
cdef Py_ssize_t MOST_WEIGHT_BYTES = 262_144  # comparing them with the last ones costs less than preparing them


cdef class Work:
    """A kernel and everything it needs but the arrays. The drivers derive theirs."""

    def bind_threads(self, int count, int wanted, int preset):
        """The work is cut for ``count`` threads: it fits as long as OpenMP would allow just these."""
        self.allowed, self.wanted, self.preset = count, wanted, preset

    cdef bint threads_fit(self) noexcept:
        return self.allowed == 0 or self.allowed == allowed(self.wanted, self.preset)

    cdef int run(self, const char *x, const int64_t *x_strides, char *out, const int64_t *out_strides) except -1:
        """Write ``out``; strides in elements. 0 if it is done, 1 if these numbers need the general way."""
        raise NotImplementedError

    cdef int run_added(self, const char *x, const int64_t *x_strides, const char *residual, char *out,
                       const int64_t *out_strides) except -1:
        """The same with a contiguous array added, which ``out`` may be; undone, it is as it was."""
        raise NotImplementedError


cdef bint plain(value) noexcept:
    """Whether a value cannot change, and ``same`` can compare it."""
    if value is None or type(value) in (int, bool, str, float):
        return True
    if type(value) is not tuple:
        return False
    for part in <tuple>value:
        if not plain(part):
            return False
    return True


cdef bint same(a, b) except -1:
    """Equal, and of equal types to the core: True is not 1 to a check of arguments. ``a`` is plain."""
    cdef Py_ssize_t i
    cdef double first, second
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) is tuple:
        if len(<tuple>a) != len(<tuple>b):
            return False
        for i in range(len(<tuple>a)):
            if not same((<tuple>a)[i], (<tuple>b)[i]):
                return False
        return True
    if type(a) is float:  # by their bits: -0.0 is not 0.0
        first, second = a, b
        return memcmp(&first, &second, sizeof(double)) == 0
    return PyObject_RichCompareBool(a, b, Py_EQ)


cdef void read_layout(Layout *layout, cnp.ndarray array) noexcept:
    cdef int axis
    cdef cnp.npy_intp reach
    layout.type_number, layout.axes = cnp.PyArray_TYPE(array), cnp.PyArray_NDIM(array)
    layout.before, layout.beyond = 0, cnp.PyArray_ITEMSIZE(array)
    for axis in range(layout.axes):
        layout.shape[axis], layout.strides[axis] = cnp.PyArray_DIM(array, axis), cnp.PyArray_STRIDE(array, axis)
        reach = (layout.shape[axis] - 1) * layout.strides[axis]
        if reach < 0:
            layout.before += reach
        else:
            layout.beyond += reach


cdef bint has_layout(cnp.ndarray array, const Layout *layout) noexcept:
    cdef size_t size = layout.axes * sizeof(cnp.npy_intp)
    return (
        cnp.PyArray_NDIM(array) == layout.axes
        and (size == 0 or memcmp(cnp.PyArray_DIMS(array), layout.shape, size) == 0)  # NULL for an array of no axes
        and (size == 0 or memcmp(cnp.PyArray_STRIDES(array), layout.strides, size) == 0)
        and cnp.PyArray_TYPE(array) == layout.type_number
        and cnp.PyArray_ISALIGNED(array)
        and cnp.PyArray_ISNOTSWAPPED(array)
    )


cdef bint apart(cnp.ndarray a, const Layout *of_a, cnp.ndarray b, const Layout *of_b) noexcept:
    """Whether the bytes that two arrays span do not overlap."""
    cdef uintptr_t first = <uintptr_t>cnp.PyArray_DATA(a), second = <uintptr_t>cnp.PyArray_DATA(b)
    return first + of_a.beyond <= second + of_b.before or second + of_b.beyond <= first + of_a.before


cdef class KnownCall:
    """One call, with all that has to be the same for it to come again."""

    @property
    def result(self):
        """The result's shape and dtype; None if it is not in the order C."""
        shape = tuple([self.of_result.shape[axis] for axis in range(self.of_result.axes)])
        return (shape, cnp.PyArray_DescrFromType(self.of_result.type_number)) if self.contiguous else None

    cdef bint settled(self) except -1:
        """Whether the settings are those that the call was made under."""
        cdef PyObject *found = NULL
        cdef tuple place
        cdef object found_value
        if self.variable is not None:
            PyContextVar_Get(self.variable, NULL, &found)
            if found != <PyObject *>self.value:
                Py_XDECREF(found)
                return False
            Py_XDECREF(found)
        for found_value in self.places:
            place = <tuple>found_value
            found = PyDict_GetItemWithError(place[0], place[1])
            if found != (<PyObject *>place[2] if len(place) == 3 else NULL):
                return False
        return True

    cdef bint of_kind(self, cnp.ndarray input, cnp.ndarray residual, tuple parameters) except -1:
        if not has_layout(input, &self.of_input) or self.adds != (residual is not None):
            return False
        return (residual is None or has_layout(residual, &self.of_residual)) and same(self.parameters, parameters)

    cdef bint same_weights(self, weight, bias) noexcept:
        """Whether the weights have the bits of those that were prepared."""
        if not self.compares:
            return True
        if not cnp.PyArray_CheckExact(weight) or not has_layout(weight, &self.of_weight):
            return False
        if (bias is None) != (self.bias is None):
            return False
        if bias is not None and not (cnp.PyArray_CheckExact(bias) and has_layout(bias, &self.of_bias)):
            return False
        if memcmp(cnp.PyArray_DATA(weight), cnp.PyArray_DATA(self.weight), cnp.PyArray_NBYTES(self.weight)) != 0 or (
            bias is not None
            and memcmp(cnp.PyArray_DATA(bias), cnp.PyArray_DATA(self.bias), cnp.PyArray_NBYTES(self.bias)) != 0
        ):
            self.changes += 1
            return False
        return True

    cdef bint takes(self, cnp.ndarray out, cnp.ndarray input, cnp.ndarray residual, weight, bias) noexcept:
        """Whether ``out`` is plainly fine; what is doubtful is looked at in the general way."""
        if not has_layout(out, &self.of_result) or not cnp.PyArray_ISWRITEABLE(out):
            return False
        if not apart(out, &self.of_result, input, &self.of_input) and not (
            self.in_place and cnp.PyArray_DATA(out) == cnp.PyArray_DATA(input)
        ):
            return False
        if residual is not None and not apart(out, &self.of_result, residual, &self.of_residual) and (
            cnp.PyArray_DATA(out) != cnp.PyArray_DATA(residual)
        ):
            return False
        return (weight is None or apart(out, &self.of_result, weight, &self.of_weight)) and (
            bias is None or apart(out, &self.of_result, bias, &self.of_bias)
        )

    cdef object run(self, cnp.ndarray input, cnp.ndarray residual, cnp.ndarray out):
        if out is None:
            out = new(
                self.of_result.axes, self.of_result.shape, self.of_result.type_number,
                NULL if self.contiguous else self.of_result.strides,
            )
        cdef const char *x = <const char *>cnp.PyArray_DATA(input)
        cdef char *target = <char *>cnp.PyArray_DATA(out)
        cdef int undone
        if residual is None:
            undone = self.work.run(x, self.x_strides, target, self.out_strides)
        else:
            undone = self.work.run_added(
                x, self.x_strides, <const char *>cnp.PyArray_DATA(residual), target, self.out_strides
            )
        return None if undone else out


cdef bint alike(const Layout *a, const Layout *b) noexcept:
    cdef size_t size = a.axes * sizeof(cnp.npy_intp)
    return (
        a.axes == b.axes
        and a.type_number == b.type_number
        and memcmp(a.shape, b.shape, size) == 0
        and memcmp(a.strides, b.strides, size) == 0
    )


cdef bint usable(array, bint may_be_large) noexcept:
    return (
        cnp.PyArray_CheckExact(array)
        and cnp.PyArray_NDIM(array) <= MOST_AXES
        and cnp.PyArray_ISALIGNED(array)
        and cnp.PyArray_ISNOTSWAPPED(array)
        and (may_be_large or cnp.PyArray_NBYTES(array) <= MOST_WEIGHT_BYTES and cnp.PyArray_IS_C_CONTIGUOUS(array))
    )


cdef void steps(cnp.ndarray array, int64_t *strides, int axes) noexcept:
    """Strides in elements; axes that are missing in front are of length one."""
    cdef int axis, missing = axes - cnp.PyArray_NDIM(array)
    for axis in range(axes):
        strides[axis] = 0
        if axis >= missing:
            strides[axis] = cnp.PyArray_STRIDE(array, axis - missing) // cnp.PyArray_ITEMSIZE(array)
    if axes == 4 and missing == 0:
        join_rows(cnp.PyArray_DIMS(array), strides)


cdef class CallTable:
    """The calls that a function or a layer has met lately."""

    def __cinit__(self):
        self.calls = []

    def run(self, input, weight, bias, out, tuple parameters):
        """The result of a call that is known, or None.

        ``input`` may be a pair with the array that is added. ``weight`` and ``bias`` are a function's, that may hold
        other numbers at each call; a layer's are its own.
        """
        cdef KnownCall known
        cdef Py_ssize_t i
        cdef object residual = None
        if type(input) is tuple:
            input, residual = input
            if not cnp.PyArray_CheckExact(residual):
                return None
        if not cnp.PyArray_CheckExact(input) or (out is not None and not cnp.PyArray_CheckExact(out)):
            return None
        for i in range(len(self.calls)):
            known = <KnownCall>PyList_GET_ITEM(self.calls, i)
            if known.of_kind(input, residual, parameters):
                if not (known.settled() and known.work.threads_fit() and known.same_weights(weight, bias)):
                    continue
                if not known.compares:
                    weight, bias = known.weight, known.bias
                if out is not None and not known.takes(out, input, residual, weight, bias):
                    return None
                return known.run(input, residual, out)
        return None

    def add(self, Work work, input, x, weight, bias, result, bint in_place, bint in_any_order, bint compares,
            tuple parameters, variable, value, tuple places):
        """Know a call from now on, if it can be recognised.

        ``x`` is ``input`` as the work takes it, with an axis in front perhaps; both may be pairs with the array that
        is added. ``in_any_order``: the work heeds the strides of a result whose axes lie in another order. With
        ``compares`` the weights are compared with those of this call, bit by bit; else they are what the work was made
        from. ``variable`` and
        ``value`` are a ContextVar and what it has to hold. Each of ``places`` is a dict, a key, and the object that
        has to stay there; without one, the key has to stay absent.
        """
        cdef KnownCall known, other
        cdef cnp.ndarray array
        cdef object residual = None, added = None
        if type(input) is tuple:
            input, residual = input
            x, added = x
            if not usable(residual, True) or cnp.PyArray_DATA(added) != cnp.PyArray_DATA(residual):
                return
            if not cnp.PyArray_IS_C_CONTIGUOUS(residual):
                return
        if not plain(parameters) or not usable(input, True) or not usable(x, True) or not usable(result, True):
            return
        if cnp.PyArray_DATA(x) != cnp.PyArray_DATA(input) or cnp.PyArray_SIZE(input) == 0:
            return
        for given in (weight, bias):
            if given is not None and not usable(given, not compares):
                return
        known = KnownCall()
        read_layout(&known.of_input, input)
        read_layout(&known.of_result, result)
        known.adds = residual is not None
        if known.adds:
            read_layout(&known.of_residual, residual)
        if known.of_result.before < 0 or known.of_result.beyond != cnp.PyArray_NBYTES(result):
            return  # it has gaps, as an array that was given as out= may
        known.contiguous = cnp.PyArray_IS_C_CONTIGUOUS(result)
        if not known.contiguous and not in_any_order:
            return
        steps(x, known.x_strides, cnp.PyArray_NDIM(x))
        steps(result, known.out_strides, cnp.PyArray_NDIM(x))
        known.work, known.in_place, known.compares, known.parameters = work, in_place, compares, parameters
        known.variable, known.value, known.places = variable, value, places
        known.weight, known.bias = weight, bias
        if weight is not None:
            read_layout(&known.of_weight, weight)
            if compares:
                known.weight = weight.copy()
        if bias is not None:
            read_layout(&known.of_bias, bias)
            if compares:
                known.bias = bias.copy()
        kept = []
        array = input
        for other in self.calls:
            if not other.of_kind(array, residual, parameters):
                kept.append(other)
            elif other.changes > 2 and other.settled() and other.work.threads_fit():
                return  # its weights are others each time: keeping them again is not worth it
        self.calls = [*kept[-MOST_CALLS + 1:], known]

    def find(self, input, tuple parameters):
        """What knows a call of a layer on ``input``, for ``join``; None if nothing does."""
        cdef KnownCall known
        cdef object residual = None
        if type(input) is tuple:
            input, residual = input
            if not cnp.PyArray_CheckExact(residual):
                return None
        if not cnp.PyArray_CheckExact(input):
            return None
        for known in self.calls:
            if known.of_kind(input, residual, parameters) and not known.compares and known.settled():
                return known
        return None

    cdef int keep(self, KnownCall known) except -1:
        """Know a call that is made of others, in place of one on such an input."""
        cdef KnownCall other
        kept = []
        for other in self.calls:
            if not alike(&other.of_input, &known.of_input):
                kept.append(other)
        self.calls = [*kept[-MOST_CALLS + 1:], known]
        return 0
