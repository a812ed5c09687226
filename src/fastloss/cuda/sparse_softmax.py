# SPDX-License-Identifier: BSD-3-Clause
"""Losses of the log-probability of an integer label, from logits: value and gradient.

As csrc/sparse_softmax.h: a row is reduced to the term of its label, t, and the sum O of the others, so that a confident
right prediction keeps all its digits: -log p = log1p(O/t), p_j = t_j/(O + t), 1 - p = O/(O + t). A row is read from
memory once. Every thread keeps a window of exponents of its own while it reads, and moves it when a logit exceeds
it; the windows are brought together when the maximum of the row is known. For the gradient the row is kept in shared
memory, as much of it as fits, where each thread finds what it has put there; the rest is read again.

The label is looked for once a vector, and its gradient is written last, by the thread that has it.
"""

import math

from fastloss.cuda._numba import REALS, copy, cuda, device, int64, load, maximum, shared_type, store
from fastloss.cuda.elements import ELEMENTS
from fastloss.cuda.numerics import (
    BAD_LABEL,
    ENTRIES,
    NOWHERE,
    PARTS,
    PLACES,
    adder,
    block_results,
    joined,
    label_loader,
    row_maximum,
    row_sum,
    two_sum,
    window,
    with_four_parameters,
)


class _Reader:
    """The device functions that read a row, or a part of one."""

    def __init__(self, spec, keeps):
        kind, width = REALS[spec.real], spec.width
        w, larger, keep = window(spec.real), maximum(spec.real), copy(spec.y_pred, width)
        exponent, offset_of, floor_of, exceeds = w.exponent, w.offset, w.floor, w.exceeds
        term, rescaled, lowest, infinite = w.term, w.rescaled, w.lowest, math.inf
        load_pred, load_second = load(spec.y_pred, spec.real, width), load(spec.y_pred, spec.real, width, width)
        load_one = load(spec.y_pred, spec.real, 1)

        @device
        def moved(most, high, low, offset):
            """The sum in a window that begins at `most`, and that window."""
            k = exponent(most)
            new = offset_of(k)
            return rescaled(high, new - offset), rescaled(low, new - offset), new, floor_of(k)

        def collector(count):
            """A device function: what `count` logits of a buffer add, but not that at `skip`, if it is one of them."""
            add = adder(count)

            @device
            def collect(buffer, skip, high, low, top, offset, floor):
                most = buffer[0]
                for j in range(1, count):
                    most = larger(most, buffer[j])
                if exceeds(most, floor):
                    high, low, offset, floor = moved(most, high, low, offset)
                top = larger(top, most)
                if skip >= 0 and skip < count:
                    for j in range(count):
                        buffer[j] = kind(-infinite) if j == skip else buffer[j]
                for j in range(count):
                    buffer[j] = term(buffer[j], offset, floor)
                high, low = add(high, low, buffer)
                return high, low, top, offset, floor

            return collect

        collect_one, collect_vector, collect_pair = collector(1), collector(width), collector(2 * width)

        @device
        def read(y_pred, base, extent, head, vectors, label, own, threads, buffer, cache, cached, kept):
            """The sum of a thread's terms without the label's, their largest logit, and the window of the sum."""
            high, low, top = kind(0), kind(0), kind(-infinite)
            offset, floor = offset_of(kind(lowest)), floor_of(kind(lowest))
            v = own
            while v + threads < vectors:
                # Two loads are under way at a time: memory takes hundreds of cycles for one.
                column, other = head + v * width, head + (v + threads) * width
                load_pred(y_pred, base + column, buffer)
                load_second(y_pred, base + other, buffer)
                if keeps and v < kept:
                    keep(y_pred, base + column, cache, cached + v * width)
                if keeps and v + threads < kept:
                    keep(y_pred, base + other, cache, cached + (v + threads) * width)
                skip = label - column if label < column + width else int64(-1)
                skip = label - other + width if label >= other and label < other + width else skip
                high, low, top, offset, floor = collect_pair(buffer, skip, high, low, top, offset, floor)
                v += 2 * threads
            if v < vectors:
                column = head + v * width
                load_pred(y_pred, base + column, buffer)
                if keeps and v < kept:
                    keep(y_pred, base + column, cache, cached + v * width)
                high, low, top, offset, floor = collect_vector(buffer, label - column, high, low, top, offset, floor)
            for i in range(own, extent - vectors * width, threads):
                column = i if i < head else i + vectors * width
                load_one(y_pred, base + column, buffer)
                high, low, top, offset, floor = collect_one(buffer, label - column, high, low, top, offset, floor)
            return high, low, top, offset

        self.read = read


