/* Comparing and choosing lane by lane, in the instructions that each instruction set has for it: AVX-512 compares into
 * mask registers, the others into vectors. */
#ifndef PYCONV_SELECT_H
#define PYCONV_SELECT_H

#include "vector.h"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if PC_F64
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#else
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#endif
#define SMALLEST_NORMAL_BITS ((integer)1 << MANTISSA_BITS)

#if defined(__AVX512F__) && PC_F64
typedef __mmask8 mask;
static inline mask below(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
static inline mask below_bits(ivec a, ivec b) { return _mm512_cmplt_epi64_mask((__m512i)a, (__m512i)b); }
static inline mask equal(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
static inline mask unordered(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_UNORD_Q); }
static inline vec pick(mask m, vec yes, vec no) { return _mm512_mask_blend_pd(m, no, yes); }
static inline int any(mask m) { return m != 0; }
#elif defined(__AVX512F__)
typedef __mmask16 mask;
static inline mask below(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline mask below_bits(ivec a, ivec b) { return _mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b); }
static inline mask equal(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
static inline mask unordered(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }
static inline vec pick(mask m, vec yes, vec no) { return _mm512_mask_blend_ps(m, no, yes); }
static inline int any(mask m) { return m != 0; }
#else
typedef ivec mask;
static inline mask below(vec a, vec b) { return a < b; }
static inline mask below_bits(ivec a, ivec b) { return a < b; }
static inline mask equal(vec a, vec b) { return a == b; }
static inline mask unordered(vec a, vec b) { return (a != a) | (b != b); }
static inline vec pick(mask m, vec yes, vec no) { return choose(m, yes, no); }
static inline int any(mask m)
{
#if defined(__AVX2__)
    return _mm256_movemask_epi8((__m256i)m) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_epi8((__m128i)m) != 0;
#else
    integer found = 0;
    for (int64_t i = 0; i < LANES; i++) found |= m[i];
    return found != 0;
#endif
}
#endif

/* Lanes that are not below the limit in magnitude; NaN is not */
static inline mask beyond(vec x, vec limit)
{
    const vec magnitude = (vec)((ivec)x & ~(ivec)splat((real)-0.0));
#if defined(__AVX512F__) && PC_F64
    return _mm512_cmp_pd_mask(magnitude, limit, _CMP_NLT_UQ);
#elif defined(__AVX512F__)
    return _mm512_cmp_ps_mask(magnitude, limit, _CMP_NLT_UQ);
#else
    return ~below(magnitude, limit);
#endif
}

/* Lanes that are below the normal numbers; zeros are not. */
static inline mask denormal(vec x)
{
#if defined(__AVX512DQ__) && PC_F64
    return _mm512_fpclass_pd_mask(x, 0x20);
#elif defined(__AVX512DQ__)
    return _mm512_fpclass_ps_mask(x, 0x20);
#else
    const ivec magnitude = (ivec)x & ~(ivec)splat((real)-0.0), none = {0};
    return below_bits(none, magnitude) & below_bits(magnitude, none + SMALLEST_NORMAL_BITS);
#endif
}

/* Lanes that are below the normal numbers, infinite, or NaN */
static inline mask extreme(vec x)
{
#if defined(__AVX512DQ__) && PC_F64
    return _mm512_fpclass_pd_mask(x, 0xb9);
#elif defined(__AVX512DQ__)
    return _mm512_fpclass_ps_mask(x, 0xb9);
#else
    return denormal(x) | beyond(x, splat(PC_F64 ? (real)0x1.fffffffffffffp+1023 : (real)0x1.fffffep+127f));
#endif
}

/* a > b ? a : b and a < b ? a : b; so b where either is NaN, or where they are zeros of different signs. */
#if defined(__AVX512F__) && PC_F64
static inline vec greater_of(vec a, vec b) { return _mm512_max_pd(a, b); }
static inline vec lesser_of(vec a, vec b) { return _mm512_min_pd(a, b); }
#elif defined(__AVX512F__)
static inline vec greater_of(vec a, vec b) { return _mm512_max_ps(a, b); }
static inline vec lesser_of(vec a, vec b) { return _mm512_min_ps(a, b); }
#elif defined(__AVX2__) && PC_F64
static inline vec greater_of(vec a, vec b) { return _mm256_max_pd(a, b); }
static inline vec lesser_of(vec a, vec b) { return _mm256_min_pd(a, b); }
#elif defined(__AVX2__)
static inline vec greater_of(vec a, vec b) { return _mm256_max_ps(a, b); }
static inline vec lesser_of(vec a, vec b) { return _mm256_min_ps(a, b); }
#elif defined(__SSE2__) && PC_F64
static inline vec greater_of(vec a, vec b) { return _mm_max_pd(a, b); }
static inline vec lesser_of(vec a, vec b) { return _mm_min_pd(a, b); }
#elif defined(__SSE2__)
static inline vec greater_of(vec a, vec b) { return _mm_max_ps(a, b); }
static inline vec lesser_of(vec a, vec b) { return _mm_min_ps(a, b); }
#else
static inline vec greater_of(vec a, vec b) { return choose(a > b, a, b); }
static inline vec lesser_of(vec a, vec b) { return choose(a < b, a, b); }
#endif

/* The one nearer to zero, of b >= 0 and x, with the sign of x; NaN where b is NaN */
static inline vec least_magnitude(vec x, vec b)
{
#if defined(__AVX512F__) && PC_F64
    return _mm512_range_pd(x, b, 2); /* 2: of absolute values the lesser one, with the first one's sign */
#elif defined(__AVX512F__)
    return _mm512_range_ps(x, b, 2);
#else
    const ivec sign = (ivec)x & (ivec)splat((real)-0.0);
    return (vec)((ivec)lesser_of((vec)((ivec)x ^ sign), b) | sign);
#endif
}

#endif
