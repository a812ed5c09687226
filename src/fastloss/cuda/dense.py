# SPDX-License-Identifier: BSD-3-Clause
"""Losses of log-probabilities whose labels have weight on any class, from logits or from probabilities.

As csrc/dense.h, softmax.h and normalize.h: a link says what it needs of a row, what a class of it is, and how the
derivatives by its log-probability become those by y_pred. The statistics of a row come first, then the sums
over its classes, then the derivatives; y_pred is kept in shared memory as far as it fits. Labels are dense or integers,
whose smoothed one-hot form is never made. Classes without a label are passed over. Of few long rows each step is a kernel by
itself, whose blocks share the rows.
"""

import math

from fastloss.cuda._numba import REALS, copy, cuda, device, fused_multiply_add, int64, load, shared_type, store
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
    joined,
    label_loader,
    row_least,
    row_maximum,
    row_sum,
    two_sum,
    unrolled,
    window,
    with_four_parameters,
)


class _Softmax:
    """From logits. Statistics of a row: log(1 + s), 1/(1 + s) in the unit of the terms, s/(1 + s), the maximum.

    -log p_j = (m - z_j) + log1p(s), s the sum of exp(z - m) over all classes but one maximal one; 1 - p_j = s/(1 + s) for a
    maximal class, where 1 - p_j itself would cancel.
    """

    def __init__(self, real):
        kind, w = REALS[real], window(real)
        term, relative_term = w.term, w.relative_term

        @device
        def classify(z, log_sum, inverse, complement, top, has_window, offset, floor, least, most):
            """Log-probability, probability, whether it is clipped."""
            t = term(z, offset, floor) if has_window else relative_term(z, top)
            return -((top - z) + log_sum), t * inverse, False

        @device
        def derive(y, z, p, clipped, own_slope, own_curvature, slope, curvature, log_sum, inverse, complement, top):
            """Gradient and Hessian; own_slope, own_curvature are the label's, slope and curvature sums over the row."""
            q = complement if z == top else kind(1) - p
            gradient = own_slope * q - p * (slope - own_slope)
            hessian = own_curvature * q * q + (curvature - own_curvature) * p * p - slope * p * q
            return gradient, hessian

        self.classify, self.derive = classify, derive


class _Normalize:
    """From probabilities. Statistics of a row: their sum S in two parts.

    -log(p/S) = log1p((S - p)/p) is accurate also where p/S is close to 1; the clip is done on the logarithm.
    """

    def __init__(self, real):
        kind = REALS[real]
        nan = math.nan

        @device
        def classify(p, total, total_low, unused, top, has_window, offset, floor, least, most):
            """Log-probability, (S - p)/p, whether it is clipped."""
            positive = kind(0) if p < kind(0) else p
            ratio = ((total - p) + total_low) / positive
            ratio = ratio if ratio > kind(-1) else kind(nan)
            log = kind(math.log1p(ratio))
            clipped = not (log >= least and log <= most)
            log = least if log < least else log
            log = most if log > most else log
            return -log, ratio, clipped

        @device
        def derive(y, p, a, clipped, own_slope, own_curvature, slope, curvature, total, total_low, unused, top):
            """Gradient and Hessian; own_slope, own_curvature are the label's, slope and curvature sums over the row."""
            a = kind(0) if clipped or y == kind(0) else a
            rest, rest_curvature = slope - own_slope, curvature - own_curvature
            gradient = (own_slope * a - rest) / total
            hessian = own_curvature * a * a - own_slope * a * (a + kind(2)) + rest_curvature + rest
            return gradient, hessian / total / total

        self.classify, self.derive = classify, derive


LINKS = {"softmax": _Softmax, "normalize": _Normalize}

# Steps of rows that are split, by links; the last one is of the values and derivatives.
STEPS = {"softmax": ("largest", "terms", "sums", "results"), "normalize": ("largest", "sums", "results")}

# Numbers of a part: the maximum, the sum of terms and its error, ties; three sums over classes with their errors.
FOUND = 10


