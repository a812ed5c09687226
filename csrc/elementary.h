/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Branch-free exponentials and logarithms in float and double, written so that a loop calling them vectorises
 * for SSE2, AVX2, AVX-512 and NEON alike: bit casts, magic-number rounding and ternaries only, no calls, no
 * 64-bit integer compares, no conversions between 64-bit integers and doubles. Results are the same at every
 * vector width; they may differ in the last bit between targets with and without a fused multiply-add. Stated
 * errors, in ulp, bound the worst that tools/elementary.py finds on any instruction set: over all floats,
 * over millions of doubles, and over sampled pairs for functions of two arguments;
 * docs/accuracy/elementary.json has them with their inputs. Requires -ffp-contract=off -fno-math-errno
 * -fno-trapping-math and round-to-nearest.
 */
#ifndef FASTLOSS_ELEMENTARY_H
#define FASTLOSS_ELEMENTARY_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define FL_INLINE static inline __attribute__((always_inline))

#if defined(__FMA__) || defined(__aarch64__)
#define FL_HAS_FMA 1
#else
#define FL_HAS_FMA 0
#endif

FL_INLINE uint32_t fl_bits_f32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

FL_INLINE uint64_t fl_bits_f64(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

FL_INLINE float fl_from_bits_f32(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

FL_INLINE double fl_from_bits_f64(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* a * b + c: rounded once where the target has a fused multiply-add, otherwise twice. */
FL_INLINE float fl_fma_f32(float a, float b, float c) {
#if FL_HAS_FMA
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

FL_INLINE double fl_fma_f64(double a, double b, double c) {
#if FL_HAS_FMA
    return __builtin_fma(a, b, c);
#else
    return a * b + c;
#endif
}

/* The exact a * b - p for p = fl(a * b), as long as it does not underflow. Without a fused multiply-add the
 * float product is exact in double, and the double product comes from Veltkamp's halves, which need |a|, |b|
 * < 2^996. */
FL_INLINE float fl_product_error_f32(float a, float b, float p) {
#if FL_HAS_FMA
    return __builtin_fmaf(a, b, -p);
#else
    return (float)((double)a * (double)b - (double)p);
#endif
}

FL_INLINE double fl_product_error_f64(double a, double b, double p) {
#if FL_HAS_FMA
    return __builtin_fma(a, b, -p);
#else
    const double a_scaled = a * 0x1.0000002p27, b_scaled = b * 0x1.0000002p27;
    const double a_high = a_scaled - (a_scaled - a), b_high = b_scaled - (b_scaled - b);
    const double a_low = a - a_high, b_low = b - b_high;
    return (((a_high * b_high - p) + a_high * b_low) + a_low * b_high) + a_low * b_low;
#endif
}

/* The exact error of d = fl(a - b): a - b == d + error (Knuth's two-sum; any order of magnitudes, no
 * overflow). */
FL_INLINE float fl_difference_error_f32(float a, float b, float d) {
    const float b_used = a - d;
    const float a_used = d + b_used;
    return (a - a_used) + (b_used - b);
}

FL_INLINE double fl_difference_error_f64(double a, double b, double d) {
    const double b_used = a - d;
    const double a_used = d + b_used;
    return (a - a_used) + (b_used - b);
}

FL_INLINE float fl_abs_f32(float x) { return fl_from_bits_f32(fl_bits_f32(x) & 0x7fffffffu); }

FL_INLINE double fl_abs_f64(double x) { return fl_from_bits_f64(fl_bits_f64(x) & 0x7fffffffffffffffu); }

FL_INLINE float fl_sqrt_f32(float x) { return __builtin_sqrtf(x); }

FL_INLINE double fl_sqrt_f64(double x) { return __builtin_sqrt(x); }

/* |magnitude| with the sign bit of sign. */
FL_INLINE float fl_copysign_f32(float magnitude, float sign) {
    return fl_from_bits_f32((fl_bits_f32(magnitude) & 0x7fffffffu) | (fl_bits_f32(sign) & 0x80000000u));
}

FL_INLINE double fl_copysign_f64(double magnitude, double sign) {
    return fl_from_bits_f64((fl_bits_f64(magnitude) & 0x7fffffffffffffffu) |
                            (fl_bits_f64(sign) & 0x8000000000000000u));
}

/* Maximum and minimum that keep a NaN in the first argument; a NaN in the second gives the first argument. */
FL_INLINE float fl_max_f32(float a, float b) { return b > a ? b : a; }

FL_INLINE double fl_max_f64(double a, double b) { return b > a ? b : a; }

FL_INLINE float fl_min_f32(float a, float b) { return b < a ? b : a; }

FL_INLINE double fl_min_f64(double a, double b) { return b < a ? b : a; }

/*
 * Exponentials: exp(x) = 2^k exp(r), k = round(x / ln 2), r = x - k ln 2 in [-0.3466, 0.3466]. Adding 1.5 *
 * 2^(p-1) plus an exponent bias rounds to an integer and leaves the biased exponent in the low bits, ready to
 * be shifted into place. ln 2 is split so that k times its high part is exact. Polynomials, here and below,
 * are summed in pairs of terms: what a loop waits for is the chain of dependent instructions.
 */
#define FL_EXP_BIAS_f32 32
#define FL_EXP_BIAS_f64 64

#define FL_LN2_HIGH_f32 0x1.62e4p-1f
#define FL_LN2_LOW_f32 0x1.7f7d1cp-20f
#define FL_LN2_HIGH_f64 0x1.62e42fefa38p-1
#define FL_LN2_LOW_f64 0x1.ef35793c7673p-45

#define FL_ROUND_f32 0x1.8p23f
#define FL_ROUND_f64 0x1.8p52

/* Below the first exp(x) is less than half the smallest subnormal, above the second it overflows. */
#define FL_EXP_CUT_f32 -104.0f
#define FL_EXP_CUT_f64 -745.2
#define FL_EXP_LIMIT_f32 89.0f
#define FL_EXP_LIMIT_f64 710.0

/* (exp(r) - 1 - r) / r^2 on the reduced range, fitted for the relative error of exp (2^-28.2 and 2^-57.9). */
FL_INLINE float fl_exp_tail_f32(float r, float square) {
    float p = fl_fma_f32(0x1.6a4dc8p-10f, square, fl_fma_f32(0x1.123b26p-7f, r, 0x1.5558b2p-5f));
    return fl_fma_f32(p, square, fl_fma_f32(0x1.555490p-3f, r, 0x1.fffffcp-2f));
}

FL_INLINE double fl_exp_tail_f64(double r, double square) {
    double p = fl_fma_f64(0x1.ad871d128cb2ap-26, r, 0x1.28aee6613ba78p-22);
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.71df22c7b6977p-19, r, 0x1.a019987cf5661p-16));
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.a01a012a5b0f6p-13, r, 0x1.6c16c184bbfa7p-10));
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.1111111127f6bp-7, r, 0x1.55555555505ebp-5));
    return fl_fma_f64(p, square, fl_fma_f64(0x1.55555555554f8p-3, r, 0x1.000000000000ap-1));
}

