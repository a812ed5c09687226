/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of a distribution of two parameters for each target: y_pred has a last axis with a location and a
 * scale, which y_true has not.
 */
#ifndef FL_LOCATION_SCALE_H
#define FL_LOCATION_SCALE_H

/* What an element function returns, with the derivatives with respect to location and scale. */
typedef struct {
    real value, gradient[2], hessian[2];
} fl_location_scale;

/* gradient and hessian may be NULL; either may be y_pred itself. */
typedef void location_scale_loop(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,
                                 real const *factor, real *value, real *gradient, real *hessian);

typedef struct {
    location_scale_loop *run;
} location_scale_loops;

#define FL_LOCATION_SCALE_LOOPS(name, element)                                                               \
    FL_INLINE void name##_each(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,   \
                               real const *scale, real *value, real *gradient, real *hessian) {              \
        real const own[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                        \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            fl_location_scale const t = element(y_true[i], y_pred[2 * i], y_pred[2 * i + 1], own);           \
            value[i] = t.value;                                                                              \
            if (gradient) {                                                                                  \
                gradient[2 * i] = FL_SCALED(t.gradient[0]);                                                  \
                gradient[2 * i + 1] = FL_SCALED(t.gradient[1]);                                              \
            }                                                                                                \
            if (hessian) {                                                                                   \
                hessian[2 * i] = FL_SCALED(t.hessian[0]);                                                    \
                hessian[2 * i + 1] = FL_SCALED(t.hessian[1]);                                                \
            }                                                                                                \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_loop(real const *y_true, real const *y_pred, ptrdiff_t n, real const *parameter,      \
                            real const *scale, real *value, real *gradient, real *hessian) {                 \
        if (!gradient)                                                                                       \
            name##_each(y_true, y_pred, n, parameter, scale, value, NULL, NULL);                             \
        else if (!hessian)                                                                                   \
            name##_each(y_true, y_pred, n, parameter, scale, value, gradient, NULL);                         \
        else                                                                                                 \
            name##_each(y_true, y_pred, n, parameter, scale, value, gradient, hessian);                      \
    }

static void run_location_scale(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,
                               fl_sum *loss, location_scale_loops const *loops) {
    enum { STEP = FL_BLOCK / 2 };
    real true_scratch[STEP], pred_scratch[FL_BLOCK], gradient_scratch[FL_BLOCK], hessian_scratch[FL_BLOCK];
    real value[STEP], scale[STEP];
    real parameter[FL_MAX_PARAMETERS];
    double weight[STEP], row_loss[STEP];
    real_parameters(call, 0, parameter);
    for (ptrdiff_t row = first; row < last; row += STEP) {
        ptrdiff_t const rows = last - row < STEP ? last - row : STEP;
        fl_block const block = {row, rows, 0, 2};
        real *const gradient = target(call, &call->gradient, block, gradient_scratch);
        real *const hessian = target(call, &call->hessian, block, hessian_scratch);
        row_weights(call, row, rows, weight);
        for (ptrdiff_t r = 0; r < rows; r++)
            scale[r] = (real)(weight[r] * factor);
        loops->run(view_labels(call, (fl_block){row, rows, 0, 1}, true_scratch),
                   view_pred(call, block, pred_scratch), rows, parameter, scale, value, gradient, hessian);
        for (ptrdiff_t r = 0; r < rows; r++)
            row_loss[r] = weight[r] == 0 ? 0 : weight[r] * (double)value[r];
        put_losses(call, row, rows, row_loss);
        fl_add(loss, sum_doubles(row_loss, rows));
        if (gradient)
            put(call, &call->gradient, block, gradient);
        if (hessian)
            put(call, &call->hessian, block, hessian);
    }
}

#endif
