# SPDX-License-Identifier: BSD-3-Clause
"""A call on a device: what `_kernels.Kernel` is for arrays in memory. Names no loss.

Shapes are checked as there; whatever is not contiguous is gathered first, so that all kernels see rows of columns. Then
rows are weighed if they have weights, the kernel of the loss's kind runs, and the value is finished, each step on the
caller's stream. Nothing waits for the device.
"""

import itertools
import math
import threading
from collections import deque
from types import SimpleNamespace

import numpy as np

from fastloss import _validate
from fastloss.cuda import (
    alignment,
    arrays,
    dense,
    launch,
    numerics,
    pairs,
    pointwise,
    rowwise,
    single,
    sparse_softmax,
    totals,
)
from fastloss.cuda._numba import FLOATS, SIMULATED, STORAGES, DeviceArray
from fastloss.cuda.elements import SCALE_FREE

SUM_OVER_BATCH_SIZE, SUM, MEAN_WITH_SAMPLE_WEIGHT, NONE = range(4)

POINTWISE = ("POINTWISE_MEAN", "POWER_MEAN", "POINTWISE_SUM", "WEIGHTED_MEAN")
# Kinds whose samples are more than a row.
STRUCTURED = ("ALIGNMENT", "PAIRS")
SPARSE = ("SPARSE_SOFTMAX", "SPARSE_NORMALIZE", "SPARSE_PROBABILITY")

# Kinds that compute in float64 whatever the dtype.
IN_FLOAT64 = ("ROW", "ROW_MAXIMUM", "SPARSE_PROBABILITY", "ALIGNMENT", "PAIRS")
# Modules of their kernels
FLOAT64_MODULES = ("rowwise", "single", "alignment", "pairs")

# Blocks at most, whose sums the last step adds up.
BLOCKS = 4096

# Threads of a row or a block at most: so many registers are left to each that none are spilled.
THREADS = 512

# Rows that are too few for the processors, and columns of a part of them.
FEW_ROWS, PART = (3, 8) if SIMULATED else (128, 16384)

# Elements of a 16-byte load.
WIDTHS = {"float64": 2, "float32": 4, "float16": 8, "bfloat16": 8}

# Weights of classes that were copied to devices: (bytes, device, library) -> Array. Functions make a kernel for each call.
MOST_WEIGHTS = 64
_weights_on_devices = {}

_checks_labels = True
_calls = itertools.count(1)
# What the errors of the last calls say: number of the call -> the arrays and their meaning.
_recent = deque(maxlen=1024)
_recent_lock = threading.Lock()


def set_check_labels(enabled):
    """Whether labels, weights and elements out of range are told of; else they make the value NaN and nothing more."""
    global _checks_labels
    _checks_labels = _validate.boolean("enabled", enabled)


def check(values):
    """See `fastloss.cuda.check`."""
    if values:
        found = [arrays.array("array", value) for value in values]
        for array in found:
            launch.device(array.device).synchronize(arrays.stream_of(array))
        devices = {launch.device(array.device) for array in found}
    else:
        devices = launch.devices_in_use()
        for device in devices:
            device.synchronize(None)
    for device in devices:
        raise_pending(device)


def raise_pending(device):
    """The error of an earlier call, if the device has found one."""
    words = device.words
    if words[0] == 0:
        return
    with _recent_lock:
        words[0] = 0
        slots = words[1:].reshape(totals.SLOTS, totals.SLOT)
        found = np.flatnonzero(slots[:, 0])
        if found.size == 0:
            return
        first = found[np.argmin(slots[found, 1])]
        wrong, number, place, bits, label = (int(word) for word in slots[first])
        slots[first, 0] = 0
        # Others are for those who ask next.
        if found.size > 1:
            words[0] = 1
        told = next((told for known, told in _recent if known == number), None)
    value = float(np.int64(bits).view(np.float64))
    if told is None:
        raise ValueError("an earlier call on the GPU had a label, a weight or an element out of range")
    raise told.error(wrong, place, value, label)


class _Result(DeviceArray):
    """An array of Numba that raises the error of its call when it is read."""

    def copy_to_host(self, *arguments, **keywords):
        host = super().copy_to_host(*arguments, **keywords)
        for device in launch.devices_in_use():
            raise_pending(device)
        return host


def _readable(array):
    """What the caller gets for a value: Numba's arrays let themselves be read by Python alone."""
    if isinstance(array, DeviceArray):
        array.__class__ = _Result
    return array


class _Told:
    """What the error of a call says."""

    def __init__(self, p, kind, bounds):
        # Shapes alone: the arrays may be gone.
        self.shape, self.classes, self.axes, self.bounds = p.shape, p.columns, p.axes, bounds
        self.true_shape, self.pred_shape = p.y_true_view.shape, p.y_pred_view.shape
        self.true_storage, self.pred_storage = p.y_true.storage, p.y_pred.storage
        self.kind, self.rows = kind, p.rows

    def error(self, wrong, place, value, label):
        """The error that arrays in memory would have given."""
        if wrong in (numerics.BAD_LABEL, numerics.BAD_PADDING):
            if self.true_storage in FLOATS:
                label = value
            elif label == numerics.NO_LABEL:
                label = int(value)
            if wrong == numerics.BAD_PADDING:
                return _validate.bad_padding_at(label, place, self.true_shape)
            if self.kind == "PAIRS":
                return _validate.bad_group_at("y_true", label, place)
            shape = self.true_shape if self.kind == "ALIGNMENT" else self.shape
            return _validate.bad_label_at(label, place, shape, self.classes)
        if wrong == numerics.BAD_REFERENCE:
            # The label itself is not kept.
            return _validate.bad_group_at("ref_labels", math.nan, place - self.rows)
        if wrong == numerics.BAD_WEIGHT:
            return _validate.bad_weight_at(value, place, self.shape)
        if wrong == numerics.BAD_MASK:
            return _validate.bad_mask_at(place, self.shape)
        if wrong == numerics.BAD_TRUE:
            name, shape, storage, bounds = "y_true", self.true_shape, self.true_storage, self.bounds[0]
        else:
            name, shape, storage, bounds = "y_pred", self.pred_shape, self.pred_storage, self.bounds[1]
        shown = np.float32(value) if storage == "float32" else np.float16(value) if storage == "float16" else value
        return _validate.out_of_bounds_at(name, shown, place, shape, self.axes, *bounds)


