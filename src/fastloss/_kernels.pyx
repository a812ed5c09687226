# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The binding of the C kernels: turns arrays into C calls. Names no loss."""

import os
from contextvars import ContextVar
from functools import lru_cache

import numpy as np

from fastloss import _cgroup, _validate
from fastloss import reduction as reductions

cimport cython
cimport numpy as cnp
from cpython.ref cimport Py_INCREF, PyObject
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.string cimport memset

cnp.import_array()


cdef extern from "fastloss.h" nogil:
    enum:
        FL_MAX_PARAMETERS
        FL_MAX_DIMENSIONS
        FL_SERIAL_WORK
    ctypedef enum fl_storage:
        FL_FLOAT32
        FL_FLOAT64
        FL_FLOAT16
        FL_BFLOAT16
        FL_BOOL
        FL_INT8
        FL_INT16
        FL_INT32
        FL_INT64
        FL_UINT8
        FL_UINT16
        FL_UINT32
        FL_UINT64
    ctypedef struct fl_array:
        char *data
        fl_storage storage
        int swapped
        Py_ssize_t column_stride
        Py_ssize_t row_strides[16]
        Py_ssize_t inner_strides[16]
    ctypedef struct fl_bounds:
        double low
        double high
    ctypedef enum fl_reduction:
        FL_SUM_OVER_BATCH_SIZE
        FL_SUM
        FL_MEAN_WITH_SAMPLE_WEIGHT
        FL_NONE
    ctypedef enum fl_status:
        FL_OK
        FL_NO_MEMORY
        FL_BAD_LABEL
        FL_BAD_WEIGHT
        FL_BAD_TRUE
        FL_BAD_PRED
        FL_BAD_PADDING
        FL_BAD_REFERENCE
    ctypedef struct fl_call:
        int loss
        int dtype
        int threads
        int dimensions
        Py_ssize_t shape[16]
        int inner_dimensions
        Py_ssize_t inner_shape[16]
        Py_ssize_t rows
        Py_ssize_t columns
        fl_array y_true
        fl_array y_pred
        fl_array sample_weight
        fl_array mask
        fl_array losses
        fl_array gradient
        fl_array hessian
        double parameters[4]
        double label_scale
        double label_shift
        int labels
        int has_ignore_class
        int64_t ignore_class
        const double *class_weight
        Py_ssize_t class_weight_stride
        fl_bounds true_bounds
        fl_bounds pred_bounds
        int *out_of_bounds
        Py_ssize_t steps
        Py_ssize_t label_columns
        Py_ssize_t references
        fl_array reference
        fl_array reference_label
    ctypedef struct fl_totals:
        double loss
        double loss_low
        double weight
        double weight_low
        int64_t count
        Py_ssize_t bad_row
        Py_ssize_t bad_column
    ctypedef enum fl_kind:
        POINTWISE_MEAN
        POINTWISE_SUM
        WEIGHTED_MEAN
        SOFTMAX
        SPARSE_SOFTMAX
        NORMALIZE
        SPARSE_NORMALIZE
        SPARSE_PROBABILITY
        LOCATION_SCALE
        ALIGNMENT
        PAIRS
    ctypedef struct fl_loss_info:
        const char *name
        const char *kind_name
        const char *element
        const char *parameters
        fl_kind kind
    const fl_loss_info fl_losses[]
    const int fl_loss_count
    fl_status fl_prepare(const fl_call *, fl_totals *)
    fl_status fl_check_bounds(const fl_call *, fl_totals *)
    fl_status fl_run(const fl_call *, double, fl_totals *)
    Py_ssize_t fl_work(const fl_call *)
    double fl_denominator(const fl_totals *, fl_reduction)
    double fl_reduce(const fl_totals *, fl_reduction)
    double fl_row_divisor(int, Py_ssize_t)
    Py_ssize_t fl_block_rows(Py_ssize_t)
    int fl_labels_are_binary(const fl_call *)
    int fl_isa_count()
    const char *fl_isa_name(int)
    int fl_isa_is_supported(int)
    void fl_set_isa(int)
    int fl_get_isa()
    int fl_max_threads()
    const char *fl_parallel_backend()
    const char *fl_compiler()

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object, object name, PyObject *value) except -1  # NULL deletes

cdef extern from "numpy/arrayobject.h":
    cnp.ndarray PyArray_NewLikeArray(cnp.ndarray prototype, cnp.NPY_ORDER order, void *dtype, int subok)
    cnp.ndarray PyArray_NewFromDescr(object subtype, cnp.dtype descr, int nd, cnp.npy_intp *dims, cnp.npy_intp *strides,
                                     void *data, int flags, object obj)
    object PyArray_Scalar(void *data, cnp.dtype dtype, object base)


# Instruction sets

def isas():
    """Names of the instruction sets that this build and this CPU have, best first."""
    return [fl_isa_name(i).decode() for i in range(fl_isa_count()) if fl_isa_is_supported(i)]


def set_isa(name):
    """Use the kernels compiled for an instruction set. Not to be called while others compute."""
    built = [fl_isa_name(i).decode() for i in range(fl_isa_count())]
    if name not in built:
        raise ValueError(f"unknown instruction set {name!r}: this build has {', '.join(built)}")
    if not fl_isa_is_supported(built.index(name)):
        raise ValueError(f"instruction set {name!r} is not supported by this CPU, which has {', '.join(isas())}")
    fl_set_isa(built.index(name))


def get_isa():
    """Name of the instruction set in use."""
    return fl_isa_name(fl_get_isa()).decode()


def _choose_isa():
    forced = os.environ.get("FASTLOSS_ISA")
    if not forced:
        return set_isa(isas()[0])
    try:
        set_isa(forced)
    except ValueError as error:
        raise ImportError(f"FASTLOSS_ISA: {error}") from None


_choose_isa()


# Threads

# Of Python, which makes it safe to set while others read.
_threads = 0
_context_threads = ContextVar("fastloss_threads", default=0)


