/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Finding rows in strided arrays, a block at a time, and what belongs to a row: weight, mask, label.
 */
#ifndef FL_ROWS_H
#define FL_ROWS_H

#include "dtype.h"
#include "fastloss.h"
#include "kernels.h"
#include "parallel.h"
#include "storage.h"

#if FL_REAL_BITS == 32
FL_DEFINE_LOAD(float, f32)
#endif
FL_DEFINE_LOAD(double, f64)
#define load FL_REAL(load)

/* Elements that are worked on at a time: small enough for a few such arrays in the first-level cache. */
#define FL_BLOCK 1024

#define FL_LANES 32

FL_INLINE void halve_lanes(double *lane, int half) {
    for (int j = 0; j < half; j++)
        lane[j] += lane[j + half];
}

FL_INLINE double sum_first_lanes(double *lane, int width) {
    for (width /= 2; width > 0; width /= 2)
        halve_lanes(lane, width);
    return lane[0];
}

static double sum_half_lanes(double *lane) {
    halve_lanes(lane, FL_LANES / 4);
    halve_lanes(lane, FL_LANES / 8);
    halve_lanes(lane, FL_LANES / 16);
    return lane[0] + lane[1];
}

/* Written out: the compiler does not unroll the loop over the halves. */
static double sum_lanes(double *lane) {
    halve_lanes(lane, FL_LANES / 2);
    return sum_half_lanes(lane);
}

/* Lanes of long sums: those of runs are added to them. In double the rounding errors of that are kept, where
 * floats that are added in double have digits to spare. */
typedef struct {
    double high[FL_LANES], low[FL_LANES];
} long_lanes;

/* Terms of a run in each lane. */
#define FL_RUN_TERMS ((ptrdiff_t)(FL_REAL_BITS == 32 ? 1 << 20 : 8))

FL_INLINE void add_run(double const *run, int width, long_lanes *lanes) {
#pragma omp simd
    for (int j = 0; j < width; j++) {
        double const high = lanes->high[j] + run[j], part = high - lanes->high[j];
        if (FL_REAL_BITS == 64)
            lanes->low[j] += (lanes->high[j] - (high - part)) + (run[j] - part);
        lanes->high[j] = high;
    }
}

/* The sums; an infinite one has a NaN for its error. */
FL_INLINE void end_runs(long_lanes const *lanes, int width, double *sum) {
#pragma omp simd
    for (int j = 0; j < width; j++)
        sum[j] = lanes->low[j] == lanes->low[j] ? lanes->high[j] + lanes->low[j] : lanes->high[j];
}

/* Lane j becomes lane j - by, 0 <= by <= FL_LANES. */
static void turn(double *lane, ptrdiff_t by) {
    double twice[2 * FL_LANES];
    if (by % FL_LANES == 0)
        return;
    memcpy(twice, lane, FL_LANES * sizeof *lane);
    memcpy(twice + FL_LANES, lane, FL_LANES * sizeof *lane);
    memcpy(lane, twice + by, FL_LANES * sizeof *lane);
}

/* Sums are taken in double over a fixed number of lanes, so that neither the vector width nor the number of
 * threads changes a bit; of groups by four, which is exact for equal terms and has a quarter of the
 * roundings. */
#define FL_DEFINE_SUM(name, type)                                                                            \
    static void name##_lanes(type const *value, ptrdiff_t n, double *lane) {                                 \
        ptrdiff_t i = 0;                                                                                     \
        for (int j = 0; j < FL_LANES; j++)                                                                   \
            lane[j] = 0;                                                                                     \
        for (; i + 4 * FL_LANES <= n; i += 4 * FL_LANES)                                                     \
            for (int j = 0; j < FL_LANES; j++)                                                               \
                lane[j] += ((double)value[i + j] + (double)value[i + j + FL_LANES]) +                        \
                           ((double)value[i + j + 2 * FL_LANES] + (double)value[i + j + 3 * FL_LANES]);      \
        for (; i + FL_LANES <= n; i += FL_LANES)                                                             \
            for (int j = 0; j < FL_LANES; j++)                                                               \
                lane[j] += (double)value[i + j];                                                             \
        if (i < n)                                                                                           \
            _Pragma("omp simd") for (int j = 0; j < FL_LANES; j++) lane[j] +=                                \
                i + j < n ? (double)value[i + j] : 0;                                                        \
    }                                                                                                        \
                                                                                                             \
    static double name(type const *value, ptrdiff_t n) {                                                     \
        double lane[FL_LANES];                                                                               \
        name##_lanes(value, n, lane);                                                                        \
        return sum_lanes(lane);                                                                              \
    }