/* q = exp(r) - 1 and scale = 2^(k + bias) for x + low; garbage unless the biased exponent is that of a normal
 * number. high is exact and r only feeds the tail, so q is rounded once at its own size. */
typedef struct {
    float q, scale;
} fl_exp_parts_f32;

typedef struct {
    double q, scale;
} fl_exp_parts_f64;

FL_INLINE fl_exp_parts_f32 fl_exp_reduce_f32(float x, float low, float bias) {
    const float shift = FL_ROUND_f32 + 127.0f + bias;
    const float rounded = fl_fma_f32(x, 0x1.715476p0f, shift);
    const float k = rounded - shift;
    const float high = fl_fma_f32(-k, FL_LN2_HIGH_f32, x);
    const float correction = fl_fma_f32(-k, FL_LN2_LOW_f32, low);
    const float r = high + correction, square = r * r;
    fl_exp_parts_f32 parts;
    parts.q = high + fl_fma_f32(square, fl_exp_tail_f32(r, square), correction);
    parts.scale = fl_from_bits_f32(fl_bits_f32(rounded) << 23);
    return parts;
}

FL_INLINE fl_exp_parts_f64 fl_exp_reduce_f64(double x, double low, double bias) {
    const double shift = FL_ROUND_f64 + 1023.0 + bias;
    const double rounded = fl_fma_f64(x, 0x1.71547652b82fep0, shift);
    const double k = rounded - shift;
    const double high = fl_fma_f64(-k, FL_LN2_HIGH_f64, x);
    const double correction = fl_fma_f64(-k, FL_LN2_LOW_f64, low);
    const double r = high + correction, square = r * r;
    fl_exp_parts_f64 parts;
    parts.q = high + fl_fma_f64(square, fl_exp_tail_f64(r, square), correction);
    parts.scale = fl_from_bits_f64(fl_bits_f64(rounded) << 52);
    return parts;
}

