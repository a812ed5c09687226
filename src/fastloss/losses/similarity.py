# SPDX-License-Identifier: BSD-3-Clause
"""Losses of how alike two vectors, or two masks, are."""

import numpy as np

from fastloss._kernels import Kernel, per_sample
from fastloss._validate import axes, number, positive
from fastloss.base import MEAN, NativeLoss, exported, handle, set_common

MASK_BOUNDS = dict(true_bounds=(0, 1), pred_bounds=(0, 1))


class CosineSimilarity(NativeLoss):
    """Cosine similarity of two vectors, negated: -1 for the same direction, 1 for the opposite one.

    Formula, for each sample, with ``c = sum(y_true * y_pred) / (|y_true| * |y_pred|)``::

        value      = -c
        gradient_k = c * y_pred_k / |y_pred|**2 - y_true_k / (|y_true| * |y_pred|)

    both 0 if one of the vectors is 0. The value is reduced as `Loss` describes. Nothing is added to the norms,
    so that vectors of any size, from the smallest to the largest number, have the cosine of their directions;
    Keras treats those shorter than 1e-7 as if they were not quite vectors. It has no Hessian.

    Args:
        axis: The axis of a vector's elements, or several, or None for all. Default -1.
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or axis is out of range.

    Accuracy: error below 1e-6 in float32 and 1e-14 in float64, relative to the cosine of the absolute values.

    Example:
        >>> f"{CosineSimilarity()([[3.0, 4.0]], [[4e-30, 3e-30]]):.6f}"
        '-0.960000'
    """

    aliases = ("cosine_proximity",)
    has_hessian = False

    def __init__(self, axis=-1, reduction=MEAN, name="cosine_similarity", dtype=None):
        set_common(self, name, reduction, dtype)
        self.axis = axes("axis", axis)

    def _kernel(self):
        return Kernel("cosine_similarity", axis=axes("axis", self.axis), dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        norms = [np.sqrt(np.sum(x**2, axis=self.axis)) for x in (y_true, y_pred)]
        return -np.sum(y_true * y_pred, axis=self.axis) / (norms[0] * norms[1])


@handle(CosineSimilarity)
def cosine_similarity(y_true, y_pred, axis=-1):
    """Example:
    >>> f"{cosine_similarity([[1.0, 0.0]], [[3.0, 4.0]])[0]:.6f}"
    '-0.600000'
    """
    return per_sample(y_true, y_pred, CosineSimilarity, axis)


class Tversky(NativeLoss):
    """Tversky loss of a mask: an overlap in which the two kinds of error weigh differently.

    Formula, for each sample, with ``I = sum(y_true * y_pred)``::

        M          = alpha * sum(y_true * (1 - y_pred)) + beta * sum((1 - y_true) * y_pred) + epsilon
        value      = M / (I + M) = 1 - I / (I + M)
        gradient_k = (beta * I * (1 - y_true_k) - (alpha * I + M) * y_true_k) / (I + M)**2

    alpha weighs the positives that were missed, beta those that are none, as Keras computes it; its
    documentation has the two the other way round. Two empty masks have the loss 1, as in Keras. The value is
    reduced as `Loss` describes. A near-perfect overlap keeps all its digits. It has no Hessian.

    Args:
        alpha: Weight of the missed positives, >= 0. Default 0.5.
        beta: Weight of the false positives, >= 0. Default 0.5.
        reduction, name: See `Loss`.
        axis: The axis, or axes, of a sample; None (default): the whole array is one.
        dtype: See `Loss`.
        epsilon: Added to the denominator, > 0. Default 1e-7.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or y_true's shape without `axis` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, an argument is out of range, or an element is not from 0 to 1.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64 for masks from 0 to 1.

    Example:
        >>> f"{Tversky(alpha=1.0, beta=0.0, axis=-1)([[1.0, 0.0]], [[0.5, 0.25]]):.6f}"
        '0.500000'

    References: A. Tversky, Features of similarity, 1977.
    """

    target = "binary"
    prediction = "probability"
    has_hessian = False

    @property
    def rowwise(self):
        """See `NativeLoss`."""
        return self.axis is not None

    def __init__(
        self,
        alpha=0.5,
        beta=0.5,
        reduction=MEAN,
        name="tversky",
        axis=None,
        dtype=None,
        *,
        epsilon=1e-7,
    ):
        set_common(self, name, reduction, dtype)
        self.alpha = number("alpha", alpha, low=0)
        self.beta = number("beta", beta, low=0)
        self.axis = axes("axis", axis)
        self.epsilon = positive("epsilon", epsilon)

    def _kernel(self):
        parameters = (
            number("alpha", self.alpha, low=0),
            number("beta", self.beta, low=0),
            positive("epsilon", self.epsilon),
        )
        return Kernel("tversky", parameters, axis=axes("axis", self.axis), dtype=self.dtype, **MASK_BOUNDS)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        common = np.sum(y_true * y_pred, axis=self.axis)
        missed = np.sum(y_true * (1 - y_pred), axis=self.axis)
        false = np.sum((1 - y_true) * y_pred, axis=self.axis)
        return 1 - common / (common + self.alpha * missed + self.beta * false + self.epsilon)


@handle(Tversky)
def tversky(y_true, y_pred, alpha=0.5, beta=0.5, axis=None, *, epsilon=1e-7):
    """Example:
    >>> tversky([[1.0, 0.0]], [[1.0, 1.0]], alpha=1.0, beta=1.0, axis=-1).round(6).tolist()
    [0.5]
    """
    return per_sample(y_true, y_pred, Tversky, alpha, beta, axis=axis, epsilon=epsilon)


class Dice(NativeLoss):
    """Dice loss of a mask: one less the overlap.

    Formula, for each sample, with ``S = sum(y_true) + sum(y_pred) + epsilon``::

        value      = 1 - 2 * sum(y_true * y_pred) / S
        gradient_k = 2 * (sum(y_true * y_pred) - S * y_true_k) / S**2

    Two empty masks have the loss 1, as in Keras. The value is reduced as `Loss` describes. A near-perfect
    overlap keeps all its digits. It has no Hessian.

    Args:
        reduction, name: See `Loss`.
        axis: The axis, or axes, of a sample; None (default): the whole array is one.
        dtype: See `Loss`.
        epsilon: Added to the denominator, > 0. Default 1e-7.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or y_true's shape without `axis` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, an argument is out of range, or an element is not from 0 to 1.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64 for masks from 0 to 1.

    Example:
        >>> f"{Dice(axis=-1)([[1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]]):.6f}"
        '0.333333'

    References: L. R. Dice, Measures of the amount of ecologic association between species, 1945.
    """

    target = "binary"
    prediction = "probability"
    has_hessian = False

    @property
    def rowwise(self):
        """See `NativeLoss`."""
        return self.axis is not None

    def __init__(self, reduction=MEAN, name="dice", axis=None, dtype=None, *, epsilon=1e-7):
        set_common(self, name, reduction, dtype)
        self.axis = axes("axis", axis)
        self.epsilon = positive("epsilon", epsilon)

    def _kernel(self):
        epsilon = positive("epsilon", self.epsilon)
        return Kernel("dice", (epsilon,), axis=axes("axis", self.axis), dtype=self.dtype, **MASK_BOUNDS)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        common = np.sum(y_true * y_pred, axis=self.axis)
        return 1 - 2 * common / (np.sum(y_true, axis=self.axis) + np.sum(y_pred, axis=self.axis) + self.epsilon)


@handle(Dice)
def dice(y_true, y_pred, axis=None, *, epsilon=1e-7):
    """Example:
    >>> dice([[1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]], axis=-1).round(6).tolist()
    [0.333333]
    """
    return per_sample(y_true, y_pred, Dice, axis=axis, epsilon=epsilon)


__all__ = exported(globals())
