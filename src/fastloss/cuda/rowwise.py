# SPDX-License-Identifier: BSD-3-Clause
"""Losses of a row that are functions of a few sums over it, or of a sum and a maximum: value and gradient, in float64."""

import math

from fastloss.cuda._numba import REALS, cuda, device, fused_multiply_add, int64, load, store
from fastloss.cuda.elements import ELEMENTS, ROW_FUNCTIONS
from fastloss.cuda.numerics import (
    BAD_PRED,
    BAD_TRUE,
    ENTRIES,
    NOWHERE,
    PARTS,
    adder,
    block_results,
    find_bad,
    inverse_size,
    joined,
    row_least,
    row_maximum,
    row_sum,
    two_sum,
    with_four_parameters,
)

# Numbers of a part: three sums with their errors; the maximum, its ties, a NaN.
FOUND = 9


def _reader(spec):
    """A device function: what a thread reads of a row, or of a part of one, adds up to, and the first bad place."""
    kind, width, fma, has_maximum = REALS["float64"], spec.width, fused_multiply_add("float64"), spec.has_maximum
    element, bounded, infinite = device(ELEMENTS[spec.element]), spec.bounded, math.inf
    load_true, load_pred = load(spec.y_true, "float64", width), load(spec.y_pred, "float64", width)
    load_one_true, load_one_pred = load(spec.y_true, "float64", 1), load(spec.y_pred, "float64", 1)

    @device
    def collect(count, sums, y_true, y_pred, true_scale, pred_scale, label_scale, label_shift):
        s1, e1, s2, e2, s3, e3, most, ties, unordered = sums
        for k in range(width):
            if k < count:
                a, b, c, candidate = element(
                    kind, fma(label_scale, y_true[k], label_shift) * true_scale, y_pred[k] * pred_scale
                )
                s1, error = two_sum(s1, a)
                e1 += error
                if has_maximum:
                    ties = kind(0) if candidate > most else ties
                    ties += kind(1) if candidate >= most else kind(0)
                    most = candidate if candidate > most else most
                    unordered = candidate if candidate != candidate else unordered
                else:
                    s2, error = two_sum(s2, b)
                    e2 += error
                    s3, error = two_sum(s3, c)
                    e3 += error
        return s1, e1, s2, e2, s3, e3, most, ties, unordered

    @device
    def read(y_true, y_pred, base, extent, counted, own, threads, labels, buffer, true_scale, pred_scale, label_scale,
             label_shift, true_low, true_high, pred_low, pred_high, place):  # fmt: skip
        none = kind(0)
        sums = (none, none, none, none, none, none, kind(-infinite), none, none)
        head = (-base) & (width - 1)
        head = extent if extent < head else head
        vectors = (extent - head) // width
        for v in range(own, vectors, threads):
            index = base + head + v * width
            load_true(y_true, index, labels)
            load_pred(y_pred, index, buffer)
            if bounded and counted:
                for k in range(width):
                    place = find_bad(labels[k], true_low, true_high, BAD_TRUE, index + k, place)
                    place = find_bad(buffer[k], pred_low, pred_high, BAD_PRED, index + k, place)
            sums = collect(width, sums, labels, buffer, true_scale, pred_scale, label_scale, label_shift)
        for i in range(own, extent - vectors * width, threads):
            index = base + (i if i < head else i + vectors * width)
            load_one_true(y_true, index, labels)
            load_one_pred(y_pred, index, buffer)
            if bounded and counted:
                place = find_bad(labels[0], true_low, true_high, BAD_TRUE, index, place)
                place = find_bad(buffer[0], pred_low, pred_high, BAD_PRED, index, place)
            sums = collect(1, sums, labels, buffer, true_scale, pred_scale, label_scale, label_shift)
        return sums, place

    return read


