# SPDX-License-Identifier: BSD-3-Clause
"""Losses of all alignments of a label sequence with the steps of a sequence of logits, in float64, a block to a sample.

As csrc/alignment.h: logarithms of the probabilities of all beginnings (alpha) and ends (beta) go through the steps; after
each the largest is subtracted, and these sums make up the value. States are the threads; the posterior of a class is
added up by the thread of its first label, so that no order changes.
"""

import math

from fastloss.cuda._numba import REALS, cuda, device, exp, int64, load, store
from fastloss.cuda.elements import ELEMENTS
from fastloss.cuda.numerics import (
    BAD_LABEL,
    BAD_PADDING,
    ENTRIES,
    NOWHERE,
    PARTS,
    PLACES,
    block_results,
    joined,
    label_loader,
    row_least,
    row_maximum,
    row_sum,
    two_sum,
)

# Entries before and after the states, all -inf: transitions need no special case at the ends.
MARGIN = 2


def samples(spec):
    """The kernel: blockDim.x threads to a sample."""
    kind, loss_kind = REALS["float64"], REALS[spec.real]
    load_pred, put, label_of = load(spec.y_pred, "float64", 1), store(spec.gradient, "float64", 1), label_loader(spec.y_true)
    element = device(ELEMENTS[spec.element])
    sum_of_row, maximum_of_row, least_of_row = row_sum("float64"), row_maximum("float64"), row_least()
    finish, infinite, nan = block_results("float64"), math.inf, math.nan
    want_gradient, want_losses, weighted = spec.want_gradient, spec.want_losses, spec.weighted

    @device
    def first_state(step, steps, states):
        """Of those that an alignment can pass at a step."""
        left = steps - step if steps - step < states else states
        return states - 2 * left if states > 2 * left else int64(0)

    @device
    def last_state(step, steps, states):
        done = step + 1 if step + 1 < states else states
        last, first = states if states < 2 * done else 2 * done, first_state(step, steps, states)
        return first if last < first else last

    @device
    def class_of(y_true, labels, s):
        """Of a state: blank, label, blank, ..."""
        return label_of(y_true, labels + s // 2) if s & 1 else int64(0)

    @device
    def skip_penalty(y_true, labels, s):
        """0 where a state may be entered from two states before, else -inf."""
        if s & 1 and s >= 3:
            if label_of(y_true, labels + s // 2) != label_of(y_true, labels + s // 2 - 1):
                return kind(0)
        return kind(-infinite)

    def kernel(y_true, y_pred, gradient, weights, factor_at, count, steps, classes, width, factor, alphas, statistics, ends,
               partials, bad_places, losses):  # fmt: skip
        shared = cuda.shared.array(ENTRIES, kind)
        places = cuda.shared.array(PARTS, int64)
        buffer = cuda.local.array(1, kind)
        own, threads = int64(cuda.threadIdx.x), int64(cuda.blockDim.x)
        none, lowest = kind(0), kind(-infinite)
        block_high, block_low, place = none, none, int64(NOWHERE)
        if weighted:
            factor = factor * factor_at[0]
        # What lies in between belongs to the block.
        line = 2 * width + 1 + 2 * MARGIN
        alpha = int64(cuda.blockIdx.x) * (steps + 1 if want_gradient else 2) * line
        statistic = int64(cuda.blockIdx.x) * 2 * steps
        beta = int64(cuda.blockIdx.x) * 3 * line
        ahead, posterior = beta + line, beta + 2 * line
        for row in range(int64(cuda.blockIdx.x), count, int64(cuda.gridDim.x)):
            weight = kind(1)
            if weighted:
                weight = weights[row]
            labels, logits = row * width, row * steps * classes
            length = width
            for i in range(own, width, threads):
                if label_of(y_true, labels + i) == 0 and i < length:
                    length = i
            length = least_of_row(length, places)
            wrong = int64(NOWHERE)
            for i in range(own, width if weight != none else int64(0), threads):
                label = label_of(y_true, labels + i)
                code = BAD_LABEL if label < 0 or label >= classes else 0
                code = BAD_PADDING if code == 0 and i > length and label != 0 else code
                found = (labels + i) * PLACES + code
                wrong = found if code > 0 and found < wrong else wrong
            wrong = least_of_row(wrong, places)
            place = wrong if wrong < place else place
            states = 2 * length + 1
            loss = none
            if wrong < NOWHERE:
                loss = kind(nan)
            elif weight != none:
                # As the softmax kernels: the largest logit, and the sum of exp(z - m) over all classes but one largest
                for step in range(steps):
                    most = lowest
                    for c in range(own, classes, threads):
                        load_pred(y_pred, logits + step * classes + c, buffer)
                        most = buffer[0] if buffer[0] > most else most
                    most = maximum_of_row(most, shared)
                    high, low, ties = none, none, none
                    for c in range(own, classes, threads):
                        load_pred(y_pred, logits + step * classes + c, buffer)
                        ties += kind(1) if buffer[0] == most else none
                        high, error = two_sum(high, none if buffer[0] == most else exp(buffer[0] - most))
                        low += error
                    high, low = sum_of_row(high, low, shared)
                    ties, _ = sum_of_row(ties, none, shared)
                    if own == 0:
                        others = joined(high, low) + (ties - kind(1) if ties > none else none)
                        # Every class at minus infinity has no softmax.
                        statistics[statistic + 2 * step] = most if most > lowest else kind(nan)
                        statistics[statistic + 2 * step + 1] = kind(math.log1p(others))
                for i in range(own, line, threads):
                    alphas[alpha + i] = none if i == MARGIN else lowest
                cuda.syncthreads()
                total, total_low = none, none
                for step in range(steps):
                    first, last = first_state(step, steps, states), last_state(step, steps, states)
                    source = alpha + (step if want_gradient else step & 1) * line + MARGIN
                    target = alpha + (step + 1 if want_gradient else step + 1 & 1) * line + MARGIN
                    most = lowest
                    for i in range(own, line, threads):
                        s = i - MARGIN
                        value = lowest
                        if s >= first and s < last:
                            load_pred(y_pred, logits + step * classes + class_of(y_true, labels, s), buffer)
                            largest, log_sum = statistics[statistic + 2 * step], statistics[statistic + 2 * step + 1]
                            value = element(
                                kind, alphas[source + s], alphas[source + s - 1],
                                alphas[source + s - 2] + skip_penalty(y_true, labels, s),
                                -((largest - buffer[0]) + log_sum),
                            )  # fmt: skip
                            most = value if value > most else most
                        alphas[target + s] = value
                    most = maximum_of_row(most, shared)
                    if most > lowest:
                        for s in range(first + own, last, threads):
                            alphas[target + s] -= most
                        total, error = two_sum(total, most)
                        total_low += error
                    cuda.syncthreads()
                end = alpha + (steps if want_gradient else steps & 1) * line + MARGIN + states - 1
                # Both last states end an alignment.
                final = element(kind, alphas[end], alphas[end - 1], lowest, none)
                total, error = two_sum(total, final)
                loss = -joined(total, total_low + error)
                loss = none if loss < none else loss
            if own == 0:
                value = kind(loss) * weight if weight != none else none
                block_high, error = two_sum(block_high, value)
                block_low += error
                if want_losses:
                    losses[row] = loss_kind(value)
            if want_gradient:
                scale = weight * factor
                if wrong < NOWHERE or weight == none or loss == kind(infinite):
                    for i in range(own, steps * classes, threads):
                        buffer[0] = kind(nan) if wrong < NOWHERE else none
                        put(gradient, logits + i, buffer)
                else:
                    for i in range(own, line, threads):
                        s = i - MARGIN
                        at_end = s == states - 1 or (s == states - 2 and s >= 0)
                        ends[beta + i] = none if at_end else lowest
                        ends[ahead + i] = lowest
                    cuda.syncthreads()
                    for back in range(steps):
                        step = steps - 1 - back
                        first, last = first_state(step, steps, states), last_state(step, steps, states)
                        if back > 0:
                            most = lowest
                            for s in range(own, states, threads):
                                value = lowest
                                if s >= first and s < last:
                                    k = ahead + MARGIN + s
                                    penalty = skip_penalty(y_true, labels, s + 2) if s + 2 < states else lowest
                                    value = element(kind, ends[k], ends[k + 1], ends[k + 2] + penalty, none)
                                    most = value if value > most else most
                                ends[beta + MARGIN + s] = value
                            most = maximum_of_row(most, shared)
                            if most > lowest:
                                for s in range(first + own, last, threads):
                                    ends[beta + MARGIN + s] -= most
                            cuda.syncthreads()
                        most = lowest
                        largest, log_sum = statistics[statistic + 2 * step], statistics[statistic + 2 * step + 1]
                        here = alpha + (step + 1) * line + MARGIN
                        for s in range(own, states, threads):
                            load_pred(y_pred, logits + step * classes + class_of(y_true, labels, s), buffer)
                            emission = -((largest - buffer[0]) + log_sum)
                            ends[ahead + MARGIN + s] = ends[beta + MARGIN + s] + emission
                            both = lowest
                            if s >= first and s < last:
                                both = alphas[here + s] + ends[beta + MARGIN + s]
                                most = both if both > most else most
                            ends[posterior + MARGIN + s] = both
                        most = maximum_of_row(most, shared)
                        high, low, even, even_low = none, none, none, none
                        for s in range(first + own, last, threads):
                            share = exp(ends[posterior + MARGIN + s] - most)
                            ends[posterior + MARGIN + s] = share
                            high, error = two_sum(high, share)
                            low += error
                            if s & 1 == 0:
                                even, error = two_sum(even, share)
                                even_low += error
                        high, low = sum_of_row(high, low, shared)
                        even, even_low = sum_of_row(even, even_low, shared)
                        whole = joined(high, low)
                        # All logits of the step have been read for the states: the gradient may lie over them.
                        cuda.syncthreads()
                        for c in range(own, classes, threads):
                            load_pred(y_pred, logits + step * classes + c, buffer)
                            p = exp(-((largest - buffer[0]) + log_sum))
                            taken = none
                            if c == 0:
                                taken = joined(even, even_low) / whole
                            else:
                                for i in range(length):
                                    s = 2 * i + 1
                                    if s >= first and s < last and label_of(y_true, labels + i) == c:
                                        taken += ends[posterior + MARGIN + s] / whole
                            buffer[0] = scale * (p - taken)
                            put(gradient, logits + step * classes + c, buffer)
                        cuda.syncthreads()
            cuda.syncthreads()
        finish(block_high, block_low, place, shared, places, partials, bad_places)

    arguments = [
        f"{spec.y_true}*", f"{spec.y_pred}*", f"{spec.gradient}*", "float64*", "float64*",
        "int64", "int64", "int64", "int64",  # samples, steps, classes, labels
        "float64", "float64*", "float64*", "float64*",  # factor, beginnings, softmax of the steps, ends
        "float64*", "int64*",  # sums and first bad place of each block
        f"{spec.real}*",
    ]  # fmt: skip
    return kernel, arguments
