/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of the log-probability of an integer label, from logits: value and gradient.
 *
 * A row is reduced to the term of its label, t_y, and the sum O of the others, each exp(z) times a power of
 * two that the row's terms share. Every result is a sum, product or ratio of these, all positive:
 *   -log p_y = log1p(O/t_y),  p_j = t_j/(O + t_y),  1 - p_y = O/(O + t_y),
 * so a confident right prediction keeps all its digits, and no maximum has to be found first: scaling by a
 * power of two is exact, and any power will do that neither overflows nor loses a term that counts. A row is
 * read once. Rows that fit no window of exponents are taken relative to their maximum, with the rounding
 * error of the difference.
 */
#ifndef FL_SPARSE_SOFTMAX_H
#define FL_SPARSE_SOFTMAX_H

/* Whole groups: the terms are added to the lanes, and kept unless that is NULL; `top` is their largest logit.
 */
FL_INLINE void add_groups_as(real const *z, ptrdiff_t n, exp_window const *window, long_lanes *lanes,
                             real *top, real *kept, int const plain) {
    real most[FL_LANES];
    for (int j = 0; j < FL_LANES; j++)
        most[j] = top[j];
    for (ptrdiff_t start = 0, end; start < n; start = end) {
        double sum[FL_PAIRS] = {0};
        end = n - start < FL_RUN_TERMS * FL_LANES ? n : start + FL_RUN_TERMS * FL_LANES;
        for (ptrdiff_t group = start; group < end; group += FL_LANES) {
            real term[FL_LANES];
            prefetch_ahead(z + group, FL_LANES);
#pragma omp simd
            for (int j = 0; j < FL_LANES; j++) {
                term[j] = term_of(z[group + j], window, plain);
                most[j] = z[group + j] > most[j] ? z[group + j] : most[j];
                if (kept)
                    kept[group + j] = term[j];
            }
#pragma omp simd
            for (int j = 0; j < FL_PAIRS; j++)
                sum[j] += (double)(term[j] + term[j + FL_PAIRS]);
        }
        add_run(sum, FL_PAIRS, lanes);
    }
    for (int j = 0; j < FL_LANES; j++)
        top[j] = most[j];
}

static void add_groups(real const *z, ptrdiff_t n, exp_window const *window, long_lanes *lanes, real *top,
                       real *kept) {
    if (window->plain && kept)
        add_groups_as(z, n, window, lanes, top, kept, 1);
    else if (window->plain)
        add_groups_as(z, n, window, lanes, top, NULL, 1);
    else
        add_groups_as(z, n, window, lanes, top, kept, 0);
}

/* Groups with logits left out, whose terms are then 0: the label's, and the last one of a part. */
typedef struct {
    ptrdiff_t count, place[2], size[2]; /* size: the last one is not full */
    real z[2][FL_LANES];
} odd_groups;

static void put_aside(odd_groups *odd, real const *z, ptrdiff_t place, ptrdiff_t n, ptrdiff_t skip) {
    ptrdiff_t const k = odd->count++;
    odd->place[k] = place;
    odd->size[k] = n;
    for (ptrdiff_t i = 0; i < FL_LANES; i++)
        odd->z[k][i] = i < n && i != skip ? z[i] : -INFINITY;
}

static void add_odd_groups(odd_groups const *odd, exp_window const *window, long_lanes *lanes, real *top,
                           real *kept) {
    real term[2][FL_LANES];
    add_groups(odd->z[0], odd->count * FL_LANES, window, lanes, top, kept ? term[0] : NULL);
    for (ptrdiff_t k = 0; k < odd->count && kept; k++)
        memcpy(kept + odd->place[k], term[k], (size_t)odd->size[k] * sizeof *kept);
}

/* n logits from a place on, but for the one at skip, if that is one of them. */
static void add_terms(real const *z, ptrdiff_t place, ptrdiff_t n, ptrdiff_t skip, exp_window const *window,
                      long_lanes *lanes, real *top, real *kept, odd_groups *odd) {
    ptrdiff_t const whole = n - n % FL_LANES;
    ptrdiff_t const own = skip < 0 || skip >= whole ? whole : skip - skip % FL_LANES;
    ptrdiff_t const after = own + FL_LANES;
    add_groups(z, own, window, lanes, top, kept ? kept + place : NULL);
    if (own < whole) {
        put_aside(odd, z + own, place + own, FL_LANES, skip - own);
        add_groups(z + after, whole - after, window, lanes, top, kept ? kept + place + after : NULL);
    }
    if (whole < n)
        put_aside(odd, z + whole, place + whole, n - whole, skip - whole);
}

