/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Rows whose elements lie farther apart than the rows themselves (Fortran order, channels before pixels), or
 * of few elements: the kernels would use one element of a cache line where several rows lie. Such rows are
 * transposed into memory of the task's own, and outputs out of it, so that every line is read or written
 * once.
 */
#ifndef FL_PACK_H
#define FL_PACK_H

#include <stdlib.h>

#include "rows.h"
#include "transpose.h"

/* A tile stays in the first-level cache: elements of a column beside each other, so that runs of them are
 * what is loaded and stored. */
#define FL_PACKED_WIDTH 16
typedef struct {
    real of[FL_PACKED_WIDTH][FL_TILE_ROWS];
} packed_tile;

/* From one packed row to the next: rows of a power of two would share a few sets of the caches. */
static ptrdiff_t packed_stride(fl_call const *call) {
    ptrdiff_t const columns = call->columns;
    return columns * (ptrdiff_t)sizeof(real) % 2048 ? columns
                                                    : columns + FL_LINE_BYTES / (ptrdiff_t)sizeof(real);
}

/* The tiles of rows first .. last-1: `height` elements at `address` and each column on. */
#define FL_FOR_EACH_TILE(call, array, first, last, BODY)                                                     \
    FL_FOR_EACH_RUN(                                                                                         \
        call, array, first, (last) - (first), for (ptrdiff_t top = 0, height; top < run; top += height) {    \
            height = run - top < FL_TILE_ROWS ? run - top : FL_TILE_ROWS;                                    \
            for (ptrdiff_t left = 0, width; left < (call)->columns; left += width) {                         \
                width = (call)->columns - left < FL_PACKED_WIDTH ? (call)->columns - left : FL_PACKED_WIDTH; \
                char *const corner = address + top * stride + left * (array)->column_stride;                 \
                real *const packed = memory + (done + top) * row_stride + left;                              \
                BODY                                                                                         \
            }                                                                                                \
        })

static void pack_columns(fl_call const *call, fl_array const *array, ptrdiff_t first, ptrdiff_t last,
                         real *memory) {
    ptrdiff_t const row_stride = packed_stride(call);
    packed_tile block;
    FL_FOR_EACH_TILE(
        call, array, first, last,
        char const *const next = left + width < call->columns ? corner + width * array->column_stride
                                                              : address + (top + height) * stride;
        for (ptrdiff_t c = 0; c < width; c++) {
            char const *const column = corner + c * array->column_stride;
            /* No processor foresees such strides: the lines of the next tile. */
            for (int k = 0; k <= FL_TILE_ROWS * 4; k += FL_LINE_BYTES)
                __builtin_prefetch(next + c * array->column_stride + k);
            load(block.of[c], column, stride, height, array->storage, array->swapped);
        } transpose(block.of[0], FL_TILE_ROWS, width, height, packed, row_stride);)
}

static void unpack_columns(fl_call const *call, fl_array const *array, ptrdiff_t first, ptrdiff_t last,
                           real *memory) {
    ptrdiff_t const row_stride = packed_stride(call);
    packed_tile block;
    int const streamed = streams(call);
    FL_FOR_EACH_TILE(call, array, first, last,
                     for (ptrdiff_t r = 0; r < height; r += 4)
                         transpose(packed + r * row_stride, row_stride, height - r < 4 ? height - r : 4,
                                   width, block.of[0] + r, FL_TILE_ROWS);
                     for (ptrdiff_t c = 0; c < width; c++)
                         store(corner + c * array->column_stride, block.of[c], stride, height, array->storage,
                               array->swapped, streamed);)
}

/* Rows of fewer elements are not worth to be found one by one. */
#define FL_PACKED_COLUMNS 32

/* Short rows from one stride to another, by columns of words; the last may overlap the one before. */
static void copy_rows(char *to, ptrdiff_t to_stride, char const *from, ptrdiff_t from_stride, ptrdiff_t rows,
                      ptrdiff_t bytes, ptrdiff_t size) {
    ptrdiff_t const word = bytes < 8 ? size : 8;
    for (ptrdiff_t k = 0; k < bytes; k += word) {
        ptrdiff_t const place = k + word <= bytes ? k : bytes - word;
        copy_strided(to + place, to_stride, from + place, from_stride, rows, (size_t)word, 0);
    }
}

/* Rows that lie apart, as few at a time as fill a block. */
#define FL_FOR_EACH_BATCH(call, array, first, last, BODY)                                                    \
    FL_FOR_EACH_RUN(                                                                                         \
        call, array, first, (last) - (first), for (ptrdiff_t top = 0, height; top < run; top += height) {    \
            ptrdiff_t const most = FL_BLOCK / (call)->columns;                                               \
            height = run - top < most ? run - top : most;                                                    \
            char *const rows = address + top * stride;                                                       \
            real *const packed = memory + (done + top) * (call)->columns;                                    \
            BODY                                                                                             \
        })

