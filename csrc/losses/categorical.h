/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of the log-probability of a class: value, and the first and second derivative with respect to
 * the log-probability. The loops apply the labels and the chain rule of the link.
 */

/* Cross-entropy.
 *
 *   value = -log p, slope = -1, curvature = 0
 */
FL_INLINE fl_term categorical_crossentropy(real log_probability, real const *parameter) {
    (void)parameter;
    return (fl_term){.value = -log_probability, .slope = -1, .curvature = 0};
}

/* Focal cross-entropy (Lin et al. 2017).
 *
 *   x = log p, q = exp(x), m = 1 - q = -expm1(x), ratio = -x/m, u = q*ratio
 *   value     = -alpha*m^g*x
 *   slope     = -alpha*m^g*(1 + g*u)
 *   curvature = alpha*g*m^g*q/m*(2 + g*u - ratio)
 *
 * u is between 0 and 1, so that value and slope have no difference of terms. At m = 0 the ratio is 1, and
 * the bound of m makes 0*inf 0; the bound of x does at -inf. The odds q/m come last, since q underflows
 * first.
 */
FL_INLINE fl_term categorical_focal_crossentropy(real log_probability, real const *parameter) {
    real const g = parameter[0], alpha = parameter[1], x = fl_max(log_probability, R(-1000));
    fl_exp_pair const q = fl_exp_expm1(x);
    real const m = -q.expm1, ratio = m == R(0) ? R(1) : -x / m, u = q.exp * ratio;
    real const power = alpha * fl_power(m, g);
    return (fl_term){.value = -power * log_probability,
                     .slope = -power * (R(1) + g * u),
                     .curvature = power * (g * (R(2) + g * u - ratio)) * (q.exp / fl_max(m, REAL_MIN))};
}