/* Rows of few classes share a block and its window, so that one vector loop runs over all of them. */
#define FL_FEW_CLASSES (FL_BLOCK / 4)
#define FL_BLOCK_ROWS 256

/* What rows are reduced to: t_y and O times the unit, and where they come from. */
typedef struct {
    double own[FL_BLOCK_ROWS], others[FL_BLOCK_ROWS];
    double base[FL_BLOCK_ROWS], unit[FL_BLOCK_ROWS];
    exp_window window[FL_BLOCK_ROWS]; /* of long rows */
} sparse_rows;

/* The rows of a task, and parts of one of them. */
typedef struct {
    fl_call const *call;
    flat_array logits, gradient;
    ptrdiff_t base, start; /* of the row; of the first part */
    ptrdiff_t label;
    exp_window window;
    double *sum;
    real *top;
    real *kept; /* the terms, for the gradient; NULL: to be taken again */
    real inverse, scale, own;
} sparse_parts;

static ptrdiff_t end_of_part(sparse_parts const *parts, ptrdiff_t start) {
    ptrdiff_t const end = start + FL_TASK_ELEMENTS;
    return end < parts->call->columns ? end : parts->call->columns;
}

static void sum_part(void *argument, ptrdiff_t index) {
    sparse_parts *const parts = argument;
    real scratch[FL_BLOCK], top[FL_LANES];
    double lane[FL_PAIRS];
    long_lanes lanes = {{0}, {0}};
    odd_groups odd;
    ptrdiff_t const start = parts->start + index * FL_TASK_ELEMENTS, end = end_of_part(parts, start);
    ptrdiff_t const step = parts->logits.is_direct ? FL_TASK_ELEMENTS : FL_BLOCK;
    odd.count = 0;
    for (int j = 0; j < FL_LANES; j++)
        top[j] = -INFINITY;
    for (ptrdiff_t column = start; column < end; column += step) {
        ptrdiff_t const n = end - column < step ? end - column : step;
        add_terms(view_flat(parts->call, &parts->logits, parts->base + column, n, scratch), column, n,
                  parts->label - column, &parts->window, &lanes, top, parts->kept, &odd);
    }
    add_odd_groups(&odd, &parts->window, &lanes, top, parts->kept);
    end_runs(&lanes, FL_PAIRS, lane);
    parts->sum[index] = sum_half_lanes(lane);
    parts->top[index] = block_maximum(top, FL_LANES);
}

/* Columns up to count parts from parts->start on. */
static ptrdiff_t count_parts(sparse_parts const *parts) {
    ptrdiff_t const left = parts->call->columns - parts->start;
    ptrdiff_t const count = (left + FL_TASK_ELEMENTS - 1) / FL_TASK_ELEMENTS;
    return count < FL_WAVE ? count : FL_WAVE;
}

/* The sum of the terms but that of the label; their largest logit. */
static double sum_parts(sparse_parts *parts, real *most) {
    double sum[FL_WAVE];
    real top[FL_WAVE];
    fl_sum others = {0, 0};
    parts->sum = sum;
    parts->top = top;
    *most = -INFINITY;
    for (parts->start = 0; parts->start < parts->call->columns; parts->start += FL_WAVE * FL_TASK_ELEMENTS) {
        ptrdiff_t const count = count_parts(parts);
        fl_parallel_for(count, parts->call->threads, sum_part, parts);
        for (ptrdiff_t i = 0; i < count; i++) {
            fl_add(&others, sum[i]);
            *most = top[i] > *most ? top[i] : *most;
        }
    }
    return fl_value(others);
}

static real row_maximum(sparse_parts const *parts) {
    real scratch[FL_BLOCK];
    real most = -INFINITY;
    ptrdiff_t const columns = parts->call->columns;
    for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
        ptrdiff_t const n = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
        real const part =
            block_maximum(view_flat(parts->call, &parts->logits, parts->base + column, n, scratch), n);
        most = part > most ? part : most;
    }
    return most;
}

