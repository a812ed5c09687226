# SPDX-License-Identifier: BSD-3-Clause
"""What a call is, and when a row of docs/keras-differences.md explains that Keras answers it differently. Names no loss.

A predicate holds for the calls that its row explains, and for no more. Each row shows one call that really differs.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

EPSILON = 1e-7
# The greatest float32 below 1 - EPSILON: Keras clips there.
GREATEST_PROBABILITY = 1 - 2.0**-23
HALF = ("float16", "bfloat16")
# Targets that name classes or groups.
LABELS = ("label", "sequence", "group")


def aligned(a, b):
    """The shapes of two arrays after Keras's rank alignment."""
    for x, y, swap in ((a, b, False), (b, a, True)):
        if len(x) == len(y) + 1 and x[-1] == 1:
            x, y = (x, (*y, 1)) if len(y) == 1 else (x[:-1], y)
            return (y, x) if swap else (x, y)
    return a, b


def fits(shape, whole):
    """Whether an array broadcasts to a shape without enlarging it."""
    padded = (1,) * (len(whole) - len(shape)) + shape
    return len(shape) <= len(whole) and all(n in (1, m) for n, m in zip(padded, whole, strict=True))


def weighed(value, shape):
    """A weight or mask in the shape of what it is for, as fastloss documents it."""
    array = np.asarray(value)
    if array.ndim == len(shape) + 1 and array.shape[-1] == 1:
        array = array.reshape(array.shape[:-1])
    if array.ndim == 1 and len(shape) > 1 and len(array) == shape[0]:
        array = array.reshape(-1, *(1,) * (len(shape) - 1))
    return np.broadcast_to(array, shape)


@cache
def has_elements(cls):
    """Whether a loss takes a weight for each element of a 1-D array."""
    try:
        return np.shape(cls(reduction=None)([1.0, 1.0], [0.5, 0.5], sample_weight=[1.0, 1.0])) == (2,)
    except (TypeError, ValueError):
        return False


