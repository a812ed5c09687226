/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Writes all outputs of the kernels for inputs that are the same on every machine; tools/bits.py compares
 * them.
 *
 *     bits list                   the instruction sets that can be used here, and the losses
 *     bits run ISA LOSS           records of its outputs: a header and the elements
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastloss.h"

typedef struct {
    int32_t storage, output; /* the order of fl_storage; value, losses, gradient, Hessian */
    int32_t weighted, shape;
    int64_t count;
} header;

typedef enum { VALUE, LOSSES, GRADIENT, HESSIAN } output_kind;

/* What is drawn for y_true and y_pred. */
typedef enum { PROBABILITIES, LOGITS, MATERIALS } material;

typedef struct {
    ptrdiff_t rows, columns;
} shape;

static size_t const sizes[] = {4, 8, 2, 2};

/* Steele, Lea and Flood's SplitMix64. */
static uint64_t state;

static uint64_t draw(void) {
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* In [0, 1), exact in every storage. */
static double fraction(void) { return (double)(draw() >> 56) / 256; }

static void *allocate(size_t bytes) {
    void *const memory = calloc(bytes ? bytes : 1, 1);
    if (!memory)
        exit(1);
    return memory;
}

/* x as it is stored: numbers of few digits, so that nothing is rounded. */
static void put(char *to, fl_storage storage, double x) {
    float const single = (float)x;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    uint32_t const exponent = bits >> 23 & 0xff;
    uint16_t const bfloat = (uint16_t)(bits >> 16);
    uint16_t const half =
        (uint16_t)((bits >> 16 & 0x8000) | (exponent ? (exponent - 112) << 10 : 0) | (bits >> 13 & 0x3ff));
    if (storage == FL_FLOAT64)
        memcpy(to, &x, sizeof x);
    else if (storage == FL_FLOAT32)
        memcpy(to, &single, sizeof single);
    else
        memcpy(to, storage == FL_FLOAT16 ? &half : &bfloat, sizeof half);
}

static void set_rows(fl_array *array, void *data, fl_storage storage, ptrdiff_t columns, size_t size) {
    array->data = data;
    array->storage = storage;
    array->row_strides[0] = columns * (ptrdiff_t)size;
    array->column_stride = (ptrdiff_t)size;
}

/* By its name a parameter is of a size that makes sense; second: the other one of two variants. */
static void set_parameters(fl_call *call, int second) {
    char const *name = fl_losses[call->loss].parameters;
    for (int k = 0; k < FL_MAX_PARAMETERS && *name; k++) {
        size_t const length = strcspn(name, ",");
        int const is_epsilon = strncmp(name, "epsilon", length) == 0,
                  is_power = strncmp(name, "power", length) == 0;
        int const is_gamma = strncmp(name, "gamma", length) == 0;
        call->parameters[k] = is_epsilon ? 1e-7
                              : is_power ? 1.5
                              : is_gamma ? (second ? 1.5 : 2)
                              : second   ? 0.75
                                         : 0.25;
        name += length + (name[length] == ',');
    }
}

static void write_record(int storage, output_kind output, int weighted, int s, int64_t count,
                         void const *data, size_t size) {
    header const h = {storage, output, weighted, s, count};
    fwrite(&h, sizeof h, 1, stdout);
    fwrite(data, size, (size_t)count, stdout);
}

static void fail(fl_status status) {
    fprintf(stderr, "status %d\n", (int)status);
    exit(1);
}

static void run(fl_call *call, fl_storage storage, int weighted, int s) {
    fl_kind const kind = fl_losses[call->loss].kind;
    ptrdiff_t const elements = call->rows * call->columns * (call->steps ? call->steps : 1);
    size_t const size = sizes[storage], real_size = sizes[call->dtype];
    fl_totals totals = {0};
    fl_status status = fl_prepare(call, &totals);
    if (status != FL_OK)
        fail(status);
    void *const losses = allocate((size_t)call->rows * real_size);
    void *const gradient = allocate((size_t)elements * size), *const hessian =
                                                                  allocate((size_t)elements * size);
    set_rows(&call->losses, losses, (fl_storage)call->dtype, 1, real_size);
    call->gradient = call->y_pred;
    call->gradient.data = gradient;
    status = fl_run(call, 1 / fl_row_divisor(call->loss, call->columns), &totals);
    if (status != FL_OK)
        fail(status);
    double const value = fl_reduce(&totals, FL_SUM);
    float const single = (float)value;
    write_record(call->dtype, VALUE, weighted, s, 1,
                 call->dtype == FL_FLOAT64 ? (void const *)&value : &single, real_size);
    write_record(call->dtype, LOSSES, weighted, s, call->rows, losses, real_size);
    write_record((int)storage, GRADIENT, weighted, s, elements, gradient, size);
    call->losses.data = NULL;
    if (kind != ROW && kind != ROW_MAXIMUM && kind != ALIGNMENT && kind != PAIRS) {
        call->hessian = call->gradient;
        call->hessian.data = hessian;
        if ((status = fl_run(call, 1, &totals)) != FL_OK)
            fail(status);
        write_record((int)storage, HESSIAN, weighted, s, elements, hessian, size);
    }
    call->gradient.data = call->hessian.data = NULL;
    free(losses);
    free(gradient);
    free(hessian);
}

static void run_case(int loss, fl_storage storage, material drawn, shape shape, int s) {
    fl_kind const kind = fl_losses[loss].kind;
    int const is_sparse = kind == SPARSE_SOFTMAX || kind == SPARSE_NORMALIZE || kind == SPARSE_PROBABILITY;
    int const has_labels = is_sparse || kind == ALIGNMENT || kind == PAIRS;
    static double const class_weight = 1.75;
    fl_call call = {.loss = loss,
                    .dtype = storage == FL_FLOAT64 ? FL_FLOAT64 : FL_FLOAT32,
                    .threads = 1,
                    .dimensions = 1,
                    .inner_dimensions = 1,
                    .rows = shape.rows,
                    .columns = shape.columns,
                    .label_scale = 1};
    if (kind == LOCATION_SCALE)
        call.rows *= call.columns / 2 + 1, call.columns = 2;
    if (kind == ALIGNMENT)
        call.rows = 5, call.steps = 12 + 8 * s, call.columns = 3 + 4 * s, call.label_columns = 6,
        call.inner_dimensions = 0;
    if (kind == PAIRS)
        call.columns = shape.columns < 600 ? shape.columns : 600, call.rows = call.references = 48;
    call.shape[0] = call.rows;
    call.inner_shape[0] = call.columns;
    call.class_weight = kind == WEIGHTED_MEAN ? &class_weight : NULL;
    ptrdiff_t const elements = call.rows * call.columns * (call.steps ? call.steps : 1);
    ptrdiff_t const label_columns = call.label_columns ? call.label_columns : 1;
    size_t const size = sizes[storage];
    char *const y_pred = allocate((size_t)elements * size), *const y_true = allocate((size_t)elements * size);
    int64_t *const labels = allocate((size_t)(call.rows * label_columns) * sizeof *labels);
    double *const weights = allocate((size_t)call.rows * sizeof *weights);
    state = 1;
    for (ptrdiff_t i = 0; i < elements; i++) {
        double const u = fraction(), v = fraction();
        put(y_pred + i * (ptrdiff_t)size, storage, drawn == LOGITS ? (u - 0.5) * 16 : u * 0.875 + 0x1p-8);
        put(y_true + i * (ptrdiff_t)size, storage, i % 3 ? (i % 3 == 1) : v);
    }
    for (ptrdiff_t i = 0; i < call.rows * label_columns; i++) {
        int64_t const label = (int64_t)(draw() >> 40);
        int const padding = i % label_columns >= 4;
        labels[i] = kind == PAIRS       ? label % 7
                    : kind != ALIGNMENT ? label % call.columns
                    : padding           ? 0
                                        : 1 + label % (call.columns - 1);
    }
    for (ptrdiff_t i = 0; i < call.rows; i++)
        weights[i] = i % 5 ? fraction() * 1.1 : 0;
    set_rows(&call.y_pred, y_pred, storage, call.columns * (call.steps ? call.steps : 1), size);
    call.y_pred.inner_strides[0] = call.columns * (ptrdiff_t)size;
    call.y_pred.inner_strides[1] = (ptrdiff_t)size;
    if (has_labels)
        set_rows(&call.y_true, labels, FL_INT64, label_columns, sizeof *labels);
    else
        set_rows(&call.y_true, y_true, storage, kind == LOCATION_SCALE ? 1 : call.columns, size);
    for (int variant = 0; variant < 2; variant++)
        for (int weighted = 0; weighted < 2; weighted++) {
            set_parameters(&call, variant);
            if (weighted)
                set_rows(&call.sample_weight, weights, FL_FLOAT64, 1, sizeof *weights);
            else
                call.sample_weight.data = NULL;
            run(&call, storage, weighted, s);
        }
    free(y_pred);
    free(y_true);
    free(labels);
    free(weights);
}

int main(int count, char **argument) {
    /* Long rows that are split, rows of several blocks, of one, few columns, and elements. */
    static shape const shapes[] = {{2, 20011}, {5, 2500}, {31, 100}, {301, 7}, {1031, 3}, {2003, 1}};
    if (count == 2)
        for (int i = 0; i < fl_isa_count(); i++)
            if (fl_isa_is_supported(i))
                printf("isa %s\n", fl_isa_name(i));
    if (count == 2)
        for (int i = 0; i < fl_loss_count; i++)
            printf("loss %s %s\n", fl_losses[i].name, fl_losses[i].kind_name);
    if (count != 4)
        return count != 2;
    int isa = 0, loss = 0;
    while (isa < fl_isa_count() && strcmp(fl_isa_name(isa), argument[2]))
        isa++;
    while (loss < fl_loss_count && strcmp(fl_losses[loss].name, argument[3]))
        loss++;
    if (isa == fl_isa_count() || loss == fl_loss_count || !fl_isa_is_supported(isa))
        return 1;
    fl_set_isa(isa);
    for (int storage = FL_FLOAT32; storage <= FL_BFLOAT16; storage++)
        for (int s = 0; s < (int)(sizeof shapes / sizeof *shapes); s++)
            for (material drawn = PROBABILITIES; drawn < MATERIALS; drawn++)
                run_case(loss, (fl_storage)storage, drawn, shapes[s], s);
    return 0;
}
