/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of log clip(y_pred / S, epsilon, 1 - epsilon), S the sum of a row, with dense or integer labels.
 *
 * With S as an unevaluated sum of two numbers, -log(p/S) = log1p((S - p)/p) is accurate also where p/S is
 * close to 1. The clip is done on the logarithm, where its bounds -log1p(-epsilon) and -log(epsilon) are
 * exact to an ulp. A clipped class has no derivative.
 */
/* The chain rule: with b = y*slope, c = y*curvature of this class where it is not clipped, B, C their sums
 * and the ratio a = (S - p)/p,
 *
 *   gradient = (b*a - (B - b))/S
 *   hessian  = (c*a^2 - b*a*(a + 2) + (C - c) + (B - b))/S^2
 *
 * Nothing cancels for one-hot labels, and only the division by S can overflow.
 */
FL_INLINE fl_element normalize_derivatives(real y, real p, fl_class class, fl_term term,
                                           class_rows const *rows, ptrdiff_t k) {
    (void)p;
    int const live = y != R(0) && !class.clipped;
    real const a = live ? class.own : R(0), sum = rows->sum[k];
    real const b = live ? y * term.slope : R(0), c = live ? y * term.curvature : R(0);
    real const rest = rows->slope[k] - b, rest_curvature = rows->curvature[k] - c;
    return (fl_element){.value = R(0),
                        .gradient = (b * a - rest) / sum,
                        .hessian = (c * a * a - b * a * (a + R(2)) + rest_curvature + rest) / sum / sum};
}

/* The sum of a row as two doubles. */
static fl_sum normalize_statistics(fl_call const *call, ptrdiff_t row, real *scratch) {
    fl_sum total = {0, 0};
    for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
        ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
        real const *const p = view_pred(call, (fl_block){row, 1, column, n}, scratch);
        fl_sum const part = exact_sum_block(p, n);
        fl_add(&total, part.high);
        total.low += part.low;
    }
    double const high = total.high + total.low;
    return (fl_sum){high, (total.high - high) + total.low};
}

/* The sum of a row without its label, which so keeps its digits where the label's share is close to 1. */
static double sum_of_others(fl_call const *call, ptrdiff_t row, ptrdiff_t label, real *scratch) {
    fl_sum total = {0, 0};
    for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
        ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
        ptrdiff_t const own = label - column, before = own < 0 || own >= n ? n : own;
        real const *const p = view_pred(call, (fl_block){row, 1, column, n}, scratch);
        fl_add(&total, sum_block(p, before));
        if (before < n)
            fl_add(&total, sum_block(p + before + 1, n - before - 1));
    }
    return fl_value(total);
}

