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
 * The clip is done on the logarithms, where its bounds -log1p(-epsilon) and -log(epsilon) are exact to
 * an ulp; 1 - epsilon rounded to float32 would move the smallest loss by 19 %.
 */
FL_INLINE fl_element weighted_binary_crossentropy(real y_true, real y_pred, real class_weight,
                                                  real const *parameter) {
    real const epsilon = parameter[0], tiny = R(1e-37);
    real const least = -fl_log1p(-epsilon), most = -fl_log(epsilon);
    real const bounded = fl_min(fl_max(y_pred, R(0)), R(1));
    real const own = class_weight * y_true, other = R(1) - y_true;
    real const p = fl_max(bounded, tiny), q = fl_max(R(1) - bounded, tiny);
    real const a = fl_min(fl_max(-fl_log(p), least), most);
    real const b = fl_min(fl_max(-fl_log1p(-bounded), least), most);
    real const positive = own / p, negative = other / q, clipped = R(0) * bounded;
    real const nearest = fl_min(bounded, R(1) - bounded);
    return (fl_element){.value = own * a + other * b,
                        .gradient = nearest >= epsilon ? negative - positive : clipped,
                        .hessian = nearest >= epsilon ? positive / p + negative / q : clipped};
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
    real const a = fl_abs(y_pred), t = fl_exp_biased(-a, R(0)) * R(FL_EXP_SCALE);
    real const wrong = y_pred > R(0) ? other : own;
    real const large = R(1) / (R(1) + t), small = t * large;
    real const up = y_pred > R(0) ? large : small, down = y_pred > R(0) ? small : large;
    return (fl_element){.value = (wrong == R(0) ? R(0) : wrong * a) + sum * fl_log1p(t),
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