def rows(spec):
    """The kernel: a row is worked on by blockDim.x threads, blockDim.y rows by a block; or parts of rows that are split.

    spec.step: one of STEPS, or "all" where rows are not split.
    """
    split, begins, ends = spec.step != "all", spec.step in ("all", "largest"), spec.step in ("all", "results")
    has_terms, has_sums = spec.step in ("all", "terms"), spec.step in ("all", "sums")
    only_largest, only_terms, only_sums = spec.step == "largest", spec.step == "terms", spec.step == "sums"
    least_place = row_least()
    kind, width = REALS[spec.real], spec.width
    link, from_logits = LINKS[spec.link](spec.real), spec.link == "softmax"
    classify, derive = link.classify, link.derive
    integers, bounded = spec.integer_labels, spec.bounded
    # Without smoothing the weight of the label's class is one of the row: 0 hides what the row holds.
    by_label, class_weighted = spec.class_weights == "label", spec.class_weights == "class"
    want_gradient, want_hessian, want_losses, weighted = (
        spec.want_gradient, spec.want_hessian, spec.want_losses, spec.weighted,
    )  # fmt: skip
    load_pred, load_one = load(spec.y_pred, spec.real, width), load(spec.y_pred, spec.real, 1)
    load_true, load_one_true = load(spec.y_true, spec.real, width), load(spec.y_true, spec.real, 1)
    label_of = label_loader(spec.y_true)
    put, put_one, keep = store(spec.gradient, spec.real, width), store(spec.gradient, spec.real, 1), copy(spec.y_pred, width)
    add, add_one, finish = adder(width), adder(1), block_results(spec.real)
    sum_of_row, maximum_of_row = row_sum(spec.real), row_maximum(spec.real)
    element = with_four_parameters(ELEMENTS[spec.element], 1)
    fma, w = fused_multiply_add(spec.real), window(spec.real)
    fits, exponent, offset_of, floor_of, term, relative_term = (
        w.fits, w.exponent, w.offset, w.floor, w.term, w.relative_term,
    )  # fmt: skip
    infinite, nan = math.inf, math.nan
    storage = shared_type(spec.y_pred)

    @device
    def label_at(k, column, label, y_true, class_weights, label_scale, label_shift):
        """The label of a class, smoothed and times the weight of the class."""
        if integers:
            y = label_scale + label_shift if column + k == label else label_shift
        else:
            y = fma(label_scale, y_true[k], label_shift)
        if class_weighted:
            y = y * kind(class_weights[column + k])
        return y

    @device
    def sum_step(k, sums, column, y_true, y_pred, label, class_weights, label_scale, label_shift, a, b, c, d,
                 first, second, third, top, has_window, offset, floor, least, most):  # fmt: skip
        value_high, value_low, slope_high, slope_low, curvature_high, curvature_low = sums
        y = label_at(k, column, label, y_true, class_weights, label_scale, label_shift)
        if y != kind(0):
            log_probability, _, clipped = classify(
                y_pred[k], first, second, third, top, has_window, offset, floor, least, most
            )
            value, slope, curvature = element(kind, log_probability, a, b, c, d)
            value_high, error = two_sum(value_high, y * kind(value))
            value_low += error
            if not clipped:
                slope_high, error = two_sum(slope_high, y * kind(slope))
                slope_low += error
                curvature_high, error = two_sum(curvature_high, y * kind(curvature))
                curvature_low += error
        return value_high, value_low, slope_high, slope_low, curvature_high, curvature_low

    @device
    def merge(sums, found, part):
        """What a part has found, added to the sums of a thread."""
        value_high, value_low, slope_high, slope_low, curvature_high, curvature_low = sums
        value_high, error = two_sum(value_high, found[part])
        value_low += found[part + 1] + error
        slope_high, error = two_sum(slope_high, found[part + 2])
        slope_low += found[part + 3] + error
        curvature_high, error = two_sum(curvature_high, found[part + 4])
        curvature_low += found[part + 5] + error
        return value_high, value_low, slope_high, slope_low, curvature_high, curvature_low

    @device
    def derive_step(k, scale, column, y_true, y_pred, hessians, label, class_weights, label_scale, label_shift, a, b, c, d,
                    first, second, third, top, has_window, offset, floor, least, most, slope, curvature):  # fmt: skip
        y = label_at(k, column, label, y_true, class_weights, label_scale, label_shift)
        x = y_pred[k]
        log_probability, own, clipped = classify(x, first, second, third, top, has_window, offset, floor, least, most)
        own_slope, own_curvature = kind(0), kind(0)
        if y != kind(0) and not clipped:
            _, own_slope, own_curvature = element(kind, log_probability, a, b, c, d)
            own_slope, own_curvature = y * kind(own_slope), y * kind(own_curvature)
        gradient, hessian = derive(
            y, x, own, clipped, own_slope, own_curvature, slope, curvature, first, second, third, top
        )
        y_pred[k] = kind(0) if scale == kind(0) else gradient * scale
        hessians[k] = kind(0) if scale == kind(0) else hessian * scale
        return scale

    sum_all, sum_single = unrolled(sum_step, width), unrolled(sum_step, 1)
    derive_all, derive_single = unrolled(derive_step, width), unrolled(derive_step, 1)

    def kernel(y_true, y_pred, gradient, hessian, weights, class_weights, factor_at, count, columns, kept, factor,
               label_scale, label_shift, a, b, c, d, least, most, true_low, true_high, pred_low, pred_high,
               partials, bad_places, losses, part_columns, pieces, found, found_places):  # fmt: skip
        shared = cuda.shared.array(ENTRIES, kind)
        places = cuda.shared.array(PARTS, int64)
        cache = cuda.shared.array(0, storage, alignment=16)
        buffer = cuda.local.array(width, kind)
        labels = cuda.local.array(width, kind)
        hessians = cuda.local.array(width, kind)
        own, threads = int64(cuda.threadIdx.x), int64(cuda.blockDim.x)
        cached = int64(cuda.threadIdx.y) * kept * width
        block_high, block_low = kind(0), kind(0)
        place = int64(NOWHERE)
        if weighted:
            factor = factor * kind(factor_at[0])
        items = count * pieces if split else count
        for block in range(int64(cuda.blockIdx.x) * cuda.blockDim.y, items, int64(cuda.gridDim.x) * cuda.blockDim.y):
            item, begin, extent = block + cuda.threadIdx.y, int64(0), columns
            live, row = item < items, item
            if split:
                row = item // pieces
                begin = (item - row * pieces) * part_columns
                extent = columns - begin if columns - begin < part_columns else part_columns
            # Threads beyond the last row take part in its reductions, of nothing.
            row, extent, shared_by = row if live else int64(0), extent if live else int64(0), pieces if live else int64(0)
            base = row * columns + begin
            weight, label, wrong = kind(1), int64(-1), False
            if live:
                if weighted:
                    weight = kind(weights[row])
                if integers:
                    label = label_of(y_true, row)
                    wrong = weight != kind(0) and (label < 0 or label >= columns)
                    if wrong:
                        of_label = row * PLACES + BAD_LABEL
                        place = of_label if of_label < place else place
                    if by_label and not wrong and weight != kind(0):
                        weight = weight * kind(class_weights[label])
            counted = weight != kind(0)
            head = (-base) & (width - 1)
            head = extent if extent < head else head
            vectors = (extent - head) // width
            rest = extent - vectors * width

            # What the link needs of the row
            high, low, top = kind(0), kind(0), kind(-infinite)
            for v in range(own, vectors if begins else int64(0), threads):
                column = head + v * width
                load_pred(y_pred, base + column, buffer)
                if v < kept:
                    keep(y_pred, base + column, cache, cached + v * width)
                if bounded and counted:
                    for j in range(width):
                        place = find_bad(buffer[j], pred_low, pred_high, BAD_PRED, base + column + j, place)
                if from_logits:
                    for j in range(width):
                        top = buffer[j] if buffer[j] > top else top
                else:
                    high, low = _add_each(width, high, low, buffer)
            for i in range(own, rest if begins else int64(0), threads):
                column = i if i < head else i + vectors * width
                load_one(y_pred, base + column, buffer)
                if bounded and counted:
                    place = find_bad(buffer[0], pred_low, pred_high, BAD_PRED, base + column, place)
                if from_logits:
                    top = buffer[0] if buffer[0] > top else top
                else:
                    high, low = add_one(high, low, buffer)
            has_window, offset, floor = False, kind(0), kind(0)
            first, second, third = kind(0), kind(0), kind(0)
            if split and not begins:
                for q in range(own, shared_by, threads):
                    part = FOUND * (row * pieces + q)
                    top = found[part] if found[part] > top else top
                    if not has_terms:
                        high, error = two_sum(high, found[part + 1])
                        low += found[part + 2] + error
                    if ends:
                        place = found_places[row * pieces + q] if found_places[row * pieces + q] < place else place
                if not ends and live:
                    place = found_places[item] if found_places[item] < place else place
            if from_logits:
                top = maximum_of_row(top, shared)
                has_window = fits(top)
                offset, floor = offset_of(exponent(top)), floor_of(exponent(top))
                ties = kind(0)
                if split and not has_terms and not only_largest:
                    for q in range(own, shared_by, threads):
                        ties += found[FOUND * (row * pieces + q) + 3]
                for v in range(own, vectors if has_terms else int64(0), threads):
                    if v < kept:
                        load_pred(cache, cached + v * width, buffer)
                    else:
                        load_pred(y_pred, base + head + v * width, buffer)
                    for j in range(width):
                        z = buffer[j]
                        t = term(z, offset, floor) if has_window else relative_term(z, top)
                        ties += kind(1) if z == top else kind(0)
                        buffer[j] = kind(0) if z == top else t
                    high, low = add(high, low, buffer)
                for i in range(own, rest if has_terms else int64(0), threads):
                    load_one(y_pred, base + (i if i < head else i + vectors * width), buffer)
                    z = buffer[0]
                    t = term(z, offset, floor) if has_window else relative_term(z, top)
                    ties += kind(1) if z == top else kind(0)
                    buffer[0] = kind(0) if z == top else t
                    high, low = add_one(high, low, buffer)
                high, low = sum_of_row(high, low, shared)
                ties, _ = sum_of_row(ties, kind(0), shared)
                if only_terms and own == 0 and live:
                    found[FOUND * item + 1], found[FOUND * item + 2], found[FOUND * item + 3] = high, low, ties
                if not (only_largest or only_terms):
                    own_term = term(top, offset, floor) if has_window else relative_term(kind(0), kind(0))
                    others = joined(high, low) + own_term * (ties - kind(1))
                    if not (top < kind(infinite) and ties > kind(0)):
                        others = kind(nan)
                    second = kind(1) / (own_term + others)
                    first = kind(math.log1p(others / own_term))
                    third = others * second
            else:
                high, low = sum_of_row(high, low, shared)
                if only_largest and own == 0 and live:
                    found[FOUND * item + 1], found[FOUND * item + 2] = high, low
                first, second = two_sum(high, low)
                if second != second:
                    first, second = high, kind(0)

            # Sums over the classes
            if only_largest and own == 0 and live:
                found[FOUND * item] = top
            sums = (kind(0), kind(0), kind(0), kind(0), kind(0), kind(0))
            if split and ends:
                for q in range(own, shared_by, threads):
                    sums = merge(sums, found, FOUND * (row * pieces + q) + 4)
            for v in range(own, vectors if has_sums else int64(0), threads):
                column = head + v * width
                if not integers:
                    load_true(y_true, base + column, labels)
                    if bounded and counted:
                        for j in range(width):
                            place = find_bad(labels[j], true_low, true_high, BAD_TRUE, base + column + j, place)
                if v < kept:
                    load_pred(cache, cached + v * width, buffer)
                else:
                    load_pred(y_pred, base + column, buffer)
                sums = sum_all(
                    sums, begin + column, labels, buffer, label, class_weights, label_scale, label_shift, a, b, c, d,
                    first, second, third, top, has_window, offset, floor, least, most,
                )  # fmt: skip
            for i in range(own, rest if has_sums else int64(0), threads):
                column = i if i < head else i + vectors * width
                if not integers:
                    load_one_true(y_true, base + column, labels)
                    if bounded and counted:
                        place = find_bad(labels[0], true_low, true_high, BAD_TRUE, base + column, place)
                load_one(y_pred, base + column, buffer)
                sums = sum_single(
                    sums, begin + column, labels, buffer, label, class_weights, label_scale, label_shift, a, b, c, d,
                    first, second, third, top, has_window, offset, floor, least, most,
                )  # fmt: skip
            if only_sums:
                value_high, value_low = sum_of_row(sums[0], sums[1], shared)
                slope_high, slope_low = sum_of_row(sums[2], sums[3], shared)
                curvature_high, curvature_low = sum_of_row(sums[4], sums[5], shared)
                if own == 0 and live:
                    part = FOUND * item + 4
                    found[part], found[part + 1], found[part + 2] = value_high, value_low, slope_high
                    found[part + 3], found[part + 4], found[part + 5] = slope_low, curvature_high, curvature_low
            if split and not ends:
                own_place = least_place(place, places)
                if own == 0 and live:
                    found_places[item] = own_place
                place = int64(NOWHERE)
                continue
            high, low = sum_of_row(sums[0], sums[1], shared)
            if own == 0 and live and begin == 0:
                buffer[0] = joined(high, low) * weight if counted else kind(0)
                if wrong:
                    buffer[0] = kind(nan)
                block_high, block_low = add_one(block_high, block_low, buffer)
                if want_losses:
                    losses[row] = buffer[0]
            if want_gradient:
                high, low = sum_of_row(sums[2], sums[3], shared)
                slope = joined(high, low)
                high, low = sum_of_row(sums[4], sums[5], shared)
                curvature = joined(high, low)
                scale = weight * factor
                scale = kind(nan) if wrong else scale
                for v in range(own, vectors, threads):
                    column = head + v * width
                    if not integers:
                        load_true(y_true, base + column, labels)
                    if v < kept:
                        load_pred(cache, cached + v * width, buffer)
                    else:
                        load_pred(y_pred, base + column, buffer)
                    derive_all(
                        scale, begin + column, labels, buffer, hessians, label, class_weights, label_scale, label_shift,
                        a, b, c, d, first, second, third, top, has_window, offset, floor, least, most, slope, curvature,
                    )  # fmt: skip
                    put(gradient, base + column, buffer)
                    if want_hessian:
                        put(hessian, base + column, hessians)
                for i in range(own, rest, threads):
                    column = i if i < head else i + vectors * width
                    if not integers:
                        load_one_true(y_true, base + column, labels)
                    load_one(y_pred, base + column, buffer)
                    derive_single(
                        scale, begin + column, labels, buffer, hessians, label, class_weights, label_scale, label_shift,
                        a, b, c, d, first, second, third, top, has_window, offset, floor, least, most, slope, curvature,
                    )  # fmt: skip
                    put_one(gradient, base + column, buffer)
                    if want_hessian:
                        put_one(hessian, base + column, hessians)
        if ends:
            finish(block_high, block_low, place, shared, places, partials, bad_places)

    arguments = [
        f"{spec.y_true}*", f"{spec.y_pred}*", f"{spec.gradient}*", f"{spec.gradient}*", "float64*", "float64*", "float64*",
        "int64", "int64", "int64",  # rows, columns, vectors of a row that are kept
        *[spec.real] * 13,  # factor, label_scale, label_shift, four parameters, bounds of logarithms, y_true and y_pred
        f"{spec.real}*", "int64*",  # sums and first bad row of each block
        f"{spec.real}*",
        "int64", "int64", f"{spec.real}*", "int64*",  # columns of a part, parts of a row, what steps have found, bad places
    ]  # fmt: skip
    return kernel, arguments


@device
def _add_each(width, high, low, buffer):
    """Each by itself, as something will be subtracted from the sum."""
    for j in range(width):
        high, error = two_sum(high, buffer[j])
        low += error
    return high, low
