# SPDX-License-Identifier: BSD-3-Clause
"""What comes before and after the kernels of every kind: weights of rows, what a reduction divides by, the value, errors.

Sums are taken in two steps, by blocks and over blocks, in an order that the shape fixes. These kernels touch a number or
a few for each row, so they compute in float64 throughout.
"""

import math

from fastloss.cuda._numba import REALS, bits_as_int64, cuda, int32, int64, load
from fastloss.cuda.numerics import (
    BAD_LABEL,
    BAD_MASK,
    BAD_PADDING,
    BAD_PRED,
    BAD_TRUE,
    BAD_WEIGHT,
    ENTRIES,
    FIRST_ELEMENT,
    NOWHERE,
    PARTS,
    PLACES,
    block_results,
    joined,
    label_loader,
    row_least,
    row_sum,
    two_sum,
)

# The error words: whether any is set, then a slot for a call in turn. A slot: what is wrong, the number of the call, the
# place, the value as the bits of a float64, a label. So calls on several streams do not write to the same.
SLOTS, SLOT = 64, 5
WORDS = 1 + SLOTS * SLOT


def weigh(spec):
    """Weights of the rows as float64: 0 where they do not count; their sum and number, and the first that is wrong.

    spec: storage of `sample_weight`, `mask`, `y_true`, or None; `ignores`: "label", "largest" or None; `unit`: weights
    are 1 where they are not 0; `counts`: whether rows without a mask count; `labels`: whether labels are looked at, also
    where the weight is 0; `flags`: whether it is written down which rows count.
    """
    double = REALS["float64"]
    finish = block_results("float64")
    weight_storage, mask_storage, label_storage = (x or "float32" for x in (spec.sample_weight, spec.mask, spec.y_true))
    load_weight, load_mask = load(weight_storage, "float64", 1), load(mask_storage, "float64", 1)
    load_true, label_of = load(label_storage, "float64", 1), label_loader(label_storage)
    has_weight, has_mask, ignores, unit = spec.sample_weight is not None, spec.mask is not None, spec.ignores, spec.unit
    counts = spec.counts
    by_label_range, want_flags = spec.labels, spec.flags
    by_label, by_largest = ignores == "label", ignores == "largest"

    def kernel(sample_weight, mask, y_true, weights, flags, rows, columns, ignored_class, scalar, partials, numbers,
               bad_places):
        shared = cuda.shared.array(ENTRIES, double)
        places = cuda.shared.array(PARTS, int64)
        buffer = cuda.local.array(1, double)
        high, low, count, place = double(0), double(0), int64(0), int64(NOWHERE)
        step = int64(cuda.gridDim.x) * cuda.blockDim.x
        for row in range(int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x, rows, step):
            weight, counts_too, wrong = scalar, counts, 0
            if has_weight:
                load_weight(sample_weight, row, buffer)
                weight = buffer[0]
            if has_mask:
                load_mask(mask, row, buffer)
                counts_too = counts_too and buffer[0] != double(0)
                wrong = BAD_MASK if buffer[0] != double(0) and buffer[0] != double(1) else 0
            if by_label:
                counts_too = counts_too and label_of(y_true, row) != ignored_class
            if by_largest and counts_too:
                # The largest entry, the first if several, that of a class which is in range
                load_true(y_true, row * columns + ignored_class, buffer)
                most = buffer[0]
                largest = most > double(0)
                for column in range(columns):
                    load_true(y_true, row * columns + column, buffer)
                    if column < ignored_class:
                        largest = largest and buffer[0] < most
                    else:
                        largest = largest and buffer[0] <= most
                counts_too = not largest
            if counts_too:
                wrong = BAD_WEIGHT if weight != weight and wrong == 0 else wrong
                count += 1
            else:
                weight = double(0)
            if unit and weight != double(0):
                weight = double(1)
            if by_label_range and counts_too:
                label = label_of(y_true, row)
                wrong = BAD_LABEL if label < 0 or label >= columns else wrong
            if wrong != 0:
                place = row * PLACES + wrong if row * PLACES + wrong < place else place
            if want_flags:
                flags[row] = double(1) if counts_too else double(0)
            weights[row] = weight
            high, error = two_sum(high, weight)
            low += error
        # The counts are exact as float64.
        all_high, all_low = double(count), double(0)
        all_high, all_low = _sum_of_float64(all_high, all_low, shared)
        if cuda.threadIdx.x == 0:
            numbers[cuda.blockIdx.x] = all_high
        finish(high, low, place, shared, places, partials, bad_places)

    arguments = [f"{weight_storage}*", f"{mask_storage}*", f"{label_storage}*", "float64*", "float64*", "int64", "int64",
                 "int64", "float64", "float64*", "float64*", "int64*"]  # fmt: skip
    return kernel, arguments


_sum_of_float64 = row_sum("float64")


def divide(spec):
    """What a reduction divides by, from the blocks of `weigh`: its reciprocal, or 0, and itself. One block.

    spec.by: "count", "weight", or None for 1.
    """
    double = REALS["float64"]
    by_count, by_weight = spec.by == "count", spec.by == "weight"
    least = row_least()

    def kernel(partials, counts, bad_places, blocks, divisors, bad):
        shared = cuda.shared.array(ENTRIES, double)
        places = cuda.shared.array(PARTS, int64)
        high, low, place = double(0), double(0), int64(NOWHERE)
        for block in range(int64(cuda.threadIdx.x), blocks, int64(cuda.blockDim.x)):
            high, error = two_sum(high, counts[block] if by_count else partials[2 * block])
            low += error
            if not by_count:
                low += partials[2 * block + 1]
            place = bad_places[block] if bad_places[block] < place else place
        high, low = _sum_of_float64(high, low, shared)
        place = least(place, places)
        if cuda.threadIdx.x == 0:
            divisor = joined(high, low) if by_count or by_weight else double(1)
            divisors[0] = double(0) if divisor == double(0) else double(1) / divisor
            divisors[1] = divisor
            bad[0] = place

    return kernel, ["float64*", "float64*", "int64*", "int64", "float64*", "int64*"]


