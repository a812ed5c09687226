/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of log softmax(y_pred), with dense or integer labels.
 *
 * A row is reduced to its maximum m and the sum s of exp(z - m) over all classes but one maximal one.
 * log-sum-exp is m + log1p(s), and every result is a sum or product of non-negative terms of these:
 *   -log p_j = (m - z_j) + log1p(s),  p_j = exp(z_j - m)/(1 + s),
 *   1 - p_j = s/(1 + s) for a maximal class, where 1 - p_j itself would cancel.
 * So a confident right prediction keeps all its digits. The exponentials are the terms of window.h, which
 * differ from these by a power of two.
 */
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

/* What is found of up to FL_TILE rows, or parts of a row: in each lane the largest term is held and the
 * others are added. */
typedef struct {
    real *kept; /* the terms, of the rows from first on; NULL: not needed */
    ptrdiff_t first;
    exp_window window[FL_TILE];
    long_lanes lanes[FL_TILE]; /* pairs */
    real held[FL_TILE][FL_LANES], top[FL_TILE][FL_LANES];
    real maximum[FL_TILE], own[FL_TILE]; /* the largest logit, and its term */
    double others[FL_TILE];              /* the sum of the other terms */
} held_terms;

/* Whole groups. */
FL_INLINE void hold_groups_as(real const *z, ptrdiff_t n, real const *next, held_terms *terms, ptrdiff_t r,
                              real *kept, int const plain) {
    exp_window const window = terms->window[r];
    real own[FL_LANES], most[FL_LANES];
    for (int j = 0; j < FL_LANES; j++) {
        own[j] = terms->held[r][j];
        most[j] = terms->top[r][j];
    }
    for (ptrdiff_t start = 0, end; start < n; start = end) {
        double sum[FL_PAIRS] = {0};
        end = n - start < FL_RUN_TERMS * FL_LANES ? n : start + FL_RUN_TERMS * FL_LANES;
        for (ptrdiff_t group = start; group < end; group += FL_LANES) {
            real other[FL_LANES];
            prefetch(next + group, FL_LANES);
            prefetch_ahead(z + group, FL_LANES);
#pragma omp simd
            for (int j = 0; j < FL_LANES; j++) {
                real const term = term_of(z[group + j], &window, plain);
                other[j] = term > own[j] ? own[j] : term;
                own[j] = term > own[j] ? term : own[j];
                most[j] = z[group + j] > most[j] ? z[group + j] : most[j];
                if (kept)
                    kept[group + j] = term;
            }
#pragma omp simd
            for (int j = 0; j < FL_PAIRS; j++)
                sum[j] += (double)(other[j] + other[j + FL_PAIRS]);
        }
        add_run(sum, FL_PAIRS, &terms->lanes[r]);
    }
    for (int j = 0; j < FL_LANES; j++) {
        terms->held[r][j] = own[j];
        terms->top[r][j] = most[j];
    }
}

/* Meanwhile as much is loaded from next on. */
static void hold_groups(real const *z, ptrdiff_t n, real const *next, held_terms *terms, ptrdiff_t r,
                        real *kept) {
    if (terms->window[r].plain && kept)
        hold_groups_as(z, n, next, terms, r, kept, 1);
    else if (terms->window[r].plain)
        hold_groups_as(z, n, next, terms, r, NULL, 1);
    else
        hold_groups_as(z, n, next, terms, r, kept, 0);
}

