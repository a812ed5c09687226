# SPDX-License-Identifier: BSD-3-Clause
"""Every check of what a user passes, and every message, in one place."""

import math
import numbers
import operator
import reprlib
import sys

import numpy as np


class InputError(ValueError):
    """A bad element in an array argument.

    Attributes:
        argument: Name of the argument.
        index: Tuple, the first bad index.
        value: The element there.
    """

    def __init__(self, message, argument, index, value):
        super().__init__(message)
        self.argument, self.index, self.value = argument, index, value

    def __reduce__(self):
        return InputError, (str(self), self.argument, self.index, self.value)


def is_numeric(dtype):
    """Whether the kernels read this dtype."""
    # The 8-bit floats of ml_dtypes have kind "f" too.
    return dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize in (2, 4, 8)) or dtype.name == "bfloat16"


def is_on_device(value):
    """Whether this is an array on a GPU, of whatever library."""
    kind = type(value)
    if issubclass(kind, np.ndarray | np.generic):
        return False
    if hasattr(kind, "__dlpack_device__"):
        # Asked first: types have the other attributes wherever their arrays lie.
        try:
            return int(value.__dlpack_device__()[0]) in (2, 13)
        except Exception:
            # A device that DLPack has no number for
            return False
    return hasattr(kind, "__cuda_ndarray__") or hasattr(value, "__cuda_array_interface__")


def not_on_device(name, value):
    """The error of an array in memory beside one on a GPU."""
    return TypeError(
        f"{name}: {type(value).__name__} in memory beside a y_pred on a GPU, expected an array there: nothing is moved"
    )


def not_supported(name, dtype):
    """The error of a dtype that the kernels do not read."""
    return TypeError(
        f"{name}: dtype {dtype} is not supported; expected bool, an integer, float16, bfloat16, float32 or float64"
    )


def _is_masked(value):
    # A masked array comes from numpy.ma, which is not imported just to ask.
    return "numpy.ma" in sys.modules and isinstance(value, np.ma.MaskedArray)


def as_array(name, value):
    """`value` as an array that the kernels read, without a copy where possible."""
    if value is None:
        raise TypeError(f"{name}: expected an array, got None")
    if is_on_device(value):
        raise TypeError(f"{name}: {type(value).__name__} on a GPU, expected an array in memory: nothing is moved there")
    if _is_masked(value):
        raise TypeError(f"{name}: masked arrays are not supported; pass the data, and mask=~array.mask")
    try:
        array = np.asarray(value)
    except ValueError as error:
        reason = "nested sequences of different lengths" if "inhomogeneous" in str(error) else error
        raise ValueError(f"{name}: not an array of numbers: {reason}") from None
    if not is_numeric(array.dtype):
        if not isinstance(value, np.ndarray):
            refuse_objects(name, value)
        raise not_supported(name, array.dtype)
    return array


def refuse_objects(name, value):
    """Raises for the first object in nested sequences that is not a number, if there is one."""
    # Beside a string NumPy makes strings of numbers.
    array = np.asarray(value, dtype=object)
    if array.ndim == 0:
        raise TypeError(f"{name}: expected an array of numbers, got {type(value).__name__}")
    for index, item in np.ndenumerate(array):
        if not isinstance(item, numbers.Number | np.generic):
            raise TypeError(f"{name}: {reprlib.repr(item)} at index {index}, expected a number")


def integer(name, value):
    """`value` as a Python int; bool is refused."""
    if type(value) is int:
        return value
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None


MOST_THREADS = 4096