def parts(spec):
    """Of few long rows: what the parts of each add up to, a block to a part."""
    kind, width, read, least = REALS["float64"], spec.width, _reader(spec), row_least()
    sum_of_row, maximum_of_row = row_sum("float64"), row_maximum("float64")
    has_maximum, weighted, infinite = spec.has_maximum, spec.weighted, math.inf

    def kernel(y_true, y_pred, weights, count, columns, label_scale, label_shift, true_low, true_high, pred_low, pred_high,
               part_columns, pieces, found, found_places):  # fmt: skip
        shared = cuda.shared.array(ENTRIES, kind)
        places = cuda.shared.array(PARTS, int64)
        labels = cuda.local.array(width, kind)
        buffer = cuda.local.array(width, kind)
        own, threads, none, one = int64(cuda.threadIdx.x), int64(cuda.blockDim.x), kind(0), kind(1)
        for item in range(int64(cuda.blockIdx.x), count * pieces, int64(cuda.gridDim.x)):
            row = item // pieces
            begin = (item - row * pieces) * part_columns
            extent = columns - begin if columns - begin < part_columns else part_columns
            base, place, counted = row * columns + begin, int64(NOWHERE), True
            if weighted:
                counted = weights[row] != none
            sums, place = read(
                y_true, y_pred, base, extent, counted, own, threads, labels, buffer, one, one, label_scale, label_shift,
                true_low, true_high, pred_low, pred_high, place,
            )  # fmt: skip
            s1, e1 = sum_of_row(sums[0], sums[1], shared)
            s2, e2 = sum_of_row(sums[2], sums[3], shared)
            s3, e3 = sum_of_row(sums[4], sums[5], shared)
            most, ties, unordered = kind(-infinite), none, none
            if has_maximum:
                most = maximum_of_row(sums[6], shared)
                ties, _ = sum_of_row(sums[7] if sums[6] == most else none, none, shared)
                unordered, _ = sum_of_row(sums[8], none, shared)
            place = least(place, places)
            if own == 0:
                first = FOUND * item
                found[first], found[first + 1], found[first + 2], found[first + 3] = s1, e1, s2, e2
                found[first + 4], found[first + 5], found[first + 6], found[first + 7] = s3, e3, most, ties
                found[first + 8] = unordered
                found_places[item] = place

    arguments = [
        f"{spec.y_true}*", f"{spec.y_pred}*", "float64*", "int64", "int64", *["float64"] * 6, "int64", "int64", "float64*",
        "int64*",
    ]  # fmt: skip
    return kernel, arguments


