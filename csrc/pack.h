/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Rows whose elements lie farther apart than the rows themselves (Fortran order, channels before pixels), or
 * that are short and lie apart: the kernels would use one element of a cache line where several rows lie. A
 * group of tasks is packed into memory of its own, and its outputs out of it, so that every line is read or
 * written once.
 *
 * The elements of a call are numbered in C order, as they are packed. Those of an array that are neighbours
 * in memory are `extent` numbers apart, so that the array is a matrix: place p of line v is element
 * v * extent + p, and the columns are runs. Of it the tasks of a group take lines, or parts of them.
 */
#ifndef FL_PACK_H
#define FL_PACK_H

#include <stdlib.h>

#include "rows.h"
#include "transpose.h"

/* Runs of fewer elements are not worth to be found one by one. */
#define FL_PACKED_COLUMNS 256

/* Rows of a multiple of so many bytes share a few sets of the caches. */
#define FL_SET_BYTES 2048
#define FL_PADDED_ROWS (FL_TASK_ELEMENTS * (ptrdiff_t)sizeof(real) / FL_SET_BYTES)

/* Lines that are beside each other in memory are worth a transposition from so many on. */
#define FL_PACKED_LINES 4

/* The dimensions of an array, rows and columns, the last one first; joined where they are one run. */
typedef struct {
    int count;
    int fast;         /* along which the lines lie */
    int transposed;   /* the lines lie closer than the places */
    ptrdiff_t extent; /* places of a line */
    ptrdiff_t shape[2 * FL_MAX_DIMENSIONS], stride[2 * FL_MAX_DIMENSIONS];
} fl_layout;

static void add_dimension(fl_layout *layout, ptrdiff_t extent, ptrdiff_t stride) {
    int const last = layout->count - 1;
    if (extent == 1)
        return;
    if (layout->count && stride == layout->shape[last] * layout->stride[last]) {
        layout->shape[last] *= extent;
        return;
    }
    layout->shape[layout->count] = extent;
    layout->stride[layout->count++] = stride;
}

static ptrdiff_t magnitude(ptrdiff_t stride) { return stride < 0 ? -stride : stride; }

static void find_layout(fl_call const *call, fl_array const *array, fl_layout *layout) {
    layout->count = layout->fast = 0;
    for (int d = call->inner_dimensions - 1; d >= 0 && call->inner_dimensions > 1; d--)
        add_dimension(layout, call->inner_shape[d], array->inner_strides[d]);
    if (call->inner_dimensions <= 1)
        add_dimension(layout, call->columns, array->column_stride);
    for (int d = call->dimensions - 1; d >= 0; d--)
        add_dimension(layout, call->shape[d], array->row_strides[d]);
    for (int d = 1; d < layout->count; d++)
        if (layout->stride[d] && layout->shape[d] >= FL_PACKED_LINES &&
            magnitude(layout->stride[d]) < magnitude(layout->stride[layout->fast]))
            layout->fast = d;
    layout->transposed = layout->fast > 0;
    layout->fast += !layout->fast;
    layout->extent = 1;
    for (int d = 0; d < layout->fast && d < layout->count; d++)
        layout->extent *= layout->shape[d];
}

/* The arrays of a call that may be packed, outputs last. */
#define FL_PACKED_ARRAYS 4
static void list_arrays(fl_call *call, fl_array **arrays) {
    arrays[0] = &call->y_true;
    arrays[1] = &call->y_pred;
    arrays[2] = &call->gradient;
    arrays[3] = &call->hessian;
}

/* Whether an array has all columns of the call. */
static int has_columns(fl_call const *call, fl_array const *array) {
    fl_kind const kind = fl_losses[call->loss].kind;
    return array->data && kind != ALIGNMENT && kind != PAIRS &&
           (array != &call->y_true || !(has_labels(call) || kind == LOCATION_SCALE));
}

/* Whether it is one run, seen with little work. */
static int is_plain(fl_call const *call, fl_array const *array) {
    return call->dimensions == 1 && call->inner_dimensions <= 1 &&
           (call->columns == 1 || array->row_strides[0] == call->columns * array->column_stride);
}

