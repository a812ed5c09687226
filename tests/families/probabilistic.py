# SPDX-License-Identifier: BSD-3-Clause
"""Losses of a probability, a rate or a logit for each element."""

import numpy as np

import reference
from table import (
    EPSILONS,
    INF,
    NAN,
    Bad,
    LossCase,
    Special,
    around,
    as_is,
    confident,
    cross,
    elements,
    extremes,
    magnitudes,
    sigmoid,
    softmax,
)


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


BINARY = (Bad("label_smoothing", NAN), Bad("label_smoothing", -0.1), Bad("label_smoothing", "x"), Bad("axis", "x"))

CASES = (
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
)
