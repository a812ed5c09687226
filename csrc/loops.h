/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One loop skeleton for each kind of loss. No loss is named here: kernels.c expands, for each row of the
 * registry, the inner loops that call its element function, and hands them to the skeleton of its kind.
 */
#ifndef FL_LOOPS_H
#define FL_LOOPS_H

#include "rows.h"

/* What an element function of a pointwise loss returns. */
typedef struct {
    real value, gradient, hessian;
} fl_element;

/* What an element function of a log-probability returns, with its first and second derivative. */
typedef struct {
    real value, slope, curvature;
} fl_term;

/* ---- pointwise ---- */

typedef void pointwise_value_loop(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,
                                  real *value);
typedef void pointwise_loop(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,
                            real const *scale, real *value, real *gradient, real *hessian);

typedef struct {
    pointwise_value_loop *value;
    pointwise_loop *value_gradient, *gradient_hessian;
    int divide; /* by the number of columns */
} pointwise_loops;

/* A scale of 0 hides a NaN. Outputs may be y_pred itself: each element is read before it is written. */
#define FL_SCALED(x) (scale[i] == R(0) ? R(0) : (x) * scale[i])

#define FL_POINTWISE_LOOPS(name, element)                                                                    \
    static void name##_value(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,     \
                             real *value) {                                                                  \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) value[i] =                                     \
            element(y_true[i], y_pred[i], p).value;                                                          \
    }                                                                                                        \
    static void name##_value_gradient(real const *y_true, real const *y_pred, ptrdiff_t n,                   \
                                      real const *parameter, real const *scale, real *value, real *gradient, \
                                      real *hessian) {                                                       \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        (void)hessian;                                                                                       \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            fl_element const t = element(y_true[i], y_pred[i], p);                                           \
            value[i] = t.value;                                                                              \
            gradient[i] = FL_SCALED(t.gradient);                                                             \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_gradient_hessian(real const *y_true, real const *y_pred, ptrdiff_t n,                 \
                                        real const *parameter, real const *scale, real *value,               \
                                        real *gradient, real *hessian) {                                     \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        (void)value;                                                                                         \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            fl_element const t = element(y_true[i], y_pred[i], p);                                           \
            gradient[i] = FL_SCALED(t.gradient);                                                             \
            hessian[i] = FL_SCALED(t.hessian);                                                               \
        }                                                                                                    \
    }

#define FL_PARAMETERS(parameter) {parameter[0], parameter[1], parameter[2], parameter[3]}

/* The real form of the parameters of a call. */
static void real_parameters(fl_call const *call, real *parameter) {
    for (int i = 0; i < FL_MAX_PARAMETERS; i++)
        parameter[i] = (real)call->parameters[i];
}

static void run_pointwise(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor, fl_sum *loss,
                          pointwise_loops const *loops) {
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK], value[FL_BLOCK], scale[FL_BLOCK];
    real gradient_scratch[FL_BLOCK], hessian_scratch[FL_BLOCK];
    real parameter[FL_MAX_PARAMETERS];
    double weight[FL_BLOCK], row_loss[FL_BLOCK];
    ptrdiff_t const columns = call->columns;
    ptrdiff_t const step = columns < FL_BLOCK ? FL_BLOCK / (columns ? columns : 1) : 1;
    double const divisor = loops->divide ? (double)columns : 1;
    int const unweighted = is_unweighted(call), want_rows = !unweighted || call->losses.data;
    int const want_gradient = call->gradient.data != NULL;
    real_parameters(call, parameter);
    if (want_gradient && unweighted)
        for (ptrdiff_t i = 0; i < FL_BLOCK; i++)
            scale[i] = (real)factor;
    for (ptrdiff_t row = first; row < last; row += step) {
        ptrdiff_t const rows = last - row < step ? last - row : step;
        if (!unweighted)
            row_weights(call, row, rows, weight);
        fl_sum long_row = {0, 0};
        for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
            ptrdiff_t const width = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
            ptrdiff_t const n = rows * width;
            fl_block const block = {row, rows, column, width};
            real const *const y_true = view_labels(call, block, true_scratch);
            real const *const y_pred = view(call, &call->y_pred, block, pred_scratch);
            if (want_gradient) {
                real *const gradient = target(call, &call->gradient, block, gradient_scratch);
                real *const hessian = target(call, &call->hessian, block, hessian_scratch);
                if (!unweighted)
                    for (ptrdiff_t r = 0, i = 0; r < rows; r++)
                        for (ptrdiff_t c = 0; c < width; c++, i++)
                            scale[i] = (real)(weight[r] * factor);
                if (hessian) {
                    loops->gradient_hessian(y_true, y_pred, n, parameter, scale, NULL, gradient, hessian);
                    put(call, &call->hessian, block, hessian);
                } else {
                    loops->value_gradient(y_true, y_pred, n, parameter, scale, value, gradient, NULL);
                }
                put(call, &call->gradient, block, gradient);
                if (hessian)
                    continue;
            } else {
                loops->value(y_true, y_pred, n, parameter, value);
            }
            if (!want_rows)
                fl_add(loss, sum_block(value, n) / divisor);
            else if (width < columns)
                fl_add(&long_row, sum_block(value, n));
            else
                for (ptrdiff_t r = 0; r < rows; r++)
                    row_loss[r] = width == 1 ? (double)value[r] : sum_block(value + r * width, width);
        }
        if (!want_rows || call->hessian.data)
            continue;
        if (columns == 0)
            for (ptrdiff_t r = 0; r < rows; r++)
                row_loss[r] = 0;
        if (columns > FL_BLOCK)
            row_loss[0] = fl_value(long_row);
        for (ptrdiff_t r = 0; r < rows; r++) {
            double const w = unweighted ? 1 : weight[r];
            row_loss[r] = w == 0 ? 0 : w * (row_loss[r] / divisor);
        }
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
    }
}

