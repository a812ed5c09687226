# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn: its private losses by sample, those of its boosting and linear models, and log_loss of probabilities.

They write the losses of the samples into a given array; the mean is NumPy's. Their gradients are by sample too: not
divided by the number of samples, which their callers do.
"""

import numpy as np
from sklearn import _loss
from sklearn.metrics import log_loss

from peers import Missing

PACKAGES = ("scikit-learn",)

# By label: a function of the loss that gives theirs, and by how much it is smaller.
OWN = {
    "mean_squared_error": (lambda loss: _loss.HalfSquaredError(), 2),
    "mean_absolute_error": (lambda loss: _loss.AbsoluteError(), 1),
    "huber": (lambda loss: _loss.HuberLoss(delta=loss.delta), 1),
    "quantile": (lambda loss: _loss.PinballLoss(quantile=loss.quantile), 1),
    "poisson_log_link": (lambda loss: _loss.HalfPoissonLoss(), 1),
    "gamma": (lambda loss: _loss.HalfGammaLoss(), 1),
    "tweedie": (lambda loss: _loss.HalfTweedieLoss(power=loss.power), 1),
    "binary_crossentropy (from logits)": (lambda loss: _loss.HalfBinomialLoss(), 1),
    "exponential": (lambda loss: _loss.loss.ExponentialLoss(), 1),
}
MULTINOMIAL = "sparse_categorical_crossentropy (from logits)"
METRIC = "sparse_categorical_crossentropy"

# By label: where it has the loss's formula, and how it differs elsewhere.
DOMAIN = {
    MULTINOMIAL: (lambda loss, t, p: p.shape[-1] > 2, "takes 3 classes or more"),
    METRIC: (
        lambda loss, t, p: abs(p.sum() - 1) < 1e-6 and p.min() >= loss.epsilon and p.max() <= 1 - loss.epsilon,
        "does not normalise, and clips by the epsilon of the dtype",
    ),
}


def prepare(work, operation, threads):
    dtype = work.y_pred.dtype
    if dtype.name not in ("float32", "float64"):
        raise Missing(f"no {dtype.name}")
    if work.label == METRIC:
        if operation != "value":
            raise Missing("log_loss is a value")
        classes = np.arange(work.y_pred.shape[-1])
        return lambda: log_loss(work.y_true, work.y_pred, labels=classes)
    if work.label == MULTINOMIAL:
        if work.y_pred.shape[-1] < 3:
            raise Missing("at least 3 classes")
        theirs, factor = _loss.HalfMultinomialLoss(n_classes=work.y_pred.shape[-1]), 1
        t, p = work.y_true.astype(dtype), work.y_pred
    elif work.label in OWN:
        make, factor = OWN[work.label]
        theirs, t, p = make(work.loss), work.y_true.reshape(-1), work.y_pred.reshape(-1)
        if work.loss.target == "sign":
            t = (t + 1) / 2
    else:
        raise Missing("no such loss")
    losses = np.empty(t.shape, dtype)
    gradient = np.empty(p.shape, dtype)
    if operation == "value":
        return lambda: factor * theirs.loss(t, p, loss_out=losses, n_threads=threads).mean()
    if operation == "value_and_grad":

        def value_and_grad():
            theirs.loss_gradient(t, p, loss_out=losses, gradient_out=gradient, n_threads=threads)
            return Scaled(factor, work, t.size, (losses.mean(), gradient))

        return value_and_grad
    hessian = np.empty(p.shape, dtype)

    def grad_and_hess():
        theirs.gradient_hessian(t, p, gradient_out=gradient, hessian_out=hessian, n_threads=threads)
        return Scaled(factor, work, 1, (gradient, hessian))

    return grad_and_hess


class Scaled(tuple):
    """Outputs, and the factors that make them those of the reduced loss."""

    def __new__(cls, factor, work, samples, outputs):
        scaled = super().__new__(cls, outputs)
        scaled.factor, scaled.shape, scaled.samples = factor, work.y_pred.shape, samples
        return scaled


def arrays(output):
    if not isinstance(output, Scaled):
        return (output,)
    first, second = (output.factor * x for x in output)
    if np.ndim(first):
        return first.reshape(output.shape), second.reshape(output.shape)
    return first, second.reshape(output.shape) / output.samples
