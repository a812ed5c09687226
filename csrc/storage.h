/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Loading and storing blocks: any storage, stride, alignment and byte order on one side, contiguous
 * float or double on the other. It is why no input is ever converted or copied whole.
 */
#ifndef FL_STORAGE_H
#define FL_STORAGE_H

#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "dtype.h"
#include "fastloss.h"

static size_t const storage_size[] = {4, 8, 2, 2, 1, 1, 2, 4, 8, 1, 2, 4, 8};

/* binary16 to float, exact: shift the fields into place, then let one multiplication by 2^112 correct
 * the exponent bias, which also normalises subnormals. */
FL_INLINE float float_from_half(uint16_t half) {
    uint32_t const magnitude = (uint32_t)(half & 0x7fff) << 13, sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t const infinite = magnitude | 0x7f800000u;
    float scaled;
    memcpy(&scaled, &magnitude, sizeof scaled);
    scaled *= 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &scaled, sizeof bits);
    bits = (magnitude >= 0x0f800000u ? infinite : bits) | sign;
    memcpy(&scaled, &bits, sizeof scaled);
    return scaled;
}

/* float to binary16, to nearest even. Adding 0.5 aligns a subnormal result to its last place. */
FL_INLINE uint16_t half_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t const sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    float tiny;
    memcpy(&tiny, &magnitude, sizeof tiny);
    tiny += 0.5f;
    uint32_t subnormal;
    memcpy(&subnormal, &tiny, sizeof subnormal);
    subnormal -= 0x3f000000u;
    uint32_t const normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    uint32_t const special = magnitude > 0x7f800000u ? 0x7e00u | (magnitude >> 13 & 0x3ffu) : 0x7c00u;
    uint32_t const finite = magnitude < 0x38800000u ? subnormal : normal;
    return (uint16_t)(sign | (magnitude >= 0x47800000u ? special : finite));
}

FL_INLINE float float_from_bfloat(uint16_t half) {
    uint32_t const bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

FL_INLINE uint16_t bfloat_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t const rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded);
}

/* A real as a float that rounds to a half as the real itself does: what float has no digits for is kept in
 * the last bit (rounding to odd), so that nothing is rounded to nearest twice. */
FL_INLINE float float_for_half(real value) {
    float near = (float)value;
#if FL_REAL_BITS == 64
    uint32_t bits;
    memcpy(&bits, &near, sizeof bits);
    bits -= fl_abs((double)near) > fl_abs(value);
    bits |= (double)near != value;
    memcpy(&near, &bits, sizeof near);
#endif
    return near;
}

FL_INLINE uint16_t half_from_real(real value) { return half_from_float(float_for_half(value)); }

FL_INLINE uint16_t bfloat_from_real(real value) { return bfloat_from_float(float_for_half(value)); }

/* Groups of binary16 to contiguous reals and back, by the instructions of targets that have them; return how
 * many elements that were. They agree with the functions above. */
#if defined(__F16C__)
#define FL_GROUP 8
typedef float float_group __attribute__((vector_size(FL_GROUP * sizeof(float))));

#define FL_DEFINE_LOAD_HALVES(target, suffix)                                                                \
    static ptrdiff_t FL_JOIN(load_halves_, suffix)(target *restrict to, char const *from, ptrdiff_t n) {     \
        typedef target group __attribute__((vector_size(FL_GROUP * sizeof(target))));                        \
        ptrdiff_t i = 0;                                                                                     \
        for (; i + FL_GROUP <= n; i += FL_GROUP) {                                                           \
            __m128i const half = _mm_loadu_si128((void const *)(from + 2 * i));                              \
            group const value = __builtin_convertvector((float_group)_mm256_cvtph_ps(half), group);          \
            memcpy(to + i, &value, sizeof value);                                                            \
        }                                                                                                    \
        return i;                                                                                            \
    }

