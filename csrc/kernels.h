/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the object files of one (dtype, instruction set) offer to the rest.
 */
#ifndef FL_KERNELS_H
#define FL_KERNELS_H

#include <math.h>

#include "fastloss.h"

/* An unevaluated sum of two doubles. */
typedef struct {
    double high, low;
} fl_sum;

/* Adds a term; the rounding error goes to low (Knuth's TwoSum). */
static inline void fl_add(fl_sum *sum, double term) {
    double const high = sum->high + term, part = high - sum->high;
    sum->low += (sum->high - (high - part)) + (term - part);
    sum->high = high;
}

/* An infinite sum has a NaN for its error. */
static inline double fl_value(fl_sum sum) { return sum.low == sum.low ? sum.high + sum.low : sum.high; }

static inline int fl_is_bounded(fl_bounds bounds) {
    return bounds.low < bounds.high && (bounds.low > -INFINITY || bounds.high < INFINITY);
}

/* Elements of a task: a number of rows, or a part of a long row. */
#define FL_TASK_ELEMENTS 16384

/* Parts of a long row whose sums are kept at a time. */
#define FL_WAVE 128

/* Rows first .. last-1: adds their weighted losses to loss and writes the outputs. */
typedef fl_status fl_kernel(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,
                            fl_sum *loss);

/* Rows first .. last-1: their count and weight, or their bounds; the status tells about totals->bad_row. */
typedef fl_status fl_row_check(fl_call const *call, ptrdiff_t first, ptrdiff_t last, fl_totals *totals);

/* Rows first .. last-1: whether every element of y_true is 0 or 1. */
typedef int fl_binary_check(fl_call const *call, ptrdiff_t first, ptrdiff_t last);

/* Of the rows of a task. */
typedef void fl_rows_task(void *context, fl_call const *call, ptrdiff_t index, ptrdiff_t first,
                          ptrdiff_t last);

#define FL_TILE_ROWS 64 /* lines that are packed at a time */

/* Tasks whose rows are packed together: ranges of tasks that follow each other. Those of a group begin some
 * distance from each other, and groups lie side by side within that distance. */
typedef struct {
    ptrdiff_t rows;     /* of a task */
    ptrdiff_t tasks;    /* of a range, at most; 0: nothing is packed */
    ptrdiff_t ranges;   /* of a group, at most FL_TILE_ROWS */
    ptrdiff_t distance; /* in rows; each range begins with the first task that does so after it */
    ptrdiff_t windows;  /* groups within the distance */
} fl_grouping;

/* Runs the tasks of a group where they are best read. */
typedef void fl_group_runner(fl_call const *call, fl_grouping const *grouping, ptrdiff_t group,
                             fl_rows_task *run, void *context);

typedef struct {
    fl_kernel *const *losses;
    fl_row_check *check_rows, *check_bounds;
    fl_binary_check *check_binary;
    ptrdiff_t (*scattered_extent)(fl_call const *call); /* 0: nothing is to be packed */
    fl_group_runner *run_group;
    ptrdiff_t (*workspace_bytes)(fl_call const *call); /* that a thread needs; -1: no memory has them */
} fl_table;

/* The table of a dtype (FL_FLOAT32 or FL_FLOAT64) for the instruction set in use. */
fl_table const *fl_active_table(int dtype);

#endif