def get_num_threads():
    """Threads that a large call uses now."""
    chosen = _context_threads.get() or _threads
    if chosen:
        return chosen
    most = fl_max_threads()
    return min(most, _cgroup.cpu_limit() or most)


def set_num_threads(n):
    """Threads of later calls; None: as many as OpenMP, the process's affinity and its control group give."""
    global _threads
    _threads = 0 if n is None else _validate.thread_count("n", n)


if os.environ.get("FASTLOSS_NUM_THREADS"):
    set_num_threads(_validate.thread_count("FASTLOSS_NUM_THREADS", os.environ["FASTLOSS_NUM_THREADS"]))


def build_info():
    """Compiler and thread library of this build."""
    return {"compiler": fl_compiler().decode(), "threading": fl_parallel_backend().decode()}


# Registry

def registry():
    """The native losses: name -> {"kind", "element", "parameters": names in order}."""
    table = {}
    for i in range(fl_loss_count):
        names = fl_losses[i].parameters.decode()
        table[fl_losses[i].name.decode()] = {
            "kind": fl_losses[i].kind_name.decode(),
            "element": fl_losses[i].element.decode(),
            "parameters": tuple(names.split(",")) if names else (),
        }
    return table


ROWS = {name: i for i, name in enumerate(registry())}


# Arrays

# Storage by NumPy's type number; -1: not read by the kernels.
cdef int STORAGES[24]
cdef int i
for i in range(24):
    STORAGES[i] = -1
for _dtype, i in (
    ("f4", FL_FLOAT32), ("f8", FL_FLOAT64), ("f2", FL_FLOAT16), ("?", FL_BOOL), ("b", FL_INT8), ("h", FL_INT16),
    ("B", FL_UINT8), ("H", FL_UINT16), ("i", FL_INT32), ("I", FL_UINT32), ("q", FL_INT64), ("Q", FL_UINT64),
    ("l", FL_INT64 if np.dtype("l").itemsize == 8 else FL_INT32),
    ("L", FL_UINT64 if np.dtype("L").itemsize == 8 else FL_UINT32),
):
    STORAGES[np.dtype(_dtype).num] = i

cdef cnp.dtype _float32_dtype = np.dtype(np.float32), _float64_dtype = np.dtype(np.float64)


cdef cnp.ndarray to_array(str name, object value):
    if cnp.PyArray_CheckExact(value) and cnp.PyArray_TYPE(value) < 24 and STORAGES[cnp.PyArray_TYPE(value)] >= 0:
        return value
    return _validate.as_array(name, value)


cdef inline fl_storage storage_of(cnp.ndarray array) noexcept:
    cdef int number = cnp.PyArray_TYPE(array)
    # as_array lets nothing through but these and bfloat16, whose number is given at run time.
    return <fl_storage>STORAGES[number] if number < 24 else FL_BFLOAT16


cdef inline void set_array(fl_array *to, cnp.ndarray array, int outer, int inner) noexcept:
    """Rows along the first `outer` dimensions, columns along the `inner` ones that follow."""
    cdef int d
    to.data = <char *>cnp.PyArray_DATA(array)
    to.storage = storage_of(array)
    to.swapped = not cnp.PyArray_ISNOTSWAPPED(array)
    for d in range(outer):
        to.row_strides[d] = cnp.PyArray_STRIDE(array, d)
    if outer == 0:
        to.row_strides[0] = 0
    to.column_stride = cnp.PyArray_STRIDE(array, outer + inner - 1) if inner else 0
    if inner > 1:
        for d in range(inner):
            to.inner_strides[d] = cnp.PyArray_STRIDE(array, outer + d)


cdef inline bint is_exact(object value, bint mask):
    """Whether `value` is an array that the kernels read as it is."""
    if not cnp.PyArray_CheckExact(value):
        return False
    cdef int number = cnp.PyArray_TYPE(value)
    return number == cnp.NPY_BOOL if mask else number < 24 and STORAGES[number] >= 0


cdef inline bint has_shape(cnp.ndarray array, int ndim, const Py_ssize_t *shape):
    cdef int d
    if cnp.PyArray_NDIM(array) != ndim:
        return False
    for d in range(ndim):
        if cnp.PyArray_DIM(array, d) != shape[d]:
            return False
    return True


cdef cnp.ndarray spread(cnp.ndarray array, int ndim, const Py_ssize_t *shape):
    """The view of a 0-d array that has a shape."""
    cdef cnp.npy_intp strides[FL_MAX_DIMENSIONS]
    cdef cnp.ndarray view
    memset(strides, 0, sizeof(strides))
    Py_INCREF(array.descr)
    view = PyArray_NewFromDescr(
        cnp.ndarray, array.descr, ndim, <cnp.npy_intp *>shape, strides, cnp.PyArray_DATA(array), 0, None)
    cnp.set_array_base(view, array)
    return view


cdef bint are_apart(cnp.ndarray a, cnp.ndarray b):
    """Whether the memory from the first to the last byte of one array and that of the other are disjoint."""
    cdef char *low[2]
    cdef char *high[2]
    cdef cnp.ndarray array
    cdef Py_ssize_t reach
    cdef int d, k
    for k in range(2):
        array = b if k else a
        if array is None:
            return True
        low[k] = <char *>cnp.PyArray_DATA(array)
        high[k] = low[k] + cnp.PyArray_ITEMSIZE(array)
        for d in range(cnp.PyArray_NDIM(array)):
            if cnp.PyArray_DIM(array, d) == 0:
                return True
            reach = cnp.PyArray_STRIDE(array, d) * (cnp.PyArray_DIM(array, d) - 1)
            if reach < 0:
                low[k] += reach
            else:
                high[k] += reach
    return high[0] <= low[1] or high[1] <= low[0]