/*
 * exp(d + low) * 2^FL_EXP_BIAS for d <= 50 and |low| <= 1 ulp of d; exactly 0 below the cut, at -inf too
 * whatever low is; NaN for a NaN in d. The bias keeps the result normal, so that multiplying it by weight *
 * 2^-FL_EXP_BIAS afterwards rounds into the subnormal range only there. Worst error: float 0.92, double 0.90,
 * low included.
 */
FL_INLINE float fl_exp_biased_f32(float d, float low) {
    const fl_exp_parts_f32 parts = fl_exp_reduce_f32(d, low, FL_EXP_BIAS_f32);
    const float result = fl_fma_f32(parts.q, parts.scale, parts.scale);
    return d < FL_EXP_CUT_f32 ? 0.0f : result;
}

FL_INLINE double fl_exp_biased_f64(double d, double low) {
    const fl_exp_parts_f64 parts = fl_exp_reduce_f64(d, low, FL_EXP_BIAS_f64);
    const double result = fl_fma_f64(parts.q, parts.scale, parts.scale);
    return d < FL_EXP_CUT_f64 ? 0.0 : result;
}

/*
 * exp(x + low) for any x and |low| <= a few ulp of x: inf above, 0 below, at +-inf too whatever low is; NaN
 * for a NaN in x. The bias away from the end of the range that x is near keeps the scale normal, and the
 * last product rounds into the subnormal range or overflows. Worst error: float 0.92, double 0.90, low
 * included.
 */
FL_INLINE float fl_exp_f32(float x, float low) {
    const float bias = x < 0.0f ? (float)FL_EXP_BIAS_f32 : -(float)FL_EXP_BIAS_f32;
    const fl_exp_parts_f32 parts = fl_exp_reduce_f32(x, low, bias);
    float result = fl_fma_f32(parts.q, parts.scale, parts.scale) * (x < 0.0f ? 0x1p-32f : 0x1p32f);
    result = x > FL_EXP_LIMIT_f32 ? INFINITY : result;
    return x < FL_EXP_CUT_f32 ? 0.0f : result;
}

FL_INLINE double fl_exp_f64(double x, double low) {
    const double bias = x < 0.0 ? (double)FL_EXP_BIAS_f64 : -(double)FL_EXP_BIAS_f64;
    const fl_exp_parts_f64 parts = fl_exp_reduce_f64(x, low, bias);
    double result = fl_fma_f64(parts.q, parts.scale, parts.scale) * (x < 0.0 ? 0x1p-64 : 0x1p64);
    result = x > FL_EXP_LIMIT_f64 ? INFINITY : result;
    return x < FL_EXP_CUT_f64 ? 0.0 : result;
}