class _Scratch:
    """Memory for what is between the kernels of a call, in one block: what is wanted is written down, then allocated."""

    # Every array begins at a multiple of this.
    UNIT = 256

    def __init__(self):
        self.wanted, self.size = [], 0

    def memory(self, storage, count):
        """Memory for `count` elements; its address is not known before `allocate`."""
        memory = launch.Memory(self.size, max(count, 1))
        self.wanted.append(memory)
        self.size += -(-memory.count * STORAGES[storage].itemsize // self.UNIT) * self.UNIT
        return memory

    def allocate(self, like, stream):
        """Gives all memory its address."""
        if not self.wanted:
            return
        address, owner = arrays.scratch(self.size + self.UNIT, like, stream)
        address += -address % self.UNIT
        for memory in self.wanted:
            memory.address, memory.owner = address + memory.address, owner


def _key(**spec):
    return tuple(sorted(spec.items()))


def _power_of_two(n):
    """The largest that is not larger than n, at least 1."""
    return 1 << max(int(n).bit_length() - 1, 0)


class DeviceKernel:
    """A native loss with its parameters, for arrays on a device.

    Args:
        about: What `_kernels.Kernel.describe` returns.
    """

    def __init__(self, about):
        self.about, self.kind, self.axis = about, about["kind"], about["axis"]
        self.pointwise = self.kind in POINTWISE
        self.sparse = about["labels"] or self.kind in SPARSE or self.kind == "LOCATION_SCALE"
        weights = about["class_weight"]
        self.class_weight = None if weights is None else np.asarray(weights, np.float64)

    # Arguments

    def prepare(self, y_true, y_pred, sample_weight, mask):
        """Checks shapes and finds rows and columns, as `_kernels.Kernel.prepare` does."""
        p = SimpleNamespace()
        p.y_pred = arrays.array("y_pred", y_pred)
        p.y_true = arrays.array("y_true", y_true, p.y_pred)
        p.device = launch.device(p.y_pred.device)
        raise_pending(p.device)
        p.stream, p.scratch = arrays.stream_of(p.y_pred), _Scratch()
        p.launches, p.reference_labels, p.references = [], None, None
        if self.kind in STRUCTURED:
            self.prepare_structured(p)
        else:
            self.prepare_rows(p)
        p.gradient_storage = p.y_pred.storage if p.y_pred.storage in FLOATS else "float32"
        p.real = self.about["dtype"] or ("float64" if p.y_pred.storage == "float64" else "float32")
        if p.real not in ("float32", "float64"):
            p.real = "float32"
        # Sums of kinds that are few numbers to a row are in float64 whatever the dtype.
        p.sums = "float64" if self.kind in IN_FLOAT64 else p.real
        p.sample_weight = self.per_row(p, "sample_weight", sample_weight)
        p.mask = self.per_row(p, "mask", mask)
        return p

    def prepare_structured(self, p):
        """Of samples that are more than a row."""
        p.y_true_view, p.y_pred_view, p.axes, p.single = p.y_true.view, p.y_pred.view, None, False
        p.reference_labels, p.references = p.y_true, p.y_pred
        if self.kind == "ALIGNMENT":
            _validate.sequences(p.y_true_view, p.y_pred_view)
        else:
            p.y_true_view = _validate.group_labels("y_true", p.y_true_view, "y_pred", p.y_pred_view)
        p.reference_view, p.reference_label_view = p.y_pred_view, p.y_true_view
        if self.about["references"] is not None:
            names = ("ref_labels", "ref_embeddings")
            given = zip(names, self.about["references"], strict=True)
            found = [x if x is None else arrays.array(name, x, p.y_pred) for name, x in given]
            p.reference_label_view, p.reference_view = _validate.references(
                *(x if x is None else x.view for x in found), p.y_pred_view, self.about["parameters"][2] != 0
            )
            p.reference_labels, p.references = found
        p.outer, p.inner = 1, p.y_pred_view.ndim - 1
        p.shape, p.rows, p.columns = p.y_pred_view.shape[:1], p.y_pred_view.shape[0], p.y_pred_view.shape[-1]

    def prepare_rows(self, p):
        """Of rows of elements or classes."""
        true_view, pred_view = p.y_true.view, p.y_pred.view
        last = self.axis == -1
        p.axes = None
        as_given = (last or self.axis is None) and pred_view.ndim > 0
        if as_given and true_view.shape == pred_view.shape[: pred_view.ndim - self.sparse]:
            p.inner = 1 if last else pred_view.ndim
        else:
            true_view, pred_view, p.axes, p.inner = _validate.align(true_view, pred_view, self.axis, self.sparse)
        if self.kind == "LOCATION_SCALE" and pred_view.shape[-1] != 2:
            raise _validate.not_two_parameters(p.y_true.view, p.y_pred.view)
        several = self.class_weight is not None and self.class_weight.size > 1
        p.flat = self.pointwise and not several and (self.axis is None or pred_view.ndim == 1)
        p.single = p.flat
        if p.flat:
            p.inner = 0
        p.outer = pred_view.ndim - p.inner
        p.shape = pred_view.shape[: p.outer]
        p.rows, p.columns = math.prod(p.shape), math.prod(pred_view.shape[p.outer :])
        p.y_true_view, p.y_pred_view = true_view, pred_view
        if self.about["ignore_class"] is not None and not self.sparse and not 0 <= self.about["ignore_class"] < p.columns:
            raise _validate.no_class(self.about["ignore_class"], p.columns)
        if self.class_weight is not None:
            count = self.class_weight.size
            if count not in (1, p.columns) or (count == 1 != p.columns and self.kind != "WEIGHTED_MEAN"):
                raise _validate.wrong_count(self.about["weight_name"], count, p.columns)

    def per_row(self, p, name, given):
        """A weight or mask of the samples: None, a number, or an Array with a view of the rows' shape."""
        if given is None:
            return None
        if isinstance(given, np.generic | int | float | bool) or (isinstance(given, np.ndarray) and given.ndim == 0):
            value = _validate.per_sample(name, given, ())
            return float(value[()])
        found = arrays.array(name, given, p.y_pred)
        shape = () if self.axis is None else p.shape
        p.single = p.single and (self.axis is None or found.view.ndim == 0)
        view = found.view
        if name == "mask":
            # Booleans are what they may be: their values are not looked at.
            view = arrays.described(view, view.shape, view.strides, np.dtype(np.bool_))
        view = _validate.per_sample(name, view, shape)
        strides = (0,) * p.outer if self.axis is None else view.strides
        view = arrays.described(view, p.shape, strides, STORAGES[found.storage])
        return arrays.Array(given, found.library, found.storage, view, found.owner, found.device)

    def effective(self, p, reduction):
        """The reduction over rows, and whether weights other than 0 count as 1; see `_kernels.Kernel.effective`."""
        if not p.single:
            return reduction, False
        if self.kind == "POINTWISE_SUM":
            return SUM, reduction == MEAN_WITH_SAMPLE_WEIGHT and p.sample_weight is not None
        return (reduction if reduction == MEAN_WITH_SAMPLE_WEIGHT else SUM_OVER_BATCH_SIZE), False

    # Steps

    def launch(self, p, make, spec, threads, grid, block, shared, arguments):
        """Keeps a kernel to be launched when the memory between kernels is known; threads: the most of a block."""
        p.launches.append((make, spec, threads, max(grid, 1), block, shared, arguments))

    def by_thread(self, p, make, spec, count, arguments):
        """Launches a kernel whose threads share `count` things; returns the number of blocks."""
        grid = self.blocks(p, count)
        self.launch(p, make, spec, 256, grid, (self.threads(p), 1), 0, arguments)
        return grid

    def threads(self, p):
        """Threads of a block where each is by itself."""
        return p.device.threads or 256

    def blocks(self, p, count):
        """Blocks for so many threads."""
        return max(1, min(-(-count // self.threads(p)), 4 if SIMULATED else BLOCKS))

    def contiguous(self, p, view, owner, storage):
        """The memory of a view, in C order: its own, or that of a copy."""
        memory, first = arrays.memory_of(view, owner)
        if view.flags.c_contiguous or view.size == 0:
            return launch.Memory(memory.address + first * view.itemsize, view.size, owner)
        copy = p.scratch.memory(storage, view.size)
        self.gather(p, view, owner, copy, False)
        return copy

    def gather(self, p, view, owner, together, scatter):
        """Copies the elements of a view to contiguous memory, or back."""
        memory, first = arrays.memory_of(view, owner)
        shape, strides = _joined_dimensions(view)
        if len(shape) > totals.DIMENSIONS:
            raise ValueError(f"y_pred: shape {view.shape}, strides {view.strides}: more than {totals.DIMENSIONS} runs")
        spec = _key(storage=f"uint{8 * view.itemsize}", scatter=scatter, dimensions=max(len(shape), 1))
        shape += (1,) * (totals.DIMENSIONS - len(shape))
        strides += (0,) * (totals.DIMENSIONS - len(strides))
        arguments = [memory, together, view.size, first, *shape[1:], *strides]
        self.by_thread(p, totals.gather, spec, view.size, arguments)

    def weigh(self, p, reduction, unit):
        """Weights of the rows on the device, or None if all count alike; p.weighed: what the reduction divides by."""
        ignore_class = self.about["ignore_class"]
        p.weighed = None
        if p.sample_weight is None and p.mask is None and ignore_class is None:
            return None
        by_number = isinstance(p.sample_weight, float)
        scalar = p.sample_weight if by_number else 1.0
        masked = isinstance(p.mask, float)
        weight = None if by_number or p.sample_weight is None else p.sample_weight
        mask = None if masked or p.mask is None else p.mask
        has_labels = self.about["labels"] or self.kind in SPARSE
        ignores = None if ignore_class is None else "label" if self.sparse else "largest"
        spec = _key(
            sample_weight=weight and weight.storage, mask=mask and mask.storage,
            y_true=p.y_true.storage if ignores or has_labels else None, ignores=ignores, unit=unit,
            counts=not (masked and p.mask == 0), labels=has_labels, flags=self.kind == "PAIRS",
        )  # fmt: skip
        weights = p.scratch.memory("float64", p.rows)
        p.flags = p.scratch.memory("float64", p.rows) if self.kind == "PAIRS" else launch.NOTHING
        blocks = self.blocks(p, p.rows)
        partials, counts = p.scratch.memory("float64", 2 * blocks), p.scratch.memory("float64", blocks)
        places = p.scratch.memory("int64", blocks)
        memory = [
            launch.NOTHING if x is None else self.contiguous(p, x.view, x.owner, x.storage) for x in (weight, mask)
        ]
        self.launch(
            p, totals.weigh, spec, 256, blocks, (self.threads(p), 1), 0,
            [*memory, p.true_memory, weights, p.flags, p.rows, p.columns, ignore_class or 0, scalar, partials, counts,
             places],
        )  # fmt: skip
        p.weighed = self.divide(p, reduction, partials, counts, places, blocks)
        return weights

    def divide(self, p, reduction, partials, counts, places, blocks):
        """What the reduction divides by, and the first row that is wrong, on the device."""
        by = {SUM_OVER_BATCH_SIZE: "count", MEAN_WITH_SAMPLE_WEIGHT: "weight"}.get(reduction)
        divisors, bad = p.scratch.memory("float64", 2), p.scratch.memory("int64", 1)
        self.launch(
            p, totals.divide, _key(by=by), 256, 1, (self.threads(p), 1), 0,
            [partials, counts, places, blocks, divisors, bad],
        )  # fmt: skip
        return divisors, bad

    def class_weights(self, p):
        """Weights of the classes on the device; they do not change."""
        if self.class_weight is None:
            return launch.NOTHING
        key = self.class_weight.tobytes(), p.y_pred.device, p.y_pred.library
        found = _weights_on_devices.get(key)
        if found is None:
            found = arrays.filled(self.class_weight, p.y_pred)
            if len(_weights_on_devices) >= MOST_WEIGHTS:
                _weights_on_devices.clear()
            _weights_on_devices[key] = found
        return arrays.memory_of(found.view, found.owner)[0]

    # Calls

    def value(self, y_true, y_pred, sample_weight, mask, reduction):
        """See `_kernels.Kernel.value`."""
        return self.run(self.prepare(y_true, y_pred, sample_weight, mask), reduction, [])

    def value_and_grad(self, y_true, y_pred, sample_weight, mask, reduction, out):
        """See `_kernels.Kernel.value_and_grad`."""
        p = self.prepare(y_true, y_pred, sample_weight, mask)
        place = self.place(p, "out", out)
        value = self.run(p, reduction, [place])
        return value, place.result

    def grad_and_hess(self, y_true, y_pred, sample_weight, out):
        """See `_kernels.Kernel.grad_and_hess`."""
        p = self.prepare(y_true, y_pred, sample_weight, None)
        given = (None, None) if out is None else out
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise TypeError(f"out: expected a pair (gradient, hessian), got {type(out).__name__}")
        places = [self.place(p, f"out[{k}]", array) for k, array in enumerate(given)]
        if out is not None and all(x is not None for x in given) and _validate.share_memory(*(x.array.view for x in places)):
            raise ValueError("out: gradient and hessian share memory")
        self.run(p, NONE, places, derivatives_only=True)
        return tuple(place.result for place in places)

    def place(self, p, name, out):
        """Where to write a derivative."""
        storage = p.gradient_storage
        if out is None:
            array = arrays.empty(p.y_pred.view.shape, storage, p.y_pred)
            return _Place(array, array.given, True)
        if not arrays.is_array(out):
            raise TypeError(f"{name}: expected an array on the GPU, got {type(out).__name__}")
        array = arrays.array(name, out, p.y_pred)
        if array.view.shape != p.y_pred.view.shape:
            raise ValueError(f"{name}: shape {array.view.shape} differs from y_pred's shape {p.y_pred.view.shape}")
        if array.storage != storage:
            raise TypeError(f"{name}: dtype {array.storage}, expected {storage}")
        if not array.writeable:
            raise ValueError(f"{name}: the array is read-only")
        if not array.view.flags.forc and _validate.overlaps_itself(array.view):
            raise ValueError(f"{name}: elements of the array overlap each other")
        view, pred = array.view, p.y_pred.view
        in_place = view.__array_interface__["data"] == pred.__array_interface__["data"] and view.strides == pred.strides
        others = [p.y_true.view, *(x.view for x in (p.sample_weight, p.mask) if isinstance(x, arrays.Array))]
        # The value of an element out of bounds is read for its error after the kernels have written.
        in_place = in_place and self.about["pred_bounds"] == (-math.inf, math.inf)
        apart = all(not _validate.share_memory(view, other) for other in ([] if in_place else [pred]) + others)
        return _Place(array, out, apart)

    def run(self, p, reduction, places, derivatives_only=False):
        """Launches the kernels of a call; returns the value, or the losses."""
        kind, unit = self.effective(p, reduction)
        if derivatives_only:
            kind = NONE
        p.true_memory = self.contiguous(p, p.y_true_view, p.y_true.owner, p.y_true.storage)
        p.y_pred_memory = self.contiguous(p, p.y_pred_view, p.y_pred.owner, p.y_pred.storage)
        outputs = [self.output(p, place) for place in places]
        weights = self.weigh(p, kind, unit)
        value = None if kind == NONE else arrays.empty((), p.real, p.y_pred)
        losses = arrays.empty(p.shape, p.real, p.y_pred) if kind == NONE and not derivatives_only else None
        runner = _RUNNERS[self.kind]
        loss_memory = launch.NOTHING if losses is None else arrays.memory_of(losses.view, losses.owner)[0]
        if p.rows == 0 and losses is not None:
            return losses.given
        partials, bad_places, blocks, divisor = runner(self, p, kind, weights, outputs, losses is not None, loss_memory)
        if value is not None or _checks_labels:
            self.finish(p, kind, partials, bad_places, blocks, divisor, value)
        # What was wrong has been read: the derivative may lie where it was.
        for place, output in zip(places, outputs, strict=True):
            self.written(p, place, output)
        p.scratch.allocate(p.y_pred, p.stream)
        for make, spec, threads, grid, block, shared, arguments in p.launches:
            p.device.launch(make, spec, threads, grid, block, shared, p.stream, arguments)
        # Numba, CuPy and PyTorch wait, or reuse memory in the order of the stream.
        given = (p.y_true, p.y_pred, p.sample_weight, p.mask, p.reference_labels, p.references, *(x.array for x in places))
        foreign = [x.owner for x in given if isinstance(x, arrays.Array) and x.library == "other"]
        if foreign:
            p.device.hold(foreign, p.stream)
        return None if derivatives_only else _readable((losses if value is None else value).given)

    def output(self, p, place):
        """The memory that kernels write a derivative to: the array's own if it is contiguous as they see it."""
        view = place.array.view
        aligned = p.y_pred_view if p.axes is None else _validate.move_back(p.y_pred_view, p.axes)
        if view.ndim != p.y_pred_view.ndim:
            # Axes of extent 1 alone come or go, so that this is a view.
            view = view.reshape(aligned.shape)
        if p.axes is not None:
            view = _validate.move_last(view, p.axes)
        place.view = view
        if place.apart and (view.flags.c_contiguous or view.size == 0):
            memory, first = arrays.memory_of(view, place.array.owner)
            return launch.Memory(memory.address + first * view.itemsize, view.size, place.array.owner)
        return p.scratch.memory(place.array.storage, view.size)

    def written(self, p, place, output):
        """Copies a derivative to where it belongs, if it was written elsewhere."""
        own, first = arrays.memory_of(place.view, place.array.owner)
        if place.view.size and output.address != own.address + first * place.view.itemsize:
            self.gather(p, place.view, place.array.owner, output, True)

    def finish(self, p, reduction, partials, bad_places, blocks, divisor, value):
        """The value, and the error word."""
        number = next(_calls)
        about = self.about
        with _recent_lock:
            _recent.append(
                (number, _Told(p, self.kind, (about["true_bounds"], about["pred_bounds"])))
            )
        weighed = p.weighed is not None
        spec = _key(
            real=p.real, sums=p.sums, y_true=p.y_true.storage, y_pred=p.y_pred.storage, weighed=weighed,
            divided=reduction in (SUM_OVER_BATCH_SIZE, MEAN_WITH_SAMPLE_WEIGHT),
        )  # fmt: skip
        divisors, bad = p.weighed if weighed else (launch.NOTHING, launch.NOTHING)
        if value is None:
            value_memory = p.scratch.memory(p.real, 1)
        else:
            value_memory = arrays.memory_of(value.view, value.owner)[0]
        words = p.device.words_memory if _checks_labels else p.scratch.memory("int64", totals.WORDS)
        self.launch(
            p, totals.finish, spec, 256, 1, (self.threads(p), 1), 0,
            [partials, bad_places, blocks, divisors, divisor, bad, p.true_memory, p.y_pred_memory, number, value_memory,
             words],
        )  # fmt: skip

    # Kinds

    def factor(self, p, reduction, per_row):
        """What derivatives are divided by, unless rows are weighed: there the device knows, but for `per_row`."""
        if p.weighed is not None or reduction not in (SUM_OVER_BATCH_SIZE, MEAN_WITH_SAMPLE_WEIGHT):
            return 1.0 / per_row
        return 0.0 if p.rows == 0 else 1.0 / (p.rows * per_row)

    def divisor(self, p, reduction, per_row=1):
        """What the sum over blocks is divided by, unless rows are weighed: there the device knows, but for `per_row`."""
        if p.weighed is not None or reduction not in (SUM_OVER_BATCH_SIZE, MEAN_WITH_SAMPLE_WEIGHT):
            return float(per_row)
        return float(p.rows * per_row)

    def shape_of_rows(self, p, width, most):
        """Threads of a row, rows of a block, blocks: a thread has some 4 vectors, or few elements of short rows."""
        if SIMULATED:
            # Both ways: several rows in a block, and several threads to a row.
            threads, rows = (2, 2) if p.columns > 2 else (1, 4)
        elif p.columns < 4 * 32:
            threads = min(32, 2 * _power_of_two(max(p.columns - 1, 0) // 4)) if p.columns > 4 else 1
            rows = 256 // threads
        else:
            threads = min(max(_power_of_two(p.columns // (4 * width)), 32), most)
            rows = max(1, 256 // threads)
        return threads, rows, max(1, min(-(-p.rows // rows), 4 if SIMULATED else BLOCKS))

    def width(self, p, memories, short_rows):
        """Elements of a load: 1 where rows are too short for more, or an array does not begin at 16 bytes."""
        aligned = SIMULATED or all(memory.address % 16 == 0 for memory in memories)
        if not aligned or p.y_pred.storage not in WIDTHS or short_rows:
            return 1
        return min(WIDTHS[p.y_pred.storage], 16 // STORAGES[p.y_pred.storage].itemsize)

    def run_pointwise(self, p, reduction, weights, outputs, want_losses, losses):
        about = self.about
        several = self.class_weight is not None and self.class_weight.size > 1
        flat = not want_losses and not several and (weights is None or p.columns == 1)
        memories = [p.true_memory, p.y_pred_memory, *outputs]
        width = self.width(p, memories, not flat and p.columns < 4 * 32)
        divide = p.columns if self.kind != "POINTWISE_SUM" and p.columns else 1
        signs = launch.NOTHING
        if about["sign_labels"]:
            signs = p.scratch.memory("int32", 1)
            self.launch(p, totals.clear, (), 32, 1, (1, 1), 0, [signs])
            spec = _key(y_true=p.y_true.storage, weighted=weights is not None)
            arguments = [p.true_memory, weights or launch.NOTHING, p.rows, p.columns, signs]
            self.by_thread(p, totals.tell_labels, spec, p.rows * p.columns, arguments)
        spec = _key(
            element=about["element"], real=p.real, y_true=p.y_true.storage, y_pred=p.y_pred.storage,
            gradient=p.gradient_storage, width=width,
            want_gradient=len(outputs) > 0, want_hessian=len(outputs) > 1, want_losses=want_losses,
            weighted=weights is not None, signed=about["sign_labels"], bounded=_is_bounded(about),
            column_weights=self.class_weight is not None,
        )  # fmt: skip
        if flat:
            block = (self.threads(p), 1)
            blocks = self.blocks(p, -(-p.rows * p.columns // width))
        else:
            threads, rows, blocks = self.shape_of_rows(p, width, THREADS)
            block, pieces = (threads, rows), self.pieces(p)
            blocks = self.blocks_of_parts(p, pieces, rows) if pieces > 1 else blocks
            spec = _key(**dict(spec), split=pieces > 1)
        partials, places = p.scratch.memory(p.real, 2 * blocks), p.scratch.memory("int64", blocks)
        # grad_and_hess is of the elements' own losses.
        per_row = 1 if len(outputs) > 1 else divide
        outputs = [*outputs, launch.NOTHING, launch.NOTHING][:2]
        arguments = [
            p.true_memory, p.y_pred_memory, *outputs, weights or launch.NOTHING, signs,
            p.weighed[0] if p.weighed else launch.NOTHING, p.rows, p.columns, self.factor(p, reduction, per_row),
            about["label_scale"], about["label_shift"], *about["parameters"],
            *_real_bounds(about["true_bounds"], p.real), *_real_bounds(about["pred_bounds"], p.real),
            partials, places, self.class_weights(p), int(several),
        ]  # fmt: skip
        if flat:
            self.launch(p, pointwise.flat, spec, 256, blocks, block, 0, arguments)
            return partials, places, blocks, self.divisor(p, reduction, divide)
        found = p.scratch.memory(p.real, 2 * p.rows * pieces) if pieces > 1 else launch.NOTHING
        arguments += [losses, float(divide), self.part(p), pieces, found]
        self.launch(p, pointwise.by_rows, spec, THREADS, blocks, block, 0, arguments)
        if pieces > 1 and want_losses:
            self.launch(
                p, pointwise.losses_of_parts, _key(real=p.real), 256, min(p.rows, 4 if SIMULATED else BLOCKS),
                (self.threads(p), 1), 0, [found, p.rows, pieces, float(divide), losses],
            )  # fmt: skip
        return partials, places, blocks, self.divisor(p, reduction)

    def part(self, p):
        """Columns of a part of a row; there are not many parts, as each puts all of its row together."""
        return max(PART, -(-p.columns // 1024))

    def pieces(self, p):
        """Parts that each row is split into, where rows are few and long."""
        return -(-p.columns // self.part(p)) if 0 < p.rows <= FEW_ROWS else 1

    def blocks_of_parts(self, p, pieces, rows):
        """Blocks for the parts of all rows, so many in each."""
        return max(1, min(-(-p.rows * pieces // rows), 4 if SIMULATED else BLOCKS))

    def rows_launch(self, p, make, spec, width, want_cache, arguments_of, most=None, pieces=1):
        """Launches a kernel of rows, with as much shared memory as a row has use for; or of `pieces` of each."""
        most = most or THREADS
        threads, rows, blocks = self.shape_of_rows(p, width, most)
        if pieces > 1:
            blocks = self.blocks_of_parts(p, pieces, rows)
        size = 16 if width > 1 else 0
        vectors = p.columns // width if size and want_cache else 0
        # What the kernels use besides
        room = (p.device.shared_bytes - 16384) // rows // 16
        kept = min(vectors, room) if size else 0
        partials, places = p.scratch.memory(p.sums, 2 * blocks), p.scratch.memory("int64", blocks)
        self.launch(
            p, make, spec, most, blocks, (threads, rows), kept * size * rows, arguments_of(kept, partials, places)
        )
        return partials, places, blocks

    def run_sparse_softmax(self, p, reduction, weights, outputs, want_losses, losses):
        if len(outputs) > 1:
            return self.run_dense(p, reduction, weights, outputs, want_losses, losses)
        about = self.about
        width = self.width(p, [p.y_pred_memory, *outputs], p.columns < 4 * 32)
        # Parts of a row are read twice, so not where the gradient overwrites it.
        in_place = outputs and outputs[0].address == p.y_pred_memory.address
        pieces = 1 if in_place else self.pieces(p)
        storages = {"real": p.real, "y_true": p.y_true.storage, "y_pred": p.y_pred.storage, "width": width}
        # A long row leaves room for one block alone on a processor, which then has half of its threads; elsewhere than on
        # Hopper the assembler would spill.
        roomy = outputs and p.real == "float32" and p.device.capability[0] == 9
        most = 2 * THREADS if roomy else THREADS
        spec = _key(
            **storages, element=about["element"], gradient=p.gradient_storage, want_gradient=len(outputs) > 0,
            want_losses=want_losses, weighted=weights is not None, class_weights=self.class_weight is not None,
            split=pieces > 1,
        )  # fmt: skip
        found = launch.NOTHING
        if pieces > 1:
            found = p.scratch.memory(p.real, 3 * p.rows * pieces)
            block = (2 if SIMULATED else THREADS, 1)
            arguments = [p.true_memory, p.y_pred_memory, p.rows, p.columns, self.part(p), pieces, found]
            blocks = min(p.rows * pieces, 4 if SIMULATED else BLOCKS)
            self.launch(p, sparse_softmax.parts, _key(**storages), THREADS, blocks, block, 0, arguments)
        gradient = outputs[0] if outputs else launch.NOTHING
        partials, places, blocks = self.rows_launch(
            p, sparse_softmax.rows, spec, width, bool(outputs) and pieces == 1,
            lambda kept, partials, places: [
                p.true_memory, p.y_pred_memory, gradient, weights or launch.NOTHING, self.class_weights(p),
                p.weighed[0] if p.weighed else launch.NOTHING, p.rows, p.columns, kept, self.factor(p, reduction, 1),
                *about["parameters"], partials, places, losses, self.part(p), pieces, found,
            ],
            most, pieces,
        )  # fmt: skip
        return partials, places, blocks, self.divisor(p, reduction)

    def run_dense(self, p, reduction, weights, outputs, want_losses, losses):
        about = self.about
        softmax = self.kind in ("SOFTMAX", "SPARSE_SOFTMAX")
        integers = self.sparse
        memories = [p.y_pred_memory, *outputs, *([] if integers else [p.true_memory])]
        width = self.width(p, memories, p.columns < 4 * 32)
        parameters = about["parameters"]
        least = most = 0.0
        if not softmax:
            epsilon = parameters[0]
            least, most = -math.log1p(-epsilon), -math.log(epsilon)
            parameters = (*parameters[1:], 0.0)
        class_weights = None if self.class_weight is None else "label" if self.kind == "SPARSE_NORMALIZE" else "class"
        shift = about["label_shift"]
        if about["shift_per_class"] and p.columns:
            shift /= p.columns
        spec = _key(
            element=about["element"], link="softmax" if softmax else "normalize", real=p.real, y_true=p.y_true.storage,
            y_pred=p.y_pred.storage, gradient=p.gradient_storage, width=width,
            want_gradient=len(outputs) > 0, want_hessian=len(outputs) > 1, want_losses=want_losses,
            weighted=weights is not None, class_weights=class_weights, integer_labels=integers,
            bounded=_is_bounded(about),
        )  # fmt: skip
        pieces = self.pieces(p)
        found = found_places = launch.NOTHING
        if pieces > 1:
            found = p.scratch.memory(p.real, dense.FOUND * p.rows * pieces)
            found_places = p.scratch.memory("int64", p.rows * pieces)
        pair = [*outputs, launch.NOTHING, launch.NOTHING][:2]
        true_bounds = (-math.inf, math.inf) if integers else about["true_bounds"]


        def arguments(kept, partials, places):
            return [
                p.true_memory, p.y_pred_memory, *pair, weights or launch.NOTHING, self.class_weights(p),
                p.weighed[0] if p.weighed else launch.NOTHING, p.rows, p.columns, kept, self.factor(p, reduction, 1),
                about["label_scale"], shift, *parameters, least, most,
                *_real_bounds(true_bounds, p.real), *_real_bounds(about["pred_bounds"], p.real), partials, places, losses,
                self.part(p), pieces, found, found_places,
            ]  # fmt: skip

        steps = dense.STEPS["softmax" if softmax else "normalize"] if pieces > 1 else ("all",)
        # The first steps are the same whatever is wanted.
        same = dict(spec) | dict.fromkeys(("want_gradient", "want_hessian", "want_losses"), False)
        for step in steps[:-1]:
            self.launch(
                p, dense.rows, _key(**same, step=step), THREADS, self.blocks_of_parts(p, pieces, 1),
                (2 if SIMULATED else THREADS, 1), 0, arguments(0, launch.NOTHING, launch.NOTHING),
            )  # fmt: skip
        partials, places, blocks = self.rows_launch(
            p, dense.rows, _key(**dict(spec), step=steps[-1]), width, pieces == 1, arguments, pieces=pieces
        )
        return partials, places, blocks, self.divisor(p, reduction)


    def run_row(self, p, reduction, weights, outputs, want_losses, losses):
        about = self.about
        width = self.width(p, [p.true_memory, p.y_pred_memory, *outputs], p.columns < 4 * 32)
        scaled = about["element"] in SCALE_FREE and "float64" in (p.y_true.storage, p.y_pred.storage)
        # The scale of a row is that of all its parts.
        pieces = 1 if scaled else self.pieces(p)
        common = {
            "element": about["element"], "y_true": p.y_true.storage, "y_pred": p.y_pred.storage, "width": min(width, 4),
            "weighted": weights is not None, "bounded": _is_bounded(about), "has_maximum": self.kind == "ROW_MAXIMUM",
            "real": p.real,
        }  # fmt: skip
        spec = _key(
            **common, gradient=p.gradient_storage, want_gradient=len(outputs) > 0, want_losses=want_losses, scaled=scaled,
            split=pieces > 1,
        )  # fmt: skip
        gradient = outputs[0] if outputs else launch.NOTHING
        bounds = *_real_bounds(about["true_bounds"], p.real), *_real_bounds(about["pred_bounds"], p.real)
        found = found_places = launch.NOTHING
        if pieces > 1:
            found = p.scratch.memory("float64", rowwise.FOUND * p.rows * pieces)
            found_places = p.scratch.memory("int64", p.rows * pieces)
            arguments = [
                p.true_memory, p.y_pred_memory, weights or launch.NOTHING, p.rows, p.columns, about["label_scale"],
                about["label_shift"], *bounds, self.part(p), pieces, found, found_places,
            ]  # fmt: skip
            block = (2 if SIMULATED else THREADS, 1)
            self.launch(
                p, rowwise.parts, _key(**common), THREADS, self.blocks_of_parts(p, pieces, 1), block, 0, arguments
            )
        partials, places, blocks = self.rows_launch(
            p, rowwise.rows, spec, width, False,
            lambda kept, partials, places: [
                p.true_memory, p.y_pred_memory, gradient, weights or launch.NOTHING,
                p.weighed[0] if p.weighed else launch.NOTHING, p.rows, p.columns, self.factor(p, reduction, 1),
                about["label_scale"], about["label_shift"], *about["parameters"], *bounds, partials, places, losses,
                self.part(p), pieces, found, found_places,
            ],
            pieces=pieces,
        )  # fmt: skip
        return partials, places, blocks, self.divisor(p, reduction)

    def run_of_label(self, p, reduction, weights, outputs, want_losses, losses):
        about = self.about
        spec = _key(
            element=about["element"], real=p.real, y_true=p.y_true.storage, y_pred=p.y_pred.storage,
            gradient=p.gradient_storage, want_gradient=len(outputs) > 0, want_hessian=len(outputs) > 1,
            want_losses=want_losses, weighted=weights is not None, class_weights=self.class_weight is not None,
            bounded=_is_bounded(about),
        )  # fmt: skip
        pair = [*outputs, launch.NOTHING, launch.NOTHING][:2]
        partials, places, blocks = self.rows_launch(
            p, single.of_label, spec, 1, False,
            lambda kept, partials, places: [
                p.true_memory, p.y_pred_memory, *pair, weights or launch.NOTHING, self.class_weights(p),
                p.weighed[0] if p.weighed else launch.NOTHING, p.rows, p.columns, self.factor(p, reduction, 1),
                *about["parameters"], *_real_bounds(about["pred_bounds"], p.real), partials, places, losses,
            ],
        )  # fmt: skip
        return partials, places, blocks, self.divisor(p, reduction)

    def run_of_distribution(self, p, reduction, weights, outputs, want_losses, losses):
        about = self.about
        spec = _key(
            element=about["element"], real=p.real, y_true=p.y_true.storage, y_pred=p.y_pred.storage,
            gradient=p.gradient_storage, width=min(2, self.width(p, [p.y_pred_memory, *outputs], False)),
            want_gradient=len(outputs) > 0, want_hessian=len(outputs) > 1, want_losses=want_losses,
            weighted=weights is not None, bounded=_is_bounded(about),
        )  # fmt: skip
        pair = [*outputs, launch.NOTHING, launch.NOTHING][:2]
        blocks = self.blocks(p, p.rows)
        partials, places = p.scratch.memory(p.sums, 2 * blocks), p.scratch.memory("int64", blocks)
        arguments = [
            p.true_memory, p.y_pred_memory, *pair, weights or launch.NOTHING,
            p.weighed[0] if p.weighed else launch.NOTHING, p.rows, self.factor(p, reduction, 1), about["label_scale"],
            about["label_shift"], *about["parameters"], *_real_bounds(about["true_bounds"], p.real),
            *_real_bounds(about["pred_bounds"], p.real), partials, places, losses,
        ]  # fmt: skip
        self.launch(p, single.of_distribution, spec, 256, blocks, (self.threads(p), 1), 0, arguments)
        return partials, places, blocks, self.divisor(p, reduction)


    def run_alignment(self, p, reduction, weights, outputs, want_losses, losses):
        _, steps, classes = p.y_pred_view.shape
        width = p.y_true_view.shape[1]
        spec = _key(
            element=self.about["element"], real=p.real, y_true=p.y_true.storage, y_pred=p.y_pred.storage,
            gradient=p.gradient_storage, want_gradient=len(outputs) > 0, want_losses=want_losses,
            weighted=weights is not None,
        )  # fmt: skip
        blocks = max(1, min(p.rows, 4 if SIMULATED else 1024))
        line = 2 * width + 1 + 2 * alignment.MARGIN
        alphas = p.scratch.memory("float64", blocks * (steps + 1 if outputs else 2) * line)
        statistics, ends = p.scratch.memory("float64", blocks * 2 * steps), p.scratch.memory("float64", blocks * 3 * line)
        partials, places = p.scratch.memory("float64", 2 * blocks), p.scratch.memory("int64", blocks)
        arguments = [
            p.true_memory, p.y_pred_memory, outputs[0] if outputs else launch.NOTHING, weights or launch.NOTHING,
            p.weighed[0] if p.weighed else launch.NOTHING, p.rows, steps, classes, width, self.factor(p, reduction, 1),
            alphas, statistics, ends, partials, places, losses,
        ]  # fmt: skip
        self.launch(p, alignment.samples, spec, 256, blocks, (self.threads(p), 1), 0, arguments)
        return partials, places, blocks, self.divisor(p, reduction)

    def run_pairs(self, p, reduction, weights, outputs, want_losses, losses):
        gamma, margin, without_diagonal, _ = self.about["parameters"]
        symmetric = self.about["references"] is None
        labels = self.contiguous(p, p.reference_label_view, p.reference_labels.owner, p.reference_labels.storage)
        references = self.contiguous(p, p.reference_view, p.references.owner, p.references.storage)
        count = p.reference_view.shape[0]
        common = {
            "element": self.about["element"], "real": p.real, "y_true": p.y_true.storage, "y_pred": p.y_pred.storage,
            "labels": p.reference_labels.storage, "reference": p.references.storage,
        }  # fmt: skip
        blocks = max(1, min(p.rows, 4 if SIMULATED else BLOCKS))
        positives, negatives, pulls = (p.scratch.memory("float64", p.rows) for _ in range(3))
        counts, weight_sums = p.scratch.memory("float64", blocks), p.scratch.memory("float64", 2 * blocks)
        partials, places = p.scratch.memory("float64", 2 * blocks), p.scratch.memory("int64", blocks)
        self.launch(
            p, pairs.sums, _key(**common, want_losses=want_losses, weighted=weights is not None), 256, blocks,
            (self.threads(p), 1), 0,
            [p.true_memory, p.y_pred_memory, labels, references, weights or launch.NOTHING,
             p.flags if weights else launch.NOTHING, p.rows, count, p.columns, int(without_diagonal != 0), gamma, margin,
             positives, negatives, pulls, counts, weight_sums, partials, places, losses],
        )  # fmt: skip
        # Which anchors count is known only now.
        divisors, bad = self.divide(p, reduction, weight_sums, counts, places, blocks)
        p.weighed = divisors, p.weighed[1] if p.weighed else bad
        if outputs:
            wide = p.scratch.memory("float64", p.rows * p.columns)
            self.launch(
                p, pairs.derivatives, _key(**common, symmetric=symmetric), 256, blocks, (self.threads(p), 1), 0,
                [p.true_memory, p.y_pred_memory, labels, references, wide, positives, negatives, pulls, divisors, p.rows,
                 count, p.columns, int(without_diagonal != 0), 1.0, gamma, margin],
            )  # fmt: skip
            self.by_thread(
                p, pairs.rounded, _key(gradient=p.gradient_storage), p.rows * p.columns,
                [wide, outputs[0], p.rows * p.columns],
            )  # fmt: skip
        return partials, places, blocks, 1.0


class _Place:
    """Where a derivative goes: an array, what is returned for it, and whether it may be written while inputs are read."""

    def __init__(self, array, result, apart):
        self.array, self.result, self.apart, self.view = array, result, apart, None


def _joined_dimensions(view):
    """Shape and strides, in elements, with the dimensions that are one run joined."""
    shape, strides = [], []
    for extent, stride in zip(view.shape, view.strides, strict=True):
        if extent == 1:
            continue
        if shape and strides[-1] == stride * extent:
            shape[-1] *= extent
            strides[-1] = stride
        else:
            shape.append(extent)
            strides.append(stride)
    return tuple(shape), tuple(stride // view.itemsize for stride in strides)


def _is_bounded(about):
    return any(low > -math.inf or high < math.inf for low, high in (about["true_bounds"], about["pred_bounds"]))


def _real_bounds(bounds, real):
    """Bounds as a real type has them: those that mean > 0 and finite still do."""
    low, high = bounds
    if real == "float64":
        return low, high
    limits = np.finfo(np.float32)
    if low > 0 and np.float32(low) == 0:
        low = float(limits.smallest_subnormal)
    if math.inf > high > float(limits.max):
        high = float(limits.max)
    return low, high


_RUNNERS = {
    **dict.fromkeys(POINTWISE, DeviceKernel.run_pointwise),
    "SPARSE_SOFTMAX": DeviceKernel.run_sparse_softmax,
    "SOFTMAX": DeviceKernel.run_dense,
    "NORMALIZE": DeviceKernel.run_dense,
    "SPARSE_NORMALIZE": DeviceKernel.run_dense,
    "SPARSE_PROBABILITY": DeviceKernel.run_of_label,
    "ROW": DeviceKernel.run_row,
    "ROW_MAXIMUM": DeviceKernel.run_row,
    "LOCATION_SCALE": DeviceKernel.run_of_distribution,
    "ALIGNMENT": DeviceKernel.run_alignment,
    "PAIRS": DeviceKernel.run_pairs,
}
