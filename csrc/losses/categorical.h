/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of the probability of a class: value, and the first and second derivative with respect to the
 * log-probability, or to the probability itself. The loops apply the labels and the chain rule of the link.
 * Besides the log-probability an element gets p and 1 - p, each with its own digits.
 */

/* Cross-entropy.
 *
 *   value = -log p, slope = -1, curvature = 0
 */
FL_INLINE fl_term categorical_crossentropy(fl_class class, real const *parameter) {
    (void)parameter;
    return (fl_term){.value = -class.log_probability, .slope = -1, .curvature = 0};
}

/* Focal cross-entropy (Lin et al. 2017).
 *
 *   x = log p, m = 1 - p, ratio = -x/m, u = p*ratio
 *   value     = -alpha*m^g*x
 *   slope     = -alpha*m^g*(1 + g*u)
 *   curvature = alpha*g*m^g*p/m*(2 + g*u - ratio)
 *
 * u is between 0 and 1, so that value and slope have no difference of terms. At m = 0 the ratio is 1, and
 * the bound of m makes 0*inf 0; the bound of x does at -inf. The odds p/m come last, since p underflows
 * first. m has its own digits because the power multiplies its relative error by g.
 */
FL_INLINE fl_term categorical_focal_crossentropy(fl_class class, real const *parameter) {
    real const g = parameter[0], alpha = parameter[1], x = fl_max(class.log_probability, R(-1000));
    real const p = class.probability, m = class.complement, ratio = m == R(0) ? R(1) : -x / m, u = p * ratio;
    real const power = alpha * (g == R(2) ? m * m : fl_power(m, g));
    return (fl_term){.value = -power * class.log_probability,
                     .slope = -power * (R(1) + g * u),
                     .curvature = power * (g * (R(2) + g * u - ratio)) * (p / fl_max(m, REAL_MIN))};
}

/* Generalized cross-entropy (Zhang and Sabuncu 2018) of a probability p that is taken as it is, 0 < q < 1.
 *
 *   x = q*log(p)
 *   value = (1 - p^q)/q = -expm1(x)/q, slope = -p^(q - 1), curvature = (1 - q)*p^(q - 2)
 *
 * expm1 keeps the digits of a small q, where the value tends to -log(p), and those of a p close to 1; for x >
 * 0 it is -expm1(-x)/exp(-x), and from x = 1 on the power itself has fewer errors. The rounding error of q -
 * 1 is multiplied by log(p), and is made good for that.
 */
FL_INLINE fl_probability_term generalized_cross_entropy(double p, double const *parameter) {
    double const q = parameter[0], log = fl_log_f64(p), x = q * log, exponent = q - 1;
    fl_exp_pair_f64 const t = fl_exp_expm1_f64(-fl_abs_f64(x));
    double const expm1 = x > 0 ? -t.expm1 / t.exp : t.expm1;
    double const power = fl_power_f64(p, exponent) * (1 + fl_difference_error_f64(q, 1, exponent) * log);
    double const finite = p == INFINITY ? 0 : power, slope = p == 0 ? INFINITY : finite;
    double const large = p == INFINITY ? -p : 1 - power * p;
    return (fl_probability_term){
        .value = (x > 1 ? large : -expm1) / q, .slope = -slope, .curvature = (1 - q) * slope / p};
}
