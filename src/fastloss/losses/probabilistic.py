# SPDX-License-Identifier: BSD-3-Clause
"""Losses of a probability, a rate or a logit for each element."""

import numpy as np

from fastloss._kernels import Kernel
from fastloss._validate import PROBABILITY, axes, boolean, epsilon_number, number, weights
from fastloss.base import MEAN, NativeLoss, exported, handle, per_sample, set_common


class Poisson(NativeLoss):
    """Poisson loss of a rate, without the constant term.

    Formula, for each element::

        value    = y_pred - y_true * log(y_pred + epsilon)
        gradient = 1 - y_true / (y_pred + epsilon)
        hessian  = y_true / (y_pred + epsilon)**2

    The value is averaged over the last axis, then reduced as `Loss` describes.

    Args:
        reduction, name, dtype: See `Loss`.
        epsilon: Added to the rate, between 0 and 0.5. Default 1e-7.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal, >= 0.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or epsilon is out of range.

    Accuracy: error below 1e-6 in float32 and 1e-14 in float64, relative to the sum of the absolute terms.

    Example:
        >>> f"{Poisson()([0.0, 2.0], [0.5, 1.0]):.6f}"
        '0.750000'
    """

    target = "count"
    prediction = "positive"

    def __init__(self, reduction=MEAN, name="poisson", dtype=None, *, epsilon=1e-7):
        set_common(self, name, reduction, dtype)
        self.epsilon = epsilon_number(epsilon)

    def _kernel(self):
        return Kernel("poisson", (epsilon_number(self.epsilon),), dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        return np.mean(y_pred - y_true * np.log(y_pred + self.epsilon), axis=-1)


@handle(Poisson)
def poisson(y_true, y_pred, *, epsilon=1e-7):
    """Example:
    >>> poisson([[0.0], [0.0]], [[0.5], [1.0]]).tolist()
    [0.5, 1.0]
    """
    return per_sample(Poisson(epsilon=epsilon), y_true, y_pred)


class KLDivergence(NativeLoss):
    """Kullback-Leibler divergence of y_pred from y_true.

    Formula, for each element, with y and p clipped to ``[epsilon, 1]``::

        value    = y * log(y / p)
        gradient = -y / p       where y_pred is not clipped, else 0
        hessian  = y / p**2     where y_pred is not clipped, else 0

    The value is summed over the last axis, then reduced as `Loss` describes. Nothing is normalised.

    Args:
        reduction, name, dtype: See `Loss`.
        epsilon: Lower bound of the clip, between 0 and 0.5. Default 1e-7.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal, in [0, 1].
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, an element is outside [0, 1], or epsilon is out of range.

    Accuracy: each element's relative error below 1e-6 in float32 and 1e-14 in float64.

    Example:
        >>> f"{KLDivergence()([[0.0, 1.0]], [[0.5, 0.5]]):.6f}"
        '0.693146'
    """

    aliases = ("kld", "KLD", "kullback_leibler_divergence")
    target = "distribution"
    prediction = "distribution"

    def __init__(self, reduction=MEAN, name="kl_divergence", dtype=None, *, epsilon=1e-7):
        set_common(self, name, reduction, dtype)
        self.epsilon = epsilon_number(epsilon)

    def _kernel(self):
        return Kernel(
            "kl_divergence",
            (epsilon_number(self.epsilon),),
            dtype=self.dtype,
            true_bounds=PROBABILITY,
            pred_bounds=PROBABILITY,
        )

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        y_true, y_pred = np.clip(y_true, self.epsilon, 1), np.clip(y_pred, self.epsilon, 1)
        return np.sum(y_true * np.log(y_true / y_pred), axis=-1)


@handle(KLDivergence)
def kl_divergence(y_true, y_pred, *, epsilon=1e-7):
    """Example:
    >>> kl_divergence([[0.25, 0.75]], [[0.25, 0.75]]).tolist()
    [0.0]
    """
    return per_sample(KLDivergence(epsilon=epsilon), y_true, y_pred)


class BinaryCrossentropy(NativeLoss):
    """Binary cross-entropy.

    Formula, for each element, with y smoothed to ``y_true * (1 - s) + s / 2`` and the weight w of positives;
    from logits z::

        value    = w * y * log(1 + exp(-z)) + (1 - y) * log(1 + exp(z))
        gradient = (1 - y) * sigmoid(z) - w * y * sigmoid(-z)
        hessian  = (w * y + 1 - y) * sigmoid(z) * sigmoid(-z)

    from probabilities p, clipped to ``[epsilon, 1 - epsilon]``::

        value    = -(w * y * log(p) + (1 - y) * log(1 - p))
        gradient = (1 - y) / (1 - p) - w * y / p            where p is not clipped, else 0
        hessian  = w * y / p**2 + (1 - y) / (1 - p)**2      where p is not clipped, else 0

    The value is averaged over `axis`, then reduced as `Loss` describes. Logits are never clipped: a confident
    right prediction keeps all its digits.

    Args:
        from_logits: Whether y_pred holds logits. Default False.
        label_smoothing: s, from 0 to 1. Default 0.
        axis: The axis that is averaged over, a tuple of several, or None for all. Default -1.
        reduction, name, dtype: See `Loss`.
        epsilon: The clip of probabilities, between 0 and 0.5. Default 1e-7.
        pos_weight: w, finite and >= 0, a number or one for each entry along `axis`. Default None: 1.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal; y_true, and probabilities, in [0, 1].
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, an element is outside [0, 1], or an argument is out of range.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64 for labels of 0 and 1.

    Example:
        >>> f"{BinaryCrossentropy(from_logits=True)([[1.0]], [[50.0]]):.6g}"
        '1.92875e-22'

    References: pos_weight is that of torch.nn.BCEWithLogitsLoss.
    """

    aliases = ("bce", "BCE")
    target = "binary"

    @property
    def prediction(self):
        """What y_pred holds."""
        return "logit" if self.from_logits else "probability"

    def __init__(
        self,
        from_logits=False,
        label_smoothing=0.0,
        axis=-1,
        reduction=MEAN,
        name="binary_crossentropy",
        dtype=None,
        *,
        epsilon=1e-7,
        pos_weight=None,
    ):
        set_common(self, name, reduction, dtype)
        self.from_logits = boolean("from_logits", from_logits)
        self.label_smoothing = number("label_smoothing", label_smoothing, low=0, high=1)
        self.axis = axes("axis", axis)
        self.epsilon = epsilon_number(epsilon)
        self.pos_weight = weights("pos_weight", pos_weight)

    def _kernel(self):
        smoothing = number("label_smoothing", self.label_smoothing, low=0, high=1)
        from_logits = boolean("from_logits", self.from_logits)
        weight = weights("pos_weight", self.pos_weight)
        return Kernel(
            f"{'' if weight is None else 'weighted_'}binary_crossentropy{'_from_logits' if from_logits else ''}",
            () if from_logits else (epsilon_number(self.epsilon),),
            axis=axes("axis", self.axis),
            dtype=self.dtype,
            label_scale=1 - smoothing,
            label_shift=smoothing / 2,
            class_weight=weight,
            weight_name="pos_weight",
            true_bounds=PROBABILITY,
            **({} if from_logits else {"pred_bounds": PROBABILITY}),
        )

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / 2
        weight = 1 if self.pos_weight is None else self.pos_weight
        if self.from_logits:
            # log(1 + exp(-z))
            other = np.log1p(np.exp(-np.abs(y_pred))) + np.maximum(-y_pred, 0)
            losses = weight * y_true * other + (1 - y_true) * (other + y_pred)
        else:
            y_pred = np.clip(y_pred, self.epsilon, 1 - self.epsilon)
            losses = -(weight * y_true * np.log(y_pred) + (1 - y_true) * np.log(1 - y_pred))
        return np.mean(losses, axis=self.axis)


@handle(BinaryCrossentropy)
def binary_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1, *, epsilon=1e-7, pos_weight=None):
    """Example:
    >>> f"{binary_crossentropy([[1.0]], [[0.5]])[0]:.6f}"
    '0.693147'
    """
    loss = BinaryCrossentropy(from_logits, label_smoothing, axis, epsilon=epsilon, pos_weight=pos_weight)
    return per_sample(loss, y_true, y_pred)


__all__ = exported(globals())
