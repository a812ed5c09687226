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

/* NaN is passed over: the exponentials bring it back. */
static real block_maximum(real const *z, ptrdiff_t n) {
    real lane[FL_LANES];
    ptrdiff_t i = 0;
    for (int j = 0; j < FL_LANES; j++)
        lane[j] = -INFINITY;
    for (; i + FL_LANES <= n; i += FL_LANES)
        for (int j = 0; j < FL_LANES; j++)
            lane[j] = z[i + j] > lane[j] ? z[i + j] : lane[j];
    for (int j = 0; i + j < n; j++)
        lane[j] = z[i + j] > lane[j] ? z[i + j] : lane[j];
    for (int width = FL_LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++)
            lane[j] = lane[j + width] > lane[j] ? lane[j + width] : lane[j];
    return lane[0];
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

/* Whole groups: the largest term of each lane is held, the others are added. */
static void hold_groups(real const *z, ptrdiff_t n, exp_window const *window, double *lane, real *held,
                        real *top) {
    double sum[FL_LANES];
    real own[FL_LANES], most[FL_LANES];
    for (int j = 0; j < FL_LANES; j++) {
        sum[j] = lane[j];
        own[j] = held[j];
        most[j] = top[j];
    }
    for (ptrdiff_t group = 0; group < n; group += FL_LANES) {
        real other[FL_LANES];
#pragma omp simd
        for (int j = 0; j < FL_LANES; j++) {
            real const term = plain_term(z[group + j], window->offset, window->floor);
            other[j] = term > own[j] ? own[j] : term;
            own[j] = term > own[j] ? term : own[j];
            most[j] = z[group + j] > most[j] ? z[group + j] : most[j];
        }
        for (int j = 0; j < FL_LANES; j++)
            sum[j] += (double)other[j];
    }
    for (int j = 0; j < FL_LANES; j++) {
        lane[j] = sum[j];
        held[j] = own[j];
        top[j] = most[j];
    }
}

/* A long row by a window above its first logits; 0 if that is too low. */
static int window_statistics(fl_call const *call, ptrdiff_t row, real *scratch, softmax_sum *total) {
    real held[FL_LANES] = {0}, top[FL_LANES], rest[FL_LANES];
    double lane[FL_LANES] = {0};
    ptrdiff_t const columns = call->columns, few = columns < FL_LANES ? columns : FL_LANES;
    real const limit = block_maximum(view(call, &call->y_pred, (fl_block){row, 1, 0, few}, scratch), few) +
                       R(FL_WINDOW_ROOM);
    if (!fits_window(limit))
        return 0;
    exp_window const window = window_below(limit);
    for (int j = 0; j < FL_LANES; j++)
        top[j] = -INFINITY;
    for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
        ptrdiff_t const n = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
        ptrdiff_t const whole = n - n % FL_LANES;
        real const *const z = view(call, &call->y_pred, (fl_block){row, 1, column, n}, scratch);
        hold_groups(z, whole, &window, lane, held, top);
        if (whole == n)
            continue;
        for (ptrdiff_t i = 0; i < FL_LANES; i++)
            rest[i] = whole + i < n ? z[whole + i] : -INFINITY;
        hold_groups(rest, FL_LANES, &window, lane, held, top);
    }
    for (int width = FL_LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) {
            real const a = held[j], b = held[j + width];
            lane[j] += (double)(a > b ? b : a);
            held[j] = a > b ? a : b;
        }
    *total = (softmax_sum){block_maximum(top, FL_LANES), sum_lanes(lane) / (double)held[0]};
    return total->maximum <= limit;
}

static softmax_sum softmax_statistics(fl_call const *call, ptrdiff_t row, real *scratch) {
    softmax_sum total = {-INFINITY, 0};
    if (window_statistics(call, row, scratch, &total))
        return total;
    for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
        ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
        fl_block const block = {row, 1, column, n};
        softmax_sum const part = sum_of_exponentials(view(call, &call->y_pred, block, scratch), n);
        total = column ? merge(total, part) : part;
    }
    return total;
}

/* Rows of few classes share a block: each element has its row's maximum beside it, so that one vector
 * loop runs over all of them. Rows per block; 1 if the classes are too many for that. */
static ptrdiff_t rows_per_block(fl_call const *call) {
    return call->columns > 0 && call->columns <= FL_BLOCK / 4 ? FL_BLOCK / call->columns : 1;
}