/* Whether an array is better packed. */
static int is_scattered(fl_call const *call, fl_array const *array, fl_layout *layout) {
    if (!array->data || is_plain(call, array) || !has_columns(call, array))
        return 0;
    find_layout(call, array, layout);
    return layout->count > 1 && layout->shape[layout->fast] >= FL_PACKED_LINES &&
           (layout->transposed || layout->extent <= FL_PACKED_COLUMNS);
}

/* Whether an output is written over it. */
static int is_overwritten(fl_call const *call, fl_array const *array) {
    return call->gradient.data == array->data || call->hessian.data == array->data;
}

/* Whether it is packed beside others: then columns of several dimensions become one run in all. */
static int is_joined(fl_call const *call, fl_array const *array, fl_layout const *layout) {
    return call->inner_dimensions > 1 && has_columns(call, array) && layout->count > 1 &&
           layout->shape[0] % call->columns != 0;
}

/* The longest lines of the arrays that are better packed; 0: none are. */
static ptrdiff_t scattered_extent(fl_call const *call) {
    fl_array *arrays[FL_PACKED_ARRAYS];
    ptrdiff_t most = 0;
    fl_layout layout;
    list_arrays((fl_call *)call, arrays);
    for (int i = 0; i < FL_PACKED_ARRAYS; i++)
        if (is_scattered(call, arrays[i], &layout) && layout.extent > most)
            most = layout.extent;
    return most;
}

/* Where an index of dimensions from .. to-1 is. */
static ptrdiff_t offset_of(fl_layout const *layout, int from, int to, ptrdiff_t index) {
    ptrdiff_t offset = 0;
    for (int d = from; d < to - 1; d++) {
        offset += index % layout->shape[d] * layout->stride[d];
        index /= layout->shape[d];
    }
    return offset + index * layout->stride[to - 1];
}

/* Places first .. last-1 of some lines in a row, where they are and packed. */
typedef struct {
    fl_array const *array;
    fl_layout const *layout;
    char *address; /* of the first line's place 0 */
    ptrdiff_t lines, first, last;
    real *packed;
    ptrdiff_t pitch; /* from one packed line to the next */
    int out, streamed;
    int overwritten;                 /* an input that the groups write their outputs to */
    int gaps;                        /* some lines among them are not the group's: never written */
    unsigned char own[FL_TILE_ROWS]; /* which are, if there are gaps */
} fl_rectangle;

/* A tile stays in the first-level cache: elements of a place beside each other, so that runs of them are what
 * is loaded and stored. */
#define FL_PACKED_WIDTH 16
typedef struct {
    real of[FL_PACKED_WIDTH][FL_TILE_ROWS];
} packed_tile;

/* Packed lines of fewer elements do not push each other out of the first-level cache. */
#define FL_CLOSE_PITCH 256

/* Four lines at a time where packed lines may share a few sets of the caches. */
static void transpose_tile(packed_tile *tile, ptrdiff_t width, ptrdiff_t lines, real *packed, ptrdiff_t pitch,
                           int out) {
    ptrdiff_t const most = width < 4 || lines < 4 || pitch < FL_CLOSE_PITCH ? lines : 4;
    for (ptrdiff_t i = 0; i < lines; i += most) {
        ptrdiff_t const line = i + most <= lines ? i : lines - most;
        if (out)
            transpose(packed + line * pitch, pitch, most, width, tile->of[0] + line, FL_TILE_ROWS);
        else
            transpose(tile->of[0] + line, FL_TILE_ROWS, width, most, packed + line * pitch, pitch);
    }
}

#define FL_COPY_OWN(type)                                                                                    \
    case sizeof(type):                                                                                       \
        for (ptrdiff_t i = 0; i < lines; i++)                                                                \
            if (own[i])                                                                                      \
                memcpy(to + i * to_stride, from + i * from_stride, sizeof(type));                            \
        break;

