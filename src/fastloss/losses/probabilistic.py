# SPDX-License-Identifier: BSD-3-Clause
"""Losses of a probability, a rate or a logit for each element."""

import numpy as np

from fastloss._kernels import Kernel, per_sample
from fastloss._validate import NONNEGATIVE, PROBABILITY, axes, boolean, epsilon_number, number, weights
from fastloss.base import MEAN, NativeLoss, exported, handle, set_common


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
    return per_sample(y_true, y_pred, Poisson, epsilon=epsilon)


class PoissonLogLink(NativeLoss):
    """Poisson loss of the logarithm of a rate, without the constant term.

    Formula, for each element, y_pred being the logarithm z of the rate::

        value    = exp(z) - y_true * z
        gradient = exp(z) - y_true
        hessian  = exp(z)

    The value is averaged over the last axis, then reduced as `Loss` describes.

    Args:
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal; y_true >= 0, y_pred any number.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ.

    Accuracy: error below 1e-6 in float32 and 1e-14 in float64, of value and gradient relative to the sum of the
    absolute terms.

    Example:
        >>> float(PoissonLogLink()([0.0, 2.0], [0.0, 0.0]))
        1.0

    References: J. A. Nelder, R. W. M. Wedderburn, Generalized linear models, 1972.
    """

    target = "count"

    def __init__(self, reduction=MEAN, name="poisson_log_link", dtype=None):
        set_common(self, name, reduction, dtype)

    def _kernel(self):
        return Kernel("poisson_log_link", dtype=self.dtype, true_bounds=NONNEGATIVE)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        return np.mean(np.exp(y_pred) - y_true * y_pred, axis=-1)


@handle(PoissonLogLink)
def poisson_log_link(y_true, y_pred):
    """Example:
    >>> poisson_log_link([[0.0], [2.0]], [[0.0], [0.0]]).tolist()
    [1.0, 1.0]
    """
    return per_sample(y_true, y_pred, PoissonLogLink)


class Gamma(NativeLoss):
    """Gamma loss of the logarithm of a mean: half the deviance but for the terms of y_true alone.

    Formula, for each element, y_pred being the logarithm z of the mean::

        value    = z + y_true * exp(-z)
        gradient = 1 - y_true * exp(-z)
        hessian  = y_true * exp(-z)

    The value is averaged over the last axis, then reduced as `Loss` describes.

    Args:
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal; y_true > 0, y_pred any number.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ.

    Accuracy: error below 1e-6 in float32 and 1e-14 in float64, of value and gradient relative to the sum of the
    absolute terms.

    Example:
        >>> float(Gamma()([1.0, 2.0], [0.0, 0.0]))
        1.5

    References: P. McCullagh, J. A. Nelder, Generalized linear models, 1989.
    """

    target = "positive"

    def __init__(self, reduction=MEAN, name="gamma", dtype=None):
        set_common(self, name, reduction, dtype)

    def _kernel(self):
        return Kernel("gamma", dtype=self.dtype, true_bounds=NONNEGATIVE)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        return np.mean(y_pred + y_true * np.exp(-y_pred), axis=-1)


@handle(Gamma)
def gamma(y_true, y_pred):
    """Example:
    >>> gamma([[1.0], [2.0]], [[0.0], [0.0]]).tolist()
    [1.0, 2.0]
    """
    return per_sample(y_true, y_pred, Gamma)


class Tweedie(NativeLoss):
    """Tweedie loss of the logarithm of a mean: half the deviance but for the terms of y_true alone.

    Formula, for each element, with ``r = power`` and y_pred the logarithm z of the mean::

        value    = exp((2 - r) * z) / (2 - r) - y_true * exp((1 - r) * z) / (1 - r)
        gradient = exp((2 - r) * z) - y_true * exp((1 - r) * z)
        hessian  = (2 - r) * exp((2 - r) * z) - (1 - r) * y_true * exp((1 - r) * z)

    The value is averaged over the last axis, then reduced as `Loss` describes. The variance is proportional to
    the mean to the power r: a compound Poisson-gamma distribution, with a positive probability of 0.

    Args:
        power: r, greater than 1 and less than 2. Default 1.5.
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal; y_true >= 0, y_pred any number.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or power is out of range.

    Accuracy: error below 1e-6 in float32 and 1e-14 in float64, of the gradient relative to the sum of the
    absolute terms. power is rounded to the dtype.

    Example:
        >>> float(Tweedie(power=1.5)([0.0, 1.0], [0.0, 0.0]))
        3.0

    References: M. C. K. Tweedie, An index which distinguishes between some important exponential families, 1984.
    B. Jorgensen, Exponential dispersion models, 1987.
    """

    target = "count"

    def __init__(self, power=1.5, reduction=MEAN, name="tweedie", dtype=None):
        set_common(self, name, reduction, dtype)
        self.power = tweedie_power(power)

    def _kernel(self):
        return Kernel("tweedie", (tweedie_power(self.power),), dtype=self.dtype, true_bounds=NONNEGATIVE)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        up, down = 2 - self.power, 1 - self.power
        return np.mean(np.exp(up * y_pred) / up - y_true * np.exp(down * y_pred) / down, axis=-1)


