/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Measures the functions of csrc/elementary.h, and the conversions of csrc/storage.h. tools/elementary.py
 * compiles it for each dtype: once for each instruction set (FL_ISA), with the flags of the kernels, and once
 * for the program.
 *
 *     elementary errors FUNCTION FIRST LAST STEP      the worst error in ulp of each instruction set, and
 * where elementary checksums FUNCTION FIRST LAST STEP   of the results of each instruction set elementary
 * list                                 functions, and the bounds that elementary.h states
 *
 * Inputs are numbered. Those of a float function of one argument are all floats, by their bits; else there
 * are as many as wanted: bit patterns, numbers of a range, and neighbours of the points where a reduction
 * changes.
 */
#ifdef FL_ISA
#include "storage.h"

FL_DEFINE_LOAD(real, wide)
#else
#define _GNU_SOURCE
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "dtype.h"
#endif

#define BLOCK 1024

/* Round to a storage and back. */
#define STORED(storage)                                                                                      \
    {                                                                                                        \
        char stored[sizeof(real) * BLOCK];                                                                   \
        store(stored, x, (ptrdiff_t)storage_size[storage], n, storage, 0, 0);                                \
        load_wide(result, stored, (ptrdiff_t)storage_size[storage], n, storage, 0);                          \
    }
#define EACH(call)                                                                                           \
    for (ptrdiff_t i = 0; i < n; i++)                                                                        \
        result[i] = call;

#define IS_NORMAL(x) ((x) >= REAL_MIN && (x) <= REAL_MAX)
#define SQUARE(x) ((x) * (x))
#define SMALL_EXPONENT(y) (1 + (y) * (1 + (y) / 2)) /* exp(y) */
#define LN2 0.693147180559945309
/* A difference that is not exact is of the size of b. */
#define LOG_RATIO(a, b) (a / b > 0.5 && a / b < 2 ? WIDE(log1p)((a - b) / b) : WIDE(log)(a) - WIDE(log)(b))
#define POWER(x, y) (x >= 0 ? WIDE(pow)(WIDE(fabs)(x), y) : (WIDE_TYPE)NAN)

/* FUNCTION(name, bounds in float and double, second argument, loop, domain, reference, range to sample, point
 * where the reduction changes for an integer k). x and y are reals in the loop and the domain, wide in the
 * reference. */
