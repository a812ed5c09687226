/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of the probability that y_pred gives the label, taken as it is. A row is one element, so all is in
 * double.
 */
#ifndef FL_PROBABILITY_H
#define FL_PROBABILITY_H

/* What an element function of a probability returns, with its first and second derivative. */
typedef struct {
    double value, slope, curvature;
} fl_probability_term;

typedef void probability_loop(double const *probability, ptrdiff_t n, double const *parameter, double *value,
                              double *slope, double *curvature);

typedef struct {
    probability_loop *terms;
} probability_loops;

#define FL_PROBABILITY_LOOP(name, element)                                                                   \
    static void name##_terms(double const *probability, ptrdiff_t n, double const *parameter, double *value, \
                             double *slope, double *curvature) {                                             \
        double const own[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                      \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            fl_probability_term const t = element(probability[i], own);                                      \
            value[i] = t.value;                                                                              \
            slope[i] = t.slope;                                                                              \
            curvature[i] = t.curvature;                                                                      \
        }                                                                                                    \
    }

/* Zeros but for the label of the row. */
static void put_label(fl_call const *call, fl_array const *array, ptrdiff_t row, int64_t label,
                      double value) {
    real scratch[FL_BLOCK];
    if (!array->data)
        return;
    for (ptrdiff_t column = 0; column < call->columns; column += FL_BLOCK) {
        ptrdiff_t const n = call->columns - column < FL_BLOCK ? call->columns - column : FL_BLOCK;
        fl_block const block = {row, 1, column, n};
        real *const out = target(call, array, block, scratch);
        for (ptrdiff_t i = 0; i < n; i++)
            out[i] = 0;
        if (label >= column && label < column + n)
            out[label - column] = (real)value;
        put(call, array, block, out);
    }
}

static void run_sparse_probability(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,
                                   fl_sum *loss, probability_loops const *loops) {
    real scratch[FL_BLOCK];
    double probability[FL_BATCH], value[FL_BATCH], slope[FL_BATCH], curvature[FL_BATCH];
    double weight[FL_BATCH], row_loss[FL_BATCH];
    int64_t label[FL_BATCH];
    for (ptrdiff_t row = first; row < last; row += FL_BATCH) {
        ptrdiff_t const rows = last - row < FL_BATCH ? last - row : FL_BATCH;
        row_class_weights(call, row, rows, label, weight);
        for (ptrdiff_t r = 0; r < rows && fl_is_bounded(call->pred_bounds); r++)
            for (ptrdiff_t column = 0; column < call->columns && weight[r] != 0; column += FL_BLOCK) {
                ptrdiff_t const left = call->columns - column, n = left < FL_BLOCK ? left : FL_BLOCK;
                view_pred(call, (fl_block){row + r, 1, column, n}, scratch);
            }
        /* The label of a row that does not count may be no class. */
        for (ptrdiff_t r = 0; r < rows; r++)
            probability[r] = weight[r] == 0 ? 1
                                            : (double)*view(call, &call->y_pred,
                                                            (fl_block){row + r, 1, label[r], 1}, scratch);
        loops->terms(probability, rows, call->parameters, value, slope, curvature);
        for (ptrdiff_t r = 0; r < rows; r++)
            row_loss[r] = weight[r] == 0 ? 0 : weight[r] * value[r];
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
        for (ptrdiff_t r = 0; r < rows; r++) {
            double const scale = weight[r] * factor;
            put_label(call, &call->gradient, row + r, label[r], scale == 0 ? 0 : scale * slope[r]);
            put_label(call, &call->hessian, row + r, label[r], scale == 0 ? 0 : scale * curvature[r]);
        }
    }
}

#endif