/*
 * exp(x) and expm1(x) for x <= 0, NaN kept: expm1(x) = 2^k q + (2^k - 1), where the bracket is exact or
 * swamps q and is 0 for k = 0, so that nothing cancels as x -> 0. expm1(-0) is +0. Worst error of exp:
 * float 0.92, double 0.90; of expm1: float 0.98, double 1.02.
 */
typedef struct {
    float exp, expm1;
} fl_exp_pair_f32;

typedef struct {
    double exp, expm1;
} fl_exp_pair_f64;

FL_INLINE fl_exp_pair_f32 fl_exp_expm1_f32(float x) {
    const fl_exp_parts_f32 parts = fl_exp_reduce_f32(fl_max_f32(x, FL_EXP_CUT_f32), 0.0f, FL_EXP_BIAS_f32);
    const float scale = parts.scale * 0x1p-32f;
    fl_exp_pair_f32 pair;
    pair.exp = fl_fma_f32(scale, parts.q, scale);
    pair.expm1 = fl_fma_f32(scale, parts.q, scale - 1.0f);
    return pair;
}

FL_INLINE fl_exp_pair_f64 fl_exp_expm1_f64(double x) {
    const fl_exp_parts_f64 parts = fl_exp_reduce_f64(fl_max_f64(x, FL_EXP_CUT_f64), 0.0, FL_EXP_BIAS_f64);
    const double scale = parts.scale * 0x1p-64;
    fl_exp_pair_f64 pair;
    pair.exp = fl_fma_f64(scale, parts.q, scale);
    pair.expm1 = fl_fma_f64(scale, parts.q, scale - 1.0);
    return pair;
}

/*
 * Logarithms: each function reduces to k ln 2 + log1p(f) with f in [-1/3, 1/2] and shares the sum below.
 * log1p(f) = f + b, |b| < |f| / 4, and k ln2_high + f is summed without error, so only the last addition
 * rounds at the size of the result. The float b is f^2 times a polynomial. The
 * double b uses s = f / (2 + f) and log1p(f) = 2 atanh(s) = f - (f^2/2 - s (f^2/2 + R(s^2))), a third of the
 * terms for a division that overlaps the rest. k is passed as a float scaled by 2^23: its exponent field,
 * converted as it stands.
 */
FL_INLINE float fl_log_sum_f32(float scaled_k, float f) {
    const float square = f * f;
    float p = fl_fma_f32(0x1.e772d8p-5f, square, fl_fma_f32(-0x1.dee8a4p-4f, f, 0x1.f94134p-4f));
    p = fl_fma_f32(p, square, fl_fma_f32(-0x1.fe7fb8p-4f, f, 0x1.220462p-3f));
    p = fl_fma_f32(p, square, fl_fma_f32(-0x1.553056p-3f, f, 0x1.99b2eep-3f));
    p = fl_fma_f32(p, square, fl_fma_f32(-0x1.0000e2p-2f, f, 0x1.55552ep-2f));
    p = fl_fma_f32(p, f, -0x1.fffffep-2f);
    const float b = fl_fma_f32(square, p, scaled_k * (FL_LN2_LOW_f32 * 0x1p-23f));
    const float high = fl_fma_f32(scaled_k, FL_LN2_HIGH_f32 * 0x1p-23f, f);
    const float error = fl_fma_f32(scaled_k, FL_LN2_HIGH_f32 * 0x1p-23f, -high) + f;
    return high + (error + b);
}

FL_INLINE double fl_log_sum_f64(double k, double f) {
    const double s = f / (2.0 + f);
    const double z = s * s, square = z * z;
    const double half_square = 0.5 * f * f;
    double p =
        fl_fma_f64(0x1.3adbf17584533p-3, square, fl_fma_f64(0x1.384f08110de1cp-3, z, 0x1.7475131920e0ap-3));
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.c71c0038fe4bbp-3, z, 0x1.249249b3f13bbp-2));
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.99999998ee3adp-2, z, 0x1.555555555577fp-1));
    p = fl_fma_f64(p, z, half_square);
    const double b = fl_fma_f64(s, p, fl_fma_f64(k, FL_LN2_LOW_f64, -half_square));
    const double high = fl_fma_f64(k, FL_LN2_HIGH_f64, f);
    const double error = fl_fma_f64(k, FL_LN2_HIGH_f64, -high) + f;
    return high + (error + b);
}

