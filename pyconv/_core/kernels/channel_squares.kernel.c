/* Tiles of a vector of output channels for as many pixels, for 1x1 kernels of few output channels on channels-last images:
 * the sums are a square that is turned in registers and stored where it belongs.
 *
 * A tile of one vector for half as many pixels, as in channels.kernel.c, takes longer to load, and to put down its sums.
 */
#include "channels.h"

enum { TOGETHER = 3 /* pixels that share a pointer: one and two steps behind it, the addresses have an index */ };

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