cdef bint is_separate(object out, Prepared p):
    """Whether `out` is so plainly an array to write to that `_validate.output` need not look closer."""
    cdef cnp.ndarray y_pred = p.original, array
    cdef int d
    cdef bint in_place
    if not cnp.PyArray_CheckExact(out):
        return False
    array = out
    if (not has_shape(array, cnp.PyArray_NDIM(y_pred), <Py_ssize_t *>cnp.PyArray_DIMS(y_pred))
            or cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(y_pred) or not cnp.PyArray_ISNOTSWAPPED(array)
            or not cnp.PyArray_ISWRITEABLE(array)
            or not (cnp.PyArray_IS_C_CONTIGUOUS(array) or cnp.PyArray_IS_F_CONTIGUOUS(array))):
        return False
    in_place = cnp.PyArray_DATA(array) == cnp.PyArray_DATA(y_pred)
    for d in range(cnp.PyArray_NDIM(array)):
        in_place = in_place and cnp.PyArray_STRIDE(array, d) == cnp.PyArray_STRIDE(y_pred, d)
    return ((in_place or are_apart(array, y_pred)) and are_apart(array, p.y_true) and are_apart(array, p.sample_weight)
            and are_apart(array, p.mask) and are_apart(array, p.reference))


cdef object written(cnp.ndarray array, object out):
    """What to return of a derivative that was written to `array`."""
    if out is None or out is array:
        return array
    out[...] = array
    return out


cdef inline bint joins(const fl_array *array, int d, Py_ssize_t extent) noexcept nogil:
    return array.data == NULL or array.row_strides[d - 1] == array.row_strides[d] * extent


cdef inline void drop(fl_array *array, int d, int last) noexcept nogil:
    cdef int k
    if array.data != NULL:
        for k in range(d, last):
            array.row_strides[k] = array.row_strides[k + 1]


cdef void coalesce(fl_call *call) noexcept nogil:
    """Joins outer dimensions that are one run in every array, and drops those of extent 1."""
    cdef fl_array *arrays[7]
    cdef int d = call.dimensions - 1, k, gone
    cdef bint joined
    arrays[0], arrays[1], arrays[2] = &call.y_true, &call.y_pred, &call.sample_weight
    arrays[3], arrays[4] = &call.mask, &call.losses
    arrays[5], arrays[6] = &call.gradient, &call.hessian
    while d >= 0 and call.dimensions > 1:
        gone = -1
        if call.shape[d] == 1:
            gone = d
        elif d > 0:
            joined = True
            for k in range(7):
                joined = joined and joins(arrays[k], d, call.shape[d])
            if joined:
                call.shape[d] *= call.shape[d - 1]
                gone = d - 1
        if gone >= 0:
            for k in range(7):
                drop(arrays[k], gone, call.dimensions - 1)
            for k in range(gone, call.dimensions - 1):
                call.shape[k] = call.shape[k + 1]
            call.dimensions -= 1
        d -= 1


cdef void coalesce_columns(fl_call *call) noexcept nogil:
    """The same for the inner dimensions."""
    cdef fl_array *arrays[4]
    cdef int d = call.inner_dimensions - 1, k, i, gone
    cdef bint joined
    cdef Py_ssize_t *strides
    arrays[0], arrays[1], arrays[2], arrays[3] = &call.y_true, &call.y_pred, &call.gradient, &call.hessian
    while d >= 0 and call.inner_dimensions > 1:
        gone = -1
        if call.inner_shape[d] == 1:
            gone = d
        elif d > 0:
            joined = True
            for k in range(4):
                strides = arrays[k].inner_strides
                if arrays[k].data != NULL:
                    joined = joined and strides[d - 1] == strides[d] * call.inner_shape[d]
            if joined:
                call.inner_shape[d] *= call.inner_shape[d - 1]
                gone = d - 1
        if gone >= 0:
            call.inner_dimensions -= 1
            for i in range(gone, call.inner_dimensions):
                call.inner_shape[i] = call.inner_shape[i + 1]
                for k in range(4):
                    if arrays[k].data != NULL:
                        arrays[k].inner_strides[i] = arrays[k].inner_strides[i + 1]
        d -= 1
    for k in range(4):
        if arrays[k].data != NULL:
            arrays[k].column_stride = arrays[k].inner_strides[call.inner_dimensions - 1]


cdef inline void map_signs(fl_call *call) noexcept nogil:
    """Labels 0 and 1 become -1 and 1."""
    call.label_scale, call.label_shift = 2, -1


cdef fl_status evaluate(fl_call *call, fl_totals *totals, const fl_totals *divisor, fl_reduction reduction, bint tell_signs,
                        bint look_first) noexcept nogil:
    """Counts and checks the rows, and computes.

    Args:
        totals: Where the sums are added.
        divisor: The totals that derivatives are divided by, as the reduction does; NULL: by 1.
        tell_signs: Whether labels of 0 and 1 alone stand for -1 and 1.
        look_first: All that is wrong is to be found before anything is written, as outputs are the user's arrays.
    """
    cdef fl_totals found = fl_totals(0, 0, 0, 0, 0, 0, 0)
    cdef fl_status status
    cdef double factor = 1
    coalesce(call)
    if call.inner_dimensions > 1:
        coalesce_columns(call)
    if tell_signs and fl_labels_are_binary(call):
        map_signs(call)
    status = fl_prepare(call, totals)
    if status == FL_OK and look_first:
        status = fl_check_bounds(call, &found)
        totals.bad_row, totals.bad_column = found.bad_row, found.bad_column
        if status == FL_OK:
            # What is left is in rows that do not count, and where out is y_pred the run leaves nothing to look at.
            call.true_bounds = call.pred_bounds = fl_bounds(0, 0)
    if status != FL_OK:
        return status
    if divisor != NULL:
        factor = fl_denominator(divisor, reduction) * fl_row_divisor(call.loss, call.columns)
        factor = 0 if factor == 0 else 1 / factor
    return fl_run(call, factor, totals)


# Least work for which other Python threads are let run; for less the GIL is not worth giving back.
cdef enum:
    FREE_WORK = 4096


