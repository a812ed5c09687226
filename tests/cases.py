# SPDX-License-Identifier: BSD-3-Clause
"""The table of losses: one LossCase a loss drives every test. No test knows a loss by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import reference

INF, NAN = float("inf"), float("nan")


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


@dataclass(frozen=True)
class LossCase:
    name: str  # row of the registry
    loss: str  # class in fastloss.losses
    handle: str  # function in fastloss.losses
    reference: Callable
    samples: Callable  # (rng, dtype) -> [Sample]: everything the values are compared at
    draw: Callable  # (rng, shape) -> (y_true, y_pred), float64, of ordinary size: material for the properties
    fixed: dict = field(default_factory=dict)  # arguments that select this row of the registry
    parameters: tuple = ({},)  # further arguments; floats are exact in float32, or (epsilon) used as float64 in both dtypes
    row: str = "mean"  # how elements become a sample's loss: "mean", "sum"; "class": the reference is rowwise
    sparse: bool = False
    soft_labels: bool = False  # labels between 0 and 1 are probabilities
    convert: Callable = np.asarray  # labels as the formula sees them, given those of the whole call
    blur: float = 0.5  # a jump may be missed by this many epsilons: one rounding of a difference
    bound: dict = field(default_factory=lambda: {"float32": 1e-6, "float64": 1e-14})
    specials: tuple = ()
    bad: tuple = ()

    @property
    def elementwise(self):
        return self.row != "class"

    def row_factor(self, width):
        """What the sum of a row's elements is multiplied by."""
        return reference.mpf(1) / width if self.row == "mean" else reference.mpf(1)

    def make(self, parameters=None, **arguments):
        import fastloss.losses

        return getattr(fastloss.losses, self.loss)(**self.fixed, **(parameters or {}), **arguments)

    def function(self, parameters=None):
        """The handle with the case's arguments filled in: (y_true, y_pred) -> one loss per sample."""
        import fastloss.losses

        handle = getattr(fastloss.losses, self.handle)
        return lambda y_true, y_pred: handle(y_true, y_pred, **self.fixed, **(parameters or {}))

    @property
    def has_axis(self):
        """Whether the class axis is the user's choice."""
        return any(bad.name == "axis" for bad in self.bad)

    def counted(self, y_true, parameters):
        """Which samples count in a mean."""
        label = parameters.get("ignore_class")
        if label is not None:
            return np.asarray(y_true) != label
        return np.ones(np.shape(y_true) if self.sparse else np.shape(y_true)[:-1], bool)


# Numbers


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


# Losses of y_pred - y_true


def differences(*kinks):
    """Samples over all magnitudes of both arguments and of their difference, with |y_pred - y_true| around `kinks`."""

    def samples(rng, dtype):
        base = magnitudes(rng, 40)
        close = base.astype(dtype)
        close = close + rng.integers(-9, 10, close.size) * np.spacing(np.abs(close))
        steps = around(np.array([0.0, *kinks]), dtype)
        steps = np.concatenate([steps, -steps])
        return [
            elements(
                dtype,
                (0.0, magnitudes(rng, 60)),
                (magnitudes(rng, 60), magnitudes(rng, 60)),
                (base, close),
                (0.0, extremes(dtype)),
                (extremes(dtype), 1.0),
                # e from tiny to where every exponential has died out
                (rng.normal(0, 2, 60), rng.normal(0, 20, 60)),
                (rng.normal(0, 1e-3, 20), rng.normal(0, 1e-3, 20)),
                (0.0, np.linspace(-400 if dtype.itemsize == 8 else -48, 40, 50)),
                *((y, steps + np.asarray(y, dtype)) for y in (0.0, 1.0, -3.5, 1024.0)),
            )
        ]

    return samples


def one_hot(labels, classes):
    return (labels[..., None] == np.arange(classes)).astype(np.float64)


def draw_real(rng, shape):
    return rng.normal(0, 2, shape), rng.normal(0, 2, shape)


