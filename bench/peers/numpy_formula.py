# SPDX-License-Identifier: BSD-3-Clause
"""The textbook formula of each loss, as the loss itself has it, in NumPy; on one thread."""

import numpy as np

from peers import Missing

PACKAGES = ("numpy",)


def prepare(work, operation, threads):
    if operation != "value":
        raise Missing("the formula is of the value")
    return lambda: np.mean(work.loss.numpy_formula(work.y_true, work.y_pred))


def arrays(output):
    return (output,)
