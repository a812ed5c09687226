# SPDX-License-Identifier: BSD-3-Clause
"""Losses of one or two numbers of a row: the probability of its label, or the parameters of its distribution."""

import math

from fastloss.cuda._numba import REALS, cuda, fused_multiply_add, int64, load, store
from fastloss.cuda.elements import ELEMENTS
from fastloss.cuda.numerics import (
    BAD_LABEL,
    BAD_PRED,
    BAD_TRUE,
    ENTRIES,
    NOWHERE,
    PARTS,
    PLACES,
    adder,
    block_results,
    find_bad,
    label_loader,
    with_four_parameters,
)


def of_label(spec):
    """Of the probability of an integer label, as it is, in float64; a row is shared by blockDim.x threads."""
    kind, loss_kind = REALS["float64"], REALS[spec.real]
    load_pred, put, label_of = load(spec.y_pred, "float64", 1), store(spec.gradient, "float64", 1), label_loader(spec.y_true)
    element = with_four_parameters(ELEMENTS[spec.element], 1)
    add_one, finish, nan = adder(1), block_results("float64"), math.nan
    want_gradient, want_hessian, want_losses = spec.want_gradient, spec.want_hessian, spec.want_losses
    weighted, class_weighted, bounded = spec.weighted, spec.class_weights, spec.bounded

    def kernel(y_true, y_pred, gradient, hessian, weights, class_weights, factor_at, count, columns, factor, a, b, c, d,
               pred_low, pred_high, partials, bad_places, losses):  # fmt: skip
        shared = cuda.shared.array(ENTRIES, kind)
        places = cuda.shared.array(PARTS, int64)
        buffer = cuda.local.array(1, kind)
        own, threads = int64(cuda.threadIdx.x), int64(cuda.blockDim.x)
        high, low, place = kind(0), kind(0), int64(NOWHERE)
        if weighted:
            factor = factor * factor_at[0]
        first = int64(cuda.blockIdx.x) * cuda.blockDim.y + cuda.threadIdx.y
        for row in range(first, count, int64(cuda.gridDim.x) * cuda.blockDim.y):
            base = row * columns
            weight, label, probability = kind(1), label_of(y_true, row), kind(1)
            if weighted:
                weight = weights[row]
            wrong = weight != kind(0) and (label < 0 or label >= columns)
            if wrong:
                place = row * PLACES + BAD_LABEL if row * PLACES + BAD_LABEL < place else place
            if weight == kind(0) or wrong:
                label = int64(-1)
            if label >= 0:
                load_pred(y_pred, base + label, buffer)
                probability = buffer[0]
                if class_weighted:
                    weight = weight * class_weights[label]
            value, slope, curvature = element(kind, probability, a, b, c, d)
            # The label's probability is overwritten, if anywhere, by the thread that has read it for the loss.
            owner = label & (threads - 1) if label >= 0 else int64(0)
            if own == owner:
                buffer[0] = kind(value) * weight if label >= 0 and weight != kind(0) else kind(0)
                buffer[0] = kind(nan) if wrong else buffer[0]
                high, low = add_one(high, low, buffer)
                if want_losses:
                    losses[row] = loss_kind(buffer[0])
            scale, rest = weight * factor, kind(nan) if wrong else kind(0)
            for column in range(own, columns, threads):
                if bounded and label >= 0:
                    load_pred(y_pred, base + column, buffer)
                    place = find_bad(buffer[0], pred_low, pred_high, BAD_PRED, base + column, place)
                if want_gradient:
                    buffer[0] = kind(slope) * scale if column == label and scale != kind(0) else rest
                    put(gradient, base + column, buffer)
                if want_hessian:
                    buffer[0] = kind(curvature) * scale if column == label and scale != kind(0) else rest
                    put(hessian, base + column, buffer)
        finish(high, low, place, shared, places, partials, bad_places)

    arguments = [
        f"{spec.y_true}*", f"{spec.y_pred}*", f"{spec.gradient}*", f"{spec.gradient}*", "float64*", "float64*", "float64*",
        "int64", "int64",  # rows, columns
        *["float64"] * 7,  # factor, four parameters, bounds of y_pred
        "float64*", "int64*",  # sums and first bad row of each block
        f"{spec.real}*",
    ]  # fmt: skip
    return kernel, arguments


