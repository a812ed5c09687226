/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Splits a call into tasks of a fixed number of rows, and combines their sums in order.
 */
#include <stdlib.h>

#include "fastloss.h"
#include "kernels.h"
#include "parallel.h"

#define FL_LOSS(name, kind, element, parameters) {#name, #kind, #element, parameters, kind},
fl_loss_info const fl_losses[] = {
#include "losses.def"
};
#undef FL_LOSS

int const fl_loss_count = sizeof fl_losses / sizeof *fl_losses;

#define FL_INLINE_TASKS 64

/* Groups of tasks between which labels are asked whether they are binary. */
#define FL_WAVE_GROUPS 64

/* Lines of memory that are worth to be packed together, and elements of an array at most. */
#define FL_LEAST_LINES 4
#define FL_PACKED_ELEMENTS (1 << 20)

ptrdiff_t fl_block_rows(ptrdiff_t columns) {
    ptrdiff_t rows = FL_TASK_ELEMENTS;
    while (rows > 1 && columns > FL_TASK_ELEMENTS / rows)
        rows /= 2;
    return rows;
}

double fl_row_divisor(int loss, ptrdiff_t columns) {
    fl_kind const kind = fl_losses[loss].kind;
    return (kind == POINTWISE_MEAN || kind == WEIGHTED_MEAN) && columns ? (double)columns : 1;
}

typedef struct {
    fl_call const *call;
    fl_table const *table;
    fl_rows_task *run;
    fl_grouping grouping;
    ptrdiff_t groups; /* of tasks; a task each if nothing is packed */
    double factor;
    fl_sum *sums;
    fl_totals *totals;
    fl_status *status;
    fl_row_check *check;
    int other; /* y_true is not binary */
} task_context;

/* Rows of a task. An alignment is a task of its own; the kernel of pairs makes its own tasks of all rows. */
static ptrdiff_t task_rows(fl_call const *call) {
    fl_kind const kind = fl_losses[call->loss].kind;
    if (kind == PAIRS)
        return call->rows ? call->rows : 1;
    return kind == ALIGNMENT ? 1 : fl_block_rows(call->columns);
}

/* Long rows are split by their kernel, if there are too few for the threads to share. */
static int splits_rows(fl_call const *call) {
    fl_kind const kind = fl_losses[call->loss].kind;
    return call->columns > FL_TASK_ELEMENTS && call->rows < 4 * call->threads &&
           (kind == POINTWISE_MEAN || kind == POINTWISE_SUM || kind == WEIGHTED_MEAN || kind == SOFTMAX ||
            kind == SPARSE_SOFTMAX || kind == ROW || kind == ROW_MAXIMUM);
}

ptrdiff_t fl_work(fl_call const *call) {
    fl_kind const kind = fl_losses[call->loss].kind;
    ptrdiff_t const elements = call->rows * call->columns;
    if (kind == PAIRS)
        return elements * call->references;
    return kind == ALIGNMENT ? elements * call->steps : elements;
}

static int thread_count(fl_call const *call) {
    return splits_rows(call) || fl_work(call) < FL_SERIAL_WORK ? 1 : call->threads;
}

/* Tasks that are packed together, so that there are enough lines beside each other to use whole lines of the
 * cache: tasks that follow each other, or, if a line is longer, of many lines. */
static void group_tasks(task_context *context, ptrdiff_t rows) {
    fl_call const *const call = context->call;
    ptrdiff_t const extent = splits_rows(call) ? 0 : context->table->scattered_extent(call);
    ptrdiff_t const task = rows * call->columns, tasks = (call->rows + rows - 1) / rows;
    int const threads = thread_count(call), is_long = extent > task;
    ptrdiff_t group = 1;
    context->grouping = (fl_grouping){.rows = rows};
    context->groups = tasks;
    if (!extent || task == 0 || task > FL_PACKED_ELEMENTS)
        return;
    ptrdiff_t const most = is_long ? FL_TILE_ROWS : (FL_TILE_ROWS * extent + task - 1) / task;
    while (group < most && group * task < FL_PACKED_ELEMENTS / 2 &&
           (threads == 1 || group * 8 * threads <= tasks))
        group *= 2;
    if (is_long ? group < FL_LEAST_LINES : group * rows == 1 && extent >= call->columns)
        return;
    fl_grouping *const grouping = &context->grouping;
    grouping->ranges = is_long ? group : 1;
    grouping->tasks = group / grouping->ranges;
    grouping->distance = is_long ? extent / call->columns : group * rows;
    grouping->windows = (grouping->distance + grouping->tasks * rows - 1) / (grouping->tasks * rows);
    ptrdiff_t const block = grouping->ranges * grouping->distance;
    context->groups = (call->rows + block - 1) / block * grouping->windows;
}