def difference_specials(value, slope=None, curvature=None):
    """NaN goes through; an infinite difference has an infinite loss. inf - inf is no number."""
    out = [Special(NAN, 0.0, NAN, NAN), Special(0.0, NAN, NAN, NAN), Special(INF, INF, NAN, NAN)]
    for sign in (1.0, -1.0):
        gradient = None if slope is None else sign * slope
        out += [Special(0.0, sign * INF, value, gradient, curvature), Special(-sign * INF, 0.0, value, gradient, curvature)]
    return tuple(out)


# Margins


def hinge_samples(rng, dtype):
    p = np.concatenate([magnitudes(rng, 60), extremes(dtype), around([1.0, -1.0], dtype), rng.normal(0, 1, 20)])
    real = rng.normal(0, 2, 40)
    return [
        elements(dtype, cross([0.0, 1.0], p)),
        elements(dtype, cross([-1.0, 1.0], p)),
        # One label that is neither 0 nor 1 and all are taken as they are.
        elements(
            dtype,
            (0.0, p[:10]),
            (1.0, p[:10]),
            (real, 1 / real),
            (real, magnitudes(rng, 40)),
            (-0.25, around(-4.0, dtype)),
        ),
    ]


def hinge_labels(y_true):
    return 2 * y_true - 1 if np.isin(y_true, (0, 1)).all() else y_true


def draw_signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape), rng.normal(0, 2, shape)


# Counts and distributions


def poisson_samples(rng, dtype):
    def rates(n):
        return magnitudes(rng, n, signed=False)

    return [
        elements(
            dtype,
            (rng.integers(0, 20, 60), rates(60)),
            (rates(60), rates(60)),
            (rng.integers(0, 5, 60), rng.uniform(0, 4, 60)),
            cross([0.0, 1.0, 3.0, 1e10], extremes(dtype, signed=False)),
            # log(p + epsilon) is 0 near here: only log1p((p - 1) + epsilon) keeps its digits
            cross([1.0, 1e10], around(1.0, dtype, range(-5, 6))),
            (2.0, [1e-8, 1e-7, 1e-6, -5e-8, -2e-8]),
        )
    ]


def draw_counts(rng, shape):
    return rng.poisson(2.0, shape).astype(float), rng.gamma(2.0, 1.0, shape)


def kl_samples(rng, dtype):
    y = rng.uniform(0.01, 1, 40).astype(dtype)
    edges = [-1.0, -1e-30, 0.0, 2e-7, 0.5, 2.0, 1e30]
    edges = np.concatenate([edges, around(1.0, dtype), [float(np.dtype(dtype).type(1e-8))]])
    return [
        elements(
            dtype,
            (rng.uniform(0, 1, 60), rng.uniform(0, 1, 60)),
            # log(y/p) of nearly equal numbers
            (y, y + rng.integers(-9, 10, y.size) * np.spacing(y)),
            (magnitudes(rng, 40, 1e-7, 1.0, False), magnitudes(rng, 40, 1e-7, 1.0, False)),
            (magnitudes(rng, 60), magnitudes(rng, 60)),
            cross(edges, edges),
            cross([0.25], around(1e-7, dtype)),
            cross([0.25], extremes(dtype)),
        )
    ]


def draw_distributions(rng, shape):
    return softmax(rng.normal(0, 1, shape)), softmax(rng.normal(0, 1, shape))


# Binary cross-entropy


def confident(dtype):
    """Leads of the right class; float32 has no exp(-100)."""
    return [5.0, 20.0, 50.0, 80.0] + ([300.0, 700.0] if dtype.itemsize == 8 else [])


def binary_logit_samples(rng, dtype):
    sure = np.array(confident(dtype))
    z = np.concatenate([sure, -sure, magnitudes(rng, 60), rng.normal(0, 10, 40), extremes(dtype)])
    return [
        elements(dtype, cross([0.0, 1.0], z), (rng.uniform(0, 1, z.size), z), (0.5, z)),
    ]


