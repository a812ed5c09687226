/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of each element by itself. The rows of a task are one sequence of elements, whatever their columns;
 * element i of it is added to lane i % FL_LANES, so that neither the vector width, nor where a block starts,
 * nor the number of threads changes a bit of the sum. Floats that are added in double have digits to spare;
 * doubles are summed in blocks counted from the start of the task, with rounding errors kept between them.
 */
#ifndef FL_POINTWISE_H
#define FL_POINTWISE_H

/* What an element function of a pointwise loss returns. */
typedef struct {
    real value, gradient, hessian;
} fl_element;

/* n is a multiple of FL_LANES. The values are written, and added to the lanes. */
typedef void pointwise_loop(real const *y_true, real const *y_pred, real const *class_weight, ptrdiff_t n,
                            real const *parameter, real const *scale, double *lane, real *value,
                            real *gradient, real *hessian);

typedef struct {
    pointwise_loop *value, *value_gradient, *gradient_hessian;
    int divide;   /* by the number of columns */
    int weighted; /* the element takes the weight of its column */
} pointwise_loops;

/* A scale of 0 hides a NaN. Outputs may be y_pred itself: each element is read before it is written. */
#define FL_HIDDEN(scale, x) ((scale) == R(0) ? R(0) : (x) * (scale))
#define FL_SCALED(x) FL_HIDDEN(scale[i], x)

/* How an element is called. */
#define FL_PLAIN(element) element(y_true[i], y_pred[i], p)
#define FL_WEIGHTED(element) element(y_true[i], y_pred[i], class_weight[i], p)
#define FL_POWER(element) element(y_true[i], y_pred[i], 0, p)
#define FL_SQUARE(element) element(y_true[i], y_pred[i], 1, p)

#define FL_PARAMETERS(parameter) {parameter[0], parameter[1], parameter[2], parameter[3]}

/* Elements whose values are formed before they are summed: a sum that follows each vector would wait in the
 * processor's queues for the end of a long chain, and keep the next elements out. */
#define FL_RUN (4 * FL_LANES)

#define FL_POINTWISE_RUNS(element, CALLED, STORE, ADD, width)                                                \
    for (; run + width <= n; run += width) {                                                                 \
        _Pragma("omp simd") for (ptrdiff_t i = run; i < run + width; i++) {                                  \
            fl_element const t = CALLED(element);                                                            \
            STORE                                                                                            \
        }                                                                                                    \
        for (ptrdiff_t group = run; group < run + width; group += FL_LANES)                                  \
            for (int j = 0; j < FL_LANES; j++)                                                               \
                ADD                                                                                          \
    }

/* Runs of fixed length leave no scalar remainder, and the lanes stay in registers. */
#define FL_POINTWISE_LOOP(name, element, CALLED, STORE, ADD, longest)                                        \
    static void name(real const *y_true, real const *y_pred, real const *class_weight, ptrdiff_t n,          \
                     real const *parameter, real const *scale, double *lane, real *value, real *gradient,    \
                     real *hessian) {                                                                        \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        double sum[FL_LANES];                                                                                \
        ptrdiff_t run = 0;                                                                                   \
        (void)class_weight, (void)scale, (void)value, (void)gradient, (void)hessian;                         \
        for (int j = 0; j < FL_LANES; j++)                                                                   \
            sum[j] = lane[j];                                                                                \
        FL_POINTWISE_RUNS(element, CALLED, STORE, ADD, longest)                                              \
        FL_POINTWISE_RUNS(element, CALLED, STORE, ADD, FL_LANES)                                             \
        for (int j = 0; j < FL_LANES; j++)                                                                   \
            lane[j] = sum[j];                                                                                \
    }