FL_DEFINE_SUM(sum_block, real)
FL_DEFINE_SUM(sum_doubles, double)

/* The sums of n / columns rows, with the bits of sum_block, by vectors across rows: for up to FL_LANES
 * columns, n <= FL_BLOCK. */
static void sum_across(real const *value, ptrdiff_t n, ptrdiff_t columns, double *sum) {
    double part[FL_BLOCK];
    ptrdiff_t const rows = n / columns;
    for (ptrdiff_t c = 0; c < columns; c++)
        for (ptrdiff_t r = 0; r < rows; r++)
            part[c * rows + r] = 0 + (double)value[r * columns + c];
    for (ptrdiff_t half = FL_LANES / 2; half > 0; half /= 2)
        for (ptrdiff_t c = half; c < columns && c < 2 * half; c++)
#pragma omp simd
            for (ptrdiff_t r = 0; r < rows; r++)
                part[(c - half) * rows + r] += part[c * rows + r];
    memcpy(sum, part, (size_t)rows * sizeof *sum);
}

static char *row_address(fl_call const *call, fl_array const *array, ptrdiff_t row) {
    char *address = array->data;
    int d = call->dimensions - 1;
    for (; d > 0; d--) {
        address += row % call->shape[d] * array->row_strides[d];
        row /= call->shape[d];
    }
    return address + row * array->row_strides[0];
}

/* One element a row, for rows first .. first+n-1: runs along the last outer dimension. */
#define FL_FOR_EACH_RUN(call, array, first, n, BODY)                                                         \
    for (ptrdiff_t done = 0, run; done < (n); done += run) {                                                 \
        int const last_dimension = (call)->dimensions - 1;                                                   \
        run = (n) - done;                                                                                    \
        if (last_dimension > 0) {                                                                            \
            ptrdiff_t const extent = (call)->shape[last_dimension];                                          \
            ptrdiff_t const left = extent - ((first) + done) % extent;                                       \
            run = left < run ? left : run;                                                                   \
        }                                                                                                    \
        char *const address = row_address(call, array, (first) + done);                                      \
        ptrdiff_t const stride = (array)->row_strides[last_dimension];                                       \
        BODY                                                                                                 \
    }

/* Rows that share one rectangle of a block. */
typedef struct {
    ptrdiff_t row, rows, column, columns;
} fl_block;

/* Where a column starts, and how many from it on are one run. */
static ptrdiff_t column_run(fl_call const *call, fl_array const *array, ptrdiff_t column, ptrdiff_t *run) {
    int d = call->inner_dimensions - 1;
    if (d < 1 || call->columns == 0) {
        *run = call->columns - column;
        return column * array->column_stride;
    }
    *run = call->inner_shape[d] - column % call->inner_shape[d];
    ptrdiff_t offset = 0;
    for (; d >= 0; d--) {
        offset += column % call->inner_shape[d] * array->inner_strides[d];
        column /= call->inner_shape[d];
    }
    return offset;
}

