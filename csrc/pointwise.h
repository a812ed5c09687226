/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of each element by itself. The rows of a task are one sequence of elements, whatever their columns;
 * element i of it is added to lane i % FL_LANES, so that neither the vector width, nor where a block starts,
 * nor the number of threads changes a bit of the sum.
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

/* Groups of fixed length leave no scalar remainder, and the lanes stay in registers. */
#define FL_POINTWISE_LOOP(name, element, CALLED, STORE, ADD)                                                 \
    static void name(real const *y_true, real const *y_pred, real const *class_weight, ptrdiff_t n,          \
                     real const *parameter, real const *scale, double *lane, real *value, real *gradient,    \
                     real *hessian) {                                                                        \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        double sum[FL_LANES];                                                                                \
        (void)class_weight, (void)scale, (void)value, (void)gradient, (void)hessian;                         \
        for (int j = 0; j < FL_LANES; j++)                                                                   \
            sum[j] = lane[j];                                                                                \
        for (ptrdiff_t group = 0; group < n; group += FL_LANES) {                                            \
            _Pragma("omp simd") for (ptrdiff_t i = group; i < group + FL_LANES; i++) {                       \
                fl_element const t = CALLED(element);                                                        \
                STORE                                                                                        \
            }                                                                                                \
            for (int j = 0; j < FL_LANES; j++)                                                               \
                ADD                                                                                          \
        }                                                                                                    \
        for (int j = 0; j < FL_LANES; j++)                                                                   \
            lane[j] = sum[j];                                                                                \
    }

