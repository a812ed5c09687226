/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of the pairs of an anchor with all references: log(1 + exp(P + Q)) with P, Q the logarithms of sums
 * over its positive and its negative references. References are the rows of the batch itself, if no others
 * are given.
 *
 * A task is a group of anchors side by side, one in each lane of a vector, so that each pair's dot product is
 * taken in the same order everywhere, and no matrix of pairs is ever made: the first pass finds P and Q, the
 * second takes each similarity again and knows from P and Q of either side what the pair adds to the
 * gradient.
 */
#ifndef FL_PAIRS_H
#define FL_PAIRS_H

#include <stdlib.h>

#include "parallel.h"
#include "rows.h"

/* A pair as a positive and as a negative one. */
typedef struct {
    double positive, positive_slope, negative, negative_slope;
} fl_pair;

/* The parameter that belongs to the loop, after those of the element. */
#define FL_REMOVE_DIAGONAL 2

#define FL_ANCHORS 8
#define FL_REFERENCES 64 /* taken at a time */
#define FL_PAIR_BLOCK (FL_ANCHORS * FL_REFERENCES)

/* positive: 1 or 0 for each pair. An exponent is kept finite: its sums would have inf - inf. */
typedef void exponent_loop(double const *similarity, double const *positive, ptrdiff_t n,
                           double const *parameter, double *exponent);
/* The derivative of the anchors' losses by the similarity: pull*exp(exponent - log_sum)*slope from either
 * side. */
typedef void coefficient_loop(double const *similarity, double const *positive, ptrdiff_t n,
                              double const *parameter, double const *pull, double const *log_sum,
                              double const *other_pull, double const *other_log_sum, double *coefficient);

typedef struct {
    exponent_loop *exponents;
    coefficient_loop *coefficients;
} pairs_loops;

#define FL_SHARE(pull, log_sum)                                                                              \
    ((pull) == 0 ? 0 : (pull) * (fl_exp_biased_f64(fl_min_f64(exponent, DBL_MAX) - (log_sum), 0) * 0x1p-64))

#define FL_PAIRS_LOOPS(name, element)                                                                        \
    static void name##_exponents(double const *similarity, double const *positive, ptrdiff_t n,              \
                                 double const *parameter, double *exponent) {                                \
        double const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                        \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            fl_pair const pair = element(similarity[i], p);                                                  \
            exponent[i] = fl_min_f64(positive[i] != 0 ? pair.positive : pair.negative, DBL_MAX);             \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_coefficients(double const *similarity, double const *positive, ptrdiff_t n,           \
                                    double const *parameter, double const *pull, double const *log_sum,      \
                                    double const *other_pull, double const *other_log_sum,                   \
                                    double *coefficient) {                                                   \
        double const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                        \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            fl_pair const pair = element(similarity[i], p);                                                  \
            double const exponent = positive[i] != 0 ? pair.positive : pair.negative;                        \
            double const slope = positive[i] != 0 ? pair.positive_slope : pair.negative_slope;               \
            double const share = FL_SHARE(pull[i], log_sum[i]) + FL_SHARE(other_pull[i], other_log_sum[i]);  \
            coefficient[i] = share == 0 ? 0 : slope * share;                                                 \
        }                                                                                                    \
    }

typedef struct {
    fl_call const *call;
    pairs_loops const *loops;
    double factor;
    ptrdiff_t references;
    int symmetric;                    /* the references are the anchors */
    int remove_diagonal;              /* an anchor is no reference of its own */
    int64_t *label, *reference_label; /* of anchors and references */
    double *reference;                /* embeddings of the references, a row each */
    double *anchor;                   /* those of the anchors, a group together: [columns][FL_ANCHORS] */
    double *gradient;                 /* likewise */
    double *positive, *negative;      /* P and Q of each anchor */
    double *pull;                     /* what P + Q of each anchor adds to the value, times factor */
    double *row_loss;
} pairs;