/* ---- log-probabilities, from logits or from probabilities ---- */

/* Rows whose statistics are found before their gradients are written, so that these are still in cache. */
#define FL_BATCH 64
#define FL_BATCH_BYTES 131072

typedef void term_loop(real const *log_probability, ptrdiff_t n, real const *parameter, real *value,
                       real *slope, real *curvature);

typedef struct {
    term_loop *terms;
} sparse_loops;

/* What a link (softmax.h, normalize.h) finds out about a row. */
typedef struct {
    real maximum, log_sum, inverse, complement; /* softmax */
    real sum, sum_low, least, most;             /* normalize */
    real slope, curvature;                      /* sums over the classes, times the labels */
} class_row;

typedef void link_statistics(fl_call const *call, ptrdiff_t row, real *scratch, class_row *out);
typedef void dense_terms(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,
                         class_row const *row, real *value, real *slope, real *curvature);
typedef void dense_derivatives(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,
                               class_row const *row, real scale, real *gradient, real *hessian);

typedef struct {
    link_statistics *statistics;
    dense_terms *terms;
    dense_derivatives *derivatives;
    int parameters; /* that belong to the link */
} dense_loops;

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
    real parameter[FL_MAX_PARAMETERS] = {0};
    double weight[FL_BATCH], row_loss[FL_BATCH];
    ptrdiff_t const columns = call->columns;
    for (int i = loops->parameters; i < FL_MAX_PARAMETERS; i++)
        parameter[i - loops->parameters] = (real)call->parameters[i];
    for (ptrdiff_t row = first; row < last; row += FL_BATCH) {
        ptrdiff_t const rows = last - row < FL_BATCH ? last - row : FL_BATCH;
        row_weights(call, row, rows, weight);
        for (ptrdiff_t r = 0; r < rows; r++) {
            real const scale = (real)(weight[r] * factor);
            class_row statistics = {0};
            row_loss[r] = 0;
            if (weight[r] != 0) {
                fl_sum total = {0, 0};
                double total_slope = 0, total_curvature = 0;
                loops->statistics(call, row + r, pred_scratch, &statistics);
                for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
                    ptrdiff_t const n = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
                    fl_block const block = {row + r, 1, column, n};
                    loops->terms(view_labels(call, block, true_scratch),
                                 view(call, &call->y_pred, block, pred_scratch), n, parameter, &statistics,
                                 value, slope, curvature);
                    fl_add(&total, sum_block(value, n));
                    if (call->gradient.data) {
                        total_slope += sum_block(slope, n);
                        total_curvature += sum_block(curvature, n);
                    }
                }
                statistics.slope = (real)total_slope;
                statistics.curvature = (real)total_curvature;
                row_loss[r] = weight[r] * fl_value(total);
            }
            if (!call->gradient.data)
                continue;
            for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
                ptrdiff_t const n = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
                fl_block const block = {row + r, 1, column, n};
                real *const gradient = target(call, &call->gradient, block, gradient_scratch);
                real *const hessian = target(call, &call->hessian, block, hessian_scratch);
                if (weight[r] == 0) {
                    put_zeros(call, block, gradient, hessian);
                    continue;
                }
                loops->derivatives(view_labels(call, block, true_scratch),
                                   view(call, &call->y_pred, block, pred_scratch), n, parameter, &statistics,
                                   scale, gradient, hessian);
                put(call, &call->gradient, block, gradient);
                if (hessian)
                    put(call, &call->hessian, block, hessian);
            }
        }
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
    }
}

#include "softmax.h"

#include "normalize.h"

#endif