def thread_count(name, value):
    """`value` as a number of threads; a string of digits, as from the environment, is taken too."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, str) or not 1 <= integer(name, value) <= MOST_THREADS:
        raise ValueError(f"{name}: expected an integer from 1 to {MOST_THREADS}, got {value!r}")
    return integer(name, value)


def label(name, value):
    """`value` as an integer that a label can be, or None."""
    if value is None:
        return None
    value = integer(name, value)
    # The least int64 stands for what is no label.
    if not -(2**63) < value < 2**63:
        raise ValueError(f"{name}: expected an integer between -2**63 and 2**63, got {value}")
    return value


def _as_float(name, value):
    item = value[()] if isinstance(value, np.ndarray) else value
    known = is_numeric(item.dtype) if isinstance(item, np.generic) else isinstance(item, numbers.Real)
    if not known or isinstance(item, bool | np.bool_):
        raise TypeError(f"{name}: expected a number, got {reprlib.repr(value)}")
    try:
        return float(item)
    except OverflowError:
        return math.inf


def number(name, value, *, low=-math.inf, high=math.inf, open_low=False, open_high=False):
    """`value` as a finite float within bounds."""
    # What most are costs least.
    result = value if type(value) is float else _as_float(name, value)
    below = result <= low if open_low else result < low
    above = result >= high if open_high else result > high
    if not math.isfinite(result) or below or above:
        bounds = [f"{'>' if open_low else '>='} {low:g}"] * math.isfinite(low)
        bounds += [f"{'<' if open_high else '<='} {high:g}"] * math.isfinite(high)
        expected = " ".join(["a finite number", " and ".join(bounds)]).rstrip()
        if len(bounds) == 2 and not open_low and not open_high:
            expected = f"a number from {low:g} to {high:g}"
        raise ValueError(f"{name}: expected {expected}, got {reprlib.repr(value)}")
    return result


def positive(name, value):
    """`value` as a finite float > 0."""
    return number(name, value, low=0, open_low=True)


def fraction(name, value):
    """`value` as a float between 0 and 1, neither included."""
    return number(name, value, low=0, high=1, open_low=True, open_high=True)


def epsilon_number(value):
    """`value` as the bound that probabilities are clipped to."""
    return number("epsilon", value, low=0, high=0.5, open_low=True, open_high=True)


def boolean(name, value):
    """`value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def configuration(cls, value):
    """`value` as a dict of the arguments of a class."""
    if not isinstance(value, dict):
        raise TypeError(f"config: expected a dict of the arguments of {cls.__name__}, got {reprlib.repr(value)}")
    return value


def float_dtype(value):
    """The name of the dtype to compute in, or None; Keras's policies, also as it writes them, count as theirs."""
    names = ("float32", "float64", "float16", "bfloat16")
    if value is None or (isinstance(value, str) and value in names):
        return value
    arguments = value.get("config") if isinstance(value, dict) else None
    name = arguments.get("name") if isinstance(arguments, dict) else value
    try:
        name = name.removeprefix("mixed_") if isinstance(name, str) else name
        # To NumPy None is float64.
        name = name and np.dtype(name).name
    except (TypeError, ValueError, SyntaxError):
        name = None
    if name not in names:
        raise ValueError(f"dtype: expected None or one of {', '.join(map(repr, names))}, got {value!r}")
    return name


# Bounds of y_true and y_pred; NaN is within all of them.
PROBABILITY = (0.0, 1.0)
FINITE = (0.0, float(np.finfo(np.float64).max))
NONNEGATIVE = (0.0, math.inf)
POSITIVE = (float(np.finfo(np.float64).smallest_subnormal), math.inf)


def weights(name, value):
    """`value` as a list of finite floats >= 0, a single one of them, or None."""
    if value is None or (type(value) is float and 0 <= value < math.inf):
        return value
    array = as_array(name, value)
    if array.ndim > 1:
        raise ValueError(f"{name}: shape {array.shape}, expected a number or one for each class")
    result = array.astype(np.float64)
    bad = ~(np.isfinite(result) & (result >= 0))
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        found = float(result[index])
        where = f" at index {index}" if index else ""
        raise InputError(f"{name}: {found!r}{where}, expected a finite number >= 0", name, index, found)
    return result.tolist()


def products(name, value, other_name, other):
    """The products of two lists of weights of the classes."""
    if np.shape(value) != np.shape(other):
        raise ValueError(f"{other_name}: shape {np.shape(other)} differs from {name}'s shape {np.shape(value)}")
    return np.multiply(value, other).tolist()


def align_ranks(y_true, y_pred):
    """Adds or removes a last axis of length 1 where one array has it and the other has not."""
    if y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        if y_true.ndim == 1:
            return y_true.reshape(-1, 1), y_pred
        return y_true, y_pred.reshape(y_pred.shape[:-1])
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        if y_pred.ndim == 1:
            return y_true, y_pred.reshape(-1, 1)
        return y_true.reshape(y_true.shape[:-1]), y_pred
    return y_true, y_pred


def align(y_true, y_pred, axis, sparse):
    """Rank alignment as Keras does it, and the axes of a sample's elements moved last.

    Returns y_true, y_pred, the axes that were moved, or None, and how many belong to a sample.
    """
    given = y_true.shape, y_pred.shape
    if y_pred.ndim == 0:
        y_pred = y_pred.reshape(1)
    if sparse:
        (axis,) = normalize_axes(axis, y_pred.ndim, y_pred.shape)
        expected = y_pred.shape[:axis] + y_pred.shape[axis + 1 :]
        if y_true.ndim == y_pred.ndim and y_true.shape[axis] == 1:
            y_true = y_true.reshape(y_true.shape[:axis] + y_true.shape[axis + 1 :])
        elif y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
            y_true = y_true.reshape(y_true.shape[:-1])
        if y_true.shape != expected:
            raise ValueError(
                f"y_true: shape {given[0]} does not fit y_pred of shape {given[1]}: "
                f"expected shape {expected}, or a class axis of length 1"
            )
    else:
        if y_true.ndim == 0:
            y_true = y_true.reshape(1)
        y_true, y_pred = align_ranks(y_true, y_pred)
        if y_true.shape != y_pred.shape:
            raise ValueError(
                f"y_true: shape {given[0]} differs from y_pred's shape {given[1]}; nothing is broadcast"
            )
    axes = normalize_axes(axis, y_pred.ndim, y_pred.shape)
    last = tuple(range(y_pred.ndim - len(axes), y_pred.ndim))
    if axes == last:
        return y_true, y_pred, None, len(axes)
    return y_true if sparse else move_last(y_true, axes), move_last(y_pred, axes), axes, len(axes)


def not_two_parameters(y_true, y_pred):
    """The error of a y_pred that does not hold the two parameters of a distribution."""
    return ValueError(
        f"y_pred: shape {y_pred.shape} does not fit y_true of shape {y_true.shape}: the last axis holds the two "
        "parameters of a distribution, so its length is 2"
    )


def axes(name, value):
    """`value` as an axis, a tuple of axes, or None for all."""
    if value is None:
        return None
    if isinstance(value, tuple | list):
        return tuple(integer(name, axis) for axis in value)
    return integer(name, value)


def normalize_axes(axis, ndim, shape=None):
    """The axes counted from the front, in order."""
    if axis is None:
        return tuple(range(ndim))
    if axis == -1 and ndim > 0:
        return (ndim - 1,)
    given = axis if isinstance(axis, tuple) else (axis,)
    for value in given:
        if not -ndim <= value < ndim:
            what = f"{ndim} dimensions" if shape is None else f"shape {shape}"
            raise ValueError(f"axis: {value} is out of range for y_pred of {what}")
    found = tuple(sorted(value % ndim for value in given))
    if len(set(found)) < len(found):
        raise ValueError(f"axis: {axis} names an axis twice")
    return found


def move_last(array, axes):
    """The view with these axes last."""
    return array.transpose(_order(array.ndim, axes))


def move_back(array, axes):
    """The inverse of `move_last`."""
    order = _order(array.ndim, axes)
    return array.transpose([order.index(d) for d in range(array.ndim)])


def _order(ndim, axes):
    """The dimensions with these axes last."""
    return [d for d in range(ndim) if d not in axes] + list(axes)


def per_sample(name, value, shape):
    """sample_weight or mask as a view of the shape of the per-sample losses."""
    array = as_array(name, value)
    if name == "mask" and array.dtype != np.bool_:
        bad = (array != 0) & (array != 1)
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            item = array[index].item()
            raise InputError(f"mask: {item!r} at index {index}, expected True, False, 0 or 1", "mask", index, item)
        array = array != 0
    given = array.shape
    if array.ndim == len(shape) + 1 and array.shape[-1] == 1:
        array = array.reshape(given[:-1])
    if array.ndim == 1 and len(shape) > 1 and array.shape[0] == shape[0]:
        array = array.reshape(array.shape + (1,) * (len(shape) - 1))
    if array.shape == shape:
        return array
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        batch = f"({shape[0]},), " if shape else ""
        raise ValueError(
            f"{name}: shape {given} does not fit the per-sample losses of shape {shape}; expected a scalar, "
            f"{batch}or a shape that broadcasts to {shape}"
        ) from None


def _index(place, shape):
    return tuple(int(i) for i in np.unravel_index(place, shape)) if shape else ()


def bad_label(y_true, row, shape, classes):
    """The error of a label that is no class."""
    index = _index(row, shape)
    value = y_true[index].item() if y_true.dtype.kind != "V" else float(y_true[index])
    return bad_label_at(value, row, shape, classes)


def bad_label_at(value, row, shape, classes):
    """The same of a label that was read before."""
    index = _index(row, shape)
    wanted = f"an integer from 0 to {classes - 1}" if classes else "no label: y_pred has no classes"
    return InputError(f"y_true: label {value!r} at index {index}, expected {wanted}", "y_true", index, value)


def out_of_bounds(name, array, place, axes, low, high):
    """The error of an element out of bounds: the one at `place` of the array with these axes moved last."""
    return out_of_bounds_at(name, array[np.unravel_index(place, array.shape)], place, array.shape, axes, low, high)


def out_of_bounds_at(name, element, place, shape, axes, low, high):
    """The same of an element that was read before."""
    position = np.unravel_index(place, shape)
    value = float(element)
    order = _order(len(shape), axes or ())
    index = tuple(int(position[order.index(d)]) for d in range(len(shape)))
    if low > 0:
        wanted = "a number > 0"
    elif high < FINITE[1]:
        wanted = f"a number from {low:g} to {high:g}"
    else:
        wanted = f"a {'finite ' if high == FINITE[1] else ''}number >= {low:g}"
    return InputError(f"{name}: {element} at index {index}, expected {wanted}", name, index, value)


def no_class(ignore_class, classes):
    """The error of an ignored class that dense labels do not have."""
    return ValueError(f"ignore_class: {ignore_class} is no class of y_true, which has {classes} of them")


def wrong_count(name, count, columns):
    """The error of weights of another number than the classes'."""
    return ValueError(f"{name}: {count} weight{'s' * (count != 1)} for {columns} classes")


def bad_weight(sample_weight, row, shape):
    """The error of a weight that is not a number."""
    return bad_weight_at(float(sample_weight[_index(row, shape)]), row, shape)


def bad_weight_at(value, row, shape):
    """The same of a weight that was read before."""
    index = _index(row, shape)
    return InputError(f"sample_weight: {value!r} at index {index}, expected a number", "sample_weight", index, value)


def bad_mask_at(row, shape):
    """The error of a number in a mask on a GPU that is neither 0 nor 1."""
    index = _index(row, shape)
    return InputError(f"mask: another number at index {index}, expected True, False, 0 or 1", "mask", index, math.nan)


def sequences(y_true, y_pred):
    """Shapes of label sequences and the logits of their steps."""
    if y_true.ndim != 2 or y_pred.ndim != 3:
        raise ValueError(
            f"y_true: shape {y_true.shape} and y_pred: shape {y_pred.shape}, expected (batch, labels) and "
            "(batch, time, classes)"
        )
    if y_true.shape[0] != y_pred.shape[0]:
        raise ValueError(
            f"y_true: shape {y_true.shape} does not fit y_pred of shape {y_pred.shape}: {y_true.shape[0]} label "
            f"sequences for a batch of {y_pred.shape[0]}"
        )
    if y_pred.shape[2] == 0:
        raise ValueError(f"y_pred: shape {y_pred.shape} has no classes, expected at least the blank")


def bad_padding(y_true, element):
    """The error of a label after the padding of its row."""
    index = _index(element, y_true.shape)
    return bad_padding_at(y_true[index].item() if y_true.dtype.kind != "V" else float(y_true[index]), element, y_true.shape)


def bad_padding_at(value, element, shape):
    """The same of a label that was read before."""
    index = _index(element, shape)
    return InputError(
        f"y_true: label {value!r} at index {index} follows a 0, expected 0: padding is at the end of a row",
        "y_true",
        index,
        value,
    )


def group_labels(name, labels, of, embeddings):
    """One label for each embedding, as a 1-D view; `of` names the embeddings."""
    fits = embeddings.ndim == 2 and labels.shape in ((embeddings.shape[0],), (embeddings.shape[0], 1))
    if not fits:
        raise ValueError(
            f"{name}: shape {labels.shape} does not fit {of} of shape {embeddings.shape}, expected labels "
            "(batch,) or (batch, 1) and embeddings (batch, dimensions)"
        )
    return labels.reshape(-1)


def references(labels, embeddings, y_pred, remove_diagonal):
    """The labels and embeddings that those of y_pred are compared with."""
    if labels is None or embeddings is None:
        missing = "ref_labels" if labels is None else "ref_embeddings"
        raise ValueError(f"{missing}: expected an array; ref_labels and ref_embeddings belong together")
    labels, embeddings = as_array("ref_labels", labels), as_array("ref_embeddings", embeddings)
    labels = group_labels("ref_labels", labels, "ref_embeddings", embeddings)
    if embeddings.shape[1] != y_pred.shape[1]:
        raise ValueError(
            f"ref_embeddings: shape {embeddings.shape} does not fit y_pred of shape {y_pred.shape}: "
            "the dimensions of the embeddings differ"
        )
    if remove_diagonal and embeddings.shape != y_pred.shape:
        raise ValueError(
            f"remove_diagonal: row i of ref_embeddings, of shape {embeddings.shape}, is not row i of y_pred, of "
            f"shape {y_pred.shape}; pass remove_diagonal=False"
        )
    return labels, embeddings


def bad_group(name, labels, row):
    """The error of a label that is no integer of 64 bits."""
    return bad_group_at(name, labels[row].item() if labels.dtype.kind != "V" else float(labels[row]), row)


def bad_group_at(name, value, row):
    """The same of a label that was read before."""
    return InputError(
        f"{name}: label {value!r} at index {(row,)}, expected an integer of 64 bits", name, (row,), value
    )


def share_memory(a, b):
    """Whether two arrays have an element in common; True if that is too hard to tell."""
    try:
        return np.shares_memory(a, b, max_work=10_000)
    except np.exceptions.TooHardError:
        return True


def overlaps_itself(array):
    """Whether strides are too short for the elements between them."""
    span = array.itemsize
    for stride, extent in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < span:
            return array.size > 0
        span += stride * (extent - 1)
    return False


def output(name, out, y_pred, dtype, inputs):
    """Where to write a derivative: `out`, or a new array if that is None or overlaps an input."""
    if out is None:
        return np.empty_like(y_pred, dtype=dtype, subok=False)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(out).__name__}")
    if out.shape != y_pred.shape:
        raise ValueError(f"{name}: shape {out.shape} differs from y_pred's shape {y_pred.shape}")
    if out.dtype != dtype and out.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"{name}: dtype {out.dtype}, expected {dtype}")
    if not out.flags.writeable:
        raise ValueError(f"{name}: the array is read-only")
    if not out.flags.forc and overlaps_itself(out):
        raise ValueError(f"{name}: elements of the array overlap each other")
    in_place = out is y_pred or (
        out.__array_interface__["data"][0] == y_pred.__array_interface__["data"][0]
        and out.strides == y_pred.strides
        and out.dtype == y_pred.dtype
    )
    overlaps = (not in_place and share_memory(out, y_pred)) or any(
        other is not None and share_memory(out, other) for other in inputs
    )
    return np.empty_like(y_pred, dtype=dtype, subok=False) if overlaps else out


def output_pair(out):
    """The two arrays of grad_and_hess."""
    if out is None:
        return None, None
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise TypeError(f"out: expected a pair (gradient, hessian), got {type(out).__name__}")
    gradient, hessian = out
    arrays = isinstance(gradient, np.ndarray) and isinstance(hessian, np.ndarray)
    if arrays and share_memory(gradient, hessian):
        raise ValueError("out: gradient and hessian share memory")
    return gradient, hessian
