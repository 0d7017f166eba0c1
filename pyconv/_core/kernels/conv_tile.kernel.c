/* The inner loop of the direct convolution: a tile of output channels x pixels that stays in registers.
 *
 * One flat loop over (input channel, kernel row, kernel column) through a table of offsets serves every kernel size,
 * stride and dilation. Vectors run along pixels, weights are broadcast. Each output is one chain of multiply-adds
 * in tap order that begins at the bias, whatever the tile, the band or the thread: so the bits are always the same.
 */
#include "conv.h"

/* X(channels, vectors): few pixels want few vectors, few channels many. The sums take up to 24 of 32 registers, or
 * 12 of 16, beside the pixels and a weight. Numbers of channels that have a tile of
 * some vectors have those of fewer vectors too: they end a line. */
#if MOST_SUMS == 24
#define TILES(X) \
    X(1, 1) X(2, 1) X(4, 1) X(6, 1) X(8, 1) X(12, 1) \
    X(1, 2) X(2, 2) X(4, 2) X(6, 2) X(8, 2) X(12, 2) \
    X(1, 3) X(2, 3) X(4, 3) X(6, 3) X(8, 3) \
    X(1, 4) X(2, 4) X(4, 4) X(6, 4) \
    X(1, 6) X(2, 6) X(4, 6) \
    X(1, 8) X(2, 8)
#else
#define TILES(X) \
    X(1, 1) X(2, 1) X(4, 1) X(6, 1) X(8, 1) \
    X(1, 2) X(2, 2) X(4, 2) X(6, 2) \
    X(1, 3) X(2, 3) X(4, 3) \
    X(1, 4) X(2, 4) \
    X(1, 8)
#endif

/* A tile; where panel is not NULL, it writes the pixels that it reads there. */
#define TILE(K, V)                                                                                                  \
    INLINE void work_##K##x##V(const real *band, const int32_t *offsets, int64_t taps, const real *weights,  \
                                      const real *bias, const real *sums, real *to, int64_t to_stride,              \
                                      const real *next, const int32_t *next_offsets, real *panel, int64_t pitch)    \
    {                                                                                                               \
        vec sum[K][V];                                                                                              \
        UNROLL for (int k = 0; k < K; k++)                                                                          \
        {                                                                                                           \
            UNROLL for (int v = 0; v < V; v++)                                                                      \
                sum[k][v] = sums ? load(sums + (k * V + v) * LANES) : splat(bias[k]);                               \
        }                                                                                                           \
        for (int64_t t = 0; t < taps; t++, weights += K) {                                                          \
            const real *from = band + offsets[t];                                                                   \
            vec pixels[V];                                                                                          \
            UNROLL for (int v = 0; v < V; v++) pixels[v] = load(from + v * LANES);                                  \
            __builtin_prefetch(next + next_offsets[t]);                                                             \
            if (panel) {                                                                                            \
                UNROLL for (int v = 0; v < V; v++) store(panel + v * LANES, pixels[v]);                             \
                panel += pitch;                                                                                     \
            }                                                                                                       \
            UNROLL for (int k = 0; k < K; k++)                                                                      \
            {                                                                                                       \
                vec weight = splat(weights[k]);                                                                     \
                UNROLL for (int v = 0; v < V; v++) sum[k][v] += pixels[v] * weight;                                 \
            }                                                                                                       \
        }                                                                                                           \
        UNROLL for (int k = 0; k < K; k++)                                                                          \
        {                                                                                                           \
            UNROLL for (int v = 0; v < V; v++) store(to + k * to_stride + v * LANES, sum[k][v]);                    \
        }                                                                                                           \
    }                                                                                                               \
    static void tile_##K##x##V(const void *band, const int32_t *offsets, int64_t taps, const void *weights,         \
                               const void *bias, const void *sums, void *to, int64_t to_stride, const void *next,   \
                               const int32_t *next_offsets)                                                         \
    {                                                                                                               \
        work_##K##x##V(band, offsets, taps, weights, bias, sums, to, to_stride, next, next_offsets, NULL, 0);       \
    }                                                                                                               \
    static void copying_##K##x##V(const void *band, const int32_t *offsets, int64_t taps, const void *weights,      \
                                  const void *bias, const void *sums, void *to, int64_t to_stride,                  \
                                  const void *next, const int32_t *next_offsets, void *panel, int64_t pitch)        \
    {                                                                                                               \
        work_##K##x##V(band, offsets, taps, weights, bias, sums, to, to_stride, next, next_offsets, panel, pitch);  \
    }

TILES(TILE)

#define ENTRY(K, V) {K, V, tile_##K##x##V, copying_##K##x##V},
const pc_tile PC_NAME(conv_tiles)[] = {TILES(ENTRY)};
const int64_t PC_NAME(conv_tile_count) = sizeof PC_NAME(conv_tiles) / sizeof(pc_tile);