/* Whether the rows of a block lie one after the other, so that it is one run of elements; its stride. */
static int is_run(fl_call const *call, fl_array const *array, fl_block block, ptrdiff_t *stride) {
    *stride = array->column_stride;
    if (call->columns == 0)
        return 1;
    if (call->inner_dimensions > 1) {
        ptrdiff_t run;
        column_run(call, array, block.column, &run);
        return block.rows == 1 && block.columns <= run;
    }
    if (block.rows == 1)
        return 1;
    int const last = call->dimensions - 1;
    for (int d = last; d > 0; d--)
        if (array->row_strides[d - 1] != call->shape[d] * array->row_strides[d])
            return 0;
    if (block.columns == 1)
        *stride = array->row_strides[last];
    return block.columns == 1 || array->row_strides[last] == block.columns * array->column_stride;
}

/* The runs of a block: `run` elements at `piece`, the elements from `place` on of the block. */
#define FL_FOR_EACH_PIECE(call, array, block, BODY)                                                          \
    for (ptrdiff_t r = 0; r < (block).rows; r++) {                                                           \
        char *const row_start = row_address(call, array, (block).row + r);                                   \
        for (ptrdiff_t done = 0; done < (block).columns; done += run) {                                      \
            char *const piece = row_start + column_run(call, array, (block).column + done, &run);            \
            ptrdiff_t const place = r * (block).columns + done;                                              \
            run = run < (block).columns - done ? run : (block).columns - done;                               \
            BODY                                                                                             \
        }                                                                                                    \
    }

/* The address of a block that can be used where it is, or NULL. */
static real *in_place(fl_call const *call, fl_array const *array, fl_block block) {
    ptrdiff_t stride;
    if (array->storage != FL_REAL_STORAGE || array->swapped || !is_run(call, array, block, &stride) ||
        (stride != sizeof(real) && block.rows * block.columns > 1))
        return NULL;
    ptrdiff_t run;
    char *const address = row_address(call, array, block.row) + column_run(call, array, block.column, &run);
    return (uintptr_t)address % sizeof(real) ? NULL : (real *)address;
}

/* Loads while something else is computed. Inline, since gcc drops calls of functions that do nothing else. */
FL_INLINE void prefetch(real const *from, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += FL_LINE_BYTES / (ptrdiff_t)sizeof(real))
        __builtin_prefetch(from + i);
}

/* The same from further on: processors look ahead within a page. */
#define FL_AHEAD_BYTES 8192
FL_INLINE void prefetch_ahead(real const *from, ptrdiff_t n) {
    uintptr_t const start = (uintptr_t)from + FL_AHEAD_BYTES;
    for (uintptr_t k = 0; k < (uintptr_t)n * sizeof(real); k += FL_LINE_BYTES)
        __builtin_prefetch((void const *)(start + k));
}

/* Of rows that lie apart no processor foresees the next: what is below a part of a row is loaded meanwhile.
 */
FL_INLINE void prefetch_below(fl_call const *call, fl_array const *array, fl_block block) {
    ptrdiff_t const size = storage_size[array->storage];
    ptrdiff_t const down = call->dimensions ? array->row_strides[call->dimensions - 1] : 0;
    ptrdiff_t run;
    if (block.rows > 1 || down == 0 || down == call->columns * size || array->column_stride != size)
        return;
    char const *const start =
        row_address(call, array, block.row) + column_run(call, array, block.column, &run);
    uintptr_t const below = (uintptr_t)start + (uintptr_t)down;
    for (ptrdiff_t k = 0; k < block.columns * size; k += FL_LINE_BYTES)
        __builtin_prefetch((void const *)(below + (uintptr_t)k));
}

/* A block as contiguous reals: in place, or converted into scratch. */
static real const *view(fl_call const *call, fl_array const *array, fl_block block, real *scratch) {
    real const *const direct = in_place(call, array, block);
    prefetch_below(call, array, block);
    if (direct)
        return direct;
    ptrdiff_t stride, run;
    char const *const start =
        row_address(call, array, block.row) + column_run(call, array, block.column, &run);
    if (is_run(call, array, block, &stride)) {
        load(scratch, start, stride, block.rows * block.columns, array->storage, array->swapped);
        return scratch;
    }
    FL_FOR_EACH_PIECE(
        call, array, block,
        load(scratch + place, piece, array->column_stride, run, array->storage, array->swapped);)
    return scratch;
}