/* Bit patterns: 1.0, sqrt(1/2) and the exponent field. */
#define FL_ONE_f32 0x3f800000u
#define FL_SQRT_HALF_f32 0x3f3504f3u
#define FL_EXPONENT_f32 0x7f800000u
#define FL_ONE_f64 0x3ff0000000000000u
#define FL_SQRT_HALF_f64 0x3fe6a09e667f3bcdu
#define FL_EXPONENT_f64 0x7ff0000000000000u

/* The integer in an exponent field as a double, less offset: OR it into the low bits of 2^52 and subtract. */
FL_INLINE double fl_exponent_f64(uint64_t bits, double offset) {
    return fl_from_bits_f64((bits >> 52) | 0x4330000000000000u) - (0x1p52 + offset);
}

/* -inf, or NaN if outside: by bits, because gcc does not vectorise the nested select in every loop. */
FL_INLINE float fl_pole_f32(int outside) { return fl_from_bits_f32(0xff800000u | (uint32_t)outside << 22); }

FL_INLINE double fl_pole_f64(int outside) {
    return fl_from_bits_f64(UINT64_C(0xfff0000000000000) | (uint64_t)outside << 51);
}

/* x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), so that k = 0 around 1 and f = x - 1 is exact there;
 * garbage unless 0 < x < inf. */
typedef struct {
    float scaled_k, f;
} fl_log_parts_f32;

typedef struct {
    double k, f;
} fl_log_parts_f64;

FL_INLINE fl_log_parts_f32 fl_log_reduce_f32(float x) {
    const int subnormal = x < FLT_MIN;
    const uint32_t bits = fl_bits_f32(subnormal ? x * 0x1p23f : x) + (FL_ONE_f32 - FL_SQRT_HALF_f32);
    const uint32_t k = (bits & FL_EXPONENT_f32) - (subnormal ? FL_ONE_f32 + (23u << 23) : FL_ONE_f32);
    fl_log_parts_f32 parts;
    parts.scaled_k = (float)(int32_t)k;
    parts.f = fl_from_bits_f32((bits & ~FL_EXPONENT_f32) + FL_SQRT_HALF_f32) - 1.0f;
    return parts;
}

FL_INLINE fl_log_parts_f64 fl_log_reduce_f64(double x) {
    const double scaled = x < DBL_MIN ? x * 0x1p52 : x;
    const uint64_t bits = fl_bits_f64(scaled) + (FL_ONE_f64 - FL_SQRT_HALF_f64);
    fl_log_parts_f64 parts;
    parts.k = fl_exponent_f64(bits, 1023.0) - (x < DBL_MIN ? 52.0 : 0.0);
    parts.f = fl_from_bits_f64((bits & ~FL_EXPONENT_f64) + FL_SQRT_HALF_f64) - 1.0;
    return parts;
}

/*
 * log(x) for positive normal x; garbage otherwise. Worst error: float 0.90, double 0.95.
 */
FL_INLINE float fl_log_normal_f32(float x) {
    const uint32_t bits = fl_bits_f32(x) + (FL_ONE_f32 - FL_SQRT_HALF_f32);
    const uint32_t k = (bits & FL_EXPONENT_f32) - FL_ONE_f32;
    const float f = fl_from_bits_f32((bits & ~FL_EXPONENT_f32) + FL_SQRT_HALF_f32) - 1.0f;
    return fl_log_sum_f32((float)(int32_t)k, f);
}

