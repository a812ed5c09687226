# SPDX-License-Identifier: BSD-3-Clause
"""The textbook formulas that peers compute where they have no function of their own, by the label of the loss.

A pointwise loss is a pair of expressions, the value and its derivative, of `t` (y_true), `p` (y_pred), the parameters of
the loss by their names, and `ln2`; each peer gives it its own functions `abs`, `exp`, `log`, `log1p`, `sqrt`, `tanh` and
`where`. The constants are integers, so that no expression is widened to float64. The other losses are functions of
whole rows, written with the few operations that PyTorch and JAX have in common.
"""

import numpy as np

from fastloss import _kernels

PARAMETERS = ("alpha", "delta", "beta", "epsilon", "expectile", "power", "quantile")

# What several expressions have in common.
_SMALL = "(p - t)**2 / 2"
_PERCENT = "where(abs(t) > epsilon, abs(t), epsilon)"
_LOGARITHMS = "(log1p(where(p > epsilon, p, epsilon)) - log1p(where(t > epsilon, t, epsilon)))"
_CLIPPED = "where(p > epsilon, where(p < 1 - epsilon, p, 1 - epsilon), epsilon)"
_ENTROPY = f"-(t * log({_CLIPPED}) + (1 - t) * log(1 - {_CLIPPED}))"
_ENTROPY_SLOPE = f"({_CLIPPED} - t) / ({_CLIPPED} * (1 - {_CLIPPED}))"
_LOGIT_ENTROPY = "(where(p > 0, p, 0) - t * p + log1p(exp(-abs(p))))"
_SIGMOID = "(1 / (1 + exp(-p)))"
_TRUE, _PRED = "where(t > epsilon, t, epsilon)", "where(p > epsilon, p, epsilon)"


def _focal(entropy, slope, p, p_slope):
    """Value and derivative with gamma = 2, the default: the square is the fastest way to write the power."""
    wrong = f"(t * (1 - {p}) + (1 - t) * {p})"
    return (
        f"{wrong}**2 * {entropy}",
        f"{wrong} * (2 * (1 - 2 * t) * {p_slope} * {entropy} + {wrong} * {slope})",
    )


POINTWISE = {
    "mean_squared_error": ("(p - t)**2", "2 * (p - t)"),
    "mean_absolute_error": ("abs(p - t)", "where(p > t, 1, where(p < t, -1, 0))"),
    "huber": (
        f"where(abs(p - t) <= delta, {_SMALL}, delta * (abs(p - t) - delta / 2))",
        "where(abs(p - t) <= delta, p - t, where(p > t, delta, -delta))",
    ),
    "log_cosh": ("abs(p - t) + log1p(exp(-2 * abs(p - t))) - ln2", "tanh(p - t)"),
    "smooth_l1": (
        f"where(abs(p - t) < beta, {_SMALL} / beta, abs(p - t) - beta / 2)",
        "where(abs(p - t) < beta, (p - t) / beta, where(p > t, 1, -1))",
    ),
    "pseudo_huber": (
        "delta**2 * (sqrt(1 + ((p - t) / delta)**2) - 1)",
        "(p - t) / sqrt(1 + ((p - t) / delta)**2)",
    ),
    "quantile": (
        "where(t > p, quantile * (t - p), (1 - quantile) * (p - t))",
        "where(t > p, -quantile, 1 - quantile)",
    ),
    "expectile": (
        "where(t > p, expectile, 1 - expectile) * (p - t)**2",
        "2 * where(t > p, expectile, 1 - expectile) * (p - t)",
    ),
    "mean_absolute_percentage_error": (
        f"100 * abs(p - t) / {_PERCENT}",
        f"where(p > t, 100, -100) / {_PERCENT}",
    ),
    "mean_squared_logarithmic_error": (
        f"{_LOGARITHMS}**2",
        f"where(p > epsilon, 2 * {_LOGARITHMS} / (1 + p), 0)",
    ),
    "hinge": ("where(t * p < 1, 1 - t * p, 0)", "where(t * p < 1, -t, 0)"),
    "squared_hinge": ("where(t * p < 1, 1 - t * p, 0)**2", "-2 * t * where(t * p < 1, 1 - t * p, 0)"),
    "exponential": ("exp(-t * p)", "-t * exp(-t * p)"),
    "poisson": ("p - t * log(p + epsilon)", "1 - t / (p + epsilon)"),
    "poisson_log_link": ("exp(p) - t * p", "exp(p) - t"),
    "gamma": ("p + t * exp(-p)", "1 - t * exp(-p)"),
    "tweedie": (
        "exp((2 - power) * p) / (2 - power) - t * exp((1 - power) * p) / (1 - power)",
        "exp((2 - power) * p) - t * exp((1 - power) * p)",
    ),
    "kl_divergence": (f"{_TRUE} * log({_TRUE} / {_PRED})", f"where(p > epsilon, -{_TRUE} / p, 0)"),
    "binary_crossentropy": (_ENTROPY, _ENTROPY_SLOPE),
    "binary_crossentropy (from logits)": (_LOGIT_ENTROPY, f"{_SIGMOID} - t"),
    "binary_focal_crossentropy": _focal(f"({_ENTROPY})", _ENTROPY_SLOPE, "p", "1"),
    "binary_focal_crossentropy (from logits)": _focal(
        _LOGIT_ENTROPY, f"({_SIGMOID} - t)", _SIGMOID, f"{_SIGMOID} * (1 - {_SIGMOID})"
    ),
}