#define FUNCTIONS(FUNCTION)                                                                                  \
    FUNCTION(exp, 0.92, 0.90, NONE, EACH(fl_exp(x[i], R(0))), 1, WIDE(exp)(x), -750, 715, (k + 0.5) * LN2)   \
    FUNCTION(exp_low, 0.92, 0.90, LOW, EACH(fl_exp(x[i], y[i])), 1, WIDE(exp)(x) * SMALL_EXPONENT(y), -750,  \
             715, (k + 0.5) * LN2)                                                                           \
    FUNCTION(exp_biased, 0.92, 0.90, LOW, EACH(fl_exp_biased(x[i], y[i])), !(x > 50),                        \
             x < FL_REAL(FL_EXP_CUT) ? 0 : WIDE(exp)(x) * SMALL_EXPONENT(y) / (WIDE_TYPE)FL_EXP_SCALE, -750, \
             50, (k + 0.5) * LN2)                                                                            \
    FUNCTION(exp_of_pair, 0.92, 0.90, NONE, EACH(fl_exp_expm1(x[i]).exp), !(x > 0), WIDE(exp)(x), -750, 0,   \
             (k + 0.5) * LN2)                                                                                \
    FUNCTION(expm1_of_pair, 0.98, 1.02, NONE, EACH(fl_exp_expm1(x[i]).expm1), !(x > 0),                      \
             x == 0 ? 0 : WIDE(expm1)(x), -40, 0, (k + 0.5) * LN2)                                           \
    FUNCTION(log, 0.90, 0.95, NONE, EACH(fl_log(x[i])), 1, WIDE(log)(x), 0.25, 4,                            \
             ldexp(0.707106781186547524, k))                                                                 \
    FUNCTION(log_normal, 0.90, 0.95, NONE, EACH(fl_log_normal(x[i])), IS_NORMAL(x), WIDE(log)(x), 0.25, 4,   \
             ldexp(0.707106781186547524, k))                                                                 \
    FUNCTION(log1p, 1.05, 1.05, NONE, EACH(fl_log1p(x[i])), 1, WIDE(log1p)(x), -1, 4, ldexp(0.75, k) - 1)    \
    FUNCTION(log1p_unit, 1.35, 1.33, NONE, EACH(fl_log1p_unit(x[i])),                                        \
             !(x < -0.5 || x > 1) && !(x == 0 && signbit(x)), WIDE(log1p)(x), -0.5, 1, ldexp(1, k))          \
    FUNCTION(coshm1_unit, 0.77, 0.76, NONE, EACH(fl_coshm1_unit(x[i])), x >= 0 && x <= 1,                    \
             2 * SQUARE(WIDE(sinh)(WIDE(sqrt)(x) / 2)), 0, 1, ldexp(1, k))                                   \
    FUNCTION(log_ratio, 1.75, 1.61, NEAR, EACH(fl_log_ratio(x[i], y[i])),                                    \
             IS_NORMAL(x) && IS_NORMAL(y) && IS_NORMAL(x / y) && IS_NORMAL(y / x), LOG_RATIO(x, y), 0.25, 4, \
             ldexp(0.75, k))                                                                                 \
    FUNCTION(power_10, 0.99, 0.98, WITHIN_10, EACH(fl_power(x[i], y[i])), 1, POWER(x, y), 0, 4,              \
             ldexp(0.707106781186547524, k))                                                                 \
    FUNCTION(power_50, 1.85, 1.75, WITHIN_50, EACH(fl_power(x[i], y[i])), 1, POWER(x, y), 0, 4,              \
             ldexp(0.707106781186547524, k))                                                                 \
    FUNCTION(power, INFINITY, INFINITY, WITHIN_1E6, EACH(fl_power(x[i], y[i])), 1, POWER(x, y), 0, 4,        \
             ldexp(0.707106781186547524, k))                                                                 \
    FUNCTION(float16, 0, 0, NONE, STORED(FL_FLOAT16), FL_REAL_BITS == 32, ROUNDED(x, 11, -14, 15), -7e4,     \
             7e4, ldexp(1, k))                                                                               \
    FUNCTION(bfloat16, 0, 0, NONE, STORED(FL_BFLOAT16), FL_REAL_BITS == 32, ROUNDED(x, 8, -126, 127), -4, 4, \
             ldexp(1, k))

/* n <= BLOCK */
typedef void loop(real const *x, real const *y, real *result, ptrdiff_t n);

#ifdef FL_ISA

#define DEFINE_LOOP(name, of_float, of_double, second, calls, ...)                                           \
    static void name##_loop(real const *x, real const *y, real *result, ptrdiff_t n) {                       \
        (void)y;                                                                                             \
        calls                                                                                                \
    }
FUNCTIONS(DEFINE_LOOP)

#define LOOP_NAME(name, ...) name##_loop,
extern loop *const FL_JOIN(loops_, FL_ISA)[];
loop *const FL_JOIN(loops_, FL_ISA)[] = {FUNCTIONS(LOOP_NAME)};

#else

#define FL_ISA_ROW(suffix, name, supported) extern loop *const loops_##suffix[];
#include "isa.def"
#undef FL_ISA_ROW

typedef struct {
    char const *name;
    loop *const *loops;
    int supported;
} instruction_set;

#if FL_REAL_BITS == 32
typedef double wide;
#define FIRST_WIDE(f) f
#define MANTISSA 24
#define MINIMUM_EXPONENT (-126)
#define LIMIT 0x1p128
#else
typedef long double wide;
#define FIRST_WIDE(f) f##l
#define MANTISSA 53
#define MINIMUM_EXPONENT (-1022)
#define LIMIT 0x1p1024L
#endif
typedef _Float128 quad;

typedef enum { NONE, LOW, NEAR, WITHIN_10, WITHIN_50, WITHIN_1E6 } second_argument;

typedef struct {
    char const *name;
    double of_float, of_double, low, high;
    second_argument second;
    double (*break_at)(int k);
    void (*domain)(real const *x, real const *y, char *inside);
    void (*reference)(real const *x, real const *y, wide *exact);
    quad (*exact)(quad x, quad y);
} function;