static void run_group(void *argument, ptrdiff_t index) {
    task_context *const context = argument;
    ptrdiff_t const rows = context->grouping.rows, first = index * rows, end = first + rows;
    if (context->grouping.tasks)
        context->table->run_group(context->call, &context->grouping, index, context->run, context);
    else
        context->run(context, context->call, index, first,
                     end < context->call->rows ? end : context->call->rows);
    fl_fence();
}

static void check_task(void *argument, fl_call const *call, ptrdiff_t index, ptrdiff_t first,
                       ptrdiff_t last) {
    task_context *const context = argument;
    context->status[index] = context->check(call, first, last, &context->totals[index]);
}

/* Checks all rows; the first bad one counts. */
static fl_status check(fl_call const *call, fl_row_check *of_rows, fl_totals *totals) {
    fl_totals few[FL_INLINE_TASKS];
    fl_status few_status[FL_INLINE_TASKS];
    ptrdiff_t const rows = task_rows(call), tasks = (call->rows + rows - 1) / rows;
    int const inline_tasks = tasks <= FL_INLINE_TASKS;
    task_context context = {
        .call = call, .table = fl_active_table(call->dtype), .run = check_task, .check = of_rows};
    context.grouping.rows = rows;
    context.groups = tasks;
    if (of_rows == context.table->check_bounds)
        group_tasks(&context, rows);
    context.totals = inline_tasks ? few : malloc((size_t)tasks * sizeof *context.totals);
    context.status = inline_tasks ? few_status : malloc((size_t)tasks * sizeof *context.status);
    fl_status status = context.totals && context.status ? FL_OK : FL_NO_MEMORY;
    if (status == FL_OK) {
        for (ptrdiff_t i = 0; i < tasks; i++)
            context.totals[i] = (fl_totals){0};
        fl_parallel_for(context.groups, call->rows < FL_SERIAL_WORK ? 1 : call->threads, run_group, &context);
        fl_sum weight = {totals->weight, totals->weight_low};
        for (ptrdiff_t i = 0; i < tasks && status == FL_OK; i++) {
            status = context.status[i];
            totals->bad_row = context.totals[i].bad_row;
            totals->bad_column = context.totals[i].bad_column;
            fl_add(&weight, context.totals[i].weight);
            weight.low += context.totals[i].weight_low;
            totals->count += context.totals[i].count;
        }
        totals->weight = weight.high;
        totals->weight_low = weight.low;
    }
    if (!inline_tasks) {
        free(context.totals);
        free(context.status);
    }
    return status;
}

fl_status fl_prepare(fl_call const *call, fl_totals *totals) {
    fl_kind const kind = fl_losses[call->loss].kind;
    int const has_labels = call->labels || kind == SPARSE_SOFTMAX || kind == SPARSE_NORMALIZE ||
                           kind == SPARSE_PROBABILITY || kind == ALIGNMENT || kind == PAIRS;
    if (has_labels || call->has_ignore_class || call->sample_weight.data || call->mask.data)
        return check(call, fl_active_table(call->dtype)->check_rows, totals);
    fl_sum weight = {totals->weight, totals->weight_low};
    fl_add(&weight, (double)call->rows);
    totals->weight = weight.high;
    totals->weight_low = weight.low;
    totals->count += call->rows;
    return FL_OK;
}

fl_status fl_check_bounds(fl_call const *call, fl_totals *totals) {
    fl_call inputs = *call;
    inputs.gradient.data = inputs.hessian.data = NULL;
    return check(&inputs, fl_active_table(call->dtype)->check_bounds, totals);
}

static void run_task(void *argument, fl_call const *call, ptrdiff_t index, ptrdiff_t first, ptrdiff_t last) {
    task_context *const context = argument;
    context->sums[index] = (fl_sum){0, 0};
    fl_status const status =
        context->table->losses[call->loss](call, first, last, context->factor, &context->sums[index]);
    if (status != FL_OK)
        __atomic_store_n(context->status, status, __ATOMIC_RELAXED);
}