def binary_probability_samples(rng, dtype):
    tiny = 10.0 ** -np.arange(1.0, 31)
    p = np.concatenate([rng.uniform(0, 1, 40), tiny, 1 - tiny[:16], magnitudes(rng, 30), extremes(dtype)])
    p = np.concatenate([p, around([1e-7, 1 - 1e-7], dtype)])
    return [elements(dtype, cross([0.0, 1.0], p), (rng.uniform(0, 1, p.size), p))]


def draw_binary(prediction):
    def draw(rng, shape):
        return rng.integers(0, 2, shape).astype(float), prediction(rng.normal(0, 2, shape))

    return draw


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def as_is(z):
    return z


# Categorical cross-entropy

# What each number of classes stands for: 1: degenerate; 2, 3, 7, 10: vectors run across rows, with and without a power of
# two; 17, 33: one more than a vector register or an unrolled step; 100: a row of ordinary size; 1000: just within a block;
# 2500: several blocks, the last one ragged.
CLASSES = {1: 8, 2: 26, 3: 26, 7: 26, 10: 26, 17: 26, 33: 26, 100: 6, 1000: 3, 2500: 3}


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def logit_rows(rng, dtype, classes, rows):
    """[(strict, label, logits)]"""
    out = []

    def row(z, label=None, strict=False):
        out.append((strict, int(rng.integers(classes) if label is None else label), np.asarray(z).astype(dtype)))

    def integers():
        return rng.integers(-3, 1, classes).astype(float)

    row(rng.normal(0, 3, classes))
    z = rng.normal(0, 30, classes)
    row(z, np.argmax(z))
    for lead in confident(dtype):
        z, label = integers(), rng.integers(classes)
        z[label] = lead
        row(z, label, strict=True)
    z = magnitudes(rng, classes)  # 1e-30 next to 1e30
    row(z, np.argmax(z))
    row(z)
    row(np.full(classes, 0.75), strict=True)
    row(integers(), strict=True)  # many equal ones, also the largest
    z = rng.normal(0, 1, classes)
    z[rng.integers(classes, size=2)] = 4.0  # the largest twice
    row(z)
    row(rng.choice([-1e30, 1e30], classes))
    row(magnitudes(rng, classes, 1e-30, 1e-20))
    row(1e4 + integers(), strict=True)
    row(-1e4 + integers(), strict=True)
    z = rng.normal(0, 3, classes)
    z[rng.random(classes) < 0.3] = -INF  # excluded classes, never the true one
    label = rng.integers(classes)
    z[label] = 0.5
    row(z, label)
    row(np.zeros(classes), strict=True)
    row(rng.choice(extremes(dtype), classes))
    row(rng.uniform(-90, 90, classes))
    while len(out) < rows:
        row(rng.normal(0, 3, classes))
    if rows < len(out):  # large rows are dear: the regimes take turns
        out = [out[i] for i in rng.choice(len(out), rows, replace=False)]
    return out


def probability_rows(rng, dtype, classes, rows):
    """[(strict, label, probabilities)]: normalised and not, sure and unsure, tiny and huge, with zeros."""
    out = []

    def row(p, label=None):
        out.append((False, int(rng.integers(classes) if label is None else label), np.asarray(p).astype(dtype)))

    def sure(rest):
        """The label has all but `rest`."""
        label = rng.integers(classes)
        p = rng.random(classes) * rest / classes
        p[label] = 1 - rest
        return p, label

    row(softmax(rng.normal(0, 1, classes)))
    row(softmax(rng.normal(0, 5, classes)))
    for rest in (1e-1, 1e-3, 1e-5, 1e-9, 1e-30):
        row(*sure(rest))
    row(sure(1e-4)[0])
    row(one := np.eye(classes)[rng.integers(classes)], np.argmax(one))
    row(one)
    row(rng.random(classes) * 1e30)
    row(rng.random(classes) * 1e-30)
    row(magnitudes(rng, classes, signed=False))
    row(magnitudes(rng, classes, 1e-9, 1.0, signed=False))
    p = rng.random(classes)
    p[rng.random(classes) < 0.3] = 0
    p[rng.integers(classes)] = 0.25
    row(p)
    row(np.full(classes, 0.5))
    while len(out) < rows:
        row(rng.dirichlet(np.full(classes, 0.5)))
    if rows < len(out):
        out = [out[i] for i in rng.choice(len(out), rows, replace=False)]
    return out