/* x rounded to so many digits; exponents are those of numbers in [1, 2). */
FL_INLINE double rounded(double x, int digits, int lowest, int highest) {
    int const exponent = (int)(fl_bits_f64(x) >> 52 & 0x7ff) - 1023;
    int const last = (exponent < lowest ? lowest : exponent) - (digits - 1);
    double const unit = fl_from_bits_f64((uint64_t)(1023 + last) << 52);
    double const result = __builtin_rint(x / unit) * unit;
    double const limit = fl_from_bits_f64((uint64_t)(1024 + highest) << 52);
    return fabs(result) >= limit ? copysign(INFINITY, x) : result;
}
#define ROUNDED(x, ...) rounded((double)(x), __VA_ARGS__)

#define DEFINE_FUNCTION(name, of_float, of_double, second, calls, in_domain, value, low, high, point)        \
    static double name##_break(int k) { return point; }                                                      \
    static void name##_domain(real const *first_argument, real const *second_argument, char *inside) {       \
        for (int i = 0; i < BLOCK; i++) {                                                                    \
            real const x = first_argument[i], y = second_argument[i];                                        \
            (void)x, (void)y;                                                                                \
            inside[i] = in_domain;                                                                           \
        }                                                                                                    \
    }                                                                                                        \
    static void name##_reference(real const *first_argument, real const *second_argument, wide *exact) {     \
        _Pragma("omp simd") for (int i = 0; i < BLOCK; i++) {                                                \
            wide const x = (wide)first_argument[i], y = (wide)second_argument[i];                            \
            (void)y;                                                                                         \
            exact[i] = value;                                                                                \
        }                                                                                                    \
    }
#define WIDE FIRST_WIDE
#define WIDE_TYPE wide
FUNCTIONS(DEFINE_FUNCTION)
#undef WIDE
#undef WIDE_TYPE

#define DEFINE_EXACT(name, of_float, of_double, second, calls, in_domain, value, ...)                        \
    static quad name##_exact(quad x, quad y) {                                                               \
        (void)y;                                                                                             \
        return value;                                                                                        \
    }
#define WIDE(f) f##f128
#define WIDE_TYPE quad
FUNCTIONS(DEFINE_EXACT)
#undef WIDE
#undef WIDE_TYPE

