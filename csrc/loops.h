/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One loop skeleton for each kind of loss. No loss is named here: kernels.c expands, for each row of the
 * registry, the inner loops that call its element function, and hands them to the skeleton of its kind.
 */
#ifndef FL_LOOPS_H
#define FL_LOOPS_H

#include "rows.h"

/* What an element function of a log-probability returns, with its first and second derivative. */
typedef struct {
    real value, slope, curvature;
} fl_term;

/* The real form of the parameters of a call, without the first ones, which belong to its link. */
static void real_parameters(fl_call const *call, int skipped, real *parameter) {
    for (int i = 0; i < FL_MAX_PARAMETERS; i++)
        parameter[i] = i + skipped < FL_MAX_PARAMETERS ? (real)call->parameters[i + skipped] : R(0);
}

#include "pointwise.h"

#include "window.h"

/* ---- log-probabilities, from logits or from probabilities ---- */

/* Rows whose statistics are found before their gradients are written, so that these are still in cache. */
#define FL_BATCH 64
#define FL_BATCH_BYTES 131072

typedef void term_loop(real const *log_probability, ptrdiff_t n, real const *parameter, real *value,
                       real *slope, real *curvature);

typedef struct {
    term_loop *terms;
} sparse_loops;

/* Elements of the rows of few classes that are worked on together. */
#define FL_SHORT 512
#define FL_SPREAD 16

/* What a link (softmax.h, normalize.h) finds out about a row; or, if `each`, about rows of few classes, with
 * one entry for each of their elements, so that one vector loop runs over all of them. */
typedef struct {
    int each;
    real least, most;                                              /* normalize */
    real sum[FL_SHORT + FL_SPREAD], sum_low[FL_SHORT + FL_SPREAD]; /* normalize */
    real maximum[FL_SHORT + FL_SPREAD], log_sum[FL_SHORT + FL_SPREAD], inverse[FL_SHORT + FL_SPREAD],
        complement[FL_SHORT + FL_SPREAD]; /* softmax */
    real slope[FL_SHORT + FL_SPREAD],
        curvature[FL_SHORT + FL_SPREAD]; /* sums over the classes, times the labels */
    real scale[FL_SHORT + FL_SPREAD];    /* of the derivatives */
} class_rows;

/* From one entry a row to one an element, by whole vectors: what is beyond a row the next one writes over. */
static void spread_rows(real const *entry, ptrdiff_t rows, ptrdiff_t columns, real *field) {
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < columns; c += FL_SPREAD)
            for (int j = 0; j < FL_SPREAD; j++)
                field[r * columns + c + j] = entry[r];
}

static void spread(real *field, fl_block block) {
    real entry[FL_SHORT];
    memcpy(entry, field, (size_t)block.rows * sizeof *entry);
    spread_rows(entry, block.rows, block.columns, field);
}

/* Entries for a long row of the block, or for each row of it. */
typedef void link_statistics(fl_call const *call, fl_block block, real *scratch, class_rows *out);
typedef void dense_terms(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,
                         class_rows const *rows, real *value, real *slope, real *curvature);
typedef void dense_derivatives(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,
                               class_rows const *rows, real *gradient, real *hessian);

/* Sums over the classes of a long row. */
typedef struct {
    double value[FL_LANES], slope[FL_LANES], curvature[FL_LANES];
} dense_lanes;

typedef void dense_sums(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,
                        class_rows const *rows, dense_lanes *lanes, int slopes);

typedef struct {
    link_statistics *statistics;
    dense_terms *terms; /* if `each` */
    dense_sums *sums;   /* else; n is a multiple of FL_LANES */
    dense_derivatives *derivatives;
    int parameters; /* that belong to the link */
} dense_loops;

/* The loops of a dense loss, compiled for long rows and for rows of few classes. LINK_terms and
 * LINK_derivatives give the element k of rows, the entry for element i. */
