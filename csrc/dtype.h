/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What `real` is in this object file. kernels.c is compiled once with FL_REAL_BITS 32 and once with 64
 * for each instruction set.
 */
#ifndef FL_DTYPE_H
#define FL_DTYPE_H

#include "elementary.h"

#define FL_JOIN_(a, b) a##b
#define FL_JOIN(a, b) FL_JOIN_(a, b)

#if FL_REAL_BITS == 32
typedef float real;
typedef int32_t integer; /* as wide as real, so that counts vectorise beside it */
typedef uint32_t bits;
#define FL_REAL(name) name##_f32
#define FL_REAL_STORAGE FL_FLOAT32
#define REAL_MAX FLT_MAX
#define REAL_MIN FLT_MIN
#define REAL_LEAST 0x1p-149f /* subnormal */
#define FL_EXP_SCALE 0x1p-32
/* exp(x) beyond +-FL_FAR is taken times a power of two, up to +-FL_FAR_MOST. */
#define FL_FAR 70
#define FL_FAR_BIAS 100
#define FL_FAR_UNIT 0x1p-100
#define FL_FAR_MOST 150
#else
typedef double real;
typedef int64_t integer;
typedef uint64_t bits;
#define FL_REAL(name) name##_f64
#define FL_REAL_STORAGE FL_FLOAT64
#define REAL_MAX DBL_MAX
#define REAL_MIN DBL_MIN
#define REAL_LEAST 0x1p-1074
#define FL_EXP_SCALE 0x1p-64
#define FL_FAR 430
#define FL_FAR_BIAS 600
#define FL_FAR_UNIT 0x1p-600
#define FL_FAR_MOST 1100
#endif

#define R(x) ((real)(x))

#define fl_abs FL_REAL(fl_abs)
#define fl_sqrt FL_REAL(fl_sqrt)
#define fl_copysign FL_REAL(fl_copysign)
#define fl_max FL_REAL(fl_max)
#define fl_min FL_REAL(fl_min)
#define fl_fma FL_REAL(fl_fma)
#define fl_difference_error FL_REAL(fl_difference_error)
#define fl_product_error FL_REAL(fl_product_error)
#define fl_exp FL_REAL(fl_exp)
#define fl_exp_parts FL_REAL(fl_exp_parts)
#define fl_exp_reduce FL_REAL(fl_exp_reduce)
#define fl_exp_biased FL_REAL(fl_exp_biased)
#define fl_exp_expm1 FL_REAL(fl_exp_expm1)
#define fl_exp_pair FL_REAL(fl_exp_pair)
#define fl_log FL_REAL(fl_log)
#define fl_log_normal FL_REAL(fl_log_normal)
#define fl_log1p FL_REAL(fl_log1p)
#define fl_log1p_unit FL_REAL(fl_log1p_unit)
#define fl_coshm1_unit FL_REAL(fl_coshm1_unit)
#define fl_log_ratio FL_REAL(fl_log_ratio)
#define fl_power FL_REAL(fl_power)

#endif
