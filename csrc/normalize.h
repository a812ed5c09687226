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
    real const a = live ? class.ratio : R(0), sum = rows->sum[k];
    real const b = live ? y * term.slope : R(0), c = live ? y * term.curvature : R(0);
    real const rest = rows->slope[k] - b, rest_curvature = rows->curvature[k] - c;
    return (fl_element){.value = R(0),
                        .gradient = (b * a - rest) / sum,
                        .hessian = (c * a * a - b * a * (a + R(2)) + rest_curvature + rest) / sum / sum};
}

/* Whole groups are added to the lanes, their rounding errors to low. */
static void add_exactly(real const *value, ptrdiff_t n, double *high, double *low) {
    double sum[FL_LANES], error[FL_LANES];
    for (int j = 0; j < FL_LANES; j++) {
        sum[j] = high[j];
        error[j] = low[j];
    }
    for (ptrdiff_t group = 0; group < n; group += FL_LANES) {
        prefetch_ahead(value + group, FL_LANES);
#pragma omp simd
        for (int j = 0; j < FL_LANES; j++) {
            double const term = (double)value[group + j], total = sum[j] + term, part = total - sum[j];
            error[j] += (sum[j] - (total - part)) + (term - part);
            sum[j] = total;
        }
    }
    for (int j = 0; j < FL_LANES; j++) {
        high[j] = sum[j];
        low[j] = error[j];
    }
}

/* The sum of a block with its rounding errors. */
static fl_sum exact_sum_block(real const *value, ptrdiff_t n) {
    ptrdiff_t const whole = n - n % FL_LANES;
    double high[FL_LANES] = {0}, low[FL_LANES] = {0};
    fl_sum total = {0, 0};
    if (whole == 0)
        for (ptrdiff_t i = 0; i < n; i++)
            fl_add(&total, (double)value[i]);
    if (whole == 0)
        return total;
    add_exactly(value, whole, high, low);
    for (ptrdiff_t i = whole; i < n; i++) {
        fl_sum lane = {high[i - whole], low[i - whole]};
        fl_add(&lane, (double)value[i]);
        high[i - whole] = lane.high;
        low[i - whole] = lane.low;
    }
    for (int width = FL_LANES / 2; width > 0; width /= 2)
#pragma omp simd
        for (int j = 0; j < width; j++) {
            double const sum = high[j] + high[j + width], part = sum - high[j];
            low[j] += low[j + width] + ((high[j] - (sum - part)) + (high[j + width] - part));
            high[j] = sum;
        }
    return (fl_sum){high[0], low[0]};
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

/* Whole groups but for the element at skip are added to the lanes. Returns whether one is out of bounds. */
static int add_others(real const *p, ptrdiff_t n, ptrdiff_t skip, real_bounds bounds, double *lane) {
    double sum[FL_LANES];
    integer outside[FL_LANES] = {0}, any = 0;
    for (int j = 0; j < FL_LANES; j++)
        sum[j] = lane[j];
    for (ptrdiff_t group = 0; group < n; group += FL_LANES) {
        integer const own = (integer)(skip - group);
        real term[FL_LANES];
        prefetch_ahead(p + group, FL_LANES);
#pragma omp simd
        for (int j = 0; j < FL_LANES; j++) {
            real const x = p[group + j];
            term[j] = (integer)j == own ? R(0) : x;
            outside[j] |= (x < bounds.low) | (x > bounds.high);
        }
        for (int j = 0; j < FL_LANES; j++)
            sum[j] += (double)term[j];
    }
    for (int j = 0; j < FL_LANES; j++) {
        lane[j] = sum[j];
        any |= outside[j];
    }
    return any != 0;
}

/* The sum of a row without its label, which so keeps its digits where the label's share is close to 1. */
static double sum_of_others(fl_call const *call, flat_array const *y_pred, ptrdiff_t position,
                            ptrdiff_t label) {
    real scratch[FL_BLOCK], rest[FL_LANES];
    real_bounds const bounds = real_bounds_of(call->pred_bounds);
    fl_sum total = {0, 0};
    int outside = 0;
    for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
        ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
        ptrdiff_t const whole = n - n % FL_LANES, own = label - column, skip = own < 0 || own >= n ? -1 : own;
        real const *const p = view_flat(call, y_pred, position + column, n, scratch);
        double lane[FL_LANES] = {0};
        outside |= add_others(p, whole, skip, bounds, lane);
        for (ptrdiff_t i = 0; i < FL_LANES && whole < n; i++)
            rest[i] = whole + i < n ? p[whole + i] : R(0);
        if (whole < n)
            outside |= add_others(rest, FL_LANES, skip - whole, bounds, lane);
        fl_add(&total, sum_lanes(lane));
    }
    if (outside && call->out_of_bounds)
        note_outside(call);
    return fl_value(total);
}

