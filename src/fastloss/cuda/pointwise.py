# SPDX-License-Identifier: BSD-3-Clause
"""Losses of each element by itself: elements as one sequence, or by rows whose losses or weights are told apart.

A specification (a tuple, hashable) says what a kernel is compiled for; `flat` and `by_rows` return its function and the
types of its arguments. No loss is named here: `element` is a name in elements.py.
"""

from fastloss.cuda._numba import REALS, cuda, device, fused_multiply_add, int64, load, store
from fastloss.cuda.elements import ELEMENTS
from fastloss.cuda.numerics import (
    BAD_PRED,
    BAD_TRUE,
    ENTRIES,
    FIRST_ELEMENT,
    NOWHERE,
    PARTS,
    PLACES,
    adder,
    block_results,
    joined,
    row_sum,
    two_sum,
    unrolled,
    with_four_parameters,
)


def _evaluator(spec, width):
    """A device function: turns `width` elements into their values, gradients and Hessians, times their weights.

    Returns the first place of one that is out of bounds.
    """
    kind = REALS[spec.real]
    fma = fused_multiply_add(spec.real)
    with_column_weight, bounded = spec.column_weights, spec.bounded
    element = with_four_parameters(ELEMENTS[spec.element], 3 if with_column_weight else 2)

    @device
    def step(k, place, index, true_of, pred_of, values, hessians, weights, column_weights, factor, label_scale, label_shift,
             a, b, c, d, true_low, true_high, pred_low, pred_high):  # fmt: skip
        y, p, weight = true_of[k], pred_of[k], weights[k]
        if bounded and weight != kind(0):
            bad = BAD_PRED if p < pred_low or p > pred_high else 0
            bad = BAD_TRUE if y < true_low or y > true_high else bad
            found = (index + k) * PLACES + (FIRST_ELEMENT + bad)
            place = found if bad > 0 and found < place else place
        y = fma(label_scale, y, label_shift)
        if with_column_weight:
            value, gradient, hessian = element(kind, y, p, column_weights[k], a, b, c, d)
        else:
            value, gradient, hessian = element(kind, y, p, a, b, c, d)
        # A weight of 0 hides a NaN.
        scale = weight * factor
        values[k] = kind(0) if weight == kind(0) else kind(value) * weight
        pred_of[k] = kind(0) if scale == kind(0) else kind(gradient) * scale
        hessians[k] = kind(0) if scale == kind(0) else kind(hessian) * scale
        return place

    return unrolled(step, width)


SCALARS = 11


def arguments_of(spec):
    """Types of the arguments that both kernels take first."""
    return [
        f"{spec.y_true}*", f"{spec.y_pred}*", f"{spec.gradient}*", f"{spec.gradient}*",
        # weights of rows; whether a label is neither 0 nor 1; one over what the reduction divides by
        "float64*", "int32*", "float64*",
        "int64", "int64",  # rows, columns
        *[spec.real] * SCALARS,  # factor, label_scale, label_shift, four parameters, bounds of y_true and y_pred
        f"{spec.real}*", "int64*",  # sums and first bad place of each block
        "float64*", "int64",  # weights of columns, how far they are apart: 0 for a single one
    ]  # fmt: skip


class _Parts:
    """The device functions that both kernels are made of: of vectors, and of single elements around them."""

    def __init__(self, spec):
        real, width = spec.real, spec.width
        self.load_true, self.load_pred = load(spec.y_true, real, width), load(spec.y_pred, real, width)
        self.load_one_true, self.load_one_pred = load(spec.y_true, real, 1), load(spec.y_pred, real, 1)
        self.put, self.put_one = store(spec.gradient, real, width), store(spec.gradient, real, 1)
        self.evaluate, self.evaluate_one = _evaluator(spec, width), _evaluator(spec, 1)
        self.add, self.add_one = adder(width), adder(1)
        self.finish = block_results(real)