def categorical_samples(make_rows, sparse):
    def samples(rng, dtype):
        out = []
        for classes, rows in CLASSES.items():
            made = make_rows(rng, dtype, classes, rows)
            for strict in (False, True):
                chosen = [(label, x) for s, label, x in made if s == strict]
                if not chosen:
                    continue
                labels = np.array([label for label, _ in chosen])
                x = np.stack([x for _, x in chosen])
                if sparse:
                    out.append(Sample(labels, x, strict))
                    continue
                y = np.eye(classes)[labels]
                if not strict:
                    # Every third row soft, no weight on an excluded class; one row without any label.
                    soft = np.where(np.isfinite(x), rng.random(x.shape), 0)
                    y[::3] = (soft / soft.sum(axis=-1, keepdims=True))[::3]
                    y[-1] = 0 if len(y) > 4 else y[-1]
                out.append(Sample(y.astype(dtype), x, strict))
        return out

    return samples


def without_excluded(make_rows):
    """For smoothed labels, which put weight on every class: an excluded one then costs inf, see the specials."""

    def rows(rng, dtype, classes, count):
        return [(s, label, np.nan_to_num(x, neginf=-3.0)) for s, label, x in make_rows(rng, dtype, classes, count)]

    return rows


def draw_classes(prediction, sparse):
    def draw(rng, shape):
        labels = rng.integers(0, shape[-1], shape[:-1])
        return labels if sparse else one_hot(labels, shape[-1]), prediction(rng.normal(0, 2, shape))

    return draw


def class_specials(rows, sparse):
    """`rows`: (label, y_pred, value, gradient, hessian); dense cases get the label one-hot."""
    return tuple(
        Special(label if sparse else np.eye(len(p))[label], p, *outputs) for label, p, *outputs in rows
    )


