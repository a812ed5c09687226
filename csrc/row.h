/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of a whole row that are functions of a few sums over it, and maybe of a maximum.
 *
 * An element ELEMENT is three functions, all in double:
 *   ELEMENT_summands    of an element of y_true and y_pred: what is summed, and a candidate for the maximum
 *   ELEMENT_row         of the sums: the loss, and the coefficients of its gradient
 *   ELEMENT_derivative  of an element and the coefficients: the gradient
 * Kind ROW has no maximum, kind ROW_MAXIMUM has one.
 */
#ifndef FL_ROW_H
#define FL_ROW_H

#define FL_SUMMANDS 3

/* Rows that are worked on together. */
#define FL_ROW_BATCH 256

typedef struct {
    double sum[FL_SUMMANDS], candidate;
} fl_summands;

typedef struct {
    double sum[FL_SUMMANDS];
    double maximum, ties; /* how many elements attain the maximum */
} fl_row_sums;

/* If `rescale` is set the sums left the range of double: the row is summed again with y_true and y_pred
 * scaled by powers of two, on which the loss must not depend. */
typedef struct {
    double value, coefficient[2];
    int rescale;
} fl_row;

/* A row, and the powers of two that its elements are multiplied by. */
typedef struct {
    double true_scale, pred_scale;
    fl_row_sums sums;
    fl_row row;
} row_state;

typedef void summand_loop(real const *y_true, real const *y_pred, ptrdiff_t n, double const *parameter,
                          row_state const *state, double *first, double *second, double *third,
                          double *candidate);
typedef fl_row row_function(fl_row_sums const *sums, double const *parameter);
typedef void row_derivative_loop(real const *y_true, real const *y_pred, ptrdiff_t n, double const *parameter,
                                 row_state const *state, double scale, real *gradient);

typedef struct {
    summand_loop *summands;
    row_function *row;
    row_derivative_loop *derivative;
    int maximum; /* whether the loss has one */
} row_loops;

#define FL_ROW_LOOPS(name, element)                                                                          \
    static void name##_summand_loop(real const *y_true, real const *y_pred, ptrdiff_t n,                     \
                                    double const *parameter, row_state const *state, double *first,          \
                                    double *second, double *third, double *candidate) {                      \
        double const own[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                      \
        double const true_scale = state->true_scale, pred_scale = state->pred_scale;                         \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            fl_summands const t =                                                                            \
                element##_summands((double)y_true[i] * true_scale, (double)y_pred[i] * pred_scale, own);     \
            first[i] = t.sum[0];                                                                             \
            second[i] = t.sum[1];                                                                            \
            third[i] = t.sum[2];                                                                             \
            candidate[i] = t.candidate;                                                                      \
        }                                                                                                    \
    }                                                                                                        \
    static fl_row name##_row_function(fl_row_sums const *sums, double const *parameter) {                    \
        return element##_row(sums, parameter);                                                               \
    }                                                                                                        \
    static void name##_derivative_loop(real const *y_true, real const *y_pred, ptrdiff_t n,                  \
                                       double const *parameter, row_state const *state, double scale,        \
                                       real *gradient) {                                                     \
        double const own[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                      \
        double const true_scale = state->true_scale, pred_scale = state->pred_scale;                         \
        double const maximum = state->sums.maximum, factor = pred_scale * scale;                             \
        double const first = state->row.coefficient[0], second = state->row.coefficient[1];                  \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            double const y = (double)y_true[i] * true_scale, p = (double)y_pred[i] * pred_scale;             \
            int const is_maximum = element##_summands(y, p, own).candidate == maximum;                       \
            gradient[i] = (real)(element##_derivative(y, p, is_maximum, first, second) * factor);            \
        }                                                                                                    \
    }

static double sum_summands(double const *value, ptrdiff_t n) {
    if (n > FL_LANES)
        return sum_doubles(value, n);
    double sum = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        sum += value[i];
    return sum;
}

/* A NaN stays the maximum. */
static void join_maximum(fl_row_sums *sums, double const *candidate, ptrdiff_t n) {
    double maximum = n > FL_LANES ? -INFINITY : sums->maximum, ties = n > FL_LANES ? 0 : sums->ties;
    int64_t unordered = 0;
    if (n > FL_LANES) {
        double lane[FL_LANES];
        ptrdiff_t i = 0;
        for (int j = 0; j < FL_LANES; j++)
            lane[j] = -INFINITY;
        for (; i + FL_LANES <= n; i += FL_LANES)
            for (int j = 0; j < FL_LANES; j++)
                lane[j] = candidate[i + j] > lane[j] ? candidate[i + j] : lane[j];
        for (int j = 0; i + j < n; j++)
            lane[j] = candidate[i + j] > lane[j] ? candidate[i + j] : lane[j];
        for (int j = 0; j < FL_LANES; j++)
            maximum = lane[j] > maximum ? lane[j] : maximum;
        for (i = 0; i < n; i++) {
            unordered |= candidate[i] != candidate[i];
            ties += candidate[i] == maximum ? 1 : 0;
        }
        if (maximum == sums->maximum)
            ties += sums->ties;
    } else {
        for (ptrdiff_t i = 0; i < n; i++) {
            double const x = candidate[i];
            ties = (x > maximum ? 0 : ties) + (x >= maximum ? 1 : 0);
            maximum = x > maximum ? x : maximum;
            unordered |= x != x;
        }
    }
    if (unordered)
        sums->maximum = NAN;
    if (maximum >= sums->maximum) {
        sums->maximum = maximum;
        sums->ties = ties;
    }
}

/* The sums of the rows of a block, and what follows from them. Within a piece of FL_BLOCK elements each lane
 * takes few terms, and the pieces are added with their rounding errors. */
static void sum_rows(fl_call const *call, fl_block rows, row_loops const *loops, row_state *state) {
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK];
    double term[FL_SUMMANDS][FL_BLOCK], candidate[FL_BLOCK];
    fl_sum total[FL_ROW_BATCH][FL_SUMMANDS];
    for (ptrdiff_t r = 0; r < rows.rows; r++) {
        state[r].sums = (fl_row_sums){.maximum = -INFINITY};
        for (int k = 0; k < FL_SUMMANDS; k++)
            total[r][k] = (fl_sum){0, 0};
    }
    for (ptrdiff_t column = 0; column < rows.columns; column += FL_BLOCK) {
        ptrdiff_t const width = rows.columns - column < FL_BLOCK ? rows.columns - column : FL_BLOCK;
        fl_block const block = {rows.row, rows.rows, column, width};
        loops->summands(view_labels(call, block, true_scratch), view_pred(call, block, pred_scratch),
                        rows.rows * width, call->parameters, state, term[0], term[1], term[2], candidate);
        for (ptrdiff_t r = 0; r < rows.rows; r++) {
            for (int k = 0; k < FL_SUMMANDS; k++)
                fl_add(&total[r][k], sum_summands(term[k] + r * width, width));
            if (loops->maximum)
                join_maximum(&state[r].sums, candidate + r * width, width);
        }
    }
    for (ptrdiff_t r = 0; r < rows.rows; r++) {
        for (int k = 0; k < FL_SUMMANDS; k++)
            state[r].sums.sum[k] = fl_value(total[r][k]);
        state[r].row = loops->row(&state[r].sums, call->parameters);
    }
}

