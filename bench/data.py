# SPDX-License-Identifier: BSD-3-Clause
"""What every benchmark shares: a loss's inputs, the NumPy formula, the bytes that must move, a check."""

import numpy as np

# Of the reduced value, in the dtype it is computed in.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
# Of the gradient: a difference quotient has few digits, and some elements lie across a kink.
GRADIENT_TOLERANCE = 1e-4


def normal(rng, shape, dtype):
    return rng.standard_normal(shape, dtype=dtype)


def binary(rng, shape, dtype):
    return rng.integers(0, 2, shape, dtype=np.int8).astype(dtype)


def label(rng, shape, dtype):
    return rng.integers(0, shape[-1], shape[:-1])


def one_hot(rng, shape, dtype):
    y_true = np.zeros(shape, dtype)
    np.put_along_axis(y_true, label(rng, shape, dtype)[..., None], 1, axis=-1)
    return y_true


def positive(rng, shape, dtype):
    return rng.standard_gamma(2, shape, dtype=dtype)


def probability(rng, shape, dtype):
    return 1 / (1 + np.exp(-normal(rng, shape, dtype)))


def distribution(rng, shape, dtype):
    p = normal(rng, shape, dtype)
    np.exp(p, out=p)
    p /= p.sum(axis=-1, keepdims=True)
    return p


# By the words that a loss describes its arguments with.
TARGETS = {
    "real": normal,
    "sign": lambda rng, shape, dtype: 2 * binary(rng, shape, dtype) - 1,
    "binary": binary,
    "count": lambda rng, shape, dtype: rng.integers(0, 5, shape).astype(dtype),
    "positive": positive,
    "distribution": distribution,
    "one_hot": one_hot,
    "label": label,
    "scalar": lambda rng, shape, dtype: normal(rng, shape[:-1], dtype),
}
PREDICTIONS = {
    "real": normal,
    "positive": positive,
    "logit": normal,
    "probability": probability,
    "distribution": distribution,
    "logits": normal,
    "location_scale": lambda rng, shape, dtype: normal(rng, (*shape[:-1], 2), dtype),
}


def arguments(loss, shape, dtype):
    """y_true and y_pred of ordinary size; `shape` is y_pred's, (rows, classes)."""
    rng = np.random.default_rng(0)
    return TARGETS[loss.target](rng, shape, dtype), PREDICTIONS[loss.prediction](rng, shape, dtype)


def plain(loss, y_true, y_pred):
    """The reduced value by the NumPy formula."""
    return np.mean(loss.numpy_formula(y_true, y_pred))


def bytes_moved(y_true, y_pred, gradient=None):
    """What no implementation can avoid: each input read once, the gradient written once."""
    return sum(array.nbytes for array in (y_true, y_pred, gradient) if array is not None)


def check(loss, y_true, y_pred):
    """Compare what is about to be timed with the NumPy formula in float64.

    Returns:
        The gradient.

    Raises:
        AssertionError: A value, or the gradient along one direction on a sample of the rows, is off.
    """
    value, gradient = loss.value_and_grad(y_true, y_pred)
    values = [loss(y_true, y_pred), value, plain(loss, y_true, y_pred)]
    expected = plain(loss, *widened(y_true, y_pred))
    np.testing.assert_allclose(values, expected, rtol=TOLERANCE[y_pred.dtype.name])

    rows = slice(None, None, -(-y_pred.size // 65536))
    some_true, some_pred = widened(y_true[rows], y_pred[rows])
    some_gradient = gradient[rows].astype(np.float64)
    # Each element moves by a small part of itself, so that none leaves its domain, and uphill, so that the
    # changes of the loss do not cancel; not by the same part, as a loss may ignore the scale of a row.
    step = 1e-6 * np.random.default_rng(0).uniform(0.5, 1.5, some_pred.shape) * np.abs(some_pred)
    step[some_gradient < 0] *= -1
    above, below = (loss.numpy_formula(some_true, some_pred + side * step).sum() for side in (0.5, -0.5))
    slope = (above - below) / len(y_pred)
    np.testing.assert_allclose((some_gradient * step).sum(), slope, rtol=GRADIENT_TOLERANCE)
    return gradient


def widened(y_true, y_pred):
    """The arguments in float64; labels stay integers."""
    return (y_true.astype(np.float64) if y_true.dtype.kind == "f" else y_true), y_pred.astype(np.float64)