/* The same for rows that share a block. The label of a row that does not count is negative. */
static void sum_others_of_rows(real const *p, ptrdiff_t rows, ptrdiff_t columns, int64_t const *label,
                               double *others) {
    real term[FL_BLOCK];
    memcpy(term, p, (size_t)(rows * columns) * sizeof *term);
    for (ptrdiff_t r = 0; r < rows; r++)
        if (label[r] >= 0)
            term[r * columns + label[r]] = 0;
    sum_terms(term, rows, columns, 1, 1, others);
}

/* Rows of one number each, but for the label of a row that has one. */
static void put_rows(fl_call const *call, flat_array const *array, ptrdiff_t position, ptrdiff_t rows,
                     int64_t const *label, real const *rest, real const *own) {
    real scratch[FL_BLOCK];
    ptrdiff_t const columns = call->columns, n = rows * columns;
    ptrdiff_t filled = 0, put = 0; /* rows */
    for (ptrdiff_t start = 0; start < n && array->array->data; start += FL_BLOCK) {
        ptrdiff_t const end = n - start < FL_BLOCK ? n : start + FL_BLOCK;
        real *const out = target_flat(call, array, position + start, end - start, scratch) - start;
        for (ptrdiff_t i = start; i < end;) {
            ptrdiff_t const next = (filled + 1) * columns, stop = next < end ? next : end;
            for (real const x = rest[filled]; i < stop; i++)
                out[i] = x;
            filled += stop == next;
        }
        for (; put < rows && put * columns + (label[put] < 0 ? 0 : label[put]) < end; put++)
            if (label[put] >= 0)
                out[put * columns + label[put]] = own[put];
        put_flat(call, array, position + start, end - start, out + start);
    }
}