/* Whether outputs are larger than the last-level cache, so that it is of no use to have them there. In place
 * they are in it already. */
static int streams(fl_call const *call) {
    return call->gradient.data != call->y_pred.data &&
           call->rows * call->columns > fl_cache_bytes / (ptrdiff_t)storage_size[call->gradient.storage];
}

/* Writes a block that was computed in scratch; one computed in place is there already. */
static void put(fl_call const *call, fl_array const *array, fl_block block, real const *values) {
    if (in_place(call, array, block) == values)
        return;
    ptrdiff_t const n = block.rows * block.columns;
    ptrdiff_t stride, run;
    char *const start = row_address(call, array, block.row) + column_run(call, array, block.column, &run);
    int const streamed = streams(call);
    if (is_run(call, array, block, &stride)) {
        store(start, values, stride, n, array->storage, array->swapped, streamed);
        return;
    }
    FL_FOR_EACH_PIECE(
        call, array, block,
        store(piece, values + place, array->column_stride, run, array->storage, array->swapped, streamed);)
}

/* Where to compute an output block: in place if possible; NULL if the output is not wanted. */
static real *target(fl_call const *call, fl_array const *array, fl_block block, real *scratch) {
    if (!array->data)
        return NULL;
    real *const direct = streams(call) ? NULL : in_place(call, array, block);
    return direct ? direct : scratch;
}

/* Rows of an array as one sequence of elements. */
typedef struct {
    fl_array const *array;
    ptrdiff_t first;
    char *start; /* NULL if the elements have no single stride */
    ptrdiff_t stride;
    int is_direct; /* usable where it is */
} flat_array;

static flat_array flatten(fl_call const *call, fl_array const *array, fl_block block) {
    ptrdiff_t stride = 0;
    char *const start =
        array->data && is_run(call, array, block, &stride) ? row_address(call, array, block.row) : NULL;
    return (flat_array){array, block.row, start, stride, start && in_place(call, array, block)};
}

/* The pieces of rows in n elements from a position on. */
#define FL_FOR_EACH_ROW(call, flat, position, n, BODY)                                                       \
    for (ptrdiff_t done = 0, width; done < (n); done += width) {                                             \
        ptrdiff_t const row = (position + done) / (call)->columns,                                           \
                        column = (position + done) % (call)->columns;                                        \
        width = (call)->columns - column < (n) - done ? (call)->columns - column : (n) - done;               \
        fl_block const block = {(flat)->first + row, 1, column, width};                                      \
        BODY                                                                                                 \
    }

/* n elements from a position on, if they are part of one row. */
static int is_in_row(fl_call const *call, flat_array const *flat, ptrdiff_t position, ptrdiff_t n,
                     fl_block *block) {
    ptrdiff_t const row = position / call->columns, column = position - row * call->columns;
    *block = (fl_block){flat->first + row, 1, column, n};
    return column + n <= call->columns;
}

static real const *view_flat(fl_call const *call, flat_array const *flat, ptrdiff_t position, ptrdiff_t n,
                             real *scratch) {
    fl_array const *const array = flat->array;
    fl_block own;
    if (flat->is_direct)
        return (real const *)flat->start + position;
    if (flat->start)
        load(scratch, flat->start + position * flat->stride, flat->stride, n, array->storage, array->swapped);
    else if (is_in_row(call, flat, position, n, &own))
        return view(call, array, own, scratch);
    else
        FL_FOR_EACH_ROW(
            call, flat, position, n, real const *const piece = view(call, array, block, scratch + done);
            if (piece != scratch + done) memcpy(scratch + done, piece, (size_t)width * sizeof *piece);)
    return scratch;
}

static real *target_flat(fl_call const *call, flat_array const *flat, ptrdiff_t position, ptrdiff_t n,
                         real *scratch) {
    fl_block own;
    if (!flat->array->data || streams(call))
        return scratch;
    if (flat->is_direct)
        return (real *)flat->start + position;
    return !flat->start && is_in_row(call, flat, position, n, &own) ? target(call, flat->array, own, scratch)
                                                                    : scratch;
}

