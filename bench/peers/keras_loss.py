# SPDX-License-Identifier: BSD-3-Clause
"""Keras on any backend: the class of the same name, with the arguments that it has too."""

import inspect

import keras

from peers import Missing


def same_loss(work, backend):
    """Keras's instance; raises Missing where there is none, or its backend is another one."""
    if keras.backend.backend() != backend:
        raise Missing(f"its backend is {keras.backend.backend()} here")
    name = type(work.loss).__name__
    cls = getattr(keras.losses, name, None)
    if not cls:
        raise Missing("no such loss")
    known = inspect.signature(cls).parameters
    config = {key: value for key, value in work.loss.get_config().items() if key in known and key != "dtype"}
    keras.config.set_floatx(work.y_pred.dtype.name)
    return cls(**{**config, "name": None})
