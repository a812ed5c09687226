# SPDX-License-Identifier: BSD-3-Clause
"""Losses whose terms belong together: the alignments of a sequence, the pairs of a batch."""

import numpy as np

from fastloss import reduction as reductions
from fastloss._kernels import Kernel, per_sample
from fastloss._validate import boolean, number, positive
from fastloss.base import MEAN, NativeLoss, exported, handle, set_common


class CTC(NativeLoss):
    """Connectionist temporal classification.

    Formula, for each sample, with the softmax p of the logits of each step t::

        value         = -log(P),  P = sum over alignments of product over t of p[t, class at t]
        gradient_t,k  = p[t, k] - (probability, given the labels, that an alignment has class k at step t)

    An alignment gives every step a class so that the labels are left when runs of one class become one and then
    the blank, class 0, is dropped. The value is not divided by the number of labels; it is reduced as `Loss`
    describes. Labels that fit no alignment, for want of steps (one for each label and one between equal
    neighbours) or by logits of -inf, cost inf, with a gradient of 0. There is no Hessian.

    Args:
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true: ``(batch, labels)``; any integer dtype, or floats that are integers. A row's labels, from 1 to
            classes - 1, are padded with 0 at its end.
        y_pred: ``(batch, time, classes)``, logits. Every step counts.
        result: ``()``, or ``(batch,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes do not fit; a label is fractional, no class, or follows a 0.
        TypeError: `grad_and_hess` is called.

    Accuracy: computed in float64. Relative error below 1e-6 in float32 and 1e-14 in float64: of the value with
    respect to the mean cost and the entropy of the alignments, of the gradient to its two terms. In float64 the
    gradient of labels whose alignments cost far above 10 has an error of some 1e-16 times that cost.

    Example:
        >>> f"{CTC()([[1, 2]], [[[0.0, 5.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 5.0]]]):.6f}"
        '0.026682'

    References: A. Graves et al., Connectionist temporal classification, 2006.
    """

    target = "sequence"
    prediction = "steps"
    rowwise = False
    has_hessian = False

    def __init__(self, reduction=MEAN, name="ctc", dtype=None):
        set_common(self, name, reduction, dtype)

    def _kernel(self):
        return Kernel("ctc", dtype=self.dtype)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        probability = np.exp(y_pred - y_pred.max(axis=-1, keepdims=True))
        probability /= probability.sum(axis=-1, keepdims=True)
        losses = []
        for labels, steps in zip(y_true, probability, strict=True):
            states = np.zeros(2 * np.count_nonzero(labels) + 1, int)
            states[1::2] = labels[: len(states) // 2]
            skips = (states[2:] != 0) & (states[2:] != states[:-2])
            alpha = np.eye(len(states))[0]
            for step in steps:
                before = alpha.copy()
                alpha[1:] += before[:-1]
                alpha[2:] += before[:-2] * skips
                alpha *= step[states]
            losses.append(-np.log(alpha[-2:].sum()))
        return np.array(losses)


@handle(CTC)
def ctc(y_true, y_pred):
    """Example:
    >>> f"{ctc([[1]], [[[0.0, 0.0]]])[0]:.6f}"
    '0.693147'
    """
    return per_sample(y_true, y_pred, CTC)


class Circle(NativeLoss):
    """Circle loss of embeddings: alike where labels are equal, else different.

    Formula, for each sample i, with the distances ``d = max(1 - p_i . r_j, 0)`` from the references j, which are
    the batch itself::

        value = log(1 + exp(P + Q))
        P     = logsumexp over j with the label of i of  gamma * max(margin + d, 0) * (d - margin)
        Q     = logsumexp over the others of  gamma * max(1 + margin - d, 0) * (1 - margin - d)

    The gradient is the true derivative of the reduced value, through d on either side of a pair and through the
    weights max(...) too; 0 through a d that is clipped. The value is reduced as `Loss` describes. A sample
    without a reference of its label, or without one of another, has loss 0 and does not count. There is no
    Hessian.

    Embeddings are taken as they are: normalise them. A sample of weight 0, or masked, is still a reference of the
    others, so that NaN in it is NaN in their losses. For ``reduction=None`` the gradient is that of the sum of
    the losses, as each of them has a gradient of y_pred's shape. Chunks of a batch cannot be added up.

    Args:
        gamma: Scale of the exponents. Finite, > 0. Default 80.
        margin: From 0 to 1; positives are wanted below a distance of margin, negatives above 1 - margin.
            Default 0.4.
        remove_diagonal: Whether a sample is no reference of itself. Default True.
        reduction, name, dtype: See `Loss`.

    Shapes:
        y_true: ``(batch,)`` or ``(batch, 1)``; any integer dtype, or floats that are integers.
        y_pred: ``(batch, dimensions)``.
        result: ``()``, or ``(batch,)`` for ``reduction=None``.

    Raises:
        ValueError: Shapes do not fit, a label is fractional, or an argument is out of range.
        TypeError: `grad_and_hess` or `accumulator` is called.

    Accuracy: dot products and all that follows are computed in float64: relative error below 1e-6 in float32. In
    float64 what the dot products lose in rounding is multiplied by up to 2 * gamma.

    Example:
        >>> embeddings = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
        >>> f"{Circle()([0, 0, 1, 1], embeddings):.6f}"
        '3.200864'

    References: Y. Sun et al., Circle loss: a unified perspective of pair similarity optimization, 2020.
    """

    target = "group"
    prediction = "embedding"
    rowwise = False
    has_hessian = False

    def __init__(self, gamma=80.0, margin=0.4, remove_diagonal=True, reduction=MEAN, name="circle", dtype=None):
        set_common(self, name, reduction, dtype)
        self.gamma = positive("gamma", gamma)
        self.margin = number("margin", margin, low=0, high=1)
        self.remove_diagonal = boolean("remove_diagonal", remove_diagonal)

    def _kernel(self, references=None):
        gamma, margin = positive("gamma", self.gamma), number("margin", self.margin, low=0, high=1)
        remove_diagonal = boolean("remove_diagonal", self.remove_diagonal)
        return Kernel("circle", (gamma, margin, remove_diagonal), dtype=self.dtype, references=references)

    def numpy_formula(self, y_true, y_pred):
        """See `NativeLoss.numpy_formula`."""
        distance = np.maximum(1 - y_pred @ y_pred.T, 0)
        same = y_true[:, None] == y_true
        pulled = same & ~np.eye(len(y_true), dtype=bool) if self.remove_diagonal else same
        attract = self.gamma * (self.margin + distance) * (distance - self.margin)
        repel = self.gamma * np.maximum(1 + self.margin - distance, 0) * (1 - self.margin - distance)
        sums = np.logaddexp.reduce([np.where(pulled, attract, -np.inf), np.where(same, -np.inf, repel)], axis=-1)
        return np.logaddexp(0, sums.sum(axis=0))


@handle(Circle)
def circle(y_true, y_pred, ref_labels=None, ref_embeddings=None, remove_diagonal=True, gamma=80, margin=0.4):
    """ref_labels ``(references,)`` and ref_embeddings ``(references, dimensions)`` take the place of the batch as the
    references. Row i of them is none for sample i, which needs equal shapes, unless ``remove_diagonal=False``.

    Example:
        >>> circle([0, 1], [[1.0, 0.0], [0.0, 1.0]], [0, 1], [[0.6, 0.8], [0.8, 0.6]], remove_diagonal=False)
        array([38.4, 38.4])
    """
    if ref_labels is None and ref_embeddings is None:
        return per_sample(y_true, y_pred, Circle, gamma, margin, remove_diagonal)
    kernel = Circle(gamma, margin, remove_diagonal)._kernel((ref_labels, ref_embeddings))
    return kernel.value(y_true, y_pred, None, None, reductions.NONE)


__all__ = exported(globals())