def tweedie_power(value):
    return number("power", value, low=1, high=2, open_low=True, open_high=True)


@handle(Tweedie)
def tweedie(y_true, y_pred, power=1.5):
    """Example:
    >>> tweedie([[0.0], [1.0]], [[0.0], [0.0]]).tolist()
    [2.0, 4.0]
    """
    return per_sample(y_true, y_pred, Tweedie, power)


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
    return per_sample(y_true, y_pred, KLDivergence, epsilon=epsilon)


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
    return per_sample(
        y_true, y_pred, BinaryCrossentropy, from_logits, label_smoothing, axis, epsilon=epsilon, pos_weight=pos_weight
    )


class BinaryFocalCrossentropy(NativeLoss):
    """Binary focal cross-entropy: binary cross-entropy that counts little where the prediction is right.

    Formula, for each element, with y smoothed to ``y_true * (1 - s) + s / 2``, ``g = gamma`` and p the probability,
    which is sigmoid(z) of logits z::

        b        = the value of `BinaryCrossentropy`, b1 and b2 its derivatives
        m        = y * (1 - p) + (1 - y) * p
        w        = y * alpha + (1 - y) * (1 - alpha) if apply_class_balancing, else 1
        value    = w * m**g * b
        gradient = w * m**g * (g * r * b + b1),  r = m' / m
        hessian  = w * m**g * (g * ((g - 1) * r**2 + m'' / m) * b + 2 * g * r * b1 + b2)

    m' and m'' are derivatives by y_pred: from probabilities ``1 - 2 * y`` and 0, from logits
    ``(1 - 2 * y) * p * (1 - p)`` and ``m' * (1 - 2 * p)``. The value is averaged over `axis`, then reduced as `Loss`
    describes. Logits are never clipped; of probabilities b is, but m is not, as in Keras.

    Args:
        apply_class_balancing: Whether to weigh the labels 1 and 0 by alpha and 1 - alpha. Default False.
        alpha: The weight of the label 1, from 0 to 1. Default 0.25.
        gamma: The exponent of m, >= 0. Default 2; for 0 this is binary cross-entropy.
        from_logits: Whether y_pred holds logits. Default False.
        label_smoothing: s, from 0 to 1. Default 0.
        axis: The axis that is averaged over, a tuple of several, or None for all. Default -1.
        reduction, name, dtype: See `Loss`.
        epsilon: The clip of probabilities, between 0 and 0.5. Default 1e-7.

    Shapes:
        y_true, y_pred: ``(..., n)``, equal; y_true from 0 to 1, and so are probabilities.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes differ, or an argument is out of range.

    Accuracy: error below 1e-6 in float32 and 1e-14 in float64 for labels of 0 and 1 and gamma up to 2, of the Hessian
    relative to the sum of the absolute terms.

    Example:
        >>> f"{BinaryFocalCrossentropy(from_logits=True)([[1.0]], [[20.0]]):.6g}"
        '8.75651e-27'

    References: T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollar, Focal loss for dense object detection, 2017.
    """

    target = "binary"

    @property
    def prediction(self):
        """What y_pred holds."""
        return "logit" if self.from_logits else "probability"

    def __init__(
        self,
        apply_class_balancing=False,
        alpha=0.25,
        gamma=2.0,
        from_logits=False,
        label_smoothing=0.0,
        axis=-1,
        reduction=MEAN,
        name="binary_focal_crossentropy",
        dtype=None,
        *,
        epsilon=1e-7,
    ):
        set_common(self, name, reduction, dtype)
        self.apply_class_balancing = boolean("apply_class_balancing", apply_class_balancing)
        self.alpha = number("alpha", alpha, low=0, high=1)
        self.gamma = number("gamma", gamma, low=0)
        self.from_logits = boolean("from_logits", from_logits)
        self.label_smoothing = number("label_smoothing", label_smoothing, low=0, high=1)
        self.axis = axes("axis", axis)
        self.epsilon = epsilon_number(epsilon)

    def _kernel(self):
        smoothing = number("label_smoothing", self.label_smoothing, low=0, high=1)
        options = dict(
            axis=axes("axis", self.axis),
            dtype=self.dtype,
            label_scale=1 - smoothing,
            label_shift=smoothing / 2,
            true_bounds=PROBABILITY,
        )
        focal = (
            number("gamma", self.gamma, low=0),
            number("alpha", self.alpha, low=0, high=1),
            boolean("apply_class_balancing", self.apply_class_balancing),
        )
        if boolean("from_logits", self.from_logits):
            return Kernel("binary_focal_crossentropy_from_logits", focal, **options)
        focal = *focal, epsilon_number(self.epsilon)
        return Kernel("binary_focal_crossentropy", focal, pred_bounds=PROBABILITY, **options)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / 2
        p = 1 / (1 + np.exp(-y_pred)) if self.from_logits else y_pred
        wrong = y_true * (1 - p) + (1 - y_true) * p
        if self.from_logits:
            entropy = np.maximum(y_pred, 0) - y_true * y_pred + np.log1p(np.exp(-np.abs(y_pred)))
        else:
            p = np.clip(p, self.epsilon, 1 - self.epsilon)
            entropy = -(y_true * np.log(p) + (1 - y_true) * np.log(1 - p))
        losses = wrong**self.gamma * entropy
        if self.apply_class_balancing:
            losses *= y_true * self.alpha + (1 - y_true) * (1 - self.alpha)
        return np.mean(losses, axis=self.axis)


