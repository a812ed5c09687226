# SPDX-License-Identifier: BSD-3-Clause
"""Losses of the difference of y_pred and y_true."""

import numpy as np

from fastloss._kernels import Kernel, per_sample
from fastloss._validate import epsilon_number, fraction, positive
from fastloss.base import MEAN, NativeLoss, exported, handle, set_common


class MeanSquaredError(NativeLoss):
    """Mean squared error.

    Formula, for each element, with ``e = y_pred - y_true``::

        value    = e**2
        gradient = 2 * e
        hessian  = 2

    The value is averaged over the last axis, then reduced as `Loss` describes.

    Args:
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64.

    Example:
        >>> float(MeanSquaredError()([0.0, 0.0], [1.0, 2.0]))
        2.5
    """

    aliases = ("mse", "MSE")

    def __init__(self, reduction=MEAN, name="mean_squared_error", dtype=None):
        set_common(self, name, reduction, dtype)

    def _kernel(self):
        return Kernel("mean_squared_error", dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        return np.mean((y_pred - y_true) ** 2, axis=-1)


@handle(MeanSquaredError)
def mean_squared_error(y_true, y_pred):
    """Example:
    >>> mean_squared_error([[0.0, 0.0]], [[1.0, 2.0]]).tolist()
    [2.5]
    """
    return per_sample(y_true, y_pred, MeanSquaredError)


class MeanAbsoluteError(NativeLoss):
    """Mean absolute error.

    Formula, for each element, with ``e = y_pred - y_true``::

        value    = |e|
        gradient = sign(e), 0 at 0
        hessian  = 0

    The value is averaged over the last axis, then reduced as `Loss` describes.

    Args:
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64.

    Example:
        >>> float(MeanAbsoluteError()([0.0, 0.0], [1.0, 2.0]))
        1.5
    """

    aliases = ("mae", "MAE")

    def __init__(self, reduction=MEAN, name="mean_absolute_error", dtype=None):
        set_common(self, name, reduction, dtype)

    def _kernel(self):
        return Kernel("mean_absolute_error", dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        return np.mean(np.abs(y_pred - y_true), axis=-1)


@handle(MeanAbsoluteError)
def mean_absolute_error(y_true, y_pred):
    """Example:
    >>> mean_absolute_error([[0.0, 0.0]], [[1.0, 2.0]]).tolist()
    [1.5]
    """
    return per_sample(y_true, y_pred, MeanAbsoluteError)


class Huber(NativeLoss):
    """Huber loss: squared error near zero, absolute error in the tails.

    Formula, for each element, with ``e = y_pred - y_true`` and ``d = delta``::

        value    = e**2 / 2            if |e| <= d
                   d * (|e| - d / 2)   otherwise
        gradient = clip(e, -d, d)
        hessian  = 1 if |e| <= d, else 0

    The value is averaged over the last axis, then reduced as `Loss` describes.

    Args:
        delta: Where quadratic turns linear, in the units of y_true. Finite, > 0. Default 1.
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or delta is not a finite number > 0.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64.

    Example:
        >>> float(Huber(delta=1.0)([0.0, 0.0], [0.5, 3.0]))
        1.3125

    References: P. J. Huber, Robust estimation of a location parameter, 1964.
    """

    aliases = ("huber_loss",)

    def __init__(self, delta=1.0, reduction=MEAN, name="huber_loss", dtype=None):
        set_common(self, name, reduction, dtype)
        self.delta = positive("delta", delta)

    def _kernel(self):
        return Kernel("huber", (positive("delta", self.delta),), dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        error = np.abs(y_pred - y_true)
        inside = error**2 / 2
        return np.mean(np.where(error <= self.delta, inside, self.delta * (error - self.delta / 2)), axis=-1)


@handle(Huber)
def huber(y_true, y_pred, delta=1.0):
    """Example:
    >>> huber([[0.0, 0.0]], [[0.5, 3.0]]).tolist()
    [1.3125]
    """
    return per_sample(y_true, y_pred, Huber, delta)


class LogCosh(NativeLoss):
    """Logarithm of the hyperbolic cosine of the error.

    Formula, for each element, with ``e = y_pred - y_true``::

        value    = log(cosh(e))
        gradient = tanh(e)
        hessian  = 1 / cosh(e)**2

    The value is averaged over the last axis, then reduced as `Loss` describes. Small errors keep their
    digits: the loss of 1e-10 is 5e-21.

    Args:
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64, of the Hessian besides what the rounding of e
    changes.

    Example:
        >>> f"{LogCosh()([0.0, 0.0], [1.0, 0.0]):.6f}"
        '0.216890'
    """

    aliases = ("logcosh",)

    def __init__(self, reduction=MEAN, name="log_cosh", dtype=None):
        set_common(self, name, reduction, dtype)

    def _kernel(self):
        return Kernel("log_cosh", dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        error = y_pred - y_true
        return np.mean(error + np.log1p(np.exp(-2 * error)) - np.log(2), axis=-1)


@handle(LogCosh)
def log_cosh(y_true, y_pred):
    """Example:
    >>> f"{log_cosh([[0.0]], [[1e-10]])[0]:.6g}"
    '5e-21'
    """
    return per_sample(y_true, y_pred, LogCosh)


class SmoothL1(NativeLoss):
    """Smooth L1 loss: squared error near zero, absolute error in the tails.

    Formula, for each element, with ``e = y_pred - y_true`` and ``b = beta``::

        value    = e**2 / (2 * b)   if |e| < b
                   |e| - b / 2      otherwise
        gradient = e / b if |e| < b, else sign(e)
        hessian  = 1 / b if |e| < b, else 0

    The value is averaged over the last axis, then reduced as `Loss` describes. It is the Huber loss of
    ``delta = beta``, divided by beta.

    Args:
        beta: Where quadratic turns linear, in the units of y_true. Finite, > 0. Default 1.
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or beta is not a finite number > 0.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64.

    Example:
        >>> float(SmoothL1(beta=2.0)([0.0, 0.0], [1.0, 3.0]))
        1.125

    References: R. Girshick, Fast R-CNN, 2015.
    """

    def __init__(self, beta=1.0, reduction=MEAN, name="smooth_l1", dtype=None):
        set_common(self, name, reduction, dtype)
        self.beta = positive("beta", beta)

    def _kernel(self):
        return Kernel("smooth_l1", (positive("beta", self.beta),), dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        error = np.abs(y_pred - y_true)
        inside = error**2 / (2 * self.beta)
        return np.mean(np.where(error < self.beta, inside, error - self.beta / 2), axis=-1)


@handle(SmoothL1)
def smooth_l1(y_true, y_pred, beta=1.0):
    """Example:
    >>> smooth_l1([[0.0, 0.0]], [[0.5, 3.0]]).tolist()
    [1.3125]
    """
    return per_sample(y_true, y_pred, SmoothL1, beta)


class PseudoHuber(NativeLoss):
    """Pseudo-Huber loss: a Huber loss with derivatives of every order.

    Formula, for each element, with ``e = y_pred - y_true``, ``d = delta`` and ``s = sqrt(1 + (e / d)**2)``::

        value    = d**2 * (s - 1)
        gradient = e / s
        hessian  = 1 / s**3

    The value is averaged over the last axis, then reduced as `Loss` describes. Small errors keep their
    digits, and large ones do not overflow.

    Args:
        delta: Where quadratic turns linear, in the units of y_true. Finite, > 0. Default 1.
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or delta is not a finite number > 0.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64.

    Example:
        >>> float(PseudoHuber(delta=3.0)([0.0, 0.0], [4.0, 0.0]))
        3.0

    References: P. Charbonnier et al., Deterministic edge-preserving regularization in computed imaging, 1997.
    """

    def __init__(self, delta=1.0, reduction=MEAN, name="pseudo_huber", dtype=None):
        set_common(self, name, reduction, dtype)
        self.delta = positive("delta", delta)

    def _kernel(self):
        return Kernel("pseudo_huber", (positive("delta", self.delta),), dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        return np.mean(self.delta**2 * (np.sqrt(1 + ((y_pred - y_true) / self.delta) ** 2) - 1), axis=-1)


@handle(PseudoHuber)
def pseudo_huber(y_true, y_pred, delta=1.0):
    """Example:
    >>> f"{pseudo_huber([[0.0]], [[1e-10]])[0]:.6g}"
    '5e-21'
    """
    return per_sample(y_true, y_pred, PseudoHuber, delta)


class Quantile(NativeLoss):
    """Quantile loss, or pinball loss: its minimum is a quantile of y_true.

    Formula, for each element, with ``e = y_true - y_pred`` and ``q = quantile``::

        value    = q * e if e >= 0, else (q - 1) * e
        gradient = -q if e > 0, 1 - q if e < 0, 0 at 0
        hessian  = 0

    The value is averaged over the last axis, then reduced as `Loss` describes.

    Args:
        quantile: Which one: 0.5, the default, is the median. Between 0 and 1, neither included.
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or quantile is out of range.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64.

    Example:
        >>> float(Quantile(0.75)([0.0, 0.0], [2.0, -2.0]))
        1.0

    References: R. Koenker and G. Bassett, Regression quantiles, 1978.
    """

    aliases = ("pinball", "pinball_loss")

    def __init__(self, quantile=0.5, reduction=MEAN, name="quantile", dtype=None):
        set_common(self, name, reduction, dtype)
        self.quantile = fraction("quantile", quantile)

    @property
    def complement(self):
        """What y_pred above y_true weighs."""
        return 1 - fraction("quantile", self.quantile)

    def _kernel(self):
        return Kernel("quantile", (self.quantile, self.complement), dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        error = y_true - y_pred
        return np.mean(np.maximum(self.quantile * error, (self.quantile - 1) * error), axis=-1)


@handle(Quantile)
def quantile(y_true, y_pred, quantile=0.5):
    """Example:
    >>> quantile([[0.0], [0.0]], [[2.0], [-2.0]], quantile=0.75).tolist()
    [0.5, 1.5]
    """
    return per_sample(y_true, y_pred, Quantile, quantile)


class Expectile(NativeLoss):
    """Expectile loss: squared error with a weight for each side.

    Formula, for each element, with ``e = y_true - y_pred`` and ``w = expectile if e >= 0, else 1 - expectile``::

        value    = w * e**2
        gradient = -2 * w * e
        hessian  = 2 * w

    The value is averaged over the last axis, then reduced as `Loss` describes.

    Args:
        expectile: Which one: 0.5, the default, is the mean. Between 0 and 1, neither included.
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or expectile is out of range.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64.

    Example:
        >>> float(Expectile(0.75)([0.0, 0.0], [2.0, -2.0]))
        2.0

    References: W. K. Newey and J. L. Powell, Asymmetric least squares estimation and testing, 1987.
    """

    def __init__(self, expectile=0.5, reduction=MEAN, name="expectile", dtype=None):
        set_common(self, name, reduction, dtype)
        self.expectile = fraction("expectile", expectile)

    @property
    def complement(self):
        """What y_pred above y_true weighs."""
        return 1 - fraction("expectile", self.expectile)

    def _kernel(self):
        return Kernel("expectile", (self.expectile, self.complement), dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        error = y_true - y_pred
        return np.mean(np.where(error < 0, self.complement, self.expectile) * error**2, axis=-1)


@handle(Expectile)
def expectile(y_true, y_pred, expectile=0.5):
    """Example:
    >>> expectile([[0.0], [0.0]], [[2.0], [-2.0]], expectile=0.75).tolist()
    [1.0, 3.0]
    """
    return per_sample(y_true, y_pred, Expectile, expectile)


class MeanAbsolutePercentageError(NativeLoss):
    """Mean absolute percentage error.

    Formula, for each element, with ``e = y_pred - y_true``::

        value    = 100 * |e| / max(|y_true|, epsilon)
        gradient = 100 * sign(e) / max(|y_true|, epsilon), 0 where e = 0
        hessian  = 0

    The value is averaged over the last axis, then reduced as `Loss` describes.

    Args:
        reduction, name, dtype: See `Loss`.
        epsilon: Lower bound of the divisor, between 0 and 0.5. Default 1e-7.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or epsilon is out of range.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64.

    Example:
        >>> float(MeanAbsolutePercentageError()([2.0, -4.0], [3.0, -4.0]))
        25.0
    """

    aliases = ("mape", "MAPE")

    def __init__(self, reduction=MEAN, name="mean_absolute_percentage_error", dtype=None, *, epsilon=1e-7):
        set_common(self, name, reduction, dtype)
        self.epsilon = epsilon_number(epsilon)

    def _kernel(self):
        return Kernel("mean_absolute_percentage_error", (epsilon_number(self.epsilon),), dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        return 100 * np.mean(np.abs((y_true - y_pred) / np.maximum(np.abs(y_true), self.epsilon)), axis=-1)


@handle(MeanAbsolutePercentageError)
def mean_absolute_percentage_error(y_true, y_pred, *, epsilon=1e-7):
    """Example:
    >>> mean_absolute_percentage_error([[2.0], [-4.0]], [[3.0], [-4.0]]).tolist()
    [50.0, 0.0]
    """
    return per_sample(y_true, y_pred, MeanAbsolutePercentageError, epsilon=epsilon)


class MeanSquaredLogarithmicError(NativeLoss):
    """Mean squared logarithmic error.

    Formula, for each element, with ``y = max(y_true, epsilon)``, ``p = max(y_pred, epsilon)`` and
    ``L = log((1 + p) / (1 + y))``::

        value    = L**2
        gradient = 2 * L / (1 + p)              where y_pred >= epsilon, else 0
        hessian  = 2 * (1 - L) / (1 + p)**2     where y_pred >= epsilon, else 0

    The value is averaged over the last axis, then reduced as `Loss` describes. Predictions close to y_true keep
    their digits.

    Args:
        reduction, name, dtype: See `Loss`.
        epsilon: Lower bound of the clip, between 0 and 0.5. Default 1e-7.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal, >= 0.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or epsilon is out of range.

    Accuracy: relative error below 1e-6 in float32 and 1e-14 in float64, of the Hessian relative to the sum of its
    absolute terms; where epsilon replaces one of the arguments, besides what the rounding of epsilon changes.

    Example:
        >>> f"{MeanSquaredLogarithmicError()([0.0, 1.0], [1.0, 1.0]):.6f}"
        '0.240226'
    """

    aliases = ("msle", "MSLE")
    target = "count"
    prediction = "positive"

    def __init__(self, reduction=MEAN, name="mean_squared_logarithmic_error", dtype=None, *, epsilon=1e-7):
        set_common(self, name, reduction, dtype)
        self.epsilon = epsilon_number(epsilon)

    def _kernel(self):
        return Kernel("mean_squared_logarithmic_error", (epsilon_number(self.epsilon),), dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        y_true, y_pred = np.maximum(y_true, self.epsilon), np.maximum(y_pred, self.epsilon)
        return np.mean((np.log(y_pred + 1) - np.log(y_true + 1)) ** 2, axis=-1)


@handle(MeanSquaredLogarithmicError)
def mean_squared_logarithmic_error(y_true, y_pred, *, epsilon=1e-7):
    """Example:
    >>> f"{mean_squared_logarithmic_error([[0.0]], [[1e-6]], epsilon=1e-9)[0]:.3g}"
    '9.98e-13'
    """
    return per_sample(y_true, y_pred, MeanSquaredLogarithmicError, epsilon=epsilon)


__all__ = exported(globals())
