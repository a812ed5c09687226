/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of log-probabilities with dense labels, from logits (softmax.h) or from probabilities (normalize.h):
 * a link says what it needs of a row, and what a class of it is.
 */
#ifndef FL_DENSE_H
#define FL_DENSE_H

#include <stdlib.h>

#include "transpose.h"

/* Rows of few classes are worked on together as a tile, with its columns one after the other: element i is of
 * row i % FL_TILE, so that vectors run across rows whatever the number of classes. */
#define FL_TILE (FL_REAL_BITS == 32 ? 32 : 16)
#define FL_TILE_COLUMNS 256

/* What a link (softmax.h, normalize.h) finds out about the rows of a tile, or of a batch of long ones. */
typedef struct {
    real least, most, epsilon;                                                      /* normalize */
    real sum[FL_TILE], sum_low[FL_TILE];                                            /* normalize */
    real maximum[FL_TILE], log_sum[FL_TILE], inverse[FL_TILE], complement[FL_TILE]; /* softmax */
    exp_window window[FL_TILE];                                                     /* softmax, long rows */
    real *kept; /* where to keep the terms of long rows; NULL: to be taken again */
    real slope[FL_TILE], curvature[FL_TILE]; /* sums over the classes, times the labels */
    real scale[FL_TILE];                     /* of the derivatives */
    real const *next_true, *next_pred;       /* as many elements as a tile, to be loaded meanwhile */
} class_rows;

/* Long rows: no more than FL_TILE, and one if it is longer than a task. */
typedef void row_statistics(fl_call const *call, ptrdiff_t row, ptrdiff_t rows, class_rows *out);
/* The terms are what row_terms finds of a long row. */
typedef void tile_statistics(fl_call const *call, real const *y_pred, ptrdiff_t columns, real *term,
                             class_rows *out);
typedef void row_terms(real const *y_pred, ptrdiff_t n, class_rows const *rows, ptrdiff_t r, real *term);

/* Sums of values, slopes and curvatures, as many as the order of the derivatives needs, over the classes of
 * each row of a tile; or over those of a long row, which are then added. */
typedef struct {
    long_lanes sum[3];
} dense_lanes;

static int order_of(fl_call const *call) { return call->hessian.data ? 2 : call->gradient.data ? 1 : 0; }

static void start_lanes(dense_lanes *lanes, int order) {
    memset(lanes->sum, 0, (size_t)(order + 1) * sizeof *lanes->sum);
}

/* Of a tile, or of n elements, a multiple of FL_LANES, of the long row r. For the sums, term may be NULL
 * unless these go up to curvatures; for the derivatives, y_true is where all labels are 0. */
#define FL_WHOLE_TILE (-1)
typedef void dense_sums(real const *y_true, real const *y_pred, real const *term, ptrdiff_t n,
                        real const *parameter, class_rows const *rows, ptrdiff_t r, dense_lanes *lanes,
                        int order);
typedef void dense_derivatives(real const *y_true, real const *y_pred, real const *term, ptrdiff_t n,
                               real const *parameter, class_rows const *rows, ptrdiff_t r, real *gradient,
                               real *hessian);

typedef struct {
    row_statistics *rows;
    tile_statistics *tile;
    row_terms *terms;
    int has_terms; /* worth to be kept */
    dense_sums *sums;
    dense_derivatives *derivatives;
    int parameters; /* that belong to the link */
} dense_loops;

/* The loops of a dense loss, compiled for long rows and for tiles. LINK_class and LINK_derivatives take the
 * entry k of rows, the one of element i. */
