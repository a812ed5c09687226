# SPDX-License-Identifier: BSD-3-Clause
"""JAX, compiled: optax, or else the formula.

XLA makes its threads when the process begins: as many as the environment variable NPROC says, else as the process may
use cores. XLA_FLAGS=--xla_cpu_multi_thread_eigen=false leaves one at work, but no other number can be set.
"""

import os
from functools import lru_cache
from types import SimpleNamespace

# Its warnings of slow compilation would run into the progress bar.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax
import jax.numpy as jnp
import numpy as np
import optax

from peers import Missing
from peers.formulas import mean_of

PACKAGES = ("jax", "jaxlib", "optax")

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")


def _ctc(loss, t, p):
    return optax.ctc_loss(p, jnp.zeros(p.shape[:2], p.dtype), t, (t == 0).astype(p.dtype)).mean()


# By label: (loss, y_true, y_pred) -> the reduced loss.
OWN = {
    "huber": lambda loss, t, p: optax.huber_loss(p, t, delta=loss.delta).mean(),
    "log_cosh": lambda loss, t, p: optax.log_cosh(p, t).mean(),
    "hinge": lambda loss, t, p: optax.hinge_loss(p, t).mean(),
    "binary_crossentropy (from logits)": lambda loss, t, p: optax.sigmoid_binary_cross_entropy(p, t).mean(),
    "binary_focal_crossentropy (from logits)": lambda loss, t, p: optax.sigmoid_focal_loss(p, t, gamma=loss.gamma).mean(),
    "categorical_crossentropy (from logits)": lambda loss, t, p: optax.softmax_cross_entropy(p, t).mean(),
    "sparse_categorical_crossentropy (from logits)": lambda loss, t, p: optax.softmax_cross_entropy_with_integer_labels(
        p, t
    ).mean(),
    "cosine_similarity": lambda loss, t, p: -optax.cosine_similarity(p, t).mean(),
    "ctc": _ctc,
}

# By label: where a function of its own has the loss's formula, and how it differs elsewhere.
DOMAIN = {
    "cosine_similarity": (lambda loss, t, p: t.any() and p.any(), "is NaN for vectors of zeros"),
}

XP = SimpleNamespace(
    **{name: getattr(jnp, name) for name in ("exp", "log", "log1p", "sqrt", "tanh", "where", "clip", "inf")},
    sum=lambda x, keep=False: x.sum(-1, keepdims=keep),
    max=lambda x: x.max(-1),
    take=lambda x, labels: jnp.take_along_axis(x, labels[..., None], -1)[..., 0],
    log_softmax=jax.nn.log_softmax,
    logsumexp=lambda x: jax.nn.logsumexp(x, -1),
    softplus=jax.nn.softplus,
    diagonal=lambda n: jnp.eye(n, dtype=bool),
)


def pool():
    """The number of XLA's threads."""
    return int(os.environ.get("NPROC") or len(os.sched_getaffinity(0)))


@lru_cache(maxsize=32)
def compiled(make, label, loss, y_pred, operation):
    """make(work) -> the reduced loss, or None; compiled once for a shape and dtype of y_pred."""
    mean = make(SimpleNamespace(label=label, loss=loss, y_pred=y_pred))
    if not mean:
        raise Missing("no such loss")
    return jax.jit(mean) if operation == "value" else jax.jit(jax.value_and_grad(mean, argnums=1))


def own(work):
    return mean_of(work, OWN, XP)


def prepare(work, operation, threads, make=own):
    if operation == "grad_and_hess":
        raise Missing("no Hessian by element")
    if threads != pool():
        raise Missing(f"XLA has {pool()} threads since the process began")
    y_pred = jax.ShapeDtypeStruct(work.y_pred.shape, work.y_pred.dtype)
    function = compiled(make, work.label, work.loss, y_pred, operation)
    t, p = jnp.asarray(work.y_true), jnp.asarray(work.y_pred)
    return lambda: jax.block_until_ready(function(t, p))


def arrays(output):
    return tuple(np.asarray(x) for x in (output if isinstance(output, tuple) else (output,)))