def tell_labels(spec):
    """Writes 1 if a label in a row that counts is neither 0 nor 1; the word is 0 before."""
    double = REALS["float64"]
    load_true, weighted = load(spec.y_true, "float64", 1), spec.weighted

    def kernel(y_true, weights, rows, columns, other):
        buffer = cuda.local.array(1, double)
        found = False
        step = int64(cuda.gridDim.x) * cuda.blockDim.x
        for i in range(int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x, rows * columns, step):
            load_true(y_true, i, buffer)
            if buffer[0] != double(0) and buffer[0] != double(1):
                counted = True
                if weighted:
                    counted = weights[i // columns] != double(0)
                found = found or counted
        if found:
            # Every thread that writes writes the same.
            other[0] = int32(1)

    return kernel, [f"{spec.y_true}*", "float64*", "int64", "int64", "int32*"]


def clear(spec):
    """Sets a word to 0."""

    def kernel(word):
        word[0] = int32(0)

    return kernel, ["int32*"]


def finish(spec):
    """The value from the blocks of a kernel, and the error word if something was wrong. One block.

    spec: `real`, and `sums`, that of the sums; storage of y_true and y_pred; `weighed`: whether rows were weighed
    first; `divided`: whether the value is divided by what they weigh.
    """
    kind, double = REALS[spec.real], REALS["float64"]
    least = row_least()
    load_true, load_pred = load(spec.y_true, "float64", 1), load(spec.y_pred, "float64", 1)
    label_of = label_loader(spec.y_true)
    weighed, divided, nan = spec.weighed, spec.divided, math.nan

    def kernel(partials, bad_places, blocks, divisors, divisor, weighed_bad, y_true, y_pred, number, value, words):
        shared = cuda.shared.array(ENTRIES, double)
        places = cuda.shared.array(PARTS, int64)
        buffer = cuda.local.array(1, double)
        high, low, place = double(0), double(0), int64(NOWHERE)
        for block in range(int64(cuda.threadIdx.x), blocks, int64(cuda.blockDim.x)):
            high, error = two_sum(high, double(partials[2 * block]))
            low += double(partials[2 * block + 1]) + error
            place = bad_places[block] if bad_places[block] < place else place
        high, low = _sum_of_float64(high, low, shared)
        place = least(place, places)
        if cuda.threadIdx.x == 0:
            total = joined(high, low)
            if weighed and divided:
                divisor = divisors[1] * divisor
            total = double(0) if divisor == double(0) else total / divisor
            wrong = int64(0)
            if weighed and weighed_bad[0] < place:
                place = weighed_bad[0]
            if place < NOWHERE:
                wrong = int64(place & (PLACES - 1))
                place = place - FIRST_ELEMENT if place >= FIRST_ELEMENT else place
                place = place // PLACES
            if wrong != 0:
                total = double(nan)
                # An error that nobody has read yet stays.
                slot = 1 + number % SLOTS * SLOT
                if words[slot] == 0:
                    buffer[0] = double(nan)
                    words[slot + 4] = int64(0)
                    if wrong in (BAD_LABEL, BAD_PADDING):
                        words[slot + 4] = label_of(y_true, place)
                        load_true(y_true, place, buffer)
                    if wrong == BAD_TRUE:
                        load_true(y_true, place, buffer)
                    if wrong == BAD_PRED:
                        load_pred(y_pred, place, buffer)
                    words[slot + 1] = number
                    words[slot + 2] = place
                    words[slot + 3] = bits_as_int64(buffer[0])
                    # The host may look at slots at any time.
                    cuda.threadfence_system()
                    words[slot] = wrong
                    cuda.threadfence_system()
                    words[0] = int64(1)
            value[0] = kind(total)

    arguments = [f"{spec.sums}*", "int64*", "int64", "float64*", "float64", "int64*", f"{spec.y_true}*", f"{spec.y_pred}*",
                 "int64", f"{spec.real}*", "int64*"]  # fmt: skip
    return kernel, arguments


def gather(spec):
    """Elements that lie apart become contiguous, or the reverse; spec.dimensions: of how many, at least 1."""
    scatter, used = spec.scatter, spec.dimensions

    def kernel(apart, together, count, origin, n1, n2, n3, n4, n5, n6, s0, s1, s2, s3, s4, s5, s6):
        step = int64(cuda.gridDim.x) * cuda.blockDim.x
        for i in range(int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x, count, step):
            # Divisions of 64 bits are what this takes: none for dimensions that are not there.
            rest, place = i, origin
            if used > 6:
                place += rest % n6 * s6
                rest //= n6
            if used > 5:
                place += rest % n5 * s5
                rest //= n5
            if used > 4:
                place += rest % n4 * s4
                rest //= n4
            if used > 3:
                place += rest % n3 * s3
                rest //= n3
            if used > 2:
                place += rest % n2 * s2
                rest //= n2
            if used > 1:
                place += rest % n1 * s1
                rest //= n1
            place += rest * s0
            if scatter:
                apart[place] = together[i]
            else:
                together[i] = apart[place]

    return kernel, [f"{spec.storage}*", f"{spec.storage}*", *["int64"] * 15]


# Dimensions, after those that are one run are joined.
DIMENSIONS = 7