@cython.freelist(8)
cdef class Prepared:
    """The arrays of one call, kept alive, and their C form, which is the caller's."""
    cdef fl_call *call
    cdef cnp.ndarray original  # y_pred as given
    # y_true and y_pred with the axes of a sample's elements last: `inner` of them, after `outer` others.
    cdef cnp.ndarray y_true, y_pred, sample_weight, mask, losses, gradient, hessian, class_weight
    cdef cnp.ndarray reference, reference_label  # what the rows are compared with, if not with each other
    cdef int outer, inner
    # Each element is a row of its own, for losses that are a mean over all elements.
    cdef bint flat
    # The whole array is one sample, unless weights or a mask tell the elements apart.
    cdef bint single
    cdef object axes  # that were moved last, or None
    cdef Py_ssize_t work


@cython.final
cdef class Kernel:
    """A native loss with its parameters: immutable, safe to share between threads.

    Args:
        name: A row of the registry.
        parameters: Their values, in the registry's order.
        axis: The dimension of y_pred that a sample's elements or classes lie along; a tuple of several; None for
            all.
        dtype: None, or "float32" or "float64": what is computed in.
        label_scale, label_shift: y_true becomes ``label_scale * y_true + label_shift``.
        shift_per_class: Divide label_shift by the number of classes.
        sign_labels: Turn labels of 0 and 1 into -1 and 1.
        labels: y_true of a dense loss holds integer labels.
        ignore_class: A label whose rows do not count, or None.
        class_weight: None, or a float64 array of a weight for each column, or a single one.
        weight_name: What the user calls it.
        true_bounds, pred_bounds: (lowest, highest) that the elements may be.
        references: Labels and embeddings that the rows are compared with, or None: with each other.
    """
    cdef int loss, dtype
    cdef fl_kind kind
    cdef double parameters[4]
    cdef double label_scale, label_shift
    cdef bint shift_per_class, sign_labels, labels, has_ignore_class, bounded
    cdef int64_t ignore_class
    cdef cnp.ndarray class_weight
    cdef str weight_name
    cdef fl_bounds true_bounds, pred_bounds
    cdef bint last_axis
    cdef readonly object axis
    cdef object references
    cdef object on_device  # the same for arrays on a GPU, once there was one

    def __init__(self, str name, parameters=(), *, axis=-1, dtype=None, double label_scale=1.0,
                 double label_shift=0.0, bint shift_per_class=False, bint sign_labels=False, bint labels=False,
                 ignore_class=None, class_weight=None, str weight_name="class_weight",
                 true_bounds=(-INFINITY, INFINITY), pred_bounds=(-INFINITY, INFINITY), references=None):
        self.loss = ROWS[name]
        self.kind = fl_losses[self.loss].kind
        for k, parameter in enumerate(parameters):
            self.parameters[k] = parameter
        for k in range(len(parameters), FL_MAX_PARAMETERS):
            self.parameters[k] = 0
        self.axis = axis
        self.last_axis = axis == -1
        self.dtype = -1 if dtype is None else FL_FLOAT64 if dtype == "float64" else FL_FLOAT32
        self.label_scale, self.label_shift = label_scale, label_shift
        self.shift_per_class, self.sign_labels = shift_per_class, sign_labels
        self.labels = labels
        self.has_ignore_class = ignore_class is not None
        self.ignore_class = ignore_class if self.has_ignore_class else 0
        self.class_weight = None if class_weight is None else np.array(class_weight, np.float64, ndmin=1)
        self.weight_name = weight_name
        self.true_bounds = fl_bounds(true_bounds[0], true_bounds[1])
        self.pred_bounds = fl_bounds(pred_bounds[0], pred_bounds[1])
        self.bounded = (true_bounds, pred_bounds) != ((-INFINITY, INFINITY),) * 2
        self.references = references

    def describe(self):
        """The arguments of this kernel, and its kind and element."""
        info = fl_losses[self.loss]
        return {
            "name": info.name.decode(),
            "kind": info.kind_name.decode(),
            "element": info.element.decode(),
            "parameters": tuple([self.parameters[k] for k in range(FL_MAX_PARAMETERS)]),
            "axis": self.axis,
            "dtype": None if self.dtype < 0 else "float64" if self.dtype == FL_FLOAT64 else "float32",
            "label_scale": self.label_scale,
            "label_shift": self.label_shift,
            "shift_per_class": bool(self.shift_per_class),
            "sign_labels": bool(self.sign_labels),
            "labels": bool(self.labels),
            "ignore_class": self.ignore_class if self.has_ignore_class else None,
            "class_weight": self.class_weight,
            "weight_name": self.weight_name,
            "true_bounds": (self.true_bounds.low, self.true_bounds.high),
            "pred_bounds": (self.pred_bounds.low, self.pred_bounds.high),
            "references": self.references,
        }

    cdef object elsewhere(self, object y_pred):
        """What computes on the memory that y_pred is in, or None: this does."""
        if not _validate.is_on_device(y_pred):
            return None
        if self.on_device is None:
            # Not before there is such an array.
            from fastloss.cuda import kernel_on_device

            self.on_device = kernel_on_device(self.describe())
        return self.on_device

    cdef inline bint is_sparse(self):
        """Whether y_true lacks y_pred's axis."""
        return (self.labels or self.kind == SPARSE_SOFTMAX or self.kind == SPARSE_NORMALIZE
                or self.kind == SPARSE_PROBABILITY or self.kind == LOCATION_SCALE)

    cdef inline bint is_pointwise(self):
        return self.kind == POINTWISE_MEAN or self.kind == POINTWISE_SUM or self.kind == WEIGHTED_MEAN

    cdef bint is_flat(self, int ndim):
        if not self.is_pointwise() or (self.class_weight is not None and self.class_weight.size > 1):
            return False
        return self.axis is None or ndim == 1

    cdef inline bint is_structured(self):
        """Whether a sample is more than a row of elements: its losses have one axis, the batch."""
        return self.kind == ALIGNMENT or self.kind == PAIRS

    cdef Prepared prepare_structured(self, fl_call *call, object y_true_in, object y_pred_in, object sample_weight,
                                     object mask):
        cdef Prepared p = Prepared.__new__(Prepared)
        cdef cnp.ndarray y_true = to_array("y_true", y_true_in), y_pred = to_array("y_pred", y_pred_in)
        cdef int ndim, k

        if self.kind == ALIGNMENT:
            _validate.sequences(y_true, y_pred)
        else:
            y_true = _validate.group_labels("y_true", y_true, "y_pred", y_pred)
        ndim = cnp.PyArray_NDIM(y_pred)
        p.call, p.original, p.y_true, p.y_pred = call, y_pred, y_true, y_pred
        p.outer, p.inner = 1, ndim - 1
        memset(call, 0, sizeof(fl_call))
        call.loss, call.dimensions = self.loss, 1
        call.dtype = FL_FLOAT64 if storage_of(y_pred) == FL_FLOAT64 else FL_FLOAT32
        if self.dtype >= 0:
            call.dtype = self.dtype
        call.rows = call.shape[0] = cnp.PyArray_DIM(y_pred, 0)
        call.columns = cnp.PyArray_DIM(y_pred, ndim - 1)
        set_array(&call.y_pred, y_pred, 1, p.inner)
        if self.kind == ALIGNMENT:
            set_array(&call.y_true, y_true, 1, 1)
            call.steps, call.label_columns = cnp.PyArray_DIM(y_pred, 1), cnp.PyArray_DIM(y_true, 1)
        else:
            set_array(&call.y_true, y_true, 1, 0)
            call.references = call.rows
            if self.references is not None:
                p.reference_label, p.reference = _validate.references(*self.references, y_pred, self.parameters[2] != 0)
                set_array(&call.reference_label, p.reference_label, 1, 0)
                set_array(&call.reference, p.reference, 1, 1)
                call.references = cnp.PyArray_DIM(p.reference, 0)
        shape = (call.rows,)
        if sample_weight is not None:
            p.sample_weight = _validate.per_sample("sample_weight", sample_weight, shape)
            set_array(&call.sample_weight, p.sample_weight, 1, 0)
        if mask is not None:
            p.mask = _validate.per_sample("mask", mask, shape)
            set_array(&call.mask, p.mask, 1, 0)
        for k in range(FL_MAX_PARAMETERS):
            call.parameters[k] = self.parameters[k]
        return p

    cdef Prepared prepare(self, fl_call *call, object y_true_in, object y_pred_in, object sample_weight, object mask):
        cdef Prepared p
        if self.is_structured():
            p = self.prepare_structured(call, y_true_in, y_pred_in, sample_weight, mask)
        else:
            p = self.prepare_rows(call, y_true_in, y_pred_in, sample_weight, mask)
        p.work = fl_work(call)
        call.threads = get_num_threads() if p.work >= FL_SERIAL_WORK else 1
        return p

    cdef Prepared prepare_rows(self, fl_call *call, object y_true_in, object y_pred_in, object sample_weight,
                               object mask):
        cdef Prepared p = Prepared.__new__(Prepared)
        cdef cnp.ndarray y_true = to_array("y_true", y_true_in), y_pred = to_array("y_pred", y_pred_in)
        cdef int ndim = cnp.PyArray_NDIM(y_pred), d, k
        cdef bint same

        same = cnp.PyArray_NDIM(y_true) == ndim - self.is_sparse() and ndim > 0 and (self.last_axis or self.axis is None)
        if same:
            for d in range(cnp.PyArray_NDIM(y_true)):
                same = same and cnp.PyArray_DIM(y_true, d) == cnp.PyArray_DIM(y_pred, d)
        p.call, p.original = call, y_pred
        p.inner = 1 if self.last_axis else ndim
        if not same:
            y_true, y_pred, p.axes, p.inner = _validate.align(y_true, y_pred, self.axis, self.is_sparse())
            ndim = cnp.PyArray_NDIM(y_pred)
        if ndim > FL_MAX_DIMENSIONS:
            raise ValueError(f"y_pred: {ndim} dimensions, at most {FL_MAX_DIMENSIONS} are supported")
        if self.kind == LOCATION_SCALE and cnp.PyArray_DIM(y_pred, ndim - 1) != 2:
            raise _validate.not_two_parameters(to_array("y_true", y_true_in), p.original)
        p.y_true, p.y_pred = y_true, y_pred
        p.single = p.flat = self.is_flat(ndim)
        if p.flat:
            p.inner = 0
        p.outer = ndim - p.inner

        call.loss = self.loss
        if self.dtype >= 0:
            call.dtype = self.dtype
        else:
            call.dtype = FL_FLOAT64 if storage_of(y_pred) == FL_FLOAT64 else FL_FLOAT32
        call.rows = call.columns = 1
        for d in range(p.outer):
            call.shape[d] = cnp.PyArray_DIM(y_pred, d)
            call.rows *= call.shape[d]
        for d in range(p.inner):
            call.inner_shape[d] = cnp.PyArray_DIM(y_pred, p.outer + d)
            call.columns *= call.inner_shape[d]
        call.dimensions, call.inner_dimensions = p.outer, p.inner
        set_array(&call.y_pred, y_pred, p.outer, p.inner)
        set_array(&call.y_true, y_true, p.outer, 0 if self.is_sparse() else p.inner)
        call.sample_weight.data = call.mask.data = call.losses.data = NULL
        call.gradient.data = call.hessian.data = call.reference.data = call.reference_label.data = NULL
        call.steps = call.label_columns = call.references = 0
        if sample_weight is not None:
            p.sample_weight = self.per_row(p, "sample_weight", sample_weight)
            p.single = p.single and (self.axis is None or cnp.PyArray_NDIM(np.asarray(sample_weight)) == 0)
            set_array(&call.sample_weight, p.sample_weight, p.outer, 0)
        if mask is not None:
            p.mask = self.per_row(p, "mask", mask)
            p.single = p.single and (self.axis is None or cnp.PyArray_NDIM(np.asarray(mask)) == 0)
            set_array(&call.mask, p.mask, p.outer, 0)
        if p.outer == 0:
            call.dimensions = 1
            call.shape[0] = 1
        for k in range(FL_MAX_PARAMETERS):
            call.parameters[k] = self.parameters[k]
        call.label_scale, call.label_shift = self.label_scale, self.label_shift
        if self.shift_per_class and call.columns > 0:
            call.label_shift /= call.columns
        call.labels = self.labels
        call.has_ignore_class, call.ignore_class = self.has_ignore_class, self.ignore_class
        if self.has_ignore_class and not self.is_sparse() and not 0 <= self.ignore_class < call.columns:
            raise _validate.no_class(self.ignore_class, call.columns)
        call.class_weight = NULL
        if self.class_weight is not None:
            if self.class_weight.size not in (1, call.columns) or (self.class_weight.size == 1 != call.columns
                                                                   and self.kind != WEIGHTED_MEAN):
                raise _validate.wrong_count(self.weight_name, self.class_weight.size, call.columns)
            p.class_weight = self.class_weight
            call.class_weight = <const double *>cnp.PyArray_DATA(p.class_weight)
            call.class_weight_stride = p.class_weight.size > 1
        call.true_bounds, call.pred_bounds = self.true_bounds, self.pred_bounds
        call.out_of_bounds = NULL
        return p

    cdef cnp.ndarray per_row(self, Prepared p, str name, object given):
        """A weight or mask of the samples as one of the rows."""
        cdef int d
        if type(given) is float or type(given) is bool:
            given = cnp.PyArray_FROM_O(given)
        if is_exact(given, name == "mask"):
            if cnp.PyArray_NDIM(given) == 0:
                return spread(given, p.outer, p.call.shape)
            if self.axis is not None and has_shape(given, p.outer, p.call.shape):
                return given
        if self.axis is None:
            # All is one sample.
            return spread(_validate.per_sample(name, given, ()), p.outer, p.call.shape)
        return _validate.per_sample(name, given, tuple([p.call.shape[d] for d in range(p.outer)]))

    cdef cnp.ndarray place(self, Prepared p, str name, object out):
        """Where to write a derivative: `out`, unless that overlaps an input, or a new array."""
        cdef cnp.ndarray y_pred = p.original
        cdef bint as_given = storage_of(y_pred) <= FL_BFLOAT16 and cnp.PyArray_ISNOTSWAPPED(y_pred)
        if as_given and out is None:
            return PyArray_NewLikeArray(y_pred, cnp.NPY_KEEPORDER, NULL, 0)
        if as_given and is_separate(out, p):
            return out
        # Stored as y_pred is, integers apart.
        dtype = _float32_dtype if storage_of(y_pred) > FL_BFLOAT16 else y_pred.dtype.newbyteorder("=")
        return _validate.output(name, out, y_pred, dtype, (p.y_true, p.sample_weight, p.mask, p.reference))

    cdef cnp.ndarray output(self, Prepared p, fl_array *to, cnp.ndarray array):
        """Points a C output at an array of the shape that y_pred was given in."""
        cdef cnp.ndarray view = array
        if cnp.PyArray_NDIM(view) != cnp.PyArray_NDIM(p.y_pred):
            aligned = p.y_pred if p.axes is None else _validate.move_back(p.y_pred, p.axes)
            view = view.reshape((<object>aligned).shape)
        if p.axes is not None:
            view = _validate.move_last(view, p.axes)
        set_array(to, view, p.outer, p.inner)
        return view

    cdef int check(self, Prepared p, fl_status status, fl_totals *totals) except -1:
        if status == FL_OK:
            return 0
        if status == FL_NO_MEMORY:
            raise MemoryError("fastloss: no memory for the partial sums")
        if self.is_structured():
            self.check_structured(p, status, totals)
        if status == FL_BAD_TRUE or status == FL_BAD_PRED:
            name, array = ("y_true", p.y_true) if status == FL_BAD_TRUE else ("y_pred", p.y_pred)
            bounds = p.call.true_bounds if status == FL_BAD_TRUE else p.call.pred_bounds
            place = totals.bad_row * p.call.columns + totals.bad_column
            raise _validate.out_of_bounds(name, array, place, p.axes, bounds.low, bounds.high)
        shape = (<object>p.y_pred).shape[:p.outer]
        if status == FL_BAD_LABEL:
            raise _validate.bad_label(p.y_true, totals.bad_row, shape, p.call.columns)
        raise _validate.bad_weight(p.sample_weight, totals.bad_row, shape)

    cdef int check_structured(self, Prepared p, fl_status status, fl_totals *totals) except -1:
        cdef Py_ssize_t element = totals.bad_row * p.call.label_columns + totals.bad_column
        if status == FL_BAD_WEIGHT:
            raise _validate.bad_weight(p.sample_weight, totals.bad_row, (p.call.rows,))
        if status == FL_BAD_PADDING:
            raise _validate.bad_padding(p.y_true, element)
        if self.kind == ALIGNMENT:
            raise _validate.bad_label(p.y_true, element, (<object>p.y_true).shape, p.call.columns)
        if status == FL_BAD_REFERENCE:
            raise _validate.bad_group("ref_labels", p.reference_label, totals.bad_row)
        raise _validate.bad_group("y_true", p.y_true, totals.bad_row)

    cdef int evaluate(self, Prepared p, fl_totals *totals, const fl_totals *divisor, fl_reduction reduction,
                      bint keep_outputs, bint told=False) except -1:
        """See the function; `told`: what 0 and 1 mean as labels is settled."""
        cdef fl_status status
        cdef bint tell = self.sign_labels and not told, look = keep_outputs and self.bounded
        if p.work >= FREE_WORK:
            with nogil:
                status = evaluate(p.call, totals, divisor, reduction, tell, look)
        else:
            status = evaluate(p.call, totals, divisor, reduction, tell, look)
        return self.check(p, status, totals)

    cdef int effective(self, Prepared p, fl_reduction reduction) except -1:
        if (p.single and self.kind == POINTWISE_SUM and reduction == FL_MEAN_WITH_SAMPLE_WEIGHT
                and p.sample_weight is not None and p.sample_weight.size and abs(float(p.sample_weight.flat[0])) > 0):
            # The weight of the single sample is divided by again.
            p.call.sample_weight.data = NULL
        return self.reduction_of(p.single, reduction)

    cdef fl_reduction reduction_of(self, bint single, fl_reduction reduction) noexcept:
        """The elements of a 1-D array are rows to C, whose mean, or sum, is the loss of the single sample.

        A scalar weight then scales that loss, unless the reduction divides by it again.
        """
        if not single:
            return reduction
        if self.kind == POINTWISE_SUM:
            return FL_SUM
        return reduction if reduction == FL_MEAN_WITH_SAMPLE_WEIGHT else FL_SUM_OVER_BATCH_SIZE

    cdef object scalar(self, Prepared p, double value):
        # Rounded in C, where overflow to inf does not warn.
        cdef float single = <float>value
        if p.call.dtype == FL_FLOAT64:
            return PyArray_Scalar(&value, _float64_dtype, None)
        return PyArray_Scalar(&single, _float32_dtype, None)

    cdef object add_losses(self, Prepared p):
        p.losses = cnp.PyArray_EMPTY(
            p.outer, <cnp.npy_intp *>p.call.shape, cnp.NPY_FLOAT64 if p.call.dtype == FL_FLOAT64 else cnp.NPY_FLOAT32, 0)
        set_array(&p.call.losses, p.losses, p.outer, 0)

    cdef object result(self, Prepared p, const fl_totals *totals, fl_reduction reduction):
        """The reduced value, or the losses."""
        if reduction == FL_NONE:
            return p.losses if p.outer else p.losses[()]
        return self.scalar(p, fl_reduce(totals, reduction))

    cpdef value(self, y_true, y_pred, sample_weight, mask, int reduction):
        """The reduced value, or the weighted losses of the samples."""
        cdef fl_call call
        if not cnp.PyArray_Check(y_pred):
            other = self.elsewhere(y_pred)
            if other is not None:
                return other.value(y_true, y_pred, sample_weight, mask, reduction)
        cdef Prepared p = self.prepare(&call, y_true, y_pred, sample_weight, mask)
        cdef fl_totals totals = fl_totals(0, 0, 0, 0, 0, 0, 0)
        cdef fl_reduction kind = <fl_reduction>self.effective(p, <fl_reduction>reduction)
        if kind == FL_NONE:
            self.add_losses(p)
        self.evaluate(p, &totals, NULL, kind, False)
        return self.result(p, &totals, kind)

    cpdef value_and_grad(self, y_true, y_pred, sample_weight, mask, int reduction, out):
        """The value, and its gradient with respect to y_pred."""
        cdef fl_call call
        if not cnp.PyArray_Check(y_pred):
            other = self.elsewhere(y_pred)
            if other is not None:
                return other.value_and_grad(y_true, y_pred, sample_weight, mask, reduction, out)
        cdef Prepared p = self.prepare(&call, y_true, y_pred, sample_weight, mask)
        cdef fl_totals totals = fl_totals(0, 0, 0, 0, 0, 0, 0)
        cdef fl_reduction kind = <fl_reduction>self.effective(p, <fl_reduction>reduction)
        gradient = self.place(p, "out", out)
        if kind == FL_NONE:
            self.add_losses(p)
        p.gradient = self.output(p, &call.gradient, gradient)
        self.evaluate(p, &totals, &totals, kind, out is not None)
        return self.result(p, &totals, kind), written(gradient, out)

    def grad_and_hess(self, y_true, y_pred, sample_weight, out):
        """Gradient and Hessian diagonal of each element's own loss, times the weights."""
        cdef fl_call call
        if not cnp.PyArray_Check(y_pred):
            other = self.elsewhere(y_pred)
            if other is not None:
                return other.grad_and_hess(y_true, y_pred, sample_weight, out)
        cdef Prepared p = self.prepare(&call, y_true, y_pred, sample_weight, None)
        cdef fl_totals totals = fl_totals(0, 0, 0, 0, 0, 0, 0)
        gradient_out, hessian_out = _validate.output_pair(out)
        gradient, hessian = self.place(p, "out[0]", gradient_out), self.place(p, "out[1]", hessian_out)
        p.gradient = self.output(p, &call.gradient, gradient)
        p.hessian = self.output(p, &call.hessian, hessian)
        self.evaluate(p, &totals, NULL, FL_NONE, out is not None)
        return written(gradient, gradient_out), written(hessian, hessian_out)