LOGIT_SPECIALS = (
    (0, (NAN, 0.0, 0.0), NAN, (NAN,) * 3, (NAN,) * 3),
    (1, (0.0, 1.0, NAN), NAN, (NAN,) * 3, (NAN,) * 3),
    (1, (-INF, 0.0, 0.0), 0.6931471805599453, (0.0, -0.5, 0.5), (0.0, 0.25, 0.25)),
    (1, (-INF, 0.0, -INF), 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
    (1, (0.0, -INF, 0.0), INF, (0.5, -1.0, 0.5), (0.25, 0.0, 0.25)),
    (1, (-INF, -INF, -INF), NAN, (NAN,) * 3, (NAN,) * 3),
    (0, (INF, 0.0, 0.0), NAN, None, None),
    (1, (INF, 0.0, 0.0), NAN, None, None),
    (0, (INF, INF, -INF), NAN, None, None),
    (0, (-INF,), NAN, (NAN,), (NAN,)),
    (1, (3e38, -3e38, 0.0), None, (1.0, -1.0, 0.0), (0.0, 0.0, 0.0)),
    (2, (0.0, NAN) + (0.0,) * 2500, NAN, None, None),
    (2, (0.0, 0.0, -INF) + (0.0,) * 2500, INF, None, None),
)

PROBABILITY_SPECIALS = (
    (0, (NAN, 0.5, 0.5), NAN, (NAN,) * 3, None),
    (1, (0.0, 1.0, NAN), NAN, (NAN,) * 3, None),
    (1, (0.0, 0.0, 0.0), NAN, None, None),  # nothing to normalise: 0/0
    (0, (INF, 0.5, 0.5), NAN, None, None),
    (2, (0.5, NAN) + (0.5,) * 2500, NAN, None, None),
)


def categorical_case(sparse, from_logits):
    """The four cases share rows, specials and bad arguments."""
    name = ("sparse_" if sparse else "") + "categorical_crossentropy"
    make_rows = logit_rows if from_logits else probability_rows
    special_rows = LOGIT_SPECIALS if from_logits else PROBABILITY_SPECIALS
    kernel = name + ("_from_logits" if from_logits else "")
    bad = (Bad("axis", 1.5), Bad("axis", "x"))
    if not from_logits:
        bad += (Bad("epsilon", 0.0), Bad("epsilon", -1e-7), Bad("epsilon", NAN), Bad("epsilon", "x"))
    if sparse:
        bad += (Bad("ignore_class", "x"),)
    else:
        bad += (Bad("label_smoothing", NAN), Bad("label_smoothing", -0.1), Bad("label_smoothing", "x"))
    parameters = ({}, {"ignore_class": 0}) if sparse else ({}, {"label_smoothing": 0.25})
    if not sparse and from_logits:
        make_rows = without_excluded(make_rows)  # the sparse case has the excluded classes, on the same rows
    return LossCase(
        name=kernel,
        loss="SparseCategoricalCrossentropy" if sparse else "CategoricalCrossentropy",
        handle=name,
        reference=getattr(reference, kernel),
        samples=categorical_samples(make_rows, sparse),
        draw=draw_classes(as_is if from_logits else softmax, sparse),
        fixed={"from_logits": from_logits},
        parameters=parameters,
        row="class",
        sparse=sparse,
        soft_labels=not sparse,
        blur=0.75,  # p / sum(p) is a quotient of two rounded numbers
        specials=class_specials(special_rows, sparse),
        bad=bad,
    )


EPSILONS = (Bad("epsilon", 0.0), Bad("epsilon", -1e-7), Bad("epsilon", NAN), Bad("epsilon", "x"))
BINARY = (Bad("label_smoothing", NAN), Bad("label_smoothing", -0.1), Bad("label_smoothing", "x"), Bad("axis", "x"))

_CASES = (
    LossCase(
        name="mean_squared_error",
        loss="MeanSquaredError",
        handle="mean_squared_error",
        reference=reference.mean_squared_error,
        samples=differences(),
        draw=draw_real,
        specials=difference_specials(INF, INF, 2.0),
    ),
    LossCase(
        name="mean_absolute_error",
        loss="MeanAbsoluteError",
        handle="mean_absolute_error",
        reference=reference.mean_absolute_error,
        samples=differences(),
        draw=draw_real,
        specials=difference_specials(INF, 1.0, 0.0),
    ),
    LossCase(
        name="huber",
        loss="Huber",
        handle="huber",
        reference=reference.huber,
        samples=differences(1.0, 0.25, 8.0),
        draw=draw_real,
        parameters=({}, {"delta": 0.25}, {"delta": 8.0}),
        specials=(
            *difference_specials(INF, 1.0, 0.0),
            Special(0.0, INF, INF, 0.25, 0.0, {"delta": 0.25}),
            Special(0.0, -INF, INF, -0.25, 0.0, {"delta": 0.25}),
        ),
        bad=(Bad("delta", 0.0), Bad("delta", -1.0), Bad("delta", NAN), Bad("delta", "x"), Bad("delta", None)),
    ),
    LossCase(
        name="log_cosh",
        loss="LogCosh",
        handle="log_cosh",
        reference=reference.log_cosh,
        samples=differences(),
        draw=draw_real,
        specials=difference_specials(INF, 1.0, 0.0),
    ),
    LossCase(
        name="hinge",
        loss="Hinge",
        handle="hinge",
        reference=reference.hinge,
        samples=hinge_samples,
        draw=draw_signs,
        convert=hinge_labels,
        specials=(
            Special(1.0, NAN, NAN, NAN),
            Special(NAN, 0.5, NAN),
            Special(1.0, INF, 0.0, 0.0, 0.0),
            Special(1.0, -INF, INF, -1.0, 0.0),
            Special(-1.0, INF, INF, 1.0, 0.0),
            Special(-1.0, -INF, 0.0, 0.0, 0.0),
        ),
    ),
    LossCase(
        name="poisson",
        loss="Poisson",
        handle="poisson",
        reference=reference.poisson,
        samples=poisson_samples,
        draw=draw_counts,
        parameters=({}, {"epsilon": 2.0**-10}),
        specials=(
            Special(1.0, NAN, NAN, NAN, NAN),
            Special(NAN, 1.0, NAN, NAN, NAN),
            Special(1.0, -1.0, NAN),  # the logarithm of a negative number
            Special(0.0, INF, INF, 1.0, 0.0),  # p outgrows y log(p)
            Special(2.0, INF, INF, 1.0, 0.0),
        ),
        bad=(Bad("epsilon", -1e-7), Bad("epsilon", NAN), Bad("epsilon", "x")),
    ),
    LossCase(
        name="kl_divergence",
        loss="KLDivergence",
        handle="kl_divergence",
        reference=reference.kl_divergence,
        samples=kl_samples,
        draw=draw_distributions,
        parameters=({}, {"epsilon": 2.0**-10}),
        row="sum",
        specials=(
            Special(0.5, NAN, NAN, NAN, NAN),
            Special(NAN, 0.5, NAN, NAN, NAN),
            Special(1.0, INF, 0.0, 0.0, 0.0),  # clipped to 1
            Special(INF, 1.0, 0.0, -1.0, 1.0),
            Special(1.0, -INF, 16.11809565095832, 0.0, 0.0),
        ),
        bad=EPSILONS,
    ),
    LossCase(
        name="binary_crossentropy",
        loss="BinaryCrossentropy",
        handle="binary_crossentropy",
        reference=reference.binary_crossentropy,
        samples=binary_probability_samples,
        draw=draw_binary(sigmoid),
        soft_labels=True,
        fixed={"from_logits": False},
        parameters=({}, {"label_smoothing": 0.25}, {"epsilon": 2.0**-10}),
        specials=(
            Special(1.0, NAN, NAN, NAN, NAN),
            Special(NAN, 0.5, NAN, NAN, NAN),
            Special(1.0, INF, 1.0000000500000033e-07, 0.0, 0.0),  # clipped to 1 - epsilon
            Special(0.0, INF, 16.11809565095832, 0.0, 0.0),
            Special(1.0, -INF, 16.11809565095832, 0.0, 0.0),
        ),
        bad=BINARY + EPSILONS,
    ),
    LossCase(
        name="binary_crossentropy_from_logits",
        loss="BinaryCrossentropy",
        handle="binary_crossentropy",
        reference=reference.binary_crossentropy_from_logits,
        samples=binary_logit_samples,
        draw=draw_binary(as_is),
        soft_labels=True,
        fixed={"from_logits": True},
        parameters=({}, {"label_smoothing": 0.25}),
        specials=(
            Special(1.0, NAN, NAN, NAN, NAN),
            Special(NAN, 0.5, NAN, NAN),
            Special(1.0, INF, 0.0, 0.0, 0.0),
            Special(0.0, -INF, 0.0, 0.0, 0.0),
            Special(1.0, -INF, INF, -1.0, 0.0),
            Special(0.0, INF, INF, 1.0, 0.0),
            Special(0.5, INF, INF, 0.5, 0.0),
            Special(0.5, -INF, INF, -0.5, 0.0),
        ),
        bad=BINARY,
    ),
    *(categorical_case(sparse, from_logits) for sparse in (False, True) for from_logits in (False, True)),
)

CASES = {case.name: case for case in _CASES}

# Parameters of the fixture `variant`: (name, index of the parameters).
VARIANTS = [(name, i) for name, case in CASES.items() for i in range(len(case.parameters))]
