/* The inner loop of the direct convolution: a tile of output channels x pixels that stays in registers.
 *
 * One flat loop over (input channel, kernel row, kernel column) through a table of offsets serves every kernel size,
 * stride and dilation. Vectors run along pixels, weights are broadcast. Each output is one chain of multiply-adds
 * in tap order that begins at the bias, whatever the tile, the band or the thread: so the bits are always the same.
 */
#include "conv_tile.h"

#define TILE(K, V)                                                                                                  \
    static void tile_##K##x##V(const real *band, const int32_t *offsets, int64_t taps, const real *weights,         \
                               const real *bias, real *to, int64_t to_stride)                                       \
    {                                                                                                               \
        vec sum[K][V];                                                                                              \
        UNROLL for (int k = 0; k < K; k++)                                                                          \
        {                                                                                                           \
            UNROLL for (int v = 0; v < V; v++) sum[k][v] = splat(bias[k]);                                          \
        }                                                                                                           \
        for (int64_t t = 0; t < taps; t++, weights += K) {                                                          \
            const real *from = band + offsets[t];                                                                   \
            vec pixels[V];                                                                                          \
            UNROLL for (int v = 0; v < V; v++) pixels[v] = load(from + v * LANES);                                  \
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
    }

TILE(1, 3)
TILE(2, 3)
TILE(4, 3)
TILE(1, 8)
#if TILE_CHANNELS == 8
TILE(8, 3)
TILE(2, 8)
TILE(4, 6)
#else
TILE(2, 4)
#endif

conv_tile *PC_NAME(conv_tile_for)(int64_t channels, int64_t wide)
{
#if TILE_CHANNELS == 8
    if (wide) return channels == 1 ? tile_1x8 : channels == 2 ? tile_2x8 : tile_4x6;
    return channels == 1 ? tile_1x3 : channels == 2 ? tile_2x3 : channels == 4 ? tile_4x3 : tile_8x3;
#else
    if (wide) return channels == 1 ? tile_1x8 : tile_2x4;
    return channels == 1 ? tile_1x3 : channels == 2 ? tile_2x3 : tile_4x3;
#endif
}
