/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of log softmax(y_pred), with dense or integer labels.
 *
 * A row is reduced to its maximum m and the sum s of exp(z - m) over all classes but one maximal one.
 * log-sum-exp is m + log1p(s), and every result is a sum or product of non-negative terms of these:
 *   -log p_j = (m - z_j) + log1p(s),  p_j = exp(z_j - m)/(1 + s),
 *   1 - p_j = s/(1 + s) for a maximal class, where 1 - p_j itself would cancel.
 * So a confident right prediction keeps all its digits. z - m is taken with its rounding error, for
 * which exp(-80) would be off by 80 half ulps.
 */
typedef struct {
    real maximum;
    double others;
} softmax_sum;

static real block_maximum(real const *z, ptrdiff_t n) {
    real maximum = -INFINITY;
#pragma omp simd reduction(max : maximum)
    for (ptrdiff_t i = 0; i < n; i++)
        maximum = z[i] > maximum ? z[i] : maximum;
    return maximum;
}

static softmax_sum sum_of_exponentials(real const *z, ptrdiff_t n) {
    real term[FL_BLOCK];
    real const maximum = block_maximum(z, n);
    real const shift = maximum == -INFINITY ? R(0) : maximum;
    integer ties = 0;
#pragma omp simd reduction(+ : ties)
    for (ptrdiff_t i = 0; i < n; i++) {
        real const d = z[i] - shift;
        real const e = fl_exp_biased(d, fl_difference_error(z[i], shift, d));
        term[i] = d == R(0) ? R(0) : e;
        ties += d == R(0);
    }
    double const sum = sum_block(term, n) * FL_EXP_SCALE;
    return (softmax_sum){maximum, sum + (double)(ties > 0 ? ties - 1 : 0)};
}

/* Joins two parts of a row: the smaller maximum becomes one of the others. */
static softmax_sum merge(softmax_sum a, softmax_sum b) {
    softmax_sum const high = b.maximum > a.maximum ? b : a, low = b.maximum > a.maximum ? a : b;
    if (low.maximum == -INFINITY)
        return (softmax_sum){high.maximum, high.others + low.others};
    double const d = (double)low.maximum - (double)high.maximum;
    double const error = fl_difference_error_f64((double)low.maximum, (double)high.maximum, d);
    double const factor = fl_exp_biased_f64(d, error) * 0x1p-64;
    return (softmax_sum){high.maximum, high.others + (1 + low.others) * factor};
}

static softmax_sum softmax_statistics(fl_call const *call, ptrdiff_t row, real *scratch) {
    softmax_sum total = {-INFINITY, 0};
    for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
        ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
        fl_block const block = {row, 1, column, n};
        softmax_sum const part = sum_of_exponentials(view(call, &call->y_pred, block, scratch), n);
        total = column ? merge(total, part) : part;
    }
    return total;
}

/* Every class at minus infinity has no softmax. */
static double others_of(softmax_sum sum) { return sum.maximum == -INFINITY ? (double)NAN : sum.others; }

static void softmax_row(fl_call const *call, ptrdiff_t row, real *scratch, class_row *out) {
    softmax_sum const sum = softmax_statistics(call, row, scratch);
    double const others = others_of(sum);
    out->maximum = sum.maximum;
    out->log_sum = (real)fl_log1p_f64(others);
    out->inverse = (real)(FL_EXP_SCALE / (1 + others));
    out->complement = (real)(others / (1 + others));
}

static void sparse_derivatives(real const *z, ptrdiff_t n, class_row const *row, real scale,
                               real *gradient, real *hessian) {
    real const maximum = row->maximum, inverse = row->inverse, complement = row->complement;
    real const slope = row->slope, curvature = row->curvature;
    real const gradient_scale = -slope * scale * inverse;
    if (!hessian) {
#pragma omp simd
        for (ptrdiff_t i = 0; i < n; i++) {
            real const d = z[i] - maximum;
            gradient[i] = gradient_scale * fl_exp_biased(d, fl_difference_error(z[i], maximum, d));
        }
        return;
    }
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) {
        real const d = z[i] - maximum;
        real const e = fl_exp_biased(d, fl_difference_error(z[i], maximum, d));
        real const p = e * inverse, q = d == R(0) ? complement : R(1) - p;
        gradient[i] = gradient_scale * e;
        hessian[i] = scale * (p * (curvature * p - slope * q));
    }
}