static void put_flat(fl_call const *call, flat_array const *flat, ptrdiff_t position, ptrdiff_t n,
                     real const *values) {
    fl_array const *const array = flat->array;
    if (!array->data || (flat->is_direct && (real *)flat->start + position == values))
        return;
    if (flat->start)
        store(flat->start + position * flat->stride, values, flat->stride, n, array->storage, array->swapped,
              streams(call));
    else
        FL_FOR_EACH_ROW(call, flat, position, n, put(call, array, block, values + done);)
}

/* Elements before the first that starts a cache line: of the output that is streamed, else of y_pred. Vectors
 * that lie across lines take two accesses, and lines that are streamed in parts are written twice. */
static ptrdiff_t head_of(fl_call const *call, flat_array const *gradient, flat_array const *y_pred,
                         ptrdiff_t position) {
    flat_array const *const flat = gradient->start && streams(call) ? gradient : y_pred;
    if (!flat->start)
        return 0;
    size_t const size = storage_size[flat->array->storage];
    uintptr_t const address = (uintptr_t)flat->start + (uintptr_t)position * size;
    return flat->stride == (ptrdiff_t)size ? (ptrdiff_t)(-address % FL_LINE_BYTES / size) : 0;
}

/* The labels of n <= FL_BLOCK rows. */
static void row_labels(fl_call const *call, ptrdiff_t first, ptrdiff_t n, int64_t *label) {
    fl_array const *const array = &call->y_true;
    FL_FOR_EACH_RUN(call, array, first, n,
                    load_labels(label + done, address, stride, run, array->storage, array->swapped);)
}

/* The weights of n <= FL_BLOCK rows: 0 where the row is masked. */
static void row_weights(fl_call const *call, ptrdiff_t first, ptrdiff_t n, double *weight) {
    if (call->sample_weight.data) {
        fl_array const *const array = &call->sample_weight;
        FL_FOR_EACH_RUN(call, array, first, n,
                        load_f64(weight + done, address, stride, run, array->storage, array->swapped);)
    } else {
        for (ptrdiff_t i = 0; i < n; i++)
            weight[i] = 1;
    }
    if (call->mask.data) {
        fl_array const *const array = &call->mask;
        FL_FOR_EACH_RUN(call, array, first, n,
                        for (ptrdiff_t i = 0; i < run; i++) weight[done + i] =
                            address[i * stride] ? weight[done + i] : 0;)
    }
}

static int is_masked(fl_call const *call, ptrdiff_t row) {
    return call->mask.data && !*row_address(call, &call->mask, row);
}

/* A row that counts. */
static fl_status count_row(fl_call const *call, ptrdiff_t row, fl_totals *totals) {
    double weight;
    fl_sum total = {totals->weight, totals->weight_low};
    row_weights(call, row, 1, &weight);
    if (weight != weight) {
        totals->bad_row = row;
        return FL_BAD_WEIGHT;
    }
    fl_add(&total, weight);
    totals->weight = total.high;
    totals->weight_low = total.low;
    totals->count++;
    return FL_OK;
}

/* Whether every row counts, with weight 1. */
static int is_unweighted(fl_call const *call) {
    return !call->sample_weight.data && !call->mask.data && !call->has_ignore_class;
}

static int has_labels(fl_call const *call) {
    fl_kind const kind = fl_losses[call->loss].kind;
    return call->labels || kind == SPARSE_SOFTMAX || kind == SPARSE_NORMALIZE || kind == SPARSE_PROBABILITY;
}

static int is_dense(fl_call const *call) {
    fl_kind const kind = fl_losses[call->loss].kind;
    return kind == SOFTMAX || kind == NORMALIZE || (kind == SPARSE_SOFTMAX && call->labels);
}

static double class_weight(fl_call const *call, ptrdiff_t column) {
    return call->class_weight[column * call->class_weight_stride];
}