/* Similarities of a group of anchors with n references: [n][FL_ANCHORS]. */
static void similarities(double const *restrict anchor, double const *restrict reference, ptrdiff_t columns,
                         ptrdiff_t n, double *restrict similarity) {
    ptrdiff_t j = 0;
    for (; j + 4 <= n; j += 4) {
        double const *const r = reference + j * columns;
        double sum[4][FL_ANCHORS] = {{0}};
        for (ptrdiff_t k = 0; k < columns; k++) {
            double const *const a = anchor + k * FL_ANCHORS;
            for (int q = 0; q < 4; q++)
#pragma omp simd
                for (int l = 0; l < FL_ANCHORS; l++)
                    sum[q][l] = fl_fma_f64(a[l], r[q * columns + k], sum[q][l]);
        }
        memcpy(similarity + j * FL_ANCHORS, sum, sizeof sum);
    }
    for (; j < n; j++) {
        double sum[FL_ANCHORS] = {0};
        for (ptrdiff_t k = 0; k < columns; k++)
#pragma omp simd
            for (int l = 0; l < FL_ANCHORS; l++)
                sum[l] = fl_fma_f64(anchor[k * FL_ANCHORS + l], reference[j * columns + k], sum[l]);
        memcpy(similarity + j * FL_ANCHORS, sum, sizeof sum);
    }
}

/* gradient += coefficient * reference, of the references that have any. */
static void add_references(double const *restrict coefficient, double const *restrict reference,
                           ptrdiff_t columns, ptrdiff_t n, double *restrict gradient) {
    ptrdiff_t list[FL_REFERENCES], used = 0, i = 0;
    for (ptrdiff_t j = 0; j < n; j++) {
        int any = 0;
        for (int l = 0; l < FL_ANCHORS; l++)
            any |= coefficient[j * FL_ANCHORS + l] != 0;
        list[used] = j;
        used += any;
    }
    for (; i + 4 <= used; i += 4)
        for (ptrdiff_t k = 0; k < columns; k++)
#pragma omp simd
            for (int l = 0; l < FL_ANCHORS; l++) {
                double sum = gradient[k * FL_ANCHORS + l];
                for (int q = 0; q < 4; q++)
                    sum = fl_fma_f64(coefficient[list[i + q] * FL_ANCHORS + l],
                                     reference[list[i + q] * columns + k], sum);
                gradient[k * FL_ANCHORS + l] = sum;
            }
    for (; i < used; i++)
        for (ptrdiff_t k = 0; k < columns; k++)
#pragma omp simd
            for (int l = 0; l < FL_ANCHORS; l++)
                gradient[k * FL_ANCHORS + l] =
                    fl_fma_f64(coefficient[list[i] * FL_ANCHORS + l], reference[list[i] * columns + k],
                               gradient[k * FL_ANCHORS + l]);
}

/* A row of an array as doubles. */
static void load_row(fl_call const *call, fl_array const *array, ptrdiff_t row, double *to) {
    char const *const address = array->data + row * array->row_strides[0];
    for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
        ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
        load_f64(to + column, address + column * array->column_stride, array->column_stride, n,
                 array->storage, array->swapped);
    }
}

static void pack_references(void *argument, ptrdiff_t group) {
    pairs *const p = argument;
    fl_call const *const call = p->call;
    fl_array const *const array = p->symmetric ? &call->y_pred : &call->reference;
    for (ptrdiff_t j = group * FL_ANCHORS; j < (group + 1) * FL_ANCHORS && j < p->references; j++)
        load_row(call, array, j, p->reference + j * call->columns);
}

static ptrdiff_t group_size(pairs const *p, ptrdiff_t group) {
    ptrdiff_t const left = p->call->rows - group * FL_ANCHORS;
    return left < FL_ANCHORS ? left : FL_ANCHORS;
}

/* The similarities of a group with n references from first on, and which are positive. */
static void pair_block(pairs const *p, ptrdiff_t group, ptrdiff_t first, ptrdiff_t n, double *similarity,
                       double *positive) {
    ptrdiff_t const columns = p->call->columns, size = group_size(p, group);
    similarities(p->anchor + group * FL_ANCHORS * columns, p->reference + first * columns, columns, n,
                 similarity);
    for (ptrdiff_t j = 0; j < n; j++)
        for (ptrdiff_t l = 0; l < FL_ANCHORS; l++)
            positive[j * FL_ANCHORS + l] =
                l < size && p->label[group * FL_ANCHORS + l] == p->reference_label[first + j] ? 1 : 0;
}

