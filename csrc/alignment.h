/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of all alignments of a label sequence with the steps of a sequence of logits.
 *
 * A sample with L labels has 2 L + 1 states: blank, label, blank, ..., label, blank. The logarithms of the
 * probabilities of all beginnings (alpha) and of all ends (beta) of the alignments that pass a state go
 * forward and backward through the steps. After each step the largest is subtracted from them, and these sums
 * make up the value: they have one sign, so that nothing cancels, and what remains is small where it matters,
 * so that the posteriors keep their digits however long the sequence. A posterior is normalized over the
 * states of its step.
 */
#ifndef FL_ALIGNMENT_H
#define FL_ALIGNMENT_H

#include "rows.h"

/* Entries before and after the states of a row, all -inf: transitions need no special case at the ends. */
#define FL_MARGIN 2

/* penalty: 0 where a skip is allowed, else -inf. */
typedef void step_loop(double const *stay, double const *advance, double const *skip, double const *penalty,
                       double const *emission, ptrdiff_t n, double *to);

typedef struct {
    step_loop *step;
} alignment_loops;

#define FL_ALIGNMENT_LOOPS(name, element)                                                                    \
    static void name##_step(double const *stay, double const *advance, double const *skip,                   \
                            double const *penalty, double const *emission, ptrdiff_t n, double *to) {        \
        _Pragma("omp simd") for (ptrdiff_t s = 0; s < n; s++) to[s] =                                        \
            element(stay[s], advance[s], skip[s] + penalty[s], emission[s]);                                 \
    }

static void fill(double *x, ptrdiff_t n, double value) {
    for (ptrdiff_t i = 0; i < n; i++)
        x[i] = value;
}

/* NaN is passed over. */
static double largest(double const *x, ptrdiff_t n) {
    double lane[FL_LANES], most = -INFINITY;
    ptrdiff_t i = 0;
    fill(lane, FL_LANES, -INFINITY);
    for (; i + FL_LANES <= n; i += FL_LANES)
        for (int j = 0; j < FL_LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int j = 0; j < FL_LANES && n >= FL_LANES; j++)
        most = lane[j] > most ? lane[j] : most;
    return most;
}

/* Subtracts the largest entry and returns it; 0 if there is none but -inf. */
static double settle(double *x, ptrdiff_t n) {
    double const most = largest(x, n);
    if (!(most > -INFINITY))
        return 0;
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++)
        x[i] -= most;
    return most;
}

/* The sample as a call of its own, whose rows are the steps. */
static fl_call steps_of(fl_call const *call, ptrdiff_t row) {
    fl_call sample = *call;
    sample.dimensions = 1;
    sample.rows = sample.shape[0] = call->steps;
    sample.y_pred.data = row_address(call, &call->y_pred, row);
    sample.y_pred.row_strides[0] = call->y_pred.inner_strides[0];
    if (call->gradient.data) {
        sample.gradient.data = row_address(call, &call->gradient, row);
        sample.gradient.row_strides[0] = call->gradient.inner_strides[0];
    }
    return sample;
}

/* All logits of a step. */
static void load_step(fl_call const *sample, ptrdiff_t step, double *z) {
    fl_array const *const array = &sample->y_pred;
    char const *const address = row_address(sample, array, step);
    for (ptrdiff_t column = 0; column < sample->columns; column += FL_BLOCK) {
        ptrdiff_t const n = sample->columns - column < FL_BLOCK ? sample->columns - column : FL_BLOCK;
        load_f64(z + column, address + column * array->column_stride, array->column_stride, n, array->storage,
                 array->swapped);
    }
}

/* As softmax.h: the largest logit, and the sum of exp(z - m) over all classes but one largest. */
typedef struct {
    double maximum, others;
} step_softmax;

static step_softmax softmax_of_step(double const *z, ptrdiff_t classes) {
    double term[FL_BLOCK];
    double const most = largest(z, classes);
    /* Every class at minus infinity has no softmax. */
    double const maximum = most == -INFINITY ? (double)NAN : most;
    double sum = 0, ties = 0;
    for (ptrdiff_t column = 0; column < classes; column += FL_BLOCK) {
        ptrdiff_t const n = classes - column < FL_BLOCK ? classes - column : FL_BLOCK;
#pragma omp simd reduction(+ : ties)
        for (ptrdiff_t i = 0; i < n; i++) {
            double const x = z[column + i], d = x - maximum;
            double const e = fl_exp_biased_f64(d, fl_difference_error_f64(x, maximum, d));
            term[i] = d == 0 ? 0 : e;
            ties += d == 0 ? 1 : 0;
        }
        sum += sum_doubles(term, n);
    }
    return (step_softmax){maximum, sum * 0x1p-64 + (ties > 0 ? ties - 1 : 0)};
}

