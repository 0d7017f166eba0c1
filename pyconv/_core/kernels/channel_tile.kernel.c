/* The register tile with vectors along output channels: weights are loaded, pixels are broadcast.
 *
 * The pixels lie anywhere, each behind a pointer of its own: so any stride, any layout and any choice of pixels is
 * read in place, and small images waste nothing.
 */
#include <stddef.h>

#include "channels.h"

#define TILE(P, V)                                                                                                  \
    static void tile_##P##x##V(const real *const *inputs, const int64_t *places, int64_t taps, int64_t step,         \
                               int64_t count, const real *weights, const real *bias, real *const *sums,             \
                               const char *next, int64_t next_step)                                                 \
    {                                                                                                               \
        const real *input[P];                                                                                       \
        vec sum[P][V];                                                                                              \
        UNROLL for (int p = 0; p < P; p++)                                                                          \
        {                                                                                                           \
            const real *start = bias ? bias : sums[p];                                                              \
            input[p] = inputs[p];                                                                                   \
            UNROLL for (int v = 0; v < V; v++) sum[p][v] = load(start + v * LANES);                                 \
        }                                                                                                           \
        for (const int64_t *place = places; place < places + taps; place++) {                                       \
            const real *end = weights + count * V * LANES;                                                          \
            for (int64_t at = *place; weights < end; at += step, weights += V * LANES, next += next_step) {         \
                vec w[V];                                                                                           \
                UNROLL for (int v = 0; v < V; v++) w[v] = load(weights + v * LANES);                                \
                __builtin_prefetch(next, 0, 2);                                                                     \
                __builtin_prefetch(next + CACHE_LINE, 0, 2);                                                        \
                UNROLL for (int p = 0; p < P; p++)                                                                  \
                {                                                                                                   \
                    const vec pixel = splat(input[p][at]);                                                          \
                    UNROLL for (int v = 0; v < V; v++) sum[p][v] += pixel * w[v];                                   \
                }                                                                                                   \
            }                                                                                                       \
        }                                                                                                           \
        UNROLL for (int p = 0; p < P; p++)                                                                          \
        {                                                                                                           \
            UNROLL for (int v = 0; v < V; v++) store(sums[p] + v * LANES, sum[p][v]);                               \
        }                                                                                                           \
    }

#define SIX(V) TILE(1, V) TILE(2, V) TILE(3, V) TILE(4, V) TILE(5, V) TILE(6, V)
#define EIGHT_TOO(V) SIX(V) TILE(7, V) TILE(8, V)
#define ROW_OF_SIX(V) tile_1x##V, tile_2x##V, tile_3x##V, tile_4x##V, tile_5x##V, tile_6x##V

EIGHT_TOO(1)
#if BLOCK_VECTORS == 4
EIGHT_TOO(2)
EIGHT_TOO(3)
SIX(4)
channel_tile *const PC_NAME(channel_tiles)[BLOCK_VECTORS][MOST_PIXELS] = {
    {ROW_OF_SIX(1), tile_7x1, tile_8x1},
    {ROW_OF_SIX(2), tile_7x2, tile_8x2},
    {ROW_OF_SIX(3), tile_7x3, tile_8x3},
    {ROW_OF_SIX(4)},
};
#else
SIX(2)
channel_tile *const PC_NAME(channel_tiles)[BLOCK_VECTORS][MOST_PIXELS] = {
    {ROW_OF_SIX(1), tile_7x1, tile_8x1},
    {ROW_OF_SIX(2)},
};
#endif
