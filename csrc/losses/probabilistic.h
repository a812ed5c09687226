/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses of a probability, a rate or a logit for each element.
 */

/* Poisson, with Keras's epsilon in the logarithm.
 *
 *   s = p + epsilon
 *   value = p - y*log(s), gradient = 1 - y/s = ((p - y) + epsilon)/s, hessian = y/s^2
 *
 * log(s) is corrected by the rounding error of s, which matters where s is close to 1. The gradient
 * divides the exact difference, so that it keeps its digits near its root. An infinite rate outgrows its
 * logarithm.
 */
FL_INLINE fl_element poisson(real y_true, real y_pred, real const *parameter) {
    real const epsilon = parameter[0], s = y_pred + epsilon;
    real const low = fl_difference_error(y_pred, -epsilon, s);
    real const correction = y_pred > R(1e30) ? R(0) : low / s;
    real const log = fl_log(fl_min(s, REAL_MAX)) + correction;
    real const d = y_pred - y_true, ratio = y_true / s;
    real const near = ((d + epsilon) + fl_difference_error(y_pred, y_true, d)) / s;
    return (fl_element){.value = y_pred - (y_true == R(0) ? R(0) : y_true * log),
                        .gradient = y_true > R(0.5) * s && y_true < R(2) * s ? near : R(1) - ratio,
                        .hessian = ratio / s};
}

/* Poisson with the logarithm z of the rate, but for the term of y alone.
 *
 *   value = exp(z) - y*z, gradient = exp(z) - y, hessian = exp(z)
 *
 * y >= 0. An infinite rate outgrows y*z.
 */
FL_INLINE fl_element poisson_log_link(real y_true, real y_pred, real const *parameter) {
    (void)parameter;
    real const rate = fl_exp(y_pred, R(0));
    real const value = rate - (y_true == R(0) ? R(0) : y_true * y_pred);
    return (fl_element){
        .value = rate == INFINITY ? rate + R(0) * y_true : value, .gradient = rate - y_true, .hessian = rate};
}

/* Gamma with the logarithm z of the mean: half the deviance but for the terms of y alone.
 *
 *   ratio = y*exp(-z)
 *   value = z + ratio, gradient = 1 - ratio, hessian = ratio
 *
 * y > 0. y is multiplied by exp(-z/2) twice, so that neither factor leaves the range where the ratio does
 * not. An infinite ratio outgrows z.
 */
FL_INLINE fl_element gamma_log_link(real y_true, real y_pred, real const *parameter) {
    (void)parameter;
    real const half = fl_exp(R(-0.5) * y_pred, R(0));
    real const ratio = y_true * half * half;
    return (fl_element){
        .value = ratio == INFINITY ? ratio : y_pred + ratio, .gradient = R(1) - ratio, .hessian = ratio};
}

/* Tweedie with the logarithm z of the mean, power 1 < r < 2: half the deviance but for the terms of y alone.
 *
 *   a = exp((2 - r)*z), b = y*exp((1 - r)*z)
 *   value = a/(2 - r) + b/(r - 1), gradient = a - b, hessian = (2 - r)*a + (r - 1)*b
 *
 * y >= 0, so that only the gradient has terms of opposite sign. 2 - r and r - 1 are exact, and their
 * products with z are taken with the rounding error, which exp would magnify. b is split like the ratio of
 * the gamma loss.
 */
FL_INLINE fl_element tweedie(real y_true, real y_pred, real const *parameter) {
    real const up = R(2) - parameter[0], down = parameter[0] - R(1), half = R(-0.5) * down;
    real const up_product = up * y_pred, half_product = half * y_pred;
    real const a = fl_exp(up_product, fl_product_error(up, y_pred, up_product));
    real const root = fl_exp(half_product, fl_product_error(half, y_pred, half_product));
    real const b = y_true == R(0) ? R(0) : y_true * root * root;
    return (fl_element){.value = a / up + b / down, .gradient = a - b, .hessian = up * a + down * b};
}