static int is_short_run(fl_call const *call, fl_array const *array) {
    return call->columns <= FL_PACKED_COLUMNS &&
           array->column_stride == (ptrdiff_t)storage_size[array->storage];
}

static void pack_array(fl_call const *call, fl_array const *array, ptrdiff_t first, ptrdiff_t last,
                       real *memory) {
    char scratch[FL_SCRATCH_BYTES];
    ptrdiff_t const size = array->column_stride, bytes = call->columns * size;
    if (is_short_run(call, array))
        FL_FOR_EACH_BATCH(
            call, array, first, last, copy_rows(scratch, bytes, rows, stride, height, bytes, size);
            load(packed, scratch, size, height * call->columns, array->storage, array->swapped);)
    else
        pack_columns(call, array, first, last, memory);
}

static void unpack_array(fl_call const *call, fl_array const *array, ptrdiff_t first, ptrdiff_t last,
                         real *memory) {
    char scratch[FL_SCRATCH_BYTES];
    ptrdiff_t const size = array->column_stride, bytes = call->columns * size;
    if (is_short_run(call, array))
        FL_FOR_EACH_BATCH(
            call, array, first, last,
            store(scratch, packed, size, height * call->columns, array->storage, array->swapped, 0);
            copy_rows(rows, stride, scratch, bytes, height, bytes, size);)
    else
        unpack_columns(call, array, first, last, memory);
}

/* Whether rows of an array that has all columns of the call are better packed. */
static int is_scattered(fl_call const *call, fl_array const *array) {
    fl_kind const kind = fl_losses[call->loss].kind;
    int const d = call->dimensions - 1;
    ptrdiff_t stride;
    if (!array->data || d < 0 || call->inner_dimensions > 1 || call->columns < 2 || call->shape[d] < 4 ||
        kind == ALIGNMENT || kind == PAIRS ||
        (array == &call->y_true && (has_labels(call) || kind == LOCATION_SCALE)) ||
        is_run(call, array, (fl_block){0, call->rows, 0, call->columns}, &stride))
        return 0;
    ptrdiff_t const down = array->row_strides[d], across = array->column_stride;
    return call->columns <= FL_PACKED_COLUMNS || (down < 0 ? -down : down) < (across < 0 ? -across : across);
}

static int count_scattered(fl_call const *call) {
    return is_scattered(call, &call->y_true) + is_scattered(call, &call->y_pred) +
           is_scattered(call, &call->gradient) + is_scattered(call, &call->hessian);
}

static void pack(fl_call const *call, ptrdiff_t first, ptrdiff_t last, fl_packed *packed) {
    ptrdiff_t const row_stride = packed_stride(call) * (ptrdiff_t)sizeof(real);
    ptrdiff_t const step = ((last - first) * row_stride + FL_LINE_BYTES - 1) & -FL_LINE_BYTES;
    packed->call = *call;
    packed->memory = malloc((size_t)(count_scattered(call) * step + FL_LINE_BYTES));
    if (!packed->memory)
        return;
    char *memory = (char *)packed->memory + -(uintptr_t)packed->memory % FL_LINE_BYTES;
    fl_array const *const from[] = {&call->y_true, &call->y_pred, &call->gradient, &call->hessian};
    fl_array *const to[] = {&packed->call.y_true, &packed->call.y_pred, &packed->call.gradient,
                            &packed->call.hessian};
    for (int k = 0; k < 4; k++) {
        if (!is_scattered(call, from[k]))
            continue;
        if (k < 2)
            pack_array(call, from[k], first, last, (real *)memory);
        else
            packed->call.rows = last - first; /* the kernels' outputs are no larger than the caches */
        ptrdiff_t stride = row_stride;
        *to[k] = (fl_array){.storage = FL_REAL_STORAGE, .column_stride = sizeof(real)};
        to[k]->data = memory - first * stride;
        for (int d = call->dimensions - 1; d >= 0; stride *= call->shape[d--])
            to[k]->row_strides[d] = stride;
        memory += step;
    }
}

/* Also when there was no memory. */
static void unpack(fl_call const *call, ptrdiff_t first, ptrdiff_t last, fl_packed *packed) {
    fl_array const *const from[] = {&packed->call.gradient, &packed->call.hessian};
    fl_array const *const to[] = {&call->gradient, &call->hessian};
    for (int k = 0; k < 2; k++)
        if (to[k]->data != from[k]->data)
            unpack_array(call, to[k], first, last, (real *)row_address(call, from[k], first));
    free(packed->memory);
}

#endif
