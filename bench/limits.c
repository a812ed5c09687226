/* SPDX-License-Identifier: BSD-3-Clause */
/* The limits of memory: read, copy, and copy by stores that bypass the caches; whole pages are moved. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

typedef uint64_t vector __attribute__((vector_size(64), aligned(8), may_alias));

enum { PAGE = 4096, LANES = PAGE / 64 };

uint64_t read_bytes(const char *from, ptrdiff_t size, int threads) {
    uint64_t sum = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : sum) if (threads > 1)
    for (ptrdiff_t page = 0; page < size / PAGE; page++) {
        const vector *const v = (const vector *)(from + page * PAGE);
        vector parts[4] = {v[0], v[1], v[2], v[3]};
        for (int i = 4; i < LANES; i += 4)
            for (int k = 0; k < 4; k++)
                parts[k] |= v[i + k];
        parts[0] |= parts[1] | parts[2] | parts[3];
        for (int k = 0; k < 8; k++)
            sum += parts[0][k];
    }
    return sum;
}

void copy(char *restrict to, const char *restrict from, ptrdiff_t size, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (ptrdiff_t page = 0; page < size / PAGE; page++) {
        vector *const t = (vector *)(to + page * PAGE);
        const vector *const f = (const vector *)(from + page * PAGE);
        for (int i = 0; i < LANES; i++)
            t[i] = f[i];
    }
}

/* `to` is aligned to 64 bytes. */
void copy_nontemporal(char *restrict to, const char *restrict from, ptrdiff_t size, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
        for (ptrdiff_t page = 0; page < size / PAGE; page++) {
            char *const t = to + page * PAGE;
            const char *const f = from + page * PAGE;
#if defined(__AVX512F__)
            for (int i = 0; i < PAGE; i += 64)
                _mm512_stream_si512((void *)(t + i), _mm512_loadu_si512((const void *)(f + i)));
#elif defined(__SSE2__)
            for (int i = 0; i < PAGE; i += 16)
                _mm_stream_si128((void *)(t + i), _mm_loadu_si128((const void *)(f + i)));
#else
            memcpy(t, f, PAGE);
#endif
        }
#if defined(__SSE2__)
        _mm_sfence();
#endif
    }
}