/* Whether a pair is an anchor with itself; the index of such in a block. */
#define FL_FOR_EACH_REMOVED(p, group, first, n, BODY)                                                        \
    if ((p)->remove_diagonal)                                                                                \
        for (ptrdiff_t l = 0; l < FL_ANCHORS; l++) {                                                         \
            ptrdiff_t const own = (group) * FL_ANCHORS + l - (first);                                        \
            ptrdiff_t const i = own * FL_ANCHORS + l;                                                        \
            if (own >= 0 && own < (n)) {                                                                     \
                BODY                                                                                         \
            }                                                                                                \
        }

/* The logarithm of a sum of exponentials for each anchor, block by block. */
typedef struct {
    double most[FL_ANCHORS], sum[FL_ANCHORS], count[FL_ANCHORS];
} exponential_sums;

static void add_exponents(exponential_sums *sums, double const *exponent, double const *positive, double own,
                          ptrdiff_t n) {
    double shift[FL_ANCHORS], before[FL_ANCHORS];
    memcpy(before, sums->most, sizeof before);
    for (ptrdiff_t j = 0; j < n; j++)
#pragma omp simd
        for (int l = 0; l < FL_ANCHORS; l++) {
            double const e = positive[j * FL_ANCHORS + l] == own ? exponent[j * FL_ANCHORS + l] : -INFINITY;
            sums->most[l] = e > sums->most[l] ? e : sums->most[l];
        }
#pragma omp simd
    for (int l = 0; l < FL_ANCHORS; l++) {
        shift[l] = sums->most[l] == -INFINITY ? 0 : sums->most[l];
        sums->sum[l] *= fl_exp_biased_f64(before[l] - shift[l], 0) * 0x1p-64;
    }
    for (ptrdiff_t j = 0; j < n; j++)
#pragma omp simd
        for (int l = 0; l < FL_ANCHORS; l++) {
            int const counts = positive[j * FL_ANCHORS + l] == own;
            double const term = fl_exp_biased_f64(exponent[j * FL_ANCHORS + l] - shift[l], 0) * 0x1p-64;
            sums->sum[l] += counts ? term : 0;
            sums->count[l] += counts ? 1 : 0;
        }
}

static double log_sum(exponential_sums const *sums, ptrdiff_t l) {
    double const value = sums->most[l] + fl_log_f64(sums->sum[l]);
    return value >= DBL_MAX ? INFINITY : value;
}

static void find_sums(void *argument, ptrdiff_t group) {
    pairs *const p = argument;
    fl_call const *const call = p->call;
    ptrdiff_t const columns = call->columns, size = group_size(p, group), start = group * FL_ANCHORS;
    double similarity[FL_PAIR_BLOCK], positive[FL_PAIR_BLOCK], exponent[FL_PAIR_BLOCK], weight[FL_ANCHORS];
    exponential_sums positives = {{0}, {0}, {0}}, negatives = {{0}, {0}, {0}};
    double *const anchor = p->anchor + start * columns;
    for (ptrdiff_t l = 0; l < FL_ANCHORS; l++) {
        positives.most[l] = negatives.most[l] = -INFINITY;
        double row[FL_BLOCK];
        for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
            ptrdiff_t const n = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
            fl_array const *const array = &call->y_pred;
            if (l < size)
                load_f64(row,
                         array->data + (start + l) * array->row_strides[0] + column * array->column_stride,
                         array->column_stride, n, array->storage, array->swapped);
            for (ptrdiff_t i = 0; i < n; i++)
                anchor[(column + i) * FL_ANCHORS + l] = l < size ? row[i] : 0;
        }
    }
    for (ptrdiff_t first = 0; first < p->references; first += FL_REFERENCES) {
        ptrdiff_t const left = p->references - first, n = left < FL_REFERENCES ? left : FL_REFERENCES;
        pair_block(p, group, first, n, similarity, positive);
        p->loops->exponents(similarity, positive, n * FL_ANCHORS, call->parameters, exponent);
        FL_FOR_EACH_REMOVED(p, group, first, n, positive[i] = 2;)
        add_exponents(&positives, exponent, positive, 1, n);
        add_exponents(&negatives, exponent, positive, 0, n);
    }
    row_weights(call, start, size, weight);
    for (ptrdiff_t l = 0; l < size; l++) {
        double const P = log_sum(&positives, l), Q = log_sum(&negatives, l), x = P + Q;
        int const counts = weight[l] != 0 && positives.count[l] > 0 && negatives.count[l] > 0;
        double const t = fl_exp_biased_f64(-fl_abs_f64(x), 0) * 0x1p-64;
        double const loss = fl_max_f64(x, 0) + fl_log1p_f64(t);
        double const slope = (x > 0 ? 1 : t) / (1 + t);
        p->positive[start + l] = P;
        p->negative[start + l] = Q;
        p->pull[start + l] = counts ? weight[l] * p->factor * slope : 0;
        p->row_loss[start + l] = counts ? weight[l] * loss : 0;
    }
    put_losses(call, start, size, p->row_loss + start);
}