FL_INLINE double fl_log_normal_f64(double x) {
    const uint64_t bits = fl_bits_f64(x) + (FL_ONE_f64 - FL_SQRT_HALF_f64);
    const double f = fl_from_bits_f64((bits & ~FL_EXPONENT_f64) + FL_SQRT_HALF_f64) - 1.0;
    return fl_log_sum_f64(fl_exponent_f64(bits, 1023.0), f);
}

/*
 * log(x): subnormals included, -inf at +-0, inf at inf, NaN below 0. Worst error: float 0.90,
 * double 0.95.
 */
FL_INLINE float fl_log_f32(float x) {
    const fl_log_parts_f32 parts = fl_log_reduce_f32(x);
    float result = fl_log_sum_f32(parts.scaled_k, parts.f);
    result = x == INFINITY ? x : result;
    return x > 0.0f ? result : fl_pole_f32(x != 0.0f);
}

FL_INLINE double fl_log_f64(double x) {
    const fl_log_parts_f64 parts = fl_log_reduce_f64(x);
    double result = fl_log_sum_f64(parts.k, parts.f);
    result = x == INFINITY ? x : result;
    return x > 0.0 ? result : fl_pole_f64(x != 0.0);
}

/*
 * log(1 + x): +-0 kept, -inf at -1, NaN below, inf at inf. k brings fl(1 + x) into [3/4, 3/2), but f = x 2^-k
 * + (2^-k - 1) comes from x itself: x for k = 0, exact for k = -1 and 1 but at the very edge, otherwise
 * rounded once below half an ulp of the result. 2^-k is formed as 2^(2-k) / 4 lest its exponent field run
 * out. Worst error: float 1.05, double 1.05.
 */
FL_INLINE float fl_log1p_f32(float x) {
    const uint32_t bits = fl_bits_f32(1.0f + x) + (1u << 22);
    const uint32_t k = (bits & FL_EXPONENT_f32) - FL_ONE_f32;
    const float scale_less_one = fl_fma_f32(fl_from_bits_f32(FL_ONE_f32 + (2u << 23) - k), 0.25f, -1.0f);
    float result = fl_log_sum_f32((float)(int32_t)k, fl_from_bits_f32(fl_bits_f32(x) - k) + scale_less_one);
    result = x + x == x ? x : result; /* +-0 and inf */
    return x > -1.0f ? result : fl_pole_f32(x != -1.0f);
}

FL_INLINE double fl_log1p_f64(double x) {
    const uint64_t bits = fl_bits_f64(1.0 + x) + (UINT64_C(1) << 51);
    const uint64_t k = (bits & FL_EXPONENT_f64) - FL_ONE_f64;
    const double scale_less_one =
        fl_fma_f64(fl_from_bits_f64(FL_ONE_f64 + (UINT64_C(2) << 52) - k), 0.25, -1.0);
    double result =
        fl_log_sum_f64(fl_exponent_f64(bits, 1023.0), fl_from_bits_f64(fl_bits_f64(x) - k) + scale_less_one);
    result = x + x == x ? x : result; /* +-0 and inf */
    return x > -1.0 ? result : fl_pole_f64(x != -1.0);
}

/*
 * log(1 + x) for -1/2 <= x <= 1, +0 and NaN kept: f = x without a reduction, and log1p(x) = x - s (x - s^2
 * R(s^2)) with s = x / (2 + x). Worst error: float 1.35, double 1.33; with a fused multiply-add
 * 1.1.
 */
FL_INLINE float fl_log1p_unit_f32(float x) {
    const float s = x / (2.0f + x), z = s * s;
    float p = fl_fma_f32(0x1.1eca6ap-2f, z, 0x1.1ec038p-2f);
    p = fl_fma_f32(p, z * z, fl_fma_f32(0x1.99d1ccp-2f, z, 0x1.555502p-1f));
    return fl_fma_f32(-s, fl_fma_f32(-z, p, x), x);
}