def of_distribution(spec):
    """Of a target and the two parameters of its distribution, a row of y_pred; a thread to each."""
    kind = REALS[spec.real]
    load_true, load_pred = load(spec.y_true, spec.real, 1), load(spec.y_pred, spec.real, spec.width)
    put = store(spec.gradient, spec.real, spec.width)
    element = with_four_parameters(ELEMENTS[spec.element], 3)
    add_one, finish, fma = adder(1), block_results(spec.real), fused_multiply_add(spec.real)
    want_gradient, want_hessian, want_losses = spec.want_gradient, spec.want_hessian, spec.want_losses
    weighted, bounded, by_one = spec.weighted, spec.bounded, spec.width == 1

    def kernel(y_true, y_pred, gradient, hessian, weights, factor_at, count, factor, label_scale, label_shift, a, b, c, d,
               true_low, true_high, pred_low, pred_high, partials, bad_places, losses):  # fmt: skip
        shared = cuda.shared.array(ENTRIES, kind)
        places = cuda.shared.array(PARTS, int64)
        buffer = cuda.local.array(2, kind)
        high, low, place = kind(0), kind(0), int64(NOWHERE)
        if weighted:
            factor = factor * kind(factor_at[0])
        start = int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x
        for row in range(start, count, int64(cuda.gridDim.x) * cuda.blockDim.x):
            weight = kind(1)
            if weighted:
                weight = kind(weights[row])
            load_true(y_true, row, buffer)
            y = buffer[0]
            if by_one:
                load_pred(y_pred, 2 * row + 1, buffer)
                second = buffer[0]
                load_pred(y_pred, 2 * row, buffer)
                buffer[1] = second
            else:
                load_pred(y_pred, 2 * row, buffer)
            if bounded and weight != kind(0):
                place = find_bad(y, true_low, true_high, BAD_TRUE, row, place)
                place = find_bad(buffer[0], pred_low, pred_high, BAD_PRED, 2 * row, place)
                place = find_bad(buffer[1], pred_low, pred_high, BAD_PRED, 2 * row + 1, place)
            y = fma(label_scale, y, label_shift)
            value, g1, g2, h1, h2 = element(kind, y, buffer[0], buffer[1], a, b, c, d)
            scale = weight * factor
            hidden = scale == kind(0)
            g1, g2 = kind(0) if hidden else kind(g1) * scale, kind(0) if hidden else kind(g2) * scale
            h1, h2 = kind(0) if hidden else kind(h1) * scale, kind(0) if hidden else kind(h2) * scale
            loss = kind(0) if weight == kind(0) else kind(value) * weight
            if want_gradient:
                buffer[0], buffer[1] = g1, g2
                put(gradient, 2 * row, buffer)
                if by_one:
                    buffer[0] = g2
                    put(gradient, 2 * row + 1, buffer)
            if want_hessian:
                buffer[0], buffer[1] = h1, h2
                put(hessian, 2 * row, buffer)
                if by_one:
                    buffer[0] = h2
                    put(hessian, 2 * row + 1, buffer)
            buffer[0] = loss
            high, low = add_one(high, low, buffer)
            if want_losses:
                losses[row] = loss
        finish(high, low, place, shared, places, partials, bad_places)

    arguments = [
        f"{spec.y_true}*", f"{spec.y_pred}*", f"{spec.gradient}*", f"{spec.gradient}*", "float64*", "float64*",
        "int64",  # rows
        *[spec.real] * 11,  # factor, label_scale, label_shift, four parameters, bounds of y_true and y_pred
        f"{spec.real}*", "int64*",  # sums and first bad place of each block
        f"{spec.real}*",
    ]  # fmt: skip
    return kernel, arguments
