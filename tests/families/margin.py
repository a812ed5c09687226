# SPDX-License-Identifier: BSD-3-Clause
"""Losses of the margin."""

import numpy as np

import reference
from table import (
    CLASSES,
    INF,
    NAN,
    LossCase,
    Sample,
    Special,
    around,
    as_is,
    confident,
    cross,
    draw_classes,
    elements,
    extremes,
    magnitudes,
    one_hot,
)


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


def exponential_samples(rng, dtype):
    # Where float32 and float64 leave their range, and labels whose product with y_pred is not exact.
    p = np.concatenate([confident(dtype), rng.uniform(-100, 100, 40), rng.uniform(-740, 740, 20)])
    real = rng.normal(0, 2, 40)
    more = elements(dtype, cross([-1.0, 1.0], p), (real, rng.uniform(-40, 40, 40)), (real, rng.uniform(-350, 350, 40)))
    return [*hinge_samples(rng, dtype), more]


def hinge_labels(y_true):
    return 2 * y_true - 1 if np.isin(y_true, (0, 1)).all() else y_true


def draw_signs(rng, shape):
    return rng.choice([-1.0, 1.0], shape), rng.normal(0, 2, shape)


def categorical_hinge_samples(rng, dtype):
    out = []
    for classes, rows in CLASSES.items():
        labels = rng.integers(classes, size=rows)
        y = one_hot(labels, classes)
        p = rng.normal(0, 2, (rows, classes))
        kinds = [
            np.round(p[0]),  # many ties
            np.full(classes, 0.75),
            -np.abs(p[1]),  # the right class, with a score of 0, is the maximum
            magnitudes(rng, classes),
            magnitudes(rng, classes, 1e-30, 1e-20),
            rng.choice(extremes(dtype)[:6], classes),
            p[2] + 10 * y[2],  # a lead beyond the margin
            np.zeros(classes),
        ]
        place = rng.permutation(rows)[: len(kinds)]
        for i, kind in zip(place, kinds, strict=False):
            p[i] = kind
        y[-1], p[-1] = rng.dirichlet(np.ones(classes)), rng.normal(0, 2, classes)  # soft labels
        y[0] = 0 if rows > 6 else y[0]
        out.append(Sample(y.astype(dtype), p.astype(dtype)))
    return out


CASES = (
    LossCase(
        name="hinge",
        cancels="1 - y_true*y_pred, of a rounded product unless y_true is -1 or 1",
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
        name="squared_hinge",
        cancels="1 - y_true*y_pred, of a rounded product unless y_true is -1 or 1",
        loss="SquaredHinge",
        handle="squared_hinge",
        reference=reference.squared_hinge,
        samples=hinge_samples,
        draw=draw_signs,
        convert=hinge_labels,
        specials=(
            Special(1.0, NAN, NAN, NAN, NAN),
            Special(NAN, 0.5, NAN, NAN, NAN),
            Special(1.0, INF, 0.0, 0.0, 0.0),
            Special(1.0, -INF, INF, -INF, 2.0),
            Special(-1.0, INF, INF, INF, 2.0),
            Special(-1.0, -INF, 0.0, 0.0, 0.0),
        ),
    ),
    LossCase(
        name="exponential",
        loss="Exponential",
        handle="exponential",
        reference=reference.exponential,
        samples=exponential_samples,
        draw=draw_signs,
        convert=hinge_labels,
        specials=(
            Special(1.0, NAN, NAN, NAN, NAN),
            Special(NAN, 0.5, NAN, NAN, NAN),
            Special(1.0, INF, 0.0, 0.0, 0.0),
            Special(1.0, -INF, INF, -INF, INF),
            Special(-1.0, INF, INF, INF, INF),
            Special(-1.0, -INF, 0.0, 0.0, 0.0),
        ),
    ),
    LossCase(
        name="categorical_hinge",
        loss="CategoricalHinge",
        handle="categorical_hinge",
        reference=reference.categorical_hinge,
        samples=categorical_hinge_samples,
        draw=draw_classes(as_is, sparse=False),
        row="class",
        soft_labels=True,
        hessian=False,
        specials=(
            Special((0.0, 1.0, 0.0), (0.0, NAN, 0.0), NAN, (NAN,) * 3),
            Special((0.0, 1.0, 0.0), (0.0, 0.0, NAN), NAN, (NAN,) * 3),
            Special((0.0, 1.0, 0.0), (NAN, 0.0, 0.0), NAN, (NAN,) * 3),
            Special((0.0, NAN, 0.0), (0.0, 0.0, 0.0), NAN, (NAN,) * 3),
            Special((0.0, 1.0, 0.0), (0.0, INF, 0.0), 0.0, (0.0,) * 3),
            Special((0.0, 1.0, 0.0), (0.0, -INF, -1.0), INF, (0.5, -1.0, 0.0)),
            Special((0.0, 1.0, 0.0), (-1.0, 0.0, INF), INF, (0.0, -1.0, 1.0)),
            Special((0.0, 1.0, 0.0), (-INF, 0.5, -INF), 0.5, (0.0, -1.0, 0.0)),
            Special((1.0,) + (0.0,) * 2500, (0.0,) * 2000 + (NAN,) + (0.0,) * 500, NAN),
        ),
    ),
)