@dataclass(eq=False)
class Call:
    """One call of a class, or of its function, with the arguments of its constructor."""

    cls: type
    backend: str
    y_true: np.ndarray
    y_pred: np.ndarray
    arguments: dict = field(default_factory=dict)
    function: bool = False
    reduction: str | None = "sum_over_batch_size"
    dtype: str | None = None
    sample_weight: Any = None
    mask: Any = None

    def argument(self, name):
        """What the call gives for an argument of the constructor, or its default; None if there is none."""
        parameters = inspect.signature(self.cls).parameters
        return self.arguments.get(name, parameters[name].default) if name in parameters else None

    @cached_property
    def loss(self):
        """fastloss's instance; raises what the constructor raises."""
        options = {} if self.function else dict(reduction=self.reduction, dtype=self.dtype)
        return self.cls(**self.arguments, **options)

    @cached_property
    def bad_parameter(self):
        try:
            _ = self.loss
        except (TypeError, ValueError):
            return True
        return False

    @property
    def target(self):
        return self.cls.target if self.bad_parameter else self.loss.target

    @property
    def prediction(self):
        return self.cls().prediction if self.bad_parameter else self.loss.prediction

    @property
    def sparse(self):
        return self.target == "label"

    @property
    def labels(self):
        return self.target in LABELS

    @property
    def from_logits(self):
        return bool(self.argument("from_logits"))

    @cached_property
    def shapes(self):
        """Of y_true and y_pred after alignment."""
        return (self.y_true.shape, self.y_pred.shape) if self.labels else aligned(self.y_true.shape, self.y_pred.shape)

    @cached_property
    def axes(self):
        """The axes of a sample's elements or classes, counted from the front; all of them if the axis is wrong."""
        axis, rank = self.argument("axis"), len(self.shapes[1])
        if "axis" not in inspect.signature(self.cls).parameters:
            axis = -1
        given = range(rank) if axis is None else (axis,) if isinstance(axis, int) else axis
        found = sorted({axis % rank for axis in given if -rank <= axis < rank})
        return tuple(found) if len(found) == len(given) else tuple(range(rank))

    @cached_property
    def axis(self):
        """The axis of the classes, or None if there is more than one."""
        return self.axes[0] if len(self.axes) == 1 else None

    @cached_property
    def losses_shape(self):
        """Of the losses of the samples, in Keras."""
        if self.target in ("sequence", "group"):
            return self.shapes[1][:1]
        return tuple(n for axis, n in enumerate(self.shapes[1]) if axis not in self.axes)

    @cached_property
    def samples_shape(self):
        """Of what a weight or mask is for: a 1-D array's elements, unless they are the classes of one sample."""
        shape = self.shapes[1]
        return shape if len(shape) == 1 and self.elements else self.losses_shape

    @property
    def of_directions(self):
        """Whether the loss compares the directions of vectors along an axis."""
        return self.target == self.prediction == "real" and "axis" in inspect.signature(self.cls).parameters

    @property
    def lengths(self):
        """Of these vectors."""
        if not self.of_directions or no_broadcasting(self):
            return []
        arrays = zip((self.y_true, self.y_pred), self.shapes, strict=True)
        return [np.sqrt((a.astype(np.float64).reshape(s) ** 2).sum(axis=self.axes)) for a, s in arrays]

    @property
    def elements(self):
        """Whether the elements of a 1-D array have weights of their own."""
        return has_elements(self.cls)

    @property
    def weights(self):
        """The weight and the mask that are given, as arrays."""
        return [np.asarray(a) for a in (self.sample_weight, self.mask) if a is not None]

    @cached_property
    def bad_labels(self):
        """Which labels are no class."""
        y_true = self.y_true.astype(np.float64)
        if self.target == "group":
            return y_true != np.floor(y_true)
        classes = self.shapes[1][self.axis] if self.axis is not None else 0
        bad = ~((y_true >= 0) & (y_true < classes) & (y_true == np.floor(y_true)))
        if self.target == "sequence" and y_true.ndim == 2:
            bad[:, 1:] |= (y_true[:, 1:] != 0) & (y_true[:, :-1] == 0)
        ignored = self.argument("ignore_class")
        return bad & (y_true != (np.nan if ignored is None else ignored))

    @cached_property
    def ignored(self):
        """Which samples have the label that is ignored, or nothing to be compared with."""
        if self.target == "group" and self.y_true.size == self.y_pred.shape[0]:
            same = self.y_true.reshape(-1, 1) == self.y_true.reshape(-1)
            return (same.sum(axis=1) <= bool(self.argument("remove_diagonal"))) | same.all(axis=1)
        label = self.argument("ignore_class")
        if label is None or self.y_true.size != np.prod(self.losses_shape):
            return np.zeros(self.samples_shape, bool)
        return self.y_true.reshape(self.losses_shape) == label

    @property
    def hides(self):
        """Whether some sample is hidden by a weight of 0, by a mask or as it does not count."""
        return self.ignored.any() or any((a == 0).any() for a in self.weights)

    @property
    def visible(self):
        """Which elements of y_pred no weight of 0, mask or ignored class hides; None if the shapes do not fit."""
        shape = self.samples_shape
        try:
            seen = [weighed(a, shape) != 0 for a in self.weights] + [~self.ignored]
        except ValueError:
            return None
        samples = np.all(np.broadcast_arrays(*seen, np.ones(shape)), axis=0)
        axes = range(len(shape), self.y_pred.ndim) if self.target in ("sequence", "group") else self.axes
        axes = () if len(shape) == len(self.shapes[1]) else tuple(axes)
        return np.broadcast_to(np.expand_dims(samples, axes), self.shapes[1])

    @property
    def outside(self):
        """Which elements lie outside of their domain: those of y_true, those of y_pred."""
        y_true, y_pred = self.y_true.astype(np.float64), self.y_pred.astype(np.float64)
        most = {"probability": 1.0, "distribution": 1.0 if self.target == "distribution" else np.finfo(np.float64).max}
        highest = {"binary": 1.0, "distribution": 1.0, "one_hot": np.inf}
        labels = (y_true < 0) | (y_true > highest[self.target]) if self.target in highest else np.zeros(y_true.shape, bool)
        if self.prediction not in most:
            return labels, np.zeros(y_pred.shape, bool)
        return labels, (y_pred < 0) | (y_pred > most[self.prediction])

    @property
    def largest(self):
        """The largest absolute value of y_pred."""
        return np.abs(self.y_pred.astype(np.float64)).max(initial=0)

    @property
    def finite(self):
        arrays = [self.y_true, self.y_pred, *self.weights]
        return all(np.isfinite(a.astype(np.float64)).all() for a in arrays)

    def but(self, **changes):
        """The same call with changes."""
        return replace(self, **changes)


class Row(NamedTuple):
    explains: Callable
    aspects: frozenset  # of the answer: "error", "value" (with the gradient), "gradient", "shape", "dtype"
    raises: bool  # the row says that fastloss raises
    example: dict  # fields of a Call; `target` and `prediction` choose its class


