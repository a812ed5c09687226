# SPDX-License-Identifier: BSD-3-Clause
"""Losses of the pairs of an anchor with all references, in float64, a block to an anchor.

As csrc/pairs.h: log(1 + exp(P + Q)) with P, Q the logarithms of sums over the positive and the negative references; no
matrix of pairs is kept: the first kernel finds P and Q, the second takes each similarity again for the gradient.
"""

import math

from fastloss.cuda._numba import REALS, cuda, device, exp, int64, load, store
from fastloss.cuda.elements import ELEMENTS
from fastloss.cuda.numerics import (
    BAD_LABEL,
    BAD_REFERENCE,
    ENTRIES,
    NO_LABEL,
    NOWHERE,
    PARTS,
    PLACES,
    block_results,
    joined,
    label_loader,
    row_maximum,
    row_sum,
    two_sum,
    with_four_parameters,
)

LARGEST = 1.7976931348623157e308


def _similarity(spec):
    """A device function: the dot product of an anchor and a reference."""
    kind = REALS["float64"]
    load_pred, load_reference = load(spec.y_pred, "float64", 1), load(spec.reference, "float64", 1)

    @device
    def similarity(y_pred, reference, i, j, columns, buffer):
        high, low = kind(0), kind(0)
        for c in range(columns):
            load_pred(y_pred, i * columns + c, buffer)
            x = buffer[0]
            load_reference(reference, j * columns + c, buffer)
            high, error = two_sum(high, x * buffer[0])
            low += error
        return joined(high, low)

    return similarity


def sums(spec):
    """P and Q of each anchor, its loss, and whether it counts: 1 or 0 as a weight that multiplies its own."""
    kind, loss_kind = REALS["float64"], REALS[spec.real]
    similarity_of, element = _similarity(spec), with_four_parameters(ELEMENTS[spec.element], 1)
    label_of, reference_of = label_loader(spec.y_true), label_loader(spec.labels)
    sum_of_row, maximum_of_row, finish = row_sum("float64"), row_maximum("float64"), block_results("float64")
    want_losses, weighted, infinite = spec.want_losses, spec.weighted, math.inf

    def kernel(y_true, y_pred, labels, reference, weights, counted, count, references, columns, without_diagonal, a, b,
               positives, negatives, pulls, counts, weight_sums, partials, bad_places, losses):  # fmt: skip
        shared = cuda.shared.array(ENTRIES, kind)
        places = cuda.shared.array(PARTS, int64)
        buffer = cuda.local.array(1, kind)
        own, threads, none = int64(cuda.threadIdx.x), int64(cuda.blockDim.x), kind(0)
        block_high, block_low, place = none, none, int64(NOWHERE)
        number, total_weight, total_error = none, none, none
        for i in range(int64(cuda.blockIdx.x), count, int64(cuda.gridDim.x)):
            label = label_of(y_true, i)
            found = i * PLACES + BAD_LABEL
            place = found if label == NO_LABEL and found < place else place
            # The largest exponent of each kind first, then the sums relative to it
            largest, other_largest = kind(-infinite), kind(-infinite)
            sum_own, error_own, sum_other, error_other, pairs, other_pairs = none, none, none, none, none, none
            for turn in range(2):
                for j in range(own, references, threads):
                    group = reference_of(labels, j)
                    found = (count + j) * PLACES + BAD_REFERENCE
                    place = found if group == NO_LABEL and found < place else place
                    if without_diagonal != 0 and i == j:
                        continue
                    positive, _, negative, _ = element(
                        kind, similarity_of(y_pred, reference, i, j, columns, buffer), a, b, none, none
                    )
                    exponent = kind(positive if group == label else negative)
                    exponent = kind(LARGEST) if exponent > kind(LARGEST) else exponent
                    if turn == 0:
                        # A NaN would be passed over.
                        if group == label:
                            pairs += kind(1)
                            largest = exponent if exponent > largest else largest
                        else:
                            other_pairs += kind(1)
                            other_largest = exponent if exponent > other_largest else other_largest
                    elif group == label:
                        sum_own, error = two_sum(sum_own, exp(exponent - largest))
                        error_own += error
                    else:
                        sum_other, error = two_sum(sum_other, exp(exponent - other_largest))
                        error_other += error
                if turn == 0:
                    largest, other_largest = maximum_of_row(largest, shared), maximum_of_row(other_largest, shared)
            sum_own, error_own = sum_of_row(sum_own, error_own, shared)
            sum_other, error_other = sum_of_row(sum_other, error_other, shared)
            pairs, _ = sum_of_row(pairs, none, shared)
            other_pairs, _ = sum_of_row(other_pairs, none, shared)
            if own == 0:
                weight, has_mask = kind(1), True
                if weighted:
                    weight, has_mask = weights[i], counted[i] != none
                counts_too = pairs > none and other_pairs > none and has_mask
                number += kind(1) if counts_too else none
                weight = weight if counts_too else none
                total_weight, error = two_sum(total_weight, weight)
                total_error += error
                loss, pull, p, q = none, none, none, none
                if weight != none:
                    p = largest + kind(math.log(joined(sum_own, error_own)))
                    q = other_largest + kind(math.log(joined(sum_other, error_other)))
                    p = kind(infinite) if p >= kind(LARGEST) else p
                    q = kind(infinite) if q >= kind(LARGEST) else q
                    x = p + q
                    t = exp(-abs(x))
                    loss = ((none if x < none else x) + kind(math.log1p(t))) * weight
                    pull = weight * (kind(1) if x > none else t) / (kind(1) + t)
                positives[i], negatives[i], pulls[i] = p, q, pull
                block_high, error = two_sum(block_high, loss)
                block_low += error
                if want_losses:
                    losses[i] = loss_kind(loss)
        if own == 0:
            counts[cuda.blockIdx.x] = number
            weight_sums[2 * cuda.blockIdx.x] = total_weight
            weight_sums[2 * cuda.blockIdx.x + 1] = total_error
        finish(block_high, block_low, place, shared, places, partials, bad_places)

    arguments = [
        f"{spec.y_true}*", f"{spec.y_pred}*", f"{spec.labels}*", f"{spec.reference}*", "float64*", "float64*",
        "int64", "int64", "int64", "int64", "float64", "float64",  # anchors, references, columns, no diagonal, parameters
        *["float64*"] * 6, "int64*", f"{spec.real}*",
    ]  # fmt: skip
    return kernel, arguments


