# SPDX-License-Identifier: BSD-3-Clause
"""Losses of how alike two vectors, or two masks, are."""

import numpy as np

import reference
from table import CLASSES, EPSILONS, NAN, Bad, LossCase, Sample, Special, draw_binary, extremes, magnitudes, sigmoid


def vector_rows(rng, dtype, width):
    """[(y_true, y_pred)]"""

    def normal():
        return rng.normal(0, 1, width)

    y, p = normal(), normal()
    rows = [(normal(), normal()) for _ in range(4)]
    rows += [(y, y), (y, -y), (y, y + 1e-6 * p), (y, 3 * y), (np.zeros(width), p), (y, np.zeros(width))]
    # Any length has a direction, and so have vectors whose elements differ in it.
    sizes = [1e-30, 1e30, 1e-44, 1e38] + ([1e-200, 1e200, 1e-300, 1e300, 1e-320] if dtype.itemsize == 8 else [])
    for size in sizes:
        for other in (1.0, size, 1 / size if size > 1e-300 else 1.0):
            if other < 1e39 or dtype.itemsize == 8:
                rows.append((size * rng.uniform(-1, 1, width), other * rng.uniform(-1, 1, width)))
    rows += [(magnitudes(rng, width), magnitudes(rng, width)) for _ in range(3)]
    rows += [(rng.choice(extremes(dtype), width), rng.choice(extremes(dtype), width)) for _ in range(2)]
    if dtype.itemsize == 8:
        rows += [(magnitudes(rng, width, 1e-300, 1e300), magnitudes(rng, width, 1e-300, 1e300)) for _ in range(3)]
        # Orthogonal but for products that are below the smallest number.
        rows += [(np.resize([1e-190, 1e-130, 1.0], width), np.resize([1e-130, 1e-190, 0.0], width))]
    at = rng.integers(width)
    rows += [(np.eye(width)[at], np.eye(width)[at - 1]), (np.eye(width)[at], p)]
    return rows


def vector_samples(rng, dtype):
    out = []
    for width, count in CLASSES.items():
        rows = vector_rows(rng, dtype, width)
        if count < 10:
            rows = [rows[i] for i in rng.choice(len(rows), 2 * count, replace=False)]
        out.append(Sample(*(np.array(x).astype(dtype) for x in zip(*rows, strict=True))))
    return out


def draw_vectors(rng, shape):
    return rng.normal(0, 1, shape), rng.normal(0, 1, shape)


def mask_samples(rng, dtype):
    out = []
    for width, count in CLASSES.items():
        y = rng.integers(0, 2, width).astype(float)
        p = rng.random(width)
        rows = [(rng.integers(0, 2, width), sigmoid(rng.normal(0, 2, width))) for _ in range(4)]
        rows += [(y, p), (y, y), (y, 1 - y), (np.zeros(width), np.zeros(width)), (np.ones(width), np.ones(width))]
        rows += [(np.zeros(width), p), (np.ones(width), p), (y, np.zeros(width)), (y, np.ones(width))]
        # Near-perfect overlaps
        rows += [(y, np.where(y == 1, 1 - rest * p, rest * p)) for rest in (1e-3, 1e-6, 1e-12, 1e-30)]
        rows += [(rng.random(width), p), (y, magnitudes(rng, width, 1e-30, 1.0, signed=False))]
        rows += [(rng.random(width), magnitudes(rng, width, 1e-12, 1.0, signed=False))]
        if count < 10:
            rows = [rows[i] for i in rng.choice(len(rows), 2 * count, replace=False)]
        out.append(Sample(*(np.array(x).astype(dtype) for x in zip(*rows, strict=True))))
    return out


MASKS = dict(
    samples=mask_samples,
    draw=draw_binary(sigmoid),
    fixed={"axis": -1},
    row="class",
    soft_labels=True,
    hessian=False,
    true_bounds=(0.0, 1.0),
    pred_bounds=(0.0, 1.0),
    specials=(
        Special((1.0, 0.0), (NAN, 0.5), NAN, (NAN, NAN)),
        Special((1.0, 0.0), (0.5, NAN), NAN, (NAN, NAN)),
        Special((NAN, 0.0), (0.5, 0.5), NAN, (NAN, NAN)),
        Special((0.0,) * 2500, (0.0,) * 2499 + (NAN,), NAN, None),
        Special((0.0, 0.0), (0.0, 0.0), 1.0, (0.0, 0.0)),  # two empty masks, as Keras has them
    ),
)

CASES = (
    LossCase(
        name="cosine_similarity",
        ulps={"value": 10, "gradient": 8},
        because="in float64 three sums of rounded products",
        cancels="products of both signs; the two terms of the gradient",
        loss="CosineSimilarity",
        handle="cosine_similarity",
        reference=reference.cosine_similarity,
        samples=vector_samples,
        draw=draw_vectors,
        row="class",
        hessian=False,
        specials=(
            Special((1.0, 0.0), (NAN, 0.5), NAN, (NAN, NAN)),
            Special((1.0, 0.0), (0.5, NAN), NAN, (NAN, NAN)),
            Special((NAN, 0.0), (0.5, 0.5), NAN, (NAN, NAN)),
            Special((0.0, 0.0), (0.5, NAN), NAN, None),
            Special((0.0, 0.0), (0.5, 0.5), 0.0, (0.0, 0.0)),
            Special((0.5, 0.5), (0.0, 0.0), 0.0, (0.0, 0.0)),
            Special((0.5,) * 2500, (0.5,) * 2499 + (NAN,), NAN, None),
        ),
        bad=(Bad("axis", 1.5), Bad("axis", "x")),
    ),
    LossCase(
        name="tversky",
        ulps={"gradient": 8},
        because="in float64 quotients by the square of a sum of rounded products",
        cancels="the two terms of the gradient for masks between 0 and 1",
        loss="Tversky",
        handle="tversky",
        reference=reference.tversky,
        parameters=({}, {"alpha": 0.25, "beta": 0.75}, {"alpha": 1.0, "beta": 0.0, "epsilon": 2.0**-10}),
        bad=(
            Bad("axis", "x"),
            *(Bad(name, value) for name in ("alpha", "beta") for value in (-1.0, NAN, "x")),
            Bad("epsilon", 0.0),
            Bad("epsilon", NAN),
        ),
        **MASKS,
    ),
    LossCase(
        name="dice",
        ulps={"gradient": 8},
        because="in float64 quotients by the square of a sum of rounded products",
        cancels="the two terms of the gradient for masks between 0 and 1",
        loss="Dice",
        handle="dice",
        reference=reference.dice,
        parameters=({}, {"epsilon": 2.0**-10}),
        bad=(Bad("axis", "x"), *EPSILONS),
        **MASKS,
    ),
)