static void find_gradient(void *argument, ptrdiff_t group) {
    pairs *const p = argument;
    fl_call const *const call = p->call;
    ptrdiff_t const columns = call->columns, size = group_size(p, group), start = group * FL_ANCHORS;
    double similarity[FL_PAIR_BLOCK], positive[FL_PAIR_BLOCK], coefficient[FL_PAIR_BLOCK];
    double pull[FL_PAIR_BLOCK], sum[FL_PAIR_BLOCK], other_pull[FL_PAIR_BLOCK], other_sum[FL_PAIR_BLOCK];
    real scratch[FL_BLOCK];
    double *const gradient = p->gradient + start * columns;
    for (ptrdiff_t i = 0; i < columns * FL_ANCHORS; i++)
        gradient[i] = 0;
    for (ptrdiff_t first = 0; first < p->references; first += FL_REFERENCES) {
        ptrdiff_t const left = p->references - first, n = left < FL_REFERENCES ? left : FL_REFERENCES;
        pair_block(p, group, first, n, similarity, positive);
        for (ptrdiff_t j = 0, i = 0; j < n; j++)
            for (ptrdiff_t l = 0; l < FL_ANCHORS; l++, i++) {
                double const *const sums = positive[i] != 0 ? p->positive : p->negative;
                pull[i] = l < size ? p->pull[start + l] : 0;
                sum[i] = l < size ? sums[start + l] : 0;
                other_pull[i] = p->symmetric && l < size ? p->pull[first + j] : 0;
                other_sum[i] = p->symmetric ? sums[first + j] : 0;
            }
        FL_FOR_EACH_REMOVED(p, group, first, n, pull[i] = other_pull[i] = 0;)
        p->loops->coefficients(similarity, positive, n * FL_ANCHORS, call->parameters, pull, sum, other_pull,
                               other_sum, coefficient);
        add_references(coefficient, p->reference + first * columns, columns, n, gradient);
    }
    for (ptrdiff_t l = 0; l < size; l++)
        for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
            ptrdiff_t const n = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
            fl_block const block = {start + l, 1, column, n};
            real *const to = target(call, &call->gradient, block, scratch);
            for (ptrdiff_t i = 0; i < n; i++)
                to[i] = (real)gradient[(column + i) * FL_ANCHORS + l];
            put(call, &call->gradient, block, to);
        }
}

/* The labels of all anchors and references. */
static void load_pair_labels(fl_call const *call, int64_t *label, int64_t *reference_label) {
    fl_array const *const array = &call->reference_label;
    for (ptrdiff_t row = 0; row < call->rows; row += FL_BLOCK)
        row_labels(call, row, call->rows - row < FL_BLOCK ? call->rows - row : FL_BLOCK, label + row);
    for (ptrdiff_t row = 0; array->data && row < call->references; row += FL_BLOCK)
        load_labels(reference_label + row, array->data + row * array->row_strides[0], array->row_strides[0],
                    call->references - row < FL_BLOCK ? call->references - row : FL_BLOCK, array->storage,
                    array->swapped);
}