/* Before anything is written: a task that found no memory would leave the outputs half-written. */
static void *new_workspace(fl_call const *call) {
    ptrdiff_t const bytes = call->workspace_bytes, parts = call->workspace_parts;
    char *const workspace =
        bytes < 0 || bytes > PTRDIFF_MAX / (parts + 1) ? NULL : malloc((size_t)(bytes * parts + 1));
    for (ptrdiff_t i = 0; i < parts && workspace; i++)
        workspace[i * bytes] = 0;
    return workspace;
}

fl_status fl_run(fl_call const *call, double factor, fl_totals *totals) {
    fl_sum few[FL_INLINE_TASKS];
    ptrdiff_t const rows = task_rows(call), tasks = (call->rows + rows - 1) / rows;
    int const inline_tasks = tasks <= FL_INLINE_TASKS;
    int const threads = thread_count(call);
    int out_of_bounds = 0;
    fl_call own;
    ptrdiff_t const workspace = fl_active_table(call->dtype)->workspace_bytes(call);
    if (workspace || fl_is_bounded(call->true_bounds) || fl_is_bounded(call->pred_bounds)) {
        own = *call;
        own.out_of_bounds = &out_of_bounds;
        own.workspace = NULL;
        own.workspace_bytes = workspace;
        own.workspace_parts = threads < tasks ? threads : (int)tasks;
        call = &own;
    }
    fl_status status = FL_OK;
    task_context context = {.call = call,
                            .table = fl_active_table(call->dtype),
                            .run = run_task,
                            .factor = factor,
                            .status = &status};
    context.sums = inline_tasks ? few : malloc((size_t)tasks * sizeof *context.sums);
    if (!context.sums || (workspace && !(own.workspace = new_workspace(&own)))) {
        status = FL_NO_MEMORY;
        goto end;
    }
    group_tasks(&context, rows);
    fl_parallel_for(context.groups, threads, run_group, &context);
    fl_sum loss = {totals->loss, totals->loss_low};
    for (ptrdiff_t i = 0; i < tasks; i++) {
        fl_add(&loss, context.sums[i].high);
        loss.low += context.sums[i].low;
    }
    totals->loss = loss.high;
    totals->loss_low = loss.low;
end:
    if (workspace)
        free(own.workspace);
    if (!inline_tasks)
        free(context.sums);
    if (status != FL_OK)
        return status;
    /* Hidden rows may be out of bounds. */
    return out_of_bounds ? fl_check_bounds(call, totals) : FL_OK;
}

double fl_denominator(fl_totals const *totals, fl_reduction reduction) {
    if (reduction == FL_SUM_OVER_BATCH_SIZE)
        return (double)totals->count;
    if (reduction == FL_MEAN_WITH_SAMPLE_WEIGHT)
        return fl_value((fl_sum){totals->weight, totals->weight_low});
    return 1;
}

double fl_reduce(fl_totals const *totals, fl_reduction reduction) {
    double const sum = fl_value((fl_sum){totals->loss, totals->loss_low});
    double const denominator = fl_denominator(totals, reduction);
    return denominator == 0 ? 0 : sum / denominator;
}

static void binary_task(void *argument, fl_call const *call, ptrdiff_t index, ptrdiff_t first,
                        ptrdiff_t last) {
    task_context *const context = argument;
    (void)index;
    if (!context->table->check_binary(call, first, last))
        __atomic_store_n(&context->other, 1, __ATOMIC_RELAXED);
}

/* Waves of groups, a single one first: labels of -1 and 1 are told from the first rows. */
typedef struct {
    task_context *context;
    ptrdiff_t first;
} wave;

static void wave_group(void *argument, ptrdiff_t index) {
    wave *const w = argument;
    run_group(w->context, w->first + index);
}

int fl_labels_are_binary(fl_call const *call) {
    fl_call labels = *call;
    labels.y_pred.data = labels.gradient.data = labels.hessian.data = NULL;
    task_context context = {.call = &labels, .table = fl_active_table(call->dtype), .run = binary_task};
    group_tasks(&context, fl_block_rows(call->columns));
    for (wave w = {&context, 0}; w.first < context.groups && !context.other;) {
        ptrdiff_t const most = w.first ? FL_WAVE_GROUPS : 1, left = context.groups - w.first;
        ptrdiff_t const count = left < most ? left : most;
        fl_parallel_for(count, thread_count(call), wave_group, &w);
        w.first += count;
    }
    return !context.other;
}
