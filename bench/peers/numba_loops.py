# SPDX-License-Identifier: BSD-3-Clause
"""Numba: loops as its users write them, without checks, fastmath, in parallel where it pays.

A loop over elements takes a pointwise formula, and a loop over rows the loss of a log-probability. Sums of a row or a
block are in the dtype, so that they are vectorised, and those of all blocks in float64. The gradient goes to a given
array. Without Intel's SVML, which Numba from PyPI is not built for, exp and log are called once an element.
"""

import ast
import math

import numba
import numpy as np
from numba import njit, prange

from peers import Missing
from peers.formulas import POINTWISE, columns_summed, parameters

PACKAGES = ("llvmlite", "numba")

BLOCK = 4096
PARALLEL_SIZE = 32768


@njit(inline="always")
def where(condition, yes, no):
    return yes if condition else no


FUNCTIONS = {name: getattr(math, name) for name in ("exp", "log", "log1p", "sqrt", "tanh")}


class Typed(ast.NodeTransformer):
    """Gives every number the dtype of the arrays, except an exponent: a bare 2 would widen float32 to float64."""

    def __init__(self, dtype):
        self.dtype, self.names = dtype, {}

    def visit_BinOp(self, node):
        if isinstance(node.op, ast.Pow):
            return ast.BinOp(self.visit(node.left), node.op, node.right)
        return self.generic_visit(node)

    def visit_Constant(self, node):
        name = f"number_{node.value}"
        self.names[name] = self.dtype.type(node.value)
        return ast.Name(name, ast.Load())


def element(expression, arguments, constants, dtype):
    """A compiled function of the arguments."""
    typed = Typed(dtype)
    tree = ast.fix_missing_locations(typed.visit(ast.parse(f"lambda {arguments}: {expression}", mode="eval")))
    names = {**FUNCTIONS, "abs": abs, "where": where, **constants, **typed.names}
    return njit(fastmath=True)(eval(compile(tree, expression, "eval"), names))


