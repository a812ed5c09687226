/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Rows to columns, by squares of 4 x 4 in registers.
 */
#ifndef FL_TRANSPOSE_H
#define FL_TRANSPOSE_H

#include "dtype.h"

typedef real quad __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));

#define FL_SHUFFLE __builtin_shufflevector

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

/* to[c][r] = from[r][c]. Quads at an end overlap those before. */
static void transpose(real const *from, ptrdiff_t from_stride, ptrdiff_t rows, ptrdiff_t columns, real *to,
                      ptrdiff_t to_stride) {
    if (columns == 2 && from_stride == 2)
        transpose_few(from, 2, rows, 2, to, to_stride);
    else if (rows == 2 && to_stride == 2)
        transpose_few(from, from_stride, 2, columns, to, 2);
    else if (rows < 4 || columns < 4)
        transpose_few(from, from_stride, rows, columns, to, to_stride);
    if (rows < 4 || columns < 4)
        return;
    for (ptrdiff_t i = 0; i < rows; i += 4) {
        ptrdiff_t const r = i < rows - 4 ? i : rows - 4;
        for (ptrdiff_t j = 0; j < columns; j += 4) {
            ptrdiff_t const c = j < columns - 4 ? j : columns - 4;
            transpose_quads(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
        }
    }
}

#endif
