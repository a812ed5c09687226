# SPDX-License-Identifier: BSD-3-Clause
"""Keras on its JAX backend, compiled: the class of the same name, and JAX's gradient."""

import os
from functools import partial

os.environ.setdefault("KERAS_BACKEND", "jax")

from peers.jax_jit import arrays
from peers.jax_jit import prepare as prepare_jax
from peers.keras_loss import same_loss

__all__ = ["PACKAGES", "arrays", "prepare"]

PACKAGES = ("keras", "jax", "jaxlib")

prepare = partial(prepare_jax, make=partial(same_loss, backend="jax"))