#define FL_DENSE_LOOPS(name, element, LINK, skipped)                                                         \
    FL_INLINE void name##_sum_some(real const *y_true, real const *y_pred, real const *term, ptrdiff_t n,    \
                                   real const *parameter, class_rows const *rows, ptrdiff_t r,               \
                                   dense_lanes *lanes, int const tile, int const order) {                    \
        int const has_term = tile || order > 1;                                                              \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        int const width = tile ? FL_TILE : FL_LANES;                                                         \
        for (ptrdiff_t start = 0, end; start < n; start = end) {                                             \
            double sum[3][FL_LANES] = {{0}};                                                                 \
            end = n - start < FL_RUN_TERMS * width ? n : start + FL_RUN_TERMS * width;                       \
            for (ptrdiff_t group = start; group < end; group += width) {                                     \
                real value[FL_LANES], slope[FL_LANES], curvature[FL_LANES];                                  \
                _Pragma("omp simd") for (int j = 0; j < width; j++) {                                        \
                    real const y = y_true[group + j];                                                        \
                    fl_class const c = LINK##_class(y_pred[group + j], has_term ? term[group + j] : R(0),    \
                                                    has_term, rows, tile ? j : r);                           \
                    fl_term const t = element(c, p);                                                         \
                    value[j] = y == R(0) ? R(0) : y * t.value;                                               \
                    slope[j] = y == R(0) || c.clipped ? R(0) : y * t.slope;                                  \
                    curvature[j] = y == R(0) || c.clipped ? R(0) : y * t.curvature;                          \
                }                                                                                            \
                _Pragma("omp simd") for (int j = 0; j < width; j++) sum[0][j] += (double)value[j];           \
                if (order > 0)                                                                               \
                    _Pragma("omp simd") for (int j = 0; j < width; j++) sum[1][j] += (double)slope[j];       \
                if (order > 1)                                                                               \
                    _Pragma("omp simd") for (int j = 0; j < width; j++) sum[2][j] += (double)curvature[j];   \
            }                                                                                                \
            for (int k = 0; k <= order; k++)                                                                 \
                add_run(sum[k], width, &lanes->sum[k]);                                                      \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_dense_sums(real const *y_true, real const *y_pred, real const *term, ptrdiff_t n,     \
                                  real const *parameter, class_rows const *rows, ptrdiff_t r,                \
                                  dense_lanes *lanes, int order) {                                           \
        int const tile = r == FL_WHOLE_TILE;                                                                 \
        if (tile && order == 0)                                                                              \
            name##_sum_some(y_true, y_pred, term, n, parameter, rows, r, lanes, 1, 0);                       \
        else if (tile && order == 1)                                                                         \
            name##_sum_some(y_true, y_pred, term, n, parameter, rows, r, lanes, 1, 1);                       \
        else if (tile)                                                                                       \
            name##_sum_some(y_true, y_pred, term, n, parameter, rows, r, lanes, 1, 2);                       \
        else if (order == 0)                                                                                 \
            name##_sum_some(y_true, y_pred, NULL, n, parameter, rows, r, lanes, 0, 0);                       \
        else if (order == 1)                                                                                 \
            name##_sum_some(y_true, y_pred, NULL, n, parameter, rows, r, lanes, 0, 1);                       \
        else                                                                                                 \
            name##_sum_some(y_true, y_pred, term, n, parameter, rows, r, lanes, 0, 2);                       \
    }                                                                                                        \
    FL_INLINE void name##_some_derivatives(real const *y_true, real const *y_pred, real const *term,         \
                                           ptrdiff_t n, real const *parameter, class_rows const *rows,       \
                                           ptrdiff_t r, int const labelled, real *gradient, real *hessian) { \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        int const tile = r == FL_WHOLE_TILE;                                                                 \
        for (ptrdiff_t group = 0; group < n; group += FL_TILE)                                               \
            _Pragma("omp simd") for (int j = 0; j < FL_TILE; j++) {                                          \
                ptrdiff_t const i = group + j, k = tile ? j : r;                                             \
                real const y = labelled ? y_true[i] : R(0);                                                  \
                fl_class const c = LINK##_class(y_pred[i], term[i], 1, rows, k);                             \
                fl_term const none = {0, 0, 0}, u = labelled ? element(c, p) : none;                         \
                fl_element const t = LINK##_derivatives(y, y_pred[i], c, u, rows, k);                        \
                if (hessian)                                                                                 \
                    hessian[i] = FL_HIDDEN(rows->scale[k], t.hessian);                                       \
                gradient[i] = FL_HIDDEN(rows->scale[k], t.gradient);                                         \
            }                                                                                                \
    }                                                                                                        \
    static void name##_dense_derivatives(real const *y_true, real const *y_pred, real const *term,           \
                                         ptrdiff_t n, real const *parameter, class_rows const *rows,         \
                                         ptrdiff_t r, real *gradient, real *hessian) {                       \
        if (r == FL_WHOLE_TILE && hessian)                                                                   \
            name##_some_derivatives(y_true, y_pred, term, n, parameter, rows, FL_WHOLE_TILE, 1, gradient,    \
                                    hessian);                                                                \
        else if (r == FL_WHOLE_TILE)                                                                         \
            name##_some_derivatives(y_true, y_pred, term, n, parameter, rows, FL_WHOLE_TILE, 1, gradient,    \
                                    NULL);                                                                   \
        else if (hessian)                                                                                    \
            name##_some_derivatives(y_true, y_pred, term, n, parameter, rows, r, 1, gradient, hessian);      \
        else if (y_true)                                                                                     \
            name##_some_derivatives(y_true, y_pred, term, n, parameter, rows, r, 1, gradient, NULL);         \
        else                                                                                                 \
            name##_some_derivatives(NULL, y_pred, term, n, parameter, rows, r, 0, gradient, NULL);           \
    }                                                                                                        \
    static dense_loops const name##_dense = {LINK##_rows,      LINK##_tile,       LINK##_terms,              \
                                             LINK##_has_terms, name##_dense_sums, name##_dense_derivatives,  \
                                             skipped};