ROWS = {}


def row(name, *aspects, raises=False, **example):
    def decorate(predicate):
        ROWS[name] = Row(predicate, frozenset(aspects), raises, example)
        return predicate

    return decorate


PAIR = dict(y_true=[[1.0, 2.0], [3.0, 5.0]], y_pred=[[2.0, 4.0], [8.0, 9.0]], target="real")
TRIPLE = dict(y_true=np.zeros((2, 2, 2)), y_pred=np.arange(8.0).reshape(2, 2, 2), target="real")
ONE = dict(y_true=[0.0, 0.0], y_pred=[1.0, 2.0], target="real")
CLASSES = dict(y_true=[0, 1], y_pred=[[0.25, 0.75], [0.5, 0.5]], target="label")


@row("no-broadcasting", "error", raises=True, **{**PAIR, "y_true": [[1.0, 2.0]]})
def no_broadcasting(call):
    y_true, y_pred = call.shapes
    if call.target == "sequence":
        return len(y_true) != 2 or len(y_pred) != 3 or y_true[0] != y_pred[0]
    if call.target == "group":
        return len(y_pred) != 2 or y_true not in (y_pred[:1], (*y_pred[:1], 1))
    if not call.sparse:
        return y_true != y_pred
    if call.axis is None:
        return False
    with_axis = (*call.losses_shape[: call.axis], 1, *call.losses_shape[call.axis :])
    return y_true not in (call.losses_shape, with_axis, (*call.losses_shape, 1))


@row("functions-align", "error", "value", "shape", y_true=[1.0, -1.0], y_pred=[[0.5], [0.25]], target="sign", function=True)
def functions_align(call):
    return call.function and not call.labels and call.y_true.ndim != call.y_pred.ndim


@row("scalars", "error", "value", "shape", y_true=0.0, y_pred=[1.0], target="real")
def scalars(call):
    return not call.labels and () in call.shapes


@row("weights-per-sample", "error", "value", "shape", **{**TRIPLE, "sample_weight": [1.0, 2.0]})
def weights_per_sample(call):
    shape = call.losses_shape
    return len(shape) > 1 and any(a.shape == shape[:1] for a in call.weights)


@row("weights-enlarge", "error", raises=True, **PAIR, sample_weight=[[1.0, 2.0], [3.0, 4.0]])
def weights_enlarge(call):
    shape = call.samples_shape
    for a in call.weights:
        given = a.shape[:-1] if a.ndim == len(shape) + 1 and a.shape[-1] == 1 else a.shape
        if not fits(given, shape) and not (shape and given == shape[:1]):
            return True
    return False


@row("weights-reshape", "shape", **PAIR, sample_weight=[[1.0], [2.0]], reduction=None)
def weights_reshape(call):
    for a in call.weights:
        losses, given = aligned(call.losses_shape, a.shape)
        if losses != call.losses_shape or not fits(given, losses):
            return True
    return False


@row("losses-squeezed", "error", "value", y_true=np.zeros((3, 3, 1, 1)), y_pred=np.arange(9.0).reshape(3, 3, 1, 1),
     target="real", sample_weight=[[0.0], [1.0], [2.0]])  # fmt: skip
def losses_squeezed(call):
    shapes = [aligned(call.losses_shape, a.shape)[0] for a in call.weights]
    return any(0 < len(shape) < len(call.losses_shape) for shape in shapes)


@row("one-dimension", "error", "value", "shape", **ONE, sample_weight=[0.0, 1.0])
def one_dimension(call):
    return len(call.shapes[1]) == 1 and call.elements and any(a.ndim for a in call.weights)


@row("hidden-samples", "error", "value", **{**PAIR, "y_pred": [[2.0, 4.0], [np.nan, 9.0]]}, mask=[True, False])
def hidden_samples(call):
    outside = any(a.any() for a in call.outside)
    return call.hides and (not call.finite or outside or (call.labels and call.bad_labels.any()))


@row("mask-and-weights", "error", "value", **PAIR, mask=[True, False], sample_weight=2.0)
def mask_and_weights(call):
    ignores = [call.losses_shape] if call.argument("ignore_class") is not None or call.target == "group" else []
    return call.sample_weight is not None and len({a.shape for a in call.weights}.union(ignores)) > 1


@row("two-masks", "error", "value", y_true=[0, 0, 0], y_pred=[[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]], target="label",
     arguments=dict(ignore_class=1), mask=[[True], [True], [False]])  # fmt: skip
