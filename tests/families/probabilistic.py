# SPDX-License-Identifier: BSD-3-Clause
"""Losses of a probability, a rate or a logit for each element."""

import functools

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
    edges = [0.0, 1e-30, 2e-7, 0.5]
    edges = np.concatenate([edges, around(1.0, dtype, (0, -1, -2)), [float(np.dtype(dtype).type(1e-8))]])
    return [
        elements(
            dtype,
            (rng.uniform(0, 1, 60), rng.uniform(0, 1, 60)),
            # log(y/p) of nearly equal numbers
            (y, y + rng.integers(-9, 10, y.size) * np.spacing(y)),
            (magnitudes(rng, 40, 1e-7, 1.0, False), magnitudes(rng, 40, 1e-7, 1.0, False)),
            (magnitudes(rng, 60, 1e-30, 1.0, False), magnitudes(rng, 60, 1e-30, 1.0, False)),
            cross(edges, edges),
            cross([0.25], around(1e-7, dtype)),
            cross([0.25], [x for x in extremes(dtype, signed=False) if x <= 1]),
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
    p = p[(p >= 0) & (p <= 1)]
    return [elements(dtype, cross([0.0, 1.0], p), (rng.uniform(0, 1, p.size), p))]


def draw_binary(prediction):
    def draw(rng, shape):
        return rng.integers(0, 2, shape).astype(float), prediction(rng.normal(0, 2, shape))

    return draw


BINARY = (Bad("label_smoothing", NAN), Bad("label_smoothing", -0.1), Bad("label_smoothing", "x"), Bad("axis", "x"))
WEIGHTS = (Bad("pos_weight", -1.0), Bad("pos_weight", NAN), Bad("pos_weight", INF), Bad("pos_weight", "x"))

PROBABILITY_SPECIALS = (
    Special(1.0, NAN, NAN, NAN, NAN),
    Special(NAN, 0.5, NAN, NAN, NAN),
    Special(0.0, 1.0, 16.11809565095832, 0.0, 0.0),  # clipped
    Special(0.0, 0.0, 1.0000000500000033e-07, 0.0, 0.0),
)

LOGIT_SPECIALS = (
    Special(1.0, NAN, NAN, NAN, NAN),
    Special(NAN, 0.5, NAN, NAN),
    Special(1.0, INF, 0.0, 0.0, 0.0),
    Special(0.0, -INF, 0.0, 0.0, 0.0),
    Special(1.0, -INF, INF, None, 0.0),
    Special(0.0, INF, INF, 1.0, 0.0),
    Special(0.5, INF, INF, 0.5, 0.0),
    Special(0.5, -INF, INF, None, 0.0),
)


def binary_case(from_logits, weight):
    """The four cases share labels, specials and bad arguments."""
    name = "binary_crossentropy" + ("_from_logits" if from_logits else "")
    formula = getattr(reference, name)
    epsilons = () if from_logits else ({"epsilon": 2.0**-10},)
    return LossCase(
        name=name if weight is None else f"weighted_{name}",
        loss="BinaryCrossentropy",
        handle="binary_crossentropy",
        reference=formula if weight is None else functools.partial(formula, pos_weight=weight),
        samples=binary_logit_samples if from_logits else binary_probability_samples,
        draw=draw_binary(as_is if from_logits else sigmoid),
        soft_labels=True,
        fixed={"from_logits": from_logits} | ({} if weight is None else {"pos_weight": weight}),
        parameters=({}, {"label_smoothing": 0.25}, *epsilons),
        true_bounds=(0.0, 1.0),
        pred_bounds=(-INF, INF) if from_logits else (0.0, 1.0),
        class_weight="" if weight is None else "pos_weight",
        specials=LOGIT_SPECIALS if from_logits else PROBABILITY_SPECIALS,
        bad=BINARY + (() if from_logits else EPSILONS) + (() if weight is None else WEIGHTS),
    )


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
            Special(1.0, 0.0, 16.11809565095832, 0.0, 0.0),
        ),
        true_bounds=(0.0, 1.0),
        pred_bounds=(0.0, 1.0),
        bad=EPSILONS,
    ),
    *(binary_case(from_logits, weight) for from_logits in (False, True) for weight in (None, 2.5)),
)
