/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Losses whose terms belong together: the alignments of a sequence, the pairs of a batch. In double whatever
 * the dtype: their terms pass through sums of many steps.
 */

/* Connectionist temporal classification: one step of its recursion (Graves et al. 2006), in logarithms.
 *
 *   value = log(exp(stay) + exp(advance) + exp(skip)) + emission
 *
 * all from -inf to 0. The largest of the three comes out of the sum and the other two go through log1p, so
 * that a path that is nearly sure keeps the digits of what it lacks. A NaN among them is the largest, or one
 * of the others.
 */
FL_INLINE double ctc(double stay, double advance, double skip, double emission) {
    double const high = fl_max_f64(stay, advance), low = fl_min_f64(advance, stay);
    double const most = fl_max_f64(high, skip), middle = fl_min_f64(skip, high);
    double const shift = most == -INFINITY ? 0 : most;
    double const others = fl_exp_biased_f64(low - shift, 0) + fl_exp_biased_f64(middle - shift, 0);
    return most + fl_log1p_f64(others * 0x1p-64) + emission;
}

/* Circle loss (Sun et al. 2020): exponent of a pair as a positive and as a negative one, and its derivative
 * by the similarity s. With g = gamma > 0, m = margin from 0 to 1, d = max(1 - s, 0), c = min(s, 1) = 1 - d:
 *
 *   positive = g*(m + d)*(d - m),         slope = -2*g*d
 *   negative = g*max(c + m, 0)*(c - m),   slope = 2*g*c where -m < s <= 1, else 0
 *
 * c is taken from s, not from d, which has lost the digits of a small s. Where the maximum of a negative is 0
 * an infinite s does not make it NaN.
 */
FL_INLINE fl_pair circle(double similarity, double const *parameter) {
    double const gamma = parameter[0], margin = parameter[1];
    double const distance = fl_max_f64(1 - similarity, 0), closeness = fl_min_f64(similarity, 1);
    double const reach = fl_max_f64(closeness + margin, 0);
    double const inside = similarity <= 1 ? 2 * gamma * closeness : 0;
    return (fl_pair){.positive = gamma * ((distance + margin) * (distance - margin)),
                     .positive_slope = -2 * gamma * distance,
                     .negative = gamma * (reach * fl_max_f64(closeness - margin, -DBL_MAX)),
                     .negative_slope = reach > 0 ? inside : 0};
}
