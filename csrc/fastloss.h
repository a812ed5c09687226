/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The C API of fastloss: everything that the Python binding, or another C program, calls.
 */
#ifndef FASTLOSS_H
#define FASTLOSS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __GNUC__
#define FL_API __attribute__((visibility("default")))
#else
#define FL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define FL_MAX_PARAMETERS 4
#define FL_MAX_DIMENSIONS 16
/* Elements from which on a call uses threads. Measured (bench/calls.py --threads), two threads need 2 us more
 * than half of what one needs, and about 8 us more if they have to be woken. That pays for the cheapest
 * losses from 25 K elements on, asleep from 100 K; for the dearest long before the 16 K of a task. One number
 * costs none of them more than 10 us, so that the cost of each need not be known. */
#define FL_SERIAL_WORK 32768

/* How the elements of an array lie in memory. */
typedef enum {
    FL_FLOAT32,
    FL_FLOAT64,
    FL_FLOAT16,
    FL_BFLOAT16,
    FL_BOOL,
    FL_INT8,
    FL_INT16,
    FL_INT32,
    FL_INT64,
    FL_UINT8,
    FL_UINT16,
    FL_UINT32,
    FL_UINT64
} fl_storage;

/* A strided array of rows and columns; data == NULL means that the argument is absent.
 * Strides are in bytes, may be zero or negative, and need not be aligned. The rows are numbered
 * over the outer dimensions of the call, last one fastest, and the columns over the inner ones. */
typedef struct {
    char *data;
    fl_storage storage;
    int swapped;             /* not the byte order of this machine */
    ptrdiff_t column_stride; /* of the last inner dimension */
    ptrdiff_t row_strides[FL_MAX_DIMENSIONS];
    ptrdiff_t inner_strides[FL_MAX_DIMENSIONS]; /* set if there are several inner dimensions */
} fl_array;

/* What the elements of an argument may be; NaN passes. {0, 0}: anything. */
typedef struct {
    double low, high;
} fl_bounds;

typedef enum { FL_SUM_OVER_BATCH_SIZE, FL_SUM, FL_MEAN_WITH_SAMPLE_WEIGHT, FL_NONE } fl_reduction;

typedef enum {
    FL_OK,
    FL_NO_MEMORY,
    FL_BAD_LABEL,
    FL_BAD_WEIGHT,
    FL_BAD_TRUE, /* y_true or y_pred out of bounds */
    FL_BAD_PRED,
    FL_BAD_PADDING,  /* ALIGNMENT: a label after a 0 */
    FL_BAD_REFERENCE /* PAIRS: a label of the references, whose row is bad_row */
} fl_status;

/* One evaluation of a loss. */
typedef struct {
    int loss;  /* index into fl_losses */
    int dtype; /* FL_FLOAT32 or FL_FLOAT64: what is computed in */
    int threads;
    int dimensions; /* outer dimensions; their product is rows */
    ptrdiff_t shape[FL_MAX_DIMENSIONS];
    int inner_dimensions; /* their product is columns; 0 means 1 */
    ptrdiff_t inner_shape[FL_MAX_DIMENSIONS];
    ptrdiff_t rows, columns;
    fl_array y_true, y_pred; /* y_true of a sparse loss has one column */
    fl_array sample_weight;  /* one column */
    fl_array mask;           /* one column, FL_BOOL */
    fl_array losses;         /* output, one column: the weighted loss of each row */
    fl_array gradient;       /* output */
    fl_array hessian;        /* output: the diagonal */
    double parameters[FL_MAX_PARAMETERS];
    double label_scale, label_shift; /* y_true is replaced by label_scale * y_true + label_shift */
    int labels;                      /* y_true of a dense loss holds a label for each row */
    int has_ignore_class;
    int64_t ignore_class;
    double const *class_weight;    /* of each column, or NULL */
    ptrdiff_t class_weight_stride; /* 1, or 0: one for all */
    fl_bounds true_bounds, pred_bounds;
    int *out_of_bounds; /* set by fl_run */
    /* ALIGNMENT: memory that tasks take turns with, a part for each thread; set by fl_run. */
    void *workspace;
    ptrdiff_t workspace_bytes; /* of a part */
    int workspace_parts;
    /* ALIGNMENT: inner_strides of y_pred and the gradient are those of the steps and of the classes, which
     * are the columns; y_true has label_columns. */
    ptrdiff_t steps, label_columns;
    /* PAIRS: what the rows are compared with; the rows themselves if data is NULL. */
    ptrdiff_t references;
    fl_array reference, reference_label;
} fl_call;

/* Sums over the rows seen so far, each as an unevaluated sum of two doubles. */
typedef struct {
    double loss, loss_low;
    double weight, weight_low;
    int64_t count;
    ptrdiff_t bad_row; /* first offending row of the last call, when its status says so; its column */
    ptrdiff_t bad_column;
} fl_totals;

/* Which loop runs the element function; losses.def says what each does. */
typedef enum {
    POINTWISE_MEAN,
    POWER_MEAN = POINTWISE_MEAN,
    POINTWISE_SUM,
    WEIGHTED_MEAN,
    SOFTMAX,
    SPARSE_SOFTMAX,
    NORMALIZE,
    SPARSE_NORMALIZE,
    SPARSE_PROBABILITY,
    ROW,
    ROW_MAXIMUM,
    LOCATION_SCALE,
    ALIGNMENT,
    PAIRS
} fl_kind;

typedef struct {
    char const *name;
    char const *kind_name;
    char const *element;    /* element function */
    char const *parameters; /* names, separated by commas */
    fl_kind kind;
} fl_loss_info;

extern FL_API fl_loss_info const fl_losses[];
extern FL_API int const fl_loss_count;

/* Adds count and weight of the rows to totals; refuses bad labels and weights before anything is
 * written. */
FL_API fl_status fl_prepare(fl_call const *call, fl_totals *totals);

/* Looks for elements out of bounds in rows that count. */
FL_API fl_status fl_check_bounds(fl_call const *call, fl_totals *totals);

/* Adds the losses of the rows to totals and writes the outputs. Each element of the gradient and
 * Hessian is multiplied by the row's weight and by factor. If an element is out of bounds, the outputs and
 * totals are of no use. */
FL_API fl_status fl_run(fl_call const *call, double factor, fl_totals *totals);

/* What the reduction divides the sum of the losses by. */
FL_API double fl_denominator(fl_totals const *totals, fl_reduction reduction);

/* The reduced value; 0 / 0 is 0. */
FL_API double fl_reduce(fl_totals const *totals, fl_reduction reduction);

/* What the loss of a row divides its sum over the columns by: columns, or 1 for a sum. */
FL_API double fl_row_divisor(int loss, ptrdiff_t columns);

/* Elements that a call looks at. */
FL_API ptrdiff_t fl_work(fl_call const *call);

/* Rows that are summed as one unit. Feeding rows in multiples of this number gives the same bits as
 * feeding them at once. */
FL_API ptrdiff_t fl_block_rows(ptrdiff_t columns);

/* Whether every element of y_true is 0 or 1. */
FL_API int fl_labels_are_binary(fl_call const *call);

/* Instruction sets, best first. The best supported one is in use from the start. */
FL_API int fl_isa_count(void);
FL_API char const *fl_isa_name(int isa);
FL_API int fl_isa_is_supported(int isa);
FL_API void fl_set_isa(int isa);
FL_API int fl_get_isa(void);

/* Threads. */
FL_API int fl_max_threads(void);
FL_API char const *fl_parallel_backend(void);
FL_API char const *fl_compiler(void);

#ifdef __cplusplus
}
#endif
#endif