static void hold_columns(fl_call const *call, ptrdiff_t row, ptrdiff_t start, ptrdiff_t end,
                         held_terms *terms, ptrdiff_t r) {
    real scratch[FL_BLOCK], rest[FL_LANES], rest_kept[FL_LANES];
    real *const kept = terms->kept ? terms->kept + (row - terms->first) * call->columns : NULL;
    terms->lanes[r] = (long_lanes){{0}, {0}};
    for (int j = 0; j < FL_LANES; j++) {
        terms->held[r][j] = 0;
        terms->top[r][j] = -INFINITY;
    }
    for (ptrdiff_t column = start; column < end; column += FL_BLOCK) {
        ptrdiff_t const n = end - column < FL_BLOCK ? end - column : FL_BLOCK, whole = n - n % FL_LANES;
        fl_block const block = {row, 1, column, n};
        real const *const z = view(call, &call->y_pred, block, scratch);
        real const *const labels = in_place(call, &call->y_true, block);
        hold_groups(z, whole, labels ? labels : z, terms, r, kept ? kept + column : NULL);
        if (whole == n)
            continue;
        for (ptrdiff_t i = 0; i < FL_LANES; i++)
            rest[i] = whole + i < n ? z[whole + i] : -INFINITY;
        hold_groups(rest, FL_LANES, rest, terms, r, rest_kept);
        if (kept)
            memcpy(kept + column + whole, rest_kept, (size_t)(n - whole) * sizeof *kept);
    }
}

/* From lanes to rows: vectors run across rows. The rounding errors of the sums are kept, since a row of equal
 * terms would have them all of one sign. */
static void join_held_lanes(held_terms *terms, ptrdiff_t rows) {
    real held[FL_LANES][FL_TILE], top[FL_LANES][FL_TILE];
    double low[FL_TILE] = {0};
    transpose(terms->held[0], FL_LANES, rows, FL_LANES, held[0], FL_TILE);
    transpose(terms->top[0], FL_LANES, rows, FL_LANES, top[0], FL_TILE);
    for (ptrdiff_t r = 0; r < rows; r++) {
        double lane[FL_PAIRS];
        end_runs(&terms->lanes[r], FL_PAIRS, lane);
        terms->others[r] = sum_half_lanes(lane);
        terms->own[r] = 0;
        terms->maximum[r] = -INFINITY;
    }
    for (int lane = 0; lane < FL_LANES; lane++)
#pragma omp simd
        for (ptrdiff_t r = 0; r < rows; r++) {
            real const term = held[lane][r], own = terms->own[r];
            double const other = (double)(term > own ? own : term), before = terms->others[r];
            double const sum = before + other, part = sum - before;
            low[r] += (before - (sum - part)) + (other - part);
            terms->others[r] = sum;
            terms->own[r] = term > own ? term : own;
            terms->maximum[r] = top[lane][r] > terms->maximum[r] ? top[lane][r] : terms->maximum[r];
        }
    for (ptrdiff_t r = 0; r < rows; r++)
        terms->others[r] += low[r];
}

/* Parts of a row that is longer than a task. */
typedef struct {
    fl_call const *call;
    ptrdiff_t row, start;
    held_terms *terms;
} held_parts;

static void hold_part(void *argument, ptrdiff_t index) {
    held_parts const *const parts = argument;
    ptrdiff_t const start = parts->start + index * FL_TASK_ELEMENTS, end = start + FL_TASK_ELEMENTS;
    ptrdiff_t const columns = parts->call->columns;
    hold_columns(parts->call, parts->row, start, end < columns ? end : columns, parts->terms, index);
}

/* Rows by their windows; one row if it is longer than a task. */
static void hold_rows(fl_call const *call, ptrdiff_t row, ptrdiff_t rows, held_terms *terms) {
    if (call->columns <= FL_TASK_ELEMENTS) {
        for (ptrdiff_t r = 0; r < rows; r++)
            hold_columns(call, row + r, 0, call->columns, terms, r);
        join_held_lanes(terms, rows);
        return;
    }
    held_parts parts = {call, row, 0, terms};
    real own = 0, maximum = -INFINITY;
    fl_sum others = {0, 0};
    for (int i = 1; i < FL_TILE; i++)
        terms->window[i] = terms->window[0];
    for (; parts.start < call->columns; parts.start += FL_TILE * FL_TASK_ELEMENTS) {
        ptrdiff_t const left = (call->columns - parts.start + FL_TASK_ELEMENTS - 1) / FL_TASK_ELEMENTS;
        ptrdiff_t const count = left < FL_TILE ? left : FL_TILE;
        fl_parallel_for(count, call->threads, hold_part, &parts);
        join_held_lanes(terms, count);
        for (ptrdiff_t i = 0; i < count; i++) {
            fl_add(&others, terms->others[i]);
            fl_add(&others, (double)(terms->own[i] > own ? own : terms->own[i]));
            own = terms->own[i] > own ? terms->own[i] : own;
            maximum = terms->maximum[i] > maximum ? terms->maximum[i] : maximum;
        }
    }
    terms->own[0] = own;
    terms->others[0] = fl_value(others);
    terms->maximum[0] = maximum;
}