def two_masks(call):
    own = call.argument("ignore_class") is not None or call.target == "group"
    return own and call.mask is not None and np.shape(call.mask) != call.losses_shape


@row("divide-by-broadcast-weights", "value", **TRIPLE, sample_weight=2.0, reduction="mean_with_sample_weight")
def divide_by_broadcast_weights(call):
    shape = call.losses_shape
    # Keras also squeezes the losses of shape (1,) for a scalar weight, and does not reduce a scalar.
    given = [a for a in call.weights if a.size != np.prod(shape) or () in aligned(shape, a.shape)]
    return call.reduction == "mean_with_sample_weight" and bool(given)


@row("nan-weights", "error", raises=True, **PAIR, sample_weight=[1.0, np.nan])
def nan_weights(call):
    if call.sample_weight is None or weights_enlarge(call) or no_broadcasting(call):
        return False
    nan = np.isnan(weighed(call.sample_weight, call.samples_shape)) & ~call.ignored
    return bool((nan & (call.mask is None or weighed(call.mask, call.samples_shape))).any())


@row("labels-checked", "error", "value", raises=True, **{**CLASSES, "y_true": [0, -1]})
def labels_checked(call):
    return call.labels and not no_broadcasting(call) and call.bad_labels.any() and not call.hides


@row("label-alignment", "error", "value", "shape", y_true=[[0, 0]], y_pred=np.ones((1, 2, 1)), target="label")
def label_alignment(call):
    if not call.labels or call.function or call.y_true.ndim != call.y_pred.ndim - 1:
        return False
    return call.y_pred.shape[-1] == 1 and call.y_true.ndim != 1


@row("no-probability", "value", y_true=[[0.0, 0.0]], y_pred=[[0.0, 0.0]], target="one_hot")
def no_probability(call):
    if call.prediction != "distribution" or call.argument("from_logits") is None or call.axis is None:
        return False
    return (call.y_pred.astype(np.float64).reshape(call.shapes[1]).sum(axis=call.axis) == 0).any()


@row("smoothing-axis", "value", y_true=np.ones((1, 3, 2)), y_pred=np.ones((1, 3, 2)), target="one_hot",
     arguments=dict(label_smoothing=0.1, axis=1))  # fmt: skip
def smoothing_axis(call):
    smoothed = call.target == "one_hot" and bool(call.argument("label_smoothing")) and call.axis is not None
    return smoothed and call.shapes[1][call.axis] != call.shapes[1][-1]


@row("class-axis", "error", "value", "shape", y_true=[[0, 1, 0]], y_pred=np.ones((1, 2, 3)), target="label",
     arguments=dict(axis=1))  # fmt: skip
def class_axis(call):
    if not call.sparse or call.axis in (None, call.y_pred.ndim - 1):
        return False
    # Of the axis of length 1 that labels may have, the torch backend finds only that in the place of the classes.
    return call.backend == "numpy" or (call.y_true.ndim == call.y_pred.ndim and call.y_true.shape[call.axis] != 1)


@row("label-column", "error", "value", "shape", y_true=[[0], [1]], y_pred=[[0.75, 0.25], [0.5, 0.5]], target="label",
     arguments=dict(q=0.5))  # fmt: skip
def label_column(call):
    if not call.sparse or call.argument("axis") is not None:
        return False
    # Rank alignment makes such a column of (batch,) where there is one class.
    return call.y_true.ndim == call.y_pred.ndim or (not call.function and call.y_pred.shape[-1] == 1)


@row("other-classes", "value", y_true=[0], y_pred=[[0.5, np.nan]], target="label", arguments=dict(q=0.5))
def other_classes(call):
    return call.sparse and call.argument("q") is not None and np.isnan(call.y_pred.astype(np.float64)).any()


@row("zero-probability", "gradient", y_true=[0], y_pred=[[0.0, 1.0]], target="label", arguments=dict(q=0.5))
def zero_probability(call):
    return call.argument("q") is not None and bool((call.y_pred == 0).any())


@row("norms", "value", y_true=[[1.0, 0.0]], y_pred=[[1e-10, 0.0]], target="real", prediction="real", arguments=dict(axis=-1))
def norms(call):
    return any(((n > 0) & (n < 1e-6) | (n > 1e18)).any() for n in call.lengths)


@row("zero-vectors", "gradient", y_true=[[1.0, 0.0]], y_pred=[[0.0, 0.0]], target="real", prediction="real",
     arguments=dict(axis=-1))  # fmt: skip