#define FL_DENSE_LOOPS(name, element, LINK)                                                                  \
    static void name##_dense_terms(real const *y_true, real const *y_pred, ptrdiff_t n,                      \
                                   real const *parameter, class_rows const *rows, real *value, real *slope,  \
                                   real *curvature) {                                                        \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            real const y = y_true[i];                                                                        \
            fl_class const c = LINK##_class(y_pred[i], rows, i);                                             \
            fl_term const t = element(c.log_probability, p);                                                 \
            value[i] = y == R(0) ? R(0) : y * t.value;                                                       \
            slope[i] = y == R(0) || c.clipped ? R(0) : y * t.slope;                                          \
            curvature[i] = y == R(0) || c.clipped ? R(0) : y * t.curvature;                                  \
        }                                                                                                    \
    }                                                                                                        \
    FL_INLINE void name##_sum_some(real const *y_true, real const *y_pred, ptrdiff_t n,                      \
                                   real const *parameter, class_rows const *rows, dense_lanes *lanes,        \
                                   int const slopes) {                                                       \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        dense_lanes sum = *lanes;                                                                            \
        for (ptrdiff_t group = 0; group < n; group += FL_LANES) {                                            \
            real value[FL_LANES], slope[FL_LANES], curvature[FL_LANES];                                      \
            _Pragma("omp simd") for (int j = 0; j < FL_LANES; j++) {                                         \
                real const y = y_true[group + j];                                                            \
                fl_class const c = LINK##_class(y_pred[group + j], rows, 0);                                 \
                fl_term const t = element(c.log_probability, p);                                             \
                value[j] = y == R(0) ? R(0) : y * t.value;                                                   \
                slope[j] = y == R(0) || c.clipped ? R(0) : y * t.slope;                                      \
                curvature[j] = y == R(0) || c.clipped ? R(0) : y * t.curvature;                              \
            }                                                                                                \
            for (int j = 0; j < FL_LANES; j++)                                                               \
                sum.value[j] += (double)value[j];                                                            \
            for (int j = 0; j < FL_LANES && slopes; j++) {                                                   \
                sum.slope[j] += (double)slope[j];                                                            \
                sum.curvature[j] += (double)curvature[j];                                                    \
            }                                                                                                \
        }                                                                                                    \
        *lanes = sum;                                                                                        \
    }                                                                                                        \
    static void name##_dense_sums(real const *y_true, real const *y_pred, ptrdiff_t n,                       \
                                  real const *parameter, class_rows const *rows, dense_lanes *lanes,         \
                                  int slopes) {                                                              \
        if (slopes)                                                                                          \
            name##_sum_some(y_true, y_pred, n, parameter, rows, lanes, 1);                                   \
        else                                                                                                 \
            name##_sum_some(y_true, y_pred, n, parameter, rows, lanes, 0);                                   \
    }                                                                                                        \
    FL_INLINE void name##_each_derivative(real const *y_true, real const *y_pred, ptrdiff_t n,               \
                                          real const *parameter, class_rows const *rows, real *gradient,     \
                                          real *hessian, int const each) {                                   \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            real const scale = rows->scale[each ? i : 0];                                                    \
            fl_class const c = LINK##_class(y_pred[i], rows, each ? i : 0);                                  \
            fl_element const t = LINK##_derivatives(y_true[i], y_pred[i], c, element(c.log_probability, p),  \
                                                    rows, each ? i : 0);                                     \
            if (hessian)                                                                                     \
                hessian[i] = each ? FL_HIDDEN(scale, t.hessian) : t.hessian * scale;                         \
            gradient[i] = each ? FL_HIDDEN(scale, t.gradient) : t.gradient * scale;                          \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_dense_derivatives(real const *y_true, real const *y_pred, ptrdiff_t n,                \
                                         real const *parameter, class_rows const *rows, real *gradient,      \
                                         real *hessian) {                                                    \
        if (rows->each && hessian)                                                                           \
            name##_each_derivative(y_true, y_pred, n, parameter, rows, gradient, hessian, 1);                \
        else if (rows->each)                                                                                 \
            name##_each_derivative(y_true, y_pred, n, parameter, rows, gradient, NULL, 1);                   \
        else if (hessian)                                                                                    \
            name##_each_derivative(y_true, y_pred, n, parameter, rows, gradient, hessian, 0);                \
        else                                                                                                 \
            name##_each_derivative(y_true, y_pred, n, parameter, rows, gradient, NULL, 0);                   \
    }

/* A class of a row, as a link sees it. */
typedef struct {
    real log_probability;
    real own;    /* softmax: the probability; normalize: (S - p)/p */
    int clipped; /* by epsilon: no derivative */
} fl_class;

#define FL_TERM_LOOP(name, element)                                                                          \
    static void name##_terms(real const *log_probability, ptrdiff_t n, real const *parameter, real *value,   \
                             real *slope, real *curvature) {                                                 \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            fl_term const t = element(log_probability[i], p);                                                \
            value[i] = t.value;                                                                              \
            slope[i] = t.slope;                                                                              \
            curvature[i] = t.curvature;                                                                      \
        }                                                                                                    \
    }

/* Rows that are worked on together: a multiple of what vectors hold, if there are so many. */
static ptrdiff_t whole_vectors(ptrdiff_t rows) {
    return rows < 2 * FL_SPREAD ? rows : rows - rows % FL_SPREAD;
}

static ptrdiff_t batch_rows(fl_call const *call) {
    ptrdiff_t const row_bytes = (call->columns + 1) * (ptrdiff_t)sizeof(real);
    ptrdiff_t const rows = FL_BATCH_BYTES / row_bytes;
    return rows < 1 ? 1 : rows < FL_BATCH ? rows : FL_BATCH;
}