/* Kullback-Leibler divergence, both arguments clipped to [epsilon, 1] as in Keras.
 *
 *   value = y*log(y/p), gradient = -y/p and hessian = y/p^2 inside the clip of p, else 0
 */
FL_INLINE fl_element kl_divergence(real y_true, real y_pred, real const *parameter) {
    real const epsilon = parameter[0];
    real const y = fl_min(fl_max(y_true, epsilon), R(1));
    real const p = fl_min(fl_max(y_pred, epsilon), R(1));
    real const ratio = y / p, inside = y_pred == p ? R(1) : (y_pred != y_pred ? y_pred : R(0));
    return (fl_element){.value = y + p == y + p ? y * fl_log_ratio(y, p) : y + p,
                        .gradient = -ratio * inside,
                        .hessian = ratio / p * inside};
}

/* Binary cross-entropy of a probability, clipped to [epsilon, 1 - epsilon]; w is the weight of positives.
 *
 *   value    = w*y*a + (1 - y)*b,  a = -log(p), b = -log1p(-p)
 *   gradient = (1 - y)/(1 - p) - w*y/p,  hessian = w*y/p^2 + (1 - y)/(1 - p)^2, both 0 where p is clipped
 *
 * The smaller of p and 1 - p is exact, and gives both logarithms: one is a log, the other a log1p of at most
 * 1/2. The clip is done on the logarithms, where its bounds -log1p(-epsilon) and -log(epsilon) are exact to
 * an ulp; 1 - epsilon rounded to float32 would move the smallest loss by 19 %.
 */
FL_INLINE fl_element weighted_binary_crossentropy(real y_true, real y_pred, real class_weight,
                                                  real const *parameter) {
    real const epsilon = fl_max(parameter[0], REAL_MIN);
    real const least = -fl_log1p(-epsilon), most = -fl_log(epsilon);
    real const p = y_pred, q = R(1) - p, own = class_weight * y_true, other = R(1) - y_true;
    real const smaller = fl_min(p, q), nearest = fl_max(smaller, REAL_MIN), clipped = R(0) * nearest;
    real const rare = fl_min(-fl_log_normal(nearest), most), common = fl_max(-fl_log1p_unit(-nearest), least);
    real const positive = own / p, negative = other / q;
    return (fl_element){.value = (p > q ? other : own) * rare + (p > q ? own : other) * common + clipped,
                        .gradient = smaller >= epsilon ? negative - positive : clipped,
                        .hessian = smaller >= epsilon ? positive / p + negative / q : clipped};
}

FL_INLINE fl_element binary_crossentropy(real y_true, real y_pred, real const *parameter) {
    return weighted_binary_crossentropy(y_true, y_pred, R(1), parameter);
}

/* Binary cross-entropy of a logit z with the weights `own` of the positive and `other` of the negative class
 * and their sum.
 *
 *   t = exp(-|z|)
 *   value    = own*log1p(exp(-z)) + other*log1p(exp(z)) = |z|*(z > 0 ? other : own) + sum*log1p(t)
 *   gradient = other*sigmoid(z) - own*sigmoid(-z)
 *   hessian  = sum*sigmoid(z)*sigmoid(-z) = sum*t/(1 + t)^2
 *
 * Every term of the value is positive for labels in [0, 1], and sigmoid is t/(1 + t) or 1/(1 + t), never a
 * difference, so that a confident right prediction keeps all its digits. A weight of 0 hides an
 * infinite logit: 0*inf does not occur.
 */
FL_INLINE fl_element crossentropy_of_logit(real own, real other, real sum, real y_pred) {
    real const a = fl_abs(y_pred), t = fl_exp_expm1(-a).exp;
    real const wrong = y_pred > R(0) ? other : own;
    real const large = R(1) / (R(1) + t), small = t * large;
    real const up = y_pred > R(0) ? large : small, down = y_pred > R(0) ? small : large;
    return (fl_element){.value = (wrong == R(0) ? R(0) : wrong * a) + sum * fl_log1p_unit(t),
                        .gradient = other * up - own * down,
                        .hessian = sum * (small * large)};
}

