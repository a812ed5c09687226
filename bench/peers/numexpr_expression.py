# SPDX-License-Identifier: BSD-3-Clause
"""numexpr: the expressions of pointwise losses, into a given array; the mean is NumPy's, whose sum is faster."""

import numexpr
import numpy as np

from peers import Missing
from peers.formulas import POINTWISE, columns_summed, parameters

PACKAGES = ("numexpr",)


def prepare(work, operation, threads):
    dtype = work.y_pred.dtype
    if dtype.name not in ("float32", "float64"):
        raise Missing(f"no {dtype.name}")
    if operation == "grad_and_hess":
        raise Missing("the formulas have no Hessian")
    if work.label not in POINTWISE:
        raise Missing("not pointwise")
    numexpr.set_num_threads(threads)
    columns = columns_summed(work)
    names = {"t": work.y_true, "p": work.y_pred, **parameters(work.loss, dtype)}
    names["scale"] = dtype.type(columns / work.y_pred.size)
    losses, gradient = np.empty_like(work.y_pred), np.empty_like(work.y_pred)
    value, derivative = POINTWISE[work.label]
    derivative = f"scale * ({derivative})"

    def evaluate(expression, out):
        return numexpr.evaluate(expression, names, out=out, casting="same_kind")

    if operation == "value":
        return lambda: columns * evaluate(value, losses).mean()
    return lambda: (columns * evaluate(value, losses).mean(), evaluate(derivative, gradient))


def arrays(output):
    return output if isinstance(output, tuple) else (output,)
