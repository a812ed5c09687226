# SPDX-License-Identifier: BSD-3-Clause
"""Losses of the margin."""

import numpy as np

import reference
from table import INF, NAN, LossCase, Special, around, confident, cross, elements, extremes, magnitudes


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


CASES = (
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
        name="squared_hinge",
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
)