/* Whether the largest entry of a row of dense labels, the first if several, is that of the ignored class. */
static int is_ignored_row(fl_call const *call, ptrdiff_t row) {
    real scratch[FL_BLOCK];
    ptrdiff_t const own = (ptrdiff_t)call->ignore_class;
    real const most = *view(call, &call->y_true, (fl_block){row, 1, own, 1}, scratch);
    int ignored = most > R(0);
    for (ptrdiff_t column = 0; column < call->columns && ignored; column += FL_BLOCK) {
        ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
        real const *const y = view(call, &call->y_true, (fl_block){row, 1, column, n}, scratch);
        for (ptrdiff_t i = 0; i < n; i++)
            ignored &= column + i < own ? y[i] < most : y[i] <= most;
    }
    return ignored;
}

/* For n <= FL_BLOCK rows, whether they are of the ignored class; their labels, if they have any. */
static void ignored_rows(fl_call const *call, ptrdiff_t first, ptrdiff_t n, int64_t *label,
                         unsigned char *ignored) {
    int const labelled = has_labels(call);
    if (labelled)
        row_labels(call, first, n, label);
    memset(ignored, 0, (size_t)n);
    if (!call->has_ignore_class)
        return;
    for (ptrdiff_t i = 0; i < n; i++)
        ignored[i] = labelled ? label[i] == call->ignore_class : is_ignored_row(call, first + i);
}

/* The weights of rows of classes: 0 also where the label is the ignored class. A weight of the label's class
 * counts here for sparse losses, and in view_labels for dense ones. */
static void row_class_weights(fl_call const *call, ptrdiff_t first, ptrdiff_t n, int64_t *label,
                              double *weight) {
    unsigned char ignored[FL_BLOCK];
    int const by_label = call->class_weight && has_labels(call) && !call->labels;
    row_weights(call, first, n, weight);
    ignored_rows(call, first, n, label, ignored);
    for (ptrdiff_t i = 0; i < n; i++)
        if (ignored[i])
            weight[i] = 0;
        else if (by_label && weight[i] != 0)
            weight[i] *= class_weight(call, label[i]);
}

typedef struct {
    real low, high;
} real_bounds;

static real_bounds real_bounds_of(fl_bounds bounds) {
    real low = (real)bounds.low, high = (real)bounds.high;
    if (!fl_is_bounded(bounds))
        return (real_bounds){-INFINITY, INFINITY};
    /* Bounds that mean > 0 and finite. */
    if (bounds.low > 0 && low == R(0))
        low = REAL_LEAST;
    if (bounds.high < INFINITY && high > REAL_MAX)
        high = REAL_MAX;
    return (real_bounds){low, high};
}

/* Whether elements of a block are out of bounds: what fl_run then looks for. */
static int exceeds(real const *x, ptrdiff_t n, fl_bounds bounds) {
    real_bounds const limits = real_bounds_of(bounds);
    integer outside = 0;
#pragma omp simd reduction(| : outside)
    for (ptrdiff_t i = 0; i < n; i++)
        outside |= (x[i] < limits.low) | (x[i] > limits.high);
    return outside != 0;
}

static void note_outside(fl_call const *call) { __atomic_store_n(call->out_of_bounds, 1, __ATOMIC_RELAXED); }

static void note_bounds(fl_call const *call, real const *x, ptrdiff_t n, fl_bounds bounds) {
    if (fl_is_bounded(bounds) && call->out_of_bounds && exceeds(x, n, bounds))
        note_outside(call);
}

/* y_pred of a block. */
static real const *view_pred(fl_call const *call, fl_block block, real *scratch) {
    real const *const y_pred = view(call, &call->y_pred, block, scratch);
    note_bounds(call, y_pred, block.rows * block.columns, call->pred_bounds);
    return y_pred;
}

static real const *scaled_labels(fl_call const *call, real const *y_true, ptrdiff_t n, real *scratch) {
    real const scale = (real)call->label_scale, shift = (real)call->label_shift;
    if (scale == R(1) && shift == R(0))
        return y_true;
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++)
        scratch[i] = fl_fma(scale, y_true[i], shift);
    return scratch;
}