/* Labels are one-hot more often than not, and a class whose label is 0 adds nothing: groups of labels that
 * are all zero are passed over. */
#define FL_LABELS 128

FL_INLINE int are_zero(real const *y_true, ptrdiff_t n) {
    bits any = 0;
#pragma omp simd reduction(| : any)
    for (ptrdiff_t i = 0; i < n; i++)
        any |= FL_REAL(fl_bits)(y_true[i]) << 1;
    return any == 0;
}

static int is_zero_group(real const *y_true, ptrdiff_t i, ptrdiff_t n) {
    return n - i < FL_LABELS ? are_zero(y_true + i, n - i) : are_zero(y_true + i, FL_LABELS);
}

/* Where the groups from i on that are all zero, or are not, end. */
static ptrdiff_t end_of_groups(real const *y_true, ptrdiff_t i, ptrdiff_t n, int zero) {
    while (i < n && is_zero_group(y_true, i, n) == zero)
        i = n - i < FL_LABELS ? n : i + FL_LABELS;
    return i;
}

/* Parts of a long row. */
typedef struct {
    fl_call const *call;
    ptrdiff_t row, r, start; /* its number, its entry; where the first part starts */
    real const *parameter;
    dense_loops const *loops;
    class_rows const *rows;
    double sum[FL_TILE][3]; /* value, slope, curvature */
} dense_parts;

static ptrdiff_t end_of_dense_part(dense_parts const *parts, ptrdiff_t start) {
    ptrdiff_t const end = start + FL_TASK_ELEMENTS;
    return end < parts->call->columns ? end : parts->call->columns;
}

static void sum_dense_part(void *argument, ptrdiff_t index) {
    dense_parts *const parts = argument;
    fl_call const *const call = parts->call;
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK], term_scratch[FL_BLOCK], rest[3][FL_LANES];
    dense_lanes lanes;
    double lane[FL_LANES];
    int const order = order_of(call);
    ptrdiff_t const start = parts->start + index * FL_TASK_ELEMENTS;
    real const *const kept = parts->rows->kept ? parts->rows->kept + parts->r * call->columns : NULL;
    start_lanes(&lanes, order);
    for (ptrdiff_t column = start, last = end_of_dense_part(parts, start); column < last;
         column += FL_BLOCK) {
        ptrdiff_t const n = last - column < FL_BLOCK ? last - column : FL_BLOCK, full = n - n % FL_LANES;
        fl_block const block = {parts->row, 1, column, n};
        real const *const y_true = view_labels(call, block, true_scratch);
        real const *const y_pred = view(call, &call->y_pred, block, pred_scratch);
        for (ptrdiff_t i = end_of_groups(y_true, 0, full, 1), end; i < full;
             i = end_of_groups(y_true, end, full, 1)) {
            end = end_of_groups(y_true, i, full, 0);
            if (order > 1 && !kept)
                parts->loops->terms(y_pred + i, end - i, parts->rows, parts->r, term_scratch + i);
            parts->loops->sums(y_true + i, y_pred + i, (kept ? kept + column : term_scratch) + i, end - i,
                               parts->parameter, parts->rows, parts->r, &lanes, order);
        }
        if (full == n || are_zero(y_true + full, n - full))
            continue;
        for (ptrdiff_t i = 0; i < FL_LANES; i++) {
            rest[0][i] = full + i < n ? y_true[full + i] : R(0);
            rest[1][i] = y_pred[full + i < n ? full + i : n - 1];
        }
        if (order > 1)
            parts->loops->terms(rest[1], FL_LANES, parts->rows, parts->r, rest[2]);
        parts->loops->sums(rest[0], rest[1], rest[2], FL_LANES, parts->parameter, parts->rows, parts->r,
                           &lanes, order);
    }
    for (int k = 0; k <= order; k++) {
        end_runs(&lanes.sum[k], FL_LANES, lane);
        parts->sum[index][k] = sum_lanes(lane);
    }
}

