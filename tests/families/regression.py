# SPDX-License-Identifier: BSD-3-Clause
"""Losses of the difference of y_pred and y_true."""

import numpy as np

import reference
from table import EPSILONS, INF, NAN, Bad, LossCase, Special, around, cross, elements, extremes, magnitudes


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


# Extremes of both sides, and one whose power of two is not that of its neighbours.
WIDTHS = (0.25, 8.0, 0.8125, 2.0**-100, 2.0**100)


def percentage_samples(rng, dtype):
    bound = around(1e-7, dtype)
    return [
        *differences()(rng, dtype),
        elements(
            dtype,
            cross(np.concatenate([bound, -bound, [0.0, 1e-20]]), [0.0, 1e-7, -1e-7, 1.0, 1e-20, 1e20]),
            cross(bound, bound),
        ),
    ]


def logarithmic_samples(rng, dtype):
    y = magnitudes(rng, 60, 1e-7, 1e30, False).astype(dtype)
    edges = np.concatenate([extremes(dtype), around([1e-7, 2.0**-10], dtype), [0.5, 1e10]])
    return [
        elements(
            dtype,
            (rng.integers(0, 20, 60), rng.gamma(2, 2, 60)),
            (magnitudes(rng, 100), magnitudes(rng, 100)),
            (magnitudes(rng, 60, signed=False), magnitudes(rng, 60, signed=False)),
            # log((1 + p)/(1 + y)) of nearly equal numbers
            (y, y + rng.integers(-9, 10, y.size) * np.spacing(y)),
            (y, y * (1 + rng.normal(0, 1e-3, y.size))),
            # 1 - L of the Hessian
            (y, np.e * (1 + y.astype(float)) - 1),
            cross(edges, edges),
        )
    ]


def draw_real(rng, shape):
    return rng.normal(0, 2, shape), rng.normal(0, 2, shape)


def draw_positive(rng, shape):
    return rng.gamma(2.0, 1.0, shape), rng.gamma(2.0, 1.0, shape)


def bad_numbers(name, *others):
    return tuple(Bad(name, value) for value in (0.0, -1.0, NAN, INF, "x", None, *others))


def difference_specials(value, slope=None, curvature=None):
    """NaN goes through; an infinite difference has an infinite loss. inf - inf is no number."""
    out = [Special(NAN, 0.0, NAN, NAN), Special(0.0, NAN, NAN, NAN), Special(INF, INF, NAN, NAN)]
    for sign in (1.0, -1.0):
        gradient = None if slope is None else sign * slope
        out += [Special(0.0, sign * INF, value, gradient, curvature), Special(-sign * INF, 0.0, value, gradient, curvature)]
    return tuple(out)


CASES = (
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
        at_zero={"gradient": np.tanh},
        samples=differences(),
        draw=draw_real,
        specials=difference_specials(INF, 1.0, 0.0),
    ),
    LossCase(
        name="smooth_l1",
        loss="SmoothL1",
        handle="smooth_l1",
        reference=reference.smooth_l1,
        samples=differences(1.0, *WIDTHS),
        draw=draw_real,
        parameters=({}, *({"beta": width} for width in WIDTHS)),
        specials=difference_specials(INF, 1.0, 0.0),
        bad=bad_numbers("beta"),
    ),
    LossCase(
        name="pseudo_huber",
        loss="PseudoHuber",
        handle="pseudo_huber",
        reference=reference.pseudo_huber,
        samples=differences(1.0, *WIDTHS),
        draw=draw_real,
        parameters=({}, *({"delta": width} for width in WIDTHS)),
        specials=(
            *difference_specials(INF, 1.0, 0.0),
            Special(0.0, INF, INF, 0.25, 0.0, {"delta": 0.25}),
            Special(0.0, -INF, INF, -0.25, 0.0, {"delta": 0.25}),
        ),
        bad=bad_numbers("delta"),
    ),
    LossCase(
        name="quantile",
        loss="Quantile",
        handle="quantile",
        reference=reference.quantile,
        samples=differences(),
        draw=draw_real,
        parameters=({}, {"quantile": 0.875}, {"quantile": 0.9999}, {"quantile": 1e-9}),
        specials=(
            *difference_specials(INF, 0.5, 0.0),
            Special(0.0, INF, INF, 0.125, 0.0, {"quantile": 0.875}),
            Special(INF, 0.0, INF, -0.875, 0.0, {"quantile": 0.875}),
        ),
        bad=bad_numbers("quantile", 1.0, 1.5),
    ),
    LossCase(
        name="expectile",
        loss="Expectile",
        handle="expectile",
        reference=reference.expectile,
        samples=differences(),
        draw=draw_real,
        parameters=({}, {"expectile": 0.875}, {"expectile": 0.9999}, {"expectile": 1e-9}),
        specials=(
            *difference_specials(INF, INF, 1.0),
            Special(0.0, INF, INF, INF, 0.25, {"expectile": 0.875}),
            Special(INF, 0.0, INF, -INF, 1.75, {"expectile": 0.875}),
        ),
        bad=bad_numbers("expectile", 1.0, 1.5),
    ),
    LossCase(
        name="mean_absolute_percentage_error",
        loss="MeanAbsolutePercentageError",
        handle="mean_absolute_percentage_error",
        reference=reference.mean_absolute_percentage_error,
        samples=percentage_samples,
        draw=draw_real,
        parameters=({}, {"epsilon": 2.0**-10}, {"epsilon": 0.3}),
        specials=(
            Special(NAN, 0.0, NAN, NAN, NAN),
            Special(0.0, NAN, NAN, NAN, NAN),
            Special(INF, NAN, NAN, NAN, NAN),
            Special(INF, INF, NAN, NAN, NAN),
            Special(2.0, INF, INF, 50.0, 0.0),
            Special(-2.0, -INF, INF, -50.0, 0.0),
            Special(INF, 3.0, 100.0, 0.0, 0.0),  # |p - y|/|y| approaches 1
            Special(-INF, 3.0, 100.0, 0.0, 0.0),
            Special(INF, -INF, NAN),
        ),
        bad=EPSILONS,
    ),
    LossCase(
        name="mean_squared_logarithmic_error",
        cancels="float32 rounds epsilon where it replaces just one of the two; in the Hessian 1 and the logarithm",
        loss="MeanSquaredLogarithmicError",
        handle="mean_squared_logarithmic_error",
        reference=reference.mean_squared_logarithmic_error,
        samples=logarithmic_samples,
        draw=draw_positive,
        parameters=({}, {"epsilon": 2.0**-10}),
        specials=(
            Special(NAN, 1.0, NAN, NAN, NAN),
            Special(NAN, -1.0, NAN, NAN, NAN),
            Special(1.0, NAN, NAN, NAN, NAN),
            Special(INF, INF, NAN, NAN, NAN),
            Special(1.0, INF, INF, 0.0, 0.0),  # p outgrows its logarithm
            Special(INF, 1.0, INF, -INF, INF),
            Special(INF, -1.0, INF, 0.0, 0.0),  # clipped
            Special(0.0, -INF, 0.0, 0.0, 0.0),
            Special(-INF, 0.0, 0.0, 0.0, 0.0),
        ),
        bad=EPSILONS,
    ),
)
