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