@handle(BinaryFocalCrossentropy)
def binary_focal_crossentropy(
    y_true,
    y_pred,
    apply_class_balancing=False,
    alpha=0.25,
    gamma=2.0,
    from_logits=False,
    label_smoothing=0.0,
    axis=-1,
    *,
    epsilon=1e-7,
):
    """Example:
    >>> f"{binary_focal_crossentropy([[1.0]], [[0.5]])[0]:.6f}"
    '0.173287'
    """
    return per_sample(
        y_true,
        y_pred,
        BinaryFocalCrossentropy,
        apply_class_balancing,
        alpha,
        gamma,
        from_logits,
        label_smoothing,
        axis,
        epsilon=epsilon,
    )


class GaussianNLL(NativeLoss):
    """Gaussian negative log-likelihood of a mean and a log-variance.

    Formula, for each element y of y_true, with the mean m and the log-variance s from the last axis of y_pred::

        value    = (s + (y - m)**2 * exp(-s)) / 2
        gradient = (m - y) * exp(-s), (1 - (y - m)**2 * exp(-s)) / 2    with respect to m, s
        hessian  = exp(-s), (y - m)**2 * exp(-s) / 2

    The constant ``log(2 * pi) / 2`` is left out. Each element of y_true is a sample; the value is reduced as
    `Loss` describes.

    PyTorch's ``GaussianNLLLoss`` takes the variance ``exp(s)`` as an argument of its own, and holds it above an
    eps. With ``full=False``, and as long as the variance is above that eps, it has the same value; its gradient
    with respect to the variance is that for s divided by the variance.

    Args:
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true: ``(...,)`` or ``(..., 1)``.
        y_pred: ``(..., 2)``: mean, log-variance.
        result: ``()``, or ``(...,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes do not fit, or y_pred's last axis has not the length 2.

    Accuracy: error below 1e-6 in float32 and 1e-14 in float64, relative to the sum of the absolute terms.

    Example:
        >>> float(GaussianNLL()([1.0, 3.0], [[1.0, 0.5], [1.0, 0.0]]))
        1.125

    References: D. A. Nix and A. S. Weigend, Estimating the mean and variance of the target probability
        distribution, 1994.
    """

    target = "scalar"
    prediction = "location_scale"

    def __init__(self, reduction=MEAN, name="gaussian_nll", dtype=None):
        set_common(self, name, reduction, dtype)

    def _kernel(self):
        return Kernel("gaussian_nll", dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        mean, log_variance = y_pred[..., 0], y_pred[..., 1]
        return (log_variance + (y_true - mean) ** 2 / np.exp(log_variance)) / 2


@handle(GaussianNLL)
def gaussian_nll(y_true, y_pred):
    """Example:
    >>> gaussian_nll([1.0, 3.0], [[1.0, 0.5], [1.0, 0.0]]).tolist()
    [0.25, 2.0]
    """
    return per_sample(y_true, y_pred, GaussianNLL)


__all__ = exported(globals())