static void sum_long_row(sparse_parts *parts, sparse_rows *sums, ptrdiff_t r) {
    real scratch[FL_BLOCK];
    ptrdiff_t const columns = parts->call->columns, few = columns < FL_LANES ? columns : FL_LANES;
    real const *const first = view_flat(parts->call, &parts->logits, parts->base, few, scratch);
    real const limit = block_maximum(first, few) + R(FL_WINDOW_ROOM);
    real const logit = *view_flat(parts->call, &parts->logits, parts->base + parts->label, 1, scratch);
    real top = -INFINITY;
    int const fits = fits_window(limit) && !(logit > limit);
    double others = 0;
    if (fits) {
        parts->window = window_below(limit);
        others = sum_parts(parts, &top);
    }
    if (!fits || top > limit) {
        parts->window = window_of(row_maximum(parts));
        others = sum_parts(parts, &top);
    }
    sums->window[r] = parts->window;
    sums->base[r] = parts->window.base;
    sums->unit[r] = parts->window.unit;
    sums->own[r] = (double)term_of(logit, &parts->window, parts->window.plain) * parts->window.unit;
    sums->others[r] = others * parts->window.unit;
}

FL_INLINE void scale_groups_as(real const *z, ptrdiff_t n, exp_window const *window, real inverse, real scale,
                               real *gradient, int const plain) {
    for (ptrdiff_t group = 0; group < n; group += FL_LANES)
#pragma omp simd
        for (ptrdiff_t i = group; i < group + FL_LANES; i++)
            gradient[i] = scale * (inverse * term_of(z[i], window, plain));
}

static void scale_groups(real const *z, ptrdiff_t n, exp_window const *window, real inverse, real scale,
                         real *gradient) {
    if (window->plain)
        scale_groups_as(z, n, window, inverse, scale, gradient, 1);
    else
        scale_groups_as(z, n, window, inverse, scale, gradient, 0);
}

static void scale_terms(real const *term, ptrdiff_t n, real inverse, real scale, real *gradient) {
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++)
        gradient[i] = scale * (inverse * term[i]);
}

static void scale_logits(sparse_parts const *parts, ptrdiff_t column, ptrdiff_t n, real *gradient) {
    real scratch[FL_BLOCK], group[FL_LANES];
    ptrdiff_t const whole = n - n % FL_LANES;
    real const *const z = view_flat(parts->call, &parts->logits, parts->base + column, n, scratch);
    scale_groups(z, whole, &parts->window, parts->inverse, parts->scale, gradient);
    if (whole == n)
        return;
    for (ptrdiff_t i = 0; i < FL_LANES; i++)
        group[i] = z[whole + i < n ? whole + i : n - 1];
    scale_groups(group, FL_LANES, &parts->window, parts->inverse, parts->scale, group);
    memcpy(gradient + whole, group, (size_t)(n - whole) * sizeof *group);
}

static void put_part(void *argument, ptrdiff_t index) {
    sparse_parts const *const parts = argument;
    real gradient_scratch[FL_BLOCK];
    ptrdiff_t const start = parts->start + index * FL_TASK_ELEMENTS, end = end_of_part(parts, start);
    for (ptrdiff_t column = start; column < end; column += FL_BLOCK) {
        ptrdiff_t const n = end - column < FL_BLOCK ? end - column : FL_BLOCK;
        ptrdiff_t const place = parts->base + column, label = parts->label - column;
        real *const gradient = target_flat(parts->call, &parts->gradient, place, n, gradient_scratch);
        if (parts->kept)
            scale_terms(parts->kept + column, n, parts->inverse, parts->scale, gradient);
        else
            scale_logits(parts, column, n, gradient);
        if (label >= 0 && label < n)
            gradient[label] = parts->own;
        put_flat(parts->call, &parts->gradient, place, n, gradient);
    }
}

static void put_long_row(sparse_parts *parts) {
    for (parts->start = 0; parts->start < parts->call->columns; parts->start += FL_WAVE * FL_TASK_ELEMENTS)
        fl_parallel_for(count_parts(parts), parts->call->threads, put_part, parts);
}

/* A row of a block, relative to its own maximum. */
static void sum_row_at_maximum(real const *z, ptrdiff_t columns, int64_t label, real *term, sparse_rows *sums,
                               ptrdiff_t r) {
    exp_window const window = window_of(block_maximum(z, columns));
    for (ptrdiff_t c = 0; c < columns; c++)
        term[c] = term_of(z[c], &window, window.plain);
    sums->base[r] = window.base;
    sums->unit[r] = window.unit;
    sums->own[r] = (double)term[label] * window.unit;
    term[label] = 0;
    sum_terms(term, 1, columns, window.unit, 0, &sums->others[r]);
}