/* Of the largest term: what is left of the sum without it has too few digits below. */
#if FL_REAL_BITS == 32
#define FL_OTHERS_LEAST 0x1p-22
#else
#define FL_OTHERS_LEAST 1.0
#endif

/* A row by itself: to the same bits as in a block, unless the largest term has to be left out of the sum. */
static __attribute__((noinline)) softmax_sum sum_row_alone(real const *z, ptrdiff_t columns) {
    real term[FL_BLOCK];
    real const maximum = block_maximum(z, columns);
    exp_window const window = window_of(maximum);
    double const own = (double)term_of(maximum, &window, window.plain);
    double sum = own, others = 0;
    term[0] = (real)own;
    for (ptrdiff_t c = 0; c < columns; c++)
        term[c] = term_of(z[c], &window, window.plain);
    sum_terms(term, 1, columns, 1, 1, &sum);
    if (sum - own >= own * FL_OTHERS_LEAST)
        return (softmax_sum){maximum, (sum - own) / own};
    real most = term[0];
    for (ptrdiff_t c = 1; c < columns; c++) {
        others += (double)(term[c] > most ? most : term[c]);
        most = term[c] > most ? term[c] : most;
    }
    return (softmax_sum){maximum, others / (double)most};
}

/* The sums of a block of rows; if label is given, the logits of the labels that are classes. */
static void short_row_statistics(fl_call const *call, fl_block block, real *scratch, int64_t const *label,
                                 softmax_sum *sums, double *logit) {
    real term[FL_BLOCK], maximum[FL_BLOCK];
    double others[FL_BLOCK];
    int64_t few[FL_BLOCK];
    ptrdiff_t const columns = block.columns, n = block.rows * columns;
    real const *const z = view(call, &call->y_pred, block, scratch);
    real const limit = block_maximum(z, n);
    exp_window const window = window_below(fits_window(limit) ? limit : R(0));
    block_terms(z, n, &window, term);
    for (ptrdiff_t r = 0; r < block.rows; r++) {
        real const *const row = z + r * columns;
        maximum[r] = columns < FL_LANES ? row[0] : block_maximum(row, columns);
        for (ptrdiff_t c = 1; c < columns && columns < FL_LANES; c++)
            maximum[r] = row[c] > maximum[r] ? row[c] : maximum[r];
        if (label && (uint64_t)label[r] < (uint64_t)columns)
            logit[r] = (double)row[label[r]];
    }
    sum_terms(term, block.rows, columns, 1, 1, others);
#pragma omp simd
    for (ptrdiff_t r = 0; r < block.rows; r++) {
        double const own = (double)plain_term(maximum[r], window.offset, window.floor);
        double const rest = others[r] - own;
        few[r] = !(rest >= own * FL_OTHERS_LEAST) | !(own * FL_EXP_UNIT >= FL_OWN_LEAST);
        others[r] = rest / own;
    }
    for (ptrdiff_t r = 0; r < block.rows; r++)
        sums[r] = few[r] || !fits_window(limit) ? sum_row_alone(z + r * columns, columns)
                                                : (softmax_sum){maximum[r], others[r]};
}

/* Every class at minus infinity has no softmax. */
static double others_of(softmax_sum sum) { return sum.maximum == -INFINITY ? (double)NAN : sum.others; }

/* What sparse_derivatives needs of a row. */
typedef struct {
    real maximum, inverse, complement, slope, curvature;
} sparse_row;

static void sparse_derivatives(real const *z, ptrdiff_t n, sparse_row const *row, real scale, real *gradient,
                               real *hessian) {
    real const maximum = row->maximum, inverse = row->inverse, complement = row->complement;
    real const slope = row->slope, curvature = row->curvature;
    real const gradient_scale = -slope * scale;
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) {
        real const d = z[i] - maximum;
        real const e = fl_exp_biased(d, fl_difference_error(z[i], maximum, d));
        real const p = e * inverse, q = d == R(0) ? complement : R(1) - p;
        gradient[i] = gradient_scale * p;
        hessian[i] = scale * (p * (curvature * p - slope * q));
    }
}