def parts(spec):
    """Of few long rows: what the parts of each add up to, a block to a part. Three numbers each: sum, error, maximum."""
    kind, width = REALS[spec.real], spec.width
    read, label_of, w = _Reader(spec, False).read, label_loader(spec.y_true), window(spec.real)
    exponent, offset_of, rescaled = w.exponent, w.offset, w.rescaled
    sum_of_row, maximum_of_row = row_sum(spec.real), row_maximum(spec.real)
    storage, entries = shared_type(spec.y_pred), 2 * width

    def kernel(y_true, y_pred, count, columns, part_columns, pieces, found):
        shared = cuda.shared.array(ENTRIES, kind)
        cache = cuda.shared.array(1, storage)
        buffer = cuda.local.array(entries, kind)
        own, threads = int64(cuda.threadIdx.x), int64(cuda.blockDim.x)
        for item in range(int64(cuda.blockIdx.x), count * pieces, int64(cuda.gridDim.x)):
            row = item // pieces
            begin = (item - row * pieces) * part_columns
            extent = columns - begin if columns - begin < part_columns else part_columns
            base = row * columns + begin
            head = (-base) & (width - 1)
            head = extent if extent < head else head
            vectors = (extent - head) // width
            high, low, top, own_offset = read(
                y_pred, base, extent, head, vectors, label_of(y_true, row) - begin, own, threads, buffer, cache, int64(0),
                int64(0),
            )  # fmt: skip
            top = maximum_of_row(top, shared)
            offset = offset_of(exponent(top))
            high, low = sum_of_row(rescaled(high, offset - own_offset), rescaled(low, offset - own_offset), shared)
            if own == 0:
                found[3 * item] = high
                found[3 * item + 1] = low
                found[3 * item + 2] = top

    return kernel, [f"{spec.y_true}*", f"{spec.y_pred}*", "int64", "int64", "int64", "int64", f"{spec.real}*"]


