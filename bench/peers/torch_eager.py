# SPDX-License-Identifier: BSD-3-Clause
"""PyTorch as most people run it: torch.nn.functional, or else the formula, and autograd."""

import math
from functools import partial
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F

from peers import Missing
from peers.formulas import mean_of

PACKAGES = ("torch",)

DTYPES = ("float32", "float64", "float16", "bfloat16")


def _ctc(loss, t, p):
    steps = torch.full((len(p),), p.shape[1])
    logarithms = F.log_softmax(p, -1).transpose(0, 1)
    return F.ctc_loss(logarithms, t, steps, (t != 0).sum(-1), reduction="none").mean()


def _cross_entropy(loss, t, p):
    return F.cross_entropy(p, t)


# By label: (loss, y_true, y_pred) -> the reduced loss.
OWN = {
    "mean_squared_error": lambda loss, t, p: F.mse_loss(p, t),
    "mean_absolute_error": lambda loss, t, p: F.l1_loss(p, t),
    "huber": lambda loss, t, p: F.huber_loss(p, t, delta=loss.delta),
    "smooth_l1": lambda loss, t, p: F.smooth_l1_loss(p, t, beta=loss.beta),
    "poisson": lambda loss, t, p: F.poisson_nll_loss(p, t, log_input=False, eps=loss.epsilon),
    "poisson_log_link": lambda loss, t, p: F.poisson_nll_loss(p, t),
    "binary_crossentropy": lambda loss, t, p: F.binary_cross_entropy(p, t),
    "binary_crossentropy (from logits)": lambda loss, t, p: F.binary_cross_entropy_with_logits(p, t),
    "categorical_crossentropy (from logits)": _cross_entropy,
    "sparse_categorical_crossentropy (from logits)": _cross_entropy,
    "cosine_similarity": lambda loss, t, p: -F.cosine_similarity(p, t, -1).mean(),
    "ctc": _ctc,
}

# By label: where a function of its own has the loss's formula, and how it differs elsewhere.
DOMAIN = {
    "binary_crossentropy": (
        lambda loss, t, p: ((p >= loss.epsilon) & (p <= 1 - loss.epsilon)).all(),
        "holds log(p) at -100 instead of clipping p by epsilon",
    ),
    "cosine_similarity": (
        lambda loss, t, p: min(np.linalg.norm(t), np.linalg.norm(p)) >= 1e-8,
        "divides by 1e-8 at least",
    ),
}

XP = SimpleNamespace(
    **{name: getattr(torch, name) for name in ("exp", "log", "log1p", "sqrt", "tanh", "where", "clip")},
    inf=math.inf,
    sum=lambda x, keep=False: x.sum(-1, keepdim=keep),
    max=lambda x: x.amax(-1),
    take=lambda x, labels: x.gather(-1, labels[..., None])[..., 0],
    log_softmax=partial(F.log_softmax, dim=-1),
    logsumexp=partial(torch.logsumexp, dim=-1),
    softplus=F.softplus,
    diagonal=lambda n: torch.eye(n, dtype=torch.bool),
)


def tensor(array):
    """A tensor on the array's own memory."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def function(work, operation, threads):
    """The reduced loss of two tensors, and the tensors."""
    if operation == "grad_and_hess":
        raise Missing("no Hessian by element")
    found = mean_of(work, OWN, XP)
    if not found:
        raise Missing("no such loss")
    torch.set_num_threads(threads)
    return found, tensor(work.y_true), tensor(work.y_pred)


def prepare(work, operation, threads):
    mean, t, p = function(work, operation, threads)
    if operation == "value":
        return lambda: mean(t, p)

    p = p.detach().requires_grad_()

    def value_and_grad():
        loss = mean(t, p)
        return loss.detach(), *torch.autograd.grad(loss, p)

    return value_and_grad


def arrays(output):
    outputs = output if isinstance(output, tuple) else (output,)
    return tuple(x.float().numpy() if x.dtype == torch.bfloat16 else x.numpy() for x in outputs)
