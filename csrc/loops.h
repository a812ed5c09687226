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
#define FL_SHORT 256

/* What a link (softmax.h, normalize.h) finds out about a row; or, if `each`, about rows of few classes, with
 * one entry for each of their elements, so that one vector loop runs over all of them. */
typedef struct {
    int each;
    real least, most;                                                                   /* normalize */
    real sum[FL_SHORT], sum_low[FL_SHORT];                                              /* normalize */
    real maximum[FL_SHORT], log_sum[FL_SHORT], inverse[FL_SHORT], complement[FL_SHORT]; /* softmax */
    real slope[FL_SHORT], curvature[FL_SHORT]; /* sums over the classes, times the labels */
    real scale[FL_SHORT];                      /* of the derivatives */
} class_rows;

/* From one entry a row to one an element. */
static void spread(real *field, fl_block block) {
    for (ptrdiff_t r = block.rows - 1; r >= 0; r--) {
        real const entry = field[r];
        for (ptrdiff_t c = 0; c < block.columns; c++)
            field[r * block.columns + c] = entry;
    }
}

/* Entries for a long row of the block, or for each row of it. */
typedef void link_statistics(fl_call const *call, fl_block block, real *scratch, class_rows *out);
typedef void dense_terms(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,
                         class_rows const *rows, real *value, real *slope, real *curvature);
typedef void dense_derivatives(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,
                               class_rows const *rows, real *gradient, real *hessian);

typedef struct {
    link_statistics *statistics;
    dense_terms *terms;
    dense_derivatives *derivatives;
    int parameters; /* that belong to the link */
} dense_loops;

/* The loops of a dense loss, compiled for long rows and for rows of few classes. LINK_terms and
 * LINK_derivatives give the element k of rows, the entry for element i. */
#define FL_DENSE_LOOPS(name, element, LINK)                                                                  \
    FL_INLINE void name##_each_term(real const *y_true, real const *y_pred, ptrdiff_t n,                     \
                                    real const *parameter, class_rows const *rows, real *value, real *slope, \
                                    real *curvature, int const each) {                                       \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            real const y = y_true[i];                                                                        \
            fl_class const c = LINK##_class(y_pred[i], rows, each ? i : 0);                                  \
            fl_term const t = element(c.log_probability, p);                                                 \
            value[i] = y == R(0) ? R(0) : y * t.value;                                                       \
            slope[i] = y == R(0) || c.clipped ? R(0) : y * t.slope;                                          \
            curvature[i] = y == R(0) || c.clipped ? R(0) : y * t.curvature;                                  \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_dense_terms(real const *y_true, real const *y_pred, ptrdiff_t n,                      \
                                   real const *parameter, class_rows const *rows, real *value, real *slope,  \
                                   real *curvature) {                                                        \
        if (rows->each)                                                                                      \
            name##_each_term(y_true, y_pred, n, parameter, rows, value, slope, curvature, 1);                \
        else                                                                                                 \
            name##_each_term(y_true, y_pred, n, parameter, rows, value, slope, curvature, 0);                \
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

static ptrdiff_t batch_rows(fl_call const *call) {
    ptrdiff_t const row_bytes = (call->columns + 1) * (ptrdiff_t)sizeof(real);
    ptrdiff_t const rows = FL_BATCH_BYTES / row_bytes;
    return rows < 1 ? 1 : rows < FL_BATCH ? rows : FL_BATCH;
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
    ptrdiff_t const together = columns > 0 && columns <= FL_SHORT / 4 ? FL_SHORT / columns : 1;
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
            fl_sum total = {0, 0};
            double total_slope = 0, total_curvature = 0;
            for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
                ptrdiff_t const width = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
                fl_block const block = {row, rows, column, width};
                loops->terms(view_labels(call, block, true_scratch),
                             view(call, &call->y_pred, block, pred_scratch), rows * width, parameter,
                             &entries, value, slope, curvature);
                if (entries.each)
                    break;
                fl_add(&total, sum_block(value, width));
                if (want_gradient) {
                    total_slope += sum_block(slope, width);
                    total_curvature += sum_block(curvature, width);
                }
            }
            row_loss[0] = fl_value(total);
            entries.slope[0] = (real)total_slope;
            entries.curvature[0] = (real)total_curvature;
            for (ptrdiff_t r = 0; r < rows; r++) {
                ptrdiff_t const start = r * columns;
                entries.scale[r] = (real)(weight[r] * factor);
                if (!entries.each)
                    break;
                row_loss[r] = sum_row(value + start, columns);
                entries.slope[r] = (real)sum_row(slope + start, columns);
                entries.curvature[r] = (real)sum_row(curvature + start, columns);
            }
            if (entries.each && want_gradient) {
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