def zero_vectors(call):
    return any((n == 0).any() for n in call.lengths)


@row("numpy-norms", "error", "value", "shape", y_true=[[1.0, 2.0], [3.0, 4.0]], y_pred=[[4.0, 1.0], [2.0, 2.0]],
     target="real", arguments=dict(axis=0))  # fmt: skip
def numpy_norms(call):
    rank = len(call.shapes[1])
    return call.of_directions and call.backend == "numpy" and (rank == 1 or call.axis != rank - 1)


@row("no-alignment", "error", "value", y_true=[[1, 1]], y_pred=np.zeros((1, 2, 2), np.float32), target="sequence")
def no_alignment(call):
    if call.target != "sequence" or no_broadcasting(call) or not call.y_true.size:
        return False
    y_true = call.y_true
    steps = (y_true != 0).sum(axis=1) + ((y_true[:, 1:] == y_true[:, :-1]) & (y_true[:, 1:] != 0)).sum(axis=1)
    return bool((steps > call.y_pred.shape[1]).any())


@row("torch-gradient", "gradient", y_true=[[[0], [1]]], y_pred=np.full((1, 2, 1, 2), 0.5, np.float32), target="label")
def torch_gradient(call):
    return call.backend == "torch" and call.sparse and call.y_pred.ndim == 4 and call.prediction == "distribution"


@row("empty", "error", "value", "shape", y_true=np.ones((0, 2)), y_pred=np.ones((0, 2)), target="real")
def empty(call):
    return call.y_pred.size == 0


@row("float64", "dtype", **{**PAIR, "y_pred": np.ones((2, 2), np.float64)})
def float64(call):
    return call.dtype == "float64" or (call.y_pred.dtype == np.float64 and call.dtype is None)


@row("half-precision", "value", "dtype", **PAIR, dtype="float16")
def half_precision(call):
    return call.dtype in HALF or (call.function and call.y_pred.dtype.name in HALF)


@row("integers", "error", "value", "dtype", y_true=[[0.75]], y_pred=np.zeros((1, 1), np.int32), target="real", function=True)
def integers(call):
    return call.function and call.y_pred.dtype.kind in "biu"


@row("logits-saturate", "value", y_true=[[1.0]], y_pred=[[-20.0]], target="binary", arguments=dict(from_logits=True))
def logits_saturate(call):
    focal = call.argument("gamma") is not None
    if not call.from_logits:
        return False
    if call.target == "binary":
        return (focal or call.backend == "numpy") and call.largest > 4
    # The share of a class reaches the clip.
    return focal and bool(call.y_pred.size) and np.ptp(call.y_pred.astype(np.float64)) > 14


@row("clip-near-one", "value", y_true=[[0.0]], y_pred=[[1.0]], target="binary")
def clip_near_one(call):
    clipped = call.prediction == "probability" and call.argument("from_logits") is not None
    return clipped and (call.y_pred.astype(np.float64) > GREATEST_PROBABILITY).any()


@row("infinite", "value", "error", y_true=[[0.0, 1.0]], y_pred=[[-np.inf, 0.0]], target="one_hot",
     arguments=dict(from_logits=True))  # fmt: skip
def infinite(call):
    return any(np.isinf(a.astype(np.float64)).any() for a in (call.y_true, call.y_pred))


@row("nan-gradients", "gradient", y_true=[0.0], y_pred=[[np.nan]], target="group")
def nan_gradients(call):
    return any(np.isnan(a.astype(np.float64)).any() for a in (call.y_true, call.y_pred))


@row("nan-probability", "error", y_true=[[1.0]], y_pred=[[np.nan]], target="binary")
def nan_probability(call):
    clipped = call.target == "binary" and (not call.from_logits or call.argument("gamma") is not None)
    return call.backend == "torch" and clipped and np.isnan(call.y_pred.astype(np.float64)).any()


@row("outside-domain", "error", raises=True, y_true=[[2.0]], y_pred=[[0.5]], target="binary")
def outside_domain(call):
    labels, predictions = call.outside
    if call.visible is None or no_broadcasting(call) or call.bad_parameter:
        return False
    labels = labels.reshape(call.shapes[0]) if not call.labels else False
    return bool(((labels | predictions.reshape(call.shapes[1])) & call.visible).any())


@row("parameters-checked", "error", raises=True, **PAIR, arguments=dict(delta=-1.0))
def parameters_checked(call):
    return call.bad_parameter