#define FL_SUMS_BLOCKS (FL_REAL_BITS == 64)
#if FL_REAL_BITS == 64
#define FL_ADD_VALUE ;
#else
#define FL_ADD_VALUE sum[j] += (double)value[group + j];
#endif
#define FL_POINTWISE_LOOPS(name, element, CALLED)                                                            \
    FL_POINTWISE_LOOP(name##_value, element, CALLED, value[i] = t.value;, FL_ADD_VALUE, FL_RUN)              \
    FL_POINTWISE_LOOP(name##_value_gradient, element, CALLED, value[i] = t.value;                            \
                      gradient[i] = FL_SCALED(t.gradient);, FL_ADD_VALUE, FL_RUN)                            \
    FL_POINTWISE_LOOP(name##_gradient_hessian, element, CALLED, gradient[i] = FL_SCALED(t.gradient);         \
                      hessian[i] = FL_SCALED(t.hessian);, ;, FL_LANES)

/* A group of n < FL_LANES elements, with the last one repeated. Scratch holds whole groups, arrays of the
 * user's do not. */
static void partial_group(pointwise_loop *loop, real const *y_true, real const *y_pred,
                          real const *class_weight, ptrdiff_t n, real const *parameter, real const *scale,
                          double *lane, real *value, real *gradient, real *hessian) {
    real full_true[FL_LANES], full_pred[FL_LANES], full_gradient[FL_LANES], full_hessian[FL_LANES];
    double unused[FL_LANES] = {0};
    real const last_true = y_true[n - 1], last_pred = y_pred[n - 1];
#pragma omp simd
    for (ptrdiff_t i = 0; i < FL_LANES; i++) {
        full_true[i] = i < n ? y_true[i] : last_true;
        full_pred[i] = i < n ? y_pred[i] : last_pred;
    }
    loop(full_true, full_pred, class_weight, FL_LANES, parameter, scale, unused, value, full_gradient,
         full_hessian);
#pragma omp simd
    for (ptrdiff_t i = 0; i < FL_LANES; i++)
        lane[i] += i < n ? (double)value[i] : 0;
#pragma omp simd
    for (ptrdiff_t i = 0; i < FL_LANES; i++) {
        if (gradient && i < n)
            gradient[i] = full_gradient[i];
        if (hessian && i < n)
            hessian[i] = full_hessian[i];
    }
}

/* The rows of a task. */
typedef struct {
    fl_call const *call;
    pointwise_loops const *loops;
    double factor;
    ptrdiff_t first; /* its first row */
    flat_array y_true, y_pred, gradient, hessian;
} pointwise_rows;

#define FL_WEIGHTS 8

/* The weights of n elements from a position on, and zeros up to a whole group. They are written by whole
 * vectors: what is beyond a row the next one writes over. */
static void element_weights(pointwise_rows const *rows, ptrdiff_t position, ptrdiff_t n, double *weight) {
    double row_weight[FL_BLOCK];
    ptrdiff_t const columns = rows->call->columns, row = position / columns;
    row_weights(rows->call, rows->first + row, (position + n - 1) / columns - row + 1,
                columns == 1 ? weight : row_weight);
    for (ptrdiff_t i = 0, r = 0; i < n && columns > 1; i = ++r * columns - position % columns) {
        ptrdiff_t const left = columns < n - i ? columns : n - i;
        double const w = row_weight[r];
        double *const to = weight + i;
        /* Few columns take no loop. */
        for (int j = 0; j < FL_WEIGHTS; j++)
            to[j] = w;
        for (ptrdiff_t k = FL_WEIGHTS; k < left; k += FL_WEIGHTS)
            for (int j = 0; j < FL_WEIGHTS; j++)
                to[k + j] = w;
    }
    for (int j = 0; j < FL_LANES; j++)
        weight[n + j] = 0;
}

static void add_weighted(double *lane, real const *value, double const *weight, ptrdiff_t n) {
    double sum[FL_LANES];
    for (int j = 0; j < FL_LANES; j++)
        sum[j] = lane[j];
    for (ptrdiff_t group = 0; group < n; group += FL_LANES) {
        double term[FL_LANES];
        for (int j = 0; j < FL_LANES; j++)
            term[j] = (double)value[group + j];
        for (int j = 0; j < FL_LANES; j++)
            sum[j] += weight[group + j] == 0 ? 0 : weight[group + j] * term[j];
    }
    for (int j = 0; j < FL_LANES; j++)
        lane[j] = sum[j];
}

/* The values of a task that are not summed yet lie before the middle, and the next ones begin there, so that
 * the loops write whole cache lines wherever their blocks start. */
typedef struct {
    real values[2 * FL_BLOCK + FL_LANES];
    double weights[2 * FL_BLOCK + FL_LANES];
    ptrdiff_t held;
    long_lanes lanes;
} open_block;

/* Sums whole blocks, and at the end of the task the rest, n values having come. */
static void sum_blocks(open_block *block, ptrdiff_t n, int weighted, int is_last) {
    real *const value = block->values + FL_BLOCK;
    double *const weight = block->weights + FL_BLOCK;
    ptrdiff_t start = -block->held;
    for (ptrdiff_t left; (left = n - start) >= FL_BLOCK || (is_last && left);) {
        double term[FL_BLOCK], lane[FL_LANES];
        ptrdiff_t const count = left < FL_BLOCK ? left : FL_BLOCK;
#pragma omp simd
        for (ptrdiff_t i = 0; i < (weighted ? count : 0); i++)
            term[i] = weight[start + i] == 0 ? 0 : weight[start + i] * (double)value[start + i];
        if (weighted)
            sum_doubles_lanes(term, count, lane);
        else
            sum_block_lanes(value + start, count, lane);
        add_run(lane, FL_LANES, &block->lanes);
        start += count;
    }
    block->held = n - start;
    if (block->held) {
        memmove(value - block->held, value + start, (size_t)block->held * sizeof *value);
        if (weighted)
            memmove(weight - block->held, weight + start, (size_t)block->held * sizeof *weight);
    }
}

/* Rows of few columns are summed by vectors that run across them. */
#define FL_SUMMED_ACROSS 24

/* The losses of rows that end in n elements from a position on; `open` is the sum of one that does not. */
static void put_row_losses(pointwise_rows const *rows, ptrdiff_t position, ptrdiff_t n, real const *value,
                           double const *weight, double divisor, fl_sum *open) {
    double row_loss[FL_BLOCK];
    ptrdiff_t const columns = rows->call->columns, count = columns > FL_BLOCK ? 1 : n / columns;
    if (1 < columns && columns <= FL_SUMMED_ACROSS)
        sum_across(value, n, columns, row_loss);
    else
        for (ptrdiff_t r = 0; r < count && columns <= FL_BLOCK; r++)
            row_loss[r] = columns == 1 ? (double)value[r] : sum_block(value + r * columns, columns);
    if (columns > FL_BLOCK) {
        fl_add(open, sum_block(value, n));
        if ((position + n) % columns)
            return;
        row_loss[0] = fl_value(*open);
        *open = (fl_sum){0, 0};
    }
    for (ptrdiff_t r = 0; r < count; r++)
        row_loss[r] = weight[r * columns] == 0 ? 0 : weight[r * columns] * (row_loss[r] / divisor);
    put_losses(rows->call, rows->first + position / columns, count, row_loss);
}

/* Elements of a block in which rows start afresh, so that the loss of a row does not depend on where it lies.
 */
static ptrdiff_t of_whole_rows(ptrdiff_t columns, ptrdiff_t position) {
    ptrdiff_t const left = columns - position % columns;
    return columns > FL_BLOCK ? (left < FL_BLOCK ? left : FL_BLOCK) : FL_BLOCK - FL_BLOCK % columns;
}

/* Elements start .. end-1; returns the weighted sum of their values. */
static double run_elements(pointwise_rows const *rows, ptrdiff_t start, ptrdiff_t end, int want_rows) {
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK], gradient_scratch[FL_BLOCK],
        hessian_scratch[FL_BLOCK];
    real scale[FL_BLOCK], class_weights[FL_BLOCK], parameter[FL_MAX_PARAMETERS];
    double lane[FL_LANES] = {0}, unused[FL_LANES];
    open_block unsummed;
    real *const value = unsummed.values + FL_BLOCK;
    double *const weight = unsummed.weights + FL_BLOCK;
    fl_call const *const call = rows->call;
    pointwise_loops const *const loops = rows->loops;
    ptrdiff_t const columns = call->columns;
    int const weighted = !is_unweighted(call), long_rows = columns > FL_BLOCK / 2;
    /* Blocks of single rows take one weight, and can be used where they are. */
    int const single = long_rows && (weighted || !(rows->y_true.start && rows->y_pred.start));
    int const by_rows = want_rows || single, each = weighted && !single;
    int const want_gradient = call->gradient.data != NULL, want_hessian = call->hessian.data != NULL;
    pointwise_loop *const loop = want_hessian    ? loops->gradient_hessian
                                 : want_gradient ? loops->value_gradient
                                                 : loops->value;
    ptrdiff_t const most = end - start < FL_BLOCK ? end - start : FL_BLOCK;
    fl_sum open = {0, 0}, sum = {0, 0};
    ptrdiff_t turned = 0;
    unsummed.held = 0;
    memset(&unsummed.lanes, 0, FL_SUMS_BLOCKS ? sizeof unsummed.lanes : 0);
    real_parameters(call, 0, parameter);
    for (ptrdiff_t i = 0; i < most && want_gradient; i++)
        scale[i] = (real)rows->factor;
    for (ptrdiff_t i = 0; i < most && want_rows; i++)
        weight[i] = 1;
    /* One block is not worth two. */
    ptrdiff_t const head =
        by_rows || most < FL_BLOCK ? 0 : head_of(call, &rows->gradient, &rows->y_pred, start);
    for (ptrdiff_t position = start, n; position < end; position += n) {
        n = by_rows ? of_whole_rows(columns, position) : position == start && head ? head : FL_BLOCK;
        n = end - position < n ? end - position : n;
        ptrdiff_t const whole = n - n % FL_LANES, rest = n - whole;
        real const *const y_true = flat_labels(call, &rows->y_true, position, n, true_scratch);
        real const *const y_pred = view_flat(call, &rows->y_pred, position, n, pred_scratch);
        real *const gradient = target_flat(call, &rows->gradient, position, n, gradient_scratch);
        real *const hessian = target_flat(call, &rows->hessian, position, n, hessian_scratch);
        note_bounds(call, y_pred, n, call->pred_bounds);
        for (ptrdiff_t i = 0; i < n && loops->weighted; i++)
            class_weights[i] = (real)class_weight(call, (position + i) % columns);
        if (weighted)
            element_weights(rows, position, single && !want_gradient ? 1 : n, weight);
        for (ptrdiff_t i = 0; i < n && want_gradient && weighted; i++)
            scale[i] = (real)(weight[i] * rows->factor);
        /* Lane j is now that of element position + j. */
        turn(lane, (position - start - turned) % FL_LANES);
        turned = position - start;
        double *const sums = each ? unused : lane;
        loop(y_true, y_pred, class_weights, whole, parameter, scale, sums, value, gradient, hessian);
        if (rest)
            partial_group(loop, y_true + whole, y_pred + whole, class_weights + whole, rest, parameter,
                          scale + whole, sums, value + whole, want_gradient ? gradient + whole : NULL,
                          want_hessian ? hessian + whole : NULL);
        put_flat(call, &rows->gradient, position, n, gradient);
        put_flat(call, &rows->hessian, position, n, hessian);
        if (want_hessian)
            continue;
        if (each && !FL_SUMS_BLOCKS)
            add_weighted(lane, value, weight, n);
        if (weighted && single) {
            double const part = FL_SUMS_BLOCKS ? sum_block(value, n) : sum_lanes(lane);
            fl_add(&sum, weight[0] == 0 ? 0 : weight[0] * part);
            memset(lane, 0, sizeof lane);
        }
        if (want_rows)
            put_row_losses(rows, position, n, value, weight, loops->divide ? (double)columns : 1, &open);
        if (FL_SUMS_BLOCKS && !(weighted && single))
            sum_blocks(&unsummed, n, each, position + n == end);
    }
    if (FL_SUMS_BLOCKS)
        end_runs(&unsummed.lanes, FL_LANES, lane);
    else
        turn(lane, FL_LANES - turned % FL_LANES);
    fl_add(&sum, sum_lanes(lane));
    return fl_value(sum);
}

