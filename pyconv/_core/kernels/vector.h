/* Vectors of the widest kind that this build's instruction set has, as GNU C vector extensions: one source for
 * SSE2, AVX2, AVX-512 and NEON. */
#ifndef PYCONV_VECTOR_H
#define PYCONV_VECTOR_H

#include <stdint.h>

#if PC_F64
typedef double real;
typedef int64_t integer; /* as wide as a real, for masks and exponents */
#else
typedef float real;
typedef int32_t integer;
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define LANES ((int64_t)(VECTOR_BYTES / sizeof(real)))

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef integer ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef real loose_vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

static inline vec load(const real *p) { return *(const loose_vec *)p; }
static inline void store(real *p, vec v) { *(loose_vec *)p = v; }

/* Written out, because "x + zero vector" is an addition to the compiler, and a loop is not always a broadcast. */
static inline vec splat(real x)
{
#define TWO x, x
#define FOUR TWO, TWO
#define EIGHT FOUR, FOUR
#if VECTOR_BYTES == 64 && !PC_F64
    return (vec){EIGHT, EIGHT};
#elif VECTOR_BYTES == 64 || (VECTOR_BYTES == 32 && !PC_F64)
    return (vec){EIGHT};
#elif VECTOR_BYTES == 32 || !PC_F64
    return (vec){FOUR};
#else
    return (vec){TWO};
#endif
#undef TWO
#undef FOUR
#undef EIGHT
}

/* mask lanes are all ones or all zeros, as comparisons give them */
static inline vec choose(ivec mask, vec yes, vec no) { return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask)); }

/* The larger one; NaN if either is NaN. */
static inline vec max_or_nan(vec best, vec x)
{
    return choose((x > best) | (x != x), x, best);
}

#define UNROLL _Pragma("GCC unroll 32")

#endif