/* The terms of a block of rows, but 0 for the labels. The label of a row that does not count is negative. */
static void sum_short_rows(real const *z, ptrdiff_t rows, ptrdiff_t columns, int64_t const *label, real *term,
                           sparse_rows *sums) {
    ptrdiff_t const n = rows * columns;
    real const limit = block_maximum(z, n);
    int const fits = fits_window(limit);
    exp_window const window = window_below(fits ? limit : R(0));
    int64_t small = !fits;
    block_terms(z, n, &window, term);
    for (ptrdiff_t r = 0; r < rows; r++) {
        sums->base[r] = window.base;
        sums->unit[r] = window.unit;
    }
    for (ptrdiff_t r = 0; r < rows; r++) {
        real *const own = term + r * columns + label[r];
        if (label[r] < 0) {
            sums->own[r] = 1;
            continue;
        }
        sums->own[r] = (double)*own * FL_EXP_UNIT;
        *own = 0;
    }
    sum_terms(term, rows, columns, FL_EXP_UNIT, 0, sums->others);
#pragma omp simd reduction(| : small)
    for (ptrdiff_t r = 0; r < rows; r++)
        small |= sums->own[r] + sums->others[r] < FL_OWN_LEAST;
    for (ptrdiff_t r = 0; r < rows && small; r++)
        if (label[r] >= 0 && (!fits || sums->own[r] + sums->others[r] < FL_OWN_LEAST))
            sum_row_at_maximum(z + r * columns, columns, label[r], term + r * columns, sums, r);
}

#define FL_SPREAD 16

/* From one entry a row to one an element, by whole vectors: what is beyond a row the next one writes over. */
static void spread_rows(real const *entry, ptrdiff_t rows, ptrdiff_t columns, real *field) {
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t c = 0; c < columns; c += FL_SPREAD)
            for (int j = 0; j < FL_SPREAD; j++)
                field[r * columns + c + j] = entry[r];
}

/* The gradients of a block of rows from their terms. */
static void scale_short_rows(real const *term, ptrdiff_t rows, ptrdiff_t columns, real const *row_inverse,
                             real const *row_scale, real *gradient) {
    real inverse[FL_BLOCK + FL_SPREAD], scale[FL_BLOCK + FL_SPREAD];
    spread_rows(row_inverse, rows, columns, inverse);
    spread_rows(row_scale, rows, columns, scale);
#pragma omp simd
    for (ptrdiff_t i = 0; i < rows * columns; i++)
        gradient[i] = FL_HIDDEN(scale[i], inverse[i] * term[i]);
}

/* Rows that are worked on together: a multiple of what vectors hold, if there are so many. */
static ptrdiff_t whole_vectors(ptrdiff_t rows) {
    return rows < 2 * FL_SPREAD ? rows : rows - rows % FL_SPREAD;
}

static ptrdiff_t sparse_batch(ptrdiff_t columns) {
    ptrdiff_t const rows = columns <= FL_FEW_CLASSES ? FL_BLOCK / (columns ? columns : 1)
                                                     : FL_BATCH_BYTES / (columns * (ptrdiff_t)sizeof(real));
    ptrdiff_t const whole = whole_vectors(rows);
    return whole < 1 ? 1 : whole < FL_BLOCK_ROWS ? whole : FL_BLOCK_ROWS;
}

/* Log-probabilities of labels whose terms are too small for the ratio: there the others' sum is that of all.
 */
static __attribute__((noinline)) void find_far_labels(sparse_parts const *parts, ptrdiff_t position,
                                                      ptrdiff_t rows, int64_t const *label,
                                                      sparse_rows const *sums, real *log_probability) {
    real scratch[FL_BLOCK];
    for (ptrdiff_t r = 0; r < rows; r++) {
        if (label[r] < 0 || !(sums->own[r] < FL_OWN_LEAST))
            continue;
        ptrdiff_t const place = position + r * parts->call->columns + label[r];
        double const logit = (double)*view_flat(parts->call, &parts->logits, place, 1, scratch);
        log_probability[r] = (real) - ((sums->base[r] - logit) + fl_log_f64(sums->own[r] + sums->others[r]));
    }
}

static void put_hidden_row(sparse_parts const *parts) {
    real scratch[FL_BLOCK];
    ptrdiff_t const columns = parts->call->columns;
    for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
        ptrdiff_t const n = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
        real *const gradient = target_flat(parts->call, &parts->gradient, parts->base + column, n, scratch);
        memset(gradient, 0, (size_t)n * sizeof *gradient);
        put_flat(parts->call, &parts->gradient, parts->base + column, n, gradient);
    }
}