/* y_true of a block: dense, after label_scale, label_shift and the weights of the classes. */
static real const *view_labels(fl_call const *call, fl_block block, real *scratch) {
    ptrdiff_t const n = block.rows * block.columns;
    real const scale = (real)call->label_scale, shift = (real)call->label_shift;
    real const *y_true = scratch;
    if (call->labels) {
        int64_t label[FL_BLOCK];
        row_labels(call, block.row, block.rows, label);
        for (ptrdiff_t r = 0; r < block.rows; r++)
            for (ptrdiff_t c = 0; c < block.columns; c++)
                scratch[r * block.columns + c] = label[r] == block.column + c ? scale + shift : shift;
    } else {
        y_true = view(call, &call->y_true, block, scratch);
        note_bounds(call, y_true, n, call->true_bounds);
        y_true = scaled_labels(call, y_true, n, scratch);
    }
    if (call->class_weight && is_dense(call)) {
        for (ptrdiff_t r = 0, i = 0; r < block.rows; r++)
            for (ptrdiff_t c = 0; c < block.columns; c++, i++)
                scratch[i] = y_true[i] * (real)class_weight(call, block.column + c);
        y_true = scratch;
    }
    return y_true;
}

/* y_true of a pointwise loss from a position on. */
static real const *flat_labels(fl_call const *call, flat_array const *flat, ptrdiff_t position, ptrdiff_t n,
                               real *scratch) {
    real const *const y_true = view_flat(call, flat, position, n, scratch);
    note_bounds(call, y_true, n, call->true_bounds);
    return scaled_labels(call, y_true, n, scratch);
}

/* The per-row output, if it is wanted. */
static void put_losses(fl_call const *call, ptrdiff_t first, ptrdiff_t n, double const *row_loss) {
    real value[FL_BLOCK];
    if (!call->losses.data)
        return;
    for (ptrdiff_t i = 0; i < n; i++)
        value[i] = (real)row_loss[i];
    fl_array const *const array = &call->losses;
    FL_FOR_EACH_RUN(call, array, first, n,
                    store(address, value + done, stride, run, array->storage, array->swapped, 0);)
}

/* Derivatives of a row that does not count. */
static void put_zeros(fl_call const *call, fl_block block, real *gradient, real *hessian) {
    for (ptrdiff_t i = 0; i < block.columns; i++)
        gradient[i] = 0;
    put(call, &call->gradient, block, gradient);
    if (!hessian)
        return;
    for (ptrdiff_t i = 0; i < block.columns; i++)
        hessian[i] = 0;
    put(call, &call->hessian, block, hessian);
}

static fl_status check_rows(fl_call const *call, ptrdiff_t first, ptrdiff_t last, fl_totals *totals) {
    double weight[FL_BLOCK];
    int64_t label[FL_BLOCK];
    unsigned char counted[FL_BLOCK], ignored[FL_BLOCK];
    int const all_count = !call->mask.data && !call->has_ignore_class;
    for (ptrdiff_t row = first; row < last; row += FL_BLOCK) {
        ptrdiff_t const n = last - row < FL_BLOCK ? last - row : FL_BLOCK;
        row_weights(call, row, n, weight);
        for (ptrdiff_t i = 0; i < n; i++)
            counted[i] = 1;
        if (call->mask.data) {
            fl_array const *const array = &call->mask;
            FL_FOR_EACH_RUN(call, array, row, n,
                            for (ptrdiff_t i = 0; i < run; i++) counted[done + i] = address[i * stride] != 0;)
        }
        ignored_rows(call, row, n, label, ignored);
        for (ptrdiff_t i = 0; i < n; i++)
            counted[i] &= !ignored[i];
        if (has_labels(call)) {
            int bad = 0;
            for (ptrdiff_t i = 0; i < n; i++)
                bad |= counted[i] & ((uint64_t)label[i] >= (uint64_t)call->columns);
            if (bad)
                for (ptrdiff_t i = 0; i < n; i++)
                    if (counted[i] && (uint64_t)label[i] >= (uint64_t)call->columns) {
                        totals->bad_row = row + i;
                        return FL_BAD_LABEL;
                    }
        }
        int64_t count = all_count ? n : 0;
        for (ptrdiff_t i = 0; i < n && !all_count; i++) {
            weight[i] = counted[i] ? weight[i] : 0;
            count += counted[i];
        }
        double const sum = sum_doubles(weight, n);
        if (sum != sum)
            for (ptrdiff_t i = 0; i < n; i++)
                if (weight[i] != weight[i]) {
                    totals->bad_row = row + i;
                    return FL_BAD_WEIGHT;
                }
        fl_sum total = {totals->weight, totals->weight_low};
        fl_add(&total, sum);
        totals->weight = total.high;
        totals->weight_low = total.low;
        totals->count += count;
    }
    return FL_OK;
}