static void run_sparse_normalize(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,
                                 fl_sum *loss, sparse_loops const *loops) {
    real scratch[FL_BLOCK], parameter[FL_MAX_PARAMETERS];
    real log_probability[FL_BLOCK_ROWS], value[FL_BLOCK_ROWS], slope[FL_BLOCK_ROWS], curvature[FL_BLOCK_ROWS];
    real rest[FL_BLOCK_ROWS], own[FL_BLOCK_ROWS], rest_curvature[FL_BLOCK_ROWS], own_curvature[FL_BLOCK_ROWS];
    double weight[FL_BLOCK_ROWS], row_loss[FL_BLOCK_ROWS], others[FL_BLOCK_ROWS], p[FL_BLOCK_ROWS];
    double inside[FL_BLOCK_ROWS], own_share[FL_BLOCK_ROWS], other_share[FL_BLOCK_ROWS];
    int64_t label[FL_BLOCK_ROWS];
    double const epsilon = call->parameters[0];
    double const least = -fl_log1p_f64(-epsilon), most = -fl_log_f64(epsilon);
    ptrdiff_t const columns = call->columns, step = sparse_batch(columns);
    fl_block const all = {first, last - first, 0, columns};
    flat_array const y_pred = flatten(call, &call->y_pred, all);
    flat_array const gradient = flatten(call, &call->gradient, all),
                     hessian = flatten(call, &call->hessian, all);
    real_parameters(call, 1, parameter);
    for (ptrdiff_t row = first; row < last; row += step) {
        ptrdiff_t const rows = last - row < step ? last - row : step, position = (row - first) * columns;
        row_class_weights(call, row, rows, label, weight);
        for (ptrdiff_t r = 0; r < rows; r++)
            label[r] = weight[r] == 0 ? -1 : label[r];
        if (columns <= FL_FEW_CLASSES) {
            real const *const block = view_flat(call, &y_pred, position, rows * columns, scratch);
            note_bounds(call, block, rows * columns, call->pred_bounds);
            sum_others_of_rows(block, rows, columns, label, others);
        }
        for (ptrdiff_t r = 0; r < rows; r++) {
            ptrdiff_t const start = position + r * columns;
            p[r] = 1;
            if (label[r] < 0) {
                others[r] = 0;
                continue;
            }
            if (columns > FL_FEW_CLASSES)
                others[r] = sum_of_others(call, &y_pred, start, label[r]);
            p[r] = (double)*view_flat(call, &y_pred, start + label[r], 1, scratch);
        }
#pragma omp simd
        for (ptrdiff_t r = 0; r < rows; r++) {
            double const log = fl_log1p_f64(others[r] / fl_max_f64(p[r], 0));
            inside[r] = log >= least && log <= most ? 1 : 0;
            log_probability[r] = (real)-fl_min_f64(fl_max_f64(log, least), most);
            /* What is clipped has the bounds as its shares. */
            own_share[r] = log < least ? 1 - epsilon : log > most ? epsilon : p[r];
            other_share[r] = log < least ? epsilon : log > most ? 1 - epsilon : others[r];
        }
        loops->terms(log_probability, own_share, other_share, rows, parameter, value, slope, curvature);
        for (ptrdiff_t r = 0; r < rows; r++)
            row_loss[r] = weight[r] == 0 ? 0 : weight[r] * (double)value[r];
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
        if (!call->gradient.data)
            continue;
#pragma omp simd
        for (ptrdiff_t r = 0; r < rows; r++) {
            double const s = others[r] + p[r], a = others[r] / p[r], poison = s != s ? s : 0;
            double const scale = inside[r] == 0 ? 0 : weight[r] * factor;
            double const b = (double)slope[r], c = (double)curvature[r];
            rest[r] = (real)(FL_HIDDEN(scale, -b / s) + poison);
            own[r] = (real)(FL_HIDDEN(scale, b * a / s) + poison);
            rest_curvature[r] = (real)(FL_HIDDEN(scale, (b + c) / s / s) + poison);
            own_curvature[r] = (real)(FL_HIDDEN(scale, (c * a * a - b * a * (a + 2)) / s / s) + poison);
            rest[r] = weight[r] == 0 ? R(0) : rest[r];
            rest_curvature[r] = weight[r] == 0 ? R(0) : rest_curvature[r];
        }
        put_rows(call, &gradient, position, rows, label, rest, own);
        put_rows(call, &hessian, position, rows, label, rest_curvature, own_curvature);
    }
}

static void normalize_bounds(fl_call const *call, class_rows *out) {
    double const epsilon = call->parameters[0];
    out->least = (real)-fl_log1p_f64(-epsilon);
    out->most = (real)-fl_log_f64(epsilon);
    out->epsilon = (real)epsilon;
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
    for (ptrdiff_t c = 0; c < columns; c++) {
        prefetch(out->next_true + c * FL_TILE, FL_TILE);
        prefetch(out->next_pred + c * FL_TILE, FL_TILE);
#pragma omp simd
        for (int j = 0; j < FL_TILE; j++) {
            double const add = (double)p[c * FL_TILE + j], sum = high[j] + add, part = sum - high[j];
            low[j] += (high[j] - (sum - part)) + (add - part);
            high[j] = sum;
        }
    }
    normalize_bounds(call, out);
    for (int j = 0; j < FL_TILE; j++)
        normalize_entry((fl_sum){high[j], low[j]}, j, out);
}

enum { normalize_has_terms = 0 };

static void normalize_terms(real const *p, ptrdiff_t n, class_rows const *rows, ptrdiff_t r, real *term) {
    (void)p, (void)n, (void)rows, (void)r, (void)term;
}

FL_INLINE fl_class normalize_class(real p, real term, int const has_term, class_rows const *rows,
                                   ptrdiff_t k) {
    (void)term, (void)has_term;
    real const others = (rows->sum[k] - p) + rows->sum_low[k], ratio = others / fl_max(p, R(0));
    real const log = fl_log1p(ratio), least = rows->epsilon, most = R(1) - rows->epsilon;
    return (fl_class){.log_probability = -fl_min(fl_max(log, rows->least), rows->most),
                      .probability = fl_min(fl_max(p / rows->sum[k], least), most),
                      .complement = fl_min(fl_max(others / rows->sum[k], least), most),
                      .ratio = ratio,
                      .clipped = !(log >= rows->least && log <= rows->most)};
}