/* Elements of the lines that are the group's own. */
static void copy_own(char *to, ptrdiff_t to_stride, char const *from, ptrdiff_t from_stride, ptrdiff_t lines,
                     size_t size, unsigned char const *own) {
    switch (size) {
        FL_COPY_OWN(uint16_t)
        FL_COPY_OWN(uint32_t)
        FL_COPY_OWN(uint64_t)
    }
}

/* One place of lines with gaps. What other groups may write at the same time is not even read. */
static void store_place(fl_rectangle const *r, char *address, ptrdiff_t stride, real const *from,
                        ptrdiff_t lines) {
    char scratch[FL_TILE_ROWS * sizeof(double)];
    fl_storage const storage = r->array->storage;
    size_t const size = storage_size[storage];
    store(scratch, from, (ptrdiff_t)size, lines, storage, r->array->swapped, 0);
    copy_own(address, stride, scratch, (ptrdiff_t)size, lines, size, r->own);
}

static void load_place(fl_rectangle const *r, real *to, char const *address, ptrdiff_t stride,
                       ptrdiff_t lines) {
    char scratch[FL_TILE_ROWS * sizeof(double)] = {0};
    fl_storage const storage = r->array->storage;
    size_t const size = storage_size[storage];
    copy_own(scratch, (ptrdiff_t)size, address, stride, lines, size, r->own);
    load(to, scratch, (ptrdiff_t)size, lines, storage, r->array->swapped);
}

static void copy_by_tiles(fl_rectangle const *r) {
    fl_array const *const array = r->array;
    fl_layout const *const layout = r->layout;
    ptrdiff_t const stride = layout->stride[layout->fast];
    char *place[FL_PACKED_WIDTH], *next[FL_PACKED_WIDTH];
    packed_tile tile;
    for (ptrdiff_t p = 0; p < FL_PACKED_WIDTH && r->first + p < r->last; p++)
        next[p] = r->address + offset_of(layout, 0, layout->fast, r->first + p);
    for (ptrdiff_t left = r->first, width; left < r->last; left += width) {
        width = r->last - left < FL_PACKED_WIDTH ? r->last - left : FL_PACKED_WIDTH;
        for (ptrdiff_t p = 0; p < width; p++) {
            ptrdiff_t const ahead = left + FL_PACKED_WIDTH + p;
            place[p] = next[p];
            next[p] = ahead < r->last ? r->address + offset_of(layout, 0, layout->fast, ahead)
                                      : place[p] + FL_TILE_ROWS * stride;
        }
        for (ptrdiff_t top = 0, lines; top < r->lines; top += lines) {
            lines = r->lines - top < FL_TILE_ROWS ? r->lines - top : FL_TILE_ROWS;
            real *const packed = r->packed + top * r->pitch + left - r->first;
            if (r->out)
                transpose_tile(&tile, width, lines, packed, r->pitch, 1);
            for (ptrdiff_t p = 0; p < width; p++) {
                char *const address = place[p] + top * stride;
                /* No processor foresees such strides: the lines of the next tile. */
                for (ptrdiff_t k = 0; k <= FL_TILE_ROWS * 4 && !r->streamed; k += FL_LINE_BYTES)
                    __builtin_prefetch(next[p] + top * stride + k);
                if (r->out && r->gaps)
                    store_place(r, address, stride, tile.of[p], lines);
                else if (r->overwritten && r->gaps)
                    load_place(r, tile.of[p], address, stride, lines);
                else if (r->out)
                    store(address, tile.of[p], stride, lines, array->storage, array->swapped, r->streamed);
                else
                    load(tile.of[p], address, stride, lines, array->storage, array->swapped);
            }
            if (!r->out)
                transpose_tile(&tile, width, lines, packed, r->pitch, 0);
        }
    }
}

#define FL_COPY_WORDS(bytes_of_word)                                                                         \
    for (ptrdiff_t k = 0; k < bytes; k += bytes_of_word) {                                                   \
        ptrdiff_t const word = k + bytes_of_word <= bytes ? k : bytes - bytes_of_word;                       \
        for (ptrdiff_t r = 0; r < rows; r++)                                                                 \
            memcpy(to + word + r * to_stride, from + word + r * from_stride, bytes_of_word);                 \
    }

