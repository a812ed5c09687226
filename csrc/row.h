/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of a whole row that are functions of a few sums over it, or of a sum and a maximum.
 *
 * An element ELEMENT is three functions, all in double:
 *   ELEMENT_summands    of an element of y_true and y_pred: what is summed, and a candidate for the maximum
 *   ELEMENT_row         of the sums: the loss, and the coefficients of its gradient
 *   ELEMENT_derivative  of an element and the coefficients: the gradient
 * Kind ROW has FL_SUMMANDS sums, kind ROW_MAXIMUM has the first of them and the maximum. With a label of 0, a
 * y_pred of 0 adds nothing to the sums, and one of -inf neither to the first sum nor to the maximum.
 */
#ifndef FL_ROW_H
#define FL_ROW_H

#define FL_SUMMANDS 3

/* Of a row; or rows, where they are short. */
#define FL_ROW_LANES (FL_LANES / 2)

/* Columns of short rows: a block of these is worked on together. */
#define FL_SHORT_ROW 64

/* Rows whose sums are found before their gradients are written. */
#define FL_ROW_BATCH FL_BLOCK_ROWS

typedef struct {
    double sum[FL_SUMMANDS], candidate;
} fl_summands;

typedef struct {
    double sum[FL_SUMMANDS];
    double maximum, ties; /* how many elements attain the maximum */
} fl_row_sums;

/* If `rescale` is not 0 the sums left the range of double, which those of floats cannot: the row is summed
 * again with y_true and y_pred scaled by powers of two, on which the loss must not depend. */
typedef struct {
    double value, coefficient[2], rescale;
} fl_row;

/* What elements are multiplied by. */
typedef struct {
    double y_true, y_pred;
} row_scales;

#if FL_REAL_BITS == 32
#define FL_RESCALED(x, scale) ((void)(scale), (double)(x))
#else
#define FL_RESCALED(x, scale) ((x) * (scale))
#endif

typedef struct {
    double sum[FL_SUMMANDS][FL_ROW_LANES];
    double maximum[FL_ROW_LANES], ties[FL_ROW_LANES],
        unordered[FL_ROW_LANES];   /* 0, or NaN if there was one */
    integer outside[FL_ROW_LANES]; /* not 0 if one was out of bounds */
} row_lanes;

/* y_true and y_pred of a row, and a step of each that is not full, padded. */
typedef struct {
    real const *y_true, *y_pred;
    real true_rest[FL_ROW_LANES], pred_rest[FL_ROW_LANES];
    ptrdiff_t whole, steps; /* those that are full; all */
    row_scales scales;
    int bounded; /* whether to look at the bounds: in the loop that reads from memory, as this costs least */
    real_bounds of_true, of_pred;
} row_steps;

/* The elements of a row go to the lanes in turn; or, with their places, those of short rows to one lane each.
 */
typedef void summand_loop(row_steps const *steps, int32_t const *place, double const *parameter,
                          row_lanes *lanes);
/* The sums of rows, and what follows from them. */
typedef struct {
    double sum[FL_SUMMANDS][FL_ROW_BATCH], maximum[FL_ROW_BATCH], ties[FL_ROW_BATCH];
    double value[FL_ROW_BATCH], first[FL_ROW_BATCH], second[FL_ROW_BATCH], rescale[FL_ROW_BATCH];
} row_batch;

typedef void row_loop(row_batch *rows, ptrdiff_t start, ptrdiff_t end, double const *parameter);

/* What the gradient of a row needs; or, of short rows, that of each element. */
typedef struct {
    double const *scale, *maximum, *first, *second;
    row_scales scales;
    int each;
} row_coefficients;

typedef void row_derivative_loop(real const *y_true, real const *y_pred, ptrdiff_t n, double const *parameter,
                                 row_coefficients const *row, real *gradient);

typedef struct {
    summand_loop *summands;
    row_loop *rows;
    row_derivative_loop *derivative;
    int maximum; /* whether the loss has one */
} row_loops;