static void run_sparse_normalize(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,
                                 fl_sum *loss, sparse_loops const *loops) {
    real scratch[FL_BLOCK], gradient_scratch[FL_BLOCK], hessian_scratch[FL_BLOCK];
    real log_probability[FL_BATCH], value[FL_BATCH], slope[FL_BATCH], curvature[FL_BATCH];
    real parameter[FL_MAX_PARAMETERS];
    double weight[FL_BATCH], row_loss[FL_BATCH], sum[FL_BATCH], others[FL_BATCH], p[FL_BATCH];
    int64_t label[FL_BATCH];
    double const epsilon = call->parameters[0];
    double const least = -fl_log1p_f64(-epsilon), most = -fl_log_f64(epsilon);
    real_parameters(call, 1, parameter);
    for (ptrdiff_t row = first; row < last; row += FL_BATCH) {
        ptrdiff_t const rows = last - row < FL_BATCH ? last - row : FL_BATCH;
        row_class_weights(call, row, rows, label, weight);
        for (ptrdiff_t r = 0; r < rows; r++) {
            sum[r] = p[r] = 1;
            others[r] = 0;
            if (weight[r] == 0)
                continue;
            others[r] = sum_of_others(call, row + r, label[r], scratch);
            p[r] = (double)*view(call, &call->y_pred, (fl_block){row + r, 1, label[r], 1}, scratch);
            sum[r] = others[r] + p[r];
        }
        double inside[FL_BATCH];
#pragma omp simd
        for (ptrdiff_t r = 0; r < rows; r++) {
            double const log = fl_log1p_f64(others[r] / fl_max_f64(p[r], 0));
            inside[r] = log >= least && log <= most ? 1 : 0;
            log_probability[r] = (real)-fl_min_f64(fl_max_f64(log, least), most);
        }
        loops->terms(log_probability, rows, parameter, value, slope, curvature);
        for (ptrdiff_t r = 0; r < rows; r++)
            row_loss[r] = weight[r] == 0 ? 0 : weight[r] * (double)value[r];
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
        if (!call->gradient.data)
            continue;
        for (ptrdiff_t r = 0; r < rows; r++) {
            double const scale = weight[r] * factor, s = sum[r];
            double const b = inside[r] * (double)slope[r], c = inside[r] * (double)curvature[r];
            real const rest = inside[r] == 0 ? R(0) : (real)(-scale * b / s);
            real const rest_curvature = inside[r] == 0 ? R(0) : (real)(scale * (b + c) / s / s);
            for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
                ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
                fl_block const block = {row + r, 1, column, n};
                real *const gradient = target(call, &call->gradient, block, gradient_scratch);
                real *const hessian = target(call, &call->hessian, block, hessian_scratch);
                if (weight[r] == 0) {
                    put_zeros(call, block, gradient, hessian);
                    continue;
                }
                real const poison = s != s ? (real)s : R(0);
                for (ptrdiff_t i = 0; i < n; i++)
                    gradient[i] = rest + poison;
                if (hessian)
                    for (ptrdiff_t i = 0; i < n; i++)
                        hessian[i] = rest_curvature + poison;
                if (inside[r] != 0 && label[r] >= column && label[r] < column + n) {
                    double const a = others[r] / p[r];
                    gradient[label[r] - column] = (real)(scale * b * a / s);
                    if (hessian)
                        hessian[label[r] - column] = (real)(scale * (c * a * a - b * a * (a + 2)) / s / s);
                }
                put(call, &call->gradient, block, gradient);
                if (hessian)
                    put(call, &call->hessian, block, hessian);
            }
        }
    }
}

static void normalize_bounds(fl_call const *call, class_rows *out) {
    double const epsilon = call->parameters[0];
    out->least = (real)-fl_log1p_f64(-epsilon);
    out->most = (real)-fl_log_f64(epsilon);
}

static void normalize_entry(fl_sum sum, ptrdiff_t r, class_rows *out) {
    double const high = sum.high + sum.low;
    out->sum[r] = (real)high;
    out->sum_low[r] = (real)((high - (double)out->sum[r]) + ((sum.high - high) + sum.low));
}

static void normalize_rows(fl_call const *call, ptrdiff_t row, ptrdiff_t rows, class_rows *out) {
    real scratch[FL_BLOCK];
    normalize_bounds(call, out);
    for (ptrdiff_t r = 0; r < rows; r++)
        normalize_entry(normalize_statistics(call, row + r, scratch), r, out);
}

static void normalize_tile(fl_call const *call, real const *p, ptrdiff_t columns, real *term,
                           class_rows *out) {
    double high[FL_TILE] = {0}, low[FL_TILE] = {0};
    (void)term;
    for (ptrdiff_t c = 0; c < columns; c++)
#pragma omp simd
        for (int j = 0; j < FL_TILE; j++) {
            double const add = (double)p[c * FL_TILE + j], sum = high[j] + add, part = sum - high[j];
            low[j] += (high[j] - (sum - part)) + (add - part);
            high[j] = sum;
        }
    normalize_bounds(call, out);
    for (int j = 0; j < FL_TILE; j++)
        normalize_entry((fl_sum){high[j], low[j]}, j, out);
}

static void normalize_terms(real const *p, ptrdiff_t n, class_rows const *rows, ptrdiff_t r, real *term) {
    (void)p, (void)n, (void)rows, (void)r, (void)term;
}

FL_INLINE fl_class normalize_class(real p, real term, class_rows const *rows, ptrdiff_t k) {
    (void)term;
    real const ratio = ((rows->sum[k] - p) + rows->sum_low[k]) / fl_max(p, R(0));
    real const log = fl_log1p(ratio);
    return (fl_class){.log_probability = -fl_min(fl_max(log, rows->least), rows->most),
                      .own = ratio,
                      .clipped = !(log >= rows->least && log <= rows->most)};
}