def flat(spec):
    """The elements as one sequence, of rows of one column where they have weights, and of one weight of all columns."""
    kind, width, parts = REALS[spec.real], spec.width, _Parts(spec)
    load_true, load_pred, load_one_true, load_one_pred = (
        parts.load_true, parts.load_pred, parts.load_one_true, parts.load_one_pred,
    )  # fmt: skip
    put, put_one, evaluate, evaluate_one = parts.put, parts.put_one, parts.evaluate, parts.evaluate_one
    add, add_one, finish = parts.add, parts.add_one, parts.finish
    with_column_weight = spec.column_weights
    want_gradient, want_hessian, weighted, signed = spec.want_gradient, spec.want_hessian, spec.weighted, spec.signed

    def kernel(y_true, y_pred, gradient, hessian, weights, signs, factor_at, rows, columns, factor, label_scale, label_shift,
               a, b, c, d, true_low, true_high, pred_low, pred_high, partials, bad_places, column_weights,
               column_stride):  # fmt: skip
        shared = cuda.shared.array(ENTRIES, kind)
        places = cuda.shared.array(PARTS, int64)
        true_of = cuda.local.array(width, kind)
        pred_of = cuda.local.array(width, kind)
        values = cuda.local.array(width, kind)
        hessians = cuda.local.array(width, kind)
        weight_of = cuda.local.array(width, kind)
        of_column = cuda.local.array(width, kind)
        start = int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x
        step = int64(cuda.gridDim.x) * cuda.blockDim.x
        high, low = kind(0), kind(0)
        place = int64(NOWHERE)
        if weighted:
            factor = factor * kind(factor_at[0])
        if signed and signs[0] == 0:
            label_scale, label_shift = kind(2), kind(-1)
        if with_column_weight:
            for k in range(width):
                of_column[k] = kind(column_weights[0])
        n = rows * columns
        vectors = n // width
        for v in range(start, vectors, step):
            first = v * width
            load_true(y_true, first, true_of)
            load_pred(y_pred, first, pred_of)
            for k in range(width):
                weight_of[k] = kind(weights[first + k]) if weighted else kind(1)
            place = evaluate(
                place, first, true_of, pred_of, values, hessians, weight_of, of_column, factor, label_scale, label_shift,
                a, b, c, d, true_low, true_high, pred_low, pred_high,
            )  # fmt: skip
            if want_gradient:
                put(gradient, first, pred_of)
            if want_hessian:
                put(hessian, first, hessians)
            high, low = add(high, low, values)
        if width > 1:
            for i in range(vectors * width + start, n, step):
                load_one_true(y_true, i, true_of)
                load_one_pred(y_pred, i, pred_of)
                weight_of[0] = kind(weights[i]) if weighted else kind(1)
                place = evaluate_one(
                    place, i, true_of, pred_of, values, hessians, weight_of, of_column, factor, label_scale, label_shift,
                    a, b, c, d, true_low, true_high, pred_low, pred_high,
                )  # fmt: skip
                if want_gradient:
                    put_one(gradient, i, pred_of)
                if want_hessian:
                    put_one(hessian, i, hessians)
                high, low = add_one(high, low, values)
        finish(high, low, place, shared, places, partials, bad_places)

    return kernel, arguments_of(spec)