#define FL_ROW_LOOPS(name, element, has_maximum)                                                             \
    FL_INLINE void name##_sum_lanes(row_steps const *steps, int32_t const *place, double const *parameter,   \
                                    row_lanes *lanes, int const in_turn, int const bounded) {                \
        double const own[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                      \
        double first[FL_ROW_LANES], second[FL_ROW_LANES], third[FL_ROW_LANES];                               \
        double maximum[FL_ROW_LANES], ties[FL_ROW_LANES], unordered[FL_ROW_LANES];                           \
        integer outside[FL_ROW_LANES] = {0};                                                                 \
        real_bounds const of_true = steps->of_true, of_pred = steps->of_pred;                                \
        row_scales const scales = steps->scales;                                                             \
        for (int j = 0; j < FL_ROW_LANES; j++) {                                                             \
            first[j] = second[j] = third[j] = ties[j] = unordered[j] = 0;                                    \
            maximum[j] = -INFINITY;                                                                          \
        }                                                                                                    \
        for (ptrdiff_t step = 0; step < steps->steps; step++) {                                              \
            double term[FL_SUMMANDS][FL_ROW_LANES], x[FL_ROW_LANES];                                         \
            ptrdiff_t const start = in_turn ? step * FL_ROW_LANES : step;                                    \
            real const *const y_true = step < steps->whole ? steps->y_true + start : steps->true_rest;       \
            real const *const y_pred = step < steps->whole ? steps->y_pred + start : steps->pred_rest;       \
            if (in_turn) {                                                                                   \
                prefetch_ahead(y_true, FL_ROW_LANES);                                                        \
                prefetch_ahead(y_pred, FL_ROW_LANES);                                                        \
            }                                                                                                \
            _Pragma("omp simd") for (int j = 0; j < FL_ROW_LANES; j++) {                                     \
                ptrdiff_t const i = in_turn ? j : place[j];                                                  \
                fl_summands const t = element##_summands(FL_RESCALED(y_true[i], scales.y_true),              \
                                                         FL_RESCALED(y_pred[i], scales.y_pred), own);        \
                term[0][j] = t.sum[0];                                                                       \
                term[1][j] = t.sum[1];                                                                       \
                term[2][j] = t.sum[2];                                                                       \
                outside[j] |= bounded && ((y_true[i] < of_true.low) | (y_true[i] > of_true.high) |           \
                                          (y_pred[i] < of_pred.low) | (y_pred[i] > of_pred.high));           \
                x[j] = t.candidate;                                                                          \
            }                                                                                                \
            for (int j = 0; j < FL_ROW_LANES; j++)                                                           \
                first[j] += term[0][j];                                                                      \
            for (int j = 0; j < FL_ROW_LANES && !has_maximum; j++) {                                         \
                second[j] += term[1][j];                                                                     \
                third[j] += term[2][j];                                                                      \
            }                                                                                                \
            for (int j = 0; j < FL_ROW_LANES && has_maximum; j++) {                                          \
                ties[j] = (x[j] > maximum[j] ? 0 : ties[j]) + (x[j] >= maximum[j] ? 1 : 0);                  \
                maximum[j] = x[j] > maximum[j] ? x[j] : maximum[j];                                          \
                unordered[j] = x[j] != x[j] ? x[j] : unordered[j];                                           \
            }                                                                                                \
        }                                                                                                    \
        for (int j = 0; j < FL_ROW_LANES; j++) {                                                             \
            lanes->outside[j] = outside[j];                                                                  \
            lanes->sum[0][j] = first[j];                                                                     \
            if (has_maximum) {                                                                               \
                lanes->maximum[j] = maximum[j];                                                              \
                lanes->ties[j] = ties[j];                                                                    \
                lanes->unordered[j] = unordered[j];                                                          \
            } else {                                                                                         \
                lanes->sum[1][j] = second[j];                                                                \
                lanes->sum[2][j] = third[j];                                                                 \
            }                                                                                                \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_summand_loop(row_steps const *steps, int32_t const *place, double const *parameter,   \
                                    row_lanes *lanes) {                                                      \
        if (place && steps->bounded)                                                                         \
            name##_sum_lanes(steps, place, parameter, lanes, 0, 1);                                          \
        else if (place)                                                                                      \
            name##_sum_lanes(steps, place, parameter, lanes, 0, 0);                                          \
        else if (steps->bounded)                                                                             \
            name##_sum_lanes(steps, NULL, parameter, lanes, 1, 1);                                           \
        else                                                                                                 \
            name##_sum_lanes(steps, NULL, parameter, lanes, 1, 0);                                           \
    }                                                                                                        \
    static void name##_row_loop(row_batch *rows, ptrdiff_t start, ptrdiff_t end, double const *parameter) {  \
        double const own[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                      \
        _Pragma("omp simd") for (ptrdiff_t r = start; r < end; r++) {                                        \
            fl_row_sums const sums = {.sum = {rows->sum[0][r], rows->sum[1][r], rows->sum[2][r]},            \
                                      .maximum = rows->maximum[r],                                           \
                                      .ties = rows->ties[r]};                                                \
            fl_row const row = element##_row(&sums, own);                                                    \
            rows->value[r] = row.value;                                                                      \
            rows->first[r] = row.coefficient[0];                                                             \
            rows->second[r] = row.coefficient[1];                                                            \
            rows->rescale[r] = row.rescale;                                                                  \
        }                                                                                                    \
    }                                                                                                        \
    FL_INLINE void name##_derivatives(real const *y_true, real const *y_pred, ptrdiff_t n,                   \
                                      double const *parameter, row_coefficients const *row, real *gradient,  \
                                      int const each) {                                                      \
        double const own[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                      \
        row_coefficients const c = *row;                                                                     \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            ptrdiff_t const r = each ? i : 0;                                                                \
            double const y = FL_RESCALED(y_true[i], c.scales.y_true),                                        \
                         p = FL_RESCALED(y_pred[i], c.scales.y_pred);                                        \
            int const is_maximum = element##_summands(y, p, own).candidate == c.maximum[r];                  \
            double const t = element##_derivative(y, p, is_maximum, c.first[r], c.second[r]);                \
            gradient[i] = (real)(each ? FL_HIDDEN(c.scale[i], t) : t * c.scale[0]);                          \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_derivative_loop(real const *y_true, real const *y_pred, ptrdiff_t n,                  \
                                       double const *parameter, row_coefficients const *row,                 \
                                       real *gradient) {                                                     \
        if (row->each)                                                                                       \
            name##_derivatives(y_true, y_pred, n, parameter, row, gradient, 1);                              \
        else                                                                                                 \
            name##_derivatives(y_true, y_pred, n, parameter, row, gradient, 0);                              \
    }

/* A NaN stays the maximum. */
static void join_maximum(fl_row_sums *sums, double maximum, double ties) {
    if (maximum == sums->maximum)
        sums->ties += ties;
    if (maximum > sums->maximum || maximum != maximum) {
        sums->maximum = maximum;
        sums->ties = ties;
    }
}

static void join_lanes(fl_row_sums *sums, row_lanes *lanes, int has_maximum) {
    for (int k = 0; k < (has_maximum ? 1 : FL_SUMMANDS); k++)
        sums->sum[k] += sum_half_lanes(lanes->sum[k]);
    if (!has_maximum)
        return;
    double most = -INFINITY, tie[FL_ROW_LANES];
    for (int j = 0; j < FL_ROW_LANES; j++)
        most = lanes->maximum[j] > most ? lanes->maximum[j] : most;
    for (int j = 0; j < FL_ROW_LANES; j++)
        tie[j] = lanes->maximum[j] == most ? lanes->ties[j] : 0;
    join_maximum(sums, most + sum_half_lanes(lanes->unordered), sum_half_lanes(tie));
}

/* The rows of a task, and parts of one of them. */
typedef struct {
    fl_call const *call;
    row_loops const *loops;
    flat_array y_true, y_pred, gradient;
    ptrdiff_t base, start; /* of the row; of the first part */
    row_scales scales;
    fl_row_sums *sums;
    row_coefficients coefficients;
} row_parts;

static ptrdiff_t end_of_row_part(row_parts const *parts, ptrdiff_t start) {
    ptrdiff_t const end = start + FL_TASK_ELEMENTS;
    return end < parts->call->columns ? end : parts->call->columns;
}

/* The bounds of y_true are looked at where it is summed. */
static real const *true_of_rows(row_parts const *parts, ptrdiff_t position, ptrdiff_t n, real *scratch) {
    return scaled_labels(parts->call, view_flat(parts->call, &parts->y_true, position, n, scratch), n,
                         scratch);
}

static void sum_steps(row_parts const *parts, row_steps *steps, int32_t const *place, row_lanes *lanes) {
    fl_call const *const call = parts->call;
    steps->scales = parts->scales;
    steps->bounded = call->out_of_bounds != NULL;
    steps->of_true = real_bounds_of(call->true_bounds);
    steps->of_pred = real_bounds_of(call->pred_bounds);
    parts->loops->summands(steps, place, call->parameters, lanes);
    integer outside = 0;
    for (int j = 0; j < FL_ROW_LANES; j++)
        outside |= lanes->outside[j];
    if (outside)
        note_outside(call);
}

/* Within a block each lane takes few terms. */
static fl_row_sums sum_columns(row_parts const *parts, ptrdiff_t start, ptrdiff_t end) {
    fl_call const *const call = parts->call;
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK];
    real const pad = parts->loops->maximum ? -INFINITY : R(0);
    row_steps steps;
    row_lanes lanes;
    fl_row_sums sums = {.maximum = -INFINITY};
    for (ptrdiff_t column = start; column < end; column += FL_BLOCK) {
        ptrdiff_t const n = end - column < FL_BLOCK ? end - column : FL_BLOCK, rest = n % FL_ROW_LANES;
        ptrdiff_t const place = parts->base + column;
        steps.y_true = true_of_rows(parts, place, n, true_scratch);
        steps.y_pred = view_flat(call, &parts->y_pred, place, n, pred_scratch);
        steps.whole = n / FL_ROW_LANES;
        steps.steps = steps.whole + (rest > 0);
        for (ptrdiff_t i = 0; i < FL_ROW_LANES && rest; i++) {
            steps.true_rest[i] = i < rest ? steps.y_true[n - rest + i] : R(0);
            steps.pred_rest[i] = i < rest ? steps.y_pred[n - rest + i] : pad;
        }
        sum_steps(parts, &steps, NULL, &lanes);
        join_lanes(&sums, &lanes, parts->loops->maximum);
    }
    return sums;
}

static void sum_row_part(void *argument, ptrdiff_t index) {
    row_parts *const parts = argument;
    ptrdiff_t const start = parts->start + index * FL_TASK_ELEMENTS;
    parts->sums[index] = sum_columns(parts, start, end_of_row_part(parts, start));
}

/* Columns up to count parts from parts->start on. */
static ptrdiff_t count_row_parts(row_parts const *parts) {
    ptrdiff_t const left = parts->call->columns - parts->start;
    ptrdiff_t const count = (left + FL_TASK_ELEMENTS - 1) / FL_TASK_ELEMENTS;
    return count < FL_WAVE ? count : FL_WAVE;
}

static fl_row_sums sum_parts_of_row(row_parts *parts) {
    fl_row_sums part[FL_WAVE], sums = {.maximum = -INFINITY};
    fl_sum total[FL_SUMMANDS] = {{0, 0}};
    for (parts->start = 0; parts->start < parts->call->columns; parts->start += FL_WAVE * FL_TASK_ELEMENTS) {
        ptrdiff_t const count = count_row_parts(parts);
        parts->sums = part;
        fl_parallel_for(count, parts->call->threads, sum_row_part, parts);
        for (ptrdiff_t i = 0; i < count; i++) {
            for (int k = 0; k < FL_SUMMANDS; k++)
                fl_add(&total[k], part[i].sum[k]);
            join_maximum(&sums, part[i].maximum, part[i].ties);
        }
    }
    for (int k = 0; k < FL_SUMMANDS; k++)
        sums.sum[k] = fl_value(total[k]);
    parts->sums = NULL;
    return sums;
}

static void sum_row(row_parts *parts, row_batch *rows, ptrdiff_t r) {
    fl_row_sums sums;
    if (parts->call->columns > FL_TASK_ELEMENTS)
        sums = sum_parts_of_row(parts);
    else
        sums = sum_columns(parts, 0, parts->call->columns);
    for (int k = 0; k < FL_SUMMANDS; k++)
        rows->sum[k][r] = sums.sum[k];
    rows->maximum[r] = sums.maximum;
    rows->ties[r] = sums.ties;
}

/* Lanes are rows. */
static void sum_block_rows(row_parts const *parts, real const *y_true, real const *y_pred, ptrdiff_t n,
                           row_batch *rows) {
    ptrdiff_t const columns = parts->call->columns;
    row_steps steps = {.y_true = y_true, .y_pred = y_pred, .whole = columns, .steps = columns};
    for (ptrdiff_t row = 0; row < n; row += FL_ROW_LANES) {
        int32_t place[FL_ROW_LANES];
        row_lanes lanes;
        for (ptrdiff_t j = 0; j < FL_ROW_LANES; j++)
            place[j] = (int32_t)((row + j < n ? row + j : n - 1) * columns);
        sum_steps(parts, &steps, place, &lanes);
        for (ptrdiff_t j = 0; j < FL_ROW_LANES; j++) {
            rows->sum[0][row + j] = lanes.sum[0][j];
            if (parts->loops->maximum) {
                rows->maximum[row + j] = lanes.maximum[j] + lanes.unordered[j];
                rows->ties[row + j] = lanes.ties[j];
            } else {
                rows->sum[1][row + j] = lanes.sum[1][j];
                rows->sum[2][row + j] = lanes.sum[2][j];
            }
        }
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

static row_scales scales_of(row_parts const *parts) {
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK];
    real most_true = 0, most_pred = 0;
    ptrdiff_t const columns = parts->call->columns;
    for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
        ptrdiff_t const n = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
        real const *const y_true = true_of_rows(parts, parts->base + column, n, true_scratch);
        real const *const y_pred =
            view_flat(parts->call, &parts->y_pred, parts->base + column, n, pred_scratch);
        for (ptrdiff_t i = 0; i < n; i++) {
            most_true = fl_max(most_true, fl_abs(y_true[i]));
            most_pred = fl_max(most_pred, fl_abs(y_pred[i]));
        }
    }
    return (row_scales){inverse_size((double)most_true), inverse_size((double)most_pred)};
}

static void put_row_part(void *argument, ptrdiff_t index) {
    row_parts const *const parts = argument;
    fl_call const *const call = parts->call;
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK], gradient_scratch[FL_BLOCK];
    ptrdiff_t const start = parts->start + index * FL_TASK_ELEMENTS, end = end_of_row_part(parts, start);
    for (ptrdiff_t column = start; column < end; column += FL_BLOCK) {
        ptrdiff_t const n = end - column < FL_BLOCK ? end - column : FL_BLOCK, place = parts->base + column;
        real *const gradient = target_flat(call, &parts->gradient, place, n, gradient_scratch);
        real const *const y_true = true_of_rows(parts, place, n, true_scratch);
        real const *const y_pred = view_flat(call, &parts->y_pred, place, n, pred_scratch);
        if (*parts->coefficients.scale == 0)
            memset(gradient, 0, (size_t)n * sizeof *gradient);
        else
            parts->loops->derivative(y_true, y_pred, n, call->parameters, &parts->coefficients, gradient);
        put_flat(call, &parts->gradient, place, n, gradient);
    }
}

static void put_row(row_parts *parts) {
    for (parts->start = 0; parts->start < parts->call->columns; parts->start += FL_WAVE * FL_TASK_ELEMENTS)
        fl_parallel_for(count_row_parts(parts), parts->call->threads, put_row_part, parts);
}

/* From one entry a row to one an element, by whole vectors: what is beyond a row the next one writes over. */
static void spread_doubles(double const *entry, ptrdiff_t rows, ptrdiff_t columns, double *field) {
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < columns; c += FL_ROW_LANES)
            for (int j = 0; j < FL_ROW_LANES; j++)
                field[r * columns + c + j] = entry[r];
}