/* Labels first .. first+n-1 of a sample, n <= FL_BLOCK. */
static void load_sequence(fl_call const *call, ptrdiff_t row, ptrdiff_t first, ptrdiff_t n, int64_t *label) {
    fl_array const *const array = &call->y_true;
    load_labels(label, row_address(call, array, row) + first * array->column_stride, array->column_stride, n,
                array->storage, array->swapped);
}

/* Labels before the padding. */
static ptrdiff_t sequence_length(fl_call const *call, ptrdiff_t row) {
    int64_t label[FL_BLOCK];
    for (ptrdiff_t first = 0; first < call->label_columns; first += FL_BLOCK) {
        ptrdiff_t const n = call->label_columns - first < FL_BLOCK ? call->label_columns - first : FL_BLOCK;
        load_sequence(call, row, first, n, label);
        for (ptrdiff_t i = 0; i < n; i++)
            if (label[i] == 0)
                return first + i;
    }
    return call->label_columns;
}

/* The arrays of a sample; rows of states start FL_MARGIN entries before the first state. */
typedef struct {
    ptrdiff_t states, width; /* width: of a row, with its margins */
    int64_t *label;
    double *z, *taken;                         /* of each class; taken: the posterior */
    double *penalty, *emission, *beta, *ahead; /* of each state */
    double *silence;                           /* emissions of 1 */
    double *alpha;                             /* a row a step, or two that take turns */
    step_softmax *softmax;                     /* of each step */
} alignment;

/* Doubles that a sample needs; -1 if no memory has so many. */
static ptrdiff_t alignment_size(fl_call const *call, ptrdiff_t labels) {
    ptrdiff_t const width = 2 * labels + 1 + 2 * FL_MARGIN, classes = call->columns, steps = call->steps;
    ptrdiff_t const kept = call->gradient.data ? steps : 1, rows = call->gradient.data ? steps + 1 : 2;
    ptrdiff_t const most = PTRDIFF_MAX / 64;
    if (labels > most / 32 || classes > most / 8 || steps > most / 8 || rows > most / width)
        return -1;
    return labels + 2 * classes + (5 + rows) * width + 2 * kept;
}

/* Bytes for each thread of a call: what its longest label sequence needs, after the line that says whether
 * they are taken. */
static ptrdiff_t workspace_bytes(fl_call const *call) {
    ptrdiff_t labels = 0;
    if (fl_losses[call->loss].kind != ALIGNMENT)
        return 0;
    for (ptrdiff_t row = 0; row < call->rows; row++) {
        ptrdiff_t const length = sequence_length(call, row);
        labels = length > labels ? length : labels;
    }
    ptrdiff_t const size = alignment_size(call, labels);
    return size < 0 ? -1 : (size * (ptrdiff_t)sizeof(double) / FL_LINE_BYTES + 2) * FL_LINE_BYTES;
}

/* A part of the call's workspace: one is free, as no more tasks run at a time than there are parts. */
static char *take_workspace(fl_call const *call) {
    for (char *part = call->workspace;; part += call->workspace_bytes) {
        if (part == (char *)call->workspace + call->workspace_parts * call->workspace_bytes)
            part = call->workspace;
        if (!__atomic_test_and_set(part, __ATOMIC_ACQUIRE))
            return part;
    }
}

static void lay_out(alignment *a, double *memory, ptrdiff_t labels, fl_call const *call) {
    ptrdiff_t const classes = call->columns, kept = call->gradient.data ? call->steps : 1;
    a->states = 2 * labels + 1;
    a->width = a->states + 2 * FL_MARGIN;
    a->label = (int64_t *)memory;
    a->z = memory + labels;
    a->taken = a->z + classes;
    a->softmax = (step_softmax *)(a->taken + classes);
    a->penalty = a->taken + classes + 2 * kept;
    a->emission = a->penalty + a->width;
    a->beta = a->emission + a->width;
    a->ahead = a->beta + a->width;
    a->silence = a->ahead + a->width;
    a->alpha = a->silence + a->width;
    fill(a->taken, classes, 0);
    fill(a->penalty, a->width, -INFINITY);
    fill(a->ahead, a->width, -INFINITY);
    fill(a->silence, a->width, 0);
}

