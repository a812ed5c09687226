/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Times one kernel without Python, on arrays of its own: nanoseconds an element, the least of many runs.
 *
 *   include=$(python -c 'import fastloss; print(fastloss.get_include())')
 *   library="$include/../lib"
 *   cc -O2 -I"$include" bench/kernels.c -L"$library" -Wl,-rpath,"$library" -lfastloss -o kernels
 *   ./kernels LOSS ROWS COLUMNS BITS GRADIENT RUNS [ISA [THREADS [SPACING]]]
 *
 * Logits lie between -2 and 2, labels are 0 or 1, one-hot, or classes. BITS: 32 or 64; GRADIENT: 0 or 1; ISA:
 * its number, best first; SPACING: every so many rows of the inputs count.
 */
#include <fastloss.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void put(char *array, int storage, ptrdiff_t i, double value) {
    if (storage == FL_FLOAT64)
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

int main(int count, char **words) {
    int loss = 0;
    if (count < 7)
        return fprintf(stderr,
                       "usage: kernels LOSS ROWS COLUMNS BITS GRADIENT RUNS [ISA [THREADS [SPACING]]]\n"),
               2;
    while (loss < fl_loss_count && strcmp(fl_losses[loss].name, words[1]))
        loss++;
    if (loss == fl_loss_count)
        return fprintf(stderr, "%s: no such loss\n", words[1]), 2;
    ptrdiff_t const rows = atol(words[2]), columns = atol(words[3]), n = rows * columns;
    int const storage = atoi(words[4]) == 64 ? FL_FLOAT64 : FL_FLOAT32;
    ptrdiff_t const size = storage == FL_FLOAT64 ? 8 : 4;
    ptrdiff_t const spacing = count > 9 ? atol(words[9]) : 1, all = spacing * n;
    if (count > 7)
        fl_set_isa(atoi(words[7]));

    char *const y_pred = malloc((size_t)(all * size)), *const dense = malloc((size_t)(all * size));
    char *const gradient = calloc((size_t)n, (size_t)size);
    int64_t *const labels = malloc((size_t)rows * sizeof *labels);
    if (!y_pred || !dense || !gradient || !labels)
        return fprintf(stderr, "no memory\n"), 1;
    fl_kind const kind = fl_losses[loss].kind;
    int const sparse = kind == SPARSE_SOFTMAX || kind == SPARSE_NORMALIZE || kind == SPARSE_PROBABILITY;
    int const one_hot = kind == SOFTMAX || kind == NORMALIZE;
    for (ptrdiff_t i = 0; i < all; i++) {
        put(y_pred, storage, i, rand() % 20000 / 5000.0 - 2);
        put(dense, storage, i, one_hot ? 0 : rand() % 2);
    }
    for (ptrdiff_t r = 0; r < rows; r++) {
        labels[r] = rand() % columns;
        if (one_hot)
            put(dense, storage, r * spacing * columns + labels[r], 1);
    }

    fl_array const matrix = {.storage = storage, .column_stride = size, .row_strides = {columns * size}};
    fl_call call = {.loss = loss, .dtype = storage, .dimensions = 1, .shape = {rows}};
    call.threads = count > 8 ? atoi(words[8]) : 1;
    call.inner_dimensions = 1;
    call.inner_shape[0] = call.columns = columns;
    call.rows = rows;
    call.label_scale = 1;
    call.parameters[0] = 2;
    call.y_true = call.y_pred = matrix;
    call.y_pred.row_strides[0] = call.y_true.row_strides[0] = spacing * columns * size;
    call.y_pred.data = y_pred;
    call.y_true.data = dense;
    if (sparse)
        call.y_true =
            (fl_array){.data = (char *)labels, .storage = FL_INT64, .row_strides = {sizeof *labels}};
    if (atoi(words[5])) {
        call.gradient = matrix;
        call.gradient.data = gradient;
    }

    double least = 1e9, value = 0;
    for (int run = 0; run < atoi(words[6]); run++) {
        fl_totals totals = {0};
        fl_prepare(&call, &totals);
        double const start = now();
        fl_run(&call, 1.0 / (double)rows, &totals);
        double const seconds = now() - start;
        least = seconds < least ? seconds : least;
        value = fl_reduce(&totals, FL_SUM_OVER_BATCH_SIZE);
    }
    printf("%.3f ns an element, %.2f ns a row, value %.9g\n", least / (double)n * 1e9,
           least / (double)rows * 1e9, value);
    return 0;
}
