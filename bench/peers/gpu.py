# SPDX-License-Identifier: BSD-3-Clause
"""What fastloss is measured against on a GPU: tensors of PyTorch in, a callable that launches the work out.

Not an adapter as the others are: there is no result to compare in memory, and time is the device's.
"""

import os

from peers import Missing

# JAX would take most of the memory at its first use.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _torch_loss(label):
    import torch.nn.functional as F

    losses = {
        "sparse_categorical_crossentropy (from logits)": lambda t, p: F.cross_entropy(p, t),
        "mean_squared_error": lambda t, p: F.mse_loss(p, t),
        "huber": lambda t, p: F.huber_loss(p, t),
        "binary_crossentropy (from logits)": lambda t, p: F.binary_cross_entropy_with_logits(p, t),
    }
    if label not in losses:
        raise Missing("no function of its own")
    return losses[label]


def _torch_call(function, y_true, y_pred, operation):
    import torch

    if operation == "value":
        with torch.no_grad():
            function(y_true, y_pred)

        def value():
            with torch.no_grad():
                return function(y_true, y_pred)

        return value
    leaf = y_pred.detach().requires_grad_(True)

    def value_and_grad():
        loss = function(y_true, leaf)
        return loss, torch.autograd.grad(loss, leaf)[0]

    return value_and_grad


def torch_eager(label, y_true, y_pred, operation):
    return _torch_call(_torch_loss(label), y_true, y_pred, operation)


def torch_compiled(label, y_true, y_pred, operation):
    import torch

    # Compiled for this shape alone: after a few others of the same code nothing would be compiled any more.
    torch._dynamo.reset()
    return _torch_call(torch.compile(_torch_loss(label), dynamic=False), y_true, y_pred, operation)


def jax_jit(label, y_true, y_pred, operation):
    import jax
    import jax.numpy as jnp

    if y_pred.dtype.itemsize == 8:
        jax.config.update("jax_enable_x64", True)

    def cross_entropy(p, t):
        wide = p.astype(jnp.promote_types(p.dtype, jnp.float32))
        return jnp.mean(jax.nn.logsumexp(wide, -1) - jnp.take_along_axis(wide, t[:, None], -1)[:, 0])

    losses = {
        "sparse_categorical_crossentropy (from logits)": cross_entropy,
        "mean_squared_error": lambda p, t: jnp.mean((p - t) ** 2),
        "binary_crossentropy (from logits)": lambda p, t: jnp.mean(jnp.logaddexp(0, p) - t * p),
    }
    if label not in losses:
        raise Missing("no formula here")
    function = losses[label] if operation == "value" else jax.value_and_grad(losses[label])
    compiled, t, p = jax.jit(function), jax.dlpack.from_dlpack(y_true), jax.dlpack.from_dlpack(y_pred)
    return lambda: compiled(p, t)


def cupy_formula(label, y_true, y_pred, operation):
    import cupy

    if label != "mean_squared_error" or operation == "grad_and_hess":
        raise Missing("no formula here")
    t, p = cupy.from_dlpack(y_true), cupy.from_dlpack(y_pred)
    if operation == "value":
        return lambda: cupy.mean((p - t) ** 2)

    def value_and_grad():
        e = p - t
        return cupy.mean(e * e), e * (2 / e.size)

    return value_and_grad


def liger(label, y_true, y_pred, operation):
    from liger_kernel.ops.cross_entropy import LigerCrossEntropyFunction

    if label != "sparse_categorical_crossentropy (from logits)":
        raise Missing("no such loss")
    # The gradient overwrites the logits, as in training: they are its own.
    leaf = y_pred.clone() if operation == "value" else y_pred.detach().clone().requires_grad_(True)
    return lambda: LigerCrossEntropyFunction.apply(leaf, y_true, None, -100, 0.0, 0.0, "mean", None, False)


PEERS = {
    "PyTorch": torch_eager,
    "torch.compile": torch_compiled,
    "JAX": jax_jit,
    "CuPy": cupy_formula,
    "Liger-Kernel": liger,
}
