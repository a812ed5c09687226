# SPDX-License-Identifier: BSD-3-Clause
"""Sorts of inputs at which formulas lose their digits: title -> (labels of losses, dtype -> rows of y_true and y_pred)."""

import numpy as np

BINARY = ("binary_crossentropy (from logits)",)
FOCAL = ("binary_focal_crossentropy (from logits)",)
CLASSES = ("categorical_crossentropy (from logits)", "categorical_focal_crossentropy (from logits)")
SPARSE = ("sparse_categorical_crossentropy (from logits)", "sparse_categorical_focal_crossentropy (from logits)")

# What leads of a logit cost: down to 1e-34.
LEADS = np.array([5.0, 10.0, 15.0, 17.0, 20.0, 30.0, 46.0, 60.0, 70.0, 78.0])


def column(*x):
    return np.stack(np.broadcast_arrays(*x)).reshape(len(x), -1, 1)


def sure_binary(dtype):
    return column(np.repeat([1.0, 0.0], len(LEADS)), np.concatenate([LEADS, -LEADS]))


def sure_labels(dtype):
    logits = np.zeros((len(LEADS), 4))
    logits[:, 0], logits[:, 1:] = LEADS, (0.0, -1.0, -3.0)
    return np.zeros(len(LEADS), np.int64), logits


def sure_classes(dtype):
    labels, logits = sure_labels(dtype)
    return np.eye(4)[labels], logits


def huge(dtype):
    z = 10.0 ** np.arange(-30, 31, 4)
    return column(np.repeat([1.0, 0.0, 1.0, 0.0], len(z)), np.concatenate([z, z, -z, -z]))


def nearly_sure(dtype):
    """From just above epsilon to just below 1 - epsilon."""
    tiny = 2.0 ** -np.arange(2.0, 23 if dtype == "float32" else 24)
    p = np.concatenate([tiny, 1 - tiny])
    return column(np.repeat([1.0, 0.0], len(p)), np.concatenate([p, p]))


def nearly_equal(dtype):
    y = np.random.default_rng(0).dirichlet(np.ones(5), 30).astype(dtype)
    return y, y + np.random.default_rng(1).integers(-3, 4, y.shape) * np.spacing(y)


def small(dtype):
    e = 10.0 ** -np.arange(1.0, 19)
    return column(0.0, np.concatenate([e, -e]))


def large_and_near(dtype):
    y = (10.0 ** np.arange(0.0, 13)).astype(dtype)
    return column(y, y + 3 * np.spacing(y))


def long_and_short(dtype):
    x = np.random.default_rng(0).normal(size=(2, 60, 3))
    sizes = np.repeat(10.0 ** np.array([-30.0, -20, -12, -8, 8, 16]), 10)[:, None]
    return x[0] * sizes, x[1] * sizes


SORTS = {
    "confident right predictions": [
        (BINARY + FOCAL, sure_binary), (CLASSES, sure_classes), (SPARSE, sure_labels),
    ],
    "logits of either sign, 1e-30 to 1e30": [(BINARY + FOCAL, huge)],
    "probabilities near 0 and 1": [(("binary_crossentropy", "binary_focal_crossentropy"), nearly_sure)],
    "nearly equal distributions": [(("kl_divergence",), nearly_equal)],
    "small differences": [
        (("mean_squared_error", "huber", "log_cosh", "smooth_l1", "pseudo_huber"), small),
    ],
    "large numbers that are nearly equal": [(("mean_squared_logarithmic_error",), large_and_near)],
    "long and short vectors": [(("cosine_similarity",), long_and_short)],
}  # fmt: skip