static void put_dense_part(void *argument, ptrdiff_t index) {
    dense_parts const *const parts = argument;
    fl_call const *const call = parts->call;
    dense_loops const *const loops = parts->loops;
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK], term_scratch[FL_BLOCK];
    real gradient_scratch[FL_BLOCK], hessian_scratch[FL_BLOCK], rest[5][FL_TILE];
    ptrdiff_t const start = parts->start + index * FL_TASK_ELEMENTS;
    real const *const kept = parts->rows->kept ? parts->rows->kept + parts->r * call->columns : NULL;
    for (ptrdiff_t column = start, last = end_of_dense_part(parts, start); column < last;
         column += FL_BLOCK) {
        ptrdiff_t const n = last - column < FL_BLOCK ? last - column : FL_BLOCK, full = n - n % FL_TILE;
        real const *const term = kept ? kept + column : term_scratch;
        fl_block const block = {parts->row, 1, column, n};
        real *const gradient = target(call, &call->gradient, block, gradient_scratch);
        real *const hessian = target(call, &call->hessian, block, hessian_scratch);
        real const *const y_true = view_labels(call, block, true_scratch);
        real const *const y_pred = view(call, &call->y_pred, block, pred_scratch);
        for (ptrdiff_t i = 0; i < FL_TILE && full < n; i++) {
            rest[0][i] = y_true[full + i < n ? full + i : n - 1];
            rest[1][i] = y_pred[full + i < n ? full + i : n - 1];
        }
        if (!kept)
            loops->terms(y_pred, full, parts->rows, parts->r, term_scratch);
        for (ptrdiff_t i = 0, end; i < full; i = end) {
            int const zero = !hessian && is_zero_group(y_true, i, full);
            end = hessian ? full : end_of_groups(y_true, i, full, zero);
            loops->derivatives(zero ? NULL : y_true + i, y_pred + i, term + i, end - i, parts->parameter,
                               parts->rows, parts->r, gradient + i, hessian);
        }
        if (full < n) {
            loops->terms(rest[1], FL_TILE, parts->rows, parts->r, rest[2]);
            loops->derivatives(rest[0], rest[1], rest[2], FL_TILE, parts->parameter, parts->rows, parts->r,
                               rest[3], hessian ? rest[4] : NULL);
            memcpy(gradient + full, rest[3], (size_t)(n - full) * sizeof *gradient);
            if (hessian)
                memcpy(hessian + full, rest[4], (size_t)(n - full) * sizeof *hessian);
        }
        put(call, &call->gradient, block, gradient);
        if (hessian)
            put(call, &call->hessian, block, hessian);
    }
}

/* Does so much of a row as sums are kept of; returns the number of parts. */
static ptrdiff_t for_dense_parts(dense_parts *parts, void (*part)(void *, ptrdiff_t)) {
    ptrdiff_t const left = (parts->call->columns - parts->start + FL_TASK_ELEMENTS - 1) / FL_TASK_ELEMENTS;
    ptrdiff_t const count = left < FL_TILE ? left : FL_TILE;
    fl_parallel_for(count, parts->call->threads, part, parts);
    return count;
}

