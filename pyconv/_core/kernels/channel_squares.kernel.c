/* Tiles of a vector of output channels for as many pixels, for 1x1 kernels of few output channels on channels-last images:
 * the sums are a square that is turned in registers and stored where it belongs.
 *
 * A tile of one vector for half as many pixels, as in channels.kernel.c, takes longer to load, and to put down its sums.
 */
#include "channels.h"

enum {
    TOGETHER = 3,         /* pixels that share a pointer: one and two steps behind it, the addresses have an index */
    MOST_PAIR_VECTORS = 3 /* of a square of half as many pixels */
};

/* Half a vector, for output channels that fill no more: of 64 bytes, two halves are multiplied in the time of one whole. */
#if defined(__AVX512F__)
typedef real half __attribute__((vector_size(VECTOR_BYTES / 2)));
#if PC_F64
static inline half half_of(real x) { return (half)_mm256_set1_pd(x); }
static inline half lower(vec v) { return (half)_mm512_castpd512_pd256((__m512d)v); }
static inline vec widened(half v) { return (vec)_mm512_castpd256_pd512((__m256d)v); }
#else
static inline half half_of(real x) { return (half)_mm256_set1_ps(x); }
static inline half lower(vec v) { return (half)_mm512_castps512_ps256((__m512)v); }
static inline vec widened(half v) { return (vec)_mm512_castps256_ps512((__m256)v); }
#endif
#else
typedef vec half;
static inline half half_of(real x) { return splat(x); }
static inline half lower(vec v) { return v; }
static inline vec widened(half v) { return v; }
#endif
static inline vec whole_of(real x) { return splat(x); }
static inline vec all_of(vec v) { return v; }

/* The sums of LANES pixels, `step` elements apart, over `count` channels that are neighbours; weights [channel][width].
 * A line at `next`, where the next tile's pixels lie, is fetched for each channel. */
#define SUMS(NAME, TYPE, SPLAT, PART, WHOLE)                                                                         \
    static inline void NAME(vec square[LANES], const real *x, int64_t step, int64_t count, const real *weights,      \
                            int64_t width, const real *bias, const real *next)                                       \
    {                                                                                                                \
        const real *near[(LANES + TOGETHER - 1) / TOGETHER];                                                         \
        TYPE sum[LANES];                                                                                             \
        UNROLL for (int p = 0; p < LANES; p += TOGETHER) near[p / TOGETHER] = x + p * step;                          \
        UNROLL for (int p = 0; p < LANES; p++) sum[p] = PART(load(bias));                                            \
        for (int64_t c = 0; c < count; c++, weights += width, next += LANES) {                                       \
            const TYPE w = PART(load(weights));                                                                      \
            __builtin_prefetch(next);                                                                                \
            UNROLL for (int p = 0; p < LANES; p++)                                                                   \
            {                                                                                                        \
                sum[p] += SPLAT(near[p / TOGETHER][p % TOGETHER * step + c]) * w;                                    \
            }                                                                                                        \
        }                                                                                                            \
        UNROLL for (int p = 0; p < LANES; p++) square[p] = WHOLE(sum[p]);                                            \
    }

SUMS(sum_vectors, vec, whole_of, all_of, all_of)
SUMS(sum_halves, half, half_of, lower, widened)

/* A turned square's rows, MOST at most, to a plane each. Where half of them are asked for, the compiler turns no more. */
#define WRITE(MOST)                                                                                                  \
    do {                                                                                                             \
        turn_square(square);                                                                                         \
        UNROLL for (int k = 0; k < (MOST); k++)                                                                      \
        {                                                                                                            \
            if (k < channels) store(to + k * channel_stride, square[k]);                                             \
        }                                                                                                            \
    } while (0)

void PC_NAME(channel_square)(const real *x, int64_t step, int64_t count, const real *weights, int64_t width,
                             const real *bias, int64_t channels, real *to, int64_t channel_stride)
{
    vec square[LANES];
    const real *next = x + LANES * step;
    for (; channels > 0; channels -= LANES, weights += LANES, bias += LANES, to += LANES * channel_stride) {
        if (channels > LANES / 2) {
            sum_vectors(square, x, step, count, weights, width, bias, next);
            WRITE(LANES);
        } else {
            sum_halves(square, x, step, count, weights, width, bias, next);
            WRITE(LANES / 2);
        }
    }
}

#if defined(__AVX512F__)
/* Two neighbouring numbers in all pairs of lanes, by one load. */
#if PC_F64
static inline vec splat_two(const real *x) { return (vec)_mm512_broadcast_f64x2(_mm_loadu_pd(x)); }
static inline half upper(vec v) { return (half)_mm512_extractf64x4_pd((__m512d)v, 1); }
#else
static inline vec splat_two(const real *x)
{
    double two;
    memcpy(&two, x, sizeof(two));
    return (vec)_mm512_set1_pd(two);
}
static inline half upper(vec v) { return (half)_mm512_extractf32x8_ps((__m512)v, 1); }
#endif
typedef real loose_half __attribute__((vector_size(VECTOR_BYTES / 2), aligned(sizeof(real)), may_alias));

/* The sums of `pixels` pixels: `count` channels in pairs, with zipped weights; then the sums of the even channels and those
 * of the odd ones are added. */