/* A power of two that brings a number to the size of 1; 1 for what has no size. */
static double inverse_size(double x) {
    uint64_t const exponent = fl_bits_f64(x) & FL_EXPONENT_f64, low = UINT64_C(1) << 52;
    if (x == 0 || exponent == FL_EXPONENT_f64)
        return 1;
    uint64_t const inverse = FL_EXPONENT_f64 - low - exponent;
    return fl_from_bits_f64(inverse < low ? low : inverse);
}

static void rescale_row(fl_call const *call, ptrdiff_t row, row_loops const *loops, row_state *state) {
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK];
    real y_true = 0, y_pred = 0;
    for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
        ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
        fl_block const block = {row, 1, column, n};
        real const *const y = view_labels(call, block, true_scratch);
        real const *const p = view_pred(call, block, pred_scratch);
        for (ptrdiff_t i = 0; i < n; i++) {
            y_true = fl_max(y_true, fl_abs(y[i]));
            y_pred = fl_max(y_pred, fl_abs(p[i]));
        }
    }
    state->true_scale = inverse_size((double)y_true);
    state->pred_scale = inverse_size((double)y_pred);
    sum_rows(call, (fl_block){row, 1, 0, call->columns}, loops, state);
}

static void run_row(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor, fl_sum *loss,
                    row_loops const *loops) {
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK], gradient_scratch[FL_BLOCK];
    double weight[FL_ROW_BATCH], row_loss[FL_ROW_BATCH];
    row_state state[FL_ROW_BATCH];
    ptrdiff_t const columns = call->columns, fit = FL_BLOCK / (columns ? columns : 1);
    ptrdiff_t const together = fit < 1 ? 1 : fit < FL_ROW_BATCH ? fit : FL_ROW_BATCH;
    for (ptrdiff_t row = first; row < last; row += together) {
        ptrdiff_t const rows = last - row < together ? last - row : together;
        row_weights(call, row, rows, weight);
        for (ptrdiff_t r = 0; r < rows; r++)
            state[r].true_scale = state[r].pred_scale = 1;
        sum_rows(call, (fl_block){row, rows, 0, columns}, loops, state);
        for (ptrdiff_t r = 0; r < rows; r++) {
            if (state[r].row.rescale && weight[r] != 0)
                rescale_row(call, row + r, loops, &state[r]);
            row_loss[r] = weight[r] == 0 ? 0 : weight[r] * state[r].row.value;
        }
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
        if (!call->gradient.data)
            continue;
        for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
            ptrdiff_t const width = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
            fl_block const block = {row, rows, column, width};
            real *const gradient = target(call, &call->gradient, block, gradient_scratch);
            real const *const y_true = view_labels(call, block, true_scratch);
            real const *const y_pred = view_pred(call, block, pred_scratch);
            for (ptrdiff_t r = 0; r < rows; r++) {
                ptrdiff_t const start = r * width;
                if (weight[r] != 0)
                    loops->derivative(y_true + start, y_pred + start, width, call->parameters, &state[r],
                                      weight[r] * factor, gradient + start);
                else
                    for (ptrdiff_t i = start; i < start + width; i++)
                        gradient[i] = 0;
            }
            put(call, &call->gradient, block, gradient);
        }
    }
}

#endif
