# SPDX-License-Identifier: BSD-3-Clause
"""Losses of the difference of y_pred and y_true."""

import numpy as np

import reference
from table import INF, NAN, Bad, LossCase, Special, around, elements, extremes, magnitudes


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


def draw_real(rng, shape):
    return rng.normal(0, 2, shape), rng.normal(0, 2, shape)


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
        samples=differences(),
        draw=draw_real,
        specials=difference_specials(INF, 1.0, 0.0),
    ),
)