/* The log-probabilities of the states' classes at a step. */
static void emit(alignment const *a, step_softmax softmax, double *emission) {
    double const log_sum = fl_log1p_f64(softmax.others);
    double const blank = -((softmax.maximum - a->z[0]) + log_sum);
    for (ptrdiff_t s = 0; s < a->states; s++)
        emission[s] = s % 2 ? -((softmax.maximum - a->z[a->label[s / 2]]) + log_sum) : blank;
}

/* States that an alignment can pass at a step: first .. last-1. */
static void states_at(alignment const *a, ptrdiff_t step, ptrdiff_t steps, ptrdiff_t *first,
                      ptrdiff_t *last) {
    ptrdiff_t const left = steps - step < a->states ? steps - step : a->states;
    ptrdiff_t const done = step + 1 < a->states ? step + 1 : a->states;
    *first = a->states > 2 * left ? a->states - 2 * left : 0;
    *last = a->states < 2 * done ? a->states : 2 * done;
    *last = *last < *first ? *first : *last;
}

/* The classes of a step: softmax less posterior, times scale. */
static void put_step(fl_call const *sample, ptrdiff_t step, alignment const *a, step_softmax softmax,
                     double scale) {
    real scratch[FL_BLOCK];
    double const inverse = 0x1p-64 / (1 + softmax.others), maximum = softmax.maximum;
    for (ptrdiff_t column = 0; column < sample->columns; column += FL_BLOCK) {
        ptrdiff_t const n = sample->columns - column < FL_BLOCK ? sample->columns - column : FL_BLOCK;
        fl_block const block = {step, 1, column, n};
        real *const gradient = target(sample, &sample->gradient, block, scratch);
        double const *const z = a->z + column, *const taken = a->taken + column;
#pragma omp simd
        for (ptrdiff_t i = 0; i < n; i++) {
            double const d = z[i] - maximum;
            double const e = fl_exp_biased_f64(d, fl_difference_error_f64(z[i], maximum, d));
            gradient[i] = (real)(scale * (e * inverse - taken[i]));
        }
        put(sample, &sample->gradient, block, gradient);
    }
}

static void put_no_gradient(fl_call const *sample) {
    real scratch[FL_BLOCK];
    if (!sample->gradient.data)
        return;
    for (ptrdiff_t step = 0; step < sample->steps; step++)
        for (ptrdiff_t column = 0; column < sample->columns; column += FL_BLOCK) {
            ptrdiff_t const n = sample->columns - column < FL_BLOCK ? sample->columns - column : FL_BLOCK;
            fl_block const block = {step, 1, column, n};
            put_zeros(sample, block, target(sample, &sample->gradient, block, scratch), NULL);
        }
}

/* Through the steps in order; returns -log P. */
static double forward(fl_call const *sample, alignment const *a, int all_steps,
                      alignment_loops const *loops) {
    ptrdiff_t const steps = sample->steps;
    fl_sum total = {0, 0};
    double *from = a->alpha, *to = from + a->width;
    fill(from, a->width, -INFINITY);
    from[FL_MARGIN] = 0; /* before the first step, as if in the first blank */
    for (ptrdiff_t step = 0; step < steps; step++) {
        ptrdiff_t first, last;
        load_step(sample, step, a->z);
        step_softmax const softmax = softmax_of_step(a->z, sample->columns);
        a->softmax[all_steps ? step : 0] = softmax;
        emit(a, softmax, a->emission + FL_MARGIN);
        states_at(a, step, steps, &first, &last);
        fill(to, a->width, -INFINITY);
        ptrdiff_t const s = FL_MARGIN + first, n = last - first;
        loops->step(from + s, from + s - 1, from + s - 2, a->penalty + s, a->emission + s, n, to + s);
        fl_add(&total, settle(to + s, n));
        double *const next = all_steps ? to + a->width : from;
        from = to;
        to = next;
    }
    /* Both last states end an alignment: a step without emission joins them. */
    double last;
    double const *const end = from + FL_MARGIN + a->states - 1;
    loops->step(end, end - 1, end - 1, a->penalty, a->silence, 1, &last);
    fl_add(&total, last);
    return fl_max_f64(0 - fl_value(total), 0);
}