static void run_sparse_softmax(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,
                               fl_sum *loss, sparse_loops const *loops) {
    real scratch[FL_BLOCK], gradient_scratch[FL_BLOCK], hessian_scratch[FL_BLOCK];
    real log_probability[FL_BATCH], value[FL_BATCH], slope[FL_BATCH], curvature[FL_BATCH];
    real parameter[FL_MAX_PARAMETERS];
    double weight[FL_BATCH], row_loss[FL_BATCH], maximum[FL_BATCH], others[FL_BATCH], logit[FL_BATCH];
    double log_sum[FL_BATCH], probability[FL_BATCH], complement[FL_BATCH];
    int64_t label[FL_BATCH];
    ptrdiff_t const step = batch_rows(call);
    real_parameters(call, parameter);
    for (ptrdiff_t row = first; row < last; row += step) {
        ptrdiff_t const rows = last - row < step ? last - row : step;
        row_labels(call, row, rows, label);
        row_label_weights(call, row, rows, label, weight);
        for (ptrdiff_t r = 0; r < rows; r++) {
            maximum[r] = others[r] = logit[r] = 0;
            if (weight[r] == 0)
                continue;
            softmax_sum const sum = softmax_statistics(call, row + r, scratch);
            maximum[r] = (double)sum.maximum;
            others[r] = others_of(sum);
            logit[r] = (double)*view(call, &call->y_pred, (fl_block){row + r, 1, label[r], 1}, scratch);
        }
#pragma omp simd
        for (ptrdiff_t r = 0; r < rows; r++) {
            double const d = logit[r] - maximum[r];
            double const e = fl_exp_biased_f64(d, fl_difference_error_f64(logit[r], maximum[r], d));
            log_sum[r] = fl_log1p_f64(others[r]);
            probability[r] = e * 0x1p-64 / (1 + others[r]);
            complement[r] = d == 0 ? others[r] / (1 + others[r]) : 1 - probability[r];
            log_probability[r] = (real)(d - log_sum[r]);
        }
        loops->terms(log_probability, rows, parameter, value, slope, curvature);
        for (ptrdiff_t r = 0; r < rows; r++)
            row_loss[r] = weight[r] == 0 ? 0 : weight[r] * (double)value[r];
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
        if (!call->gradient.data)
            continue;
        for (ptrdiff_t r = 0; r < rows; r++) {
            real const scale = (real)(weight[r] * factor);
            class_row const statistics = {.maximum = (real)maximum[r],
                                            .inverse = (real)(FL_EXP_SCALE / (1 + others[r])),
                                            .complement = (real)(others[r] / (1 + others[r])),
                                            .slope = slope[r],
                                            .curvature = curvature[r]};
            for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
                ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
                fl_block const block = {row + r, 1, column, n};
                real *const gradient = target(call, &call->gradient, block, gradient_scratch);
                real *const hessian = target(call, &call->hessian, block, hessian_scratch);
                if (weight[r] == 0) {
                    put_zeros(call, block, gradient, hessian);
                    continue;
                }
                sparse_derivatives(view(call, &call->y_pred, block, scratch), n, &statistics, scale, gradient,
                                   hessian);
                if (label[r] >= column && label[r] < column + n) {
                    double const p = probability[r], q = complement[r];
                    gradient[label[r] - column] = (real)(scale * (slope[r] * q));
                    if (hessian)
                        hessian[label[r] - column] =
                            (real)(scale * (q * (curvature[r] * q - slope[r] * p)));
                }
                put(call, &call->gradient, block, gradient);
                if (hessian)
                    put(call, &call->hessian, block, hessian);
            }
        }
    }
}

/* A label of 0 contributes nothing, also where the probability is 0. */
#define FL_SOFTMAX_LOOPS(name, element)                                                            \
    static void name##_dense_terms(real const *y_true, real const *z, ptrdiff_t n,                 \
                                   real const *parameter, class_row const *row, real *value,        \
                                   real *slope, real *curvature) { \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                \
        real const maximum = row->maximum, log_sum = row->log_sum;                                 \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                    \
            real const y = y_true[i];                                                              \
            fl_term const t = element(-((maximum - z[i]) + log_sum), p);                           \
            value[i] = y == R(0) ? R(0) : y * t.value;                                         \
            slope[i] = y == R(0) ? R(0) : y * t.slope;                                         \
            curvature[i] = y == R(0) ? R(0) : y * t.curvature;                                 \
        }                                                                                          \
    }                                                                                              \
    static void name##_dense_derivatives(real const *y_true, real const *z, ptrdiff_t n,           \
                                         real const *parameter, class_row const *row, real scale, \
                                         real *gradient, real *hessian) {                          \
        real const q[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                \
        real const maximum = row->maximum, log_sum = row->log_sum, inverse = row->inverse;         \
        real const complement = row->complement, slope = row->slope, curvature = row->curvature;   \
        if (!hessian) {                                                                            \
            _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) gradient[i] = softmax_element(   \
                y_true[i], z[i], element(-((maximum - z[i]) + log_sum), q), maximum, inverse,      \
                complement, slope, curvature, scale).gradient;                                     \
            return;                                                                                \
        }                                                                                          \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                    \
            fl_element const t = softmax_element(y_true[i], z[i],                                  \
                                                 element(-((maximum - z[i]) + log_sum), q),        \
                                                 maximum, inverse, complement, slope, curvature,   \
                                                 scale);                                           \
            gradient[i] = t.gradient;                                                              \
            hessian[i] = t.hessian;                                                                \
        }                                                                                          \
    }

/* The chain rule: with b = y*slope of this class and B, C the sums of slope and curvature,
 *
 *   gradient = b*(1 - p) - p*(B - b)
 *   hessian  = c*(1 - p)^2 + (C - c)*p^2 - B*p*(1 - p)
 *
 * For one-hot labels B - b is exactly 0 or B, so that nothing cancels.
 */
FL_INLINE fl_element softmax_element(real y, real z, fl_term term, real maximum, real inverse,
                                     real complement, real slope, real curvature, real scale) {
    real const d = z - maximum;
    real const p = fl_exp_biased(d, fl_difference_error(z, maximum, d)) * inverse;
    real const q = d == R(0) ? complement : R(1) - p;
    real const b = y == R(0) ? R(0) : y * term.slope, c = y == R(0) ? R(0) : y * term.curvature;
    return (fl_element){.value = R(0),
                        .gradient = scale * (b * q - p * (slope - b)),
                        .hessian = scale * (c * q * q + (curvature - c) * p * p - slope * p * q)};
}
