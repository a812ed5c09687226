/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of the margin y_true * y_pred, y_true = -1 or 1.
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