/* Back through the steps, each of which is loaded before its gradient is written: that may be in place. */
static void backward(fl_call const *sample, alignment const *a, double scale, alignment_loops const *loops) {
    ptrdiff_t const steps = sample->steps, states = a->states;
    double *const beta = a->beta + FL_MARGIN, *const ahead = a->ahead + FL_MARGIN;
    double *const posterior = a->emission + FL_MARGIN;
    fill(beta, states, -INFINITY);
    beta[states - 1] = 0;
    beta[states > 1 ? states - 2 : 0] = 0;
    for (ptrdiff_t step = steps - 1; step >= 0; step--) {
        ptrdiff_t first, last;
        states_at(a, step, steps, &first, &last);
        ptrdiff_t const s = FL_MARGIN + first, n = last - first;
        double const *const alpha = a->alpha + (step + 1) * a->width + FL_MARGIN;
        if (step < steps - 1) {
            /* z and emission are still those of the step after. */
            fill(beta, states, -INFINITY);
            loops->step(a->ahead + s, a->ahead + s + 1, a->ahead + s + 2, a->penalty + s + 2, a->silence, n,
                        beta + first);
            settle(beta + first, n);
        }
        load_step(sample, step, a->z);
        emit(a, a->softmax[step], a->emission + FL_MARGIN);
        for (ptrdiff_t i = 0; i < states; i++)
            ahead[i] = beta[i] + a->emission[FL_MARGIN + i];
        double most = -INFINITY;
        for (ptrdiff_t i = first; i < last; i++) {
            posterior[i] = alpha[i] + beta[i];
            most = posterior[i] > most ? posterior[i] : most;
        }
#pragma omp simd
        for (ptrdiff_t i = first; i < last; i++)
            posterior[i] = fl_exp_biased_f64(posterior[i] - most, 0);
        double const total = sum_doubles(posterior + first, n);
        for (ptrdiff_t i = first; i < last; i++)
            a->taken[i % 2 ? a->label[i / 2] : 0] += posterior[i] / total;
        put_step(sample, step, a, a->softmax[step], scale);
        for (ptrdiff_t i = first; i < last; i++)
            a->taken[i % 2 ? a->label[i / 2] : 0] = 0;
    }
}

static double align_sample(fl_call const *call, ptrdiff_t row, double scale, alignment_loops const *loops) {
    alignment a;
    fl_call const sample = steps_of(call, row);
    int const want_gradient = call->gradient.data != NULL;
    ptrdiff_t const labels = sequence_length(call, row);
    char *const workspace = take_workspace(call);
    lay_out(&a, (double *)(void *)(workspace + FL_LINE_BYTES), labels, call);
    for (ptrdiff_t first = 0; first < labels; first += FL_BLOCK)
        load_sequence(call, row, first, labels - first < FL_BLOCK ? labels - first : FL_BLOCK,
                      a.label + first);
    for (ptrdiff_t i = 1; i < labels; i++)
        if (a.label[i] != a.label[i - 1])
            a.penalty[FL_MARGIN + 2 * i + 1] = 0;
    double const loss = forward(&sample, &a, want_gradient, loops);
    if (want_gradient && loss == INFINITY)
        put_no_gradient(&sample);
    else if (want_gradient)
        backward(&sample, &a, scale, loops);
    __atomic_clear(workspace, __ATOMIC_RELEASE);
    return loss;
}

static void run_alignment(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor, fl_sum *loss,
                          alignment_loops const *loops) {
    for (ptrdiff_t row = first; row < last; row++) {
        double weight, row_loss = 0;
        row_weights(call, row, 1, &weight);
        if (weight == 0) {
            fl_call const sample = steps_of(call, row);
            put_no_gradient(&sample);
        } else {
            row_loss = weight * align_sample(call, row, weight * factor, loops);
        }
        put_losses(call, row, 1, &row_loss);
        fl_add(loss, row_loss);
    }
}

/* Labels of rows that are masked are passed over. */
static fl_status check_alignment(fl_call const *call, ptrdiff_t first, ptrdiff_t last, fl_totals *totals) {
    int64_t label[FL_BLOCK];
    for (ptrdiff_t row = first; row < last; row++) {
        if (is_masked(call, row))
            continue;
        int ended = 0;
        for (ptrdiff_t column = 0; column < call->label_columns; column += FL_BLOCK) {
            ptrdiff_t const n =
                call->label_columns - column < FL_BLOCK ? call->label_columns - column : FL_BLOCK;
            load_sequence(call, row, column, n, label);
            for (ptrdiff_t i = 0; i < n; i++) {
                totals->bad_row = row;
                totals->bad_column = column + i;
                if ((uint64_t)label[i] >= (uint64_t)call->columns)
                    return FL_BAD_LABEL;
                if (ended && label[i] != 0)
                    return FL_BAD_PADDING;
                ended |= label[i] == 0;
            }
        }
        fl_status const status = count_row(call, row, totals);
        if (status != FL_OK)
            return status;
    }
    return FL_OK;
}

#endif