def derivatives(spec):
    """The gradient of each anchor as float64, through either side of its pairs where the references are the anchors."""
    kind = REALS["float64"]
    similarity_of, element = _similarity(spec), with_four_parameters(ELEMENTS[spec.element], 1)
    label_of, reference_of = label_loader(spec.y_true), label_loader(spec.labels)
    load_reference, symmetric = load(spec.reference, "float64", 1), spec.symmetric

    @device
    def share(pull, exponent, log_sum):
        if pull == kind(0):
            return kind(0)
        exponent = kind(LARGEST) if exponent > kind(LARGEST) else exponent
        return pull * exp(exponent - log_sum)

    def kernel(y_true, y_pred, labels, reference, gradient, positives, negatives, pulls, factor_at, count, references,
               columns, without_diagonal, factor, a, b):  # fmt: skip
        coefficients = cuda.shared.array(ENTRIES, kind)
        buffer = cuda.local.array(1, kind)
        own, threads, none = int64(cuda.threadIdx.x), int64(cuda.blockDim.x), kind(0)
        factor = factor * factor_at[0]
        for i in range(int64(cuda.blockIdx.x), count, int64(cuda.gridDim.x)):
            label = label_of(y_true, i)
            if references == 0:
                for c in range(own, columns, threads):
                    gradient[i * columns + c] = none
            for first in range(0, references, threads):
                j = first + own
                coefficient = none
                if j < references and not (without_diagonal != 0 and i == j):
                    same = reference_of(labels, j) == label
                    positive, slope, negative, other_slope = element(
                        kind, similarity_of(y_pred, reference, i, j, columns, buffer), a, b, none, none
                    )
                    exponent = kind(positive if same else negative)
                    part = share(pulls[i], exponent, positives[i] if same else negatives[i])
                    if symmetric:
                        part += share(pulls[j], exponent, positives[j] if same else negatives[j])
                    coefficient = none if part == none else kind(slope if same else other_slope) * part * factor
                coefficients[own] = coefficient
                cuda.syncthreads()
                left = references - first
                for c in range(own, columns, threads):
                    high = none
                    for k in range(threads if threads < left else left):
                        if coefficients[k] != none:
                            load_reference(reference, (first + k) * columns + c, buffer)
                            high += coefficients[k] * buffer[0]
                    gradient[i * columns + c] = high if first == 0 else gradient[i * columns + c] + high
                cuda.syncthreads()

    arguments = [
        f"{spec.y_true}*", f"{spec.y_pred}*", f"{spec.labels}*", f"{spec.reference}*", "float64*",
        "float64*", "float64*", "float64*", "float64*", "int64", "int64", "int64", "int64", "float64", "float64", "float64",
    ]  # fmt: skip
    return kernel, arguments


def rounded(spec):
    """float64 to the storage of the gradient."""
    kind, put = REALS["float64"], store(spec.gradient, "float64", 1)

    def kernel(source, gradient, count):
        buffer = cuda.local.array(1, kind)
        for i in range(int64(cuda.grid(1)), count, int64(cuda.gridsize(1))):
            buffer[0] = source[i]
            put(gradient, i, buffer)

    return kernel, ["float64*", f"{spec.gradient}*", "int64"]