/* Parts of a long row. */
typedef struct {
    pointwise_rows const *rows;
    ptrdiff_t start;
    double sum[FL_WAVE];
} pointwise_wave;

static void run_part(void *argument, ptrdiff_t index) {
    pointwise_wave *const wave = argument;
    ptrdiff_t const columns = wave->rows->call->columns, start = wave->start + index * FL_TASK_ELEMENTS;
    ptrdiff_t const left = columns - start;
    wave->sum[index] =
        run_elements(wave->rows, start, start + (left < FL_TASK_ELEMENTS ? left : FL_TASK_ELEMENTS), 0);
}

/* A row of several tasks. */
static double run_long_row(pointwise_rows const *rows) {
    fl_call const *const call = rows->call;
    fl_sum total = {0, 0};
    pointwise_wave wave = {.rows = rows};
    for (; wave.start < call->columns; wave.start += FL_WAVE * FL_TASK_ELEMENTS) {
        ptrdiff_t const left = (call->columns - wave.start + FL_TASK_ELEMENTS - 1) / FL_TASK_ELEMENTS;
        ptrdiff_t const parts = left < FL_WAVE ? left : FL_WAVE;
        fl_parallel_for(parts, call->threads, run_part, &wave);
        for (ptrdiff_t i = 0; i < parts; i++)
            fl_add(&total, wave.sum[i]);
    }
    return fl_value(total);
}

static void run_pointwise(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor, fl_sum *loss,
                          pointwise_loops const *loops) {
    ptrdiff_t const columns = call->columns, rows = last - first;
    double const divisor = loops->divide && columns ? (double)columns : 1;
    fl_block const block = {first, rows, 0, columns};
    int const is_long = columns > FL_TASK_ELEMENTS, want_losses = call->losses.data && !call->hessian.data;
    pointwise_rows const task = {call,
                                 loops,
                                 factor,
                                 first,
                                 flatten(call, &call->y_true, block),
                                 flatten(call, &call->y_pred, block),
                                 flatten(call, &call->gradient, block),
                                 flatten(call, &call->hessian, block)};
    double const sum =
        is_long ? run_long_row(&task) : run_elements(&task, 0, rows * columns, want_losses && columns);
    double const value = sum / divisor;
    if (call->hessian.data)
        return;
    fl_add(loss, value);
    if (want_losses && is_long)
        put_losses(call, first, 1, &value);
    for (ptrdiff_t row = first; row < last && want_losses && columns == 0; row++)
        put_losses(call, row, 1, &value);
}

#endif