cdef class Accumulator:
    """The value of a loss over rows that arrive in chunks, from one thread at a time.

    The result has the same bits as one call on all rows, if each chunk but the last has a multiple of
    `block_rows` rows.
    """
    cdef Kernel kernel
    cdef fl_totals totals
    cdef fl_reduction reduction
    cdef bint single, binary, scanned
    cdef readonly bint needs_labels

    def __init__(self, Kernel kernel, int reduction):
        if kernel.kind == PAIRS:
            raise TypeError("the samples of a batch belong together, so the value cannot be added up over chunks")
        self.kernel, self.reduction = kernel, <fl_reduction>reduction
        self.totals = fl_totals(0, 0, 0, 0, 0, 0, 0)
        self.single = self.scanned = False
        self.binary = kernel.sign_labels
        self.needs_labels = kernel.sign_labels

    def scan_labels(self, y_true, sample_weight=None):
        """To be called with every chunk of y_true before the first update, if `needs_labels`.

        Without it the labels of each chunk are told by themselves.
        """
        cdef fl_call call
        self.kernel.prepare(&call, y_true, y_true, sample_weight, None)
        cdef bint binary
        with nogil:
            binary = fl_labels_are_binary(&call)
        self.binary = self.binary and binary
        self.scanned = True

    cdef int evaluate(self, Prepared p, fl_totals *totals, const fl_totals *divisor, fl_reduction reduction,
                      bint keep_outputs) except -1:
        if self.scanned and self.binary:
            map_signs(p.call)
        return self.kernel.evaluate(p, totals, divisor, reduction, keep_outputs, self.scanned)

    def block_rows(self, shape):
        """Rows of y_pred that chunks are to be a multiple of."""
        ndim = len(shape)
        if self.kernel.is_structured():
            return 1
        if ndim < 2:
            return fl_block_rows(1) if self.kernel.is_flat(ndim) else max(shape[0], 1) if ndim else 1
        axes = _validate.normalize_axes(self.kernel.axis, ndim)
        if 0 in axes:
            # The first axis is no batch: there is one chunk.
            return max(shape[0], 1)
        rows = fl_block_rows(int(np.prod([shape[d] for d in axes])))
        inner = int(np.prod([extent for d, extent in enumerate(shape) if d != 0 and d not in axes]))
        return rows // int(np.gcd(rows, inner))

    def update(self, y_true, y_pred, sample_weight=None, losses=None):
        """Adds the rows of a chunk; losses receives their weighted losses."""
        cdef fl_call call
        cdef Prepared p = self.kernel.prepare(&call, y_true, y_pred, sample_weight, None)
        # A chunk that is refused adds nothing.
        cdef fl_totals totals = self.totals
        self.kernel.effective(p, self.reduction)
        if losses is not None:
            self.kernel.add_losses(p)
        self.evaluate(p, &totals, NULL, FL_NONE, False)
        if losses is not None:
            losses[...] = p.losses
        self.totals, self.single = totals, p.single

    def gradient(self, y_true, y_pred, sample_weight=None, out=None):
        """The chunk's part of the gradient of the reduced value, after the last update."""
        cdef fl_call call
        cdef Prepared p = self.kernel.prepare(&call, y_true, y_pred, sample_weight, None)
        cdef fl_totals ignored = fl_totals(0, 0, 0, 0, 0, 0, 0), totals = self.totals
        cdef fl_reduction kind = <fl_reduction>self.kernel.effective(p, self.reduction)
        gradient = self.kernel.place(p, "out", out)
        p.gradient = self.kernel.output(p, &call.gradient, gradient)
        self.evaluate(p, &ignored, &totals, kind, out is not None)
        return written(gradient, out)

    def value(self):
        """The reduced value so far, a float."""
        return fl_reduce(&self.totals, self.kernel.reduction_of(self.single, self.reduction))

    @property
    def count(self):
        """Samples that counted so far."""
        return self.totals.count


