# SPDX-License-Identifier: BSD-3-Clause
"""What a row of the table of cases holds, and numbers to fill it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import reference

INF, NAN = float("inf"), float("nan")
FINITE = float(np.finfo(np.float64).max)


class Sample(NamedTuple):
    """One call. Elementwise: two vectors of elements. Rowwise: (rows, classes), labels (rows,) if sparse."""

    y_true: np.ndarray
    y_pred: np.ndarray
    strict: bool = False  # all differences of inputs are exact: nothing may be blamed on rounding them


class Special(NamedTuple):
    """One element, or one row, with inf or NaN. An output that is None is not pinned."""

    y_true: Any
    y_pred: Any
    value: float | None = None
    gradient: Any = None
    hessian: Any = None
    parameters: dict = {}  # noqa: RUF012 (never changed)


class Bad(NamedTuple):
    """A constructor argument that must be refused."""

    name: str
    value: Any


# ulp of each element, or of the sum of its absolute terms where these cancel whoever computes them
PROMISED = 4


class Bounds:
    """Of the errors of a case, in ulp."""

    def bound(self, output):
        return self.ulps.get(output, PROMISED)

    def bound_of_sum(self, output):
        """Of a sum of elements, or an element times a factor: its ulp may be half as large, and it is rounded itself."""
        return 2 * self.bound(output) + 2


@dataclass(frozen=True)
class LossCase(Bounds):
    name: str  # row of the registry
    loss: str  # class in fastloss.losses
    handle: str  # function in fastloss.losses
    reference: Callable
    samples: Callable  # (rng, dtype) -> [Sample]: everything the values are compared at
    draw: Callable  # (rng, shape) -> (y_true, y_pred), float64, of ordinary size: material for the properties
    fixed: dict = field(default_factory=dict)  # arguments that select this row of the registry
    parameters: tuple = ({},)  # further arguments; floats are exact in float32, or used as float64 in both dtypes
    row: str = "mean"  # how elements become a sample's loss: "mean", "sum"; "class": the reference is rowwise
    sparse: bool = False
    columns: int | None = None  # the length of y_pred's last axis, which y_true lacks, where the loss fixes it
    hessian: bool = True  # else the loss has none, nor has its reference
    soft_labels: bool = False  # labels between 0 and 1 are probabilities
    convert: Callable = np.asarray  # labels as the formula sees them, given those of the whole call
    blur: float = 0.5  # a jump may be missed by this many epsilons: one rounding of a difference
    ulps: dict = field(default_factory=dict)  # {output: bound of its error} where that is not PROMISED
    because: str = ""  # why it is not
    cancels: str = ""  # which terms cancel, or what is rounded before, where errors are more than that of the result itself
    true_bounds: tuple = (-INF, INF)  # what elements of y_true and y_pred may be
    pred_bounds: tuple = (-INF, INF)
    class_weight: str = ""  # the argument that gives the element the weight of its column
    at_zero: dict = field(default_factory=dict)  # {output: its elementary function of y_pred where y_true is 0, in NumPy}
    specials: tuple = ()
    bad: tuple = ()

    @property
    def elementwise(self):
        return self.row != "class"

    @property
    def outputs(self):
        return ("value", "gradient", "hessian")[: 3 if self.hessian else 2]

    @property
    def lacks_axis(self):
        """Whether y_true has one axis less than y_pred."""
        return self.sparse or self.columns is not None

    def shown(self, y_true, shape):
        """y_true beside each element of y_pred, of this shape, for messages."""
        return np.broadcast_to(np.asarray(y_true)[..., None] if self.lacks_axis else y_true, shape)

    def row_factor(self, width):
        """What the sum of a row's elements is multiplied by."""
        return reference.mpf(1) / width if self.row == "mean" else reference.mpf(1)

    def make(self, parameters=None, **arguments):
        import fastloss.losses

        return getattr(fastloss.losses, self.loss)(**{**self.fixed, **(parameters or {}), **arguments})

    def function(self, parameters=None):
        """The handle with the case's arguments filled in: (y_true, y_pred) -> one loss per sample."""
        import fastloss.losses

        handle = getattr(fastloss.losses, self.handle)
        return lambda y_true, y_pred: handle(y_true, y_pred, **{**self.fixed, **(parameters or {})})

    @property
    def has_axis(self):
        """Whether the class axis is the user's choice."""
        return any(bad.name == "axis" for bad in self.bad)

    def counted(self, y_true, parameters):
        """Which samples count in a mean."""
        label = parameters.get("ignore_class")
        if label is not None:
            return np.asarray(y_true) != label
        return np.ones(np.shape(y_true) if self.lacks_axis else np.shape(y_true)[:-1], bool)


# Numbers

# What each number of classes stands for: 1: degenerate; 2, 3, 7, 10: vectors run across rows, with and without a power of
# two; 17, 33: one more than a vector register or an unrolled step; 100: a row of ordinary size; 1000: just within a block;
# 2500: several blocks, the last one ragged.
CLASSES = {1: 8, 2: 26, 3: 26, 7: 26, 10: 26, 17: 26, 33: 26, 100: 6, 1000: 3, 2500: 3}


def magnitudes(rng, count, low=1e-30, high=1e30, signed=True):
    """Every order of magnitude alike."""
    x = 10.0 ** rng.uniform(np.log10(low), np.log10(high), count)
    return x * rng.choice([-1.0, 1.0], count) if signed else x


def around(x, dtype, ulps=(0, 1, -1, 2, -2)):
    """x in the dtype and its neighbours."""
    x = np.asarray(x, dtype)
    return np.concatenate([np.ravel(x + k * np.spacing(np.abs(x))) for k in ulps]).astype(dtype)


def extremes(dtype, signed=True):
    """Zeros, subnormals, the smallest normal, one with its neighbours, the largest."""
    limits = ml_dtypes.finfo(dtype)
    small, normal, large = (float(x) for x in (limits.smallest_subnormal, limits.smallest_normal, limits.max))
    x = np.array([0.0, small, 3 * small, normal - small, normal, normal + small, large], dtype)
    x = np.concatenate([x, around(1.0, dtype)])
    return np.concatenate([x, -x]) if signed else x


def cross(a, b):
    """All pairs."""
    a, b = np.meshgrid(a, b)
    return a.ravel(), b.ravel()


def elements(dtype, *pairs, strict=False):
    """One Sample of several (y_true, y_pred), rounded to the dtype first."""
    pairs = [np.broadcast_arrays(np.asarray(y).astype(dtype), np.asarray(p).astype(dtype)) for y, p in pairs]
    return Sample(np.concatenate([y for y, _ in pairs]), np.concatenate([p for _, p in pairs]), strict)


def one_hot(labels, classes):
    return (labels[..., None] == np.arange(classes)).astype(np.float64)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def draw_binary(prediction):
    def draw(rng, shape):
        return rng.integers(0, 2, shape).astype(float), prediction(rng.normal(0, 2, shape))

    return draw


def as_is(z):
    return z


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def confident(dtype):
    """Leads of the right class; float32 has no exp(-100)."""
    return [5.0, 20.0, 50.0, 80.0] + ([300.0, 700.0] if dtype.itemsize == 8 else [])


def draw_classes(prediction, sparse):
    def draw(rng, shape):
        labels = rng.integers(0, shape[-1], shape[:-1])
        return labels if sparse else one_hot(labels, shape[-1]), prediction(rng.normal(0, 2, shape))

    return draw


EPSILONS = (Bad("epsilon", 0.0), Bad("epsilon", -1e-7), Bad("epsilon", NAN), Bad("epsilon", "x"))
