# SPDX-License-Identifier: BSD-3-Clause
"""Keras on its PyTorch backend: the class of the same name, and PyTorch's autograd."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import torch

from peers import Missing
from peers.keras_loss import same_loss
from peers.torch_eager import arrays, tensor

__all__ = ["PACKAGES", "arrays", "prepare"]

PACKAGES = ("keras", "torch")


def prepare(work, operation, threads):
    if operation == "grad_and_hess":
        raise Missing("no Hessian by element")
    loss = same_loss(work, "torch")
    torch.set_num_threads(threads)
    t, p = tensor(work.y_true), tensor(work.y_pred)
    if operation == "value":
        return lambda: loss(t, p)

    p = p.detach().requires_grad_()

    def value_and_grad():
        mean = loss(t, p)
        return mean.detach(), *torch.autograd.grad(mean, p)

    return value_and_grad