/* With the Hessian, for which a class that is sure without being the label needs 1 - p_j too. */
static void run_sparse_hessian(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,
                               fl_sum *loss, sparse_loops const *loops) {
    real scratch[FL_BLOCK], gradient_scratch[FL_BLOCK], hessian_scratch[FL_BLOCK];
    real log_probability[FL_BATCH], value[FL_BATCH], slope[FL_BATCH], curvature[FL_BATCH];
    real parameter[FL_MAX_PARAMETERS];
    double weight[FL_BATCH], row_loss[FL_BATCH], maximum[FL_BATCH], others[FL_BATCH], logit[FL_BATCH];
    double log_sum[FL_BATCH], probability[FL_BATCH], complement[FL_BATCH];
    softmax_sum sums[FL_BATCH];
    int64_t label[FL_BATCH];
    ptrdiff_t const step = batch_rows(call), together = rows_per_block(call);
    real_parameters(call, 0, parameter);
    for (ptrdiff_t row = first; row < last; row += step) {
        ptrdiff_t const rows = last - row < step ? last - row : step;
        row_class_weights(call, row, rows, label, weight);
        for (ptrdiff_t r = 0; r < rows; r += together) {
            fl_block const block = {row + r, rows - r < together ? rows - r : together, 0, call->columns};
            if (together > 1)
                short_row_statistics(call, block, scratch, label + r, sums + r, logit + r);
            else if (weight[r] != 0)
                sums[r] = softmax_statistics(call, row + r, scratch);
        }
        for (ptrdiff_t r = 0; r < rows; r++) {
            maximum[r] = weight[r] == 0 ? 0 : (double)sums[r].maximum;
            others[r] = weight[r] == 0 ? 0 : others_of(sums[r]);
            if (weight[r] == 0)
                logit[r] = 0;
            else if (together == 1)
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
            sparse_row const statistics = {.maximum = (real)maximum[r],
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
                        hessian[label[r] - column] = (real)(scale * (q * (curvature[r] * q - slope[r] * p)));
                }
                put(call, &call->gradient, block, gradient);
                if (hessian)
                    put(call, &call->hessian, block, hessian);
            }
        }
    }
}

static void softmax_entries(fl_call const *call, fl_block block, real *scratch, class_rows *out) {
    softmax_sum sums[FL_SHORT];
    double others[FL_SHORT];
    if (out->each)
        short_row_statistics(call, block, scratch, NULL, sums, NULL);
    else
        sums[0] = softmax_statistics(call, block.row, scratch);
    for (ptrdiff_t r = 0; r < block.rows; r++) {
        out->maximum[r] = sums[r].maximum;
        others[r] = others_of(sums[r]);
    }
#pragma omp simd
    for (ptrdiff_t r = 0; r < block.rows; r++) {
        double const reciprocal = 1 / (1 + others[r]);
        out->log_sum[r] = (real)fl_log1p_f64(others[r]);
        out->inverse[r] = (real)(FL_EXP_SCALE * reciprocal);
        out->complement[r] = (real)(others[r] * reciprocal);
    }
    if (out->each) {
        spread(out->maximum, block);
        spread(out->log_sum, block);
        spread(out->inverse, block);
        spread(out->complement, block);
    }
}

FL_INLINE fl_class softmax_class(real z, class_rows const *rows, ptrdiff_t k) {
    real const maximum = rows->maximum[k], d = z - maximum;
    return (fl_class){.log_probability = -((maximum - z) + rows->log_sum[k]),
                      .own = fl_exp_biased(d, fl_difference_error(z, maximum, d)) * rows->inverse[k],
                      .clipped = 0};
}

/* The chain rule: with b = y*slope of this class and B, C the sums of slope and curvature,
 *
 *   gradient = b*(1 - p) - p*(B - b)
 *   hessian  = c*(1 - p)^2 + (C - c)*p^2 - B*p*(1 - p)
 *
 * For one-hot labels B - b is exactly 0 or B, so that nothing cancels.
 */
FL_INLINE fl_element softmax_derivatives(real y, real z, fl_class class, fl_term term, class_rows const *rows,
                                         ptrdiff_t k) {
    real const complement = rows->complement[k];
    real const p = class.own, q = z == rows->maximum[k] ? complement : R(1) - p;
    real const b = y == R(0) ? R(0) : y * term.slope, c = y == R(0) ? R(0) : y * term.curvature;
    real const slope = rows->slope[k], curvature = rows->curvature[k];
    return (fl_element){.value = R(0),
                        .gradient = b * q - p * (slope - b),
                        .hessian = c * q * q + (curvature - c) * p * p - slope * p * q};
}
