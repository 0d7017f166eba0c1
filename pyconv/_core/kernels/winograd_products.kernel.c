/* Winograd's products: for each of the places a small matrix product, input channels summed.
 *
 * Vectors run along output channels, and the tiles' inputs are broadcast: so any number of tiles is done without
 * waste, which small images need.
 */
#include <stddef.h>

#include "winograd.h"

void PC_NAME(winograd_products)(const pc_winograd *winograd, pc_tiles tiles, int64_t vectors, const real *places,
                                const real *weights, real *sums)
{
    static const real nothing[BLOCK_VECTORS * LANES];
    static const int64_t here = 0;
    const int64_t width = vectors * LANES, size = winograd->tile + 2, all = tiles.rows * tiles.cols;
    const int64_t most = vectors < BLOCK_VECTORS ? MOST_PIXELS : BLOCK_PIXELS;
    channel_tile *const *runs = PC_NAME(channel_tiles)[vectors - 1];
    for (int64_t place = 0; place < size * size; place++, places += winograd->plane_pitch, sums += all * width) {
        /* short tiles lack some places */
        const int64_t rows = tiles.rows - (tiles.short_row && !is_short_place(place / size));
        const int64_t cols = tiles.cols - (tiles.short_col && !is_short_place(place % size));
        const int64_t count = rows * cols, rounds = (count + most - 1) / most;
        for (int64_t c = 0; c < winograd->in_channels; c += winograd->chunk) {
            const int64_t left = winograd->in_channels - c, channels = left < winograd->chunk ? left : winograd->chunk;
            /* The weights that come next are fetched by the first tiles, or little by little by all of them: they come
             * from far away, and the processor's own guess would find them only as they are needed. */
            const int64_t line = width * (int64_t)sizeof(real); /* a channel's */
            const int64_t fetches = winograd->spreads && rounds > 1 ? least(line / rounds + 1, FETCHED) : FETCHED;
            const char *next = (const char *)(weights + channels * width);
            const char *end = next + channels * line;
            int64_t tile = 0, row_end = cols;
            for (int64_t round = 0; round < rounds; round++) {
                /* as even as can be: small ones wait for their weights */
                const int64_t pixels = count * (round + 1) / rounds - count * round / rounds;
                const real *inputs[MOST_PIXELS];
                real *to[MOST_PIXELS];
                for (int64_t p = 0; p < pixels; p++, tile++) {
                    if (tile == row_end) tile += tiles.cols - cols, row_end += tiles.cols;
                    inputs[p] = places + tile * winograd->tile_pitch + c;
                    to[p] = sums + tile * width;
                }
                runs[pixels - 1](inputs, &here, 1, 1, channels, weights, c ? NULL : nothing, to, next,
                                 next < end ? fetches : 0);
                next += channels * fetches;
            }
            weights += channels * width;
        }
    }
}
