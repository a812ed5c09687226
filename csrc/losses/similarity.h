/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How alike y_true and y_pred are as vectors, or as masks.
 */

/* Cosine similarity.
 *
 *   c = sum(y*p)/(|y|*|p|)
 *   value = -c, gradient = -y/(|y|*|p|) + c*p/|p|^2; both 0 for a vector of zeros
 *
 * Squares of floats fit into a double. Those of doubles may not, nor may a product that the result has a use
 * for: then the vectors are brought to the size of 1 first, which changes no cosine.
 */
FL_INLINE fl_summands cosine_similarity_summands(double y_true, double y_pred, double const *parameter) {
    (void)parameter;
    return (fl_summands){.sum = {y_true * y_pred, y_true * y_true, y_pred * y_pred}};
}

FL_INLINE fl_row cosine_similarity_row(fl_row_sums const *sums, double const *parameter) {
    (void)parameter;
    double const product = sums->sum[0], y = sums->sum[1], p = sums->sum[2], low = 0x1p-900, high = 0x1p900;
    double const norms = fl_sqrt_f64(y) * fl_sqrt_f64(p), cosine = product / norms;
    int const fits = y > low && y < high && p > low && p < high && fl_abs_f64(product) > low;
    int const zero = y == 0 || p == 0;
    return (fl_row){.value = zero ? 0 * (y + p) : -cosine,
                    .coefficient = {zero ? 0 * (y + p) : -1 / norms, zero ? 0 : cosine / p},
                    .rescale = FL_REAL_BITS == 64 && !fits ? 1 : 0};
}

FL_INLINE double cosine_similarity_derivative(double y_true, double y_pred, int is_maximum, double of_true,
                                              double of_pred) {
    (void)is_maximum;
    return of_true * y_true + of_pred * y_pred;
}

/* Tversky loss (Tversky 1977).
 *
 *   I = sum(y*p), M = alpha*sum(y*(1 - p)) + beta*sum((1 - y)*p) + epsilon
 *   value    = 1 - I/(I + M) = M/(I + M)
 *   gradient = (beta*I*(1 - y) - (alpha*I + M)*y)/(I + M)^2
 *
 * M is summed by itself, so that a near-perfect overlap keeps its digits.
 */
FL_INLINE fl_summands tversky_summands(double y_true, double y_pred, double const *parameter) {
    (void)parameter;
    return (fl_summands){.sum = {y_true * y_pred, y_true * (1 - y_pred), (1 - y_true) * y_pred}};
}

FL_INLINE fl_row tversky_row(fl_row_sums const *sums, double const *parameter) {
    double const alpha = parameter[0], beta = parameter[1], epsilon = parameter[2];
    double const common = sums->sum[0];
    double const misses = alpha * sums->sum[1] + beta * sums->sum[2] + epsilon, all = common + misses;
    return (fl_row){.value = misses / all,
                    .coefficient = {-(alpha * common + misses) / all / all, beta * common / all / all}};
}

FL_INLINE double tversky_derivative(double y_true, double y_pred, int is_maximum, double of_true,
                                    double of_rest) {
    (void)y_pred;
    (void)is_maximum;
    return of_true * y_true + of_rest * (1 - y_true);
}

/* Dice loss (Dice 1945): the Tversky loss with alpha = beta = 1/2 and half the epsilon.
 *
 *   value = 1 - 2*sum(y*p)/(sum(y) + sum(p) + epsilon)
 */
FL_INLINE fl_summands dice_summands(double y_true, double y_pred, double const *parameter) {
    return tversky_summands(y_true, y_pred, parameter);
}

FL_INLINE fl_row dice_row(fl_row_sums const *sums, double const *parameter) {
    double const halves[] = {0.5, 0.5, parameter[0] / 2};
    return tversky_row(sums, halves);
}

FL_INLINE double dice_derivative(double y_true, double y_pred, int is_maximum, double of_true,
                                 double of_rest) {
    return tversky_derivative(y_true, y_pred, is_maximum, of_true, of_rest);
}