/* The value of a long row; the sums of its slopes go to its entry. */
static double sum_dense_row(dense_parts *parts, class_rows *rows) {
    fl_sum sum[3] = {{0, 0}, {0, 0}, {0, 0}};
    for (parts->start = 0; parts->start < parts->call->columns; parts->start += FL_TILE * FL_TASK_ELEMENTS)
        for (ptrdiff_t i = 0, count = for_dense_parts(parts, sum_dense_part); i < count; i++)
            for (int k = 0; k <= order_of(parts->call); k++)
                fl_add(&sum[k], parts->sum[i][k]);
    rows->slope[parts->r] = (real)fl_value(sum[1]);
    rows->curvature[parts->r] = (real)fl_value(sum[2]);
    return fl_value(sum[0]);
}

static void put_dense_row(dense_parts *parts) {
    for (parts->start = 0; parts->start < parts->call->columns; parts->start += FL_TILE * FL_TASK_ELEMENTS)
        for_dense_parts(parts, put_dense_part);
}

static void put_hidden_dense_row(fl_call const *call, ptrdiff_t row) {
    real gradient_scratch[FL_BLOCK], hessian_scratch[FL_BLOCK];
    for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
        ptrdiff_t const left = call->columns - column;
        fl_block const block = {row, 1, column, left < FL_BLOCK ? left : FL_BLOCK};
        put_zeros(call, block, gradient_scratch, call->hessian.data ? hessian_scratch : NULL);
    }
}

/* Rows whose statistics are found before their labels are read: they are still in cache then. */
static ptrdiff_t dense_batch(fl_call const *call) {
    ptrdiff_t const rows = FL_BATCH_BYTES / ((call->columns + 1) * (ptrdiff_t)sizeof(real));
    return rows < 1 ? 1 : rows < FL_TILE ? rows : FL_TILE;
}

/* Terms of rows of more columns do not stay in the second-level cache. */
#define FL_KEPT_COLUMNS (1 << (FL_REAL_BITS == 32 ? 17 : 16))

/* Where terms are kept from the sum to the gradient; without it each is taken twice. That costs nothing
 * beside a gradient that is stored past the caches. */
static real *memory_for_terms(fl_call const *call, ptrdiff_t rows) {
    if (streams(call) || call->columns > FL_KEPT_COLUMNS)
        return NULL;
    return malloc((size_t)(rows * call->columns) * sizeof(real));
}

static void run_long_dense(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor, fl_sum *loss,
                           dense_loops const *loops) {
    real parameter[FL_MAX_PARAMETERS];
    double weight[FL_TILE], row_loss[FL_TILE];
    int64_t label[FL_TILE];
    class_rows entries;
    dense_parts parts = {.call = call, .parameter = parameter, .loops = loops, .rows = &entries};
    ptrdiff_t const batch = dense_batch(call);
    real_parameters(call, loops->parameters, parameter);
    int const keeps = loops->has_terms && call->gradient.data;
    entries.kept = keeps ? memory_for_terms(call, last - first < batch ? last - first : batch) : NULL;
    for (ptrdiff_t row = first; row < last; row += batch) {
        ptrdiff_t const rows = last - row < batch ? last - row : batch;
        row_class_weights(call, row, rows, label, weight);
        loops->rows(call, row, rows, &entries);
        for (parts.r = 0; parts.r < rows; parts.r++) {
            double const w = weight[parts.r];
            parts.row = row + parts.r;
            entries.scale[parts.r] = (real)(w * factor);
            row_loss[parts.r] = w == 0 ? 0 : w * sum_dense_row(&parts, &entries);
            if (call->gradient.data && w != 0)
                put_dense_row(&parts);
            else if (call->gradient.data)
                put_hidden_dense_row(call, parts.row);
        }
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
    }
    free(entries.kept);
}

/* Rows that views of them in scratch can hold. */
#define FL_FOR_EACH_PART(whole, BODY)                                                                        \
    for (ptrdiff_t r = 0, most = FL_BLOCK / (whole).columns / 4 * 4; r < (whole).rows; r += most) {          \
        fl_block const block = {(whole).row + r, (whole).rows - r < most ? (whole).rows - r : most, 0,       \
                                (whole).columns};                                                            \
        BODY                                                                                                 \
    }

static void put_tile(fl_call const *call, fl_array const *array, fl_block whole, real const *tile) {
    real scratch[FL_BLOCK];
    FL_FOR_EACH_PART(whole, real *const to = target(call, array, block, scratch);
                     transpose(tile + r, FL_TILE, block.columns, block.rows, to, block.columns);
                     put(call, array, block, to);)
}

