/* Vectors of the widest kind that this build's instruction set has, as GNU C vector extensions: one source for
 * SSE2, AVX2, AVX-512 and NEON. */
#ifndef PYCONV_VECTOR_H
#define PYCONV_VECTOR_H

#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

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

#define UNROLL _Pragma("GCC unroll 32")
#define INLINE static inline __attribute__((always_inline))
#define NOT_INLINED __attribute__((noinline))

#define LANES ((int64_t)(VECTOR_BYTES / sizeof(real)))

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef integer ivec __attribute__((vector_size(VECTOR_BYTES)));
typedef real loose_vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

static inline vec load(const real *p) { return *(const loose_vec *)p; }
static inline void store(real *p, vec v) { *(loose_vec *)p = v; }

/* The same for what is used twice: else GCC makes memory an operand of both, and so reads it twice. */
static inline vec load_once(const real *p) { return *(const volatile loose_vec *)p; }

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

/* a * b + c, a * b - c and c - a * b where the result depends on a single rounding: FUSES says whether the instruction set
 * has such an operation, and then it is this one. Of products and sums that are written as such the compiler makes it when
 * it optimises, and not always; that is good enough wherever it only saves time. */
#if defined(__FMA__) || defined(__aarch64__)
#define FUSES 1
#else
#define FUSES 0
#endif
#if defined(__AVX512F__) && PC_F64
#define FUSED(operation) _mm512_f##operation##_pd
#elif defined(__AVX512F__)
#define FUSED(operation) _mm512_f##operation##_ps
#elif defined(__FMA__) && PC_F64
#define FUSED(operation) _mm256_f##operation##_pd
#elif defined(__FMA__)
#define FUSED(operation) _mm256_f##operation##_ps
#endif
#if defined(FUSED)
static inline vec multiply_add(vec a, vec b, vec c) { return FUSED(madd)(a, b, c); }
static inline vec multiply_subtract(vec a, vec b, vec c) { return FUSED(msub)(a, b, c); }
static inline vec subtract_product(vec a, vec b, vec c) { return FUSED(nmadd)(a, b, c); }
#elif FUSES && PC_F64
static inline vec multiply_add(vec a, vec b, vec c) { return vfmaq_f64(c, a, b); }
static inline vec multiply_subtract(vec a, vec b, vec c) { return vfmaq_f64(-c, a, b); }
static inline vec subtract_product(vec a, vec b, vec c) { return vfmsq_f64(c, a, b); }
#elif FUSES
static inline vec multiply_add(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
static inline vec multiply_subtract(vec a, vec b, vec c) { return vfmaq_f32(-c, a, b); }
static inline vec subtract_product(vec a, vec b, vec c) { return vfmsq_f32(c, a, b); }
#else
static inline vec multiply_add(vec a, vec b, vec c) { return a * b + c; }
static inline vec multiply_subtract(vec a, vec b, vec c) { return a * b - c; }
static inline vec subtract_product(vec a, vec b, vec c) { return c - a * b; }
#endif

/* Shuffles of two vectors seen as one of 2 * LANES elements. */
#if VECTOR_BYTES == 64 && !PC_F64
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define FROM(k) k, k + 1, k + 2, k + 3, k + 4, k + 5, k + 6, k + 7, k + 8, k + 9, k + 10, k + 11, k + 12, k + 13, k + 14, k + 15
#elif VECTOR_BYTES == 64 || (VECTOR_BYTES == 32 && !PC_F64)
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15
#define ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define FROM(k) k, k + 1, k + 2, k + 3, k + 4, k + 5, k + 6, k + 7
#elif VECTOR_BYTES == 32 || !PC_F64
#define EVENS 0, 2, 4, 6
#define ODDS 1, 3, 5, 7
#define ZIP_LOW 0, 4, 1, 5
#define ZIP_HIGH 2, 6, 3, 7
#define FROM(k) k, k + 1, k + 2, k + 3
#else
#define EVENS 0, 2
#define ODDS 1, 3
#define ZIP_LOW 0, 2
#define ZIP_HIGH 1, 3
#define FROM(k) k, k + 1
#endif
/* the second half, and the first */
#if VECTOR_BYTES == 64 && !PC_F64
#define FROM_HALF 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7
#elif VECTOR_BYTES == 64 || (VECTOR_BYTES == 32 && !PC_F64)
#define FROM_HALF 4, 5, 6, 7, 0, 1, 2, 3
#elif VECTOR_BYTES == 32 || !PC_F64
#define FROM_HALF 2, 3, 0, 1
#else
#define FROM_HALF 1, 0
#endif
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif

/* Lane k of the result is lane from[k]. */
static inline vec rearranged(vec v, ivec from)
{
#if defined(__AVX512F__) && PC_F64
    return _mm512_permutexvar_pd((__m512i)from, v);
#elif defined(__AVX512F__)
    return _mm512_permutexvar_ps((__m512i)from, v);
#elif defined(__AVX2__) && PC_F64
    return (vec)_mm256_permutevar8x32_ps((__m256)v, (__m256i)(2 * from + ((2 * from + 1) << 32)));
#elif defined(__AVX2__)
    return _mm256_permutevar8x32_ps(v, (__m256i)from);
#else
    vec found;
    for (int k = 0; k < LANES; k++) found[k] = v[from[k]];
    return found;
#endif
}

/* For each lane the first one of its group; a group is so many lanes, a power of two. */
static inline ivec first_lanes(int64_t group)
{
    return (ivec){FROM(0)} & -(integer)group;
}

/* Every other element of two vectors that follow one another, from the first on and from the second on. On AVX2 within
 * halves first: the compiler takes three shuffles for what can be done in two. */
#if defined(__AVX2__) && !defined(__AVX512F__) && PC_F64
static inline vec even_of(vec a, vec b) { return _mm256_permute4x64_pd(_mm256_unpacklo_pd(a, b), 0xD8); }
static inline vec odd_of(vec a, vec b) { return _mm256_permute4x64_pd(_mm256_unpackhi_pd(a, b), 0xD8); }
#elif defined(__AVX2__) && !defined(__AVX512F__)
static inline vec even_of(vec a, vec b)
{
    return (vec)_mm256_permute4x64_pd((__m256d)_mm256_shuffle_ps(a, b, 0x88), 0xD8);
}
static inline vec odd_of(vec a, vec b) { return (vec)_mm256_permute4x64_pd((__m256d)_mm256_shuffle_ps(a, b, 0xDD), 0xD8); }
#else
static inline vec even_of(vec a, vec b) { return SHUFFLE(a, b, EVENS); }
static inline vec odd_of(vec a, vec b) { return SHUFFLE(a, b, ODDS); }
#endif

/* mask lanes are all ones or all zeros, as comparisons give them */
static inline vec choose(ivec mask, vec yes, vec no) { return (vec)(((ivec)yes & mask) | ((ivec)no & ~mask)); }

/* Which lanes of a vector to load. begin may be negative and end beyond the vector. */
#if defined(__AVX512F__)
typedef uint32_t lane_mask;
#elif defined(__AVX2__)
typedef ivec lane_mask;
#else
typedef struct {
    int32_t begin, end;
} lane_mask;
#endif

static inline lane_mask lanes_between(int64_t begin, int64_t end)
{
    begin = begin < 0 ? 0 : begin > LANES ? LANES : begin;
    end = end > LANES ? LANES : end < begin ? begin : end;
#if defined(__AVX512F__)
    return ((1u << end) - 1) & ~((1u << begin) - 1);
#elif defined(__AVX2__) && PC_F64
    const ivec lane = {0, 1, 2, 3};
    return (lane >= begin) & (lane < end);
#elif defined(__AVX2__)
    const ivec lane = {0, 1, 2, 3, 4, 5, 6, 7};
    return (lane >= (integer)begin) & (lane < (integer)end);
#else
    return (lane_mask){(int32_t)begin, (int32_t)end};
#endif
}

/* AddressSanitizer does not see what masked loads and stores touch: it is told. */
#ifdef __SANITIZE_ADDRESS__
void __asan_loadN(void *p, long bytes);
void __asan_storeN(void *p, long bytes);

static inline void touch_lanes(const real *p, lane_mask lanes)
{
    for (int i = 0; i < LANES; i++) {
#if defined(__AVX512F__)
        const int touched = lanes >> i & 1;
#elif defined(__AVX2__)
        const int touched = lanes[i] != 0;
#else
        const int touched = lanes.begin <= i && i < lanes.end;
#endif
        if (touched) __asan_loadN((void *)(p + i), sizeof(real));
    }
}

static inline void touch_first(real *p, int64_t count) { __asan_storeN(p, count * (long)sizeof(real)); }
#else
static inline void touch_lanes(const real *p, lane_mask lanes) { (void)p, (void)lanes; }
static inline void touch_first(real *p, int64_t count) { (void)p, (void)count; }
#endif

/* These lanes of the vector at p, zeros elsewhere; no other memory is touched. */
static inline vec load_lanes(const real *p, lane_mask lanes)
{
    touch_lanes(p, lanes);
#if defined(__AVX512F__) && PC_F64
    return _mm512_maskz_loadu_pd((__mmask8)lanes, p);
#elif defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)lanes, p);
#elif defined(__AVX2__) && PC_F64
    return _mm256_maskload_pd(p, (__m256i)lanes);
#elif defined(__AVX2__)
    return _mm256_maskload_ps(p, (__m256i)lanes);
#else
    real found[LANES] = {0};
    for (int i = lanes.begin; i < lanes.end; i++) found[i] = p[i];
    return load(found);
#endif
}

/* The same with others in place of the zeros. */
static inline vec load_lanes_or(const real *p, lane_mask lanes, vec others)
{
#if defined(__AVX512F__) && PC_F64
    touch_lanes(p, lanes);
    return _mm512_mask_loadu_pd(others, (__mmask8)lanes, p);
#elif defined(__AVX512F__)
    touch_lanes(p, lanes);
    return _mm512_mask_loadu_ps(others, (__mmask16)lanes, p);
#elif defined(__AVX2__)
    return choose((ivec)lanes, load_lanes(p, lanes), others);
#else
    for (int i = lanes.begin; i < lanes.end; i++) others[i] = p[i];
    return others;
#endif
}

static inline vec load_part(const real *p, int64_t begin, int64_t end)
{
    return load_lanes(p, lanes_between(begin, end));
}

/* Lanes begin .. end - 1 of v to p; no other memory is touched. */
static inline void store_between(real *p, vec v, int64_t begin, int64_t end)
{
    if (begin <= 0 && end >= LANES) {
        store(p, v);
        return;
    }
    const lane_mask lanes = lanes_between(begin, end);
    touch_lanes(p, lanes);
#if defined(__AVX512F__) && PC_F64
    _mm512_mask_storeu_pd(p, (__mmask8)lanes, v);
#elif defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)lanes, v);
#elif defined(__AVX2__) && PC_F64
    _mm256_maskstore_pd(p, (__m256i)lanes, v);
#elif defined(__AVX2__)
    _mm256_maskstore_ps(p, (__m256i)lanes, v);
#else
    for (int i = lanes.begin; i < lanes.end; i++) p[i] = v[i];
#endif
}

/* The first count lanes of v to p; no other memory is touched. */
static inline void store_part(real *p, vec v, int64_t count)
{
    if (count >= LANES) {
        store(p, v);
        return;
    }
    touch_first(p, count);
#if defined(__AVX512F__) && PC_F64
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << count) - 1), v);
#elif defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), v);
#elif defined(__AVX2__) && PC_F64
    const ivec lane = {0, 1, 2, 3};
    _mm256_maskstore_pd(p, (__m256i)(lane < count), v);
