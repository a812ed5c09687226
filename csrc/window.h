/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Terms of a softmax row: exp(z) times a power of two that the row's terms share. Scaling by a power of two
 * is exact, and any will do that neither overflows nor loses a term that counts, so that no maximum has to be
 * found first. Rows that fit no window of exponents are taken relative to their maximum, with the rounding
 * error of the difference, for which exp(-80) would be off by 80 half ulps.
 */
#ifndef FL_WINDOW_H
#define FL_WINDOW_H

/* Terms are added in pairs in real before they are added to lanes of double: that halves the conversions. */
#define FL_PAIRS (FL_LANES / 2)

/* The exponents of a window: terms of logits up to the limit L are at most 2^FL_WINDOW_TOP, so that 2^20 of
 * them and the reciprocal of their sum are normal; FL_WINDOW_DEPTH below L they leave the normal range. A
 * label's term of FL_OWN_LEAST times the top still has all that counts above that depth. |L| <=
 * FL_WINDOW_MOST keeps z - k*ln(2) exact. The limit is FL_WINDOW_ROOM above the first logits of a long row.
 */
#if FL_REAL_BITS == 32
#define FL_WINDOW_TOP 100
#define FL_WINDOW_DEPTH 156
#define FL_WINDOW_MOST 190
#define FL_WINDOW_ROOM 40
#define FL_OWN_LEAST 0x1p-75
#define FL_EXP_UNIT 0x1p-100
#define FL_MANTISSA_BITS 23
#define FL_EXPONENT_BIAS 127
#define FL_LOG2_E 0x1.715476p0f
#else
#define FL_WINDOW_TOP 600
#define FL_WINDOW_DEPTH 1123
#define FL_WINDOW_MOST 290
#define FL_WINDOW_ROOM 100
#define FL_OWN_LEAST 0x1p-540
#define FL_EXP_UNIT 0x1p-600
#define FL_MANTISSA_BITS 52
#define FL_EXPONENT_BIAS 1023
#define FL_LOG2_E 0x1.71547652b82fep0
#endif

/* How the terms of a row are scaled: term * unit = exp(z - base). */
typedef struct {
    int plain;          /* in a window; else relative to base, the maximum */
    real offset, floor; /* of a window */
    double base, unit;
} exp_window;

/* The multiple of ln(2) that a window is scaled by. */
FL_INLINE double window_exponent(real limit) {
    return ((double)limit * 0x1.71547652b82fep0 + FL_ROUND_f64) - FL_ROUND_f64;
}

FL_INLINE real window_offset(real limit) {
    return (real)((double)FL_REAL(FL_ROUND) + FL_EXPONENT_BIAS + FL_WINDOW_TOP - window_exponent(limit));
}

FL_INLINE real window_floor(real limit) { return limit - R(FL_WINDOW_DEPTH); }

static exp_window window_below(real limit) {
    return (exp_window){.plain = 1,
                        .offset = window_offset(limit),
                        .floor = window_floor(limit),
                        .base = window_exponent(limit) * 0x1.62e42fefa39efp-1,
                        .unit = FL_EXP_UNIT};
}

static exp_window window_at(real maximum) {
    return (exp_window){.base = (double)maximum, .unit = FL_EXP_SCALE};
}

static int fits_window(real limit) { return limit >= -R(FL_WINDOW_MOST) && limit <= R(FL_WINDOW_MOST); }

/* exp(z) times a power of two, exactly 0 below the floor, NaN for a NaN. z = k ln 2 + r, where z - k times
 * the high part of ln 2 is exact, so that the error does not grow with |z|. Worst error in ulp, with a fused
 * multiply-add and without, over all floats of a window and three million doubles of five: float 1.03 at
 * -0x1.9e5f38p+6, 0.99 at -0x1.767338p+2; double 0.99 at -0x1.cb5f67c201a76p+9, 0.97 at
 * -0x1.9b301697be206p+9. */
