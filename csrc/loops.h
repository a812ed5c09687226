/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One loop skeleton for each kind of loss. No loss is named here: kernels.c expands, for each row of the
 * registry, the inner loops that call its element function, and hands them to the skeleton of its kind.
 */
#ifndef FL_LOOPS_H
#define FL_LOOPS_H

#include "rows.h"

/* A class of a row, as an element function of a log-probability gets it, and its link. */
typedef struct {
    real log_probability, probability, complement; /* 1 - probability */
    real ratio;                                    /* normalize: (S - p)/p */
    int clipped;                                   /* by epsilon: no derivative */
} fl_class;

/* What such a function returns: the value, and its first and second derivative by the log-probability. */
typedef struct {
    real value, slope, curvature;
} fl_term;

/* The real form of the parameters of a call, without the first ones, which belong to its link. */
static void real_parameters(fl_call const *call, int skipped, real *parameter) {
    for (int i = 0; i < FL_MAX_PARAMETERS; i++)
        parameter[i] = i + skipped < FL_MAX_PARAMETERS ? (real)call->parameters[i + skipped] : R(0);
}

#include "pointwise.h"

#include "window.h"

/* ---- log-probabilities, from logits or from probabilities ---- */

/* Bytes of rows whose statistics are found before they are read again, from cache. */
#define FL_BATCH_BYTES 131072

/* Of the labels of n rows: the shares of a label and of the others in the sum of its row, whatever the scale.
 */
typedef void term_loop(real const *log_probability, double const *own, double const *others, ptrdiff_t n,
                       real const *parameter, real *value, real *slope, real *curvature);

#define FL_TERM_LOOP(name, element)                                                                          \
    static void name##_terms(real const *log_probability, double const *own, double const *others,           \
                             ptrdiff_t n, real const *parameter, real *value, real *slope,                   \
                             real *curvature) {                                                              \
        real const p[FL_MAX_PARAMETERS] = FL_PARAMETERS(parameter);                                          \
        _Pragma("omp simd") for (ptrdiff_t i = 0; i < n; i++) {                                              \
            double const sum = own[i] + others[i];                                                           \
            fl_class const c = {.log_probability = log_probability[i],                                       \
                                .probability = (real)(own[i] / sum),                                         \
                                .complement = (real)(others[i] / sum)};                                      \
            fl_term const t = element(c, p);                                                                 \
            value[i] = t.value;                                                                              \
            slope[i] = t.slope;                                                                              \
            curvature[i] = t.curvature;                                                                      \
        }                                                                                                    \
    }

#include "dense.h"

typedef struct {
    term_loop *terms;
    dense_loops const *dense; /* for the Hessian */
} sparse_loops;

#include "softmax.h"

#include "sparse_softmax.h"

#include "normalize.h"

#include "probability.h"

#include "row.h"

#include "location_scale.h"

#endif