/* Short rows from one stride to another, by columns of words; the last may overlap the one before. */
static void copy_rows(char *restrict to, ptrdiff_t to_stride, char const *restrict from,
                      ptrdiff_t from_stride, ptrdiff_t rows, ptrdiff_t bytes) {
    if (bytes >= 64)
        FL_COPY_WORDS(64)
    else if (bytes >= 32)
        FL_COPY_WORDS(32)
    else if (bytes >= 16)
        FL_COPY_WORDS(16)
    else if (bytes >= 8)
        FL_COPY_WORDS(8)
    else if (bytes >= 4)
        FL_COPY_WORDS(4)
    else
        FL_COPY_WORDS(1)
}

/* Whole lines of few elements. */
static void copy_by_batches(fl_rectangle const *r) {
    fl_array const *const array = r->array;
    ptrdiff_t const size = r->layout->stride[0], stride = r->layout->stride[1], places = r->last - r->first;
    ptrdiff_t const bytes = places * size;
    char scratch[FL_SCRATCH_BYTES];
    for (ptrdiff_t top = 0, lines; top < r->lines; top += lines) {
        lines = r->lines - top < FL_BLOCK / places ? r->lines - top : FL_BLOCK / places;
        char *const address = r->address + top * stride;
        real *const packed = r->packed + top * places;
        int const direct = array->storage == FL_REAL_STORAGE && !array->swapped;
        char *const batch = direct ? (char *)packed : scratch;
        if (!r->out)
            copy_rows(batch, bytes, address, stride, lines, bytes);
        if (r->out && !direct)
            store(batch, packed, size, lines * places, array->storage, array->swapped, 0);
        if (!r->out && !direct)
            load(packed, batch, size, lines * places, array->storage, array->swapped);
        if (r->out)
            copy_rows(address, stride, batch, bytes, lines, bytes);
    }
}

static void copy_by_lines(fl_rectangle const *r) {
    fl_array const *const array = r->array;
    ptrdiff_t const step = r->layout->stride[0];
    for (ptrdiff_t line = 0; line < r->lines; line++)
        for (ptrdiff_t p = r->first, n; p < r->last; p += n) {
            n = r->last - p < FL_BLOCK ? r->last - p : FL_BLOCK;
            char *const address = r->address + line * r->layout->stride[1] + p * step;
            real *const packed = r->packed + line * r->pitch + p - r->first;
            if (r->out)
                store(address, packed, step, n, array->storage, array->swapped, r->streamed);
            else
                load(packed, address, step, n, array->storage, array->swapped);
        }
}

static void copy_rectangle(fl_rectangle const *r) {
    fl_layout const *const layout = r->layout;
    ptrdiff_t const places = r->last - r->first;
    int const contiguous = layout->stride[0] == (ptrdiff_t)storage_size[r->array->storage];
    if (r->lines == 0)
        return;
    if (layout->transposed || (!contiguous && places <= FL_PACKED_WIDTH))
        copy_by_tiles(r);
    else if (contiguous && places <= FL_PACKED_COLUMNS && places == r->pitch)
        copy_by_batches(r);
    else
        copy_by_lines(r);
}

/* The rows of a group, as elements: of range k from first[k] to last[k]. Element e is packed as
 * e - origin + k * skip, so that lines keep their distance across ranges, with a pad behind each row. */
typedef struct {
    ptrdiff_t count, origin, skip, columns, pad;
    ptrdiff_t first[FL_TILE_ROWS], last[FL_TILE_ROWS];
} fl_ranges;

static ptrdiff_t packed_place(fl_ranges const *ranges, ptrdiff_t element, ptrdiff_t k) {
    ptrdiff_t const columns = ranges->columns;
    return element - ranges->origin + k * ranges->skip +
           (element / columns - ranges->origin / columns) * ranges->pad;
}

