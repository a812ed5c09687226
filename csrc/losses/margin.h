/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of the margin: of y_true * y_pred, y_true = -1 or 1, or of the right class before the others.
 */

/* Hinge.
 *
 *   value = max(1 - y*p, 0), gradient = -y where 1 - y*p > 0 else 0, hessian = 0
 *
 * fma rounds 1 - y*p once, which keeps it accurate where y*p is close to 1.
 */
FL_INLINE fl_element hinge(real y_true, real y_pred, real const *parameter) {
    (void)parameter;
    real const margin = fl_fma(-y_true, y_pred, R(1)), zero = margin != margin ? margin : R(0);
    return (fl_element){
        .value = fl_max(margin, R(0)), .gradient = margin > R(0) ? -y_true : zero, .hessian = zero};
}

/* Squared hinge.
 *
 *   m = max(1 - y*p, 0)
 *   value = m*m, gradient = -2*y*m, hessian = 2*y*y where m > 0 else 0
 *
 * The margin is rounded once, as for the hinge; the square doubles its relative error.
 */
FL_INLINE fl_element squared_hinge(real y_true, real y_pred, real const *parameter) {
    (void)parameter;
    real const margin = fl_fma(-y_true, y_pred, R(1)), zero = margin != margin ? margin : R(0);
    real const slack = fl_max(margin, R(0));
    return (fl_element){.value = slack * slack,
                        .gradient = margin > R(0) ? R(-2) * (y_true * slack) : zero,
                        .hessian = margin > R(0) ? R(2) * (y_true * y_true) : zero};
}

/* Exponential loss (Freund and Schapire 1997).
 *
 *   value = exp(-y*p), gradient = -y*value, hessian = y^2*value
 *
 * The product is taken with its rounding error, 0 for labels of -1 and 1. With the root h = exp(-y*p/2) the
 * outputs are h*h, -(y*h)*h and (y*h)^2, none of which overflows before its result does.
 */
FL_INLINE fl_element exponential(real y_true, real y_pred, real const *parameter) {
    (void)parameter;
    real const half = R(-0.5) * y_true, product = half * y_pred;
    real const root = fl_exp(product, fl_product_error(half, y_pred, product)), scaled = y_true * root;
    return (fl_element){.value = root * root, .gradient = -scaled * root, .hessian = scaled * scaled};
}

/* Categorical hinge (Weston and Watkins 1999), as Keras has it.
 *
 *   positive = sum(y*p), negative = max((1 - y)*p)
 *   value    = max(negative - positive + 1, 0)
 *   gradient = -y, plus (1 - y)/ties where (1 - y)*p is one of the ties at the maximum; 0 where the value is
 *
 * A label of 0 or 1 hides an infinite score from one of the two: 0*inf does not occur.
 */
FL_INLINE fl_summands categorical_hinge_summands(double y_true, double y_pred, double const *parameter) {
    (void)parameter;
    double const other = 1 - y_true;
    return (fl_summands){.sum = {y_true == 0 ? 0 : y_true * y_pred},
                         .candidate = other == 0 ? 0 : other * y_pred};
}

FL_INLINE fl_row categorical_hinge_row(fl_row_sums const *sums, double const *parameter) {
    (void)parameter;
    double const slack = (sums->maximum - sums->sum[0]) + 1;
    double const active = slack > 0 ? 1 : slack != slack ? slack : 0;
    return (fl_row){.value = fl_max_f64(slack, 0),
                    .coefficient = {-active, active / fl_max_f64(sums->ties, 1)}};
}

FL_INLINE double categorical_hinge_derivative(double y_true, double y_pred, int is_maximum, double own,
                                              double share) {
    (void)y_pred;
    return own * y_true + (is_maximum ? share * (1 - y_true) : 0);
}
