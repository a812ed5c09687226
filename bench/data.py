# SPDX-License-Identifier: BSD-3-Clause
"""What every benchmark shares: a loss's inputs, the bytes that must move, and checks of all that is timed."""

from typing import NamedTuple

import ml_dtypes  # noqa: F401  names bfloat16
import numpy as np

import fastloss as fl

# Relative errors that are accepted: of fastloss's value, of its gradient along a line (a difference quotient has few
# digits, and some elements lie across a kink), and of a peer: some sum in the dtype, Keras divides in float32.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12, "float16": 1e-3, "bfloat16": 1e-2}
GRADIENT_TOLERANCE = {"float32": 1e-4, "float64": 1e-4, "float16": 1e-2, "bfloat16": 3e-2}
PEER_TOLERANCE = {"float32": 2e-4, "float64": 1e-6, "float16": 3e-2, "bfloat16": 5e-2}

# So many elements are compared, and converted at a time.
SAMPLE = 1 << 16
CHUNK = 1 << 22


class Work(NamedTuple):
    """A loss and its arguments, checked."""

    label: str
    loss: fl.losses.Loss
    y_true: np.ndarray
    y_pred: np.ndarray
    expected: float  # the reduced loss by the NumPy formula in float64
    gradient: np.ndarray  # by fastloss, and where value_and_grad writes


def normal(rng, shape, dtype):
    if np.dtype(dtype).itemsize < 4:
        return rng.standard_normal(shape, dtype=np.float32).astype(dtype)
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
    return rng.standard_gamma(2, shape, dtype=np.float32).astype(dtype)


def probability(rng, shape, dtype):
    return (1 / (1 + np.exp(-normal(rng, shape, np.float32)))).astype(dtype)


def distribution(rng, shape, dtype):
    p = normal(rng, shape, "float64" if dtype == "float64" else "float32")
    np.exp(p, out=p)
    p /= p.sum(axis=-1, keepdims=True)
    return p.astype(dtype)


def sequence(rng, shape, dtype):
    """Labels for a quarter of the steps; class 0 is the blank."""
    batch, steps, classes = shape
    return rng.integers(1, classes, (batch, steps // 4))


def embedding(rng, shape, dtype):
    vectors = normal(rng, shape, np.float64)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(dtype)


# By the words that a loss describes its arguments with.
TARGETS = {
    "real": normal,
    "sign": lambda rng, shape, dtype: (2 * rng.integers(0, 2, shape, dtype=np.int8) - 1).astype(dtype),
    "binary": binary,
    "count": lambda rng, shape, dtype: rng.integers(0, 5, shape).astype(dtype),
    "positive": positive,
    "distribution": distribution,
    "one_hot": one_hot,
    "label": label,
    "scalar": lambda rng, shape, dtype: normal(rng, shape[:-1], dtype),
    "sequence": sequence,
    "group": lambda rng, shape, dtype: rng.permutation(np.arange(shape[0]) % 8),
}
PREDICTIONS = {
    "real": normal,
    "positive": positive,
    "logit": normal,
    "probability": probability,
    "distribution": distribution,
    "logits": normal,
    "location_scale": normal,
    "steps": normal,
    "embedding": embedding,
}


def fitted(loss, shape):
    """The shape of y_pred that a loss takes, with about as many elements as (rows, columns)."""
    size = int(np.prod(shape))
    if loss.prediction == "location_scale":
        return (size // 2, 2)
    if loss.prediction == "steps":
        return (max(1, size // (100 * 64)), 100, 64)
    if loss.prediction == "embedding":
        return (max(32, min(2048, size // 256)), 64)
    return shape


def arguments(loss, shape, dtype):
    """y_true and y_pred of ordinary size; `shape` is y_pred's, which `fitted` gives."""
    rng = np.random.default_rng(0)
    return TARGETS[loss.target](rng, shape, dtype), PREDICTIONS[loss.prediction](rng, shape, dtype)


def make(label, loss, shape, dtype):
    """Work on arguments of this shape of y_pred, checked."""
    return check(label, loss, *arguments(loss, shape, dtype))


def bytes_moved(work, operation):
    """What no implementation can avoid: each input read once, each output the size of y_pred written once."""
    outputs = {"value": 0, "value_and_grad": 1, "grad_and_hess": 2}[operation]
    return work.y_true.nbytes + (1 + outputs) * work.y_pred.nbytes


def check(label, loss, y_true, y_pred):
    """Compare what is about to be timed with the NumPy formula in float64.

    Raises:
        AssertionError: A value, or the gradient along one direction on a sample of the rows, is off.
    """
    dtype = y_pred.dtype.name
    expected = plain(loss, y_true, y_pred)
    value, gradient = loss.value_and_grad(y_true, y_pred)
    np.testing.assert_allclose(np.float64([loss(y_true, y_pred), value]), expected, rtol=TOLERANCE[dtype])

    rows = slice(None, None, -(-y_pred.size // SAMPLE) if loss.rowwise else None)
    some_true, some_pred = widened(y_true[rows], y_pred[rows])
    # Of the sum: in a half type the mean's is below the normal range.
    summed = type(loss).from_config({**loss.get_config(), "reduction": "sum"})
    some_gradient = summed.value_and_grad(y_true, y_pred)[1][rows].astype(np.float64)
    # Each element moves by a small part of itself, so that none leaves its domain, and uphill, so that the
    # changes of the loss do not cancel; not by the same part, as a loss may ignore the scale of a row.
    step = 1e-6 * np.random.default_rng(0).uniform(0.5, 1.5, some_pred.shape) * np.abs(some_pred)
    step[some_gradient < 0] *= -1
    above, below = (np.sum(loss.numpy_formula(some_true, some_pred + side * step)) for side in (0.5, -0.5))
    np.testing.assert_allclose((some_gradient * step).sum(), above - below, rtol=GRADIENT_TOLERANCE[dtype])
    return Work(label, loss, y_true, y_pred, float(expected), gradient)


def samples(loss, y_pred):
    """The number of losses that are averaged: of the rows, or one of the whole."""
    return 1 if getattr(loss, "axis", -1) is None else len(y_pred)


def plain(loss, y_true, y_pred):
    """The reduced value by the NumPy formula in float64, a part of the rows at a time."""
    rows = max(1, CHUNK * len(y_pred) // y_pred.size) if loss.rowwise else len(y_pred)
    parts = range(0, len(y_pred), rows)
    total = sum(np.sum(loss.numpy_formula(*widened(y_true[i : i + rows], y_pred[i : i + rows]))) for i in parts)
    return total / samples(loss, y_pred)


def widened(y_true, y_pred):
    """The arguments in float64; labels stay integers."""
    return (y_true if y_true.dtype.kind in "iu" else y_true.astype(np.float64)), y_pred.astype(np.float64)


def difference(work, operation, outputs):
    """The largest relative error of a peer's outputs: of the value, of an array by norm, on a sample of the rows."""
    if operation == "grad_and_hess":
        expected = work.loss.grad_and_hess(work.y_true, work.y_pred)
    else:
        expected = (work.expected, work.gradient)[: len(outputs)]
    errors = []
    for output, reference in zip(outputs, expected, strict=True):
        rows = slice(None, None, -(-np.size(reference) // SAMPLE) if np.ndim(reference) else None)
        found, known = (np.atleast_1d(x)[rows].astype(np.float64) for x in (output, reference))
        if found.shape != known.shape:
            raise AssertionError(f"shape {found.shape}, expected {known.shape}")
        errors.append(np.linalg.norm(found - known) / (np.linalg.norm(known) or 1))
    return float(np.max(errors))
