/* Winograd's products: for each of the places a small matrix product, input channels summed.
 *
 * Vectors run along output channels, and the tiles' inputs are broadcast: so any number of tiles is done without
 * waste, which small images need.
 */
#include <stddef.h>

#include "winograd.h"

void PC_NAME(winograd_products)(const pc_winograd *winograd, int64_t tiles, int64_t vectors, const real *places,
                                const real *weights, real *sums)
{
    static const real nothing[BLOCK_VECTORS * LANES];
    static const int64_t here = 0;
    const int64_t width = vectors * LANES, count = places_of(winograd);
    const int64_t most = vectors < BLOCK_VECTORS ? MOST_PIXELS : BLOCK_PIXELS, rounds = (tiles + most - 1) / most;
    channel_tile *const *runs = PC_NAME(channel_tiles)[vectors - 1];
    for (int64_t place = 0; place < count; place++, places += winograd->plane_pitch, sums += tiles * width) {
        for (int64_t c = 0; c < winograd->in_channels; c += winograd->chunk) {
            const int64_t left = winograd->in_channels - c, channels = left < winograd->chunk ? left : winograd->chunk;
            /* The weights that come next are fetched by the first tiles: they come from far away, and the processor's
             * own guess would find them only as they are needed. */
            const char *next = (const char *)(weights + channels * width);
            const char *end = next + channels * width * (int64_t)sizeof(real);
            for (int64_t round = 0, tile = 0, past; round < rounds; round++, tile = past) {
                past = tiles * (round + 1) / rounds; /* as even as can be: small ones wait for their weights */
                const real *inputs[MOST_PIXELS];
                real *to[MOST_PIXELS];
                for (int64_t t = tile; t < past; t++) {
                    inputs[t - tile] = places + t * winograd->tile_pitch + c;
                    to[t - tile] = sums + t * width;
                }
                runs[past - tile - 1](inputs, &here, 1, 1, channels, weights, c ? NULL : nothing, to, next,
                                      next < end ? FETCHED : 0);
                next += channels * FETCHED;
            }
            weights += channels * width;
        }
    }
}
