# SPDX-License-Identifier: BSD-3-Clause
"""Keras on its PyTorch backend: the class of the same name, and PyTorch's autograd."""

import inspect
import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch

from peers import Missing
from peers.torch_eager import arrays, tensor

__all__ = ["PACKAGES", "arrays", "prepare"]

PACKAGES = ("keras", "torch")


def prepare(work, operation, threads):
    if operation == "grad_and_hess":
        raise Missing("no Hessian by element")
    if keras.backend.backend() != "torch":
        raise Missing(f"its backend is {keras.backend.backend()} here")
    name = type(work.loss).__name__
    cls = getattr(keras.losses, name, None)
    if not cls:
        raise Missing("no such loss")
    known = inspect.signature(cls).parameters
    config = {key: value for key, value in work.loss.get_config().items() if key in known and key != "dtype"}
    keras.config.set_floatx(work.y_pred.dtype.name)
    loss = cls(**{**config, "name": None})
    torch.set_num_threads(threads)
    t, p = tensor(work.y_true), tensor(work.y_pred)
    if operation == "value":
        return lambda: loss(t, p)

    p = p.detach().requires_grad_()

    def value_and_grad():
        mean = loss(t, p)
        return mean.detach(), *torch.autograd.grad(mean, p)

    return value_and_grad
