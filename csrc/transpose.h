/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Rows to columns, by squares of 4 x 4 or 8 x 8 in registers.
 */
#ifndef FL_TRANSPOSE_H
#define FL_TRANSPOSE_H

#include "dtype.h"

typedef real quad __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));

#define FL_SHUFFLE __builtin_shufflevector

/* By squares; those at an end overlap those before. */
#define FL_TRANSPOSE_BY(side, square)                                                                        \
    static void transpose_by_##square(real const *from, ptrdiff_t from_stride, ptrdiff_t rows,               \
                                      ptrdiff_t columns, real *to, ptrdiff_t to_stride) {                    \
        for (ptrdiff_t i = 0; i < rows; i += side) {                                                         \
            ptrdiff_t const r = i < rows - side ? i : rows - side;                                           \
            for (ptrdiff_t j = 0; j < columns; j += side) {                                                  \
                ptrdiff_t const c = j < columns - side ? j : columns - side;                                 \
                transpose_##square(from + r * from_stride + c, from_stride, to + c * to_stride + r,          \
                                   to_stride);                                                               \
            }                                                                                                \
        }                                                                                                    \
    }

/* Four rows of four. */
FL_INLINE void transpose_quads(real const *from, ptrdiff_t from_stride, real *to, ptrdiff_t to_stride) {
    quad const a = *(quad const *)from, b = *(quad const *)(from + from_stride);
    quad const c = *(quad const *)(from + 2 * from_stride), d = *(quad const *)(from + 3 * from_stride);
    quad const ab = FL_SHUFFLE(a, b, 0, 4, 1, 5), cd = FL_SHUFFLE(c, d, 0, 4, 1, 5);
    quad const ab_high = FL_SHUFFLE(a, b, 2, 6, 3, 7), cd_high = FL_SHUFFLE(c, d, 2, 6, 3, 7);
    *(quad *)to = FL_SHUFFLE(ab, cd, 0, 1, 4, 5);
    *(quad *)(to + to_stride) = FL_SHUFFLE(ab, cd, 2, 3, 6, 7);
    *(quad *)(to + 2 * to_stride) = FL_SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
    *(quad *)(to + 3 * to_stride) = FL_SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
}

FL_INLINE void transpose_few(real const *from, ptrdiff_t from_stride, ptrdiff_t rows, ptrdiff_t columns,
                             real *to, ptrdiff_t to_stride) {
    if (rows < columns)
        for (ptrdiff_t c = 0; c < columns; c++)
            for (ptrdiff_t r = 0; r < rows; r++)
                to[c * to_stride + r] = from[r * from_stride + c];
    else
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t c = 0; c < columns; c++)
                to[c * to_stride + r] = from[r * from_stride + c];
}

#define FL_QUAD 4
FL_TRANSPOSE_BY(FL_QUAD, quads)

#if defined(__AVX2__) && FL_REAL_BITS == 32
typedef real octet __attribute__((vector_size(8 * sizeof(real)), aligned(sizeof(real)), may_alias));

/* Eight rows of eight: quads of quads, whose halves are then exchanged. */
FL_INLINE void transpose_octets(real const *from, ptrdiff_t from_stride, real *to, ptrdiff_t to_stride) {
    octet row[8], pair[8], quad_of[8];
    for (int r = 0; r < 8; r++)
        row[r] = *(octet const *)(from + r * from_stride);
    for (int r = 0; r < 8; r += 2) {
        pair[r] = FL_SHUFFLE(row[r], row[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pair[r + 1] = FL_SHUFFLE(row[r], row[r + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int r = 0; r < 8; r += 4)
        for (int k = 0; k < 2; k++) {
            quad_of[r + 2 * k] = FL_SHUFFLE(pair[r + k], pair[r + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            quad_of[r + 2 * k + 1] = FL_SHUFFLE(pair[r + k], pair[r + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int k = 0; k < 4; k++) {
        *(octet *)(to + k * to_stride) = FL_SHUFFLE(quad_of[k], quad_of[k + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        *(octet *)(to + (k + 4) * to_stride) =
            FL_SHUFFLE(quad_of[k], quad_of[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

#define FL_OCTET 8
FL_TRANSPOSE_BY(FL_OCTET, octets)
#else
#define FL_OCTET FL_QUAD
#define transpose_by_octets transpose_by_quads
#endif

/* to[c][r] = from[r][c]. */
static void transpose(real const *from, ptrdiff_t from_stride, ptrdiff_t rows, ptrdiff_t columns, real *to,
                      ptrdiff_t to_stride) {
    if (columns == 2 && from_stride == 2)
        transpose_few(from, 2, rows, 2, to, to_stride);
    else if (rows == 2 && to_stride == 2)
        transpose_few(from, from_stride, 2, columns, to, 2);
    else if (rows < FL_QUAD || columns < FL_QUAD)
        transpose_few(from, from_stride, rows, columns, to, to_stride);
    else if (rows < FL_OCTET || columns < FL_OCTET)
        transpose_by_quads(from, from_stride, rows, columns, to, to_stride);
    else
        transpose_by_octets(from, from_stride, rows, columns, to, to_stride);
}

#endif