/* The first element of the argument that is out of bounds, in rows that count. */
static int find_exceeding(fl_call const *call, ptrdiff_t first, ptrdiff_t last, fl_array const *array,
                          fl_bounds bounds, fl_totals *totals) {
    real scratch[FL_BLOCK];
    double weight[FL_BLOCK];
    int64_t label[FL_BLOCK];
    ptrdiff_t const columns = call->columns;
    ptrdiff_t const step = columns < FL_BLOCK ? FL_BLOCK / (columns ? columns : 1) : 1;
    if (!fl_is_bounded(bounds))
        return 0;
    for (ptrdiff_t row = first; row < last; row += step) {
        ptrdiff_t const rows = last - row < step ? last - row : step;
        for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
            ptrdiff_t const width = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
            real const *const x = view(call, array, (fl_block){row, rows, column, width}, scratch);
            if (!exceeds(x, rows * width, bounds))
                continue;
            row_class_weights(call, row, rows, label, weight);
            for (ptrdiff_t i = 0; i < rows * width; i++)
                if (weight[i / width] != 0 && exceeds(x + i, 1, bounds)) {
                    totals->bad_row = row + i / width;
                    totals->bad_column = column + i % width;
                    return 1;
                }
        }
    }
    return 0;
}

static fl_status check_bounds(fl_call const *call, ptrdiff_t first, ptrdiff_t last, fl_totals *totals) {
    if (!has_labels(call) && find_exceeding(call, first, last, &call->y_true, call->true_bounds, totals))
        return FL_BAD_TRUE;
    if (find_exceeding(call, first, last, &call->y_pred, call->pred_bounds, totals))
        return FL_BAD_PRED;
    return FL_OK;
}

/* Labels of rows that do not count are passed over. */
static int check_binary(fl_call const *call, ptrdiff_t first, ptrdiff_t last) {
    real scratch[FL_BLOCK];
    double weight[FL_BLOCK];
    ptrdiff_t const columns = call->columns;
    ptrdiff_t const step = columns < FL_BLOCK ? FL_BLOCK / (columns ? columns : 1) : 1;
    for (ptrdiff_t row = first; row < last; row += step) {
        ptrdiff_t const rows = last - row < step ? last - row : step;
        for (ptrdiff_t column = 0; column < columns; column += FL_BLOCK) {
            ptrdiff_t const width = columns - column < FL_BLOCK ? columns - column : FL_BLOCK;
            real const *const y_true =
                view(call, &call->y_true, (fl_block){row, rows, column, width}, scratch);
            integer other = 0;
#pragma omp simd reduction(| : other)
            for (ptrdiff_t i = 0; i < rows * width; i++)
                other |= y_true[i] != R(0) && y_true[i] != R(1);
            if (!other)
                continue;
            row_weights(call, row, rows, weight);
            for (ptrdiff_t i = 0; i < rows * width; i++)
                if (weight[i / width] != 0 && y_true[i] != R(0) && y_true[i] != R(1))
                    return 0;
        }
    }
    return 1;
}

#endif