#elif defined(__AVX2__)
    const ivec lane = {0, 1, 2, 3, 4, 5, 6, 7};
    _mm256_maskstore_ps(p, (__m256i)(lane < (integer)count), v);
#else
    for (int64_t i = 0; i < count; i++) p[i] = v[i];
#endif
}

/* LANES rows of LANES elements, turned into columns. */
static inline void turn_square(vec a[LANES])
{
    vec b[LANES];
#if defined(__AVX512F__) && PC_F64
    /* pairs within quarters, then the quarters: zips across them take twice as long on Zen 4 */
    UNROLL for (int i = 0; i < LANES; i += 2)
    {
        b[i] = _mm512_unpacklo_pd(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_pd(a[i], a[i + 1]);
    }
    UNROLL for (int i = 0; i < 2; i++)
    {
        const vec low = _mm512_shuffle_f64x2(b[i], b[i + 2], 0x44), high = _mm512_shuffle_f64x2(b[i], b[i + 2], 0xEE);
        const vec next_low = _mm512_shuffle_f64x2(b[i + 4], b[i + 6], 0x44);
        const vec next_high = _mm512_shuffle_f64x2(b[i + 4], b[i + 6], 0xEE);
        a[i] = _mm512_shuffle_f64x2(low, next_low, 0x88);
        a[i + 2] = _mm512_shuffle_f64x2(low, next_low, 0xDD);
        a[i + 4] = _mm512_shuffle_f64x2(high, next_high, 0x88);
        a[i + 6] = _mm512_shuffle_f64x2(high, next_high, 0xDD);
    }
#elif defined(__AVX512F__)
    /* squares of four within quarters, then the quarters: zips across them take twice as long on Zen 4 */
    UNROLL for (int i = 0; i < LANES; i += 4)
    {
        const vec low = _mm512_unpacklo_ps(a[i], a[i + 1]), high = _mm512_unpackhi_ps(a[i], a[i + 1]);
        const vec next_low = _mm512_unpacklo_ps(a[i + 2], a[i + 3]), next_high = _mm512_unpackhi_ps(a[i + 2], a[i + 3]);
        b[i] = _mm512_shuffle_ps(low, next_low, 0x44);
        b[i + 1] = _mm512_shuffle_ps(low, next_low, 0xEE);
        b[i + 2] = _mm512_shuffle_ps(high, next_high, 0x44);
        b[i + 3] = _mm512_shuffle_ps(high, next_high, 0xEE);
    }
    UNROLL for (int i = 0; i < LANES / 4; i++)
    {
        const vec low = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x44), high = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xEE);
        const vec next_low = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x44);
        const vec next_high = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xEE);
        a[i] = _mm512_shuffle_f32x4(low, next_low, 0x88);
        a[i + 4] = _mm512_shuffle_f32x4(low, next_low, 0xDD);
        a[i + 8] = _mm512_shuffle_f32x4(high, next_high, 0x88);
        a[i + 12] = _mm512_shuffle_f32x4(high, next_high, 0xDD);
    }