static void run_sparse_softmax(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,
                               fl_sum *loss, sparse_loops const *loops) {
    real scratch[FL_BLOCK], gradient_scratch[FL_BLOCK], term[FL_BLOCK], parameter[FL_MAX_PARAMETERS];
    real log_probability[FL_BLOCK_ROWS], value[FL_BLOCK_ROWS], slope[FL_BLOCK_ROWS], curvature[FL_BLOCK_ROWS];
    real inverse[FL_BLOCK_ROWS], scale[FL_BLOCK_ROWS], own[FL_BLOCK_ROWS];
    double weight[FL_BLOCK_ROWS], row_loss[FL_BLOCK_ROWS];
    int64_t label[FL_BLOCK_ROWS];
    sparse_rows sums;
    ptrdiff_t const columns = call->columns, step = sparse_batch(columns);
    int const is_short = columns <= FL_FEW_CLASSES;
    fl_block const all = {first, last - first, 0, columns};
    sparse_parts parts = {.call = call,
                          .logits = flatten(call, &call->y_pred, all),
                          .gradient = flatten(call, &call->gradient, all)};
    if (call->hessian.data) {
        /* A class that is sure without being the label needs 1 - p_j too. */
        fl_call labelled = *call;
        labelled.labels = 1;
        labelled.label_scale = 1;
        labelled.label_shift = 0;
        run_dense(&labelled, first, last, factor, loss, loops->dense);
        return;
    }
    real_parameters(call, 0, parameter);
    int const keeps = call->gradient.data && !is_short;
    real *const kept = keeps ? memory_for_terms(call, last - first < step ? last - first : step) : NULL;
    for (ptrdiff_t row = first; row < last; row += step) {
        ptrdiff_t const rows = last - row < step ? last - row : step;
        ptrdiff_t const position = (row - first) * columns;
        row_class_weights(call, row, rows, label, weight);
        for (ptrdiff_t r = 0; r < rows; r++)
            label[r] = weight[r] == 0 ? -1 : label[r];
        if (is_short)
            sum_short_rows(view_flat(call, &parts.logits, position, rows * columns, scratch), rows, columns,
                           label, term, &sums);
        for (ptrdiff_t r = 0; r < rows && !is_short; r++) {
            parts.base = position + r * columns;
            parts.label = label[r];
            parts.kept = kept ? kept + r * columns : NULL;
            sums.own[r] = sums.others[r] = 1;
            if (label[r] >= 0)
                sum_long_row(&parts, &sums, r);
        }
        int64_t far = 0;
#pragma omp simd reduction(| : far)
        for (ptrdiff_t r = 0; r < rows; r++) {
            far |= sums.own[r] < FL_OWN_LEAST;
            log_probability[r] = -fl_log1p((real)(sums.others[r] / sums.own[r]));
        }
        if (far)
            find_far_labels(&parts, position, rows, label, &sums, log_probability);
        loops->terms(log_probability, sums.own, sums.others, rows, parameter, value, slope, curvature);
        for (ptrdiff_t r = 0; r < rows; r++)
            row_loss[r] = weight[r] == 0 ? 0 : weight[r] * (double)value[r];
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
        if (!call->gradient.data)
            continue;
#pragma omp simd
        for (ptrdiff_t r = 0; r < rows; r++) {
            double const reciprocal = 1 / (sums.own[r] + sums.others[r]);
            double const scaled = weight[r] * factor * (double)slope[r];
            inverse[r] = (real)(reciprocal * sums.unit[r]);
            scale[r] = weight[r] == 0 ? R(0) : (real)-scaled;
            own[r] = (real)(scaled * (sums.others[r] * reciprocal));
        }
        if (is_short) {
            real *const gradient =
                target_flat(call, &parts.gradient, position, rows * columns, gradient_scratch);
            scale_short_rows(term, rows, columns, inverse, scale, gradient);
            for (ptrdiff_t r = 0; r < rows; r++)
                if (label[r] >= 0)
                    gradient[r * columns + label[r]] = own[r];
            put_flat(call, &parts.gradient, position, rows * columns, gradient);
            continue;
        }
        for (ptrdiff_t r = 0; r < rows; r++) {
            parts.base = position + r * columns;
            parts.label = label[r];
            parts.kept = kept ? kept + r * columns : NULL;
            parts.window = sums.window[r];
            parts.inverse = inverse[r];
            parts.scale = scale[r];
            parts.own = own[r];
            if (label[r] >= 0)
                put_long_row(&parts);
            else
                put_hidden_row(&parts);
        }
    }
    free(kept);
}

#endif
