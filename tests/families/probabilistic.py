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
    Sample,
    Special,
    around,
    as_is,
    confident,
    cross,
    draw_binary,
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


def log_samples(low):
    """Labels from `low` on, and logarithms of means up to where every exponential over- or underflows."""

    def samples(rng, dtype):
        y = np.concatenate([rng.integers(1, 20, 30), magnitudes(rng, 30, signed=False)])
        z = np.concatenate([rng.normal(0, 2, 40), rng.uniform(-100, 100, 30), rng.uniform(-1500, 1500, 30)])
        z = np.concatenate([z, magnitudes(rng, 40), extremes(dtype)])
        labels = rng.choice(np.append(y, low), (2, z.size))
        # Near the root of the gradient
        near = np.log(y) + rng.choice([0, 1e-3, 1e-6], y.size)
        return [elements(dtype, (labels[0], z), (labels[1], z), (y, near), (y, np.log(y)), cross([low, 1.0], z))]

    return samples


def draw_logs(rng, shape):
    return rng.poisson(2.0, shape) + 1.0, rng.normal(0, 1, shape)


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


def gaussian_samples(rng, dtype):
    large = 700.0 if dtype.itemsize == 8 else 85.0
    s = np.concatenate(
        [rng.normal(0, 2, 60), rng.uniform(-large, large, 60), 3 * rng.uniform(-large, large, 60), magnitudes(rng, 40)]
    )
    y, m = rng.normal(0, 2, s.size), rng.normal(0, 2, s.size)
    close = m.astype(dtype) + np.spacing(m.astype(dtype)) * rng.integers(-9, 10, s.size)
    pairs = [(y, m), (close, m), (0.0, magnitudes(rng, s.size)), (magnitudes(rng, s.size), 0.0), (1.5, 1.5)]
    # Near the roots of value and slope, where their terms cancel
    pairs = [(*np.broadcast_arrays(a, b, s),) for a, b in pairs]
    pairs += [(np.zeros(s.size), np.exp(s[:60].repeat(4)[: s.size] / 2), s[:60].repeat(4)[: s.size])]
    pairs += [(np.zeros(20), rng.choice(extremes(dtype), 20), rng.choice(extremes(dtype), 20))]
    y, m, s = (np.concatenate(x).astype(dtype) for x in zip(*pairs, strict=True))
    return [Sample(y, np.stack([m, s], axis=-1))]


def draw_location_scale(rng, shape):
    return rng.normal(0, 2, shape[:-1]), rng.normal(0, 2, (*shape[:-1], 2))


LOG_SPECIALS = (Special(1.0, NAN, NAN, NAN, NAN), Special(NAN, 0.5, NAN, NAN))

FOCAL = (Bad("gamma", -0.5), Bad("gamma", INF), Bad("gamma", "x"), Bad("alpha", -0.5), Bad("alpha", NAN), Bad("alpha", "x"))

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


def softplus(x):
    return np.logaddexp(0, x)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def binary_case(from_logits, weight):
    """The four cases share labels, specials and bad arguments."""
    name = "binary_crossentropy" + ("_from_logits" if from_logits else "")
    formula = getattr(reference, name)
    epsilons = () if from_logits else ({"epsilon": 2.0**-10},)
    return LossCase(
        name=name if weight is None else f"weighted_{name}",
        cancels="for labels between 0 and 1 the two terms of the gradient have opposite signs",
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
        at_zero={"value": softplus, "gradient": logistic} if from_logits and weight is None else {},
        specials=LOGIT_SPECIALS if from_logits else PROBABILITY_SPECIALS,
        bad=BINARY + (() if from_logits else EPSILONS) + (() if weight is None else WEIGHTS),
    )