#elif defined(__AVX2__) && PC_F64
    /* pairs within halves, then the halves: fewer shuffles than zips across halves take */
    UNROLL for (int i = 0; i < LANES; i += 2)
    {
        b[i] = _mm256_unpacklo_pd(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_pd(a[i], a[i + 1]);
    }
    UNROLL for (int i = 0; i < LANES / 2; i++)
    {
        a[i] = _mm256_permute2f128_pd(b[i], b[i + 2], 0x20);
        a[i + 2] = _mm256_permute2f128_pd(b[i], b[i + 2], 0x31);
    }
#elif defined(__AVX2__)
    /* squares of four within halves, then the halves: fewer shuffles than zips across halves take */
    UNROLL for (int i = 0; i < LANES; i += 4)
    {
        const vec low = _mm256_unpacklo_ps(a[i], a[i + 1]), high = _mm256_unpackhi_ps(a[i], a[i + 1]);
        const vec next_low = _mm256_unpacklo_ps(a[i + 2], a[i + 3]), next_high = _mm256_unpackhi_ps(a[i + 2], a[i + 3]);
        b[i] = _mm256_shuffle_ps(low, next_low, 0x44);
        b[i + 1] = _mm256_shuffle_ps(low, next_low, 0xEE);
        b[i + 2] = _mm256_shuffle_ps(high, next_high, 0x44);
        b[i + 3] = _mm256_shuffle_ps(high, next_high, 0xEE);
    }
    UNROLL for (int i = 0; i < LANES / 2; i++)
    {
        a[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        a[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
#else
    /* the first half zipped with the second, log2(LANES) times */
    UNROLL for (int round = 1; round < LANES; round *= 2)
    {
        UNROLL for (int i = 0; i < LANES / 2; i++)
        {
            b[2 * i] = SHUFFLE(a[i], a[i + LANES / 2], ZIP_LOW);
            b[2 * i + 1] = SHUFFLE(a[i], a[i + LANES / 2], ZIP_HIGH);
        }
        UNROLL for (int i = 0; i < LANES; i++) a[i] = b[i];
    }
#endif
}

/* The larger one; NaN if either is NaN. */
static inline vec max_or_nan(vec best, vec x)
{
    return choose((x > best) | (x != x), x, best);
}

/* Numbers below the smallest normal one count as zero between these two: in sums of products they would take the
 * processor a hundred times as long, and change nothing that matters. The mode is the thread's own, and put back. */
#if defined(__SSE2__)
static inline unsigned flush_denormals(void)
{
    const unsigned mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode | 0x8040); /* flush to zero, denormals are zero */
    return mode;
}
static inline void restore_denormals(unsigned mode) { __builtin_ia32_ldmxcsr(mode); }
#elif defined(__aarch64__)
static inline uint64_t flush_denormals(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode | UINT64_C(1) << 24)); /* FZ */
    return mode;
}
static inline void restore_denormals(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
static inline unsigned flush_denormals(void) { return 0; }
static inline void restore_denormals(unsigned mode) { (void)mode; }
#endif

#endif