#define FUNCTION_ROW(name, of_float, of_double, second, calls, in_domain, value, low, high, point)           \
    {#name,        of_float,      of_double,        low,         high, second,                               \
     name##_break, name##_domain, name##_reference, name##_exact},
static function const functions[] = {FUNCTIONS(FUNCTION_ROW)};
#define FUNCTION_COUNT (int)(sizeof functions / sizeof *functions)

/* ---- inputs ---- */

/* Steele, Lea and Flood's SplitMix64. */
static uint64_t random_bits(uint64_t index) {
    uint64_t z = (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static real from_bits(uint64_t pattern) { return FL_REAL(fl_from_bits)((bits)pattern); }

/* The number of units in the last place away, from 0 to 2^20, small ones as often as large ones. */
static real moved(real x, uint64_t random) {
    int64_t const distance = (int64_t)(random >> 8 & 0xfffff) >> (random & 31) % 21;
    return from_bits((uint64_t)FL_REAL(fl_bits)(x) + (uint64_t)(random >> 32 & 1 ? -distance : distance));
}

static double fraction(uint64_t random) { return (double)(random >> 11) * 0x1p-53; }

static real sample(function const *f, uint64_t index) {
    static double const ends[] = {0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 0.5, -0.5, 2};
    uint64_t const random = random_bits(index), other = random_bits(~index);
    int const exponents = FL_REAL_BITS == 32 ? 160 : 1100;
    switch (index % 8) {
    case 0:
    case 1:
        return from_bits(random);
    case 2:
        return moved((real)f->break_at((int)(random >> 40) % (2 * exponents) - exponents), other);
    case 3:
        return moved((real)f->break_at((int)(random >> 40) % 8 - 4), other);
    case 4:
        return moved((real)ends[random % (sizeof ends / sizeof *ends)], other);
    default:
        return (real)(f->low + (f->high - f->low) * fraction(random));
    }
}

/* Within an ulp of x. */
FL_INLINE real near_zero(real x, uint64_t index) {
    real const ulp = x - from_bits((uint64_t)FL_REAL(fl_bits)(x) - 1);
    real const unit = ulp - ulp == 0 ? ulp : REAL_MIN;
    return unit * ((real)(int32_t)(random_bits(index) >> 32) * R(0x1p-31));
}

static real second(function const *f, real x, uint64_t index) {
    uint64_t const random = random_bits(index ^ UINT64_C(0x5555555555555555));
    real const u = (real)(2 * fraction(random) - 1);
    switch (f->second) {
    case NEAR:
        return random % 4 == 0   ? sample(f, ~index)
               : random % 4 == 1 ? moved(x, random_bits(random))
                                 : x * (real)(0.5 + 1.5 * fraction(random));
    case WITHIN_10:
    case WITHIN_50:
        return random % 16 ? u * (f->second == WITHIN_10 ? 10 : 50)
                           : (real)__builtin_rint(10 * (double)u) / 2;
    case WITHIN_1E6: /* most of them keep the power finite */
        return (real)fmax(
            -1e6, fmin(1e6, (double)u * (FL_REAL_BITS == 32 ? 107 : 728) / fabs(log(fabs((double)x)))));
    default:
        return 0;
    }
}

static int is_exhaustive(function const *f) {
    return FL_REAL_BITS == 32 && (f->second == NONE || f->second == LOW);
}

/* ---- errors ---- */

/* In units of the last place of the exact result; beyond the largest number lies a power of two. A special
 * result, and a zero, must be that. */
FL_INLINE double error_of(real got, wide exact) {
    double const size = fabs((double)exact);
    uint64_t exponent = fl_bits_f64(size) >> 52;
    exponent = exponent < 1023 + MINIMUM_EXPONENT ? 1023 + MINIMUM_EXPONENT : exponent;
    exponent = exponent > 1024 - MINIMUM_EXPONENT ? 1024 - MINIMUM_EXPONENT : exponent;
    wide const per_unit =
        (wide)fl_from_bits_f64((2047 - exponent) << 52) * (wide)((int64_t)1 << (MANTISSA - 2));
    wide a = (wide)got, b = exact;
    a = a > LIMIT ? LIMIT : a < -LIMIT ? -LIMIT : a;
    b = b > LIMIT ? LIMIT : b < -LIMIT ? -LIMIT : b;
    wide const difference = a > b ? a - b : b - a;
    int const both_nan = (got != got) & (exact != exact);
    int const wrong = ((got != got) != (exact != exact)) |
                      ((exact == 0) & (FL_REAL(fl_bits)(got) != FL_REAL(fl_bits)((real)exact))) |
                      ((size == (double)INFINITY) & (fl_abs(got) != (real)INFINITY));
    double const error = (double)(difference * per_unit);
    return wrong ? (double)INFINITY : both_nan ? 0 : error;
}

/* The same from a better reference. */
static double exact_error(function const *f, real x, real y, real got) {
    quad const exact = f->exact((quad)x, (quad)y), limit = (quad)LIMIT;
    quad const a = (quad)got, b = exact;
    int exponent;
    (void)frexpf128(b, &exponent);
    exponent = exponent - 1 < MINIMUM_EXPONENT ? MINIMUM_EXPONENT : exponent - 1;
    quad const difference = (a > limit    ? limit
                             : a < -limit ? -limit
                                          : a) -
                            (b > limit    ? limit
                             : b < -limit ? -limit
                                          : b);
    return (double)fabsf128(ldexpf128(difference, MANTISSA - 1 - exponent));
}

typedef struct {
    double worst;
    real x, y;
} finding;

static void look_at(function const *f, real const *x, real const *y, real const *got, wide const *exact,
                    char const *inside, finding *found) {
    double error[BLOCK], most = 0;
#pragma omp simd
    for (int i = 0; i < BLOCK; i++)
        error[i] = inside[i] ? error_of(got[i], exact[i]) : 0;
#pragma omp simd reduction(max : most)
    for (int i = 0; i < BLOCK; i++)
        most = error[i] > most ? error[i] : most;
    /* Those near the worst, within the reference's own error, are looked at again; small ones need not be. */
    for (int i = 0; i < BLOCK && most > found->worst - 0.001; i++) {
        int const matters = error[i] > 0.25 && error[i] < (double)INFINITY;
        if (error[i] <= found->worst - (matters ? 0.001 : 0))
            continue;
        double const better = matters ? exact_error(f, x[i], y[i], got[i]) : error[i];
        if (better > found->worst)
            *found = (finding){better, x[i], y[i]};
    }
}

int main(int count, char **argument) {
    instruction_set const sets[] = {
#define FL_ISA_ROW(suffix, name, supported) {name, loops_##suffix, supported},
#include "isa.def"
    };
    int const set_count = sizeof sets / sizeof *sets;
    if (count == 2)
        for (int k = 0; k < FUNCTION_COUNT; k++)
            printf("%s %g %d\n", functions[k].name,
                   FL_REAL_BITS == 32 ? functions[k].of_float : functions[k].of_double,
                   is_exhaustive(&functions[k]));
    if (count != 6)
        return count != 2;
    int const checksums = strcmp(argument[1], "checksums") == 0;
    int k = 0;
    while (k < FUNCTION_COUNT && strcmp(functions[k].name, argument[2]))
        k++;
    if (k == FUNCTION_COUNT)
        return 1;
    function const *const f = &functions[k];
    uint64_t const first = strtoull(argument[3], NULL, 0), last = strtoull(argument[4], NULL, 0);
    uint64_t const step = strtoull(argument[5], NULL, 0);
    uint64_t tested = 0, checksum[4] = {0};
    finding found[4] = {{0}};
    int repeats[4] = {1, 1, 1, 1}; /* the set before it, in all blocks so far */
    for (uint64_t start = first; start < last; start += BLOCK * step) {
        static real x[BLOCK], y[BLOCK], got[BLOCK], before[BLOCK];
        static wide exact[BLOCK];
        static char inside[BLOCK];
        uint64_t const left = (last - start + step - 1) / step;
        int const n = left < BLOCK ? (int)left : BLOCK;
        if (is_exhaustive(f))
            for (int i = 0; i < BLOCK; i++)
                x[i] = from_bits(start + (uint64_t)i * step);
        else
            for (int i = 0; i < BLOCK; i++)
                x[i] = sample(f, start + (uint64_t)i * step);
        if (f->second == LOW)
            for (int i = 0; i < BLOCK; i++)
                y[i] = near_zero(x[i], start + (uint64_t)i * step);
        else if (f->second != NONE)
            for (int i = 0; i < BLOCK; i++)
                y[i] = second(f, x[i], start + (uint64_t)i * step);
        f->domain(x, y, inside);
        memset(inside + n, 0, (size_t)(BLOCK - n));
        for (int i = 0; i < BLOCK; i++)
            tested += (uint64_t)inside[i];
        if (!memchr(inside, 1, BLOCK))
            continue;
        if (!checksums)
            f->reference(x, y, exact);
        for (int s = 0; s < set_count; s++) {
            if (!sets[s].supported)
                continue;
            sets[s].loops[k](x, y, got, BLOCK);
            repeats[s] = repeats[s] && s && sets[s - 1].supported && memcmp(got, before, sizeof got) == 0;
            if (repeats[s])
                found[s] = found[s - 1];
            else if (!checksums)
                look_at(f, x, y, got, exact, inside, &found[s]);
            memcpy(before, got, sizeof got);
            for (int i = 0; i < BLOCK && checksums; i++) {
                uint64_t const result = got[i] != got[i] ? 1 : (uint64_t)FL_REAL(fl_bits)(got[i]);
                checksum[s] = inside[i] ? (checksum[s] ^ result) * UINT64_C(0x9e3779b97f4a7c15) : checksum[s];
                checksum[s] ^= checksum[s] >> 29;
            }
        }
    }
    for (int s = 0; s < set_count; s++)
        if (sets[s].supported && checksums)
            printf("%s %llu %016llx\n", sets[s].name, (unsigned long long)tested,
                   (unsigned long long)checksum[s]);
        else if (sets[s].supported)
            printf("%s %llu %.4f %a %a\n", sets[s].name, (unsigned long long)tested, found[s].worst,
                   (double)found[s].x, (double)found[s].y);
    return 0;
}
#endif