def pointwise(work, real, compiled):
    """Loops over flat arrays: value, and value and gradient."""
    constants = parameters(work.loss, np.dtype(real))
    value, slope = (element(text, "t, p", constants, np.dtype(real)) for text in POINTWISE[work.label])
    columns = columns_summed(work)

    @compiled
    def mean(t, p):
        total = 0.0
        for block in prange((t.size + BLOCK - 1) // BLOCK):
            part = real(0)
            for i in range(block * BLOCK, min(t.size, (block + 1) * BLOCK)):
                part += value(t[i], p[i])
            total += part
        return total * columns / t.size

    @compiled
    def mean_and_slope(t, p, out):
        scale = real(columns / t.size)
        total = 0.0
        for block in prange((t.size + BLOCK - 1) // BLOCK):
            part = real(0)
            for i in range(block * BLOCK, min(t.size, (block + 1) * BLOCK)):
                part += value(t[i], p[i])
                out[i] = scale * slope(t[i], p[i])
            total += part
        return total * columns / t.size

    return mean, mean_and_slope


# Of log-probabilities `x`: value, derivative.
ENTROPY = ("-x", "-1")
FOCAL = ("-alpha * (1 - exp(x))**2 * x", "alpha * (1 - exp(x)) * (2 * exp(x) * x - (1 - exp(x)))")
CLASSES = {
    "categorical_crossentropy": ENTROPY,
    "categorical_focal_crossentropy": FOCAL,
}


def softmax(work, real, compiled):
    """Loops over rows of logits, with dense or integer labels."""
    name = work.label.removesuffix(" (from logits)")
    formulas = CLASSES[name.removeprefix("sparse_")]
    constants = parameters(work.loss, np.dtype(real))
    value, slope = (element(text, "x", constants, np.dtype(real)) for text in formulas)

    @njit(fastmath=True)
    def largest(row):
        found = row[0]
        for j in range(row.size):
            found = max(found, row[j])
        return found

    @njit(fastmath=True)
    def log_sum(row):
        high = largest(row)
        total = real(0)
        for j in range(row.size):
            total += math.exp(row[j] - high)
        return high + math.log(total)

    @njit(fastmath=True)
    def exponentials(row, out):
        high = largest(row)
        total = real(0)
        for j in range(row.size):
            out[j] = math.exp(row[j] - high)
            total += out[j]
        return high + math.log(total), real(1) / total

    @compiled
    def sparse(t, p):
        total = 0.0
        for i in prange(t.size):
            total += value(p[i, t[i]] - log_sum(p[i]))
        return total / t.size

    @compiled
    def sparse_and_slope(t, p, out):
        total = 0.0
        for i in prange(t.size):
            norm, share = exponentials(p[i], out[i])
            own = p[i, t[i]] - norm
            total += value(own)
            own_slope = slope(own) / real(t.size)
            for j in range(p.shape[1]):
                out[i, j] *= -share * own_slope
            out[i, t[i]] += own_slope
        return total / t.size

    @compiled
    def dense(t, p):
        total = 0.0
        for i in prange(len(t)):
            norm = log_sum(p[i])
            part = real(0)
            for j in range(p.shape[1]):
                part += t[i, j] * value(p[i, j] - norm)
            total += part
        return total / len(t)

    @compiled
    def dense_and_slope(t, p, out):
        total = 0.0
        for i in prange(len(t)):
            norm, share = exponentials(p[i], out[i])
            part, slopes = real(0), real(0)
            for j in range(p.shape[1]):
                part += t[i, j] * value(p[i, j] - norm)
                slopes += t[i, j] * slope(p[i, j] - norm)
            total += part
            for j in range(p.shape[1]):
                out[i, j] = (t[i, j] * slope(p[i, j] - norm) - slopes * share * out[i, j]) / real(len(t))
        return total / len(t)

    return (sparse, sparse_and_slope) if work.loss.target == "label" else (dense, dense_and_slope)


def normalized(work, real, compiled):
    """Loops over rows of probabilities: cross-entropy, with dense or integer labels."""
    low, high = real(work.loss.epsilon), real(1 - work.loss.epsilon)

    @njit(fastmath=True)
    def sum_of(row):
        total = real(0)
        for j in range(row.size):
            total += row[j]
        return total

    @compiled
    def sparse(t, p):
        total = 0.0
        for i in prange(t.size):
            total -= math.log(min(max(p[i, t[i]] / sum_of(p[i]), low), high))
        return total / t.size

    @compiled
    def sparse_and_slope(t, p, out):
        total = 0.0
        for i in prange(t.size):
            norm = sum_of(p[i])
            own = p[i, t[i]]
            total -= math.log(min(max(own / norm, low), high))
            share = real(1) / (norm * real(t.size))
            for j in range(p.shape[1]):
                out[i, j] = share
            out[i, t[i]] -= real(1) / (own * real(t.size))
        return total / t.size

    @compiled
    def dense(t, p):
        total = 0.0
        for i in prange(len(t)):
            share = real(1) / sum_of(p[i])
            part = real(0)
            for j in range(p.shape[1]):
                part -= t[i, j] * math.log(min(max(p[i, j] * share, low), high))
            total += part
        return total / len(t)

    @compiled
    def dense_and_slope(t, p, out):
        total = 0.0
        for i in prange(len(t)):
            share = real(1) / sum_of(p[i])
            part, counted = real(0), real(0)
            for j in range(p.shape[1]):
                part -= t[i, j] * math.log(min(max(p[i, j] * share, low), high))
                counted += t[i, j]
            total += part
            for j in range(p.shape[1]):
                out[i, j] = (counted * share - t[i, j] / p[i, j]) / real(len(t))
        return total / len(t)

    return (sparse, sparse_and_slope) if work.loss.target == "label" else (dense, dense_and_slope)


def generalized(work, real, compiled):
    q = real(work.loss.q)

    @compiled
    def mean(t, p):
        total = 0.0
        for i in prange(t.size):
            total += (real(1) - p[i, t[i]] ** q) / q
        return total / t.size

    @compiled
    def mean_and_slope(t, p, out):
        total = 0.0
        for i in prange(t.size):
            own = p[i, t[i]]
            total += (real(1) - own**q) / q
            for j in range(p.shape[1]):
                out[i, j] = 0
            out[i, t[i]] = -(own ** (q - real(1))) / real(t.size)
        return total / t.size

    return mean, mean_and_slope


def gaussian(work, real, compiled):
    half = real(0.5)

    @compiled
    def mean(t, p):
        total = 0.0
        for i in prange(t.size):
            e = t[i] - p[i, 0]
            total += half * (p[i, 1] + e * e * math.exp(-p[i, 1]))
        return total / t.size

    @compiled
    def mean_and_slope(t, p, out):
        total = 0.0
        scale = real(1 / t.size)
        for i in prange(t.size):
            e = t[i] - p[i, 0]
            precision = math.exp(-p[i, 1])
            total += half * (p[i, 1] + e * e * precision)
            out[i, 0] = -e * precision * scale
            out[i, 1] = half * scale * (real(1) - e * e * precision)
        return total / t.size

    return mean, mean_and_slope


def cosine(work, real, compiled):
    @njit(fastmath=True)
    def sums(t, p):
        product, of_true, of_pred = real(0), real(0), real(0)
        for j in range(p.size):
            product += t[j] * p[j]
            of_true += t[j] * t[j]
            of_pred += p[j] * p[j]
        return product, of_true, of_pred

    @compiled
    def mean(t, p):
        total = 0.0
        for i in prange(len(t)):
            product, of_true, of_pred = sums(t[i], p[i])
            total -= product / math.sqrt(of_true * of_pred)
        return total / len(t)

    @compiled
    def mean_and_slope(t, p, out):
        total = 0.0
        for i in prange(len(t)):
            product, of_true, of_pred = sums(t[i], p[i])
            share = real(1) / math.sqrt(of_true * of_pred)
            total -= product * share
            scale = share / real(len(t))
            pull = scale * product / of_pred
            for j in range(p.shape[1]):
                out[i, j] = pull * p[i, j] - scale * t[i, j]
        return total / len(t)

    return mean, mean_and_slope


def overlap(work, real, compiled):
    """1 - common / (common + alpha missed + beta false + epsilon), of the whole array."""
    loss = work.loss
    # With both weights 1/2 it is the other loss, whose epsilon is in the sum of all.
    alpha, beta = real(getattr(loss, "alpha", 0.5)), real(getattr(loss, "beta", 0.5))
    epsilon = loss.epsilon if hasattr(loss, "alpha") else loss.epsilon / 2

    @compiled
    def sums(t, p):
        common, of_true, of_pred = 0.0, 0.0, 0.0
        for i in prange(len(t)):
            a, b, c = real(0), real(0), real(0)
            for j in range(t.shape[1]):
                a += t[i, j] * p[i, j]
                b += t[i, j]
                c += p[i, j]
            common += a
            of_true += b
            of_pred += c
        return common, common + alpha * (of_true - common) + beta * (of_pred - common) + epsilon

    @njit
    def value(t, p):
        common, total = sums(t, p)
        return 1 - common / total

    @compiled
    def value_and_slope(t, p, out):
        common, total = sums(t, p)
        own, share = real(1 / total), real(common / total**2)
        rest = real(1) - alpha - beta
        for i in prange(len(t)):
            for j in range(t.shape[1]):
                out[i, j] = share * (rest * t[i, j] + beta) - own * t[i, j]
        return 1 - common / total

    return value, value_and_slope


def maximum_margin(work, real, compiled):
    @njit(fastmath=True)
    def margin(t, p):
        highest, place, true = (real(1) - t[0]) * p[0], 0, real(0)
        for j in range(p.size):
            other = (real(1) - t[j]) * p[j]
            if other > highest:
                highest, place = other, j
            true += t[j] * p[j]
        return highest - true + real(1), place

    @compiled
    def mean(t, p):
        total = 0.0
        for i in prange(len(t)):
            total += max(margin(t[i], p[i])[0], real(0))
        return total / len(t)

    @compiled
    def mean_and_slope(t, p, out):
        total = 0.0
        for i in prange(len(t)):
            found, place = margin(t[i], p[i])
            total += max(found, real(0))
            scale = real(1 / len(t)) if found > real(0) else real(0)
            for j in range(p.shape[1]):
                out[i, j] = -scale * t[i, j]
            out[i, place] += scale * (real(1) - t[i, place])
        return total / len(t)

    return mean, mean_and_slope


ROWS = {
    **{f"{sparse}{name} (from logits)": softmax for sparse in ("", "sparse_") for name in CLASSES},
    "categorical_crossentropy": normalized,
    "sparse_categorical_crossentropy": normalized,
    "categorical_generalized_cross_entropy": generalized,
    "gaussian_nll": gaussian,
    "cosine_similarity": cosine,
    "categorical_hinge": maximum_margin,
    "dice": overlap,
    "tversky": overlap,
}


def prepare(work, operation, threads):
    dtype = work.y_pred.dtype
    if dtype.name not in ("float32", "float64"):
        raise Missing(f"no {dtype.name}")
    if operation == "grad_and_hess":
        raise Missing("no loop was written")
    t, p, gradient = work.y_true, work.y_pred, np.empty_like(work.y_pred)
    out = gradient
    # Threads cost more than a small array.
    compiled = njit(fastmath=True, parallel=threads > 1 and p.size >= PARALLEL_SIZE)
    if work.label in POINTWISE:
        loops = pointwise(work, dtype.type, compiled)
        t, p, out = t.reshape(-1), p.reshape(-1), out.reshape(-1)
    elif work.label in ROWS:
        loops = ROWS[work.label](work, dtype.type, compiled)
    else:
        raise Missing("no loop was written")
    numba.set_num_threads(threads)
    mean, mean_and_slope = loops
    if operation == "value":
        return lambda: mean(t, p)
    return lambda: (mean_and_slope(t, p, out), gradient)


def arrays(output):
    return output if isinstance(output, tuple) else (output,)