def rows(spec):
    """The kernel: a row is worked on by blockDim.x threads, blockDim.y rows by a block; or parts of rows that are split."""
    kind, width = REALS[spec.real], spec.width
    load_pred, load_one = load(spec.y_pred, spec.real, width), load(spec.y_pred, spec.real, 1)
    put, put_one = store(spec.gradient, spec.real, width), store(spec.gradient, spec.real, 1)
    finish, larger = block_results(spec.real), maximum(spec.real)
    label_of, sum_of_row, maximum_of_row = label_loader(spec.y_true), row_sum(spec.real), row_maximum(spec.real)
    element = with_four_parameters(ELEMENTS[spec.element], 1)
    w, read = window(spec.real), _Reader(spec, spec.want_gradient).read
    fits, exponent, offset_of, floor_of = w.fits, w.exponent, w.offset, w.floor
    term, rescaled, relative_term, far_log = w.term, w.rescaled, w.relative_term, w.far_log
    least, infinite, nan = w.least, math.inf, math.nan
    want_gradient, want_losses, weighted, class_weighted, split = (
        spec.want_gradient, spec.want_losses, spec.weighted, spec.class_weights, spec.split,
    )  # fmt: skip
    storage, entries = shared_type(spec.y_pred), 2 * width

    def kernel(y_true, y_pred, gradient, weights, class_weights, factor_at, count, columns, kept, factor, a, b, c, d,
               partials, bad_places, losses, part_columns, pieces, found):  # fmt: skip
        shared = cuda.shared.array(ENTRIES, kind)
        places = cuda.shared.array(PARTS, int64)
        cache = cuda.shared.array(0, storage, alignment=16)
        buffer = cuda.local.array(entries, kind)
        own, threads = int64(cuda.threadIdx.x), int64(cuda.blockDim.x)
        cached = int64(cuda.threadIdx.y) * kept * width
        block_high, block_low = kind(0), kind(0)
        place = int64(NOWHERE)
        if weighted:
            factor = factor * kind(factor_at[0])
        items = count * pieces if split else count
        for block in range(int64(cuda.blockIdx.x) * cuda.blockDim.y, items, int64(cuda.gridDim.x) * cuda.blockDim.y):
            row, begin, extent = block + cuda.threadIdx.y, int64(0), columns
            live = row < items
            if split:
                item = row
                row = item // pieces
                begin = (item - row * pieces) * part_columns
                extent = columns - begin if columns - begin < part_columns else part_columns
            # Threads beyond the last row take part in reductions, of nothing.
            row, extent = row if live else int64(0), extent if live else int64(0)
            base = row * columns + begin
            weight, label = kind(1), int64(-1)
            if live:
                label = label_of(y_true, row)
                if weighted:
                    weight = kind(weights[row])
            wrong = weight != kind(0) and live and (label < 0 or label >= columns)
            if wrong:
                place = row * PLACES + BAD_LABEL if row * PLACES + BAD_LABEL < place else place
            if weight == kind(0) or wrong:
                label = int64(-1)
            logit = kind(0)
            if label >= 0:
                load_one(y_pred, base - begin + label, buffer)
                logit = buffer[0]
                if class_weighted:
                    weight = weight * kind(class_weights[label])
            # From here on of the part
            place_of_label = label - begin if split and label >= 0 else label
            head = (-base) & (width - 1)
            head = extent if extent < head else head
            vectors = (extent - head) // width
            rest = extent - vectors * width

            if split:
                top = kind(-infinite)
                for q in range(own, pieces, threads):
                    top = larger(top, found[3 * (row * pieces + q) + 2])
            else:
                high, low, top, own_offset = read(
                    y_pred, base, extent, head, vectors, place_of_label, own, threads, buffer, cache, cached, kept
                )
            if label >= 0:
                top = larger(top, logit)
            top = maximum_of_row(top, shared)
            logit = logit if label >= 0 else top
            has_window = fits(top)
            base_k = exponent(top)
            offset, floor = offset_of(base_k), floor_of(base_k)
            if has_window:
                if split:
                    high, low = kind(0), kind(0)
                    for q in range(own, pieces, threads):
                        first = 3 * (row * pieces + q)
                        by = offset - offset_of(exponent(found[first + 2]))
                        high, error = two_sum(high, rescaled(found[first], by))
                        low += rescaled(found[first + 1], by) + error
                else:
                    high, low = rescaled(high, offset - own_offset), rescaled(low, offset - own_offset)
                own_term = term(logit, offset, floor)
            else:
                # The same for all threads of a row, which read it again.
                high, low = kind(0), kind(0)
                for column in range(own, columns if live else int64(0), threads):
                    load_one(y_pred, base - begin + column, buffer)
                    total, error = two_sum(high, kind(0) if column == label else relative_term(buffer[0], top))
                    high, low = total, low + error
                own_term = relative_term(logit, top)
            high, low = sum_of_row(high, low, shared)
            others = joined(high, low)
            total = others + own_term
            if own_term >= kind(least):
                log_probability = -kind(math.log1p(others / own_term))
            elif own_term == own_term:
                log_probability = -far_log(logit, base_k, top, has_window, total)
            else:
                log_probability = kind(nan)
            value, slope, _ = element(kind, log_probability, a, b, c, d)
            value, slope = kind(value) * weight, kind(slope) * (weight * factor)
            if label < 0 or weight == kind(0):
                value = kind(nan) if wrong else kind(0)
            if own == 0 and live and begin == 0:
                block_high, error = two_sum(block_high, value)
                block_low += error
                if want_losses:
                    losses[row] = value
            if want_gradient:
                reciprocal = kind(1) / total
                scale = -slope
                hidden = label < 0 or weight == kind(0)
                if hidden or not has_window:
                    for column in range(own, extent, threads):
                        load_one(y_pred, base + column, buffer)
                        buffer[0] = scale * (reciprocal * relative_term(buffer[0], top))
                        if hidden:
                            buffer[0] = kind(nan) if wrong else kind(0)
                        put_one(gradient, base + column, buffer)
                else:
                    for v in range(own, vectors, threads):
                        column = head + v * width
                        if v < kept:
                            load_pred(cache, cached + v * width, buffer)
                        else:
                            load_pred(y_pred, base + column, buffer)
                        for j in range(width):
                            buffer[j] = scale * (reciprocal * term(buffer[j], offset, floor))
                        put(gradient, base + column, buffer)
                    for i in range(own, rest, threads):
                        column = i if i < head else i + vectors * width
                        load_one(y_pred, base + column, buffer)
                        buffer[0] = scale * (reciprocal * term(buffer[0], offset, floor))
                        put_one(gradient, base + column, buffer)
                # By the thread that has written it with the others
                if not has_window or place_of_label < head:
                    turn = place_of_label
                elif place_of_label < head + vectors * width:
                    turn = (place_of_label - head) // width
                else:
                    turn = place_of_label - vectors * width
                inside = place_of_label >= 0 and place_of_label < extent
                if inside and not hidden and own == turn & (threads - 1):
                    buffer[0] = slope * (others * reciprocal)
                    put_one(gradient, base + place_of_label, buffer)
        finish(block_high, block_low, place, shared, places, partials, bad_places)

    arguments = [
        f"{spec.y_true}*", f"{spec.y_pred}*", f"{spec.gradient}*", "float64*", "float64*", "float64*",
        "int64", "int64", "int64",  # rows, columns, vectors of a row that are kept
        *[spec.real] * 5,  # factor, four parameters
        f"{spec.real}*", "int64*",  # sums and first bad row of each block
        f"{spec.real}*",
        "int64", "int64", f"{spec.real}*",  # columns of a part, parts of a row, what `parts` has found
    ]  # fmt: skip
    return kernel, arguments
