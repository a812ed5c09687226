/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of the residual e = y_pred - y_true.
 */

/* Mean squared error.
 *
 *   value = e*e, gradient = 2*e, hessian = 2
 *
 * e is rounded once; the square doubles its relative error: 1.5 ulp.
 */
FL_INLINE fl_element mean_squared_error(real y_true, real y_pred, real const *parameter) {
    (void)parameter;
    real const e = y_pred - y_true;
    return (fl_element){.value = e * e, .gradient = e + e, .hessian = e != e ? e : R(2)};
}

/* Mean absolute error.
 *
 *   value = |e|, gradient = sign(e) with sign(0) = 0, hessian = 0
 */
FL_INLINE fl_element mean_absolute_error(real y_true, real y_pred, real const *parameter) {
    (void)parameter;
    real const e = y_pred - y_true;
    real const sign = e == R(0) ? R(0) : fl_copysign(R(1), e);
    return (fl_element){.value = fl_abs(e), .gradient = e != e ? e : sign, .hessian = e != e ? e : R(0)};
}

/* Huber: squared error near zero, absolute error in the tails (Huber 1964).
 *
 *   d = delta > 0
 *   value    = e*e/2          if |e| <= d
 *              d*(|e| - d/2)  otherwise
 *   gradient = clamp(e, -d, d)
 *   hessian  = 1 if |e| <= d, else 0      (the inner value at the kinks)
 *
 * With q = min(|e|, d) both branches of the value are q*(|e| - q/2): no branch in the loop, and no
 * cancellation, since |e| >= q. Bound 2 ulp. fl_min keeps a NaN in its first argument.
 */
FL_INLINE fl_element huber(real y_true, real y_pred, real const *parameter) {
    real const e = y_pred - y_true, delta = parameter[0];
    real const a = fl_abs(e), q = fl_min(a, delta);
    real const inside = a <= delta ? R(1) : R(0);
    return (fl_element){
        .value = q * (a - R(0.5) * q), .gradient = fl_copysign(q, e), .hessian = e != e ? e : inside};
}

/* Log-cosh.
 *
 *   a = |e|, u = expm1(-a)
 *   value    = log(cosh(e)) = log1p(2*sinh(a/2)^2) = log1p(u*u / (2*(1 + u)))    a < 1
 *            = a - log(2) + log1p(exp(-2*a))                                     otherwise
 *   gradient = tanh(e) = sign(e) * -u*(2 + u) / (1 + exp(-2*a))
 *   hessian  = sech(e)^2 = (2*exp(-a) / (1 + exp(-2*a)))^2
 *
 * The first form has no difference of near-equal terms, and the second none from a = 1 on. Both take
 * one expm1 and one log1p.
 */
FL_INLINE fl_element log_cosh(real y_true, real y_pred, real const *parameter) {
    (void)parameter;
    real const e = y_pred - y_true, a = fl_abs(e);
    fl_exp_pair const t = fl_exp_expm1(-a);
    real const square = t.exp * t.exp, sech = R(2) * t.exp / (R(1) + square);
    real const log1p = fl_log1p(a < R(1) ? t.expm1 * t.expm1 / (R(2) * t.exp) : square);
    real const linear = a - R(0.693147180559945309417232121458176568);
    return (fl_element){.value = a < R(1) ? log1p : linear + log1p,
                        .gradient = fl_copysign(-t.expm1 * (R(2) + t.expm1) / (R(1) + square), e),
                        .hessian = sech * sech};
}