/* A row whose window was too low: relative to its maximum. */
static __attribute__((noinline)) void hold_row_again(fl_call const *call, ptrdiff_t row, ptrdiff_t r,
                                                     held_terms *terms) {
    held_terms again;
    again.kept = terms->kept;
    again.first = terms->first;
    again.window[0] = window_of(terms->maximum[r]);
    hold_rows(call, row, 1, &again);
    terms->window[r] = again.window[0];
    terms->own[r] = again.own[0];
    terms->others[r] = again.others[0];
}

/* From the term of the maximum and the sum of the others. */
static void softmax_entries(real const *maximum, real const *own, double const *others, ptrdiff_t rows,
                            class_rows *out) {
#pragma omp simd
    for (ptrdiff_t r = 0; r < rows; r++) {
        double const reciprocal = 1 / ((double)own[r] + others[r]);
        out->maximum[r] = maximum[r];
        out->log_sum[r] = fl_log1p((real)(others[r] / (double)own[r]));
        out->inverse[r] = (real)reciprocal;
        out->complement[r] = (real)(others[r] * reciprocal);
    }
}

/* A long row by a window above its first logits; again if that is too low. */
static void softmax_rows(fl_call const *call, ptrdiff_t row, ptrdiff_t rows, class_rows *out) {
    held_terms terms;
    real limit[FL_TILE], scratch[FL_LANES];
    ptrdiff_t const few = call->columns < FL_LANES ? call->columns : FL_LANES;
    terms.kept = out->kept;
    terms.first = row;
    for (ptrdiff_t r = 0; r < rows; r++) {
        limit[r] = block_maximum(view(call, &call->y_pred, (fl_block){row + r, 1, 0, few}, scratch), few) +
                   R(FL_WINDOW_ROOM);
        if (!fits_window(limit[r]))
            limit[r] = 0;
        terms.window[r] = window_below(limit[r]);
    }
    hold_rows(call, row, rows, &terms);
    for (ptrdiff_t r = 0; r < rows; r++) {
        if (!(terms.maximum[r] <= limit[r] && terms.own[r] > R(0)))
            hold_row_again(call, row + r, r, &terms);
        out->window[r] = terms.window[r];
    }
    softmax_entries(terms.maximum, terms.own, terms.others, rows, out);
}

enum { softmax_has_terms = 1 };

static void softmax_terms(real const *z, ptrdiff_t n, class_rows const *rows, ptrdiff_t r, real *term) {
    exp_window const window = rows->window[r];
    if (window.plain)
        plain_terms(z, n, &window, term);
    else
#pragma omp simd
        for (ptrdiff_t i = 0; i < n; i++)
            term[i] = term_of(z[i], &window, 0);
}

/* The windows of the rows of a tile. */
typedef struct {
    real maximum[FL_TILE], offset[FL_TILE], floor[FL_TILE], plain[FL_TILE];
} tile_windows;