static void sum_entries(real const *term, ptrdiff_t rows, ptrdiff_t columns, real *entry) {
    double sum[FL_SHORT];
    sum_terms(term, rows, columns, 1, 1, sum);
    for (ptrdiff_t r = 0; r < rows; r++)
        entry[r] = (real)sum[r];
}

/* The value of a long row; the sums of its slopes go to the entries. */
static double sum_dense_row(fl_call const *call, ptrdiff_t row, real const *parameter,
                            dense_loops const *loops, class_rows *entries) {
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK], y_rest[FL_LANES], z_rest[FL_LANES];
    dense_lanes lanes = {{0}, {0}, {0}};
    int const slopes = call->gradient.data != NULL;
    for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
        ptrdiff_t const left = call->columns - column, n = left < FL_BLOCK ? left : FL_BLOCK;
        ptrdiff_t const full = n - n % FL_LANES;
        fl_block const block = {row, 1, column, n};
        real const *const y_true = view_labels(call, block, true_scratch);
        real const *const y_pred = view(call, &call->y_pred, block, pred_scratch);
        loops->sums(y_true, y_pred, full, parameter, entries, &lanes, slopes);
        if (full == n)
            continue;
        /* Classes whose label is 0 add nothing. */
        for (ptrdiff_t i = 0; i < FL_LANES; i++) {
            y_rest[i] = full + i < n ? y_true[full + i] : R(0);
            z_rest[i] = y_pred[full + i < n ? full + i : n - 1];
        }
        loops->sums(y_rest, z_rest, FL_LANES, parameter, entries, &lanes, slopes);
    }
    entries->slope[0] = (real)sum_lanes(lanes.slope);
    entries->curvature[0] = (real)sum_lanes(lanes.curvature);
    return sum_lanes(lanes.value);
}

static void run_dense(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor, fl_sum *loss,
                      dense_loops const *loops) {
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK];
    real gradient_scratch[FL_BLOCK], hessian_scratch[FL_BLOCK];
    real value[FL_BLOCK], slope[FL_BLOCK], curvature[FL_BLOCK];
    real parameter[FL_MAX_PARAMETERS];
    double weight[FL_SHORT], row_loss[FL_SHORT];
    int64_t label[FL_SHORT];
    class_rows entries;
    ptrdiff_t const columns = call->columns;
    ptrdiff_t const together = columns > 0 && columns <= FL_SHORT / 2 ? whole_vectors(FL_SHORT / columns) : 1;
    int const want_gradient = call->gradient.data != NULL;
    entries.each = together > 1;
    real_parameters(call, loops->parameters, parameter);
    for (ptrdiff_t row = first; row < last; row += together) {
        ptrdiff_t const rows = last - row < together ? last - row : together;
        row_class_weights(call, row, rows, label, weight);
        int const hidden = !entries.each && weight[0] == 0;
        if (!hidden) {
            fl_block const whole = {row, rows, 0, columns};
            loops->statistics(call, whole, pred_scratch, &entries);
            if (entries.each)
                loops->terms(view_labels(call, whole, true_scratch),
                             view(call, &call->y_pred, whole, pred_scratch), rows * columns, parameter,
                             &entries, value, slope, curvature);
            else
                row_loss[0] = sum_dense_row(call, row, parameter, loops, &entries);
            for (ptrdiff_t r = 0; r < rows; r++)
                entries.scale[r] = (real)(weight[r] * factor);
            if (entries.each)
                sum_terms(value, rows, columns, 1, 1, row_loss);
            if (entries.each && want_gradient) {
                sum_entries(slope, rows, columns, entries.slope);
                sum_entries(curvature, rows, columns, entries.curvature);
                spread(entries.scale, whole);
                spread(entries.slope, whole);
                spread(entries.curvature, whole);
            }
        }
        for (ptrdiff_t r = 0; r < rows; r++)
            row_loss[r] = weight[r] == 0 ? 0 : weight[r] * row_loss[r];
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
        if (!want_gradient)
            continue;
        for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
            ptrdiff_t const width = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
            fl_block const block = {row, rows, column, width};
            real *const gradient = target(call, &call->gradient, block, gradient_scratch);
            real *const hessian = target(call, &call->hessian, block, hessian_scratch);
            if (hidden) {
                put_zeros(call, block, gradient, hessian);
                continue;
            }
            loops->derivatives(view_labels(call, block, true_scratch),
                               view(call, &call->y_pred, block, pred_scratch), rows * width, parameter,
                               &entries, gradient, hessian);
            put(call, &call->gradient, block, gradient);
            if (hessian)
                put(call, &call->hessian, block, hessian);
        }
    }
}

#include "softmax.h"

#include "sparse_softmax.h"

#include "normalize.h"

#include "probability.h"

#include "row.h"

#include "location_scale.h"

#endif
