/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Compiled once for each (dtype, instruction set): expands the registry into loops and one table.
 */
#include "kernels.h"
#include "loops.h"

#include "alignment.h"
#include "pack.h"
#include "pairs.h"

#include "losses/categorical.h"
#include "losses/margin.h"
#include "losses/probabilistic.h"
#include "losses/regression.h"
#include "losses/similarity.h"
#include "losses/structured.h"

#define FL_KERNEL(name, LOOPS, run, ...)                                                                     \
    static fl_status name##_kernel(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,      \
                                   fl_sum *loss) {                                                           \
        static LOOPS const loops = {__VA_ARGS__};                                                            \
        run(call, first, last, factor, loss, &loops);                                                        \
        return FL_OK;                                                                                        \
    }

#define FL_POINTWISE(name, element, CALLED, ...)                                                             \
    FL_POINTWISE_LOOPS(name, element, CALLED)                                                                \
    FL_KERNEL(name, pointwise_loops, run_pointwise, name##_value, name##_value_gradient,                     \
              name##_gradient_hessian, __VA_ARGS__)

#define FL_DEFINE_POINTWISE_MEAN(name, element) FL_POINTWISE(name, element, FL_PLAIN, .divide = 1)
#define FL_DEFINE_POINTWISE_SUM(name, element) FL_POINTWISE(name, element, FL_PLAIN, .divide = 0)
/* A power costs more than all the rest of an element, and a square next to nothing. */
#define FL_DEFINE_POWER_MEAN(name, element)                                                                  \
    FL_POINTWISE(name##_power, element, FL_POWER, .divide = 1)                                               \
    FL_POINTWISE(name##_square, element, FL_SQUARE, .divide = 1)                                             \
    static fl_status name##_kernel(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,      \
                                   fl_sum *loss) {                                                           \
        return (call->parameters[0] == 2 ? name##_square_kernel : name##_power_kernel)(call, first, last,    \
                                                                                       factor, loss);        \
    }
#define FL_DEFINE_WEIGHTED_MEAN(name, element)                                                               \
    FL_POINTWISE(name, element, FL_WEIGHTED, .divide = 1, .weighted = 1)
#define FL_DENSE(name, element, LINK, skipped)                                                               \
    FL_DENSE_LOOPS(name, element, LINK, skipped)                                                             \
    static fl_status name##_kernel(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,      \
                                   fl_sum *loss) {                                                           \
        run_dense(call, first, last, factor, loss, &name##_dense);                                           \
        return FL_OK;                                                                                        \
    }
#define FL_DEFINE_SOFTMAX(name, element) FL_DENSE(name, element, softmax, 0)
#define FL_DEFINE_NORMALIZE(name, element) FL_DENSE(name, element, normalize, 1)
#define FL_DEFINE_SPARSE_SOFTMAX(name, element)                                                              \
    FL_TERM_LOOP(name, element)                                                                              \
    FL_DENSE_LOOPS(name, element, softmax, 0)                                                                \
    FL_KERNEL(name, sparse_loops, run_sparse_softmax, name##_terms, &name##_dense)
#define FL_DEFINE_SPARSE_NORMALIZE(name, element)                                                            \
    FL_TERM_LOOP(name, element)                                                                              \
    FL_KERNEL(name, sparse_loops, run_sparse_normalize, name##_terms, NULL)

#define FL_DEFINE_SPARSE_PROBABILITY(name, element)                                                          \
    FL_PROBABILITY_LOOP(name, element)                                                                       \
    FL_KERNEL(name, probability_loops, run_sparse_probability, name##_terms)
#define FL_ROW_KIND(name, element, maximum)                                                                  \
    FL_ROW_LOOPS(name, element, maximum)                                                                     \
    FL_KERNEL(name, row_loops, run_row, name##_summand_loop, name##_row_loop, name##_derivative_loop, maximum)
#define FL_DEFINE_ROW(name, element) FL_ROW_KIND(name, element, 0)
#define FL_DEFINE_ROW_MAXIMUM(name, element) FL_ROW_KIND(name, element, 1)
#define FL_DEFINE_LOCATION_SCALE(name, element)                                                              \
    FL_LOCATION_SCALE_LOOPS(name, element)                                                                   \
    FL_KERNEL(name, location_scale_loops, run_location_scale, name##_loop)
#define FL_DEFINE_ALIGNMENT(name, element)                                                                   \
    FL_ALIGNMENT_LOOPS(name, element)                                                                        \
    FL_KERNEL(name, alignment_loops, run_alignment, name##_step)
#define FL_DEFINE_PAIRS(name, element)                                                                       \
    FL_PAIRS_LOOPS(name, element)                                                                            \
    static fl_status name##_kernel(fl_call const *call, ptrdiff_t first, ptrdiff_t last, double factor,      \
                                   fl_sum *loss) {                                                           \
        static pairs_loops const loops = {name##_exponents, name##_coefficients};                            \
        (void)first, (void)last; /* all rows */                                                              \
        return run_pairs(call, factor, loss, &loops);                                                        \
    }

#define FL_LOSS(name, kind, element, parameters) FL_DEFINE_##kind(name, element)
#include "losses.def"
#undef FL_LOSS

#define FL_LOSS(name, kind, element, parameters) name##_kernel,
static fl_kernel *const kernels[] = {
#include "losses.def"
};
#undef FL_LOSS

static fl_status check_kind(fl_call const *call, ptrdiff_t first, ptrdiff_t last, fl_totals *totals) {
    fl_kind const kind = fl_losses[call->loss].kind;
    if (kind == PAIRS)
        return check_pairs(call, totals);
    return (kind == ALIGNMENT ? check_alignment : check_rows)(call, first, last, totals);
}

#define FL_TABLE FL_JOIN(FL_REAL(fl_table), FL_JOIN(_, FL_ISA))
extern fl_table const FL_TABLE;
fl_table const FL_TABLE = {kernels,          check_kind, check_bounds,   check_binary,
                           scattered_extent, run_group,  workspace_bytes};