/* float_for_half of a group, spelled out: gcc 12 gets the loop over it wrong for AVX-512. */
FL_INLINE float_group group_for_half(real const *from) {
    typedef real group __attribute__((vector_size(FL_GROUP * sizeof(real))));
    group value;
    memcpy(&value, from, sizeof value);
    float_group near = __builtin_convertvector(value, float_group);
#if FL_REAL_BITS == 64
    typedef int64_t wide __attribute__((vector_size(sizeof value)));
    typedef int32_t narrow __attribute__((vector_size(sizeof near)));
    group const back = __builtin_convertvector(near, group);
    wide const magnitude = (wide){0} + INT64_MAX;
    wide const further = (group)((wide)back & magnitude) > (group)((wide)value & magnitude);
    narrow bits = (narrow)near + __builtin_convertvector(further, narrow);
    bits |= __builtin_convertvector(back != value, narrow) & 1;
    near = (float_group)bits;
#endif
    return near;
}

static ptrdiff_t store_halves(char *to, real const *restrict from, ptrdiff_t n) {
    ptrdiff_t i = 0;
    for (; i + FL_GROUP <= n; i += FL_GROUP) {
        __m128i const rounded = _mm256_cvtps_ph((__m256)group_for_half(from + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((void *)(to + 2 * i), rounded);
    }
    return i;
}
#else
#define FL_DEFINE_LOAD_HALVES(target, suffix)                                                                \
    static ptrdiff_t FL_JOIN(load_halves_, suffix)(target * to, char const *from, ptrdiff_t n) {             \
        (void)to, (void)from, (void)n;                                                                       \
        return 0;                                                                                            \
    }

static ptrdiff_t store_halves(char *to, real const *from, ptrdiff_t n) {
    (void)to, (void)from, (void)n;
    return 0;
}
#endif

/* Elements that are swapped or too far apart are copied into scratch, in native order. */
#define FL_SCRATCH_BYTES 8192

#define FL_COPY_RUN(type, to_step, from_step, convert)                                                       \
    {                                                                                                        \
        for (ptrdiff_t i = 0; i < n; i++) {                                                                  \
            type value;                                                                                      \
            memcpy(&value, from + i * (from_step), sizeof value);                                            \
            value = convert(value);                                                                          \
            memcpy(to + i * (to_step), &value, sizeof value);                                                \
        }                                                                                                    \
    }

/* The most frequent strides as constants, so that the loops become vectors. */
#define FL_COPY_STRIDED(type, reversed)                                                                      \
    {                                                                                                        \
        ptrdiff_t const step = sizeof(type);                                                                 \
        if (swapped && to_stride == step && from_stride == step)                                             \
            FL_COPY_RUN(type, step, step, reversed)                                                          \
        else if (swapped)                                                                                    \
            FL_COPY_RUN(type, to_stride, from_stride, reversed)                                              \
        else if (to_stride == step && from_stride == 2 * step)                                               \
            FL_COPY_RUN(type, step, 2 * step, )                                                              \
        else if (to_stride == step && from_stride == -step)                                                  \
            FL_COPY_RUN(type, step, -step, )                                                                 \
        else if (to_stride == -step && from_stride == step)                                                  \
            FL_COPY_RUN(type, -step, step, )                                                                 \
        else                                                                                                 \
            FL_COPY_RUN(type, to_stride, from_stride, )                                                      \
    }

/* One strided run of elements to another. */
static void copy_strided(char *restrict to, ptrdiff_t to_stride, char const *restrict from,
                         ptrdiff_t from_stride, ptrdiff_t n, size_t size, int swapped) {
    if (size == 8)
        FL_COPY_STRIDED(uint64_t, __builtin_bswap64)
    else if (size == 4)
        FL_COPY_STRIDED(uint32_t, __builtin_bswap32)
    else if (size == 2)
        FL_COPY_STRIDED(uint16_t, __builtin_bswap16)
    else
        FL_COPY_STRIDED(uint8_t, (uint8_t))
}

#define FL_LOAD_AS(tag, type, convert)                                                                       \
    case tag:                                                                                                \
        for (; i < n; i++) {                                                                                 \
            type value;                                                                                      \
            memcpy(&value, from + i * (ptrdiff_t)sizeof value, sizeof value);                                \
            to[i] = convert(value);                                                                          \
        }                                                                                                    \
        break;

#define FL_TRUTH(x) (x != 0)

/* n elements from `from` to contiguous `to`; n * 8 <= FL_SCRATCH_BYTES. */
#define FL_DEFINE_LOAD(target, suffix)                                                                       \
    FL_DEFINE_LOAD_HALVES(target, suffix)                                                                    \
    static void FL_JOIN(load_, suffix)(target *restrict to, char const *from, ptrdiff_t stride, ptrdiff_t n, \
                                       fl_storage storage, int swapped) {                                    \
        char scratch[FL_SCRATCH_BYTES];                                                                      \
        size_t const size = storage_size[storage];                                                           \
        if (swapped || stride != (ptrdiff_t)size) {                                                          \
            copy_strided(scratch, (ptrdiff_t)size, from, stride, n, size, swapped);                          \
            from = scratch;                                                                                  \
        }                                                                                                    \
        ptrdiff_t i = storage == FL_FLOAT16 ? FL_JOIN(load_halves_, suffix)(to, from, n) : 0;                \
        switch (storage) {                                                                                   \
            FL_LOAD_AS(FL_FLOAT32, float, (target))                                                          \
            FL_LOAD_AS(FL_FLOAT64, double, (target))                                                         \
            FL_LOAD_AS(FL_FLOAT16, uint16_t, (target)float_from_half)                                        \
            FL_LOAD_AS(FL_BFLOAT16, uint16_t, (target)float_from_bfloat)                                     \
            FL_LOAD_AS(FL_BOOL, uint8_t, (target)FL_TRUTH)                                                   \
            FL_LOAD_AS(FL_INT8, int8_t, (target))                                                            \
            FL_LOAD_AS(FL_INT16, int16_t, (target))                                                          \
            FL_LOAD_AS(FL_INT32, int32_t, (target))                                                          \
            FL_LOAD_AS(FL_INT64, int64_t, (target))                                                          \
            FL_LOAD_AS(FL_UINT8, uint8_t, (target))                                                          \
            FL_LOAD_AS(FL_UINT16, uint16_t, (target))                                                        \
            FL_LOAD_AS(FL_UINT32, uint32_t, (target))                                                        \
            FL_LOAD_AS(FL_UINT64, uint64_t, (target))                                                        \
        }                                                                                                    \
    }

/* What a label that is no int64 is loaded as; out of range for every class count. */
#define FL_NO_LABEL INT64_MIN
#define FL_LABEL_LIMIT 0x1p62
#define FL_LABEL_OF_REAL(x)                                                                                  \
    (x > -FL_LABEL_LIMIT && x < FL_LABEL_LIMIT && (double)(int64_t)x == (double)x ? (int64_t)x : FL_NO_LABEL)
#define FL_LABEL_OF_HALF(x) FL_LABEL_OF_REAL(float_from_half(x))
#define FL_LABEL_OF_BFLOAT(x) FL_LABEL_OF_REAL(float_from_bfloat(x))
#define FL_LABEL_OF_UINT64(x) (x > INT64_MAX ? FL_NO_LABEL : (int64_t)x)

static void load_labels(int64_t *restrict to, char const *from, ptrdiff_t stride, ptrdiff_t n,
                        fl_storage storage, int swapped) {
    char scratch[FL_SCRATCH_BYTES];
    size_t const size = storage_size[storage];
    if (swapped || stride != (ptrdiff_t)size) {
        copy_strided(scratch, (ptrdiff_t)size, from, stride, n, size, swapped);
        from = scratch;
    }
    ptrdiff_t i = 0;
    switch (storage) {
        FL_LOAD_AS(FL_FLOAT32, float, FL_LABEL_OF_REAL)
        FL_LOAD_AS(FL_FLOAT64, double, FL_LABEL_OF_REAL)
        FL_LOAD_AS(FL_FLOAT16, uint16_t, FL_LABEL_OF_HALF)
        FL_LOAD_AS(FL_BFLOAT16, uint16_t, FL_LABEL_OF_BFLOAT)
        FL_LOAD_AS(FL_BOOL, uint8_t, FL_TRUTH)
        FL_LOAD_AS(FL_INT8, int8_t, )
        FL_LOAD_AS(FL_INT16, int16_t, )
        FL_LOAD_AS(FL_INT32, int32_t, )
        FL_LOAD_AS(FL_INT64, int64_t, )
        FL_LOAD_AS(FL_UINT8, uint8_t, )
        FL_LOAD_AS(FL_UINT16, uint16_t, )
        FL_LOAD_AS(FL_UINT32, uint32_t, )
        FL_LOAD_AS(FL_UINT64, uint64_t, FL_LABEL_OF_UINT64)
    }
}

/* Copies past the caches, where the target has instructions for it: memory is then written without being read
 * first. The caller's task ends with a fence. */
#define FL_LINE_BYTES 64
#if defined(__AVX512F__)
#define FL_STREAM(to, from) _mm512_stream_si512((void *)(to), _mm512_loadu_si512(from))
#define FL_STREAM_BYTES 64
#elif defined(__AVX__)
#define FL_STREAM(to, from) _mm256_stream_si256((void *)(to), _mm256_loadu_si256((void const *)(from)))
#define FL_STREAM_BYTES 32
#elif defined(__SSE2__)
#define FL_STREAM(to, from) _mm_stream_si128((void *)(to), _mm_loadu_si128((void const *)(from)))
#define FL_STREAM_BYTES 16
#endif

static void stream(char *restrict to, char const *restrict from, size_t bytes) {
#ifdef FL_STREAM
    size_t i = -(uintptr_t)to % FL_STREAM_BYTES;
    i = i < bytes ? i : bytes;
    if (i)
        memcpy(to, from, i);
    for (; i + FL_STREAM_BYTES <= bytes; i += FL_STREAM_BYTES)
        FL_STREAM(to + i, from + i);
    if (i < bytes)
        memcpy(to + i, from + i, bytes - i);
#else
    memcpy(to, from, bytes);
#endif
}

#define FL_STORE_AS(tag, type, convert)                                                                      \
    case tag:                                                                                                \
        for (; i < n; i++) {                                                                                 \
            type const value = convert(from[i]);                                                             \
            memcpy(target + i * (ptrdiff_t)sizeof value, &value, sizeof value);                              \
        }                                                                                                    \
        break;

/* n contiguous elements of `from` to `to`, one of the four floating-point storages; past the caches if
 * `streamed`. */
static void store(char *to, real const *restrict from, ptrdiff_t stride, ptrdiff_t n, fl_storage storage,
                  int swapped, int streamed) {
    char scratch[FL_SCRATCH_BYTES];
    size_t const size = storage_size[storage];
    int const contiguous = !swapped && stride == (ptrdiff_t)size, direct = contiguous && !streamed;
    char *const target = direct ? to : scratch;
    if (contiguous && streamed && storage == FL_REAL_STORAGE) {
        stream(to, (char const *)from, (size_t)n * size);
        return;
    }
    ptrdiff_t i = storage == FL_FLOAT16 ? store_halves(target, from, n) : 0;
    switch (storage) {
        FL_STORE_AS(FL_FLOAT32, float, (float))
        FL_STORE_AS(FL_FLOAT64, double, (double))
        FL_STORE_AS(FL_FLOAT16, uint16_t, half_from_real)
        FL_STORE_AS(FL_BFLOAT16, uint16_t, bfloat_from_real)
    default:
        return;
    }
    if (contiguous && streamed)
        stream(to, target, (size_t)n * size);
    else if (!direct)
        copy_strided(to, stride, target, (ptrdiff_t)size, n, size, swapped);
}

#endif