/* The losses of a tile of rows. */
static void run_tile(fl_call const *call, fl_block whole, fl_block next, double const *weight, double factor,
                     real const *parameter, dense_loops const *loops, double *row_loss) {
    real scratch[FL_BLOCK], term[FL_TILE * FL_TILE_COLUMNS];
    real y_true[FL_TILE * FL_TILE_COLUMNS], y_pred[FL_TILE * FL_TILE_COLUMNS];
    class_rows entries;
    ptrdiff_t const columns = whole.columns, n = columns * FL_TILE;
    dense_lanes lanes;
    double sum[3][FL_LANES];
    int const order = order_of(call);
    FL_FOR_EACH_PART(
        whole,
        transpose(view_labels(call, block, scratch), columns, block.rows, columns, y_true + r, FL_TILE);
        transpose(view_pred(call, block, scratch), columns, block.rows, columns, y_pred + r, FL_TILE);)
    for (ptrdiff_t r = whole.rows; r < FL_TILE; r++)
        for (ptrdiff_t c = 0; c < columns; c++)
            y_true[c * FL_TILE + r] = y_pred[c * FL_TILE + r] = R(0);
    entries.next_true = in_place(call, &call->y_true, next);
    entries.next_pred = in_place(call, &call->y_pred, next);
    entries.next_true = entries.next_true ? entries.next_true : y_true;
    entries.next_pred = entries.next_pred ? entries.next_pred : y_pred;
    loops->tile(call, y_pred, columns, term, &entries);
    start_lanes(&lanes, order);
    loops->sums(y_true, y_pred, term, n, parameter, &entries, FL_WHOLE_TILE, &lanes, order);
    for (int k = 0; k <= order; k++)
        end_runs(&lanes.sum[k], FL_TILE, sum[k]);
    for (ptrdiff_t r = 0; r < whole.rows; r++)
        row_loss[r] = weight[r] == 0 ? 0 : weight[r] * sum[0][r];
    if (!call->gradient.data)
        return;
    for (ptrdiff_t r = 0; r < FL_TILE; r++) {
        entries.scale[r] = r < whole.rows ? (real)(weight[r] * factor) : R(0);
        entries.slope[r] = (real)sum[1][r];
        entries.curvature[r] = order > 1 ? (real)sum[2][r] : R(0);
    }
    /* Each element is read before it is written. */
    loops->derivatives(y_true, y_pred, term, n, parameter, &entries, FL_WHOLE_TILE, y_pred,
                       call->hessian.data ? term : NULL);
    put_tile(call, &call->gradient, whole, y_pred);
    if (call->hessian.data)
        put_tile(call, &call->hessian, whole, term);
}

#define FL_TILED_ROWS (16 * FL_TILE)

static void run_dense_tiles(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor, fl_sum *loss,
                            dense_loops const *loops) {
    real parameter[FL_MAX_PARAMETERS];
    double weight[FL_TILED_ROWS], row_loss[FL_TILED_ROWS];
    int64_t label[FL_TILED_ROWS];
    real_parameters(call, loops->parameters, parameter);
    for (ptrdiff_t row = first; row < last; row += FL_TILED_ROWS) {
        ptrdiff_t const rows = last - row < FL_TILED_ROWS ? last - row : FL_TILED_ROWS;
        row_class_weights(call, row, rows, label, weight);
        for (ptrdiff_t r = 0; r < rows; r += FL_TILE) {
            fl_block const tile = {row + r, rows - r < FL_TILE ? rows - r : FL_TILE, 0, call->columns};
            ptrdiff_t const after = tile.row + 2 * FL_TILE <= last ? tile.row + FL_TILE : row;
            fl_block const next = {after, FL_TILE, 0, call->columns};
            run_tile(call, tile, next, weight + r, factor, parameter, loops, row_loss + r);
        }
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
    }
}

static void run_dense(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor, fl_sum *loss,
                      dense_loops const *loops) {
    int const is_short = call->columns > 0 && call->columns <= FL_TILE_COLUMNS;
    (is_short ? run_dense_tiles : run_long_dense)(call, first, last, factor, loss, loops);
}

#endif