FL_INLINE double fl_log1p_unit_f64(double x) {
    const double s = x / (2.0 + x), z = s * s, square = z * z;
    double p = fl_fma_f64(0x1.5d4abed9a0addp-3, z, 0x1.55195ac837fb9p-4);
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.efec91a0c9ef0p-4, z, 0x1.10672e3f8a66fp-3));
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.3b1dde873fc2ep-3, z, 0x1.745cb40340190p-3));
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.c71c741c605aap-3, z, 0x1.249249208c76ep-2));
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.99999999a074ep-2, z, 0x1.5555555555535p-1));
    return fl_fma_f64(-s, fl_fma_f64(-z, p, x), x);
}

/*
 * cosh(x) - 1 for |x| <= 1, from x^2, whose error is not counted. Worst error: float 0.77,
 * double 0.76.
 */
FL_INLINE float fl_coshm1_unit_f32(float square) {
    const float fourth = square * square;
    const float p = fl_fma_f32(0x1.a90394p-16f, fourth, fl_fma_f32(0x1.6c023ap-10f, square, 0x1.555570p-5f));
    return fl_fma_f32(p, fourth, 0.5f * square);
}

FL_INLINE double fl_coshm1_unit_f64(double square) {
    const double fourth = square * square;
    double p = fl_fma_f64(0x1.996e1ad4f80bcp-37, square, 0x1.1ee5abdbfb562p-29);
    p = fl_fma_f64(p, fourth, fl_fma_f64(0x1.27e505edd9627p-22, square, 0x1.a01a019216ca9p-16));
    p = fl_fma_f64(p, fourth, fl_fma_f64(0x1.6c16c16c1f5f0p-10, square, 0x1.555555555551dp-5));
    return fl_fma_f64(p, fourth, 0.5 * square);
}

/*
 * log(a / b) for positive normal a and b with a / b and b / a normal. b is scaled to [1, 2) and a by a power
 * of two to within [2/3, 3/2] of it (bit patterns are near enough to logarithms to choose k), where a - b is
 * exact: f = (a - b) / b is rounded once, however close a and b are. Worst error: float 1.75,
 * double 1.61.
 */
FL_INLINE float fl_log_ratio_f32(float a, float b) {
    const uint32_t exponent = (fl_bits_f32(b) & FL_EXPONENT_f32) - FL_ONE_f32;
    const uint32_t a_bits = fl_bits_f32(a) - exponent, b_bits = fl_bits_f32(b) - exponent;
    const uint32_t k = ((a_bits - b_bits + FL_ONE_f32 + (1u << 22)) & FL_EXPONENT_f32) - FL_ONE_f32;
    const float divisor = fl_from_bits_f32(b_bits);
    return fl_log_sum_f32((float)(int32_t)k, (fl_from_bits_f32(a_bits - k) - divisor) / divisor);
}

FL_INLINE double fl_log_ratio_f64(double a, double b) {
    const uint64_t exponent = (fl_bits_f64(b) & FL_EXPONENT_f64) - FL_ONE_f64;
    const uint64_t a_bits = fl_bits_f64(a) - exponent, b_bits = fl_bits_f64(b) - exponent;
    const uint64_t bits = a_bits - b_bits + FL_ONE_f64 + (UINT64_C(1) << 51);
    const uint64_t k = (bits & FL_EXPONENT_f64) - FL_ONE_f64;
    const double divisor = fl_from_bits_f64(b_bits);
    return fl_log_sum_f64(fl_exponent_f64(bits, 1023.0), (fl_from_bits_f64(a_bits - k) - divisor) / divisor);
}