static void run_row(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor, fl_sum *loss,
                    row_loops const *loops) {
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK], gradient_scratch[FL_BLOCK];
    double weight[FL_ROW_BATCH], row_loss[FL_ROW_BATCH], scale[FL_ROW_BATCH];
    double field[4][FL_BLOCK + FL_ROW_LANES];
    row_scales scales[FL_ROW_BATCH];
    row_batch of;
    ptrdiff_t const columns = call->columns;
    int const is_short = columns <= FL_SHORT_ROW;
    ptrdiff_t const together = sparse_batch(columns);
    fl_block const all = {first, last - first, 0, columns};
    row_parts parts = {.call = call,
                       .loops = loops,
                       .y_true = flatten(call, &call->y_true, all),
                       .y_pred = flatten(call, &call->y_pred, all),
                       .gradient = flatten(call, &call->gradient, all),
                       .scales = {1, 1}};
    for (ptrdiff_t row = first; row < last; row += together) {
        ptrdiff_t const rows = last - row < together ? last - row : together;
        ptrdiff_t const position = (row - first) * columns, n = rows * columns;
        real const *y_true = NULL, *y_pred = NULL;
        int rescaled = 0;
        row_weights(call, row, rows, weight);
        if (is_short) {
            y_true = true_of_rows(&parts, position, n, true_scratch);
            y_pred = view_flat(call, &parts.y_pred, position, n, pred_scratch);
            sum_block_rows(&parts, y_true, y_pred, rows, &of);
        }
        for (ptrdiff_t r = 0; r < rows && !is_short; r++) {
            parts.base = position + r * columns;
            sum_row(&parts, &of, r);
        }
        loops->rows(&of, 0, rows, call->parameters);
        for (ptrdiff_t r = 0; r < rows; r++) {
            scales[r] = (row_scales){1, 1};
            if (of.rescale[r] == 0 || weight[r] == 0)
                continue;
            rescaled = 1;
            parts.base = position + r * columns;
            parts.scales = scales[r] = scales_of(&parts);
            sum_row(&parts, &of, r);
            parts.scales = (row_scales){1, 1};
            loops->rows(&of, r, r + 1, call->parameters);
        }
        for (ptrdiff_t r = 0; r < rows; r++)
            row_loss[r] = weight[r] == 0 ? 0 : weight[r] * of.value[r];
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
        if (!call->gradient.data)
            continue;
        for (ptrdiff_t r = 0; r < rows; r++)
            scale[r] = weight[r] * factor * scales[r].y_pred;
        if (is_short && !rescaled) {
            real *const gradient = target_flat(call, &parts.gradient, position, n, gradient_scratch);
            spread_doubles(scale, rows, columns, field[0]);
            if (loops->maximum)
                spread_doubles(of.maximum, rows, columns, field[1]);
            spread_doubles(of.first, rows, columns, field[2]);
            spread_doubles(of.second, rows, columns, field[3]);
            parts.coefficients = (row_coefficients){field[0], field[1], field[2], field[3], {1, 1}, 1};
            loops->derivative(y_true, y_pred, n, call->parameters, &parts.coefficients, gradient);
            put_flat(call, &parts.gradient, position, n, gradient);
            continue;
        }
        for (ptrdiff_t r = 0; r < rows; r++) {
            parts.base = position + r * columns;
            parts.coefficients =
                (row_coefficients){&scale[r], &of.maximum[r], &of.first[r], &of.second[r], scales[r], 0};
            put_row(&parts);
        }
    }
}

#endif