/* Adds lines to a rectangle, if they go on where it ends; if `gapped`, also behind lines that are not the
 * group's, which have their places among those packed. */
static int goes_on(fl_rectangle *r, ptrdiff_t begun, ptrdiff_t line, ptrdiff_t lines, real *packed,
                   ptrdiff_t pitch, int gapped) {
    ptrdiff_t const extent = r->layout->shape[r->layout->fast], after = line - begun;
    if (r->lines == 0 || line / extent != begun / extent ||
        (gapped ? after >= FL_TILE_ROWS : after != r->lines))
        return 0;
    ptrdiff_t const step = r->lines > 1 ? r->pitch : (packed - r->packed) / after;
    if (packed != r->packed + after * step || (lines > 1 && step != pitch))
        return 0;
    if (gapped) {
        memset(r->own + r->lines, 0, (size_t)(after - r->lines));
        r->own[after] = 1;
    }
    r->gaps |= after > r->lines;
    r->pitch = step;
    r->lines = after + lines;
    return 1;
}

static int by_size(void const *a, void const *b) {
    ptrdiff_t const x = *(ptrdiff_t const *)a, y = *(ptrdiff_t const *)b;
    return (x > y) - (x < y);
}

/* Packs the elements of an array, or their outputs out: by rectangles whose sides are where ranges begin and
 * end. */
static void copy_ranges(fl_array const *array, fl_layout const *layout, fl_ranges const *ranges, real *memory,
                        int gapped, int out, int overwritten, int streamed) {
    ptrdiff_t side[2 * FL_TILE_ROWS + 2 + FL_PADDED_ROWS], sides = 2;
    ptrdiff_t const extent = layout->extent, shape = layout->shape[layout->fast];
    ptrdiff_t const pitch = extent + extent / ranges->columns * ranges->pad;
    side[0] = 0;
    side[1] = extent;
    for (ptrdiff_t k = 0; k < ranges->count; k++) {
        side[sides++] = ranges->first[k] % extent;
        side[sides++] = ranges->last[k] % extent;
    }
    for (ptrdiff_t row = ranges->columns; row < extent && ranges->pad; row += ranges->columns)
        side[sides++] = row;
    qsort(side, (size_t)sides, sizeof *side, by_size);
    for (ptrdiff_t s = 0; s + 1 < sides; s++) {
        fl_rectangle r;
        r.array = array;
        r.layout = layout;
        r.out = out;
        r.overwritten = overwritten;
        r.streamed = streamed;
        r.lines = 0;
        ptrdiff_t begun = 0;
        r.first = side[s];
        r.last = side[s + 1];
        for (ptrdiff_t k = 0; k < ranges->count && r.first < r.last; k++) {
            ptrdiff_t const end = (ranges->last[k] - r.first + extent - 1) / extent;
            ptrdiff_t line = (ranges->first[k] - r.first + extent - 1) / extent;
            for (ptrdiff_t lines; line < end; line += lines) {
                ptrdiff_t const left = shape - line % shape;
                real *const packed = memory + packed_place(ranges, line * extent + r.first, k);
                lines = end - line < left ? end - line : left;
                if (goes_on(&r, begun, line, lines, packed, pitch, gapped))
                    continue;
                copy_rectangle(&r);
                begun = line;
                r.address = array->data + offset_of(layout, layout->fast, layout->count, line);
                r.lines = lines;
                r.packed = packed;
                r.pitch = pitch;
                r.gaps = 0;
                r.own[0] = 1;
            }
        }
        copy_rectangle(&r);
    }
}