/* Labels y and 1 - y. */
FL_INLINE fl_element binary_crossentropy_from_logits(real y_true, real y_pred, real const *parameter) {
    (void)parameter;
    return crossentropy_of_logit(y_true, R(1) - y_true, R(1), y_pred);
}

/* Labels w*y and 1 - y, with the weight w of positives. */
FL_INLINE fl_element weighted_binary_crossentropy_from_logits(real y_true, real y_pred, real class_weight,
                                                              real const *parameter) {
    (void)parameter;
    real const own = class_weight * y_true, other = R(1) - y_true;
    return crossentropy_of_logit(own, other, own + other, y_pred);
}

/* alpha for the label 1 and 1 - alpha for 0 if balanced is 1; 1 for all if it is 0. */
FL_INLINE real focal_weight(real y_true, real alpha, real balanced) {
    return balanced * (y_true * alpha + (R(1) - y_true) * (R(1) - alpha)) + (R(1) - balanced);
}

/* x*m^exponent for m >= 0. The power is the square of a root with x between the two, so that it does not
 * overflow where the product does not; the bound of the root makes 0*inf 0 where x is 0. */
FL_INLINE real times_power(real x, real m, real exponent) {
    real const root = fl_min(fl_power(m, R(0.5) * exponent), REAL_MAX);
    return root * x * root;
}

/* Binary focal cross-entropy (Lin et al. 2017) of a probability: the cross-entropy B of p, clipped as above,
 * times
 *
 *   w*m^g,  m = y*(1 - p) + (1 - y)*p,  w = 1, or balanced y*alpha + (1 - y)*(1 - alpha)
 *
 * m is the probability of the wrong answer; r = m' = 1 - 2*y, m'' = 0.
 *   value    = w*m^g*B
 *   gradient = w*(g*r*m^(g-1)*B + m^g*B')
 *   hessian  = w*(g*(g-1)*r^2*m^(g-2)*B + 2*g*r*m^(g-1)*B' + m^g*B'')
 *
 * p is clipped to [0, 1] in m, g >= 0. `square`: g is 2.
 */
FL_INLINE fl_element binary_focal_crossentropy(real y_true, real y_pred, int square, real const *parameter) {
    real const g = parameter[0], other = R(1) - y_true, p = fl_min(fl_max(y_pred, R(0)), R(1));
    real const r = p == y_pred ? other - y_true : R(0);
    real const weight = focal_weight(y_true, parameter[1], parameter[2]);
    fl_element const b = binary_crossentropy(y_true, y_pred, parameter + 3);
    real const m = y_true * (R(1) - p) + other * p;
    real const power = square ? m * m : fl_power(m, g);
    real const slope = g * r, curvature = slope * r * (g - R(1));
    real const first = slope * b.value, second = curvature * b.value, mixed = R(2) * slope * b.gradient;
    return (fl_element){
        .value = weight * (power * b.value),
        .gradient = weight * ((square ? m * first : times_power(first, m, g - R(1))) + power * b.gradient),
        .hessian = weight * ((square ? second : times_power(second, m, g - R(2))) +
                             (square ? m * mixed : times_power(mixed, m, g - R(1))) + power * b.hessian)};
}

/* 1/(1 + t) for 0 <= t <= 1 with the rounding errors of sum and quotient made good, which the power would
 * multiply. */
FL_INLINE real logistic_of(real t) {
    real const sum = R(1) + t, low = t - (sum - R(1)), inverse = R(1) / sum, used = sum * inverse;
    real const lost = ((R(1) - used) - fl_product_error(sum, inverse, used)) - low * inverse;
    return fl_fma(inverse, lost, inverse);
}