/*
 * x^a for x >= 0 and |a| <= 1e20, as exp(a log x): 0, 1 or inf at +-0 for a > 0, a = 0 or a < 0 (not
 * between -1e-20 and 1e-20), NaN below 0 and for a NaN in x. The exponential turns the absolute error of a
 * log x into a relative one, hence the logarithm and the product are sums of two numbers. log x = k ln 2 + 2
 * atanh(s), s = f / (2 + f), where 2 atanh(s) = 2 s + s^3 R(s^2): s is taken with its error, and the rest is
 * below 1 % of it. At 0 and inf a finite logarithm of great size keeps 0^0 = 1. Worst error for |a| <= 10:
 * float 0.99, double 0.98; for |a| <= 50: float 1.85, double 1.75. From there it grows with |a|, as far as
 * x^a is finite to 7 in float and 62 in double, with x near sqrt(2) times a power of 2.
 */
FL_INLINE float fl_power_f32(float x, float a) {
    const fl_log_parts_f32 parts = fl_log_reduce_f32(fl_abs_f32(x));
    const float k = parts.scaled_k, f = parts.f;
    const float u = 2.0f + f, inverse = 1.0f / u, s = f * inverse, f_used = s * u;
    const float rest = ((f - f_used) - fl_product_error_f32(s, u, f_used)) - s * (f - (u - 2.0f));
    const float z = s * s;
    float p = 0x1.ddd390p-3f;
    p = fl_fma_f32(p, z, 0x1.245c28p-2f);
    p = fl_fma_f32(p, z, 0x1.9999ecp-2f);
    p = fl_fma_f32(p, z, 0x1.555556p-1f);
    const float tail =
        fl_fma_f32(s * z, p, fl_fma_f32(k, (FL_LN2_LOW_f32 * 0x1p-23f), 2.0f * (rest * inverse)));
    const float sum = fl_fma_f32(k, FL_LN2_HIGH_f32 * 0x1p-23f, s + s);
    const float sum_low = (fl_fma_f32(k, FL_LN2_HIGH_f32 * 0x1p-23f, -sum) + (s + s)) + tail;
    float log = sum + sum_low;
    const float log_low = (sum - log) + sum_low;
    log = x == INFINITY ? x : log;
    log = x > 0.0f ? log : fl_pole_f32(x != 0.0f);
    log = fl_min_f32(fl_max_f32(log, -0x1p126f), 0x1p126f);
    const float product = a * log;
    return fl_exp_f32(product, fl_fma_f32(a, log_low, fl_product_error_f32(a, log, product)));
}

FL_INLINE double fl_power_f64(double x, double a) {
    const fl_log_parts_f64 parts = fl_log_reduce_f64(fl_abs_f64(x));
    const double k = parts.k, f = parts.f;
    const double u = 2.0 + f, inverse = 1.0 / u, s = f * inverse, f_used = s * u;
    const double rest = ((f - f_used) - fl_product_error_f64(s, u, f_used)) - s * (f - (u - 2.0));
    const double z = s * s;
    const double square = z * z;
    double p = fl_fma_f64(0x1.0c06b55bb3efbp-3, z, 0x1.0fbe442b6ae60p-3);
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.3b1c38a856459p-3, z, 0x1.745cf8f397214p-3));
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.c71c720185cc1p-3, z, 0x1.2492492476b0bp-2));
    p = fl_fma_f64(p, square, fl_fma_f64(0x1.9999999999a38p-2, z, 0x1.5555555555555p-1));
    const double tail = fl_fma_f64(s * z, p, fl_fma_f64(k, FL_LN2_LOW_f64, 2.0 * (rest * inverse)));
    const double sum = fl_fma_f64(k, FL_LN2_HIGH_f64, s + s);
    const double sum_low = (fl_fma_f64(k, FL_LN2_HIGH_f64, -sum) + (s + s)) + tail;
    double log = sum + sum_low;
    const double log_low = (sum - log) + sum_low;
    log = x == INFINITY ? x : log;
    log = x > 0.0 ? log : fl_pole_f64(x != 0.0);
    log = fl_min_f64(fl_max_f64(log, -0x1p980), 0x1p980);
    const double product = a * log;
    return fl_exp_f64(product, fl_fma_f64(a, log_low, fl_product_error_f64(a, log, product)));
}

#endif