def parameters(loss, dtype):
    """The parameters of a loss, and ln2, as numbers of the dtype."""
    known = {name: getattr(loss, name) for name in PARAMETERS if hasattr(loss, name)}
    return {name: dtype.type(value) for name, value in {**known, "ln2": np.log(2)}.items()}


def columns_summed(work):
    """By how much the loss of a sample exceeds the mean over its elements."""
    row = _kernels.registry().get(work.label)
    return work.y_pred.shape[-1] if row and row["kind"] == "POINTWISE_SUM" else 1


# Of rows: (operations, loss, y_true, y_pred) -> the losses of the samples


def _log_probabilities(xp, loss, p):
    if loss.from_logits:
        return xp.log_softmax(p)
    return xp.log(xp.clip(p / xp.sum(p, True), loss.epsilon, 1 - loss.epsilon))


def _focal_of_classes(xp, loss, p):
    logarithms = _log_probabilities(xp, loss, p)
    return -loss.alpha * (1 - xp.exp(logarithms)) ** loss.gamma * logarithms


def _dense(xp, loss, t, p):
    return -xp.sum(t * _log_probabilities(xp, loss, p))


def _sparse(xp, loss, t, p):
    return -xp.take(_log_probabilities(xp, loss, p), t)


def _dense_focal(xp, loss, t, p):
    return xp.sum(t * _focal_of_classes(xp, loss, p))


def _sparse_focal(xp, loss, t, p):
    return xp.take(_focal_of_classes(xp, loss, p), t)


def _generalized(xp, loss, t, p):
    return (1 - xp.take(p, t) ** loss.q) / loss.q


def _categorical_hinge(xp, loss, t, p):
    margin = xp.max((1 - t) * p) - xp.sum(t * p) + 1
    return xp.where(margin > 0, margin, 0 * margin)


def _cosine(xp, loss, t, p):
    return -xp.sum(t * p) / xp.sqrt(xp.sum(t * t) * xp.sum(p * p))


def _dice(xp, loss, t, p):
    t, p = t.reshape(-1), p.reshape(-1)
    return 1 - 2 * xp.sum(t * p) / (xp.sum(t) + xp.sum(p) + loss.epsilon)


def _tversky(xp, loss, t, p):
    t, p = t.reshape(-1), p.reshape(-1)
    common = xp.sum(t * p)
    missed, false = xp.sum(t) - common, xp.sum(p) - common
    return 1 - common / (common + loss.alpha * missed + loss.beta * false + loss.epsilon)


def _gaussian(xp, loss, t, p):
    location, scale = p[..., 0], p[..., 1]
    return (scale + (t - location) ** 2 * xp.exp(-scale)) / 2


def _circle(xp, loss, t, p):
    distance = 1 - p @ p.T
    distance = xp.where(distance > 0, distance, 0 * distance)
    same = t[:, None] == t
    near = xp.where(1 + loss.margin - distance > 0, 1 + loss.margin - distance, 0 * distance)
    attract = loss.gamma * (loss.margin + distance) * (distance - loss.margin)
    repel = loss.gamma * near * (1 - loss.margin - distance)
    attract = xp.where(same & ~xp.diagonal(len(t)), attract, -xp.inf)
    repel = xp.where(same, -xp.inf, repel)
    return xp.softplus(xp.logsumexp(attract) + xp.logsumexp(repel))


ROWS = {
    "categorical_crossentropy": _dense,
    "categorical_crossentropy (from logits)": _dense,
    "sparse_categorical_crossentropy": _sparse,
    "sparse_categorical_crossentropy (from logits)": _sparse,
    "categorical_focal_crossentropy": _dense_focal,
    "categorical_focal_crossentropy (from logits)": _dense_focal,
    "sparse_categorical_focal_crossentropy": _sparse_focal,
    "sparse_categorical_focal_crossentropy (from logits)": _sparse_focal,
    "categorical_generalized_cross_entropy": _generalized,
    "categorical_hinge": _categorical_hinge,
    "cosine_similarity": _cosine,
    "dice": _dice,
    "tversky": _tversky,
    "gaussian_nll": _gaussian,
    "circle": _circle,
}


def mean_of(work, own, xp):
    """The reduced loss as a function of (y_true, y_pred): a peer's own, else the formula; None if there is neither.

    Args:
        work: What is measured; see data.Work.
        own: By label: the peer's own function (loss, y_true, y_pred) -> the reduced loss.
        xp: The peer's operations.
    """
    label, loss = work.label, work.loss
    if label in own:
        return lambda t, p: own[label](loss, t, p)
    if label in ROWS:
        return lambda t, p: ROWS[label](xp, loss, t, p).mean()
    if label in POINTWISE:
        # Python's own numbers, which take the dtype of the arrays. One function, which torch.compile looks into.
        numbers = {name: float(value) for name, value in parameters(loss, np.dtype(np.float64)).items()}
        text = f"lambda t, p: {columns_summed(work)} * ({POINTWISE[label][0]}).mean()"
        return eval(text, {**vars(xp), "abs": abs, **numbers})
    return None