def rows(spec):
    """The kernel: a row is worked on by blockDim.x threads, blockDim.y rows by a block; or parts of rows that are split."""
    kind, loss_kind, width = REALS["float64"], REALS[spec.real], spec.width
    load_true, load_pred = load(spec.y_true, "float64", width), load(spec.y_pred, "float64", width)
    load_one_true, load_one_pred = load(spec.y_true, "float64", 1), load(spec.y_pred, "float64", 1)
    put, put_one = store(spec.gradient, "float64", width), store(spec.gradient, "float64", 1)
    element, read = device(ELEMENTS[spec.element]), _reader(spec)
    of_row = with_four_parameters(ROW_FUNCTIONS[f"{spec.element}_row"], 5)
    derivative = device(ROW_FUNCTIONS[f"{spec.element}_derivative"])
    add_one, finish, fma = adder(1), block_results("float64"), fused_multiply_add("float64")
    sum_of_row, maximum_of_row = row_sum("float64"), row_maximum("float64")
    has_maximum, want_gradient, want_losses, split = spec.has_maximum, spec.want_gradient, spec.want_losses, spec.split
    weighted, scaled, infinite = spec.weighted, spec.scaled, math.inf

    @device
    def merge(sums, found, first):
        """What a part has found, added to the sums of a thread."""
        s1, e1, s2, e2, s3, e3, most, ties, unordered = sums
        s1, error = two_sum(s1, found[first])
        e1 += found[first + 1] + error
        s2, error = two_sum(s2, found[first + 2])
        e2 += found[first + 3] + error
        s3, error = two_sum(s3, found[first + 4])
        e3 += found[first + 5] + error
        candidate = found[first + 6]
        ties = kind(0) if candidate > most else ties
        ties += found[first + 7] if candidate >= most else kind(0)
        most = candidate if candidate > most else most
        return s1, e1, s2, e2, s3, e3, most, ties, unordered + found[first + 8]

    @device
    def derive(count, y_true, y_pred, true_scale, pred_scale, label_scale, label_shift, most, first, second, scale):
        """Elements become their derivatives."""
        for k in range(width):
            if k < count:
                y, p = fma(label_scale, y_true[k], label_shift) * true_scale, y_pred[k] * pred_scale
                _, _, _, candidate = element(kind, y, p)
                gradient = kind(derivative(kind, y, p, candidate == most, first, second))
                y_pred[k] = kind(0) if scale == kind(0) else gradient * scale

    def kernel(y_true, y_pred, gradient, weights, factor_at, count, columns, factor, label_scale, label_shift, a, b, c, d,
               true_low, true_high, pred_low, pred_high, partials, bad_places, losses, part_columns, pieces,
               found, found_places):  # fmt: skip
        shared = cuda.shared.array(ENTRIES, kind)
        places = cuda.shared.array(PARTS, int64)
        labels = cuda.local.array(width, kind)
        buffer = cuda.local.array(width, kind)
        own, threads = int64(cuda.threadIdx.x), int64(cuda.blockDim.x)
        block_high, block_low = kind(0), kind(0)
        place = int64(NOWHERE)
        if weighted:
            factor = factor * factor_at[0]
        items = count * pieces if split else count
        for block in range(int64(cuda.blockIdx.x) * cuda.blockDim.y, items, int64(cuda.gridDim.x) * cuda.blockDim.y):
            row, begin, extent = block + cuda.threadIdx.y, int64(0), columns
            live = row < items
            if split:
                item = row
                row = item // pieces
                begin = (item - row * pieces) * part_columns
                extent = columns - begin if columns - begin < part_columns else part_columns
            # Threads beyond the last row take part in its reductions, of nothing.
            row, extent = row if live else int64(0), extent if live else int64(0)
            base = row * columns + begin
            weight = kind(1)
            if weighted and live:
                weight = weights[row]
            counted = weight != kind(0)
            head = (-base) & (width - 1)
            head = extent if extent < head else head
            vectors = (extent - head) // width
            rest = extent - vectors * width
            none = kind(0)
            true_scale, pred_scale = kind(1), kind(1)
            if scaled:
                true_most, pred_most = kind(0), kind(0)
                for column in range(own, extent, threads):
                    load_one_true(y_true, base + column, labels)
                    load_one_pred(y_pred, base + column, buffer)
                    size = abs(fma(label_scale, labels[0], label_shift))
                    true_most = size if size > true_most else true_most
                    pred_most = abs(buffer[0]) if abs(buffer[0]) > pred_most else pred_most
                true_scale = inverse_size(maximum_of_row(true_most, shared))
                pred_scale = inverse_size(maximum_of_row(pred_most, shared))
            sums = (none, none, none, none, none, none, kind(-infinite), none, none)
            if split:
                for q in range(own, pieces if live else int64(0), threads):
                    sums = merge(sums, found, FOUND * (row * pieces + q))
                    place = found_places[row * pieces + q] if found_places[row * pieces + q] < place else place
            else:
                sums, place = read(
                    y_true, y_pred, base, extent, counted, own, threads, labels, buffer, true_scale, pred_scale, label_scale,
                    label_shift, true_low, true_high, pred_low, pred_high, place,
                )  # fmt: skip
            high, low = sum_of_row(sums[0], sums[1], shared)
            s1 = joined(high, low)
            s2, s3, most, ties = none, none, none, none
            if has_maximum:
                most = maximum_of_row(sums[6], shared)
                ties, _ = sum_of_row(sums[7] if sums[6] == most else none, none, shared)
                unordered, _ = sum_of_row(sums[8], none, shared)
                most = most + unordered
            else:
                high, low = sum_of_row(sums[2], sums[3], shared)
                s2 = joined(high, low)
                high, low = sum_of_row(sums[4], sums[5], shared)
                s3 = joined(high, low)
            value, first, second = of_row(kind, s1, s2, s3, most, ties, a, b, c, d)
            first, second = kind(first), kind(second)
            if own == 0 and live and begin == 0:
                buffer[0] = kind(value) * weight if counted else none
                block_high, block_low = add_one(block_high, block_low, buffer)
                if want_losses:
                    losses[row] = loss_kind(buffer[0])
            if want_gradient:
                scale = weight * factor * pred_scale
                for v in range(own, vectors, threads):
                    index = base + head + v * width
                    load_true(y_true, index, labels)
                    load_pred(y_pred, index, buffer)
                    derive(
                        width, labels, buffer, true_scale, pred_scale, label_scale, label_shift, most, first, second, scale
                    )
                    put(gradient, index, buffer)
                for i in range(own, rest, threads):
                    index = base + (i if i < head else i + vectors * width)
                    load_one_true(y_true, index, labels)
                    load_one_pred(y_pred, index, buffer)
                    derive(
                        1, labels, buffer, true_scale, pred_scale, label_scale, label_shift, most, first, second, scale
                    )
                    put_one(gradient, index, buffer)
        finish(block_high, block_low, place, shared, places, partials, bad_places)

    arguments = [
        f"{spec.y_true}*", f"{spec.y_pred}*", f"{spec.gradient}*", "float64*", "float64*",
        "int64", "int64",  # rows, columns
        *["float64"] * 11,  # factor, label_scale, label_shift, four parameters, bounds of y_true and y_pred
        "float64*", "int64*",  # sums and first bad row of each block
        f"{spec.real}*",
        "int64", "int64", "float64*", "int64*",  # columns of a part, parts of a row, what `parts` has found, bad places
    ]  # fmt: skip
    return kernel, arguments
