/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What tools/mutate.py puts into csrc/evaluate.c of its copy: faults that are chosen while the library runs.
 */
#ifndef FL_MUTATION_H
#define FL_MUTATION_H

#include <string.h>

/* Faults of an output of a loss, and of what a loss is told; those of the loops have higher numbers. */
enum {
    VALUE = 1,
    FUSED_VALUE,
    FUSED_GRADIENT,
    GRADIENT,
    HESSIAN,
    PARAMETER,
    WEIGHT,
    MASK,
    LABEL_MAP,
    IGNORED_CLASS,
    CLASS_WEIGHT,
    BOUNDS,
    LABEL,
    COUNTED_WEIGHT,
    COUNTED_MASK,
    COUNTED_CLASS
};

FL_API int fl_mutation[4] = {0, -1, 0, 0}; /* the fault, the loss, the dtype, which parameter */
FL_API double fl_mutation_factor = 1;
FL_API int64_t fl_mutation_hits = 0; /* how often there was something to spoil */

static int is_spoilt(fl_call const *call, int fault) {
    return fl_mutation[0] == fault && fl_mutation[1] == call->loss && fl_mutation[2] == call->dtype;
}

static void note_hit(void) { __atomic_fetch_add(&fl_mutation_hits, 1, __ATOMIC_RELAXED); }

static void spoil_array(fl_call const *call, fl_array const *array, ptrdiff_t first, ptrdiff_t last,
                        int columns) {
    int const steps = columns && fl_losses[call->loss].kind == ALIGNMENT;
    ptrdiff_t const elements = !columns ? 1 : steps ? call->steps * call->columns : call->columns;
    for (ptrdiff_t row = first; row < last && array->data && !array->swapped; row++)
        for (ptrdiff_t element = 0; element < elements; element++) {
            char *address = array->data;
            ptrdiff_t left = row, inner = element;
            for (int d = call->dimensions - 1; d >= 0; left /= call->shape[d--])
                address += left % call->shape[d] * array->row_strides[d];
            if (steps)
                address += inner / call->columns * array->inner_strides[0] +
                           inner % call->columns * array->inner_strides[1];
            else if (columns && call->inner_dimensions > 1)
                for (int d = call->inner_dimensions - 1; d >= 0; inner /= call->inner_shape[d--])
                    address += inner % call->inner_shape[d] * array->inner_strides[d];
            else if (columns)
                address += inner * array->column_stride;
            float single;
            double number;
            if (array->storage == FL_FLOAT32) {
                memcpy(&single, address, sizeof single);
                float const spoilt = (float)(single * fl_mutation_factor);
                memcpy(address, &spoilt, sizeof spoilt);
                if (spoilt != single && single == single)
                    note_hit();
            } else if (array->storage == FL_FLOAT64) {
                memcpy(&number, address, sizeof number);
                double const spoilt = number * fl_mutation_factor;
                memcpy(address, &spoilt, sizeof spoilt);
                if (spoilt != number && number == number)
                    note_hit();
            }
        }
}

/* Of the rows of a task, after they were computed. */
static void spoil_outputs(fl_call const *call, ptrdiff_t first, ptrdiff_t last, fl_sum *sum) {
    int const fused = call->gradient.data && !call->hessian.data;
    if (is_spoilt(call, VALUE) ? !call->gradient.data : is_spoilt(call, FUSED_VALUE) && fused) {
        sum->high *= fl_mutation_factor;
        sum->low *= fl_mutation_factor;
        note_hit();
        spoil_array(call, &call->losses, first, last, 0);
    }
    if (is_spoilt(call, FUSED_GRADIENT) ? fused : is_spoilt(call, GRADIENT) && call->hessian.data)
        spoil_array(call, &call->gradient, first, last, 1);
    if (is_spoilt(call, HESSIAN))
        spoil_array(call, &call->hessian, first, last, 1);
}

/* What is evaluated instead of a call. */
static fl_call const *spoil_call(fl_call const *call, fl_call *other) {
    static double const one = 1;
    *other = *call;
    if (is_spoilt(call, PARAMETER)) {
        double *const p = &other->parameters[fl_mutation[3]];
        *p = *p == 0 || *p == 1 ? 1 - *p : *p * 1.01;
    } else if (is_spoilt(call, WEIGHT))
        other->sample_weight.data = NULL;
    else if (is_spoilt(call, MASK))
        other->mask.data = NULL;
    else if (is_spoilt(call, LABEL_MAP) && call->label_scale != 0)
        other->label_scale = 1, other->label_shift = 0;
    else if (is_spoilt(call, IGNORED_CLASS))
        other->has_ignore_class = 0;
    else if (is_spoilt(call, CLASS_WEIGHT) && call->class_weight)
        other->class_weight = &one, other->class_weight_stride = 0;
    else if (is_spoilt(call, BOUNDS) &&
             (fl_is_bounded(call->true_bounds) || fl_is_bounded(call->pred_bounds)))
        other->true_bounds = other->pred_bounds = (fl_bounds){0, 0};
    if (memcmp(other, call, sizeof *call) == 0)
        return call;
    note_hit();
    return other;
}

/* What is counted instead. */
static fl_call const *spoil_count(fl_call const *call, fl_call *other) {
    *other = *call;
    if (is_spoilt(call, COUNTED_WEIGHT))
        other->sample_weight.data = NULL;
    else if (is_spoilt(call, COUNTED_MASK))
        other->mask.data = NULL;
    else if (is_spoilt(call, COUNTED_CLASS))
        other->has_ignore_class = 0;
    if (memcmp(other, call, sizeof *call) == 0)
        return call;
    note_hit();
    return other;
}

#endif