/* One task for the whole batch: all that is needed is allocated before anything is written. */
static fl_status run_pairs(fl_call const *call, double factor, fl_sum *loss, pairs_loops const *loops) {
    ptrdiff_t const rows = call->rows, columns = call->columns;
    ptrdiff_t const groups = (rows + FL_ANCHORS - 1) / FL_ANCHORS, padded = groups * FL_ANCHORS;
    pairs p = {.call = call, .loops = loops, .factor = factor, .symmetric = !call->reference.data};
    p.references = p.symmetric ? rows : call->references;
    p.remove_diagonal = call->parameters[FL_REMOVE_DIAGONAL] != 0;
    ptrdiff_t const most = PTRDIFF_MAX / 64 / (columns + 8);
    if (rows > most || p.references > most)
        return FL_NO_MEMORY;
    ptrdiff_t const tiles = call->gradient.data ? 2 : 1;
    double *const memory = malloc(
        sizeof(double) * (size_t)((p.references + tiles * padded) * columns + p.references + 5 * rows + 1));
    if (!memory)
        return FL_NO_MEMORY;
    p.reference = memory;
    p.anchor = p.reference + p.references * columns;
    p.gradient = p.anchor + (tiles - 1) * padded * columns;
    p.positive = p.anchor + tiles * padded * columns;
    p.negative = p.positive + rows;
    p.pull = p.negative + rows;
    p.row_loss = p.pull + rows;
    p.label = (int64_t *)(p.row_loss + rows);
    p.reference_label = p.symmetric ? p.label : p.label + rows;
    load_pair_labels(call, p.label, p.reference_label);
    fl_parallel_for((p.references + FL_ANCHORS - 1) / FL_ANCHORS, call->threads, pack_references, &p);
    fl_parallel_for(groups, call->threads, find_sums, &p);
    for (ptrdiff_t row = 0; row < rows; row++)
        fl_add(loss, p.row_loss[row]);
    if (call->gradient.data)
        fl_parallel_for(groups, call->threads, find_gradient, &p);
    free(memory);
    return FL_OK;
}

static int compare_labels(void const *a, void const *b) {
    int64_t const x = *(int64_t const *)a, y = *(int64_t const *)b;
    return (x > y) - (x < y);
}

/* Sorted labels that are less than this one; or, if `up_to`, not greater. */
static ptrdiff_t labels_below(int64_t const *sorted, ptrdiff_t n, int64_t label, int up_to) {
    ptrdiff_t low = 0, high = n;
    while (low < high) {
        ptrdiff_t const middle = low + (high - low) / 2;
        if (up_to ? sorted[middle] <= label : sorted[middle] < label)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* All rows at once. Anchors without a positive or without a negative reference do not count. */
static fl_status check_pairs(fl_call const *call, fl_totals *totals) {
    int const given = call->reference_label.data != NULL;
    ptrdiff_t const rows = call->rows, references = given ? call->references : rows;
    ptrdiff_t const most = PTRDIFF_MAX / 64;
    if (rows > most || references > most)
        return FL_NO_MEMORY;
    int64_t *const label = malloc(sizeof *label * (size_t)(rows + 2 * references + 1));
    if (!label)
        return FL_NO_MEMORY;
    int64_t *const reference = given ? label + rows : label, *const sorted = label + rows + references;
    fl_status status = FL_OK;
    load_pair_labels(call, label, reference);
    for (ptrdiff_t i = 0; i < (given ? rows + references : rows) && status == FL_OK; i++)
        if (label[i] == FL_NO_LABEL) {
            totals->bad_row = i < rows ? i : i - rows;
            status = i < rows ? FL_BAD_LABEL : FL_BAD_REFERENCE;
        }
    memcpy(sorted, reference, sizeof *sorted * (size_t)references);
    qsort(sorted, (size_t)references, sizeof *sorted, compare_labels);
    for (ptrdiff_t row = 0; row < rows && status == FL_OK; row++) {
        ptrdiff_t const below = labels_below(sorted, references, label[row], 0);
        ptrdiff_t const positives = labels_below(sorted, references, label[row], 1) - below;
        int const removed = call->parameters[FL_REMOVE_DIAGONAL] != 0 && row < references;
        int const own = removed && reference[row] == label[row];
        if (positives > own && references - positives > removed - own && !is_masked(call, row))
            status = count_row(call, row, totals);
    }
    free(label);
    return status;
}

#endif
