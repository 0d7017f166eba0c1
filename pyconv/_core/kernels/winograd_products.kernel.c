/* Winograd's products: for each of the 36 places a small matrix product, input channels summed.
 *
 * Vectors run along output channels, and the tiles' inputs are broadcast: so any number of tiles is done without
 * waste, which small images need.
 */
#include "winograd.h"

enum { CACHE_LINE = 64 };

#define PRODUCT(T, V)                                                                                               \
    static void product_##T##x##V(int64_t channels, const real *inputs, int64_t pitch, const real *weights, real *to, \
                                  const char *next, int64_t next_step)                                              \
    {                                                                                                               \
        vec sum[T][V];                                                                                              \
        UNROLL for (int t = 0; t < T; t++)                                                                          \
        {                                                                                                           \
            UNROLL for (int v = 0; v < V; v++) sum[t][v] = splat(0);                                                \
        }                                                                                                           \
        for (int64_t c = 0; c < channels; c++, inputs += pitch, weights += V * LANES) {                             \
            for (int64_t line = 0; line < next_step; line += CACHE_LINE) __builtin_prefetch(next + line, 0, 2);     \
            next += next_step;                                                                                      \
            vec w[V];                                                                                               \
            UNROLL for (int v = 0; v < V; v++) w[v] = load(weights + v * LANES);                                    \
            UNROLL for (int t = 0; t < T; t++)                                                                      \
            {                                                                                                       \
                const vec input = splat(inputs[t]);                                                                 \
                UNROLL for (int v = 0; v < V; v++) sum[t][v] += input * w[v];                                       \
            }                                                                                                       \
        }                                                                                                           \
        UNROLL for (int t = 0; t < T; t++)                                                                          \
        {                                                                                                           \
            UNROLL for (int v = 0; v < V; v++) store(to + (t * V + v) * LANES, sum[t][v]);                          \
        }                                                                                                           \
    }

#define PRODUCTS(V) PRODUCT(1, V) PRODUCT(2, V) PRODUCT(3, V) PRODUCT(4, V) PRODUCT(5, V) PRODUCT(6, V)
#define ROW(V) {product_1x##V, product_2x##V, product_3x##V, product_4x##V, product_5x##V, product_6x##V}

typedef void product(int64_t channels, const real *inputs, int64_t pitch, const real *weights, real *to,
                     const char *next, int64_t next_step);

PRODUCTS(1)
PRODUCTS(2)
#if BLOCK_VECTORS == 4
PRODUCTS(3)
PRODUCTS(4)
static product *const products[BLOCK_VECTORS][BLOCK_TILES] = {ROW(1), ROW(2), ROW(3), ROW(4)};
#else
static product *const products[BLOCK_VECTORS][BLOCK_TILES] = {ROW(1), ROW(2)};
#endif

void PC_NAME(winograd_products)(const pc_winograd *winograd, int64_t tiles, int64_t vectors, const real *places,
                                const real *weights, real *sums)
{
    const int64_t channels = winograd->in_channels, width = vectors * LANES;
    /* The next place's weights are fetched while this one's are at work, a part during each group of tiles: they come
     * from far away, and the processor's own guess would find them only as the first group needs them. */
    const int64_t groups = (tiles + BLOCK_TILES - 1) / BLOCK_TILES;
    const int64_t line_bytes = width * (int64_t)sizeof(real);
    const int64_t step = (line_bytes / groups + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    for (int place = 0; place < PLACES; place++) {
        const char *next = (const char *)(weights + channels * width);
        const char *end = next + channels * line_bytes;
        for (int64_t tile = 0; tile < tiles; tile += BLOCK_TILES) {
            const int64_t count = tiles - tile < BLOCK_TILES ? tiles - tile : BLOCK_TILES;
            products[vectors - 1][count - 1](channels, places + tile, winograd->tile_pitch, weights,
                                             sums + tile * width, next, next < end ? step : 0);
            next += channels * step;
        }
        places += winograd->plane_pitch;
        weights += channels * width;
        sums += tiles * width;
    }
}