def by_rows(spec):
    """The rows by themselves, or parts of rows that are split: their losses, which are written too if they are wanted."""
    kind, width, parts = REALS[spec.real], spec.width, _Parts(spec)
    load_true, load_pred, load_one_true, load_one_pred = (
        parts.load_true, parts.load_pred, parts.load_one_true, parts.load_one_pred,
    )  # fmt: skip
    put, put_one, evaluate, evaluate_one = parts.put, parts.put_one, parts.evaluate, parts.evaluate_one
    add, add_one, finish = parts.add, parts.add_one, parts.finish
    sum_of_row = row_sum(spec.real)
    want_gradient, want_hessian, weighted, signed = spec.want_gradient, spec.want_hessian, spec.weighted, spec.signed
    want_losses, with_column_weight, split = spec.want_losses, spec.column_weights, spec.split

    def kernel(y_true, y_pred, gradient, hessian, weights, signs, factor_at, rows, columns, factor, label_scale, label_shift,
               a, b, c, d, true_low, true_high, pred_low, pred_high, partials, bad_places, column_weights,
               column_stride, losses, divisor, part_columns, pieces, found):  # fmt: skip
        shared = cuda.shared.array(ENTRIES, kind)
        places = cuda.shared.array(PARTS, int64)
        true_of = cuda.local.array(width, kind)
        pred_of = cuda.local.array(width, kind)
        values = cuda.local.array(width, kind)
        hessians = cuda.local.array(width, kind)
        weight_of = cuda.local.array(width, kind)
        of_column = cuda.local.array(width, kind)
        own, threads = int64(cuda.threadIdx.x), int64(cuda.blockDim.x)
        high, low = kind(0), kind(0)
        place = int64(NOWHERE)
        if weighted:
            factor = factor * kind(factor_at[0])
        if signed and signs[0] == 0:
            label_scale, label_shift = kind(2), kind(-1)
        items = rows * pieces if split else rows
        for block in range(int64(cuda.blockIdx.x) * cuda.blockDim.y, items, int64(cuda.gridDim.x) * cuda.blockDim.y):
            item, begin, extent = block + cuda.threadIdx.y, int64(0), columns
            row = item
            if split:
                row = item // pieces
                begin = (item - row * pieces) * part_columns
                extent = columns - begin if columns - begin < part_columns else part_columns
            # Threads beyond the last row take part in its reductions, of nothing.
            extent = extent if item < items else int64(0)
            base = row * columns + begin
            weight = kind(1)
            if weighted and item < items:
                weight = kind(weights[row])
            for k in range(width):
                weight_of[k] = weight
            row_high, row_low = kind(0), kind(0)
            head = (-base) & (width - 1)
            head = extent if extent < head else head
            vectors = (extent - head) // width
            for v in range(own, vectors, threads):
                column = head + v * width
                load_true(y_true, base + column, true_of)
                load_pred(y_pred, base + column, pred_of)
                for k in range(width):
                    at = (begin + column + k) * column_stride
                    of_column[k] = kind(column_weights[at]) if with_column_weight else kind(1)
                place = evaluate(
                    place, base + column, true_of, pred_of, values, hessians, weight_of, of_column, factor, label_scale,
                    label_shift, a, b, c, d, true_low, true_high, pred_low, pred_high,
                )  # fmt: skip
                if want_gradient:
                    put(gradient, base + column, pred_of)
                if want_hessian:
                    put(hessian, base + column, hessians)
                row_high, row_low = add(row_high, row_low, values)
            # Before and after the vectors
            for i in range(own, extent - vectors * width, threads):
                column = i if i < head else i + vectors * width
                load_one_true(y_true, base + column, true_of)
                load_one_pred(y_pred, base + column, pred_of)
                at = (begin + column) * column_stride
                of_column[0] = kind(column_weights[at]) if with_column_weight else kind(1)
                place = evaluate_one(
                    place, base + column, true_of, pred_of, values, hessians, weight_of, of_column, factor, label_scale,
                    label_shift, a, b, c, d, true_low, true_high, pred_low, pred_high,
                )  # fmt: skip
                if want_gradient:
                    put_one(gradient, base + column, pred_of)
                if want_hessian:
                    put_one(hessian, base + column, hessians)
                row_high, row_low = add_one(row_high, row_low, values)
            row_high, row_low = sum_of_row(row_high, row_low, shared)
            if own == 0 and item < items:
                if split:
                    found[2 * item], found[2 * item + 1] = row_high, row_low
                values[0] = joined(row_high, row_low) / divisor
                if want_losses and not split:
                    losses[row] = values[0]
                high, low = add_one(high, low, values)
        finish(high, low, place, shared, places, partials, bad_places)

    return kernel, [*arguments_of(spec), f"{spec.real}*", spec.real, "int64", "int64", f"{spec.real}*"]


def losses_of_parts(spec):
    """The losses of rows that were split, a block to a row."""
    kind, sum_of_row = REALS[spec.real], row_sum(spec.real)

    def kernel(found, rows, pieces, divisor, losses):
        shared = cuda.shared.array(ENTRIES, kind)
        own, threads = int64(cuda.threadIdx.x), int64(cuda.blockDim.x)
        for row in range(int64(cuda.blockIdx.x), rows, int64(cuda.gridDim.x)):
            high, low = kind(0), kind(0)
            for q in range(own, pieces, threads):
                high, error = two_sum(high, found[2 * (row * pieces + q)])
                low += found[2 * (row * pieces + q) + 1] + error
            high, low = sum_of_row(high, low, shared)
            if own == 0:
                losses[row] = joined(high, low) / divisor

    return kernel, [f"{spec.real}*", "int64", "int64", spec.real, f"{spec.real}*"]