static ptrdiff_t quotient_up(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

static void run_group(fl_call const *call, fl_grouping const *grouping, ptrdiff_t group, fl_rows_task *run,
                      void *context) {
    ptrdiff_t const rows = grouping->rows, columns = call->columns, distance = grouping->distance;
    ptrdiff_t const block = group / grouping->windows * grouping->ranges, window = group % grouping->windows;
    ptrdiff_t const line = FL_LINE_BYTES / (ptrdiff_t)sizeof(real);
    ptrdiff_t task[FL_TILE_ROWS];
    fl_ranges ranges = {.count = grouping->ranges, .columns = columns};
    for (ptrdiff_t k = 0; k < ranges.count; k++) {
        ptrdiff_t const end = quotient_up((block + k + 1) * distance, rows);
        ptrdiff_t const first = quotient_up((block + k) * distance, rows) + window * grouping->tasks;
        ptrdiff_t const last = first + grouping->tasks < end ? first + grouping->tasks : end;
        task[k] = first;
        ranges.first[k] = (first * rows < call->rows ? first * rows : call->rows) * columns;
        ranges.last[k] = (last * rows < call->rows ? last * rows : call->rows) * columns;
    }
    ptrdiff_t pitch = ranges.last[0] - ranges.first[0];
    ranges.origin = ranges.first[0];
    if (ranges.count > 1) {
        /* They begin up to a task later than the distance says. */
        ranges.origin = (block * distance + window * grouping->tasks * rows) * columns;
        pitch = (grouping->tasks + 1) * rows * columns + line;
        ranges.skip = pitch - distance * columns;
    } else if (call->inner_dimensions <= 1 && columns * (ptrdiff_t)sizeof(real) % FL_SET_BYTES == 0) {
        ranges.pad = line;
        pitch += pitch / columns * line;
    }
    ptrdiff_t const step = quotient_up(pitch * ranges.count, line) * line;

    fl_call packed = *call;
    fl_array *from[FL_PACKED_ARRAYS], *to[FL_PACKED_ARRAYS];
    fl_layout layout[FL_PACKED_ARRAYS];
    real *memory[FL_PACKED_ARRAYS] = {NULL};
    list_arrays((fl_call *)call, from);
    list_arrays(&packed, to);
    int count = 0, is_packed[FL_PACKED_ARRAYS], gapped[FL_PACKED_ARRAYS];
    for (int i = 0; i < FL_PACKED_ARRAYS; i++)
        count += is_packed[i] =
            is_scattered(call, from[i], &layout[i]) || is_joined(call, from[i], &layout[i]);
    void *const all = malloc((size_t)(count * step + line) * sizeof(real));
    real *next = (real *)((char *)all + -(uintptr_t)all % FL_LINE_BYTES);
    for (int i = 0; i < FL_PACKED_ARRAYS && all; i++) {
        if (!is_packed[i])
            continue;
        memory[i] = next;
        gapped[i] = ranges.count > 1 && layout[i].extent == distance * columns;
        next += step;
        if (i < 2)
            copy_ranges(from[i], &layout[i], &ranges, memory[i], gapped[i], 0, is_overwritten(call, from[i]),
                        0);
        else
            packed.rows = grouping->tasks * rows; /* the kernels' outputs are no larger than the caches */
        *to[i] = (fl_array){.storage = FL_REAL_STORAGE, .column_stride = sizeof(real)};
        ptrdiff_t stride = (columns + ranges.pad) * (ptrdiff_t)sizeof(real);
        to[i]->data = (char *)memory[i] - ranges.origin / columns * stride;
        for (int d = call->dimensions - 1; d >= 0; stride *= call->shape[d--])
            to[i]->row_strides[d] = stride;
    }
    if (all && call->inner_dimensions > 1)
        packed.inner_dimensions = 1;
    for (ptrdiff_t k = 0; k < ranges.count; k++) {
        ptrdiff_t const last = ranges.last[k] / columns;
        for (ptrdiff_t first = ranges.first[k] / columns; first < last; first += rows)
            run(context, &packed, task[k]++, first, first + rows < last ? first + rows : last);
        for (int i = 0; i < FL_PACKED_ARRAYS; i++)
            if (memory[i])
                to[i]->data += ranges.skip * (ptrdiff_t)sizeof(real);
    }
    for (int i = 2; i < FL_PACKED_ARRAYS; i++)
        if (memory[i])
            copy_ranges(from[i], &layout[i], &ranges, memory[i], gapped[i], 1, 0, streams(call));
    free(all);
}

#endif