#define FL_ADD_VALUE sum[j] += (double)value[group + j];
#define FL_POINTWISE_LOOPS(name, element, CALLED)                                                            \
    FL_POINTWISE_LOOP(name##_value, element, CALLED, value[i] = t.value;, FL_ADD_VALUE)                      \
    FL_POINTWISE_LOOP(name##_value_gradient, element, CALLED, value[i] = t.value;                            \
                      gradient[i] = FL_SCALED(t.gradient);, FL_ADD_VALUE)                                    \
    FL_POINTWISE_LOOP(name##_gradient_hessian, element, CALLED, gradient[i] = FL_SCALED(t.gradient);         \
                      hessian[i] = FL_SCALED(t.hessian);, ;)

/* A group that is not full, with its last element repeated. */
static void partial_group(pointwise_loop *loop, real const *y_true, real const *y_pred,
                          real const *class_weight, ptrdiff_t n, real const *parameter, real const *scale,
                          real *value, real *gradient, real *hessian) {
    real full[4][FL_LANES], out[3][FL_LANES];
    double unused[FL_LANES] = {0};
    real const *const from[4] = {y_true, y_pred, class_weight, scale};
    real *const to[3] = {value, gradient, hessian};
    for (int k = 0; k < 4; k++)
        for (ptrdiff_t i = 0; i < FL_LANES && from[k]; i++)
            full[k][i] = from[k][i < n ? i : n - 1];
    loop(full[0], full[1], from[2] ? full[2] : NULL, FL_LANES, parameter, from[3] ? full[3] : NULL, unused,
         out[0], out[1], out[2]);
    for (int k = 0; k < 3; k++)
        for (ptrdiff_t i = 0; i < n && to[k]; i++)
            to[k][i] = out[k][i];
}

/* The rows of a task. */
typedef struct {
    fl_call const *call;
    pointwise_loops const *loops;
    double factor;
    ptrdiff_t first; /* its first row */
    flat_array y_true, y_pred, gradient, hessian;
} pointwise_rows;

/* The weights of n elements from a position on. */
static void element_weights(pointwise_rows const *rows, ptrdiff_t position, ptrdiff_t n, double *weight) {
    double row_weight[FL_BLOCK];
    ptrdiff_t const columns = rows->call->columns, row = position / columns;
    if (columns == 1) {
        row_weights(rows->call, rows->first + row, n, weight);
        return;
    }
    row_weights(rows->call, rows->first + row, (position + n - 1) / columns - row + 1, row_weight);
    for (ptrdiff_t i = 0, r = 0, end = columns - position % columns; i < n; r++, end += columns)
        for (; i < n && i < end; i++)
            weight[i] = row_weight[r];
}

static void add_weighted(double *lane, real const *value, double const *weight, ptrdiff_t n) {
    for (ptrdiff_t group = 0; group < n; group += FL_LANES) {
        ptrdiff_t const left = n - group, width = left < FL_LANES ? left : FL_LANES;
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            lane[j] += weight[group + j] == 0 ? 0 : weight[group + j] * (double)value[group + j];
    }
}

/* The losses of rows that end in n elements from a position on; `open` is the sum of one that does not. */
static void put_row_losses(pointwise_rows const *rows, ptrdiff_t position, ptrdiff_t n, real const *value,
                           double const *weight, double divisor, fl_sum *open) {
    double row_loss[FL_BLOCK];
    ptrdiff_t const columns = rows->call->columns;
    ptrdiff_t done = 0;
    for (ptrdiff_t i = 0; i < n;) {
        ptrdiff_t const left = columns - (position + i) % columns, width = left < n - i ? left : n - i;
        fl_add(open, sum_block(value + i, width));
        if (width == left) {
            row_loss[done++] = weight[i] == 0 ? 0 : weight[i] * (fl_value(*open) / divisor);
            *open = (fl_sum){0, 0};
        }
        i += width;
    }
    put_losses(rows->call, rows->first + position / columns, done, row_loss);
}

/* Elements of a block in which rows start afresh, so that the loss of a row does not depend on where it lies.
 */
static ptrdiff_t of_whole_rows(ptrdiff_t columns, ptrdiff_t position) {
    ptrdiff_t const left = columns - position % columns;
    return columns > FL_BLOCK ? (left < FL_BLOCK ? left : FL_BLOCK) : FL_BLOCK - FL_BLOCK % columns;
}

/* Whether blocks are better of single rows, which can be used where they are. */
static int lies_in_rows(pointwise_rows const *rows) {
    return rows->call->columns > FL_BLOCK / 2 && !(rows->y_true.start && rows->y_pred.start);
}

/* Elements start .. end-1; returns the weighted sum of their values. */
static double run_elements(pointwise_rows const *rows, ptrdiff_t start, ptrdiff_t end, int want_rows) {
    real true_scratch[FL_BLOCK], pred_scratch[FL_BLOCK], gradient_scratch[FL_BLOCK],
        hessian_scratch[FL_BLOCK];
    real value[FL_BLOCK], scale[FL_BLOCK], class_weights[FL_BLOCK], parameter[FL_MAX_PARAMETERS];
    double weight[FL_BLOCK], lane[FL_LANES] = {0}, unused[FL_LANES] = {0};
    fl_call const *const call = rows->call;
    pointwise_loops const *const loops = rows->loops;
    ptrdiff_t const columns = call->columns;
    int const unweighted = is_unweighted(call), by_row = !unweighted || want_rows;
    int const want_gradient = call->gradient.data != NULL, want_hessian = call->hessian.data != NULL;
    pointwise_loop *const loop = want_hessian    ? loops->gradient_hessian
                                 : want_gradient ? loops->value_gradient
                                                 : loops->value;
    ptrdiff_t const most = end - start < FL_BLOCK ? end - start : FL_BLOCK;
    fl_sum open = {0, 0};
    ptrdiff_t turned = 0;
    real_parameters(call, 0, parameter);
    for (ptrdiff_t i = 0; i < most && want_gradient; i++)
        scale[i] = (real)rows->factor;
    for (ptrdiff_t i = 0; i < most && want_rows; i++)
        weight[i] = 1;
    int const by_rows = want_rows || lies_in_rows(rows);
    ptrdiff_t const head = by_rows ? 0 : head_of(call, &rows->gradient, &rows->y_pred, start);
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
        if (!unweighted)
            element_weights(rows, position, n, weight);
        for (ptrdiff_t i = 0; i < n && want_gradient && !unweighted; i++)
            scale[i] = (real)(weight[i] * rows->factor);
        /* Lane j is now that of element position + j. */
        turn(lane, (position - start - turned) % FL_LANES);
        turned = position - start;
        loop(y_true, y_pred, class_weights, whole, parameter, scale, by_row ? unused : lane, value, gradient,
             hessian);
        if (rest)
            partial_group(loop, y_true + whole, y_pred + whole,
                          loops->weighted ? class_weights + whole : NULL, rest, parameter,
                          want_gradient ? scale + whole : NULL, value + whole,
                          want_gradient ? gradient + whole : NULL, want_hessian ? hessian + whole : NULL);
        put_flat(call, &rows->gradient, position, n, gradient);
        put_flat(call, &rows->hessian, position, n, hessian);
        if (want_hessian)
            continue;
        if (by_row)
            add_weighted(lane, value, weight, n);
        else
            for (ptrdiff_t i = 0; i < rest; i++)
                lane[i] += (double)value[whole + i];
        if (want_rows)
            put_row_losses(rows, position, n, value, weight, loops->divide ? (double)columns : 1, &open);
    }
    turn(lane, FL_LANES - turned % FL_LANES);
    return sum_lanes(lane);
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