CASES = (
    LossCase(
        name="poisson",
        cancels="y_pred and y_true*log(y_pred)",
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
        name="poisson_log_link",
        cancels="exp(y_pred) and y_true; exp(y_pred) and y_true*y_pred",
        loss="PoissonLogLink",
        handle="poisson_log_link",
        true_bounds=(0.0, INF),
        reference=reference.poisson_log_link,
        samples=log_samples(0.0),
        draw=draw_logs,
        specials=(
            *LOG_SPECIALS,
            Special(2.0, INF, INF, INF, INF),  # exp(z) outgrows y z
            Special(0.0, INF, INF, INF, INF),
            Special(2.0, -INF, INF, -2.0, 0.0),
            Special(0.0, -INF, 0.0, 0.0, 0.0),
            Special(NAN, INF, NAN, NAN),
        ),
    ),
    LossCase(
        name="gamma",
        cancels="1 and y_true*exp(-y_pred); y_pred below 0 and that ratio",
        loss="Gamma",
        handle="gamma",
        true_bounds=(0.0, INF),
        reference=reference.gamma,
        samples=log_samples(0.5),
        draw=draw_logs,
        specials=(
            *LOG_SPECIALS,
            Special(2.0, INF, INF, 1.0, 0.0),
            Special(2.0, -INF, INF, -INF, INF),  # y exp(-z) outgrows z
        ),
    ),
    LossCase(
        name="tweedie",
        cancels="the two powers in the gradient",
        loss="Tweedie",
        handle="tweedie",
        true_bounds=(0.0, INF),
        reference=reference.tweedie,
        samples=log_samples(0.0),
        draw=draw_logs,
        parameters=({}, {"power": 1.25}, {"power": 1 + 2.0**-12}, {"power": 2 - 2.0**-12}),
        specials=(
            *LOG_SPECIALS,
            Special(2.0, INF, INF, INF, INF),
            Special(2.0, -INF, INF, -INF, INF),
            Special(0.0, -INF, 0.0, 0.0, 0.0),
        ),
        bad=(Bad("power", 1.0), Bad("power", 2.0), Bad("power", 0.0), Bad("power", NAN), Bad("power", "x")),
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
    LossCase(
        name="binary_focal_crossentropy",
        ulps=dict.fromkeys(("value", "gradient", "hessian"), 12),
        because="the power multiplies the error of the probability of the wrong answer by gamma (the tests go up to 5), "
        "which for labels between 0 and 1 is a sum of rounded products",
        cancels="for labels between 0 and 1, and in the Hessian, terms have opposite signs",
        loss="BinaryFocalCrossentropy",
        handle="binary_focal_crossentropy",
        reference=reference.binary_focal_crossentropy,
        samples=binary_probability_samples,
        draw=draw_binary(sigmoid),
        soft_labels=True,
        fixed={"from_logits": False},
        parameters=(
            {},
            {"gamma": 0.5, "apply_class_balancing": True},
            {"gamma": 0.0, "alpha": 0.75, "apply_class_balancing": True},
            {"gamma": 1.0, "epsilon": 2.0**-10},
            {"gamma": 5.0},
            {"label_smoothing": 0.25},
        ),
        specials=(
            Special(1.0, NAN, NAN, NAN, NAN),
            Special(NAN, 0.5, NAN, NAN, NAN),
            Special(1.0, 1.0, 0.0, 0.0, 2.0000001000000066e-07),  # the square of 1 - p, times epsilon
            Special(1.0, 1.0, 0.0, -INF, -INF, {"gamma": 0.5}),
        ),
        true_bounds=(0.0, 1.0),
        pred_bounds=(0.0, 1.0),
        bad=BINARY + EPSILONS + FOCAL,
    ),
    LossCase(
        name="binary_focal_crossentropy_from_logits",
        ulps=dict.fromkeys(("value", "gradient", "hessian"), 12),
        because="the power multiplies the error of the probability of the wrong answer by gamma (the tests go up to 5), "
        "which for labels between 0 and 1 is a sum of rounded products",
        cancels="for labels between 0 and 1, and in the Hessian, terms have opposite signs",
        loss="BinaryFocalCrossentropy",
        handle="binary_focal_crossentropy",
        reference=reference.binary_focal_crossentropy_from_logits,
        samples=binary_logit_samples,
        draw=draw_binary(as_is),
        soft_labels=True,
        fixed={"from_logits": True},
        parameters=(
            {},
            {"gamma": 0.5, "apply_class_balancing": True},
            {"gamma": 0.0, "alpha": 0.75, "apply_class_balancing": True},
            {"gamma": 3.0},
            {"label_smoothing": 0.25},
        ),
        specials=(
            Special(1.0, NAN, NAN, NAN, NAN),
            Special(NAN, 0.5, NAN, NAN),
            Special(1.0, INF, 0.0, 0.0, 0.0),
            Special(0.0, -INF, 0.0, 0.0, 0.0),
            Special(1.0, -INF, INF, -1.0, 0.0),
            Special(0.0, INF, INF, 1.0, 0.0),
            Special(1.0, -1000.0, 1000.0, -1.0, 0.0),
            Special(1.0, INF, 0.0, 0.0, 0.0, {"gamma": 0.0}),
        ),
        true_bounds=(0.0, 1.0),
        bad=BINARY + FOCAL,
    ),
    LossCase(
        name="gaussian_nll",
        cancels="a negative log-variance and the squared residual; 1 and that square in the gradient",
        loss="GaussianNLL",
        handle="gaussian_nll",
        reference=reference.gaussian_nll,
        samples=gaussian_samples,
        draw=draw_location_scale,
        row="class",
        columns=2,
        specials=(
            Special(NAN, (0.0, 0.0), NAN, (NAN, NAN)),
            Special(0.0, (NAN, 0.0), NAN, (NAN, NAN)),
            Special(0.0, (0.0, NAN), NAN, (NAN, NAN), (NAN, NAN)),
            Special(0.0, (INF, 0.0), INF, (INF, -INF), (1.0, INF)),
            Special(INF, (0.0, 0.0), INF, (-INF, -INF), (1.0, INF)),
            Special(0.0, (1.0, INF), INF, (0.0, 0.5), (0.0, 0.0)),
            Special(0.0, (0.0, -INF), -INF, (0.0, 0.5), (INF, 0.0)),
            Special(0.0, (1.0, -INF), INF, (INF, -INF), (INF, INF)),
            Special(0.0, (INF, INF), INF),
        ),
    ),
)