/* The sum of the terms of each row without the maximal ones, which are counted. */
FL_INLINE void sum_tile(real const *z, ptrdiff_t columns, tile_windows const *windows, int const all_plain,
                        real *term, double *others, real *ties, class_rows const *rows) {
    long_lanes lanes = {{0}, {0}};
    for (ptrdiff_t start = 0, end; start < columns; start = end) {
        double sum[FL_TILE] = {0};
        end = columns - start < FL_RUN_TERMS ? columns : start + FL_RUN_TERMS;
        for (ptrdiff_t c = start; c < end; c++) {
            real other[FL_TILE];
            prefetch(rows->next_true + c * FL_TILE, FL_TILE);
            prefetch(rows->next_pred + c * FL_TILE, FL_TILE);
#pragma omp simd
            for (int j = 0; j < FL_TILE; j++) {
                real const x = z[c * FL_TILE + j], maximum = windows->maximum[j], d = x - maximum;
                real e = plain_term(x, windows->offset[j], windows->floor[j]);
                if (!all_plain) {
                    real const relative = fl_exp_biased(d, fl_difference_error(x, maximum, d));
                    e = windows->plain[j] == R(0) ? relative : e;
                }
                term[c * FL_TILE + j] = e;
                other[j] = x == maximum ? R(0) : e;
                ties[j] += x == maximum ? R(1) : R(0);
            }
#pragma omp simd
            for (int j = 0; j < FL_TILE; j++)
                sum[j] += (double)other[j];
        }
        add_run(sum, FL_TILE, &lanes);
    }
    end_runs(&lanes, FL_TILE, others);
}

static void softmax_tile(fl_call const *call, real const *z, ptrdiff_t columns, real *term, class_rows *out) {
    tile_windows windows;
    real ties[FL_TILE] = {0}, own[FL_TILE];
    double others[FL_TILE];
    real wide = 0;
    (void)call;
    for (int j = 0; j < FL_TILE; j++)
        windows.maximum[j] = -INFINITY;
    for (ptrdiff_t c = 0; c < columns; c++)
#pragma omp simd
        for (int j = 0; j < FL_TILE; j++)
            windows.maximum[j] =
                z[c * FL_TILE + j] > windows.maximum[j] ? z[c * FL_TILE + j] : windows.maximum[j];
#pragma omp simd reduction(+ : wide)
    for (int j = 0; j < FL_TILE; j++) {
        real const maximum = windows.maximum[j],
                   limit = fl_abs(maximum) <= R(FL_WINDOW_MOST) ? maximum : R(0);
        real const offset = window_offset(limit), floor = window_floor(limit);
        windows.offset[j] = offset;
        windows.floor[j] = floor;
        windows.plain[j] = limit == maximum ? R(1) : R(0);
        own[j] = limit == maximum ? plain_term(limit, offset, floor) : R(1 / FL_EXP_SCALE);
        wide += limit == maximum ? R(0) : R(1);
    }
    if (wide == R(0))
        sum_tile(z, columns, &windows, 1, term, others, ties, out);
    else
        sum_tile(z, columns, &windows, 0, term, others, ties, out);
#pragma omp simd
    for (int j = 0; j < FL_TILE; j++)
        others[j] += windows.maximum[j] < INFINITY && ties[j] > R(0) ? (double)own[j] * ((double)ties[j] - 1)
                                                                     : (double)NAN;
    softmax_entries(windows.maximum, own, others, FL_TILE, out);
}

FL_INLINE fl_class softmax_class(real z, real term, int const has_term, class_rows const *rows, ptrdiff_t k) {
    real const x = -((rows->maximum[k] - z) + rows->log_sum[k]);
    real const p = has_term ? term * rows->inverse[k] : fl_exp_expm1(x).exp;
    return (fl_class){.log_probability = x,
                      .probability = p,
                      .complement = z == rows->maximum[k] ? rows->complement[k] : R(1) - p};
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
    (void)z;
    real const p = class.probability, q = class.complement;
    real const b = y == R(0) ? R(0) : y * term.slope, c = y == R(0) ? R(0) : y * term.curvature;
    real const slope = rows->slope[k], curvature = rows->curvature[k];
    return (fl_element){.value = R(0),
                        .gradient = (y == R(0) ? R(0) : b * q) - p * (slope - b),
                        .hessian = c * q * q + (curvature - c) * p * p - slope * p * q};
}