INLINE void square_of_pairs(const int pixels, const int vectors, const real *x, int64_t step, int64_t count,
                            const real *zipped, int64_t channels, real *to, int64_t channel_stride)
{
    const real *weights = zipped + vectors * LANES;
    const real *near[(LANES + TOGETHER - 1) / TOGETHER];
    vec sum[LANES][MOST_PAIR_VECTORS];
    UNROLL for (int p = 0; p < pixels; p += TOGETHER) near[p / TOGETHER] = x + p * step;
    UNROLL for (int p = 0; p < pixels; p++)
    {
        UNROLL for (int v = 0; v < vectors; v++) sum[p][v] = load(zipped + v * LANES);
    }
    for (int64_t c = 0; c < count; c += 2, weights += vectors * LANES) {
        vec w[MOST_PAIR_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++) w[v] = load(weights + v * LANES);
        UNROLL for (int p = 0; p < pixels; p++)
        {
            const vec two = splat_two(near[p / TOGETHER] + (p % TOGETHER * step + c));
            UNROLL for (int v = 0; v < vectors; v++) sum[p][v] = multiply_add(two, w[v], sum[p][v]);
        }
    }
    UNROLL for (int v = 0; v < vectors; v++, channels -= LANES / 2, to += LANES / 2 * channel_stride)
    {
        vec a[LANES / 2], b[LANES / 2]; /* [pixel][output channel]: pixels / 2 vectors */
        UNROLL for (int i = 0; i < pixels / 2; i++)
        {
            a[i] = even_of(sum[2 * i][v], sum[2 * i + 1][v]) + odd_of(sum[2 * i][v], sum[2 * i + 1][v]);
        }
        UNROLL for (int round = 1; round < pixels; round *= 2) /* the pixel's place in the order comes last, bit by bit */
        {
            UNROLL for (int i = 0; i < pixels / 4; i++)
            {
                b[2 * i] = SHUFFLE(a[i], a[i + pixels / 4], ZIP_LOW);
                b[2 * i + 1] = SHUFFLE(a[i], a[i + pixels / 4], ZIP_HIGH);
            }
            UNROLL for (int i = 0; i < pixels / 2; i++) a[i] = b[i];
        }
        if (pixels == LANES) {
            UNROLL for (int k = 0; k < LANES / 2; k++)
            {
                if (k < channels) store(to + k * channel_stride, a[k]);
            }
        } else {
            UNROLL for (int k = 0; k < LANES / 2; k++)
            {
                if (k < channels) {
                    *(loose_half *)(to + k * channel_stride) = k % 2 ? upper(a[k / 2]) : lower(a[k / 2]);
                }
            }
        }
    }
}

/* One pixel, by the same sums in the same order. */
static void pixel_of_pairs(int64_t vectors, const real *x, int64_t count, const real *zipped, int64_t channels, real *to,
                           int64_t channel_stride)
{
    for (int64_t v = 0; v < vectors; v++, channels -= LANES / 2, to += LANES / 2 * channel_stride) {
        vec sum = load(zipped + v * LANES);
        for (int64_t c = 0; c < count; c += 2) {
            sum = multiply_add(splat_two(x + c), load(zipped + ((c / 2 + 1) * vectors + v) * LANES), sum);
        }
        sum = even_of(sum, sum) + odd_of(sum, sum);
        for (int64_t k = 0; k < least(channels, LANES / 2); k++) to[k * channel_stride] = sum[k];
    }
}

void PC_NAME(channel_pairs)(int64_t pixels, int64_t vectors, const real *x, int64_t step, int64_t count,
                            const real *zipped, int64_t channels, real *to, int64_t channel_stride)
{
    const int64_t most = vectors == 1 ? LANES : LANES / 2;
    for (int64_t done = 0; done < pixels && pixels >= most; done += most) {
        const int64_t at = least(done, pixels - most); /* the last ones begin earlier, and do some again */
        if (vectors == 1) {
            square_of_pairs(LANES, 1, x + at * step, step, count, zipped, channels, to + at, channel_stride);
        } else {
            square_of_pairs(LANES / 2, 3, x + at * step, step, count, zipped, channels, to + at, channel_stride);
        }
    }
    for (int64_t p = 0; p < pixels && pixels < most; p++) {
        pixel_of_pairs(vectors, x + p * step, count, zipped, channels, to + p, channel_stride);
    }
}

void PC_NAME(zip_pairs)(const real *weights, int64_t width, int64_t count, const real *bias, int64_t vectors, real *to)
{
    const vec none = splat(0);
    for (int64_t v = 0; v < vectors; v++, to += LANES) {
        const vec some = load(bias + v / 2 * LANES);
        store(to, v % 2 ? SHUFFLE(some, none, ZIP_HIGH) : SHUFFLE(some, none, ZIP_LOW));
    }
    for (int64_t c = 0; c < count; c += 2, weights += 2 * width) {
        for (int64_t v = 0; v < vectors; v++, to += LANES) {
            const vec even = load(weights + v / 2 * LANES), odd = load(weights + width + v / 2 * LANES);
            store(to, v % 2 ? SHUFFLE(even, odd, ZIP_HIGH) : SHUFFLE(even, odd, ZIP_LOW));
        }
    }
}
#endif