/* Binary focal cross-entropy of a logit z, with p = sigmoid(z), q = sigmoid(-z).
 *
 *   m = y*q + (1 - y)*p, r = m'/m = (1 - 2*y)*p*q/m, B the cross-entropy of z
 *   value    = w*m^g*B
 *   gradient = w*m^g*(g*r*B + B')
 *   hessian  = w*m^g*(g*r*((g - 1)*r + q - p)*B + 2*g*r*B' + p*q)
 *
 * With t = exp(-|z|) and the label's shares on the right and the wrong side of 0, m is (right*t + wrong)/(1 +
 * t), a sum of positive terms, and so is the gradient for y = 0 or 1. There r is exactly -p or q on the right
 * side, also when t underflows; at infinity it vanishes faster than B grows. `square`: g is 2.
 */
FL_INLINE fl_element binary_focal_crossentropy_from_logits(real y_true, real y_pred, int square,
                                                           real const *parameter) {
    real const g = parameter[0], other = R(1) - y_true;
    real const weight = focal_weight(y_true, parameter[1], parameter[2]);
    fl_element const b = binary_crossentropy_from_logits(y_true, y_pred, parameter);
    real const t = fl_exp_expm1(-fl_abs(y_pred)).exp, large = logistic_of(t);
    real const wrong = y_pred > R(0) ? other : y_true, right = y_pred > R(0) ? y_true : other;
    real const odds = right * t + wrong, share = wrong == R(0) ? R(1) : t / odds;
    real const m = odds * large, power = weight * (square ? m * m : fl_power(m, g));
    real const r = (other - y_true) * large * share, slope = g * r;
    real const turn = fl_copysign((t - R(1)) * large, -y_pred), bounded = fl_min(b.value, REAL_MAX);
    return (fl_element){
        .value = power * b.value,
        .gradient = power * (slope * bounded + b.gradient),
        .hessian = power * (slope * (((g - R(1)) * r + turn) * bounded + R(2) * b.gradient) + b.hessian)};
}

/* Gaussian negative log-likelihood of a mean m and a log-variance s, without the constant log(2*pi)/2 (Nix
 * and Weigend 1994).
 *
 *   a = |y - m|*exp(-s/2)
 *   value    = (s + a^2)/2
 *   gradient = -(y - m)*exp(-s), (1 - a^2)/2
 *   hessian  = exp(-s), a^2/2
 *
 * exp(-s/2) is taken times a power of two that keeps it normal far from s = 0, and multiplied in steps, so
 * that nothing overflows, or vanishes, before the result does. Where the exponent is held within the range,
 * the result is beyond it. A variance of 0 outgrows its logarithm.
 */
FL_INLINE fl_location_scale gaussian_nll(real y_true, real location, real scale, real const *parameter) {
    (void)parameter;
    real const e = location - y_true, most = R(FL_FAR_MOST);
    real const x = fl_min(fl_max(R(-0.5) * scale, -most), most);
    real const bias = x < R(-FL_FAR) ? R(FL_FAR_BIAS) : x > R(FL_FAR) ? R(-FL_FAR_BIAS) : R(0);
    real const unit = x < R(-FL_FAR) ? R(FL_FAR_UNIT) : x > R(FL_FAR) ? R(1) / R(FL_FAR_UNIT) : R(1);
    fl_exp_parts const parts = fl_exp_reduce(x, R(0), bias);
    real const root = fl_fma(parts.q, parts.scale, parts.scale), inverse = root * unit;
    real const ratio = e * root * unit, half = R(0.5) * ratio * ratio;
    return (fl_location_scale){.value = R(0.5) * (ratio != R(0) ? fl_max(scale, -REAL_MAX) : scale) + half,
                               .gradient = {ratio * root * unit, R(0.5) - half},
                               .hessian = {inverse * inverse, half}};
}