FL_INLINE real plain_term(real z, real offset, real floor) {
    real const rounded = fl_fma(z, FL_LOG2_E, offset), k = rounded - offset;
    real const r = fl_fma(-k, FL_REAL(FL_LN2_LOW), fl_fma(-k, FL_REAL(FL_LN2_HIGH), z));
    real const square = r * r, scale = FL_REAL(fl_from_bits)(FL_REAL(fl_bits)(rounded) << FL_MANTISSA_BITS);
    real const term = fl_fma(scale, fl_fma(square, FL_REAL(fl_exp_tail)(r, square), r), scale);
    return z < floor ? R(0) : term;
}

/* The window of a row by itself. A power of two changes no bit, so that its neighbours in a block do not
 * either. */
static exp_window window_of(real maximum) {
    return fits_window(maximum) ? window_below(maximum) : window_at(maximum);
}

FL_INLINE real term_of(real z, exp_window const *window, int const plain) {
    if (plain)
        return plain_term(z, window->offset, window->floor);
    real const maximum = (real)window->base, d = z - maximum;
    return fl_exp_biased(d, fl_difference_error(z, maximum, d));
}

static void plain_terms(real const *z, ptrdiff_t n, exp_window const *window, real *term) {
    for (ptrdiff_t group = 0; group < n; group += FL_LANES)
#pragma omp simd
        for (ptrdiff_t i = group; i < group + FL_LANES; i++)
            term[i] = plain_term(z[i], window->offset, window->floor);
}

/* The terms of a block; more than n <= FL_BLOCK are written. */
static void block_terms(real const *z, ptrdiff_t n, exp_window const *window, real *term) {
    real rest[FL_LANES];
    ptrdiff_t const whole = n - n % FL_LANES;
    plain_terms(z, whole, window, term);
    if (whole == n)
        return;
    for (ptrdiff_t i = 0; i < FL_LANES; i++)
        rest[i] = z[whole + i < n ? whole + i : n - 1];
    plain_terms(rest, FL_LANES, window, term + whole);
}

#define FL_FEW_LANES 8

/* The sum of each row of an odd number of terms; few are unrolled. */
FL_INLINE void sum_odd(double const *term, ptrdiff_t rows, ptrdiff_t columns, double *sum) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        double total = term[r * columns];
        for (ptrdiff_t c = 1; c < columns; c++)
            total += term[r * columns + c];
        sum[r] = total;
    }
}

static void sum_many(double const *term, ptrdiff_t rows, ptrdiff_t columns, double *sum) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        double const *const row = term + r * columns;
        double total, lane[FL_FEW_LANES] = {0};
        ptrdiff_t c = 0;
        for (; c + FL_FEW_LANES <= columns; c += FL_FEW_LANES)
            for (int j = 0; j < FL_FEW_LANES; j++)
                lane[j] += row[c + j];
        for (total = sum_first_lanes(lane, FL_FEW_LANES); c < columns; c++)
            total += row[c];
        sum[r] = total;
    }
}

/* The sum of each row times the unit: neighbours are added by vectors as often as columns can be halved. The
 * first sums are rounded to reals, unless they have to be exact because something will be subtracted. */
static void sum_terms(real const *term, ptrdiff_t rows, ptrdiff_t columns, double unit, int exact,
                      double *sum) {
    double part[FL_BLOCK];
    if (!exact && columns % 2 == 0) {
        columns /= 2;
#pragma omp simd
        for (ptrdiff_t i = 0; i < rows * columns; i++)
            part[i] = (double)(term[2 * i] + term[2 * i + 1]);
    } else {
#pragma omp simd
        for (ptrdiff_t i = 0; i < rows * columns; i++)
            part[i] = (double)term[i];
    }
    while (columns > 0 && columns % 2 == 0) {
        columns /= 2;
#pragma omp simd
        for (ptrdiff_t i = 0; i < rows * columns; i++)
            part[i] = part[2 * i] + part[2 * i + 1];
    }
    if (columns == 3)
        sum_odd(part, rows, 3, sum);
    else if (columns == 5)
        sum_odd(part, rows, 5, sum);
    else if (columns == 7)
        sum_odd(part, rows, 7, sum);
    else if (columns > 1)
        sum_many(part, rows, columns, sum);
    for (ptrdiff_t r = 0; r < rows; r++)
        sum[r] = columns == 0 ? 0 : (columns == 1 ? part[r] : sum[r]) * unit;
}

#endif
