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
 *   a = |e|, w = exp(-2*a)
 *   value    = log(cosh(e)) = log1p(cosh(a) - 1)    a < 1
 *            = a - log(2) + log1p(w)                otherwise
 *   gradient = tanh(e) = sign(e) * -expm1(-2*a) / (1 + w)
 *   hessian  = sech(e)^2 = 4*w / (1 + w)^2
 *
 * The first form has no difference of near-equal terms, and the second none from a = 1 on. Both take
 * one log1p. Far from 0 the Hessian has 2*a times the relative error of e, which is therefore made good.
 */
FL_INLINE fl_element log_cosh(real y_true, real y_pred, real const *parameter) {
    (void)parameter;
    real const e = y_pred - y_true, a = fl_abs(e), low = fl_difference_error(y_pred, y_true, e);
    fl_exp_pair const w = fl_exp_expm1(R(-2) * a);
    real const log1p = fl_log1p_unit(a < R(1) ? fl_coshm1_unit(e * e) : w.exp);
    real const linear = a - R(0.693147180559945309417232121458176568), inverse = R(1) / (R(1) + w.exp);
    real const tanh = fl_copysign(-w.expm1 / (R(1) + w.exp), e), sech = R(4) * w.exp * inverse * inverse;
    return (fl_element){.value = a < R(1) ? log1p : linear + log1p,
                        .gradient = tanh,
                        .hessian = low == low ? fl_fma(R(-2) * low * tanh, sech, sech) : sech};
}

/* Smooth L1: Huber divided by beta, with the outer value at the kinks (Girshick 2015).
 *
 *   b = beta > 0
 *   value    = e*e/(2*b)    if |e| < b
 *              |e| - b/2    otherwise
 *   gradient = e/b if |e| < b, else sign(e)
 *   hessian  = 1/b if |e| < b, else 0
 *
 * With q = min(|e|, b) both branches of the value are q/b*(|e| - q/2), and that of the gradient q/b, which is
 * exactly 1 outside.
 */
FL_INLINE fl_element smooth_l1(real y_true, real y_pred, real const *parameter) {
    real const e = y_pred - y_true, beta = parameter[0];
    real const a = fl_abs(e), q = fl_min(a, beta), slope = q / beta;
    real const inside = a < beta ? R(1) / beta : R(0);
    return (fl_element){
        .value = slope * (a - R(0.5) * q), .gradient = fl_copysign(slope, e), .hessian = e != e ? e : inside};
}

/* Pseudo-Huber (Charbonnier et al. 1997).
 *
 *   d = delta > 0, s = sqrt(1 + (e/d)^2)
 *   value    = d^2*(s - 1) = |e|*(|e|/(1 + s))
 *   gradient = e/s
 *   hessian  = 1/s^3
 *
 * With t = min(|e|, d)/max(|e|, d), w = sqrt(1 + t^2) and k = 1 if |e| <= d, else t, s is w/k and |e|*k is
 * min(|e|, d). So |e|/(1 + s) = min/(k + w), |e|/s = min/w and 1/s = k/w: no difference, and no square that
 * could overflow. The cube has w^2 from before the root, which is one rounding less than cubing k/w, and the
 * relative error of t, which the cube would triple, is made good.
 */
FL_INLINE fl_element pseudo_huber(real y_true, real y_pred, real const *parameter) {
    real const e = y_pred - y_true, delta = parameter[0];
    real const a = fl_abs(e), least = fl_min(a, delta);
    real const t = least / fl_max(a, delta), square = R(1) + t * t, w = fl_sqrt(square);
    real const k = a > delta ? t : R(1);
    real const used = t * a, low = fl_difference_error(y_pred, y_true, e);
    real const lost = ((least - used) - fl_product_error(t, a, used)) - t * fl_copysign(low, low * e);
    real const cube = k * k * k / (square * w), correction = R(3) * lost / (least * square);
    return (fl_element){.value = a * (least / (k + w)),
                        .gradient = fl_copysign(least / w, e),
                        .hessian =
                            a > delta && correction == correction ? fl_fma(cube, correction, cube) : cube};
}

/* Quantile, or pinball (Koenker and Bassett 1978).
 *
 *   value    = quantile*|e|  if y_pred <= y_true, else complement*|e|
 *   gradient = -quantile if e < 0, complement if e > 0, 0 at 0
 *   hessian  = 0
 *
 * The complement 1 - quantile is a parameter of its own: taken in float32 it would lose digits near 0.
 */
FL_INLINE fl_element quantile(real y_true, real y_pred, real const *parameter) {
    real const e = y_pred - y_true, weight = e > R(0) ? parameter[1] : parameter[0];
    real const slope = e == R(0) ? R(0) : fl_copysign(weight, e);
    return (fl_element){
        .value = fl_abs(e) * weight, .gradient = e != e ? e : slope, .hessian = e != e ? e : R(0)};
}

/* Expectile (Newey and Powell 1987).
 *
 *   w = expectile if y_pred <= y_true, else complement = 1 - expectile, as for the quantile
 *   value = w*e*e, gradient = 2*w*e, hessian = 2*w
 */
FL_INLINE fl_element expectile(real y_true, real y_pred, real const *parameter) {
    real const e = y_pred - y_true, weight = e > R(0) ? parameter[1] : parameter[0];
    real const half = weight * e, curvature = weight + weight;
    return (fl_element){.value = half * e, .gradient = half + half, .hessian = e != e ? e : curvature};
}

/* Mean absolute percentage error, with Keras's epsilon.
 *
 *   scale    = 100/max(|y|, epsilon)
 *   value    = |e|*scale
 *   gradient = sign(e)*scale with sign(0) = 0
 *   hessian  = 0
 *
 * An infinite y is off by 100 % from any finite p.
 */
FL_INLINE fl_element mean_absolute_percentage_error(real y_true, real y_pred, real const *parameter) {
    real const e = y_pred - y_true, size = fl_max(fl_abs(y_true), parameter[0]);
    real const slope = e == R(0) ? R(0) : fl_copysign(R(100) / size, e);
    return (fl_element){.value = size > REAL_MAX ? R(100) + R(0) * y_pred : e * slope,
                        .gradient = e != e ? e : slope,
                        .hessian = e != e ? e : R(0)};
}

/* Mean squared logarithmic error, both arguments clipped to at least epsilon as in Keras.
 *
 *   L = log((1 + p)/(1 + y)) = sign(p - y)*log1p(|p - y|/(1 + min(p, y)))
 *   value    = L^2
 *   gradient = 2*L/(1 + p) and hessian = 2*(1 - L)/(1 + p)^2 where p is not clipped, else 0
 *
 * p - y is rounded once and log1p keeps the digits of the ratio. An infinite p outgrows its logarithm. The
 * hessian multiplies the small reciprocal last, whose square could underflow.
 */
FL_INLINE fl_element mean_squared_logarithmic_error(real y_true, real y_pred, real const *parameter) {
    real const epsilon = parameter[0], y = fl_max(y_true, epsilon), p = fl_max(y_pred, epsilon);
    real const d = p - y, size = fl_log1p(fl_abs(d) / (R(1) + fl_min(p, y)));
    real const log = fl_copysign(size, d), slope = R(1) / (R(1) + p);
    real const finite = fl_min(log, REAL_MAX), zero = d != d ? d : R(0);
    return (fl_element){.value = log * log,
                        .gradient = y_pred < epsilon ? zero : R(2) * (finite * slope),
                        .hessian = y_pred < epsilon ? zero : R(2) * ((R(1) - finite) * slope) * slope};
}
