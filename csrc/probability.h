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

static void run_sparse_probability(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,
                                   fl_sum *loss, probability_loops const *loops) {
    real scratch[FL_BLOCK], gradient[FL_BLOCK_ROWS], hessian[FL_BLOCK_ROWS];
    double probability[FL_BLOCK_ROWS], value[FL_BLOCK_ROWS], slope[FL_BLOCK_ROWS], curvature[FL_BLOCK_ROWS];
    double weight[FL_BLOCK_ROWS], row_loss[FL_BLOCK_ROWS];
    int64_t label[FL_BLOCK_ROWS];
    real const zero[FL_BLOCK_ROWS] = {0};
    ptrdiff_t const columns = call->columns, step = sparse_batch(columns);
    fl_block const all = {first, last - first, 0, columns};
    flat_array const y_pred = flatten(call, &call->y_pred, all);
    flat_array const to_gradient = flatten(call, &call->gradient, all);
    flat_array const to_hessian = flatten(call, &call->hessian, all);
    ptrdiff_t const block = y_pred.is_direct ? step * columns : FL_BLOCK;
    for (ptrdiff_t row = first; row < last; row += step) {
        ptrdiff_t const rows = last - row < step ? last - row : step;
        ptrdiff_t const position = (row - first) * columns, end = position + rows * columns;
        row_class_weights(call, row, rows, label, weight);
        for (ptrdiff_t start = position; start < end && fl_is_bounded(call->pred_bounds); start += block) {
            ptrdiff_t const n = end - start < block ? end - start : block;
            note_bounds(call, view_flat(call, &y_pred, start, n, scratch), n, call->pred_bounds);
        }
        /* The label of a row that does not count may be no class. */
        for (ptrdiff_t r = 0; r < rows; r++) {
            label[r] = weight[r] == 0 ? -1 : label[r];
            ptrdiff_t const own = position + r * columns + label[r];
            probability[r] = label[r] < 0 ? 1 : (double)*view_flat(call, &y_pred, own, 1, scratch);
        }
        loops->terms(probability, rows, call->parameters, value, slope, curvature);
        for (ptrdiff_t r = 0; r < rows; r++)
            row_loss[r] = weight[r] == 0 ? 0 : weight[r] * value[r];
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
        for (ptrdiff_t r = 0; r < rows; r++) {
            double const scale = weight[r] * factor;
            gradient[r] = (real)FL_HIDDEN(scale, slope[r]);
            hessian[r] = (real)FL_HIDDEN(scale, curvature[r]);
        }
        put_rows(call, &to_gradient, position, rows, label, zero, gradient);
        put_rows(call, &to_hessian, position, rows, label, zero, hessian);
    }
}

#endif