# What a loss keeps

@cython.auto_pickle(False)
cdef class Native:
    """Base of the losses that run in C: keeps the kernel that `_kernel()` makes until an attribute changes."""
    cdef Kernel kept
    cdef int code  # of the reduction, plus 1; 0: not looked up yet
    cdef unsigned int changes

    def __setattr__(self, name, value):
        PyObject_GenericSetAttr(self, name, <PyObject *>value)
        self.forget()

    def __delattr__(self, name):
        PyObject_GenericSetAttr(self, name, NULL)
        self.forget()

    cdef void forget(self):
        with cython.critical_section(self):
            self.kept, self.code = None, 0
            self.changes += 1

    cdef Kernel kernel(self):
        cdef Kernel kernel
        cdef unsigned int changes
        with cython.critical_section(self):
            kernel, changes = self.kept, self.changes
        if kernel is None:
            kernel = self._kernel()
            with cython.critical_section(self):
                # Another thread may have set an attribute meanwhile.
                if changes == self.changes:
                    self.kept = kernel
        return kernel

    cdef int reduction_code(self) except -1:
        cdef int code
        cdef unsigned int changes
        with cython.critical_section(self):
            code, changes = self.code, self.changes
        if code == 0:
            code = reductions.code(self.reduction) + 1
            with cython.critical_section(self):
                if changes == self.changes:
                    self.code = code
        return code - 1

    @property
    def _native(self):
        return self.kernel()

    def _call(self, y_true, y_pred, sample_weight=None, mask=None):
        return self.kernel().value(y_true, y_pred, sample_weight, mask, self.reduction_code())

    # Not a Python method of NativeLoss that calls it, for the same reason as there __call__.
    def value_and_grad(self, y_true, y_pred, sample_weight=None, mask=None, out=None):
        """The value, and its gradient with respect to y_pred, in one pass.

        Args:
            y_true, y_pred, sample_weight, mask: As for calling the loss.
            out: None, or an array of y_pred's shape and dtype for the gradient; y_pred itself if it may be
                overwritten.

        Returns:
            ``(value, gradient)``. For ``reduction=None`` the losses of the samples, and the gradient of each.

        Example:
            >>> from fastloss import MeanSquaredError
            >>> value, gradient = MeanSquaredError().value_and_grad([[0.0, 0.0]], [[1.0, 2.0]])
            >>> float(value), gradient.tolist()
            (2.5, [[1.0, 2.0]])
        """
        return self.kernel().value_and_grad(y_true, y_pred, sample_weight, mask, self.reduction_code(), out)

    def _accumulator(self):
        return Accumulator(self.kernel(), self.reduction_code())


@lru_cache(maxsize=128, typed=True)
def _kept(loss_class, *arguments, **keywords):
    return loss_class(*arguments, **keywords)._native


cdef inline bint is_plain(object value):
    kind = type(value)
    return value is None or kind is float or kind is bool or kind is int or kind is str


def per_sample(y_true, y_pred, loss_class, *arguments, **keywords):
    """What the function of a loss returns. Kernels are kept, unless an argument could change."""
    cdef bint plain = True
    for value in arguments:
        plain = plain and is_plain(value)
    for value in keywords.values():
        plain = plain and is_plain(value)
    kernel = _kept(loss_class, *arguments, **keywords) if plain else loss_class(*arguments, **keywords)._native
    return (<Kernel>kernel).value(y_true, y_pred, None, None, FL_NONE)
